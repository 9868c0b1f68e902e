//! Boolean expressions: negations pushed to comparisons, `and` and `or` flat, sorted, without repetition.
//!
//! The second operand of `and` is evaluated only where the first is true, and reads may rely on that. Operands that
//! cannot fail come first, then those that cannot fail where the first ones hold, both in canonical order; whatever is
//! left keeps the order of the program. Moving an operand that cannot fail to the front only makes fewer evaluations.

use super::{Canon, MOST_COMPARED};
use crate::analysis::linear::Linear;
use crate::analysis::proof::{facts_of, follows, total};
use dmac_ir::{Binary, Compare, NodeId, Op, Scalar, Unary};

impl Canon<'_> {
    /// `not x`.
    pub fn not(&mut self, x: NodeId) -> NodeId {
        if let Some(&known) = self.keys.negations.get(&x) {
            return known;
        }
        let negated = self.negate(x);
        self.keys.negations.insert(x, negated);
        negated
    }

    fn negate(&mut self, x: NodeId) -> NodeId {
        let operands = self.graph.operands(x);
        let int = |canon: &Self| canon.graph.ty(operands[0]).as_scalar() == Some(Scalar::Int);
        match self.graph.op(x).clone() {
            Op::Bool(value) => self.graph.bool(!value),
            Op::Unary(Unary::Not) => operands[0],
            Op::Binary(op @ (Binary::And | Binary::Or)) if !self.is_heavy(x) => {
                let negated: Vec<NodeId> = operands.iter().map(|&operand| self.not(operand)).collect();
                if op == Binary::And { self.or(&negated) } else { self.and(&negated) }
            }
            // NaN makes `<` false and its opposite too, so only the comparisons of ints turn round.
            Op::Compare(Compare::Lt) if int(self) => self.int_compare(Compare::Le, operands[1], operands[0]),
            Op::Compare(Compare::Le) if int(self) => self.int_compare(Compare::Lt, operands[1], operands[0]),
            Op::Compare(Compare::Eq) => self.add(Op::Compare(Compare::Ne), &operands),
            Op::Compare(Compare::Ne) => self.add(Op::Compare(Compare::Eq), &operands),
            _ => self.add(Op::Unary(Unary::Not), &[x]),
        }
    }

    /// All of the operands.
    pub fn and(&mut self, operands: &[NodeId]) -> NodeId {
        self.junction(operands, Binary::And)
    }

    /// One of the operands.
    pub fn or(&mut self, operands: &[NodeId]) -> NodeId {
        self.junction(operands, Binary::Or)
    }

    fn junction(&mut self, operands: &[NodeId], op: Binary) -> NodeId {
        let mut parts = Vec::new();
        for &operand in operands {
            self.flatten(operand, op, &mut parts);
        }
        let neutral = op == Binary::And;
        match self.operands_of(&parts, op).split_last() {
            None => self.graph.bool(neutral),
            // To the right, so that `a and (b and c)` evaluates in order.
            Some((&last, rest)) => {
                rest.iter().rev().fold(last, |tail, &part| self.add(Op::Binary(op), &[part, tail]))
            }
        }
    }

    /// `a or (a and b)` is `a`; `a or (not a and b)` is `a or b`, and `b` is evaluated in the same cases. So for `and`.
    fn absorb(&mut self, parts: &[NodeId], op: Binary) -> Vec<NodeId> {
        let dual = if op == Binary::And { Binary::Or } else { Binary::And };
        let mut kept = Vec::new();
        for &part in parts {
            if *self.graph.op(part) != Op::Binary(dual) {
                kept.push(part);
                continue;
            }
            let mut inner = Vec::new();
            self.flatten(part, dual, &mut inner);
            if inner.iter().any(|x| parts.contains(x)) {
                continue;
            }
            let decided: Vec<NodeId> =
                inner.iter().copied().filter(|&x| parts.contains(&self.not(x))).collect();
            if decided.is_empty() {
                kept.push(part);
            } else {
                inner.retain(|x| !decided.contains(x));
                let rest = self.junction(&inner, dual);
                self.flatten(rest, op, &mut kept);
            }
        }
        kept
    }

    /// Whether some operand is the negation of another.
    fn contradicts(&mut self, parts: &[NodeId]) -> bool {
        parts.iter().any(|&part| {
            let negated = self.not(part);
            parts.contains(&negated)
        })
    }

    /// The operands of nested `op`s.
    fn flatten(&self, id: NodeId, op: Binary, parts: &mut Vec<NodeId>) {
        if *self.graph.op(id) == Op::Binary(op) {
            for operand in self.graph.operands(id) {
                self.flatten(operand, op, parts);
            }
        } else if !parts.contains(&id) {
            parts.push(id);
        }
    }

    /// The operands of one `and` in the order in which they are evaluated: neutral ones and those that others imply left
    /// out.
    pub fn conjuncts(&mut self, operands: &[NodeId]) -> Vec<NodeId> {
        let mut parts = Vec::new();
        for &operand in operands {
            self.flatten(operand, Binary::And, &mut parts);
        }
        self.operands_of(&parts, Binary::And)
    }

    /// The operands of a canonical `or`, in order.
    pub fn disjuncts(&mut self, id: NodeId) -> Vec<NodeId> {
        let mut parts = Vec::new();
        self.flatten(id, Binary::Or, &mut parts);
        parts
    }

    /// The operands of a canonical `op`: one constant where that decides.
    fn operands_of(&mut self, parts: &[NodeId], op: Binary) -> Vec<NodeId> {
        let parts = self.absorb(parts, op);
        let parts = self.arrange(&parts, op);
        let deciding = self.graph.bool(op == Binary::Or);
        if parts.contains(&deciding) || self.contradicts(&parts) { vec![deciding] } else { parts }
    }

    fn arrange(&mut self, parts: &[NodeId], op: Binary) -> Vec<NodeId> {
        let neutral = op == Binary::And;
        let mut total_parts = Vec::new();
        let mut others = Vec::new();
        for &part in parts {
            if *self.graph.op(part) == Op::Bool(neutral) {
                continue;
            }
            let side = if total(self.graph, part, &[]) { &mut total_parts } else { &mut others };
            side.push(part);
        }
        self.keys.sort(self.graph, &mut total_parts);
        let total_parts = self.drop_implied(total_parts, op);
        let mut facts = Vec::new();
        for &part in &total_parts {
            let holds = if neutral { part } else { self.not(part) };
            facts.extend(facts_of(self.graph, holds));
        }
        let (mut guarded, rest): (Vec<NodeId>, Vec<NodeId>) =
            others.into_iter().partition(|&part| total(self.graph, part, &facts));
        self.keys.sort(self.graph, &mut guarded);
        [total_parts, guarded, rest].concat()
    }

    /// Without the comparisons that another one of the list implies (for `or`: that imply another one).
    fn drop_implied(&mut self, parts: Vec<NodeId>, op: Binary) -> Vec<NodeId> {
        if parts.len() > MOST_COMPARED {
            return parts;
        }
        // For `or`, by contraposition: x implies y iff not y implies not x.
        let stated: Vec<NodeId> =
            parts.iter().map(|&part| if op == Binary::And { part } else { self.not(part) }).collect();
        let facts: Vec<Option<Linear>> = stated.iter().map(|&part| self.only_fact(part)).collect();
        let mut kept: Vec<bool> = vec![true; parts.len()];
        for at in 0..parts.len() {
            let Some(goal) = &facts[at] else { continue };
            let implied = (0..parts.len()).any(|other| {
                let Some(fact) = &facts[other] else { return false };
                // Without an atom in common one says nothing about the other.
                other != at
                    && kept[other]
                    && fact.terms.keys().any(|atom| goal.terms.contains_key(atom))
                    && follows(self.graph, goal, std::slice::from_ref(fact))
            });
            kept[at] = !implied;
        }
        parts.into_iter().zip(kept).filter_map(|(part, kept)| kept.then_some(part)).collect()
    }

    /// The inequality that a comparison of ints is.
    fn only_fact(&self, condition: NodeId) -> Option<Linear> {
        match self.graph.op(condition) {
            Op::Compare(Compare::Le | Compare::Lt) => facts_of(self.graph, condition).pop(),
            _ => None,
        }
    }

    pub(super) fn bool_compare(&mut self, compare: Compare, x: NodeId, y: NodeId) -> NodeId {
        if !self.is_light(x) || !self.is_light(y) {
            return self.add(Op::Compare(compare), &[x, y]);
        }
        let (not_x, not_y) = (self.not(x), self.not(y));
        match compare {
            Compare::Eq | Compare::Ne => {
                let other = if compare == Compare::Eq { [y, not_y] } else { [not_y, y] };
                let both = self.and(&[x, other[0]]);
                let neither = self.and(&[not_x, other[1]]);
                self.or(&[both, neither])
            }
            // false < true
            Compare::Lt => self.and(&[not_x, y]),
            Compare::Gt => self.and(&[x, not_y]),
            Compare::Le => self.or(&[not_x, y]),
            Compare::Ge => self.or(&[x, not_y]),
        }
    }
}
