//! Named barriers, the cluster barrier, fences, `setmaxnreg`, and what happens when a warp ends.

use super::warp::State;
use super::{At, Flow, Unit};
use crate::finding::FindingKind;
use crate::op::{BarKind, Fence, Op, Val};
use crate::sanitize::Knowledge;

/// Who has to arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    /// Nobody has arrived yet.
    #[default]
    Open,
    /// The whole block.
    All,
    Threads(u32),
}

/// One of the sixteen barriers of a block.
#[derive(Clone, Debug, Default)]
pub(super) struct Barrier {
    /// Threads that have arrived, in whole warps.
    arrived: u32,
    /// The count operand of the arrivals.
    expected: Expected,
    know: Knowledge,
    /// Sum, conjunction and disjunction of a reduction.
    popc: u32,
    and: bool,
    or: bool,
}

/// The barrier of a cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct ClusterBarrier {
    arrived: Vec<usize>,
    phase: u64,
    know: Knowledge,
    done: Knowledge,
    /// Phase that each warp waits for, by warp.
    waiting: std::collections::BTreeMap<usize, u64>,
}

impl Unit<'_> {
    pub(super) fn barrier(
        &mut self,
        at: At,
        kind: BarKind,
        aligned: bool,
        id: Val,
        count: Option<Val>,
    ) -> Flow {
        if aligned {
            self.together(at, false);
        }
        let warp = &mut self.warps[at.w];
        let cta = warp.cta;
        let id = warp.first(id, at.mask);
        let count = count.map(|c| warp.first(c, at.mask) as u32);
        let vote = match kind {
            BarKind::Sync | BarKind::Arrive => 0,
            BarKind::Popc { src, .. } | BarKind::And { src, .. } | BarKind::Or { src, .. } => {
                warp.get_pred(src, at.mask) & at.mask
            }
        };
        if id > 15 {
            self.report(FindingKind::BarrierMismatch, at, None, format!("there is no barrier {id}"), None);
            return Flow::Next;
        }
        if let Some(n) = count
            && (n == 0 || n % 32 != 0)
        {
            let message = format!("barrier {id} is for {n} threads, which is no multiple of 32");
            self.report(FindingKind::BarrierMismatch, at, None, message, None);
            return Flow::Next;
        }
        let bar = &self.ctas[cta].barriers[id as usize];
        let wanted = count.map_or(Expected::All, Expected::Threads);
        if bar.expected != Expected::Open && bar.expected != wanted {
            let show = |e: Expected| match e {
                Expected::Threads(n) => n.to_string(),
                _ => "all".to_owned(),
            };
            let message = format!(
                "barrier {id} was entered for {} threads and now for {}",
                show(bar.expected),
                show(wanted)
            );
            self.report(FindingKind::BarrierMismatch, at, None, message, None);
        }
        self.release(at.w);
        let lanes = if aligned { 32 } else { at.mask.count_ones() };
        let bar = &mut self.ctas[cta].barriers[id as usize];
        if bar.expected == Expected::Open {
            bar.popc = 0;
            bar.and = true;
            bar.or = false;
        }
        bar.expected = wanted;
        bar.know.join(&self.warps[at.w].know);
        bar.arrived += lanes;
        bar.popc += vote.count_ones();
        bar.and &= vote == at.mask;
        bar.or |= vote != 0;
        let (arrived, waits) = (bar.arrived, kind != BarKind::Arrive);
        let need = self.barrier_size(cta, count);
        if arrived > need {
            let message = format!("{arrived} threads have arrived at barrier {id}, which is for {need}");
            self.report(FindingKind::BarrierMismatch, at, None, message, None);
        }
        if arrived < need {
            return if waits { Flow::Block(State::Barrier(id as u8)) } else { Flow::Next };
        }
        if waits {
            self.pass(at.w, cta, id as usize, kind, at.mask);
        }
        self.complete(cta, id as usize);
        Flow::Next
    }

    /// Threads that complete a barrier: the count, or the warps that still run.
    fn barrier_size(&self, cta: usize, count: Option<u32>) -> u32 {
        count.unwrap_or_else(|| {
            let warps = &self.warps[self.ctas[cta].warps.clone()];
            warps.iter().filter(|w| !w.done()).count() as u32 * 32
        })
    }

    /// Lets a warp through a complete barrier.
    fn pass(&mut self, w: usize, cta: usize, id: usize, kind: BarKind, mask: u32) {
        let bar = &self.ctas[cta].barriers[id];
        let warp = &mut self.warps[w];
        warp.know.join(&bar.know);
        warp.unfenced = 0;
        match kind {
            BarKind::Popc { dst, .. } => warp.set(dst, &[bar.popc; 32], mask),
            BarKind::And { dst, .. } => warp.set_pred(dst, if bar.and { u32::MAX } else { 0 }, mask),
            BarKind::Or { dst, .. } => warp.set_pred(dst, if bar.or { u32::MAX } else { 0 }, mask),
            BarKind::Sync | BarKind::Arrive => {}
        }
    }

    fn complete(&mut self, cta: usize, id: usize) {
        for w in self.ctas[cta].warps.clone() {
            while let Some(g) = self.warps[w].groups.iter().position(|g| g.state == State::Barrier(id as u8))
            {
                let (pc, mask) = (self.warps[w].groups[g].pc, self.warps[w].groups[g].mask);
                if let Op::Bar { kind, .. } = self.code[pc as usize].op {
                    self.pass(w, cta, id, kind, mask);
                }
                self.warps[w].advance(g);
            }
        }
        let bar = &mut self.ctas[cta].barriers[id];
        bar.arrived = 0;
        bar.expected = Expected::Open;
        bar.know.clear();
    }

    pub(super) fn cluster_arrive(&mut self, at: At, release: bool, aligned: bool) {
        if aligned {
            self.together(at, false);
        }
        if self.cluster_barrier.arrived.contains(&at.w) {
            let message = "this warp arrives twice at the cluster barrier without waiting between";
            self.report(FindingKind::BarrierMismatch, at, None, message, None);
            return;
        }
        if release {
            self.release(at.w);
            self.cluster_barrier.know.join(&self.warps[at.w].know);
        }
        self.cluster_barrier.arrived.push(at.w);
        self.cluster_barrier.waiting.insert(at.w, self.cluster_barrier.phase);
        self.cluster_progress();
    }

    /// Completes the cluster barrier when every live warp has arrived.
    fn cluster_progress(&mut self) {
        let all =
            (0..self.warps.len()).all(|w| self.warps[w].done() || self.cluster_barrier.arrived.contains(&w));
        if !all || self.cluster_barrier.arrived.is_empty() {
            return;
        }
        let b = &mut self.cluster_barrier;
        b.phase += 1;
        b.arrived.clear();
        let know = std::mem::take(&mut b.know);
        b.done.join(&know);
        for w in 0..self.warps.len() {
            while let Some(g) = self.warps[w].groups.iter().position(|g| g.state == State::ClusterBarrier) {
                self.warps[w].know.join(&self.cluster_barrier.done);
                self.warps[w].unfenced = 0;
                self.cluster_barrier.waiting.remove(&w);
                self.warps[w].advance(g);
            }
        }
    }

    pub(super) fn cluster_wait(&mut self, at: At, aligned: bool) -> Flow {
        if aligned {
            self.together(at, false);
        }
        match self.cluster_barrier.waiting.get(&at.w) {
            None => {
                let message = "a wait at the cluster barrier without an arrival";
                self.report(FindingKind::BarrierMismatch, at, None, message, None);
                Flow::Next
            }
            Some(&phase) if self.cluster_barrier.phase > phase => {
                self.cluster_barrier.waiting.remove(&at.w);
                self.warps[at.w].know.join(&self.cluster_barrier.done);
                Flow::Next
            }
            Some(_) => Flow::Block(State::ClusterBarrier),
        }
    }

    pub(super) fn fence(&mut self, at: At, fence: Fence) {
        match fence {
            Fence::Memory => {
                let warp = &mut self.warps[at.w];
                if let Some(seen) = warp.observed.take() {
                    warp.know.join(&seen);
                }
                self.release(at.w);
                let warp = &mut self.warps[at.w];
                warp.fenced = Some(Box::new(warp.know.clone()));
            }
            Fence::ProxyAsync { shared, .. } => {
                if !shared {
                    return;
                }
                let warp = &mut self.warps[at.w];
                // Writes of lanes that do not take part stay uncovered unless a warp-wide barrier ordered them.
                warp.unfenced &= !at.mask;
                let whole = warp.unfenced == 0;
                let now = warp.now;
                let know = &mut warp.know;
                know.proxy.join(&know.clock);
                if whole {
                    know.proxy.raise(at.w as u32, now);
                }
                if whole {
                    self.release(at.w);
                }
                self.publish_mbarriers(at.w);
            }
            Fence::MbarrierInit => self.publish_mbarriers(at.w),
            Fence::Wgmma => {
                self.together(at, true);
                self.wgmma_fence(at.w);
            }
        }
    }

    pub(super) fn registers_free(&self, w: usize, cta: usize, pc: u32) -> bool {
        let Some(Op::SetMaxNReg { count, .. }) = self.code.get(pc as usize).map(|i| &i.op) else {
            return true;
        };
        count.saturating_sub(self.warps[w].budget) <= self.ctas[cta].free_registers
    }

    pub(super) fn set_max_registers(&mut self, at: At, increase: bool, count: u32) -> Flow {
        self.together(at, true);
        let warp = &self.warps[at.w];
        let (cta, have) = (warp.cta, warp.budget);
        if increase && count < have || !increase && count > have {
            let message = format!(
                "setmaxnreg.{} to {count} registers where the warp has {have}",
                if increase { "inc" } else { "dec" }
            );
            self.report(FindingKind::RegisterBudget, at, None, message, None);
            return Flow::Next;
        }
        if increase {
            if !self.registers_free(at.w, cta, at.pc) {
                return Flow::Block(State::Registers);
            }
            self.ctas[cta].free_registers -= count - have;
        } else {
            self.ctas[cta].free_registers += have - count;
        }
        self.warps[at.w].budget = count;
        Flow::Next
    }

    /// A warp's last lane has exited.
    pub(super) fn warp_ended(&mut self, at: At) {
        let cta = self.warps[at.w].cta;
        self.ctas[cta].free_registers += self.warps[at.w].budget;
        self.warps[at.w].budget = 0;
        self.release(at.w);
        if self.sanitize {
            self.wgmma_at_exit(at);
            self.stores_at_exit(at);
        }
        for id in 0..16 {
            let bar = &self.ctas[cta].barriers[id];
            if bar.expected == Expected::All && bar.arrived >= self.barrier_size(cta, None) && bar.arrived > 0
            {
                self.complete(cta, id);
            }
        }
        self.cluster_progress();
        let range = self.ctas[cta].warps.clone();
        if self.warps[range].iter().all(super::Warp::done) && !self.ctas[cta].ended {
            self.ctas[cta].ended = true;
            if self.sanitize {
                self.loads_at_exit(at, cta);
            }
        }
    }
}
