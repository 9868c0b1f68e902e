//! Reductions along the rows of a tile, and the online softmax.
//!
//! Input → output: [`Stmt::RowReduce`](dmac_schedule::kernel::Stmt::RowReduce) → a vector loop a row;
//! [`Stmt::OnlineSoftmax`](dmac_schedule::kernel::Stmt::OnlineSoftmax) → one call, whose scale includes the change to base 2.

use super::vector::LANES;
use super::{Along, Emitter, Point};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use dmac_cpu_kernels::Kernel as Micro;
use dmac_ir::Binary;
use dmac_schedule::kernel::{Element, Expr, MapReduction, ScalarType, Taken, TileId};

/// The tiles of an online softmax.
#[derive(Clone, Copy)]
pub(crate) struct Softmax {
    pub(crate) scores: TileId,
    pub(crate) row_max: TileId,
    pub(crate) row_sum: TileId,
    pub(crate) acc: TileId,
    pub(crate) taken: Taken,
}

impl Emitter<'_, '_, '_> {
    pub(crate) fn row_reduce(
        &mut self,
        dst: TileId,
        src: TileId,
        op: MapReduction,
        rows: &Expr,
        cols: &Expr,
        accumulate: bool,
    ) {
        self.fresh(|e| {
            let (rows, cols) = (e.scalar(rows), e.scalar(cols));
            let zero = e.int(0);
            e.count_by(zero, rows, 1, |e, row| {
                let point = Point { row: Some(row), col: None, along: Along::Cols };
                e.at_point(point, |e| e.reduce_row(dst, src, op, row, cols, accumulate));
            });
        });
    }

    fn reduce_row(
        &mut self,
        dst: TileId,
        src: TileId,
        op: MapReduction,
        row: Value,
        cols: Value,
        accumulate: bool,
    ) {
        let float = self.held(src) == Element::F32;
        let ty = if float { ScalarType::F32 } else { ScalarType::Int };
        let combine = match op {
            MapReduction::Sum => Binary::Add,
            MapReduction::Max => Binary::Max,
            MapReduction::Min => Binary::Min,
        };
        let zero = self.int(0);
        let to = self.tile_address(dst, row, zero);
        let start = match (op, float) {
            (MapReduction::Sum, true) => self.lanes_float(types::F32X4, 0.0),
            (MapReduction::Max, true) => self.lanes_float(types::F32X4, f32::NEG_INFINITY),
            (MapReduction::Min, true) => self.lanes_float(types::F32X4, f32::INFINITY),
            (MapReduction::Sum, false) => self.lanes_int(types::I32X4, 0),
            (MapReduction::Max, false) => self.lanes_int(types::I32X4, i32::MIN),
            (MapReduction::Min, false) => self.lanes_int(types::I32X4, i32::MAX),
        };
        let machine = self.type_of(start);
        let total = self.b.declare_var(machine);
        self.b.def_var(total, start);
        let whole = self.b.ins().band_imm_s(cols, -LANES);
        self.count_by(zero, whole, LANES, |e, col| {
            let address = e.tile_address(src, row, col);
            let value = e.load_lanes(e.held(src), address);
            let value = e.meant(src, value);
            let old = e.b.use_var(total);
            let new = e.binary(combine, ty, old, value);
            e.b.def_var(total, new);
        });
        let lanes = self.b.use_var(total);
        let lane = |e: &mut Self, index: u8| {
            let value = e.b.ins().extractlane(lanes, index);
            if float { value } else { e.b.ins().sextend(types::I64, value) }
        };
        let parts = [lane(self, 0), lane(self, 1), lane(self, 2), lane(self, 3)];
        let left = self.binary(combine, ty, parts[0], parts[1]);
        let right = self.binary(combine, ty, parts[2], parts[3]);
        let mut first = self.binary(combine, ty, left, right);
        if accumulate {
            let old = self.load_tile(dst, to);
            first = self.binary(combine, ty, first, old);
        }
        let result = self.fold(whole, cols, first, |e, col, old| {
            let address = e.tile_address(src, row, col);
            let value = e.load_tile(src, address);
            e.binary(combine, ty, old, value)
        });
        self.store_tile(dst, result, to);
    }

    pub(crate) fn online_softmax(&mut self, tiles: Softmax, acc_cols: &Expr, rows: &Expr, cols: &Expr) {
        self.fresh(|e| {
            let (rows, cols, acc_cols) = (e.scalar(rows), e.scalar(cols), e.scalar(acc_cols));
            let none = e.null();
            let scale = e.float(tiles.taken.scale.get() * std::f32::consts::LOG2_E);
            let (first, end) = match tiles.taken.columns {
                Some((first, end)) => (e.tile_base(first), e.tile_base(end)),
                None => (none, none),
            };
            let scores = e.operand(&tiles.scores.into());
            let row_max = e.tile_base(tiles.row_max);
            let row_sum = e.tile_base(tiles.row_sum);
            let acc = e.operand(&tiles.acc.into());
            let mut args =
                vec![rows, cols, scores.address, scores.stride, first, end, scale, row_max, row_sum];
            args.extend([acc.address, acc.stride, acc_cols, none]);
            if !e.plan().pairs.weights.contains(&tiles.scores) {
                e.call(Micro::softmax, &args);
                return;
            }
            let few = e.few_pairs();
            e.branch(
                few,
                |e| {
                    e.call(Micro::softmax, &args);
                },
                |e| {
                    let halves = e.scaled(scores.stride, 2);
                    let args: Vec<Value> = args.iter().copied().chain([scores.address, halves]).collect();
                    e.call(Micro::softmax_bf16, &args);
                },
            );
        });
    }
}
