//! Scalar expressions of tile programs.

use super::{SizeId, TensorId, TileId, VarId};
use dmac_ir::{Binary, Compare, FloatBits, ParamId, Reduction, Unary};

/// The type of a scalar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ScalarType {
    /// Signed; 64 bits where scalar, 32 where an element.
    Int,
    /// 32-bit float.
    F32,
    /// True or false.
    Bool,
}

/// A scalar expression. Equal expressions are equal values (at one place), so a generator may share them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Expr {
    /// A constant.
    Int(i64),
    /// A constant.
    Float(FloatBits),
    /// A constant.
    Bool(bool),
    /// A run-time size.
    Size(SizeId),
    /// A run-time parameter.
    Param(ParamId),
    /// A scalar variable.
    Var(VarId),
    /// An element of a tensor, converted to its scalar type. Indices must be in range whenever this is evaluated.
    Load {
        /// The tensor.
        tensor: TensorId,
        /// One int an axis.
        index: Vec<Expr>,
    },
    /// In an elementwise statement: the element of a tile at this row and column, broadcast from row vectors and single
    /// rows.
    Elem(TileId),
    /// In an elementwise statement: the row within the tile.
    Row,
    /// In an elementwise statement: the column within the tile.
    Col,
    /// An element of a tile anywhere. The rows of a ring count on through its stages.
    At {
        /// The tile.
        tile: TileId,
        /// Row.
        row: Box<Expr>,
        /// Column.
        col: Box<Expr>,
    },
    /// An elementwise function.
    Unary(Unary, Box<Expr>),
    /// An elementwise function.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// A comparison of ints or floats.
    Compare(Compare, Box<Expr>, Box<Expr>),
    /// `if c then x else y`.
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// The least `l >= 0` with `2^l >= x`: how often `x` things are halved until one is left.
    CeilLog2(Box<Expr>),
    /// `2^x` of an int, `0 <= x <= 30`. Dividing by it is a shift.
    Pow2(Box<Expr>),
    /// An int of 32 bits that is larger where an f32 is a better score: numbers by size, -0 as +0, NaN below all. There
    /// is none for which 1 less does not fit in 32 bits.
    Order(Box<Expr>),
    /// A conversion: int to float; float to int (towards -inf); bool to int or float (0 or 1).
    Cast(ScalarType, Box<Expr>),
    /// A reduction over `lo <= var < hi` in order: the general form, for what is no matrix product. Empty: as
    /// [`Reduction`] says.
    Reduce {
        /// What is computed. (`Mean` divides the sum by the count.)
        op: Reduction,
        /// The variable.
        var: VarId,
        /// First value.
        lo: Box<Expr>,
        /// One past the last.
        hi: Box<Expr>,
        /// The body.
        body: Box<Expr>,
    },
}

impl Expr {
    /// A float constant.
    pub fn float(value: f32) -> Self {
        Self::Float(FloatBits::new(value))
    }

    /// A load.
    pub fn load(tensor: TensorId, index: impl IntoIterator<Item = Self>) -> Self {
        Self::Load { tensor, index: index.into_iter().collect() }
    }

    /// `op(x, y)`, folded where both are int constants and where one is neutral.
    pub fn binary(op: Binary, x: Self, y: Self) -> Self {
        match (op, &x, &y) {
            (Binary::Add, Self::Int(a), Self::Int(b)) => Self::Int(a + b),
            (Binary::Sub, Self::Int(a), Self::Int(b)) => Self::Int(a - b),
            (Binary::Mul, Self::Int(a), Self::Int(b)) => Self::Int(a * b),
            (Binary::Min, Self::Int(a), Self::Int(b)) => Self::Int(*a.min(b)),
            (Binary::Max, Self::Int(a), Self::Int(b)) => Self::Int(*a.max(b)),
            (Binary::IntDiv, Self::Int(a), Self::Int(b)) if *b > 0 => Self::Int(a.div_euclid(*b)),
            (Binary::IntMod, Self::Int(a), Self::Int(b)) if *b > 0 => Self::Int(a.rem_euclid(*b)),
            (Binary::Add, Self::Int(0), _)
            | (Binary::Mul, Self::Int(1), _)
            | (Binary::And, Self::Bool(true), _)
            | (Binary::Or, Self::Bool(false), _) => y,
            (Binary::Add | Binary::Sub, _, Self::Int(0))
            | (Binary::Mul | Binary::IntDiv, _, Self::Int(1))
            | (Binary::And, _, Self::Bool(true))
            | (Binary::Or, _, Self::Bool(false)) => x,
            (Binary::Mul, Self::Int(0), _) | (Binary::Mul, _, Self::Int(0)) => Self::Int(0),
            (Binary::And, Self::Bool(false), _) => Self::Bool(false),
            (Binary::Or, Self::Bool(true), _) => Self::Bool(true),
            (Binary::Min | Binary::Max, a, b) if a == b => x,
            _ => Self::Binary(op, Box::new(x), Box::new(y)),
        }
    }

    /// A comparison, folded for constants.
    pub fn compare(op: Compare, x: Self, y: Self) -> Self {
        if let (Self::Int(a), Self::Int(b)) = (&x, &y) {
            return Self::Bool(match op {
                Compare::Eq => a == b,
                Compare::Ne => a != b,
                Compare::Lt => a < b,
                Compare::Le => a <= b,
                Compare::Gt => a > b,
                Compare::Ge => a >= b,
            });
        }
        Self::Compare(op, Box::new(x), Box::new(y))
    }

    /// `x < y`.
    pub fn lt(x: Self, y: Self) -> Self {
        Self::compare(Compare::Lt, x, y)
    }

    /// `x and y`.
    pub fn and(x: Self, y: Self) -> Self {
        Self::binary(Binary::And, x, y)
    }

    /// `x or y`.
    pub fn or(x: Self, y: Self) -> Self {
        Self::binary(Binary::Or, x, y)
    }

    /// The smaller.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self::binary(Binary::Min, self, other)
    }

    /// The larger.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self::binary(Binary::Max, self, other)
    }

    /// `floor(self / other)` on ints.
    #[must_use]
    pub fn int_div(self, other: Self) -> Self {
        Self::binary(Binary::IntDiv, self, other)
    }

    /// `ceil(self / other)` on ints, for a positive divisor.
    #[must_use]
    pub fn ceil_div(self, other: Self) -> Self {
        let up = other.clone() - Self::Int(1);
        (self + up).int_div(other)
    }

    /// `if self then x else y`.
    #[must_use]
    pub fn then(self, x: Self, y: Self) -> Self {
        match self {
            Self::Bool(true) => x,
            Self::Bool(false) => y,
            condition => Self::If(Box::new(condition), Box::new(x), Box::new(y)),
        }
    }

    /// An elementwise function.
    #[must_use]
    pub fn unary(op: Unary, x: Self) -> Self {
        match (op, x) {
            (Unary::Not, Self::Bool(x)) => Self::Bool(!x),
            (op, x) => Self::Unary(op, Box::new(x)),
        }
    }

    /// The least `l >= 0` with `2^l >= self`, for an int.
    #[must_use]
    pub fn ceil_log2(self) -> Self {
        match self {
            Self::Int(value) => Self::Int(ceil_log2(value)),
            value => Self::CeilLog2(Box::new(value)),
        }
    }

    /// `2^self`, for an int from 0 to 30.
    #[must_use]
    pub fn pow2(self) -> Self {
        match self {
            Self::Int(power @ 0..=30) => Self::Int(1 << power),
            power => Self::Pow2(Box::new(power)),
        }
    }

    /// A conversion.
    #[must_use]
    pub fn cast(to: ScalarType, x: Self) -> Self {
        Self::Cast(to, Box::new(x))
    }

    /// The value of an int or bool expression (0, 1) over sizes and int parameters; `None` if it has other parts, divides by
    /// zero or overflows.
    pub fn eval(
        &self,
        size: &dyn Fn(SizeId) -> Option<i64>,
        param: &dyn Fn(ParamId) -> Option<i64>,
    ) -> Option<i64> {
        let go = |x: &Self| x.eval(size, param);
        Some(match self {
            Self::Int(value) => *value,
            Self::Bool(value) => i64::from(*value),
            Self::Size(id) => size(*id)?,
            Self::Param(id) => param(*id)?,
            Self::Unary(Unary::Not, x) => i64::from(go(x)? == 0),
            Self::Unary(Unary::Neg, x) => go(x)?.checked_neg()?,
            Self::CeilLog2(x) => ceil_log2(go(x)?),
            Self::Pow2(x) => 1_i64.checked_shl(u32::try_from(go(x)?).ok()?)?,
            Self::If(c, x, y) => {
                if go(c)? == 0 {
                    go(y)?
                } else {
                    go(x)?
                }
            }
            Self::Binary(op, x, y) => {
                let (x, y) = (go(x)?, go(y)?);
                match op {
                    Binary::Add => x.checked_add(y)?,
                    Binary::Sub => x.checked_sub(y)?,
                    Binary::Mul => x.checked_mul(y)?,
                    Binary::IntDiv => floor_div(x, y)?,
                    Binary::IntMod => x - y * floor_div(x, y)?,
                    Binary::Min => x.min(y),
                    Binary::Max => x.max(y),
                    Binary::And => i64::from(x != 0 && y != 0),
                    Binary::Or => i64::from(x != 0 || y != 0),
                    Binary::Div => return None,
                }
            }
            Self::Compare(op, x, y) => {
                let (x, y) = (go(x)?, go(y)?);
                i64::from(match op {
                    Compare::Eq => x == y,
                    Compare::Ne => x != y,
                    Compare::Lt => x < y,
                    Compare::Le => x <= y,
                    Compare::Gt => x > y,
                    Compare::Ge => x >= y,
                })
            }
            _ => return None,
        })
    }

    /// The direct operands.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Int(_)
            | Self::Float(_)
            | Self::Bool(_)
            | Self::Size(_)
            | Self::Param(_)
            | Self::Var(_)
            | Self::Elem(_)
            | Self::Row
            | Self::Col => Vec::new(),
            Self::Load { index, .. } => index.iter().collect(),
            Self::At { row: x, col: y, .. } | Self::Binary(_, x, y) | Self::Compare(_, x, y) => vec![x, y],
            Self::Unary(_, x) | Self::Cast(_, x) | Self::CeilLog2(x) | Self::Pow2(x) | Self::Order(x) => {
                vec![x]
            }
            Self::If(c, x, y) => vec![c, x, y],
            Self::Reduce { lo, hi, body, .. } => vec![lo, hi, body],
        }
    }

    /// Whether any sub-expression satisfies `f`.
    pub fn any(&self, f: &mut dyn FnMut(&Self) -> bool) -> bool {
        f(self) || self.children().into_iter().any(|child| child.any(f))
    }

    /// The expression with each sub-expression for which `f` has a replacement replaced.
    #[must_use]
    pub fn replace(&self, f: &dyn Fn(&Self) -> Option<Self>) -> Self {
        if let Some(replacement) = f(self) {
            return replacement;
        }
        let go = |x: &Self| x.replace(f);
        let boxed = |x: &Self| Box::new(x.replace(f));
        match self {
            Self::Int(_)
            | Self::Float(_)
            | Self::Bool(_)
            | Self::Size(_)
            | Self::Param(_)
            | Self::Var(_)
            | Self::Elem(_)
            | Self::Row
            | Self::Col => self.clone(),
            Self::Load { tensor, index } => {
                Self::Load { tensor: *tensor, index: index.iter().map(go).collect() }
            }
            Self::At { tile, row, col } => Self::At { tile: *tile, row: boxed(row), col: boxed(col) },
            Self::Unary(op, x) => Self::unary(*op, go(x)),
            Self::Binary(op, x, y) => Self::binary(*op, go(x), go(y)),
            Self::Compare(op, x, y) => Self::compare(*op, go(x), go(y)),
            Self::If(c, x, y) => go(c).then(go(x), go(y)),
            Self::Cast(to, x) => Self::Cast(*to, boxed(x)),
            Self::CeilLog2(x) => go(x).ceil_log2(),
            Self::Pow2(x) => go(x).pow2(),
            Self::Order(x) => Self::Order(boxed(x)),
            Self::Reduce { op, var, lo, hi, body } => {
                Self::Reduce { op: *op, var: *var, lo: boxed(lo), hi: boxed(hi), body: boxed(body) }
            }
        }
    }
}

/// The least `l >= 0` with `2^l >= x`.
fn ceil_log2(x: i64) -> i64 {
    if x <= 1 { 0 } else { i64::from(i64::BITS - (x - 1).leading_zeros()) }
}

/// `floor(x / y)`.
fn floor_div(x: i64, y: i64) -> Option<i64> {
    let quotient = x.checked_div(y)?;
    Some(if x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient })
}

impl From<i64> for Expr {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<VarId> for Expr {
    fn from(var: VarId) -> Self {
        Self::Var(var)
    }
}

impl std::ops::Add for Expr {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::binary(Binary::Add, self, other)
    }
}

impl std::ops::Sub for Expr {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::binary(Binary::Sub, self, other)
    }
}

impl std::ops::Mul for Expr {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::binary(Binary::Mul, self, other)
    }
}
