//! Copies between tensors and tiles.
//!
//! Input → output: [`Stmt::Copy`](dmac_schedule::kernel::Stmt::Copy), `Store`, `ReduceAdd`, `StoreElem` and `Fill` → calls
//! of packing micro-kernels where the indices are rows of a tensor ([`rows_of`]), loops where they are anything else.

use super::{ACCESS, Along, Emitter, Point, WORD};
use crate::layout::Table;
use crate::plan::{Form, InPlace, rounds};
use crate::rows::{RowAccess, rows_of};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use dmac_cpu_kernels::{ElementType, Kernel as Micro};
use dmac_schedule::kernel::{Element, Expr, TensorId, TileId, TileRef};

/// Products of at most this many rows read their right operand from the tensor: it would be packed for too little.
const FEW_ROWS: i64 = 4;

/// Rows of a tensor as a micro-kernel takes them.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) address: Value,
    pub(super) element: Value,
    pub(super) stride: Value,
    pub(super) list: Value,
}

/// How micro-kernels are told a storage type. Ints of 32 bits are copied as the bits of an f32.
fn code(element: Element) -> Option<ElementType> {
    match element {
        Element::F32 | Element::I32 => Some(ElementType::F32),
        Element::F16 => Some(ElementType::F16),
        Element::Bf16 => Some(ElementType::Bf16),
        Element::Bool => None,
    }
}

/// The indices of a row vector as those of one row: rows and columns change places.
fn turned(index: &[Expr]) -> Vec<Expr> {
    index
        .iter()
        .map(|x| {
            x.replace(&|x| match x {
                Expr::Row => Some(Expr::Col),
                Expr::Col => Some(Expr::Int(0)),
                _ => None,
            })
        })
        .collect()
}

impl Emitter<'_, '_, '_> {
    fn source(&mut self, tensor: TensorId, access: &RowAccess, code: ElementType) -> Source {
        let address = self.address(tensor, &access.first);
        let stride = match access.axis {
            Some(axis) => self.stride(tensor, axis),
            None => self.int(0),
        };
        let list = match &access.list {
            Some((list, first)) => self.address(*list, first),
            None => self.null(),
        };
        Source { address, element: self.int32(code.code()), stride, list }
    }

    pub(crate) fn copy(&mut self, dst: &TileRef, tensor: TensorId, index: &[Expr], rows: &Expr, cols: &Expr) {
        self.fresh(|e| {
            let (decl, plan) = (e.kernel().tile(dst.tile), e.plan().tile(dst.tile).clone());
            let element = e.program.tensor(tensor).element;
            let vector = decl.cols == 1;
            let access = if vector { rows_of(&turned(index)) } else { rows_of(index) };
            if plan.view {
                let access = access.expect("codegen: a view is rows of a tensor");
                let address = e.address(tensor, &access.first);
                let stride = match access.axis {
                    Some(axis) => e.stride(tensor, axis),
                    None => e.int(0),
                };
                let rows = e.scalar(rows);
                let view = e.views[dst.tile.0 as usize].expect("codegen: a view has variables");
                e.b.def_var(view.address, address);
                e.b.def_var(view.stride, stride);
                e.b.def_var(view.rows, rows);
                return;
            }
            let same = element.scalar() == decl.element.scalar();
            let (Some(access), Some(code), true) = (access, code(element), same) else {
                e.zero_tile(dst.tile);
                e.map(dst.tile, rows, cols, &Expr::Load { tensor, index: index.to_vec() });
                return;
            };
            let source = e.source(tensor, &access, code);
            if e.plan().pairs.left.contains(&dst.tile) {
                let view = e.views[dst.tile.0 as usize].expect("codegen: an operand in place has variables");
                e.b.def_var(view.address, source.address);
                e.b.def_var(view.stride, source.stride);
                let few = e.few_pairs();
                e.branch(few, |e| e.pack(dst, tensor, &access, source, rows, cols), |_| {});
                return;
            }
            let Some(in_place) = &plan.in_place else {
                e.pack(dst, tensor, &access, source, rows, cols);
                return;
            };
            let view = e.views[dst.tile.0 as usize].expect("codegen: an operand in place has variables");
            let row_count = e.scalar(rows);
            e.b.def_var(view.address, source.address);
            e.b.def_var(view.stride, source.stride);
            e.b.def_var(view.list, source.list);
            e.b.def_var(view.rows, row_count);
            let few = e.few(in_place);
            e.branch(few, |_| {}, |e| e.pack(dst, tensor, &access, source, rows, cols));
        });
    }

    /// Whether products have so few rows that packing their right operand does not pay.
    pub(crate) fn few(&mut self, in_place: &InPlace) -> Value {
        self.few_rows(&in_place.rows)
    }

    /// The same for the products of bf16: they are then of f32.
    pub(crate) fn few_pairs(&mut self) -> Value {
        let plan = self.plan();
        self.few_rows(plan.pairs.rows.as_ref().expect("codegen: products of bf16 have rows"))
    }

    fn few_rows(&mut self, rows: &Expr) -> Value {
        let rows = self.scalar(rows);
        self.b.ins().icmp_imm_s(IntCC::SignedLessThanOrEqual, rows, FEW_ROWS)
    }

    /// Copies rows of a tensor to where a tile is held.
    fn pack(
        &mut self,
        dst: &TileRef,
        tensor: TensorId,
        access: &RowAccess,
        source: Source,
        rows: &Expr,
        cols: &Expr,
    ) {
        let (decl, plan) = (self.kernel().tile(dst.tile), self.plan().tile(dst.tile).clone());
        let (row_count, col_count) = (self.scalar(rows), self.scalar(cols));
        let held = plan.packed.is_some() || plan.form != Form::Rows;
        if held {
            let own = self.panels(dst).unwrap_or_else(|| self.tile_base(dst.tile));
            let sizes = (row_count, col_count);
            let pack = |e: &mut Self| {
                if plan.form == Form::Panels && plan.in_place.is_none() {
                    e.pack_panels(own, source, sizes, (rows, decl.rows));
                } else {
                    e.pack_form(plan.form, sizes, source, own);
                }
                own
            };
            let start = match plan.packed {
                None => pack(self),
                Some(number) => {
                    let slot = self.layout.packed[self.number][number];
                    let packed = self.slot(Table::Frame, slot);
                    let at = &self.plan().packed[number];
                    let start = self.scalar(&access.first[at.axis]);
                    let within = self.b.ins().band_imm_s(start, self.imports.table().panel as i64 - 1);
                    let aligned = self.b.ins().icmp_imm_s(IntCC::Equal, within, 0);
                    let exists = self.b.ins().icmp_imm_s(IntCC::NotEqual, packed, 0);
                    let usable = self.b.ins().band(aligned, exists);
                    self.choose(usable, WORD, |e| e.packed_rows(packed, at, &access.first), pack)
                }
            };
            let view = self.views[dst.tile.0 as usize].expect("codegen: panels have variables");
            self.b.def_var(view.panels, start);
            self.b.def_var(view.depth, col_count);
        }
        if plan.rows.is_some() && (!held || plan.form.panels()) {
            let to = self.operand(dst);
            let none = self.null();
            let Source { address, element: type_code, stride, list } = source;
            let (lines, length) =
                if decl.cols == 1 { (self.int(1), row_count) } else { (row_count, col_count) };
            self.call(
                Micro::pack_rows,
                &[lines, length, address, type_code, stride, list, to.address, to.stride, none],
            );
            self.zero_rest(dst, rows, cols);
            if rounds(decl.element, self.program.tensor(tensor).element) {
                self.map(dst.tile, rows, cols, &Expr::Elem(dst.tile));
            }
        }
    }

    /// Packs rows into a tile's own panels, zeros in those that are left.
    fn pack_panels(
        &mut self,
        panels: Value,
        source: Source,
        (row_count, col_count): (Value, Value),
        (rows, all_rows): (&Expr, usize),
    ) {
        let none = self.null();
        let Source { address, element, stride, list } = source;
        self.call(Micro::pack_panels, &[row_count, col_count, address, element, stride, list, panels, none]);
        if *rows == Expr::Int(all_rows as i64) {
            return;
        }
        let width = self.imports.table().panel;
        let packed = self.add_const(row_count, width as i64 - 1);
        let packed = self.b.ins().band_imm_s(packed, -(width as i64));
        let all = self.int(all_rows.next_multiple_of(width) as i64);
        let rest = self.b.ins().isub(all, packed);
        let row_bytes = self.scaled(col_count, 4);
        let start = self.b.ins().imul(packed, row_bytes);
        let start = self.b.ins().iadd(panels, start);
        let bytes = self.b.ins().imul(rest, row_bytes);
        let zero = self.lanes_int(types::I32X4, 0);
        self.fill_bytes(start, bytes, zero);
    }

    /// Zeros outside the given rows and columns of a tile.
    fn zero_rest(&mut self, dst: &TileRef, rows: &Expr, cols: &Expr) {
        let (decl, plan) = (self.kernel().tile(dst.tile), self.plan().tile(dst.tile).clone());
        let to = self.operand(dst);
        let zero = self.lanes_int(types::I32X4, 0);
        let (row_count, col_count) = (self.scalar(rows), self.scalar(cols));
        let (all_rows, all_cols) = (self.int(decl.rows as i64), self.int(decl.cols as i64));
        let row_bytes = (plan.stride * plan.bytes) as i64;
        if *rows != Expr::Int(decl.rows as i64) {
            if plan.stride == 1 {
                let zero = self.int32(0);
                self.count_by(row_count, all_rows, 1, |e, row| {
                    let at = e.offset(to.address, row, row_bytes);
                    e.b.ins().store(ACCESS, zero, at, 0);
                });
            } else {
                let rest = self.b.ins().isub(all_rows, row_count);
                let bytes = self.scaled(rest, row_bytes);
                let start = self.offset(to.address, row_count, row_bytes);
                self.fill_bytes(start, bytes, zero);
            }
        }
        if *cols != Expr::Int(decl.cols as i64) {
            let (first, zero) = (self.int(0), self.int32(0));
            self.count_by(first, row_count, 1, |e, row| {
                let line = e.offset(to.address, row, row_bytes);
                e.count_by(col_count, all_cols, 1, |e, col| {
                    let at = e.offset(line, col, plan.bytes as i64);
                    if plan.bytes == 1 {
                        e.b.ins().istore8(ACCESS, zero, at, 0);
                    } else {
                        e.b.ins().store(ACCESS, zero, at, 0);
                    }
                });
            });
        }
    }

    fn zero_tile(&mut self, tile: TileId) {
        let zero = self.lanes_int(types::I32X4, 0);
        let base = self.tile_base(tile);
        let bytes = self.int(self.plan().tile(tile).stage as i64);
        self.fill_bytes(base, bytes, zero);
    }

    pub(crate) fn fill(&mut self, tile: TileId, value: &Expr) {
        self.fresh(|e| {
            let plan = e.plan().tile(tile);
            let bytes = (plan.stage * e.kernel().tile(tile).stages) as i64;
            let value = e.scalar(value);
            let value = e.held_as(tile, value);
            let vector = match e.held(tile) {
                Element::Bool => e.b.ins().splat(types::I8X16, value),
                Element::I32 => {
                    let value = e.b.ins().ireduce(types::I32, value);
                    e.b.ins().splat(types::I32X4, value)
                }
                _ => e.b.ins().splat(types::F32X4, value),
            };
            let base = e.tile_base(tile);
            let bytes = e.int(bytes);
            e.fill_bytes(base, bytes, vector);
        });
    }

    pub(crate) fn store(&mut self, tensor: TensorId, index: &[Expr], src: TileId, rows: &Expr, cols: &Expr) {
        self.fresh(|e| {
            let (decl, plan) = (e.kernel().tile(src), e.plan().tile(src).clone());
            let element = e.program.tensor(tensor).element;
            let vector = decl.cols == 1;
            let access = if vector { rows_of(&turned(index)) } else { rows_of(index) };
            let access = access.filter(|access| access.list.is_none() && !plan.log2);
            let same = element.scalar() == decl.element.scalar();
            let (row_count, col_count) = (e.scalar(rows), e.scalar(cols));
            let (Some(access), Some(code), true) = (access, code(element), same) else {
                e.each_element(row_count, col_count, |e, row, col| {
                    let from = e.tile_address(src, row, col);
                    let value = e.load_tile(src, from);
                    let to = e.address(tensor, index);
                    e.store_element(element, value, to);
                });
                return;
            };
            let to = e.source(tensor, &access, code);
            let from = e.operand(&src.into());
            let (lines, length) = if vector { (e.int(1), row_count) } else { (row_count, col_count) };
            e.call(
                Micro::store_rows,
                &[lines, length, from.address, from.stride, to.address, to.element, to.stride],
            );
        });
    }

    /// Adds a tile to a tensor of f32, one element at a time and atomically: grid points may share elements.
    pub(crate) fn reduce_add(
        &mut self,
        tensor: TensorId,
        index: &[Expr],
        src: TileId,
        rows: &Expr,
        cols: &Expr,
    ) {
        self.fresh(|e| {
            let (row_count, col_count) = (e.scalar(rows), e.scalar(cols));
            e.each_element(row_count, col_count, |e, row, col| {
                let from = e.tile_address(src, row, col);
                let value = e.load_tile(src, from);
                let to = e.address(tensor, index);
                let start = e.b.ins().load(types::I32, ACCESS, to, 0);
                let (retry, done) = (e.b.create_block(), e.b.create_block());
                let old = e.b.append_block_param(retry, types::I32);
                e.b.ins().jump(retry, &[start.into()]);
                e.b.switch_to_block(retry);
                let sum = e.bits(types::F32, old);
                let sum = e.b.ins().fadd(sum, value);
                let sum = e.bits(types::I32, sum);
                let seen = e.b.ins().atomic_cas(ACCESS, to, old, sum);
                let same = e.b.ins().icmp(IntCC::Equal, seen, old);
                e.b.ins().brif(same, done, &[], retry, &[seen.into()]);
                e.b.seal_block(retry);
                e.b.seal_block(done);
                e.b.switch_to_block(done);
            });
        });
    }

    pub(crate) fn store_elem(&mut self, tensor: TensorId, index: &[Expr], value: &Expr) {
        self.fresh(|e| {
            let value = e.scalar(value);
            let to = e.address(tensor, index);
            let element = e.program.tensor(tensor).element;
            e.store_element(element, value, to);
        });
    }

    /// A loop over the elements of a tile by scalar code.
    fn each_element(&mut self, rows: Value, cols: Value, f: impl FnOnce(&mut Self, Value, Value)) {
        let zero = self.int(0);
        self.count_by(zero, rows, 1, |e, row| {
            e.count_by(zero, cols, 1, |e, col| {
                let point = Point { row: Some(row), col: Some(col), along: Along::Cols };
                e.at_point(point, |e| f(e, row, col));
            });
        });
    }

    /// The low half of a scalar int, as micro-kernels take indices.
    pub(crate) fn as_i32(&mut self, value: Value) -> Value {
        self.b.ins().ireduce(types::I32, value)
    }
}
