//! Launches of the sample kernels on a [`Problem`], and their errors against its f64 reference.

use crate::attention::{Backward, Forward, Problem, relative, worst};
use dmac_ptx_interp::{
    Arg, Buffer, Finding, Launch, Memory, Module, Options, Stats, Swizzle, TensorElement, TensorMap,
};
use half::bf16;
use std::f64::consts::LOG2_E;

/// Options of the tests: one worker, so that a seed names one schedule.
pub fn seeded(seed: u64) -> Options {
    Options { seed, workers: 1, ..Options::default() }
}

/// A 4-D map (head size, sequence, head, batch) with boxes of 64 columns and `rows` rows.
pub fn map(buffer: Buffer, d: usize, n: usize, heads: usize, rows: u32) -> Arg {
    let (d, n, h) = (d as u64, n as u64, heads as u64);
    Arg::TensorMap(TensorMap {
        buffer,
        offset: 0,
        element: TensorElement::Bf16,
        dims: vec![d, n, h, 1],
        strides: vec![h * d * 2, d * 2, n * h * d * 2],
        box_dims: vec![64, rows, 1, 1],
        swizzle: Swizzle::B128,
        nan_fill: false,
    })
}

/// Errors of a forward kernel, and elements of the outputs that it never wrote.
#[derive(Clone, Copy, Debug)]
pub struct ForwardErrors {
    pub out: f64,
    pub lse: f64,
    pub unwritten: u64,
}

pub struct ForwardRun {
    pub memory: Memory,
    out: Buffer,
    lse: Buffer,
}

impl ForwardRun {
    pub fn errors_against(&self, want: &Forward) -> ForwardErrors {
        let out = self.memory.read::<bf16>(self.out).into_iter().map(bf16::to_f64);
        let lse = self.memory.read::<f32>(self.lse).into_iter().map(f64::from);
        ForwardErrors {
            out: relative(out, &want.out),
            lse: worst(lse, &want.lse),
            unwritten: self.memory.unwritten(self.out) + self.memory.unwritten(self.lse),
        }
    }
}

/// Runs a forward kernel for Hopper (tiles of 128 by 128).
pub fn forward_sm90(
    module: &Module,
    p: &Problem,
    smem: u32,
    options: &Options,
) -> (ForwardRun, Result<Stats, Vec<Finding>>) {
    let mut memory = Memory::new();
    let (q, k, v) = (memory.alloc(&p.q), memory.alloc(&p.k), memory.alloc(&p.v));
    let out = memory.alloc_uninit::<bf16>(p.q.len());
    let lse = memory.alloc_uninit::<f32>(p.heads * p.queries);
    let tiles = p.queries.div_ceil(128);
    let name = module.entries().next().expect("one entry").name().to_owned();
    let mut launch = Launch::new(module, &name)
        .grid([tiles as u32, p.heads as u32, 1])
        .dynamic_smem(smem)
        .arg(map(q, p.d, p.queries, p.heads, 128))
        .arg(map(k, p.d, p.keys, p.kv_heads, 128))
        .arg(map(v, p.d, p.keys, p.kv_heads, 128))
        .arg(map(out, p.d, p.queries, p.heads, 64))
        .arg(Arg::Buffer(lse))
        .arg(Arg::F32((p.scale() * LOG2_E) as f32))
        .args([p.queries, p.keys, p.heads, p.heads / p.kv_heads].map(|x| Arg::U32(x as u32)));
    if let Some((_, lists)) = &p.lists {
        let mut index = vec![0u32; lists.len() * p.keys];
        for (to, list) in index.chunks_mut(p.keys).zip(lists) {
            to[..list.len()].copy_from_slice(list);
        }
        let count: Vec<u32> = lists.iter().map(|l| l.len() as u32).collect();
        let (index, count) = (memory.alloc(&index), memory.alloc(&count));
        let row = p.kv_heads * p.d * 2;
        launch = launch
            .args([k, v, index, count].map(Arg::Buffer))
            .args([row, p.d * 2, row * p.keys, p.keys].map(|x| Arg::U32(x as u32)));
    }
    let result = launch.run(&mut memory, options);
    (ForwardRun { memory, out, lse }, result)
}

/// Runs the portable forward kernel (tiles of 64 by 64).
pub fn forward_sm80(
    module: &Module,
    p: &Problem,
    smem: u32,
    options: &Options,
) -> (ForwardRun, Result<Stats, Vec<Finding>>) {
    let mut memory = Memory::new();
    let (q, k, v) = (memory.alloc(&p.q), memory.alloc(&p.k), memory.alloc(&p.v));
    let out = memory.alloc_uninit::<bf16>(p.q.len());
    let lse = memory.alloc_uninit::<f32>(p.heads * p.queries);
    let name = module.entries().next().expect("one entry").name().to_owned();
    let (q_row, kv_row) = (p.heads * p.d * 2, p.kv_heads * p.d * 2);
    let result = Launch::new(module, &name)
        .grid([p.queries.div_ceil(64) as u32, p.heads as u32, 1])
        .dynamic_smem(smem)
        .block([128, 1, 1])
        .args([q, k, v, out, lse].map(Arg::Buffer))
        .arg(Arg::F32((p.scale() * LOG2_E) as f32))
        .args([p.queries, p.keys, p.heads, p.heads / p.kv_heads].map(|x| Arg::U32(x as u32)))
        .args([q_row, p.d * 2, q_row * p.queries].map(|x| Arg::U32(x as u32)))
        .args([kv_row, p.d * 2, kv_row * p.keys].map(|x| Arg::U32(x as u32)))
        .run(&mut memory, options);
    (ForwardRun { memory, out, lse }, result)
}

pub struct BackwardRun {
    memory: Memory,
    dq: Buffer,
    dk: Buffer,
    dv: Buffer,
}

impl BackwardRun {
    /// Relative errors of dQ, dK, dV.
    pub fn errors_against(&self, p: &Problem, want: &Backward) -> [f64; 3] {
        let rows = if p.d == 64 { 128 } else { 64 };
        let tiles = p.queries.div_ceil(rows);
        let raw = self.memory.read::<f32>(self.dq);
        let mut dq = vec![0.0; p.q.len()];
        // [head][tile][consumer][j][thread][element], as the kernel documents.
        let half = rows * p.d / 2;
        for (i, x) in raw.into_iter().enumerate() {
            let (tile, rest) = (i / (2 * half), i % (2 * half));
            let (head, tile) = (tile / tiles, tile % tiles);
            let (w, rest) = (rest / half, rest % half);
            let (j, rest) = (rest / 512, rest % 512);
            let (t, e) = (rest / 4, rest % 4);
            let r = 16 * (t / 32) + t % 32 / 4 + 8 * (e / 2);
            let c = 8 * j + 2 * (t % 4) + e % 2;
            let (row, column) = if p.d == 64 { (64 * w + r, c) } else { (r, 64 * w + c) };
            let row = tile * rows + row;
            if row < p.queries {
                dq[(row * p.heads + head) * p.d + column] = f64::from(x) * p.scale();
            }
        }
        let bf16s = |b| self.memory.read::<bf16>(b).into_iter().map(bf16::to_f64);
        [relative(dq, &want.dq), relative(bf16s(self.dk), &want.dk), relative(bf16s(self.dv), &want.dv)]
    }
}

/// Runs the backward kernel for Hopper.
pub fn backward_sm90(
    module: &Module,
    p: &Problem,
    (forward, backward): (&Forward, &Backward),
    smem: u32,
    options: &Options,
) -> (BackwardRun, Result<Stats, Vec<Finding>>) {
    let mut memory = Memory::new();
    let rows = if p.d == 64 { 128 } else { 64 };
    let tiles = p.queries.div_ceil(rows);
    let (lse, delta) = (&forward.lse, &backward.delta);
    let padded = |x: &[f64], pad: f32, factor: f64| -> Vec<f32> {
        let one = |h: usize, i: usize| {
            let inside = i < p.queries && x[h * p.queries + i].is_finite();
            if inside { (x[h * p.queries + i] * factor) as f32 } else { pad }
        };
        (0..p.heads).flat_map(|h| (0..tiles * rows).map(move |i| (h, i))).map(|(h, i)| one(h, i)).collect()
    };
    let lse = memory.alloc(&padded(lse, f32::INFINITY, LOG2_E));
    let delta = memory.alloc(&padded(delta, 0.0, 1.0));
    let (q, k, v) = (memory.alloc(&p.q), memory.alloc(&p.k), memory.alloc(&p.v));
    let dout = memory.alloc(&p.dout);
    let dk = memory.alloc_uninit::<bf16>(p.k.len());
    let dv = memory.alloc_uninit::<bf16>(p.v.len());
    let dq = memory.alloc(&vec![0f32; p.heads * tiles * rows * p.d]);
    let name = module.entries().next().expect("one entry").name().to_owned();
    let result = Launch::new(module, &name)
        .grid([p.keys.div_ceil(128) as u32, p.kv_heads as u32, 1])
        .dynamic_smem(smem)
        .arg(map(q, p.d, p.queries, p.heads, rows as u32))
        .arg(map(dout, p.d, p.queries, p.heads, rows as u32))
        .arg(map(k, p.d, p.keys, p.kv_heads, 128))
        .arg(map(v, p.d, p.keys, p.kv_heads, 128))
        .arg(map(dk, p.d, p.keys, p.kv_heads, 64))
        .arg(map(dv, p.d, p.keys, p.kv_heads, 64))
        .args([lse, delta, dq].map(Arg::Buffer))
        .args([p.scale(), p.scale() * LOG2_E].map(|x| Arg::F32(x as f32)))
        .args([p.queries, p.keys, p.heads, p.heads / p.kv_heads].map(|x| Arg::U32(x as u32)))
        .run(&mut memory, options);
    (BackwardRun { memory, dq, dk, dv }, result)
}
