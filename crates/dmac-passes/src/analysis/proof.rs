//! Proofs of inequalities between integer expressions.
//!
//! Input → output: a linear form → whether it is never negative, for all sizes, parameters, inputs and points.
//!
//! The prover replaces atoms by their bounds, in the direction that makes the form smaller, until a constant remains:
//! coordinates lie in their axis, the position of a row is at most `KeyLength - 1` and at least `KeyLength - M`, a key
//! length is at most `N`, an input with a declared range is in it, `min` and `max` are bounded by their operands. A proof
//! is found or not; a form that is not proved may still hold.

use crate::analysis::linear::Linear;
use crate::analysis::parts;
use dmac_ir::{
    AxisId, AxisKind, Binary, Compare, Domain, Graph, NodeId, Op, Reduction, Size, Type, Unary, Var,
};
use std::collections::BTreeMap;

/// What a proof speaks of: a node, or a size that the graph need not have a node for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Atom {
    /// The size of an axis: never negative.
    Size(AxisId),
    /// The number of keys of a batch element.
    KeyLength(Var),
    /// A coordinate.
    Index(Var),
    /// The logical position of a row, with its batch variable.
    Position(Var, Var),
    /// Any other expression.
    Node(NodeId),
}

#[derive(Clone, Debug)]
struct Sum {
    terms: BTreeMap<Atom, i64>,
    constant: i64,
}

impl Sum {
    fn constant(constant: i64) -> Self {
        Self { terms: BTreeMap::new(), constant }
    }

    fn atom(atom: Atom, constant: i64) -> Self {
        Self { terms: BTreeMap::from([(atom, 1)]), constant }
    }

    fn of(graph: &Graph, linear: &Linear) -> Option<Self> {
        let mut sum = Self::constant(linear.constant);
        for (&id, &coefficient) in &linear.terms {
            let part = match graph.op(id) {
                Op::Size(Size::Axis(axis)) => Self::atom(Atom::Size(*axis), 0),
                Op::KeyLength { batch } => Self::atom(Atom::KeyLength(*batch), 0),
                Op::Index(var) => Self::atom(Atom::Index(*var), 0),
                Op::Position { query, batch } => Self::atom(Atom::Position(*query, *batch), 0),
                // An edge of a tile is an element of it: the same bounds hold, but two edges are two values.
                _ => Self::atom(Atom::Node(id), 0),
            };
            sum.add(&part, coefficient)?;
        }
        Some(sum)
    }

    fn add(&mut self, other: &Self, times: i64) -> Option<()> {
        self.constant = self.constant.checked_add(other.constant.checked_mul(times)?)?;
        for (&atom, &coefficient) in &other.terms {
            let entry = self.terms.entry(atom).or_insert(0);
            *entry = entry.checked_add(coefficient.checked_mul(times)?)?;
        }
        self.terms.retain(|_, coefficient| *coefficient != 0);
        Some(())
    }
}

/// Ways to bound an atom: any of the alternatives is a bound on its own; each is a list of values of which one is taken
/// (which one is not known, so the proof must go through for all).
type Bounds = Vec<Vec<Sum>>;

/// How many replacements a proof may take, over all its branches.
const FUEL: u32 = 100;

/// Whether `linear >= 0` is proved.
pub fn never_negative(graph: &Graph, linear: &Linear) -> bool {
    let mut fuel = FUEL;
    Sum::of(graph, linear).is_some_and(|sum| prove(graph, &sum, &mut fuel))
}

/// Whether `x <= y` is proved.
pub fn at_most(graph: &Graph, x: NodeId, y: NodeId) -> bool {
    x == y || Linear::of(graph, y).sub(&Linear::of(graph, x)).is_some_and(|d| never_negative(graph, &d))
}

/// Whether `x >= 1` is proved.
pub fn positive(graph: &Graph, x: NodeId) -> bool {
    Linear::of(graph, x).plus(-1).is_some_and(|d| never_negative(graph, &d))
}

/// Whether `goal >= 0` is proved where every one of `facts` is `>= 0`: by the goal alone, or the goal less one or two of
/// the facts.
pub fn follows(graph: &Graph, goal: &Linear, facts: &[Linear]) -> bool {
    if never_negative(graph, goal) {
        return true;
    }
    facts.iter().enumerate().any(|(at, fact)| {
        goal.sub(fact).is_some_and(|rest| {
            never_negative(graph, &rest)
                || facts[at + 1..]
                    .iter()
                    .any(|other| rest.sub(other).is_some_and(|rest| never_negative(graph, &rest)))
        })
    })
}

/// What a true bool says as linear forms that are not negative: comparisons and ranges of ints; of an `and`, both sides.
pub fn facts_of(graph: &Graph, condition: NodeId) -> Vec<Linear> {
    let operands = graph.operands(condition);
    let ints = |from: usize| graph.ty(operands[from]).as_scalar() == Some(dmac_ir::Scalar::Int);
    let less = |x: NodeId, y: NodeId, strict: i64| {
        Linear::of(graph, y).sub(&Linear::of(graph, x)).and_then(|d| d.plus(-strict))
    };
    let found = match graph.op(condition) {
        Op::Compare(compare) if ints(0) => {
            let (x, y) = (operands[0], operands[1]);
            match compare {
                Compare::Le => vec![less(x, y, 0)],
                Compare::Lt => vec![less(x, y, 1)],
                Compare::Ge => vec![less(y, x, 0)],
                Compare::Gt => vec![less(y, x, 1)],
                Compare::Eq => vec![less(x, y, 0), less(y, x, 0)],
                Compare::Ne => vec![],
            }
        }
        Op::InRange => vec![less(operands[1], operands[0], 0), less(operands[0], operands[2], 1)],
        Op::Binary(Binary::And) => {
            return operands.iter().flat_map(|&operand| facts_of(graph, operand)).collect();
        }
        _ => vec![],
    };
    found.into_iter().flatten().collect()
}

fn prove(graph: &Graph, sum: &Sum, fuel: &mut u32) -> bool {
    let Some((&atom, &coefficient)) = sum.terms.last_key_value() else { return sum.constant >= 0 };
    if *fuel == 0 {
        return false;
    }
    *fuel -= 1;
    let mut rest = sum.clone();
    rest.terms.remove(&atom);
    let bounds = if coefficient > 0 { lower(graph, atom) } else { upper(graph, atom) };
    let replaced = bounds.iter().any(|alternative| {
        alternative.iter().all(|bound| {
            let mut smaller = rest.clone();
            smaller.add(bound, coefficient).is_some() && prove(graph, &smaller, fuel)
        })
    });
    replaced || scaled(graph, atom, coefficient, rest, fuel)
}

/// Bounds of a multiple of an atom that are tighter than the multiple of its bound: `m * (x div m)` is in
/// `x - m + 1 ..= x`, the start of a block or window is inside the axis that is divided.
fn scaled(graph: &Graph, atom: Atom, coefficient: i64, mut rest: Sum, fuel: &mut u32) -> bool {
    match atom {
        Atom::Node(id) if *graph.op(id) == Op::Binary(Binary::IntDiv) => {
            let operands = graph.operands(id);
            let Op::Int(by) = *graph.op(operands[1]) else { return false };
            if by <= 0 || coefficient % by != 0 {
                return false;
            }
            let Some(mut bound) = Sum::of(graph, &Linear::of(graph, operands[0])) else { return false };
            if coefficient > 0 {
                bound.constant -= by - 1;
            }
            rest.add(&bound, coefficient / by).is_some() && prove(graph, &rest, fuel)
        }
        Atom::Index(var) if coefficient < 0 => {
            let (of, step, used) = match &graph.axis(graph.axis_of(var)).kind {
                AxisKind::Blocks { of, length: Size::Const(length) } => (*of, *length, 1),
                AxisKind::Windows { of, length: Size::Const(length), stride: Size::Const(stride) } => {
                    (*of, *stride, *length)
                }
                _ => return false,
            };
            if step <= 0 || coefficient % step != 0 {
                return false;
            }
            let bound = size_of(graph, of, -used);
            rest.add(&bound, coefficient / step).is_some() && prove(graph, &rest, fuel)
        }
        _ => false,
    }
}

/// The size of an axis plus a constant.
fn size_of(graph: &Graph, axis: AxisId, constant: i64) -> Sum {
    match graph.axis(axis).size {
        Some(size) => Sum::constant(size + constant),
        None => Sum::atom(Atom::Size(axis), constant),
    }
}

/// Values that `atom` is never below.
fn lower(graph: &Graph, atom: Atom) -> Bounds {
    let one = |sum: Sum| vec![vec![sum]];
    match atom {
        Atom::Size(_) | Atom::KeyLength(_) | Atom::Index(_) => one(Sum::constant(0)),
        Atom::Position(query, batch) => one(first_position(graph, query, batch)),
        Atom::Node(id) => node_bounds(graph, id, true),
    }
}

/// Values that `atom` is never above.
fn upper(graph: &Graph, atom: Atom) -> Bounds {
    let one = |sum: Sum| vec![vec![sum]];
    match atom {
        Atom::Size(axis) => graph.axis(axis).size.map_or(vec![], |size| one(Sum::constant(size))),
        Atom::KeyLength(_) => {
            graph.find_axis(&AxisKind::Key).map_or(vec![], |axis| one(size_of(graph, axis, 0)))
        }
        Atom::Index(var) => one(size_of(graph, graph.axis_of(var), -1)),
        Atom::Position(_, batch) => one(Sum::atom(Atom::KeyLength(batch), -1)),
        Atom::Node(id) => node_bounds(graph, id, false),
    }
}

/// `KeyLength(batch) - M`.
fn first_position(graph: &Graph, query: Var, batch: Var) -> Sum {
    let mut sum = Sum::atom(Atom::KeyLength(batch), 0);
    let rows = size_of(graph, graph.axis_of(query), 0);
    match sum.add(&rows, -1) {
        Some(()) => sum,
        None => Sum::atom(Atom::Position(query, batch), 0),
    }
}

fn node_bounds(graph: &Graph, id: NodeId, lower_side: bool) -> Bounds {
    let operands = graph.operands(id);
    let sum = |at: usize| Sum::of(graph, &Linear::of(graph, operands[at]));
    let both = |x: usize, y: usize| match (sum(x), sum(y)) {
        (Some(x), Some(y)) => vec![vec![x, y]],
        _ => vec![],
    };
    let either = |x: usize, y: usize| [sum(x), sum(y)].into_iter().flatten().map(|s| vec![s]).collect();
    let constant = |value: i64| vec![vec![Sum::constant(value)]];
    match graph.op(id) {
        Op::TileEdge { var, batch, .. } => match batch {
            Some(batch) if lower_side => vec![vec![first_position(graph, *var, *batch)]],
            Some(batch) => vec![vec![Sum::atom(Atom::KeyLength(*batch), -1)]],
            None if lower_side => constant(0),
            None => vec![vec![size_of(graph, graph.axis_of(*var), -1)]],
        },
        Op::Binary(Binary::Min) => {
            if lower_side {
                both(0, 1)
            } else {
                either(0, 1)
            }
        }
        Op::Binary(Binary::Max) => {
            if lower_side {
                either(0, 1)
            } else {
                both(0, 1)
            }
        }
        Op::If => both(1, 2),
        Op::Binary(Binary::IntMod) => match (graph.op(operands[1]), lower_side) {
            (Op::Int(by), true) if *by > 0 => constant(0),
            (Op::Int(by), false) if *by > 0 => constant(by - 1),
            _ => vec![],
        },
        // `x div m` is between `min(x, 0)` and `max(x, 0)`.
        Op::Binary(Binary::IntDiv) => match graph.op(operands[1]) {
            Op::Int(by) if *by > 0 => sum(0).map_or(vec![], |x| vec![vec![x, Sum::constant(0)]]),
            _ => vec![],
        },
        Op::Unary(Unary::Abs | Unary::Relu) if lower_side => {
            let mut bounds = constant(0);
            bounds.extend(sum(0).map(|x| vec![x]));
            bounds
        }
        Op::Cast(_) if graph.ty(operands[0]).as_scalar() == Some(dmac_ir::Scalar::Bool) => {
            constant(i64::from(!lower_side))
        }
        Op::Read => match graph.op(operands[0]) {
            Op::Input(input) => match graph.input(*input).range {
                Some((lo, hi)) => constant(if lower_side { lo } else { hi }),
                None => vec![],
            },
            _ => vec![],
        },
        Op::Reduce { op: Reduction::Min | Reduction::Max, domains }
            if domains.iter().all(|domain| matches!(domain, Domain::Tile { .. })) =>
        {
            // A tile is not empty, so the extreme is one of the values; of an input, one in its range.
            match graph.op(operands[0]) {
                Op::Read => node_bounds(graph, operands[0], lower_side),
                _ => vec![],
            }
        }
        Op::Size(Size::Const(value)) => constant(*value),
        Op::Size(_) if lower_side => constant(0),
        _ => vec![],
    }
}

/// Whether evaluating an expression cannot fail, whatever the point: no read can be out of range, no divisor zero, given
/// that all `facts` are `>= 0`.
pub fn total(graph: &Graph, id: NodeId, facts: &[Linear]) -> bool {
    let inside = |axes: &[AxisId], index: &[NodeId]| {
        axes.iter().zip(index).all(|(&axis, &index)| in_axis(graph, axis, index, facts))
    };
    parts(graph, id).into_iter().all(|id| {
        let operands = graph.operands(id);
        match graph.op(id) {
            Op::Read => match graph.ty(operands[0]) {
                Type::Tensor { axes, .. } => inside(axes, &operands[1..]),
                _ => false,
            },
            Op::Contains => match graph.ty(operands[0]) {
                Type::Set { rows, over } => inside(&[rows, &[*over][..]].concat(), &operands[1..]),
                _ => false,
            },
            Op::Binary(Binary::IntDiv | Binary::IntMod) => match graph.op(operands[1]) {
                Op::Int(by) => *by != 0,
                _ => positive(graph, operands[1]),
            },
            _ => true,
        }
    })
}

/// Whether an index is proved to be inside an axis.
pub fn in_axis(graph: &Graph, axis: AxisId, index: NodeId, facts: &[Linear]) -> bool {
    if let Op::Index(var) = graph.op(index)
        && graph.axis_of(*var) == axis
    {
        return true;
    }
    let linear = Linear::of(graph, index);
    if !follows(graph, &linear, facts) {
        return false;
    }
    // index <= size - 1, with each fact taken at most once.
    let mut fuel = FUEL;
    let mut below = |linear: &Linear| {
        let Some(index) = Sum::of(graph, linear) else { return false };
        let mut room = size_of(graph, axis, -1);
        room.add(&index, -1).is_some() && prove(graph, &room, &mut fuel)
    };
    below(&linear) || facts.iter().any(|fact| linear.add(fact).is_some_and(|sum| below(&sum)))
}
