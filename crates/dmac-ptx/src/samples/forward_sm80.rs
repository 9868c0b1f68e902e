//! A forward attention kernel for Ampere and everything after it: 64 query rows by 64 keys, four warps of 16 rows.
//!
//! In: head size (64 or 128), whether the mask is causal. Out: a [`Sample`].
//!
//! All warps do everything. Keys and values have two stages each, filled by `cp.async`; a group is committed every time,
//! even an empty one, so that "all but the newest" means the same on every turn. Scores and output are `mma.sync`
//! fragments; P goes from the one to the other without leaving its registers.

use super::{Sample, sample};
use crate::{
    Assembler, B32, B64, BoolOp, Cmp, CpBytes, F32, Half, MmaElem, Param, Reg, ShflMode, Special, Target,
    Unroll, global, shared,
};

/// Query rows of a CTA and keys of a block.
const TILE: u32 = 64;
/// Threads of a CTA.
const THREADS: u32 = 128;

/// Byte distances of one tensor.
struct Pitch {
    token: Param<B32>,
    head: Param<B32>,
    batch: Param<B32>,
}

/// One kernel's constants and the registers that live through it.
struct Cta {
    /// Bytes of a row.
    row_bytes: u32,
    /// 16-byte chunks of a row.
    chunks: u32,
    k_at: u32,
    v_at: u32,
    stage_bytes: u32,
    /// This thread's place in a tile that it helps to copy.
    copy_to: Reg<B32>,
    copy_row: Reg<B32>,
    keys: Reg<B32>,
    queries: Reg<B32>,
    kv_pitch: Reg<B32>,
    k_from: Reg<B64>,
    v_from: Reg<B64>,
    /// Addresses for `ldmatrix` within a stage, and what they add to the chunk.
    k_fragment: (Reg<B32>, Reg<B32>),
    v_fragment: (Reg<B32>, Reg<B32>),
    flip: Reg<B32>,
    row: Reg<B32>,
    pair_column: Reg<B32>,
    scale: Reg<F32>,
    stage: Reg<B32>,
    block: Reg<B32>,
    q: Vec<[Reg<B32>; 4]>,
    scores: Vec<[Reg<F32>; 4]>,
    out: Vec<[Reg<F32>; 4]>,
    p: Vec<Reg<B32>>,
    max: [Reg<F32>; 2],
    sum: [Reg<F32>; 2],
    alpha: [Reg<F32>; 2],
}

/// Forward in bf16 without Hopper's instructions.
///
/// Parameters: `q`, `k`, `v`, `out` (pointers to bf16), `lse` (batch × heads × queries f32, natural logarithm),
/// `scale_log2` (f32), `queries`, `keys`, `heads`, `group`, then in bytes `q_token`, `q_head`, `q_batch` (of q and out)
/// and `kv_token`, `kv_head`, `kv_batch` (u32). Grid: (ceil(queries / 64), heads, batch) CTAs of 128 threads.
///
/// # Panics
///
/// For a head size other than 64 and 128.
pub fn forward_sm80(head_dim: u32, causal: bool) -> Sample {
    assert!(matches!(head_dim, 64 | 128), "head size {head_dim}");
    let name = format!("forward_sm80_d{head_dim}{}", if causal { "_causal" } else { "" });
    let mut k = Assembler::new(&name, Target::Sm80);
    let row_bytes = head_dim * 2;
    k.threads(THREADS);
    k.dynamic_shared(5 * TILE * row_bytes, 128);

    let [q, keys, v, out] = ["q", "k", "v", "out"].map(|p| k.param_pointer(p, 16));
    let lse = k.param_pointer("lse", 4);
    let scale = k.param("scale_log2");
    let [queries_p, keys_p, heads, group] = ["queries", "keys", "heads", "group"].map(|p| k.param::<B32>(p));
    let [q_pitch, kv_pitch] = ["q", "kv"].map(|t| Pitch {
        token: k.param(&format!("{t}_token")),
        head: k.param(&format!("{t}_head")),
        batch: k.param(&format!("{t}_batch")),
    });

    let tid = k.special("tid", Special::TidX);
    let warp = k.shr_u("warp", tid, 5);
    let lane = k.and("lane", tid, 31);
    let base = k.shared_base("base");
    let tile = k.special("q_tile", Special::CtaidX);
    if causal {
        k.comment("longest rows first");
        let tiles = k.special("q_tiles", Special::NctaidX);
        k.sub(tile, tiles, tile);
        k.sub(tile, tile, 1);
    }
    let head = k.special("head", Special::CtaidY);
    let batch = k.special("batch", Special::CtaidZ);
    let group = k.ld_param("heads_per_kv", group);
    let kv_head = k.div_u("kv_head", head, group);
    let queries = k.ld_param("queries", queries_p);
    let keys_n = k.ld_param("keys", keys_p);
    let row0 = k.mul("row_start", tile, TILE);

    k.comment("thread t copies chunk t % chunks of row t / chunks of each pass");
    let chunks = row_bytes / 16;
    let copy_row = k.shr_u("copy_row", tid, chunks.ilog2());
    let chunk = k.and("chunk", tid, chunks - 1);
    let flip = k.and("copy_flip", copy_row, 7);
    k.xor(flip, flip, chunk);
    let copy_to = k.mad("copy_to", copy_row, row_bytes, base);
    k.mad(copy_to, flip, 16, copy_to);
    let start = |k: &mut Assembler, p: Param<B64>, pitch: &Pitch, head: Reg<B32>| {
        let at = k.ld_param("tensor", p);
        let step = k.ld_param("pitch", pitch.head);
        k.mad_wide_u(at, head, step, at);
        let step = k.ld_param("pitch", pitch.batch);
        k.mad_wide_u(at, batch, step, at)
    };
    let q_from = start(&mut k, q, &q_pitch, head);
    let out_to = start(&mut k, out, &q_pitch, head);
    let k_from = start(&mut k, keys, &kv_pitch, kv_head);
    let v_from = start(&mut k, v, &kv_pitch, kv_head);
    for from in [q_from, k_from, v_from] {
        k.mad_wide_u(from, chunk, 16, from);
    }
    let q_token = k.ld_param("q_token", q_pitch.token);
    let kv_token = k.ld_param("kv_token", kv_pitch.token);

    k.comment("blocks of keys to visit");
    let reach = k.mov("reach", keys_n);
    if causal {
        k.add(reach, row0, TILE);
        k.add(reach, reach, keys_n);
        k.sub(reach, reach, queries);
        k.min_s(reach, reach, keys_n);
        k.max_s(reach, reach, 0);
    }
    let block = k.add("block", reach, TILE - 1);
    k.shr_u(block, block, TILE.ilog2());
    k.add(block, block, -1);

    // Addresses of fragments: lane l of `ldmatrix` names a row and a half of 16 columns.
    let low_row = k.and("low_row", lane, 15);
    let flip = k.and("flip", lane, 7);
    let high = k.shr_u("high", lane, 4);
    let middle = k.bfe_u("middle", lane, 3, 1);
    let k_row = k.mad("k_row", high, 8, flip);
    let k_line = k.mad("k_line", k_row, row_bytes, base);
    let v_line = k.mad("v_line", low_row, row_bytes, base);
    let row = k.mad("row", warp, 16, row0);
    let quad_row = k.shr_u("quad_row", lane, 2);
    k.add(row, row, quad_row);
    let pair_column = k.and("pair_column", lane, 3);
    k.shl(pair_column, pair_column, 1);
    let q_bytes = TILE * row_bytes;
    let c = Cta {
        row_bytes,
        chunks,
        k_at: q_bytes,
        v_at: q_bytes + 2 * TILE * row_bytes,
        stage_bytes: TILE * row_bytes,
        copy_to,
        copy_row,
        keys: keys_n,
        queries,
        kv_pitch: kv_token,
        k_from,
        v_from,
        k_fragment: (k_line, middle),
        v_fragment: (v_line, high),
        flip,
        row,
        pair_column,
        scale: k.ld_param("scale", scale),
        stage: k.mov("stage", 0),
        block,
        q: (0..head_dim / 16).map(|_| std::array::from_fn(|_| k.reg("q"))).collect(),
        scores: (0..TILE / 8).map(|_| std::array::from_fn(|_| k.reg("s"))).collect(),
        out: (0..head_dim / 8).map(|_| std::array::from_fn(|_| k.mov("o", 0.0))).collect(),
        p: k.regs("p", TILE as usize / 4),
        max: std::array::from_fn(|_| k.mov("row_max", f32::NEG_INFINITY)),
        sum: std::array::from_fn(|_| k.mov("row_sum", 0.0)),
        alpha: std::array::from_fn(|_| k.reg("alpha")),
    };

    let finish = k.label("finish");
    let nothing = k.setp_s("nothing", c.block, Cmp::Lt, 0);
    k.branch_if(nothing, finish);
    k.comment("first group: Q and the last block of keys; second: its values");
    c.copy(&mut k, copy_to, q_from, q_token, row0, queries);
    c.load(&mut k, c.k_from, c.k_at, c.block, c.stage);
    k.cp_async_commit();
    c.load(&mut k, c.v_from, c.v_at, c.block, c.stage);
    k.cp_async_commit();
    k.cp_async_wait(1);
    k.bar_sync_all();
    let q_row = k.mad("q_row", warp, 16, low_row);
    let q_line = k.mad("q_line", q_row, row_bytes, base);
    for (step, q) in c.q.iter().enumerate() {
        let at = c.swizzled(&mut k, "q_at", q_line, high, step as u32);
        k.ldmatrix(q, shared(at), false);
    }

    k.comment("blocks that need a mask: past the end of the keys, or crossed by the diagonal");
    let whole = k.mov("whole", keys_n);
    if causal {
        k.sub(whole, keys_n, queries);
        k.add(whole, whole, row0);
        k.add(whole, whole, 1);
        k.max_s(whole, whole, 0);
        k.min_s(whole, whole, keys_n);
    }
    k.shr_u(whole, whole, TILE.ilog2());
    k.while_loop(
        "masked_loop",
        Unroll::No,
        |k| k.setp_s("masked", c.block, Cmp::Ge, whole),
        |k, _| c.step(k, true, causal),
    );
    k.while_loop(
        "key_loop",
        Unroll::No,
        |k| k.setp_s("more", c.block, Cmp::Ge, 0),
        |k, _| c.step(k, false, causal),
    );
    k.place(finish);
    k.cp_async_wait_all();
    c.store(&mut k, out_to, q_token, lse, heads, head, batch);
    k.ret();
    sample(k, THREADS)
}

impl Cta {
    /// One block: S = Q Kᵀ, softmax, O += P V, with the next block's copies issued as soon as their stage is free.
    fn step(&self, k: &mut Assembler, masked: bool, causal: bool) {
        let next = k.sub("next", self.block, 1);
        let other = k.xor("other", self.stage, 1);
        let more = k.setp_s("more", next, Cmp::Ge, 0);
        k.comment("keys are here, and everyone has left the other stage");
        k.cp_async_wait(1);
        k.bar_sync_all();
        k.if_then(more, |k| self.load(k, self.k_from, self.k_at, next, other));
        k.cp_async_commit();

        k.comment("S = Q K");
        for s in self.scores.iter().flatten() {
            k.mov(*s, 0.0);
        }
        let line = k.mad("line", self.stage, self.stage_bytes, self.k_fragment.0);
        for (step, q) in self.q.iter().enumerate() {
            let at = self.swizzled(k, "k_at", line, self.k_fragment.1, step as u32);
            for (j, pair) in self.scores.chunks(2).enumerate() {
                let b = k.regs::<B32>("k", 4);
                k.ldmatrix(&b, shared(at) + (self.k_at + 16 * j as u32 * self.row_bytes) as i32, false);
                k.mma(MmaElem::Bf16, &pair[0], q, &[b[0], b[1]]);
                k.mma(MmaElem::Bf16, &pair[1], q, &[b[2], b[3]]);
            }
        }
        if masked {
            self.mask(k, causal);
        }
        self.softmax(k, masked);

        k.comment("values are here");
        k.cp_async_wait(1);
        k.bar_sync_all();
        k.if_then(more, |k| self.load(k, self.v_from, self.v_at, next, other));
        k.cp_async_commit();

        k.comment("O += P V");
        let line = k.mad("line", self.stage, self.stage_bytes, self.v_fragment.0);
        for (j, pair) in self.out.chunks(2).enumerate() {
            let at = self.swizzled(k, "v_at", line, self.v_fragment.1, j as u32);
            for (step, p) in self.p.chunks(4).enumerate() {
                let b = k.regs::<B32>("v", 4);
                k.ldmatrix(&b, shared(at) + (self.v_at + 16 * step as u32 * self.row_bytes) as i32, true);
                let p = [p[0], p[1], p[2], p[3]];
                k.mma(MmaElem::Bf16, &pair[0], &p, &[b[0], b[1]]);
                k.mma(MmaElem::Bf16, &pair[1], &p, &[b[2], b[3]]);
            }
        }
        k.mov(self.stage, other);
        k.mov(self.block, next);
    }

    /// The address of 16-column step `step` of a row: chunk `2 step + half`, swizzled.
    fn swizzled(&self, k: &mut Assembler, role: &str, line: Reg<B32>, half: Reg<B32>, step: u32) -> Reg<B32> {
        let chunk = k.add("chunk", half, 2 * step);
        k.xor(chunk, chunk, self.flip);
        k.mad(role, chunk, 16, line)
    }

    /// Copies 64 rows from row `start` on; rows from `end` on become zeros.
    fn copy(
        &self,
        k: &mut Assembler,
        to: Reg<B32>,
        from: Reg<B64>,
        pitch: Reg<B32>,
        start: Reg<B32>,
        end: Reg<B32>,
    ) {
        let rows = THREADS / self.chunks;
        let first = k.add("first_row", start, self.copy_row);
        for pass in 0..TILE / rows {
            let row = k.add("copied_row", first, pass * rows);
            let there = k.setp_u("there", row, Cmp::Lt, end);
            let bytes = k.selp::<B32>("bytes", 16, 0, there);
            k.selp::<B32>(row, row, 0, there);
            let at = k.mad_wide_u("copied_at", row, pitch, from);
            k.cp_async_zero_fill(
                CpBytes::B16,
                shared(to) + (pass * rows * self.row_bytes) as i32,
                global(at),
                bytes,
            );
        }
    }

    fn load(&self, k: &mut Assembler, from: Reg<B64>, tiles: u32, block: Reg<B32>, stage: Reg<B32>) {
        let to = k.mad("stage_to", stage, self.stage_bytes, self.copy_to);
        k.add(to, to, tiles);
        let start = k.mul("key_start", block, TILE);
        self.copy(k, to, from, self.kv_pitch, start, self.keys);
    }

    fn mask(&self, k: &mut Assembler, causal: bool) {
        k.comment("last key attended, relative to the thread's first column");
        let start = k.mad("mask_start", self.block, TILE, self.pair_column);
        let tail = k.sub("tail", self.keys, start);
        k.add(tail, tail, -1);
        for r in 0..2 {
            let limit = k.mov("limit", tail);
            if causal {
                let diagonal = k.sub("diagonal", self.keys, self.queries);
                k.add(diagonal, diagonal, self.row);
                k.sub(diagonal, diagonal, start);
                k.add(diagonal, diagonal, 8 * r);
                k.min_s(limit, limit, diagonal);
            }
            for (j, s) in self.scores.iter().enumerate() {
                for i in 0..2 {
                    let s = s[2 * r as usize + i];
                    let beyond = k.setp_s("beyond", limit, Cmp::Lt, (8 * j + i) as i32);
                    k.selp(s, f32::NEG_INFINITY, s, beyond);
                }
            }
        }
    }

    fn softmax(&self, k: &mut Assembler, may_be_empty: bool) {
        k.comment("row maximum, alpha, P = bf16(2^(scale S - max)), row sum, O *= alpha");
        for r in 0..2 {
            let values: Vec<_> = self.scores.iter().flat_map(|s| [s[2 * r], s[2 * r + 1]]).collect();
            let max = k.max_f("max", self.max[r], values[0]);
            for v in &values[1..] {
                k.max_f(max, max, *v);
            }
            for distance in [1, 2] {
                let other = k.shfl(ShflMode::Bfly, "lane_max", max, distance);
                k.max_f(max, max, other);
            }
            let shift = k.mul("shift", max, self.scale);
            if may_be_empty {
                let none = k.setp_f("none", max, Cmp::Eq, f32::NEG_INFINITY);
                k.selp(shift, 0.0, shift, none);
            }
            k.neg_f(shift, shift);
            let power = k.fma("alpha_power", self.max[r], self.scale, shift);
            k.ex2(self.alpha[r], power);
            k.mov(self.max[r], max);
            k.mul(self.sum[r], self.sum[r], self.alpha[r]);
            for v in values {
                k.fma(v, v, self.scale, shift);
                k.ex2(v, v);
                k.add(self.sum[r], self.sum[r], v);
            }
        }
        let flat: Vec<_> = self.scores.iter().flatten().copied().collect();
        for (p, pair) in self.p.iter().zip(flat.chunks(2)) {
            k.pack_half(Half::Bf16x2, *p, pair[0], pair[1]);
        }
        for o in &self.out {
            for (i, o) in o.iter().enumerate() {
                k.mul(*o, *o, self.alpha[i / 2]);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parameters of the output, used once")]
    fn store(
        &self,
        k: &mut Assembler,
        out: Reg<B64>,
        pitch: Reg<B32>,
        lse: Param<B64>,
        heads: Param<B32>,
        head: Reg<B32>,
        batch: Reg<B32>,
    ) {
        k.comment("out = O / row sum, lse = ln(row sum) + scale row_max; rows without keys give 0 and minus infinity");
        let heads = k.ld_param("heads", heads);
        let at = k.mad("lse_row", batch, heads, head);
        k.mad(at, at, self.queries, self.row);
        let pointer = k.ld_param("lse_at", lse);
        k.mad_wide_u(pointer, at, 4, pointer);
        let first = k.setp_u("first_pair", self.pair_column, Cmp::Eq, 0);
        for r in 0..2 {
            for distance in [1, 2] {
                let other = k.shfl(ShflMode::Bfly, "lane_sum", self.sum[r], distance);
                k.add(self.sum[r], self.sum[r], other);
            }
            let none = k.setp_f("none", self.sum[r], Cmp::Eq, 0.0);
            let inverse = k.rcp("inverse", self.sum[r]);
            k.selp::<F32>(inverse, 0.0, inverse, none);
            let value = k.lg2("lse", self.sum[r]);
            k.fma(value, self.max[r], self.scale, value);
            k.mul(value, value, std::f32::consts::LN_2);
            k.selp::<F32>(value, f32::NEG_INFINITY, value, none);
            let row = k.add("out_row", self.row, 8 * r as i32);
            let inside = k.setp_u("inside", row, Cmp::Lt, self.queries);
            let writes_lse = k.setp_u_with("writes_lse", row, Cmp::Lt, self.queries, BoolOp::And, first);
            let at = k.mad_wide_u("out_at", row, pitch, out);
            k.mad_wide_u(at, self.pair_column, 2, at);
            for (j, o) in self.out.iter().enumerate() {
                let pair = [2 * r, 2 * r + 1].map(|i| k.mul(o[i], o[i], inverse));
                let packed = k.pack_half(Half::Bf16x2, "packed", pair[0], pair[1]);
                k.when(inside, |k| k.st(global(at) + 16 * j as i32, packed));
            }
            k.when(writes_lse, |k| k.st(global(pointer) + 32 * r as i32, value));
        }
    }
}
