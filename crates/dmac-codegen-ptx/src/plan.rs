//! The plan of a kernel: how many threads run a grid point, and in what form each tile is held.
//!
//! Input → output: a [`Kernel`] → a [`Plan`]. The tile program says what a tile holds, not how. The forms:
//!
//! - **fragment**: f32 spread over registers as `mma.sync` leaves its results: warp w holds rows 16 w to 16 w + 15, lane l
//!   of it rows l / 4 and l / 4 + 8, columns 2 (l % 4) and the next of every eight. Accumulators and scores.
//! - **rows**: a row vector, one register for each of a thread's two rows, the same in the four lanes that share a row.
//! - **shared**: row-major in shared memory. Everything that is copied, read by products as an operand, read at computed
//!   places, or offered to heaps; and all tiles of kernels without fragments. Rows have 16 bytes (f32: one chunk) more than
//!   their columns need, so that the eight rows that `ldmatrix` reads at a time lie in different banks.
//!
//! What lies outside the run-time bounds of a fragment means nothing: whoever reads one respects the bounds itself.
//! Operands in shared memory are zero there, because products read whole tiles.

use crate::emit::heap::HEADER;
use dmac_schedule::Program;
use dmac_schedule::kernel::{Element, Expr, Kernel, Space, Stmt, TensorId, TileId};
use dmac_source::{Code, Diagnostic};
use std::collections::BTreeSet;

/// Threads of a warp.
pub(crate) const WARP: u32 = 32;
/// Rows of a warp's fragment.
pub(crate) const WARP_ROWS: usize = 16;
/// Threads of a block that only maps tiles in shared memory.
const MAPPING_THREADS: u32 = 128;
/// Threads of a block, where each has a grid point of its own.
pub(crate) const POINT_THREADS: u32 = 256;
/// Threads of a block that runs the first rounds of a kernel.
pub(crate) const GROUP_THREADS: u32 = 1024;
/// How many rounds, where groups double, a block can run alone: two points a thread.
pub(crate) const GROUP_ROUNDS: u32 = 11;
/// Warps of a block that filters.
pub(crate) const FILTER_WARPS: u32 = 8;

/// Where a tile in shared memory lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SharedTile {
    /// Bytes from the start of shared memory.
    pub offset: u32,
    /// Bytes from one row to the next.
    pub pitch: u32,
    /// Bytes of an element.
    pub bytes: u32,
    /// Rows and columns that exist, at least those of the tile.
    pub rows: usize,
    pub cols: usize,
    /// Whether products read it, so that what is outside the bounds must be zero.
    pub operand: bool,
}

/// How a tile is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Fragment,
    Rows,
    Shared(SharedTile),
}

/// The plan of a kernel.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Plan {
    pub forms: Vec<Form>,
    /// Warps of a block.
    pub warps: u32,
    /// Bytes of shared memory.
    pub shared_bytes: u32,
    /// Bytes from the start of shared memory to counters: 256 of selections, in kernels that offer to heaps; two for each
    /// warp and item of a thread, in kernels that filter.
    pub counters: u32,
    /// Bytes from the start of shared memory to the headers of the heaps' rows.
    pub headers: u32,
    /// Whether each thread has a grid point of its own.
    pub point_threads: bool,
    /// The number of the first round that is a launch of its own.
    pub first_round: u32,
    /// Tensors that the kernel writes.
    pub written: BTreeSet<TensorId>,
    /// Tiles whose elements are weights of an online softmax: at most 1, so that they can be rounded to a storage type.
    pub weights: BTreeSet<TileId>,
    /// Fragments that are left operands, the weights apart: zero outside the columns.
    pub fragment_operands: BTreeSet<TileId>,
}

/// What statements do with tiles.
#[derive(Default)]
struct Uses {
    fragments: BTreeSet<TileId>,
    shared: BTreeSet<TileId>,
    operands: BTreeSet<TileId>,
    weights: BTreeSet<TileId>,
    written: BTreeSet<TensorId>,
    offers: bool,
    filters: bool,
}

impl Uses {
    fn note(&mut self, stmt: &Stmt) {
        for expr in stmt.expressions() {
            expr.any(&mut |x| {
                if let Expr::At { tile, .. } = x {
                    self.shared.insert(*tile);
                }
                false
            });
        }
        match stmt {
            Stmt::Store { tensor, .. }
            | Stmt::ReduceAdd { tensor, .. }
            | Stmt::StoreElem { tensor, .. }
            | Stmt::HeapStore { tensor, .. } => {
                self.written.insert(*tensor);
            }
            Stmt::Filter { tensor, .. } => {
                self.written.insert(*tensor);
                self.filters = true;
            }
            Stmt::Copy { dst, .. } => {
                self.shared.insert(dst.tile);
            }
            Stmt::Mma { acc, a, b, .. } => {
                self.fragments.insert(*acc);
                self.operands.extend([a.tile, b.tile]);
                self.shared.insert(b.tile);
            }
            Stmt::OnlineSoftmax { scores, acc, .. } => {
                self.fragments.extend([*scores, acc.0]);
                self.weights.insert(*scores);
            }
            Stmt::HeapOffer { scores, valid, .. } => {
                self.shared.extend([*scores, *valid]);
                self.offers = true;
            }
            _ => {}
        }
    }
}

impl Plan {
    /// # Errors
    /// A tile that would have to be in registers and in shared memory, statements that this target has no form for.
    pub fn new(program: &Program, kernel: &Kernel, limit: usize) -> Result<Self, Box<Diagnostic>> {
        let mut uses = Uses::default();
        let mut refused = None;
        for stmt in &kernel.body {
            stmt.walk(&mut |stmt| {
                uses.note(stmt);
                if let Stmt::Role { .. } | Stmt::Wait { .. } | Stmt::Arrive { .. } | Stmt::Sync { .. } = stmt
                {
                    refused = Some("groups of threads with roles of their own");
                }
                if let Stmt::Copy { arrive: Some(_), .. } = stmt {
                    refused = Some("copies that complete on a barrier");
                }
            });
        }
        if let Some(what) = refused {
            return Err(unsupported(program, kernel, what));
        }
        let any = !uses.fragments.is_empty();
        let mut rows = 1;
        for (at, tile) in kernel.tiles.iter().enumerate() {
            let id = TileId(at as u32);
            if uses.fragments.contains(&id) {
                if tile.element != Element::F32 || tile.space == Space::Shared || uses.shared.contains(&id) {
                    let what =
                        format!("the tile `{}` is a result of products and read at other places", tile.name);
                    return Err(unsupported(program, kernel, &what));
                }
                rows = rows.max(tile.rows);
            }
        }
        let warps = rows.div_ceil(WARP_ROWS);
        let mut offset = 0;
        let mut forms = Vec::new();
        for (at, tile) in kernel.tiles.iter().enumerate() {
            let id = TileId(at as u32);
            let fits = tile.rows <= warps * WARP_ROWS;
            let free = any && tile.space == Space::Register && !uses.shared.contains(&id) && fits;
            forms.push(
                if uses.fragments.contains(&id) || (free && tile.cols > 1 && tile.element == Element::F32) {
                    Form::Fragment
                } else if free && tile.cols == 1 && !uses.operands.contains(&id) {
                    Form::Rows
                } else {
                    let operand = uses.operands.contains(&id);
                    // Half precision is two bytes only where products read it so; conditions are whole words.
                    let bytes = match tile.element {
                        Element::F16 | Element::Bf16 => 2,
                        Element::F32 | Element::I32 | Element::Bool => 4,
                    };
                    let round = |size: usize| if operand { size.next_multiple_of(16) } else { size };
                    let (rows, cols) = (round(tile.rows), round(tile.cols));
                    let mut pitch = cols as u32 * bytes;
                    if operand {
                        pitch += 16;
                    }
                    let size = pitch * rows as u32 * tile.stages as u32;
                    let shared = SharedTile { offset, pitch, bytes, rows, cols, operand };
                    offset += size.next_multiple_of(16);
                    Form::Shared(shared)
                },
            );
        }
        let counters = offset;
        if uses.offers {
            offset += 1024;
        } else if uses.filters {
            offset += 256;
        }
        let headers = offset;
        let heap_rows: usize = kernel.heaps.iter().map(|heap| heap.rows).sum();
        offset += heap_rows as u32 * HEADER;
        if offset as usize > limit {
            let what = format!("{offset} bytes of shared memory, of which a block has {limit}");
            let help = "compile for smaller features or another storage type, or with smaller tiles";
            return Err(Box::new(unsupported(program, kernel, &what).help(help)));
        }
        let point_threads = kernel.is_scalar();
        let warps = if any {
            warps as u32
        } else if point_threads {
            POINT_THREADS / WARP
        } else if uses.filters {
            FILTER_WARPS
        } else if !kernel.heaps.is_empty() || kernel.tiles.is_empty() {
            1
        } else {
            MAPPING_THREADS / WARP
        };
        let fragment_operands = uses
            .operands
            .iter()
            .copied()
            .filter(|tile| forms[tile.0 as usize] == Form::Fragment && !uses.weights.contains(tile))
            .collect();
        let plan = Self {
            forms,
            warps,
            shared_bytes: offset,
            counters,
            headers,
            point_threads,
            first_round: 0,
            written: uses.written,
            weights: uses.weights,
            fragment_operands,
        };
        if plan.warps > 1 && !kernel.heaps.is_empty() {
            return Err(unsupported(program, kernel, "selections in tiles of more than 16 rows"));
        }
        match plan.misfit(kernel) {
            Some(what) => Err(unsupported(program, kernel, what)),
            None => Ok(plan),
        }
    }

    /// What of a kernel's statements does not fit the forms of its tiles.
    fn misfit(&self, kernel: &Kernel) -> Option<&'static str> {
        let mut misfit = None;
        for stmt in &kernel.body {
            stmt.walk(&mut |stmt| match stmt {
                Stmt::Mma { a, .. } => {
                    if let Form::Shared(tile) = self.form(a.tile)
                        && tile.rows != self.warps as usize * WARP_ROWS
                    {
                        misfit = Some("products with different numbers of rows");
                    }
                }
                Stmt::OnlineSoftmax { row_max, row_sum, .. }
                    if [row_max, row_sum].into_iter().any(|tile| self.form(*tile) != Form::Rows) =>
                {
                    misfit = Some("statistics of a softmax that are read at computed places");
                }
                _ => {}
            });
        }
        misfit
    }

    /// The plan of a launch that runs a kernel's first rounds in blocks.
    pub fn of_group_rounds(&self) -> Self {
        Self { warps: GROUP_THREADS / WARP, ..self.clone() }
    }

    /// How a tile is held.
    pub fn form(&self, tile: TileId) -> Form {
        self.forms[tile.0 as usize]
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.warps * WARP
    }

    /// Whether an elementwise body reads tiles in registers, so that it has to run where these are.
    pub fn reads_registers(&self, body: &Expr) -> bool {
        body.any(&mut |x| matches!(x, Expr::Elem(tile) if !matches!(self.form(*tile), Form::Shared(_))))
    }
}

/// What the target cannot do.
pub(crate) fn unsupported(program: &Program, kernel: &Kernel, what: &str) -> Box<Diagnostic> {
    let message = format!("kernel `{}` of `{}` cannot run on this GPU: {what}", kernel.name, program.name);
    Box::new(Diagnostic::error(Code::E0503, message))
}
