//! Matrix products of tiles.
//!
//! Input → output: [`Stmt::Mma`](dmac_schedule::kernel::Stmt::Mma) → a call of the matrix micro-kernel. A transposed right
//! operand is read from panels: those of a tensor that was packed once, those that its copy packed, or, where the tile
//! was computed, panels that are packed here. Products with few rows read the right operand from its tensor in place.

use super::{Emitter, memory::Operand};
use cranelift_codegen::ir::{InstBuilder, Value};
use dmac_cpu_kernels::{ElementType, Kernel as Micro};
use dmac_schedule::kernel::{Element, Expr, TileId, TileRef};

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
            let sizes = product.sizes.map(|size| e.scalar(size));
            let a = e.operand(product.a);
            let c = e.operand(&product.acc.into());
            let Some(in_place) = &e.plan().tile(product.b.tile).in_place else {
                e.tile_product(product, sizes, a, c);
                return;
            };
            let few = e.few(in_place);
            e.branch(
                few,
                |e| e.product_in_place(product, sizes, a, c, in_place.element),
                |e| {
                    if e.plan().pairs.right.contains(&product.b.tile) {
                        e.pair_product(product, sizes, a, c);
                    } else {
                        e.tile_product(product, sizes, a, c);
                    }
                },
            );
        });
    }

    /// With the right operand in the tensor that it would be copied from.
    fn product_in_place(
        &mut self,
        product: Product<'_>,
        [m, n, k]: [Value; 3],
        a: Operand,
        c: Operand,
        element: Element,
    ) {
        let view = self.views[product.b.tile.0 as usize].expect("codegen: an operand in place has variables");
        let [address, stride, list] =
            [view.address, view.stride, view.list].map(|variable| self.b.use_var(variable));
        let code = match element {
            Element::F16 => ElementType::F16,
            Element::Bf16 => ElementType::Bf16,
            Element::F32 | Element::I32 | Element::Bool => ElementType::F32,
        };
        let code = self.int32(code.code());
        let args = [m, n, k, a.address, a.stride, address, code, stride, list, c.address, c.stride];
        if product.transpose_b {
            self.call(Micro::dot_rows, &args);
        } else {
            let accumulate = self.int32(i32::from(product.accumulate));
            let args: Vec<Value> = args.into_iter().chain([accumulate]).collect();
            self.call(Micro::gemm_rows, &args);
        }
    }

    /// With both operands in bf16.
    fn pair_product(&mut self, product: Product<'_>, [m, n, k]: [Value; 3], a: Operand, c: Operand) {
        let left = self.plan().pairs.left.contains(&product.a.tile);
        let (a, a_row) = if left {
            let view = self.views[product.a.tile.0 as usize]
                .expect("codegen: a left operand in place has variables");
            (self.b.use_var(view.address), self.b.use_var(view.stride))
        } else {
            (a.address, self.scaled(a.stride, 2))
        };
        let view = self.views[product.b.tile.0 as usize].expect("codegen: an operand of pairs has variables");
        let (b, depth) = (self.b.use_var(view.panels), self.b.use_var(view.depth));
        let width = self.imports.table().panel as i64;
        let (b_row, b_panel) = if product.transpose_b {
            let up = self.add_const(depth, 1);
            let pairs = self.b.ins().sshr_imm_u(up, 1);
            (self.int(width), self.scaled(pairs, width))
        } else {
            (depth, self.int(width))
        };
        let accumulate = self.int32(i32::from(product.accumulate));
        let args = [m, n, k, a, a_row, b, b_row, b_panel, c.address, c.stride, accumulate];
        self.call(Micro::gemm_bf16, &args);
    }

    /// With the right operand in panels, or in rows of scratch memory or of a tensor of f32.
    fn tile_product(&mut self, product: Product<'_>, [m, n, k]: [Value; 3], a: Operand, c: Operand) {
        let mut depth = k;
        let width = self.imports.table().panel as i64;
        let plan = self.plan().tile(product.b.tile);
        let (b, b_row, b_panel) = if !product.transpose_b && plan.packed.is_some() {
            let view = self.views[product.b.tile.0 as usize].expect("codegen: packed rows have variables");
            (self.b.use_var(view.panels), self.b.use_var(view.depth), self.int(width))
        } else if !product.transpose_b {
            let b = self.operand(product.b);
            if let Some(rows) = b.rows {
                depth = self.b.ins().smin(depth, rows);
            }
            (b.address, b.stride, self.int(width))
        } else if plan.panels.is_some() {
            let view = self.views[product.b.tile.0 as usize].expect("codegen: panels have variables");
            let packed = self.b.use_var(view.depth);
            depth = self.b.ins().smin(depth, packed);
            let panel = self.scaled(packed, width);
            let panels = match product.b.stage {
                None => self.b.use_var(view.panels),
                Some(_) => self.panels(product.b).expect("codegen: a stage has panels"),
            };
            (panels, self.int(width), panel)
        } else {
            let b = self.operand(product.b);
            let panels = self.scratch_at(self.plan().pack, None, 0);
            let none = self.null();
            let element = self.int32(ElementType::F32.code());
            self.call(Micro::pack_panels, &[n, k, b.address, element, b.stride, none, panels, none]);
            let panel = self.scaled(k, width);
            (panels, self.int(width), panel)
        };
        let one = self.int(1);
        let accumulate = self.int32(i32::from(product.accumulate));
        let left = [m, n, depth, a.address, a.stride, one];
        let right = [b, b_row, b_panel, c.address, c.stride, accumulate];
        let args: Vec<Value> = left.into_iter().chain(right).collect();
        self.call(Micro::gemm, &args);
    }
}
