//! Masks, sinks, heads, lengths and empty rows against nested loops.

use crate::build::{Program, Sizes, inputs};
use crate::plain::{Pair, assert_close, softmax};
use dmac_interp::{Options, Rows, Tensor, evaluate};
use dmac_ir::{Binary, Compare, Elem, Field, Normalize};

const SIZES: Sizes = Sizes { b: 2, h: 4, g: 2, m: 7, n: 11, d: 8, e: 5 };

fn unchanged(score: f64, _: Pair) -> f64 {
    score
}

#[test]
fn causal_attention_is_bottom_right_aligned() {
    for (m, n) in [(7, 11), (11, 7), (5, 5), (1, 9), (0, 4), (4, 0), (0, 0)] {
        let sizes = Sizes { m, n, ..SIZES };
        let mut program = Program::new();
        let terms = [program.exists(), program.causal()];
        let graph = program.softmax(&terms);
        let inputs = inputs(&graph, sizes, 1, vec![]);
        let outputs = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
        let (out, lse) = softmax(&inputs, sizes, &|p| p.j as i64 <= p.i, &unchanged, None);
        assert_close(&outputs.tensors[0].data, &out, 1e-12);
        assert_close(&outputs.tensors[1].data, &lse, 1e-12);
        if m > n && n > 0 {
            assert_eq!(lse[0], f64::NEG_INFINITY, "rows before the first key are empty");
            assert!(outputs.tensors[0].data[..sizes.e].iter().all(|&x| x == 0.0));
        }
        let counts = &outputs.attentions[0];
        assert_eq!(counts.rows as usize, sizes.b * sizes.h * m);
        assert_eq!(counts.terms[0].considered as usize, sizes.b * sizes.h * m * n);
        assert_eq!(counts.terms[1].kept, counts.attended);
    }
}

#[test]
fn a_sink_is_attended_mass_and_survives_empty_rows() {
    let sizes = Sizes { m: 9, n: 6, ..SIZES };
    let mut program = Program::new();
    let sink = program.input("sink", Elem::F32, &[program.axes[1]]);
    let (h, i, j) = (program.h, program.position(), program.at(program.j));
    let logit = program.read(sink, &[h]);
    // i - j < 3 or j < 1
    let distance = program.op(Binary::Sub, i, j);
    let (three, one) = (program.int(3), program.int(1));
    let near = program.graph.compare(Compare::Lt, distance, three);
    let first = program.graph.compare(Compare::Lt, j, one);
    let window = program.op(Binary::Or, near, first);
    let causal = program.causal();
    let term = program.op(Binary::And, causal, window);
    let exists = program.exists();
    let score = program.score();
    let attention = program.attend(Normalize::SoftmaxSink, score, Some(logit), &[exists, term]);
    let graph =
        program.finish(attention, &[("out", Field::Out), ("lse", Field::Lse), ("row_max", Field::RowMax)]);
    let sinks = vec![0.5, -1.0, 2.0, 0.0];
    let inputs = inputs(&graph, sizes, 2, vec![Tensor::f32(&[4], sinks.clone())]);
    let outputs = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
    let attend = |p: Pair| p.j as i64 <= p.i && (p.i - (p.j as i64) < 3 || p.j < 1);
    let (out, lse) = softmax(&inputs, sizes, &attend, &unchanged, Some(&sinks));
    assert_close(&outputs.tensors[0].data, &out, 1e-12);
    assert_close(&outputs.tensors[1].data, &lse, 1e-12);
    assert_close(&outputs.get("lse").expect("lse").data[..1], &[0.5], 1e-12);
    assert_eq!(outputs.get("row_max").expect("row_max").data[0], f64::NEG_INFINITY);
}

#[test]
fn lengths_move_positions_and_end_the_keys() {
    let sizes = Sizes { b: 3, ..SIZES };
    let mut program = Program::new();
    let terms = [program.exists(), program.causal()];
    let graph = program.softmax(&terms);
    let mut inputs = inputs(&graph, sizes, 3, vec![]);
    inputs.kv_len = Some(vec![11, 4, 0]);
    let outputs = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
    let (out, lse) = softmax(&inputs, sizes, &|p| p.j as i64 <= p.i, &unchanged, None);
    assert_close(&outputs.tensors[0].data, &out, 1e-12);
    assert_close(&outputs.tensors[1].data, &lse, 1e-12);
}

#[test]
fn sampled_rows_are_the_same_rows() {
    let mut program = Program::new();
    let terms = [program.exists(), program.causal()];
    let graph = program.softmax(&terms);
    let inputs = inputs(&graph, SIZES, 4, vec![]);
    let all = evaluate(&graph, &inputs, &Options::default()).expect("evaluates");
    let options = Options { rows: Rows::These(vec![5, 2, 5]), ..Options::default() };
    let some = evaluate(&graph, &inputs, &options).expect("evaluates");
    assert_eq!(some.rows, [2, 5]);
    assert_eq!(some.tensors[0].dims, [SIZES.b, SIZES.h, 2, SIZES.e]);
    for head in 0..SIZES.b * SIZES.h {
        for (at, row) in [2, 5].into_iter().enumerate() {
            let found = &some.tensors[0].data[(head * 2 + at) * SIZES.e..][..SIZES.e];
            assert_eq!(found, &all.tensors[0].data[(head * SIZES.m + row) * SIZES.e..][..SIZES.e]);
        }
    }
    let options = Options { rows: Rows::These(vec![7]), ..Options::default() };
    let error = evaluate(&graph, &inputs, &options).expect_err("no such row");
    assert_eq!(error.to_string(), "there is no query row 7, M is 7");
}
