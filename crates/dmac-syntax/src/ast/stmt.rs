//! Items and statements.

use dmac_source::{Span, Spanned};

use super::{Expr, Ident};

/// A program text: any number of items.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Module {
    /// In the order of the text.
    pub items: Vec<Item>,
}

impl Module {
    /// The attentions, in the order of the text.
    pub fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.items.iter().filter_map(|item| match item {
            Item::Attention(attention) => Some(attention),
            Item::Fn(_) | Item::Error(_) => None,
        })
    }

    /// The user functions, in the order of the text.
    pub fn functions(&self) -> impl Iterator<Item = &FnItem> {
        self.items.iter().filter_map(|item| match item {
            Item::Fn(function) => Some(function),
            Item::Attention(_) | Item::Error(_) => None,
        })
    }
}

/// What stands at the top level.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `attention NAME(...) { ... }`
    Attention(Attention),
    /// `fn NAME(...) = ...`
    Fn(FnItem),
    /// Text in which a syntax error was reported.
    Error(Span),
}

/// One attention variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Lines of the doc comment, without `///` and one space; empty if there is none.
    pub doc: Vec<String>,
    /// Its name.
    pub name: Ident,
    /// Its parameters.
    pub params: Vec<Param>,
    /// Its statements.
    pub body: Vec<Stmt>,
    /// From `attention` to the closing brace.
    pub span: Span,
}

/// `const NAME: int = 64`
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Whether a tile shape may depend on it: its value is then part of the compiled kernel.
    pub is_const: bool,
    /// Its name.
    pub name: Ident,
    /// Its type.
    pub ty: Spanned<ParamType>,
    /// Its value if the user gives none; without one the user must.
    pub default: Option<Expr>,
    /// The whole parameter.
    pub span: Span,
}

/// Types of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParamType {
    /// `int`
    Int,
    /// `float`
    Float,
}

impl ParamType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Int, Self::Float];

    /// As written in a program.
    pub fn text(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
        }
    }
}

/// `fn NAME(x, y) = expression`: a small function, of scalars, inlined where it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct FnItem {
    /// Lines of the doc comment, without `///` and one space; empty if there is none.
    pub doc: Vec<String>,
    /// Its name.
    pub name: Ident,
    /// Its arguments.
    pub params: Vec<Ident>,
    /// Its value.
    pub body: Expr,
    /// From `fn` to the end of the body.
    pub span: Span,
}

/// A statement and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// From its keyword to its last token.
    pub span: Span,
}

/// The statements.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `input NAME[axes]: type`
    Input(Input),
    /// `axis NAME = ...`
    Axis(Axis),
    /// `let NAME[axes] = expression`
    Let(Let),
    /// `scale = expression`
    Scale(Expr),
    /// `score = expression`
    Score(Expr),
    /// `mask predicate`
    Mask(Expr),
    /// `select top(n) ...`
    Select(Select),
    /// `normalize NAME [with expression]`
    Normalize(Normalize),
    /// `branch NAME [(...)] { ... }`
    Branch(Branch),
    /// `output expression`
    Output(Expr),
    /// `emit lse, ...`
    Emit(Vec<Emit>),
    /// Text in which a syntax error was reported.
    Error,
}

/// `input NAME[axes]: type`
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name.
    pub name: Ident,
    /// Its axes, outermost first; none for rank 0.
    pub axes: Vec<Ident>,
    /// Its element type.
    pub ty: InputType,
}

/// An element type and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct InputType {
    /// Which.
    pub kind: InputTypeKind,
    /// Where.
    pub span: Span,
}

/// Element types of inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum InputTypeKind {
    /// `real`: the storage type chosen at compile time.
    Real,
    /// `f32`
    F32,
    /// `i32` or `i32 in LO .. HI`
    I32 {
        /// `LO` (first value allowed) and `HI` (first value above them that is not).
        range: Option<(Expr, Expr)>,
    },
    /// `bool`
    Bool,
}

impl InputTypeKind {
    /// The names of all of them.
    pub const NAMES: [&'static str; 4] = ["real", "f32", "i32", "bool"];

    /// As written in a program, without a range.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::F32 => "f32",
            Self::I32 { .. } => "i32",
            Self::Bool => "bool",
        }
    }
}

/// `axis NAME = ...`
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its name, which is also the index over it.
    pub name: Ident,
    /// What it consists of.
    pub def: AxisDef,
}

/// What an axis consists of.
#[derive(Clone, Debug, PartialEq)]
pub enum AxisDef {
    /// As many elements as an integer expression says.
    Size(Expr),
    /// `windows(j, length, stride)`: whole windows over another axis.
    Windows {
        /// The axis that is cut.
        over: Ident,
        /// Elements in a window.
        length: Expr,
        /// Elements from a window's start to the next one's.
        stride: Expr,
        /// The whole definition.
        span: Span,
    },
    /// `blocks(j, length)`: consecutive blocks of another axis, the last may be short.
    Blocks {
        /// The axis that is cut.
        over: Ident,
        /// Elements in a block.
        length: Expr,
        /// The whole definition.
        span: Span,
    },
}

/// `let NAME[axes] = expression`
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// Its name.
    pub name: Ident,
    /// The indices that it binds, outermost axis first; none for rank 0.
    pub axes: Vec<Ident>,
    /// An element's value.
    pub value: Expr,
}

/// `select top(n) [block] of operand [among P] [forcing P] [plus P] [ties low | high]`
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// How many stay.
    pub count: Expr,
    /// The index over blocks that is selected; without one keys are.
    pub block: Option<Ident>,
    /// What is compared, greatest first.
    pub operand: Expr,
    /// Candidates, in place of what the masks above leave.
    pub among: Option<Expr>,
    /// Candidates that are always within the n.
    pub forcing: Option<Expr>,
    /// Candidates that are kept in addition to the n.
    pub plus: Option<Expr>,
    /// Which of equal candidates wins, if stated.
    pub ties: Option<Spanned<Ties>>,
}

/// Which of equal candidates wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ties {
    /// `ties low`: the one with the lower index; the rule where none is stated.
    Low,
    /// `ties high`: the one with the higher index.
    High,
}

impl Ties {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Low, Self::High];

    /// As written in a program.
    pub fn text(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

/// `normalize softmax with sink[h]`
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    /// What turns scores into weights.
    pub name: Ident,
    /// Its argument.
    pub with: Option<Expr>,
}

/// `branch NAME [(queries Q, keys K, values V over c)] { ... }`
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Its name, which is also its output.
    pub name: Ident,
    /// What it attends with and to, in place of q, k and v.
    pub over: Option<Over>,
    /// Its statements.
    pub body: Vec<Stmt>,
}

/// `(queries Q, keys K, values V over c)`, each part optional, at least one present.
#[derive(Clone, Debug, PartialEq)]
pub struct Over {
    /// In place of `q`.
    pub queries: Option<Ident>,
    /// In place of `k`.
    pub keys: Option<Ident>,
    /// In place of `v`.
    pub values: Option<Ident>,
    /// The key index of the branch, in place of `j`.
    pub axis: Option<Ident>,
    /// With its parentheses.
    pub span: Span,
}

/// A further output: `lse`, `row_max`, or of a branch, `sliding.lse`.
#[derive(Clone, Debug, PartialEq)]
pub struct Emit {
    /// The statistic, or the branch if there is a field.
    pub name: Ident,
    /// The branch's statistic.
    pub field: Option<Ident>,
    /// The whole entry.
    pub span: Span,
}
