//! The graphs after all passes: the same results as before, and skip predicates that hold for every pair.

use crate::setting::{Setting, Sizes};
use dmac_interp::{Error, Options, TileStatistics, check_skips, evaluate};
use dmac_ir::{Attend, Attendance, Graph, Op};
use dmac_passes::run_pipeline;

const SIZES: Sizes = Sizes { b: 2, h: 2, g: 1, m: 23, n: 29, d: 8, e: 8 };

fn tiled(graph: &Graph, tile: i64) -> Options<'static> {
    let axes = graph.vars.iter().map(|var| (var.axis, tile));
    Options { tiles: axes.collect(), ..Options::default() }
}

fn check(setting: &Setting) -> TileStatistics {
    let before = setting.evaluate();
    let mut graph = setting.graph.clone();
    run_pipeline(&mut graph, &mut |_, _| {});
    let options = tiled(&graph, 4);
    let after = evaluate(&graph, &setting.inputs, &options).expect("evaluates");
    for (before, after) in before.tensors.iter().zip(&after.tensors) {
        assert_eq!(before.name, after.name);
        for (x, y) in before.data.iter().zip(&after.data) {
            assert!(x == y || (x - y).abs() < 1e-6, "{}: {x}, {y}", before.name);
        }
    }
    let mut total = TileStatistics::default();
    for attention in check_skips(&graph, &setting.inputs, &options).expect("sound") {
        total.skipped += attention.skipped;
        total.full += attention.full;
        total.partial += attention.partial;
    }
    total
}

#[test]
fn library_programs_skip_only_what_no_row_attends() {
    for lengths in [None, Some(&[29, 24][..])] {
        let program = |name, pins: &[(&str, i64)], more: &[(&str, usize)]| {
            check(&Setting::new(name, SIZES, pins, more, lengths))
        };
        for name in ["causal", "alibi", "softcap", "document"] {
            let tiles = program(name, &[], &[]);
            assert!(tiles.skipped > 0 && tiles.partial > 0 && tiles.full > 0, "{name}: {tiles:?}");
        }
        let window = program("sliding_window_sinks", &[("window", 9), ("sink", 2)], &[]);
        assert!(window.skipped > 0 && window.partial > 0 && window.full > 0, "{window:?}");
        // Windows, dilated bands, documents and blocks from a table: what is far from all of them is proved empty.
        for (name, pins) in [
            ("sliding_window", &[("window", 9)][..]),
            ("two_sided_window", &[("left", 9), ("right", 5)]),
            ("document_window", &[("window", 11)]),
            ("sink_logits", &[("window", 9)]),
            ("prefix_lm", &[]),
            ("bigbird", &[("block", 4)]),
        ] {
            let tiles = program(name, pins, &[("r", 1)]);
            assert!(tiles.skipped > 0 && tiles.partial > 0 && tiles.full > 0, "{name}: {tiles:?}");
        }
        // No tile of a band with gaps is full, and random global tokens are in most tiles, but not in all.
        let longformer = program("longformer", &[("window", 2), ("dilation", 3)], &[]);
        assert!(longformer.partial > 0, "{longformer:?}");
        let dma = program("dma", &[("w", 6)], &[]);
        assert!(dma.skipped > 0 && dma.partial > 0, "{dma:?}");
        program("indexed", &[("n", 6)], &[("x", 2), ("f", 4)]);
        program("low_rank", &[("r", 5)], &[]);
        let pins = [("l", 4), ("stride", 2), ("block", 8), ("n", 3), ("window", 6)];
        program("nsa", &pins, &[("t", 4), ("r", 3)]);
    }
}

/// The graph with the predicate of the last term replaced by a constant: (may, full).
fn lying(graph: &Graph, which: usize, claim: bool) -> Graph {
    graph.rewrite(|new, node, operands| match &node.op {
        Op::Attend(attend) => {
            let attend: &Attend = attend;
            let view = Attendance { attend, operands };
            let last = operands.len() - 2 + which;
            assert!(view.skip(attend.forms.len() - 1).is_some());
            let mut operands = operands.to_vec();
            operands[last] = new.bool(claim);
            new.add_at(node.op.clone(), &operands, node.span)
        }
        _ => Graph::keep(new, node, operands),
    })
}

#[test]
fn a_false_claim_is_found() {
    let setting = Setting::new("causal", SIZES, &[], &[], None);
    let mut graph = setting.graph.clone();
    run_pipeline(&mut graph, &mut |_, _| {});
    for (which, value, claimed) in [(0, false, "empty"), (1, true, "full")] {
        let graph = lying(&graph, which, value);
        let error = check_skips(&graph, &setting.inputs, &tiled(&graph, 4)).expect_err("a lie");
        let Error::Skip { attention, claim, at, .. } = &error else { panic!("{error}") };
        assert_eq!((attention.as_str(), *claim), ("out", claimed));
        assert!(at.iter().any(|(name, _)| name == "j"), "{at:?}");
    }
    let graph = lying(&graph, 0, true);
    check_skips(&graph, &setting.inputs, &tiled(&graph, 4)).expect("a claim that is weak is no lie");
    let error = check_skips(&graph, &setting.inputs, &Options::default()).expect_err("no tile");
    assert_eq!(error.to_string(), "no tile size is given for axis M");
}
