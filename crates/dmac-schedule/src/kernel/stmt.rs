//! Statements of tile programs: what a grid point does, in order.

use super::{Expr, TensorId, TieRule, TileId, VarId};
use dmac_ir::FloatBits;

/// A barrier of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BarrierId(pub u32);

/// A heap of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HeapId(pub u32);

/// For each of `rows` rows, the best `capacity` of the (score, index) pairs that were offered, in the order of the
/// language: NaN worst, `-0 = +0`, ties by rule. A run-time capacity, so it lives in the worker's scratch memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Heap {
    /// Its name.
    pub name: String,
    /// Rows.
    pub rows: usize,
    /// Capacity: an expression over sizes, parameters and constants, at least 0.
    pub capacity: Expr,
    /// Which of two equal scores is better.
    pub ties: TieRule,
}

/// A tile, at one stage of its ring.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TileRef {
    /// The tile.
    pub tile: TileId,
    /// The stage, for a ring.
    pub stage: Option<Box<Expr>>,
}

impl From<TileId> for TileRef {
    fn from(tile: TileId) -> Self {
        Self { tile, stage: None }
    }
}

/// A reduction along the columns of a tile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the operations")]
pub enum MapReduction {
    Sum,
    Max,
    Min,
}

/// How an online softmax takes its scores: what would otherwise be a map before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// What they are multiplied by: finite, above zero.
    pub scale: FloatBits,
    /// For each row the first column that counts, and the end of those that do: `I32` row vectors. Scores of other columns
    /// are taken for -inf, whatever they are.
    pub columns: Option<(TileId, TileId)>,
}

impl Default for Taken {
    /// As they are.
    fn default() -> Self {
        Self { scale: FloatBits::new(1.0), columns: None }
    }
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub enum Stmt {
    /// Text for the reader: which node of the program follows.
    Comment(String),
    /// `for var in lo .. hi step`: in order. `var` is an int; `step` is positive.
    For {
        /// The loop variable.
        var: VarId,
        /// First value.
        lo: Expr,
        /// Bound (exclusive).
        hi: Expr,
        /// Step.
        step: Expr,
        /// The body.
        body: Vec<Stmt>,
    },
    /// A branch. The condition is the same for all threads of a grid point.
    If {
        /// The condition.
        cond: Expr,
        /// Where it holds.
        then: Vec<Stmt>,
        /// Where it does not.
        otherwise: Vec<Stmt>,
    },
    /// Sets a scalar variable: its definition, or a later assignment.
    Set {
        /// The variable.
        var: VarId,
        /// The value.
        value: Expr,
    },

    /// `dst[row, col] = tensor[index(row, col)]` for `row < rows, col < cols`; zero in the rest of the tile. A plain row
    /// range, a column range and a gathered list are all forms of `index`. With a barrier the copy is asynchronous:
    /// the tile may be read after a [`Stmt::Wait`] for that stage.
    Copy {
        /// Destination.
        dst: TileRef,
        /// Source.
        tensor: TensorId,
        /// Its indices, over [`Expr::Row`] and [`Expr::Col`].
        index: Vec<Expr>,
        /// Rows.
        rows: Expr,
        /// Columns.
        cols: Expr,
        /// The barrier that completion arrives on, and its stage.
        arrive: Option<(BarrierId, Expr)>,
    },
    /// `tensor[index(row, col)] = src[row, col]` for `row < rows, col < cols`, rounded to the tensor's element.
    Store {
        /// Destination.
        tensor: TensorId,
        /// Its indices, over [`Expr::Row`] and [`Expr::Col`].
        index: Vec<Expr>,
        /// Source.
        src: TileId,
        /// Rows.
        rows: Expr,
        /// Columns.
        cols: Expr,
    },
    /// `tensor[index] += src[row, col]`: order between grid points is not defined, unless the target says so.
    ReduceAdd {
        /// Destination (f32).
        tensor: TensorId,
        /// Its indices.
        index: Vec<Expr>,
        /// Source.
        src: TileId,
        /// Rows.
        rows: Expr,
        /// Columns.
        cols: Expr,
    },
    /// One element of a tensor.
    StoreElem {
        /// Destination.
        tensor: TensorId,
        /// Its indices.
        index: Vec<Expr>,
        /// The value.
        value: Expr,
    },
    /// All elements of a tile, whatever its run-time bounds.
    Fill {
        /// The tile.
        tile: TileId,
        /// The value.
        value: Expr,
    },
    /// `dst[row, col] = body(row, col)` for `row < rows, col < cols`. `dst` may be read by the body at its own place. The
    /// only statement that holds a variant's arithmetic.
    Map {
        /// Destination.
        dst: TileId,
        /// Rows.
        rows: Expr,
        /// Columns.
        cols: Expr,
        /// The value.
        body: Expr,
    },
    /// `acc[m, n] (+)= a[m, k] * b[k, n]`, or with `transpose_b` `b[n, k]`. f32 accumulation. Rows and columns of the
    /// operands up to the run-time bounds are read. Asynchronous on targets that can: see [`Stmt::MmaWait`].
    Mma {
        /// The accumulator (f32).
        acc: TileId,
        /// Left operand.
        a: TileRef,
        /// Right operand.
        b: TileRef,
        /// Whether `b` is `[n, k]`.
        transpose_b: bool,
        /// Whether to add to the accumulator; otherwise it is overwritten.
        accumulate: bool,
        /// Rows.
        m: Expr,
        /// Columns.
        n: Expr,
        /// Depth.
        k: Expr,
    },
    /// Waits until at most `pending` of the role's products are in flight.
    MmaWait {
        /// How many may still run.
        pending: usize,
    },
    /// `dst[row] = reduction of src[row, ..cols]`, or with `accumulate` also of its old value.
    RowReduce {
        /// A row vector.
        dst: TileId,
        /// The tile.
        src: TileId,
        /// What is computed.
        op: MapReduction,
        /// Rows.
        rows: Expr,
        /// Columns.
        cols: Expr,
        /// Whether the old value takes part.
        accumulate: bool,
    },
    /// A step of online softmax, on rows `..rows` and columns `..cols` of `scores` (-inf: masked), taken as `taken` says:
    ///
    /// ```text
    /// scores = scores * scale             (-inf outside the row's columns)
    /// new = max(row_max, max of scores);  alpha = exp(row_max - new)      (1 while new is -inf)
    /// scores = exp(scores - new)          (0 while new is -inf)
    /// row_sum = row_sum * alpha + sum of scores;  acc = acc * alpha (each row);  row_max = new
    /// ```
    OnlineSoftmax {
        /// Scores in, weights out.
        scores: TileId,
        /// Row vector.
        row_max: TileId,
        /// Row vector.
        row_sum: TileId,
        /// Accumulator to rescale, and its columns.
        acc: (TileId, Expr),
        /// Rows.
        rows: Expr,
        /// Columns.
        cols: Expr,
        /// How the scores are taken.
        taken: Taken,
    },

    /// Empties row `row` of a heap.
    HeapClear {
        /// The heap.
        heap: HeapId,
        /// The row.
        row: Expr,
    },
    /// Offers one element; `evicted` becomes the index that fell out (perhaps the offered one), or -1.
    HeapPush {
        /// The heap.
        heap: HeapId,
        /// The row.
        row: Expr,
        /// The score.
        score: Expr,
        /// The index.
        index: Expr,
        /// Int variable that is set.
        evicted: VarId,
    },
    /// Offers the elements of a row of a tile: column `c < cols` where `valid[row, c]` (a `Bool` tile) holds, with index
    /// `first + c`. Indices of successive offers increase.
    HeapOffer {
        /// The heap.
        heap: HeapId,
        /// The row, of the heap and of the tiles.
        row: Expr,
        /// Scores (f32).
        scores: TileId,
        /// Candidates (bool).
        valid: TileId,
        /// The index of column 0.
        first: Expr,
        /// Columns.
        cols: Expr,
    },
    /// Stores the indices of a row of a heap, ascending, to `tensor[index.., 0 ..]`, and sets `count` to how many there are.
    HeapStore {
        /// The heap.
        heap: HeapId,
        /// The row.
        row: Expr,
        /// Destination (i32); its last axis is the slot.
        tensor: TensorId,
        /// Its leading indices.
        index: Vec<Expr>,
        /// Int variable that is set.
        count: VarId,
    },

    /// Appends to a list in order: for each `var` in `lo .. hi`, `item = source`, and where `keep` holds
    /// `tensor[index.., count] = item` and `count` grows by one. Items beyond `limit` are counted and not stored. A loop says
    /// the same; this one may test many items at once, so `source` and `keep` must not depend on `count` or `tensor`.
    Filter {
        /// Int variable of the items' places.
        var: VarId,
        /// First place.
        lo: Expr,
        /// One past the last.
        hi: Expr,
        /// Int variable of the item.
        item: VarId,
        /// The item at a place.
        source: Expr,
        /// Which items are taken.
        keep: Expr,
        /// Destination (i32); its last axis is the slot.
        tensor: TensorId,
        /// Its leading indices.
        index: Vec<Expr>,
        /// How many slots there are.
        limit: Expr,
        /// Int variable of how many items were taken: set before, increased.
        count: VarId,
    },

    /// Statements of one kind of thread group. Roles of a kernel run at the same time; without any, one group runs all.
    Role {
        /// `producer`, `consumer`.
        name: String,
        /// Groups of threads that run it (warpgroups on a GPU).
        groups: usize,
        /// Registers a thread, where the target can set them.
        registers: Option<usize>,
        /// The int variable that holds the group's index within the role.
        group: VarId,
        /// What it does.
        body: Vec<Stmt>,
    },
    /// Waits until the phase of a barrier's stage has the given parity completed.
    Wait {
        /// The barrier.
        barrier: BarrierId,
        /// Its stage.
        stage: Expr,
        /// 0 or 1.
        parity: Expr,
    },
    /// Arrives on a barrier's stage.
    Arrive {
        /// The barrier.
        barrier: BarrierId,
        /// Its stage.
        stage: Expr,
    },
    /// All threads of the named roles meet.
    Sync {
        /// A number for the barrier.
        id: usize,
        /// How many groups meet.
        groups: usize,
    },
}

impl Stmt {
    /// The bodies nested in this statement.
    pub fn bodies(&self) -> Vec<&[Stmt]> {
        match self {
            Self::For { body, .. } | Self::Role { body, .. } => vec![body],
            Self::If { then, otherwise, .. } => vec![then, otherwise],
            _ => Vec::new(),
        }
    }

    /// The expressions that this statement evaluates itself, those of nested statements apart.
    pub fn expressions(&self) -> Vec<&Expr> {
        match self {
            Self::For { lo, hi, step, .. } => vec![lo, hi, step],
            Self::If { cond, .. } => vec![cond],
            Self::Set { value, .. } | Self::Fill { value, .. } => vec![value],
            Self::Copy { dst, index, rows, cols, arrive, .. } => index
                .iter()
                .chain([rows, cols])
                .chain(dst.stage.as_deref())
                .chain(arrive.as_ref().map(|(_, stage)| stage))
                .collect(),
            Self::Store { index, rows, cols, .. } | Self::ReduceAdd { index, rows, cols, .. } => {
                index.iter().chain([rows, cols]).collect()
            }
            Self::StoreElem { index, value, .. } => index.iter().chain([value]).collect(),
            Self::Map { rows, cols, body, .. } => vec![rows, cols, body],
            Self::Mma { a, b, m, n, k, .. } => {
                a.stage.as_deref().into_iter().chain(b.stage.as_deref()).chain([m, n, k]).collect()
            }
            Self::RowReduce { rows, cols, .. } => vec![rows, cols],
            Self::OnlineSoftmax { acc, rows, cols, .. } => vec![&acc.1, rows, cols],
            Self::HeapClear { row, .. } => vec![row],
            Self::HeapPush { row, score, index, .. } => vec![row, score, index],
            Self::HeapOffer { row, first, cols, .. } => vec![row, first, cols],
            Self::HeapStore { row, index, .. } => index.iter().chain([row]).collect(),
            Self::Filter { lo, hi, source, keep, index, limit, .. } => {
                index.iter().chain([lo, hi, source, keep, limit]).collect()
            }
            Self::Wait { stage, parity, .. } => vec![stage, parity],
            Self::Arrive { stage, .. } => vec![stage],
            Self::Comment(_) | Self::MmaWait { .. } | Self::Role { .. } | Self::Sync { .. } => Vec::new(),
        }
    }

    /// The tensor that this statement copies from or stores to.
    pub fn tensor(&self) -> Option<TensorId> {
        match self {
            Self::Copy { tensor, .. }
            | Self::Store { tensor, .. }
            | Self::ReduceAdd { tensor, .. }
            | Self::StoreElem { tensor, .. }
            | Self::HeapStore { tensor, .. }
            | Self::Filter { tensor, .. } => Some(*tensor),
            _ => None,
        }
    }

    /// Calls `f` for this statement and all that are nested in it.
    pub fn walk<'a>(&'a self, f: &mut dyn FnMut(&'a Self)) {
        f(self);
        for body in self.bodies() {
            for stmt in body {
                stmt.walk(f);
            }
        }
    }
}
