//! Floating-point formats and the conversions between them, bit by bit as the ISA defines them.
//!
//! Everything goes through f64: f16, bf16 and f32 values are exact there, and [`round_to`] rounds an f64 once to any
//! of the narrow formats in any rounding mode.

use crate::op::Round;
use crate::types::Ty;

/// Mantissa bits (without the hidden one), smallest normal exponent and largest finite value of a format.
#[derive(Clone, Copy)]
struct Format {
    mantissa: i32,
    min_exp: i32,
    max: f64,
}

fn format(ty: Ty) -> Format {
    match ty {
        Ty::F16 | Ty::F16x2 => Format { mantissa: 10, min_exp: -14, max: 65504.0 },
        Ty::Bf16 | Ty::Bf16x2 => {
            Format { mantissa: 7, min_exp: -126, max: f64::from(f32::from_bits(0x7F7F_0000)) }
        }
        Ty::Tf32 => Format { mantissa: 10, min_exp: -126, max: f64::from(f32::from_bits(0x7F7F_E000)) },
        _ => Format { mantissa: 23, min_exp: -126, max: f64::from(f32::MAX) },
    }
}

/// Rounds to an integer in the given mode.
pub(crate) fn round_integral(x: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => x.round_ties_even(),
        Round::NearestAway => x.round(),
        Round::Zero => x.trunc(),
        Round::Down => x.floor(),
        Round::Up => x.ceil(),
    }
}

/// Rounds `x` once to the format of `ty`; the result is exact in f64.
pub(crate) fn round_to(x: f64, ty: Ty, round: Round) -> f64 {
    if ty == Ty::F64 || x == 0.0 || !x.is_finite() {
        return x;
    }
    if ty == Ty::F32 && round == Round::Nearest {
        return f64::from(x as f32);
    }
    let f = format(ty);
    // Exponent of x, exact for normal f64; smaller ones round as the smallest.
    let exp = ((x.to_bits() >> 52 & 0x7FF) as i32 - 1023).max(-1022);
    let ulp = exp.max(f.min_exp) - f.mantissa;
    let scale = exp2i(-ulp);
    let rounded = round_integral(x * scale, round) / scale;
    if rounded.abs() > f.max {
        let down = match round {
            Round::Zero => true,
            Round::Down => x > 0.0,
            Round::Up => x < 0.0,
            Round::Nearest | Round::NearestAway => false,
        };
        return if down { f.max.copysign(x) } else { f64::INFINITY.copysign(x) };
    }
    if rounded == 0.0 { 0.0f64.copysign(x) } else { rounded }
}

/// 2^e for |e| ≤ 1022.
fn exp2i(e: i32) -> f64 {
    f64::from_bits(((e.clamp(-1022, 1023) + 1023) as u64) << 52)
}

/// The bits of a value that is exact in `ty` (16- and 32-bit formats). NaN becomes the canonical NaN.
pub(crate) fn encode(x: f64, ty: Ty) -> u32 {
    match ty {
        Ty::F16 | Ty::F16x2 => {
            if x.is_nan() {
                0x7FFF
            } else {
                u32::from(half::f16::from_f64(x).to_bits())
            }
        }
        Ty::Bf16 | Ty::Bf16x2 => {
            if x.is_nan() {
                0x7FFF
            } else {
                (x as f32).to_bits() >> 16
            }
        }
        _ => {
            if x.is_nan() {
                0x7FFF_FFFF
            } else {
                (x as f32).to_bits()
            }
        }
    }
}

/// The value of bits of `ty`.
pub(crate) fn decode(bits: u32, ty: Ty) -> f64 {
    match ty {
        Ty::F16 | Ty::F16x2 => half::f16::from_bits(bits as u16).to_f64(),
        Ty::Bf16 | Ty::Bf16x2 => f64::from(f32::from_bits(bits << 16)),
        _ => f64::from(f32::from_bits(bits)),
    }
}

/// Rounds and encodes.
pub(crate) fn narrow(x: f64, ty: Ty, round: Round) -> u32 {
    encode(round_to(x, ty, round), ty)
}

/// f32 subnormals become zero of the same sign.
pub(crate) fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// bf16 bits of an f32, to nearest even; the fast path of the packed conversion.
pub(crate) fn bf16_nearest(x: f32) -> u32 {
    let u = x.to_bits();
    if x.is_nan() {
        return 0x7FFF;
    }
    (u + 0x7FFF + (u >> 16 & 1)) >> 16
}
