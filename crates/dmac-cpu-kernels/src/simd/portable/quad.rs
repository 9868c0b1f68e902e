//! Arithmetic on four f32 with the vector registers that every processor of an architecture has.
//!
//! Input and output: arrays of four. On x86-64 (SSE2) and aarch64 (NEON) each function is one instruction; elsewhere it is four
//! scalar ones. Without this the compiler has to find the vectors by itself, which it does badly in the middle of a register
//! tile (a quarter of the speed).

#[cfg(target_arch = "aarch64")]
pub(super) use self::neon::*;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use self::scalar::*;
#[cfg(target_arch = "x86_64")]
pub(super) use self::sse2::*;

/// Four lanes.
pub(super) type Quad = [f32; 4];

/// Functions of quads as expressions of native vectors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! through {
    ($vector:ty; $($name:ident($($arg:ident),*) => $body:expr;)*) => { $(
        #[inline(always)]
        pub(in crate::simd::portable) fn $name($($arg: Quad),*) -> Quad {
            // SAFETY: the instructions belong to every processor of the architecture, and any bits are four f32.
            unsafe {
                $(let $arg = transmute::<Quad, $vector>($arg);)*
                transmute::<$vector, Quad>($body)
            }
        }
    )* };
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::Quad;
    use core::arch::x86_64::{
        __m128, _mm_add_ps, _mm_div_ps, _mm_max_ps, _mm_min_ps, _mm_mul_ps, _mm_sqrt_ps, _mm_sub_ps,
    };
    use core::mem::transmute;

    through! { __m128;
        add(a, b) => _mm_add_ps(a, b);
        sub(a, b) => _mm_sub_ps(a, b);
        mul(a, b) => _mm_mul_ps(a, b);
        div(a, b) => _mm_div_ps(a, b);
        max(a, b) => _mm_max_ps(a, b);
        min(a, b) => _mm_min_ps(a, b);
        sqrt(a) => _mm_sqrt_ps(a);
        multiply_add(a, b, c) => _mm_add_ps(_mm_mul_ps(a, b), c);
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::Quad;
    use core::arch::aarch64::{
        float32x4_t, vaddq_f32, vbslq_f32, vcgtq_f32, vcltq_f32, vdivq_f32, vfmaq_f32, vmulq_f32, vsqrtq_f32,
        vsubq_f32,
    };
    use core::mem::transmute;

    through! { float32x4_t;
        add(a, b) => vaddq_f32(a, b);
        sub(a, b) => vsubq_f32(a, b);
        mul(a, b) => vmulq_f32(a, b);
        div(a, b) => vdivq_f32(a, b);
        max(a, b) => vbslq_f32(vcgtq_f32(a, b), a, b);
        min(a, b) => vbslq_f32(vcltq_f32(a, b), a, b);
        sqrt(a) => vsqrtq_f32(a);
        multiply_add(a, b, c) => vfmaq_f32(c, a, b);
    }
}

#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod scalar {
    use super::super::{map, zip};
    use super::Quad;

    #[inline(always)]
    pub(in crate::simd::portable) fn add(a: Quad, b: Quad) -> Quad {
        zip(a, b, |x, y| x + y)
    }
    #[inline(always)]
    pub(in crate::simd::portable) fn sub(a: Quad, b: Quad) -> Quad {
        zip(a, b, |x, y| x - y)
    }
    #[inline(always)]
    pub(in crate::simd::portable) fn mul(a: Quad, b: Quad) -> Quad {
        zip(a, b, |x, y| x * y)
    }
    #[inline(always)]
    pub(in crate::simd::portable) fn div(a: Quad, b: Quad) -> Quad {
        zip(a, b, |x, y| x / y)
    }
    #[inline(always)]
    pub(in crate::simd::portable) fn max(a: Quad, b: Quad) -> Quad {
        zip(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    pub(in crate::simd::portable) fn min(a: Quad, b: Quad) -> Quad {
        zip(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    pub(in crate::simd::portable) fn multiply_add(a: Quad, b: Quad, c: Quad) -> Quad {
        add(mul(a, b), c)
    }

    #[inline(always)]
    pub(in crate::simd::portable) fn sqrt(a: Quad) -> Quad {
        map(a, square_root)
    }

    /// Newton's iteration in f64, whose error is too small to change the rounding to f32; `core` has no square root.
    fn square_root(x: f32) -> f32 {
        if x == 0.0 || x.is_nan() || x == f32::INFINITY {
            return x;
        }
        if x < 0.0 {
            return f32::NAN;
        }
        let wide = f64::from(x);
        let mut root = f64::from_bits((wide.to_bits() >> 1) + (0x3ff << 51));
        for _ in 0..4 {
            root = 0.5 * (root + wide / root);
        }
        root as f32
    }
}

#[cfg(test)]
mod tests {
    use super::{Quad, scalar};

    /// Equal bits, or both NaN.
    fn same(a: Quad, b: Quad) -> bool {
        a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
    }

    #[test]
    fn native_arithmetic_is_scalar_arithmetic() {
        let special =
            [0.0, -0.0, 1.5, -2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-45, 3e38, 1e-38, 7.0, 0.1];
        let step = |i: usize| f32::from_bits((i as u32).wrapping_mul(0x9e37_79b9));
        for i in 0..20_000 {
            let pick = |lane: usize, by: usize| match i % 3 {
                0 => special[(i / 3 * by + lane) % special.len()],
                _ => step(i * by + lane),
            };
            let (a, b) = ([0, 1, 2, 3].map(|lane| pick(lane, 1)), [0, 1, 2, 3].map(|lane| pick(lane, 5)));
            assert!(same(super::add(a, b), scalar::add(a, b)), "{a:?} + {b:?}");
            assert!(same(super::sub(a, b), scalar::sub(a, b)), "{a:?} - {b:?}");
            assert!(same(super::mul(a, b), scalar::mul(a, b)), "{a:?} * {b:?}");
            assert!(same(super::div(a, b), scalar::div(a, b)), "{a:?} / {b:?}");
            assert!(same(super::sqrt(a), scalar::sqrt(a)), "sqrt {a:?}");
            let (most, least) = (super::max(a, b), super::min(a, b));
            for lane in 0..4 {
                // Zeros of both signs are equal, and either may be the larger.
                let equal = |x: f32, y: f32| x == y || (x.is_nan() && y.is_nan());
                assert!(equal(most[lane], scalar::max(a, b)[lane]), "max {a:?} {b:?}");
                assert!(equal(least[lane], scalar::min(a, b)[lane]), "min {a:?} {b:?}");
            }
            let fused = super::multiply_add(a, b, [1.0; 4]);
            let apart = scalar::multiply_add(a, b, [1.0; 4]);
            for lane in 0..4 {
                let (fused, apart) = (fused[lane], apart[lane]);
                let close = (fused - apart).abs() <= 1e-6 * (1.0 + apart.abs());
                assert!(close || fused == apart || (fused.is_nan() && apart.is_nan()), "{a:?} * {b:?} + 1");
            }
        }
    }
}
