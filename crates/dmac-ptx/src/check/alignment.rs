//! Addresses that are provably misaligned.
//!
//! In: a kernel. Out: errors. Each register gets what is known of its low bits: value ≡ r (mod 2^k), over all its
//! definitions at once. Constants, the alignment of parameters and shared memory, sums, products and shifts carry it;
//! everything else knows nothing. An access is refused only if the remainder is certain, so there are no false alarms.

use super::{CheckError, CheckErrorKind};
use crate::address::{Base, MemRef};
use crate::inst::{BoolOp, Inst, IntBinary, Shift};
use crate::kernel::{Item, Kernel, ParamKind};
use crate::spell::spell;
use crate::types::{Class, Imm, RegId, Src};

/// value ≡ `rest` (mod 2^`bits`); `bits` = 64 is a known constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Low {
    bits: u32,
    rest: u64,
}

const NOTHING: Low = Low { bits: 0, rest: 0 };

impl Low {
    fn new(bits: u32, rest: u64) -> Low {
        let bits = bits.min(64);
        Low { bits, rest: if bits == 64 { rest } else { rest & ((1 << bits) - 1) } }
    }

    fn constant(value: i64) -> Low {
        Low::new(64, value as u64)
    }

    /// What holds of both.
    fn join(self, other: Low) -> Low {
        let bits = self.bits.min(other.bits).min((self.rest ^ other.rest).trailing_zeros());
        Low::new(bits, self.rest)
    }

    fn add(self, other: Low) -> Low {
        Low::new(self.bits.min(other.bits), self.rest.wrapping_add(other.rest))
    }

    fn sub(self, other: Low) -> Low {
        Low::new(self.bits.min(other.bits), self.rest.wrapping_sub(other.rest))
    }

    /// (a + 2^k x)(b + 2^l y) = ab + 2^l a y + 2^k b x + …: known up to where the unknown terms begin.
    fn mul(self, other: Low) -> Low {
        let zeros = |l: Low| if l.rest == 0 { l.bits } else { l.rest.trailing_zeros() };
        let bits = (self.bits + zeros(other)).min(other.bits + zeros(self)).min(self.bits + other.bits);
        Low::new(bits, self.rest.wrapping_mul(other.rest))
    }

    fn and(self, other: Low) -> Low {
        // A constant mask forces zeros below its lowest bit, whatever the other side is.
        let zeros = |l: Low| if l.rest == 0 { l.bits } else { l.rest.trailing_zeros() };
        let both = self.bits.min(other.bits);
        if zeros(self).max(zeros(other)) > both {
            return Low::new(zeros(self).max(zeros(other)), 0);
        }
        Low::new(both, self.rest & other.rest)
    }
}

pub(super) fn check(kernel: &Kernel, errors: &mut Vec<CheckError>) {
    let known = fixpoint(kernel);
    for (at, item) in kernel.items.iter().enumerate() {
        let Item::Inst { inst, .. } = item else { continue };
        accesses(inst, |address, bytes| {
            let Base::Reg(base) = address.base else { return };
            let low = known[base.0 as usize].unwrap_or(NOTHING).add(Low::constant(i64::from(address.offset)));
            let modulus = u64::from(bytes).min(1u64.checked_shl(low.bits).unwrap_or(u64::MAX));
            let remainder = (low.rest % modulus) as u32;
            if remainder != 0 {
                let role = kernel.role(base).to_owned();
                let kind = CheckErrorKind::Misaligned { role, wanted: bytes, remainder };
                errors.push(CheckError::at(kernel, at, kind));
            }
        });
    }
}

/// Calls `visit(address, alignment)` for every memory access of an instruction.
fn accesses(inst: &Inst, mut visit: impl FnMut(MemRef, u32)) {
    match inst {
        Inst::Ld { ty, d, from, .. } => visit(*from, ty.bytes() * d.len() as u32),
        Inst::St { ty, a, to, .. } => visit(*to, ty.bytes() * a.len() as u32),
        Inst::CpAsync { bytes, to, from, .. } => {
            visit(*to, bytes.get());
            visit(*from, bytes.get());
        }
        Inst::BulkLoad { to, from, barrier, .. } => {
            visit(*to, 16);
            visit(*from, 16);
            visit(*barrier, 8);
        }
        Inst::BulkStore { to, from, .. } | Inst::BulkReduce { to, from, .. } => {
            visit(*to, 16);
            visit(*from, 16);
        }
        Inst::TensorLoad { to, barrier, .. } => {
            visit(*to, 128);
            visit(*barrier, 8);
        }
        Inst::TensorStore { from, .. } | Inst::TensorReduce { from, .. } => visit(*from, 128),
        Inst::Atomic { ty, at, a, .. } => {
            use crate::inst::AtomicTy::{B64, U64};
            let bytes = if matches!(ty, U64 | B64) { 8 } else { 4 };
            visit(*at, bytes * a.len() as u32);
        }
        Inst::MbarrierInit { at, .. }
        | Inst::MbarrierInval { at }
        | Inst::MbarrierExpect { at, .. }
        | Inst::MbarrierArriveExpect { at, .. }
        | Inst::MbarrierArrive { at, .. }
        | Inst::MbarrierTry { at, .. }
        | Inst::CpAsyncArrive { at, .. } => visit(*at, 8),
        Inst::Ldmatrix { from, .. } => visit(*from, 16),
        Inst::Stmatrix { to, .. } => visit(*to, 16),
        // The others touch no memory, or at addresses of any alignment.
        _ => {}
    }
}

fn fixpoint(kernel: &Kernel) -> Vec<Option<Low>> {
    let mut known: Vec<Option<Low>> = vec![None; kernel.regs.len()];
    let mut written = Vec::new();
    let mut changed = true;
    while changed {
        changed = false;
        for item in &kernel.items {
            let Item::Inst { inst, .. } = item else { continue };
            define(kernel, inst, &known, |r, low| written.push((r, low)));
            for (r, low) in written.drain(..) {
                // A 32-bit register forgets what a wider computation knew above it.
                let width = kernel.class(r).bytes() * 8;
                let low = if low.bits < 64 { Low::new(low.bits.min(width), low.rest) } else { low };
                let slot = &mut known[r.0 as usize];
                let joined = slot.map_or(low, |old| old.join(low));
                if *slot != Some(joined) {
                    *slot = Some(joined);
                    changed = true;
                }
            }
        }
    }
    known
}

/// Calls `set(register, what is known)` for what `inst` writes; a register that depends on one not seen yet waits.
fn define(kernel: &Kernel, inst: &Inst, known: &[Option<Low>], mut set: impl FnMut(RegId, Low)) {
    let value = |s: Src| match s {
        Src::Reg(r) => known[r.0 as usize],
        Src::Imm(Imm::Int(n)) => Some(Low::constant(n)),
        Src::Imm(Imm::F32(_)) => Some(NOTHING),
    };
    let of = |r: RegId| known[r.0 as usize];
    let two = |a: Src, b: Src, f: fn(Low, Low) -> Low| Some(f(value(a)?, value(b)?));
    let (d, low) = match *inst {
        Inst::Mov { d, a, .. } => (d, value(a)),
        Inst::SharedBase { d } => {
            let align = kernel.frame.shared.map_or(1, |(_, align)| align.max(1));
            (d, Some(Low::new(align.trailing_zeros(), 0)))
        }
        Inst::LdParam { ref d, from: MemRef { base: Base::Param(p), offset: 0 }, .. } if d.len() == 1 => {
            let bits = match kernel.param(p).kind {
                ParamKind::Pointer(align) => align.trailing_zeros(),
                ParamKind::Value(_) | ParamKind::TensorMap => 0,
            };
            (d[0], Some(Low::new(bits, 0)))
        }
        Inst::Cvta { d, a, .. } => (d, of(a)),
        Inst::IntBinary { op: IntBinary::Add, d, a, b, .. } => (d, two(a, b, Low::add)),
        Inst::IntBinary { op: IntBinary::Sub, d, a, b, .. } => (d, two(a, b, Low::sub)),
        Inst::IntBinary { op: IntBinary::MulLo, d, a, b, .. } | Inst::MulWide { d, a, b, .. } => {
            (d, two(a, b, Low::mul))
        }
        Inst::MadLo { d, a, b, c, .. } | Inst::MadWide { d, a, b, c, .. } => {
            (d, two(a, b, Low::mul).and_then(|ab| Some(ab.add(value(c)?))))
        }
        Inst::Shift { op: Shift::Shl, d, a, b: Src::Imm(Imm::Int(n)), .. } if (0..64).contains(&n) => {
            (d, value(a).map(|a| a.mul(Low::constant(1 << n))))
        }
        Inst::Logic { op: BoolOp::And, class: Class::B32 | Class::B64, d, a, b } => (d, two(a, b, Low::and)),
        Inst::Logic { op: BoolOp::Or, class: Class::B32 | Class::B64, d, a, b } => {
            (d, two(a, b, |a, b| Low::new(a.bits.min(b.bits), a.rest | b.rest)))
        }
        Inst::Logic { op: BoolOp::Xor, class: Class::B32 | Class::B64, d, a, b } => {
            (d, two(a, b, |a, b| Low::new(a.bits.min(b.bits), a.rest ^ b.rest)))
        }
        Inst::Selp { class: Class::B32 | Class::B64, d, a, b, .. } => (d, two(a, b, Low::join)),
        _ => {
            spell(inst).registers(|r, written, _| {
                if written {
                    set(r, NOTHING);
                }
            });
            return;
        }
    };
    if let Some(low) = low {
        set(d, low);
    }
}

#[cfg(test)]
mod tests {
    use super::Low;
    use proptest::prelude::*;

    /// What is known of a value, and a value that it is true of.
    fn known() -> impl Strategy<Value = (Low, u64)> {
        (0u32..=64, any::<u64>()).prop_map(|(bits, value)| (Low::new(bits, value), value))
    }

    fn holds(low: Low, value: u64) -> bool {
        Low::new(low.bits, value) == low
    }

    proptest! {
        #[test]
        fn arithmetic_keeps_only_what_is_true(a in known(), b in known()) {
            let ((x, a), (y, b)) = (a, b);
            prop_assert!(holds(x.add(y), a.wrapping_add(b)));
            prop_assert!(holds(x.sub(y), a.wrapping_sub(b)));
            prop_assert!(holds(x.mul(y), a.wrapping_mul(b)));
            prop_assert!(holds(x.and(y), a & b));
            prop_assert!(holds(x.join(y), a) && holds(x.join(y), b));
        }
    }

    #[test]
    fn constants_and_multiples_are_exact() {
        let row = Low::new(0, 0);
        assert_eq!(row.mul(Low::constant(128)), Low::new(7, 0));
        assert_eq!(Low::constant(24).mul(Low::constant(-3)), Low::constant(-72));
        assert_eq!(row.and(Low::constant(!15)), Low::new(4, 0));
        assert_eq!(Low::constant(16).join(Low::constant(48)), Low::new(5, 16));
    }
}
