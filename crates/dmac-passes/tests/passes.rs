//! Each pass on a small program, before and after, and on one that it leaves alone.

#[path = "programs/text.rs"]
mod text;

use dmac_ir::Graph;
use dmac_passes::{Changed, PIPELINE, Pass};

/// A program that the pass changes, and one that it does not.
const CASES: &[(&str, &str, &str)] = &[
    (
        "fold",
        "attention a(w: int = 9) { scale = 1.0 + 1.0\n mask not (i - j >= w + 2 - 1) }",
        // The front end writes products in the order of the text: only folded graphs are left alone, see below.
        "",
    ),
    (
        "classify_masks",
        "attention a(w: int = 9) { input doc[b, j]: i32\n input odd[b, j]: bool\n \
         mask j <= i and abs(i - j) < w\n mask doc[b, i] == doc[b, j]\n mask odd[b, j] or (i - j) mod 2 == 0 }",
        "attention a(const r: int = 8) { input kp[b, g, p, d]: real\n input vp[b, g, p, e]: real\n axis p = r\n \
         branch x(keys kp, values vp over p) { } output x }",
    ),
    (
        "lower_selection",
        "attention a(w: int = 9) { input imp[b, g, j]: f32\n mask j <= i\n select top(w) of imp[b, g, j] plus i - j < 4 }",
        "attention a { mask j <= i }",
    ),
    (
        "fuse",
        "attention a { input u[g, e]: real\n \
         let t[b, g, j] = sum(e: u[g, e] * v[b, g, j, e])\n let x[b, g, j] = exp(t[b, g, j])\n \
         let y[b, i, j] = x[b, 0, j] * q[b, 0, i, 0]\n score = score + y[b, i, j] }",
        "attention a { input u[g, e]: real\n let t[b, g, j] = sum(e: u[g, e] * v[b, g, j, e])\n \
         score = score + t[b, g, j] }",
    ),
    (
        "fuse_masks",
        "attention a(w: int = 9, s: int = 4) { mask j <= i and (i - j < w or j < s) }",
        "attention a { }",
    ),
    ("tile_softmax", "attention a { mask j <= i }", ""),
    ("insert_skips", "attention a { input doc[b, j]: i32\n mask j <= i\n mask doc[b, i] == doc[b, j] }", ""),
    (
        "expand_weights",
        "attention a(const n: int = 2) { axis s = blocks(j, 16)\n branch x { mask j <= i }\n \
         branch y { mask j <= i\n select top(n) s of sum(j in s: x.prob[b, h, i, j]) } output y }",
        "attention a { mask j <= i }",
    ),
    (
        "bound_reads",
        "attention a { input tag[b, j]: i32\n input w[t]: f32\n let past[b, g, j] = sum(t: w[t] * k[b, g, 2 * t, 0])\n \
         mask tag[b, i] == tag[b, j]\n score = score + past[b, g, j] }",
        "attention a { input bias[h, t]: f32\n input tag[b, j]: i32 in 0 .. 4\n axis t = 4\n mask j <= i\n \
         score = score + bias[h, tag[b, j]] }",
    ),
    // Passes leave nothing dead behind, so there is something to do only for a graph that somebody else built.
    ("eliminate_dead", "", "attention a { mask j <= i }"),
];

/// The graph of a program after all passes before one.
fn before(program: &str, name: &str) -> Graph {
    let mut graph = text::graph(program);
    for pass in PIPELINE.iter().take_while(|pass| pass.name != name) {
        (pass.run)(&mut graph);
    }
    graph
}

/// The nodes and outputs of a graph, without its declarations.
fn nodes(graph: &Graph) -> String {
    let text = graph.to_string();
    let lines = text.lines().filter(|line| line.starts_with("  %") || line.contains(" = %"));
    lines.fold(String::new(), |text, line| text + line.trim_start() + "\n")
}

fn pass(name: &str) -> &'static Pass {
    PIPELINE.iter().find(|pass| pass.name == name).unwrap_or_else(|| panic!("there is no pass {name}"))
}

#[test]
fn every_pass_has_a_case() {
    let cases: Vec<&str> = CASES.iter().map(|(name, ..)| *name).collect();
    let passes: Vec<&str> = PIPELINE.iter().map(|pass| pass.name).collect();
    assert_eq!(cases, passes);
}

#[test]
fn passes_change_what_they_are_for() {
    for (name, program, _) in CASES.iter().filter(|(_, program, _)| !program.is_empty()) {
        let mut graph = before(program, name);
        let old = nodes(&graph);
        assert_eq!((pass(name).run)(&mut graph), Changed(true), "{name}");
        let text = format!("{program}\n\n{old}\n{name} =>\n\n{}", nodes(&graph));
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "snapshots/passes" }, {
            insta::assert_snapshot!(*name, text);
        });
    }
}

#[test]
fn passes_leave_the_rest_alone() {
    for (name, _, program) in CASES.iter().filter(|(.., program)| !program.is_empty()) {
        let mut graph = before(program, name);
        let old = graph.to_string();
        assert_eq!((pass(name).run)(&mut graph), Changed(false), "{name}\n{old}\n{graph}");
        assert_eq!(old, graph.to_string(), "{name}");
    }
}

#[test]
fn passes_have_nothing_to_add_to_their_own_work() {
    for (name, program) in [text::files("dsl/std"), text::files("crates/dmac-sema/tests/programs")].concat() {
        let mut graph = text::graph(&program);
        for pass in PIPELINE {
            (pass.run)(&mut graph);
            let once = graph.to_string();
            (pass.run)(&mut graph);
            assert_eq!(once, graph.to_string(), "{} twice on {name}", pass.name);
        }
    }
}

#[test]
fn dead_nodes_vanish() {
    let mut graph = text::graph("attention a { mask j <= i }");
    let live = {
        let mut graph = graph.clone();
        (pass("eliminate_dead").run)(&mut graph);
        graph
    };
    graph.int(12345);
    assert_eq!((pass("eliminate_dead").run)(&mut graph), Changed(true));
    assert_eq!(graph.to_string(), live.to_string());
}

/// Expressions share their parts; nothing may take time for each way to reach one.
#[test]
fn shared_expressions_take_linear_time() {
    let chain = |step: &str, last: &str| {
        let lets: Vec<String> = (1..30)
            .map(|at| step.replace("NEW", &format!("x{at}")).replace("OLD", &format!("x{}", at - 1)))
            .collect();
        format!("attention a(w: int = 9) {{ input t[b, j]: i32 in 0 .. 9\n{}\n{last} }}", lets.join("\n"))
    };
    let programs = [
        chain(
            "let NEW[b, i, j] = OLD[b, i, j] * OLD[b, i, j] + 1.0",
            "let x0[b, i, j] = 0.5 * (i - j)\n score = score + x29[b, i, j]",
        ),
        chain(
            "let NEW[b, i, j] = OLD[b, i, j] * (OLD[b, i, j] + t[b, j])",
            "let x0[b, i, j] = i - j\n mask x29[b, i, j] < w",
        ),
        chain(
            "let NEW[b, i, j] = max(OLD[b, i, j], OLD[b, i, j] div 2 + t[b, j])",
            "let x0[b, i, j] = i - j\n mask x29[b, i, j] < w",
        ),
        chain(
            "let NEW[b, i, j] = OLD[b, i, j] == (t[b, j] < i) or (OLD[b, i, j] and j < w)",
            "let x0[b, i, j] = j <= i\n mask x29[b, i, j]",
        ),
        chain(
            "let NEW[b, i, j] = if OLD[b, i, j] then t[b, j] < i else not OLD[b, i, j]",
            "let x0[b, i, j] = j <= i\n mask not x29[b, i, j]",
        ),
    ];
    for program in programs {
        let graph = text::graph(&program);
        let text = dmac_passes::explain::explain(&graph).to_string();
        assert!(text.contains("walks"), "{program}");
    }
}
