//! The syntax tree: what was written, with its places, before any name means anything.
//!
//! The tree has no types and no resolved names, and nothing in it is rewritten: it has one node a construct of
//! the grammar (`dsl/grammar.ebnf`), so that the formatter can print it back and messages can point at it. Two
//! trees are equal if they are equal with their spans; [`Module::without_spans`] is for comparing what they say.
//!
//! Numbers are checked here (an integer fits `i64`, a float is finite in `f32`), everything else later.

mod expr;
mod spans;
mod stmt;
mod tree;

pub use expr::{BinOp, Binder, Expr, ExprKind, ReduceOp, UnOp};
pub use stmt::{
    Attention, Axis, AxisDef, Branch, Emit, FnItem, Input, InputType, InputTypeKind, Item, Let, Module,
    Normalize, Over, Param, ParamType, Select, Stmt, StmtKind, Ties,
};
pub use tree::tree;

use dmac_source::Span;

/// A name as written, primes included (`g'`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

impl Ident {
    /// A name at a place.
    pub fn new(name: impl Into<String>, span: Span) -> Self {
        Self { name: name.into(), span }
    }

    /// The name without its primes: `g` for `g'`. A primed index ranges over the same axis as this one.
    pub fn base(&self) -> &str {
        self.name.trim_end_matches('\'')
    }
}

impl std::fmt::Display for Ident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}
