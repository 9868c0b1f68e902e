//! Arrays that end at a guard page, random numbers, storage types in f64, and comparisons.

use std::ops::{Deref, DerefMut};

use dmac_cpu_kernels::{ElementType, KernelTable};
use half::{bf16, f16};

pub const TYPES: [ElementType; 3] = [ElementType::F32, ElementType::F16, ElementType::Bf16];

/// Runs a test body over all tables that this machine can run.
pub fn for_each_table(mut body: impl FnMut(&KernelTable)) {
    let mut count = 0;
    for table in dmac_cpu_kernels::available() {
        body(table);
        count += 1;
    }
    assert!(count >= 1, "the portable table always runs");
}

/// An array whose end is the end of its last page; the page after it is inaccessible.
pub struct Guarded<T: Copy> {
    base: *mut libc::c_void,
    bytes: usize,
    first: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    pub fn new(values: &[T]) -> Self {
        // SAFETY: sizes are those of the mapping just made; the last page is given up.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let size = size_of_val(values);
            let bytes = size.next_multiple_of(page) + page;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED, "no memory for a guarded array");
            let guard = base.cast::<u8>().add(bytes - page);
            assert_eq!(libc::mprotect(guard.cast(), page, libc::PROT_NONE), 0);
            let first = guard.sub(size).cast::<T>();
            std::ptr::copy_nonoverlapping(values.as_ptr(), first, values.len());
            Self { base, bytes, first, len: values.len() }
        }
    }

    pub fn filled(value: T, len: usize) -> Self {
        Self::new(&vec![value; len])
    }
}

impl<T: Copy> Deref for Guarded<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements were written there.
        unsafe { std::slice::from_raw_parts(self.first, self.len) }
    }
}

impl<T: Copy> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.len) }
    }
}

impl<T: Copy> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`.
        unsafe { libc::munmap(self.base, self.bytes) };
    }
}

/// Numbers that are the same on every run (Marsaglia's xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 33) as usize % n.max(1)
    }

    /// Uniform from -1 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    pub fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// `values` in a storage type, as bytes.
pub fn encode(values: &[f32], ty: ElementType) -> Guarded<u8> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|&x| match ty {
            ElementType::F32 => x.to_le_bytes().to_vec(),
            ElementType::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
            ElementType::Bf16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        })
        .collect();
    Guarded::new(&bytes)
}

/// The elements of a storage type, exactly.
pub fn decode(bytes: &[u8], ty: ElementType) -> Vec<f32> {
    bytes
        .chunks_exact(ty.size())
        .map(|x| match ty {
            ElementType::F32 => f32::from_le_bytes([x[0], x[1], x[2], x[3]]),
            ElementType::F16 => f16::from_le_bytes([x[0], x[1]]).to_f32(),
            ElementType::Bf16 => bf16::from_le_bytes([x[0], x[1]]).to_f32(),
        })
        .collect()
}

/// `x` after a round trip through a storage type.
pub fn rounded(x: f32, ty: ElementType) -> f32 {
    match ty {
        ElementType::F32 => x,
        ElementType::F16 => f16::from_f32(x).to_f32(),
        ElementType::Bf16 => bf16::from_f32(x).to_f32(),
    }
}

/// An index list of `n` rows out of `of`, with repetitions, or none.
pub fn index_list(random: &mut Random, n: usize, of: usize, some: bool) -> Option<Guarded<i32>> {
    some.then(|| Guarded::new(&(0..n).map(|_| random.below(of) as i32).collect::<Vec<_>>()))
}

pub fn pointer<T: Copy>(list: Option<&Guarded<T>>) -> *const T {
    list.map_or(std::ptr::null(), |list| list.as_ptr())
}

/// Row `x` of an optional list.
pub fn listed(list: Option<&Guarded<i32>>, x: usize) -> usize {
    list.map_or(x, |list| list[x] as usize)
}

/// Bits of f32 between two values: their distance in units in the last place.
pub fn ulps(a: f32, b: f64) -> f64 {
    let nearest = b as f32;
    if a == nearest || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    if !a.is_finite() || !nearest.is_finite() {
        return f64::INFINITY;
    }
    let magnitude = nearest.abs().max(f32::MIN_POSITIVE);
    let unit = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
    (f64::from(a) - b).abs() / unit
}
