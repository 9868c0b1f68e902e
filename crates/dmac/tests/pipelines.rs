//! Warp specialisation never changes the meaning: for random legal schedules and every order of events, the specialised
//! tile program of each library program agrees with what its graph means.

use dmac::schedule::Reads;
use dmac::{Compiled, Options, Schedule, SourceFile, Storage, compile};
use dmac_interp::{Inputs, evaluate, kernel, random_inputs_with};
use dmac_schedule::pipeline::{GROUP_ROWS, Pipeline, specialised};
use dmac_schedule::target;
use std::collections::BTreeMap;

/// What a program is compiled and run with.
struct Case {
    sizes: &'static [(&'static str, i64)],
    pins: &'static [(&'static str, i64)],
    /// How many of its kernels have the structure.
    specialised: usize,
}

fn compiled(name: &str, case: &Case, schedule: Schedule) -> Compiled {
    let path = format!("{}/../../dsl/std/{name}.dmac", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the library has the program");
    let mut options = Options::native(16, Storage::F16);
    // The test specialises by itself, with every number of stages and groups.
    options.target = dmac::Target { warpgroups: false, ..target::SM_90A };
    options.value_dim = Some(8);
    options.schedule = Some(schedule);
    options.defines =
        case.pins.iter().map(|(name, value)| ((*name).into(), dmac::ParamNumber::Int(*value))).collect();
    compile(&SourceFile::new(name, text), &options, &mut |_, _| {})
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The program with every kernel that has the structure specialised; how many have.
fn specialise(compiled: &mut Compiled, stages: usize, consumers: usize) -> usize {
    let pipeline = Pipeline { consumers, stages, producer_registers: 40, consumer_registers: 152 };
    let mut count = 0;
    for at in 0..compiled.program.kernels.len() {
        let kernel = &compiled.program.kernels[at];
        if let Some(kernel) = specialised(&compiled.program, kernel, Some(pipeline), usize::MAX) {
            compiled.program.kernels[at] = kernel;
            count += 1;
        }
    }
    dmac_schedule::kernel::verify(&compiled.program)
        .unwrap_or_else(|message| panic!("{message}\n{}", compiled.program));
    count
}

fn agree(name: &str, seed: u64, compiled: &Compiled, inputs: &Inputs) {
    let options = dmac_interp::Options::default();
    let wanted =
        evaluate(&compiled.meaning, inputs, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
    let stored = kernel::execute(&compiled.program, &compiled.meaning, inputs, seed)
        .unwrap_or_else(|error| panic!("{name}: {error}\n{}", compiled.program));
    for output in &wanted.tensors {
        let found = stored.iter().find(|tensor| tensor.name == output.name).expect("an output is stored");
        for (index, (want, got)) in output.data.iter().zip(&found.data).enumerate() {
            let got = got.unwrap_or_else(|| panic!("{name}: {}[{index}] was not written", output.name));
            // Weights and results are rounded to half precision.
            let near = *want == got || (want - got).abs() <= 4e-3 * (1.0 + want.abs());
            assert!(near, "{name}: {}[{index}] is {got}, not {want}\n{}", output.name, compiled.program);
        }
    }
}

fn check(name: &str, case: &Case) {
    for (seed, (consumers, kv_tile, stages)) in [(2, 16, 2), (1, 7, 3), (3, 24, 2)].into_iter().enumerate() {
        let schedule = Schedule {
            q_tile: consumers * GROUP_ROWS,
            kv_tile,
            k_tile: 16,
            select_tile: 16,
            head_tile: 4,
            scale_products: true,
            parallel_selection: false,
            fused_softmax: false,
            kv_align: 1,
            listed_tiles: 3,
            reads: Reads::ByVector,
        };
        let mut compiled = compiled(name, case, schedule);
        let count = specialise(&mut compiled, stages, consumers);
        assert_eq!(count, case.specialised, "{name}\n{}", compiled.program);
        let mut sizes: BTreeMap<String, i64> =
            [("B", 1), ("H", 2), ("G", 1), ("M", 150), ("N", 90 + 31 * seed as i64)]
                .iter()
                .chain(case.sizes)
                .map(|(name, size)| ((*name).to_owned(), *size))
                .collect();
        sizes.retain(|size, _| compiled.meaning.axes.iter().any(|axis| axis.name == *size));
        let params: Vec<_> = compiled.meaning.params.iter().map(|param| param.default).collect();
        let seed = seed as u64;
        let inputs = random_inputs_with(&compiled.meaning, &sizes, params, dmac_interp::Storage::F16, seed)
            .expect("sizes fit");
        agree(name, seed, &compiled, &inputs);
        let ragged = Inputs { kv_len: Some(vec![sizes["N"] - 40]), ..inputs };
        agree(name, seed + 10, &compiled, &ragged);
    }
}

macro_rules! programs {
    ($($name:ident $count:expr, $sizes:expr, $pins:expr;)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), &Case { sizes: $sizes, pins: $pins, specialised: $count });
        })*
    };
}

programs! {
    full 1, &[], &[];
    causal 1, &[], &[];
    sliding_window 1, &[], &[("window", 30)];
    alibi 1, &[], &[];
    softcap 1, &[], &[];
    document 1, &[], &[];
    dma 1, &[], &[("w", 25)];
    nsa 2, &[], &[("l", 4), ("stride", 2), ("block", 8), ("n", 4), ("window", 9)];
    indexed 0, &[("x", 3), ("f", 8)], &[];
    low_rank 1, &[], &[("r", 20)];
}
