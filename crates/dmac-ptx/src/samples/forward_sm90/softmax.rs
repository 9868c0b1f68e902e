//! Online softmax over a fragment of scores: two rows a thread, four threads a row.
//!
//! In: scores of 64 rows in accumulator layout. Out: probabilities in their place, and per row the running maximum,
//! the running sum (of the thread's own columns, reduced once at the end) and the factor `alpha` for older results.

use super::{Cta, SOURCE};
use crate::{Assembler, B32, Cmp, F32, Reg, ShflMode};

/// Where a thread's two rows are and what is known of them.
pub(super) struct Rows {
    /// First of the two rows in the sequence; the other is 8 below.
    pub row: Reg<B32>,
    /// 2 (lane % 4): first column within each group of 8.
    pub pair_column: Reg<B32>,
    pub max: [Reg<F32>; 2],
    pub sum: [Reg<F32>; 2],
    pub alpha: [Reg<F32>; 2],
    /// Softmax scale times log2 e.
    scale: Reg<F32>,
}

impl Rows {
    pub fn new(k: &mut Assembler, cta: &Cta, this: Reg<B32>) -> Rows {
        let row = k.mad("row", this, 64, cta.row0);
        let warp = k.and("warp_row", cta.thread.warp, 3);
        k.mad(row, warp, 16, row);
        let lane = k.shr_u("lane_row", cta.thread.lane, 2);
        k.add(row, row, lane);
        let pair_column = k.and("pair_column", cta.thread.lane, 3);
        k.shl(pair_column, pair_column, 1);
        let scale = k.ld_param("scale", cta.scale);
        let alpha = std::array::from_fn(|_| k.mov::<F32>("alpha", 1.0));
        Rows {
            row,
            pair_column,
            max: std::array::from_fn(|_| k.reg("row_max")),
            sum: std::array::from_fn(|_| k.reg("row_sum")),
            alpha,
            scale,
        }
    }

    /// One block. `first`: there is no older state. `may_be_empty`: a row may have no key at all so far.
    pub fn softmax(&self, k: &mut Assembler, scores: &[Reg<F32>], first: bool, may_be_empty: bool) {
        k.location(SOURCE, 4, 3);
        k.comment("row maximum, alpha, S = 2^(scale S - max), row sum");
        let of_row =
            |r: usize| scores.iter().enumerate().filter(move |(i, _)| (i >> 1) & 1 == r).map(|(_, s)| *s);
        let mut shifts = Vec::new();
        for r in 0..2 {
            let values: Vec<_> = of_row(r).collect();
            let max = tree_max(k, &values);
            if !first {
                k.max_f(max, max, self.max[r]);
            }
            for distance in [1, 2] {
                let other = k.shfl(ShflMode::Bfly, "other", max, distance);
                k.max_f(max, max, other);
            }
            let finite = if may_be_empty {
                // Minus infinity minus itself is NaN: a row without keys subtracts zero.
                let none = k.setp_f("none", max, Cmp::Eq, f32::NEG_INFINITY);
                k.selp::<F32>("finite_max", 0.0, max, none)
            } else {
                max
            };
            let shift = k.mul("shift", finite, self.scale);
            k.neg_f(shift, shift);
            if !first {
                let power = k.fma("alpha_power", self.max[r], self.scale, shift);
                k.ex2(self.alpha[r], power);
            }
            k.mov(self.max[r], max);
            shifts.push(shift);
        }
        for (r, shift) in shifts.into_iter().enumerate() {
            for s in of_row(r) {
                k.fma(s, s, self.scale, shift);
                k.ex2(s, s);
            }
        }
        for r in 0..2 {
            let values: Vec<_> = of_row(r).collect();
            let partial =
                [k.add("partial_sum", values[0], values[2]), k.add("partial_sum", values[1], values[3])];
            for (i, v) in values[4..].iter().enumerate() {
                k.add(partial[i & 1], partial[i & 1], *v);
            }
            k.add(partial[0], partial[0], partial[1]);
            if first {
                k.mov(self.sum[r], partial[0]);
            } else {
                k.fma(self.sum[r], self.sum[r], self.alpha[r], partial[0]);
            }
        }
    }

    /// The factor that ends the output's rows and their lse (natural logarithm). Rows without keys get 1 (their output
    /// is zero) and minus infinity.
    pub fn finish(&self, k: &mut Assembler) -> ([Reg<F32>; 2], [Reg<F32>; 2]) {
        k.comment("1 / row sum; lse = ln(row sum) + scale row_max");
        let both = [0, 1].map(|r| {
            for distance in [1, 2] {
                let other = k.shfl(ShflMode::Bfly, "other", self.sum[r], distance);
                k.add(self.sum[r], self.sum[r], other);
            }
            let none = k.setp_f("none", self.sum[r], Cmp::Eq, 0.0);
            let inverse = k.rcp("inverse", self.sum[r]);
            k.selp::<F32>(inverse, 1.0, inverse, none);
            let lse = k.lg2("lse", self.sum[r]);
            k.fma(lse, self.max[r], self.scale, lse);
            k.mul(lse, lse, std::f32::consts::LN_2);
            k.selp::<F32>(lse, f32::NEG_INFINITY, lse, none);
            (inverse, lse)
        });
        (both.map(|b| b.0), both.map(|b| b.1))
    }
}

/// The maximum in four independent chains.
fn tree_max(k: &mut Assembler, values: &[Reg<F32>]) -> Reg<F32> {
    let chains: Vec<_> = (0..4).map(|i| k.max_f("max", values[i], values[i + 4])).collect();
    for (i, v) in values[8..].iter().enumerate() {
        k.max_f(chains[i % 4], chains[i % 4], *v);
    }
    k.max_f(chains[0], chains[0], chains[1]);
    k.max_f(chains[2], chains[2], chains[3]);
    k.max_f(chains[0], chains[0], chains[2])
}
