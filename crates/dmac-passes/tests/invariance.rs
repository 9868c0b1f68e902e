//! Nothing is recognised by name or by spelling: programs that differ only in how they are written have one final graph.

#[path = "programs/text.rs"]
mod text;

use dmac_ir::Graph;
use dmac_passes::analysis::key::fingerprint;
use dmac_passes::run_pipeline;
use proptest::prelude::*;

fn finished(program: &str) -> Graph {
    let mut graph = text::graph(program);
    run_pipeline(&mut graph, &mut |_, _| {});
    graph
}

fn assert_one(spellings: &[String]) {
    let first = finished(&spellings[0]);
    for other in &spellings[1..] {
        let graph = finished(other);
        assert_eq!(
            fingerprint(&first),
            fingerprint(&graph),
            "{}\n{other}\ndiffer in\n{first}\n{graph}",
            spellings[0]
        );
        assert_eq!(first.len(), graph.len());
    }
}

#[test]
fn spellings_of_the_library_are_the_same() {
    let same = |body: &[&str]| {
        let programs: Vec<String> =
            body.iter().map(|body| format!("attention a(w: int = 9, s: int = 2) {{ {body} }}")).collect();
        assert_one(&programs);
    };
    same(&[
        "mask j <= i",
        "mask i >= j",
        "mask not (j > i)",
        "mask not (i < j)",
        "mask j - i <= 0",
        "mask j < i + 1",
        "mask 0 <= i - j",
    ]);
    same(&[
        "mask j <= i and (i - j < w or j < s)",
        "mask i >= j\n mask s > j or j > i - w",
        "mask (j < s or not (i - j >= w)) and not (j > i)",
        "mask j < s or w + j > i\n mask j <= i",
        "mask if j < s then true else i - j < w\n mask j <= i",
    ]);
    same(&[
        "input doc[b, j]: i32\n mask j <= i and doc[b, i] == doc[b, j]",
        "input doc[b, j]: i32\n mask doc[b, j] == doc[b, i]\n mask i >= j",
        "input doc[b, j]: i32\n mask not (doc[b, i] - doc[b, j] != 0)\n mask i >= j",
    ]);
    same(&[
        "input p[b]: i32 in 0 .. N\n mask j < p[b] or j <= i",
        "input p[b]: i32 in 0 .. N\n mask i >= j or p[b] > j",
        "input p[b]: i32 in 0 .. N\n mask j < max(p[b], 1 + i)",
    ]);
    same(&[
        "input x[b, g, j]: f32\n mask j <= i\n select top(w) of 2.0 * x[b, g, j]\n score = score + x[b, g, j]",
        "input x[b, g, j]: f32\n mask i >= j\n select top(w) of x[b, g, j] * 2.0\n score = x[b, g, j] + score",
    ]);
    same(&[
        "mask abs(i - j) < w",
        "mask abs(j - i) < w",
        "mask i - j < w and j - i < w",
        "mask j > i - w\n mask j < i + w",
    ]);
    same(&["mask i div 4 == j div 4\n mask j <= i", "mask i >= j\n mask j div 4 - i div 4 == 0"]);
}

/// A comparison, spelt at random.
fn spelling(seed: u64, (x, strict, y): &(String, bool, String)) -> String {
    let op = if *strict { ("<", ">", ">=", "<=") } else { ("<=", ">=", ">", "<") };
    match seed % 6 {
        0 => format!("{x} {} {y}", op.0),
        1 => format!("{y} {} {x}", op.1),
        2 => format!("not ({x} {} {y})", op.2),
        3 => format!("not ({y} {} {x})", op.3),
        4 => format!("{x} - ({y}) {} 0", op.0),
        _ => format!("0 {} {y} - ({x})", op.0),
    }
}

fn side() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("i".to_owned()),
        Just("j".to_owned()),
        Just("w".to_owned()),
        Just("doc[b, j]".to_owned()),
        Just("own[b]".to_owned()),
        (-3..9i64).prop_map(|x| x.to_string()),
    ];
    prop::collection::vec(leaf, 1..4).prop_map(|terms| terms.join(" + "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_spellings_are_the_same(
        terms in prop::collection::vec((side(), any::<bool>(), side()), 1..4),
        seeds in prop::collection::vec(any::<u64>(), 8),
        order in any::<prop::sample::Index>(),
        either in any::<bool>(),
    ) {
        let inputs = "input doc[b, j]: i32\n input own[b]: i32\n";
        let mut spelt = Vec::new();
        for round in 0..2usize {
            let mut list: Vec<String> = terms
                .iter()
                .enumerate()
                .map(|(at, term)| format!("({})", spelling(seeds[(at + 4 * round) % 8], term)))
                .collect();
            if round == 1 {
                let at = order.index(list.len());
                list.rotate_left(at);
            }
            let masks = match (either, round) {
                (true, _) => format!("mask {}", list.join(" or ")),
                (false, 0) => format!("mask {}", list.join(" and ")),
                (false, _) => list.iter().map(|mask| format!("mask {mask}")).collect::<Vec<_>>().join("\n"),
            };
            spelt.push(format!("attention a(w: int = 9) {{ {inputs} {masks} }}"));
        }
        assert_one(&spelt);
    }

    #[test]
    fn folding_twice_is_folding_once(terms in prop::collection::vec((side(), any::<bool>(), side()), 1..4)) {
        let masks: Vec<String> = terms.iter().map(|term| format!("mask {}\n", spelling(0, term))).collect();
        let inputs = "input doc[b, j]: i32\n input own[b]: i32\n";
        let mut graph = text::graph(&format!("attention a(w: int = 9) {{ {inputs} {} }}", masks.concat()));
        dmac_passes::fold::run(&mut graph);
        let once = graph.to_string();
        prop_assert_eq!(dmac_passes::fold::run(&mut graph), dmac_passes::Changed(false));
        prop_assert_eq!(once, graph.to_string());
    }
}

#[test]
fn folding_the_library_twice_is_folding_once() {
    for (name, program) in [text::files("dsl/std"), text::files("crates/dmac-sema/tests/programs")].concat() {
        let mut graph = text::graph(&program);
        dmac_passes::fold::run(&mut graph);
        let once = graph.to_string();
        dmac_passes::fold::run(&mut graph);
        assert_eq!(once, graph.to_string(), "{name}");
    }
}
