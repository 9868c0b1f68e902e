//! Global memory of a launch: separate allocations with bounds, initialisation and typed access from the host.
//!
//! Words are atomics that acquire and release, so that thread blocks may run on several host threads and wait for one
//! another through memory; whether the *kernel* races is the sanitizer's business. Allocations are 256-byte aligned, as those of a driver,
//! and lie far apart, so an address that leaves one never reaches another.

use std::sync::Mutex;
use std::sync::atomic::{
    AtomicU8, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

const FIRST_ADDRESS: u64 = 0x7_0000_0000;
const GAP: u64 = 1 << 20;

/// A number that buffers hold.
pub trait Element: Copy {
    /// Size in bytes.
    const BYTES: usize;
    /// Little-endian bytes into `out`, which has [`Element::BYTES`].
    fn store(self, out: &mut [u8]);
    /// From little-endian bytes.
    fn load(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const BYTES: usize = size_of::<$t>();
            fn store(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_le_bytes());
            }
            fn load(bytes: &[u8]) -> Self {
                let mut b = [0; size_of::<$t>()];
                b.copy_from_slice(bytes);
                <$t>::from_le_bytes(b)
            }
        }
    )*};
}
element!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, half::f16, half::bf16);

/// A handle to an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Buffer {
    pub(crate) index: usize,
    pub(crate) address: u64,
    pub(crate) bytes: u64,
}

impl Buffer {
    /// The device address of its first byte.
    pub fn address(self) -> u64 {
        self.address
    }

    /// Its size in bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

pub(crate) struct Allocation {
    pub base: u64,
    pub bytes: u64,
    pub words: Vec<AtomicU32>,
    /// Per word: bits 0–3 the bytes that hold a value, bits 4–7 the bytes that a kernel wrote.
    pub state: Vec<AtomicU8>,
}

/// The allocations that launches may touch.
#[derive(Default)]
pub struct Memory {
    allocations: Vec<Allocation>,
    /// Serialises 64-bit atomics, which take two words.
    pub(crate) wide_atomics: Mutex<()>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("allocations", &self.allocations.len()).finish_non_exhaustive()
    }
}

impl Memory {
    /// No allocations.
    pub fn new() -> Self {
        Self::default()
    }

    fn reserve(&mut self, bytes: u64, state: u8) -> Buffer {
        let base =
            self.allocations.last().map_or(FIRST_ADDRESS, |a| (a.base + a.bytes + GAP).next_multiple_of(GAP));
        let n = bytes.div_ceil(4) as usize;
        let words = (0..n).map(|_| AtomicU32::new(0xFFFF_FFFF)).collect();
        let state = (0..n).map(|_| AtomicU8::new(state)).collect();
        self.allocations.push(Allocation { base, bytes, words, state });
        Buffer { index: self.allocations.len() - 1, address: base, bytes }
    }

    /// An allocation that holds `data`.
    pub fn alloc<T: Element>(&mut self, data: &[T]) -> Buffer {
        let b = self.reserve((data.len() * T::BYTES) as u64, 0x0F);
        self.write(b, data);
        b
    }

    /// An allocation of `len` elements without values: the kernel must write before it reads. Its bytes are 0xFF,
    /// a NaN in every floating-point format.
    pub fn alloc_uninit<T: Element>(&mut self, len: usize) -> Buffer {
        self.reserve((len * T::BYTES) as u64, 0)
    }

    /// Overwrites the start of a buffer from the host.
    ///
    /// # Panics
    /// When `data` is larger than the buffer.
    pub fn write<T: Element>(&mut self, buffer: Buffer, data: &[T]) {
        assert!((data.len() * T::BYTES) as u64 <= buffer.bytes, "the data is larger than the buffer");
        let a = &self.allocations[buffer.index];
        let mut raw = vec![0u8; data.len() * T::BYTES];
        for (out, v) in raw.chunks_exact_mut(T::BYTES).zip(data) {
            v.store(out);
        }
        for (i, chunk) in raw.chunks(4).enumerate() {
            let mut word = a.words[i].load(Relaxed).to_le_bytes();
            word[..chunk.len()].copy_from_slice(chunk);
            a.words[i].store(u32::from_le_bytes(word), Relaxed);
            a.state[i].fetch_or((1 << chunk.len()) - 1, Relaxed);
        }
    }

    /// The whole buffer as elements; a tail shorter than an element is left out.
    pub fn read<T: Element>(&self, buffer: Buffer) -> Vec<T> {
        let a = &self.allocations[buffer.index];
        let raw: Vec<u8> = a.words.iter().flat_map(|w| w.load(Relaxed).to_le_bytes()).collect();
        raw[..buffer.bytes as usize].chunks_exact(T::BYTES).map(T::load).collect()
    }

    /// Bytes of the buffer that no kernel has written.
    pub fn unwritten(&self, buffer: Buffer) -> u64 {
        let a = &self.allocations[buffer.index];
        let written: u64 = a.state.iter().map(|s| u64::from((s.load(Relaxed) >> 4).count_ones())).sum();
        buffer.bytes - written.min(buffer.bytes)
    }

    /// The allocation that holds `bytes` at `address`, and the offset in it.
    pub(crate) fn find(&self, address: u64, bytes: u64) -> Option<(&Allocation, usize, u64)> {
        let i = self.allocations.partition_point(|a| a.base <= address).checked_sub(1)?;
        let a = &self.allocations[i];
        let offset = address - a.base;
        (offset.checked_add(bytes)? <= a.bytes).then_some((a, i, offset))
    }

    /// How far `address` is from the nearest allocation, in words.
    pub(crate) fn describe(&self, address: u64) -> String {
        match self.allocations.partition_point(|a| a.base <= address).checked_sub(1) {
            Some(i) => {
                let a = &self.allocations[i];
                format!(
                    "address {address:#x} is byte {} of allocation {i}, which has {} bytes",
                    address - a.base,
                    a.bytes
                )
            }
            None => format!("address {address:#x} is below every allocation"),
        }
    }

    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.allocations.iter().map(|a| a.words.len())
    }
}

impl Allocation {
    /// Copies `out.len()` bytes from `offset`; tells whether all of them hold values.
    pub(crate) fn load(&self, offset: u64, out: &mut [u8]) -> bool {
        let mut valid = true;
        let mut at = offset as usize;
        let mut rest = out;
        while !rest.is_empty() {
            let (word, first) = (at / 4, at % 4);
            let n = rest.len().min(4 - first);
            let bytes = self.words[word].load(Acquire).to_le_bytes();
            let (head, tail) = rest.split_at_mut(n);
            head.copy_from_slice(&bytes[first..first + n]);
            let need = ((1u8 << n) - 1) << first;
            valid &= self.state[word].load(Relaxed) & need == need;
            at += n;
            rest = tail;
        }
        valid
    }

    /// Stores `data` at `offset`.
    pub(crate) fn store(&self, offset: u64, data: &[u8]) {
        let mut at = offset as usize;
        let mut rest = data;
        while !rest.is_empty() {
            let (word, first) = (at / 4, at % 4);
            let n = rest.len().min(4 - first);
            self.mark(word, ((1u8 << n) - 1) << first);
            if n == 4 {
                self.words[word].store(u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]), Release);
            } else {
                let mut mask = [0u8; 4];
                let mut value = [0u8; 4];
                mask[first..first + n].fill(0xFF);
                value[first..first + n].copy_from_slice(&rest[..n]);
                let (mask, value) = (u32::from_le_bytes(mask), u32::from_le_bytes(value));
                let _ = self.words[word].fetch_update(AcqRel, Acquire, |old| Some(old & !mask | value));
            }
            at += n;
            rest = &rest[n..];
        }
    }

    /// The bytes `bits` of `word` now hold values that a kernel wrote.
    pub(crate) fn mark(&self, word: usize, bits: u8) {
        let both = bits | bits << 4;
        if self.state[word].load(Relaxed) & both != both {
            self.state[word].fetch_or(both, Relaxed);
        }
    }
}
