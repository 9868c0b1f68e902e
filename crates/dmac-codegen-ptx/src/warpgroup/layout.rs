//! Where the tiles and barriers of a kernel with roles lie.
//!
//! Input → output: a [`Kernel`] → a [`Layout`], and the [`Plan`] that the elementwise statements of its roles go by.
//!
//! Operands of products are `[columns / 64][rows][128 bytes]` with 16-byte chunk c of row r at chunk `c ^ (r & 7)`: the
//! 128-byte swizzle of TMA and `wgmma`, each stage at a multiple of 1024 bytes. Vectors of one value a key are rows of 4
//! bytes an element. Register tiles are fragments of 64 rows a warpgroup; weights are packed in pairs.

use crate::plan::{Form, Plan, SharedTile, unsupported};
use dmac_schedule::Program;
use dmac_schedule::kernel::{Element, Kernel, Space, Stmt, TileId};
use dmac_source::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of one row of a column block.
pub(super) const ROW: u32 = 128;
/// Elements of one row of a column block.
pub(super) const BLOCK_COLUMNS: usize = 64;
/// Rows of a warpgroup's product.
const GROUP_ROWS: usize = 64;

/// A tile that products read from shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Swizzled {
    /// Bytes from the start of shared memory.
    pub offset: u32,
    pub rows: u32,
    pub cols: u32,
    /// Blocks of 64 columns.
    pub blocks: u32,
}

impl Swizzled {
    /// Bytes of one column block.
    pub fn block_bytes(self) -> u32 {
        self.rows * ROW
    }

    /// Bytes of one stage.
    pub fn stage_bytes(self) -> u32 {
        self.blocks * self.block_bytes()
    }
}

/// Where everything lies.
pub(crate) struct Layout {
    pub operands: BTreeMap<TileId, Swizzled>,
    /// Vectors of one value a key.
    pub columns: BTreeMap<TileId, SharedTile>,
    /// Bytes from the start of shared memory to each barrier's first stage.
    pub barriers: Vec<u32>,
    /// Register tiles of two-byte elements: operands of products.
    pub packed: BTreeSet<TileId>,
    /// Warpgroups of a block.
    pub groups: u32,
}

fn is_half(element: Element) -> bool {
    matches!(element, Element::F16 | Element::Bf16)
}

impl Layout {
    /// # Errors
    /// Tiles that the products of this target do not take, or more of them than shared memory holds.
    pub fn new(program: &Program, kernel: &Kernel, limit: usize) -> Result<(Self, Plan), Box<Diagnostic>> {
        let refuse = |what: &str| Err(unsupported(program, kernel, what));
        let mut plan = Plan::default();
        let mut layout = Self {
            operands: BTreeMap::new(),
            columns: BTreeMap::new(),
            barriers: Vec::new(),
            packed: BTreeSet::new(),
            groups: 0,
        };
        let mut products = BTreeSet::new();
        for stmt in &kernel.body {
            stmt.walk(&mut |stmt| match stmt {
                Stmt::Role { groups, .. } => layout.groups += *groups as u32,
                Stmt::Mma { a, b, .. } => products.extend([a.tile, b.tile]),
                Stmt::OnlineSoftmax { scores, .. } => {
                    plan.weights.insert(*scores);
                }
                Stmt::Store { tensor, .. }
                | Stmt::ReduceAdd { tensor, .. }
                | Stmt::StoreElem { tensor, .. } => {
                    plan.written.insert(*tensor);
                }
                _ => {}
            });
        }
        let mut offset = 0;
        for (at, tile) in kernel.tiles.iter().enumerate() {
            let id = TileId(at as u32);
            let (rows, cols) = (tile.rows as u32, tile.cols as u32);
            let mut form = Form::Fragment;
            if tile.space == Space::Shared && products.contains(&id) {
                if !is_half(tile.element)
                    || !tile.rows.is_multiple_of(16)
                    || tile.rows > 256
                    || tile.cols > 256
                {
                    return refuse(&format!("products of {} x {} {} tiles", rows, cols, tile.element));
                }
                let blocks = cols.div_ceil(BLOCK_COLUMNS as u32);
                let operand = Swizzled { offset, rows, cols, blocks };
                offset += operand.stage_bytes() * tile.stages as u32;
                layout.operands.insert(id, operand);
                form = Form::Shared(SharedTile::default());
            } else if tile.space == Space::Shared {
                form = Form::Shared(SharedTile::default());
            } else if is_half(tile.element) {
                layout.packed.insert(id);
            } else if tile.cols == 1 {
                form = Form::Rows;
            } else if tile.element != Element::F32 {
                return refuse(&format!("registers of {}", tile.element));
            }
            if tile.space == Space::Register && tile.rows > GROUP_ROWS {
                return refuse(&format!("{rows} rows in registers"));
            }
            plan.forms.push(form);
        }
        for (at, tile) in kernel.tiles.iter().enumerate() {
            let id = TileId(at as u32);
            if tile.space != Space::Shared || layout.operands.contains_key(&id) {
                continue;
            }
            if tile.rows != 1 || tile.element.bytes() != 4 {
                return refuse(&format!("the shared tile `{}`", tile.name));
            }
            let pitch = (tile.cols as u32 * 4).next_multiple_of(16);
            let shared =
                SharedTile { offset, pitch, bytes: 4, rows: tile.stages, cols: tile.cols, operand: false };
            offset += pitch * tile.stages as u32;
            layout.columns.insert(id, shared);
            plan.forms[at] = Form::Shared(shared);
        }
        for barrier in &kernel.barriers {
            layout.barriers.push(offset);
            offset += 8 * barrier.stages as u32;
        }
        if offset as usize > limit {
            return refuse(&format!("{offset} bytes of shared memory, of which a block has {limit}"));
        }
        plan.warps = 4 * layout.groups;
        plan.shared_bytes = offset;
        Ok((layout, plan))
    }
}
