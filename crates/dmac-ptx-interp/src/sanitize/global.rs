//! The shadow of global memory: the last write and the last read of every word, across all thread blocks.
//!
//! Blocks run in parallel and are ordered only by atomics, so a record names cluster, warp and clock, and a warp's
//! knowledge of other clusters decides. Per word one read is remembered, with a mark when several clusters read; that
//! never reports a race that is none, but an unordered write after many readers may name only one of them.

use super::Knowledge;
use crate::memory::Memory;
use std::collections::BTreeMap;
use std::sync::Mutex;

const PAGE: usize = 1024;

/// Who accessed a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Cluster number plus one; 0 is nobody.
    pub cluster: u32,
    pub warp: u32,
    pub clock: u32,
    pub pc: u32,
    /// Atomic, volatile or relaxed.
    pub strong: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    write: Origin,
    read: Origin,
    write_bytes: u8,
    read_bytes: u8,
    several: bool,
}

/// An access to check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GlobalAccess {
    pub me: Origin,
    pub allocation: usize,
    pub offset: u64,
    pub bytes: u64,
    pub writes: bool,
    /// Through the read-only path (`ld.global.nc`).
    pub read_only: bool,
}

/// A race, or a read-only load of something written in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GlobalConflict {
    pub other: Origin,
    pub other_writes: bool,
    pub offset: u64,
}

type Page = Option<Box<[Word]>>;

pub(crate) struct GlobalShadow {
    allocations: Vec<Vec<Mutex<Page>>>,
    /// Release clocks of atomic locations, by address: per cluster what it had done.
    locations: Mutex<BTreeMap<u64, BTreeMap<u32, super::Clock>>>,
}

fn before(o: &Origin, me: &Origin, know: &Knowledge) -> bool {
    if o.cluster == me.cluster {
        o.warp == me.warp || know.clock.get(o.warp) >= o.clock
    } else {
        know.remote.get(&o.cluster).is_some_and(|c| c.get(o.warp) >= o.clock)
    }
}

impl GlobalShadow {
    pub(crate) fn new(memory: &Memory) -> Self {
        let allocations = memory
            .sizes()
            .map(|words| (0..words.div_ceil(PAGE)).map(|_| Mutex::new(None)).collect())
            .collect();
        GlobalShadow { allocations, locations: Mutex::new(BTreeMap::new()) }
    }

    /// Registers an access and returns the first conflict.
    pub(crate) fn access(&self, a: &GlobalAccess, know: &Knowledge) -> Option<GlobalConflict> {
        let pages = &self.allocations[a.allocation];
        let (start, end) = (a.offset, a.offset + a.bytes);
        let mut found = None;
        let mut word = (start / 4) as usize;
        let last = end.div_ceil(4) as usize;
        while word < last {
            let page = word / PAGE;
            let stop = last.min((page + 1) * PAGE);
            let mut guard = pages[page].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let words = guard.get_or_insert_with(|| vec![Word::default(); PAGE].into_boxed_slice());
            while word < stop {
                let at = word as u64 * 4;
                let (lo, hi) = (start.max(at) - at, end.min(at + 4) - at);
                let mask = ((0xFu8) >> (4 - (hi - lo))) << lo;
                let conflict = check(&mut words[word % PAGE], a, mask, know);
                if found.is_none() {
                    found = conflict.map(|(other, other_writes)| GlobalConflict {
                        other,
                        other_writes,
                        offset: at,
                    });
                }
                word += 1;
            }
        }
        found
    }

    /// Publishes `know` (of `cluster`) at an atomic location.
    pub(crate) fn release(&self, address: u64, cluster: u32, know: &Knowledge) {
        let mut all = self.locations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let here = all.entry(address).or_default();
        here.entry(cluster).or_default().join(&know.clock);
        for (c, clock) in &know.remote {
            here.entry(*c).or_default().join(clock);
        }
    }

    /// What was published at an atomic location, as seen by `cluster`.
    pub(crate) fn acquire(&self, address: u64, cluster: u32) -> Option<Knowledge> {
        let all = self.locations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let here = all.get(&address)?;
        let mut know = Knowledge::default();
        for (c, clock) in here {
            if *c == cluster {
                know.clock.join(clock);
            } else {
                know.remote.insert(*c, clock.clone());
            }
        }
        Some(know)
    }
}

fn check(w: &mut Word, a: &GlobalAccess, mask: u8, know: &Knowledge) -> Option<(Origin, bool)> {
    let me = &a.me;
    let wrote = w.write.cluster != 0 && w.write_bytes & mask != 0;
    let racy = |o: &Origin| !((o.strong && me.strong) || before(o, me, know));
    let mut conflict = None;
    if wrote && (racy(&w.write) || a.read_only) {
        conflict = Some((w.write, true));
    }
    if a.writes {
        let was_read = w.read.cluster != 0 && w.read_bytes & mask != 0;
        let blind = w.several && know.remote.is_empty() && !(w.read.strong && me.strong);
        if conflict.is_none() && was_read && (racy(&w.read) || blind) {
            conflict = Some((w.read, false));
        }
        w.write_bytes = if w.write == *me { w.write_bytes | mask } else { mask };
        w.write = *me;
        w.read = Origin::default();
        w.read_bytes = 0;
        w.several = false;
    } else {
        w.several |= w.read.cluster != 0 && w.read.cluster != me.cluster;
        w.read = *me;
        w.read_bytes |= mask;
    }
    conflict
}
