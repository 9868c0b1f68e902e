//! An index-notation expression over rows and columns, as tile statements and the scalar expression of one element.
//!
//! `element` walks the expression. A reduction that varies along neither side becomes a scalar, along one side a vector,
//! and along both a tile:
//!
//! - a sum of products whose factors vary along rows or along columns but not both is a matrix product:
//!   `sum(d: q[i, d] * k[j, d])` => `Q <- q[rows, :]; K <- k[cols, :]; S = mma(Q, K^T)`; further summed variables are loops
//!   around it;
//! - a reduction over something that contains such a product is a loop that accumulates:
//!   `sum(x: w[x, i] * relu(sum(f: ...)))`;
//! - anything else stays a scalar loop in the element's expression.
//!
//! Row tiles that do not change inside the caller's loop are computed once before it.

use super::{Env, Lowering, Space};
use crate::kernel::{
    Element, Expr, Kernel, ScalarType, Space as Memory, Stmt, Tile, TileId, TileRef, type_of,
};
use dmac_ir::{Binary, Domain, NodeId, Op, Reduction, Type, Var};
use std::collections::{BTreeMap, BTreeSet};

/// The largest feature axis that is one step of a matrix product.
const WHOLE_DEPTH: usize = 576;

/// A kernel under construction.
pub(crate) struct Cx {
    /// The kernel.
    pub kernel: Kernel,
    /// The bounds of the grid point's tiles: before everything else.
    pub prelude: Vec<Stmt>,
    /// Statements before the caller's loop.
    pub hoist: Vec<Stmt>,
    /// The variables whose values are known there.
    pub hoist_vars: BTreeSet<Var>,
    /// Row tiles made there, by their factors and the summed variable.
    hoisted: BTreeMap<(Vec<NodeId>, Var), TileId>,
    /// Column vectors of gathered values made in the current iteration.
    pub columns: BTreeMap<Expr, TileId>,
}

/// A sum of products as a matrix product.
struct Product {
    /// The summed variable that is the product's depth.
    depth: Domain,
    /// The other ones: loops.
    loops: Vec<Domain>,
    /// Factors that do not vary along columns.
    left: Vec<NodeId>,
    /// Factors that do not vary along rows.
    right: Vec<NodeId>,
}

impl Cx {
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            prelude: Vec::new(),
            hoist: Vec::new(),
            hoist_vars: BTreeSet::new(),
            hoisted: BTreeMap::new(),
            columns: BTreeMap::new(),
        }
    }

    /// A new tile.
    pub fn tile(&mut self, name: &str, element: Element, rows: usize, cols: usize, space: Memory) -> TileId {
        let count =
            self.kernel.tiles.iter().filter(|tile| tile.name.trim_end_matches(char::is_numeric) == name);
        let count = count.count();
        let name = if count == 0 { name.to_owned() } else { format!("{name}{}", count + 1) };
        self.kernel.add_tile(Tile { name, element, rows, cols, space, stages: 1 })
    }

    /// A new scalar variable set to `value` in the prelude.
    pub fn known(&mut self, name: &str, ty: ScalarType, value: Expr) -> Expr {
        if matches!(value, Expr::Int(_) | Expr::Var(_) | Expr::Size(_) | Expr::Param(_)) {
            return value;
        }
        let var = self.kernel.add_var(name, ty);
        self.prelude.push(Stmt::Set { var, value });
        Expr::Var(var)
    }

    /// The finished kernel: bounds, what was hoisted, the rest.
    pub fn close(mut self, out: Vec<Stmt>) -> Kernel {
        self.kernel.body = self.prelude;
        self.kernel.body.append(&mut self.hoist);
        self.kernel.body.extend(out);
        self.kernel
    }

    /// A new scalar variable set to `value`.
    pub fn set(&mut self, out: &mut Vec<Stmt>, name: &str, ty: ScalarType, value: Expr) -> Expr {
        let var = self.kernel.add_var(name, ty);
        out.push(Stmt::Set { var, value });
        Expr::Var(var)
    }
}

impl Lowering<'_> {
    /// The value of `id` at the element (row, column) of the two spaces, after the statements pushed to `out`.
    pub(crate) fn element(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        id: NodeId,
        env: &Env,
        rows: &Space,
        cols: &Space,
    ) -> Expr {
        let mut known = env.clone();
        self.prepare(cx, out, id, &mut known, env, (rows, cols), false);
        let value = self.scalar(&mut cx.kernel, id, &known.rows(rows).cols(cols));
        self.gather_columns(cx, out, value, cols)
    }

    /// `element`, stored in a tile.
    pub(crate) fn tile_of(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        (name, id): (&str, NodeId),
        env: &Env,
        rows: &Space,
        cols: &Space,
    ) -> TileId {
        let value = self.element(cx, out, id, env, rows, cols);
        self.materialize(cx, out, name, value, rows, cols)
    }

    /// An element's expression as a tile: a copy where it is a plain load, the tile itself where it is one.
    pub(crate) fn materialize(
        &self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        name: &str,
        value: Expr,
        rows: &Space,
        cols: &Space,
    ) -> TileId {
        match value {
            Expr::Elem(tile)
                if cx.kernel.tile(tile).rows == rows.max && cx.kernel.tile(tile).cols == cols.max =>
            {
                tile
            }
            Expr::Load { tensor, index } => {
                let element = self.program.tensor(tensor).element;
                let dst = cx.tile(name, element, rows.max, cols.max, Memory::Shared);
                let (rows, cols) = (rows.count.clone(), cols.count.clone());
                out.push(Stmt::Copy { dst: dst.into(), tensor, index, rows, cols, arrive: None });
                dst
            }
            body => {
                let element = self.element_type(cx, &body);
                let dst = cx.tile(name, element, rows.max, cols.max, Memory::Shared);
                out.push(Stmt::Map { dst, rows: rows.count.clone(), cols: cols.count.clone(), body });
                dst
            }
        }
    }

    fn element_type(&self, cx: &Cx, body: &Expr) -> Element {
        match type_of(&self.program, Some(&cx.kernel), body) {
            Ok(ScalarType::F32) => Element::F32,
            Ok(ScalarType::Int) => Element::I32,
            Ok(ScalarType::Bool) => Element::Bool,
            Err(message) => panic!("lower: {message}"),
        }
    }

    /// Puts every reduction below `id` that should not be a loop in the element's expression into `known`.
    #[allow(clippy::too_many_arguments, reason = "one recursion over the expression, its context spelt out")]
    fn prepare(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        id: NodeId,
        known: &mut Env,
        env: &Env,
        spaces: (&Space, &Space),
        guarded: bool,
    ) {
        if known.nodes.contains_key(&id) || !matches!(self.graph.ty(id), Type::Scalar(_)) {
            return;
        }
        let (rows, cols) = spaces;
        let operands = self.graph.operands(id);
        match self.graph.op(id) {
            Op::Reduce { .. } => {
                if guarded && !self.always_in_range(id) {
                    return;
                }
                if let Some(value) = self.reduced(cx, out, id, &[], env, rows, cols) {
                    known.nodes.insert(id, value);
                }
            }
            // A factor that does not vary along columns joins the left side of a matrix product: one product a row tile
            // instead of one a pair. On targets whose products want operands in their storage type it stays outside.
            Op::Binary(Binary::Mul) if !guarded || self.always_in_range(id) => {
                for (factor, sum) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                    let is_sum = matches!(self.graph.op(sum), Op::Reduce { op: Reduction::Sum, .. });
                    if is_sum
                        && !cols.varies(self.graph.free(factor))
                        && !self.schedule.scale_products
                        && self.product(sum, &[factor], rows, cols).is_some()
                        && self.varies_both(sum, rows, cols)
                        && let Some(value) = self.reduced(cx, out, sum, &[factor], env, rows, cols)
                    {
                        known.nodes.insert(id, value);
                        return;
                    }
                }
                for operand in operands {
                    self.prepare(cx, out, operand, known, env, spaces, guarded);
                }
            }
            op => {
                let lazy = matches!(op, Op::If | Op::Binary(Binary::And | Binary::Or));
                for (at, operand) in operands.into_iter().enumerate() {
                    self.prepare(cx, out, operand, known, env, spaces, guarded || (lazy && at > 0));
                }
            }
        }
    }

    fn varies_both(&self, id: NodeId, rows: &Space, cols: &Space) -> bool {
        rows.varies(self.graph.free(id)) && cols.varies(self.graph.free(id))
    }

    /// Whether evaluating `id` anywhere is safe: all its reads are at plain indices, each within its axis.
    fn always_in_range(&self, id: NodeId) -> bool {
        self.scalars(&[id]).into_iter().all(|node| {
            let operands = self.graph.operands(node);
            match self.graph.op(node) {
                Op::Read => operands[1..].iter().all(|&index| matches!(self.graph.op(index), Op::Index(_))),
                Op::Contains => false,
                _ => true,
            }
        })
    }

    /// A reduction (times `factors`) as a scalar, vector or tile; `None` to leave it a loop of the element.
    #[allow(clippy::too_many_arguments, reason = "one recursion over the expression, its context spelt out")]
    fn reduced(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        id: NodeId,
        factors: &[NodeId],
        env: &Env,
        rows: &Space,
        cols: &Space,
    ) -> Option<Expr> {
        let free = self.graph.free(id).clone();
        match (rows.varies(&free), cols.varies(&free)) {
            (false, false) => {
                let value = self.scalar(&mut cx.kernel, id, env);
                let ty = type_of(&self.program, Some(&cx.kernel), &value).ok()?;
                if free.is_subset(&cx.hoist_vars) {
                    let mut hoist = std::mem::take(&mut cx.hoist);
                    let var = cx.set(&mut hoist, "value", ty, value);
                    cx.hoist = hoist;
                    Some(var)
                } else {
                    Some(cx.set(out, "value", ty, value))
                }
            }
            (true, false) => {
                let body = self.scalar(&mut cx.kernel, id, &env.rows(rows));
                let element = self.element_type(cx, &body);
                let dst = cx.tile("row_value", element, rows.max, 1, Memory::Register);
                let stmt = Stmt::Map { dst, rows: rows.count.clone(), cols: Expr::Int(1), body };
                if free.is_subset(&cx.hoist_vars) {
                    cx.hoist.push(stmt);
                } else {
                    out.push(stmt);
                }
                Some(Expr::Elem(dst))
            }
            (false, true) => {
                let body = self.scalar(&mut cx.kernel, id, &env.cols(cols));
                let element = self.element_type(cx, &body);
                let dst = cx.tile("col_value", element, 1, cols.max, Memory::Shared);
                out.push(Stmt::Map { dst, rows: Expr::Int(1), cols: cols.count.clone(), body });
                Some(Expr::Elem(dst))
            }
            (true, true) => {
                if let Some(product) = self.product(id, factors, rows, cols) {
                    return Some(Expr::Elem(self.emit_product(cx, out, &product, env, rows, cols)));
                }
                if factors.is_empty() { self.accumulate(cx, out, id, env, rows, cols) } else { None }
            }
        }
    }

    /// The factors of a product.
    fn factors(&self, id: NodeId, into: &mut Vec<NodeId>) {
        if *self.graph.op(id) == Op::Binary(Binary::Mul) {
            for operand in self.graph.operands(id) {
                self.factors(operand, into);
            }
        } else {
            into.push(id);
        }
    }

    /// A reduction as a matrix product, if it is one.
    /// Whether a reduction is a matrix product over two spaces.
    pub(super) fn separable(&self, id: NodeId, rows: &Space, cols: &Space) -> bool {
        self.product(id, &[], rows, cols).is_some()
    }

    fn product(&self, id: NodeId, extra: &[NodeId], rows: &Space, cols: &Space) -> Option<Product> {
        let Op::Reduce { op: Reduction::Sum, domains } = self.graph.op(id) else { return None };
        let mut factors = extra.to_vec();
        self.factors(self.graph.operand(id, 0), &mut factors);
        let spans = |domain: &Domain| {
            let var = domain.depends_on();
            var.is_some_and(|var| rows.vars.iter().chain(&cols.vars).any(|(space, _)| *space == var))
        };
        // Fixed depths first, then the one named last.
        let mut order: Vec<usize> = (0..domains.len()).rev().collect();
        order.sort_by_key(|&at| self.static_extent(domains[at].var()).is_none());
        for at in order {
            let depth = domains[at];
            let var = depth.var();
            let loops: Vec<Domain> =
                domains.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, d)| *d).collect();
            if domains.iter().any(spans)
                || loops.iter().any(|domain| domain.depends_on() == Some(var))
                || depth.depends_on().is_some_and(|on| loops.iter().any(|domain| domain.var() == on))
            {
                continue;
            }
            let (mut left, mut right) = (Vec::new(), Vec::new());
            let mut separate = true;
            for &factor in &factors {
                let free = self.graph.free(factor);
                match (rows.varies(free), cols.varies(free)) {
                    (true, true) => separate = false,
                    (_, true) => right.push(factor),
                    (_, false) => left.push(factor),
                }
            }
            let deep = |side: &[NodeId]| side.iter().any(|&factor| self.graph.free(factor).contains(&var));
            if separate && deep(&left) && deep(&right) {
                return Some(Product { depth, loops, left, right });
            }
        }
        None
    }

    fn emit_product(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        product: &Product,
        env: &Env,
        rows: &Space,
        cols: &Space,
    ) -> TileId {
        let var = product.depth.var();
        let acc = cx.tile("product", Element::F32, rows.max, cols.max, Memory::Register);
        let (loops, inner) = self.open_loops(cx, &product.loops, env);
        let (lo, mut hi) = self.domain(product.depth, &inner);
        let whole = match (&lo, &hi) {
            (Expr::Int(0), Expr::Int(size)) if *size as usize <= WHOLE_DEPTH => Some((*size).max(1) as usize),
            _ => None,
        };
        let mut body = Vec::new();
        let (depth, step) = match whole {
            Some(max) => (Space::range(var, lo.clone(), hi.clone(), max), None),
            None => {
                hi = self.weighed_end(
                    &mut cx.kernel,
                    (&product.left, &product.right),
                    var,
                    (&inner, rows),
                    hi,
                );
                let max = self.schedule.k_tile;
                let first = cx.kernel.add_var("k0", ScalarType::Int);
                let count = (hi.clone() - Expr::Var(first)).min(Expr::Int(max as i64));
                let count = cx.set(&mut body, "k_count", ScalarType::Int, count);
                (Space::range(var, Expr::Var(first), count, max), Some(first))
            }
        };
        let single = loops.is_empty() && step.is_none();
        let a = self.left_tile(cx, &mut body, product, single, &inner, rows, &depth);
        let transpose_b = self.contiguous_in(&product.right, var);
        let b = if transpose_b {
            self.factor_tile(cx, &mut body, "right", &product.right, &inner, cols, &depth)
        } else {
            self.factor_tile(cx, &mut body, "right", &product.right, &inner, &depth, cols)
        };
        body.push(Stmt::Mma {
            acc,
            a: TileRef::from(a),
            b: TileRef::from(b),
            transpose_b,
            accumulate: !single,
            m: rows.count.clone(),
            n: cols.count.clone(),
            k: depth.count.clone(),
        });
        if let Some(first) = step {
            let step = Expr::Int(self.schedule.k_tile as i64);
            body = vec![Stmt::For { var: first, lo, hi, step, body }];
        }
        if !single {
            out.push(Stmt::Fill { tile: acc, value: Expr::float(0.0) });
        }
        out.extend(close_loops(loops, body));
        acc
    }

    /// The left operand: before the caller's loop where it does not change in it.
    #[allow(clippy::too_many_arguments, reason = "one step of a product, its context spelt out")]
    fn left_tile(
        &mut self,
        cx: &mut Cx,
        body: &mut Vec<Stmt>,
        product: &Product,
        single: bool,
        env: &Env,
        rows: &Space,
        depth: &Space,
    ) -> TileId {
        let var = product.depth.var();
        let fixed = |factor: &NodeId| {
            self.graph.free(*factor).iter().all(|free| *free == var || cx.hoist_vars.contains(free))
        };
        if !single || !product.left.iter().all(fixed) {
            return self.factor_tile(cx, body, "left", &product.left, env, rows, depth);
        }
        let key = (product.left.clone(), var);
        if let Some(&tile) = cx.hoisted.get(&key) {
            return tile;
        }
        let mut hoist = std::mem::take(&mut cx.hoist);
        let tile = self.factor_tile(cx, &mut hoist, "left", &product.left, env, rows, depth);
        cx.hoist = hoist;
        cx.hoisted.insert(key, tile);
        tile
    }

    /// A product of factors over two spaces, as a tile.
    #[allow(clippy::too_many_arguments, reason = "one step of a product, its context spelt out")]
    fn factor_tile(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        name: &str,
        factors: &[NodeId],
        env: &Env,
        rows: &Space,
        cols: &Space,
    ) -> TileId {
        let value = factors
            .iter()
            .map(|&factor| self.element(cx, out, factor, env, rows, cols))
            .reduce(|x, y| x * y)
            .expect("a side of a product has factors");
        self.materialize(cx, out, name, value, rows, cols)
    }

    /// A reduction over a body that holds a matrix product: a loop around it that accumulates elementwise.
    fn accumulate(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        id: NodeId,
        env: &Env,
        rows: &Space,
        cols: &Space,
    ) -> Option<Expr> {
        let Op::Reduce { op, domains } = self.graph.op(id).clone() else { return None };
        let combine = match op {
            Reduction::Sum => Binary::Add,
            Reduction::Max => Binary::Max,
            Reduction::Min => Binary::Min,
            Reduction::Mean | Reduction::Any | Reduction::All => return None,
        };
        let body = self.graph.operand(id, 0);
        let holds_product = self.scalars(&[body]).into_iter().any(|node| {
            matches!(self.graph.op(node), Op::Reduce { .. }) && self.product(node, &[], rows, cols).is_some()
        });
        let spans = domains
            .iter()
            .filter_map(|domain| domain.depends_on())
            .any(|var| rows.vars.iter().chain(&cols.vars).any(|(space, _)| *space == var));
        if !holds_product || spans {
            return None;
        }
        let start = match op {
            Reduction::Max => f32::NEG_INFINITY,
            Reduction::Min => f32::INFINITY,
            _ => 0.0,
        };
        let acc = cx.tile("sum", Element::F32, rows.max, cols.max, Memory::Register);
        out.push(Stmt::Fill { tile: acc, value: Expr::float(start) });
        let (loops, inner) = self.open_loops(cx, &domains, env);
        let mut stmts = Vec::new();
        let value = self.element(cx, &mut stmts, body, &inner, rows, cols);
        stmts.push(Stmt::Map {
            dst: acc,
            rows: rows.count.clone(),
            cols: cols.count.clone(),
            body: Expr::binary(combine, Expr::Elem(acc), value),
        });
        out.extend(close_loops(loops, stmts));
        Some(Expr::Elem(acc))
    }

    /// Loop variables for domains, and the environment inside.
    fn open_loops(
        &self,
        cx: &mut Cx,
        domains: &[Domain],
        env: &Env,
    ) -> (Vec<(crate::kernel::VarId, Expr, Expr)>, Env) {
        let mut inner = env.clone();
        let mut loops = Vec::new();
        for &domain in domains {
            let (lo, hi) = self.domain(domain, &inner);
            let var = cx.kernel.add_var(self.var_name(domain.var()), ScalarType::Int);
            inner.vars.insert(domain.var(), Expr::Var(var));
            inner.nodes.retain(|node, _| !self.graph.free(*node).contains(&domain.var()));
            loops.push((var, lo, hi));
        }
        (loops, inner)
    }

    /// Values that are looked up through a gathered column index are loaded once a column, not once an element.
    fn gather_columns(&self, cx: &mut Cx, out: &mut Vec<Stmt>, value: Expr, cols: &Space) -> Expr {
        let gathered =
            cols.vars.iter().any(|(_, template)| template.any(&mut |x| matches!(x, Expr::Load { .. })));
        if gathered && !matches!(value, Expr::Load { .. }) {
            self.hoist_columns(cx, out, value, cols)
        } else {
            value
        }
    }

    /// A column vector of `value`, filled here unless it was already.
    pub(super) fn column(&self, cx: &mut Cx, out: &mut Vec<Stmt>, value: Expr, cols: &Space) -> TileId {
        if let Some(&tile) = cx.columns.get(&value) {
            return tile;
        }
        let element = self.element_type(cx, &value);
        let dst = cx.tile("column", element, 1, cols.max, Memory::Shared);
        cx.columns.insert(value.clone(), dst);
        out.push(Stmt::Map { dst, rows: Expr::Int(1), cols: cols.count.clone(), body: value });
        dst
    }

    fn hoist_columns(&self, cx: &mut Cx, out: &mut Vec<Stmt>, value: Expr, cols: &Space) -> Expr {
        let per_column = !value.any(&mut |x| match x {
            Expr::Row | Expr::Reduce { .. } => true,
            Expr::Elem(tile) => cx.kernel.tile(*tile).rows > 1,
            _ => false,
        });
        let looks_up = value.any(&mut |x| matches!(x, Expr::Load { .. }))
            && value.any(&mut |x| *x == Expr::Col)
            && !matches!(value, Expr::If(..));
        if per_column && looks_up {
            return Expr::Elem(self.column(cx, out, value, cols));
        }
        // The side of a branch that is not taken may be out of range: only conditions are looked up early.
        match value {
            Expr::Unary(op, x) => Expr::unary(op, self.hoist_columns(cx, out, *x, cols)),
            Expr::Binary(op @ (Binary::And | Binary::Or), x, y) => {
                Expr::binary(op, self.hoist_columns(cx, out, *x, cols), *y)
            }
            Expr::Binary(op, x, y) => {
                let x = self.hoist_columns(cx, out, *x, cols);
                Expr::binary(op, x, self.hoist_columns(cx, out, *y, cols))
            }
            Expr::Compare(op, x, y) => {
                let x = self.hoist_columns(cx, out, *x, cols);
                Expr::compare(op, x, self.hoist_columns(cx, out, *y, cols))
            }
            Expr::If(c, x, y) => self.hoist_columns(cx, out, *c, cols).then(*x, *y),
            Expr::Cast(to, x) => Expr::cast(to, self.hoist_columns(cx, out, *x, cols)),
            other => other,
        }
    }
}

/// Loops around a body.
fn close_loops(loops: Vec<(crate::kernel::VarId, Expr, Expr)>, body: Vec<Stmt>) -> Vec<Stmt> {
    loops
        .into_iter()
        .rev()
        .fold(body, |body, (var, lo, hi)| vec![Stmt::For { var, lo, hi, step: Expr::Int(1), body }])
}
