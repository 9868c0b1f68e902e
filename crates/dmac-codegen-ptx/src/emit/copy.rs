//! Copies from tensors to shared memory.
//!
//! Where the columns of the tile are neighbours in memory, rows are moved in chunks of 16 bytes by `cp.async`, which fills
//! with zeros what lies outside the bounds. That needs addresses that are multiples of 16; whether they are is known at
//! run time only, so the elementwise copy stands beside it. A list of rows is an index like any other.

use super::Emitter;
use super::scalar::Point;
use super::value::{Bool, Float, Int, Value};
use crate::plan::SharedTile;
use dmac_ir::Binary;
use dmac_ptx::{Cmp, CpBytes, global};
use dmac_schedule::kernel::{Expr, TensorId, TileRef};

/// Bytes of a chunk.
const CHUNK: u32 = 16;
/// Chunks a thread that are worth unrolling.
const UNROLLED: u32 = 16;

/// What is copied.
#[derive(Clone, Copy)]
struct Source<'a> {
    tensor: TensorId,
    index: &'a [Expr],
    rows: Int,
    cols: Int,
}

/// Where columns are neighbours: the column of the tensor at column 0 of the tile.
fn first_column(index: &[Expr]) -> Option<Expr> {
    let varies = |x: &Expr| x.any(&mut |x| matches!(x, Expr::Row | Expr::Col));
    let (last, outer) = index.split_last()?;
    if outer.iter().any(|x| x.any(&mut |x| *x == Expr::Col)) {
        return None;
    }
    match last {
        Expr::Col => Some(Expr::Int(0)),
        Expr::Binary(Binary::Add, x, y) if **y == Expr::Col && !varies(x) => Some((**x).clone()),
        Expr::Binary(Binary::Add, x, y) if **x == Expr::Col && !varies(y) => Some((**y).clone()),
        _ => None,
    }
}

impl Emitter<'_> {
    pub(crate) fn copy(
        &mut self,
        dst: &TileRef,
        tensor: TensorId,
        index: &[Expr],
        (rows, cols): (&Expr, &Expr),
    ) {
        let mut tile = self.in_shared(dst.tile).expect("codegen: copies go to shared memory");
        let (rows, cols) = (self.int_value(rows), self.int_value(cols));
        if let Some(stage) = &dst.stage {
            // A constant stage is a place; a computed one moves the base of the whole statement.
            let stage = self.int_value(stage);
            let size = i64::from(tile.pitch) * tile.rows as i64;
            let bytes = self.int_mul(stage, Int::constant(size));
            match bytes.known() {
                Some(bytes) => tile.offset += bytes as u32,
                None => {
                    let base = self.int_add(Int::from(self.thread.base), bytes);
                    let base = self.int(base);
                    let outer = std::mem::replace(&mut self.thread.base, base);
                    self.copy_to(dst, tile, Source { tensor, index, rows, cols });
                    self.thread.base = outer;
                    return;
                }
            }
        }
        self.copy_to(dst, tile, Source { tensor, index, rows, cols });
    }

    fn copy_to(&mut self, dst: &TileRef, tile: SharedTile, source: Source<'_>) {
        let element = self.element(source.tensor);
        let same = element == self.kernel.tile(dst.tile).element && element.bytes() as u32 == tile.bytes;
        let chunks =
            tile.pitch.is_multiple_of(CHUNK) && (tile.cols as u32 * tile.bytes).is_multiple_of(CHUNK);
        match first_column(source.index).filter(|_| same && chunks) {
            None => self.copy_elements(dst, tile, source),
            Some(first) => match self.aligned(source, &first) {
                Bool::Constant(true) => self.copy_chunks(tile, source),
                Bool::Constant(false) => self.copy_elements(dst, tile, source),
                Bool::Register(aligned) => {
                    let (other, end) = (self.k.label("elementwise"), self.k.label("copied"));
                    self.k.branch_if(!aligned, other);
                    self.scoped(|e| e.copy_chunks(tile, source));
                    self.k.branch(end);
                    self.k.place(other);
                    self.scoped(|e| e.copy_elements(dst, tile, source));
                    self.k.place(end);
                }
            },
        }
    }

    /// Whether all chunks are at multiples of 16 bytes: the tensor, its strides, the first column.
    fn aligned(&mut self, source: Source<'_>, first: &Expr) -> Bool {
        let regs = self.tensors[&source.tensor].clone();
        let bytes = i64::from(self.element(source.tensor).bytes() as u32);
        let pointer = self.k.truncate("int", regs.pointer);
        let mut bits = pointer;
        let first = self.int_value(first);
        let mut certain = true;
        for part in regs.strides.iter().copied().chain([first]) {
            let scaled = self.int_mul(part, Int::constant(bytes));
            match scaled.known() {
                Some(known) => certain &= known % CHUNK as i32 == 0,
                None => {
                    let scaled = self.int(scaled);
                    bits = self.k.or("int", bits, scaled);
                }
            }
        }
        if !certain {
            return Bool::Constant(false);
        }
        let low = self.k.and("int", bits, CHUNK - 1);
        self.int_compare(Cmp::Eq, low.into(), Int::constant(0))
    }

    fn copy_chunks(&mut self, tile: SharedTile, source: Source<'_>) {
        let per_row = tile.cols as u32 * tile.bytes / CHUNK;
        let elements = (CHUNK / tile.bytes) as i64;
        let (count, threads) = (tile.rows as u32 * per_row, self.plan.threads());
        let passes = count.div_ceil(threads);
        let tid = Int::from(self.thread.tid);
        let body = |e: &mut Self, pass: Int| {
            let (row, chunk) = if threads.is_multiple_of(per_row) {
                // The chunk is the thread's own; passes differ in the row.
                let row = e.int_div(tid, Int::constant(i64::from(per_row)));
                let whole = e.int_mul(row, Int::constant(i64::from(per_row)));
                let chunk = e.int_sub(tid, whole);
                let further = e.int_mul(pass, Int::constant(i64::from(threads / per_row)));
                (e.int_add(row, further), chunk)
            } else {
                let first = e.int_mul(pass, Int::constant(i64::from(threads)));
                let index = e.int_add(first, tid);
                let row = e.int_div(index, Int::constant(i64::from(per_row)));
                let whole = e.int_mul(row, Int::constant(i64::from(per_row)));
                (row, e.int_sub(index, whole))
            };
            let col = e.int_mul(chunk, Int::constant(elements));
            let point = Point { row, col, rows: source.rows, cols: source.cols, place: None };
            let outer = e.point.replace(point);
            let there = e.bounds(true, false);
            let mut bytes = Int::constant(i64::from(CHUNK));
            if source.cols.known().is_none_or(|cols| cols < tile.cols as i32) {
                let left = e.int_sub(source.cols, col);
                let left = e.int_mul(left, Int::constant(i64::from(tile.bytes)));
                let left = e.int_min_max(true, left, Int::constant(0));
                bytes = e.int_min_max(false, left, bytes);
            }
            let zero = Value::Int(Int::constant(0));
            let Value::Int(bytes) = e.choose(there, Value::Int(bytes), zero) else { return };
            let index: Vec<Int> = source.index.iter().map(|x| e.int_value(x)).collect();
            let (base, offset) = e.address(source.tensor, &index);
            let to = e.shared_address(tile, row, col);
            e.point = outer;
            let bytes = e.int_operand(bytes);
            let exists = if count.is_multiple_of(threads) {
                Bool::Constant(true)
            } else {
                e.int_compare(Cmp::Lt, row, Int::constant(tile.rows as i64))
            };
            let from = global(base) + offset;
            match exists {
                Bool::Register(exists) => {
                    e.k.when(exists, |k| k.cp_async_zero_fill(CpBytes::B16, to, from, bytes));
                }
                Bool::Constant(_) => e.k.cp_async_zero_fill(CpBytes::B16, to, from, bytes),
            }
        };
        if passes <= UNROLLED {
            for pass in 0..passes {
                body(self, Int::constant(i64::from(pass)));
            }
        } else {
            self.repeat("pass", passes, body);
        }
    }

    fn copy_elements(&mut self, dst: &TileRef, tile: SharedTile, source: Source<'_>) {
        let (rows, cols) = (tile.rows, tile.cols);
        self.over_elements((rows, cols), (source.rows, source.cols), |e, exists| {
            let point = e.point.expect("codegen: at an element");
            let inside = e.bounds(true, true);
            e.guards.push(inside);
            let index: Vec<Int> = source.index.iter().map(|x| e.int_value(x)).collect();
            e.guards.pop();
            let value = e.load_element(source.tensor, &index, inside);
            let value = match value {
                Value::Float(_) => e.choose(inside, value, Value::Float(Float::Constant(0.0))),
                Value::Int(_) => e.choose(inside, value, Value::Int(Int::constant(0))),
                Value::Bool(value) => Value::Bool(e.and(inside, value)),
            };
            e.store_shared(dst.tile, tile, (point.row, point.col), value, exists);
        });
    }
}
