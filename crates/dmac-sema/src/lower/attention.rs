//! Attentions: the initial score, the steps in their order, the mask terms.

use super::expr::Context;
use super::{Lower, graph_var};
use crate::hir::{self, StepKind};
use dmac_ir::{
    Attend, AxisKind, Binary, Compare, Domain, Form, NodeId, Normalize, Op, Reduction, Scalar, Size, Unary,
    Var,
};

impl Lower<'_> {
    pub(super) fn attention(&mut self, attention: &hir::Attention) -> NodeId {
        let key = graph_var(attention.key);
        let scale = self.scale(attention);
        let mut score = self.initial_score(attention, scale);
        let mut terms: Vec<NodeId> = self.exists(key).into_iter().collect();
        for step in &attention.steps {
            let context = Context { score: Some(score), scale: Some(scale) };
            match &step.kind {
                StepKind::Score(value) => score = self.expr(value, &context),
                StepKind::Mask(predicate) => {
                    let term = self.expr(predicate, &context);
                    terms.push(term);
                }
                StepKind::Select(select) => {
                    let term = self.selection(select, key, &terms, &context, step.span);
                    terms.push(term);
                }
            }
        }
        let values = self.tensor(attention.values.tensor);
        let index =
            [self.batch(), self.kv_head(), key, self.value_feature()].map(|var| self.graph.index(var));
        let value = self.graph.read(values, &index);
        let mut operands = vec![score, value];
        if attention.normalize == Normalize::SoftmaxSink {
            let sink = attention.sink.as_ref();
            let sink = sink.unwrap_or_else(|| panic!("lower: `{}` has no sink", attention.name));
            operands.push(self.expr(sink, &Context::default()));
        }
        let forms = vec![Form::Unclassified; terms.len()];
        operands.extend(terms);
        let attend = Attend {
            name: attention.name.clone(),
            batch: self.batch(),
            head: self.head(),
            kv_head: self.kv_head(),
            query: self.query(),
            key,
            feature: self.value_feature(),
            normalize: attention.normalize,
            forms,
            tiling: None,
            skips: false,
        };
        self.graph.add_at(Op::Attend(attend), &operands, Some(attention.span))
    }

    /// `scale = ...`, or one over the square root of the features.
    fn scale(&mut self, attention: &hir::Attention) -> NodeId {
        if let Some(scale) = &attention.scale {
            return self.expr(scale, &Context::default());
        }
        let axis = self.graph.axis_of(graph_var(attention.feature));
        if let Some(size) = self.graph.axis(axis).size {
            return self.graph.float((1.0 / (size as f64).sqrt()) as f32);
        }
        let size = self.graph.size(Size::Axis(axis));
        let size = self.graph.cast(size, Scalar::F32);
        self.graph.unary(Unary::Rsqrt, size)
    }

    /// `scale * sum(d: q[b, h, i, d] * k[b, g, j, d])`.
    fn initial_score(&mut self, attention: &hir::Attention, scale: NodeId) -> NodeId {
        let feature = graph_var(attention.feature);
        let (queries, keys) = (self.tensor(attention.queries.tensor), self.tensor(attention.keys.tensor));
        let row = [self.batch(), self.head(), self.query(), feature].map(|var| self.graph.index(var));
        let column = [self.batch(), self.kv_head(), graph_var(attention.key), feature]
            .map(|var| self.graph.index(var));
        let (query, key) = (self.graph.read(queries, &row), self.graph.read(keys, &column));
        let product = self.graph.binary(Binary::Mul, query, key);
        let sum = Op::Reduce { op: Reduction::Sum, domains: vec![Domain::All(feature)] };
        let dot = self.graph.add(sum, &[product]);
        self.graph.binary(Binary::Mul, scale, dot)
    }

    /// Whether an element exists in its batch element, whose sequence may be shorter than the axis: keys below the length,
    /// whole windows below it, blocks that begin below it. None for axes that are not over keys.
    pub(super) fn exists(&mut self, var: Var) -> Option<NodeId> {
        let is_key = |lower: &Self, axis| lower.graph.axis(axis).kind == AxisKind::Key;
        let (relation, position) = match self.axis_kind(var).1 {
            AxisKind::Key => (Compare::Lt, self.graph.index(var)),
            AxisKind::Windows { of, .. } if is_key(self, of) => (Compare::Le, self.end(var)),
            AxisKind::Blocks { of, .. } if is_key(self, of) => (Compare::Lt, self.start(var)),
            _ => return None,
        };
        let length = self.graph.add(Op::KeyLength { batch: self.batch() }, &[]);
        Some(self.graph.compare(relation, position, length))
    }
}
