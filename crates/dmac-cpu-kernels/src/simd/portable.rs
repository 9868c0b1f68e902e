//! Four lanes in plain Rust: for every processor, and what the compiler makes of it.
//!
//! Input and output as [`Simd`] says. Arithmetic goes through [`quad`], which uses what an architecture always has; all else is
//! left to the compiler. Multiplication and addition are fused only where that is part of the architecture.

mod quad;

use super::{MAX_LANES, ROUNDER, Simd};

/// Four lanes without any instruction set in mind.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const N: usize = 4;

#[inline(always)]
fn map<A: Copy, B>(a: [A; N], f: impl Fn(A) -> B) -> [B; N] {
    [f(a[0]), f(a[1]), f(a[2]), f(a[3])]
}

#[inline(always)]
fn zip<A: Copy, B: Copy, C>(a: [A; N], b: [B; N], f: impl Fn(A, B) -> C) -> [C; N] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

/// Reads the first `n` elements, zeros after them.
#[inline(always)]
unsafe fn read_first<A: Copy + Default>(p: *const A, n: usize) -> [A; N] {
    let at = |i: usize| if i < n { p.add(i).read_unaligned() } else { A::default() };
    [at(0), at(1), at(2), at(3)]
}

#[inline(always)]
unsafe fn write_first<A: Copy>(p: *mut A, n: usize, v: [A; N]) {
    let put = |i: usize| {
        if i < n {
            p.add(i).write_unaligned(v[i]);
        }
    };
    put(0);
    put(1);
    put(2);
    put(3);
}

/// 2^n for n from -126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// The half's exponent and fraction in the f32's places make it 2^112 too small, subnormals included.
#[inline(always)]
fn half_to_float(h: i32) -> f32 {
    let sign = ((h & 0x8000) << 16) as u32;
    let scaled = f32::from_bits(((h & 0x7fff) << 13) as u32) * power_of_two(112);
    // Infinity and NaN need the largest exponent.
    let special = if h & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(sign | special | scaled.to_bits())
}

#[inline(always)]
fn float_to_half(x: f32) -> i32 {
    let bits = x.to_bits();
    let (sign, magnitude) = ((bits >> 16) & 0x8000, bits & 0x7fff_ffff);
    let half = if magnitude > 0x7f80_0000 {
        0x7e00 | ((magnitude >> 13) & 0x1ff)
    } else if magnitude >= 0x477f_f000 {
        0x7c00
    } else if magnitude < 0x3880_0000 {
        // Subnormal: the unit of 0.5 is that of the subnormals, 2^-24, so the addition rounds.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()
    } else {
        (magnitude - (112 << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13
    };
    (sign | half) as i32
}

impl Simd for Portable {
    const LANES: usize = N;
    const VECS: usize = 2;
    const ROWS: usize = 4;
    const DOT_ROWS: usize = 2;
    type V = [f32; N];
    type I = [i32; N];
    type M = [bool; N];
    type T = usize;

    #[inline(always)]
    unsafe fn tail(n: usize) -> usize {
        n
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        p.cast::<[f32; N]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        p.cast::<[f32; N]>().write_unaligned(v);
    }
    #[inline(always)]
    unsafe fn load_tail(p: *const f32, t: usize) -> Self::V {
        read_first(p, t)
    }
    #[inline(always)]
    unsafe fn store_tail(p: *mut f32, t: usize, v: Self::V) {
        write_first(p, t, v);
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        quad::add(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        quad::sub(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        quad::mul(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        quad::div(a, b)
    }
    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        quad::sqrt(a)
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        quad::multiply_add(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        quad::max(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        quad::min(a, b)
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        quad::sub(quad::add(a, [ROUNDER; N]), [ROUNDER; N])
    }
    #[inline(always)]
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
        zip(a, n, |x, n| {
            let whole = ((n + ROUNDER).to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
            let half = whole >> 1;
            x * power_of_two(half) * power_of_two(whole - half)
        })
    }
    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    unsafe fn max_lane(a: Self::V) -> f32 {
        let pick = |x: f32, y: f32| if x > y { x } else { y };
        pick(pick(a[0], a[2]), pick(a[1], a[3]))
    }

    #[inline(always)]
    unsafe fn less(a: Self::V, b: Self::V) -> Self::M {
        zip(a, b, |x, y| x < y)
    }
    #[inline(always)]
    unsafe fn less_equal(a: Self::V, b: Self::V) -> Self::M {
        zip(a, b, |x, y| x <= y)
    }
    #[inline(always)]
    unsafe fn unordered(a: Self::V, b: Self::V) -> Self::M {
        zip(a, b, |x, y| x.is_nan() | y.is_nan())
    }
    #[inline(always)]
    unsafe fn select(m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        zip(m, zip(a, b, |x, y| (x, y)), |m, (x, y)| if m { x } else { y })
    }
    #[inline(always)]
    unsafe fn mask_bits(m: Self::M) -> u32 {
        u32::from(m[0]) | u32::from(m[1]) << 1 | u32::from(m[2]) << 2 | u32::from(m[3]) << 3
    }

    #[inline(always)]
    unsafe fn bits(a: Self::V) -> Self::I {
        map(a, |x| x.to_bits() as i32)
    }
    #[inline(always)]
    unsafe fn from_bits(a: Self::I) -> Self::V {
        map(a, |x| f32::from_bits(x as u32))
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> Self::I {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load_int(p: *const i32) -> Self::I {
        p.cast::<[i32; N]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, v: Self::I) {
        p.cast::<[i32; N]>().write_unaligned(v);
    }
    #[inline(always)]
    unsafe fn load_int_tail(p: *const i32, t: usize) -> Self::I {
        read_first(p, t)
    }
    #[inline(always)]
    unsafe fn store_int_tail(p: *mut i32, t: usize, v: Self::I) {
        write_first(p, t, v);
    }
    #[inline(always)]
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_sub)
    }
    #[inline(always)]
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, |x, y| x & y)
    }
    #[inline(always)]
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, |x, y| x | y)
    }
    #[inline(always)]
    unsafe fn shl<const S: u32>(a: Self::I) -> Self::I {
        map(a, |x| x << S)
    }
    #[inline(always)]
    unsafe fn shr<const S: u32>(a: Self::I) -> Self::I {
        map(a, |x| (x as u32 >> S) as i32)
    }
    #[inline(always)]
    unsafe fn less_int(a: Self::I, b: Self::I) -> Self::M {
        zip(a, b, |x, y| x < y)
    }
    #[inline(always)]
    unsafe fn to_float(a: Self::I) -> Self::V {
        map(a, |x| x as f32)
    }

    #[inline(always)]
    unsafe fn load_u16(p: *const u16) -> Self::I {
        map(p.cast::<[u16; N]>().read_unaligned(), i32::from)
    }
    #[inline(always)]
    unsafe fn load_u16_tail(p: *const u16, n: usize) -> Self::I {
        map(read_first(p, n), i32::from)
    }
    #[inline(always)]
    unsafe fn store_u16(p: *mut u16, v: Self::I) {
        p.cast::<[u16; N]>().write_unaligned(map(v, |x| x as u16));
    }
    #[inline(always)]
    unsafe fn store_u16_tail(p: *mut u16, n: usize, v: Self::I) {
        write_first(p, n, map(v, |x| x as u16));
    }
    #[inline(always)]
    unsafe fn from_f16(a: Self::I) -> Self::V {
        map(a, half_to_float)
    }
    #[inline(always)]
    unsafe fn to_f16(a: Self::V) -> Self::I {
        map(a, float_to_half)
    }
    #[inline(always)]
    unsafe fn transpose(v: &mut [Self::V; MAX_LANES]) {
        let [a, b, c, d, ..] = *v;
        v[0] = [a[0], b[0], c[0], d[0]];
        v[1] = [a[1], b[1], c[1], d[1]];
        v[2] = [a[2], b[2], c[2], d[2]];
        v[3] = [a[3], b[3], c[3], d[3]];
    }
}
