//! The producer: fills the rings of keys and values, keys one block ahead of values.
//!
//! In: the block or list of keys. Out: full barriers completed. By TMA one thread does it all; by rows all 128 threads
//! copy 16-byte chunks and each arrives when its own are complete.

use super::super::tile::{ROW, Ring, elect_or};
use super::{Cta, KEYS, ROWS, STAGES};
use crate::{
    Assembler, B32, B64, BulkOptions, Cmp, CpBytes, L2Prefetch, Label, LoadMode, Reg, TensorMap, Unroll,
    global, shared,
};

/// Which of the two rings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Keys,
    Values,
}

/// What a load needs besides the row: maps for TMA, addresses for rows.
enum Loader {
    Blocks { map_k: TensorMap, map_v: TensorMap },
    Rows { k: Reg<B64>, v: Reg<B64>, list: Reg<B64>, pitch: Reg<B32>, row: Reg<B32>, to: Reg<B32> },
}

impl Cta {
    pub(super) fn produce(&mut self, k: &mut Assembler, end: Label) {
        k.comment("producer warpgroup");
        k.setmaxnreg_dec(if self.gathers() { 40 } else { 24 });
        let loader = if self.gathers() {
            let first = k.setp_u("first", self.thread.tid, Cmp::Eq, 0);
            k.if_then(first, |k| self.load_q(k));
            self.row_loader(k)
        } else {
            let other = k.setp_u("other_warp", self.thread.warp, Cmp::Ne, 0);
            k.branch_if(other, end);
            elect_or(k, end);
            self.load_q(k);
            Loader::Blocks {
                map_k: k.tensor_map("map_k", self.map_k),
                map_v: k.tensor_map("map_v", self.map_v),
            }
        };
        let nothing = k.setp_u("nothing", self.key_blocks, Cmp::Eq, 0);
        k.branch_if(nothing, end);

        // A fresh barrier passes a wait for parity 1, so the first turn of the ring is free.
        let ring = Ring::new(k, self.thread, "load", STAGES, 1);
        let block = k.sub("block", self.key_blocks, 1);
        let row = k.shl("key_row", block, KEYS.ilog2());
        self.load(k, &loader, Which::Keys, row, ring);
        k.while_loop(
            "load_loop",
            Unroll::No,
            |k| k.setp_u("more", block, Cmp::Ne, 0),
            |k, _| {
                let last_row = k.mov("last_row", row);
                let last = ring.copy(k, "last");
                k.sub(block, block, 1);
                k.shl(row, block, KEYS.ilog2());
                ring.advance(k);
                self.load(k, &loader, Which::Keys, row, ring);
                self.load(k, &loader, Which::Values, last_row, last);
            },
        );
        self.load(k, &loader, Which::Values, row, ring);
        k.branch(end);
    }

    fn load_q(&self, k: &mut Assembler) {
        let l = self.layout;
        let map = k.tensor_map("map_q", self.map_q);
        k.mbarrier_arrive_expect(self.thread.at(l.q_full), l.blocks * ROWS * ROW);
        for c in 0..l.blocks {
            let at = [(64 * c).into(), self.row0.into(), self.head.into(), self.batch.into()];
            let to = self.thread.at(l.q + c * ROWS * ROW);
            k.tensor_load(to, map, &at, self.thread.at(l.q_full), BulkOptions::default());
        }
    }

    /// Thread t copies chunk t % 8 of rows t / 8 + 16 i.
    fn row_loader(&self, k: &mut Assembler) -> Loader {
        let params = self.rows.expect("rows are gathered");
        let list = self.list.expect("rows have a list");
        let row = k.shr_u("copy_row", self.thread.tid, 3);
        let chunk = k.and("chunk", self.thread.tid, 7);
        let flip = k.and("flip", row, 7);
        k.xor(flip, flip, chunk);
        let to = k.mad("copy_to", row, ROW, self.thread.base);
        k.mad(to, flip, 16, to);
        let head_pitch = k.ld_param("head_pitch", params.head_pitch);
        let batch_pitch = k.ld_param("batch_pitch", params.batch_pitch);
        let [keys, values] = [(params.k, "k_rows"), (params.v, "v_rows")].map(|(param, role)| {
            let at = k.ld_param(role, param);
            k.mad_wide_u(at, self.kv_head, head_pitch, at);
            k.mad_wide_u(at, self.batch, batch_pitch, at);
            k.mad_wide_u(at, chunk, 16, at)
        });
        let pitch = k.ld_param("token_pitch", params.token_pitch);
        let list = k.mad_wide_u(list, row, 4, list);
        Loader::Rows { k: keys, v: values, list, pitch, row, to }
    }

    /// Waits for a free stage and fills it with the block that starts at `row` of the sequence or list.
    fn load(&self, k: &mut Assembler, loader: &Loader, which: Which, row: Reg<B32>, ring: Ring) {
        let l = self.layout;
        let (full, empty, tiles) = match which {
            Which::Keys => (l.k_full, l.k_empty, l.k),
            Which::Values => (l.v_full, l.v_empty, l.v),
        };
        ring.wait(k, "empty", empty);
        let full = ring.barrier(k, "full", full);
        match loader {
            Loader::Blocks { map_k, map_v } => {
                let map = if which == Which::Keys { *map_k } else { *map_v };
                k.mbarrier_arrive_expect(full, l.stage);
                let tile = ring.tile(k, "tile", tiles, l.stage);
                for c in 0..l.blocks {
                    let at = [(64 * c).into(), row.into(), self.kv_head.into(), self.batch.into()];
                    let to = shared(tile) + (c * KEYS * ROW) as i32;
                    k.tensor_load(to, map, &at, full, BulkOptions::default());
                }
            }
            Loader::Rows { k: keys, v: values, list, pitch, row: copy_row, to } => {
                let source = if which == Which::Keys { *keys } else { *values };
                let tile = k.mad("tile", ring.stage, l.stage, *to);
                k.add(tile, tile, tiles);
                let names = k.mad_wide_u("names", row, 4, *list);
                let position = k.add("position", row, *copy_row);
                k.comment("rows by index; those past the list's end are zeros and are not read");
                for i in 0..KEYS / 16 {
                    let at = k.add("at", position, 16 * i);
                    let there = k.setp_u("there", at, Cmp::Lt, self.keys);
                    let id = k.mov::<B32>("id", 0);
                    k.when(there, |k| {
                        let mode = LoadMode { read_only: true, ..LoadMode::default() };
                        k.ld_with(mode, &[id], global(names) + (64 * i) as i32);
                    });
                    let bytes = k.selp::<B32>("bytes", 16, 0, there);
                    let from = k.mad_wide_u("from", id, *pitch, source);
                    for c in 0..l.blocks {
                        let to = shared(tile) + (c * KEYS * ROW + 16 * i * ROW) as i32;
                        let from = global(from) + (c * 128) as i32;
                        k.cp_async_with(CpBytes::B16, to, from, Some(bytes), Some(L2Prefetch::B256));
                    }
                }
                k.cp_async_arrive(full);
            }
        }
    }
}
