//! Online softmax of a warpgroup's fragment of scores.
//!
//! Input → output: scores of 64 rows in accumulator layout → weights in their place, and per row the running maximum, the
//! running sum of the thread's own columns (the four threads of a row add theirs up once, after the last tile) and the
//! factor for older results. A positive constant factor of the scores is not multiplied into them: it joins the
//! multiplication that turns a natural exponential into one of base two. The maximum is of scores without it until the
//! end.

use super::Groups;
use crate::emit::value::Int;
use dmac_ir::Binary;
use dmac_ptx::{Assembler, Cmp, F32, Reg, ShflMode};
use dmac_schedule::kernel::{Expr, Stmt, TileId};
use std::f32::consts::LOG2_E;

/// The row vectors of a kernel's softmax, and the factor of its scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Softmax {
    pub scores: TileId,
    pub row_max: TileId,
    pub row_sum: TileId,
    pub scale: f32,
}

/// The softmax of a role, its scores' common factor taken out of the statements before it.
pub(super) fn take_scale(body: &mut Vec<Stmt>) -> Option<Softmax> {
    let found = |body: &[Stmt]| {
        let mut steps: Vec<(Softmax, Option<f32>)> = Vec::new();
        each_list(body, &mut |list| {
            if let Some(at) = list.iter().position(|stmt| matches!(stmt, Stmt::OnlineSoftmax { .. }))
                && let Stmt::OnlineSoftmax { scores, row_max, row_sum, .. } = &list[at]
            {
                let softmax = Softmax { scores: *scores, row_max: *row_max, row_sum: *row_sum, scale: 1.0 };
                steps.push((softmax, writer(list, at).and_then(|at| factor(&list[at], *scores))));
            }
        });
        steps
    };
    let steps = found(body);
    let (softmax, scale) = *steps.first()?;
    let Some(scale) = scale.filter(|scale| steps.iter().all(|step| step.1 == Some(*scale))) else {
        return Some(softmax);
    };
    strip_lists(body, softmax.scores);
    Some(Softmax { scale, ..softmax })
}

fn each_list(body: &[Stmt], f: &mut dyn FnMut(&[Stmt])) {
    f(body);
    for stmt in body {
        for nested in stmt.bodies() {
            each_list(nested, f);
        }
    }
}

/// The last statement before the softmax that writes its scores.
fn writer(list: &[Stmt], softmax: usize) -> Option<usize> {
    let Stmt::OnlineSoftmax { scores, .. } = &list[softmax] else { return None };
    (0..softmax).rev().find(|&at| {
        let mut writes = false;
        list[at].walk(&mut |stmt| {
            writes |= matches!(stmt, Stmt::Map { dst, .. } if dst == scores)
                || matches!(stmt, Stmt::Mma { acc, .. } if acc == scores);
        });
        writes
    })
}

/// The constant factor of the scores that a statement writes on all its paths.
fn factor(stmt: &Stmt, scores: TileId) -> Option<f32> {
    match stmt {
        Stmt::Map { dst, body, .. } if *dst == scores => strip(body).map(|(scale, _)| scale),
        Stmt::If { then, otherwise, .. } => {
            let ([then], [otherwise]) = (then.as_slice(), otherwise.as_slice()) else { return None };
            factor(then, scores).filter(|scale| factor(otherwise, scores) == Some(*scale))
        }
        _ => None,
    }
}

/// `c * x` as `(c, x)`, for a positive constant; under a mask too.
fn strip(body: &Expr) -> Option<(f32, Expr)> {
    let constant = |x: &Expr| match x {
        Expr::Float(value) if value.get() > 0.0 && value.get().is_finite() => Some(value.get()),
        _ => None,
    };
    match body {
        Expr::Binary(Binary::Mul, x, y) => match (constant(x), constant(y)) {
            (Some(scale), _) => Some((scale, (**y).clone())),
            (_, Some(scale)) => Some((scale, (**x).clone())),
            _ => None,
        },
        Expr::If(mask, x, y) if **y == Expr::float(f32::NEG_INFINITY) => {
            let (scale, x) = strip(x)?;
            Some((scale, (**mask).clone().then(x, (**y).clone())))
        }
        _ => None,
    }
}

fn strip_lists(body: &mut Vec<Stmt>, scores: TileId) {
    let softmax = body.iter().position(|stmt| matches!(stmt, Stmt::OnlineSoftmax { .. }));
    if let Some(at) = softmax.and_then(|at| writer(body, at)) {
        strip_stmt(&mut body[at], scores);
        body.retain(|stmt| !is_identity(stmt));
    }
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } | Stmt::Role { body, .. } => strip_lists(body, scores),
            Stmt::If { then, otherwise, .. } => {
                strip_lists(then, scores);
                strip_lists(otherwise, scores);
            }
            _ => {}
        }
    }
}

fn strip_stmt(stmt: &mut Stmt, scores: TileId) {
    match stmt {
        Stmt::Map { dst, body, .. } if *dst == scores => {
            if let Some((_, rest)) = strip(body) {
                *body = rest;
            }
        }
        Stmt::If { then, otherwise, .. } => {
            for list in [then, otherwise] {
                for stmt in list.iter_mut() {
                    strip_stmt(stmt, scores);
                }
                list.retain(|stmt| !is_identity(stmt));
            }
        }
        _ => {}
    }
}

/// Whether a statement replaces a tile by itself.
fn is_identity(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Map { dst, body, .. } if *body == Expr::Elem(*dst))
}

impl Groups<'_, '_> {
    /// Before the first tile: one thread of each row starts with its sum, and the maximum loses the factor.
    pub(super) fn begin_softmax(&mut self, softmax: Softmax) {
        let (max, sum) = (self.pair(softmax.row_max), self.pair(softmax.row_sum));
        let k = &mut self.e.k;
        let leads = k.setp_u("leads", self.e.thread.pair, Cmp::Eq, 0);
        for r in 0..2 {
            k.selp(sum[r], sum[r], 0.0, leads);
            if softmax.scale != 1.0 {
                k.mul(max[r], max[r], 1.0 / softmax.scale);
            }
        }
    }

    /// After the last tile: the sums of the row's four threads, and the maximum of scores with their factor.
    pub(super) fn end_softmax(&mut self, softmax: Softmax) {
        let (max, sum) = (self.pair(softmax.row_max), self.pair(softmax.row_sum));
        let k = &mut self.e.k;
        for r in 0..2 {
            for distance in [1, 2] {
                let other = k.shfl(ShflMode::Bfly, "other", sum[r], distance);
                k.add(sum[r], sum[r], other);
            }
            if softmax.scale != 1.0 {
                k.mul(max[r], max[r], softmax.scale);
            }
        }
    }

    /// One tile. `factor` is the row vector that keeps what older results are to be multiplied with.
    pub(super) fn online_softmax(&mut self, softmax: Softmax, factor: TileId, cols: &Expr) {
        let scores: Vec<Reg<F32>> = self.fragment(softmax.scores);
        self.mask_tail(&scores, softmax.scores, cols);
        let (max, sum) = (self.pair(softmax.row_max), self.pair(softmax.row_sum));
        let alpha = self.pair(factor);
        let scale = softmax.scale * LOG2_E;
        let k = &mut self.e.k;
        k.comment("row maximum, factor of older results, weights, row sum");
        let of_row =
            |r: usize| scores.iter().enumerate().filter(move |(at, _)| (at >> 1) & 1 == r).map(|(_, s)| *s);
        let mut shifts = Vec::new();
        for r in 0..2 {
            let values: Vec<_> = of_row(r).collect();
            let new = tree_max(k, &values);
            k.max_f(new, new, max[r]);
            for distance in [1, 2] {
                let other = k.shfl(ShflMode::Bfly, "other", new, distance);
                k.max_f(new, new, other);
            }
            // Minus infinity minus itself is NaN: a row without keys subtracts zero.
            let none = k.setp_f("none", new, Cmp::Eq, f32::NEG_INFINITY);
            let finite = k.selp::<F32>("finite_max", 0.0, new, none);
            // The factor is made of the rounded numbers that weights were made of, so that their rounding cancels: with
            // an fma it would be off by a rounding, and the factors of thousands of tiles by as many.
            let shift = k.mul_rn("shift", finite, -scale);
            let old = k.mul_rn("old_shift", max[r], -scale);
            let power = k.sub("alpha_power", shift, old);
            let ratio = k.ex2("ratio", power);
            k.mul(alpha[r], alpha[r], ratio);
            k.mul(sum[r], sum[r], ratio);
            k.mov(max[r], new);
            shifts.push(shift);
        }
        for (r, shift) in shifts.into_iter().enumerate() {
            for s in of_row(r) {
                k.fma(s, s, scale, shift);
                k.ex2(s, s);
            }
        }
        for (r, sum) in sum.iter().enumerate() {
            let values: Vec<_> = of_row(r).collect();
            let partial =
                [k.add("partial_sum", values[0], values[2]), k.add("partial_sum", values[1], values[3])];
            for (at, value) in values[4..].iter().enumerate() {
                k.add(partial[at & 1], partial[at & 1], *value);
            }
            k.add(partial[0], partial[0], partial[1]);
            k.add(*sum, *sum, partial[0]);
        }
    }

    /// Scores behind the last key are minus infinity, in tiles that are not whole.
    fn mask_tail(&mut self, scores: &[Reg<F32>], tile: TileId, cols: &Expr) {
        let width = self.e.kernel.tile(tile).cols as i64;
        if *cols == Expr::Int(width) {
            return;
        }
        let pair = self.e.thread.pair;
        let rest = self.e.fresh(|e| {
            let cols = e.int_value(cols);
            e.int(cols)
        });
        let k = &mut self.e.k;
        let whole = k.setp_s("whole", rest, Cmp::Ge, width as i32);
        let end = k.label("tail_end");
        k.branch_if(whole, end);
        let limit = k.sub("limit", rest, pair);
        for (at, s) in scores.iter().enumerate() {
            let column = 8 * (at / 4) + (at & 1);
            let beyond = k.setp_s("beyond", limit, Cmp::Le, column as i32);
            k.selp(*s, f32::NEG_INFINITY, *s, beyond);
        }
        k.place(end);
    }

    /// Weights as operands of a product: pairs of neighbours, rounded.
    pub(super) fn pack(&mut self, dst: TileId, src: TileId, cols: &Expr) {
        let scores = self.fragment(src);
        if self.softmax.is_none_or(|softmax| softmax.scores != src) {
            self.zero_tail(&scores, src, cols);
        }
        let ty =
            crate::emit::memory::half(self.e.kernel.tile(dst).element).expect("codegen: weights are halves");
        let packed = self.packed[&dst].clone();
        for (at, register) in packed.into_iter().enumerate() {
            self.e.k.pack_half(ty, register, scores[2 * at], scores[2 * at + 1]);
        }
    }

    /// Weights behind the last key are zero: no softmax made them so.
    fn zero_tail(&mut self, scores: &[Reg<F32>], tile: TileId, cols: &Expr) {
        let width = self.e.kernel.tile(tile).cols as i64;
        if *cols == Expr::Int(width) {
            return;
        }
        let pair = self.e.thread.pair;
        let limit = self.e.fresh(|e| {
            let cols = e.int_value(cols);
            let rest = e.int_sub(cols, Int::from(pair));
            e.int(rest)
        });
        for (at, s) in scores.iter().enumerate() {
            let column = 8 * (at / 4) + (at & 1);
            let beyond = self.e.k.setp_s("beyond", limit, Cmp::Le, column as i32);
            self.e.k.selp(*s, 0.0, *s, beyond);
        }
    }
}

/// The maximum, in up to four independent chains.
fn tree_max(k: &mut Assembler, values: &[Reg<F32>]) -> Reg<F32> {
    let chains = (values.len() / 2).min(4);
    let first: Vec<_> = (0..chains).map(|at| k.max_f("max", values[at], values[at + chains])).collect();
    for (at, value) in values[2 * chains..].iter().enumerate() {
        k.max_f(first[at % chains], first[at % chains], *value);
    }
    for other in &first[1..] {
        k.max_f(first[0], first[0], *other);
    }
    first[0]
}
