//! A program with every name resolved: what `resolve` makes of the syntax tree and `lower` makes a graph of.
//!
//! Declarations are in tables and expressions refer to them by number. User functions are inlined. `infer` fills in the
//! type of every expression and makes conversions explicit ([`ExprKind::Convert`]); nothing else changes after `resolve`.

use crate::builtins::Builtin;
use dmac_ir::{Field, Normalize, ParamType, ParamValue, Ties};
use dmac_source::Span;
use dmac_syntax::ast::{BinOp, ReduceOp, UnOp};
use std::collections::BTreeSet;

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident;)*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
            pub(crate) struct $name(pub(crate) usize);
        )*
    };
}

ids! {
    /// A row of [`Program::params`].
    ParamIx;
    /// A row of [`Program::axes`].
    AxisIx;
    /// A row of [`Program::vars`].
    VarIx;
    /// A row of [`Program::inputs`].
    InputIx;
    /// A row of [`Program::lets`].
    LetIx;
    /// A row of [`Program::attentions`].
    AttentionIx;
}

impl AxisIx {
    pub(crate) const B: Self = Self(0);
    pub(crate) const H: Self = Self(1);
    pub(crate) const G: Self = Self(2);
    pub(crate) const M: Self = Self(3);
    pub(crate) const N: Self = Self(4);
    pub(crate) const D: Self = Self(5);
    pub(crate) const E: Self = Self(6);
}

/// The name of the unnamed attention of a program without branches.
pub(crate) const UNNAMED: &str = "out";

/// One attention program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub name: String,
    pub doc: Vec<String>,
    pub params: Vec<Param>,
    pub axes: Vec<Axis>,
    pub vars: Vec<Var>,
    pub inputs: Vec<Input>,
    pub lets: Vec<Let>,
    /// The branches, or the one unnamed attention.
    pub attentions: Vec<Attention>,
    /// Whether the attentions are branches.
    pub branches: bool,
    pub output: Option<Expr>,
    pub emits: Vec<Emit>,
    /// Lets and attentions, each after those that it reads.
    pub order: Vec<Definition>,
    /// All axes, each after those that its size depends on; the first seven first.
    pub axis_order: Vec<AxisIx>,
    /// The place of each axis in that order: its number in the graph.
    pub axis_number: Vec<usize>,
    /// Whether a statement of it is missing because of a syntax error.
    pub incomplete: bool,
    /// The user functions that were inlined.
    pub called: BTreeSet<String>,
}

/// A scalar parameter.
#[derive(Clone, Debug)]
pub(crate) struct Param {
    pub name: String,
    pub span: Span,
    pub ty: ParamType,
    pub is_const: bool,
    /// The value that the user pinned, or the default.
    pub value: ParamValue,
    /// Whether the value is fixed at compile time: pinned or `const`.
    pub fixed: bool,
    pub pinned: bool,
}

/// A named extent. The first seven rows are `B H G M N D E`.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// Of its size for the first seven; of its index for others.
    pub name: String,
    /// Where it is declared or first seen; none for the first seven.
    pub span: Option<Span>,
    pub def: AxisDef,
}

/// What an axis is.
#[derive(Clone, Debug)]
pub(crate) enum AxisDef {
    /// One of the first seven.
    Builtin,
    /// First seen in an input, and as large as that.
    FromInput,
    /// `axis p = size`.
    Sized(Expr),
    /// `axis c = windows(of, length, stride)`.
    Windows { of: AxisIx, length: Expr, stride: Expr },
    /// `axis s = blocks(of, length)`.
    Blocks { of: AxisIx, length: Expr },
}

/// An index: one for each name, so a name ranges over one axis in the whole program.
#[derive(Clone, Debug)]
pub(crate) struct Var {
    pub name: String,
    pub axis: AxisIx,
}

/// An input tensor. The first three are `q k v`.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub name: String,
    /// None for the first three.
    pub span: Option<Span>,
    pub elem: dmac_ir::Elem,
    pub axes: Vec<AxisIx>,
    /// First value allowed, first value above them that is not.
    pub range: Option<(Expr, Expr)>,
}

/// A tensor given by an expression.
#[derive(Clone, Debug)]
pub(crate) struct Let {
    pub name: String,
    pub span: Span,
    pub vars: Vec<VarIx>,
    pub value: Expr,
    /// Whether it stands for queries, keys or values, and so is rounded to the storage type.
    pub stored_as_real: bool,
}

/// The unnamed attention or a branch.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub name: String,
    pub span: Span,
    pub queries: Operand,
    pub keys: Operand,
    pub values: Operand,
    /// The key's index: `j` or the branch's own.
    pub key: VarIx,
    /// The index that queries and keys are contracted over.
    pub feature: VarIx,
    pub scale: Option<Expr>,
    pub normalize: Normalize,
    pub sink: Option<Expr>,
    /// In order: their order is meaning.
    pub steps: Vec<Step>,
}

/// A tensor in the place of `q`, `k` or `v`, with its axes.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub tensor: Tensor,
    pub axes: Vec<AxisIx>,
}

/// A statement whose place in the order matters.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub span: Span,
    pub kind: StepKind,
}

/// The kinds of steps.
#[derive(Clone, Debug)]
pub(crate) enum StepKind {
    Score(Expr),
    Mask(Expr),
    Select(Box<Select>),
}

/// `select top(count) [over] of operand ...`
#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub count: Expr,
    /// The key's index, or one over blocks of keys.
    pub over: VarIx,
    pub over_span: Span,
    pub operand: Expr,
    pub among: Option<Expr>,
    pub forcing: Option<Expr>,
    pub plus: Option<Expr>,
    pub ties: Ties,
}

/// A further output.
#[derive(Clone, Debug)]
pub(crate) struct Emit {
    /// `lse`, `row_max`, `sliding.lse`.
    pub name: String,
    pub attention: AttentionIx,
    pub field: Field,
    pub span: Span,
}

/// What [`Program::order`] orders.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Definition {
    Let(LetIx),
    Attention(AttentionIx),
}

/// What can be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Tensor {
    Input(InputIx),
    Let(LetIx),
    Field(AttentionIx, Field),
}

/// The type of an expression.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Ty {
    Float,
    Int,
    Bool,
    /// Of an expression in which an error was reported, or whose type is not known yet; fits everywhere.
    Unknown,
}

/// An expression, its type and its place.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub kind: ExprKind,
    pub ty: Ty,
    pub span: Span,
}

/// The forms of an expression.
#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Int(i64),
    Float(f64),
    Bool(bool),
    Param(ParamIx),
    /// The size of an axis.
    Size(AxisIx),
    /// The coordinate of an index.
    Index(VarIx),
    /// The logical position of a query.
    Position {
        query: VarIx,
        batch: VarIx,
    },
    /// The row of a query, as an index of a tensor with query rows.
    Row(VarIx),
    /// The key/value head of a query head, where only the query head is bound.
    KvHeadOf(VarIx),
    /// An element of a tensor.
    Read {
        tensor: Tensor,
        indices: Vec<Expr>,
    },
    /// The current score.
    Score,
    /// The attention's scale.
    Scale,
    Unary(UnOp, Box<Expr>),
    Binary {
        op: BinOp,
        op_span: Span,
        lhs: Box<Expr>,
        rhs: Box<Expr>,
    },
    /// A builtin function of scalars.
    Call {
        builtin: &'static Builtin,
        args: Vec<Expr>,
    },
    /// First position of a window or block.
    Start(VarIx),
    /// First position after a window or block.
    End(VarIx),
    /// How many positions two windows or blocks have in common.
    Overlap(VarIx, VarIx),
    /// Conversion; floats are rounded down to ints.
    Convert {
        to: Ty,
        operand: Box<Expr>,
    },
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    Reduce {
        op: ReduceOp,
        binders: Vec<Binder>,
        body: Box<Expr>,
    },
    /// A place where an error was reported.
    Error,
}

/// An index bound by a reduction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binder {
    pub var: VarIx,
    pub domain: Domain,
}

/// What a bound index ranges over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Domain {
    Whole,
    /// The keys of a batch element.
    Keys(VarIx),
    /// The query heads of a key/value head.
    Heads(VarIx),
    /// The positions of a window or block.
    Positions(VarIx),
}

impl Expr {
    /// An expression whose type is not known yet.
    pub(crate) fn new(kind: ExprKind, span: Span) -> Self {
        Self { kind, ty: Ty::Unknown, span }
    }

    /// A place where an error was reported.
    pub(crate) fn error(span: Span) -> Self {
        Self::new(ExprKind::Error, span)
    }

    /// Calls `f` on each operand.
    pub(crate) fn each_child<'a>(&'a self, f: &mut dyn FnMut(&'a Self)) {
        match &self.kind {
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Param(_)
            | ExprKind::Size(_)
            | ExprKind::Index(_)
            | ExprKind::Position { .. }
            | ExprKind::Row(_)
            | ExprKind::KvHeadOf(_)
            | ExprKind::Score
            | ExprKind::Scale
            | ExprKind::Start(_)
            | ExprKind::End(_)
            | ExprKind::Overlap(..)
            | ExprKind::Error => {}
            ExprKind::Read { indices: operands, .. } | ExprKind::Call { args: operands, .. } => {
                operands.iter().for_each(f);
            }
            ExprKind::Unary(_, operand) | ExprKind::Convert { operand, .. } => f(operand),
            ExprKind::Reduce { body, .. } => f(body),
            ExprKind::Binary { lhs, rhs, .. } => {
                f(lhs);
                f(rhs);
            }
            ExprKind::If { condition, then, otherwise } => {
                for operand in [condition, then, otherwise] {
                    f(operand);
                }
            }
        }
    }

    /// How many nodes there are, and how deep.
    pub(crate) fn extent(&self) -> (usize, usize) {
        let (mut nodes, mut depth) = (1, 0);
        self.each_child(&mut |child| {
            let (below, deep) = child.extent();
            nodes += below;
            depth = depth.max(deep);
        });
        (nodes, depth + 1)
    }

    /// Calls `f` on the expression and everything in it, outermost first.
    pub(crate) fn walk<'a>(&'a self, f: &mut dyn FnMut(&'a Self)) {
        f(self);
        self.each_child(&mut |child| child.walk(f));
    }
}

impl Select {
    /// All its expressions but the count.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Expr> {
        [Some(&self.operand), self.among.as_ref(), self.forcing.as_ref(), self.plus.as_ref()]
            .into_iter()
            .flatten()
    }
}

impl Attention {
    /// All expressions.
    pub(crate) fn exprs(&self) -> Vec<&Expr> {
        let mut exprs: Vec<&Expr> = self.scale.iter().chain(&self.sink).collect();
        for step in &self.steps {
            match &step.kind {
                StepKind::Score(value) | StepKind::Mask(value) => exprs.push(value),
                StepKind::Select(select) => {
                    exprs.push(&select.count);
                    exprs.extend(select.parts());
                }
            }
        }
        exprs
    }
}

impl Program {
    pub(crate) fn axis(&self, axis: AxisIx) -> &Axis {
        &self.axes[axis.0]
    }

    pub(crate) fn var(&self, var: VarIx) -> &Var {
        &self.vars[var.0]
    }

    pub(crate) fn axis_of(&self, var: VarIx) -> AxisIx {
        self.vars[var.0].axis
    }

    /// The index that messages name an axis by.
    pub(crate) fn index_name(&self, axis: AxisIx) -> &str {
        let builtin = ["b", "h", "g", "i", "j", "d", "e"];
        builtin.get(axis.0).copied().unwrap_or_else(|| &self.axes[axis.0].name)
    }

    /// Whether everything in it means something.
    pub(crate) fn is_complete(&self) -> bool {
        let mut complete = !self.incomplete;
        let attentions = self.attentions.iter().flat_map(Attention::exprs);
        let lets = self.lets.iter().map(|binding| &binding.value);
        for expr in attentions.chain(lets).chain(&self.output) {
            expr.walk(&mut |expr| complete &= !matches!(expr.kind, ExprKind::Error));
        }
        complete
    }

    /// The axes of a tensor.
    pub(crate) fn tensor_axes(&self, tensor: Tensor) -> Vec<AxisIx> {
        match tensor {
            Tensor::Input(input) => self.inputs[input.0].axes.clone(),
            Tensor::Let(binding) => self.lets[binding.0].vars.iter().map(|&var| self.axis_of(var)).collect(),
            Tensor::Field(attention, field) => {
                let rows = [AxisIx::B, AxisIx::H, AxisIx::M];
                let last = match field {
                    Field::Out => Some(AxisIx::E),
                    Field::Prob => Some(self.axis_of(self.attentions[attention.0].key)),
                    Field::Lse | Field::RowMax => None,
                };
                rows.into_iter().chain(last).collect()
            }
        }
    }

    /// The name of a tensor, as written.
    pub(crate) fn tensor_name(&self, tensor: Tensor) -> String {
        match tensor {
            Tensor::Input(input) => self.inputs[input.0].name.clone(),
            Tensor::Let(binding) => self.lets[binding.0].name.clone(),
            Tensor::Field(attention, field) => {
                let name = &self.attentions[attention.0].name;
                match field_name(field) {
                    Some(field) => format!("{name}.{field}"),
                    None => name.clone(),
                }
            }
        }
    }
}

/// A field as written after the point; the output has none.
pub(crate) fn field_name(field: Field) -> Option<&'static str> {
    match field {
        Field::Out => None,
        Field::Lse => Some("lse"),
        Field::RowMax => Some("row_max"),
        Field::Prob => Some("prob"),
    }
}

impl Ty {
    /// As named in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Unknown => "unknown",
        }
    }
}
