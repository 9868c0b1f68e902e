//! Bytes of shared, global and parameter memory: bounds, values, and the shadow of every access.

use super::{At, Unit};
use crate::finding::FindingKind;
use crate::launch::SHARED_BASE;
use crate::sanitize::{Flags, GlobalAccess};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// A resolved address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Global(u64),
    Shared { cta: usize, address: u32 },
    Param(u64),
}

impl Unit<'_> {
    /// Whether `[address, address + bytes)` lies in the block's shared memory; reports otherwise.
    pub(super) fn shared_bounds(&mut self, at: At, lane: u32, cta: usize, address: u32, bytes: u32) -> bool {
        let size = self.ctas[cta].smem.len();
        if address >= SHARED_BASE && address as usize + bytes as usize <= size {
            return true;
        }
        let message = format!(
            "byte {} of shared memory and {} more; the block has {} bytes",
            Self::shared_byte(address),
            bytes.saturating_sub(1),
            size - SHARED_BASE as usize
        );
        self.report(FindingKind::OutOfBounds, at, Some(lane), message, None);
        false
    }

    /// Checks an access to shared memory against its shadow. The range is in bounds.
    pub(super) fn touch_shared(
        &mut self,
        at: At,
        lane: u32,
        cta: usize,
        range: (u32, u32),
        writes: bool,
        flags: Flags,
    ) {
        if !self.sanitize {
            return;
        }
        let me = self.access(at, flags);
        let warp = &mut self.warps[at.w];
        if writes && !flags.async_proxy {
            warp.unfenced |= 1 << lane;
        }
        let Some(shadow) = self.ctas[cta].shadow.as_mut() else { return };
        let clocks = (&warp.know.clock, &warp.know.proxy);
        let found = if writes {
            shadow.write(&self.history, me, clocks, range)
        } else {
            shadow.read(&mut self.history, me, clocks, range)
        };
        if let Some((conflict, address)) = found {
            self.conflict(at, Some(lane), conflict, address, writes);
        }
    }

    fn global_bounds(&mut self, at: At, lane: u32, address: u64, bytes: u64) -> bool {
        if self.run.memory.find(address, bytes).is_some() {
            return true;
        }
        let message = format!("{bytes} bytes at {}", self.run.memory.describe(address));
        self.report(FindingKind::OutOfBounds, at, Some(lane), message, None);
        false
    }

    /// Registers an access to global memory; whether it is in bounds.
    pub(super) fn check_global(
        &mut self,
        at: At,
        lane: u32,
        range: (u64, u64),
        writes: bool,
        flags: Flags,
        nc: bool,
    ) -> bool {
        let (address, bytes) = range;
        if !self.global_bounds(at, lane, address, bytes) {
            return false;
        }
        if let Some((_, allocation, offset)) = self.run.memory.find(address, bytes)
            && self.sanitize
        {
            let me = self.origin(at, flags.strong);
            self.touch_global(
                at,
                lane,
                &GlobalAccess { me, allocation, offset, bytes, writes, read_only: nc },
            );
        }
        true
    }

    pub(super) fn read_place(
        &mut self,
        at: At,
        lane: u32,
        place: Place,
        out: &mut [u8],
        flags: Flags,
        nc: bool,
    ) -> bool {
        let bytes = out.len() as u32;
        match place {
            Place::Shared { cta, address } => {
                if !self.shared_bounds(at, lane, cta, address, bytes) {
                    return false;
                }
                self.touch_shared(at, lane, cta, (address, bytes), false, flags);
                out.copy_from_slice(&self.ctas[cta].smem[address as usize..][..bytes as usize]);
            }
            Place::Global(address) => {
                if !self.check_global(at, lane, (address, u64::from(bytes)), false, flags, nc) {
                    return false;
                }
                self.read_global(at, lane, address, out);
            }
            Place::Param(address) => {
                let end = address.saturating_add(u64::from(bytes));
                if end > self.run.params.len() as u64 {
                    let message =
                        format!("bytes {address} to {end} of {} bytes of parameters", self.run.params.len());
                    self.report(FindingKind::OutOfBounds, at, Some(lane), message, None);
                    return false;
                }
                out.copy_from_slice(&self.run.params[address as usize..end as usize]);
            }
        }
        true
    }

    /// Bytes of global memory that are in bounds; reports bytes without a value.
    pub(super) fn read_global(&mut self, at: At, lane: u32, address: u64, out: &mut [u8]) {
        let Some((allocation, index, offset)) = self.run.memory.find(address, out.len() as u64) else {
            return;
        };
        if !allocation.load(offset, out) && self.sanitize {
            let message =
                format!("byte {offset} of allocation {index} is read before anything was written there");
            self.report(FindingKind::UninitializedGlobal, at, Some(lane), message, None);
        }
    }

    pub(super) fn write_place(&mut self, at: At, lane: u32, place: Place, data: &[u8], flags: Flags) -> bool {
        let bytes = data.len() as u32;
        match place {
            Place::Shared { cta, address } => {
                if !self.shared_bounds(at, lane, cta, address, bytes) {
                    return false;
                }
                self.touch_shared(at, lane, cta, (address, bytes), true, flags);
                self.ctas[cta].smem[address as usize..][..bytes as usize].copy_from_slice(data);
            }
            Place::Global(address) => {
                if !self.check_global(at, lane, (address, u64::from(bytes)), true, flags, false) {
                    return false;
                }
                if let Some((allocation, _, offset)) = self.run.memory.find(address, u64::from(bytes)) {
                    allocation.store(offset, data);
                }
            }
            Place::Param(address) => {
                self.out_of_bounds(at, lane, address);
                return false;
            }
        }
        true
    }

    /// An atomic read-modify-write of 2, 4 or 8 bytes; gives the old value.
    pub(super) fn update_place(
        &mut self,
        at: At,
        lane: u32,
        place: Place,
        bytes: u32,
        f: &dyn Fn(u64) -> u64,
    ) -> Option<u64> {
        let flags = Flags { strong: true, ..Flags::default() };
        match place {
            Place::Shared { cta, address } => {
                if !self.shared_bounds(at, lane, cta, address, bytes) {
                    return None;
                }
                self.touch_shared(at, lane, cta, (address, bytes), false, flags);
                self.touch_shared(at, lane, cta, (address, bytes), true, flags);
                let cell = &mut self.ctas[cta].smem[address as usize..][..bytes as usize];
                let mut raw = [0u8; 8];
                raw[..cell.len()].copy_from_slice(cell);
                let old = u64::from_le_bytes(raw);
                cell.copy_from_slice(&f(old).to_le_bytes()[..bytes as usize]);
                Some(old)
            }
            Place::Global(address) => {
                if !self.check_global(at, lane, (address, u64::from(bytes)), true, flags, false) {
                    return None;
                }
                let mut raw = [0u8; 8];
                self.read_global(at, lane, address, &mut raw[..bytes as usize]);
                Some(self.update_global(address, bytes, f))
            }
            Place::Param(address) => {
                self.out_of_bounds(at, lane, address);
                None
            }
        }
    }

    /// The read-modify-write itself, indivisible for all host threads. The range is in bounds.
    pub(super) fn update_global(&self, address: u64, bytes: u32, f: &dyn Fn(u64) -> u64) -> u64 {
        let Some((a, _, offset)) = self.run.memory.find(address, u64::from(bytes)) else { return 0 };
        let word = offset as usize / 4;
        if bytes == 8 {
            let _one = self.run.memory.wide_atomics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let old =
                u64::from(a.words[word].load(Acquire)) | u64::from(a.words[word + 1].load(Acquire)) << 32;
            let new = f(old);
            a.mark(word, 0xF);
            a.mark(word + 1, 0xF);
            a.words[word].store(new as u32, Release);
            a.words[word + 1].store((new >> 32) as u32, Release);
            return old;
        }
        let shift = (offset % 4 * 8) as u32;
        let mask = if bytes == 4 { u32::MAX } else { ((1u32 << (bytes * 8)) - 1) << shift };
        let part = |w: u32| u64::from((w & mask) >> shift);
        let old = a.words[word]
            .fetch_update(AcqRel, Acquire, |w| Some(w & !mask | (f(part(w)) as u32) << shift & mask));
        a.mark(word, (((1u16 << bytes) - 1) as u8) << (offset % 4));
        part(old.unwrap_or(0))
    }
}
