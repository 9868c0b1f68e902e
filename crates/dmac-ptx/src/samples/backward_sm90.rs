//! A backward attention kernel for Hopper: 128 keys a CTA, a loop over the query tiles of all heads that share them.
//!
//! In: head size (64: query tiles of 128 rows; 128: of 64), whether the mask is causal. Out: a [`Sample`].
//!
//! Each consumer warpgroup owns 64 keys and holds their dK and dV in registers. Scores are computed transposed, so that
//! P and dS are register operands of the products for dV and dK without moving; dS goes through shared memory only for
//! dQ, which a warp of the producer adds to global memory with bulk reductions, in the order of the accumulator
//! fragments.

mod consumer;
mod epilogue;
mod producer;

use super::tile::{ROW, Thread};
use super::{Sample, sample};
use crate::{Assembler, B32, B64, Cmp, F32, Param, Reg, Special, Target, TensorMapParam};

/// Keys of a CTA.
const KEYS: u32 = 128;
/// Depth of the rings of Q and dO.
const STAGES: u32 = 2;
/// Named barriers: both consumers; then per consumer "dQ buffer free" (2, 3), "dQ buffer full" (4, 5), own (6, 7).
const BOTH: i32 = 1;
const DQ_FREE: i32 = 2;
const DQ_FULL: i32 = 4;
const OWN: i32 = 6;
/// A consumer and the warp that adds dQ.
const WITH_WRITER: u32 = 128 + 32;

/// Sizes that follow from the head size, and offsets in shared memory, in bytes.
#[derive(Clone, Copy)]
struct Layout {
    head_dim: u32,
    /// Query rows of a tile.
    rows: u32,
    /// Column blocks of 64.
    blocks: u32,
    /// One tile of Q or dO.
    q_bytes: u32,
    /// One tile of dS, queries by keys.
    ds_bytes: u32,
    /// One consumer's half of a dQ tile, f32.
    dq_bytes: u32,
    k: u32,
    v: u32,
    q: u32,
    dout: u32,
    ds: u32,
    dq: u32,
    lse: u32,
    delta: u32,
    kv_full: u32,
    q_full: u32,
    q_empty: u32,
    dout_full: u32,
    dout_empty: u32,
    end: u32,
}

impl Layout {
    fn new(head_dim: u32) -> Layout {
        let rows = if head_dim == 64 { 128 } else { 64 };
        let blocks = head_dim / 64;
        let kv_bytes = blocks * KEYS * ROW;
        let q_bytes = blocks * rows * ROW;
        let ds_bytes = KEYS / 64 * rows * ROW;
        let dq_bytes = rows * head_dim * 4 / 2;
        let mut at = 0;
        let mut take = |bytes: u32| {
            let start = at;
            at += bytes;
            start
        };
        Layout {
            head_dim,
            rows,
            blocks,
            q_bytes,
            ds_bytes,
            dq_bytes,
            k: take(kv_bytes),
            v: take(kv_bytes),
            q: take(STAGES * q_bytes),
            dout: take(STAGES * q_bytes),
            ds: take(2 * ds_bytes),
            dq: take(2 * dq_bytes),
            lse: take(STAGES * rows * 4),
            delta: take(STAGES * rows * 4),
            kv_full: take(8),
            q_full: take(8 * STAGES),
            q_empty: take(8 * STAGES),
            dout_full: take(8 * STAGES),
            dout_empty: take(8 * STAGES),
            end: take(0),
        }
    }
}

/// The kernel under construction.
struct Cta {
    layout: Layout,
    causal: bool,
    thread: Thread,
    map_q: TensorMapParam,
    map_dout: TensorMapParam,
    map_k: TensorMapParam,
    map_v: TensorMapParam,
    map_dk: TensorMapParam,
    map_dv: TensorMapParam,
    lse: Param<B64>,
    delta: Param<B64>,
    dq: Param<B64>,
    scale: Param<F32>,
    scale_log2: Param<F32>,
    /// First key.
    key0: Reg<B32>,
    kv_head: Reg<B32>,
    batch: Reg<B32>,
    heads: Reg<B32>,
    group: Reg<B32>,
    /// keys − queries: the diagonal's offset.
    offset: Reg<B32>,
    /// Query tiles of the sequence, the first that attends this CTA's keys, the first that needs no mask.
    tiles: Reg<B32>,
    first_tile: Reg<B32>,
    first_whole: Reg<B32>,
}

/// Backward in bf16.
///
/// Parameters: `map_q`, `map_dout` (4-D: head size, sequence, head, batch; box 64 × query tile × 1 × 1; 128-byte
/// swizzle; bf16), `map_k`, `map_v` (box 64 × 128), `map_dk`, `map_dv` (box 64 × 64), `lse_log2` and `delta` (f32, batch
/// × heads × query tiles × tile rows: base 2, padded rows +∞ and 0), `dq` (f32, zero at the start; batch × heads × query
/// tiles × the tile in fragment order), `scale`, `scale_log2` (f32), `queries`, `keys`, `heads`, `group` (u32). Grid:
/// (ceil(keys / 128), KV heads, batch) CTAs of 384 threads.
///
/// Fragment order of a dQ tile: `[consumer w][j][thread t][e]` of f32, four elements e; with row r = 16 (t / 32) +
/// t % 32 / 4 + 8 (e / 2) and column c = 8 j + 2 (t % 4) + e % 2 it is element (64 w + r, c) for head size 64 and
/// (r, 64 w + c) for 128. It is dQ without the softmax scale.
///
/// # Panics
///
/// For a head size other than 64 and 128.
pub fn backward_sm90(head_dim: u32, causal: bool) -> Sample {
    assert!(matches!(head_dim, 64 | 128), "head size {head_dim}");
    let layout = Layout::new(head_dim);
    let name = format!("backward_sm90_d{head_dim}{}", if causal { "_causal" } else { "" });
    let mut k = Assembler::new(&name, Target::Sm90a);
    k.threads(384);
    k.min_ctas(1);
    k.dynamic_shared(layout.end, 1024);
    let cta = Cta::begin(&mut k, layout, causal);
    let mut barriers = vec![(layout.kv_full, 1)];
    for stage in 0..STAGES {
        for (full, empty) in [(layout.q_full, layout.q_empty), (layout.dout_full, layout.dout_empty)] {
            barriers.push((full + 8 * stage, 1));
            barriers.push((empty + 8 * stage, 8));
        }
    }
    cta.thread.make_barriers(&mut k, &barriers);

    let warpgroup = k.shr_u("warpgroup", cta.thread.warp, 2);
    let consumer = k.setp_u("consumer", warpgroup, Cmp::Ne, 0);
    let (consume, end) = (k.label("consume"), k.label("end"));
    k.branch_if(consumer, consume);
    cta.produce(&mut k, end);
    k.place(consume);
    let this = k.sub("this_group", warpgroup, 1);
    cta.consume(&mut k, this, end);
    k.place(end);
    k.ret();
    sample(k, 384)
}

impl Cta {
    fn begin(k: &mut Assembler, layout: Layout, causal: bool) -> Cta {
        let [map_q, map_dout, map_k, map_v, map_dk, map_dv] =
            ["map_q", "map_dout", "map_k", "map_v", "map_dk", "map_dv"].map(|name| k.param_tensor_map(name));
        let [lse, delta, dq] = ["lse_log2", "delta", "dq"].map(|name| k.param_pointer(name, 16));
        let [scale, scale_log2] = ["scale", "scale_log2"].map(|name| k.param::<F32>(name));
        let [queries, keys, heads, group] = ["queries", "keys", "heads", "group"].map(|n| k.param::<B32>(n));

        let thread = Thread::new(k);
        let key0 = k.special("key_start", Special::CtaidX);
        k.mul(key0, key0, KEYS);
        let kv_head = k.special("kv_head", Special::CtaidY);
        let batch = k.special("batch", Special::CtaidZ);
        let queries = k.ld_param("queries", queries);
        let keys = k.ld_param("keys", keys);
        let heads = k.ld_param("heads", heads);
        let group = k.ld_param("group", group);
        let offset = k.sub("offset", keys, queries);
        let shift = layout.rows.ilog2();
        let tiles = k.add("tiles", queries, layout.rows - 1);
        k.shr_u(tiles, tiles, shift);
        let first_tile = k.mov::<B32>("first_tile", 0);
        let first_whole = k.mov::<B32>("first_whole", 0);
        if causal {
            k.comment("query tiles before the diagonal see none of these keys; those on it need the mask");
            let diagonal = k.sub("diagonal", key0, offset);
            let start = k.max_s("start", diagonal, 0);
            k.shr_u(start, start, shift);
            k.min_s(first_tile, start, tiles);
            let past = k.add("past", diagonal, KEYS - 1 + layout.rows - 1);
            k.max_s(past, past, 0);
            k.shr_u(past, past, shift);
            k.min_s(first_whole, past, tiles);
        }
        Cta {
            layout,
            causal,
            thread,
            map_q,
            map_dout,
            map_k,
            map_v,
            map_dk,
            map_dv,
            lse,
            delta,
            dq,
            scale,
            scale_log2,
            key0,
            kv_head,
            batch,
            heads,
            group,
            offset,
            tiles,
            first_tile,
            first_whole,
        }
    }

    /// The query head of step `g` of the group, and the row of (batch, head) in per-head arrays.
    fn head(&self, k: &mut Assembler, g: Reg<B32>) -> (Reg<B32>, Reg<B32>) {
        let head = k.mad("head", self.kv_head, self.group, g);
        let row = k.mad("head_row", self.batch, self.heads, head);
        (head, row)
    }
}
