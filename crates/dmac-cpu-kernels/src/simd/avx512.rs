//! Sixteen lanes: AVX-512 (F, BW, DQ, VL), with or without its bf16 instructions.
//!
//! Input and output as [`Simd`] says. With `BF16`, products of pairs are VDPBF16PS and rounding to bf16 is VCVTNEPS2BF16, both
//! of which take subnormals for zero.

#![allow(clippy::wildcard_imports, reason = "most of the intrinsics of one instruction set are used here")]

use core::arch::x86_64::*;
use core::mem::transmute;

use super::{MAX_LANES, Simd, dot_pair_by_fma, round_to_bf16};

/// AVX-512; `BF16` says whether the bf16 instructions may be used.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>;

/// Round to nearest even, raise no exception.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1_u32 << n) - 1) as __mmask16
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    const LANES: usize = 16;
    const VECS: usize = 4;
    const ROWS: usize = 6;
    const DOT_ROWS: usize = 4;
    type V = __m512;
    type I = __m512i;
    type M = __mmask16;
    type T = __mmask16;

    #[inline(always)]
    unsafe fn tail(n: usize) -> __mmask16 {
        first(n)
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        _mm512_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        _mm512_storeu_ps(p, v);
    }
    #[inline(always)]
    unsafe fn load_tail(p: *const f32, t: __mmask16) -> __m512 {
        _mm512_maskz_loadu_ps(t, p)
    }
    #[inline(always)]
    unsafe fn store_tail(p: *mut f32, t: __mmask16, v: __m512) {
        _mm512_mask_storeu_ps(p, t, v);
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m512) -> __m512 {
        _mm512_sqrt_ps(a)
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        _mm512_roundscale_ps::<NEAREST>(a)
    }
    #[inline(always)]
    unsafe fn scale(a: __m512, n: __m512) -> __m512 {
        _mm512_scalef_ps(a, n)
    }
    #[inline(always)]
    unsafe fn scale_flushed(a: __m512, n: __m512, x: __m512) -> __m512 {
        let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(-126.0));
        _mm512_maskz_scalef_ps(kept, a, n)
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        _mm512_reduce_add_ps(a)
    }
    #[inline(always)]
    unsafe fn max_lane(a: __m512) -> f32 {
        _mm512_reduce_max_ps(a)
    }

    #[inline(always)]
    unsafe fn less(a: __m512, b: __m512) -> __mmask16 {
        _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b)
    }
    #[inline(always)]
    unsafe fn less_equal(a: __m512, b: __m512) -> __mmask16 {
        _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b)
    }
    #[inline(always)]
    unsafe fn unordered(a: __m512, b: __m512) -> __mmask16 {
        _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b)
    }
    #[inline(always)]
    unsafe fn select(m: __mmask16, a: __m512, b: __m512) -> __m512 {
        _mm512_mask_mov_ps(b, m, a)
    }
    #[inline(always)]
    unsafe fn mask_bits(m: __mmask16) -> u32 {
        u32::from(m)
    }

    #[inline(always)]
    unsafe fn bits(a: __m512) -> __m512i {
        _mm512_castps_si512(a)
    }
    #[inline(always)]
    unsafe fn from_bits(a: __m512i) -> __m512 {
        _mm512_castsi512_ps(a)
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> __m512i {
        _mm512_set1_epi32(x)
    }
    #[inline(always)]
    unsafe fn load_int(p: *const i32) -> __m512i {
        _mm512_loadu_si512(p.cast())
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, v: __m512i) {
        _mm512_storeu_si512(p.cast(), v);
    }
    #[inline(always)]
    unsafe fn load_int_tail(p: *const i32, t: __mmask16) -> __m512i {
        _mm512_maskz_loadu_epi32(t, p)
    }
    #[inline(always)]
    unsafe fn store_int_tail(p: *mut i32, t: __mmask16, v: __m512i) {
        _mm512_mask_storeu_epi32(p, t, v);
    }
    #[inline(always)]
    unsafe fn add_int(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn sub_int(a: __m512i, b: __m512i) -> __m512i {
        _mm512_sub_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        _mm512_and_si512(a, b)
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }
    #[inline(always)]
    unsafe fn shl<const N: u32>(a: __m512i) -> __m512i {
        _mm512_slli_epi32::<N>(a)
    }
    #[inline(always)]
    unsafe fn shr<const N: u32>(a: __m512i) -> __m512i {
        _mm512_srli_epi32::<N>(a)
    }
    #[inline(always)]
    unsafe fn less_int(a: __m512i, b: __m512i) -> __mmask16 {
        _mm512_cmplt_epi32_mask(a, b)
    }
    #[inline(always)]
    unsafe fn to_float(a: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(a)
    }

    #[inline(always)]
    unsafe fn load_u16(p: *const u16) -> __m512i {
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_u16_tail(p: *const u16, n: usize) -> __m512i {
        _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p.cast()))
    }
    #[inline(always)]
    unsafe fn store_u16(p: *mut u16, v: __m512i) {
        _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(v));
    }
    #[inline(always)]
    unsafe fn store_u16_tail(p: *mut u16, n: usize, v: __m512i) {
        _mm256_mask_storeu_epi16(p.cast(), first(n), _mm512_cvtepi32_epi16(v));
    }
    #[inline(always)]
    unsafe fn from_f16(a: __m512i) -> __m512 {
        _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a))
    }
    #[inline(always)]
    unsafe fn to_f16(a: __m512) -> __m512i {
        _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<NEAREST>(a))
    }
    #[inline(always)]
    unsafe fn to_bf16(a: __m512) -> __m512i {
        if BF16 {
            _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(a)))
        } else {
            round_to_bf16::<Self>(a)
        }
    }
    #[inline(always)]
    unsafe fn dot_pair(acc: __m512, a: __m512i, b: __m512i) -> __m512 {
        if BF16 {
            _mm512_dpbf16_ps(acc, transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b))
        } else {
            dot_pair_by_fma::<Self>(acc, a, b)
        }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[inline(always)]
    unsafe fn transpose(v: &mut [__m512; MAX_LANES]) {
        // Squares of 4 by 4 within each 128-bit quarter.
        let mut quads = *v;
        for i in 0..4 {
            let [a, b, c, d] = [v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]];
            let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            quads[4 * i] = low_pairs(ab_low, cd_low);
            quads[4 * i + 1] = high_pairs(ab_low, cd_low);
            quads[4 * i + 2] = low_pairs(ab_high, cd_high);
            quads[4 * i + 3] = high_pairs(ab_high, cd_high);
        }
        // Then the quarters among the vectors: quarter l of quad c holds column 4 * l + c.
        for c in 0..4 {
            let (a, b) = (quads[c], quads[4 + c]);
            let (d, e) = (quads[8 + c], quads[12 + c]);
            let (even_low, odd_low) =
                (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
            let (even_high, odd_high) =
                (_mm512_shuffle_f32x4::<0x88>(d, e), _mm512_shuffle_f32x4::<0xdd>(d, e));
            v[c] = _mm512_shuffle_f32x4::<0x88>(even_low, even_high);
            v[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd_low, odd_high);
            v[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even_low, even_high);
            v[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high);
        }
    }
}

#[inline(always)]
unsafe fn low_pairs(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}

#[inline(always)]
unsafe fn high_pairs(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}
