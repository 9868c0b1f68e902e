//! Statements in order, and the grid point around them.

use super::Emitter;
use super::value::{AnyReg, Bool, Int, Value};
use crate::plan::POINT_THREADS;
use dmac_ptx::{B32, Cmp, Reg, Special};
use dmac_schedule::kernel::{Expr, Stmt, TensorId};

impl Emitter<'_> {
    /// The whole kernel. Blocks of kernels with heaps take grid points in turn, because each needs space of its own.
    pub(crate) fn kernel_body(&mut self, heaps: Option<TensorId>) {
        self.make_tiles();
        let block = self.k.special("point", Special::CtaidX);
        let extents = self.extents();
        if self.plan.point_threads {
            self.thread_points(block, &extents);
            return;
        }
        match heaps {
            None => {
                self.grid_point(block, &extents);
                self.body();
            }
            Some(tensor) => {
                self.fresh(|e| e.make_heaps(tensor));
                let points = self.fresh(|e| {
                    let one = Int::constant(1);
                    let points = extents.iter().fold(one, |points, extent| e.int_mul(points, *extent));
                    e.settled(points)
                });
                let blocks = self.k.special("blocks", Special::NctaidX);
                let (head, done) = (self.k.label("points"), self.k.label("points_end"));
                self.k.place(head);
                let more = self.fresh(|e| {
                    let more = e.int_compare(Cmp::Lt, block.into(), points);
                    e.condition(more)
                });
                self.k.branch_if(!more, done);
                self.grid_point(block, &extents);
                self.body();
                self.meet();
                self.k.add(block, block, blocks);
                self.k.branch(head);
                self.k.place(done);
            }
        }
        self.k.cp_async_wait_all();
        self.k.ret();
    }

    /// A grid point for each thread. Nothing is shared, so threads behind the last point just leave.
    fn thread_points(&mut self, block: Reg<B32>, extents: &[Int]) {
        let points = self.fresh(|e| {
            let one = Int::constant(1);
            let points = extents.iter().fold(one, |points, extent| e.int_mul(points, *extent));
            e.settled(points)
        });
        let point = self.k.mad("own_point", block, POINT_THREADS, self.thread.tid);
        let done = self.k.label("points_end");
        let more = self.fresh(|e| {
            let more = e.int_compare(Cmp::Lt, point.into(), points);
            e.condition(more)
        });
        self.k.branch_if(!more, done);
        self.grid_point(point, extents);
        self.body();
        self.k.place(done);
        self.k.ret();
    }

    /// Sets the grid's variables for the block's own grid point.
    pub(crate) fn own_point(&mut self) {
        let block = self.k.special("point", Special::CtaidX);
        let extents = self.extents();
        self.grid_point(block, &extents);
    }

    /// The sizes of the grid's axes.
    pub(crate) fn extents(&mut self) -> Vec<Int> {
        self.fresh(|e| {
            let extents: Vec<Int> = e.kernel.grid.iter().map(|axis| e.int_value(&axis.extent)).collect();
            extents.into_iter().map(|extent| e.settled(extent)).collect()
        })
    }

    pub(crate) fn body(&mut self) {
        let kernel = self.kernel;
        self.statement = 0;
        self.block(&kernel.body);
    }

    /// An int as a constant or a plain register, to outlive the scope that it was computed in.
    pub(crate) fn settled(&mut self, value: Int) -> Int {
        if value.known().is_some() { value } else { self.int(value).into() }
    }

    /// Sets the grid's variables: the last axis runs fastest.
    pub(crate) fn grid_point(&mut self, point: Reg<B32>, extents: &[Int]) {
        let kernel = self.kernel;
        let mut rest = point;
        for (at, axis) in kernel.grid.iter().enumerate().rev() {
            let extent = extents[at];
            let index = self.fresh(|e| {
                if at == 0 {
                    return rest;
                }
                let size = e.int_operand(extent);
                let index = e.k.rem_u("grid_index", rest, size);
                rest = e.k.div_u("grid_rest", rest, size);
                index
            });
            self.fresh(|e| {
                let mut value = Int::from(index);
                if axis.descending {
                    value = e.int_sub(extent.plus(-1), value);
                }
                e.assign(axis.var, Value::Int(value));
            });
        }
    }

    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        if self.barriers[self.statement] {
            self.meet();
        }
        self.statement += 1;
        match stmt {
            Stmt::For { var, lo, hi, step, body } => self.for_loop(*var, (lo, hi, step), body),
            Stmt::If { cond, then, otherwise } => self.branch(cond, then, otherwise),
            stmt => self.fresh(|e| e.simple(stmt)),
        }
    }

    fn for_loop(&mut self, var: dmac_schedule::kernel::VarId, bounds: (&Expr, &Expr, &Expr), body: &[Stmt]) {
        let AnyReg::B32(at) = self.variable(var) else { panic!("codegen: a loop counts ints") };
        let (head, done) = (self.k.label("loop"), self.k.label("loop_end"));
        let more = self.k.reg("more");
        // Bounds are evaluated once; the body may change what they were computed from.
        let (end, step) = self.fresh(|e| {
            let hi = e.int_value(bounds.1);
            let end = match hi.known() {
                Some(_) => hi,
                None => {
                    let hi = e.int(hi);
                    e.k.mov("loop_bound", hi).into()
                }
            };
            let step = e.int_value(bounds.2);
            let step = match step.known() {
                Some(_) => step,
                None => {
                    let step = e.int(step);
                    e.k.mov("loop_step", step).into()
                }
            };
            let lo = e.int_value(bounds.0);
            e.assign(var, Value::Int(lo));
            (end, step)
        });
        self.fresh(|e| {
            let end = e.int_operand(end);
            e.k.setp_s(more, at, Cmp::Lt, end);
        });
        self.k.branch_if(!more, done);
        self.k.place(head);
        self.block(body);
        self.fresh(|e| {
            let step = e.int_operand(step);
            e.k.add(at, at, step);
            let end = e.int_operand(end);
            e.k.setp_s(more, at, Cmp::Lt, end);
        });
        self.k.branch_if(more, head);
        self.k.place(done);
    }

    fn branch(&mut self, cond: &Expr, then: &[Stmt], otherwise: &[Stmt]) {
        self.together = !self.plan.point_threads;
        let condition = self.fresh(|e| {
            let condition = e.bool_value(cond);
            e.condition(condition)
        });
        self.together = false;
        let (other, end) = (self.k.label("else"), self.k.label("endif"));
        self.k.branch_if(!condition, other);
        self.block(then);
        if otherwise.is_empty() {
            self.k.place(other);
            return;
        }
        self.k.branch(end);
        self.k.place(other);
        self.block(otherwise);
        self.k.place(end);
    }

    /// A statement without nested ones.
    fn simple(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Comment(text) => self.k.comment(text.clone()),
            Stmt::Set { var, value } => {
                self.together = !self.plan.point_threads;
                let value = self.value(value);
                self.together = false;
                self.assign(*var, value);
            }
            Stmt::Copy { dst, tensor, index, rows, cols, .. } => {
                self.note("copy", dst.tile);
                self.copy(dst, *tensor, index, (rows, cols));
            }
            Stmt::Store { tensor, index, src, rows, cols } => {
                self.note("store", *src);
                self.store_tile((*tensor, index), *src, (rows, cols), false);
            }
            Stmt::ReduceAdd { tensor, index, src, rows, cols } => {
                self.note("add", *src);
                self.store_tile((*tensor, index), *src, (rows, cols), true);
            }
            Stmt::StoreElem { tensor, index, value } => {
                let value = self.value(value);
                let index: Vec<Int> = index.iter().map(|x| self.int_value(x)).collect();
                let writes = if self.plan.point_threads {
                    Bool::Constant(true)
                } else {
                    self.int_compare(Cmp::Eq, Int::from(self.thread.tid), Int::constant(0))
                };
                self.store_element(*tensor, &index, value, writes);
            }
            Stmt::Fill { tile, value } => {
                self.note("fill", *tile);
                self.fill(*tile, value);
            }
            Stmt::Map { dst, rows, cols, body } => {
                self.note("map", *dst);
                self.map(*dst, rows, cols, body);
            }
            Stmt::Mma { acc, a, b, transpose_b, accumulate, .. } => {
                self.note("product", *acc);
                self.product(*acc, a, b, *transpose_b, *accumulate);
            }
            // Products are complete in the order of the instructions.
            Stmt::MmaWait { .. } => {}
            Stmt::RowReduce { dst, src, op, rows, cols, accumulate } => {
                self.note("reduce", *dst);
                self.row_reduce(*dst, *src, *op, (rows, cols), *accumulate);
            }
            Stmt::OnlineSoftmax { scores, row_max, row_sum, acc, cols, .. } => {
                self.note("online softmax", *scores);
                self.online_softmax(*scores, (*row_max, *row_sum), acc.0, cols);
            }
            Stmt::HeapClear { heap, row } => self.heap_clear(*heap, row),
            Stmt::HeapPush { heap, row, score, index, evicted } => {
                self.heap_push(*heap, row, score, index, *evicted);
            }
            Stmt::HeapOffer { heap, row, scores, valid, first, cols } => {
                self.heap_offer((*heap, row), (*scores, *valid), first, cols);
            }
            Stmt::HeapStore { heap, row, tensor, index, count } => {
                self.heap_store((*heap, row), (*tensor, index), *count);
            }
            Stmt::Filter { .. } => self.filter(stmt),
            Stmt::For { .. }
            | Stmt::If { .. }
            | Stmt::Role { .. }
            | Stmt::Wait { .. }
            | Stmt::Arrive { .. }
            | Stmt::Sync { .. } => panic!("codegen: {stmt:?} has no form of its own"),
        }
    }

    /// A comment: what the next instructions do, in the words of the tile program.
    fn note(&mut self, what: &str, tile: dmac_schedule::kernel::TileId) {
        let name = &self.kernel.tile(tile).name;
        self.k.comment(format!("{what} {name}"));
    }
}
