//! One tile of keys of an attention: its scores, what is masked, its step of the softmax and its share of the result.

use super::attend::Parts;
use super::element::Cx;
use super::visited::Known;
use super::{Env, Lowering, Space};
use crate::kernel::{
    Element, Expr, ScalarType, Space as Memory, Stmt, Taken, TileId, TileRef, VarId, type_of,
};
use dmac_ir::{Binary, FloatBits, Form, Normalize, Unary};

impl Lowering<'_> {
    /// One tile of at most `max` consecutive keys from `first`, below `hi`: skipped, partial or full, as `known` says or
    /// else the mask terms.
    pub(super) fn key_tile(
        &mut self,
        cx: &mut Cx,
        parts: &Parts<'_>,
        first: VarId,
        (hi, max): (Expr, usize),
        known: Option<&Known>,
    ) -> Vec<Stmt> {
        let attend = parts.attend;
        let mut body = Vec::new();
        let count = (hi - Expr::Var(first)).min(Expr::Int(max as i64));
        let count = cx.set(&mut body, "cols", ScalarType::Int, count);
        let cols = Space::range(attend.key, Expr::Var(first), count.clone(), max);
        let mut env = parts.env.clone();
        let last = Expr::Var(first) + count - Expr::Int(1);
        Self::tile_edges(&mut env, attend, parts.span.clone(), (Expr::Var(first), last));
        let (active, full) = self.classes(cx, parts, &env);
        let listed = known.map(|known| known.alone.clone());
        let mut once = |value| self.once_a_tile(cx, value, first, listed.as_ref());
        let (mut active, mut full) = (once(active), once(full));
        if let Some(Known { alone, full: known }) = known {
            active = Expr::or(alone.clone(), active);
            full = Expr::or(known.clone(), Expr::and(Expr::unary(Unary::Not, alone.clone()), full));
        }
        let mut visit = Vec::new();
        self.visit(cx, &mut visit, parts, (&env, Some(first)), &cols, full);
        if active == Expr::Bool(true) {
            body.extend(visit);
        } else {
            body.push(Stmt::If { cond: active, then: visit, otherwise: Vec::new() });
        }
        body
    }

    /// Whether some pair of the tile may be attended (beyond what the bounds of the loop say), and whether all are.
    pub(super) fn classes(&mut self, cx: &mut Cx, parts: &Parts<'_>, env: &Env) -> (Expr, Expr) {
        let (mut active, mut full) = (Expr::Bool(true), Expr::Bool(true));
        let bounded = self.bounded(parts);
        for (at, &form) in parts.attend.forms.iter().enumerate() {
            if parts.covered.contains(&at) || bounded {
                continue;
            }
            let Some((may, all)) = parts.view.skip(at) else {
                full = Expr::Bool(false);
                continue;
            };
            // The key tile's edges are indices of the walk's axis: nothing else is known of rows that are heads.
            if form != Form::Interval {
                let may = self.scalar(&mut cx.kernel, may, env);
                active = Expr::and(active, may);
            }
            let all = self.scalar(&mut cx.kernel, all, env);
            full = Expr::and(full, all);
        }
        (active, full)
    }

    /// Whether the interval terms of consecutive keys become bounds of each row's columns, which the softmax takes, instead
    /// of a map. Other terms may be evaluated only where the intervals hold, so that all of them then stay in the map.
    fn bounded(&self, parts: &Parts<'_>) -> bool {
        let mut terms = parts.attend.forms.iter().enumerate().filter(|(at, _)| !parts.covered.contains(at));
        self.schedule.fused_softmax && parts.stats.is_some() && terms.all(|(_, form)| *form == Form::Interval)
    }

    /// The first and the end of each row's columns in a tile of keys from `first`, by the terms that are bounds.
    fn columns(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        parts: &Parts<'_>,
        env: &Env,
        first: VarId,
    ) -> Option<(TileId, TileId)> {
        let at = env.rows(&parts.rows);
        let mut both: Option<(Expr, Expr)> = None;
        for (term, &id) in parts.view.terms().iter().enumerate() {
            if parts.covered.contains(&term) {
                continue;
            }
            let operands = self.graph.operands(id);
            let lo = self.scalar(&mut cx.kernel, operands[1], &at);
            let hi = self.scalar(&mut cx.kernel, operands[2], &at);
            both = Some(match both {
                None => (lo, hi),
                Some((from, to)) => (from.max(lo), to.min(hi)),
            });
        }
        let (lo, hi) = both?;
        let mut map = |name: &str, value: Expr| {
            let dst = cx.tile(name, Element::I32, parts.rows.max, 1, Memory::Register);
            out.push(self.per_row(parts, dst, value - Expr::Var(first)));
            dst
        };
        Some((map("first_col", lo), map("end_col", hi)))
    }

    /// Scores of a tile, masked where `full` does not hold, and their share of the result. `first` is the first of
    /// consecutive keys.
    pub(super) fn visit(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        parts: &Parts<'_>,
        (env, first): (&Env, Option<VarId>),
        cols: &Space,
        full: Expr,
    ) {
        let attend = parts.attend;
        cx.columns.clear();
        let value = self.element(cx, out, parts.view.score(), env, &parts.rows, cols);
        let value = self.read_vectors(cx, out, value, (parts, cols));
        let weight = match attend.normalize {
            Normalize::Softmax | Normalize::SoftmaxSink => value,
            Normalize::Sigmoid => Expr::unary(Unary::Sigmoid, value),
            Normalize::Relu => Expr::unary(Unary::Relu, value),
        };
        let mut taken = Taken::default();
        let bounded = first.filter(|_| self.bounded(parts));
        if let Some(first) = bounded {
            taken.columns = self.columns(cx, out, parts, env, first);
        }
        let mut mask = Expr::Bool(true);
        if full != Expr::Bool(true) && bounded.is_none() {
            for (at, &term) in parts.view.terms().iter().enumerate() {
                if !parts.covered.contains(&at) {
                    let term = self.element(cx, out, term, env, &parts.rows, cols);
                    let term = self.read_vectors(cx, out, term, (parts, cols));
                    mask = Expr::and(mask, term);
                }
            }
        }
        let weight = match scaled(&weight) {
            Some((scale, product)) if self.schedule.fused_softmax && parts.stats.is_some() => {
                taken.scale = scale;
                product
            }
            _ => weight,
        };
        let own = match &weight {
            Expr::Elem(tile)
                if cx.kernel.tile(*tile).rows == parts.rows.max && cx.kernel.tile(*tile).cols == cols.max =>
            {
                Some(*tile)
            }
            _ => None,
        };
        let scores = own
            .unwrap_or_else(|| cx.tile("scores", Element::F32, parts.rows.max, cols.max, Memory::Register));
        let masked = if parts.stats.is_some() { f32::NEG_INFINITY } else { 0.0 };
        let map = |body: Expr| Stmt::Map {
            dst: scores,
            rows: parts.rows.count.clone(),
            cols: cols.count.clone(),
            body,
        };
        let plain = if own.is_some() { Vec::new() } else { vec![map(weight.clone())] };
        if mask == Expr::Bool(true) {
            out.extend(plain);
        } else {
            let partial = vec![map(mask.then(weight, Expr::float(masked)))];
            match full {
                Expr::Bool(false) => out.extend(partial),
                cond => out.push(Stmt::If { cond, then: plain, otherwise: partial }),
            }
        }
        if let Some((row_max, row_sum)) = parts.stats {
            out.push(Stmt::OnlineSoftmax {
                scores,
                row_max,
                row_sum,
                acc: (parts.acc, Expr::Int(parts.features as i64)),
                rows: parts.rows.count.clone(),
                cols: cols.count.clone(),
                taken,
            });
        }
        let feature =
            Space::range(attend.feature, Expr::Int(0), Expr::Int(parts.features as i64), parts.features);
        let values = self.tile_of(cx, out, ("values", parts.view.value()), env, cols, &feature);
        out.push(Stmt::Mma {
            acc: parts.acc,
            a: TileRef::from(scores),
            b: TileRef::from(values),
            transpose_b: false,
            accumulate: true,
            m: parts.rows.count.clone(),
            n: Expr::Int(parts.features as i64),
            k: cols.count.clone(),
        });
    }

    /// Reductions over the rows of a tile do not change from key tile to key tile: they move before the loop, where they are
    /// computed unless `unused`.
    pub(super) fn once_a_tile(&self, cx: &mut Cx, value: Expr, first: VarId, unused: Option<&Expr>) -> Expr {
        let mut found = Vec::new();
        value.any(&mut |x| {
            let varies = x.any(&mut |x| match x {
                Expr::Var(var) => *var == first || cx.kernel.var(*var).name == "cols",
                _ => false,
            });
            if matches!(x, Expr::Reduce { .. }) && !varies && !found.contains(x) {
                found.push(x.clone());
            }
            false
        });
        found.into_iter().fold(value, |value, reduction| {
            let ty = type_of(&self.program, Some(&cx.kernel), &reduction);
            let ty = ty.unwrap_or_else(|message| panic!("lower: {message}"));
            let none = match ty {
                ScalarType::Int => Expr::Int(0),
                ScalarType::F32 => Expr::float(0.0),
                ScalarType::Bool => Expr::Bool(false),
            };
            let computed = match unused {
                Some(unused) => unused.clone().then(none, reduction.clone()),
                None => reduction.clone(),
            };
            let known = cx.hoist.iter().find_map(|stmt| match stmt {
                Stmt::Set { var, value } if *value == computed => Some(Expr::Var(*var)),
                _ => None,
            });
            let var = known.unwrap_or_else(|| {
                let mut hoist = std::mem::take(&mut cx.hoist);
                let var = cx.set(&mut hoist, "of_rows", ty, computed);
                cx.hoist = hoist;
                var
            });
            value.replace(&|x| (*x == reduction).then(|| var.clone()))
        })
    }
}

/// A tile of products times a constant above zero, as the two.
fn scaled(weight: &Expr) -> Option<(FloatBits, Expr)> {
    let Expr::Binary(Binary::Mul, x, y) = weight else { return None };
    match (&**x, &**y) {
        (Expr::Float(scale), tile @ Expr::Elem(_)) | (tile @ Expr::Elem(_), Expr::Float(scale))
            if scale.get() > 0.0 && scale.get().is_finite() =>
        {
            Some((*scale, tile.clone()))
        }
        _ => None,
    }
}
