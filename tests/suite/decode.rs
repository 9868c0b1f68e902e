//! Decoding with a bounded cache against the same attention over the whole sequence: tokens appended one by one give each
//! row what a prefill gives it.

use dmac::interp::{Data, Inputs};
use dmac::ir::{AxisKind, Graph};
use dmac::{Arguments, Attention, HeldInputs, Storage, TensorView};
use dmac_tests::files::{read, root};
use dmac_tests::subject::{Numbers, Twist, build, inputs};
use proptest::prelude::*;

fn named(pairs: &[(&str, i64)]) -> Numbers {
    pairs.iter().map(|(name, x)| ((*name).to_owned(), *x)).collect()
}

/// A part of a tensor along one axis.
fn part<'a>(view: &TensorView<'a>, axis: usize, from: usize, count: usize) -> TensorView<'a> {
    let mut dims = view.dims().to_vec();
    dims[axis] = count;
    let skipped = from * view.strides()[axis] * view.element().bytes();
    TensorView::strided(
        view.element(),
        &dims,
        view.strides(),
        &view.bytes()[skipped.min(view.bytes().len())..],
    )
    .expect("a part of a tensor lies inside of it")
}

/// The arguments of some tokens: tensors over `kind` cut, the rest kept if `constants`.
fn cut<'a>(
    graph: &Graph,
    all: &Arguments<'a>,
    kind: &AxisKind,
    (from, count): (usize, usize),
    constants: bool,
) -> Arguments<'a> {
    let mut some = Arguments::new();
    for input in &graph.inputs {
        let view = all.get(&input.name).expect("every input is given");
        let at = |kind: &AxisKind| input.axes.iter().position(|&axis| graph.axis(axis).kind == *kind);
        let bound = at(&AxisKind::Key).or(at(&AxisKind::Query)).is_some();
        if let Some(axis) = at(kind) {
            some = some.tensor(&input.name, part(view, axis, from, count));
        } else if constants && !bound {
            some = some.tensor(&input.name, view.clone());
        }
    }
    all.params().filter(|_| constants).fold(some, |some, (name, value)| some.param(name, value))
}

/// The largest cache, in keys of one row.
fn agrees(attention: &Attention, inputs: &Inputs, prefill: usize, since: usize) -> Result<usize, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let graph = &attention.compiled().meaning;
    let held = HeldInputs::new(attention, inputs);
    let all = held.arguments();
    let wanted = attention.run(&all).map_err(|error| text(&error))?;
    let decoder = attention.decoder().map_err(|error| text(&error))?;
    let [heads, tokens] = [1, 2].map(|axis| inputs.tensors[0].dims[axis]);
    let first = cut(graph, &all, &AxisKind::Key, (0, prefill), true);
    let mut cache = decoder.init(heads, &first).map_err(|error| text(&error))?;
    let mut largest = 0;
    for t in prefill..tokens {
        let token = cut(graph, &all, &AxisKind::Key, (t, 1), false);
        cache.append(&token).map_err(|error| text(&error))?;
        largest = largest.max(cache.keys(0, 0).len());
        if t < since {
            continue;
        }
        let query = cut(graph, &all, &AxisKind::Query, (t, 1), false);
        let found = cache.attend(&query).map_err(|error| text(&error))?;
        for (name, tensor) in &wanted.tensors {
            let row = part(&tensor.view(), 2, t, 1).to_f64();
            let found = found.get(name).expect("the same outputs").to_f64();
            for (at, (x, y)) in found.iter().zip(&row).enumerate() {
                if (x - y).abs() > 2e-2 * (1.0 + y.abs()) && x != y {
                    return Err(format!("{name}[{at}] of token {t} is {x}, not {y}"));
                }
            }
        }
    }
    Ok(largest)
}

#[test]
fn appended_tokens_are_a_prefill_in_the_library() {
    for (name, bound) in
        [("dma", 9), ("dma_per_head", 9), ("dma_linear", 9), ("dma_document", 9), ("dma_window", 9 + 7 + 2)]
    {
        let text = read(&root().join(format!("dsl/std/{name}.dmac")));
        for (storage, prefill) in [(Storage::F32, 0), (Storage::F32, 31), (Storage::Bf16, 17)] {
            let attention = build(name, &text, storage, (16, 8), &Numbers::new());
            let sizes = named(&[("B", 2), ("H", 6), ("G", 2), ("M", 70), ("N", 70)]);
            let params = named(&[("w", 9), ("window", 7), ("sink", 2)]);
            let inputs = inputs(&attention, &sizes, &params, Twist::None, prefill as u64);
            let largest =
                agrees(&attention, &inputs, prefill, 0).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(largest <= bound, "{name}: {largest} keys");
            assert!(name == "dma_document" || largest == bound, "{name}: {largest} keys");
        }
    }
}

/// Conditions above the selection, and what follows its operand.
const FORMS: &[(&str, &str)] = &[
    ("mask j <= i", ""),
    ("mask j <= i", "forcing j < s"),
    ("mask j <= i", "plus j < s or i - j < r"),
    ("mask j <= i", "forcing j mod 5 == 0 plus i - j < r"),
    ("mask j <= i or j < from[b]", "plus i - j < r"),
    ("mask j <= i and good[b, j]", ""),
    ("mask j <= i and doc[b, i] == doc[b, j]", "forcing good[b, j] plus i - j < r"),
];

#[test]
fn appended_tokens_are_a_prefill_for_all_forms_of_candidates() {
    let program = |(candidates, more): (&str, &str), ties: &str| {
        let text = format!(
            "attention kept(w: int = 4, r: int = 3, s: int = 2) {{
                input x[b, g, j]: f32
                input doc[b, j]: i32
                input from[b]: i32
                input good[b, j]: bool
                {candidates}
                select top(w) of x[b, g, j] {more} ties {ties}
                score = score - 0.1 * (i - j)
            }}"
        );
        build("kept", &text, Storage::F32, (8, 8), &Numbers::new())
    };
    let programs: Vec<Attention> =
        FORMS.iter().flat_map(|&form| ["low", "high"].map(|ties| program(form, ties))).collect();
    let strategy = (
        (0..programs.len(), 0_usize..4, 1_usize..40, 0_usize..20),
        (0_i64..9, 0_i64..7, 0_i64..4),
        prop::collection::vec(any::<u32>(), 40),
    );
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 60, ..ProptestConfig::default() });
    let outcome = runner.run(&strategy, |((program, kind, n, prefill), (w, r, s), seeds)| {
        let attention = &programs[program];
        let sizes = named(&[("B", 1), ("H", 2), ("G", 1), ("M", n as i64), ("N", n as i64)]);
        let mut inputs =
            inputs(attention, &sizes, &named(&[("w", w), ("r", r), ("s", s)]), Twist::None, seeds[0].into());
        let special = [f32::NAN, 0.0, -0.0, 1.0, f32::NEG_INFINITY, -1.0];
        let from = (seeds[1] % 12) as i32;
        for (input, tensor) in attention.compiled().meaning.inputs.iter().zip(&mut inputs.tensors) {
            match input.name.as_str() {
                "x" => {
                    let rate = |(at, seed): (usize, &u32)| match kind {
                        0 => at as f32,
                        1 => (seed % 3) as f32,
                        2 => special[*seed as usize % special.len()],
                        _ => *seed as f32 / 1e6,
                    };
                    tensor.data = Data::F32(seeds[..n].iter().enumerate().map(rate).collect());
                }
                "from" => tensor.data = Data::I32(vec![from]),
                _ => {}
            }
        }
        // Rows before the end of a prefix see keys that are not there yet when tokens come one by one.
        let since = if FORMS[program / 2].0.contains("from") { from.max(1) as usize - 1 } else { 0 };
        agrees(attention, &inputs, prefill.min(n), since).map_err(TestCaseError::fail)?;
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn attentions_without_a_bounded_cache_say_why() {
    let why = |text: &str| {
        let attention = build("none", text, Storage::F32, (8, 8), &Numbers::new());
        attention.decoder().err().expect("it has none").to_string()
    };
    assert_eq!(
        why("attention causal { mask j <= i }"),
        "this attention has no bounded cache: nothing is selected, so all keys are attended for ever"
    );
    let scores = why("attention top { mask j <= i select top(3) of score }");
    assert!(scores.ends_with("the score depends on the query"), "{scores}");
    let leaving =
        why("attention left { input x[b, j]: f32 mask j <= i and i - j < 9 select top(3) of x[b, j] }");
    assert!(leaving.contains("candidates may also leave"), "{leaving}");
    let several = why("attention smooth { input x[b, j]: f32 let y[b, j] = sum(j': x[b, j'] * (j - j'))
            mask j <= i select top(3) of y[b, j] }");
    assert!(several.ends_with("a part of it goes over several keys"), "{several}");
}
