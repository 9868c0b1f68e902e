//! A warp's turn: fetch, guard, branch and exit, and the dispatch of all other instructions.
//!
//! Diverged lanes form groups. A group that reaches the reconvergence point of the branch that split it parks until
//! the others arrive (or exit); between the ready groups of a warp the choice is random, which is as adversarial as
//! the hardware may be.

use super::warp::{Frame, Group, State, Warp};
use super::{At, Flow, Unit};
use crate::finding::FindingKind;
use crate::op::{Inst, Op};

impl Warp {
    /// Parks the group at `g` if it stands at its reconvergence point, and merges it when all lanes are there.
    /// Group indices change.
    fn settle(&mut self, mut g: usize) {
        while let Some(&frame) = self.groups[g].frames.last() {
            if self.groups[g].pc != frame.pc {
                return;
            }
            self.groups[g].state = State::Parked;
            let want = frame.mask & self.live;
            let here =
                |x: &Group| x.state == State::Parked && x.frames.last().is_some_and(|f| f.id == frame.id);
            let have = self.groups.iter().filter(|x| here(x)).fold(0, |m, x| m | x.mask);
            if have & want != want {
                return;
            }
            let mut whole = self.groups[g].clone();
            whole.mask = have;
            whole.frames.pop();
            whole.state = State::Ready;
            self.groups.retain(|x| !here(x));
            self.groups.push(whole);
            g = self.groups.len() - 1;
        }
    }

    /// Moves a group to `pc` in state ready.
    pub(super) fn go(&mut self, g: usize, pc: u32) {
        self.groups[g].pc = pc;
        self.groups[g].state = State::Ready;
        self.settle(g);
    }

    /// The group goes to the next instruction; its index may change.
    pub(super) fn advance(&mut self, g: usize) {
        let pc = self.groups[g].pc + 1;
        self.go(g, pc);
    }

    fn split(&mut self, g: usize, taken: u32, target: u32, reconverge: Option<u32>) {
        let mut other = self.groups[g].clone();
        other.mask &= !taken;
        other.pc += 1;
        self.groups[g].mask = taken;
        if let Some(pc) = reconverge {
            let frame = Frame { id: self.next_frame, pc, mask: taken | other.mask };
            self.next_frame += 1;
            other.frames.push(frame);
            self.groups[g].frames.push(frame);
        }
        let lane = other.mask.trailing_zeros();
        self.groups.push(other);
        self.go(g, target);
        if let Some(i) = self.groups.iter().position(|x| x.mask >> lane & 1 != 0 && x.state == State::Ready) {
            self.settle(i);
        }
    }

    /// Removes lanes that have exited and lets groups go on that only waited for them.
    fn exit(&mut self, lanes: u32) {
        self.live &= !lanes;
        for g in &mut self.groups {
            g.mask &= !lanes;
        }
        self.groups.retain(|g| g.mask != 0);
        loop {
            let stuck = self.groups.iter().position(|g| {
                g.state == State::Parked
                    && g.frames.last().is_some_and(|f| {
                        let want = f.mask & self.live;
                        let have = self
                            .groups
                            .iter()
                            .filter(|x| {
                                x.state == State::Parked && x.frames.last().is_some_and(|y| y.id == f.id)
                            })
                            .fold(0, |m, x| m | x.mask);
                        have & want == want
                    })
            });
            match stuck {
                Some(g) => self.settle(g),
                None => return,
            }
        }
    }
}

impl Unit<'_> {
    /// Runs warp `w` for up to `quantum` instructions or until it blocks.
    pub(super) fn turn(&mut self, w: usize, quantum: u64) {
        let code = self.code;
        let mut left = quantum;
        while left > 0 {
            let warp = &mut self.warps[w];
            let ready = warp.groups.iter().filter(|g| g.state == State::Ready).count();
            if ready == 0 {
                return;
            }
            let pick = if ready == 1 { 0 } else { self.rng.below(ready) };
            let mut g = (0..warp.groups.len())
                .filter(|&g| warp.groups[g].state == State::Ready)
                .nth(pick)
                .expect("one of the ready groups");
            // Straight-line run of this group.
            loop {
                if left == 0 {
                    return;
                }
                left -= 1;
                self.steps += 1;
                let warp = &mut self.warps[w];
                warp.steps += 1;
                let group = &warp.groups[g];
                let (pc, lanes) = (group.pc, group.mask);
                let Some(inst) = code.get(pc as usize) else {
                    // Falling off the end is a return.
                    self.exit(At { w, pc, mask: lanes }, lanes);
                    break;
                };
                let mut mask = lanes;
                if let Some((p, negated)) = inst.guard {
                    let v = warp.pred(p, lanes);
                    mask &= if negated { !v } else { v };
                }
                let at = At { w, pc, mask };
                let flow = match inst.op {
                    Op::Bra { target } => {
                        if warp.violation.is_some() {
                            self.take_violation(at);
                        }
                        if !self.branch(w, g, (lanes, mask), target, inst) {
                            break;
                        }
                        continue;
                    }
                    Op::Exit if mask != 0 => {
                        self.exit(at, mask);
                        let warp = &mut self.warps[w];
                        if mask == lanes {
                            break;
                        }
                        if let Some(i) = warp.groups.iter().position(|x| x.mask & lanes != 0 && x.pc == pc) {
                            warp.advance(i);
                        }
                        break;
                    }
                    _ if mask == 0 => Flow::Next,
                    _ => self.execute(at, inst),
                };
                if self.warps[w].violation.is_some() {
                    self.take_violation(at);
                }
                let warp = &mut self.warps[w];
                if warp.groups.len() != 1 {
                    // A barrier may have merged other groups, which moves this one.
                    let lane = lanes.trailing_zeros();
                    match warp.groups.iter().position(|x| x.mask >> lane & 1 != 0) {
                        Some(i) => g = i,
                        None => break,
                    }
                } else if warp.groups[0].mask & lanes == 0 {
                    break;
                } else {
                    g = 0;
                }
                match flow {
                    Flow::Next | Flow::Yield => {
                        let group = &mut warp.groups[g];
                        group.pc += 1;
                        let next = group.pc;
                        if group.frames.last().is_some_and(|f| f.pc == next) {
                            warp.settle(g);
                            break;
                        }
                        if flow == Flow::Yield {
                            return;
                        }
                    }
                    Flow::Block(state) => {
                        warp.groups[g].state = state;
                        break;
                    }
                }
            }
        }
    }

    /// Whether the group at `g` simply goes on.
    fn branch(&mut self, w: usize, g: usize, (lanes, taken): (u32, u32), target: u32, inst: &Inst) -> bool {
        let warp = &mut self.warps[w];
        if taken == 0 || taken == lanes {
            let group = &mut warp.groups[g];
            let next = if taken == 0 { group.pc + 1 } else { target };
            group.pc = next;
            if group.frames.last().is_some_and(|f| f.pc == next) {
                warp.settle(g);
                return false;
            }
            return true;
        }
        warp.split(g, taken, target, inst.reconverge);
        false
    }

    fn exit(&mut self, at: At, lanes: u32) {
        self.warps[at.w].exit(lanes);
        if self.warps[at.w].done() {
            self.warp_ended(at);
        }
    }

    /// Whether all live lanes of the warp execute this `.aligned` instruction; `full` demands all 32 lanes.
    pub(super) fn together(&mut self, at: At, full: bool) -> bool {
        let live = self.warps[at.w].live;
        if at.mask == live && (!full || live == u32::MAX) {
            return true;
        }
        let absent = if full { !at.mask } else { live & !at.mask };
        let message = format!(
            "an .aligned instruction is executed by lanes {:#010x} only; lane {} is elsewhere or has exited",
            at.mask,
            absent.trailing_zeros()
        );
        self.report(FindingKind::Divergence, at, Some(at.mask.trailing_zeros()), message, None);
        false
    }

    /// Everything but branches and exits.
    fn execute(&mut self, at: At, inst: &Inst) -> Flow {
        let warp = &mut self.warps[at.w];
        if warp.integer(&inst.op, at.mask) || warp.float(&inst.op, at.mask) {
            return Flow::Next;
        }
        match &inst.op {
            Op::Cvta { .. } | Op::IsSpace { .. } | Op::Mapa { .. } | Op::GetCtaRank { .. } => {
                self.address_op(at, &inst.op);
            }
            Op::Ld { .. } => self.load(at, &inst.op),
            Op::St { .. } => self.store(at, &inst.op),
            Op::Atom { .. } => self.atomic(at, &inst.op),
            Op::Shfl { .. }
            | Op::Vote { .. }
            | Op::Match { .. }
            | Op::Redux { .. }
            | Op::Elect { .. }
            | Op::ActiveMask { .. }
            | Op::WarpSync { .. } => return self.exchange(at, &inst.op),
            Op::Bar { kind, aligned, id, count } => return self.barrier(at, *kind, *aligned, *id, *count),
            Op::ClusterArrive { release, aligned } => self.cluster_arrive(at, *release, *aligned),
            Op::ClusterWait { aligned, .. } => return self.cluster_wait(at, *aligned),
            Op::Fence(fence) => self.fence(at, *fence),
            Op::Trap => {
                self.report(FindingKind::Trap, at, None, "the kernel executed a trap", None);
                self.exit(at, at.mask);
                return Flow::Yield;
            }
            Op::MbarInit { .. }
            | Op::MbarInval { .. }
            | Op::MbarExpectTx { .. }
            | Op::MbarCompleteTx { .. }
            | Op::MbarArrive { .. }
            | Op::MbarWait { .. }
            | Op::MbarPending { .. } => return self.mbarrier(at, &inst.op),
            Op::CpAsync { .. }
            | Op::CpAsyncCommit
            | Op::CpAsyncWait { .. }
            | Op::CpAsyncMbarArrive { .. } => {
                self.cp_async(at, &inst.op);
            }
            Op::BulkLoad { .. } | Op::BulkShared { .. } | Op::TensorLoad { .. } => {
                self.bulk_load(at, &inst.op);
            }
            Op::BulkStore { .. } | Op::TensorStore { .. } | Op::BulkCommit | Op::BulkWait { .. } => {
                self.bulk_store(at, &inst.op);
            }
            Op::Ldmatrix { d, a, transposed } => self.ldmatrix(at, d, *a, *transposed),
            Op::Stmatrix { a, s, transposed } => self.stmatrix(at, *a, s, *transposed),
            Op::Mma { .. } => self.mma(at, &inst.op),
            Op::Wgmma(op) => self.wgmma(at, op),
            Op::WgmmaCommit => self.wgmma_commit(at),
            Op::WgmmaWait { pending } => self.wgmma_wait(at, *pending),
            Op::SetMaxNReg { increase, count } => return self.set_max_registers(at, *increase, *count),
            _ => unreachable!("the warp executed this instruction"),
        }
        Flow::Next
    }
}
