//! Selections: their candidates, their rows, and the mask term that they become.

use super::expr::Context;
use super::{Lower, graph_var};
use crate::hir;
use dmac_ir::{AxisKind, Binary, Domain, NodeId, Op, Reduction, Select, Size, Var};
use dmac_source::Span;
use std::collections::{BTreeMap, BTreeSet};

impl Lower<'_> {
    /// The mask term of a selection: whether the key, or the key's block, is selected in its row.
    pub(super) fn selection(
        &mut self,
        select: &hir::Select,
        key: Var,
        above: &[NodeId],
        context: &Context,
        span: Span,
    ) -> NodeId {
        let over = graph_var(select.over);
        let score = self.expr(&select.operand, context);
        let candidate = if let Some(among) = &select.among {
            let among = self.expr(among, context);
            let exists = self.exists(over);
            let terms: Vec<NodeId> = exists.into_iter().chain([among]).collect();
            self.all(&terms)
        } else {
            let masks = self.all(above);
            if over == key { masks } else { self.any_key(key, over, masks) }
        };
        let count = self.expr(&select.count, context);
        let mut operands = vec![score, candidate, count];
        let parts = [&select.forcing, &select.plus];
        operands.extend(parts.into_iter().flatten().map(|part| self.expr(part, context)));
        let rows = self.rows(&mut operands, over);
        let op = Select {
            rows: rows.clone(),
            over,
            ties: select.ties,
            forcing: select.forcing.is_some(),
            plus: select.plus.is_some(),
            lowering: None,
        };
        let set = self.graph.add_at(Op::Select(op), &operands, Some(span));
        let mut operands = vec![set];
        operands.extend(rows.into_iter().map(|row| self.graph.index(row)));
        operands.push(self.element(key, over));
        self.graph.add_at(Op::Contains, &operands, Some(span))
    }

    /// The and of terms; true if there is none.
    fn all(&mut self, terms: &[NodeId]) -> NodeId {
        let all = terms.iter().copied().reduce(|all, term| self.graph.binary(Binary::And, all, term));
        all.unwrap_or_else(|| self.graph.bool(true))
    }

    /// Whether the masks leave a key in a block.
    fn any_key(&mut self, key: Var, block: Var, masks: NodeId) -> NodeId {
        let domains = vec![Domain::Positions { var: key, part: block }];
        self.graph.add(Op::Reduce { op: Reduction::Any, domains }, &[masks])
    }

    /// The variables of a row: all that the operands depend on but the selected one. A query head determines its
    /// key/value head, so where both are among them the latter is computed.
    fn rows(&mut self, operands: &mut [NodeId], over: Var) -> Vec<Var> {
        let free = |lower: &Self, operands: &[NodeId]| {
            let mut free: BTreeSet<Var> =
                operands.iter().flat_map(|&operand| lower.graph.free(operand).iter().copied()).collect();
            free.remove(&over);
            free
        };
        let rows = free(self, operands);
        let (head, kv_head) = (self.head(), self.kv_head());
        if rows.contains(&head) && rows.contains(&kv_head) {
            let map = BTreeMap::from([(kv_head, self.kv_head_of(head))]);
            let closed: Option<Vec<NodeId>> =
                operands.iter().map(|&operand| self.graph.substitute(operand, &map)).collect();
            // A reduction over the heads of `g` needs it as a variable: then it stays one of the row's.
            if let Some(closed) = closed {
                operands.copy_from_slice(&closed);
            }
        }
        free(self, operands).into_iter().collect()
    }

    /// The selected element that a key belongs to.
    fn element(&mut self, key: Var, over: Var) -> NodeId {
        let index = self.graph.index(key);
        match self.axis_kind(over).1 {
            AxisKind::Blocks { length, .. } if over != key => {
                let length: Size = length;
                let length = self.graph.size(length);
                self.graph.binary(Binary::IntDiv, index, length)
            }
            _ => index,
        }
    }
}
