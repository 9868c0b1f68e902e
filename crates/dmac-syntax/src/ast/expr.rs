//! Expressions: arithmetic, comparisons, reads of tensors, reductions.

use dmac_source::Span;

use super::Ident;

/// An expression and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// From its first to its last token. Parentheses around an expression are not in the tree, but in its span.
    pub span: Span,
}

/// The forms of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `16`; never negative, a sign is [`UnOp::Neg`].
    Int(i64),
    /// `20.0`, `1e-6`; never negative. The value is the `f64` nearest to `text`, which is kept for the formatter.
    Float {
        /// The value, finite in `f32`.
        value: f64,
        /// As written.
        text: String,
    },
    /// `true`, `false`.
    Bool(bool),
    /// A parameter, an index, an axis, a tensor of rank 0, a branch: whatever the name is bound to.
    Name(Ident),
    /// `tensor[e, ...]`, at least one index; an index is any integer expression.
    Index {
        /// What is read: a name or a field, as written; any expression to the parser.
        base: Box<Expr>,
        /// One expression an axis.
        indices: Vec<Expr>,
    },
    /// `base.field`, such as `compressed.lse`.
    Field {
        /// What has the field.
        base: Box<Expr>,
        /// The field's name.
        field: Ident,
    },
    /// `f(e, ...)`: a builtin or a user function. `max(x, y)` is a call, `max(t: x)` is a reduction.
    Call {
        /// The function.
        function: Ident,
        /// Arguments, possibly none.
        args: Vec<Expr>,
    },
    /// `-x`, `not p`.
    Unary {
        /// The operator.
        op: UnOp,
        /// Where the operator stands.
        op_span: Span,
        /// Its operand.
        operand: Box<Expr>,
    },
    /// `x + y`. Comparisons never have a comparison as an operand unless it was in parentheses.
    Binary {
        /// The operator.
        op: BinOp,
        /// Where the operator stands.
        op_span: Span,
        /// Left operand.
        lhs: Box<Expr>,
        /// Right operand.
        rhs: Box<Expr>,
    },
    /// `if condition then then else otherwise`.
    If {
        /// What decides.
        condition: Box<Expr>,
        /// The value if it is true.
        then: Box<Expr>,
        /// The value if it is false.
        otherwise: Box<Expr>,
    },
    /// `sum(t, d: body)`, `max(h in g: body)`: binds its indices in the body.
    Reduce {
        /// How elements are combined.
        op: ReduceOp,
        /// Where the operator's name stands.
        op_span: Span,
        /// The indices, at least one.
        binders: Vec<Binder>,
        /// What is reduced.
        body: Box<Expr>,
    },
    /// A place where an expression should be and a syntax error was reported.
    Error,
}

/// An index that a reduction binds: `t`, or `h in g` (the query heads of group `g`), `j in s` (positions of block `s`).
#[derive(Clone, Debug, PartialEq)]
pub struct Binder {
    /// The index that is bound.
    pub index: Ident,
    /// The index whose element it ranges within; without one it ranges over its whole axis.
    pub within: Option<Ident>,
}

/// Operators before one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnOp {
    /// `-x`
    Neg,
    /// `not p`
    Not,
}

impl UnOp {
    /// As written in a program.
    pub fn text(self) -> &'static str {
        match self {
            Self::Neg => "-",
            Self::Not => "not",
        }
    }
}

/// Operators between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BinOp {
    /// `p or q`
    Or,
    /// `p and q`
    And,
    /// `x == y`
    Eq,
    /// `x != y`
    Ne,
    /// `x < y`
    Lt,
    /// `x <= y`
    Le,
    /// `x > y`
    Gt,
    /// `x >= y`
    Ge,
    /// `x + y`
    Add,
    /// `x - y`
    Sub,
    /// `x * y`
    Mul,
    /// `x / y`, always real division.
    Div,
    /// `x div y`, integer division rounded down, also for negative numbers.
    FloorDiv,
    /// `x mod y`, `x - y * (x div y)`.
    Mod,
}

impl BinOp {
    /// All of them, loosest first.
    pub const ALL: [Self; 14] = [
        Self::Or,
        Self::And,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::FloorDiv,
        Self::Mod,
    ];

    /// As written in a program.
    pub fn text(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::FloorDiv => "div",
            Self::Mod => "mod",
        }
    }

    /// How tightly it binds, greater is tighter; equal ones associate to the left, comparisons not at all.
    /// `not` stands between [`BinOp::And`] and the comparisons, unary `-` above everything here.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge => 4,
            Self::Add | Self::Sub => 5,
            Self::Mul | Self::Div | Self::FloorDiv | Self::Mod => 6,
        }
    }

    /// Whether it compares two values to a bool.
    pub fn is_comparison(self) -> bool {
        self.precedence() == Self::Eq.precedence()
    }
}

/// How a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReduceOp {
    /// `sum(t: x)`
    Sum,
    /// `max(t: x)`
    Max,
    /// `min(t: x)`
    Min,
    /// `mean(t: x)`
    Mean,
    /// `any(t: p)`
    Any,
    /// `all(t: p)`
    All,
}

impl ReduceOp {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Sum, Self::Max, Self::Min, Self::Mean, Self::Any, Self::All];

    /// As written in a program.
    pub fn text(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::Mean => "mean",
            Self::Any => "any",
            Self::All => "all",
        }
    }

    /// The reduction called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.text() == name)
    }
}

impl Expr {
    /// An expression at a place.
    pub fn new(kind: ExprKind, span: Span) -> Self {
        Self { kind, span }
    }

    /// The name, if the expression is nothing but a name.
    pub fn as_name(&self) -> Option<&Ident> {
        match &self.kind {
            ExprKind::Name(ident) => Some(ident),
            _ => None,
        }
    }
}
