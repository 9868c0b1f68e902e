//! Instructions that a whole warp must execute together, behind a branch that depends on the lane.
//!
//! In: a kernel and its control flow. Out: errors. A register *varies* if lanes of one warp may hold different values:
//! thread indices do, what is computed or loaded from them does, and so does what is written behind a branch on a
//! varying predicate. Such a branch divides the warp until its nearest post-dominator; a collective instruction in
//! between is refused. It is also refused under a varying guard.
//!
//! Warps are taken to be 32 consecutive threads along x, so `tid >> 5` and comparisons of `tid` with multiples of 32 do
//! not vary; neither does what comes of comparing an integer with itself.

use super::flow::Flow;
use super::{CheckError, CheckErrorKind, RegSet};
use crate::inst::{Cmp, CmpTy, Inst, ScaleD, ShflMode, Shift, Special};
use crate::kernel::{Item, Kernel};
use crate::spell::spell;
use crate::types::{Imm, RegId, Src};

pub(super) fn check(kernel: &Kernel, flow: &Flow, errors: &mut Vec<CheckError>) {
    let post = flow.post_dominators();
    let thread = thread_index(kernel);
    let mut varies = RegSet::empty(kernel.regs.len());
    // Per block the predicate that divides the warp there, if one does.
    let mut divided: Vec<Option<RegId>> = vec![None; flow.blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for (b, block) in flow.blocks.iter().enumerate() {
            for item in &kernel.items[block.start..block.end] {
                let Item::Inst { guard, inst } = item else { continue };
                let controlled = divided[b].is_some() || guard.is_some_and(|g| varies.contains(g.pred));
                let value = result_varies(inst, &varies, &thread);
                if controlled || value {
                    spell(inst).registers(|r, written, _| {
                        if written && !kernel.uniform.contains(&r) {
                            changed |= varies.insert(r);
                        }
                    });
                }
            }
            if let Item::Inst { guard: Some(g), inst: Inst::Bra { .. } } = &kernel.items[block.end - 1]
                && varies.contains(g.pred)
            {
                for inside in region(flow, b, post[b]) {
                    if divided[inside].is_none() {
                        divided[inside] = Some(g.pred);
                        changed = true;
                    }
                }
            }
        }
    }
    for (b, block) in flow.blocks.iter().enumerate() {
        for at in block.start..block.end {
            let Item::Inst { guard, inst } = &kernel.items[at] else { continue };
            let own = guard.map(|g| g.pred).filter(|p| varies.contains(*p));
            let scale = match inst {
                Inst::Wgmma { scale_d: ScaleD::If(p), .. } => Some(*p).filter(|p| varies.contains(*p)),
                _ => None,
            };
            if let Some(predicate) = own.or(divided[b]).or(scale)
                && is_collective(inst)
            {
                let predicate = kernel.register_name(predicate);
                errors.push(CheckError::at(kernel, at, CheckErrorKind::Divergent { predicate }));
            }
        }
    }
}

/// Blocks between a branch and its post-dominator.
fn region(flow: &Flow, branch: usize, end: Option<usize>) -> Vec<usize> {
    let mut seen = vec![false; flow.blocks.len()];
    let mut todo: Vec<usize> = flow.blocks[branch].next.clone();
    let mut inside = Vec::new();
    while let Some(b) = todo.pop() {
        if Some(b) == end || seen[b] {
            continue;
        }
        seen[b] = true;
        inside.push(b);
        todo.extend(&flow.blocks[b].next);
    }
    inside
}

/// Registers that hold the thread index along x and nothing else.
fn thread_index(kernel: &Kernel) -> Vec<RegId> {
    let mut holds = Vec::new();
    for inst in kernel.instructions() {
        if let Inst::MovSpecial { d, special: Special::TidX } = inst {
            holds.push(*d);
        }
    }
    holds.retain(|r| {
        let writes = kernel.instructions().filter(|i| {
            let mut writes = false;
            spell(i).registers(|w, written, _| writes |= written && w == *r);
            writes
        });
        writes.count() == 1
    });
    holds
}

/// Whether lanes may get different results although they execute `inst` together.
fn result_varies(inst: &Inst, varies: &RegSet, thread: &[RegId]) -> bool {
    let is_thread = |s: &Src| matches!(s, Src::Reg(r) if thread.contains(r));
    let whole_warps = |s: &Src, by: i64| matches!(s, Src::Imm(Imm::Int(n)) if n % by == 0);
    match inst {
        Inst::MovSpecial { special, .. } => matches!(
            special,
            Special::TidX
                | Special::TidY
                | Special::TidZ
                | Special::LaneId
                | Special::LanemaskLt
                | Special::LanemaskLe
                | Special::Clock64
                | Special::GlobalTimer
        ),
        Inst::Shift { op: Shift::ShrU, a, b: Src::Imm(Imm::Int(n)), .. } if is_thread(a) && *n >= 5 => false,
        Inst::Setp { cmp: Cmp::Lt | Cmp::Ge, with: None, a, b, .. } if is_thread(a) && whole_warps(b, 32) => {
            false
        }
        // A number compared with itself: how a constant condition is written.
        Inst::Setp { ty, with: None, a, b, .. } if a == b && *ty != CmpTy::F32 => false,
        Inst::Shfl { mode: ShflMode::Idx, b: Src::Imm(_), in_range: None, .. }
        | Inst::Vote { .. }
        | Inst::Ballot { .. }
        | Inst::BarVote { .. }
        | Inst::Redux { .. }
        | Inst::ActiveMask { .. }
        | Inst::Match { all: true, .. } => false,
        Inst::Elect { .. }
        | Inst::Match { all: false, .. }
        | Inst::Atomic { .. }
        | Inst::MbarrierTry { .. }
        | Inst::Mma { .. }
        | Inst::Ldmatrix { .. }
        | Inst::Wgmma { .. } => true,
        other => {
            let mut any = false;
            spell(other).registers(|r, _, read| any |= read && varies.contains(r));
            any
        }
    }
}

/// Whether all lanes of the warp must execute `inst` together.
fn is_collective(inst: &Inst) -> bool {
    matches!(
        inst,
        Inst::Shfl { .. }
            | Inst::Bar { .. }
            | Inst::BarVote { .. }
            | Inst::BarWarp { .. }
            | Inst::ClusterArrive { .. }
            | Inst::ClusterWait
            | Inst::Vote { .. }
            | Inst::Ballot { .. }
            | Inst::Match { .. }
            | Inst::Redux { .. }
            | Inst::Elect { .. }
            | Inst::Mma { .. }
            | Inst::Ldmatrix { .. }
            | Inst::Stmatrix { .. }
            | Inst::Wgmma { .. }
            | Inst::WgmmaFence
            | Inst::WgmmaCommit
            | Inst::WgmmaWait { .. }
            | Inst::Setmaxnreg { .. }
    )
}
