//! The operations of the graph: a closed enum of plain data. Operands are edges of the graph, in the order given here.

use crate::axis::{Size, Var};
use crate::graph::{InputId, ParamId};
use crate::ty::{Elem, Scalar};

/// An `f32` compared and hashed by its bits, so that ops can be hash-consed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FloatBits(u32);

impl FloatBits {
    /// From a value.
    pub fn new(value: f32) -> Self {
        Self(value.to_bits())
    }

    /// The value.
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// An operation. `[x, y]` in the docs are its operands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Op {
    /// A float constant. `[]`
    Float(FloatBits),
    /// An integer constant. `[]`
    Int(i64),
    /// A boolean constant. `[]`
    Bool(bool),
    /// A run-time parameter of the program. `[]`
    Param(ParamId),
    /// A size, as an integer. `[]`
    Size(Size),
    /// The coordinate of a variable: which element of its axis. `[]`
    Index(Var),
    /// The logical position of query row `query` in batch element `batch`: `index + kv_len(batch) - M`. `[]`
    Position {
        /// The query variable.
        query: Var,
        /// The batch variable.
        batch: Var,
    },
    /// The number of keys of batch element `batch`: `kv_len[batch]` where lengths are given, else `N`. `[]`
    KeyLength {
        /// The batch variable.
        batch: Var,
    },
    /// The first or last element of the symbolic tile that `var` is in (an index; for a query variable its logical
    /// position). Made by passes only; the tile's size is the schedule's business. `[]`
    TileEdge {
        /// The tiled variable.
        var: Var,
        /// The batch variable, where `var` is a query variable.
        batch: Option<Var>,
        /// Which end (inclusive).
        edge: Edge,
    },
    /// An input tensor. `[]`
    Input(InputId),

    /// A tensor given by an expression over `vars`. `[body]`
    Define {
        /// The name in the program.
        name: String,
        /// The variables it binds, one an axis, outermost first.
        vars: Vec<Var>,
        /// The element type: [`Elem::F32`], or [`Elem::Real`] where values are rounded to the storage type.
        elem: Elem,
    },
    /// An element of a tensor. `[tensor, index...]`, integer indices. Out of range is an error, except under an `if`,
    /// `and`, or mask that excludes it, where it does not happen.
    Read,

    /// An elementwise function. `[x]`
    Unary(Unary),
    /// An elementwise function of two operands of one type. `[x, y]`
    Binary(Binary),
    /// A comparison of two ints or two floats (NaN compares false, but for `Ne`). `[x, y]`
    Compare(Compare),
    /// `if c then x else y`; the side not taken is not evaluated. `[c, x, y]`
    If,
    /// A conversion: int to float, float to int (`floor` first), bool to int or float. `[x]`
    Cast(Scalar),
    /// Its operand, with no gradient. `[x]`
    Stop,
    /// A reduction of `body` over all points of `domains`, which bind their variables in order. `[body]`
    Reduce {
        /// What is computed.
        op: Reduction,
        /// What is ranged over.
        domains: Vec<Domain>,
    },
    /// `lo <= x and x < hi` on ints. The normal form of position masks, made by mask classification. `[x, lo, hi]`
    InRange,

    /// For each row the chosen elements. `[score, candidate, n]`, then `[forcing]` and `[plus]` as flagged; the score
    /// may have any float value, `candidate`, `forcing` and `plus` are bool, `n` an int free of variables.
    Select(Select),
    /// Whether an element is in a row's set: bool. `[set, row index..., element index]`
    Contains,
    /// For each row of `rows` and element of `over`, the first query position at which it is no longer among the best
    /// `n`: the lifetime form of a selection whose candidates only grow with the query's position (element `x` becomes
    /// a candidate at position `enter(x)`). Element `x` is attended exactly for positions in `[enter(x), end(x))`. An int
    /// tensor over `rows` then `over`. `[score, enter, n]`, then `[forcing]` and `[class]` as flagged, all free of the
    /// query.
    ///
    /// Elements for which `forcing` (bool) holds come before all others. With a `class` (int), elements compete with
    /// those of their class only, the class of a position is that of the element of its number, and `end` matters at
    /// positions of the element's class only: elsewhere the element is not attended, whatever its lifetime.
    Lifetime {
        /// The row's variables, without the query.
        rows: Vec<Var>,
        /// The selected variable.
        over: Var,
        /// Which of two equal scores wins.
        ties: Ties,
        /// The variable of the batch, which bounds positions.
        batch: Var,
        /// Whether there is a `forcing` operand.
        forcing: bool,
        /// Whether there is a `class` operand.
        class: bool,
    },

    /// Attention. Operands as [`Attendance`] numbers them.
    Attend(Attend),
    /// A tensor of an attention result. `[attention]`
    Field(Field),
}

/// First or last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Edge {
    /// The first element.
    First,
    /// The last element.
    Last,
}

/// An elementwise function of one operand. On floats unless said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the functions")]
pub enum Unary {
    /// Float or int.
    Neg,
    /// Bool.
    Not,
    /// Float or int.
    Abs,
    Exp,
    Log,
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    Tanh,
    Sigmoid,
    /// `log(1 + exp(x))`.
    Softplus,
    /// `log(sigmoid(x))`.
    LogSigmoid,
    /// Float or int.
    Relu,
    /// To a float with an integer value, computed in f32 by the reference too.
    Floor,
}

/// An elementwise function of two operands of one type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the functions")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// Floats.
    Div,
    /// Ints: `floor(x / y)`, also for negative operands; zero divisors are an error.
    IntDiv,
    /// Ints: `x - y * floor(x / y)`.
    IntMod,
    Min,
    Max,
    /// Bool; the second operand is not evaluated where the first is false.
    And,
    /// Bool; the second operand is not evaluated where the first is true.
    Or,
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the relations")]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A reduction. Over an empty domain: 0, -inf (the least int), +inf (the greatest int), NaN, false, true.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the operations")]
pub enum Reduction {
    Sum,
    Max,
    Min,
    Mean,
    Any,
    All,
}

/// What one variable of a reduction ranges over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Domain {
    /// The whole axis.
    All(Var),
    /// The keys of a batch element: `0 .. KeyLength(batch)`.
    Keys {
        /// Bound.
        var: Var,
        /// The batch element.
        batch: Var,
    },
    /// The query heads of a key/value head.
    Heads {
        /// Bound: a query head.
        var: Var,
        /// The key/value head.
        kv_head: Var,
    },
    /// The positions of a block or window: from its start to its end (a short last block ends at the axis' end).
    Positions {
        /// Bound: a variable over the axis that is divided.
        var: Var,
        /// The block or window.
        part: Var,
    },
    /// The elements of the symbolic tile that `of` is in.
    Tile {
        /// Bound, over the axis of `of`.
        var: Var,
        /// The tiled variable.
        of: Var,
    },
}

impl Domain {
    /// The variable that is bound.
    pub fn var(self) -> Var {
        match self {
            Self::All(var)
            | Self::Keys { var, .. }
            | Self::Heads { var, .. }
            | Self::Positions { var, .. }
            | Self::Tile { var, .. } => var,
        }
    }

    /// The variable that the range depends on.
    pub fn depends_on(self) -> Option<Var> {
        match self {
            Self::All(_) => None,
            Self::Keys { batch, .. } => Some(batch),
            Self::Heads { kv_head, .. } => Some(kv_head),
            Self::Positions { part, .. } => Some(part),
            Self::Tile { of, .. } => Some(of),
        }
    }
}

/// Which of two equal scores is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ties {
    /// The lower index.
    Low,
    /// The higher index.
    High,
}

/// A selection: in each row, the `n` best candidates. NaN is worse than every number, `-0 = +0`. Candidates for which
/// `forcing` holds come before all others and count among the `n`; those for which `plus` holds are taken in addition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Select {
    /// The variables of a row, all bound here.
    pub rows: Vec<Var>,
    /// The variable that is selected, bound here.
    pub over: Var,
    /// Which of two equal scores wins.
    pub ties: Ties,
    /// Whether there is a `forcing` operand.
    pub forcing: bool,
    /// Whether there is a `plus` operand.
    pub plus: bool,
    /// How it will be computed: set by selection lowering.
    pub lowering: Option<SelectLowering>,
}

/// How a selection is computed and stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SelectLowering {
    /// One list of keys for each row.
    RowList,
    /// One list of blocks for each row.
    BlockList,
    /// One list for all rows: neither score nor candidates depend on the query.
    GlobalList,
}

/// How scores become weights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Normalize {
    /// `exp(s - lse)`; an empty row has `out = 0`, `lse = -inf`.
    Softmax,
    /// Softmax with one more attended logit that has no value: it counts in `lse`.
    SoftmaxSink,
    /// `sigmoid(s)`; no row statistics.
    Sigmoid,
    /// `max(s, 0)`; no row statistics.
    Relu,
}

/// Attention: `out[b,h,i,e] = sum over attended keys of weight(score) * value`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Attend {
    /// The branch's name; the one unnamed attention is `out`.
    pub name: String,
    /// Bound: `b`.
    pub batch: Var,
    /// Bound: `h`.
    pub head: Var,
    /// Bound with it: `g = h div (H / G)`.
    pub kv_head: Var,
    /// Bound: `i`.
    pub query: Var,
    /// Bound: the key's variable (`j`, or the branch's own).
    pub key: Var,
    /// Bound: `e`.
    pub feature: Var,
    /// How scores become weights.
    pub normalize: Normalize,
    /// One entry for each mask term: what classification proved about it.
    pub forms: Vec<Form>,
    /// How the keys of a tile of rows are walked: set by the tiling pass.
    pub tiling: Option<Tiling>,
    /// Whether block-skip predicates have been inserted; see [`Attendance`].
    pub skips: bool,
}

/// The tiled form of an attention over symbolic tile axes of query and key. Sizes belong to the schedule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tiling {
    /// What is walked.
    pub walk: Walk,
    /// Whether a running maximum and sum are kept and the accumulator rescaled (softmax), or weights are independent
    /// of other keys (sigmoid, relu).
    pub online: bool,
}

/// What a tile of query rows walks over. The mask terms decide; terms that the walk does not cover are evaluated
/// elementwise where a tile is partial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Walk {
    /// Consecutive tiles of the key axis, between the bounds of the interval terms, skipping proved-empty ones.
    Blocks,
    /// A list of keys for the tile of rows: those alive in it, by the key-interval mask term of that number.
    AliveKeys(u16),
    /// Each row's own list of keys: the selection in the mask term of that number.
    RowKeys(u16),
    /// Each row's own list of blocks: the selection in the mask term of that number.
    RowBlocks(u16),
}

/// What is known about a mask term of an attention; all terms are and-ed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Form {
    /// Not classified yet.
    Unclassified,
    /// `InRange(key, lo, hi)`, with `lo` and `hi` free of the key and non-decreasing in the query's position.
    Interval,
    /// A disjunction of such: `Or` of `InRange` nodes.
    Intervals,
    /// `InRange(position, lo, hi)`, with `lo` and `hi` free of the query: lifetimes and document ends.
    KeyInterval,
    /// `Eq` of an int that is free of the key and one that is free of the query.
    SameId,
    /// `Contains` of a selection over keys or blocks.
    Selected,
    /// `Contains` of a selection over blocks, by the key's block.
    SelectedBlock,
    /// Free of the query and the head: a property of the key.
    KeyOnly,
    /// Free of the key: a property of the row.
    RowOnly,
    /// Anything else: evaluated for each pair.
    Predicate,
}

/// The operands of [`Op::Attend`], by position: the score (float over `batch head kv_head query key`), the value (float
/// over `batch kv_head key feature`), the sink (float over `batch head`, with [`Normalize::SoftmaxSink`]), then the mask
/// terms (bool), then, with [`Attend::skips`], for each mask term two bools over symbolic tiles of query and key: whether
/// some pair of the tile *may* be attended (false: skip, proved) and whether *all* are (true: no mask code, proved).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attendance<'a> {
    /// The attention.
    pub attend: &'a Attend,
    /// Its operands.
    pub operands: &'a [crate::NodeId],
}

impl Attendance<'_> {
    /// The score.
    pub fn score(&self) -> crate::NodeId {
        self.operands[0]
    }

    /// The value.
    pub fn value(&self) -> crate::NodeId {
        self.operands[1]
    }

    /// The sink's logit.
    pub fn sink(&self) -> Option<crate::NodeId> {
        (self.attend.normalize == Normalize::SoftmaxSink).then(|| self.operands[2])
    }

    fn first_term(&self) -> usize {
        2 + usize::from(self.attend.normalize == Normalize::SoftmaxSink)
    }

    /// The mask terms.
    pub fn terms(&self) -> &[crate::NodeId] {
        let first = self.first_term();
        &self.operands[first..first + self.attend.forms.len()]
    }

    /// For mask term `index`: (may be active, is full) over tiles, once inserted.
    pub fn skip(&self, index: usize) -> Option<(crate::NodeId, crate::NodeId)> {
        let first = self.first_term() + self.attend.forms.len() + 2 * index;
        self.attend.skips.then(|| (self.operands[first], self.operands[first + 1]))
    }
}

/// A tensor of an attention result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Field {
    /// `[b, h, i, e]`, f32 before it is stored.
    Out,
    /// `[b, h, i]`: natural logarithm of the sum of exponentials, sink included.
    Lse,
    /// `[b, h, i]`: the largest attended score.
    RowMax,
    /// `[b, h, i, key]`: the weights; never stored.
    Prob,
}
