//! Operands of one instruction: lengths of register lists, ranges of immediates, modifiers that go together.
//!
//! In: an instruction. Out: errors. The ranges are the manual's; where the device is narrower than the manual (a wait on
//! more groups than exist) nothing is refused.

use super::{CheckError, CheckErrorKind};
use crate::address::SpaceName;
use crate::inst::{
    AtomicOp, AtomicTy, Cmp, CmpTy, CvtTy, Inst, LoadCache, LoadMode, MemTy, MmaElem, Round, WgmmaA,
};
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
        Inst::CpAsync { bytes, source_bytes: Some(n), .. } => {
            let fits = |n| (0..=i64::from(bytes.get())).contains(&n);
            immediate(*n, fits, "source size", "0 to the copy's size", &mut wrong);
        }
        Inst::BulkLoad { bytes, .. } | Inst::BulkStore { bytes, .. } | Inst::BulkReduce { bytes, .. } => {
            immediate(*bytes, |n| n > 0 && n % 16 == 0, "size", "a positive multiple of 16", &mut wrong);
        }
        Inst::TensorLoad { at, .. }
        | Inst::TensorStore { at, .. }
        | Inst::TensorReduce { at, .. }
        | Inst::TensorPrefetch { at, .. } => {
            count((1..=5).contains(&at.len()), "coordinates", at.len(), "1 to 5", &mut wrong);
        }
        Inst::Bar { id, threads, .. } => {
            barrier_id(*id, &mut wrong);
            if let Some(threads) = threads {
                let fits = |n| (32..=1024).contains(&n) && n % 32 == 0;
                immediate(*threads, fits, "threads of a barrier", "a multiple of 32 up to 1024", &mut wrong);
            }
        }
        Inst::BarVote { id, .. } => barrier_id(*id, &mut wrong),
        Inst::Atomic { op, ty, d, a, compare, space, .. } => {
            atomic(kernel, *op, *ty, *d, a, compare.is_some(), *space, &mut wrong);
        }
        Inst::MbarrierInit { count, .. } => {
            immediate(*count, |n| (1..1 << 20).contains(&n), "arrivals", "1 to 1048575", &mut wrong);
        }
        Inst::MbarrierExpect { bytes, .. } | Inst::MbarrierArriveExpect { bytes, .. } => {
            immediate(*bytes, |n| (0..1 << 20).contains(&n), "expected bytes", "0 to 1048575", &mut wrong);
        }
        Inst::MbarrierTry { parity, .. } => {
            immediate(*parity, |n| (0..=1).contains(&n), "parity", "0 or 1", &mut wrong);
        }
        Inst::Mma { a, .. } => count(a.len() == 4, "registers of A", a.len(), "4", &mut wrong),
        Inst::Ldmatrix { d, .. } => matrices(d.len(), &mut wrong),
        Inst::Stmatrix { a, .. } => matrices(a.len(), &mut wrong),
        Inst::Wgmma { elem, n, d, a, trans_a, trans_b, .. } => {
            let fits = (8..=256).contains(n) && n % 8 == 0 && d.len() as u32 * 2 == *n;
            let wanted = "n / 2 with n a multiple of 8 from 8 to 256";
            count(fits, "accumulator registers", d.len(), wanted, &mut wrong);
            if let WgmmaA::Registers(a) = a {
                count(a.len() == 4, "registers of A", a.len(), "4", &mut wrong);
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
            limit(*pending, *pending <= 7, "groups under way", "0 to 7", &mut wrong);
        }
        Inst::Setmaxnreg { registers, .. } => {
            let fits = (24..=256).contains(registers) && registers % 8 == 0;
            limit(*registers, fits, "registers", "a multiple of 8 from 24 to 256", &mut wrong);
        }
        Inst::Nanosleep { nanoseconds } => {
            let fits = |n| (0..=1_000_000).contains(&n);
            immediate(*nanoseconds, fits, "nanoseconds", "0 to 1000000", &mut wrong);
        }
        // The typed methods leave nothing to check in the others.
        _ => {}
    }
}

/// An operand that, if it is an immediate, has to fit.
fn immediate(
    operand: Src,
    fits: impl Fn(i64) -> bool,
    what: &'static str,
    wanted: &'static str,
    wrong: &mut impl FnMut(CheckErrorKind),
) {
    if let Src::Imm(Imm::Int(got)) = operand
        && !fits(got)
    {
        wrong(CheckErrorKind::Range { what, got, wanted });
    }
}

/// A number of the instruction itself that has to fit.
fn limit(
    got: u32,
    fits: bool,
    what: &'static str,
    wanted: &'static str,
    wrong: &mut impl FnMut(CheckErrorKind),
) {
    if !fits {
        wrong(CheckErrorKind::Range { what, got: i64::from(got), wanted });
    }
}

/// The length of an operand list.
fn count(
    fits: bool,
    what: &'static str,
    got: usize,
    wanted: &'static str,
    wrong: &mut impl FnMut(CheckErrorKind),
) {
    if !fits {
        wrong(CheckErrorKind::Count { what, got, wanted });
    }
}

fn vector(n: usize, ty: MemTy, wrong: &mut impl FnMut(CheckErrorKind)) {
    let fits = matches!(n, 1 | 2 | 4) && n as u32 * ty.bytes() <= 16;
    count(fits, "registers of a vector", n, "1, 2 or 4, 16 bytes at most", wrong);
}

fn matrices(n: usize, wrong: &mut impl FnMut(CheckErrorKind)) {
    count(matches!(n, 1 | 2 | 4), "matrices", n, "1, 2 or 4", wrong);
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
    if mode.read_only && matches!(mode.cache, Some(LoadCache::Cv | LoadCache::Lu)) {
        wrong(CheckErrorKind::Combination { why: "a read-only load takes ca, cg or cs" });
    }
}

fn barrier_id(id: Src, wrong: &mut impl FnMut(CheckErrorKind)) {
    immediate(id, |n| (0..16).contains(&n), "barrier", "0 to 15", wrong);
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
