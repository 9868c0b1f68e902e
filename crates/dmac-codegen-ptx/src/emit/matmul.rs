//! Matrix products: `mma.sync` on fragments.
//!
//! Operands of one 16-bit type are read from shared memory by `ldmatrix` and multiplied as they are; weights of a softmax
//! are rounded to the other operand's type on the way. All other operands are f32, split into two tf32 terms each: the
//! three products that matter leave a relative error of about 2^-21, and sums are rounded to nearest. An operand of 16 bits is one term exactly.

use super::value::Int;
use super::{Emitter, TileRegs};
use crate::plan::SharedTile;
use dmac_ptx::{Addr, B16, B32, F32, Half, MemTy, MmaElem, Reg, Shared, shared};
use dmac_schedule::kernel::{Element, TileId, TileRef};

use super::memory::half;

/// A value as one or two tf32 terms.
#[derive(Clone, Copy)]
struct Terms {
    big: Reg<B32>,
    small: Option<Reg<B32>>,
}

impl Emitter<'_> {
    /// `acc (+)= a b`, or `a b^T`.
    pub(crate) fn product(
        &mut self,
        acc: TileId,
        a: &TileRef,
        b: &TileRef,
        transpose_b: bool,
        accumulate: bool,
    ) {
        let groups = self.fragment(acc);
        if !accumulate {
            for register in groups.iter().flatten() {
                self.k.mov(*register, 0.0);
            }
        }
        let right = self.kernel.tile(b.tile).element;
        let left = self.kernel.tile(a.tile).element;
        let weights = self.plan.weights.contains(&a.tile);
        match half(right) {
            Some(ty) if left == right || weights => self.half_product(&groups, a, b, transpose_b, ty),
            _ => self.float_product(&groups, a, b, transpose_b),
        }
    }

    /// A tile in shared memory at a stage of its ring: the tile, and its address plus what the lane adds.
    fn operand(&mut self, tile: &TileRef, lane: Int) -> (SharedTile, Reg<B32>) {
        let place = self.in_shared(tile.tile).expect("codegen: an operand in shared memory");
        let mut at = self.int_add(lane, Int::from(self.thread.base).plus(place.offset as i32));
        if let Some(stage) = &tile.stage {
            let stage = self.int_value(stage);
            let bytes = self.int_mul(stage, Int::constant(i64::from(place.pitch) * place.rows as i64));
            at = self.int_add(at, bytes);
        }
        (place, self.int(at))
    }

    /// `row * pitch + column * 16` for a row and a chunk of 16 bytes that depend on the lane.
    fn lane_offset(&mut self, tile: TileId, row: Int, chunk: Int) -> Int {
        let pitch = self.in_shared(tile).map_or(0, |tile| tile.pitch);
        let line = self.int_mul(row, Int::constant(i64::from(pitch)));
        let bytes = self.int_mul(chunk, Int::constant(16));
        self.int_add(line, bytes)
    }

    fn half_product(
        &mut self,
        groups: &[[Reg<F32>; 4]],
        a: &TileRef,
        b: &TileRef,
        transpose_b: bool,
        ty: Half,
    ) {
        let elem = if ty == Half::F16x2 { MmaElem::F16 } else { MmaElem::Bf16 };
        let lane = self.thread.lane;
        // Lane l gives the address of row l % 8 of matrix l / 8: matrices are 8 x 8, four at a time.
        let low = Int::from(self.k.and("low", lane, 15));
        let high = Int::from(self.k.shr_u("high", lane, 4));
        let in_eight = Int::from(self.k.and("in_eight", lane, 7));
        let middle = Int::from(self.k.bfe_u("middle", lane, 3, 1));
        let right_lane = if transpose_b {
            let eights = self.int_mul(high, Int::constant(8));
            let row = self.int_add(in_eight, eights);
            self.lane_offset(b.tile, row, middle)
        } else {
            self.lane_offset(b.tile, low, high)
        };
        let (right, right_at) = self.operand(b, right_lane);
        let left_at = self.in_shared(a.tile).is_some().then(|| {
            let sixteens = self.int_mul(Int::from(self.thread.warp), Int::constant(16));
            let row = self.int_add(low, sixteens);
            let lane = self.lane_offset(a.tile, row, high);
            self.operand(a, lane).1
        });
        let depth = if transpose_b { right.cols } else { right.rows };
        for step in 0..depth / 16 {
            let left: [Reg<B32>; 4] = match left_at {
                Some(at) => {
                    let left = std::array::from_fn(|_| self.k.reg("left"));
                    self.k.ldmatrix(&left, shared(at) + 32 * step as i32, false);
                    left
                }
                None => match self.packed(a.tile, step, ty) {
                    Some(left) => left,
                    None => continue,
                },
            };
            for (pair, groups) in groups.chunks(2).enumerate() {
                let (rows, columns) = if transpose_b { (pair, step) } else { (step, pair) };
                let from = shared(right_at) + (16 * rows as u32 * right.pitch + 32 * columns as u32) as i32;
                let r: [Reg<B32>; 4] = std::array::from_fn(|_| self.k.reg("right"));
                self.k.ldmatrix(&r, from, !transpose_b);
                for (group, r) in groups.iter().zip(r.chunks(2)) {
                    self.k.mma(elem, group, &left, &[r[0], r[1]]);
                }
            }
        }
    }

    /// Sixteen columns of a fragment as a left operand: where they lie is where `mma` wants them.
    fn packed(&mut self, tile: TileId, step: usize, ty: Half) -> Option<[Reg<B32>; 4]> {
        let TileRegs::Fragment(groups) = self.tiles[tile.0 as usize].clone() else {
            panic!("codegen: a left operand is shared or a fragment")
        };
        let first = *groups.get(2 * step)?;
        let second = groups.get(2 * step + 1).copied();
        let mut pack =
            |group: [Reg<F32>; 4], at: usize| self.k.pack_half(ty, "left", group[at], group[at + 1]);
        let (a, b) = (pack(first, 0), pack(first, 2));
        let (c, d) = match second {
            Some(second) => (pack(second, 0), pack(second, 2)),
            None => (self.k.mov("left", 0), self.k.mov("left", 0)),
        };
        Some([a, b, c, d])
    }

    fn float_product(&mut self, groups: &[[Reg<F32>; 4]], a: &TileRef, b: &TileRef, transpose_b: bool) {
        // The depth is permuted: where `mma` has k and k + 4 in a lane, here are the lane's two neighbouring columns, as
        // fragments hold them.
        let (quad, pair) = (Int::from(self.thread.quad), Int::from(self.thread.pair));
        let right_element = self.kernel.tile(b.tile).element;
        let bytes = right_element.bytes() as i64;
        let pitch = self.in_shared(b.tile).map_or(0, |tile| i64::from(tile.pitch));
        let (row, column) = if transpose_b { (quad, pair) } else { (pair, quad) };
        let line = self.int_mul(row, Int::constant(pitch));
        let columns = self.int_mul(column, Int::constant(bytes));
        let lane = self.int_add(line, columns);
        let (right, right_at) = self.operand(b, lane);
        let left_at = self.in_shared(a.tile).map(|tile| {
            let line = self.int_mul(Int::from(self.thread.row), Int::constant(i64::from(tile.pitch)));
            let columns = self.int_mul(pair, Int::constant(i64::from(tile.bytes)));
            let lane = self.int_add(line, columns);
            self.operand(a, lane)
        });
        let left_element = self.kernel.tile(a.tile).element;
        let depth = if transpose_b { right.cols } else { right.rows };
        for step in 0..depth / 8 {
            let values: [[Reg<F32>; 2]; 2] = match left_at {
                Some((tile, at)) => std::array::from_fn(|row| {
                    let offset = 8 * row as u32 * tile.pitch + 8 * step as u32 * tile.bytes;
                    self.load_pair(left_element, shared(at) + offset as i32)
                }),
                None => match self.fragment(a.tile).get(step) {
                    Some(group) => [[group[0], group[1]], [group[2], group[3]]],
                    None => continue,
                },
            };
            let [[a0, a2], [a1, a3]] = values.map(|row| row.map(|x| self.terms(left_element, x)));
            let left = [a0, a1, a2, a3];
            for (at, group) in groups.iter().enumerate() {
                let (rows, columns) = if transpose_b { (at, step) } else { (step, at) };
                let from = shared(right_at) + (8 * rows as i64 * pitch + 8 * columns as i64 * bytes) as i32;
                let pair = if transpose_b {
                    self.load_pair(right_element, from)
                } else {
                    [self.load_one(right_element, from), self.load_one(right_element, from + pitch as i32)]
                };
                let right = pair.map(|x| self.terms(right_element, x));
                self.multiply(group, &left, &right);
            }
        }
    }

    /// The products of terms, the smallest first. Tensor cores cut off what an accumulator has no bits for, always towards
    /// zero, so that a long sum drifts by as many units as it has steps: each step is a sum of its own, and is added by
    /// an addition that rounds to nearest.
    fn multiply(&mut self, acc: &[Reg<F32>; 4], a: &[Terms; 4], b: &[Terms; 2]) {
        let step: [Reg<F32>; 4] = std::array::from_fn(|_| self.k.mov("step", 0.0));
        let big_a = a.map(|terms| terms.big);
        let big_b = b.map(|terms| terms.big);
        if let [Some(a0), Some(a1), Some(a2), Some(a3)] = a.map(|terms| terms.small) {
            self.k.mma(MmaElem::Tf32, &step, &[a0, a1, a2, a3], &big_b);
        }
        if let [Some(b0), Some(b1)] = b.map(|terms| terms.small) {
            self.k.mma(MmaElem::Tf32, &step, &big_a, &[b0, b1]);
        }
        self.k.mma(MmaElem::Tf32, &step, &big_a, &big_b);
        for (sum, step) in acc.iter().zip(step) {
            self.k.add(*sum, *sum, step);
        }
    }

    fn terms(&mut self, element: Element, x: Reg<F32>) -> Terms {
        if element != Element::F32 {
            return Terms { big: self.k.bits_of("big", x), small: None };
        }
        let big = self.k.tf32_from_f("big", x);
        let back = self.k.float_of("real", big);
        let rest = self.k.sub("real", x, back);
        Terms { big, small: Some(self.k.tf32_from_f("small", rest)) }
    }

    /// Two neighbouring elements.
    fn load_pair(&mut self, element: Element, from: Addr<Shared>) -> [Reg<F32>; 2] {
        match half(element) {
            None => self.k.ld_vec("real", from),
            Some(ty) => {
                let both = self.k.ld::<B32, _>("int", from);
                self.unpack(ty, both)
            }
        }
    }

    /// Two packed halves as floats.
    fn unpack(&mut self, ty: Half, both: Reg<B32>) -> [Reg<F32>; 2] {
        match ty {
            Half::Bf16x2 => {
                let low = self.k.shl("int", both, 16);
                let high = self.k.and("int", both, 0xFFFF_0000_u32);
                [self.k.float_of("real", low), self.k.float_of("real", high)]
            }
            Half::F16x2 => {
                let (low, high) = self.k.unpack32("half", "half", both);
                [self.k.float_from_half(ty, "real", low), self.k.float_from_half(ty, "real", high)]
            }
        }
    }

    fn load_one(&mut self, element: Element, from: Addr<Shared>) -> Reg<F32> {
        match half(element) {
            None => self.k.ld("real", from),
            Some(Half::Bf16x2) => {
                let bits = self.k.ld_narrow(MemTy::U16, "int", from);
                let bits = self.k.shl("int", bits, 16);
                self.k.float_of("real", bits)
            }
            Some(Half::F16x2) => {
                let bits = self.k.ld::<B16, _>("half", from);
                self.k.float_from_half(Half::F16x2, "real", bits)
            }
        }
    }
}
