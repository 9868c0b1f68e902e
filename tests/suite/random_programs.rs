//! Programs that nobody wrote: masks, scores, selections and normalizations put together at random, at random shapes,
//! compiled and compared with the reference.

use dmac::Storage;
use dmac_tests::subject::{Numbers, Twist, agrees, build, inputs};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn mask() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("j <= i".to_owned()),
        1 => Just("true".to_owned()),
        1 => Just("i != j or keep[b, j]".to_owned()),
        1 => Just("keep[b, j] or (i >= 0 and tag[b, i] == tag[b, j])".to_owned()),
        2 => (1..20_i64).prop_map(|w| format!("j <= i and i - j < {w}")),
        1 => (1..9_i64).prop_map(|w| format!("abs(i - j) mod {w} == 0")),
        1 => (1..9_i64).prop_map(|w| format!("j div {w} <= i div {w}")),
        1 => (1..9_i64, 1..20_i64).prop_map(|(s, w)| format!("j < {s} or i - j < {w} and j <= i")),
        1 => Just("rating[b, g, j] > -0.5".to_owned()),
    ]
}

fn score() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("score + rating[b, g, j]".to_owned()),
        Just("score + slope[h] * (j - i)".to_owned()),
        Just("2.0 * tanh(score / 2.0)".to_owned()),
        Just("if keep[b, j] then score else score - 1.5".to_owned()),
        Just("score - relu(rating[b, g, j]) * abs(i - j) / 16".to_owned()),
    ]
}

fn select() -> impl Strategy<Value = String> {
    let operand = prop_oneof![
        Just("rating[b, g, j]"),
        Just("score"),
        Just("rating[b, g, j] * slope[h]"),
        Just("floor(rating[b, g, j])"),
    ];
    let clause = prop_oneof![Just(""), Just(" forcing j == 0"), Just(" plus i == j"), Just(" ties high")];
    (0..12_i64, operand, clause)
        .prop_map(|(n, operand, clause)| format!("    select top({n}) of {operand}{clause}\n"))
}

fn normalize() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        3 => Just(""),
        1 => Just("    normalize softmax with slope[h]\n"),
        1 => Just("    normalize sigmoid\n"),
    ]
}

fn program() -> impl Strategy<Value = String> {
    (
        prop::collection::vec(mask(), 0..3),
        prop::collection::vec(score(), 0..3),
        prop::option::of(select()),
        normalize(),
    )
        .prop_map(|(masks, scores, select, normalize)| {
            let mut text = String::from("attention random {\n");
            text.push_str("    input rating[b, g, j]: f32\n    input slope[h]: f32\n");
            text.push_str("    input keep[b, j]: bool\n    input tag[b, j]: i32\n");
            for mask in masks {
                text.extend(["    mask ", &mask, "\n"]);
            }
            for score in scores {
                text.extend(["    score = ", &score, "\n"]);
            }
            text.push_str(select.as_deref().unwrap_or_default());
            text.push_str(normalize);
            text.push_str("}\n");
            text
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn compiled_code_means_what_the_program_means(
        text in program(),
        storage in prop_oneof![3 => Just(Storage::F32), 1 => Just(Storage::F16), 1 => Just(Storage::Bf16)],
        (batch, groups, share) in (1..3_i64, 1..3_i64, 1..4_i64),
        (queries, keys) in (0..70_i64, 0..70_i64),
        ragged in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let sizes: Numbers = [("B", batch), ("H", groups * share), ("G", groups), ("M", queries), ("N", keys)]
            .into_iter()
            .map(|(name, size)| (name.to_owned(), size))
            .collect();
        let attention = build("random", &text, storage, (8, 8), &Numbers::new());
        let twist = if ragged { Twist::Lengths } else { Twist::None };
        let inputs = inputs(&attention, &sizes, &Numbers::new(), twist, seed);
        if let Err(complaint) = agrees(&attention, &inputs) {
            return Err(TestCaseError::fail(format!("{text}{sizes:?}\n{complaint}")));
        }
    }
}
