//! Lists of selected keys or blocks: scores in tiles, streamed through a heap a row.

use super::element::Cx;
use super::{Env, List, Lowering, Space};
use crate::kernel::{
    Element, Expr, Heap, Kernel, MapReduction, ScalarType, Selection, Space as Memory, Stmt,
};
use dmac_ir::{AxisKind, Binary, NodeId, Op, Scalar, Type, Unary, Var};

impl Lowering<'_> {
    /// `list[row, slot]`: scores in tiles of rows by candidates, streamed through a heap a row. Nothing of the size of rows
    /// by candidates is stored.
    pub(super) fn lower_select(&mut self, id: NodeId) {
        let Op::Select(select) = self.graph.op(id).clone() else { return };
        let operands = self.graph.operands(id);
        let (score, candidate, count) = (operands[0], operands[1], operands[2]);
        let forcing = select.forcing.then(|| operands[3]);
        let plus = select.plus.then(|| operands[3 + usize::from(select.forcing)]);
        let mut cx = Cx::new(Kernel::new(format!("select_{}", self.var_name(select.over))));
        let mut env = Env::default();
        let query = select.rows.iter().copied().find(|&var| self.kind(var) == AxisKind::Query);
        let rows = match query {
            Some(var) => self.grid_space(&mut cx, var, self.schedule.select_tile),
            None => Space::unit(),
        };
        for &var in select.rows.iter().filter(|var| Some(**var) != query) {
            let extent = self.extent(var);
            let at = self.grid_axis(&mut cx, var, extent);
            env.vars.insert(var, at);
        }
        self.bind_kv_head(&mut env);
        cx.hoist_vars = select.rows.iter().copied().collect();

        let n = self.scalar(&mut cx.kernel, count, &env).max(Expr::Int(0)).min(self.extent(select.over));
        let mut dims: Vec<Expr> = select.rows.iter().map(|&var| self.extent(var)).collect();
        let counts = self.workspace("selected_count", Element::I32, dims.clone());
        dims.push(n.clone());
        let items = self.workspace("selected", Element::I32, dims);
        self.lists.insert(id, List { items, counts });
        self.program.selections.push(Selection::Lists { node: id, items, counts });

        let heap =
            cx.kernel.add_heap(Heap { name: "best".into(), rows: rows.max, capacity: n, ties: select.ties });
        let first = cx.kernel.add_var(format!("{}0", self.var_name(select.over)), ScalarType::Int);
        let row = cx.kernel.add_var("row", ScalarType::Int);
        let stored = cx.kernel.add_var("stored", ScalarType::Int);
        let max = self
            .static_extent(select.over)
            .map_or(self.schedule.kv_tile, |size| size.clamp(1, self.schedule.kv_tile));
        let extent = self.candidate_end(&mut cx.kernel, candidate, select.over, (&env, &rows));
        let mut out = Vec::new();
        let extent = cx.set(&mut out, "candidates", ScalarType::Int, extent);
        let mut body = Vec::new();
        let left = (extent.clone() - Expr::Var(first)).min(Expr::Int(max as i64));
        let cols_count = cx.set(&mut body, "cols", ScalarType::Int, left);
        let cols = Space::range(select.over, Expr::Var(first), cols_count, max);
        let value = self.element(&mut cx, &mut body, score, &env, &rows, &cols);
        let mut valid = self.element(&mut cx, &mut body, candidate, &env, &rows, &cols);
        if let Some(plus) = plus {
            let plus = self.element(&mut cx, &mut body, plus, &env, &rows, &cols);
            valid = Expr::and(valid, Expr::unary(Unary::Not, plus));
        }
        let map = |cx: &mut Cx, name: &str, element: Element, value: Expr| {
            let dst = cx.tile(name, element, rows.max, cols.max, Memory::Register);
            (dst, Stmt::Map { dst, rows: rows.count.clone(), cols: cols.count.clone(), body: value })
        };
        let each_row = |stmts: Vec<Stmt>| Stmt::For {
            var: row,
            lo: Expr::Int(0),
            hi: rows.count.clone(),
            step: Expr::Int(1),
            body: stmts,
        };
        let offer = |heap, scores, valid| Stmt::HeapOffer {
            heap,
            row: Expr::Var(row),
            scores,
            valid,
            first: Expr::Var(first),
            cols: cols.count.clone(),
        };
        let at = env.rows(&rows);
        let index: Vec<Expr> = select
            .rows
            .iter()
            .map(|var| at.vars[var].replace(&|x| (*x == Expr::Row).then_some(Expr::Var(row))))
            .collect();
        let store = |heap| Stmt::HeapStore {
            heap,
            row: Expr::Var(row),
            tensor: items,
            index: index.clone(),
            count: stored,
        };
        let clear = |heap| Stmt::HeapClear { heap, row: Expr::Var(row) };

        let (mut start, mut finish) = (Vec::new(), vec![store(heap)]);
        if let Some(forcing) = forcing {
            // Forced candidates come before all others, whose scores are kept finite; where there are more of them than
            // places, the best of them are taken.
            let forced = self.element(&mut cx, &mut body, forcing, &env, &rows, &cols);
            let own = cx.kernel.add_heap(Heap { name: "best_forced".into(), ..cx.kernel.heaps[0].clone() });
            let total = cx.tile("forced_total", Element::F32, rows.max, 1, Memory::Register);
            let both = Expr::and(valid.clone(), forced.clone());
            let (own_scores, stmt) = map(&mut cx, "own_scores", Element::F32, value);
            body.push(stmt);
            let (own_valid, stmt) = map(&mut cx, "forced", Element::Bool, both.clone());
            body.push(stmt);
            let flag = both.then(Expr::float(1.0), Expr::float(0.0));
            let (flags, stmt) = map(&mut cx, "forced_flag", Element::F32, flag);
            body.push(stmt);
            body.push(Stmt::RowReduce {
                dst: total,
                src: flags,
                op: MapReduction::Sum,
                rows: rows.count.clone(),
                cols: cols.count.clone(),
                accumulate: true,
            });
            // Computed once; here it is only looked at.
            let value = Expr::Elem(own_scores);
            let is_nan = Expr::compare(dmac_ir::Compare::Ne, value.clone(), value.clone());
            let others = is_nan.then(value.clone(), value.min(Expr::float(f32::MAX)));
            let ranked = forced.then(Expr::float(f32::INFINITY), others);
            let (scores, stmt) = map(&mut cx, "scores", Element::F32, ranked);
            body.push(stmt);
            let (valid, stmt) = map(&mut cx, "valid", Element::Bool, valid);
            body.push(stmt);
            body.push(each_row(vec![offer(own, own_scores, own_valid), offer(heap, scores, valid)]));
            start.push(Stmt::Fill { tile: total, value: Expr::float(0.0) });
            start.push(each_row(vec![clear(own)]));
            let total = Expr::At { tile: total, row: Box::new(Expr::Var(row)), col: Box::new(Expr::Int(0)) };
            let places = Expr::cast(ScalarType::F32, cx.kernel.heaps[0].capacity.clone());
            let crowded = Expr::compare(dmac_ir::Compare::Gt, total, places);
            finish = vec![Stmt::If { cond: crowded, then: vec![store(own)], otherwise: finish }];
        } else {
            let (scores, stmt) = map(&mut cx, "scores", Element::F32, value);
            body.push(stmt);
            let (valid, stmt) = map(&mut cx, "valid", Element::Bool, valid);
            body.push(stmt);
            body.push(each_row(vec![offer(heap, scores, valid)]));
        }
        start.push(each_row(vec![clear(heap)]));
        finish.push(Stmt::StoreElem { tensor: counts, index: index.clone(), value: Expr::Var(stored) });
        out.extend(start);
        out.push(Stmt::For { var: first, lo: Expr::Int(0), hi: extent, step: Expr::Int(max as i64), body });
        out.push(each_row(finish));
        self.finish(cx.close(out));
    }

    /// One past the last candidate of a tile of rows, where the condition says so by a range whose end never falls with the
    /// row: what the last row has. Otherwise all there are.
    fn candidate_end(
        &self,
        kernel: &mut Kernel,
        condition: NodeId,
        over: Var,
        (env, rows): (&Env, &Space),
    ) -> Expr {
        let operands = self.graph.operands(condition);
        match self.graph.op(condition) {
            Op::Binary(Binary::And) => {
                let x = self.candidate_end(kernel, operands[0], over, (env, rows));
                x.min(self.candidate_end(kernel, operands[1], over, (env, rows)))
            }
            Op::InRange
                if *self.graph.op(operands[0]) == Op::Index(over)
                    && rows.vars.iter().all(|(row, _)| self.rises(operands[2], *row)) =>
            {
                let mut last = env.clone();
                last.vars.extend(rows.vars.iter().map(|(var, template)| {
                    let row = rows.count.clone() - Expr::Int(1);
                    (*var, template.replace(&|x| (*x == Expr::Row).then(|| row.clone())))
                }));
                let end = self.scalar(kernel, operands[2], &last);
                self.extent(over).min(end.max(Expr::Int(0)))
            }
            _ => self.extent(over),
        }
    }

    /// One past the last index with weight of a sum of products, `end` or before: where a factor is 0 outside a range that
    /// ends with the rows' own, and the other ones are finite whatever tensors hold.
    pub(super) fn weighed_end(
        &self,
        kernel: &mut Kernel,
        (left, right): (&[NodeId], &[NodeId]),
        over: Var,
        spaces: (&Env, &Space),
        end: Expr,
    ) -> Expr {
        let zero = |id: NodeId| matches!(self.graph.op(id), Op::Float(value) if value.get() == 0.0);
        let finite = |id: NodeId| match self.graph.op(id) {
            Op::Float(value) => value.get().is_finite(),
            Op::Cast(Scalar::F32) => *self.graph.ty(self.graph.operand(id, 0)) != Type::Scalar(Scalar::F32),
            _ => false,
        };
        for (at, &factor) in left.iter().enumerate() {
            let others = left[..at].iter().chain(&left[at + 1..]).chain(right);
            if *self.graph.op(factor) == Op::If
                && zero(self.graph.operand(factor, 2))
                && others.copied().all(finite)
            {
                let condition = self.graph.operand(factor, 0);
                let last = self.candidate_end(kernel, condition, over, spaces);
                return if end == self.extent(over) { last } else { end.min(last) };
            }
        }
        end
    }

    /// Whether an int is proved not to fall while a variable rises.
    fn rises(&self, id: NodeId, var: Var) -> bool {
        let operands = self.graph.operands(id);
        let rises = |at: usize| self.rises(operands[at], var);
        let free = |at: usize| !self.graph.free(operands[at]).contains(&var);
        match self.graph.op(id) {
            Op::Index(_) | Op::Position { .. } => true,
            Op::Binary(Binary::Add | Binary::Min | Binary::Max) => rises(0) && rises(1),
            Op::Binary(Binary::Sub) => rises(0) && free(1),
            Op::Binary(Binary::IntDiv) => {
                rises(0) && matches!(self.graph.op(operands[1]), Op::Int(divisor) if *divisor > 0)
            }
            _ => !self.graph.free(id).contains(&var),
        }
    }

    /// Where a query head is bound and its key/value head is not: `g = h div (H / G)`.
    pub(super) fn bind_kv_head(&self, env: &mut Env) {
        let of = |kind: &AxisKind| {
            self.graph
                .vars
                .iter()
                .position(|info| self.graph.axis(info.axis).kind == *kind && !info.name.contains('\''))
        };
        let (Some(head), Some(kv_head)) = (of(&AxisKind::Head), of(&AxisKind::KvHead)) else { return };
        let (head, kv_head) = (Var(head as u32), Var(kv_head as u32));
        if let (Some(at), None) = (env.vars.get(&head).cloned(), env.vars.get(&kv_head)) {
            let group = self.extent(head).int_div(self.extent(kv_head));
            env.vars.insert(kv_head, at.int_div(group));
        }
    }

    pub(super) fn kind(&self, var: Var) -> AxisKind {
        self.graph.axis(self.graph.axis_of(var)).kind.clone()
    }
}
