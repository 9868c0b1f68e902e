//! Floating-point instructions and conversions on one warp.
//!
//! Sums, products and fused multiply-adds are rounded once, as IEEE 754 and the ISA demand. The approximations
//! (`ex2`, `lg2`, `rcp`, `tanh`, …) are computed in f64 and rounded once, so they lie inside the error bounds that
//! the ISA documents for the hardware.

use super::alu::{extend, truncate};
use super::float::{bf16_nearest, decode, encode, flush, narrow, round_integral, round_to};
use super::warp::{Lanes, Warp, Wide};
use crate::op::{FloatMode, FloatOp1, FloatOp2, Op, Reg, Round, Val};
use crate::types::Ty;

/// NaN that the hardware gives for f32 operations.
const NAN32: u32 = 0x7FFF_FFFF;

fn finish32(x: f32, mode: FloatMode) -> u32 {
    let mut x = if mode.ftz { flush(x) } else { x };
    if mode.sat {
        // NaN and -0 saturate to +0.
        x = if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) + 0.0 };
    }
    if x.is_nan() { NAN32 } else { x.to_bits() }
}

fn float2(op: FloatOp2, a: f64, b: f64) -> f64 {
    match op {
        FloatOp2::Add => a + b,
        FloatOp2::Sub => a - b,
        FloatOp2::Mul => a * b,
        FloatOp2::Div => a / b,
        FloatOp2::Min | FloatOp2::MinNan | FloatOp2::Max | FloatOp2::MaxNan => {
            let nan = matches!(op, FloatOp2::MinNan | FloatOp2::MaxNan);
            let min = matches!(op, FloatOp2::Min | FloatOp2::MinNan);
            if a.is_nan() || b.is_nan() {
                if nan || (a.is_nan() && b.is_nan()) {
                    f64::NAN
                } else if a.is_nan() {
                    b
                } else {
                    a
                }
            } else if a == b {
                // Zeros of both signs compare as -0 < +0.
                if a.is_sign_negative() == min { a } else { b }
            } else if (a < b) == min {
                a
            } else {
                b
            }
        }
    }
}

fn float1(op: FloatOp1, x: f64) -> f64 {
    match op {
        FloatOp1::Neg => -x,
        FloatOp1::Abs => x.abs(),
        FloatOp1::Ex2 => x.exp2(),
        FloatOp1::Lg2 => x.log2(),
        FloatOp1::Rcp => 1.0 / x,
        FloatOp1::Sqrt => x.sqrt(),
        FloatOp1::Rsqrt => 1.0 / x.sqrt(),
        FloatOp1::Sin => x.sin(),
        FloatOp1::Cos => x.cos(),
        FloatOp1::Tanh => x.tanh(),
    }
}

impl Warp {
    /// An operand as numbers; subnormal f32 become zero when `ftz`.
    pub(crate) fn floats(&mut self, v: Val, ty: Ty, ftz: bool, m: u32) -> [f64; 32] {
        if ty == Ty::F64 {
            return self.get64(v, m).map(f64::from_bits);
        }
        self.get(v, m).map(|x| {
            let y = decode(x, ty);
            if ftz && ty == Ty::F32 { f64::from(flush(y as f32)) } else { y }
        })
    }

    fn f32s(&mut self, v: Val, mode: FloatMode, m: u32) -> [f32; 32] {
        let x = self.get(v, m).map(f32::from_bits);
        if mode.ftz { x.map(flush) } else { x }
    }

    /// Writes numbers as `ty`, rounded once.
    fn set_floats(&mut self, d: Reg, v: &[f64; 32], ty: Ty, mode: FloatMode, m: u32) {
        if ty == Ty::F64 {
            let bits: Wide = v.map(f64::to_bits);
            return self.set64(d, &bits, m);
        }
        let bits: Lanes = v.map(|x| {
            let x = if mode.relu && (x < 0.0 || x.is_nan()) { if x.is_nan() { x } else { 0.0 } } else { x };
            if ty == Ty::F32 { finish32(x as f32, mode) } else { narrow(x, ty, Round::Nearest) }
        });
        self.set(d, &bits, m);
    }

    /// Applies `f` to both halves of packed operands.
    fn packed<const N: usize>(
        &mut self,
        d: Reg,
        args: [Val; N],
        ty: Ty,
        mode: FloatMode,
        m: u32,
        f: impl Fn([f64; N]) -> f64,
    ) {
        let values = args.map(|v| self.get(v, m));
        let half = |l: usize, shift: u32| {
            let x = f(values.map(|v| decode(v[l] >> shift & 0xFFFF, ty)));
            let x = if mode.relu && x < 0.0 { 0.0 } else { x };
            let x = if mode.sat { if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) } } else { x };
            narrow(x, ty, Round::Nearest)
        };
        let v: Lanes = std::array::from_fn(|l| half(l, 0) | half(l, 16) << 16);
        self.set(d, &v, m);
    }

    /// Executes `op` if it belongs to this file.
    pub(crate) fn float(&mut self, op: &Op, m: u32) -> bool {
        match *op {
            Op::Float2 { op, ty: Ty::F32, mode, d, a, b } => {
                let (a, b) = (self.f32s(a, mode, m), self.f32s(b, mode, m));
                let v: Lanes = match op {
                    FloatOp2::Add => std::array::from_fn(|l| finish32(a[l] + b[l], mode)),
                    FloatOp2::Sub => std::array::from_fn(|l| finish32(a[l] - b[l], mode)),
                    FloatOp2::Mul => std::array::from_fn(|l| finish32(a[l] * b[l], mode)),
                    FloatOp2::Div => std::array::from_fn(|l| finish32(a[l] / b[l], mode)),
                    _ => std::array::from_fn(|l| {
                        finish32(float2(op, f64::from(a[l]), f64::from(b[l])) as f32, mode)
                    }),
                };
                self.set(d, &v, m);
            }
            Op::Float2 { op, ty, mode, d, a, b } if ty.packed() => {
                self.packed(d, [a, b], ty, mode, m, |[x, y]| float2(op, x, y));
            }
            Op::Float2 { op, ty, mode, d, a, b } => {
                let (a, b) = (self.floats(a, ty, mode.ftz, m), self.floats(b, ty, mode.ftz, m));
                self.set_floats(d, &std::array::from_fn(|l| float2(op, a[l], b[l])), ty, mode, m);
            }
            Op::Fma { ty: Ty::F32, mode, d, a, b, c } => {
                let (a, b, c) = (self.f32s(a, mode, m), self.f32s(b, mode, m), self.f32s(c, mode, m));
                let v: Lanes = std::array::from_fn(|l| {
                    let x = a[l].mul_add(b[l], c[l]);
                    finish32(if mode.relu && x < 0.0 { 0.0 } else { x }, mode)
                });
                self.set(d, &v, m);
            }
            Op::Fma { ty, mode, d, a, b, c } if ty.packed() => {
                self.packed(d, [a, b, c], ty, mode, m, |[x, y, z]| x.mul_add(y, z));
            }
            Op::Fma { ty, mode, d, a, b, c } => {
                let (a, b) = (self.floats(a, ty, mode.ftz, m), self.floats(b, ty, mode.ftz, m));
                let c = self.floats(c, ty, mode.ftz, m);
                self.set_floats(d, &std::array::from_fn(|l| a[l].mul_add(b[l], c[l])), ty, mode, m);
            }
            Op::Float1 { op: op @ (FloatOp1::Neg | FloatOp1::Abs), ty, mode, d, a } => {
                self.sign(op, ty, mode, d, a, m);
            }
            Op::Float1 { op, ty, mode, d, a } if ty.packed() => {
                self.packed(d, [a], ty, mode, m, |[x]| float1(op, x));
            }
            Op::Float1 { op, ty, mode, d, a } => {
                let a = self.floats(a, ty, mode.ftz, m);
                self.set_floats(d, &a.map(|x| float1(op, x)), ty, mode, m);
            }
            Op::Copysign { d, a, b } => {
                let (a, b) = (self.get(a, m), self.get(b, m));
                self.set(d, &std::array::from_fn(|l| b[l] & 0x7FFF_FFFF | a[l] & 0x8000_0000), m);
            }
            Op::Cvt { to, from, mode, integral, satfinite, d, a } => {
                self.convert((to, from), (mode, integral, satfinite), d, a, m);
            }
            Op::CvtPack { to, mode, satfinite, d, hi, lo } => {
                let (hi, lo) = (self.get(hi, m), self.get(lo, m));
                let plain = to == Ty::Bf16x2 && mode.round == Round::Nearest && !mode.relu && !satfinite;
                let half = |x: u32| {
                    if plain {
                        bf16_nearest(f32::from_bits(x))
                    } else {
                        pack_half(f64::from(f32::from_bits(x)), to, mode, satfinite)
                    }
                };
                let v: Lanes = std::array::from_fn(|l| half(lo[l]) | half(hi[l]) << 16);
                self.set_word(d, &v, m);
            }
            _ => return false,
        }
        true
    }

    /// Sign changes act on the bits; only f32 with `.ftz` looks at the value.
    fn sign(&mut self, op: FloatOp1, ty: Ty, mode: FloatMode, d: Reg, a: Val, m: u32) {
        let neg = op == FloatOp1::Neg;
        if ty == Ty::F64 {
            let s = 1u64 << 63;
            let v = self.get64(a, m).map(|x| if neg { x ^ s } else { x & !s });
            return self.set64(d, &v, m);
        }
        let s: u32 = match ty {
            Ty::F16 | Ty::Bf16 => 0x8000,
            Ty::F16x2 | Ty::Bf16x2 => 0x8000_8000,
            _ => 0x8000_0000,
        };
        let v = self.get(a, m).map(|x| {
            let x = if mode.ftz && ty == Ty::F32 { flush(f32::from_bits(x)).to_bits() } else { x };
            if neg { x ^ s } else { x & !s }
        });
        self.set(d, &v, m);
    }

    fn convert(
        &mut self,
        (to, from): (Ty, Ty),
        (mode, integral, satfinite): (FloatMode, bool, bool),
        d: Reg,
        a: Val,
        m: u32,
    ) {
        let wide = self.get64(a, m);
        let v: Wide = wide.map(|x| {
            if from.integral() {
                let x = extend(x, from);
                if to.integral() {
                    return int_to_int(x, from, to, mode.sat);
                }
                return int_to_float(x, from, to, mode);
            }
            let value = match from {
                Ty::F64 => f64::from_bits(x),
                Ty::F32 if mode.ftz => f64::from(flush(f32::from_bits(x as u32))),
                _ => decode(truncate(x, from.bits()) as u32, from),
            };
            if to.integral() {
                return float_to_int(value, to, mode.round);
            }
            let value = if integral { round_integral(value, mode.round) } else { value };
            float_to_float(value, from, to, mode, satfinite)
        });
        // A destination wider than the type receives the sign- or zero-extended value.
        let v = if to.integral() { v.map(|x| extend(x, to)) } else { v };
        let bits = match d {
            Reg::D(_) => 64,
            _ => 32,
        };
        self.set64(d, &v.map(|x| truncate(x, bits)), m);
    }
}

fn pack_half(x: f64, to: Ty, mode: FloatMode, satfinite: bool) -> u32 {
    let x = if mode.relu && x < 0.0 { 0.0 } else { x };
    let x = round_to(x, to, mode.round);
    let x = if satfinite && x.is_infinite() { round_to(f64::MAX.copysign(x), to, Round::Zero) } else { x };
    encode(x, to)
}

fn int_to_int(x: u64, from: Ty, to: Ty, sat: bool) -> u64 {
    if !sat {
        return truncate(x, to.bits());
    }
    let wide = if from.signed() { i128::from(x as i64) } else { i128::from(x) };
    let (lo, hi) = int_range(to);
    truncate(wide.clamp(lo, hi) as u64, to.bits())
}

fn int_range(ty: Ty) -> (i128, i128) {
    if ty.signed() {
        (-(1i128 << (ty.bits() - 1)), (1i128 << (ty.bits() - 1)) - 1)
    } else {
        (0, (1i128 << ty.bits()) - 1)
    }
}

fn int_to_float(x: u64, from: Ty, to: Ty, mode: FloatMode) -> u64 {
    let exact = if from.signed() { i128::from(x as i64) } else { i128::from(x) };
    if to == Ty::F64 {
        return round_int(exact, 53, mode.round).to_bits();
    }
    let mantissa = match to {
        Ty::F16 => 11,
        Ty::Bf16 => 8,
        _ => 24,
    };
    let y = round_int(exact, mantissa, mode.round);
    // Only the range is left to apply: `y` already has the format's precision.
    let y = round_to(y, to, mode.round);
    let y = if mode.sat { y.clamp(0.0, 1.0) } else { y };
    u64::from(encode(y, to))
}

/// Rounds an integer to `bits` significant bits; the result is exact in f64.
fn round_int(x: i128, bits: u32, round: Round) -> f64 {
    let magnitude = x.unsigned_abs();
    let extra = (128 - magnitude.leading_zeros()).saturating_sub(bits);
    if extra == 0 {
        return x as f64;
    }
    let kept = magnitude >> extra;
    let rest = magnitude & ((1 << extra) - 1);
    let half = 1u128 << (extra - 1);
    let up = match round {
        Round::Zero => false,
        Round::Down => x < 0 && rest != 0,
        Round::Up => x > 0 && rest != 0,
        Round::Nearest => rest > half || (rest == half && kept & 1 == 1),
        Round::NearestAway => rest >= half,
    };
    let value = ((kept + u128::from(up)) << extra) as f64;
    if x < 0 { -value } else { value }
}

/// Out-of-range values clamp; NaN gives 0.
fn float_to_int(x: f64, to: Ty, round: Round) -> u64 {
    if x.is_nan() {
        return 0;
    }
    let r = round_integral(x, round);
    let (lo, hi) = int_range(to);
    let v = if r <= lo as f64 {
        lo
    } else if r >= hi as f64 {
        hi
    } else {
        r as i128
    };
    truncate(v as u64, to.bits())
}

fn float_to_float(x: f64, from: Ty, to: Ty, mode: FloatMode, satfinite: bool) -> u64 {
    let x = if mode.relu && x < 0.0 { 0.0 } else { x };
    let x = if mode.sat { if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) } } else { x };
    if to == Ty::F64 {
        return x.to_bits();
    }
    if to.bits() >= from.bits() && to != Ty::Tf32 && from != Ty::Bf16 && to != Ty::Bf16 {
        let y = if to == Ty::F32 && mode.ftz { f64::from(flush(x as f32)) } else { x };
        return u64::from(encode(y, to));
    }
    let mut y = round_to(x, to, mode.round);
    if satfinite && y.is_infinite() {
        y = round_to(f64::MAX.copysign(y), to, Round::Zero);
    }
    if mode.ftz && to == Ty::F32 {
        y = f64::from(flush(y as f32));
    }
    u64::from(encode(y, to))
}
