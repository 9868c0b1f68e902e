//! Reads at computed indices: compiled code never uses memory beside a tensor, and what is outside for the sizes of a call
//! is refused before anything runs, as the reference refuses it.

use dmac::interp::{Data, Inputs, Rows, evaluate};
use dmac::runtime::{Rayon, TensorView};
use dmac::{Arguments, Attention, Element, RunError, Storage};
use dmac_tests::subject::{Numbers, Twist, build, inputs};
use dmac_tests::table::pairs;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Bytes of margin on each side of a tensor: more than any index of these tests can miss it by.
const MARGIN: usize = 1 << 16;

/// The results with every input between margins of one byte's value.
fn results(attention: &Attention, inputs: &Inputs, margin: u8) -> Result<Vec<Vec<u8>>, RunError> {
    let graph = &attention.compiled().graph;
    let mut held = Vec::new();
    for (input, tensor) in graph.inputs.iter().zip(&inputs.tensors) {
        let (element, bytes): (Element, Vec<u8>) = match &tensor.data {
            Data::F32(data) => (Element::F32, data.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Data::I32(data) => (Element::I32, data.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Data::Bool(data) => (Element::Bool, data.iter().map(|x| u8::from(*x)).collect()),
        };
        let len = bytes.len();
        let margins = [vec![margin; MARGIN], bytes, vec![margin; MARGIN]].concat();
        held.push((input.name.clone(), element, tensor.dims.clone(), margins, len));
    }
    let mut arguments = Arguments::new();
    for (name, element, dims, bytes, len) in &held {
        arguments = arguments.tensor(name, TensorView::new(*element, dims, &bytes[MARGIN..MARGIN + len])?);
    }
    for (param, value) in graph.params.iter().zip(&inputs.params) {
        arguments = arguments.param(&param.name, *value);
    }
    let lengths: Option<Vec<i32>> =
        inputs.kv_len.as_ref().map(|lengths| lengths.iter().map(|x| *x as i32).collect());
    if let Some(lengths) = &lengths {
        arguments = arguments.tensor("kv_len", TensorView::of_i32(&[lengths.len()], lengths)?);
    }
    let results = attention.executable().run(&arguments, &Rayon)?;
    Ok(results.tensors.into_iter().map(|(_, tensor)| tensor.bytes().to_vec()).collect())
}

fn index() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("i".to_owned()),
        Just("j".to_owned()),
        (-30..30_i64).prop_map(|c| format!("i + {c}")),
        (-30..30_i64).prop_map(|c| format!("j + {c}")),
        Just("i - j".to_owned()),
        Just("2 * j - i".to_owned()),
        (1..9_i64).prop_map(|w| format!("i div {w}")),
        (1..9_i64).prop_map(|w| format!("(i + j) mod {w} - 3")),
        Just("next[b, j]".to_owned()),
        Just("next[b, next[b, j]]".to_owned()),
    ]
}

/// A statement that reads a tensor somewhere, maybe under a condition that does not exclude what is outside.
fn statement() -> impl Strategy<Value = String> {
    (index(), 0..7).prop_map(|(at, form)| match form {
        0 => format!("mask tag[b, {at}] == tag[b, j]"),
        1 => format!("score = score + rating[b, g, {at}]"),
        2 => format!("mask j <= i and tag[b, {at}] > 1"),
        3 => format!("score = if i > j then score + rating[b, g, {at}] else score"),
        4 => format!("score = score + sum(t: weight[t] * rating[b, g, {at} + t])"),
        5 => format!("mask rating[b, g, {at}] > -0.5 or tag[b, j] == 2"),
        _ => format!("select top(5) of rating[b, g, {at}] * (1.0 + abs(i - j))"),
    })
}

fn definition() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("rating[b, g, j - 1]"),
        Just("rating[b, g, j + 2]"),
        Just("sum(t: weight[t] * rating[b, g, 3 * t])"),
        Just("if j > 0 then rating[b, g, j - 1] else 0.0"),
        Just("sum(t, d: weight[t] * k[b, g, j + t, d])"),
        Just("rating[b, g, next[b, j]]"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_beside_a_tensor_is_used(
        statements in prop::collection::vec(statement(), 1..3),
        definition in prop::option::of(definition()),
        (queries, keys, taps) in (1..40_i64, 0..40_i64, 1..5_i64),
        ragged in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut text = String::from(
            "attention reads {\n    input rating[b, g, j]: f32\n    input tag[b, j]: i32\n    \
             input next[b, j]: i32 in 0 .. 40\n    input weight[t]: f32\n",
        );
        let mut statements = statements;
        // A mask may not stand below a selection.
        statements.sort_by_key(|statement| statement.starts_with("select"));
        statements.dedup_by_key(|statement| statement.starts_with("select"));
        if let Some(definition) = definition {
            text.extend(["    let near[b, g, j] = ", definition, "\n"]);
            statements.insert(0, "score = score + near[b, g, j]".into());
        }
        for statement in statements {
            text.extend(["    ", &statement, "\n"]);
        }
        text.push_str("}\n");
        let sizes: Numbers = [("B", 2), ("H", 2), ("G", 1), ("M", queries), ("N", keys), ("t", taps)]
            .into_iter()
            .map(|(name, size)| (name.to_owned(), size))
            .collect();
        let attention = build("reads", &text, Storage::F32, (8, 8), &Numbers::new());
        let twist = if ragged { Twist::Lengths } else { Twist::None };
        let inputs = inputs(&attention, &sizes, &Numbers::new(), twist, seed);
        let (ones, others) = (results(&attention, &inputs, 0xFF), results(&attention, &inputs, 0x3F));
        prop_assert!(ones == others, "{text}{sizes:?}");
        if let Err(RunError::Requirement(message)) = ones {
            prop_assert!(message.contains("E0601"), "{message}");
            let reference = evaluate(&attention.compiled().meaning, &inputs, &dmac::interp::Options::default());
            // Definitions are computed whole, and by the reference as far as they are used.
            prop_assert!(reference.is_err() || definition.is_some(), "{text}{sizes:?}: {message}");
        }
    }
}

#[test]
fn positions_that_do_not_exist_are_refused() {
    let text = "attention same { input tag[b, j]: i32 mask tag[b, i] == tag[b, j] }";
    let attention = build("same", text, Storage::F32, (8, 8), &Numbers::new());
    let run = |sizes: &str| {
        let sizes: Numbers = pairs(sizes).into_iter().collect();
        let inputs = inputs(&attention, &sizes, &Numbers::new(), Twist::None, 1);
        let options = dmac::interp::Options { rows: Rows::All, ..Default::default() };
        let reference = evaluate(&attention.compiled().meaning, &inputs, &options);
        (results(&attention, &inputs, 0), reference.map(|_| ()))
    };
    let (compiled, reference) = run("B=1,H=1,G=1,M=4,N=3");
    let message = compiled.expect_err("a row is at position -1").to_string();
    assert!(message.contains("`tag`") && message.contains("E0601"), "{message}");
    assert!(reference.expect_err("the same").to_string().contains("E0601"));
    for sizes in ["B=1,H=1,G=1,M=3,N=3", "B=1,H=1,G=1,M=0,N=3", "B=1,H=1,G=1,M=2,N=0"] {
        let (compiled, reference) = run(sizes);
        assert!(compiled.is_ok() && reference.is_ok(), "{sizes}: {compiled:?} {reference:?}");
    }
}
