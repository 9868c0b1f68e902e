//! What the sizes must satisfy so that reads are in range.
//!
//! Input → output: a graph after its passes → requirements of the program, checked before anything runs. Indices that
//! may leave their axis are bounded by then, so these requirements are about meaning, not about memory, with one
//! exception: linear indices of stored tensors (`start(c) + t`), which the passes leave bare for the sake of matrix
//! products. A read that some mask, `if` or `and` may exclude requires nothing.

use super::Lowering;
use crate::kernel::Expr;
use dmac_ir::{Attendance, AxisId, AxisKind, Binary, Compare, NodeId, Op, Type, Var};
use std::collections::BTreeSet;

impl Lowering<'_> {
    /// Requirements of all reads.
    pub(super) fn require_reads(&mut self) {
        let roots: Vec<NodeId> = self.graph.outputs.iter().map(|output| output.node).collect();
        for id in self.graph.reachable(&roots) {
            match self.graph.op(id).clone() {
                Op::Read => self.require_linear(id),
                Op::Attend(attend) => {
                    let operands = self.graph.operands(id);
                    let view = Attendance { attend: &attend, operands: &operands };
                    // The first term about the row, or the scores where there is none, are evaluated for every row.
                    let about_rows = |&&term: &&NodeId| self.graph.free(term).contains(&attend.query);
                    let first = view.terms().iter().find(about_rows).copied().unwrap_or(view.score());
                    self.require_positions(first, attend.query);
                }
                _ => {}
            }
        }
    }

    fn require(&mut self, condition: Expr, message: String) {
        let known = self.program.requires.iter().any(|(other, _)| *other == condition);
        if condition != Expr::Bool(true) && !known {
            self.program.requires.push((condition, message));
        }
    }

    /// That the least and the greatest value of a linear index are in its axis, where there is a point at all.
    fn require_linear(&mut self, read: NodeId) {
        let operands = self.graph.operands(read);
        let Type::Tensor { axes, .. } = self.graph.ty(operands[0]).clone() else { return };
        for (&axis, &index) in axes.iter().zip(&operands[1..]) {
            let plain = matches!(self.graph.op(index), Op::Index(var) if self.graph.axis_of(*var) == axis);
            let mut vars = BTreeSet::new();
            let Some((least, greatest)) = self.extremes(index, &mut vars).filter(|_| !plain) else {
                continue;
            };
            let size = self.axis_size(axis);
            let inside = Expr::and(
                Expr::compare(Compare::Le, Expr::Int(0), least),
                Expr::lt(greatest.clone(), size.clone()),
            );
            let empty = vars.iter().map(|&var| Expr::lt(self.extent(var), Expr::Int(1)));
            let condition = empty.fold(inside, Expr::or);
            let message = format!(
                "`{}` is read outside of axis {}: the greatest index is {}, and the size is {} (E0601)",
                self.tensor_name(operands[0]),
                self.graph.axis(axis).name,
                self.program.print_expr(&greatest),
                self.program.print_expr(&size)
            );
            self.require(condition, message);
        }
    }

    /// The least and the greatest value of an index that only grows with each of its coordinates, which are collected.
    fn extremes(&self, index: NodeId, vars: &mut BTreeSet<Var>) -> Option<(Expr, Expr)> {
        let operands = self.graph.operands(index);
        match self.graph.op(index) {
            Op::Int(value) => Some((Expr::Int(*value), Expr::Int(*value))),
            Op::Size(size) => Some((self.size(size), self.size(size))),
            Op::Param(param) => Some((Expr::Param(*param), Expr::Param(*param))),
            // A coordinate that occurs twice has no extremes of its own.
            Op::Index(var) => vars.insert(*var).then(|| (Expr::Int(0), self.extent(*var) - Expr::Int(1))),
            Op::Binary(op @ (Binary::Add | Binary::Mul)) => {
                let (x, y) = (self.extremes(operands[0], vars)?, self.extremes(operands[1], vars)?);
                Some((Expr::binary(*op, x.0, y.0), Expr::binary(*op, x.1, y.1)))
            }
            _ => None,
        }
    }

    /// That rows have positions inside the tensors that are read at them without a condition.
    fn require_positions(&mut self, root: NodeId, query: Var) {
        let mut open = vec![root];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !matches!(self.graph.ty(id), Type::Scalar(_)) || !seen.insert(id) {
                continue;
            }
            let operands = self.graph.operands(id);
            match self.graph.op(id) {
                Op::If | Op::Binary(Binary::And | Binary::Or) => open.push(operands[0]),
                // Over an empty range, nothing is read.
                Op::Reduce { .. } => {}
                Op::Read => {
                    let Type::Tensor { axes, .. } = self.graph.ty(operands[0]).clone() else { continue };
                    for (&axis, &index) in axes.iter().zip(&operands[1..]) {
                        if let Some(offset) = self.position_in(index) {
                            self.require_position(operands[0], axis, query, offset);
                        }
                    }
                    open.extend(&operands[1..]);
                }
                _ => open.extend(operands),
            }
        }
    }

    /// What is added to a row's position in an index that the passes have bounded.
    fn position_in(&self, index: NodeId) -> Option<i64> {
        let inner = |id: NodeId, wanted: Binary| {
            (*self.graph.op(id) == Op::Binary(wanted)).then(|| self.graph.operand(id, 0))
        };
        let index = inner(inner(index, Binary::Max)?, Binary::Min)?;
        let operands = self.graph.operands(index);
        let position = |id: NodeId| matches!(self.graph.op(id), Op::Position { .. });
        let number = |id: NodeId| match self.graph.op(id) {
            Op::Int(value) => Some(*value),
            _ => None,
        };
        match self.graph.op(index) {
            Op::Position { .. } => Some(0),
            Op::Binary(Binary::Add) if position(operands[0]) => number(operands[1]),
            Op::Binary(Binary::Add) if position(operands[1]) => number(operands[0]),
            Op::Binary(Binary::Sub) if position(operands[0]) => Some(-number(operands[1])?),
            _ => None,
        }
    }

    fn require_position(&mut self, tensor: NodeId, axis: AxisId, query: Var, offset: i64) {
        let Some(keys) = self.graph.find_axis(&AxisKind::Key) else { return };
        let (keys, rows, size) = (self.axis_size(keys), self.extent(query), self.axis_size(axis));
        let first = keys.clone() - rows.clone() + Expr::Int(offset);
        let last = keys.clone() - Expr::Int(1) + Expr::Int(offset);
        let inside = Expr::and(Expr::compare(Compare::Le, Expr::Int(0), first), Expr::lt(last, size));
        let nothing = Expr::or(Expr::lt(keys, Expr::Int(1)), Expr::lt(rows, Expr::Int(1)));
        let message = format!(
            "`{}` is read at the position of every query row, and some rows have a position outside of its axis {}: the \
             first of M rows is at position N - M; exclude them with a mask or an `if` (E0601)",
            self.tensor_name(tensor),
            self.graph.axis(axis).name
        );
        self.require(Expr::or(inside, nothing), message);
    }

    /// What a tensor is called in the program.
    fn tensor_name(&self, tensor: NodeId) -> String {
        match self.graph.op(tensor) {
            Op::Input(id) => self.graph.input(*id).name.clone(),
            Op::Define { name, .. } => name.clone(),
            _ => "a tensor".to_owned(),
        }
    }
}
