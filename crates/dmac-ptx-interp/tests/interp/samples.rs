//! Whole attention kernels, written with the typed assembler, run clean and within the error of bf16.
//!
//! Shapes wrap every ring of two stages at least twice, have at least two query tiles, ragged tails, groups of heads,
//! and skipped, partial and full blocks.

use crate::attention::Problem;
use crate::launches::{ForwardErrors, backward_sm90, forward_sm80, forward_sm90, seeded};
use dmac_ptx::samples::{self, Forward, Sample, Source};
use dmac_ptx_interp::{Finding, Module, parse};

pub fn module(sample: &Sample) -> (Module, u32) {
    let text = sample.kernel.text();
    let module = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", sample.kernel.name));
    (module, sample.kernel.shared_bytes())
}

pub fn clean<T>(result: Result<T, Vec<Finding>>) -> T {
    result.unwrap_or_else(|f| {
        let list: Vec<String> = f.iter().map(ToString::to_string).collect();
        panic!("{}", list.join("\n"))
    })
}

fn within(e: ForwardErrors) {
    assert!(e.out < 3e-3 && e.lse < 1e-5 && e.unwritten == 0, "{e:?}");
}

fn hopper(head_dim: u32, causal: bool, source: Source, shape: (usize, usize)) {
    let (module, smem) = module(&samples::forward_sm90(Forward { head_dim, causal, source }));
    let mut p = Problem::new(head_dim as usize, shape, (2, 1), causal);
    if source == Source::Rows {
        p = p.with_lists(128);
    }
    let want = p.forward();
    for seed in 0..2 {
        let (run, result) = forward_sm90(&module, &p, smem, &seeded(seed));
        clean(result);
        within(run.errors_against(&want));
    }
}

#[test]
fn dense_forward_on_hopper() {
    hopper(64, false, Source::Blocks, (200, 700));
    hopper(128, false, Source::Blocks, (130, 650));
}

#[test]
fn causal_forward_on_hopper() {
    hopper(64, true, Source::Blocks, (300, 700));
    hopper(128, true, Source::Blocks, (520, 520));
    // More queries than keys: the first rows attend nothing.
    hopper(64, true, Source::Blocks, (300, 150));
}

#[test]
fn gathered_forward_on_hopper() {
    hopper(64, false, Source::Rows, (200, 650));
    hopper(128, false, Source::Rows, (300, 600));
}

#[test]
fn forward_on_ampere() {
    for (d, causal, shape) in
        [(64, false, (130, 330)), (64, true, (200, 330)), (128, false, (70, 300)), (128, true, (150, 90))]
    {
        let (module, smem) = module(&samples::forward_sm80(d, causal));
        let p = Problem::new(d as usize, shape, (2, 1), causal);
        let want = p.forward();
        for seed in 0..2 {
            let (run, result) = forward_sm80(&module, &p, smem, &seeded(seed));
            clean(result);
            within(run.errors_against(&want));
        }
    }
}

#[test]
fn backward_on_hopper() {
    for (d, causal, shape) in
        [(64, false, (600, 200)), (64, true, (600, 300)), (128, false, (300, 200)), (128, true, (300, 260))]
    {
        let (module, smem) = module(&samples::backward_sm90(d, causal));
        let p = Problem::new(d as usize, shape, (2, 1), causal);
        let (forward, want) = (p.forward(), p.backward());
        let (run, result) = backward_sm90(&module, &p, (&forward, &want), smem, &seeded(1));
        clean(result);
        let errors = run.errors_against(&p, &want);
        assert!(errors.iter().all(|e| *e < 4e-3), "d {d} causal {causal}: {errors:?}");
    }
}

/// One head of 1024 × 1024 × 64 on one core, every access checked. The bound is what the interpreter promises; it takes
/// a fraction of it.
#[test]
fn a_whole_head_takes_seconds() {
    let (module, smem) =
        module(&samples::forward_sm90(Forward { head_dim: 64, causal: false, source: Source::Blocks }));
    let p = Problem::new(64, (1024, 1024), (1, 1), false);
    let start = std::time::Instant::now();
    let (_, result) = forward_sm90(&module, &p, smem, &seeded(0));
    let stats = clean(result);
    assert!(stats.instructions > 100_000 && start.elapsed().as_secs_f64() < 3.0, "{:?}", start.elapsed());
}
