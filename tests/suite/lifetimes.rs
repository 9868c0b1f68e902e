//! Selections that became lifetimes, against a choice made anew for every row: all forms of candidates, both tie rules, and
//! scores that are hard to order.

use dmac::interp::{Data, Inputs, Options, evaluate};
use dmac::{Attention, HeldInputs, ParamValue, Storage};
use dmac_tests::subject::{Numbers, build, inputs};
use proptest::prelude::*;

/// Conditions above the selection, and what follows its operand.
const FORMS: &[(&str, &str)] = &[
    ("mask j <= i", ""),
    ("mask j <= i", "forcing j < s"),
    ("mask j <= i", "plus j < s or i - j < r"),
    ("mask j <= i", "forcing j < s plus i - j < r"),
    ("mask j <= i or j < from[b]", ""),
    ("mask j <= i or j < from[b]", "plus i - j < r"),
    ("mask j <= i and doc[b, i] == doc[b, j]", ""),
    ("mask j <= i and doc[b, i] == doc[b, j]", "forcing good[b, j] plus i - j < r"),
    ("mask j <= i and good[b, j] and doc[b, j] == doc[b, i]", ""),
    ("mask i - j >= r and j >= 0", ""),
];

fn program((candidates, more): (&str, &str), ties: &str) -> Attention {
    let text = format!(
        "attention kept(w: int = 4, r: int = 3, s: int = 2) {{
            input x[b, g, j]: f32
            input doc[b, j]: i32
            input from[b]: i32
            input good[b, j]: bool
            {candidates}
            select top(w) of x[b, g, j] {more} ties {ties}
        }}"
    );
    build("kept", &text, Storage::F32, (8, 8), &Numbers::new())
}

/// Scores by name of their kind.
fn scores(kind: usize, seeds: &[u32]) -> Vec<f32> {
    let special = [f32::NAN, 0.0, -0.0, 1.0, f32::NEG_INFINITY, f32::INFINITY, -1.0];
    seeds
        .iter()
        .enumerate()
        .map(|(at, &seed)| match kind {
            0 => at as f32,
            1 => -(at as f32),
            2 => 0.5,
            3 => (seed % 3) as f32,
            4 => (at / 7) as f32 + (seed % 2) as f32,
            5 => special[seed as usize % special.len()],
            _ => seed as f32 / 1e6,
        })
        .collect()
}

/// What a class may look like along a sequence.
fn ids(kind: usize, seeds: &[u32]) -> Vec<i32> {
    let mut id = 0;
    seeds
        .iter()
        .map(|&seed| {
            id += i32::from(seed.is_multiple_of(9));
            match kind {
                0 => id,
                1 => -id,
                2 => id % 3,
                _ => (seed % 4) as i32,
            }
        })
        .collect()
}

fn agrees(attention: &Attention, inputs: &Inputs) -> Result<(), TestCaseError> {
    let held = HeldInputs::new(attention, inputs);
    let results = attention.run(&held.arguments()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let wanted = evaluate(&attention.compiled().meaning, inputs, &Options::default())
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    for output in &wanted.tensors {
        let found = results.get(&output.name).expect("every output is there").to_f64();
        for (at, (x, y)) in found.iter().zip(&output.data).enumerate() {
            prop_assert!((x - y).abs() < 1e-4 || x == y, "{}[{at}]: {x}, not {y}", output.name);
        }
    }
    Ok(())
}

#[test]
fn lifetimes_keep_what_a_choice_for_each_row_keeps() {
    let programs: Vec<Attention> =
        FORMS.iter().flat_map(|&form| ["low", "high"].map(|ties| program(form, ties))).collect();
    for attention in &programs {
        let text = attention.compiled().graph.to_string();
        assert!(text.contains("lifetime"), "{text}");
    }
    let which = (0..programs.len(), 0_usize..7, 0_usize..4);
    let sizes = (1_usize..150, 1_usize..150);
    let params = (0_i64..9, 0_i64..7, 0_i64..4);
    let seeds = prop::collection::vec(any::<u32>(), 150);
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 400, ..ProptestConfig::default() });
    let strategy = (which, sizes, params, seeds, any::<bool>());
    let outcome = runner.run(&strategy, |((program, kind, ids_kind), (m, n), (w, r, s), seeds, ragged)| {
        let attention = &programs[program];
        let m = m.min(n + 3);
        let named = |pairs: &[(&str, i64)]| pairs.iter().map(|(name, x)| ((*name).to_owned(), *x)).collect();
        let sizes: Numbers = named(&[("B", 1), ("H", 1), ("M", m as i64), ("N", n as i64)]);
        let params: Numbers = named(&[("w", w), ("r", r), ("s", s)]);
        let mut inputs =
            inputs(attention, &sizes, &params, dmac_tests::subject::Twist::None, u64::from(seeds[0]));
        for (input, tensor) in attention.compiled().meaning.inputs.iter().zip(&mut inputs.tensors) {
            match input.name.as_str() {
                "x" => tensor.data = Data::F32(scores(kind, &seeds[..n])),
                "doc" => tensor.data = Data::I32(ids(ids_kind, &seeds[..n])),
                "from" => tensor.data = Data::I32(vec![(seeds[1] % 40) as i32]),
                _ => {}
            }
        }
        assert!(matches!(inputs.params[0], ParamValue::Int(given) if given == w));
        if ragged {
            inputs.kv_len = Some(vec![n as i64 - i64::from(seeds[2] % 5).min(n as i64)]);
        }
        agrees(attention, &inputs)
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
