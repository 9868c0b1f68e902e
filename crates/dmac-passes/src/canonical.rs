//! One node for all ways to write the same expression.
//!
//! Input → output: an operation on canonical operands → the canonical node with that meaning.
//!
//! Passes build expressions through [`Canon`], so that every graph after [`crate::fold`] stays canonical. Only what holds
//! for every value of the operands is applied: integer and boolean algebra, float arithmetic where the result is exact,
//! and never a change of the order in which floats are summed, but for the two operands of one commutative operation.

mod booleans;
mod floats;
mod integers;

use crate::analysis::key::{Key, Keys};
use dmac_ir::{Attend, Binary, Compare, Form, Graph, NodeId, Op, Scalar, Size, Type, Unary};
use dmac_source::Span;
use std::collections::BTreeMap;

/// How many nodes a condition may have, written out as a tree, to be taken apart: algebra on conditions doubles them at
/// each step, and no mask that a person writes comes near.
const MOST_NODES: u64 = 200;

/// How many operands of one operation are compared with one another, which takes a proof for each pair.
const MOST_COMPARED: usize = 12;

/// Builds canonical nodes in a graph.
pub struct Canon<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    keys: &'a mut Keys,
    span: Option<Span>,
}

impl<'a> Canon<'a> {
    /// For a graph and the keys of its nodes.
    pub fn new(graph: &'a mut Graph, keys: &'a mut Keys) -> Self {
        Self { graph, keys, span: None }
    }

    /// The same, naming the place in the program that new nodes come from.
    pub fn at(graph: &'a mut Graph, keys: &'a mut Keys, span: Option<Span>) -> Self {
        Self { graph, keys, span }
    }

    /// The canonical node for an operation on canonical operands.
    pub fn node(&mut self, op: &Op, operands: &[NodeId]) -> NodeId {
        let scalar = |canon: &Self, at: usize| canon.graph.ty(operands[at]).as_scalar();
        match op {
            Op::Unary(unary) => match (unary, scalar(self, 0)) {
                (Unary::Not, _) => self.not(operands[0]),
                (unary, Some(Scalar::Int)) => self.int_unary(*unary, operands[0]),
                (unary, _) => self.float_unary(*unary, operands[0]),
            },
            Op::Binary(Binary::And) => self.and(operands),
            Op::Binary(Binary::Or) => self.or(operands),
            Op::Binary(binary) => match scalar(self, 0) {
                Some(Scalar::Int) => self.int_binary(*binary, operands[0], operands[1]),
                _ => self.float_binary(*binary, operands[0], operands[1]),
            },
            Op::Compare(compare) => self.compare(*compare, operands[0], operands[1]),
            Op::If => self.choose(operands[0], operands[1], operands[2]),
            Op::Cast(to) => self.cast(operands[0], *to),
            Op::InRange => self.in_range(operands[0], operands[1], operands[2]),
            Op::Size(size) => match size {
                Size::Const(_) | Size::Param(_) | Size::Axis(_) => self.graph.size(size.clone()),
                _ => self.add(op.clone(), &[]),
            },
            Op::Stop if matches!(scalar(self, 0), Some(Scalar::Int | Scalar::Bool)) => operands[0],
            Op::Stop if matches!(self.graph.op(operands[0]), Op::Stop | Op::Float(_)) => operands[0],
            // One mask of two conditions is two masks.
            Op::Attend(attend) if attend.forms.iter().all(|form| *form == Form::Unclassified) => {
                let first = operands.len() - attend.forms.len();
                let terms = self.conjuncts(&operands[first..]);
                let attend = Attend { forms: vec![Form::Unclassified; terms.len()], ..attend.clone() };
                self.add(Op::Attend(attend), &[&operands[..first], &terms[..]].concat())
            }
            op => self.add(op.clone(), operands),
        }
    }

    /// A scalar whose operands may have been replaced, built anew from its leaves.
    pub fn again(&mut self, id: NodeId) -> NodeId {
        let mut done = BTreeMap::new();
        self.again_in(id, &mut done)
    }

    fn again_in(&mut self, id: NodeId, done: &mut BTreeMap<NodeId, NodeId>) -> NodeId {
        if !matches!(self.graph.ty(id), Type::Scalar(_)) {
            return id;
        }
        if let Some(&known) = done.get(&id) {
            return known;
        }
        let operands: Vec<NodeId> =
            self.graph.operands(id).into_iter().map(|operand| self.again_in(operand, done)).collect();
        let op = self.graph.op(id).clone();
        let new = self.node(&op, &operands);
        done.insert(id, new);
        new
    }

    /// A comparison.
    pub fn compare(&mut self, compare: Compare, x: NodeId, y: NodeId) -> NodeId {
        match self.graph.ty(x).as_scalar() {
            Some(Scalar::Int) => self.int_compare(compare, x, y),
            Some(Scalar::F32) => self.float_compare(compare, x, y),
            _ => self.bool_compare(compare, x, y),
        }
    }

    /// `if c then x else y`.
    pub fn choose(&mut self, condition: NodeId, x: NodeId, y: NodeId) -> NodeId {
        if x == y {
            return x;
        }
        if self.graph.ty(x).as_scalar() == Some(Scalar::Bool) && self.is_light(condition) {
            // As the sides of `if`, the second operands of `and` and `or` are evaluated only where they decide.
            let inverse = self.not(condition);
            let taken = self.and(&[condition, x]);
            let other = self.and(&[inverse, y]);
            return self.or(&[taken, other]);
        }
        match *self.graph.op(condition) {
            Op::Bool(true) => x,
            Op::Bool(false) => y,
            _ => {
                let inverse = self.not(condition);
                let negated = matches!(self.graph.op(inverse), Op::Unary(Unary::Not));
                let turned = matches!(self.graph.op(condition), Op::Unary(Unary::Not))
                    || (!negated && self.keys.of(self.graph, inverse) < self.keys.of(self.graph, condition));
                if turned { self.add(Op::If, &[inverse, y, x]) } else { self.add(Op::If, &[condition, x, y]) }
            }
        }
    }

    fn cast(&mut self, x: NodeId, to: Scalar) -> NodeId {
        let from = self.graph.ty(x).as_scalar();
        if from == Some(to) {
            return x;
        }
        // Integers up to 2^24 are floats exactly.
        match (self.graph.op(x), to) {
            (Op::Int(value), Scalar::F32) if value.abs() <= 1 << 24 => self.graph.float(*value as f32),
            (Op::Bool(value), Scalar::F32) => self.graph.float(f32::from(u8::from(*value))),
            (Op::Bool(value), Scalar::Int) => self.graph.int(i64::from(*value)),
            (Op::Float(value), Scalar::Int) if value.get().abs() < 1e9 => {
                self.graph.int(f64::from(value.get()).floor() as i64)
            }
            _ => self.add(Op::Cast(to), &[x]),
        }
    }

    /// Whether a condition is so small that writing it twice does no harm.
    pub(crate) fn is_light(&mut self, id: NodeId) -> bool {
        self.keys.weight(self.graph, id) <= MOST_NODES / 8
    }

    /// Whether an expression, written out as a tree, is too large to be taken apart.
    pub fn is_heavy(&mut self, id: NodeId) -> bool {
        self.keys.weight(self.graph, id) > MOST_NODES
    }

    /// The place of a node in the canonical order.
    pub fn key(&mut self, id: NodeId) -> Key {
        self.keys.of(self.graph, id)
    }

    fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.graph.add_at(op, operands, self.span)
    }
}
