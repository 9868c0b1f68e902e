//! The accesses of a cluster so far, by number, and the interned sets of reads that shadow words refer to.

use super::Clock;
use std::collections::BTreeMap;

/// Number of an access; 0 is none.
pub(crate) type AccessId = u32;

/// What kind of access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// It goes on after its instruction, until a completion.
    pub asynchronous: bool,
    /// It is made by the async proxy (bulk copies, wgmma).
    pub async_proxy: bool,
    /// It is atomic, volatile, relaxed or stronger.
    pub strong: bool,
}

/// One dynamic access, or all of one instruction by one warp.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub warp: u32,
    pub pc: u32,
    /// The warp's clock when it was issued.
    pub clock: u32,
    pub flags: Flags,
    /// Completions of an asynchronous access: actor and the event after which it is done.
    pub done: [Option<(u32, u32)>; 2],
}

impl Access {
    /// Whether it happens before an access by `warp` that knows `clock`.
    fn before(&self, warp: u32, clock: &Clock) -> bool {
        if self.flags.asynchronous {
            // The own wait lies before in program order.
            self.done.iter().flatten().any(|&(actor, at)| actor == warp || clock.get(actor) >= at)
        } else {
            self.warp == warp || clock.get(self.warp) >= self.clock
        }
    }

    /// Whether `clock`, a proxy clock, covers it.
    fn covered(&self, proxy: &Clock) -> bool {
        if self.flags.asynchronous {
            self.done.iter().flatten().any(|&(actor, at)| proxy.get(actor) >= at)
        } else {
            proxy.get(self.warp) >= self.clock
        }
    }
}

/// Accesses and read sets of one cluster.
#[derive(Debug)]
pub(crate) struct History {
    accesses: Vec<Access>,
    sets: Vec<Box<[AccessId]>>,
    index: BTreeMap<Box<[AccessId]>, u32>,
    /// Last transition: (set, reader) → set.
    last: (u32, AccessId, u32),
}

impl History {
    pub(crate) fn new() -> Self {
        let none = Access { warp: 0, pc: 0, clock: 0, flags: Flags::default(), done: [None; 2] };
        let mut index = BTreeMap::new();
        index.insert(Box::default(), 0);
        History { accesses: vec![none], sets: vec![Box::default()], index, last: (0, 0, 0) }
    }

    /// Registers an access. The same instruction of the same warp at the same clock is one access.
    pub(crate) fn push(&mut self, access: Access) -> AccessId {
        if !access.flags.asynchronous
            && let Some(last) = self.accesses.last()
            && (last.warp, last.pc, last.clock, last.flags)
                == (access.warp, access.pc, access.clock, access.flags)
        {
            return self.accesses.len() as u32 - 1;
        }
        self.accesses.push(access);
        self.accesses.len() as u32 - 1
    }

    pub(crate) fn get(&self, id: AccessId) -> &Access {
        &self.accesses[id as usize]
    }

    /// The asynchronous access `id` is done once `actor` has reached `at`.
    pub(crate) fn complete(&mut self, id: AccessId, actor: u32, at: u32) {
        let done = &mut self.accesses[id as usize].done;
        if done[0].is_none() {
            done[0] = Some((actor, at));
        } else if done[1].is_none() {
            done[1] = Some((actor, at));
        }
    }

    pub(crate) fn before(&self, id: AccessId, warp: u32, clock: &Clock) -> bool {
        self.get(id).before(warp, clock)
    }

    pub(crate) fn covered(&self, id: AccessId, proxy: &Clock) -> bool {
        self.get(id).covered(proxy)
    }

    pub(crate) fn readers(&self, set: u32) -> &[AccessId] {
        &self.sets[set as usize]
    }

    /// The set `set` with the reader `me` added and the readers that happen before `me` dropped: whoever comes after
    /// `me` comes after them too.
    pub(crate) fn add_reader(&mut self, set: u32, me: AccessId, clock: &Clock) -> u32 {
        if self.last.0 == set && self.last.1 == me {
            return self.last.2;
        }
        let warp = self.get(me).warp;
        let mut next: Vec<AccessId> = self.sets[set as usize]
            .iter()
            .copied()
            .filter(|&r| r != me && !self.before(r, warp, clock))
            .collect();
        next.push(me);
        next.sort_unstable();
        let next: Box<[AccessId]> = next.into();
        let id = if let Some(&id) = self.index.get(&next) {
            id
        } else {
            let id = self.sets.len() as u32;
            self.sets.push(next.clone());
            self.index.insert(next, id);
            id
        };
        self.last = (set, me, id);
        id
    }

    /// Whether it is worth dropping what no shadow word refers to.
    pub(crate) fn large(&self) -> bool {
        self.accesses.len() > 2_000_000 || self.sets.len() > 1_000_000
    }

    /// Renumbers so that only the accesses in `roots` (asynchronous operations still referred to), and those reached
    /// by `each` word's (write, reads), stay. Returns the new number of every old access; 0 where it is gone.
    pub(crate) fn compact(
        &mut self,
        roots: &[AccessId],
        words: &mut dyn Iterator<Item = (&mut AccessId, &mut u32)>,
    ) -> Vec<AccessId> {
        let mut kept = vec![0u32; self.accesses.len()];
        let mut accesses = vec![self.accesses[0]];
        let old = std::mem::take(&mut self.accesses);
        let mut keep = |id: AccessId| {
            if id != 0 && kept[id as usize] == 0 {
                accesses.push(old[id as usize]);
                kept[id as usize] = accesses.len() as u32 - 1;
            }
            if id == 0 { 0 } else { kept[id as usize] }
        };
        for &r in roots {
            keep(r);
        }
        let sets = std::mem::take(&mut self.sets);
        self.index.clear();
        self.sets.push(Box::default());
        self.index.insert(Box::default(), 0);
        let mut moved: BTreeMap<u32, u32> = BTreeMap::from([(0, 0)]);
        for (write, reads) in words {
            *write = keep(*write);
            *reads = *moved.entry(*reads).or_insert_with(|| {
                let mut set: Vec<AccessId> = sets[*reads as usize].iter().map(|&r| keep(r)).collect();
                set.sort_unstable();
                let set: Box<[AccessId]> = set.into();
                let id = self.sets.len() as u32;
                self.sets.push(set.clone());
                self.index.insert(set, id);
                id
            });
        }
        self.accesses = accesses;
        self.last = (0, 0, 0);
        kept
    }
}
