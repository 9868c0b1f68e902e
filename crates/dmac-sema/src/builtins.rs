//! The table of builtin functions, one row each: checking, lowering and `dsl/BUILTINS.md` all come from it.
//!
//! To add a function that can be said in terms of others, add a row with [`Means::Formula`]. For a new scalar
//! operation, add its variant to [`dmac_ir::Unary`] or [`dmac_ir::Binary`] first; the compiler names the matches.
//! Run the tests with `DMAC_BLESS=1` to write `dsl/BUILTINS.md` anew.

mod formula;
mod page;

pub use formula::{Formula, relation_text};
pub use page::page;

use Formula::{Add, Arg, Call, Const, Div, If, Mul, Neg, Result, Sub};
use Takes::{Float, Number, Part, Scalar, TypeName};
use dmac_ir::{Binary, Compare, Normalize, Reduction, Unary};
use dmac_syntax::ast::ReduceOp;

/// A builtin function.
#[derive(PartialEq, Debug)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// Its arguments: name and what is taken.
    pub args: &'static [(&'static str, Takes)],
    /// The type of its value.
    pub gives: Gives,
    /// What it computes.
    pub means: Means,
    /// The derivative of its value by each argument; an argument beyond them has none.
    pub derivatives: &'static [Formula],
    /// What it is, for readers.
    pub doc: &'static str,
}

/// What an argument may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// A float; an int is converted.
    Float,
    /// A float or an int; if one of several is a float, all are.
    Number,
    /// A float, an int or a bool.
    Scalar,
    /// A bool.
    Bool,
    /// An index over windows or blocks.
    Part,
    /// `int` or `float`.
    TypeName,
}

/// The type of a function's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gives {
    /// A float.
    Float,
    /// An int.
    Int,
    /// The type of its (converted) arguments.
    Same,
    /// The type that an argument names.
    Named,
}

/// What a function computes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Means {
    /// One scalar operation.
    Unary(Unary),
    /// One scalar operation.
    Binary(Binary),
    /// Its argument, with no gradient.
    Stop,
    /// A conversion.
    Cast,
    /// An expression of other functions.
    Formula(Formula),
    /// First position of a window or block.
    Start,
    /// First position after a window or block.
    End,
    /// Positions in common.
    Overlap,
}

const X: Formula = Arg(0);
const Y: Formula = Arg(1);
const ZERO: Formula = Const(0.0);
const ONE: Formula = Const(1.0);
const HALF: Formula = Const(0.5);

/// All builtin functions.
pub const BUILTINS: &[Builtin] = &[
    float("exp", &[], Unary::Exp, &[Result], "e to the power of x."),
    float("log", &["ln"], Unary::Log, &[Div(&ONE, &X)], "Natural logarithm; of 0 it is -inf."),
    float("sqrt", &[], Unary::Sqrt, &[Div(&HALF, &Result)], "Square root."),
    float("rsqrt", &[], Unary::Rsqrt, &[Div(&Mul(&Const(-0.5), &Result), &X)], "One over the square root."),
    float("tanh", &[], Unary::Tanh, &[Sub(&ONE, &Mul(&Result, &Result))], "Hyperbolic tangent."),
    float("sigmoid", &[], Unary::Sigmoid, &[Mul(&Result, &Sub(&ONE, &Result))], "1 / (1 + exp(-x))."),
    float("softplus", &[], Unary::Softplus, &[Call("sigmoid", &[X])], "log(1 + exp(x)), without overflow."),
    float(
        "logsigmoid",
        &["log_sigmoid"],
        Unary::LogSigmoid,
        &[Call("sigmoid", &[Neg(&X)])],
        "log(sigmoid(x)), without underflow.",
    ),
    number1(
        "relu",
        Unary::Relu,
        &[If(Compare::Gt, &[X, ZERO, ONE, ZERO])],
        "x where it is positive, else 0.",
    ),
    number1(
        "abs",
        Unary::Abs,
        &[If(Compare::Gt, &[X, ZERO, ONE, If(Compare::Lt, &[X, ZERO, Const(-1.0), ZERO])])],
        "Absolute value.",
    ),
    Builtin {
        name: "floor",
        aliases: &[],
        args: &[("x", Float)],
        gives: Gives::Float,
        means: Means::Unary(Unary::Floor),
        derivatives: &[ZERO],
        doc: "The greatest whole number that is not above x, as a float.",
    },
    number2(
        "min",
        &["minimum"],
        Binary::Min,
        &[If(Compare::Le, &[X, Y, ONE, ZERO]), If(Compare::Le, &[X, Y, ZERO, ONE])],
        "The smaller. (`min(t: x)` is a reduction.)",
    ),
    number2(
        "max",
        &["maximum"],
        Binary::Max,
        &[If(Compare::Ge, &[X, Y, ONE, ZERO]), If(Compare::Ge, &[X, Y, ZERO, ONE])],
        "The larger. (`max(t: x)` is a reduction.)",
    ),
    Builtin {
        name: "clamp",
        aliases: &["clip"],
        args: &[("x", Number), ("low", Number), ("high", Number)],
        gives: Gives::Same,
        means: Means::Formula(Call("min", &[Call("max", &[X, Y]), Arg(2)])),
        derivatives: &[
            If(Compare::Lt, &[X, Y, ZERO, If(Compare::Gt, &[X, Arg(2), ZERO, ONE])]),
            If(Compare::Lt, &[X, Y, If(Compare::Le, &[Y, Arg(2), ONE, ZERO]), ZERO]),
            If(Compare::Gt, &[Call("max", &[X, Y]), Arg(2), ONE, ZERO]),
        ],
        doc: "x, but at least `low` and then at most `high`.",
    },
    Builtin {
        name: "silu",
        aliases: &["swish"],
        args: &[("x", Float)],
        gives: Gives::Float,
        means: Means::Formula(Mul(&X, &Call("sigmoid", &[X]))),
        derivatives: &[Mul(&Call("sigmoid", &[X]), &Add(&ONE, &Mul(&X, &Sub(&ONE, &Call("sigmoid", &[X])))))],
        doc: "The sigmoid linear unit.",
    },
    Builtin {
        name: "cast",
        aliases: &[],
        args: &[("x", Scalar), ("type", TypeName)],
        gives: Gives::Named,
        means: Means::Cast,
        derivatives: &[ONE],
        doc: "x converted: `cast(x, int)` rounds a float down, `cast(x, float)` takes an int or a bool (as 0 or 1). \
              Ints and bools have no gradient.",
    },
    Builtin {
        name: "stop",
        aliases: &["stop_gradient", "detach"],
        args: &[("x", Scalar)],
        gives: Gives::Same,
        means: Means::Stop,
        derivatives: &[ZERO],
        doc: "x, with no gradient.",
    },
    Builtin {
        name: "start",
        aliases: &[],
        args: &[("c", Part)],
        gives: Gives::Int,
        means: Means::Start,
        derivatives: &[],
        doc: "The first position of window or block `c`.",
    },
    Builtin {
        name: "end",
        aliases: &[],
        args: &[("c", Part)],
        gives: Gives::Int,
        means: Means::End,
        derivatives: &[],
        doc: "The first position after window or block `c`; a short last block ends where its axis ends.",
    },
    Builtin {
        name: "overlap",
        aliases: &[],
        args: &[("c", Part), ("s", Part)],
        gives: Gives::Int,
        means: Means::Overlap,
        derivatives: &[],
        doc: "How many positions windows or blocks `c` and `s` of one axis have in common.",
    },
];

/// A row for a function of one float.
const fn float(
    name: &'static str,
    aliases: &'static [&'static str],
    op: Unary,
    derivatives: &'static [Formula],
    doc: &'static str,
) -> Builtin {
    Builtin {
        name,
        aliases,
        args: &[("x", Float)],
        gives: Gives::Float,
        means: Means::Unary(op),
        derivatives,
        doc,
    }
}

/// A row for a function of one number.
const fn number1(
    name: &'static str,
    op: Unary,
    derivatives: &'static [Formula],
    doc: &'static str,
) -> Builtin {
    Builtin {
        name,
        aliases: &[],
        args: &[("x", Number)],
        gives: Gives::Same,
        means: Means::Unary(op),
        derivatives,
        doc,
    }
}

/// A row for a function of two numbers.
const fn number2(
    name: &'static str,
    aliases: &'static [&'static str],
    op: Binary,
    derivatives: &'static [Formula],
    doc: &'static str,
) -> Builtin {
    Builtin {
        name,
        aliases,
        args: &[("x", Number), ("y", Number)],
        gives: Gives::Same,
        means: Means::Binary(op),
        derivatives,
        doc,
    }
}

/// A reduction: `NAME(t, h in g: body)`.
#[derive(Debug)]
pub struct ReductionRow {
    /// As written.
    pub op: ReduceOp,
    /// In the graph.
    pub means: Reduction,
    /// What the body must be: float or int, float only, bool.
    pub takes: Takes,
    /// Its value over nothing.
    pub empty: &'static str,
    /// What it is, for readers.
    pub doc: &'static str,
}

/// All reductions.
pub const REDUCTIONS: &[ReductionRow] = &[
    reduction(ReduceOp::Sum, Reduction::Sum, Number, "0", "The sum."),
    reduction(ReduceOp::Max, Reduction::Max, Number, "-inf, or the least int", "The greatest."),
    reduction(ReduceOp::Min, Reduction::Min, Number, "inf, or the greatest int", "The least."),
    reduction(ReduceOp::Mean, Reduction::Mean, Float, "NaN", "The sum divided by how many there are."),
    reduction(ReduceOp::Any, Reduction::Any, Takes::Bool, "false", "Whether the body holds somewhere."),
    reduction(ReduceOp::All, Reduction::All, Takes::Bool, "true", "Whether the body holds everywhere."),
];

const fn reduction(
    op: ReduceOp,
    means: Reduction,
    takes: Takes,
    empty: &'static str,
    doc: &'static str,
) -> ReductionRow {
    ReductionRow { op, means, takes, empty, doc }
}

/// A way to make weights of scores: `normalize NAME`.
#[derive(Debug)]
pub struct NormalizeRow {
    /// As written.
    pub name: &'static str,
    /// In the graph.
    pub means: Normalize,
    /// In the graph, `with` an argument.
    pub with: Option<Normalize>,
    /// What it is, for readers.
    pub doc: &'static str,
}

/// All ways to normalize.
pub const NORMALIZERS: &[NormalizeRow] = &[
    NormalizeRow {
        name: "softmax",
        means: Normalize::Softmax,
        with: Some(Normalize::SoftmaxSink),
        doc: "exp(score) over the sum of it over the attended keys. `with x` adds a key of score x and value 0, \
              which `lse` includes.",
    },
    NormalizeRow {
        name: "sigmoid",
        means: Normalize::Sigmoid,
        with: None,
        doc: "sigmoid(score), for each key on its own; there is no `lse`.",
    },
    NormalizeRow {
        name: "relu",
        means: Normalize::Relu,
        with: None,
        doc: "relu(score), for each key on its own; there is no `lse`.",
    },
];

/// The builtin function called `name`.
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|row| row.name == name || row.aliases.contains(&name))
}

/// The row of a reduction.
///
/// # Panics
/// If the table has none, which its test excludes.
pub fn reduction_row(op: ReduceOp) -> &'static ReductionRow {
    let row = REDUCTIONS.iter().find(|row| row.op == op);
    row.unwrap_or_else(|| panic!("builtins: no row for the reduction `{}`", op.text()))
}
