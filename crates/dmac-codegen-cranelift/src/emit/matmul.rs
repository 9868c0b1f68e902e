//! Matrix products of tiles.
//!
//! Input → output: [`Stmt::Mma`](dmac_schedule::kernel::Stmt::Mma) → a call of the matrix micro-kernel. A transposed right
//! operand is read from panels that its copy packed, or is packed here where the tile was computed.

use super::Emitter;
use cranelift_codegen::ir::InstBuilder;
use dmac_cpu_kernels::{ElementType, Kernel as Micro};
use dmac_schedule::kernel::{Expr, TileId, TileRef};

/// A matrix product: its tiles, form and sizes.
#[derive(Clone, Copy)]
pub(crate) struct Product<'p> {
    pub(crate) acc: TileId,
    pub(crate) a: &'p TileRef,
    pub(crate) b: &'p TileRef,
    pub(crate) transpose_b: bool,
    pub(crate) accumulate: bool,
    pub(crate) sizes: [&'p Expr; 3],
}

impl Emitter<'_, '_, '_> {
    pub(crate) fn product(&mut self, product: Product<'_>) {
        self.fresh(|e| {
            let [m, n, k] = product.sizes.map(|size| e.scalar(size));
            let mut depth = k;
            let a = e.operand(product.a);
            let width = e.imports.table().panel as i64;
            let (b, b_row, b_panel) = if !product.transpose_b {
                let b = e.operand(product.b);
                if let Some(rows) = b.rows {
                    depth = e.b.ins().smin(depth, rows);
                }
                (b.address, b.stride, e.int(width))
            } else if let Some(panels) = e.panels(product.b) {
                let view = e.views[product.b.tile.0 as usize].expect("codegen: panels have variables");
                let packed = e.b.use_var(view.stride);
                depth = e.b.ins().smin(depth, packed);
                let panel = e.scaled(packed, width);
                (panels, e.int(width), panel)
            } else {
                let b = e.operand(product.b);
                let panels = e.scratch_at(e.plan().pack, None, 0);
                let none = e.null();
                let element = e.int32(ElementType::F32.code());
                e.call(Micro::pack_panels, &[n, k, b.address, element, b.stride, none, panels, none]);
                let panel = e.scaled(k, width);
                (panels, e.int(width), panel)
            };
            let c = e.operand(&product.acc.into());
            let one = e.int(1);
            let accumulate = e.int32(i32::from(product.accumulate));
            e.call(
                Micro::gemm,
                &[m, n, depth, a.address, a.stride, one, b, b_row, b_panel, c.address, c.stride, accumulate],
            );
        });
    }
}
