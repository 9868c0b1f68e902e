//! No pass changes what a program means: after every one the interpreter gives the same results, and attends the same
//! number of pairs, on random programs, shapes, lengths, parameters and tensors. Skip predicates are checked pair by pair,
//! and the tile program that the final graph lowers to gives the same results again.

#[path = "programs/oracle.rs"]
mod oracle;
#[path = "programs/text.rs"]
mod text;

use dmac_passes::run_pipeline;
use oracle::{Case, assert_same, evaluate_case};
use proptest::prelude::*;

/// Runs the pipeline and compares every graph with the first; then the skip predicates with the masks.
fn check(program: &str, case: &Case) {
    let mut graph = text::graph(program);
    let Some(inputs) = oracle::inputs(&graph, case) else { return };
    let Ok(expected) = evaluate_case(&graph, &inputs, case) else { return };
    let original = graph.clone();
    run_pipeline(&mut graph, &mut |pass, after| {
        let found = evaluate_case(after, &inputs, case)
            .unwrap_or_else(|error| panic!("after {}: {error}\n{program}\n{after}", pass.name));
        assert_same(
            &expected,
            &found,
            &format!("after {} of\n{program}\n{case:?}\n{original}\n{after}", pass.name),
        );
    });
    oracle::assert_skips_sound(&graph, &inputs, case, program);
    oracle::assert_lowers(&graph, &original, &inputs, &expected, case, program);
}

#[test]
fn library_programs_keep_their_meaning() {
    let programs = [text::files("dsl/std"), text::files("crates/dmac-sema/tests/programs")].concat();
    for (name, program) in programs {
        for (seed, (m, n)) in
            [(7, 7), (13, 13), (3, 11), (9, 4), (1, 40), (0, 3), (3, 0)].into_iter().enumerate()
        {
            let case = Case { rows: m, keys: n, seed: seed as u64, ..Case::default() };
            let program = oracle::scaled(&program);
            check(&program, &case);
            let _ = &name;
        }
    }
}

fn int() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => Just("i".to_owned()),
        4 => Just("j".to_owned()),
        1 => Just("w".to_owned()),
        1 => Just("s".to_owned()),
        1 => Just("p[b]".to_owned()),
        1 => Just("N".to_owned()),
        2 => (-3..12i64).prop_map(|value| value.to_string()),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            4 => (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("({x} + {y})")),
            4 => (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("({x} - {y})")),
            1 => (inner.clone(), -2..4i64).prop_map(|(x, k)| format!("({x} * {k})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("min({x}, {y})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("max({x}, {y})")),
            1 => inner.clone().prop_map(|x| format!("abs({x})")),
            2 => (inner.clone(), 1..5i64).prop_map(|(x, k)| format!("({x} div {k})")),
            1 => (inner, 1..4i64).prop_map(|(x, k)| format!("({x} mod {k})")),
        ]
    })
}

fn predicate() -> impl Strategy<Value = String> {
    let compare = prop_oneof![Just("<"), Just("<="), Just(">"), Just(">="), Just("=="), Just("!=")];
    let leaf = prop_oneof![
        6 => (int(), compare, int()).prop_map(|(x, op, y)| format!("{x} {op} {y}")),
        2 => Just("j <= i".to_owned()),
        1 => Just("i - j < w".to_owned()),
        1 => Just("flag[b, j]".to_owned()),
        1 => Just("i < until[b, j]".to_owned()),
        1 => Just("own[h, j] == s".to_owned()),
        1 => Just("(0 <= i and doc[b, i] == doc[b, j])".to_owned()),
        1 => Just("(0 <= i and doc[b, i] <= j)".to_owned()),
        1 => Just("(0 <= i and flag[b, i])".to_owned()),
        1 => Just("any(r: near[h, r, j] == i div 2)".to_owned()),
        1 => Just("any(r: far[b, i, r] == j div 3)".to_owned()),
        1 => Just("all(r: far[b, i, r] <= j)".to_owned()),
    ];
    leaf.prop_recursive(2, 5, 2, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("(({x}) and ({y}))")),
            3 => (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("(({x}) or ({y}))")),
            1 => inner.clone().prop_map(|x| format!("(not ({x}))")),
        ]
    })
}

fn case() -> impl Strategy<Value = Case> {
    (0..10usize, 0..14usize, any::<u64>(), any::<bool>(), -2..9i64, -1..6i64, 1..5i64, 1..5i64).prop_map(
        |(rows, keys, seed, lengths, w, s, row_tile, key_tile)| Case {
            rows,
            keys,
            seed,
            lengths,
            params: vec![w, s],
            row_tile,
            key_tile,
        },
    )
}

const TABLES: &str = "input p[b]: i32 in 0 .. 9\n input doc[b, j]: i32 in 0 .. 3\n input flag[b, j]: bool\n \
                      input until[b, j]: i32 in 0 .. 12\n input own[h, j]: i32 in 0 .. 4\n \
                      input near[h, r, j]: i32 in 0 .. 6\n input far[b, i, r]: i32 in 0 .. 6\n input imp[b, g, j]: f32\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_masks_keep_their_meaning(masks in prop::collection::vec(predicate(), 1..4), case in case()) {
        let masks: Vec<String> = masks.iter().map(|mask| format!("mask {mask}\n")).collect();
        check(&format!("attention random(w: int = 3, s: int = 2) {{\n{TABLES}{}}}", masks.concat()), &case);
    }

    #[test]
    fn random_selections_keep_their_meaning(
        masks in prop::collection::vec(
            prop_oneof![
                6 => Just("j <= i".to_owned()),
                1 => Just("j < i".to_owned()),
                1 => Just("j < p[b] or j <= i".to_owned()),
                1 => Just("flag[b, j]".to_owned()),
                1 => Just("j div 3 < i div 2 + w".to_owned()),
                1 => Just("i - j < w".to_owned()),
                1 => Just("0 <= i and doc[b, i] == doc[b, j]".to_owned()),
                1 => predicate(),
            ],
            0..3,
        ),
        forcing in prop_oneof![
            4 => Just(String::new()),
            1 => Just("forcing j < s".to_owned()),
            1 => Just("forcing i - j < s".to_owned()),
            1 => predicate().prop_map(|p| format!("forcing {p}")),
        ],
        plus in prop_oneof![
            3 => Just(String::new()),
            1 => Just("plus j < s".to_owned()),
            1 => Just("plus i - j < s".to_owned()),
            1 => Just("plus j < s or i - j < 2".to_owned()),
            1 => predicate().prop_map(|p| format!("plus {p}")),
        ],
        ties in prop_oneof![Just("low"), Just("high")],
        case in case(),
    ) {
        let masks: Vec<String> = masks.iter().map(|mask| format!("mask {mask}\n")).collect();
        check(
            &format!(
                "attention random(w: int = 3, s: int = 2) {{\n{TABLES}{}select top(w) of imp[b, g, j] {forcing} {plus} ties {ties}\n}}",
                masks.concat()
            ),
            &case,
        );
    }

    #[test]
    fn random_block_selections_keep_their_meaning(
        mask in prop_oneof![Just("j <= i".to_owned()), Just("j <= i and i - j < w".to_owned()), predicate()],
        forcing in prop_oneof![Just(""), Just("forcing x == 0 or i div 3 - x < 1")],
        case in case(),
    ) {
        check(
            &format!(
                "attention random(w: int = 3, s: int = 2) {{\n{TABLES}axis x = blocks(j, 3)\nlet mean_key[b, g, x] = \
                 mean(j in x, d: k[b, g, j, d])\nmask {mask}\nselect top(s) x of mean_key[b, g, x] * q[b, h, i, 0] {forcing}\n}}"
            ),
            &case,
        );
    }
}
