//! How an integer expression moves when a variable (the query, a key) goes on to the next value.
//!
//! Input → output: an int node and a variable → [`Trend`].
//!
//! The rules are those of calculus on steps: sums keep a common direction, a negative factor turns it round, `min`, `max`
//! and the floor of a division by a positive number keep it, and `if c then x else y` with `x <= y` never falls where `c`
//! only goes from true to false. A tensor read at the variable is data: unknown.

use crate::analysis::linear::Linear;
use crate::analysis::proof::{at_most, never_negative, positive};
use dmac_ir::{Binary, Compare, Graph, NodeId, Op, Scalar, Unary, Var};

/// The direction of an expression in a variable; of a bool, with false below true.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trend {
    /// Does not depend on the variable.
    Constant,
    /// Never falls.
    Rising,
    /// Never rises.
    Falling,
    /// Not known.
    Unknown,
}

impl Trend {
    /// Whether the expression never falls.
    pub fn never_falls(self) -> bool {
        matches!(self, Self::Constant | Self::Rising)
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant, trend) | (trend, Self::Constant) => trend,
            (a, b) if a == b => a,
            _ => Self::Unknown,
        }
    }

    fn turned(self) -> Self {
        match self {
            Self::Rising => Self::Falling,
            Self::Falling => Self::Rising,
            trend => trend,
        }
    }
}

/// The trend of `id` in `var`; for a query variable, in its position.
pub fn trend(graph: &Graph, id: NodeId, var: Var) -> Trend {
    if !graph.free(id).contains(&var) {
        return Trend::Constant;
    }
    let operands = graph.operands(id);
    let of = |at: usize| trend(graph, operands[at], var);
    let int = |at: usize| graph.ty(operands[at]).as_scalar() == Some(Scalar::Int);
    match graph.op(id) {
        // The position is the row's index plus a constant of the batch element.
        Op::Position { .. } | Op::Index(_) | Op::TileEdge { .. } => Trend::Rising,
        Op::Unary(Unary::Neg | Unary::Not) => of(0).turned(),
        Op::Unary(Unary::Relu) => of(0),
        Op::Binary(Binary::Add | Binary::Min | Binary::Max | Binary::And | Binary::Or) => of(0).and(of(1)),
        Op::Binary(Binary::Sub) => of(0).and(of(1).turned()),
        Op::Binary(Binary::Mul) => {
            let (factor, moving) = match (of(0), of(1)) {
                (Trend::Constant, moving) => (operands[0], moving),
                (moving, Trend::Constant) => (operands[1], moving),
                _ => return Trend::Unknown,
            };
            let factor = Linear::of(graph, factor);
            if never_negative(graph, &factor) {
                moving
            } else if factor.scale(-1).is_some_and(|negated| never_negative(graph, &negated)) {
                moving.turned()
            } else {
                Trend::Unknown
            }
        }
        Op::Binary(Binary::IntDiv) if of(1) == Trend::Constant && positive(graph, operands[1]) => of(0),
        Op::If => match of(0) {
            Trend::Constant => of(1).and(of(2)),
            Trend::Falling
                if of(1).never_falls() && of(2).never_falls() && at_most(graph, operands[1], operands[2]) =>
            {
                Trend::Rising
            }
            Trend::Rising
                if of(1).never_falls() && of(2).never_falls() && at_most(graph, operands[2], operands[1]) =>
            {
                Trend::Rising
            }
            _ => Trend::Unknown,
        },
        Op::Compare(Compare::Le | Compare::Lt) if int(0) => of(0).turned().and(of(1)),
        _ => Trend::Unknown,
    }
}
