//! A consumer warpgroup: 64 keys, their dK and dV.
//!
//! In: full stages of Q, dO, lse and delta. Out: dK and dV accumulators for the epilogue, dQ tiles for the writer.

use super::super::tile::{
    ROW, Ring, descriptor, descriptor_low, descriptor_plus, k_major_step, mn_major_step,
};
use super::{BOTH, Cta, DQ_FREE, DQ_FULL, KEYS, STAGES, WITH_WRITER};
use crate::{
    Accumulate, Assembler, B32, B64, Cmp, F32, Half, Label, Major, MmaElem, Pred, Reg, Unroll, VoteMode,
    shared,
};

/// Registers of one consumer.
pub(super) struct Consumer {
    /// 0 or 1.
    pub this: Reg<B32>,
    pub dk: Vec<Reg<F32>>,
    pub dv: Vec<Reg<F32>>,
    scores: Vec<Reg<F32>>,
    dp: Vec<Reg<F32>>,
    p: Vec<Reg<B32>>,
    ds: Vec<Reg<B32>>,
    dq: Vec<Reg<F32>>,
    scale_log2: Reg<F32>,
    ring: Ring,
    /// Which of the two dS buffers.
    buffer: Reg<B32>,
    /// First of the thread's two keys.
    key: Reg<B32>,
    pair_column: Reg<B32>,
    leader: Reg<Pred>,
    k_rows: Reg<B64>,
    v_rows: Reg<B64>,
    /// K as the B operand of dQ.
    k_columns: Reg<B64>,
    q_low: Reg<B32>,
    dout_low: Reg<B32>,
    q_low_mn: Reg<B32>,
    dout_low_mn: Reg<B32>,
    ds_low: Reg<B32>,
    ds_store: Reg<B32>,
    dq_store: Reg<B32>,
    dq_free: Reg<B32>,
    dq_full: Reg<B32>,
}

/// One operand of a product: its first descriptor and the bytes from it to each k-step.
struct Steps<'a> {
    first: Reg<B64>,
    major: Major,
    step: &'a dyn Fn(u32) -> u32,
}

impl Cta {
    pub(super) fn consume(&self, k: &mut Assembler, this: Reg<B32>, end: Label) {
        k.comment("consumer warpgroups");
        k.setmaxnreg_inc(240);
        let c = self.consumer(k, this);
        for x in c.dk.iter().chain(&c.dv) {
            k.mov(*x, 0.0);
        }
        k.mbarrier_wait(self.thread.at(self.layout.kv_full), 0);
        k.for_range("group_loop", Unroll::No, 0, self.group, 1, |k, _| {
            let tile = k.mov("tile", self.first_tile);
            if self.causal {
                k.while_loop(
                    "masked_loop",
                    Unroll::No,
                    |k| k.setp_s("masked", tile, Cmp::Lt, self.first_whole),
                    |k, _| {
                        self.tile(k, &c, Some(tile));
                        k.add(tile, tile, 1);
                    },
                );
            }
            k.while_loop(
                "tile_loop",
                Unroll::No,
                |k| k.setp_s("more", tile, Cmp::Lt, self.tiles),
                |k, _| {
                    self.tile(k, &c, None);
                    k.add(tile, tile, 1);
                },
            );
        });
        self.store(k, &c, end);
    }

    fn consumer(&self, k: &mut Assembler, this: Reg<B32>) -> Consumer {
        let l = self.layout;
        let (rows, d) = (l.rows as usize, l.head_dim as usize);
        let scores = k.regs("s", rows / 2);
        let dp = k.regs("dp", rows / 2);
        let (p, ds) = (k.regs("p", rows / 4), k.regs("ds", rows / 4));
        let (dk, dv) = (k.regs("dk", d / 2), k.regs("dv", d / 2));
        // A consumer makes half of a dQ tile: half of its 64-row tile's columns, or half of its 128 rows.
        let dq = k.regs("dq", 32);
        let scale_log2 = k.ld_param("scale_log2", self.scale_log2);
        let own_rows = k.shl("own_rows", this, 13);
        let t = self.thread;
        let k_low = descriptor_low(k, "k_low", t, l.k, Some(own_rows), 16);
        let k_rows = descriptor(k, "k_rows", k_low);
        let v_low = descriptor_low(k, "v_low", t, l.v, Some(own_rows), 16);
        let v_rows = descriptor(k, "v_rows", v_low);
        let q_low = descriptor_low(k, "q_low", t, l.q, None, 16);
        let dout_low = descriptor_low(k, "dout_low", t, l.dout, None, 16);
        let q_low_mn = descriptor_low(k, "q_low_mn", t, l.q, None, l.rows * ROW);
        let dout_low_mn = descriptor_low(k, "dout_low_mn", t, l.dout, None, l.rows * ROW);
        let (k_columns, ds_low) = if l.rows == 64 {
            let half = k.mul("half", this, KEYS * ROW);
            let low = descriptor_low(k, "k_low_mn", t, l.k, Some(half), KEYS * ROW);
            (low, descriptor_low(k, "ds_low", t, l.ds, None, 16))
        } else {
            let low = descriptor_low(k, "k_low_mn", t, l.k, None, KEYS * ROW);
            (low, descriptor_low(k, "ds_low", t, l.ds, Some(own_rows), 16))
        };
        let k_columns = descriptor(k, "k_columns", k_columns);

        let warp = k.and("warp_row", t.warp, 3);
        let key = k.mad("key", this, 64, self.key0);
        k.mad(key, warp, 16, key);
        let lane_row = k.shr_u("lane_row", t.lane, 2);
        k.add(key, key, lane_row);
        let pair_column = k.and("pair_column", t.lane, 3);
        k.shl(pair_column, pair_column, 1);
        let leader = k.setp_u("leader", t.lane, Cmp::Eq, 0);

        k.comment("dS is stored transposed: lane l names query 8 (2 j + l / 16) + l % 8, key chunk 2 warp + l / 8 % 2");
        let low = k.and("low", t.lane, 7);
        let high = k.shr_u("high", t.lane, 4);
        let query = k.mad("query", high, 8, low);
        let ds_store = k.mad("ds_store", query, ROW, t.base);
        k.mad(ds_store, this, l.rows * ROW, ds_store);
        let chunk = k.bfe_u("chunk", t.lane, 3, 1);
        k.mad(chunk, warp, 2, chunk);
        k.xor(chunk, chunk, low);
        k.mad(ds_store, chunk, 16, ds_store);
        k.add(ds_store, ds_store, l.ds);
        let own = k.and("own_thread", t.tid, 127);
        let dq_store = k.mad("dq_store", own, 16, t.base);
        k.mad(dq_store, this, l.dq_bytes, dq_store);
        k.add(dq_store, dq_store, l.dq);
        let dq_free = k.add("dq_free", this, DQ_FREE);
        let dq_full = k.add("dq_full", this, DQ_FULL);
        Consumer {
            this,
            dk,
            dv,
            scores,
            dp,
            p,
            ds,
            dq,
            scale_log2,
            ring: Ring::new(k, t, "take", STAGES, 0),
            buffer: k.mov("buffer", 0),
            key,
            pair_column,
            leader,
            k_rows,
            v_rows,
            k_columns,
            q_low,
            dout_low,
            q_low_mn,
            dout_low_mn,
            ds_low,
            ds_store,
            dq_store,
            dq_free,
            dq_full,
        }
    }

    /// One query tile; `masked` holds its number if the diagonal crosses it.
    fn tile(&self, k: &mut Assembler, c: &Consumer, masked: Option<Reg<B32>>) {
        let l = self.layout;
        // With tiles of 64 rows there are registers to load the statistics before they are needed.
        let early = l.rows == 64;
        let stage = |k: &mut Assembler, role: &str, low: Reg<B32>| {
            let low = k.mad(role, c.ring.stage, l.q_bytes >> 4, low);
            descriptor(k, role_wide(role), low)
        };
        let (rows_q, rows_kv) = (k_major_step(l.rows), k_major_step(KEYS));
        let d_steps = l.head_dim / 16;

        k.comment("S = K Q, transposed");
        let q = stage(k, "q_stage", c.q_low);
        c.ring.wait(k, "full", l.q_full);
        let a = Steps { first: c.k_rows, major: Major::K, step: &rows_kv };
        product_ss(k, &c.scores, &a, &Steps { first: q, major: Major::K, step: &rows_q }, d_steps);
        let vectors = k.mad("vectors", c.ring.stage, 4 * l.rows, self.thread.base);
        k.mad(vectors, c.pair_column, 4, vectors);
        let lse: Vec<Reg<F32>> = k.regs("lse", l.rows as usize / 4);
        let load = |k: &mut Assembler, to: &[Reg<F32>], offset: u32, j: usize| {
            k.ld_with(
                crate::LoadMode::default(),
                &to[2 * j..2 * j + 2],
                shared(vectors) + (offset + 32 * j as u32) as i32,
            );
        };
        let columns = l.rows as usize / 8;
        if early {
            (0..columns).for_each(|j| load(k, &lse, l.lse, j));
        }
        k.comment("dP = V dO, transposed");
        let dout = stage(k, "dout_stage", c.dout_low);
        c.ring.wait(k, "full", l.dout_full);
        let a = Steps { first: c.v_rows, major: Major::K, step: &rows_kv };
        product_ss(k, &c.dp, &a, &Steps { first: dout, major: Major::K, step: &rows_q }, d_steps);
        k.wgmma_wait(1);

        if let Some(tile) = masked {
            self.mask(k, c, tile);
        }
        k.comment("P = 2^(scale S - lse)");
        for j in 0..columns {
            if !early {
                load(k, &lse, l.lse, j);
            }
            for i in 0..2 {
                k.neg_f(lse[2 * j + i], lse[2 * j + i]);
            }
            for i in 0..4 {
                let s = c.scores[4 * j + i];
                k.fma(s, s, c.scale_log2, lse[2 * j + (i & 1)]);
                k.ex2(s, s);
            }
        }
        let delta: Vec<Reg<F32>> = k.regs("delta", l.rows as usize / 4);
        if early {
            (0..columns).for_each(|j| load(k, &delta, l.delta, j));
        }
        for (p, pair) in c.p.iter().zip(c.scores.chunks(2)) {
            k.pack_half(Half::Bf16x2, *p, pair[0], pair[1]);
        }
        never_taken_branch(k, &c.p);
        k.wgmma_wait(0);

        k.comment("dS = P (dP - delta), kept as an operand and stored for dQ");
        for j in 0..columns {
            if !early {
                load(k, &delta, l.delta, j);
            }
            for i in 0..4 {
                let x = c.dp[4 * j + i];
                let p = if early { c.scores[4 * j + i] } else { unpacked(k, c.p[2 * j + (i >> 1)], i & 1) };
                k.sub(x, x, delta[2 * j + (i & 1)]);
                k.mul(x, x, p);
            }
        }
        for (ds, pair) in c.ds.iter().zip(c.dp.chunks(2)) {
            k.pack_half(Half::Bf16x2, *ds, pair[0], pair[1]);
        }
        let to = k.mad("ds_to", c.buffer, l.ds_bytes, c.ds_store);
        for (j, four) in c.ds.chunks(4).enumerate() {
            k.stmatrix(shared(to) + (16 * j as u32 * ROW) as i32, four, true);
        }

        k.comment("dV += P dO");
        let dout = stage(k, "dout_stage", c.dout_low_mn);
        product_rs(k, &c.dv, &c.p, dout);
        k.fence_proxy_async();
        k.bar_sync(BOTH, 256);
        k.comment("dQ = dS K");
        let ds = k.mad("ds_stage", c.buffer, l.ds_bytes >> 4, c.ds_low);
        let ds = descriptor(k, "ds_desc", ds);
        let a = Steps { first: ds, major: Major::K, step: &rows_q };
        let b = Steps { first: c.k_columns, major: Major::Mn, step: &mn_major_step };
        product_ss(k, &c.dq, &a, &b, KEYS / 16);
        k.wgmma_wait(1);
        let empty = c.ring.barrier(k, "empty", l.dout_empty);
        k.when(c.leader, |k| k.mbarrier_arrive(empty));
        k.comment("dK += dS Q");
        let q = stage(k, "q_stage", c.q_low_mn);
        product_rs(k, &c.dk, &c.ds, q);
        k.wgmma_wait(1);
        k.comment("dQ in fragment order, for the writer");
        k.bar_sync(c.dq_free, WITH_WRITER);
        for (i, four) in c.dq.chunks(4).enumerate() {
            k.st_vec(shared(c.dq_store) + 2048 * i as i32, four);
        }
        k.fence_proxy_async();
        k.bar_arrive(c.dq_full, WITH_WRITER);
        k.wgmma_wait(0);
        let empty = c.ring.barrier(k, "empty", l.q_empty);
        k.when(c.leader, |k| k.mbarrier_arrive(empty));
        k.xor(c.buffer, c.buffer, 1);
        c.ring.advance(k);
    }

    /// Drops pairs whose key comes after the query: key > query + offset.
    fn mask(&self, k: &mut Assembler, c: &Consumer, tile: Reg<B32>) {
        k.comment("first query that attends the key, relative to the thread's first column");
        let start = k.mul("tile_start", tile, self.layout.rows);
        let limit = k.sub("limit", c.key, self.offset);
        k.sub(limit, limit, start);
        k.sub(limit, limit, c.pair_column);
        let limits = [limit, k.add("limit", limit, 8)];
        for (i, s) in c.scores.iter().enumerate() {
            let column = (8 * (i / 4) + (i & 1)) as i32;
            let before = k.setp_s("before", limits[(i >> 1) & 1], Cmp::Gt, column);
            k.selp(*s, f32::NEG_INFINITY, *s, before);
        }
    }
}

fn role_wide(role: &str) -> &'static str {
    if role == "q_stage" { "q_desc" } else { "dout_desc" }
}

/// d = A · B from shared memory, one group.
fn product_ss(k: &mut Assembler, d: &[Reg<F32>], a: &Steps, b: &Steps, steps: u32) {
    k.wgmma_fence();
    for step in 0..steps {
        let at_a = descriptor_plus(k, "a_step", a.first, (a.step)(step));
        let at_b = descriptor_plus(k, "b_step", b.first, (b.step)(step));
        let accumulate = if step == 0 { Accumulate::No } else { Accumulate::Yes };
        k.wgmma_ss(MmaElem::Bf16, d, (at_a, a.major), (at_b, b.major), accumulate);
    }
    k.wgmma_commit();
}

/// d += A · B with A in registers and B MN-major, one group.
fn product_rs(k: &mut Assembler, d: &[Reg<F32>], a: &[Reg<B32>], b: Reg<B64>) {
    k.wgmma_fence();
    for (step, a) in a.chunks(4).enumerate() {
        let at = descriptor_plus(k, "b_step", b, mn_major_step(step as u32));
        k.wgmma_rs(MmaElem::Bf16, d, a, (at, Major::Mn), Accumulate::Yes);
    }
    k.wgmma_commit();
}

/// Half `i` of a bf16 pair as f32.
fn unpacked(k: &mut Assembler, pair: Reg<B32>, i: usize) -> Reg<F32> {
    let bits = if i == 0 { k.shl("bits", pair, 16) } else { k.and("bits", pair, 0xFFFF_0000_u32) };
    k.float_of("unpacked", bits)
}

/// A branch that is never taken but depends on every P: without a boundary between basic blocks `ptxas` hoists the wait
/// that follows above the exponentials, and nothing overlaps. P is never negative, so no sign bit is ever set.
fn never_taken_branch(k: &mut Assembler, p: &[Reg<B32>]) {
    const OR3: u8 = 0xF0 | 0xCC | 0xAA;
    let mut level = p.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(3)
            .map(|chunk| match *chunk {
                [a, b, c] => k.lop3("any", a, b, c, OR3),
                [a, b] => k.or("any", a, b),
                [a] => a,
                _ => unreachable!("chunks of at most three"),
            })
            .collect();
    }
    let signs = k.and("signs", level[0], 0x8000_8000_u32);
    let negative = k.setp_u("negative", signs, Cmp::Ne, 0);
    let impossible = k.vote(VoteMode::Any, "impossible", negative);
    k.if_then(impossible, Assembler::bar_warp);
}
