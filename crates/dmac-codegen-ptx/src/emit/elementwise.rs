//! Elementwise statements: maps, fills, stores.
//!
//! A statement runs over fragments where it touches one: each thread at its own elements, unrolled. Over row vectors in
//! registers each thread is at its two rows. Everything else is in shared memory, and the threads of the block take
//! elements in turn.

use super::scalar::{Place, Point};
use super::value::{AnyReg, Bool, Float, Int, Value};
use super::{Emitter, TileRegs};
use crate::plan::{Form, SharedTile};
use dmac_ptx::{AtomicOp, AtomicTy, Cmp, F32, Reg, Scope, global};
use dmac_schedule::kernel::{Expr, TensorId, TileId};

/// Elements a thread that are worth unrolling.
const UNROLLED: u32 = 4;

/// What a statement runs over.
#[derive(Clone, Copy)]
struct Extent {
    /// Rows and columns of the traversal.
    size: (usize, usize),
    rows: Int,
    cols: Int,
}

impl Emitter<'_> {
    /// Runs over all elements of a tile as fragments hold them.
    fn over_fragment(&mut self, extent: Extent, mut f: impl FnMut(&mut Self)) {
        let (row0, pair) = (Int::from(self.thread.row), Int::from(self.thread.pair));
        // What depends on the column alone is needed for both rows and not kept longer.
        for group in 0..extent.size.1.div_ceil(8) {
            for column in 0..2 {
                for row in 0..2 {
                    let point = Point {
                        row: row0.plus(8 * row as i32),
                        col: pair.plus((8 * group + column) as i32),
                        rows: extent.rows,
                        cols: extent.cols,
                        place: Some(Place { row, group, column }),
                    };
                    self.at(point, &mut f);
                }
            }
        }
    }

    /// Runs over the rows of a row vector as registers hold them.
    fn over_rows(&mut self, rows: Int, mut f: impl FnMut(&mut Self)) {
        let row0 = Int::from(self.thread.row);
        for row in 0..2 {
            let point = Point {
                row: row0.plus(8 * row as i32),
                col: Int::constant(0),
                rows,
                cols: Int::constant(1),
                place: Some(Place { row, group: 0, column: 0 }),
            };
            self.at(point, &mut f);
        }
    }

    /// Runs over all elements of a tile in shared memory, the threads in turn. `f` is told whether the element exists.
    fn over_shared(&mut self, extent: Extent, mut f: impl FnMut(&mut Self, Bool)) {
        let (rows, cols) = extent.size;
        let (count, threads) = ((rows * cols) as u32, self.plan.threads());
        let passes = count.div_ceil(threads);
        let tid = Int::from(self.thread.tid);
        let mut body = |e: &mut Self, pass: Int| {
            let first = e.int_mul(pass, Int::constant(i64::from(threads)));
            let index = e.int_add(first, tid);
            let index = Int::from(e.int(index));
            let (row, col) = match (rows, cols) {
                (1, _) => (Int::constant(0), index),
                (_, 1) => (index, Int::constant(0)),
                _ => {
                    let row = e.int_div(index, Int::constant(cols as i64));
                    let whole = e.int_mul(row, Int::constant(cols as i64));
                    (row, e.int_sub(index, whole))
                }
            };
            let exists = if count.is_multiple_of(threads) {
                Bool::Constant(true)
            } else {
                e.int_compare(Cmp::Lt, index, Int::constant(i64::from(count)))
            };
            let point = Point { row, col, rows: extent.rows, cols: extent.cols, place: None };
            e.at(point, &mut |e: &mut Self| f(e, exists));
        };
        if passes <= UNROLLED {
            for pass in 0..passes {
                body(self, Int::constant(i64::from(pass)));
            }
        } else {
            self.repeat("pass", passes, body);
        }
    }

    /// [`Self::over_shared`] for whoever names sizes and bounds.
    pub(crate) fn over_elements(
        &mut self,
        size: (usize, usize),
        (rows, cols): (Int, Int),
        f: impl FnMut(&mut Self, Bool),
    ) {
        self.over_shared(Extent { size, rows, cols }, f);
    }

    fn at(&mut self, point: Point, f: &mut impl FnMut(&mut Self)) {
        let outer = self.point.replace(point);
        f(self);
        self.point = outer;
    }

    fn extent(&mut self, tile: TileId, rows: &Expr, cols: &Expr) -> Extent {
        let decl = self.kernel.tile(tile);
        let (rows, cols) = (self.int_value(rows), self.int_value(cols));
        Extent { size: (decl.rows, decl.cols), rows, cols }
    }

    /// Puts a value into a tile's register at the current place.
    fn put(&mut self, tile: TileId, value: Value) {
        let place =
            self.point.and_then(|point| point.place).expect("codegen: a tile in registers has places");
        let register = match &self.tiles[tile.0 as usize] {
            TileRegs::Fragment(groups) => AnyReg::F32(groups[place.group][2 * place.row + place.column]),
            TileRegs::Floats(rows) => AnyReg::F32(rows[place.row]),
            TileRegs::Words(rows) => AnyReg::B32(rows[place.row]),
            TileRegs::Shared => panic!("codegen: a tile in shared memory has no registers"),
        };
        let value = match value {
            Value::Bool(_) => Value::Int(self.word(value).into()),
            value => value,
        };
        self.overwrite(register, value);
    }

    /// `dst[row, col] = body`.
    pub(crate) fn map(&mut self, dst: TileId, rows: &Expr, cols: &Expr, body: &Expr) {
        let mut extent = self.extent(dst, rows, cols);
        match self.plan.form(dst) {
            Form::Fragment => {
                // Products read what is outside the columns where the tile is an operand: it must be zero then.
                let operand = self.plan.fragment_operands.contains(&dst);
                self.over_fragment(extent, |e| {
                    let mut value = e.value(body);
                    if operand {
                        let inside = e.bounds(false, true);
                        value = e.choose(inside, value, Value::Float(Float::Constant(0.0)));
                    }
                    e.put(dst, value);
                });
            }
            Form::Rows => self.over_rows(extent.rows, |e| {
                let value = e.value(body);
                e.put(dst, value);
            }),
            Form::Shared(tile) => {
                let registers = self.plan.reads_registers(body);
                extent.size = (tile.rows, tile.cols);
                if registers && extent.size.1 == 1 {
                    let leader = self.leads_quad();
                    self.over_rows(extent.rows, |e| e.map_shared(dst, tile, body, leader));
                } else if registers {
                    self.over_fragment(extent, |e| e.map_shared(dst, tile, body, Bool::Constant(true)));
                } else {
                    self.over_shared(extent, |e, exists| e.map_shared(dst, tile, body, exists));
                }
            }
        }
    }

    /// One element of a map to shared memory, by the threads for which `mine` holds.
    fn map_shared(&mut self, dst: TileId, tile: SharedTile, body: &Expr, mine: Bool) {
        let point = self.point.expect("codegen: at an element");
        let inside = self.bounds(true, true);
        let mut value = self.value(body);
        let mut guard = self.and(mine, inside);
        if tile.operand {
            // The whole tile is written, zero outside the bounds.
            value = self.choose(inside, value, zero_like(value));
            guard = mine;
            let mut exists = Bool::Constant(true);
            if point.place.is_some() {
                let rows = self.int_compare(Cmp::Lt, point.row, Int::constant(tile.rows as i64));
                let cols = self.int_compare(Cmp::Lt, point.col, Int::constant(tile.cols as i64));
                exists = self.and(rows, cols);
            }
            guard = self.and(guard, exists);
        }
        self.store_shared(dst, tile, (point.row, point.col), value, guard);
    }

    /// Whether the thread is the first of the four that share a row.
    pub(crate) fn leads_quad(&mut self) -> Bool {
        self.int_compare(Cmp::Eq, Int::from(self.thread.pair), Int::constant(0))
    }

    /// All elements of a tile.
    pub(crate) fn fill(&mut self, tile: TileId, value: &Expr) {
        let value = self.value(value);
        match self.tiles[tile.0 as usize].clone() {
            TileRegs::Fragment(groups) => {
                for register in groups.into_iter().flatten() {
                    self.overwrite(AnyReg::F32(register), value);
                }
            }
            TileRegs::Floats(rows) => {
                for row in rows {
                    self.overwrite(AnyReg::F32(row), value);
                }
            }
            TileRegs::Words(rows) => {
                let word = Value::Int(self.word(value).into());
                for row in rows {
                    self.overwrite(AnyReg::B32(row), word);
                }
            }
            TileRegs::Shared => {
                let shared = self.in_shared(tile).expect("codegen: the tile is in shared memory");
                let size = (shared.rows, shared.cols);
                let all = |size: usize| Int::constant(size as i64);
                let extent = Extent { size, rows: all(size.0), cols: all(size.1) };
                self.over_shared(extent, |e, exists| {
                    let point = e.point.expect("codegen: at an element");
                    e.store_shared(tile, shared, (point.row, point.col), value, exists);
                });
            }
        }
    }

    /// `tensor[index] = src[row, col]`, or added to it.
    pub(crate) fn store_tile(
        &mut self,
        (tensor, index): (TensorId, &[Expr]),
        src: TileId,
        (rows, cols): (&Expr, &Expr),
        add: bool,
    ) {
        let extent = self.extent(src, rows, cols);
        let element = |e: &mut Self, mine: Bool| {
            let inside = e.bounds(true, true);
            let guard = e.and(mine, inside);
            let value = e.tile_element(src);
            e.guards.push(guard);
            let index: Vec<Int> = index.iter().map(|x| e.int_value(x)).collect();
            e.guards.pop();
            if add {
                e.add_element(tensor, &index, value, guard);
            } else {
                e.store_element(tensor, &index, value, guard);
            }
        };
        match self.plan.form(src) {
            Form::Fragment => self.over_fragment(extent, |e| element(e, Bool::Constant(true))),
            Form::Rows => {
                let leader = self.leads_quad();
                self.over_rows(extent.rows, |e| element(e, leader));
            }
            Form::Shared(_) => self.over_shared(extent, element),
        }
    }

    pub(crate) fn store_element(&mut self, tensor: TensorId, index: &[Int], value: Value, guard: Bool) {
        let (base, offset) = self.address(tensor, index);
        self.store(self.element(tensor), global(base) + offset, value, guard);
    }

    fn add_element(&mut self, tensor: TensorId, index: &[Int], value: Value, guard: Bool) {
        let (base, offset) = self.address(tensor, index);
        let Value::Float(value) = value else { panic!("codegen: only floats are added to a tensor") };
        let value = self.float(value);
        let p = self.condition(guard);
        let to = global(base) + offset;
        self.k.when(p, |k| k.red(AtomicOp::Add, AtomicTy::F32, Scope::Gpu, to, value));
    }

    /// Registers of a fragment.
    pub(crate) fn fragment(&self, tile: TileId) -> Vec<[Reg<F32>; 4]> {
        match &self.tiles[tile.0 as usize] {
            TileRegs::Fragment(groups) => groups.clone(),
            _ => panic!("codegen: `{}` is no fragment", self.kernel.tile(tile).name),
        }
    }

    /// A row vector's registers and whether they have to be written back: it may be in shared memory.
    pub(crate) fn row_vector(&mut self, tile: TileId) -> ([Reg<F32>; 2], Option<SharedTile>) {
        match self.tiles[tile.0 as usize].clone() {
            TileRegs::Floats(rows) => (rows, None),
            TileRegs::Fragment(groups) => ([groups[0][0], groups[0][2]], None),
            TileRegs::Words(_) => panic!("codegen: a reduction is of floats"),
            TileRegs::Shared => {
                let shared = self.in_shared(tile).expect("codegen: the tile is in shared memory");
                (std::array::from_fn(|_| self.k.mov("row_value", 0.0)), Some(shared))
            }
        }
    }
}

fn zero_like(value: Value) -> Value {
    match value {
        Value::Int(_) => Value::Int(Int::constant(0)),
        Value::Float(_) => Value::Float(Float::Constant(0.0)),
        Value::Bool(_) => Value::Bool(Bool::Constant(false)),
    }
}
