//! Asynchronous copies: `cp.async`, and the queue of everything that is under way and lands later.
//!
//! A copy's effect on the *shadow* happens when it is issued, its bytes move when it lands. Landing happens at random
//! times until somebody waits for the copy, so code that does not wait sees old bytes in some run, and is reported in
//! every run.

use super::{At, Unit};
use crate::finding::FindingKind;
use crate::op::{AtomOp, Op, RedOp, Space};
use crate::sanitize::{AccessId, Clock, Flags};
use crate::types::Ty;
use std::collections::VecDeque;

/// Up to 16 bytes into shared memory: bytes `lo..hi` come from `src` on, the rest is fill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    /// The access that the shadow shall name.
    pub op: AccessId,
    pub dst: u32,
    pub len: u8,
    pub lo: u8,
    pub hi: u8,
    pub src: Source,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Global(u64),
    Shared { cta: usize, address: u32 },
}

/// A copy into shared memory.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub op: AccessId,
    pub at: At,
    pub lane: u32,
    pub cta: usize,
    pub chunks: Vec<Chunk>,
    pub fill: [u8; 16],
    /// The mbarrier that receives the transaction bytes.
    pub bar: Option<u32>,
    pub bytes: i64,
}

/// A copy out of shared memory: pieces of up to 16 bytes from shared to global addresses.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub op: AccessId,
    pub at: At,
    pub cta: usize,
    pub pieces: Vec<(u32, u64, u8)>,
    pub red: Option<(RedOp, Ty)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Load(Box<Load>),
    /// `cp.async.mbarrier.arrive`: each lane arrives at its mbarrier once its copies are complete.
    Arrive {
        at: At,
        ops: Vec<LaneCopies>,
        bars: Vec<(u32, u32)>,
    },
    StoreRead(Box<Store>),
    /// Bytes on their way to global memory.
    StoreWrite {
        at: At,
        data: Vec<(u64, [u8; 16], u8)>,
        red: Option<(RedOp, Ty)>,
    },
}

impl Pending {
    fn op(&self) -> AccessId {
        match self {
            Pending::Load(l) => l.op,
            Pending::StoreRead(s) => s.op,
            Pending::Arrive { .. } | Pending::StoreWrite { .. } => 0,
        }
    }
}

/// A `cp.async` of several lanes: each lane's copy is an access of its own, numbered from `first` in lane order, since
/// each completes with its own lane's arrival.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneCopies {
    first: AccessId,
    lanes: u32,
}

impl LaneCopies {
    fn of(self, lane: u32) -> Option<AccessId> {
        (self.lanes >> lane & 1 != 0).then(|| self.first + (self.lanes & ((1 << lane) - 1)).count_ones())
    }

    fn all(self) -> impl Iterator<Item = AccessId> {
        self.first..self.first + self.lanes.count_ones()
    }
}

/// Copies that a warp has issued and not waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyState {
    /// `cp.async` operations since the last commit, and the committed groups.
    open: Vec<LaneCopies>,
    groups: VecDeque<Vec<LaneCopies>>,
    /// Bulk stores with the lane that issued them.
    pub bulk_open: Vec<(AccessId, u32)>,
    pub bulk_groups: VecDeque<Vec<(AccessId, u32)>>,
}

/// The atomic operation that a bulk reduction applies to each element.
fn element_op(op: RedOp) -> AtomOp {
    match op {
        RedOp::Add => AtomOp::Add,
        RedOp::Min => AtomOp::Min,
        RedOp::Max => AtomOp::Max,
        RedOp::And => AtomOp::And,
        RedOp::Or => AtomOp::Or,
        RedOp::Xor => AtomOp::Xor,
        RedOp::Inc => AtomOp::Inc,
        RedOp::Dec => AtomOp::Dec,
    }
}

impl Unit<'_> {
    /// Lets one asynchronous operation happen, at random; false when none is under way.
    pub(super) fn land_one(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let i = self.rng.below(self.pending.len());
        let p = self.pending.swap_remove(i);
        self.land(p);
        true
    }

    pub(super) fn land_all(&mut self) {
        while self.land_one() {}
    }

    /// Lets the operation `op` happen if it has not.
    pub(super) fn land_op(&mut self, op: AccessId) {
        if let Some(i) = self.pending.iter().position(|p| p.op() == op) {
            let p = self.pending.swap_remove(i);
            self.land(p);
        }
    }

    pub(super) fn land(&mut self, p: Pending) {
        match p {
            Pending::Load(load) => self.land_load(&load),
            Pending::Arrive { at, ops, mut bars } => {
                for op in &ops {
                    self.land_op(op.first);
                }
                for i in (1..bars.len()).rev() {
                    bars.swap(i, self.rng.below(i + 1));
                }
                for (lane, bar) in bars {
                    for op in ops.iter().filter_map(|o| o.of(lane)) {
                        self.mbar_completes(op, bar);
                    }
                    self.mbar_arrive(at, bar, 1, None);
                }
            }
            Pending::StoreRead(store) => {
                let data = store
                    .pieces
                    .iter()
                    .map(|&(src, dst, len)| {
                        let mut raw = [0u8; 16];
                        raw[..len as usize]
                            .copy_from_slice(&self.ctas[store.cta].smem[src as usize..][..len as usize]);
                        (dst, raw, len)
                    })
                    .collect();
                self.pending.push(Pending::StoreWrite { at: store.at, data, red: store.red });
            }
            Pending::StoreWrite { data, red, .. } => {
                for (dst, raw, len) in data {
                    self.write_global(dst, &raw[..len as usize], red);
                }
            }
        }
    }

    /// Bytes that were checked when the copy was issued.
    fn write_global(&mut self, dst: u64, raw: &[u8], red: Option<(RedOp, Ty)>) {
        let Some((op, ty)) = red else {
            if let Some((a, _, offset)) = self.run.memory.find(dst, raw.len() as u64) {
                a.store(offset, raw);
            }
            return;
        };
        let each = ty.bytes() as usize;
        for (i, part) in raw.chunks_exact(each).enumerate() {
            let mut x = [0u8; 8];
            x[..each].copy_from_slice(part);
            let v = u64::from_le_bytes(x);
            let f = |old: u64| super::access::combine(element_op(op), ty, old, v, None);
            self.update_global(dst + (i * each) as u64, each as u32, &f);
        }
    }

    fn land_load(&mut self, load: &Load) {
        for c in &load.chunks {
            let mut raw = load.fill;
            if c.hi > c.lo {
                let part = &mut raw[c.lo as usize..c.hi as usize];
                match c.src {
                    Source::Global(src) => self.read_global(load.at, load.lane, src, part),
                    Source::Shared { cta, address } => {
                        let n = part.len();
                        part.copy_from_slice(&self.ctas[cta].smem[address as usize..][..n]);
                    }
                }
            }
            self.ctas[load.cta].smem[c.dst as usize..][..c.len as usize]
                .copy_from_slice(&raw[..c.len as usize]);
        }
        if let Some(bar) = load.bar {
            self.mbar_completes(load.op, bar);
            self.mbar_tx(load.at, bar, -load.bytes);
        }
    }

    /// Registers the writes of a copy in the shadow, as of its issue, and queues it.
    pub(super) fn issue_load(&mut self, load: Load) {
        if let Some(shadow) = self.ctas[load.cta].shadow.as_mut() {
            let know = &self.warps[load.at.w].know;
            let mut found = None;
            for c in &load.chunks {
                let hit =
                    shadow.write(&self.history, c.op, (&know.clock, &know.proxy), (c.dst, u32::from(c.len)));
                found = found.or(hit);
            }
            if let Some((conflict, address)) = found {
                self.conflict(load.at, Some(load.lane), conflict, address, true);
            }
        }
        self.pending.push(Pending::Load(Box::new(load)));
    }

    pub(super) fn cp_async(&mut self, at: At, op: &Op) {
        match *op {
            Op::CpAsync { dst, src, bytes, src_bytes, ignore } => {
                let warp = &mut self.warps[at.w];
                let cta = warp.cta;
                let sizes = src_bytes.map(|s| warp.get(s, at.mask));
                let ignored = ignore.map_or(0, |p| warp.get_pred(p, at.mask));
                let to = self.lanes(at, dst);
                let from = self.lanes(at, src);
                let flags = Flags { asynchronous: true, ..Flags::default() };
                let mut chunks = Vec::with_capacity(32);
                let mut first = 0;
                for ((lane, d), (_, s)) in to.into_iter().zip(from) {
                    let id = self.access(at, flags);
                    first = if first == 0 { id } else { first };
                    let mut n = sizes.map_or(bytes, |v| v[lane as usize]);
                    if ignored >> lane & 1 != 0 {
                        n = 0;
                    }
                    if n > bytes {
                        let message = format!("the source size is {n} bytes of {bytes}");
                        self.report(FindingKind::BadOperand, at, Some(lane), message, None);
                        continue;
                    }
                    let Some((_, d)) = self.shared_target(at, lane, d, Space::Shared) else { continue };
                    if !self.aligned(at, lane, u64::from(d), bytes)
                        || !self.shared_bounds(at, lane, cta, d, bytes)
                    {
                        continue;
                    }
                    if n > 0
                        && (!self.aligned(at, lane, s, bytes)
                            || !self.check_global(
                                at,
                                lane,
                                (s, u64::from(n)),
                                false,
                                Flags::default(),
                                false,
                            ))
                    {
                        n = 0;
                    }
                    chunks.push(Chunk {
                        op: id,
                        dst: d,
                        len: bytes as u8,
                        lo: 0,
                        hi: n as u8,
                        src: Source::Global(s),
                    });
                }
                let lane = at.mask.trailing_zeros();
                self.copies[at.w].open.push(LaneCopies { first, lanes: at.mask });
                self.issue_load(Load {
                    op: first,
                    at,
                    lane,
                    cta,
                    chunks,
                    fill: [0; 16],
                    bar: None,
                    bytes: 0,
                });
            }
            Op::CpAsyncCommit => {
                let s = &mut self.copies[at.w];
                let group = std::mem::take(&mut s.open);
                s.groups.push_back(group);
            }
            Op::CpAsyncWait { pending, all } => {
                let s = &mut self.copies[at.w];
                if all {
                    let group = std::mem::take(&mut s.open);
                    s.groups.push_back(group);
                }
                while self.copies[at.w].groups.len() > pending as usize {
                    for copies in self.copies[at.w].groups.pop_front().unwrap_or_default() {
                        self.land_op(copies.first);
                        for op in copies.all() {
                            self.history.complete(op, at.w as u32, self.warps[at.w].now);
                        }
                    }
                }
            }
            Op::CpAsyncMbarArrive { a, noinc } => {
                let s = &self.copies[at.w];
                let ops: Vec<LaneCopies> = s.groups.iter().flatten().chain(&s.open).copied().collect();
                let cta = self.warps[at.w].cta;
                let mut bars = Vec::new();
                for (lane, address) in self.lanes(at, a) {
                    let Some((_, offset)) = self.shared_target(at, lane, address, Space::Shared) else {
                        continue;
                    };
                    if let Some(bar) = self.mbar_at(at, lane, cta, offset) {
                        self.mbar_known(at, bar);
                        if !noinc {
                            self.mbar_expect_arrival(bar);
                        }
                        bars.push((lane, bar));
                    }
                }
                // What a later arrive waits for includes these, but they need not be named twice.
                let s = &mut self.copies[at.w];
                s.groups.clear();
                s.open.clear();
                self.pending.push(Pending::Arrive { at, ops, bars });
            }
            _ => unreachable!("not a cp.async"),
        }
    }

    /// Knowledge of a whole block: what any of its warps waited for.
    fn joined(&self, cta: usize) -> Clock {
        let mut all = Clock::default();
        for w in self.ctas[cta].warps.clone() {
            all.join(&self.warps[w].know.clock);
        }
        all
    }

    /// Remembers a bulk copy into `cta` until somebody has waited for it.
    pub(super) fn remember_load(&mut self, cta: usize, op: AccessId, pc: u32) {
        self.ctas[cta].loads.push((op, pc));
        if self.ctas[cta].loads.len().is_multiple_of(512) {
            let known = self.joined(cta);
            let history = &self.history;
            self.ctas[cta].loads.retain(|(op, _)| !history.before(*op, u32::MAX, &known));
        }
    }

    /// Every bulk copy into the block's shared memory was waited for.
    pub(super) fn loads_at_exit(&mut self, at: At, cta: usize) {
        let known = self.joined(cta);
        let loads = std::mem::take(&mut self.ctas[cta].loads);
        for (op, _) in loads {
            if !self.history.before(op, u32::MAX, &known) {
                let message = "the thread block ends and nobody waited for a copy into its shared memory";
                self.report(FindingKind::InFlightAtExit, at, None, message, Some(op));
            }
        }
    }

    /// Every bulk store of the warp has read its shared memory.
    pub(super) fn stores_at_exit(&mut self, at: At) {
        let s = std::mem::take(&mut self.copies[at.w]);
        if let Some((op, _)) = s.bulk_open.first() {
            let message = "the warp ends with a bulk store that was never committed";
            self.report(FindingKind::InFlightAtExit, at, None, message, Some(*op));
        }
        if let Some((op, _)) = s.bulk_groups.iter().flatten().next() {
            let message =
                "the warp ends before its bulk store has read shared memory: a wait_group is missing";
            self.report(FindingKind::InFlightAtExit, at, None, message, Some(*op));
        }
    }

    /// Numbers of accesses that are still needed.
    ///
    /// Lane copies come first and whole, since compaction keeps the order of this list and their numbers must stay
    /// consecutive.
    pub(super) fn live_accesses(&self) -> Vec<AccessId> {
        let mut all = Vec::new();
        for p in &self.pending {
            if let Pending::Arrive { ops, .. } = p {
                all.extend(ops.iter().flat_map(|o| o.all()));
            }
        }
        for s in &self.copies {
            all.extend(s.open.iter().chain(s.groups.iter().flatten()).flat_map(|o| o.all()));
            all.extend(s.bulk_open.iter().chain(s.bulk_groups.iter().flatten()).map(|x| x.0));
        }
        all.extend(self.pending.iter().map(Pending::op));
        all.extend(self.mbars.iter().map(|b| b.init));
        all.extend(self.ctas.iter().flat_map(|c| &c.loads).map(|x| x.0));
        all.extend(self.wgmma.iter().flat_map(super::wgmma::WgmmaState::accesses));
        all
    }

    /// Applies new numbers after the history was compacted.
    pub(super) fn renumber(&mut self, kept: &[AccessId]) {
        let new = |id: &mut AccessId| *id = kept[*id as usize];
        for p in &mut self.pending {
            match p {
                Pending::Load(l) => {
                    new(&mut l.op);
                    l.chunks.iter_mut().for_each(|c| new(&mut c.op));
                }
                Pending::StoreRead(s) => new(&mut s.op),
                Pending::Arrive { ops, .. } => ops.iter_mut().for_each(|o| new(&mut o.first)),
                Pending::StoreWrite { .. } => {}
            }
        }
        for s in &mut self.copies {
            s.open.iter_mut().chain(s.groups.iter_mut().flatten()).for_each(|o| new(&mut o.first));
            s.bulk_open.iter_mut().chain(s.bulk_groups.iter_mut().flatten()).for_each(|x| new(&mut x.0));
        }
        self.mbars.iter_mut().for_each(|b| new(&mut b.init));
        self.ctas.iter_mut().flat_map(|c| &mut c.loads).for_each(|x| new(&mut x.0));
        self.wgmma.iter_mut().for_each(|s| s.renumber(kept));
    }
}
