//! Stores of a warpgroup's results.
//!
//! Input → output: a fragment → rows of a tensor of two-byte elements. A thread holds pairs of neighbours, eight threads
//! far apart in memory: so the rows go through shared memory, where the rows of the products' left operand are no longer
//! needed, and leave it sixteen bytes a thread. Where the tensor's rows do not begin at multiples of sixteen bytes they
//! are stored element by element.

use super::Groups;
use super::layout::{BLOCK_COLUMNS, ROW, Swizzled};
use crate::emit::memory::half;
use crate::emit::scalar::Point;
use crate::emit::value::Int;
use crate::plan::Form;
use dmac_ptx::{B32, Cmp, Reg, global, shared};
use dmac_schedule::kernel::{Expr, Stmt, TensorId, TileId};

/// Bytes that a thread moves at a time.
const CHUNK: u32 = 16;

impl Groups<'_, '_> {
    /// Stores a tile; `settled`: no product is under way or to come.
    pub(super) fn store(
        &mut self,
        (tensor, index): (TensorId, &[Expr]),
        src: TileId,
        (rows, cols): (&Expr, &Expr),
        settled: bool,
    ) {
        let staging = self.staging(tensor, index, src, cols).filter(|_| settled);
        let Some((staging, columns)) = staging else {
            return self.e.fresh(|e| e.store_tile((tensor, index), src, (rows, cols), false));
        };
        self.e.k.comment("rows through shared memory, where their addresses are multiples of 16");
        let (other, end) = (self.e.k.label("elements"), self.e.k.label("stored"));
        let bits = self.alignment(tensor);
        let aligned = self.e.k.setp_u("aligned", bits, Cmp::Eq, 0);
        self.e.k.branch_if(!aligned, other);
        self.store_rows((tensor, index), src, rows, staging, columns);
        self.e.k.branch(end);
        self.e.k.place(other);
        self.e.fresh(|e| e.store_tile((tensor, index), src, (rows, cols), false));
        self.e.k.place(end);
    }

    /// Where the rows can be staged, and how many columns they have.
    fn staging(&self, tensor: TensorId, index: &[Expr], src: TileId, cols: &Expr) -> Option<(Swizzled, u32)> {
        half(self.e.element(tensor))?;
        let (last, outer) = index.split_last()?;
        let by_row = *last == Expr::Col && !outer.iter().any(|x| x.any(&mut |x| *x == Expr::Col));
        let tile = self.e.kernel.tile(src);
        let columns = tile.cols as u32;
        let whole = *cols == Expr::Int(tile.cols as i64) && columns.is_multiple_of(8);
        (by_row && whole && self.e.plan.form(src) == Form::Fragment).then_some(())?;
        let mut found = None;
        for stmt in &self.e.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Mma { a, .. } = stmt
                    && let Some(left) = self.layout.operands.get(&a.tile)
                    && self.e.kernel.tile(a.tile).stages == self.role.groups as usize
                    && left.rows == 64
                    && left.blocks * BLOCK_COLUMNS as u32 >= columns
                {
                    found = Some((*left, columns));
                }
            });
        }
        found
    }

    /// Bits that are zero where every row of a tensor begins at a multiple of 16 bytes.
    fn alignment(&mut self, tensor: TensorId) -> Reg<B32> {
        let regs = self.e.tensors[&tensor].clone();
        let bytes = self.e.element(tensor).bytes() as i32;
        let bits = self.e.k.reg::<B32>("address_bits");
        self.e.k.unpack64(bits, "address_high", regs.pointer);
        for stride in regs.strides {
            let stride = self.e.fresh(|e| e.int(stride));
            let stride = self.e.k.mul("stride_bits", stride, bytes);
            self.e.k.or(bits, bits, stride);
        }
        self.e.k.and(bits, bits, 15)
    }

    fn store_rows(
        &mut self,
        (tensor, index): (TensorId, &[Expr]),
        src: TileId,
        rows: &Expr,
        staging: Swizzled,
        columns: u32,
    ) {
        let values = self.fragment(src);
        let ty = half(self.e.element(tensor)).expect("codegen: two-byte elements");
        let (base, lane, warp) = (self.e.thread.base, self.e.thread.lane, self.e.thread.warp);
        let k = &mut self.e.k;
        let group = k.sub("own_group", self.role.warpgroup, self.role.first);
        // Other warps of the group may still be reading what is overwritten.
        let id = k.add("own_barrier", group, 2);
        k.bar_sync(id, 128);
        let tile = k.mad("staging", group, staging.stage_bytes(), base);
        k.add(tile, tile, staging.offset);
        let warp_row = k.and("warp_row", warp, 3);
        k.shl(warp_row, warp_row, 4);
        let row = k.and("stage_row", lane, 15);
        let flip = k.and("flip", lane, 7);
        let side = k.shr_u("side", lane, 4);
        k.add(row, row, warp_row);
        let line = k.mad("stage_line", row, ROW, tile);
        for (at, eight) in values[..columns as usize / 2].chunks(8).enumerate() {
            let packed: Vec<_> =
                eight.chunks(2).map(|pair| k.pack_half(ty, "packed", pair[0], pair[1])).collect();
            let at = at as u32;
            let chunk = k.add("stage_chunk", side, 2 * (at % 4));
            k.xor(chunk, chunk, flip);
            let to = k.mad("stage_at", chunk, CHUNK, line);
            k.stmatrix(shared(to) + (at / 4 * staging.block_bytes()) as i32, &packed, false);
        }
        k.bar_warp();
        let limit = self.e.fresh(|e| {
            let rows = e.int_value(rows);
            e.int(rows)
        });
        // The sixteen rows of the warp, chunk by chunk.
        let chunks = columns / 8;
        for first in (0..16 * chunks).step_by(32) {
            let k = &mut self.e.k;
            let at = k.add("chunk_number", lane, first);
            let (row, chunk) = if chunks.is_power_of_two() {
                (k.shr_u("out_row", at, chunks.ilog2()), k.and("out_chunk", at, chunks - 1))
            } else {
                let row = k.div_u("out_row", at, chunks);
                (row, k.rem_u("out_chunk", at, chunks))
            };
            let exists = k.setp_u("exists", row, Cmp::Lt, 16);
            let flip = k.and("flip", row, 7);
            k.xor(flip, flip, chunk);
            k.and(flip, flip, 7);
            k.add(row, row, warp_row);
            let from = k.mad("stage_from", row, ROW, tile);
            k.mad(from, flip, CHUNK, from);
            let block = k.shr_u("out_block", chunk, 3);
            k.mad(from, block, staging.block_bytes(), from);
            let column = k.shl("out_column", chunk, 3);
            let inside = k.setp_s("inside", row, Cmp::Lt, limit);
            k.and(inside, inside, exists);
            let (to, offset) = self.e.fresh(|e| {
                let point = Point {
                    row: Int::from(row),
                    col: Int::from(column),
                    rows: Int::from(limit),
                    cols: Int::constant(i64::from(columns)),
                    place: None,
                };
                let outer = e.point.replace(point);
                let at: Vec<Int> = index.iter().map(|x| e.int_value(x)).collect();
                let to = e.address(tensor, &at);
                e.point = outer;
                to
            });
            let k = &mut self.e.k;
            let four: Vec<Reg<B32>> = k.regs("out_chunk_bits", 4);
            if 16 * chunks < first + 32 {
                for register in &four {
                    k.mov(*register, 0);
                }
                k.when(inside, |k| k.ld_with(dmac_ptx::LoadMode::default(), &four, shared(from)));
            } else {
                k.ld_with(dmac_ptx::LoadMode::default(), &four, shared(from));
            }
            k.when(inside, |k| k.st_vec(global(to) + offset, &four));
        }
    }
}
