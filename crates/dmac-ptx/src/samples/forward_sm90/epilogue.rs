//! The end of a consumer: output through shared memory by TMA, lse straight to global memory.
//!
//! In: the finished output fragment. Out: global memory. The output takes the place of Q, whose last reader is behind
//! the barrier of both consumers.

use super::super::tile::{ROW, elect_or};
use super::consumer::Consumer;
use super::{CONSUMERS, Cta, SOURCE};
use crate::{Assembler, BoolOp, Cmp, F32, Half, Label, Reg, global, shared};

impl Cta {
    pub(super) fn store(&self, k: &mut Assembler, c: &Consumer, lse: [Reg<F32>; 2], end: Label) {
        let l = self.layout;
        k.location(SOURCE, 5, 3);
        k.comment("O as bf16 into shared memory, 64 rows a consumer");
        k.bar_sync(4, 128 * CONSUMERS);
        let tile = k.mad("out_tile", c.this, l.blocks * 64 * ROW, self.thread.base);
        let warp = k.and("warp_row", self.thread.warp, 3);
        let row = k.and("out_row", self.thread.lane, 15);
        k.mad(row, warp, 16, row);
        let line = k.mad("out_line", row, ROW, tile);
        let flip = k.and("flip", self.thread.lane, 7);
        let half = k.shr_u("half", self.thread.lane, 4);
        for (j, eight) in c.out.chunks(8).enumerate() {
            let packed: Vec<_> =
                eight.chunks(2).map(|pair| k.pack_half(Half::Bf16x2, "packed", pair[0], pair[1])).collect();
            let chunk = k.add("chunk", half, 2 * (j as i32 % 4));
            k.xor(chunk, chunk, flip);
            let at = k.mad("out_at", chunk, 16, line);
            k.stmatrix(shared(at) + (j as i32 / 4) * 8192, &packed, false);
        }

        k.comment("lse, one lane of four");
        let at = k.mad("lse_row", self.batch, self.heads, self.head);
        k.mad(at, at, self.queries, c.rows.row);
        let pointer = k.ld_param("lse_at", self.lse);
        k.mad_wide_u(pointer, at, 4, pointer);
        let first = k.setp_u("first_pair", c.rows.pair_column, Cmp::Eq, 0);
        for (i, value) in lse.into_iter().enumerate() {
            let row = k.add("lse_row", c.rows.row, 8 * i as i32);
            let inside = k.setp_u_with("inside", row, Cmp::Lt, self.queries, BoolOp::And, first);
            k.when(inside, |k| k.st(global(pointer) + 32 * i as i32, value));
        }

        k.comment("the written tile becomes visible to the copy engine, then one thread stores it");
        k.fence_proxy_async();
        let own = k.add("own_barrier", c.this, 5);
        k.bar_sync(own, 128);
        let other = k.setp_u("other_warp", warp, Cmp::Ne, 0);
        k.branch_if(other, end);
        elect_or(k, end);
        let map = k.tensor_map("map_out", self.map_out);
        let row0 = k.mad("out_row_start", c.this, 64, self.row0);
        for block in 0..l.blocks {
            let at = [(64 * block).into(), row0.into(), self.head.into(), self.batch.into()];
            k.tensor_store(map, &at, shared(tile) + (block * 8192) as i32);
        }
        k.bulk_commit();
        k.bulk_wait_read(0);
    }
}
