//! Tensors that are packed once for all points of a kernel, in a launch of their own before it.
//!
//! Input → output: a tensor that many points copy into panels (keys, which every tile of queries and every head of a group
//! reads) → the function that packs a part of it, and where each matrix lies. The panels of a matrix (the rows of one axis,
//! for one index of each other axis) follow each other, so that a copy that starts at a panel's edge is only an address.

use super::{Emitter, WORD};
use crate::layout::Table;
use crate::plan::Packed;
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

    /// The bytes of the panels of one matrix.
    pub(crate) fn packed_bytes(&mut self, packed: &Packed) -> Value {
        let dims = &self.program.tensor(packed.tensor).dims;
        let width = self.imports.table().panel as i64;
        let rows = self.extent(&dims[packed.axis]);
        let rows = self.add_const(rows, width - 1);
        let rows = self.b.ins().band_imm_s(rows, -width);
        let depth = self.extent(&dims[dims.len() - 1]);
        let elements = self.b.ins().imul(rows, depth);
        self.scaled(elements, 4)
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

    /// The address of the panels of the matrix that contains an element.
    pub(crate) fn packed_matrix(&mut self, panels: Value, packed: &Packed, index: &[Expr]) -> Value {
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
        self.b.ins().iadd(panels, offset)
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
        let row_bytes = self.scaled(depth, 4);
        let within = self.b.ins().imul(first, row_bytes);
        let to = self.b.ins().iadd(matrix, within);
        let code = match decl.element {
            Element::F16 => ElementType::F16,
            Element::Bf16 => ElementType::Bf16,
            Element::F32 | Element::I32 | Element::Bool => ElementType::F32,
        };
        let (code, none) = (self.int32(code.code()), self.null());
        self.call(Micro::pack_panels, &[count, depth, from, code, row_stride, none, to, none]);
        self.b.ins().return_(&[]);
    }
}
