//! The one list of run-time functions: name, parameters, result and contract of each.
//!
//! Input: the name of a macro and whatever it needs in front. Output: that macro applied to the whole list. The
//! function-pointer table, the signatures that code generators declare, the entry points of every instruction set and
//! the symbols of the embedded object are all expansions of this list, so none of them can disagree with another.
//!
//! Order matters only in that it is the order of [`crate::SIGNATURES`].

/// Applies the macro `$with` to the tokens in the parentheses, a semicolon, and the list of functions.
macro_rules! kernel_list {
    ($with:ident ! ( $($front:tt)* )) => { $with! { ( $($front)* );
        /// `C[m, n] (+)= A[m, k] * B[k, n]`, all f32. `A[r, x]` is `a[r * a_row + x * a_col]`; `B[x, c]` is
        /// `b[c / P * b_panel + x * b_row + c % P]` with `P` the table's panel width: packed panels have `b_row = P`,
        /// `b_panel = P * k`, a row-major matrix in place has `b_row` its stride and `b_panel = P`. `accumulate` is 0 or 1.
        fn gemm(m: usize, n: usize, k: usize, a: *const f32, a_row: usize, a_col: usize, b: *const f32, b_row: usize,
            b_panel: usize, c: *mut f32, c_row: usize, accumulate: i32) -> ();
        /// `C[m, n] (+)= A[m, k] * B[k, n]` of bf16 with f32 sums. `A[r, x]` is `a[r * a_row + x]`; B holds pairs of
        /// depth neighbours as u32, the even one low: `B[x, c]` is half `x % 2` of
        /// `b[c / P * b_panel + x / 2 * b_row + c % P]` (all strides of B in pairs). For odd `k` the high half of the
        /// last pair must be finite and is multiplied by zero.
        fn gemm_bf16(m: usize, n: usize, k: usize, a: *const u16, a_row: usize, b: *const u32, b_row: usize,
            b_panel: usize, c: *mut f32, c_row: usize, accumulate: i32) -> ();
        /// `C[m, n] (+)= A[m, k] * B[k, n]` with f32 A and B row-major in place in any storage type: row `x` of B is row
        /// `index[x]` of `b` (`x` itself where `index` is null). For few rows (decode) and tiles that are used once.
        fn gemm_rows(m: usize, n: usize, k: usize, a: *const f32, a_row: usize, b: *const u8, b_type: i32, b_row: usize,
            index: *const i32, c: *mut f32, c_row: usize, accumulate: i32) -> ();
        /// `C[m, n] = A[m, k] * B[n, k]^T` with f32 A and B row-major in place in any storage type: row `x` of B is row
        /// `index[x]` of `b` (`x` itself where `index` is null). For few rows (decode) and tiles that are used once.
        fn dot_rows(m: usize, n: usize, k: usize, a: *const f32, a_row: usize, b: *const u8, b_type: i32, b_row: usize,
            index: *const i32, c: *mut f32, c_row: usize) -> ();
        /// Packs `rows` rows of `depth` elements, transposed, into the f32 panels that `gemm` reads: element `(t, x)` goes
        /// to `to[s / P * P * depth + x * P + s % P]` with `s = slots[t]`, or `t` where `slots` is null; then the last
        /// panel is filled up with zeros (with slots, nothing else is touched). Row `t` is row `index[t]` of `from`, or
        /// `t` where `index` is null.
        fn pack_panels(rows: usize, depth: usize, from: *const u8, from_type: i32, from_row: usize, index: *const i32,
            to: *mut f32, slots: *const i32) -> ();
        /// The same into the bf16 pairs that `gemm_bf16` reads: element `(t, x)` goes to half `x % 2` of
        /// `to[s / P * P * (depth + 1) / 2 + x / 2 * P + s % P]`; the missing half of an odd depth is zero.
        fn pack_panels_bf16(rows: usize, depth: usize, from: *const u8, from_type: i32, from_row: usize, index: *const i32,
            to: *mut u32, slots: *const i32) -> ();
        /// Converts rows to f32, row-major: element `(t, x)` goes to `to[s * to_row + x]`, with `s = slots[t]`, or `t`
        /// where `slots` is null. Row `t` is row `index[t]` of `from`, or `t` where `index` is null.
        fn pack_rows(rows: usize, cols: usize, from: *const u8, from_type: i32, from_row: usize, index: *const i32,
            to: *mut f32, to_row: usize, slots: *const i32) -> ();
        /// Converts rows to bf16 and interleaves neighbours, for `gemm_bf16` in place (`b_row = to_row`, `b_panel = P`):
        /// element `(t, x)` goes to half `s % 2` of `to[s / 2 * to_row + x]`, with `s` as in `pack_rows`; without slots the
        /// missing row of an odd number of rows is zero, with slots the other half stays as it is.
        fn pack_rows_bf16(rows: usize, cols: usize, from: *const u8, from_type: i32, from_row: usize, index: *const i32,
            to: *mut u32, to_row: usize, slots: *const i32) -> ();
        /// Stores f32 rows in a storage type, rounded to nearest even: `to[t * to_row + x] = from[t * from_row + x]`.
        fn store_rows(rows: usize, cols: usize, from: *const f32, from_row: usize, to: *mut u8, to_type: i32,
            to_row: usize) -> ();
        /// One step of the online softmax over a tile of scores `s[m, n]`, in powers of two. Column `c` of row `r` counts
        /// where `lo[r] <= c < hi[r]` (null: 0 and `n`; both are clamped to `0..=n`) and `s` is not -inf. With
        /// `t = s * scale` (`scale` finite and above zero; log2(e) in it makes the softmax natural): `row_max` becomes
        /// `max(row_max, max t)`, `s` becomes `2^(t - row_max)` (0 where it does not count), `row_sum` is multiplied by
        /// `alpha = 2^(old max - new max)` and gets the row's sum, and so are the `e` columns of `acc[m, e]`, unless `acc`
        /// is null. `alpha[r]` is stored unless null; it is 1 where the old or the new maximum is -inf. Start with
        /// `row_max = -inf, row_sum = 0`, or a sink's logit (base 2) and 1.
        fn softmax(m: usize, n: usize, s: *mut f32, s_row: usize, lo: *const i32, hi: *const i32, scale: f32,
            row_max: *mut f32, row_sum: *mut f32, acc: *mut f32, acc_row: usize, e: usize, alpha: *mut f32) -> ();
        /// `softmax` with the probabilities stored as bf16 in `p[m, n]` for `gemm_bf16` (sums are of the unrounded
        /// values); the scores are left undefined. `p` may be the score tile itself, with `p_row = 2 * s_row`.
        fn softmax_bf16(m: usize, n: usize, s: *mut f32, s_row: usize, lo: *const i32, hi: *const i32, scale: f32,
            row_max: *mut f32, row_sum: *mut f32, acc: *mut f32, acc_row: usize, e: usize, alpha: *mut f32,
            p: *mut u16, p_row: usize) -> ();
        /// Probabilities once the statistics are known: `s = 2^(s * scale - base[r])` where the column counts (as in
        /// `softmax`), else 0; a row with `base[r] = -inf` becomes zero. `base` is `row_max + log2(row_sum)`.
        fn exp2_rows(m: usize, n: usize, s: *mut f32, s_row: usize, lo: *const i32, hi: *const i32, scale: f32,
            base: *const f32) -> ();
        /// Ends an online softmax: `out[r * out_row + x] = acc[r * acc_row + x] / row_sum[r]` in the storage type, and
        /// `lse[r * lse_row] = row_max * ln 2 + ln(row_sum)` unless `lse` is null. A row with `row_sum = 0` gives zeros and
        /// -inf.
        fn finalize(m: usize, e: usize, acc: *const f32, acc_row: usize, row_max: *const f32, row_sum: *const f32,
            out: *mut u8, out_type: i32, out_row: usize, lse: *mut f32, lse_row: usize) -> ();
        /// Merges the partial state of other keys (`other_*`, the same layout) into a state `(row_max, row_sum, acc[m, e])`.
        fn merge(m: usize, e: usize, row_max: *mut f32, row_sum: *mut f32, acc: *mut f32, acc_row: usize,
            other_max: *const f32, other_sum: *const f32, other_acc: *const f32, other_row: usize) -> ();
        /// Sets `s[r, c] = -inf` unless `lo[c] <= keys[r] < hi[c]`.
        fn mask_interval(m: usize, n: usize, s: *mut f32, s_row: usize, keys: *const i32, lo: *const i32, hi: *const i32)
            -> ();
        /// Offers `n` scores, in order, to a bounded heap of the `capacity` best, `len` of which are filled; returns the
        /// new length. Score `t` has index `first + t`; `evicted[t]` becomes the index that its arrival drove out (its own
        /// if it did not enter), or -1. `evicted` may be null. `ties_high` is 0 or 1. Entries are opaque (see
        /// [`crate::entry`]); entry 0 is the weakest.
        fn heap_push(heap: *mut u64, len: usize, capacity: usize, x: *const f32, n: usize, first: i32, ties_high: i32,
            evicted: *mut i32) -> usize;
        /// Merges `n` scores into a running top-`best` list; returns the new length. `entries` has room for `room`
        /// entries, `room > best` (about `2 * best + 64` is best); score `t` has index `first + t` and counts where
        /// `valid` is null or `valid[t]` is not 0. Start with a length of 0; `top_finish` gives the result.
        fn top_push(entries: *mut u64, len: usize, best: usize, room: usize, x: *const f32, valid: *const u8, n: usize,
            first: i32, ties_high: i32) -> usize;
        /// Ends a top list: writes the indices of the at most `best` best entries to `index`, ascending, and returns their
        /// number. The entries are left undefined.
        fn top_finish(entries: *mut u64, len: usize, best: usize, ties_high: i32, index: *mut i32) -> usize;
        /// `y = e^x` over `n` elements; like all strips `y` may be `x`.
        fn exp(x: *const f32, y: *mut f32, n: usize) -> ();
        /// `y = 2^x`.
        fn exp2(x: *const f32, y: *mut f32, n: usize) -> ();
        /// `y = ln x`; NaN below zero.
        fn log(x: *const f32, y: *mut f32, n: usize) -> ();
        /// The square root, correctly rounded; NaN below zero.
        fn sqrt(x: *const f32, y: *mut f32, n: usize) -> ();
        /// `y = 1 / sqrt(x)`.
        fn rsqrt(x: *const f32, y: *mut f32, n: usize) -> ();
        /// The hyperbolic tangent.
        fn tanh(x: *const f32, y: *mut f32, n: usize) -> ();
        /// `y = 1 / (1 + e^-x)`.
        fn sigmoid(x: *const f32, y: *mut f32, n: usize) -> ();
        /// `y = ln(1 + e^x)`.
        fn softplus(x: *const f32, y: *mut f32, n: usize) -> ();
        /// `y = ln(1 / (1 + e^-x)) = -softplus(-x)`.
        fn logsigmoid(x: *const f32, y: *mut f32, n: usize) -> ();
    } };
}
pub(crate) use kernel_list;
