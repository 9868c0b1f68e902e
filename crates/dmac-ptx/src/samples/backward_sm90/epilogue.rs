//! The end of a consumer: dK and dV as bf16 over K's and V's memory, then TMA stores.
//!
//! In: the accumulators. Out: global memory. Everybody is past the last read of K and V after the barrier of both.

use super::super::tile::{ROW, elect_or};
use super::consumer::Consumer;
use super::{BOTH, Cta, OWN};
use crate::{Assembler, Cmp, Half, Label, shared};

impl Cta {
    pub(super) fn store(&self, k: &mut Assembler, c: &Consumer, end: Label) {
        let l = self.layout;
        k.comment("dV, and dK times the softmax scale");
        k.bar_sync(BOTH, 256);
        let scale = k.ld_param("scale", self.scale);
        for x in &c.dk {
            k.mul(*x, *x, scale);
        }
        let warp = k.and("warp_row", self.thread.warp, 3);
        let row = k.and("out_row", self.thread.lane, 15);
        k.mad(row, warp, 16, row);
        let tile = k.mad("out_tile", c.this, l.blocks * 64 * ROW, self.thread.base);
        let line = k.mad("out_line", row, ROW, tile);
        let flip = k.and("flip", self.thread.lane, 7);
        let half = k.shr_u("half", self.thread.lane, 4);
        for (accumulator, offset) in [(&c.dv, l.v), (&c.dk, l.k)] {
            for (j, eight) in accumulator.chunks(8).enumerate() {
                let packed: Vec<_> = eight
                    .chunks(2)
                    .map(|pair| k.pack_half(Half::Bf16x2, "packed", pair[0], pair[1]))
                    .collect();
                let chunk = k.add("chunk", half, 2 * (j as i32 % 4));
                k.xor(chunk, chunk, flip);
                let at = k.mad("out_at", chunk, 16, line);
                k.stmatrix(shared(at) + (offset + (j as u32 / 4) * 8192) as i32, &packed, false);
            }
        }
        k.fence_proxy_async();
        let own = k.add("own_barrier", c.this, OWN);
        k.bar_sync(own, 128);
        let other = k.setp_u("other_warp", warp, Cmp::Ne, 0);
        k.branch_if(other, end);
        elect_or(k, end);
        let key = k.mad("out_key", c.this, 64, self.key0);
        for (role, map, offset) in [("map_dv", self.map_dv, l.v), ("map_dk", self.map_dk, l.k)] {
            let map = k.tensor_map(role, map);
            for block in 0..l.blocks {
                let at = [(64 * block).into(), key.into(), self.kv_head.into(), self.batch.into()];
                k.tensor_store(map, &at, shared(tile) + (offset + block * 8192) as i32);
            }
        }
        k.bulk_commit();
        k.bulk_wait_read(0);
    }
}
