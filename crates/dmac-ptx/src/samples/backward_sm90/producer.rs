//! The producer warpgroup: warp 0 loads, warp 1 adds finished dQ tiles to global memory.
//!
//! In: tensor maps and per-row statistics. Out: full stages; dQ sums.

use super::super::tile::{ROW, Ring, elect_or};
use super::{Cta, DQ_FREE, DQ_FULL, KEYS, STAGES, WITH_WRITER};
use crate::{
    Assembler, B32, BulkOptions, BulkTy, Cmp, Label, ReduceOp, Reg, TensorMap, Unroll, global, shared,
};

impl Cta {
    pub(super) fn produce(&self, k: &mut Assembler, end: Label) {
        k.comment("producer warpgroup");
        k.setmaxnreg_dec(24);
        let writer = k.label("writer");
        let second = k.setp_u("second_warp", self.thread.warp, Cmp::Eq, 1);
        k.branch_if(second, writer);
        let other = k.setp_u("other_warp", self.thread.warp, Cmp::Ne, 0);
        k.branch_if(other, end);
        elect_or(k, end);
        self.load(k);
        k.branch(end);
        k.place(writer);
        self.write_dq(k);
        k.branch(end);
    }

    /// Walks the query tiles of all heads of the group.
    fn for_tiles(&self, k: &mut Assembler, body: impl FnOnce(&mut Assembler, Reg<B32>, Reg<B32>, Reg<B32>)) {
        k.for_range("load_group", Unroll::No, 0, self.group, 1, |k, g| {
            let (head, head_row) = self.head(k, g);
            k.for_range("load_tile", Unroll::No, self.first_tile, self.tiles, 1, |k, tile| {
                body(k, tile, head, head_row);
            });
        });
    }

    fn load(&self, k: &mut Assembler) {
        let l = self.layout;
        let [map_q, map_dout, map_k, map_v] = [
            ("map_q", self.map_q),
            ("map_dout", self.map_dout),
            ("map_k", self.map_k),
            ("map_v", self.map_v),
        ]
        .map(|(role, map)| k.tensor_map(role, map));
        k.comment("K and V once");
        let full = self.thread.at(l.kv_full);
        k.mbarrier_arrive_expect(full, 2 * l.blocks * KEYS * ROW);
        for (map, tiles) in [(map_k, l.k), (map_v, l.v)] {
            for c in 0..l.blocks {
                let at = [(64 * c).into(), self.key0.into(), self.kv_head.into(), self.batch.into()];
                k.tensor_load(self.thread.at(tiles + c * KEYS * ROW), map, &at, full, BulkOptions::default());
            }
        }
        let ring = Ring::new(k, self.thread, "load", STAGES, 1);
        self.for_tiles(k, |k, tile, head, head_row| {
            let row = k.mul("q_row", tile, l.rows);
            let padded = k.mad("padded_row", head_row, self.tiles, tile);
            k.mul(padded, padded, l.rows);
            let load = |k: &mut Assembler, map: TensorMap, full, empty, tiles, vector, vectors| {
                ring.wait(k, "empty", empty);
                let full = ring.barrier(k, "full", full);
                k.mbarrier_arrive_expect(full, l.q_bytes + 4 * l.rows);
                let to = ring.tile(k, "tile", tiles, l.q_bytes);
                for c in 0..l.blocks {
                    let at = [(64 * c).into(), row.into(), head.into(), self.batch.into()];
                    k.tensor_load(
                        shared(to) + (c * l.rows * ROW) as i32,
                        map,
                        &at,
                        full,
                        BulkOptions::default(),
                    );
                }
                let from = k.ld_param("vector", vector);
                k.mad_wide_u(from, padded, 4, from);
                let to = ring.tile(k, "vector_to", vectors, 4 * l.rows);
                k.bulk_load(shared(to), global(from), 4 * l.rows, full, BulkOptions::default());
            };
            k.comment("Q with its lse");
            load(k, map_q, l.q_full, l.q_empty, l.q, self.lse, l.lse);
            k.comment("dO with its delta");
            load(k, map_dout, l.dout_full, l.dout_empty, l.dout, self.delta, l.delta);
            ring.advance(k);
        });
    }

    /// One buffer a consumer. A buffer is free once its last reduction has read it: groups complete in order, and one
    /// is committed for each buffer each time, so "all but one" is the other consumer's.
    fn write_dq(&self, k: &mut Assembler) {
        let l = self.layout;
        self.for_tiles(k, |k, tile, _, head_row| {
            let at = k.mad("dq_tile", head_row, self.tiles, tile);
            let to = k.ld_param("dq_to", self.dq);
            k.mad_wide_u(to, at, 2 * l.dq_bytes, to);
            for w in 0..2 {
                k.bulk_wait_read(1 - w);
                k.bar_warp();
                k.bar_arrive(DQ_FREE + w as i32, WITH_WRITER);
            }
            for w in 0..2 {
                k.bar_sync(DQ_FULL + w, WITH_WRITER);
                let one = k.elect("one");
                let from = self.thread.at(l.dq + w as u32 * l.dq_bytes);
                k.when(one, |k| k.bulk_reduce(ReduceOp::Add, BulkTy::F32, global(to), from, l.dq_bytes));
                k.bulk_commit();
                k.add(to, to, l.dq_bytes);
            }
        });
        k.bulk_wait(0);
    }
}
