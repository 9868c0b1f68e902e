//! Operands of one instruction: lengths of register lists, ranges of immediates, modifiers that go together.
//!
//! In: an instruction. Out: errors. The ranges are the manual's; where the device is narrower than the manual (a wait on
//! more groups than exist) nothing is refused.

use super::{CheckError, CheckErrorKind};
use crate::address::SpaceName;
use crate::inst::{AtomicOp, AtomicTy, Cmp, CmpTy, CvtTy, Inst, LoadMode, MemTy, MmaElem, Round, WgmmaA};
use crate::kernel::Kernel;
use crate::types::{Class, Imm, RegId, Src};

pub(super) fn check(kernel: &Kernel, at: usize, inst: &Inst, errors: &mut Vec<CheckError>) {
    let mut wrong = |kind| errors.push(CheckError::at(kernel, at, kind));
    match inst {
        Inst::Ld { ty, d, space, mode, .. } => {
            vector(d.len(), *ty, &mut wrong);
            cached(*space, *mode, &mut wrong);
        }
        Inst::LdParam { ty, d, .. } => vector(d.len(), *ty, &mut wrong),
        Inst::St { ty, a, space, mode, .. } => {
            vector(a.len(), *ty, &mut wrong);
            if *space != SpaceName::Global && (mode.policy.is_some() || mode.cache.is_some()) {
                wrong(CheckErrorKind::Combination {
                    why: "cache operators and policies are for global memory",
                });
            }
        }
        Inst::Setp { cmp, ty, .. } => {
            let float_only = matches!(
                cmp,
                Cmp::Equ | Cmp::Neu | Cmp::Ltu | Cmp::Leu | Cmp::Gtu | Cmp::Geu | Cmp::Num | Cmp::Nan
            );
            if float_only && *ty != CmpTy::F32 {
                wrong(CheckErrorKind::Combination { why: "comparisons that know NaN are for floats" });
            }
        }
        Inst::Cvt { to, from, round, .. } => conversion(*to, *from, *round, &mut wrong),
        Inst::CpAsync { bytes, source_bytes: Some(Src::Imm(Imm::Int(n))), .. } => {
            if !(0..=i64::from(bytes.get())).contains(n) {
                wrong(range("source size", *n, "0 to the copy's size"));
            }
        }
        Inst::BulkLoad { bytes, .. } | Inst::BulkStore { bytes, .. } | Inst::BulkReduce { bytes, .. } => {
            if let Src::Imm(Imm::Int(n)) = bytes
                && (*n <= 0 || n % 16 != 0)
            {
                wrong(range("size", *n, "a positive multiple of 16"));
            }
        }
        Inst::TensorLoad { at: c, .. }
        | Inst::TensorStore { at: c, .. }
        | Inst::TensorReduce { at: c, .. }
        | Inst::TensorPrefetch { at: c, .. } => {
            if !(1..=5).contains(&c.len()) {
                wrong(CheckErrorKind::Count { what: "coordinates", got: c.len(), wanted: "1 to 5" });
            }
        }
        Inst::Bar { id, threads, .. } => {
            barrier_id(*id, &mut wrong);
            if let Some(Src::Imm(Imm::Int(n))) = threads
                && (!(32..=1024).contains(n) || n % 32 != 0)
            {
                wrong(range("threads of a barrier", *n, "a multiple of 32 up to 1024"));
            }
        }
        Inst::BarVote { id, .. } => barrier_id(*id, &mut wrong),
        Inst::Atomic { op, ty, d, a, compare, space, .. } => {
            atomic(kernel, *op, *ty, *d, a, compare.is_some(), *space, &mut wrong);
        }
        Inst::MbarrierInit { count: Src::Imm(Imm::Int(n)), .. } => {
            if !(1..1 << 20).contains(n) {
                wrong(range("arrivals", *n, "1 to 1048575"));
            }
        }
        Inst::MbarrierExpect { bytes: Src::Imm(Imm::Int(n)), .. }
        | Inst::MbarrierArriveExpect { bytes: Src::Imm(Imm::Int(n)), .. } => {
            if !(0..1 << 20).contains(n) {
                wrong(range("expected bytes", *n, "0 to 1048575"));
            }
        }
        Inst::MbarrierTry { parity: Src::Imm(Imm::Int(n)), .. } => {
            if !(0..=1).contains(n) {
                wrong(range("parity", *n, "0 or 1"));
            }
        }
        Inst::Mma { a, .. } => {
            if a.len() != 4 {
                wrong(CheckErrorKind::Count { what: "registers of A", got: a.len(), wanted: "4" });
            }
        }
        Inst::Ldmatrix { d, .. } => matrices(d.len(), &mut wrong),
        Inst::Stmatrix { a, .. } => matrices(a.len(), &mut wrong),
        Inst::Wgmma { elem, n, d, a, trans_a, trans_b, .. } => {
            if !(8..=256).contains(n) || n % 8 != 0 || d.len() as u32 * 2 != *n {
                let wanted = "n / 2 with n a multiple of 8 from 8 to 256";
                wrong(CheckErrorKind::Count { what: "accumulator registers", got: d.len(), wanted });
            }
            if let WgmmaA::Registers(a) = a
                && a.len() != 4
            {
                wrong(CheckErrorKind::Count { what: "registers of A", got: a.len(), wanted: "4" });
            }
            if *elem == MmaElem::Tf32 && (*trans_a || *trans_b) {
                wrong(CheckErrorKind::Combination {
                    why: "tf32 tiles are K-major: only 16-bit types transpose",
                });
            }
            let mut sorted: Vec<RegId> = d.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            if sorted.len() != d.len() {
                wrong(CheckErrorKind::Combination { why: "an accumulator names a register twice" });
            }
        }
        Inst::WgmmaWait { pending } => {
            if *pending > 7 {
                wrong(range("groups under way", i64::from(*pending), "0 to 7"));
            }
        }
        Inst::Setmaxnreg { registers, .. } => {
            if !(24..=256).contains(registers) || registers % 8 != 0 {
                wrong(range("registers", i64::from(*registers), "a multiple of 8 from 24 to 256"));
            }
        }
        Inst::Nanosleep { nanoseconds: Src::Imm(Imm::Int(n)) } => {
            if !(0..=1_000_000).contains(n) {
                wrong(range("nanoseconds", *n, "0 to 1000000"));
            }
        }
        // The typed methods leave nothing to check in the others.
        _ => {}
    }
}

fn range(what: &'static str, got: i64, wanted: &'static str) -> CheckErrorKind {
    CheckErrorKind::Range { what, got, wanted }
}

fn vector(n: usize, ty: MemTy, wrong: &mut impl FnMut(CheckErrorKind)) {
    if !matches!(n, 1 | 2 | 4) || n as u32 * ty.bytes() > 16 {
        wrong(CheckErrorKind::Count {
            what: "registers of a vector",
            got: n,
            wanted: "1, 2 or 4, 16 bytes at most",
        });
    }
}

fn matrices(n: usize, wrong: &mut impl FnMut(CheckErrorKind)) {
    if !matches!(n, 1 | 2 | 4) {
        wrong(CheckErrorKind::Count { what: "matrices", got: n, wanted: "1, 2 or 4" });
    }
}

fn cached(space: SpaceName, mode: LoadMode, wrong: &mut impl FnMut(CheckErrorKind)) {
    let through_cache =
        mode.read_only || mode.cache.is_some() || mode.prefetch.is_some() || mode.policy.is_some();
    if space != SpaceName::Global && through_cache {
        wrong(CheckErrorKind::Combination { why: "cache modes are for global memory" });
    }
    if (mode.volatile || mode.acquire.is_some()) && through_cache {
        wrong(CheckErrorKind::Combination { why: "an ordered load takes no cache mode" });
    }
    if mode.volatile && mode.acquire.is_some() {
        wrong(CheckErrorKind::Combination { why: "a load is volatile or acquiring, not both" });
    }
    if mode.read_only
        && mode.cache.is_some_and(|c| {
            !matches!(c, crate::inst::LoadCache::Ca | crate::inst::LoadCache::Cg | crate::inst::LoadCache::Cs)
        })
    {
        wrong(CheckErrorKind::Combination { why: "a read-only load takes ca, cg or cs" });
    }
}

fn barrier_id(id: Src, wrong: &mut impl FnMut(CheckErrorKind)) {
    if let Src::Imm(Imm::Int(n)) = id
        && !(0..16).contains(&n)
    {
        wrong(range("barrier", n, "0 to 15"));
    }
}

fn conversion(to: CvtTy, from: CvtTy, round: Option<Round>, wrong: &mut impl FnMut(CheckErrorKind)) {
    let float = |t| matches!(t, CvtTy::F16 | CvtTy::Bf16 | CvtTy::F32 | CvtTy::Tf32);
    let integral = matches!(round, Some(Round::Rni | Round::Rzi | Round::Rmi | Round::Rpi));
    if float(from) && !float(to) && !integral {
        wrong(CheckErrorKind::Combination { why: "a float becomes an integer with rni, rzi, rmi or rpi" });
    }
    if from == to && float(from) && round.is_some() && !integral {
        wrong(CheckErrorKind::Combination {
            why: "a float is rounded to an integral one with rni, rzi, rmi or rpi",
        });
    }
}

#[allow(clippy::too_many_arguments, reason = "the parts of one instruction")]
fn atomic(
    kernel: &Kernel,
    op: AtomicOp,
    ty: AtomicTy,
    d: Option<RegId>,
    a: &[Src],
    compares: bool,
    space: SpaceName,
    wrong: &mut impl FnMut(CheckErrorKind),
) {
    let legal = match op {
        AtomicOp::Add => !matches!(ty, AtomicTy::B32 | AtomicTy::B64),
        AtomicOp::Min | AtomicOp::Max => matches!(ty, AtomicTy::U32 | AtomicTy::S32 | AtomicTy::U64),
        AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => {
            matches!(ty, AtomicTy::U32 | AtomicTy::B32 | AtomicTy::U64 | AtomicTy::B64)
        }
        AtomicOp::Inc | AtomicOp::Dec => ty == AtomicTy::U32,
        AtomicOp::Exch | AtomicOp::Cas => {
            matches!(ty, AtomicTy::U32 | AtomicTy::B32 | AtomicTy::U64 | AtomicTy::B64)
        }
    };
    if !legal || (op == AtomicOp::Cas) != compares || (op == AtomicOp::Exch && d.is_none()) {
        wrong(CheckErrorKind::Combination { why: "the atomic operation has no such type" });
    }
    match a.len() {
        1 => {}
        2 | 4 if ty == AtomicTy::F32 && op == AtomicOp::Add && space == SpaceName::Global => {}
        got => {
            let wanted = "1, or 2 or 4 f32 added to global memory";
            wrong(CheckErrorKind::Count { what: "values of an atomic", got, wanted });
        }
    }
    let class = match ty {
        AtomicTy::F32 => Class::F32,
        AtomicTy::U64 | AtomicTy::B64 => Class::B64,
        _ => Class::B32,
    };
    let registers = a.iter().filter_map(|s| match s {
        Src::Reg(r) => Some(*r),
        Src::Imm(_) => None,
    });
    if registers.chain(d).any(|r| kernel.class(r) != class) {
        wrong(CheckErrorKind::Combination {
            why: "the registers of an atomic have another type than the operation",
        });
    }
}
