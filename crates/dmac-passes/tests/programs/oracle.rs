//! What the interpreter says about a graph, and how two of its answers are compared.

use dmac_interp::{Data, Error, Inputs, Options, Outputs, Storage, evaluate, kernel, random_inputs};
use dmac_ir::{
    Attend, Attendance, AxisKind, Binary, Field, Form, Graph, NodeId, Op, Output, ParamValue, Unary,
};
use dmac_schedule::{Schedule, lower::lower, target};
use std::collections::BTreeMap;

/// A shape with everything that is random about its tensors.
#[derive(Clone, Debug)]
pub struct Case {
    pub rows: usize,
    pub keys: usize,
    pub seed: u64,
    /// Whether batch elements have lengths.
    pub lengths: bool,
    /// Values of the int parameters, in order; defaults where there are fewer.
    pub params: Vec<i64>,
    pub row_tile: i64,
    pub key_tile: i64,
}

impl Default for Case {
    fn default() -> Self {
        Self { rows: 5, keys: 5, seed: 1, lengths: true, params: Vec::new(), row_tile: 3, key_tile: 2 }
    }
}

/// A library program with its parameters scaled down, so that every window and selection removes something at the small
/// sizes of a test.
pub fn scaled(program: &str) -> String {
    let small = [
        ("1024", "3"),
        ("2048", "3"),
        ("512", "6"),
        ("256", "4"),
        ("128", "5"),
        ("64", "4"),
        ("32", "4"),
        ("16", "2"),
    ];
    small.iter().fold(program.to_owned(), |text, (from, to)| {
        text.replace(&format!("int = {from}"), &format!("int = {to}"))
    })
}

/// Random tensors for a case; `None` where the shape does not fit the program.
pub fn inputs(graph: &Graph, case: &Case) -> Option<Inputs> {
    let mut sizes: BTreeMap<String, i64> =
        [("B", 2), ("H", 4), ("G", 2)].map(|(k, v)| (k.to_owned(), v)).into();
    sizes.insert("M".into(), case.rows as i64);
    sizes.insert("N".into(), case.keys as i64);
    for axis in &graph.axes {
        if axis.kind == AxisKind::Free {
            sizes.insert(axis.name.clone(), 4);
        }
        if let AxisKind::Sized(size) = &axis.kind {
            let value = size.eval(
                &|param| match graph.param(param).default {
                    ParamValue::Int(value) => Some(value),
                    ParamValue::Float(_) => None,
                },
                &|axis| sizes.get(&graph.axis(axis).name).copied(),
            );
            sizes.insert(axis.name.clone(), value?);
        }
    }
    let mut inputs = random_inputs(graph, &sizes, Storage::F32, case.seed).ok()?;
    for (at, value) in case.params.iter().enumerate().take(inputs.params.len()) {
        inputs.params[at] = ParamValue::Int(*value);
    }
    if case.lengths {
        let n = case.keys as u64;
        inputs.kv_len = Some(vec![(case.seed % (n + 1)) as i64, n as i64]);
    }
    // Scores with ties, and with values that are not numbers.
    for (input, tensor) in graph.inputs.iter().zip(&mut inputs.tensors) {
        if input.name == "imp"
            && let Data::F32(data) = &mut tensor.data
        {
            for (at, value) in data.iter_mut().enumerate() {
                *value = value.round();
                if (at as u64 + case.seed % 11).is_multiple_of(11) {
                    *value = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0][at % 4];
                }
            }
        }
    }
    Some(inputs)
}

pub fn evaluate_case(graph: &Graph, inputs: &Inputs, case: &Case) -> Result<Outputs, Error> {
    let mut tiles = BTreeMap::new();
    for (id, axis) in (0..).map(dmac_ir::AxisId).zip(&graph.axes) {
        let tile = if axis.kind == AxisKind::Query { case.row_tile } else { case.key_tile };
        tiles.insert(id, tile);
    }
    evaluate(graph, inputs, &Options { tiles, ..Options::default() })
}

/// The same outputs within the error of another order of operations, and exactly the same pairs.
pub fn assert_same(expected: &Outputs, found: &Outputs, context: &str) {
    let attended = |outputs: &Outputs| -> BTreeMap<String, u64> {
        outputs.attentions.iter().map(|attention| (attention.name.clone(), attention.attended)).collect()
    };
    // Of attentions that both have: a pass may drop one that nothing reads.
    let (before, after) = (attended(expected), attended(found));
    for (name, pairs) in &after {
        assert_eq!(before.get(name), Some(pairs), "attended pairs of {name} {context}");
    }
    assert_eq!(expected.tensors.len(), found.tensors.len(), "{context}");
    for (x, y) in expected.tensors.iter().zip(&found.tensors) {
        assert_eq!((&x.name, &x.dims), (&y.name, &y.dims), "{context}");
        for (&a, &b) in x.data.iter().zip(&y.data) {
            assert!(near(a, b), "output {}: {a} became {b} {context}", x.name);
        }
    }
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 2e-5 * (1.0 + a.abs())
}

/// The tile program of a final graph, in small tiles, stores what the original graph means.
pub fn assert_lowers(
    graph: &Graph,
    original: &Graph,
    inputs: &Inputs,
    expected: &Outputs,
    case: &Case,
    context: &str,
) {
    let schedule = Schedule { q_tile: 4, kv_tile: 4, ..Schedule::choose(&target::NATIVE, 8, 8) };
    let program = lower(graph, &target::NATIVE, &schedule, dmac_schedule::kernel::Storage::F32)
        .unwrap_or_else(|errors| panic!("{errors:?}\n{context}\n{graph}"));
    let stored = kernel::execute(&program, original, inputs, case.seed)
        .unwrap_or_else(|error| panic!("{error}\n{context}\n{case:?}\n{graph}\n{program}"));
    for output in &expected.tensors {
        let found = stored.iter().find(|tensor| tensor.name == output.name).expect("outputs are stored");
        for (at, (&want, got)) in output.data.iter().zip(&found.data).enumerate() {
            let same = got.is_some_and(|got| near(want, got));
            assert!(
                same,
                "{}[{at}]: {got:?}, not {want}\n{context}\n{case:?}\n{graph}\n{program}",
                output.name
            );
        }
    }
}

/// In no tile whose predicates say "no pair" is a pair attended, in no tile where all terms are full is one missing: two
/// graphs in which only such pairs are attended attend nothing.
pub fn assert_skips_sound(graph: &Graph, inputs: &Inputs, case: &Case, context: &str) {
    for question in ["active though skipped", "missing though full"] {
        let wrong = graph.rewrite(|new, node, operands| match &node.op {
            Op::Attend(attend) => only_wrong(new, attend, operands, question == "missing though full"),
            _ => Graph::keep(new, node, operands),
        });
        // Statistics of every attention, whatever the outputs make of it.
        let mut wrong = wrong;
        let attentions: Vec<NodeId> =
            wrong.node_ids().filter(|&id| matches!(wrong.op(id), Op::Attend(_))).collect();
        wrong.outputs = attentions
            .iter()
            .enumerate()
            .map(|(at, &id)| Output { name: format!("out{at}"), node: wrong.field(id, Field::Out) })
            .collect();
        let found = evaluate_case(&wrong, inputs, case)
            .unwrap_or_else(|error| panic!("{question}: {error}\n{context}\n{wrong}"));
        for attention in &found.attentions {
            assert_eq!(attention.attended, 0, "{question} in\n{context}\n{case:?}\n{graph}\n{wrong}");
        }
    }
}

fn only_wrong(graph: &mut Graph, attend: &Attend, operands: &[NodeId], full: bool) -> NodeId {
    let view = Attendance { attend, operands };
    let terms = view.terms().to_vec();
    let skips: Vec<(NodeId, NodeId)> =
        (0..terms.len()).map(|at| view.skip(at).expect("skips are inserted")).collect();
    let start = operands.len() - 3 * terms.len();
    let not = |graph: &mut Graph, x: NodeId| graph.unary(Unary::Not, x);
    let all = |graph: &mut Graph, parts: &[NodeId]| {
        let truth = graph.bool(true);
        parts.iter().fold(truth, |sum, &part| graph.binary(Binary::And, sum, part))
    };
    let masks: Vec<NodeId> = if full {
        // Every term full, and yet one of them false.
        let full: Vec<NodeId> = skips.iter().map(|&(_, full)| full).collect();
        let (full, attended) = (all(graph, &full), all(graph, &terms));
        let missing = not(graph, attended);
        vec![full, missing]
    } else {
        let may: Vec<NodeId> = skips.iter().map(|&(may, _)| may).collect();
        let may = all(graph, &may);
        let skipped = not(graph, may);
        [&terms[..], &[skipped]].concat()
    };
    let attend = Attend { forms: vec![Form::Predicate; masks.len()], skips: false, ..attend.clone() };
    graph.add(Op::Attend(attend), &[&operands[..start], &masks[..]].concat())
}
