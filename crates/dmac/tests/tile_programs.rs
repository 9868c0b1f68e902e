//! Every program of the library: its tile program, interpreted, agrees with what its graph means.

use dmac::schedule::Reads;
use dmac::{Attention, Options, Schedule, SourceFile, Storage, compile};
use dmac_interp::{Data, Inputs, evaluate, kernel, random_inputs_with};
use dmac_ir::ParamValue;
use std::collections::BTreeMap;

/// Sizes, and parameters as the program names them.
struct Case {
    sizes: &'static [(&'static str, i64)],
    params: &'static [(&'static str, i64)],
}

const CASES: &[Case] = &[
    Case { sizes: &[("B", 2), ("H", 4), ("G", 2), ("M", 70), ("N", 70)], params: &[("w", 5), ("window", 9)] },
    Case {
        sizes: &[("B", 1), ("H", 3), ("G", 1), ("M", 13), ("N", 81)],
        params: &[("w", 20), ("window", 30)],
    },
    Case { sizes: &[("B", 1), ("H", 2), ("G", 2), ("M", 20), ("N", 7)], params: &[("w", 0), ("window", 3)] },
    Case {
        sizes: &[("B", 1), ("H", 1), ("M", 1), ("N", 33)],
        params: &[("w", 40), ("sink", 2), ("window", 4)],
    },
    Case { sizes: &[("B", 1), ("H", 2), ("M", 5), ("N", 0)], params: &[] },
];

fn check(name: &str, extra: &[(&str, i64)], pins: &[(&str, i64)]) {
    let path = format!("{}/../../dsl/std/{name}.dmac", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the library has the program");
    let source = SourceFile::new(name, text);
    let mut options = Options::native(16, Storage::F32);
    options.value_dim = Some(8);
    options.defines =
        pins.iter().map(|(name, value)| ((*name).into(), dmac::ParamNumber::Int(*value))).collect();
    let compiled = compile(&source, &options, &mut |_, _| {}).unwrap_or_else(|errors| panic!("{errors:?}"));
    let native = Attention::from_source(&source, &options).unwrap_or_else(|errors| panic!("{errors:?}"));
    for (at, case) in CASES.iter().enumerate() {
        let mut sizes: BTreeMap<String, i64> =
            case.sizes.iter().chain(extra).map(|(name, size)| ((*name).to_owned(), *size)).collect();
        sizes.entry("G".into()).or_insert(case.sizes[1].1);
        let params = compiled.meaning.params.iter().map(|param| {
            let given = case.params.iter().find(|(name, _)| *name == param.name);
            given.map_or(param.default, |(_, value)| ParamValue::Int(*value))
        });
        let inputs = random_inputs_with(
            &compiled.meaning,
            &sizes,
            params.collect(),
            dmac_interp::Storage::F32,
            at as u64,
        )
        .expect("sizes fit");
        agree(name, at, &compiled, &inputs);
        run(name, at, &native, &inputs);
        if compiled.meaning.inputs.len() >= 3 && sizes["N"] > 3 {
            let lengths = (0..sizes["B"]).map(|b| (sizes["N"] - 3 * b - 1).max(0)).collect();
            let ragged = Inputs { kv_len: Some(lengths), ..inputs };
            agree(name, at, &compiled, &ragged);
            run(name, at, &native, &ragged);
        }
    }
}

fn agree(name: &str, case: usize, compiled: &dmac::Compiled, inputs: &Inputs) {
    let context = || format!("{name}, case {case}, lengths {:?}", inputs.kv_len);
    let wanted = evaluate(&compiled.meaning, inputs, &dmac_interp::Options::default())
        .unwrap_or_else(|error| panic!("{}: {error}", context()));
    let passed = evaluate(
        &compiled.graph,
        inputs,
        &dmac_interp::Options {
            tiles: compiled.graph.vars.iter().map(|var| (var.axis, 8)).collect(),
            ..Default::default()
        },
    )
    .unwrap_or_else(|error| panic!("{} after the passes: {error}", context()));
    let stored = kernel::execute(&compiled.program, &compiled.meaning, inputs, 7)
        .unwrap_or_else(|error| panic!("{}: {error}\n{}", context(), compiled.program));
    for output in &wanted.tensors {
        let other = passed.get(&output.name).expect("passes keep outputs");
        let found = stored.iter().find(|tensor| tensor.name == output.name).expect("an output is stored");
        assert_eq!(found.dims, output.dims, "{}: {}", context(), output.name);
        for (index, (want, got)) in output.data.iter().zip(&found.data).enumerate() {
            let pass = other.data[index];
            let near = |got: f64| *want == got || (want - got).abs() <= 2e-5 * (1.0 + want.abs());
            assert!(
                near(pass),
                "{}: {}[{index}] is {pass} after the passes, not {want}\n{}",
                context(),
                output.name,
                compiled.graph
            );
            let got = got.unwrap_or_else(|| {
                panic!("{}: {}[{index}] was not written\n{}", context(), output.name, compiled.program)
            });
            assert!(
                near(got),
                "{}: {}[{index}] is {got}, not {want}\n{}",
                context(),
                output.name,
                compiled.program
            );
        }
    }
    assert!(
        inputs
            .tensors
            .iter()
            .all(|tensor| !matches!(&tensor.data, Data::F32(data) if data.iter().any(|x| x.is_nan())))
    );
}

fn run(name: &str, case: usize, native: &Attention, inputs: &Inputs) {
    let verdict = dmac::verify(native, inputs, &dmac_interp::Rows::All)
        .unwrap_or_else(|error| panic!("{name}, case {case}: {error}"));
    assert!(verdict.passes(), "{name}, case {case}, lengths {:?}: {verdict:?}", inputs.kv_len);
}

/// Lifetimes and lists by many threads mean what those of one thread mean: with documents, whose ids rise or come back,
/// with keys that are kept, and with keys that enter late.
#[test]
fn parallel_selections_mean_the_same() {
    let sizes = [("B", 2), ("H", 4), ("G", 2), ("M", 43), ("N", 43)];
    let sizes: BTreeMap<String, i64> = sizes.map(|(name, size)| (name.into(), size)).into();
    for name in ["dma", "dma_document", "dma_per_head", "dma_window"] {
        let path = format!("{}/../../dsl/std/{name}.dmac", env!("CARGO_MANIFEST_DIR"));
        let source =
            SourceFile::new(name, std::fs::read_to_string(path).expect("the library has the program"));
        let mut options = Options::native(8, Storage::F32);
        let schedule = Schedule::choose(&dmac::schedule::target::SM_80, 8, 8);
        options.schedule = Some(Schedule { q_tile: 5, kv_tile: 8, ..schedule });
        options.defines = [("w", 6), ("window", 9), ("sink", 2)]
            .map(|(name, value)| (name.into(), dmac::ParamNumber::Int(value)))
            .into_iter()
            .filter(|(param, _): &(String, _)| *param == "w" || name == "dma_window")
            .collect();
        let compiled =
            compile(&source, &options, &mut |_, _| {}).unwrap_or_else(|errors| panic!("{errors:?}"));
        for seed in 0..3 {
            let graph = &compiled.meaning;
            let params = graph.params.iter().map(|param| param.default).collect();
            let mut inputs = random_inputs_with(graph, &sizes, params, dmac_interp::Storage::F32, seed)
                .expect("sizes fit");
            agree(name, seed as usize, &compiled, &inputs);
            inputs.kv_len = Some(vec![40, 43]);
            agree(name, seed as usize, &compiled, &inputs);
        }
    }
}

/// The schedule never changes the meaning: tiles of odd sizes give the same results.
#[test]
fn any_schedule_means_the_same() {
    let schedules = [(1, 1, 1, 1, 1), (3, 5, 7, 2, 2), (64, 16, 8, 5, 3), (17, 33, 4, 9, 16)];
    let sizes: BTreeMap<String, i64> = [("B", 1), ("H", 4), ("G", 2), ("N", 41), ("f", 8), ("x", 2)]
        .map(|(name, size)| (name.into(), size))
        .into();
    for name in ["sliding_window_sinks", "document", "dma", "nsa", "indexed", "low_rank"] {
        for (q_tile, kv_tile, k_tile, select_tile, head_tile) in schedules {
            let path = format!("{}/../../dsl/std/{name}.dmac", env!("CARGO_MANIFEST_DIR"));
            let source =
                SourceFile::new(name, std::fs::read_to_string(path).expect("the library has the program"));
            let mut options = Options::native(16, Storage::F32);
            let scale_products = q_tile % 2 == 1;
            let (fused_softmax, kv_align) = (q_tile > 3, k_tile);
            options.schedule = Some(Schedule {
                q_tile,
                kv_tile,
                k_tile,
                select_tile,
                head_tile,
                scale_products,
                parallel_selection: false,
                fused_softmax,
                kv_align,
                listed_tiles: if scale_products { 3 } else { 0 },
                reads: if scale_products { Reads::ByVector } else { Reads::ByPair },
            });
            let pins: &[(&str, i64)] = match name {
                "nsa" => &[("l", 4), ("stride", 2), ("block", 8), ("n", 3), ("window", 9)],
                "low_rank" => &[("r", 6)],
                "sliding_window_sinks" => &[("window", 9)],
                "document" => &[],
                "indexed" => &[("n", 7)],
                _ => &[("w", 7)],
            };
            options.defines =
                pins.iter().map(|(name, value)| ((*name).into(), dmac::ParamNumber::Int(*value))).collect();
            let native =
                Attention::from_source(&source, &options).unwrap_or_else(|errors| panic!("{errors:?}"));
            let mut all = sizes.clone();
            all.retain(|size, _| native.compiled().meaning.axes.iter().any(|axis| axis.name == *size));
            let graph = &native.compiled().meaning;
            let params = graph.params.iter().map(|param| param.default).collect();
            let inputs =
                random_inputs_with(graph, &all, params, dmac_interp::Storage::F32, 3).expect("sizes fit");
            agree(name, q_tile, native.compiled(), &inputs);
            run(name, q_tile, &native, &inputs);
        }
    }
}

macro_rules! programs {
    ($($name:ident $(, $sizes:expr, $pins:expr)?;)*) => {
        $(#[test]
        fn $name() {
            #[allow(unused_mut, unused_assignments)]
            let (mut sizes, mut pins): (&[(&str, i64)], &[(&str, i64)]) = (&[], &[]);
            $((sizes, pins) = ($sizes, $pins);)?
            check(stringify!($name), sizes, pins);
        })*
    };
}

programs! {
    full;
    causal;
    sliding_window;
    sliding_window_sinks;
    two_sided_window;
    prefix_lm;
    document_window;
    t5;
    sink_logits;
    sigmoid;
    differential;
    cosine;
    longformer;
    bigbird, &[("r", 2)], &[("block", 9)];
    mla;
    alibi;
    softcap;
    document;
    dma;
    nsa, &[("r", 3)], &[("l", 4), ("stride", 2), ("block", 8), ("n", 4)];
    indexed, &[("x", 3), ("f", 8)], &[];
    low_rank, &[], &[("r", 6)];
}
