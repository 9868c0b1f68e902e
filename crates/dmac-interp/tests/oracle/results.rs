//! Normalisations, plain arithmetic, comparison with limits, and refusals of inputs that do not fit.

use crate::build::{Program, Random, Sizes, inputs};
use crate::plain::{assert_close, floats};
use dmac_interp::{Arithmetic, Comparison, Inputs, Limit, Options, Rows, Shape, Storage, Tensor, evaluate};
use dmac_ir::{Axis, AxisKind, Elem, Field, Graph, Normalize, ParamValue, Size};

const SIZES: Sizes = Sizes { b: 1, h: 2, g: 1, m: 6, n: 8, d: 4, e: 8 };

fn causal() -> Graph {
    let mut program = Program::new();
    let terms = [program.exists(), program.causal()];
    program.softmax(&terms)
}

#[test]
fn sigmoid_and_relu_weigh_each_key_alone() {
    for (normalize, weight) in [
        (Normalize::Sigmoid, (|s: f64| 1.0 / (1.0 + (-s).exp())) as fn(f64) -> f64),
        (Normalize::Relu, |s: f64| s.max(0.0)),
    ] {
        let mut program = Program::new();
        let (score, causal) = (program.score(), program.causal());
        let attention = program.attend(normalize, score, None, &[causal]);
        let graph = program.finish(attention, &[("out", Field::Out), ("prob", Field::Prob)]);
        let sizes = Sizes { m: 10, ..SIZES };
        let inputs = inputs(&graph, sizes, 3, vec![]);
        let outputs = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
        let (q, k, v) = (floats(&inputs.tensors[0]), floats(&inputs.tensors[1]), floats(&inputs.tensors[2]));
        let mut out = Vec::new();
        for h in 0..2 {
            for row in 0..10 {
                for e in 0..8 {
                    let term = |j: usize| {
                        let dot: f64 = (0..4)
                            .map(|d| f64::from(q[(h * 10 + row) * 4 + d]) * f64::from(k[j * 4 + d]))
                            .sum();
                        weight(dot / 2.0) * f64::from(v[j * 8 + e])
                    };
                    out.push((0..8).filter(|&j| j as i64 <= row as i64 - 2).map(term).sum());
                }
            }
        }
        assert_close(&outputs.tensors[0].data, &out, 1e-12);
        let prob = &outputs.tensors[1];
        assert_eq!(prob.dims, [1, 2, 10, 8]);
        assert!(prob.data[..16].iter().all(|&p| p == 0.0), "unattended keys have no weight");
    }
}

#[test]
fn rows_without_mass_are_zero_and_nan_spreads() {
    let graph = causal();
    let mut inputs = inputs(&graph, SIZES, 4, vec![]);
    let minus = |x: f32| if x > 0.0 { f32::NEG_INFINITY } else { f32::INFINITY };
    // Row 0 of head 0: all scores -inf. Row 1: a NaN.
    let keys: Vec<f32> = (0..8).flat_map(|_| [1.0, 0.0, 0.0, 0.0]).collect();
    inputs.tensors[1] = Tensor::f32(&[1, 1, 8, 4], keys);
    let mut queries = Random::new(5).floats(2 * 6 * 4);
    queries[0] = minus(1.0);
    queries[4] = f32::NAN;
    inputs.tensors[0] = Tensor::f32(&[1, 2, 6, 4], queries);
    let outputs = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
    let (out, lse) = (&outputs.tensors[0].data, &outputs.tensors[1].data);
    assert_eq!(lse[0], f64::NEG_INFINITY);
    assert!(out[..8].iter().all(|&x| x == 0.0));
    assert!(lse[1].is_nan() && out[8..16].iter().all(|x| x.is_nan()));
    assert!(lse[2].is_finite());
}

/// The largest unit in the last place of bf16 over all results is about 2^-8 of it, and plain arithmetic errs by about as
/// much; a result without the rounding of its weights, stored in bf16, passes, one with twice the error does not.
#[test]
fn the_limit_of_bf16_is_the_error_of_plain_arithmetic() {
    let sizes = Sizes { m: 32, n: 48, ..SIZES };
    let graph = causal();
    let inputs = Inputs { storage: Storage::Bf16, ..inputs(&graph, sizes, 6, vec![]) };
    let exact = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
    let options = Options { arithmetic: Arithmetic::Plain, ..Options::default() };
    let plain = evaluate(&graph, &inputs, &options).expect("evaluates");
    let out = &exact.tensors[0];
    let limit = Limit::of(&graph, out, Storage::Bf16, Some(&plain.tensors[0]));
    let Limit::RelativeNorm(size) = limit else { panic!("{limit:?}") };
    assert!(size > 1e-3 && size < 1e-2, "{size}");
    let compare = |found: &[f64]| Comparison::of(found, out, &exact.rows, &graph, limit);
    let stored: Vec<f64> = out.data.iter().map(|&x| Storage::Bf16.round(x)).collect();
    assert!(compare(&stored).passes());
    let doubled: Vec<f64> =
        out.data.iter().enumerate().map(|(at, x)| x * (1.0 + 2.0 * size * (at % 2) as f64)).collect();
    assert!(!compare(&doubled).passes());
    // Statistics have the same limit in all types: they are not stored in bf16.
    let lse = &exact.tensors[1];
    let limit = Limit::of(&graph, lse, Storage::Bf16, Some(&plain.tensors[1]));
    assert_eq!(limit, Limit::Elementwise(1e-5));
    assert!(Comparison::of(&plain.tensors[1].data, lse, &exact.rows, &graph, limit).passes());
}

#[test]
fn plain_f32_is_within_the_limit_of_f32_and_a_wrong_element_is_named() {
    let sizes = Sizes { m: 32, n: 48, ..SIZES };
    let graph = causal();
    let inputs = inputs(&graph, sizes, 7, vec![]);
    let options = Options { rows: Rows::These(vec![3, 31]), ..Options::default() };
    let exact = evaluate(&graph, &inputs, &options).expect("evaluates");
    let plain_options = Options { arithmetic: Arithmetic::Plain, ..Options::default() };
    let plain = evaluate(&graph, &inputs, &plain_options).expect("evaluates");
    let out = &exact.tensors[0];
    let limit = Limit::of(&graph, out, Storage::F32, None);
    assert_eq!(limit, Limit::RelativeNorm(2e-6));
    let mut found = exact.rows_of(out, &plain.tensors[0].data, 32, &graph);
    let compare = |found: &[f64]| Comparison::of(found, out, &exact.rows, &graph, limit);
    let comparison = compare(&found);
    assert!(comparison.passes() && comparison.error > 1e-9, "{comparison:?}");
    // [b, h, i, e] of the 20th element among rows 3 and 31 of 8 features each.
    found[20] += 0.01;
    let comparison = compare(&found);
    let worst = comparison.worst.clone().expect("an element");
    assert!(!comparison.passes());
    assert_eq!(worst.index, [0, 1, 3, 4]);
    found[20] = f64::NAN;
    let comparison = compare(&found);
    assert!(!comparison.passes() && comparison.error.is_infinite());
    assert!(comparison.worst.expect("an element").found.is_nan());
}

#[test]
fn nan_equals_nan_and_infinities_themselves() {
    let graph = causal();
    let inputs = inputs(&graph, SIZES, 8, vec![]);
    let outputs = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
    let mut lse = outputs.tensors[1].clone();
    lse.data[0] = f64::NEG_INFINITY;
    lse.data[1] = f64::NAN;
    let limit = Limit::of(&graph, &lse, Storage::F32, None);
    let compare = |found: &[f64]| Comparison::of(found, &lse, &outputs.rows, &graph, limit).passes();
    assert!(compare(&lse.data));
    for (at, wrong) in [(0, f64::INFINITY), (0, -1e30), (1, 0.0), (2, f64::NAN), (2, lse.data[2] + 1e-3)] {
        let mut found = lse.data.clone();
        found[at] = wrong;
        assert!(!compare(&found), "{wrong} at {at}");
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused_in_the_names_of_the_program() {
    let mut program = Program::new();
    let [_, ah, ..] = program.axes;
    let window = |length| AxisKind::Windows { of: dmac_ir::AxisId(4), length, stride: Size::Const(2) };
    let l = program.graph.add_param(dmac_ir::Param {
        name: "l".into(),
        ty: dmac_ir::ParamType::Int,
        default: ParamValue::Int(3),
    });
    let c = program.graph.add_axis(Axis::new("c", window(Size::Param(l))));
    program.input("slope", Elem::F32, &[ah]);
    program.input("table", Elem::I32, &[c]);
    program.graph.inputs[4].range = Some((0, 9));
    let terms = [program.exists()];
    let graph = program.softmax(&terms);
    let good = || {
        let more = vec![Tensor::f32(&[2], vec![0.0; 2]), Tensor::i32(&[3], vec![1, 2, 9])];
        inputs(&graph, SIZES, 9, more)
    };
    assert_eq!(good().shape(&graph).expect("fits").size(c), 3, "whole windows of 3 in 8, each 2");
    let refused = |change: &dyn Fn(&mut Inputs)| {
        let mut inputs = good();
        change(&mut inputs);
        evaluate(&graph, &inputs, &Options::default()).expect_err("does not fit").to_string()
    };
    let messages = [
        refused(&|i| drop(i.tensors.pop())),
        refused(&|i| i.tensors[3] = Tensor::f32(&[2, 1], vec![0.0; 2])),
        refused(&|i| i.tensors[3] = Tensor::f32(&[5], vec![0.0; 5])),
        refused(&|i| i.tensors[3] = Tensor::i32(&[2], vec![0; 2])),
        refused(&|i| i.tensors[3] = Tensor::f32(&[2], vec![0.0; 3])),
        refused(&|i| i.tensors[4] = Tensor::i32(&[4], vec![0; 4])),
        refused(&|i| i.tensors[4] = Tensor::i32(&[3], vec![0, 10, 0])),
        refused(&|i| i.tensors[1] = Tensor::f32(&[1, 3, 8, 4], vec![0.0; 96])),
        refused(&|i| i.params[0] = ParamValue::Int(0)),
        refused(&|i| i.params[0] = ParamValue::Float(1.0)),
        refused(&|i| i.params[0] = ParamValue::Int(1 << 40)),
        refused(&|i| i.params.clear()),
        refused(&|i| i.kv_len = Some(vec![9])),
        refused(&|i| i.kv_len = Some(vec![1, 2])),
    ];
    let expected = [
        "the program has 5 inputs (`q`, `k`, `v`, `slope`, `table`), 4 given",
        "`slope` has the axes [H], but the tensor given has the shape [2, 1]",
        "axis H is 5 in `slope`, but 2 elsewhere (`q` has it)",
        "`slope` is declared f32, the tensor given is i32",
        "`slope` has 3 elements, its shape needs 2",
        "axis c is 4 in `table`, but 3 elsewhere (the program computes it)",
        "element 1 of `table` is 10, outside its declared range 0 .. 9",
        "axis G is 1 in `v`, but 3 elsewhere (`k` has it)",
        "the length of axis c is 0; it must be at least 1",
        "parameter `l` must be an int",
        "parameter `l` is 1099511627776, which does not fit 32 bits",
        "the program has 1 run-time parameters (`l`), 0 given",
        "the key length of batch element 0 is 9; it must lie in 0 ..= 8",
        "there must be one key length for each of the 1 batch elements, 2 given",
    ];
    for (message, expected) in messages.iter().zip(expected) {
        assert_eq!(message, expected);
    }
    let sizes = |h: usize, g: usize| {
        let dims = [vec![1, h, 6, 4], vec![1, g, 8, 4], vec![1, g, 8, 8], vec![h], vec![3]];
        Shape::resolve(&graph, &dims, &[ParamValue::Int(3)])
    };
    let message = "the number of query heads H = 5 is not a multiple of the key/value heads G = 2";
    assert_eq!(sizes(5, 2).expect_err("groups").to_string(), message);
    assert!(sizes(6, 3).is_ok() && sizes(0, 0).is_ok() && sizes(2, 0).is_err());
    let long = [vec![1, 1, 0, 0], vec![1, 1, 1 << 40, 0], vec![1, 1, 1 << 40, 0]];
    let long = Shape::resolve(&causal(), &long, &[]).expect_err("too long").to_string();
    assert_eq!(long, "axis N has the size 1099511627776; positions have 32 bits, so 2147483647 is the most");
    let huge = vec![vec![usize::MAX, 2, 2, 2]; 5];
    assert!(Shape::resolve(&graph, &huge, &[ParamValue::Int(3)]).is_err());
}

#[test]
fn sampled_rows_cover_edges() {
    let Rows::These(rows) = Rows::sample(1000, 64, 20, 1) else { panic!("a sample") };
    for row in [0, 63, 64, 127, 128, 895, 896, 959, 960, 999] {
        assert!(rows.contains(&row), "{row}");
    }
    assert!(rows.len() > 25 && rows.len() <= 30 && rows.is_sorted());
    assert_eq!(Rows::sample(20, 64, 20, 1), Rows::All);
    assert_eq!(Rows::sample(0, 64, 20, 1), Rows::All);
}
