//! The online softmax on one tile of scores, and what surrounds it: statistics, the end of a row, merging.
//!
//! Input: a tile of scores and, per row, the maximum and the sum so far. Output: probabilities relative to the new maximum in
//! place of the scores, the statistics, and an accumulator scaled to match (Milakov and Gimelshein, arXiv 1805.02867). All
//! exponents are base 2, so that one multiplication serves as the scale of the scores and the change of base.
//!
//! A row whose maximum is still -inf has attended nothing; it must come out as zeros, never as NaN, so it is left before any
//! difference of infinities is formed.

use crate::element::{Bf16, Element, with_element};
use crate::math;
use crate::pack::store_scaled;
use crate::simd::Simd;

/// Vectors of a row that are in flight at once: enough to hide the latency of the polynomial's chain.
const UNROLL: usize = 4;

/// The columns of row `r` that count, as a range within `0..n`.
#[inline(always)]
unsafe fn bounds(lo: *const i32, hi: *const i32, r: usize, n: usize) -> (usize, usize) {
    let clamped = |list: *const i32, missing: usize| {
        if list.is_null() {
            return missing;
        }
        let x = list.add(r).read_unaligned();
        if x <= 0 {
            0
        } else if x as usize > n {
            n
        } else {
            x as usize
        }
    };
    let (first, end) = (clamped(lo, 0), clamped(hi, n));
    if first < end { (first, end) } else { (0, 0) }
}

/// The largest of `n` elements, -inf if there is none; NaN may be passed over.
#[inline(always)]
unsafe fn row_maximum<S: Simd>(s: *const f32, n: usize) -> f32 {
    let least = S::splat(f32::NEG_INFINITY);
    let mut best = [least; UNROLL];
    let mut x = 0;
    while x + UNROLL * S::LANES <= n {
        for u in 0..UNROLL {
            best[u] = S::max(S::load(s.add(x + u * S::LANES)), best[u]);
        }
        x += UNROLL * S::LANES;
    }
    while x + S::LANES <= n {
        best[0] = S::max(S::load(s.add(x)), best[0]);
        x += S::LANES;
    }
    if x < n {
        // The last vector of the row, overlapping what has been seen; a row shorter than a vector is masked.
        let last = if n >= S::LANES {
            S::load(s.add(n - S::LANES))
        } else {
            masked::<S>(S::load_tail(s, S::tail(n)), n, least)
        };
        best[1] = S::max(last, best[1]);
    }
    S::max_lane(S::max(S::max(best[0], best[1]), S::max(best[2], best[3])))
}

/// The first `n` lanes of `v`, and those of `other` after them.
#[inline(always)]
unsafe fn masked<S: Simd>(v: S::V, n: usize, other: S::V) -> S::V {
    const LANE: [i32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    S::select(S::less_int(S::load_int(LANE.as_ptr()), S::splat_int(n as i32)), v, other)
}

/// Where probabilities go.
trait Probabilities: Copy {
    /// The same from row `r` on.
    unsafe fn row(self, r: usize) -> Self;
    /// A vector of the first row.
    unsafe fn store<S: Simd>(self, x: usize, v: S::V);
    unsafe fn store_first<S: Simd>(self, x: usize, n: usize, v: S::V);
}

#[derive(Clone, Copy)]
struct Floats {
    first: *mut f32,
    stride: usize,
}

impl Probabilities for Floats {
    #[inline(always)]
    unsafe fn row(self, r: usize) -> Self {
        Self { first: self.first.add(r * self.stride), ..self }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(self, x: usize, v: S::V) {
        S::store(self.first.add(x), v);
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(self, x: usize, n: usize, v: S::V) {
        S::store_tail(self.first.add(x), S::tail(n), v);
    }
}

#[derive(Clone, Copy)]
struct Halves {
    first: *mut u16,
    stride: usize,
}

impl Probabilities for Halves {
    #[inline(always)]
    unsafe fn row(self, r: usize) -> Self {
        Self { first: self.first.add(r * self.stride), ..self }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(self, x: usize, v: S::V) {
        Bf16::store::<S>(self.first.add(x), v);
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(self, x: usize, n: usize, v: S::V) {
        Bf16::store_first::<S>(self.first.add(x), n, v);
    }
}

/// Zeros in the columns `from..to`.
#[inline(always)]
unsafe fn clear<S: Simd, P: Probabilities>(p: P, from: usize, to: usize) {
    let mut x = from;
    while x + S::LANES <= to {
        p.store::<S>(x, S::splat(0.0));
        x += S::LANES;
    }
    if x < to {
        p.store_first::<S>(x, to - x, S::splat(0.0));
    }
}

/// `p[x] = 2^(s[x] * scale - base)` for the columns `first..end`; returns the sum.
#[inline(always)]
unsafe fn row_exponentials<S: Simd, P: Probabilities>(
    s: *const f32,
    p: P,
    first: usize,
    end: usize,
    scale: f32,
    base: f32,
) -> f32 {
    let (scale, minus_base) = (S::splat(scale), S::splat(-base));
    let mut sums = [S::splat(0.0); UNROLL];
    let mut x = first;
    while x + UNROLL * S::LANES <= end {
        let mut v = [S::splat(0.0); UNROLL];
        for u in 0..UNROLL {
            v[u] = S::load(s.add(x + u * S::LANES));
        }
        for u in 0..UNROLL {
            v[u] = math::exp2_flushed::<S>(S::fma(v[u], scale, minus_base));
            sums[u] = S::add(sums[u], v[u]);
        }
        for u in 0..UNROLL {
            p.store::<S>(x + u * S::LANES, v[u]);
        }
        x += UNROLL * S::LANES;
    }
    while x + S::LANES <= end {
        let v = math::exp2_flushed::<S>(S::fma(S::load(s.add(x)), scale, minus_base));
        sums[0] = S::add(sums[0], v);
        p.store::<S>(x, v);
        x += S::LANES;
    }
    if x < end {
        let v = S::load_tail(s.add(x), S::tail(end - x));
        let v = math::exp2_flushed::<S>(S::fma(v, scale, minus_base));
        sums[1] = S::add(sums[1], masked::<S>(v, end - x, S::splat(0.0)));
        p.store_first::<S>(x, end - x, v);
    }
    S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])))
}

#[inline(always)]
unsafe fn any_nan<S: Simd>(s: *const f32, first: usize, end: usize) -> bool {
    let mut x = first;
    while x < end {
        let tail = S::tail(if end - x < S::LANES { end - x } else { S::LANES });
        let v = S::load_tail(s.add(x), tail);
        if S::mask_bits(S::unordered(v, v)) != 0 {
            return true;
        }
        x += S::LANES;
    }
    false
}

/// Lane 0.
#[inline(always)]
unsafe fn lane<S: Simd>(v: S::V) -> f32 {
    let mut x = 0.0;
    S::store_tail(&raw mut x, S::tail(1), v);
    x
}

#[inline(always)]
unsafe fn scale_row<S: Simd>(row: *mut f32, n: usize, factor: f32) {
    let factor = S::splat(factor);
    let mut x = 0;
    while x + S::LANES <= n {
        S::store(row.add(x), S::mul(S::load(row.add(x)), factor));
        x += S::LANES;
    }
    if x < n {
        let tail = S::tail(n - x);
        S::store_tail(row.add(x), tail, S::mul(S::load_tail(row.add(x), tail), factor));
    }
}

/// The statistics and the accumulator of a tile of rows.
#[derive(Clone, Copy)]
struct State {
    row_max: *mut f32,
    row_sum: *mut f32,
    acc: *mut f32,
    acc_row: usize,
    e: usize,
    alpha: *mut f32,
}

/// Rows that go through the phases of a step together, so that the reductions and the factors of one row are computed
/// while the next row's arithmetic runs.
const GROUP: usize = 8;

/// A tile of scores and where its probabilities go.
#[derive(Clone, Copy)]
struct Tile<P> {
    m: usize,
    n: usize,
    s: *mut f32,
    s_row: usize,
    lo: *const i32,
    hi: *const i32,
    scale: f32,
    p: P,
}

#[inline(always)]
unsafe fn softmax_tile<S: Simd, P: Probabilities>(tile: Tile<P>, state: State) {
    let mut r = 0;
    while r < tile.m {
        let rows = if tile.m - r < GROUP { tile.m - r } else { GROUP };
        softmax_group::<S, P>(tile, state, r, rows);
        r += rows;
    }
}

/// The rows `first..first + rows` of a tile.
#[inline(always)]
unsafe fn softmax_group<S: Simd, P: Probabilities>(tile: Tile<P>, state: State, first: usize, rows: usize) {
    let mut maxima = [0.0_f32; GROUP];
    for i in 0..rows {
        let r = first + i;
        let (start, end) = bounds(tile.lo, tile.hi, r, tile.n);
        let here = row_maximum::<S>(tile.s.add(r * tile.s_row + start), end - start) * tile.scale;
        let old = state.row_max.add(r).read_unaligned();
        *maxima.as_mut_ptr().add(i) = if here > old { here } else { old };
    }
    for i in 0..rows {
        let (r, new) = (first + i, *maxima.as_ptr().add(i));
        let (start, end) = bounds(tile.lo, tile.hi, r, tile.n);
        let (s, p) = (tile.s.add(r * tile.s_row), tile.p.row(r));
        let old = state.row_max.add(r).read_unaligned();
        let mut alpha = 1.0;
        if new == f32::NEG_INFINITY {
            if any_nan::<S>(s, start, end) {
                // NaN is never a maximum, but it must not vanish either.
                state.row_sum.add(r).write_unaligned(f32::NAN);
            }
            clear::<S, P>(p, 0, tile.n);
        } else {
            let sum = row_exponentials::<S, P>(s, p, start, end, tile.scale, new);
            clear::<S, P>(p, 0, start);
            clear::<S, P>(p, end, tile.n);
            let mut total = state.row_sum.add(r).read_unaligned();
            if new > old && old > f32::NEG_INFINITY {
                alpha = lane::<S>(math::exp2::<S>(S::splat(old - new)));
                total *= alpha;
                if !state.acc.is_null() {
                    scale_row::<S>(state.acc.add(r * state.acc_row), state.e, alpha);
                }
            }
            state.row_max.add(r).write_unaligned(new);
            state.row_sum.add(r).write_unaligned(total + sum);
        }
        if !state.alpha.is_null() {
            state.alpha.add(r).write_unaligned(alpha);
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn softmax<S: Simd>(
    m: usize,
    n: usize,
    s: *mut f32,
    s_row: usize,
    lo: *const i32,
    hi: *const i32,
    scale: f32,
    row_max: *mut f32,
    row_sum: *mut f32,
    acc: *mut f32,
    acc_row: usize,
    e: usize,
    alpha: *mut f32,
) {
    let state = State { row_max, row_sum, acc, acc_row, e, alpha };
    let p = Floats { first: s, stride: s_row };
    softmax_tile::<S, Floats>(Tile { m, n, s, s_row, lo, hi, scale, p }, state);
}

#[inline(always)]
pub(crate) unsafe fn softmax_bf16<S: Simd>(
    m: usize,
    n: usize,
    s: *mut f32,
    s_row: usize,
    lo: *const i32,
    hi: *const i32,
    scale: f32,
    row_max: *mut f32,
    row_sum: *mut f32,
    acc: *mut f32,
    acc_row: usize,
    e: usize,
    alpha: *mut f32,
    p: *mut u16,
    p_row: usize,
) {
    let state = State { row_max, row_sum, acc, acc_row, e, alpha };
    let p = Halves { first: p, stride: p_row };
    softmax_tile::<S, Halves>(Tile { m, n, s, s_row, lo, hi, scale, p }, state);
}

#[inline(always)]
pub(crate) unsafe fn exp2_rows<S: Simd>(
    m: usize,
    n: usize,
    s: *mut f32,
    s_row: usize,
    lo: *const i32,
    hi: *const i32,
    scale: f32,
    base: *const f32,
) {
    for r in 0..m {
        let p = Floats { first: s, stride: s_row }.row(r);
        let base = base.add(r).read_unaligned();
        let (first, end) = if base == f32::NEG_INFINITY { (0, 0) } else { bounds(lo, hi, r, n) };
        row_exponentials::<S, Floats>(p.first, p, first, end, scale, base);
        clear::<S, Floats>(p, 0, first);
        clear::<S, Floats>(p, end, n);
    }
}

#[inline(always)]
pub(crate) unsafe fn finalize<S: Simd>(
    m: usize,
    e: usize,
    acc: *const f32,
    acc_row: usize,
    row_max: *const f32,
    row_sum: *const f32,
    out: *mut u8,
    out_type: i32,
    out_row: usize,
    lse: *mut f32,
    lse_row: usize,
) {
    with_element!(out_type, E => {
        let out: *mut <E as Element>::Raw = out.cast();
        for r in 0..m {
            let sum = row_sum.add(r).read_unaligned();
            let factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
            store_scaled::<S, E>(e, acc.add(r * acc_row), S::splat(factor), out.add(r * out_row));
        }
    });
    if lse.is_null() {
        return;
    }
    for r in 0..m {
        let sum = row_sum.add(r).read_unaligned();
        let value = if sum == 0.0 {
            f32::NEG_INFINITY
        } else {
            row_max.add(r).read_unaligned() * math::LN2 + lane::<S>(math::log::<S>(S::splat(sum)))
        };
        lse.add(r * lse_row).write_unaligned(value);
    }
}

#[inline(always)]
pub(crate) unsafe fn merge<S: Simd>(
    m: usize,
    e: usize,
    row_max: *mut f32,
    row_sum: *mut f32,
    acc: *mut f32,
    acc_row: usize,
    other_max: *const f32,
    other_sum: *const f32,
    other_acc: *const f32,
    other_row: usize,
) {
    for r in 0..m {
        let (ours, theirs) = (row_max.add(r).read_unaligned(), other_max.add(r).read_unaligned());
        let new = if theirs > ours { theirs } else { ours };
        if theirs == f32::NEG_INFINITY {
            continue;
        }
        let keep = lane::<S>(math::exp2::<S>(S::splat(ours - new)));
        let add = lane::<S>(math::exp2::<S>(S::splat(theirs - new)));
        let sum = row_sum.add(r).read_unaligned() * keep + other_sum.add(r).read_unaligned() * add;
        row_max.add(r).write_unaligned(new);
        row_sum.add(r).write_unaligned(sum);
        merge_row::<S>(e, acc.add(r * acc_row), S::splat(keep), other_acc.add(r * other_row), S::splat(add));
    }
}

/// `a = a * keep + b * add`.
#[inline(always)]
unsafe fn merge_row<S: Simd>(n: usize, a: *mut f32, keep: S::V, b: *const f32, add: S::V) {
    let mut x = 0;
    while x < n {
        let tail = S::tail(if n - x < S::LANES { n - x } else { S::LANES });
        let kept = S::mul(S::load_tail(a.add(x), tail), keep);
        S::store_tail(a.add(x), tail, S::fma(S::load_tail(b.add(x), tail), add, kept));
        x += S::LANES;
    }
}

#[inline(always)]
pub(crate) unsafe fn mask_interval<S: Simd>(
    m: usize,
    n: usize,
    s: *mut f32,
    s_row: usize,
    keys: *const i32,
    lo: *const i32,
    hi: *const i32,
) {
    let masked = S::splat(f32::NEG_INFINITY);
    let mut x = 0;
    while x < n {
        let tail = S::tail(if n - x < S::LANES { n - x } else { S::LANES });
        let (lo, hi) = (S::load_int_tail(lo.add(x), tail), S::load_int_tail(hi.add(x), tail));
        for r in 0..m {
            let p = s.add(r * s_row + x);
            let key = S::splat_int(keys.add(r).read_unaligned());
            let v = S::select(S::less_int(key, hi), S::load_tail(p, tail), masked);
            S::store_tail(p, tail, S::select(S::less_int(key, lo), masked, v));
        }
        x += S::LANES;
    }
}
