//! Integer expressions: sums as linear forms, comparisons with every atom on its positive side.

use super::{Canon, MOST_COMPARED};
use crate::analysis::linear::{Linear, floor_div};
use crate::analysis::proof::{at_most, never_negative};
use dmac_ir::{AxisKind, Binary, Compare, NodeId, Op, Unary};

/// How many products of atoms a product of sums may become.
const MOST_PRODUCTS: usize = 6;

/// How many maxima inside of one minimum are distributed: each doubles the number of minima.
const MOST_DISTRIBUTED: usize = 4;

impl Canon<'_> {
    /// The node of a linear form: positive terms in canonical order, then negative ones, then the constant.
    pub fn linear(&mut self, linear: &Linear) -> NodeId {
        let mut atoms: Vec<NodeId> = linear.terms.keys().copied().collect();
        self.keys.sort(self.graph, &mut atoms);
        let mut sum: Option<NodeId> = None;
        for &atom in atoms.iter().filter(|atom| linear.terms[atom] > 0) {
            let term = self.multiple(atom, linear.terms[&atom]);
            sum = Some(match sum {
                None => term,
                Some(sum) => self.add(Op::Binary(Binary::Add), &[sum, term]),
            });
        }
        let mut constant = linear.constant;
        for &atom in atoms.iter().filter(|atom| linear.terms[atom] < 0) {
            let term = self.multiple(atom, -linear.terms[&atom]);
            sum = Some(match sum {
                None if constant == 0 => self.add(Op::Unary(Unary::Neg), &[term]),
                None => {
                    let first = self.graph.int(constant);
                    constant = 0;
                    self.add(Op::Binary(Binary::Sub), &[first, term])
                }
                Some(sum) => self.add(Op::Binary(Binary::Sub), &[sum, term]),
            });
        }
        let Some(sum) = sum else { return self.graph.int(constant) };
        if constant == 0 {
            return sum;
        }
        let last = self.graph.int(constant.abs());
        let op = if constant > 0 { Binary::Add } else { Binary::Sub };
        self.add(Op::Binary(op), &[sum, last])
    }

    fn multiple(&mut self, atom: NodeId, by: i64) -> NodeId {
        if by == 1 {
            return atom;
        }
        let factor = self.graph.int(by);
        self.add(Op::Binary(Binary::Mul), &[atom, factor])
    }

    pub(super) fn int_unary(&mut self, unary: Unary, x: NodeId) -> NodeId {
        let linear = Linear::of(self.graph, x);
        let negated = linear.scale(-1);
        match (unary, linear.as_constant(), negated) {
            (Unary::Neg, _, Some(negated)) => self.linear(&negated),
            (Unary::Abs, Some(value), _) => self.graph.int(value.abs()),
            (Unary::Relu, Some(value), _) => self.graph.int(value.max(0)),
            (Unary::Abs | Unary::Relu, _, _) if never_negative(self.graph, &linear) => x,
            (Unary::Abs, _, Some(negated)) => {
                if never_negative(self.graph, &negated) {
                    return self.linear(&negated);
                }
                // |x| = |-x|: of the two, the one whose first atom counts positively.
                let mut atoms: Vec<NodeId> = linear.terms.keys().copied().collect();
                self.keys.sort(self.graph, &mut atoms);
                let x = if linear.terms[&atoms[0]] < 0 { self.linear(&negated) } else { x };
                self.add(Op::Unary(Unary::Abs), &[x])
            }
            (Unary::Relu, _, _) => {
                let zero = self.graph.int(0);
                self.max(&[x, zero])
            }
            _ => self.add(Op::Unary(unary), &[x]),
        }
    }

    pub(super) fn int_binary(&mut self, binary: Binary, x: NodeId, y: NodeId) -> NodeId {
        let (a, b) = (Linear::of(self.graph, x), Linear::of(self.graph, y));
        let by = b.as_constant();
        match binary {
            Binary::Add => a.add(&b).map(|sum| self.linear(&sum)),
            Binary::Sub => a.sub(&b).map(|difference| self.linear(&difference)),
            Binary::Mul => match (a.as_constant(), by) {
                (_, Some(by)) => a.scale(by).map(|product| self.linear(&product)),
                (Some(by), _) => b.scale(by).map(|product| self.linear(&product)),
                _ => self.product(&a, &b),
            },
            Binary::IntDiv => by.filter(|&by| by > 0).map(|by| self.divide(&a, by)),
            Binary::IntMod => by.filter(|&by| by > 0).map(|by| self.remainder(&a, by)),
            Binary::Min => Some(self.min(&[x, y])),
            Binary::Max => Some(self.max(&[x, y])),
            Binary::Div | Binary::And | Binary::Or => None,
        }
        .unwrap_or_else(|| self.add(Op::Binary(binary), &[x, y]))
    }

    /// A product of two sums, distributed: the sum of the products of their atoms, so that `(s + 1) * w` and `s * w + w`
    /// are one.
    fn product(&mut self, a: &Linear, b: &Linear) -> Option<NodeId> {
        if a.terms.len() * b.terms.len() > MOST_PRODUCTS {
            return None;
        }
        let mut sum =
            a.scale(b.constant)?.add(&b.scale(a.constant)?)?.plus(-a.constant.checked_mul(b.constant)?)?;
        for (&x, &m) in &a.terms {
            for (&y, &n) in &b.terms {
                let mut pair = [x, y];
                self.keys.sort(self.graph, &mut pair);
                let atom = self.add(Op::Binary(Binary::Mul), &pair);
                sum = sum.add(&Linear::atom(atom).scale(m.checked_mul(n)?)?)?;
            }
        }
        Some(self.linear(&sum))
    }

    /// `floor(a / by)`: multiples of the divisor leave the floor.
    fn divide(&mut self, a: &Linear, by: i64) -> NodeId {
        let (whole, rest) = Self::split_multiples(a, by);
        let floor = match rest.as_constant() {
            Some(constant) => Linear::constant(floor_div(constant, by)),
            None if self.below(&rest, by) => Linear::constant(0),
            None => {
                let x = self.linear(&rest);
                let y = self.graph.int(by);
                Linear::atom(self.add(Op::Binary(Binary::IntDiv), &[x, y]))
            }
        };
        let sum = floor.add(&whole).unwrap_or(floor);
        self.linear(&sum)
    }

    /// `a - by * floor(a / by)`.
    fn remainder(&mut self, a: &Linear, by: i64) -> NodeId {
        let (_, rest) = Self::split_multiples(a, by);
        if let Some(constant) = rest.as_constant() {
            return self.graph.int(constant.rem_euclid(by));
        }
        let x = self.linear(&rest);
        if self.below(&rest, by) {
            return x;
        }
        let y = self.graph.int(by);
        self.add(Op::Binary(Binary::IntMod), &[x, y])
    }

    /// `(w, r)` with `a = by * w + r`, where `r` has no coefficient that is a multiple of `by` and a constant in `0..by`.
    fn split_multiples(a: &Linear, by: i64) -> (Linear, Linear) {
        let (mut whole, mut rest) = (Linear::default(), Linear::default());
        for (&atom, &coefficient) in &a.terms {
            if coefficient % by == 0 {
                whole.terms.insert(atom, coefficient / by);
            } else {
                rest.terms.insert(atom, coefficient);
            }
        }
        whole.constant = floor_div(a.constant, by);
        rest.constant = a.constant.rem_euclid(by);
        (whole, rest)
    }

    /// Whether `0 <= a < by` is proved.
    fn below(&self, a: &Linear, by: i64) -> bool {
        never_negative(self.graph, a)
            && a.scale(-1)
                .and_then(|negated| negated.plus(by - 1))
                .is_some_and(|room| never_negative(self.graph, &room))
    }

    /// The smallest of ints.
    pub fn min(&mut self, operands: &[NodeId]) -> NodeId {
        self.extreme(operands, Binary::Min)
    }

    /// The largest of ints.
    pub fn max(&mut self, operands: &[NodeId]) -> NodeId {
        self.extreme(operands, Binary::Max)
    }

    fn extreme(&mut self, operands: &[NodeId], op: Binary) -> NodeId {
        let mut parts = Vec::new();
        let mut stack: Vec<NodeId> = operands.to_vec();
        while let Some(id) = stack.pop() {
            if *self.graph.op(id) == Op::Binary(op) {
                stack.extend(self.graph.operands(id));
            } else {
                parts.push(id);
            }
        }
        if op == Binary::Min
            && let Some(distributed) = self.distribute(&parts)
        {
            return distributed;
        }
        self.keys.sort(self.graph, &mut parts);
        parts.dedup();
        // An operand that another one always decides against is dropped.
        let graph = &*self.graph;
        let beats = |x: NodeId, y: NodeId| match op {
            Binary::Min => at_most(graph, x, y),
            _ => at_most(graph, y, x),
        };
        let mut kept: Vec<NodeId> = Vec::new();
        for &part in &parts {
            if parts.len() <= MOST_COMPARED {
                if kept.iter().any(|&other| beats(other, part)) {
                    continue;
                }
                kept.retain(|&other| !beats(part, other));
            }
            kept.push(part);
        }
        kept.into_iter()
            .reduce(|x, y| self.add(Op::Binary(op), &[x, y]))
            .expect("min or max of at least one operand")
    }

    /// `min(x, max(y, z))` as `max(min(x, y), min(x, z))`: the normal form is a maximum of minima.
    fn distribute(&mut self, parts: &[NodeId]) -> Option<NodeId> {
        let is_max = |canon: &Self, id: NodeId| *canon.graph.op(id) == Op::Binary(Binary::Max);
        if parts.iter().filter(|&&part| is_max(self, part)).count() > MOST_DISTRIBUTED {
            return None;
        }
        let at = parts.iter().position(|&part| is_max(self, part))?;
        let mut choices = vec![parts[at]];
        while let Some(max) = choices.iter().position(|&choice| is_max(self, choice)) {
            let nested = choices.remove(max);
            choices.extend(self.graph.operands(nested));
        }
        let mut minima = Vec::new();
        for choice in choices {
            let mut each = parts.to_vec();
            each[at] = choice;
            minima.push(self.min(&each));
        }
        Some(self.max(&minima))
    }

    pub(super) fn int_compare(&mut self, compare: Compare, x: NodeId, y: NodeId) -> NodeId {
        let (a, b) = (Linear::of(self.graph, x), Linear::of(self.graph, y));
        let difference = match compare {
            Compare::Gt | Compare::Ge => a.sub(&b),
            _ => b.sub(&a),
        };
        let strict = i64::from(matches!(compare, Compare::Lt | Compare::Gt));
        match (compare, difference.and_then(|d| d.plus(-strict))) {
            (Compare::Eq, Some(d)) => self.equal(&d),
            (Compare::Ne, Some(d)) => {
                let equal = self.equal(&d);
                self.not(equal)
            }
            (_, Some(room)) => self.at_least_zero(&room),
            (_, None) => self.add(Op::Compare(compare), &[x, y]),
        }
    }

    /// `room >= 0`, as a comparison with every atom on the side where its coefficient is positive.
    pub fn at_least_zero(&mut self, room: &Linear) -> NodeId {
        let divisor = room.divisor().max(1);
        let mut room = room.clone();
        for coefficient in room.terms.values_mut() {
            *coefficient /= divisor;
        }
        room.constant = floor_div(room.constant, divisor);
        if never_negative(self.graph, &room) {
            return self.graph.bool(true);
        }
        let negated = room.scale(-1).and_then(|negated| negated.plus(-1));
        if negated.is_some_and(|negated| never_negative(self.graph, &negated)) {
            return self.graph.bool(false);
        }
        let (mut small, mut large) = (Linear::default(), Linear::default());
        for (&atom, &coefficient) in &room.terms {
            let side = if coefficient > 0 { &mut large } else { &mut small };
            side.terms.insert(atom, coefficient.abs());
        }
        let mut compare = Compare::Le;
        match room.constant {
            // A bare constant on one side reads best without `<`: `x <= 3`.
            -1 if !small.terms.is_empty() && !large.terms.is_empty() => compare = Compare::Lt,
            constant if constant > 0 && !(large.terms.is_empty() && small.terms.is_empty()) => {
                large.constant = constant;
            }
            constant => small.constant = -constant,
        }
        let (x, y) = (self.linear(&small), self.linear(&large));
        self.add(Op::Compare(compare), &[x, y])
    }

    /// `d == 0`: what depends on the query left, everything else right.
    fn equal(&mut self, d: &Linear) -> NodeId {
        let divisor = d.divisor().max(1);
        if d.constant % divisor != 0 {
            return self.graph.bool(false);
        }
        let mut d = d.clone();
        d.terms.values_mut().for_each(|coefficient| *coefficient /= divisor);
        d.constant /= divisor;
        if d.terms.is_empty() {
            return self.graph.bool(d.constant == 0);
        }
        let apart =
            |canon: &Self, d: &Linear| d.plus(-1).is_some_and(|room| never_negative(canon.graph, &room));
        let negated = d.scale(-1);
        if apart(self, &d) || negated.as_ref().is_some_and(|negated| apart(self, negated)) {
            return self.graph.bool(false);
        }
        let of_query = |canon: &Self, atom: NodeId| {
            let graph = &*canon.graph;
            graph.free(atom).iter().any(|&var| graph.axis(graph.axis_of(var)).kind == AxisKind::Query)
        };
        let (mut left, mut right) = d.split(|atom| of_query(self, atom));
        if left.terms.is_empty() || right.terms.is_empty() {
            // No query, or nothing else: by sign, turned so that the first atom of all is on the left.
            let mut atoms: Vec<NodeId> = d.terms.keys().copied().collect();
            self.keys.sort(self.graph, &mut atoms);
            let positive = d.terms[&atoms[0]] > 0;
            (left, right) = d.split(|atom| (d.terms[&atom] > 0) == positive);
        }
        let mut atoms: Vec<NodeId> = left.terms.keys().copied().collect();
        self.keys.sort(self.graph, &mut atoms);
        let turn = if left.terms[&atoms[0]] < 0 { -1 } else { 1 };
        let (Some(left), Some(right)) = (left.scale(turn), right.scale(-turn)) else {
            let (x, zero) = (self.linear(&d), self.graph.int(0));
            return self.add(Op::Compare(Compare::Eq), &[x, zero]);
        };
        let (x, y) = (self.linear(&left), self.linear(&right));
        self.add(Op::Compare(Compare::Eq), &[x, y])
    }

    /// `lo <= x and x < hi`.
    pub fn in_range(&mut self, x: NodeId, lo: NodeId, hi: NodeId) -> NodeId {
        let (x_form, lo_form, hi_form) =
            (Linear::of(self.graph, x), Linear::of(self.graph, lo), Linear::of(self.graph, hi));
        let proved =
            |canon: &Self, room: Option<Linear>| room.is_some_and(|room| never_negative(canon.graph, &room));
        let above = x_form.sub(&lo_form);
        let below = hi_form.sub(&x_form).and_then(|d| d.plus(-1));
        if proved(self, above) && proved(self, below) {
            return self.graph.bool(true);
        }
        if proved(self, lo_form.sub(&hi_form))
            || proved(self, lo_form.sub(&x_form).and_then(|d| d.plus(-1)))
            || proved(self, x_form.sub(&hi_form))
        {
            return self.graph.bool(false);
        }
        self.add(Op::InRange, &[x, lo, hi])
    }
}
