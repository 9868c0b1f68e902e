//! Elementary functions of a vector of f32.
//!
//! Input: lanes. Output: lanes, within the errors that the tests measure (at most 2.5 units in the last place). Polynomials
//! are minimax fits with coefficients rounded to f32 one after the other; the error of the fit is named with each. Every
//! function is defined for all f32: infinities, NaN, signed zeros and subnormals.

#![allow(
    clippy::approx_constant,
    clippy::excessive_precision,
    reason = "coefficients are what a fit gave, even where they come near a constant"
)]

use crate::simd::Simd;

const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// ln 2 in two parts; the upper one has 10 bits, so that its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// sqrt(1/2): subtracting its bits moves the border between two exponents there.
const ROOT: i32 = 0x3f35_04f3;
pub(crate) const LN2: f32 = core::f32::consts::LN_2;

/// A polynomial by Horner's rule, the highest power first.
macro_rules! polynomial {
    ($s:ty, $x:expr, $first:expr $(, $next:expr)+) => {{
        let p = <$s>::splat($first);
        $(let p = <$s>::fma(p, $x, <$s>::splat($next));)+
        p
    }};
}

#[inline(always)]
unsafe fn abs<S: Simd>(x: S::V) -> S::V {
    S::from_bits(S::and(S::bits(x), S::splat_int(0x7fff_ffff)))
}

/// `magnitude` (without a sign) with the sign of `x`.
#[inline(always)]
unsafe fn with_sign<S: Simd>(magnitude: S::V, x: S::V) -> S::V {
    let sign = S::and(S::bits(x), S::splat_int(i32::MIN));
    S::from_bits(S::or(S::bits(magnitude), sign))
}

#[inline(always)]
unsafe fn negate<S: Simd>(x: S::V) -> S::V {
    S::from_bits(S::add_int(S::bits(x), S::splat_int(i32::MIN)))
}

/// `x` within `low..=high`; NaN stays NaN.
#[inline(always)]
unsafe fn clamp<S: Simd>(x: S::V, low: f32, high: f32) -> S::V {
    S::min(S::splat(high), S::max(S::splat(low), x))
}

/// 2^r for |r| <= 1/2; relative error of the fit 3.0e-9.
#[inline(always)]
unsafe fn exp2_reduced<S: Simd>(r: S::V) -> S::V {
    polynomial!(
        S,
        r,
        1.532_646_3e-4,
        1.339_080_6e-3,
        9.618_506e-3,
        5.550_36e-2,
        2.402_264_8e-1,
        6.931_472e-1,
        1.0
    )
}

/// 2^x.
#[inline(always)]
pub(crate) unsafe fn exp2<S: Simd>(x: S::V) -> S::V {
    let x = clamp::<S>(x, -152.0, 130.0);
    let n = S::round(x);
    S::scale(exp2_reduced::<S>(S::sub(x, n)), n)
}

/// 2^x for x up to 127, zero where the result would be subnormal: the softmax's own. Relative error of the fit 9.3e-8.
#[inline(always)]
pub(crate) unsafe fn exp2_flushed<S: Simd>(x: S::V) -> S::V {
    let n = S::round(x);
    let r = S::sub(x, n);
    let p = polynomial!(S, r, 1.326_953_5e-3, 9.671_292e-3, 5.550_711e-2, 2.402_224_7e-1, 6.931_47e-1, 1.0);
    S::scale_flushed(p, n, x)
}

/// e^x.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    let x = clamp::<S>(x, -105.0, 90.0);
    let (n, r) = reduce_exp::<S>(x);
    // Relative error of the fit 3.1e-9.
    let p = polynomial!(
        S,
        r,
        1.382_147_8e-3,
        8.368_663e-3,
        4.166_825_5e-2,
        1.666_652_1e-1,
        4.999_999_4e-1,
        1.0,
        1.0
    );
    S::scale(p, n)
}

/// `x = n * ln 2 + r` with |r| <= ln(2) / 2.
#[inline(always)]
unsafe fn reduce_exp<S: Simd>(x: S::V) -> (S::V, S::V) {
    let n = S::round(S::mul(x, S::splat(LOG2_E)));
    let r = S::fma(n, S::splat(-LN2_HIGH), x);
    (n, S::fma(n, S::splat(-LN2_LOW), r))
}

/// ln x.
#[inline(always)]
pub(crate) unsafe fn log<S: Simd>(x: S::V) -> S::V {
    // Subnormals are brought up by 2^24.
    let small = S::less(x, S::splat(f32::MIN_POSITIVE));
    let normal = S::select(small, S::mul(x, S::splat(16_777_216.0)), x);
    let bias = S::select(small, S::splat(-24.0), S::splat(0.0));
    // Significands from sqrt(1/2) to sqrt(2).
    let bits = S::sub_int(S::bits(normal), S::splat_int(ROOT));
    let n = S::shr::<23>(S::add_int(bits, S::splat_int(128 << 23)));
    let n = S::add(S::to_float(S::sub_int(n, S::splat_int(128))), bias);
    let fraction = S::add_int(S::and(bits, S::splat_int(0x007f_ffff)), S::splat_int(ROOT));
    let f = S::sub(S::from_bits(fraction), S::splat(1.0));
    // ln(1 + f) = 2 atanh(s) with s = f / (2 + f), rearranged so that f itself is exact:
    // f - (f^2 / 2 - s * (f^2 / 2 + s^2 q(s^2))); error of the fit 8.1e-10.
    let s = S::div(f, S::add(f, S::splat(2.0)));
    let s2 = S::mul(s, s);
    let q = S::mul(s2, polynomial!(S, s2, 2.987_106_4e-1, 3.997_757_7e-1, 6.666_677_6e-1));
    let half = S::mul(S::mul(f, f), S::splat(0.5));
    let inner = S::fma(s, S::add(half, q), S::mul(n, S::splat(LN2_LOW)));
    let y = S::fma(n, S::splat(LN2_HIGH), S::sub(f, S::sub(half, inner)));
    let infinity = S::splat(f32::INFINITY);
    let y = S::select(S::less(x, infinity), y, x);
    let y = S::select(S::less_equal(x, S::splat(0.0)), S::splat(f32::NEG_INFINITY), y);
    let y = S::select(S::less(x, S::splat(0.0)), S::splat(f32::NAN), y);
    S::select(S::unordered(x, x), x, y)
}

/// ln(1 + z) for z from 0 to 1; relative error of the fit 4.6e-9.
#[inline(always)]
unsafe fn log1p_unit<S: Simd>(z: S::V) -> S::V {
    let s = S::div(z, S::add(z, S::splat(2.0)));
    let s2 = S::mul(s, s);
    let q = polynomial!(S, s2, 2.802_674_2e-1, 2.799_859_6e-1, 4.002_173_8e-1, 6.666_641_2e-1);
    S::fma(S::mul(s, s2), q, S::add(s, s))
}

/// The square root.
#[inline(always)]
pub(crate) unsafe fn sqrt<S: Simd>(x: S::V) -> S::V {
    S::sqrt(x)
}

/// 1 / sqrt(x).
#[inline(always)]
pub(crate) unsafe fn rsqrt<S: Simd>(x: S::V) -> S::V {
    S::div(S::splat(1.0), S::sqrt(x))
}

/// tanh |x| = t / (t + 2) with t = e^(2|x|) - 1, which keeps its relative accuracy near zero.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    let double = S::min(S::splat(20.0), S::mul(abs::<S>(x), S::splat(2.0)));
    let (n, r) = reduce_exp::<S>(double);
    // e^r - 1 = r + r^2 p(r); relative error of the fit 1.4e-8.
    let p = polynomial!(S, r, 1.389_786e-3, 8.365_971e-3, 4.166_685_8e-2, 1.666_655e-1, 0.5);
    let q = S::fma(S::mul(r, r), p, r);
    let power = S::scale(S::splat(1.0), n);
    let t = S::fma(q, power, S::sub(power, S::splat(1.0)));
    with_sign::<S>(S::div(t, S::add(t, S::splat(2.0))), x)
}

/// 1 / (1 + e^-x), from e^-|x| so that both ends keep their relative accuracy.
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    let z = exp::<S>(negate::<S>(abs::<S>(x)));
    let top = S::select(S::less(x, S::splat(0.0)), z, S::splat(1.0));
    S::div(top, S::add(z, S::splat(1.0)))
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
#[inline(always)]
pub(crate) unsafe fn softplus<S: Simd>(x: S::V) -> S::V {
    let z = exp::<S>(negate::<S>(abs::<S>(x)));
    S::add(S::max(S::splat(0.0), x), log1p_unit::<S>(z))
}

/// -softplus(-x).
#[inline(always)]
pub(crate) unsafe fn logsigmoid<S: Simd>(x: S::V) -> S::V {
    negate::<S>(softplus::<S>(negate::<S>(x)))
}
