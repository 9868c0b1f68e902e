//! Moves, integer and logic instructions, comparisons and selections on one warp.

use super::warp::{Lanes, Warp, Wide};
use crate::op::{BoolOp, Cmp, IntOp1, IntOp2, Op, Val};
use crate::types::Ty;

/// Sign- or zero-extends the low bits of `x` that `ty` has.
#[inline]
pub(crate) fn extend(x: u64, ty: Ty) -> u64 {
    match (ty.bits(), ty.signed()) {
        (8, true) => x as u8 as i8 as i64 as u64,
        (8, false) => u64::from(x as u8),
        (16, true) => x as u16 as i16 as i64 as u64,
        (16, false) => u64::from(x as u16),
        (32, true) => x as u32 as i32 as i64 as u64,
        (32, false) => u64::from(x as u32),
        _ => x,
    }
}

/// Keeps the bits that a value of `bits` bits has in its register.
#[inline]
pub(crate) fn truncate(x: u64, bits: u32) -> u64 {
    if bits >= 64 { x } else { x & ((1 << bits) - 1) }
}

fn int2_32(op: IntOp2, a: u32, b: u32) -> Option<u32> {
    Some(match op {
        IntOp2::Add => a.wrapping_add(b),
        IntOp2::Sub => a.wrapping_sub(b),
        IntOp2::MulLo => a.wrapping_mul(b),
        IntOp2::And => a & b,
        IntOp2::Or => a | b,
        IntOp2::Xor => a ^ b,
        _ => return None,
    })
}

/// `a` and `b` are extended to 64 bits by the type's signedness.
fn int2(op: IntOp2, ty: Ty, a: u64, b: u64) -> u64 {
    let bits = ty.bits();
    let signed = ty.signed();
    match op {
        IntOp2::Add => a.wrapping_add(b),
        IntOp2::Sub => a.wrapping_sub(b),
        IntOp2::MulLo => a.wrapping_mul(b),
        IntOp2::MulHi if signed => ((i128::from(a as i64) * i128::from(b as i64)) >> bits) as u64,
        IntOp2::MulHi => ((u128::from(a) * u128::from(b)) >> bits) as u64,
        // Division by zero gives all ones on the hardware; the ISA leaves it open.
        IntOp2::Div if b == 0 => u64::MAX,
        IntOp2::Rem if b == 0 => a,
        IntOp2::Div if signed => (a as i64).wrapping_div(b as i64) as u64,
        IntOp2::Div => a / b,
        IntOp2::Rem if signed => (a as i64).wrapping_rem(b as i64) as u64,
        IntOp2::Rem => a % b,
        IntOp2::Min if signed => (a as i64).min(b as i64) as u64,
        IntOp2::Min => a.min(b),
        IntOp2::Max if signed => (a as i64).max(b as i64) as u64,
        IntOp2::Max => a.max(b),
        IntOp2::And => a & b,
        IntOp2::Or => a | b,
        IntOp2::Xor => a ^ b,
        // Shift amounts are clamped to the width; the amount arrives as an unsigned number.
        IntOp2::Shl => {
            if b >= u64::from(bits) {
                0
            } else {
                a << b
            }
        }
        IntOp2::Shr if signed => ((a as i64) >> b.min(u64::from(bits) - 1)) as u64,
        IntOp2::Shr => {
            if b >= u64::from(bits) {
                0
            } else {
                a >> b
            }
        }
    }
}

/// Whether the comparison holds for an ordering; `None` is unordered.
pub(crate) fn holds(cmp: Cmp, order: Option<std::cmp::Ordering>) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    match (cmp, order) {
        (_, None) => {
            matches!(cmp, Cmp::Equ | Cmp::Neu | Cmp::Ltu | Cmp::Leu | Cmp::Gtu | Cmp::Geu | Cmp::Nan)
        }
        (Cmp::Num | Cmp::Nan, Some(_)) => cmp == Cmp::Num,
        (Cmp::Eq | Cmp::Equ, Some(o)) => o == Equal,
        (Cmp::Ne | Cmp::Neu, Some(o)) => o != Equal,
        (Cmp::Lt | Cmp::Ltu, Some(o)) => o == Less,
        (Cmp::Le | Cmp::Leu, Some(o)) => o != Greater,
        (Cmp::Gt | Cmp::Gtu, Some(o)) => o == Greater,
        (Cmp::Ge | Cmp::Geu, Some(o)) => o != Less,
    }
}

fn lop3(a: u32, b: u32, c: u32, lut: u8) -> u32 {
    let mut out = 0;
    for i in 0..8 {
        if lut >> i & 1 != 0 {
            let pick = |x: u32, bit: u32| if i >> bit & 1 != 0 { x } else { !x };
            out |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    out
}

fn prmt(a: u32, b: u32, sel: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let mut out = [0u8; 4];
    for (i, o) in out.iter_mut().enumerate() {
        let s = sel >> (4 * i) & 0xF;
        let byte = bytes[(s & 7) as usize];
        *o = if s & 8 != 0 { if byte & 0x80 != 0 { 0xFF } else { 0 } } else { byte };
    }
    u32::from_le_bytes(out)
}

fn bit_extract(ty: Ty, a: u64, pos: u32, len: u32) -> u64 {
    let bits = ty.bits();
    let (pos, len) = (pos & 0xFF, len & 0xFF);
    let msb = bits - 1;
    let sign = if !ty.signed() || len == 0 { 0 } else { a >> (pos + len - 1).min(msb) & 1 };
    let mut out = 0;
    for i in 0..bits {
        let bit = if i < len && pos + i <= msb { a >> (pos + i) & 1 } else { sign };
        out |= bit << i;
    }
    out
}

fn bit_insert(bits: u32, field: u64, into: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xFF, len & 0xFF);
    let mut out = into;
    for i in 0..len {
        if pos + i < bits {
            out = out & !(1 << (pos + i)) | (field >> i & 1) << (pos + i);
        }
    }
    out
}

impl Warp {
    fn pair(&mut self, a: Val, b: Val, m: u32) -> (Wide, Wide) {
        (self.get64(a, m), self.get64(b, m))
    }

    /// Executes `op` if it belongs to this file; the lanes of `m` are active.
    pub(crate) fn integer(&mut self, op: &Op, m: u32) -> bool {
        match *op {
            Op::Nop => {}
            Op::Mov { d, s } => {
                if let (crate::op::Reg::W(i), Val::W(_) | Val::Imm(_)) = (d, s) {
                    let v = self.get(s, m);
                    self.set_word(i, &v, m);
                } else {
                    let v = self.get64(s, m);
                    self.set64(d, &v, m);
                }
            }
            Op::MovPred { d, s } => {
                let v = self.get_pred(s, m);
                self.set_pred(d, v, m);
            }
            Op::Pack { d, ref parts, part } => {
                let mut out: Wide = [0; 32];
                for (i, &p) in parts.iter().enumerate() {
                    let v = self.get64(p, m);
                    for (o, x) in out.iter_mut().zip(v) {
                        *o |= truncate(x, part) << (i as u32 * part);
                    }
                }
                self.set64(d, &out, m);
            }
            Op::Unpack { ref parts, s, part } => {
                let v = self.get64(s, m);
                for (i, d) in parts.iter().enumerate() {
                    if let Some(d) = d {
                        self.set64(*d, &v.map(|x| truncate(x >> (i as u32 * part), part)), m);
                    }
                }
            }
            Op::Int1 { op, ty, d, a } => {
                let bits = ty.bits();
                let v = self.get64(a, m).map(|x| {
                    let x = extend(x, ty);
                    let u = truncate(x, bits);
                    let y = match op {
                        IntOp1::Abs => (x as i64).wrapping_abs() as u64,
                        IntOp1::Neg => x.wrapping_neg(),
                        IntOp1::Not => !x,
                        IntOp1::Cnot => u64::from(u == 0),
                        IntOp1::Popc => u64::from(u.count_ones()),
                        IntOp1::Clz => u64::from(u.leading_zeros() - (64 - bits)),
                        IntOp1::Brev => u.reverse_bits() >> (64 - bits),
                    };
                    truncate(y, bits)
                });
                self.set64(d, &v, m);
            }
            Op::Int2 { op, ty, d, a, b, sat } => self.int2(op, ty, d, (a, b), sat, m),
            Op::MulWide { ty, d, a, b } => {
                let (a, b) = self.pair(a, b, m);
                let v: Wide = std::array::from_fn(|l| extend(a[l], ty).wrapping_mul(extend(b[l], ty)));
                self.set64(d, &v.map(|x| truncate(x, ty.bits() * 2)), m);
            }
            Op::Mad { ty, d, a, b, c, high } => {
                if ty.bits() == 32 && !high {
                    let (a, b, c) = (self.get(a, m), self.get(b, m), self.get(c, m));
                    let v: Lanes = std::array::from_fn(|l| a[l].wrapping_mul(b[l]).wrapping_add(c[l]));
                    self.set(d, &v, m);
                } else {
                    let (a, b) = self.pair(a, b, m);
                    let c = self.get64(c, m);
                    let op = if high { IntOp2::MulHi } else { IntOp2::MulLo };
                    let v: Wide = std::array::from_fn(|l| {
                        truncate(
                            int2(op, ty, extend(a[l], ty), extend(b[l], ty)).wrapping_add(c[l]),
                            ty.bits(),
                        )
                    });
                    self.set64(d, &v, m);
                }
            }
            Op::MadWide { ty, d, a, b, c } => {
                let (a, b) = self.pair(a, b, m);
                let c = self.get64(c, m);
                let v: Wide = std::array::from_fn(|l| {
                    truncate(
                        extend(a[l], ty).wrapping_mul(extend(b[l], ty)).wrapping_add(c[l]),
                        ty.bits() * 2,
                    )
                });
                self.set64(d, &v, m);
            }
            Op::Lop3 { d, a, b, c, lut } => {
                let (a, b, c) = (self.get(a, m), self.get(b, m), self.get(c, m));
                let v: Lanes = std::array::from_fn(|l| lop3(a[l], b[l], c[l], lut));
                self.set_word(d, &v, m);
            }
            Op::Prmt { d, a, b, sel } => {
                let (a, b, s) = (self.get(a, m), self.get(b, m), self.get(sel, m));
                let v: Lanes = std::array::from_fn(|l| prmt(a[l], b[l], s[l]));
                self.set_word(d, &v, m);
            }
            Op::FunnelShift { d, lo, hi, by, left, wrap } => {
                let (lo, hi, by) = (self.get(lo, m), self.get(hi, m), self.get(by, m));
                let v: Lanes = std::array::from_fn(|l| {
                    let n = if wrap { by[l] & 31 } else { by[l].min(32) };
                    let x = u64::from(hi[l]) << 32 | u64::from(lo[l]);
                    if left { (x << n >> 32) as u32 } else { (x >> n) as u32 }
                });
                self.set_word(d, &v, m);
            }
            Op::BitExtract { ty, d, a, pos, len } => {
                let (a, pos, len) = (self.get64(a, m), self.get(pos, m), self.get(len, m));
                let v: Wide = std::array::from_fn(|l| bit_extract(ty, a[l], pos[l], len[l]));
                self.set64(d, &v, m);
            }
            Op::BitInsert { bits, d, field, into, pos, len } => {
                let (f, i) = self.pair(field, into, m);
                let (pos, len) = (self.get(pos, m), self.get(len, m));
                let v: Wide = std::array::from_fn(|l| bit_insert(bits, f[l], i[l], pos[l], len[l]));
                self.set64(d, &v, m);
            }
            Op::Selp { d, a, b, p } => {
                let p = self.get_pred(p, m);
                if let crate::op::Reg::W(i) = d {
                    // Only the chosen operand's value matters, but the hardware reads both.
                    let (a, b) = (self.get(a, m), self.get(b, m));
                    let v: Lanes = std::array::from_fn(|l| if p >> l & 1 != 0 { a[l] } else { b[l] });
                    self.set_word(i, &v, m);
                } else {
                    let (a, b) = self.pair(a, b, m);
                    let v: Wide = std::array::from_fn(|l| if p >> l & 1 != 0 { a[l] } else { b[l] });
                    self.set64(d, &v, m);
                }
            }
            Op::Logic { op, d, a, b } => {
                let (a, b) = (self.get_pred(a, m), self.get_pred(b, m));
                let v = match op {
                    BoolOp::And => a & b,
                    BoolOp::Or => a | b,
                    BoolOp::Xor => a ^ b,
                };
                self.set_pred(d, v, m);
            }
            Op::PredNot { d, a } => {
                let a = self.get_pred(a, m);
                self.set_pred(d, !a, m);
            }
            Op::Setp { cmp, ty, ftz, d, q, a, b, with } => {
                let mut p = self.compare(cmp, ty, ftz, (a, b), m);
                let mut not_p = !p;
                if let Some((op, c)) = with {
                    let c = self.get_pred(c, m);
                    let join = |x: u32| match op {
                        BoolOp::And => x & c,
                        BoolOp::Or => x | c,
                        BoolOp::Xor => x ^ c,
                    };
                    (p, not_p) = (join(p), join(not_p));
                }
                if let Some(d) = d {
                    self.set_pred(d, p, m);
                }
                if let Some(q) = q {
                    self.set_pred(q, not_p, m);
                }
            }
            Op::Set { cmp, ty, ftz, float, d, a, b } => {
                let p = self.compare(cmp, ty, ftz, (a, b), m);
                let one = if float { 1.0f32.to_bits() } else { u32::MAX };
                self.set_word(d, &std::array::from_fn(|l| if p >> l & 1 != 0 { one } else { 0 }), m);
            }
            _ => return false,
        }
        true
    }

    fn int2(&mut self, op: IntOp2, ty: Ty, d: crate::op::Reg, (a, b): (Val, Val), sat: bool, m: u32) {
        if ty.bits() == 32 && !sat && int2_32(op, 0, 0).is_some() {
            let (a, b) = (self.get(a, m), self.get(b, m));
            let v: Lanes = std::array::from_fn(|l| int2_32(op, a[l], b[l]).unwrap_or(0));
            self.set(d, &v, m);
            return;
        }
        let (a, b) = self.pair(a, b, m);
        let shift = matches!(op, IntOp2::Shl | IntOp2::Shr);
        let v: Wide = std::array::from_fn(|l| {
            let x = extend(a[l], ty);
            let y = if shift { u64::from(b[l] as u32) } else { extend(b[l], ty) };
            let r = int2(op, ty, x, y);
            let r = if sat { (r as i64).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u64 } else { r };
            truncate(r, ty.bits())
        });
        self.set64(d, &v, m);
    }

    fn compare(&mut self, cmp: Cmp, ty: Ty, ftz: bool, (a, b): (Val, Val), m: u32) -> u32 {
        let bit = |l: usize, yes: bool| u32::from(yes) << l;
        if ty.floating() {
            let (a, b) = (self.floats(a, ty, ftz, m), self.floats(b, ty, ftz, m));
            return (0..32).fold(0, |p, l| p | bit(l, holds(cmp, a[l].partial_cmp(&b[l]))));
        }
        let (a, b) = self.pair(a, b, m);
        (0..32).fold(0, |p, l| {
            let (x, y) = (extend(a[l], ty), extend(b[l], ty));
            let order = if ty.signed() { (x as i64).cmp(&(y as i64)) } else { x.cmp(&y) };
            p | bit(l, holds(cmp, Some(order)))
        })
    }
}
