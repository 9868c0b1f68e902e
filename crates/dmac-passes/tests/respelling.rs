//! Every program of the library, written in other words, has the same final graph: all names that are the programmer's own
//! are replaced, operands are commuted, comparisons turned round or negated, masks split, declarations moved.

#[path = "programs/respell.rs"]
mod respell;
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

fn library() -> Vec<(String, String)> {
    [text::files("dsl/std"), text::files("crates/dmac-sema/tests/programs")].concat()
}

fn assert_same(name: &str, program: &str, respelt: &str) {
    let (first, other) = (finished(program), finished(respelt));
    assert_eq!(
        (fingerprint(&first), first.len()),
        (fingerprint(&other), other.len()),
        "{name}\n{respelt}\ndiffer in\n{first}\n{other}"
    );
}

#[test]
fn names_do_not_matter() {
    for (name, program) in library() {
        let respelt = respell::renamed(&program);
        assert!(!respelt.contains(&format!("attention {name}")), "{respelt}");
        assert_same(&name, &program, &respelt);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spelling_does_not_matter(seed in any::<u64>()) {
        for (name, program) in library() {
            assert_same(&name, &program, &respell::respelt(&program, seed));
        }
    }
}

#[test]
fn respelling_changes_every_kind_of_spelling() {
    let program = "attention a(w: int = 3) { input x[b, j]: f32 let y[b, j] = x[b, j] * 2.0 mask j <= i and i - j < w }";
    let spelt: Vec<String> = (0..40).map(|seed| respell::respelt(program, seed)).collect();
    for wanted in ["i >= j", "not", "w > ", "2.0 * ", "\n    mask", "])\n    input x"] {
        let found = spelt.iter().any(|text| match wanted {
            "\n    mask" => text.matches(wanted).count() == 2,
            wanted => text.contains(wanted),
        });
        assert!(found, "no respelling has `{wanted}`:\n{}", spelt[0]);
    }
}
