//! Block-skip predicates: for every mask term, whether a tile has an attended pair, and whether all its pairs are.
//!
//! ```text
//! in_range j 0 (add (position i b) 1)    =>    may:  le (tile_first j) (tile_last i)
//!                                              full: le (tile_last j) (tile_first i)
//! ```
//!
//! A tile is a range of rows times a range of keys; its sizes are symbols. Two predicates are derived by structure, with
//! `may(t)` true wherever some pair of the tile satisfies `t`, and `full(t)` true only where all do:
//!
//! - `and`, `or`: both follow side by side (for `may` of `and` this is more than needed, so sound; for `full` of `or` less
//!   is claimed than is true); `may(not t) = not full(t)`, `full(not t) = not may(t)`.
//! - `x <= y` of ints is `d >= 0` for the linear form `d = y - x`: `may` is `max d >= 0`, `full` is `min d >= 0`, where the
//!   extremes of `d` are bounded atom by atom. Positions and coordinates take the edges of the tile (exactly, since `d` is
//!   linear in them), an atom of the row only or of the key only its least or greatest value in the tile, an atom of
//!   both has no bound unless a proof gives one.
//! - `x == y`: `may` where the ranges of `d` include 0, `full` where they are 0; looked-up ids of rows and of keys are thus
//!   compared by their ranges in the tile.
//! - a bool of the row only or of the key only: whether any, or all, of the tile are true.
//! - `any` and `all` over something else (the random blocks of a row): the body is decided for one row and the tile of
//!   keys, and `may` holds if it does for some row and element, `full` if for each row it does for some (or every) element.
//! - anything else, membership in a list included: it may, and it is not full.
//!
//! A row's value that can only be looked up where another term holds (its position may be before the first key) takes no
//! part in an extreme where it does not exist: no pair of that row is attended, and the term that excludes it is not full.

use crate::analysis::key::Keys;
use crate::analysis::linear::Linear;
use crate::analysis::parts;
use crate::analysis::proof::in_axis;
use crate::canonical::Canon;
use crate::{Changed, replace_graph};
use dmac_ir::{
    Attend, Attendance, Binary, Compare, Domain, Edge, Graph, NodeId, Op, Reduction, Scalar, Size, Type,
    Unary, Var,
};
use std::collections::BTreeMap;

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let mut keys = Keys::default();
    let inserted = graph.rewrite(|new, node, operands| match &node.op {
        Op::Attend(attend) if !attend.skips => {
            let mut canon = Canon::at(new, &mut keys, node.span);
            let mut tile = Tile::of(attend);
            let mut now = operands.to_vec();
            for &term in (Attendance { attend, operands }).terms() {
                now.push(tile.decide(&mut canon, term, Question::MayBeActive));
                now.push(tile.decide(&mut canon, term, Question::IsFull));
            }
            new.add_at(Op::Attend(Attend { skips: true, ..attend.clone() }), &now, node.span)
        }
        _ => Graph::keep(new, node, operands),
    });
    replace_graph(graph, &inserted)
}

/// What is asked of a tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    /// Whether some pair may satisfy the term.
    MayBeActive,
    /// Whether all pairs do.
    IsFull,
}

impl Question {
    /// The question about a negated term.
    fn other(self) -> Self {
        match self {
            Self::MayBeActive => Self::IsFull,
            Self::IsFull => Self::MayBeActive,
        }
    }
}

/// A symbolic tile of rows and keys.
#[derive(Clone, Copy)]
struct Tile {
    /// Nothing where one row is looked at.
    query: Option<Var>,
    key: Var,
    /// The variables that range over the rows and keys of the tile, made when needed.
    each_row: Option<Var>,
    each_key: Option<Var>,
}

impl Tile {
    fn of(attend: &Attend) -> Self {
        Self { query: Some(attend.query), key: attend.key, each_row: None, each_key: None }
    }

    fn depends(&self, graph: &Graph, id: NodeId) -> (bool, bool) {
        let free = graph.free(id);
        (self.query.is_some_and(|query| free.contains(&query)), free.contains(&self.key))
    }

    fn decide(&mut self, canon: &mut Canon<'_>, term: NodeId, question: Question) -> NodeId {
        let operands = canon.graph.operands(term);
        let int = !operands.is_empty() && canon.graph.ty(operands[0]).as_scalar() == Some(Scalar::Int);
        match canon.graph.op(term).clone() {
            _ if self.depends(canon.graph, term) == (false, false) => term,
            // Two predicates for each part of a term of this size would cost more than they save.
            _ if canon.is_heavy(term) => canon.graph.bool(question == Question::MayBeActive),
            Op::Binary(op @ (Binary::And | Binary::Or)) => {
                let x = self.decide(canon, operands[0], question);
                let y = self.decide(canon, operands[1], question);
                if op == Binary::And { canon.and(&[x, y]) } else { canon.or(&[x, y]) }
            }
            Op::Unary(Unary::Not) => {
                let inner = self.decide(canon, operands[0], question.other());
                canon.not(inner)
            }
            Op::Compare(Compare::Ne) if int => {
                let equal = self.equal(canon, operands[0], operands[1], question.other());
                canon.not(equal)
            }
            Op::Compare(Compare::Eq) if int => self.equal(canon, operands[0], operands[1], question),
            Op::Compare(Compare::Le) if int => self.less(canon, operands[0], operands[1], 0, question),
            Op::Compare(Compare::Lt) if int => self.less(canon, operands[0], operands[1], 1, question),
            Op::InRange => {
                let above = self.less(canon, operands[1], operands[0], 0, question);
                let below = self.less(canon, operands[0], operands[2], 1, question);
                canon.and(&[above, below])
            }
            Op::Reduce { op: op @ (Reduction::Any | Reduction::All), domains }
                if self.depends(canon.graph, term) == (true, true) =>
            {
                self.for_each_row(canon, op, &domains, operands[0], question)
                    .unwrap_or_else(|| canon.graph.bool(question == Question::MayBeActive))
            }
            _ => self.of_one_side(canon, term, question),
        }
    }

    /// A reduction to a bool of rows and keys: the keys' side is decided for the tile, the rows are gone through.
    fn for_each_row(
        &mut self,
        canon: &mut Canon<'_>,
        op: Reduction,
        domains: &[Domain],
        body: NodeId,
        question: Question,
    ) -> Option<NodeId> {
        let query = self.query?;
        if domains.iter().any(|domain| domain.depends_on().is_some_and(|var| var == query || var == self.key))
        {
            return None;
        }
        let guard = guards(canon, body);
        let mut one_row = Self { query: None, ..*self };
        let decided = one_row.decide(canon, body, question);
        self.each_key = one_row.each_key;
        let row = *self.each_row.get_or_insert_with(|| canon.graph.fresh_var(query));
        let mut inner = canon.graph.add(Op::Reduce { op, domains: domains.to_vec() }, &[decided]);
        // `full(all)` and `may(any)` are exact here, `may(all)` and `full(any)` claim less.
        let outer = match question {
            Question::MayBeActive => Reduction::Any,
            Question::IsFull => Reduction::All,
        };
        if let Some(guard) = guard
            && domains.iter().all(|domain| !canon.graph.free(guard).contains(&domain.var()))
        {
            inner = match question {
                Question::MayBeActive => canon.and(&[guard, inner]),
                Question::IsFull => {
                    let outside = canon.not(guard);
                    canon.or(&[outside, inner])
                }
            };
        } else if guard.is_some() {
            return None;
        }
        let index = canon.graph.index(row);
        let inner = canon.graph.substitute(inner, &BTreeMap::from([(query, index)]))?;
        let domain = Domain::Tile { var: row, of: query };
        Some(canon.graph.add(Op::Reduce { op: outer, domains: vec![domain] }, &[inner]))
    }

    /// A bool of the row or of the key: any or all of the tile.
    fn of_one_side(&mut self, canon: &mut Canon<'_>, term: NodeId, question: Question) -> NodeId {
        let unknown = question == Question::MayBeActive;
        // Membership is decided by walking its list, not by looking every element up.
        if contains(canon.graph, term) {
            return canon.graph.bool(unknown);
        }
        let reduction = if unknown { Reduction::Any } else { Reduction::All };
        let neutral = canon.graph.bool(!unknown);
        self.over_tile(canon, term, reduction, neutral).unwrap_or_else(|| canon.graph.bool(unknown))
    }

    /// `y - x - strict >= 0`.
    fn less(
        &mut self,
        canon: &mut Canon<'_>,
        x: NodeId,
        y: NodeId,
        strict: i64,
        question: Question,
    ) -> NodeId {
        let room =
            Linear::of(canon.graph, y).sub(&Linear::of(canon.graph, x)).and_then(|room| room.plus(-strict));
        let bound = room.and_then(|room| self.extreme(canon, &room, question == Question::MayBeActive));
        match bound {
            Some(bound) => canon.at_least_zero(&bound),
            None => canon.graph.bool(question == Question::MayBeActive),
        }
    }

    fn equal(&mut self, canon: &mut Canon<'_>, x: NodeId, y: NodeId, question: Question) -> NodeId {
        let below = self.less(canon, x, y, 0, question);
        let above = self.less(canon, y, x, 0, question);
        canon.and(&[below, above])
    }

    /// The greatest (or least) value of a linear form in the tile, or a bound beyond it.
    fn extreme(&mut self, canon: &mut Canon<'_>, form: &Linear, greatest: bool) -> Option<Linear> {
        let mut sum = Linear::constant(form.constant);
        for (&atom, &coefficient) in &form.terms {
            let value = self.atom(canon, atom, greatest == (coefficient > 0))?;
            sum = sum.add(&value.scale(coefficient)?)?;
        }
        Some(sum)
    }

    fn atom(&mut self, canon: &mut Canon<'_>, atom: NodeId, greatest: bool) -> Option<Linear> {
        let edge = if greatest { Edge::Last } else { Edge::First };
        let (row, key) = self.depends(canon.graph, atom);
        let operands = canon.graph.operands(atom);
        let node = match canon.graph.op(atom).clone() {
            _ if !row && !key => atom,
            Op::Position { query, batch } if self.query == Some(query) => {
                canon.graph.add(Op::TileEdge { var: query, batch: Some(batch), edge }, &[])
            }
            Op::Index(var) if var == self.key => {
                canon.graph.add(Op::TileEdge { var, batch: None, edge }, &[])
            }
            // These rise with each operand, so their extremes are those of the operands.
            Op::Binary(op @ (Binary::Min | Binary::Max)) => {
                let x = self.extreme(canon, &Linear::of(canon.graph, operands[0]), greatest)?;
                let y = self.extreme(canon, &Linear::of(canon.graph, operands[1]), greatest)?;
                let (x, y) = (canon.linear(&x), canon.linear(&y));
                canon.node(&Op::Binary(op), &[x, y])
            }
            Op::Binary(Binary::IntDiv) if matches!(canon.graph.op(operands[1]), Op::Int(by) if *by > 0) => {
                let x = self.extreme(canon, &Linear::of(canon.graph, operands[0]), greatest)?;
                let x = canon.linear(&x);
                canon.node(&Op::Binary(Binary::IntDiv), &[x, operands[1]])
            }
            Op::Binary(Binary::IntMod) => match *canon.graph.op(operands[1]) {
                Op::Int(by) if by > 0 => canon.graph.int(if greatest { by - 1 } else { 0 }),
                _ => return None,
            },
            Op::Unary(Unary::Abs) => {
                // The greatest of x and -x; never below zero.
                let x = Linear::of(canon.graph, operands[0]);
                if greatest {
                    let up = self.extreme(canon, &x, true)?;
                    let down = self.extreme(canon, &x, false)?.scale(-1)?;
                    let (up, down) = (canon.linear(&up), canon.linear(&down));
                    canon.max(&[up, down])
                } else {
                    let up = self.extreme(canon, &x, false)?;
                    let down = self.extreme(canon, &x, true)?.scale(-1)?;
                    let (up, down, zero) = (canon.linear(&up), canon.linear(&down), canon.graph.int(0));
                    canon.max(&[up, down, zero])
                }
            }
            Op::If if self.depends(canon.graph, operands[0]) == (false, false) => {
                let x = self.extreme(canon, &Linear::of(canon.graph, operands[1]), greatest)?;
                let y = self.extreme(canon, &Linear::of(canon.graph, operands[2]), greatest)?;
                let (x, y) = (canon.linear(&x), canon.linear(&y));
                canon.choose(operands[0], x, y)
            }
            _ if contains(canon.graph, atom) => return None,
            _ => {
                let reduction = if greatest { Reduction::Max } else { Reduction::Min };
                let neutral = if greatest { i32::MIN } else { i32::MAX };
                let neutral = canon.graph.int(i64::from(neutral));
                match self.over_tile(canon, atom, reduction, neutral) {
                    Some(node) => node,
                    None => return declared(canon, atom, greatest),
                }
            }
        };
        Some(Linear::of(canon.graph, node))
    }

    /// A reduction of an expression of the row, or of the key, over the tile.
    fn over_tile(
        &mut self,
        canon: &mut Canon<'_>,
        body: NodeId,
        op: Reduction,
        neutral: NodeId,
    ) -> Option<NodeId> {
        let (of, in_tile) = match self.depends(canon.graph, body) {
            (true, false) => (self.query?, &mut self.each_row),
            (false, true) => (self.key, &mut self.each_key),
            _ => return None,
        };
        let var = *in_tile.get_or_insert_with(|| canon.graph.fresh_var(of));
        let guard = guards(canon, body);
        let body = match (op, guard) {
            (_, None) => body,
            (Reduction::Any, Some(guard)) => canon.and(&[guard, body]),
            (Reduction::All, Some(guard)) => {
                let outside = canon.not(guard);
                canon.or(&[outside, body])
            }
            (_, Some(guard)) => canon.choose(guard, body, neutral),
        };
        let index = canon.graph.index(var);
        let body = canon.graph.substitute(body, &BTreeMap::from([(of, index)]))?;
        let domain = Domain::Tile { var, of };
        Some(canon.graph.add(Op::Reduce { op, domains: vec![domain] }, &[body]))
    }
}

/// The bound of an input that is declared with a range.
fn declared(canon: &mut Canon<'_>, atom: NodeId, greatest: bool) -> Option<Linear> {
    let Op::Input(input) = canon.graph.op(*canon.graph.operands(atom).first()?) else { return None };
    let (lo, hi) = canon.graph.input(*input).range?;
    Some(Linear::constant(if greatest { hi } else { lo }))
}

/// Whether an expression asks for membership in a set.
fn contains(graph: &Graph, id: NodeId) -> bool {
    parts(graph, id).into_iter().any(|id| *graph.op(id) == Op::Contains)
}

/// What must hold for every read in an expression to be in range, where that is not proved.
fn guards(canon: &mut Canon<'_>, body: NodeId) -> Option<NodeId> {
    let mut conditions = Vec::new();
    for id in parts(canon.graph, body) {
        let operands = canon.graph.operands(id);
        if *canon.graph.op(id) == Op::Read
            && let Type::Tensor { axes, .. } = canon.graph.ty(operands[0]).clone()
        {
            for (&axis, &index) in axes.iter().zip(&operands[1..]) {
                if !in_axis(canon.graph, axis, index, &[]) {
                    let zero = canon.graph.int(0);
                    let size = canon.graph.size(Size::Axis(axis));
                    conditions.push(canon.compare(Compare::Le, zero, index));
                    conditions.push(canon.compare(Compare::Lt, index, size));
                }
            }
        }
    }
    (!conditions.is_empty()).then(|| canon.and(&conditions))
}
