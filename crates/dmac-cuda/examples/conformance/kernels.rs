//! Whole attention kernels, on both machines, against f64.
//!
//! Input → output: the attention samples of `dmac-ptx` on small problems with ragged ends, groups of heads, and rings that
//! wrap → a test each. The bounds are those of rounding to bf16: 3e-3 of the output's norm, 1e-5 for lse, 4e-3 for gradients.

use crate::Outcome;
use crate::attention::{Backward, Problem, relative, worst};
use crate::job::{Gpu, Job, JobArg};
use dmac_cuda::Error;
use dmac_ptx::samples::{self, Forward, Sample, Source};
use dmac_ptx_interp::conformance::Target;
use dmac_ptx_interp::{Memory, Swizzle, TensorElement, TensorMap};
use half::bf16;
use std::f64::consts::LOG2_E;

/// A test, ready to run.
pub type Test = Box<dyn Fn(&Gpu) -> Result<Outcome, Error>>;

/// Every kernel's test, with its name.
pub fn tests() -> Vec<(String, Test)> {
    let mut all: Vec<(String, Test)> = Vec::new();
    let mut add = |sample: Sample, p: Problem, target: Target, kind: Kind| {
        let name = format!("{} {}x{}", sample.kernel.name, p.queries, p.keys);
        all.push((
            name,
            Box::new(move |gpu| if gpu.has(target) { kind(gpu, &sample, &p) } else { Ok(Outcome::Skipped) }),
        ));
    };
    for (head_dim, causal, source, shape) in [
        (64, false, Source::Blocks, (200, 700)),
        (128, false, Source::Blocks, (130, 650)),
        (64, true, Source::Blocks, (300, 700)),
        // More queries than keys: the first rows attend nothing.
        (64, true, Source::Blocks, (300, 150)),
        (128, true, Source::Blocks, (520, 520)),
        (64, false, Source::Rows, (200, 650)),
        (128, false, Source::Rows, (300, 600)),
    ] {
        let mut p = Problem::new(head_dim as usize, shape, (2, 1), causal);
        if source == Source::Rows {
            p = p.with_lists(128);
        }
        add(samples::forward_sm90(Forward { head_dim, causal, source }), p, Target::Sm90a, forward_test);
    }
    for (d, causal, shape) in
        [(64, false, (130, 330)), (64, true, (200, 330)), (128, false, (70, 300)), (128, true, (150, 90))]
    {
        let p = Problem::new(d as usize, shape, (2, 1), causal);
        add(samples::forward_sm80(d, causal), p, Target::Sm80, forward_sm80_test);
    }
    for (d, causal, shape) in
        [(64, false, (600, 200)), (64, true, (600, 300)), (128, false, (300, 200)), (128, true, (300, 260))]
    {
        let p = Problem::new(d as usize, shape, (2, 1), causal);
        add(samples::backward_sm90(d, causal), p, Target::Sm90a, backward_test);
    }
    all
}

type Kind = fn(&Gpu, &Sample, &Problem) -> Result<Outcome, Error>;

/// A 4-D map (head size, sequence, head, batch of one) with boxes of 64 columns and `rows` rows.
pub fn map(buffer: usize, d: usize, n: usize, heads: usize, rows: u32) -> JobArg {
    let (d, n, h) = (d as u64, n as u64, heads as u64);
    let map = TensorMap {
        // Replaced by the real one when it is known.
        buffer: Memory::new().alloc(&[0u8]),
        offset: 0,
        element: TensorElement::Bf16,
        dims: vec![d, n, h, 1],
        strides: vec![h * d * 2, d * 2, n * h * d * 2],
        box_dims: vec![64, rows, 1, 1],
        swizzle: Swizzle::B128,
        nan_fill: false,
    };
    JobArg::Map(buffer, map)
}

fn le_bytes<const N: usize, T: Copy>(x: &[T], each: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    x.iter().flat_map(|v| each(*v)).collect()
}

/// The bytes of bf16 numbers.
pub fn bf16_bytes(x: &[bf16]) -> Vec<u8> {
    le_bytes(x, bf16::to_le_bytes)
}

fn f32_bytes(x: &[f32]) -> Vec<u8> {
    le_bytes(x, f32::to_le_bytes)
}

/// Numbers of a buffer of bf16.
pub fn bf16s(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64())
}

/// Numbers of a buffer of f32; NaN, which nothing here may hold, as an infinity that no comparison passes over.
pub fn f32s(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes
        .chunks_exact(4)
        .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        .map(|x| if x.is_nan() { f64::INFINITY } else { x })
}

/// Buffers 0 to 4 of the forward kernels: q, k, v, out, lse. Outputs start as NaN.
fn forward_buffers(p: &Problem) -> Vec<Vec<u8>> {
    vec![
        bf16_bytes(&p.q),
        bf16_bytes(&p.k),
        bf16_bytes(&p.v),
        vec![0xFF; p.q.len() * 2],
        vec![0xFF; p.heads * p.queries * 4],
    ]
}

fn sizes(p: &Problem) -> [JobArg; 4] {
    [p.queries, p.keys, p.heads, p.heads / p.kv_heads].map(|x| JobArg::U32(x as u32))
}

fn job(sample: &Sample, grid: [usize; 3], buffers: Vec<Vec<u8>>, args: Vec<JobArg>) -> Job {
    Job {
        ptx: sample.kernel.text(),
        entry: sample.kernel.name.clone(),
        grid: grid.map(|x| x as u32),
        threads: sample.threads,
        cluster: 1,
        smem: sample.kernel.shared_bytes(),
        buffers,
        args,
    }
}

/// A launch of the Hopper forward kernel, whose contract is in `samples::forward_sm90`.
pub fn forward(sample: &Sample, p: &Problem) -> Job {
    let mut buffers = forward_buffers(p);
    let mut args = vec![
        map(0, p.d, p.queries, p.heads, 128),
        map(1, p.d, p.keys, p.kv_heads, 128),
        map(2, p.d, p.keys, p.kv_heads, 128),
        map(3, p.d, p.queries, p.heads, 64),
        JobArg::Buffer(4),
        JobArg::F32((p.scale() * LOG2_E) as f32),
    ];
    args.extend(sizes(p));
    if let Some((_, lists)) = &p.lists {
        let mut index = vec![0u32; lists.len() * p.keys];
        for (to, list) in index.chunks_mut(p.keys).zip(lists) {
            to[..list.len()].copy_from_slice(list);
        }
        let count: Vec<u32> = lists.iter().map(|l| l.len() as u32).collect();
        buffers.push(le_bytes(&index, u32::to_le_bytes));
        buffers.push(le_bytes(&count, u32::to_le_bytes));
        let row = p.kv_heads * p.d * 2;
        args.extend([1, 2, 5, 6].map(JobArg::Buffer));
        args.extend([row, p.d * 2, row * p.keys, p.keys].map(|x| JobArg::U32(x as u32)));
    }
    job(sample, [p.queries.div_ceil(128), p.heads, 1], buffers, args)
}

fn forward_test(gpu: &Gpu, sample: &Sample, p: &Problem) -> Result<Outcome, Error> {
    judge_forward(gpu, p, &forward(sample, p))
}

fn forward_sm80_test(gpu: &Gpu, sample: &Sample, p: &Problem) -> Result<Outcome, Error> {
    let (q_row, kv_row) = (p.heads * p.d * 2, p.kv_heads * p.d * 2);
    let mut args: Vec<JobArg> = (0..5).map(JobArg::Buffer).collect();
    args.push(JobArg::F32((p.scale() * LOG2_E) as f32));
    args.extend(sizes(p));
    let pitches = [q_row, p.d * 2, q_row * p.queries, kv_row, p.d * 2, kv_row * p.keys];
    args.extend(pitches.map(|x| JobArg::U32(x as u32)));
    let grid = [p.queries.div_ceil(64), p.heads, 1];
    judge_forward(gpu, p, &job(sample, grid, forward_buffers(p), args))
}

fn judge_forward(gpu: &Gpu, p: &Problem, job: &Job) -> Result<Outcome, Error> {
    let want = p.forward();
    both(gpu, job, &["out", "lse"], &[3e-3, 1e-5], |after| {
        vec![relative(bf16s(&after[3]), &want.out), worst(f32s(&after[4]), &want.lse)]
    })
}

fn backward_test(gpu: &Gpu, sample: &Sample, p: &Problem) -> Result<Outcome, Error> {
    let (forward, want) = (p.forward(), p.backward());
    let rows = if p.d == 64 { 128 } else { 64 };
    let tiles = p.queries.div_ceil(rows);
    let padded = |x: &[f64], pad: f32, factor: f64| -> Vec<u8> {
        let one = |h: usize, i: usize| {
            let inside = i < p.queries && x[h * p.queries + i].is_finite();
            if inside { (x[h * p.queries + i] * factor) as f32 } else { pad }
        };
        let all = (0..p.heads).flat_map(|h| (0..tiles * rows).map(move |i| (h, i)));
        f32_bytes(&all.map(|(h, i)| one(h, i)).collect::<Vec<_>>())
    };
    let buffers = vec![
        bf16_bytes(&p.q),
        bf16_bytes(&p.dout),
        bf16_bytes(&p.k),
        bf16_bytes(&p.v),
        vec![0xFF; p.k.len() * 2],
        vec![0xFF; p.v.len() * 2],
        padded(&forward.lse, f32::INFINITY, LOG2_E),
        padded(&want.delta, 0.0, 1.0),
        f32_bytes(&vec![0.0; p.heads * tiles * rows * p.d]),
    ];
    let mut args = vec![
        map(0, p.d, p.queries, p.heads, rows as u32),
        map(1, p.d, p.queries, p.heads, rows as u32),
        map(2, p.d, p.keys, p.kv_heads, 128),
        map(3, p.d, p.keys, p.kv_heads, 128),
        map(4, p.d, p.keys, p.kv_heads, 64),
        map(5, p.d, p.keys, p.kv_heads, 64),
    ];
    args.extend([6, 7, 8].map(JobArg::Buffer));
    args.extend([p.scale(), p.scale() * LOG2_E].map(|x| JobArg::F32(x as f32)));
    args.extend(sizes(p));
    let job = job(sample, [p.keys.div_ceil(128), p.kv_heads, 1], buffers, args);
    both(gpu, &job, &["dq", "dk", "dv"], &[4e-3; 3], |after| gradient_errors(p, &want, after))
}

/// Relative errors of dQ, dK, dV. The kernel leaves dQ as (head, tile, consumer, j, thread, element) of the accumulators.
fn gradient_errors(p: &Problem, want: &Backward, after: &[Vec<u8>]) -> Vec<f64> {
    let rows = if p.d == 64 { 128 } else { 64 };
    let (tiles, half) = (p.queries.div_ceil(rows), rows * p.d / 2);
    let mut dq = vec![0.0; p.q.len()];
    for (i, x) in f32s(&after[8]).enumerate() {
        let (head, tile) = (i / (2 * half) / tiles, i / (2 * half) % tiles);
        let (consumer, j) = (i / half % 2, i % half / 512);
        let (thread, e) = (i % 512 / 4, i % 4);
        let r = 16 * (thread / 32) + thread % 32 / 4 + 8 * (e / 2);
        let c = 8 * j + 2 * (thread % 4) + e % 2;
        let (row, column) = if p.d == 64 { (64 * consumer + r, c) } else { (r, 64 * consumer + c) };
        let row = tile * rows + row;
        if row < p.queries {
            dq[(row * p.heads + head) * p.d + column] = x * p.scale();
        }
    }
    vec![relative(dq, &want.dq), relative(bf16s(&after[4]), &want.dk), relative(bf16s(&after[5]), &want.dv)]
}

/// Runs a job on both; `errors` gives the errors of the named results, which stay below the bounds.
fn both(
    gpu: &Gpu,
    job: &Job,
    names: &[&str],
    bounds: &[f64],
    errors: impl Fn(&[Vec<u8>]) -> Vec<f64>,
) -> Result<Outcome, Error> {
    let interpreted = match job.interpret() {
        Ok(after) => after,
        Err(message) => return Ok(Outcome::Differ(message)),
    };
    let (got, resources) = job.run(gpu)?;
    let (ours, theirs) = (errors(&interpreted), errors(&got));
    let list = |e: &[f64]| {
        let each: Vec<String> = names.iter().zip(e).map(|(n, e)| format!("{n} {e:.1e}")).collect();
        each.join(" ")
    };
    let bytes = interpreted.iter().zip(&got).flat_map(|(a, b)| a.iter().zip(b));
    let (same, all) = bytes.fold((0u64, 0u64), |(s, n), (a, b)| (s + u64::from(a == b), n + 1));
    let note = format!(
        "error on the GPU {}, in the interpreter {}; {:.2} % of all bytes equal; {} registers, {} bytes of local memory",
        list(&theirs),
        list(&ours),
        same as f64 / all as f64 * 100.0,
        resources.registers,
        resources.local_bytes
    );
    let good = |e: &[f64]| e.iter().zip(bounds).all(|(e, bound)| e < bound);
    // A kernel for just this GPU must not spill; one for an older target is assembled for this one as the driver pleases.
    let native = job.ptx.contains(".target sm_90a");
    Ok(if good(&ours) && good(&theirs) && (resources.local_bytes == 0 || !native) {
        Outcome::Agree(note)
    } else {
        Outcome::Differ(note)
    })
}
