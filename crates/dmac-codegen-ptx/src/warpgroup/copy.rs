//! Copies of a producer: blocks by TMA, rows and vectors by index.
//!
//! Input → output: an asynchronous copy → instructions that complete on its barrier. A copy whose index is a row range of
//! one axis is a box of a tensor map; anything else is fetched row by row, eight threads a row.

use super::layout::{BLOCK_COLUMNS, ROW};
use super::{Groups, Threads};
use crate::emit::scalar::Point;
use crate::emit::value::Int;
use crate::program::TensorMapSpec;
use dmac_ir::Binary;
use dmac_ptx::{B32, BulkOptions, Cmp, CpBytes, L2Prefetch, Operand, global, shared};
use dmac_schedule::kernel::{BarrierId, Expr, Kernel, Stmt, TensorId, TileRef};

/// Where a copy's box begins, and the axis of its rows: its index is `row` plus something along one axis, `col` along the
/// last.
pub(super) fn origin(index: &[Expr]) -> Option<(usize, Vec<Expr>)> {
    let (last, outer) = index.split_last()?;
    let mut rows = None;
    for (at, x) in outer.iter().enumerate() {
        if x.any(&mut |x| *x == Expr::Col) {
            return None;
        }
        if x.any(&mut |x| *x == Expr::Row) {
            if rows.is_some() || !moves_by_row(x) {
                return None;
            }
            rows = Some(at);
        }
    }
    let zero = |x: &Expr| x.replace(&|x| (*x == Expr::Row || *x == Expr::Col).then_some(Expr::Int(0)));
    (*last == Expr::Col && index.len() <= 5).then_some((rows?, index.iter().map(zero).collect()))
}

/// Whether an index is `row` plus something that does not depend on it.
fn moves_by_row(x: &Expr) -> bool {
    let depends = |x: &Expr| x.any(&mut |x| *x == Expr::Row);
    match x {
        Expr::Row => true,
        Expr::Binary(Binary::Add, a, b) => {
            (moves_by_row(a) && !depends(b)) || (moves_by_row(b) && !depends(a))
        }
        Expr::Binary(Binary::Sub, a, b) => moves_by_row(a) && !depends(b),
        _ => false,
    }
}

/// The tensor map of a block copy.
fn spec(tensor: TensorId, index: &[Expr], rows: usize) -> Option<TensorMapSpec> {
    let (axis, origin) = origin(index)?;
    let mut box_dims = vec![1; origin.len()];
    box_dims[0] = BLOCK_COLUMNS as u32;
    box_dims[origin.len() - 1 - axis] = rows as u32;
    Some(TensorMapSpec { tensor, box_dims, swizzle_128b: true })
}

/// The tensor maps of all block copies of a kernel.
pub(super) fn tensor_maps(kernel: &Kernel) -> Vec<TensorMapSpec> {
    let mut found = Vec::new();
    for stmt in &kernel.body {
        stmt.walk(&mut |stmt| {
            if let Stmt::Copy { dst, tensor, index, arrive: Some(_), .. } = stmt
                && let Some(spec) = spec(*tensor, index, kernel.tile(dst.tile).rows)
                && !found.contains(&spec)
            {
                found.push(spec);
            }
        });
    }
    found
}

impl Groups<'_, '_> {
    pub(super) fn copy(
        &mut self,
        dst: &TileRef,
        (tensor, index): (TensorId, &[Expr]),
        (rows, cols): (&Expr, &Expr),
        (barrier, stage): (BarrierId, &Expr),
    ) {
        let full = self.barrier(barrier, stage);
        let at = dst.stage.as_deref().cloned().unwrap_or(Expr::Int(0));
        let at = self.e.fresh(|e| {
            let at = e.int_value(&at);
            e.int(at)
        });
        if let Some(vector) = self.layout.columns.get(&dst.tile).copied() {
            let to = self.e.k.mad("vector_at", at, vector.pitch, self.e.thread.base);
            self.copy_vector(
                to,
                vector.offset,
                self.e.kernel.tile(dst.tile).cols as u32,
                (tensor, index),
                cols,
            );
            self.e.k.cp_async_arrive(full);
            return;
        }
        let tile = self.layout.operands[&dst.tile];
        let to = self.e.k.mad("tile_at", at, tile.stage_bytes(), self.e.thread.base);
        let Some((_, start)) = origin(index) else {
            self.copy_rows(to, dst, (tensor, index), (rows, cols));
            self.e.k.cp_async_arrive(full);
            return;
        };
        let spec = spec(tensor, index, tile.rows as usize).expect("codegen: a box has an origin");
        let map = self.maps.iter().find(|(of, _)| *of == spec).expect("codegen: a copy has a map").1;
        let single = self.role.threads == Threads::One;
        let end = self.e.k.label("copied");
        if !single {
            let tid = self.e.k.and("tid_in_group", self.e.thread.tid, 127);
            let others = self.e.k.setp_u("others", tid, Cmp::Ne, 0);
            self.e.k.branch_if(others, end);
        }
        self.e.k.mbarrier_arrive_expect(full, tile.stage_bytes());
        let mut coordinates: Vec<Operand<B32>> = self.e.fresh(|e| {
            let values: Vec<Int> = start.iter().rev().map(|x| e.int_value(x)).collect();
            values.into_iter().map(|x| e.int_operand(x)).collect()
        });
        for block in 0..tile.blocks {
            coordinates[0] = Operand::from(block * BLOCK_COLUMNS as u32);
            let to = shared(to) + (tile.offset + block * tile.block_bytes()) as i32;
            self.e.k.tensor_load(to, map, &coordinates, full, BulkOptions::default());
        }
        self.e.k.place(end);
        if !single {
            self.e.k.bar_warp();
        }
    }

    /// Rows by index: thread t copies chunk t % 8 of rows t / 8 + 16 i; rows and columns outside the bounds are zero and
    /// not read.
    fn copy_rows(
        &mut self,
        to: dmac_ptx::Reg<B32>,
        dst: &TileRef,
        (tensor, index): (TensorId, &[Expr]),
        (rows, cols): (&Expr, &Expr),
    ) {
        let tile = self.layout.operands[&dst.tile];
        let tid = self.e.thread.tid;
        let k = &mut self.e.k;
        let in_group = k.and("tid_in_group", tid, 127);
        let row = k.shr_u("copy_row", in_group, 3);
        let chunk = k.and("chunk", tid, 7);
        let flip = k.and("flip", row, 7);
        k.xor(flip, flip, chunk);
        let to = k.mad("copy_to", row, ROW, to);
        k.mad(to, flip, 16, to);
        let column = k.shl("copy_column", chunk, 3);
        let bounds = self.e.fresh(|e| {
            let (rows, cols) = (e.int_value(rows), e.int_value(cols));
            (Int::from(e.int(rows)), Int::from(e.int(cols)))
        });
        let mut columns: Vec<_> = Vec::new();
        for block in 0..tile.blocks {
            // A block that the columns do not fill.
            let partial = (block + 1) * BLOCK_COLUMNS as u32 > tile.cols;
            columns.push(partial.then(|| {
                self.e.k.setp_u("column", column, Cmp::Lt, tile.cols - block * BLOCK_COLUMNS as u32)
            }));
        }
        for first in (0..tile.rows).step_by(16) {
            let (from, there) = self.e.fresh(|e| {
                let point = Point {
                    row: Int::from(row).plus(first as i32),
                    col: Int::constant(0),
                    rows: bounds.0,
                    cols: bounds.1,
                    place: None,
                };
                let outer = e.point.replace(point);
                let inside = e.bounds(true, false);
                let there = e.condition(inside);
                let mut at: Vec<Int> = index.iter().map(|x| e.int_value(x)).collect();
                if let Some(last) = at.last_mut() {
                    *last = e.int_add(*last, Int::from(column));
                }
                let from = e.address(tensor, &at);
                e.point = outer;
                (from, there)
            });
            let k = &mut self.e.k;
            for (block, within) in columns.iter().enumerate() {
                let block = block as u32;
                let wanted = match within {
                    None => there,
                    Some(within) => k.and("wanted", there, *within),
                };
                let bytes = k.selp::<B32>("bytes", 16, 0, wanted);
                let to = shared(to) + (tile.offset + block * tile.block_bytes() + first * ROW) as i32;
                let from = global(from.0) + (from.1 + block as i32 * ROW as i32);
                k.cp_async_with(CpBytes::B16, to, from, Some(bytes), Some(L2Prefetch::B256));
            }
        }
    }

    /// One value a key: thread t copies keys t, t + 128, ....
    fn copy_vector(
        &mut self,
        to: dmac_ptx::Reg<B32>,
        offset: u32,
        width: u32,
        (tensor, index): (TensorId, &[Expr]),
        cols: &Expr,
    ) {
        let in_group = self.e.k.and("tid_in_group", self.e.thread.tid, 127);
        let to = self.e.k.mad("vector_to", in_group, 4, to);
        let threads = self.role.threads.count();
        for first in (0..width).step_by(threads as usize) {
            let (from, there) = self.e.fresh(|e| {
                let cols = e.int_value(cols);
                let col = Int::from(in_group).plus(first as i32);
                let point = Point { row: Int::constant(0), col, rows: Int::constant(1), cols, place: None };
                let outer = e.point.replace(point);
                let inside = e.bounds(false, true);
                let there = e.condition(inside);
                let at: Vec<Int> = index.iter().map(|x| e.int_value(x)).collect();
                let from = e.address(tensor, &at);
                e.point = outer;
                (from, there)
            });
            let k = &mut self.e.k;
            let bytes = k.selp::<B32>("bytes", 4, 0, there);
            let to = shared(to) + (offset + 4 * first) as i32;
            let from = global(from.0) + from.1;
            if first + threads <= width {
                k.cp_async_zero_fill(CpBytes::B4, to, from, bytes);
            } else {
                let exists = k.setp_u("exists", in_group, Cmp::Lt, width - first);
                k.when(exists, |k| k.cp_async_zero_fill(CpBytes::B4, to, from, bytes));
            }
        }
    }
}
