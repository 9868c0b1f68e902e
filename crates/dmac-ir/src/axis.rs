//! Axes, index variables over them, and symbolic sizes.
//!
//! An axis is a named extent (`N` keys, `H` heads, the windows of a key axis); a variable is an index over one. Two
//! variables over one axis (`d` and `d'`) are different indices of the same extent.

use crate::graph::ParamId;
use std::fmt;

/// An axis of a graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AxisId(pub u32);

/// An index variable of a graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Var(pub u32);

/// What an index variable ranges over, and its source name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VarInfo {
    /// The name in the program (`j`, `d'`).
    pub name: String,
    /// The axis it ranges over.
    pub axis: AxisId,
}

/// A named extent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Axis {
    /// The name of its size: `B`, `H`, `G`, `M`, `N`, `D`, `E`, or the name of the program's axis.
    pub name: String,
    /// What the axis is.
    pub kind: AxisKind,
    /// The size, where it is fixed at compile time. Otherwise it is a run-time value.
    pub size: Option<i64>,
}

impl Axis {
    /// An axis of a size known at run time only.
    pub fn new(name: impl Into<String>, kind: AxisKind) -> Self {
        Self { name: name.into(), kind, size: None }
    }
}

/// What an axis is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AxisKind {
    /// `b`: sequences of a batch, size `B`.
    Batch,
    /// `h`: query heads, size `H`.
    Head,
    /// `g`: key/value heads, size `G`, `H` divisible by `G`.
    KvHead,
    /// `i`: query rows, size `M`. The row's logical position is [`crate::Op::Position`].
    Query,
    /// `j`: keys, size `N`; in a batch element with a length, the positions from that length on do not exist.
    Key,
    /// `d`: features of queries and keys, size `D`.
    Feature,
    /// `e`: features of values and of the output, size `E`.
    ValueFeature,
    /// Whole windows of `length` positions of axis `of`, one each `stride`:
    /// size `max(0, (size(of) - length) div stride + 1)` if `size(of) >= length`, else 0.
    Windows {
        /// The axis that is windowed.
        of: AxisId,
        /// Positions in a window.
        length: Size,
        /// Distance between the starts of neighbours.
        stride: Size,
    },
    /// Consecutive blocks of `length` positions of axis `of`; the last may be short: size `ceil(size(of) / length)`.
    Blocks {
        /// The axis that is divided.
        of: AxisId,
        /// Positions in a block.
        length: Size,
    },
    /// An axis whose size the program states.
    Sized(Size),
    /// An axis whose size comes from the input tensors that have it.
    Free,
}

/// A symbolic, integer size: known at compile time or computed from run-time sizes before launch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Size {
    /// A constant.
    Const(i64),
    /// An integer parameter of the program.
    Param(ParamId),
    /// The size of an axis.
    Axis(AxisId),
    /// `a + b`.
    Add(Box<Size>, Box<Size>),
    /// `a - b`.
    Sub(Box<Size>, Box<Size>),
    /// `a * b`.
    Mul(Box<Size>, Box<Size>),
    /// `floor(a / b)`.
    Div(Box<Size>, Box<Size>),
    /// `a - b * floor(a / b)`.
    Mod(Box<Size>, Box<Size>),
    /// The smaller.
    Min(Box<Size>, Box<Size>),
    /// The larger.
    Max(Box<Size>, Box<Size>),
}

impl Size {
    /// The value, given those of parameters and axes; `None` where one is unknown or a divisor is zero.
    pub fn eval(
        &self,
        param: &dyn Fn(ParamId) -> Option<i64>,
        axis: &dyn Fn(AxisId) -> Option<i64>,
    ) -> Option<i64> {
        let two = |a: &Size, b: &Size| Some((a.eval(param, axis)?, b.eval(param, axis)?));
        match self {
            Self::Const(value) => Some(*value),
            Self::Param(id) => param(*id),
            Self::Axis(id) => axis(*id),
            Self::Add(a, b) => two(a, b).and_then(|(a, b)| a.checked_add(b)),
            Self::Sub(a, b) => two(a, b).and_then(|(a, b)| a.checked_sub(b)),
            Self::Mul(a, b) => two(a, b).and_then(|(a, b)| a.checked_mul(b)),
            Self::Div(a, b) => two(a, b).and_then(|(a, b)| floor_div(a, b)),
            Self::Mod(a, b) => two(a, b).and_then(|(a, b)| Some(a - b * floor_div(a, b)?)),
            Self::Min(a, b) => two(a, b).map(|(a, b)| a.min(b)),
            Self::Max(a, b) => two(a, b).map(|(a, b)| a.max(b)),
        }
    }
}

/// `floor(a / b)`, `None` for a zero divisor or an overflow.
fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

impl fmt::Display for AxisId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}", self.0)
    }
}
