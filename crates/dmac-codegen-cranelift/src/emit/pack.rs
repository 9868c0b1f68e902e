//! Tensors that are packed once for all points of a kernel, in a launch of their own before it.
//!
//! Input → output: a tensor that many points copy as a right operand (keys and values, which every tile of queries and every
//! head of a group reads) → the function that packs a part of it, and where each matrix lies. The panels of a matrix (the
//! rows of one axis, for one index of each other axis) follow each other, so that a copy that starts at a panel's edge is
//! only an address; so do its rows, in pairs or converted to f32.

use super::copy::Source;
use super::{Emitter, WORD};
use crate::layout::Table;
use crate::plan::{Form, Packed};
use cranelift_codegen::ir::{InstBuilder, Value};
use dmac_cpu_kernels::{ElementType, Kernel as Micro};
use dmac_schedule::kernel::{Element, Expr};

/// Panels that one point packs.
const PANELS: i64 = 4;

impl Emitter<'_, '_, '_> {
    /// The number of matrices of a packed tensor.
    pub(crate) fn packed_matrices(&mut self, packed: &Packed) -> Value {
        let dims = &self.program.tensor(packed.tensor).dims;
        let mut count = self.int(1);
        for (axis, dim) in dims.iter().enumerate().take(dims.len() - 1) {
            if axis != packed.axis {
                let extent = self.extent(dim);
                count = self.b.ins().imul(count, extent);
            }
        }
        count
    }

    /// The bytes of one row in a form. Panels hold rows in no other order than all of them together.
    fn row_bytes(&mut self, form: Form, depth: Value) -> Value {
        match form {
            Form::Rows | Form::Panels => self.scaled(depth, 4),
            Form::RowPairs => self.scaled(depth, 2),
            Form::PanelPairs => {
                let up = self.add_const(depth, 1);
                let even = self.b.ins().band_imm_s(up, -2);
                self.scaled(even, 2)
            }
        }
    }

    /// The bytes of one matrix.
    pub(crate) fn packed_bytes(&mut self, packed: &Packed) -> Value {
        let dims = &self.program.tensor(packed.tensor).dims;
        let width = self.imports.table().panel as i64;
        let rows = self.extent(&dims[packed.axis]);
        let rows = self.add_const(rows, width - 1);
        let rows = self.b.ins().band_imm_s(rows, -width);
        let depth = self.extent(&dims[dims.len() - 1]);
        let row = self.row_bytes(packed.form, depth);
        self.b.ins().imul(rows, row)
    }

    /// The points that pack a tensor.
    pub(crate) fn packing_points(&mut self, packed: &Packed) -> Value {
        let matrices = self.packed_matrices(packed);
        let parts = self.packing_parts(packed);
        self.b.ins().imul(matrices, parts)
    }

    /// The points that pack one matrix.
    fn packing_parts(&mut self, packed: &Packed) -> Value {
        let rows = self.extent(&self.program.tensor(packed.tensor).dims[packed.axis]);
        let chunk = PANELS * self.imports.table().panel as i64;
        let up = self.add_const(rows, chunk - 1);
        self.b.ins().sshr_imm_u(up, i64::from(chunk.trailing_zeros()))
    }

    /// The address of the rows from an element on.
    pub(crate) fn packed_rows(&mut self, panels: Value, packed: &Packed, index: &[Expr]) -> Value {
        let dims = &self.program.tensor(packed.tensor).dims;
        let mut number = self.int(0);
        for axis in (0..dims.len() - 1).filter(|axis| *axis != packed.axis) {
            let extent = self.extent(&dims[axis]);
            let at = self.scalar(&index[axis]);
            let outer = self.b.ins().imul(number, extent);
            number = self.b.ins().iadd(outer, at);
        }
        let bytes = self.packed_bytes(packed);
        let offset = self.b.ins().imul(number, bytes);
        let matrix = self.b.ins().iadd(panels, offset);
        let depth = self.extent(&dims[dims.len() - 1]);
        let row = self.row_bytes(packed.form, depth);
        let start = self.scalar(&index[packed.axis]);
        let within = self.b.ins().imul(start, row);
        self.b.ins().iadd(matrix, within)
    }

    /// Packs rows in a form.
    pub(super) fn pack_form(&mut self, form: Form, (rows, depth): (Value, Value), from: Source, to: Value) {
        let none = self.null();
        let Source { address, element, stride, list } = from;
        let args = [rows, depth, address, element, stride, list, to];
        let with = |more: &[Value]| args.iter().chain(more).copied().collect::<Vec<Value>>();
        match form {
            Form::Rows => self.call(Micro::pack_rows, &with(&[depth, none])),
            Form::RowPairs => self.call(Micro::pack_rows_bf16, &with(&[depth, none])),
            Form::Panels => self.call(Micro::pack_panels, &with(&[none])),
            Form::PanelPairs => self.call(Micro::pack_panels_bf16, &with(&[none])),
        };
    }

    /// The body of the function that packs a part of a tensor.
    pub(crate) fn packing_body(&mut self, slot: usize, packed: &Packed, point: Value) {
        debug_assert_eq!(self.type_of(point), WORD, "codegen: points are words");
        let decl = self.program.tensor(packed.tensor);
        let parts = self.packing_parts(packed);
        let number = self.b.ins().udiv(point, parts);
        let before = self.b.ins().imul(number, parts);
        let part = self.b.ins().isub(point, before);
        let chunk = PANELS * self.imports.table().panel as i64;
        let first = self.scaled(part, chunk);
        let rows = self.extent(&decl.dims[packed.axis]);
        let left = self.b.ins().isub(rows, first);
        let most = self.int(chunk);
        let count = self.b.ins().smin(left, most);
        // The last of the other axes runs fastest.
        let mut rest = number;
        let place = self.layout.place(packed.tensor);
        let row_stride = self.stride(packed.tensor, packed.axis);
        let mut elements = self.b.ins().imul(first, row_stride);
        for axis in (0..decl.dims.len() - 1).rev().filter(|axis| *axis != packed.axis) {
            let extent = self.extent(&decl.dims[axis]);
            let quotient = self.b.ins().udiv(rest, extent);
            let whole = self.b.ins().imul(quotient, extent);
            let index = self.b.ins().isub(rest, whole);
            rest = quotient;
            let stride = self.stride(packed.tensor, axis);
            let part = self.b.ins().imul(index, stride);
            elements = self.b.ins().iadd(elements, part);
        }
        let pointer = self.slot(place.table, place.pointer);
        let from = self.offset(pointer, elements, decl.element.bytes() as i64);
        let panels = self.slot(Table::Frame, slot);
        let bytes = self.packed_bytes(packed);
        let matrix = self.b.ins().imul(number, bytes);
        let matrix = self.b.ins().iadd(panels, matrix);
        let depth = self.extent(&decl.dims[decl.dims.len() - 1]);
        let row_bytes = self.row_bytes(packed.form, depth);
        let within = self.b.ins().imul(first, row_bytes);
        let to = self.b.ins().iadd(matrix, within);
        let code = match decl.element {
            Element::F16 => ElementType::F16,
            Element::Bf16 => ElementType::Bf16,
            Element::F32 | Element::I32 | Element::Bool => ElementType::F32,
        };
        let source =
            Source { address: from, element: self.int32(code.code()), stride: row_stride, list: self.null() };
        self.pack_form(packed.form, (count, depth), source, to);
        self.b.ins().return_(&[]);
    }
}
