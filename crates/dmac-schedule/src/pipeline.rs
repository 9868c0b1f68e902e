//! Warp specialisation of attention kernels, as a transformation of the tile program.
//!
//! Input → output: a kernel of one role that walks over key tiles → the same kernel as a producer, which copies into rings
//! of shared tiles, and consumers of 64 rows each, which issue the scores of the next tile before the softmax of this one
//! ends. What it needs of a kernel is structure, never a name: a loop nest whose innermost list copies shared tiles,
//! multiplies them into scores, does anything elementwise to those, and multiplies the result with another shared tile
//! into an accumulator. Kernels without it stay as they are.
//!
//! ```text
//! producer                            consumer (64 rows)
//!   copy left                           fill acc, row_max, row_sum; wait left
//!   for j0 ...                          first visit: wait keys; S = mma; mma_wait 0; ...
//!     wait keys_empty; copy keys          for j0 ...
//!     copy values of the last visit         mma_wait 0; release values; P = S; acc *= alpha
//!                                           wait keys; S = mma; wait values; acc += mma(P); mma_wait 1
//!                                           release keys; masks; online softmax of S (alpha kept for later)
//!   copy the last values                mma_wait 0; P = S; acc *= alpha; wait values; acc += mma(P); mma_wait 0
//! ```
//!
//! The loop is *rotated*: what ends a visit's product of weights and values stands at the top of the next visit, behind
//! the loop's back edge, because an assembler is free to hoist a wait within a block above the softmax it should overlap.
//! Where visits are not the turns of one loop (they are skipped, or in a nest), the first one is a turn like the others: the
//! product that it finds to be settled has no weights.

mod consumer;
mod producer;
mod structure;
mod substitute;

use crate::kernel::{
    Barrier, BarrierId, Expr, Kernel, Program, ScalarType, Space, Stmt, Tile, TileId, TileRef, VarId,
};
use dmac_ir::{Binary, Compare};
use std::collections::BTreeSet;
use structure::Structure;

/// Rows of a consumer group: the rows of one warpgroup's matrix product.
pub const GROUP_ROWS: usize = 64;

/// How attention kernels are specialised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pipeline {
    /// Consumer groups. A query tile has [`GROUP_ROWS`] rows for each.
    pub consumers: usize,
    /// Depth of the rings, at least 2.
    pub stages: usize,
    /// Registers a producer's thread needs.
    pub producer_registers: usize,
    /// Registers a consumer's thread needs.
    pub consumer_registers: usize,
}

impl Pipeline {
    /// The specialisation for tiles of `q_tile` rows, where they divide into groups.
    ///
    /// A processor's 65536 registers are split among the warpgroups; a producer that only issues block copies lives with 24
    /// of them, one that gathers rows with 40.
    pub fn for_rows(q_tile: usize, gathers: bool) -> Option<Self> {
        let (producer_registers, consumer_registers) = match (q_tile / GROUP_ROWS, gathers) {
            (1 | 2, false) => (24, 240),
            (1, true) => (40, 232),
            (2, true) => (40, 224),
            (3, false) => (32, 160),
            (3, true) => (40, 152),
            _ => return None,
        };
        let consumers = q_tile / GROUP_ROWS;
        q_tile.is_multiple_of(GROUP_ROWS).then_some(Self {
            consumers,
            stages: 2,
            producer_registers,
            consumer_registers,
        })
    }
}

/// Whether a kernel accumulates products of register tiles over a loop: what specialised warps are for.
pub fn accumulates(kernel: &Kernel) -> bool {
    structure::accumulates(kernel)
}

/// Specialises every kernel of the program that has the structure and fits; the names of those.
pub fn specialise(program: &mut Program, shared_bytes: usize) -> Vec<String> {
    let mut names = Vec::new();
    for at in 0..program.kernels.len() {
        if let Some(kernel) = specialised(program, &program.kernels[at], None, shared_bytes) {
            names.push(kernel.name.clone());
            program.kernels[at] = kernel;
        }
    }
    names
}

/// One kernel, specialised as given or as its tiles suggest; `None` where it lacks the structure or does not fit
/// into `shared_bytes`.
pub fn specialised(
    program: &Program,
    kernel: &Kernel,
    pipeline: Option<Pipeline>,
    shared_bytes: usize,
) -> Option<Kernel> {
    let (kernel, structure) = structure::find(program, kernel)?;
    let pipeline = match pipeline {
        Some(pipeline) => pipeline,
        None => Pipeline::for_rows(structure.rows, structure.gathers)?,
    };
    if structure.rows != pipeline.consumers * GROUP_ROWS || pipeline.stages < 2 {
        return None;
    }
    let mut rewrite = Rewrite::new(kernel, structure, pipeline);
    let kernel = rewrite.kernel()?;
    (kernel.shared_bytes() <= shared_bytes).then_some(kernel)
}

/// A ring of shared tiles that are filled and released together.
#[derive(Clone, Copy)]
struct Ring {
    full: BarrierId,
    empty: BarrierId,
}

/// The position in a ring: a stage, and the parity to wait for.
#[derive(Clone, Copy)]
struct Position {
    stage: VarId,
    parity: VarId,
}

struct Rewrite {
    /// The kernel as it was, then with more tiles, variables and barriers.
    kernel: Kernel,
    structure: Structure,
    pipeline: Pipeline,
    left_full: BarrierId,
    keys: Ring,
    values: Ring,
    /// Per-key vectors, where there are any.
    columns: Option<Ring>,
    /// Variables that are set before the roles begin.
    common: BTreeSet<VarId>,
    /// Stages of values that consumers release before they have had any.
    released_early: usize,
}

impl Rewrite {
    fn new(mut kernel: Kernel, structure: Structure, pipeline: Pipeline) -> Self {
        let stages = pipeline.stages;
        let mut barrier = |name: String, stages: usize, arrivals: usize| {
            kernel.barriers.push(Barrier { name, stages, arrivals });
            BarrierId(kernel.barriers.len() as u32 - 1)
        };
        let left_full = barrier("left_full".into(), pipeline.consumers, structure.left.len());
        let mut ring = |name: &str, copies: usize| Ring {
            full: barrier(format!("{name}_full"), stages, copies),
            empty: barrier(format!("{name}_empty"), stages, pipeline.consumers),
        };
        let keys = ring("keys", structure.keys.len());
        let values = ring("values", 1);
        let columns = (!structure.columns.is_empty()).then(|| ring("columns", structure.columns.len()));
        for &tile in structure.keys.iter().chain(&structure.columns).chain([&structure.values]) {
            kernel.tiles[tile.0 as usize].stages = stages;
        }
        for &tile in &structure.left {
            let tile = &mut kernel.tiles[tile.0 as usize];
            tile.rows = GROUP_ROWS;
            tile.stages = pipeline.consumers;
        }
        Self {
            kernel,
            structure,
            pipeline,
            left_full,
            keys,
            values,
            columns,
            common: BTreeSet::new(),
            released_early: 1,
        }
    }

    fn kernel(&mut self) -> Option<Kernel> {
        let body = std::mem::take(&mut self.kernel.body);
        let shared = body.iter().take_while(|stmt| matches!(stmt, Stmt::Set { .. } | Stmt::Comment(_)));
        let shared = shared.count();
        self.common = self.kernel.grid.iter().map(|axis| axis.var).collect();
        for stmt in &body[..shared] {
            if let Stmt::Set { var, .. } = stmt {
                self.common.insert(*var);
            }
        }
        let producer_group = self.kernel.add_var("producer", ScalarType::Int);
        let consumer_group = self.kernel.add_var("group", ScalarType::Int);
        let producer = self.producer(&body[shared..])?;
        let consumer = self.consumer(&body[shared..], consumer_group)?;
        let mut kernel = self.kernel.clone();
        kernel.body = body[..shared].to_vec();
        kernel.body.push(Stmt::Role {
            name: "producer".into(),
            groups: 1,
            registers: Some(self.pipeline.producer_registers),
            group: producer_group,
            body: producer,
        });
        kernel.body.push(Stmt::Role {
            name: "consumer".into(),
            groups: self.pipeline.consumers,
            registers: Some(self.pipeline.consumer_registers),
            group: consumer_group,
            body: consumer,
        });
        substitute::prune(&mut kernel);
        substitute::drop_tiles(&mut kernel);
        Some(kernel)
    }

    /// A position of its own, and the statements that set it up.
    fn position(&mut self, name: &str, (stage, parity): (i64, i64), out: &mut Vec<Stmt>) -> Position {
        let start = stage;
        let stage = self.kernel.add_var(format!("{name}_stage"), ScalarType::Int);
        let parity_var = self.kernel.add_var(format!("{name}_parity"), ScalarType::Int);
        out.push(Stmt::Set { var: stage, value: Expr::Int(start) });
        out.push(Stmt::Set { var: parity_var, value: Expr::Int(parity) });
        Position { stage, parity: parity_var }
    }

    /// To the next stage.
    fn advance(&self, position: Position) -> [Stmt; 2] {
        let last = Expr::Int(self.pipeline.stages as i64 - 1);
        let wraps = || Expr::compare(Compare::Eq, Expr::Var(position.stage), last.clone());
        let parity = Expr::Var(position.parity);
        let flipped = wraps().then(Expr::Int(1) - parity.clone(), parity);
        let next = wraps().then(Expr::Int(0), Expr::Var(position.stage) + Expr::Int(1));
        [Stmt::Set { var: position.parity, value: flipped }, Stmt::Set { var: position.stage, value: next }]
    }

    fn wait(barrier: BarrierId, position: Position) -> Stmt {
        Stmt::Wait { barrier, stage: Expr::Var(position.stage), parity: Expr::Var(position.parity) }
    }

    fn at_stage(tile: TileId, stage: VarId) -> TileRef {
        TileRef { tile, stage: Some(Box::new(Expr::Var(stage))) }
    }

    /// Whether there was a visit before, as the two roles count them.
    fn visited(visits: VarId) -> Expr {
        Expr::lt(Expr::Int(0), Expr::Var(visits))
    }

    fn count_visit(visits: VarId) -> Stmt {
        Stmt::Set { var: visits, value: Expr::Var(visits) + Expr::Int(1) }
    }

    /// The variables of the loops and of the visits that a statement of a visit uses after the visit ended: each with
    /// a variable that keeps its value.
    fn kept(&mut self, used: &[VarId]) -> Vec<(VarId, VarId)> {
        let keep = |kernel: &mut Kernel, var: VarId| {
            let decl = kernel.var(var).clone();
            kernel.add_var(format!("last_{}", decl.name), decl.ty)
        };
        used.iter().map(|&var| (var, keep(&mut self.kernel, var))).collect()
    }

    /// The statement with kept values instead of current ones.
    fn with_kept(stmt: &Stmt, kept: &[(VarId, VarId)]) -> Stmt {
        let mut stmt = stmt.clone();
        substitute::exprs(&mut stmt, &mut |expr| {
            *expr = expr.replace(&|x| match x {
                Expr::Var(var) => kept.iter().find(|(of, _)| of == var).map(|(_, keeps)| Expr::Var(*keeps)),
                _ => None,
            });
        });
        stmt
    }

    /// A register tile of a consumer.
    fn register(&mut self, name: &str, like: &Tile, cols: usize) -> TileId {
        let taken = self.kernel.tiles.iter().any(|tile| tile.name == name);
        let name = if taken { format!("{name}_next") } else { name.to_owned() };
        self.kernel.add_tile(Tile {
            name,
            cols,
            rows: GROUP_ROWS,
            space: Space::Register,
            stages: 1,
            ..like.clone()
        })
    }
}

/// `x * y`.
fn times(x: Expr, y: Expr) -> Expr {
    Expr::binary(Binary::Mul, x, y)
}
