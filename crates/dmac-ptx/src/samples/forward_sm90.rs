//! A forward attention kernel for Hopper: 128 query rows by 128 keys, one producer and two consumer warpgroups.
//!
//! In: head size (64 or 128), whether the mask is causal, how keys and values come (TMA or gathered by index). Out: a
//! [`Sample`].
//!
//! The schedule is the one that keeps the tensor cores busy: a producer fills rings of two stages; each consumer issues
//! the next S = Q Kᵀ and O += P V together, and does its softmax while the latter runs. The loop is *rotated*: the wait
//! for P V stands at its top, behind the back edge, because `ptxas` would hoist it above the softmax otherwise.
//!
//! Keys are visited from the last block to the first, so that the masked blocks come first and have a loop of their own.

mod consumer;
mod epilogue;
mod producer;
mod softmax;

use super::tile::{ROW, Thread};
use super::{Sample, sample};
use crate::{Assembler, B32, Cmp, Param, Reg, Special, Target, TensorMapParam};

/// The program that the `.loc` lines mean:
///
/// ```text
/// 1  kernel attend(q, k, v):
/// 2    s[i, j] = scale * sum(d: q[i, d] * k[j, d])
/// 3    where j <= i
/// 4    p = softmax(s, j)
/// 5    out[i, e] = sum(j: p[i, j] * v[j, e])
/// ```
const SOURCE: &str = "attend.dmac";
/// Query rows of a CTA.
const ROWS: u32 = 128;
/// Keys of a block.
const KEYS: u32 = 128;
/// Consumer warpgroups, 64 rows each.
const CONSUMERS: u32 = 2;
/// Depth of the rings of keys and of values.
const STAGES: u32 = 2;

/// How keys and values come into shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Neighbouring rows, by TMA, from one thread.
    Blocks,
    /// Rows named by a list, by `cp.async` from all threads of the producer.
    Rows,
}

/// What to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Head size: 64 or 128.
    pub head_dim: u32,
    /// Whether query row i attends only keys up to i + keys − queries.
    pub causal: bool,
    /// Where keys and values come from.
    pub source: Source,
}

/// Offsets in shared memory, bytes.
#[derive(Clone, Copy)]
struct Layout {
    /// Column blocks of 64.
    blocks: u32,
    /// One stage of keys or of values.
    stage: u32,
    q: u32,
    k: u32,
    v: u32,
    q_full: u32,
    k_full: u32,
    k_empty: u32,
    v_full: u32,
    v_empty: u32,
    end: u32,
}

impl Layout {
    fn new(head_dim: u32) -> Layout {
        let blocks = head_dim / 64;
        let (q_bytes, stage) = (blocks * ROWS * ROW, blocks * KEYS * ROW);
        let k = q_bytes;
        let v = k + STAGES * stage;
        let q_full = v + STAGES * stage;
        let k_full = q_full + 8;
        let k_empty = k_full + 8 * STAGES;
        let v_full = k_empty + 8 * STAGES;
        let v_empty = v_full + 8 * STAGES;
        Layout {
            blocks,
            stage,
            q: 0,
            k,
            v,
            q_full,
            k_full,
            k_empty,
            v_full,
            v_empty,
            end: v_empty + 8 * STAGES,
        }
    }
}

/// Parameters that only the gathering kernel has.
#[derive(Clone, Copy)]
struct RowParams {
    k: Param<crate::B64>,
    v: Param<crate::B64>,
    index: Param<crate::B64>,
    count: Param<crate::B64>,
    token_pitch: Param<B32>,
    head_pitch: Param<B32>,
    batch_pitch: Param<B32>,
    list_length: Param<B32>,
}

/// The kernel under construction: parameters and what all threads compute first.
struct Cta {
    forward: Forward,
    layout: Layout,
    thread: Thread,
    map_q: TensorMapParam,
    map_k: TensorMapParam,
    map_v: TensorMapParam,
    map_out: TensorMapParam,
    lse: Param<crate::B64>,
    scale: Param<crate::F32>,
    rows: Option<RowParams>,
    /// First query row.
    row0: Reg<B32>,
    head: Reg<B32>,
    kv_head: Reg<B32>,
    batch: Reg<B32>,
    heads: Reg<B32>,
    queries: Reg<B32>,
    /// Keys of the sequence, or of this tile's list.
    keys: Reg<B32>,
    /// Blocks of keys to visit.
    key_blocks: Reg<B32>,
    /// Where this tile's list begins, if there is one.
    list: Option<Reg<crate::B64>>,
}

/// Dense forward in bf16, `q` tile 128 × 128.
///
/// Parameters: `map_q`, `map_k`, `map_v` (4-D: head size, sequence, head, batch; box 64 × 128 × 1 × 1; 128-byte
/// swizzle; bf16), `map_out` (the same with box 64 × 64 × 1 × 1), `lse` (batch × heads × queries f32, natural
/// logarithm), `scale_log2` (f32: softmax scale times log2 e), `queries`, `keys`, `heads`, `group` (u32: query heads a
/// KV head). Grid: (ceil(queries / 128), heads, batch) CTAs of 384 threads; [`Sample`]'s kernel says how much dynamic
/// shared memory. With `causal` the longest rows go first. With [`Source::Rows`] there follow `k_rows`, `v_rows`
/// (pointers), `index` (u32 per batch, head, q tile and position), `count` (u32 per batch, head and q tile: keys of the
/// list; `keys` is not read), `token_pitch`, `head_pitch`, `batch_pitch` (bytes, keys and values alike), `list_length`
/// (u32: positions of each list in `index`); `map_k` and `map_v` are not read.
///
/// # Panics
///
/// For a head size other than 64 and 128, or a causal list.
pub fn forward_sm90(forward: Forward) -> Sample {
    assert!(matches!(forward.head_dim, 64 | 128), "head size {}", forward.head_dim);
    assert!(!(forward.causal && forward.source == Source::Rows), "a list has its own mask");
    let layout = Layout::new(forward.head_dim);
    let name = format!(
        "forward_sm90_d{}{}{}",
        forward.head_dim,
        if forward.causal { "_causal" } else { "" },
        if forward.source == Source::Rows { "_rows" } else { "" }
    );
    let mut k = Assembler::new(&name, Target::Sm90a);
    let threads = (CONSUMERS + 1) * 128;
    k.threads(threads);
    k.min_ctas(1);
    k.dynamic_shared(layout.end, 1024);
    let mut cta = Cta::begin(&mut k, forward, layout);

    k.comment(
        "barriers: a full one a stage (the producer arrives), an empty one (a lane of each consumer warp)",
    );
    let arrivals = if forward.source == Source::Rows { 128 } else { 1 };
    let mut barriers = vec![(layout.q_full, 1)];
    for stage in 0..STAGES {
        for (full, empty) in [(layout.k_full, layout.k_empty), (layout.v_full, layout.v_empty)] {
            barriers.push((full + 8 * stage, arrivals));
            barriers.push((empty + 8 * stage, 4 * CONSUMERS));
        }
    }
    cta.thread.make_barriers(&mut k, &barriers);

    let group = k.shr_u("group", cta.thread.warp, 2);
    let consumer = k.setp_u("consumer", group, Cmp::Ne, 0);
    let (consume, end) = (k.label("consume"), k.label("end"));
    k.branch_if(consumer, consume);
    cta.produce(&mut k, end);
    k.place(consume);
    let this = k.sub("this_group", group, 1);
    cta.consume(&mut k, this, end);
    k.place(end);
    k.ret();
    sample(k, threads)
}

impl Cta {
    /// Declares the parameters and computes what both roles need.
    fn begin(k: &mut Assembler, forward: Forward, layout: Layout) -> Cta {
        let [map_q, map_k, map_v, map_out] =
            ["map_q", "map_k", "map_v", "map_out"].map(|name| k.param_tensor_map(name));
        let lse = k.param_pointer("lse", 4);
        let scale = k.param("scale_log2");
        let [queries, keys, heads, group] = ["queries", "keys", "heads", "group"].map(|n| k.param::<B32>(n));
        let rows = (forward.source == Source::Rows).then(|| RowParams {
            k: k.param_pointer("k_rows", 16),
            v: k.param_pointer("v_rows", 16),
            index: k.param_pointer("index", 4),
            count: k.param_pointer("count", 4),
            token_pitch: k.param("token_pitch"),
            head_pitch: k.param("head_pitch"),
            batch_pitch: k.param("batch_pitch"),
            list_length: k.param("list_length"),
        });

        let thread = Thread::new(k);
        let tile = k.special("q_tile", Special::CtaidX);
        let tiles = k.special("q_tiles", Special::NctaidX);
        if forward.causal {
            k.comment("longest rows first");
            k.sub(tile, tiles, tile);
            k.sub(tile, tile, 1);
        }
        let head = k.special("head", Special::CtaidY);
        let batch = k.special("batch", Special::CtaidZ);
        let queries = k.ld_param("queries", queries);
        let keys = k.ld_param("keys", keys);
        let heads = k.ld_param("heads", heads);
        let group = k.ld_param("heads_per_kv", group);
        let kv_head = k.div_u("kv_head", head, group);
        let row0 = k.mul("row_start", tile, ROWS);
        let list = rows.map(|rows| {
            k.comment("this tile's list of keys");
            let at = k.mad("list", batch, heads, head);
            let at = k.mad(at, at, tiles, tile);
            let count = k.ld_param("count", rows.count);
            let count = k.mad_wide_u(count, at, 4, count);
            k.ld_with(
                crate::LoadMode { read_only: true, ..crate::LoadMode::default() },
                &[keys],
                crate::global(count),
            );
            let length = k.ld_param("list_length", rows.list_length);
            let at = k.mul(at, at, length);
            let index = k.ld_param("index", rows.index);
            k.mad_wide_u(index, at, 4, index)
        });
        let key_blocks = k.reg("key_blocks");
        if forward.causal {
            k.comment("keys that the tile's last row attends: min(keys, row_start + 128 + keys - queries)");
            let reach = k.add("reach", row0, ROWS);
            k.add(reach, reach, keys);
            k.sub(reach, reach, queries);
            k.min_s(reach, reach, keys);
            k.max_s(reach, reach, 0);
            k.add(key_blocks, reach, KEYS - 1);
        } else {
            k.add(key_blocks, keys, KEYS - 1);
        }
        k.shr_u(key_blocks, key_blocks, KEYS.ilog2());
        Cta {
            forward,
            layout,
            thread,
            map_q,
            map_k,
            map_v,
            map_out,
            lse,
            scale,
            rows,
            row0,
            head,
            kv_head,
            batch,
            heads,
            queries,
            keys,
            key_blocks,
            list,
        }
    }

    fn gathers(&self) -> bool {
        self.forward.source == Source::Rows
    }
}
