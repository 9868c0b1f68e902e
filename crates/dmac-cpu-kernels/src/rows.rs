//! Products with rows read in place, in any storage type: decode, and tiles that are used only once.
//!
//! Input: few rows of f32 A, and B row-major in its storage type, its rows optionally picked by an index list. Output: C.
//! Packing pays only where many rows of A share it; here each element of B is converted on its way into a register and used
//! for all the rows of A that fit, so that the memory's speed is the limit.

use crate::element::{Element, Rows, with_element};
use crate::simd::Simd;

/// One row of A against one row of B, in two chains.
#[inline(always)]
unsafe fn dot<S: Simd, E: Element>(k: usize, a: *const f32, b: *const E::Raw) -> f32 {
    let mut sums = [S::splat(0.0); 2];
    let mut x = 0;
    while x + 2 * S::LANES <= k {
        for u in 0..2 {
            let at = x + u * S::LANES;
            sums[u] = S::fma(S::load(a.add(at)), E::load::<S>(b.add(at)), sums[u]);
        }
        x += 2 * S::LANES;
    }
    while x < k {
        let rest = k - x;
        let tail = S::tail(if rest < S::LANES { rest } else { S::LANES });
        sums[0] = S::fma(S::load_tail(a.add(x), tail), E::load_up_to::<S>(b.add(x), rest), sums[0]);
        x += S::LANES;
    }
    S::sum(S::add(sums[0], sums[1]))
}

/// `R` rows of A against `C` rows of B, which follow each other in `b`.
#[inline(always)]
unsafe fn dot_tile<S: Simd, E: Element, const R: usize, const C: usize>(
    k: usize,
    a: *const f32,
    a_row: usize,
    b: [*const E::Raw; C],
    c: *mut f32,
    c_row: usize,
) {
    let mut sums = [[S::splat(0.0); C]; R];
    let mut x = 0;
    while x + S::LANES <= k {
        for j in 0..C {
            let wide = E::load::<S>(b[j].add(x));
            for r in 0..R {
                sums[r][j] = S::fma(S::load(a.add(r * a_row + x)), wide, sums[r][j]);
            }
        }
        x += S::LANES;
    }
    if x < k {
        let tail = S::tail(k - x);
        for j in 0..C {
            let wide = E::load_first::<S>(b[j].add(x), k - x);
            for r in 0..R {
                sums[r][j] = S::fma(S::load_tail(a.add(r * a_row + x), tail), wide, sums[r][j]);
            }
        }
    }
    for r in 0..R {
        for j in 0..C {
            c.add(r * c_row + j).write_unaligned(S::sum(sums[r][j]));
        }
    }
}

/// How many rows ahead of its use a row is fetched: some KiB, as much as memory delivers while a cache line is on its way.
/// The processor's own prefetching stops at the end of a page and does not know the index list.
const ROWS_AHEAD: usize = 12;

/// Asks for the `k` elements of row `x`, if it is one of the `n`, or may be one of the next call's.
#[inline(always)]
unsafe fn fetch_row<S: Simd, E: Element>(b: Rows<E>, x: usize, n: usize, k: usize) {
    let row = if x < n {
        b.row(x)
    } else if b.index.is_null() {
        b.first.wrapping_add(x.wrapping_mul(b.stride))
    } else {
        return;
    };
    let mut at = 0;
    while at < k * size_of::<E::Raw>() {
        S::prefetch(row.cast::<u8>().wrapping_add(at));
        at += 64;
    }
}

/// `R` rows of A against all rows of B.
#[inline(always)]
unsafe fn dot_band<S: Simd, E: Element, const R: usize>(
    n: usize,
    k: usize,
    a: *const f32,
    a_row: usize,
    b: Rows<E>,
    c: *mut f32,
    c_row: usize,
) {
    if R == 1 {
        // One row after the other: memory is read in order, and the rows overlap all the same.
        for j in 0..n {
            c.add(j).write_unaligned(dot::<S, E>(k, a, b.row(j)));
        }
        return;
    }
    let mut j = 0;
    while j + 4 <= n {
        for i in 0..4 {
            fetch_row::<S, E>(b, j + i + ROWS_AHEAD, n, k);
        }
        let rows = [b.row(j), b.row(j + 1), b.row(j + 2), b.row(j + 3)];
        dot_tile::<S, E, R, 4>(k, a, a_row, rows, c.add(j), c_row);
        j += 4;
    }
    while j < n {
        dot_tile::<S, E, R, 1>(k, a, a_row, [b.row(j)], c.add(j), c_row);
        j += 1;
    }
}

#[inline(always)]
pub(crate) unsafe fn dot_rows<S: Simd>(
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    a_row: usize,
    b: *const u8,
    b_type: i32,
    b_row: usize,
    index: *const i32,
    c: *mut f32,
    c_row: usize,
) {
    with_element!(b_type, E => {
        let b = Rows::<E> { first: b.cast(), stride: b_row, index };
        let mut r = 0;
        while r < m {
            let (a, c) = (a.add(r * a_row), c.add(r * c_row));
            if S::DOT_ROWS >= 4 && m - r >= 4 {
                dot_band::<S, E, 4>(n, k, a, a_row, b, c, c_row);
                r += 4;
            } else if m - r >= 2 {
                dot_band::<S, E, 2>(n, k, a, a_row, b, c, c_row);
                r += 2;
            } else {
                dot_band::<S, E, 1>(n, k, a, a_row, b, c, c_row);
                r += 1;
            }
        }
    });
}

/// `R` rows by `C` vectors of C, or by the first `last` columns where `C` is 1 and that is less than a vector.
#[inline(always)]
unsafe fn sum_tile<S: Simd, E: Element, const R: usize, const C: usize>(
    k: usize,
    a: *const f32,
    a_row: usize,
    b: Rows<E>,
    c: *mut f32,
    c_row: usize,
    last: usize,
    accumulate: bool,
) {
    let whole = C > 1 || last == S::LANES;
    let tail = S::tail(last);
    let mut sums = [[S::splat(0.0); C]; R];
    if accumulate {
        for r in 0..R {
            for x in 0..C {
                let p = c.add(r * c_row + x * S::LANES);
                sums[r][x] = if whole { S::load(p) } else { S::load_tail(p, tail) };
            }
        }
    }
    for step in 0..k {
        let row = b.row(step);
        for x in 0..C {
            let p = row.add(x * S::LANES);
            let wide = if whole { E::load::<S>(p) } else { E::load_first::<S>(p, last) };
            for r in 0..R {
                let splat = S::splat(a.add(r * a_row + step).read_unaligned());
                sums[r][x] = S::fma(splat, wide, sums[r][x]);
            }
        }
    }
    for r in 0..R {
        for x in 0..C {
            let p = c.add(r * c_row + x * S::LANES);
            if whole {
                S::store(p, sums[r][x]);
            } else {
                S::store_tail(p, tail, sums[r][x]);
            }
        }
    }
}

/// `R` rows of C.
#[inline(always)]
unsafe fn sum_band<S: Simd, E: Element, const R: usize>(
    n: usize,
    k: usize,
    a: *const f32,
    a_row: usize,
    b: Rows<E>,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    let mut x = 0;
    while x < n {
        let b = Rows { first: b.first.add(x), ..b };
        let (c, rest) = (c.add(x), n - x);
        if rest >= 4 * S::LANES {
            sum_tile::<S, E, R, 4>(k, a, a_row, b, c, c_row, S::LANES, accumulate);
            x += 4 * S::LANES;
        } else if rest >= 2 * S::LANES {
            sum_tile::<S, E, R, 2>(k, a, a_row, b, c, c_row, S::LANES, accumulate);
            x += 2 * S::LANES;
        } else {
            let last = if rest < S::LANES { rest } else { S::LANES };
            sum_tile::<S, E, R, 1>(k, a, a_row, b, c, c_row, last, accumulate);
            x += last;
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn gemm_rows<S: Simd>(
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    a_row: usize,
    b: *const u8,
    b_type: i32,
    b_row: usize,
    index: *const i32,
    c: *mut f32,
    c_row: usize,
    accumulate: i32,
) {
    let accumulate = accumulate != 0;
    with_element!(b_type, E => {
        let b = Rows::<E> { first: b.cast(), stride: b_row, index };
        let mut r = 0;
        while r < m {
            let (a, c) = (a.add(r * a_row), c.add(r * c_row));
            if S::DOT_ROWS >= 4 && m - r >= 4 {
                sum_band::<S, E, 4>(n, k, a, a_row, b, c, c_row, accumulate);
                r += 4;
            } else if m - r >= 2 {
                sum_band::<S, E, 2>(n, k, a, a_row, b, c, c_row, accumulate);
                r += 2;
            } else {
                sum_band::<S, E, 1>(n, k, a, a_row, b, c, c_row, accumulate);
                r += 1;
            }
        }
    });
}
