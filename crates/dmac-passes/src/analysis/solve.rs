//! Which values of a subject (a key's coordinate, a row's position) satisfy a predicate.
//!
//! Input → output: a bool and a [`Subject`] → a union of intervals `lo <= subject < hi` that is *equal* to the predicate,
//! with bounds free of the subject, or nothing where the predicate is not of that shape.
//!
//! The argument is one of exact integer algebra. A comparison is `a * s + r >= 0` with `r` free of the subject `s`; for
//! `a > 0` that is `s >= ceil(-r / a)`, for `a < 0` it is `s <= floor(r / -a)`, so one bound of one interval. `s` may also
//! occur as `|x|`, `min`, `max` or `x div m`, each of which is solved for `x` by its definition: `|x| <= y` is
//! `-y <= x <= y`; `max(x, y) <= z` is both; `x div m >= y` is `x >= m * y` and `x div m <= y` is `x < m * (y + 1)` for
//! `m > 0`. `and` intersects unions, `or` joins them. "Some position of block `s` is in `[lo, hi)`" is
//! `start(s) < hi and end(s) > lo and lo < hi`. No step weakens or strengthens, so the result holds in both directions.

use crate::analysis::linear::Linear;
use crate::analysis::proof::{at_most, total};
use crate::canonical::Canon;
use dmac_ir::{AxisKind, Binary, Compare, Domain, NodeId, Op, Reduction, Scalar, Size, Unary, Var};

/// What a predicate is solved for.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// `Index(var)` or `Position { query: var, .. }`.
    pub node: NodeId,
    /// The variable that bounds must be free of.
    pub var: Var,
    /// The least value that the subject can have.
    pub least: NodeId,
    /// One more than the greatest.
    pub end: NodeId,
    /// How a condition that is free of the subject is written as an interval.
    pub anchor: Anchor,
}

/// Which end of "everything or nothing" stays where it is: unions with a common end are one interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// `[least, if c then end else least)`.
    Least,
    /// `[if c then least else end, end)`.
    End,
}

impl Subject {
    /// The coordinate of a variable, in `0 .. size`.
    pub fn index(canon: &mut Canon<'_>, var: Var) -> Self {
        let axis = canon.graph.axis_of(var);
        let node = canon.graph.index(var);
        let least = canon.graph.int(0);
        let end = canon.graph.size(Size::Axis(axis));
        Self { node, var, least, end, anchor: Anchor::Least }
    }

    /// The logical position of a row, in `KeyLength - M .. KeyLength`.
    pub fn position(canon: &mut Canon<'_>, query: Var, batch: Var, anchor: Anchor) -> Self {
        let node = canon.graph.add(Op::Position { query, batch }, &[]);
        let end = canon.graph.add(Op::KeyLength { batch }, &[]);
        let axis = canon.graph.axis_of(query);
        let rows = canon.graph.size(Size::Axis(axis));
        let least = canon.node(&Op::Binary(Binary::Sub), &[end, rows]);
        Self { node, var: query, least, end, anchor }
    }
}

/// `lo <= subject < hi`; empty where `hi <= lo`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Interval {
    /// The first value.
    pub lo: NodeId,
    /// One more than the last.
    pub hi: NodeId,
}

/// How many intervals a union may have: more than these are cheaper as a predicate.
const MOST_INTERVALS: usize = 4;

/// The values of the subject for which `predicate` holds; for a coordinate, with bounds inside its axis.
pub fn solve(canon: &mut Canon<'_>, predicate: NodeId, subject: Subject) -> Option<Vec<Interval>> {
    if canon.is_heavy(predicate) {
        return None;
    }
    let operands = canon.graph.operands(predicate);
    let all = Interval { lo: subject.least, hi: subject.end };
    if !canon.graph.free(predicate).contains(&subject.var) {
        return match canon.graph.op(predicate) {
            Op::Bool(true) => Some(vec![all]),
            Op::Bool(false) => Some(Vec::new()),
            // A property of the rest: everything or nothing.
            _ => Some(vec![match subject.anchor {
                Anchor::Least => Interval { hi: canon.choose(predicate, all.hi, all.lo), ..all },
                Anchor::End => Interval { lo: canon.choose(predicate, all.lo, all.hi), ..all },
            }]),
        };
    }
    let int = |canon: &Canon<'_>, at: usize| canon.graph.ty(operands[at]).as_scalar() == Some(Scalar::Int);
    let difference = |canon: &Canon<'_>, x: NodeId, y: NodeId, less: i64| {
        Linear::of(canon.graph, y).sub(&Linear::of(canon.graph, x))?.plus(-less)
    };
    match canon.graph.op(predicate).clone() {
        // Bounds are evaluated together, so an operand that only another one keeps from failing stays a predicate.
        Op::Binary(Binary::And | Binary::Or)
            if !operands.iter().all(|&operand| total(canon.graph, operand, &[])) =>
        {
            None
        }
        Op::Binary(Binary::And) => {
            let x = solve(canon, operands[0], subject)?;
            let y = solve(canon, operands[1], subject)?;
            intersect(canon, subject, &x, &y)
        }
        Op::Binary(Binary::Or) => {
            let mut union = solve(canon, operands[0], subject)?;
            union.extend(solve(canon, operands[1], subject)?);
            join(canon, union)
        }
        Op::Compare(compare) if int(canon, 0) => {
            let (x, y) = (operands[0], operands[1]);
            let half = |canon: &mut Canon<'_>, x: NodeId, y: NodeId, less: i64| {
                let room = difference(canon, x, y, less)?;
                not_negative(canon, &room, subject)
            };
            match compare {
                Compare::Le => half(canon, x, y, 0),
                Compare::Lt => half(canon, x, y, 1),
                Compare::Ge => half(canon, y, x, 0),
                Compare::Gt => half(canon, y, x, 1),
                Compare::Eq => {
                    let (a, b) = (half(canon, x, y, 0)?, half(canon, y, x, 0)?);
                    intersect(canon, subject, &a, &b)
                }
                Compare::Ne => {
                    let mut union = half(canon, x, y, 1)?;
                    union.extend(half(canon, y, x, 1)?);
                    join(canon, union)
                }
            }
        }
        Op::InRange => {
            let above = difference(canon, operands[1], operands[0], 0)?;
            let below = difference(canon, operands[0], operands[2], 1)?;
            let above = not_negative(canon, &above, subject)?;
            let below = not_negative(canon, &below, subject)?;
            intersect(canon, subject, &above, &below)
        }
        Op::Reduce { op: Reduction::Any, domains } => some_position(canon, &domains, operands[0], subject),
        _ => None,
    }
}

/// The bool that says that the subject is in one of the intervals.
pub fn membership(canon: &mut Canon<'_>, subject: NodeId, union: &[Interval]) -> NodeId {
    let mut parts = Vec::new();
    for interval in union {
        parts.push(canon.in_range(subject, interval.lo, interval.hi));
    }
    canon.or(&parts)
}

/// `room >= 0`.
fn not_negative(canon: &mut Canon<'_>, room: &Linear, subject: Subject) -> Option<Vec<Interval>> {
    let (inside, rest) = room.split(|atom| canon.graph.free(atom).contains(&subject.var));
    if inside.terms.is_empty() {
        let holds = canon.at_least_zero(room);
        return solve(canon, holds, subject);
    }
    if inside.terms.len() != 1 {
        return None;
    }
    let (&atom, &factor) = inside.terms.iter().next()?;
    let operands = canon.graph.operands(atom);
    let part = |canon: &Canon<'_>, at: usize| Linear::of(canon.graph, operands[at]);
    let each = |canon: &mut Canon<'_>, x: Linear, y: Linear, both: bool| {
        let x = not_negative(canon, &x, subject)?;
        let y = not_negative(canon, &y, subject)?;
        if both { intersect(canon, subject, &x, &y) } else { join(canon, [x, y].concat()) }
    };
    let placed = |linear: &Linear, times: i64| linear.scale(times)?.add(&rest);
    match canon.graph.op(atom).clone() {
        _ if atom == subject.node => {
            let bound = if factor > 0 {
                // s >= ceil(-rest / factor) = -floor(rest / factor)
                let quotient = quotient(canon, &rest, factor);
                let lo = canon.linear(&quotient.scale(-1)?);
                Interval { lo, hi: subject.end }
            } else {
                // s <= floor(rest / -factor)
                let quotient = quotient(canon, &rest, -factor);
                let hi = canon.linear(&quotient.plus(1)?);
                Interval { lo: subject.least, hi }
            };
            let all = Interval { lo: subject.least, hi: subject.end };
            intersect(canon, subject, &[all], &[bound])
        }
        Op::Unary(Unary::Abs) => {
            // factor * max(x, -x)
            let x = part(canon, 0);
            let (up, down) = (placed(&x, factor)?, placed(&x.scale(-1)?, factor)?);
            each(canon, up, down, factor < 0)
        }
        Op::Binary(op @ (Binary::Min | Binary::Max)) => {
            let (x, y) = (placed(&part(canon, 0), factor)?, placed(&part(canon, 1), factor)?);
            each(canon, x, y, (op == Binary::Max) == (factor < 0))
        }
        Op::Binary(Binary::IntDiv) => {
            let Op::Int(by) = *canon.graph.op(operands[1]) else { return None };
            if by <= 0 {
                return None;
            }
            let x = part(canon, 0);
            let room = if factor > 0 {
                // x div by >= m, with m = -floor(rest / factor): x - by * m >= 0
                let negated = quotient(canon, &rest, factor);
                x.add(&negated.scale(by)?)?
            } else {
                // x div by <= m, with m = floor(rest / -factor): by * m + by - 1 - x >= 0
                let m = quotient(canon, &rest, -factor);
                m.scale(by)?.plus(by - 1)?.sub(&x)?
            };
            not_negative(canon, &room, subject)
        }
        _ => None,
    }
}

/// `floor(x / by)` as a linear form, `by > 0`.
fn quotient(canon: &mut Canon<'_>, x: &Linear, by: i64) -> Linear {
    if by == 1 {
        return x.clone();
    }
    let (x, by) = (canon.linear(x), canon.graph.int(by));
    let node = canon.node(&Op::Binary(Binary::IntDiv), &[x, by]);
    Linear::of(canon.graph, node)
}

/// The values in both unions.
pub fn intersect(
    canon: &mut Canon<'_>,
    subject: Subject,
    x: &[Interval],
    y: &[Interval],
) -> Option<Vec<Interval>> {
    // Positions are never outside of their range, so an end of the range decides nothing beside another bound. Bounds of
    // coordinates end loops and stay inside the axis.
    let ends = match canon.graph.op(subject.node) {
        Op::Index(_) => None,
        _ => Some(subject),
    };
    let mut both = Vec::new();
    for a in x {
        for b in y {
            let lo = match ends {
                Some(subject) if a.lo == subject.least => b.lo,
                Some(subject) if b.lo == subject.least => a.lo,
                _ => canon.max(&[a.lo, b.lo]),
            };
            let hi = match ends {
                Some(subject) if a.hi == subject.end => b.hi,
                Some(subject) if b.hi == subject.end => a.hi,
                _ => canon.min(&[a.hi, b.hi]),
            };
            both.push(Interval { lo, hi });
        }
    }
    join(canon, both)
}

/// The values in one of the intervals: empty ones left out, those that provably touch made one.
pub fn join(canon: &mut Canon<'_>, mut union: Vec<Interval>) -> Option<Vec<Interval>> {
    union.retain(|interval| !at_most(canon.graph, interval.hi, interval.lo));
    let mut joined: Vec<Interval> = Vec::new();
    for mut interval in union {
        while let Some(at) = joined.iter().position(|other| {
            // [a, b) and [c, d) with c <= b and a <= d make [min(a, c), max(b, d)), also where one of them is empty; with
            // a common end it is always so.
            interval.lo == other.lo
                || interval.hi == other.hi
                || (at_most(canon.graph, other.lo, interval.hi)
                    && at_most(canon.graph, interval.lo, other.hi))
        }) {
            let other = joined.remove(at);
            let lo = canon.min(&[interval.lo, other.lo]);
            let hi = canon.max(&[interval.hi, other.hi]);
            interval = Interval { lo, hi };
        }
        joined.push(interval);
    }
    let mut sorted = joined;
    sorted.sort_by_key(|interval| (canon.key(interval.lo), canon.key(interval.hi)));
    (sorted.len() <= MOST_INTERVALS).then_some(sorted)
}

/// `any(x in part: body)` for the subject `part`, a block or window: `body` is solved for `x`.
fn some_position(
    canon: &mut Canon<'_>,
    domains: &[Domain],
    body: NodeId,
    subject: Subject,
) -> Option<Vec<Interval>> {
    let [Domain::Positions { var, part }] = *domains else { return None };
    if part != subject.var || canon.graph.free(body).contains(&part) {
        return None;
    }
    let (step, length) = match &canon.graph.axis(canon.graph.axis_of(part)).kind {
        AxisKind::Blocks { length: Size::Const(length), .. } => (*length, *length),
        AxisKind::Windows { length: Size::Const(length), stride: Size::Const(stride), .. } => {
            (*stride, *length)
        }
        _ => return None,
    };
    if step <= 0 || length <= 0 {
        return None;
    }
    let inner = Subject::index(canon, var);
    let mut union = Vec::new();
    for interval in solve(canon, body, inner)? {
        let start = Linear::of(canon.graph, subject.node).scale(step)?;
        let (lo, hi) = (Linear::of(canon.graph, interval.lo), Linear::of(canon.graph, interval.hi));
        // The bounds lie inside the axis, so a short last block needs no care: its end cuts nothing off.
        let starts_before = not_negative(canon, &hi.sub(&start)?.plus(-1)?, subject)?;
        let ends_after = not_negative(canon, &start.plus(length - 1)?.sub(&lo)?, subject)?;
        let mut parts = intersect(canon, subject, &starts_before, &ends_after)?;
        if !at_most(canon.graph, interval.lo, inner.least) {
            // Between two bounds of one block there may be nothing.
            let some = canon.compare(Compare::Lt, interval.lo, interval.hi);
            for part in &mut parts {
                part.hi = canon.choose(some, part.hi, subject.least);
            }
        }
        union.extend(parts);
    }
    join(canon, union)
}
