//! Products of a warpgroup.
//!
//! Input → output: operands in shared memory, or weights in registers → `wgmma` into an accumulator, one group a
//! statement.

use super::Groups;
use super::layout::{ROW, Swizzled};
use dmac_ptx::{Accumulate, B32, B64, Cmp, Major, MmaElem, Reg, SWIZZLE_128B_1024, shared};
use dmac_schedule::kernel::{Element, Expr, Stmt, TileId, TileRef};

impl Groups<'_, '_> {
    /// The distance of column blocks that a tile's descriptor states: of tiles whose rows are the depth.
    pub(super) fn leading(&self, tile: TileId, operand: Swizzled) -> u32 {
        let mut depth_major = false;
        for stmt in &self.e.kernel.body {
            stmt.walk(&mut |stmt| {
                depth_major |= matches!(stmt, Stmt::Mma { b, transpose_b: false, .. } if b.tile == tile);
            });
        }
        if depth_major { operand.block_bytes() } else { 16 }
    }

    /// The descriptor of a tile's stage.
    fn descriptor(&mut self, role: &str, tile: &TileRef) -> Reg<B64> {
        let operand = self.layout.operands[&tile.tile];
        let low = self.descriptors[&tile.tile];
        let low: Reg<B32> = match &tile.stage {
            None => low,
            Some(stage) => {
                let stage = self.e.fresh(|e| {
                    let stage = e.int_value(stage);
                    e.int(stage)
                });
                self.e.k.mad("stage_low", stage, operand.stage_bytes() >> 4, low)
            }
        };
        self.e.k.descriptor(role, low, SWIZZLE_128B_1024)
    }

    pub(super) fn product(
        &mut self,
        acc: TileId,
        (a, b): (&TileRef, &TileRef),
        transpose_b: bool,
        accumulate: bool,
    ) {
        let kernel = self.e.kernel;
        let right = self.layout.operands[&b.tile];
        let elem = match kernel.tile(b.tile).element {
            Element::F16 => MmaElem::F16,
            Element::Bf16 => MmaElem::Bf16,
            other => panic!("codegen: products of {other}"),
        };
        let columns = if transpose_b { right.rows } else { right.cols };
        let d: Vec<_> = self.fragment(acc).into_iter().take(columns as usize / 2).collect();
        let depth = if transpose_b { right.cols } else { right.rows }.div_ceil(16);
        // Bytes from the start of a tile to the elements of a step of 16.
        let k_major = |rows: u32, step: u32| (step / 4) * rows * ROW + (step % 4) * 32;
        let right_at = self.descriptor("right", b);
        let left_at =
            self.layout.operands.get(&a.tile).copied().map(|left| (left, self.descriptor("left", a)));
        let k = &mut self.e.k;
        k.wgmma_fence();
        for step in 0..depth {
            let (offset, major) = if transpose_b {
                (k_major(right.rows, step), Major::K)
            } else {
                (step * 16 * ROW, Major::Mn)
            };
            let right_step = k.add("right_step", right_at, offset >> 4);
            let adds = if accumulate || step > 0 { Accumulate::Yes } else { Accumulate::No };
            match left_at {
                Some((left, at)) => {
                    let left_step = k.add("left_step", at, k_major(left.rows, step) >> 4);
                    k.wgmma_ss(elem, &d, (left_step, Major::K), (right_step, major), adds);
                }
                None => {
                    let weights = &self.packed[&a.tile][4 * step as usize..4 * step as usize + 4];
                    k.wgmma_rs(elem, &d, weights, (right_step, major), adds);
                }
            }
        }
        k.wgmma_commit();
    }

    /// A block copy brings whole tiles: rows behind the last key are real ones where the tensor goes on, and a visit that
    /// never was brought none. Weights are zero there, but a product with infinity is not. So the rows of a short tile are cleared before the next product reads
    /// them: by the first group for all, while no product of these rows is under way.
    pub(super) fn clear_short_operand(&mut self, rest: &[Stmt]) {
        let next = rest.iter().take_while(|stmt| !matches!(stmt, Stmt::MmaWait { .. }));
        let product = next.clone().find_map(|stmt| match stmt {
            Stmt::Mma { a, b, k, transpose_b: false, .. } if self.layout.packed.contains(&a.tile) => {
                Some((b, k))
            }
            _ => None,
        });
        let Some((tile, depth)) = product else { return };
        let right = self.layout.operands[&tile.tile];
        let Some(filled) = self.completes_on(tile.tile) else { return };
        let wait =
            next.filter(|stmt| matches!(stmt, Stmt::Wait { barrier, .. } if *barrier == filled)).last();
        let Some(Stmt::Wait { barrier, stage, parity }) = wait else { return };
        if *depth == Expr::Int(i64::from(right.rows)) {
            return;
        }
        let depth = self.e.fresh(|e| {
            let depth = e.int_value(depth);
            e.int(depth)
        });
        let whole = self.e.k.setp_s("whole", depth, Cmp::Ge, right.rows as i32);
        self.e.k.assume_uniform(whole);
        let end = self.e.k.label("cleared");
        self.e.k.branch_if(whole, end);
        self.stmt(&Stmt::Wait { barrier: *barrier, stage: stage.clone(), parity: parity.clone() }, &[]);
        let stage = self.e.fresh(|e| {
            let stage = e.int_value(stage);
            e.int(stage)
        });
        let (tid, base) = (self.e.thread.tid, self.e.thread.base);
        let k = &mut self.e.k;
        let in_group = k.and("in_group", tid, 127);
        let row = k.shr_u("clear_row", in_group, 3);
        let chunk = k.and("clear_chunk", tid, 7);
        let at = k.mad("clear_at", row, ROW, base);
        k.mad(at, chunk, 16, at);
        k.mad(at, stage, right.stage_bytes(), at);
        let zero = k.mov::<B32>("zero", 0);
        let mine = k.setp_u("mine", self.role.warpgroup, Cmp::Eq, self.role.first);
        for first in (0..right.rows).step_by(16) {
            let limit = k.sub("clear_from", depth, first);
            let behind = k.setp_s("behind", row, Cmp::Ge, limit);
            k.and(behind, behind, mine);
            for block in 0..right.blocks {
                let to = shared(at) + (right.offset + block * right.block_bytes() + first * ROW) as i32;
                k.when(behind, |k| k.st_vec(to, &[zero; 4]));
            }
        }
        k.fence_proxy_async();
        k.bar_sync(1, 128 * self.role.groups);
        k.place(end);
    }

    /// The barrier that copies into a tile complete on.
    fn completes_on(&self, tile: TileId) -> Option<dmac_schedule::kernel::BarrierId> {
        let mut found = None;
        for stmt in &self.e.kernel.body {
            stmt.walk(&mut |stmt| {
                if let Stmt::Copy { dst, arrive: Some((barrier, _)), .. } = stmt
                    && dst.tile == tile
                {
                    found = Some(*barrier);
                }
            });
        }
        found
    }
}
