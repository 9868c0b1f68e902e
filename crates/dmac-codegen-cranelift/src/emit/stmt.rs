//! Statements: one match over all of them, and the function around a kernel's body.
//!
//! Input → output: a kernel → the function that runs one point of its grid. Copies are synchronous and there is one role,
//! so waits, arrivals and barriers emit nothing.

use super::matmul::Product;
use super::reduce::Softmax;
use super::{ACCESS, Emitter, WORD, scalar_type};
use crate::layout::{Layout, Table};
use crate::plan::KernelPlan;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use dmac_schedule::kernel::{Expr, Kernel, Stmt, TensorId, VarId};

impl<'p> Emitter<'p, '_, '_> {
    /// The body of a kernel's function: one point, by its number in the order of the grid.
    pub(crate) fn kernel_body(
        &mut self,
        number: usize,
        kernel: &'p Kernel,
        plan: &'p KernelPlan,
        point: Value,
        worker: Value,
    ) {
        assert!(kernel.rounds.is_none(), "codegen: rounds of `{}` on a processor", kernel.name);
        self.kernel = Some((kernel, plan));
        self.number = number;
        let scratch = self.slot(Table::Frame, Layout::SCRATCH);
        let bytes = self.slot(Table::Frame, Layout::SCRATCH_BYTES);
        let own = self.b.ins().imul(worker, bytes);
        self.scratch = Some(self.b.ins().iadd(scratch, own));
        for var in &kernel.vars {
            let ty = scalar_type(var.ty);
            let variable = self.b.declare_var(ty);
            let zero = if ty.is_float() { self.float(0.0) } else { self.b.ins().iconst(ty, 0) };
            self.b.def_var(variable, zero);
            self.vars.push(variable);
        }
        for (number, tile) in plan.tiles.iter().enumerate() {
            let elsewhere = tile.view || tile.panels.is_some() || tile.in_place.is_some();
            let elsewhere = elsewhere || tile.packed.is_some();
            let read_in_place = plan.pairs.left.contains(&dmac_schedule::kernel::TileId(number as u32));
            let view = (elsewhere || read_in_place).then(|| self.declare_view());
            self.views.push(view);
        }
        // The last axis runs fastest.
        let mut rest = point;
        for (axis, grid) in kernel.grid.iter().enumerate().rev() {
            let extent = self.slot(Table::Frame, self.layout.extents[number] + axis);
            let index = if axis == 0 {
                rest
            } else {
                let quotient = self.b.ins().udiv(rest, extent);
                let whole = self.b.ins().imul(quotient, extent);
                let index = self.b.ins().isub(rest, whole);
                rest = quotient;
                index
            };
            let index = if grid.descending {
                let last = self.add_const(extent, -1);
                self.b.ins().isub(last, index)
            } else {
                index
            };
            self.set(grid.var, index);
        }
        self.place_heaps();
        self.block(&kernel.body);
        self.b.ins().return_(&[]);
    }

    fn block(&mut self, body: &'p [Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    /// One more item of a list, stored if there is a slot for it.
    fn append(&mut self, (tensor, index): (TensorId, &'p [Expr]), item: VarId, limit: Value, count: VarId) {
        let taken = self.get(count);
        let fits = self.b.ins().icmp(IntCC::SignedLessThan, taken, limit);
        let slot: Vec<Expr> = index.iter().cloned().chain([Expr::Var(count)]).collect();
        self.branch(fits, |e| e.store_elem(tensor, &slot, &Expr::Var(item)), |_| {});
        let next = self.add_const(taken, 1);
        self.set(count, next);
    }

    fn repeat(&mut self, var: VarId, lo: Value, hi: Value, step: Value, body: &'p [Stmt]) {
        self.count(lo, hi, step, |e, i| {
            e.set(var, i);
            e.block(body);
        });
    }

    fn stmt(&mut self, stmt: &'p Stmt) {
        match stmt {
            Stmt::For { var, lo, hi, step, body } => {
                let [lo, hi, step] = self.fresh(|e| [lo, hi, step].map(|x| e.scalar(x)));
                self.repeat(*var, lo, hi, step, body);
            }
            Stmt::If { cond, then, otherwise } => {
                let cond = self.fresh(|e| e.scalar(cond));
                self.branch(cond, |e| e.block(then), |e| e.block(otherwise));
            }
            Stmt::Set { var, value } => {
                let value = self.fresh(|e| e.scalar(value));
                self.set(*var, value);
            }
            Stmt::Copy { dst, tensor, index, rows, cols, arrive: _ } => {
                self.copy(dst, *tensor, index, rows, cols);
            }
            Stmt::Store { tensor, index, src, rows, cols } => self.store(*tensor, index, *src, rows, cols),
            Stmt::ReduceAdd { tensor, index, src, rows, cols } => {
                self.reduce_add(*tensor, index, *src, rows, cols);
            }
            Stmt::StoreElem { tensor, index, value } => self.store_elem(*tensor, index, value),
            Stmt::Fill { tile, value } => self.fill(*tile, value),
            Stmt::Map { dst, rows, cols, body } => self.map(*dst, rows, cols, body),
            Stmt::Mma { acc, a, b, transpose_b, accumulate, m, n, k } => self.product(Product {
                acc: *acc,
                a,
                b,
                transpose_b: *transpose_b,
                accumulate: *accumulate,
                sizes: [m, n, k],
            }),
            Stmt::RowReduce { dst, src, op, rows, cols, accumulate } => {
                self.row_reduce(*dst, *src, *op, rows, cols, *accumulate);
            }
            Stmt::OnlineSoftmax { scores, row_max, row_sum, acc, rows, cols, taken } => {
                let (scores, row_max, row_sum) = (*scores, *row_max, *row_sum);
                let tiles = Softmax { scores, row_max, row_sum, acc: acc.0, taken: *taken };
                self.online_softmax(tiles, &acc.1, rows, cols);
            }
            Stmt::HeapClear { heap, row } => self.heap_clear(*heap, row),
            Stmt::HeapPush { heap, row, score, index, evicted } => {
                self.heap_push(*heap, row, score, index, *evicted);
            }
            Stmt::HeapOffer { heap, row, scores, valid, first, cols } => {
                self.heap_offer(*heap, row, (*scores, *valid), first, cols);
            }
            Stmt::HeapStore { heap, row, tensor, index, count } => {
                self.heap_store(*heap, row, *tensor, index, *count);
            }
            Stmt::Filter { var, lo, hi, item, source, keep, tensor, index, limit, count } => {
                let [lo, hi, limit] = self.fresh(|e| [lo, hi, limit].map(|x| e.scalar(x)));
                let one = self.int(1);
                self.count(lo, hi, one, |e, i| {
                    e.set(*var, i);
                    let found = e.fresh(|e| e.scalar(source));
                    e.set(*item, found);
                    let keep = e.fresh(|e| e.scalar(keep));
                    e.branch(keep, |e| e.append((*tensor, index), *item, limit, *count), |_| {});
                });
            }
            Stmt::Role { groups, group, body, .. } => {
                let (zero, one, groups) = (self.int(0), self.int(1), self.int(*groups as i64));
                self.repeat(*group, zero, groups, one, body);
            }
            Stmt::Comment(_)
            | Stmt::MmaWait { .. }
            | Stmt::Wait { .. }
            | Stmt::Arrive { .. }
            | Stmt::Sync { .. } => {}
        }
    }

    /// Writes a slot of the frame.
    pub(crate) fn set_frame(&mut self, slot: usize, value: Value) {
        debug_assert_eq!(self.type_of(value), WORD, "codegen: slots hold words");
        let frame = self.frame.expect("codegen: this function has no frame");
        self.b.ins().store(ACCESS, value, frame, 8 * slot as i32);
    }
}
