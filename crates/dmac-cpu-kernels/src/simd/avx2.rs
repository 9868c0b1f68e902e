//! Eight lanes: AVX2 with FMA and F16C.
//!
//! Input and output as [`Simd`] says.

#![allow(clippy::wildcard_imports, reason = "most of the intrinsics of one instruction set are used here")]

use core::arch::x86_64::*;

use super::{MAX_LANES, Simd};

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

const N: usize = 8;

/// Round to nearest even, raise no exception.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// The low halves of the lanes, which hold nothing else.
#[inline(always)]
unsafe fn narrow(v: __m256i) -> __m128i {
    _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(v, v)))
}

/// 2^n for whole n from -126 to 127.
#[inline(always)]
unsafe fn power_of_two(n: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))))
}

impl Simd for Avx2 {
    const LANES: usize = N;
    const VECS: usize = 2;
    const ROWS: usize = 6;
    const DOT_ROWS: usize = 2;
    type V = __m256;
    type I = __m256i;
    type M = __m256;
    type T = __m256i;

    #[inline(always)]
    unsafe fn tail(n: usize) -> __m256i {
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        _mm256_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        _mm256_storeu_ps(p, v);
    }
    #[inline(always)]
    unsafe fn load_tail(p: *const f32, t: __m256i) -> __m256 {
        _mm256_maskload_ps(p, t)
    }
    #[inline(always)]
    unsafe fn store_tail(p: *mut f32, t: __m256i, v: __m256) {
        _mm256_maskstore_ps(p, t, v);
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m256) -> __m256 {
        _mm256_sqrt_ps(a)
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        _mm256_round_ps::<NEAREST>(a)
    }
    #[inline(always)]
    unsafe fn scale(a: __m256, n: __m256) -> __m256 {
        let whole = _mm256_cvtps_epi32(n);
        let half = _mm256_srai_epi32::<1>(whole);
        let rest = _mm256_sub_epi32(whole, half);
        _mm256_mul_ps(_mm256_mul_ps(a, power_of_two(half)), power_of_two(rest))
    }
    #[inline(always)]
    unsafe fn sum(a: __m256) -> f32 {
        let quad = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let pair = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
        _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
    }
    #[inline(always)]
    unsafe fn max_lane(a: __m256) -> f32 {
        let quad = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let pair = _mm_max_ps(quad, _mm_movehl_ps(quad, quad));
        _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
    }

    #[inline(always)]
    unsafe fn less(a: __m256, b: __m256) -> __m256 {
        _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)
    }
    #[inline(always)]
    unsafe fn less_equal(a: __m256, b: __m256) -> __m256 {
        _mm256_cmp_ps::<_CMP_LE_OQ>(a, b)
    }
    #[inline(always)]
    unsafe fn unordered(a: __m256, b: __m256) -> __m256 {
        _mm256_cmp_ps::<_CMP_UNORD_Q>(a, b)
    }
    #[inline(always)]
    unsafe fn select(m: __m256, a: __m256, b: __m256) -> __m256 {
        _mm256_blendv_ps(b, a, m)
    }
    #[inline(always)]
    unsafe fn mask_bits(m: __m256) -> u32 {
        _mm256_movemask_ps(m) as u32
    }

    #[inline(always)]
    unsafe fn bits(a: __m256) -> __m256i {
        _mm256_castps_si256(a)
    }
    #[inline(always)]
    unsafe fn from_bits(a: __m256i) -> __m256 {
        _mm256_castsi256_ps(a)
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> __m256i {
        _mm256_set1_epi32(x)
    }
    #[inline(always)]
    unsafe fn load_int(p: *const i32) -> __m256i {
        _mm256_loadu_si256(p.cast())
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, v: __m256i) {
        _mm256_storeu_si256(p.cast(), v);
    }
    #[inline(always)]
    unsafe fn load_int_tail(p: *const i32, t: __m256i) -> __m256i {
        _mm256_maskload_epi32(p, t)
    }
    #[inline(always)]
    unsafe fn store_int_tail(p: *mut i32, t: __m256i, v: __m256i) {
        _mm256_maskstore_epi32(p, t, v);
    }
    #[inline(always)]
    unsafe fn add_int(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn sub_int(a: __m256i, b: __m256i) -> __m256i {
        _mm256_sub_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        _mm256_and_si256(a, b)
    }
    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(a, b)
    }
    #[inline(always)]
    unsafe fn shl<const S: u32>(a: __m256i) -> __m256i {
        _mm256_sll_epi32(a, _mm_cvtsi32_si128(S as i32))
    }
    #[inline(always)]
    unsafe fn shr<const S: u32>(a: __m256i) -> __m256i {
        _mm256_srl_epi32(a, _mm_cvtsi32_si128(S as i32))
    }
    #[inline(always)]
    unsafe fn less_int(a: __m256i, b: __m256i) -> __m256 {
        _mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a))
    }
    #[inline(always)]
    unsafe fn to_float(a: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(a)
    }

    #[inline(always)]
    unsafe fn load_u16(p: *const u16) -> __m256i {
        _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_u16_tail(p: *const u16, n: usize) -> __m256i {
        let mut buffer = [0_u16; N];
        for i in 0..N {
            if i < n {
                buffer[i] = p.add(i).read_unaligned();
            }
        }
        Self::load_u16(buffer.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_u16(p: *mut u16, v: __m256i) {
        _mm_storeu_si128(p.cast(), narrow(v));
    }
    #[inline(always)]
    unsafe fn store_u16_tail(p: *mut u16, n: usize, v: __m256i) {
        let mut buffer = [0_u16; N];
        Self::store_u16(buffer.as_mut_ptr(), v);
        for i in 0..N {
            if i < n {
                p.add(i).write_unaligned(buffer[i]);
            }
        }
    }
    #[inline(always)]
    unsafe fn from_f16(a: __m256i) -> __m256 {
        _mm256_cvtph_ps(narrow(a))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(p.cast()))
    }
    #[inline(always)]
    unsafe fn to_f16(a: __m256) -> __m256i {
        _mm256_cvtepu16_epi32(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a))
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[inline(always)]
    unsafe fn transpose(v: &mut [__m256; MAX_LANES]) {
        // Squares of 4 by 4 within each half.
        let mut quads = *v;
        for i in 0..2 {
            let [a, b, c, d] = [v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]];
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            quads[4 * i] = _mm256_shuffle_ps::<0x44>(ab_low, cd_low);
            quads[4 * i + 1] = _mm256_shuffle_ps::<0xee>(ab_low, cd_low);
            quads[4 * i + 2] = _mm256_shuffle_ps::<0x44>(ab_high, cd_high);
            quads[4 * i + 3] = _mm256_shuffle_ps::<0xee>(ab_high, cd_high);
        }
        // Then the halves among the vectors: half l of quad c holds column 4 * l + c.
        for c in 0..4 {
            v[c] = _mm256_permute2f128_ps::<0x20>(quads[c], quads[4 + c]);
            v[4 + c] = _mm256_permute2f128_ps::<0x31>(quads[c], quads[4 + c]);
        }
    }
}
