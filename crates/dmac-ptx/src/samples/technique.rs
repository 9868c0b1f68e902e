//! One small kernel a technique: TMA with `wgmma`, a `cp.async` ring with `mma.sync`, `ldmatrix` and `stmatrix`, row
//! gather, bulk reduction, a cluster with multicast.
//!
//! In: nothing. Out: a [`Sample`] each, with its parameters and launch in its doc.

use super::tile::{ROW, Thread, descriptor, descriptor_low, descriptor_plus, elect_or};
use super::{Sample, sample};
use crate::{
    Accumulate, Addr, Assembler, B16, B32, B64, BulkOptions, BulkTy, Cmp, CpBytes, F32, Major, MmaElem,
    ReduceOp, SharedCluster, Special, Target, global, shared,
};

/// D = A · Bᵀ of 64 × 64 over k = 64 in bf16: both tiles by TMA, one warpgroup, four products, f32 out.
///
/// Parameters: `map_a`, `map_b` (2-D, 64 × 64 bf16 each, box 64 × 64, 128-byte swizzle), `d` (64 × 64 f32). One CTA of
/// 128 threads, 16 KiB and one barrier of shared memory.
pub fn tma_wgmma() -> Sample {
    let mut k = Assembler::new("tma_wgmma", Target::Sm90a);
    let (map_a, map_b) = (k.param_tensor_map("map_a"), k.param_tensor_map("map_b"));
    let d = k.param_pointer("d", 16);
    k.threads(128);
    let (a_at, b_at, bar) = (0, 8192, 16384);
    k.dynamic_shared(bar + 8, 1024);
    let thread = Thread::new(&mut k);
    thread.make_barriers(&mut k, &[(bar, 1)]);

    k.comment("one thread loads both tiles");
    let (a, b) = (k.tensor_map("map", map_a), k.tensor_map("map", map_b));
    let first = k.setp_u("first", thread.tid, Cmp::Eq, 0);
    k.if_then(first, |k| {
        k.mbarrier_arrive_expect(thread.at(bar), 2 * 8192);
        k.tensor_load(thread.at(a_at), a, &[0.into(), 0.into()], thread.at(bar), BulkOptions::default());
        k.tensor_load(thread.at(b_at), b, &[0.into(), 0.into()], thread.at(bar), BulkOptions::default());
    });
    k.mbarrier_wait(thread.at(bar), 0);

    k.comment("D = A * B transposed, four steps of 16");
    let a = descriptor_low(&mut k, "a_low", thread, a_at, None, 16);
    let a = descriptor(&mut k, "a", a);
    let b = descriptor_low(&mut k, "b_low", thread, b_at, None, 16);
    let b = descriptor(&mut k, "b", b);
    let acc = k.regs::<F32>("acc", 32);
    k.wgmma_fence();
    for step in 0..4 {
        let a = descriptor_plus(&mut k, "a", a, step * 32);
        let b = descriptor_plus(&mut k, "b", b, step * 32);
        let accumulate = if step == 0 { Accumulate::No } else { Accumulate::Yes };
        k.wgmma_ss(MmaElem::Bf16, &acc, (a, Major::K), (b, Major::K), accumulate);
    }
    k.wgmma_commit();
    k.wgmma_wait(0);

    k.comment("lane l of warp w holds row 16 w + l / 4 (and 8 below), columns 8 j + 2 (l % 4) and + 1");
    let row = k.shr_u("row", thread.lane, 2);
    let row = k.mad(row, thread.warp, 16, row);
    let pair = k.and("pair", thread.lane, 3);
    let cell = k.mul("cell", row, 64);
    let cell = k.mad(cell, pair, 2, cell);
    let d = k.ld_param("d", d);
    let at = k.mad_wide_u("at", cell, 4, d);
    for j in 0..8 {
        k.st_vec(global(at) + 32 * j, &acc[4 * j as usize..4 * j as usize + 2]);
        k.st_vec(global(at) + (32 * j + 8 * 256), &acc[4 * j as usize + 2..4 * j as usize + 4]);
    }
    k.ret();
    sample(k, 128)
}

/// D = A · Bᵀ of 64 × 32 over any k that is a multiple of 32, in f16: a ring of two stages filled by `cp.async`,
/// `ldmatrix`, `mma.sync`.
///
/// Parameters: `a` (64 × k f16), `b` (32 × k f16), `d` (64 × 32 f32), `k` (u32, a positive multiple of 32). One CTA of
/// 128 threads; warp w makes rows 16 w to 16 w + 15.
pub fn cp_async_ring() -> Sample {
    // Rows of 32 elements are 64 bytes, four chunks of 16; chunk c of row r is at c ^ ((r / 2) & 3), so that the 8 rows
    // that one phase of ldmatrix reads are in 8 different groups of banks.
    const A_BYTES: u32 = 64 * 64;
    const STAGE: u32 = A_BYTES + 32 * 64;
    let mut k = Assembler::new("cp_async_ring", Target::Sm80);
    let [a, b, d] = ["a", "b", "d"].map(|p| k.param_pointer(p, 16));
    let depth = k.param::<B32>("k");
    k.threads(128);
    k.dynamic_shared(2 * STAGE, 128);
    let thread = Thread::new(&mut k);
    let depth = k.ld_param("depth", depth);

    k.comment("thread t copies chunk t % 4 of row t / 4 of each 32 rows");
    let row = k.shr_u("row", thread.tid, 2);
    let chunk = k.and("chunk", thread.tid, 3);
    let flip = k.bfe_u("flip", row, 1, 2);
    let flip = k.xor(flip, flip, chunk);
    let to = k.mad("to", row, 64, thread.base);
    let to = k.mad(to, flip, 16, to);
    let pitch = k.shl("pitch", depth, 1);
    let from: Vec<_> = [(a, 0), (a, 32), (b, 0)]
        .into_iter()
        .map(|(p, first)| {
            let base = k.ld_param("matrix", p);
            let r = k.add("r", row, first);
            let at = k.mad_wide_u("from", r, pitch, base);
            k.mad_wide_u(at, chunk, 16, at)
        })
        .collect();
    let load = |k: &mut Assembler, stage: crate::Reg<B32>| {
        let to = k.mad("stage_to", stage, STAGE, to);
        for (i, at) in from.iter().enumerate() {
            k.cp_async(CpBytes::B16, shared(to) + 2048 * i as i32, global(*at));
            k.add(*at, *at, 64);
        }
        k.cp_async_commit();
    };
    let stage = k.mov::<B32>("stage", 0);
    load(&mut k, stage);

    let acc: Vec<[_; 4]> = (0..4).map(|_| std::array::from_fn(|_| k.mov::<F32>("acc", 0.0))).collect();
    // ldmatrix: lane l names row l % 16 and column half l / 16 of A; row l % 8 + 8 (l / 16), half (l / 8) % 2 of B.
    let low = k.and("low", thread.lane, 15);
    let a_row = k.mad("a_row", thread.warp, 16, low);
    let a_half = k.shr_u("a_half", thread.lane, 4);
    let b_row = k.and("b_row", thread.lane, 7);
    let b_row = k.mad(b_row, a_half, 8, b_row);
    let b_half = k.bfe_u("b_half", thread.lane, 3, 1);
    let swizzled = |k: &mut Assembler, row, half, step: u32| {
        let flip = k.bfe_u("flip", row, 1, 2);
        let chunk = k.add("chunk", half, 2 * step);
        let chunk = k.xor(chunk, chunk, flip);
        let at = k.mad("at", row, 64, thread.base);
        k.mad(at, chunk, 16, at)
    };
    let a_at: Vec<_> = (0..2).map(|step| swizzled(&mut k, a_row, a_half, step)).collect();
    let b_at: Vec<_> = (0..2).map(|step| swizzled(&mut k, b_row, b_half, step)).collect();

    k.for_range("depth_loop", crate::Unroll::No, 0, depth, 32, |k, at| {
        let next = k.add("next", at, 32);
        let more = k.setp_u("more", next, Cmp::Lt, depth);
        let other = k.xor("other", stage, 1);
        k.if_then(more, |k| load(k, other));
        k.if_then(!more, Assembler::cp_async_commit);
        k.comment("all groups but the newest are here");
        k.cp_async_wait(1);
        k.bar_sync_all();
        for step in 0..2 {
            let at = k.mad("fragment_at", stage, STAGE, a_at[step]);
            let a: [crate::Reg<B32>; 4] = std::array::from_fn(|_| k.reg("a"));
            k.ldmatrix(&a, shared(at), false);
            for pair in 0..2 {
                let at = k.mad("fragment_at", stage, STAGE, b_at[step]);
                let b = k.regs::<B32>("b", 4);
                k.ldmatrix(&b, shared(at) + (A_BYTES + pair * 16 * 64) as i32, false);
                k.mma(MmaElem::F16, &acc[2 * pair as usize], &a, &[b[0], b[1]]);
                k.mma(MmaElem::F16, &acc[2 * pair as usize + 1], &a, &[b[2], b[3]]);
            }
        }
        k.bar_sync_all();
        k.mov(stage, other);
    });
    k.cp_async_wait_all();

    let row = k.shr_u("row", thread.lane, 2);
    let row = k.mad(row, thread.warp, 16, row);
    let pair = k.and("pair", thread.lane, 3);
    let cell = k.mul("cell", row, 32);
    let cell = k.mad(cell, pair, 2, cell);
    let d = k.ld_param("d", d);
    let at = k.mad_wide_u("out", cell, 4, d);
    for (j, c) in acc.iter().enumerate() {
        k.st_vec(global(at) + 32 * j as i32, &c[..2]);
        k.st_vec(global(at) + (32 * j as i32 + 8 * 128), &c[2..]);
    }
    k.ret();
    sample(k, 128)
}

/// The transpose of a 64 × 64 matrix of 16-bit elements, tile by tile of 8 × 8: `ldmatrix.trans`, then `stmatrix`, then
/// a bulk store.
///
/// Parameters: `input`, `output` (64 × 64 b16 each). One CTA of 128 threads; warp w transposes input rows 16 w on.
pub fn transpose_matrices() -> Sample {
    let mut k = Assembler::new("transpose_matrices", Target::Sm90a);
    let [input, output] = ["input", "output"].map(|p| k.param_pointer(p, 16));
    k.threads(128);
    k.dynamic_shared(2 * 8192, 1024);
    let thread = Thread::new(&mut k);
    let from = k.ld_param("from", input);
    let from = k.mad_wide_u(from, thread.tid, 16, from);
    let to = k.mad("to", thread.tid, 16, thread.base);
    for i in 0..4 {
        let v = k.ld_vec::<B32, _, 4>("v", global(from) + 2048 * i);
        k.st_vec(shared(to) + 2048 * i, &v);
    }
    k.bar_sync_all();

    k.comment("matrix m of four is at input rows 16 w + 8 (m % 2), columns 16 j + 8 (m / 2)");
    let r = k.and("r", thread.lane, 7);
    let m = k.shr_u("m", thread.lane, 3);
    let (m_low, m_high) = (k.and("m_low", m, 1), k.shr_u("m_high", m, 1));
    let row = k.mad("row", thread.warp, 16, r);
    let row = k.mad(row, m_low, 8, row);
    let load = k.mad("load", row, 128, thread.base);
    let load = k.mad(load, m_high, 16, load);
    k.comment("its transpose goes to rows 16 j + 8 (m / 2), columns 16 w + 8 (m % 2)");
    let row = k.mad("row", m_high, 8, r);
    let store = k.mad("store", row, 128, thread.base);
    let store = k.mad(store, thread.warp, 32, store);
    let store = k.mad(store, m_low, 16, store);
    for j in 0..4 {
        let d = k.regs::<B32>("d", 4);
        k.ldmatrix(&d, shared(load) + 32 * j, true);
        k.stmatrix(shared(store) + (8192 + 2048 * j), &d, false);
    }
    k.fence_proxy_async();
    k.bar_sync_all();
    let first = k.setp_u("first", thread.tid, Cmp::Eq, 0);
    let end = k.label("end");
    k.branch_if(!first, end);
    let to = k.ld_param("output", output);
    k.bulk_store(global(to), thread.at(8192), 8192);
    k.bulk_commit();
    k.bulk_wait(0);
    k.place(end);
    k.ret();
    sample(k, 128)
}

/// Gathers 64 rows of 128 × 16 bits by index into a swizzled tile with `cp.async`, completion on a barrier; a negative
/// index gives a row of zeros. The tile is then written out with its swizzle.
///
/// Parameters: `rows` (pointer), `index` (64 × i32), `pitch` (u32, bytes between rows), `output` (16 KiB: two subtiles
/// of 64 rows of 128 bytes). One CTA of 128 threads.
pub fn row_gather() -> Sample {
    const BAR: u32 = 2 * 8192;
    let mut k = Assembler::new("row_gather", Target::Sm90a);
    let (rows, index) = (k.param_pointer("rows", 16), k.param_pointer("index", 4));
    let pitch = k.param::<B32>("pitch");
    let output = k.param_pointer("output", 16);
    k.threads(128);
    k.dynamic_shared(BAR + 8, 1024);
    let thread = Thread::new(&mut k);
    k.comment("every thread arrives once, when its own copies are complete");
    thread.make_barriers(&mut k, &[(BAR, 128)]);

    let row = k.shr_u("row", thread.tid, 3);
    let chunk = k.and("chunk", thread.tid, 7);
    let flip = k.and("flip", row, 7);
    let flip = k.xor(flip, flip, chunk);
    let to = k.mad("to", row, ROW, thread.base);
    let to = k.mad(to, flip, 16, to);
    let rows = k.ld_param("rows", rows);
    let rows = k.mad_wide_u(rows, chunk, 16, rows);
    let pitch = k.ld_param("pitch", pitch);
    let index = k.ld_param("index", index);
    let index = k.mad_wide_u(index, row, 4, index);
    for i in 0..4 {
        let id = k.ld_read_only::<B32>("id", global(index) + 64 * i);
        let there = k.setp_s("there", id, Cmp::Ge, 0);
        let bytes = k.selp::<B32>("bytes", 16, 0, there);
        let id = k.max_s(id, id, 0);
        let from = k.mad_wide_u("from", id, pitch, rows);
        for half in 0..2 {
            let (to, from) = (shared(to) + (2048 * i + 8192 * half), global(from) + 128 * half);
            k.cp_async_zero_fill(CpBytes::B16, to, from, bytes);
        }
    }
    k.cp_async_arrive(thread.at(BAR));
    k.mbarrier_wait(thread.at(BAR), 0);

    let output = k.ld_param("output", output);
    let out = k.mad_wide_u("out", thread.tid, 16, output);
    let at = k.mad("at", thread.tid, 16, thread.base);
    for i in 0..8 {
        let v = k.ld_vec::<B32, _, 4>("v", shared(at) + 2048 * i);
        k.st_vec(global(out) + 2048 * i, &v);
    }
    k.ret();
    sample(k, 128)
}

/// Adds every CTA's 1024 f32 into one vector: a bulk load, then a bulk reduction. The order of the additions is free.
///
/// Parameters: `input` (grid × 1024 f32), `output` (1024 f32, zero at the start). Any number of CTAs of 32 threads.
pub fn bulk_reduce() -> Sample {
    const BYTES: u32 = 4096;
    let mut k = Assembler::new("bulk_reduce", Target::Sm90a);
    let [input, output] = ["input", "output"].map(|p| k.param_pointer(p, 16));
    k.threads(32);
    k.dynamic_shared(BYTES + 8, 128);
    let thread = Thread::new(&mut k);
    thread.make_barriers(&mut k, &[(BYTES, 1)]);
    let end = k.label("end");
    elect_or(&mut k, end);
    let block = k.special("block", Special::CtaidX);
    let input = k.ld_param("input", input);
    let from = k.mad_wide_u("from", block, BYTES, input);
    k.mbarrier_arrive_expect(thread.at(BYTES), BYTES);
    k.bulk_load(thread.at(0), global(from), BYTES, thread.at(BYTES), BulkOptions::default());
    k.mbarrier_wait(thread.at(BYTES), 0);
    let to = k.ld_param("to", output);
    k.bulk_reduce(ReduceOp::Add, BulkTy::F32, global(to), thread.at(0), BYTES);
    k.bulk_commit();
    k.bulk_wait(0);
    k.place(end);
    k.ret();
    sample(k, 32)
}

/// Two CTAs of a cluster: each loads half of a tile for both by multicast, tells the other when it has read its copy,
/// and writes what it received.
///
/// Parameters: `input` (2-D map, 64 columns × 64 rows of b16, box 64 × 32, no swizzle), `output` (grid × 8 KiB). Grid:
/// two CTAs of 128 threads, one cluster.
pub fn cluster_multicast() -> Sample {
    const HALF: u32 = 4096;
    const FULL: u32 = 2 * HALF;
    const READ: u32 = FULL + 8;
    let mut k = Assembler::new("cluster_multicast", Target::Sm90a);
    let input = k.param_tensor_map("input");
    let output = k.param_pointer("output", 16);
    k.threads(128);
    k.cluster(2);
    k.dynamic_shared(READ + 8, 1024);
    let thread = Thread::new(&mut k);
    thread.make_barriers(&mut k, &[(FULL, 1), (READ, 128)]);
    k.comment("both CTAs' barriers exist before either loads");
    k.cluster_arrive();
    k.cluster_wait();
    let rank = k.special("rank", Special::ClusterCtaRank);
    let map = k.tensor_map("map", input);
    let first = k.setp_u("first", thread.tid, Cmp::Eq, 0);
    k.if_then(first, |k| {
        k.comment("this CTA's half, to both; both halves count on the own barrier");
        k.mbarrier_arrive_expect(thread.at(FULL), 2 * HALF);
        let both = k.mov::<B16>("both", 3_u16);
        let to = k.mad("to", rank, HALF, thread.base);
        let row = k.mul("row", rank, 32);
        let options = BulkOptions::default().multicast(both);
        k.tensor_load(shared(to), map, &[0.into(), row.into()], thread.at(FULL), options);
    });
    k.mbarrier_wait(thread.at(FULL), 0);
    let at = k.mad("at", thread.tid, 16, thread.base);
    let out = k.ld_param("out", output);
    let block = k.special("block", Special::CtaidX);
    let out = k.mad_wide_u(out, block, 2 * HALF, out);
    let out = k.mad_wide_u(out, thread.tid, 16, out);
    for i in 0..4 {
        let v = k.ld_vec::<B32, _, 4>("v", shared(at) + 2048 * i);
        k.st_vec(global(out) + 2048 * i, &v);
    }
    k.comment("the other CTA waits until all threads here have read");
    let other = k.xor("other", rank, 1);
    let remote = k.mapa("remote", thread.base, other);
    k.mbarrier_arrive_cluster(Addr::<SharedCluster>::new(remote) + READ as i32);
    k.mbarrier_wait(thread.at(READ), 0);
    k.comment("no CTA leaves while the other may still reach its barrier");
    k.cluster_arrive();
    k.cluster_wait();
    k.ret();
    sample(k, 128)
}

/// Merges partial attention results of split keys: weights `2^(lse_s − max)` over the splits s, in f32.
///
/// Parameters: `partial` (splits × rows × 128 f32), `lse` (splits × rows f32, natural logarithm), `out` (rows × 128
/// bf16), `rows`, `splits` (u32). Grid: ceil(rows / 4) CTAs of 128 threads; one warp a row. A row without keys (all lse
/// are −∞) gives zeros.
pub fn split_combine() -> Sample {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    let mut k = Assembler::new("split_combine", Target::Sm80);
    let (partial, lse, out) =
        (k.param_pointer("partial", 16), k.param_pointer("lse", 4), k.param_pointer("out", 8));
    let (rows, splits) = (k.param::<B32>("rows"), k.param::<B32>("splits"));
    k.threads(128);
    let tid = k.special("tid", Special::TidX);
    let lane = k.and("lane", tid, 31);
    let row = k.shr_u("row", tid, 5);
    let block = k.special("block", Special::CtaidX);
    let row = k.mad(row, block, 4, row);
    let (rows, splits) = (k.ld_param("rows", rows), k.ld_param("splits", splits));
    let inside = k.setp_u("inside", row, Cmp::Lt, rows);
    k.if_then(inside, |k| {
        k.comment("the largest lse of the row");
        let lse = k.ld_param("lse", lse);
        let lse = k.mad_wide_u(lse, row, 4, lse);
        let at = k.mov("lse_at", lse);
        let max = k.mov::<F32>("max", f32::NEG_INFINITY);
        k.for_range("max_split", crate::Unroll::Allowed, 0, splits, 1, |k, _| {
            let v = k.ld::<F32, _>("v", global(at));
            k.max_f(max, max, v);
            k.mad_wide_u(at, rows, 4, at);
        });
        let empty = k.setp_f("empty", max, Cmp::Eq, f32::NEG_INFINITY);
        let max = k.selp::<F32>("max", 0.0, max, empty);
        k.comment("sum of weighted partial rows, four columns a lane");
        let partial = k.ld_param("partial", partial);
        let column = k.shl("column", lane, 2);
        let cell = k.mad("cell", row, 128, column);
        let at = k.mad_wide_u("at", cell, 4, partial);
        let sum = k.mov::<F32>("sum", 0.0);
        let acc: [_; 4] = std::array::from_fn(|_| k.mov::<F32>("acc", 0.0));
        k.for_range("split", crate::Unroll::Allowed, 0, splits, 1, |k, _| {
            let v = k.ld::<F32, _>("v", global(lse));
            let part = k.ld_vec::<F32, _, 4>("part", global(at));
            let w = k.sub("w", v, max);
            let w = k.mul(w, w, LOG2_E);
            let w = k.ex2(w, w);
            k.add(sum, sum, w);
            for (a, p) in acc.iter().zip(part) {
                k.fma(*a, p, w, *a);
            }
            k.mad_wide_u(lse, rows, 4, lse);
            k.mad_wide_u(at, rows, 512, at);
        });
        let inverse = k.rcp("inverse", sum);
        let inverse = k.selp::<F32>(inverse, 0.0, inverse, empty);
        for a in acc {
            k.mul(a, a, inverse);
        }
        let packed: Vec<_> =
            (0..2).map(|i| k.pack_half(crate::Half::Bf16x2, "packed", acc[2 * i], acc[2 * i + 1])).collect();
        let out = k.ld_param("out", out);
        let at = k.mad_wide_u("out_at", cell, 2, out);
        k.st_vec(global(at), &packed);
    });
    k.ret();
    sample(k, 128)
}

/// What the backward kernel needs of each row: `delta = Σ out · dout`, and the lse in base 2.
///
/// Parameters: `out`, `dout` (rows × 128 bf16), `lse` (rows f32, natural logarithm), `delta`, `lse_log2` (rows f32),
/// `rows` (u32). Grid: ceil(rows / 4) CTAs of 128 threads; one warp a row.
pub fn backward_preprocess() -> Sample {
    let mut k = Assembler::new("backward_preprocess", Target::Sm80);
    let [out, dout] = ["out", "dout"].map(|p| k.param_pointer(p, 8));
    let [lse, delta, lse_log2] = ["lse", "delta", "lse_log2"].map(|p| k.param_pointer(p, 4));
    let rows = k.param::<B32>("rows");
    k.threads(128);
    let tid = k.special("tid", Special::TidX);
    let lane = k.and("lane", tid, 31);
    let row = k.shr_u("row", tid, 5);
    let block = k.special("block", Special::CtaidX);
    let row = k.mad(row, block, 4, row);
    let rows = k.ld_param("rows", rows);
    let inside = k.setp_u("inside", row, Cmp::Lt, rows);
    let end = k.label("end");
    k.branch_if(!inside, end);
    let column = k.shl("column", lane, 2);
    let cell = k.mad("cell", row, 128, column);
    let pairs: Vec<[crate::Reg<B32>; 2]> = [out, dout]
        .into_iter()
        .map(|p| {
            let base = k.ld_param("matrix", p);
            let at: crate::Reg<B64> = k.mad_wide_u("at", cell, 2, base);
            k.ld_vec("pair", global(at))
        })
        .collect();
    k.comment("sum of products; a bf16 is the upper half of an f32");
    let sum = k.mov::<F32>("sum", 0.0);
    for i in 0..2 {
        let halves: Vec<_> = pairs
            .iter()
            .map(|p| {
                let low = k.shl("bits", p[i], 16);
                let high = k.and("bits", p[i], 0xFFFF_0000_u32);
                (k.float_of("low", low), k.float_of("high", high))
            })
            .collect();
        k.fma(sum, halves[0].0, halves[1].0, sum);
        k.fma(sum, halves[0].1, halves[1].1, sum);
    }
    for distance in [16, 8, 4, 2, 1] {
        let other = k.shfl(crate::ShflMode::Bfly, "other", sum, distance);
        k.add(sum, sum, other);
    }
    let first = k.setp_u("first", lane, Cmp::Eq, 0);
    k.branch_if(!first, end);
    let [delta, lse, lse_log2] = [delta, lse, lse_log2].map(|p| {
        let base = k.ld_param("vector", p);
        k.mad_wide_u("at", row, 4, base)
    });
    k.st(global(delta), sum);
    let v = k.ld::<F32, _>("v", global(lse));
    let v = k.mul(v, v, std::f32::consts::LOG2_E);
    k.st(global(lse_log2), v);
    k.place(end);
    k.ret();
    sample(k, 128)
}
