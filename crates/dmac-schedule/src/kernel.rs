//! The tile program: one description of a kernel for every target.
//!
//! A [`Program`] is a list of [`Kernel`]s over named tensors. A kernel is a grid of independent points, each of which runs
//! the same statements over *tiles*: small two-dimensional arrays of compile-time size in a named memory space. The order
//! of statements in a role is the order of issued instructions; nothing about the instruction order is left to luck.
//!
//! Sparsity, masks and score functions appear here only as data: loop bounds, lists that are loaded, and the scalar
//! bodies of [`Stmt::Map`]. A target lowers each statement; it never looks for a variant.
//!
//! # Scalars
//!
//! [`Expr`] is a typed scalar expression: ints (64 bits in address computations, 32 bits where they are elements), f32,
//! bool. `If`, `And` and `Or` do not evaluate the side that is not needed, so a load under them may be out of range
//! where it is excluded; vector code must honour that (clamp the address or branch).
//!
//! # Tiles
//!
//! Where a statement is elementwise over a tile ([`Stmt::Map`], [`Stmt::Copy`], [`Stmt::Store`]), [`Expr::Row`] and
//! [`Expr::Col`] are the element's coordinates, and [`Expr::Elem`] is the element of another tile at the same place, where
//! a tile of one column (a *row vector*: one value a row) or one row is broadcast. Run-time `rows` and `cols` bound what is
//! written; elements of the destination outside keep their value, except for [`Stmt::Copy`], which zeroes them (a matrix
//! product may then read whole tiles).

mod expr;
mod print;
mod stmt;
mod verify;

pub use expr::{Expr, ScalarType};
pub use stmt::{BarrierId, Heap, HeapId, MapReduction, Stmt, Taken, TileRef};
pub use verify::{type_of, verify};

use dmac_ir::{AxisId, InputId, NodeId, Param, Ties};

/// A storage type, chosen when compiling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Storage {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

/// The type of an element in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 32-bit signed integer.
    I32,
    /// One byte, 0 or 1.
    Bool,
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Bool => 1,
        }
    }

    /// The type of the scalar that a load gives.
    pub fn scalar(self) -> ScalarType {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => ScalarType::F32,
            Self::I32 => ScalarType::Int,
            Self::Bool => ScalarType::Bool,
        }
    }
}

impl From<Storage> for Element {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::F32 => Self::F32,
            Storage::F16 => Self::F16,
            Storage::Bf16 => Self::Bf16,
        }
    }
}

/// A tensor of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TensorId(pub u32);

/// A run-time size of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SizeId(pub u32);

/// A scalar variable of a kernel: grid index, loop variable, `let` or mutable scalar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VarId(pub u32);

/// A tile of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TileId(pub u32);

/// Everything that runs for one call, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    /// The attention's name.
    pub name: String,
    /// The storage type of `real` tensors.
    pub storage: Storage,
    /// Run-time sizes.
    pub sizes: Vec<SizeDecl>,
    /// Run-time parameters, by [`dmac_ir::ParamId`].
    pub params: Vec<Param>,
    /// Tensors: inputs in the order of the graph, then key lengths, outputs, workspaces.
    pub tensors: Vec<TensorDecl>,
    /// What must hold of the sizes and parameters before launch, with the message for when it does not. Expressions over
    /// sizes and parameters only.
    pub requires: Vec<(Expr, String)>,
    /// Where the selections of the graph are, for whoever checks them.
    pub selections: Vec<Selection>,
    /// Kernels in launch order. Each starts after all of the one before has finished.
    pub kernels: Vec<Kernel>,
}

/// A selection in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selection {
    /// A lifetime node: `[row..., element]` ends.
    Ends {
        /// The node of the graph that was lowered.
        node: NodeId,
        /// Its tensor.
        ends: TensorId,
    },
    /// A select node: lists, ascending.
    Lists {
        /// The node of the graph that was lowered.
        node: NodeId,
        /// `[row..., slot]`.
        items: TensorId,
        /// `[row...]`: how many slots are used.
        counts: TensorId,
    },
}

/// A run-time size: that of an axis whose size is not fixed at compile time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SizeDecl {
    /// Its name (`N`).
    pub name: String,
    /// The graph's axis.
    pub axis: AxisId,
}

/// A tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorDecl {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its element type.
    pub element: Element,
    /// Its extents, outermost first: expressions over sizes, parameters and constants.
    pub dims: Vec<Expr>,
}

/// What a tensor is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Given by the caller, with run-time strides (in elements).
    Input(InputId),
    /// `kv_len[B]`: keys of each batch element. Where the caller gives none, filled with `N` before the first kernel.
    KeyLengths,
    /// A result, by its index in the graph's outputs; run-time strides.
    Output(usize),
    /// Written and read by kernels of this program; contiguous, one for the whole call.
    Workspace,
}

/// A grid of independent points.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// Its name, unique in the program: what it computes.
    pub name: String,
    /// Where the grid runs several times.
    pub rounds: Option<Rounds>,
    /// The grid's axes, outermost first; points may run in any order and at the same time. Extents are expressions over
    /// sizes, parameters and constants.
    pub grid: Vec<GridAxis>,
    /// All scalar variables with name and type; grid variables are among them.
    pub vars: Vec<VarDecl>,
    /// All tiles.
    pub tiles: Vec<Tile>,
    /// Bounded best-of lists of run-time capacity.
    pub heaps: Vec<Heap>,
    /// Barriers of asynchronous copies: each counts the stages of a ring.
    pub barriers: Vec<Barrier>,
    /// What each point does.
    pub body: Vec<Stmt>,
}

/// A grid that runs several times in turn, each time after all points of the time before have finished.
#[derive(Clone, PartialEq, Debug)]
pub struct Rounds {
    /// The variable that holds the round's number, from 0.
    pub var: VarId,
    /// How many rounds: an expression over sizes, parameters and constants.
    pub count: Expr,
    /// Whether round r, from 0, brings together no more than `2^(r + 1)` neighbours: what a point reads was written, in
    /// the round before, by points of its own group, which start at multiples of that number along the last axis. (Groups
    /// may then be ahead of each other.)
    pub doubling: bool,
}

/// An axis of a grid.
#[derive(Clone, PartialEq, Debug)]
pub struct GridAxis {
    /// The variable that holds the index.
    pub var: VarId,
    /// How many points.
    pub extent: Expr,
    /// Whether to start with the highest index: the longest work first.
    pub descending: bool,
}

/// A scalar variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VarDecl {
    /// Its name, for text.
    pub name: String,
    /// Its type.
    pub ty: ScalarType,
}

/// A tile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    /// Its name: a role (`scores`, `row_max`).
    pub name: String,
    /// Its element: `F32` for accumulators and scores, a storage element for operands, `I32`, `Bool`.
    pub element: Element,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Where it lives.
    pub space: Space,
    /// Depth, for a ring of shared tiles; otherwise 1.
    pub stages: usize,
}

/// A memory space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Shared by all threads of a grid point (on a CPU: its worker's scratch memory).
    Shared,
    /// Spread over the registers of the role that uses it (on a CPU: scratch memory too).
    Register,
}

/// A barrier that asynchronous copies complete on, one phase a ring stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Barrier {
    /// Its name.
    pub name: String,
    /// Its stages.
    pub stages: usize,
    /// How many arrivals complete a phase.
    pub arrivals: usize,
}

/// The order of equal scores, for heaps.
pub type TieRule = Ties;

impl Program {
    /// A tensor.
    pub fn tensor(&self, id: TensorId) -> &TensorDecl {
        &self.tensors[id.0 as usize]
    }

    /// Adds a tensor.
    pub fn add_tensor(&mut self, tensor: TensorDecl) -> TensorId {
        self.tensors.push(tensor);
        TensorId(self.tensors.len() as u32 - 1)
    }

    /// The tensor of key lengths.
    pub fn key_lengths(&self) -> TensorId {
        let at = self.tensors.iter().position(|tensor| tensor.role == Role::KeyLengths);
        TensorId(at.expect("a program has key lengths") as u32)
    }
}

impl Kernel {
    /// A kernel without statements.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            rounds: None,
            grid: Vec::new(),
            vars: Vec::new(),
            tiles: Vec::new(),
            heaps: Vec::new(),
            barriers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a scalar variable.
    pub fn add_var(&mut self, name: impl Into<String>, ty: ScalarType) -> VarId {
        self.vars.push(VarDecl { name: name.into(), ty });
        VarId(self.vars.len() as u32 - 1)
    }

    /// Adds a tile.
    pub fn add_tile(&mut self, tile: Tile) -> TileId {
        self.tiles.push(tile);
        TileId(self.tiles.len() as u32 - 1)
    }

    /// Adds a heap.
    pub fn add_heap(&mut self, heap: Heap) -> HeapId {
        self.heaps.push(heap);
        HeapId(self.heaps.len() as u32 - 1)
    }

    /// A tile.
    pub fn tile(&self, id: TileId) -> &Tile {
        &self.tiles[id.0 as usize]
    }

    /// Whether its points are scalar programs: no tiles, no lists, nothing that several threads would share. A target of
    /// many threads runs one point on each.
    pub fn is_scalar(&self) -> bool {
        let mut shares = !self.tiles.is_empty() || !self.heaps.is_empty() || !self.barriers.is_empty();
        for stmt in &self.body {
            stmt.walk(&mut |stmt| shares |= matches!(stmt, Stmt::Filter { .. } | Stmt::Role { .. }));
        }
        !shares
    }

    /// Bytes of its shared tiles.
    pub fn shared_bytes(&self) -> usize {
        let shared = self.tiles.iter().filter(|tile| tile.space == Space::Shared);
        shared.map(|tile| tile.rows * tile.cols * tile.stages * tile.element.bytes()).sum()
    }

    /// A scalar variable.
    pub fn var(&self, id: VarId) -> &VarDecl {
        &self.vars[id.0 as usize]
    }
}
