//! Tile products with packed or in-place operands: `S = Q K^T` and `O += P V`.
//!
//! Input: a row-major A read by broadcast, B in panels (see the crate's documentation) and a row-major C. Output: C. Each
//! register tile keeps its sums in registers over the whole depth, so C is touched once; panels are walked outside rows, so
//! that a panel of B stays in the first cache while all rows of A pass it. Rests of rows and columns have register tiles of
//! their own size, with masked loads and stores.

use crate::simd::Simd;

/// What a register tile does with one step of depth.
trait Step<S: Simd> {
    type A: Copy;
    type B: Copy;
    /// An element of A in all lanes.
    type Splat: Copy;
    /// A vector of B.
    type Wide: Copy;
    unsafe fn splat(a: *const Self::A) -> Self::Splat;
    /// The part of an element of A at the end of an odd depth.
    unsafe fn splat_odd(a: *const Self::A) -> Self::Splat;
    unsafe fn load(b: *const Self::B) -> Self::Wide;
    unsafe fn load_tail(b: *const Self::B, t: S::T) -> Self::Wide;
    unsafe fn step(a: Self::Splat, b: Self::Wide, c: S::V) -> S::V;
}

/// One f32 a step.
struct Single;

impl<S: Simd> Step<S> for Single {
    type A = f32;
    type B = f32;
    type Splat = S::V;
    type Wide = S::V;
    #[inline(always)]
    unsafe fn splat(a: *const f32) -> S::V {
        S::splat(a.read_unaligned())
    }
    #[inline(always)]
    unsafe fn splat_odd(a: *const f32) -> S::V {
        S::splat(a.read_unaligned())
    }
    #[inline(always)]
    unsafe fn load(b: *const f32) -> S::V {
        S::load(b)
    }
    #[inline(always)]
    unsafe fn load_tail(b: *const f32, t: S::T) -> S::V {
        S::load_tail(b, t)
    }
    #[inline(always)]
    unsafe fn step(a: S::V, b: S::V, c: S::V) -> S::V {
        S::fma(a, b, c)
    }
}

/// Two neighbouring bf16 a step.
struct Pair;

impl<S: Simd> Step<S> for Pair {
    type A = u16;
    type B = u32;
    type Splat = S::I;
    type Wide = S::I;
    #[inline(always)]
    unsafe fn splat(a: *const u16) -> S::I {
        S::splat_int(a.cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn splat_odd(a: *const u16) -> S::I {
        S::splat_int(i32::from(a.read_unaligned()))
    }
    #[inline(always)]
    unsafe fn load(b: *const u32) -> S::I {
        S::load_int(b.cast())
    }
    #[inline(always)]
    unsafe fn load_tail(b: *const u32, t: S::T) -> S::I {
        S::load_int_tail(b.cast(), t)
    }
    #[inline(always)]
    unsafe fn step(a: S::I, b: S::I, c: S::V) -> S::V {
        S::dot_pair(c, a, b)
    }
}

/// The operands of a product; strides are in elements of their own.
#[derive(Clone, Copy)]
struct Operands<A, B> {
    a: *const A,
    a_row: usize,
    /// From one step of depth to the next.
    a_step: usize,
    b: *const B,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    steps: usize,
    /// A step that has an element of A only in part (the last one of an odd depth).
    odd: bool,
    accumulate: bool,
}

/// The vectors of one row of B; the last has the lanes of `tail` only, unless `WHOLE`.
#[inline(always)]
unsafe fn load_row<S: Simd, K: Step<S>, const C: usize, const WHOLE: bool>(
    b: *const K::B,
    tail: S::T,
) -> [K::Wide; C] {
    let mut wide = [K::load_tail(b, tail); C];
    for x in 0..C {
        let p = b.add(x * S::LANES);
        wide[x] = if WHOLE || x + 1 < C { K::load(p) } else { K::load_tail(p, tail) };
    }
    wide
}

/// `R` rows by `C` vectors; the last vector has the lanes of `tail` only, unless `WHOLE`.
#[inline(always)]
unsafe fn register_tile<S: Simd, K: Step<S>, const R: usize, const C: usize, const WHOLE: bool>(
    o: Operands<K::A, K::B>,
    tail: S::T,
) {
    let mut sums = [[S::splat(0.0); C]; R];
    if o.accumulate {
        for r in 0..R {
            for x in 0..C {
                let c = o.c.add(r * o.c_row + x * S::LANES);
                sums[r][x] = if WHOLE || x + 1 < C { S::load(c) } else { S::load_tail(c, tail) };
            }
        }
    }
    let (mut a, mut b) = (o.a, o.b);
    for _ in 0..o.steps {
        let wide = load_row::<S, K, C, WHOLE>(b, tail);
        for r in 0..R {
            let splat = K::splat(a.add(r * o.a_row));
            for x in 0..C {
                sums[r][x] = K::step(splat, wide[x], sums[r][x]);
            }
        }
        a = a.add(o.a_step);
        b = b.add(o.b_row);
    }
    if o.odd {
        let wide = load_row::<S, K, C, WHOLE>(b, tail);
        for r in 0..R {
            let splat = K::splat_odd(a.add(r * o.a_row));
            for x in 0..C {
                sums[r][x] = K::step(splat, wide[x], sums[r][x]);
            }
        }
    }
    for r in 0..R {
        for x in 0..C {
            let c = o.c.add(r * o.c_row + x * S::LANES);
            if WHOLE || x + 1 < C {
                S::store(c, sums[r][x]);
            } else {
                S::store_tail(c, tail, sums[r][x]);
            }
        }
    }
}

/// All rows by `C` vectors.
#[inline(always)]
unsafe fn column_tile<S: Simd, K: Step<S>, const C: usize, const WHOLE: bool>(
    m: usize,
    o: Operands<K::A, K::B>,
    tail: S::T,
) {
    let mut r = 0;
    while r < m {
        let rows = if m - r < S::ROWS { m - r } else { S::ROWS };
        let o = Operands { a: o.a.add(r * o.a_row), c: o.c.add(r * o.c_row), ..o };
        match rows {
            1 => register_tile::<S, K, 1, C, WHOLE>(o, tail),
            2 => register_tile::<S, K, 2, C, WHOLE>(o, tail),
            3 => register_tile::<S, K, 3, C, WHOLE>(o, tail),
            4 => register_tile::<S, K, 4, C, WHOLE>(o, tail),
            5 if S::ROWS > 4 => register_tile::<S, K, 5, C, WHOLE>(o, tail),
            _ if S::ROWS > 5 => register_tile::<S, K, 6, C, WHOLE>(o, tail),
            _ => {}
        }
        r += rows;
    }
}

/// The whole product, panel by panel.
#[inline(always)]
unsafe fn product<S: Simd, K: Step<S>>(m: usize, n: usize, b_panel: usize, o: Operands<K::A, K::B>) {
    let panel = S::VECS * S::LANES;
    let whole = n / panel;
    for p in 0..whole {
        let o = Operands { b: o.b.add(p * b_panel), c: o.c.add(p * panel), ..o };
        match S::VECS {
            2 => column_tile::<S, K, 2, true>(m, o, S::tail(S::LANES)),
            _ => column_tile::<S, K, 4, true>(m, o, S::tail(S::LANES)),
        }
    }
    let rest = n - whole * panel;
    if rest > 0 {
        let o = Operands { b: o.b.add(whole * b_panel), c: o.c.add(whole * panel), ..o };
        let tail = S::tail((rest - 1) % S::LANES + 1);
        match (rest - 1) / S::LANES {
            0 => column_tile::<S, K, 1, false>(m, o, tail),
            1 => column_tile::<S, K, 2, false>(m, o, tail),
            2 if S::VECS > 2 => column_tile::<S, K, 3, false>(m, o, tail),
            _ if S::VECS > 2 => column_tile::<S, K, 4, false>(m, o, tail),
            _ => {}
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd>(
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    a_row: usize,
    a_col: usize,
    b: *const f32,
    b_row: usize,
    b_panel: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: i32,
) {
    let accumulate = accumulate != 0;
    let o = Operands { a, a_row, a_step: a_col, b, b_row, c, c_row, steps: k, odd: false, accumulate };
    product::<S, Single>(m, n, b_panel, o);
}

#[inline(always)]
pub(crate) unsafe fn gemm_bf16<S: Simd>(
    m: usize,
    n: usize,
    k: usize,
    a: *const u16,
    a_row: usize,
    b: *const u32,
    b_row: usize,
    b_panel: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: i32,
) {
    let (odd, accumulate) = (k & 1 == 1, accumulate != 0);
    let o = Operands { a, a_row, a_step: 2, b, b_row, c, c_row, steps: k / 2, odd, accumulate };
    product::<S, Pair>(m, n, b_panel, o);
}
