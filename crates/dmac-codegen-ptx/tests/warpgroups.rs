//! Warp-specialised kernels for Hopper, executed by the PTX interpreter, agree with what the graph means.

#[path = "support/device.rs"]
mod device;

use device::Device;
use dmac_codegen_ptx::{Target, compile};
use dmac_interp::{Inputs, evaluate, random_inputs_with};
use dmac_ir::Graph;
use dmac_schedule::kernel::{Program, Storage};
use dmac_schedule::{Schedule, target};
use std::collections::BTreeMap;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// D, E.
    features: (i64, i64),
    /// Rows of a query tile, keys of a tile.
    tiles: (usize, usize),
    storage: Storage,
    sizes: &'static [(&'static str, i64)],
    pins: &'static [(&'static str, i64)],
    /// How much shorter each batch element is than N.
    shorter: Option<i64>,
}

const CASE: Case = Case {
    name: "full",
    features: (64, 64),
    tiles: (128, 64),
    storage: Storage::Bf16,
    sizes: &[("B", 1), ("H", 2), ("G", 1), ("M", 150), ("N", 300)],
    pins: &[],
    shorter: None,
};

fn lowered(case: &Case) -> (Graph, Program) {
    let path = format!("{}/../../dsl/std/{}.dmac", env!("CARGO_MANIFEST_DIR"), case.name);
    let text = std::fs::read_to_string(path).expect("the library has the program");
    let (features, (q_tile, kv_tile)) = (case.features, case.tiles);
    let schedule = Schedule { q_tile, kv_tile, ..Schedule::choose(&target::SM_90A, features.0, features.1) };
    let mut options = dmac::Options::native(features.0, case.storage);
    options.target = target::SM_90A;
    options.value_dim = Some(features.1);
    options.schedule = Some(schedule);
    options.defines =
        case.pins.iter().map(|(name, value)| ((*name).into(), dmac::ParamNumber::Int(*value))).collect();
    let source = dmac::SourceFile::new(case.name, text);
    let compiled =
        dmac::compile(&source, &options, &mut |_, _| {}).unwrap_or_else(|errors| panic!("{errors:?}"));
    let program = compiled.program;
    let specialised = program.kernels.iter().find(|kernel| !kernel.barriers.is_empty());
    assert!(specialised.is_some_and(|kernel| kernel.name.starts_with("attend")), "{program}");
    (compiled.meaning, program)
}

fn check(case: &Case) {
    let (meaning, program) = lowered(case);
    let ptx = compile(&program, Target::Sm90a).unwrap_or_else(|error| panic!("{error:?}\n{program}"));
    let mut sizes: BTreeMap<String, i64> =
        case.sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
    sizes.retain(|size, _| meaning.axes.iter().any(|axis| axis.name == *size));
    let params = meaning.params.iter().map(|param| param.default).collect();
    let rounding = match case.storage {
        Storage::F32 => dmac_interp::Storage::F32,
        Storage::F16 => dmac_interp::Storage::F16,
        Storage::Bf16 => dmac_interp::Storage::Bf16,
    };
    let inputs = random_inputs_with(&meaning, &sizes, params, rounding, 5).expect("sizes fit");
    let kv_len = case.shorter.map(|by| (0..sizes["B"]).map(|b| (sizes["N"] - by * (b + 1)).max(0)).collect());
    let inputs = Inputs { kv_len, ..inputs };
    let shape = inputs.shape(&meaning).expect("inputs fit");
    let sizes: BTreeMap<String, i64> =
        ptx.sizes.iter().map(|size| (size.name.clone(), shape.size(size.axis))).collect();
    let wanted = evaluate(&meaning, &inputs, &dmac_interp::Options::default()).expect("inputs fit");
    let mut device = Device::new(&ptx, &sizes, &inputs);
    device.run(3);
    for output in &wanted.tensors {
        let found = device.output(&output.name);
        for (index, (want, got)) in output.data.iter().zip(&found).enumerate() {
            // Weights and results are rounded to the storage type.
            let near = want == got || (want - got).abs() <= 1.6e-2 * (1.0 + want.abs());
            assert!(near, "{}: {}[{index}] is {got}, not {want}\n{program}", case.name, output.name);
        }
    }
}

#[test]
fn full() {
    check(&CASE);
}

#[test]
fn causal() {
    check(&Case { name: "causal", sizes: &[("B", 2), ("H", 1), ("G", 1), ("M", 200), ("N", 210)], ..CASE });
}

#[test]
fn masks_and_scores() {
    let sizes: &[(&str, i64)] = &[("B", 1), ("H", 1), ("G", 1), ("M", 200), ("N", 210)];
    let case = Case { sizes, tiles: (64, 32), ..CASE };
    check(&Case { name: "alibi", ..case });
    check(&Case { name: "softcap", storage: Storage::F16, ..case });
    check(&Case { name: "sliding_window", pins: &[("window", 40)], ..case });
    check(&Case { name: "document", ..case });
}

#[test]
fn lifetimes_gather_rows_and_vectors() {
    let sizes = &[("B", 1), ("H", 2), ("G", 1), ("M", 150), ("N", 170)];
    check(&Case { name: "dma", sizes, pins: &[("w", 40)], tiles: (128, 32), shorter: Some(30), ..CASE });
}

#[test]
fn branches_and_projections() {
    let sizes = &[("B", 1), ("H", 2), ("G", 1), ("M", 70), ("N", 90), ("r", 3)];
    let pins = &[("l", 8), ("stride", 4), ("block", 16), ("n", 3), ("window", 20)];
    check(&Case { name: "nsa", sizes, pins, tiles: (64, 32), ..CASE });
    check(&Case { name: "low_rank", sizes, pins: &[("r", 40)], tiles: (64, 32), ..CASE });
}

#[test]
fn features_of_many_sizes() {
    let sizes = &[("B", 1), ("H", 1), ("G", 1), ("M", 100), ("N", 180)];
    for (features, tiles) in
        [((72, 72), (64, 48)), ((96, 40), (128, 32)), ((192, 128), (128, 32)), ((16, 256), (192, 16))]
    {
        check(&Case { name: "causal", sizes, features, tiles, shorter: Some(7), ..CASE });
    }
}
