//! What lowering makes explicit means what the language says: two spellings of one thing give the same results on the
//! oracle, for grouped heads, sequences of different lengths and blocks that end short.

use dmac_interp::{Inputs, Options, Outputs, Tensor, evaluate};
use dmac_ir::{AxisId, Elem, Graph};
use dmac_sema::{SemaOptions, Value, analyze};
use dmac_source::{Format, Renderer, SourceFile};
use std::path::Path;

const SIZES: [(&str, i64); 5] = [("B", 2), ("H", 4), ("G", 2), ("M", 5), ("N", 11)];

fn graph(text: &str) -> Graph {
    let file = SourceFile::new("test", text);
    let (module, mut diagnostics) = dmac_syntax::parse(&file);
    let options = SemaOptions { head_dim: Some(16), value_dim: Some(8), ..SemaOptions::default() };
    let (programs, found) = analyze(&module, &options);
    diagnostics.extend(found);
    diagnostics.retain(dmac_source::Diagnostic::is_error);
    assert!(diagnostics.is_empty(), "{}", Renderer::new(Format::Human).render_all(&file, &diagnostics));
    programs.into_iter().next().expect("there is a program").graph
}

/// Inputs whose values depend on the tensor's name and the element's number only, so that two programs share them.
fn inputs(graph: &Graph, more: &[(&str, i64)], lengths: Option<[i64; 2]>) -> Inputs {
    let size = |axis: AxisId| {
        let axis = graph.axis(axis);
        let given = SIZES.iter().chain(more).find(|(name, _)| *name == axis.name).map(|(_, size)| *size);
        axis.size.or(given).unwrap_or_else(|| panic!("no size is given for the axis `{}`", axis.name))
    };
    let tensors = graph.inputs.iter().map(|input| {
        let dims: Vec<usize> = input.axes.iter().map(|&axis| size(axis) as usize).collect();
        let seed = input.name.bytes().fold(7_u64, |seed, byte| seed * 31 + u64::from(byte));
        let random = |at: usize| {
            let mixed = (seed + at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
        };
        let elements = 0..dims.iter().product::<usize>();
        match input.elem {
            Elem::Real | Elem::F32 => {
                let data = elements.map(|at| random(at) as f32 / (1 << 23) as f32 - 1.0).collect();
                Tensor::f32(&dims, data)
            }
            Elem::I32 => {
                let lowest = input.range.map_or(0, |(lowest, _)| lowest) as i32;
                Tensor::i32(&dims, elements.map(|at| lowest + random(at) as i32 % 3).collect())
            }
            Elem::Bool => Tensor::bool(&dims, elements.map(|at| random(at) % 2 == 0).collect()),
        }
    });
    let mut inputs = Inputs::new(graph, tensors.collect());
    inputs.kv_len = lengths.map(|lengths| lengths.to_vec());
    inputs
}

fn run(text: &str, lengths: Option<[i64; 2]>) -> Outputs {
    let graph = graph(text);
    let inputs = inputs(&graph, &[("t", 3)], lengths);
    evaluate(&graph, &inputs, &Options::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn close(a: &[f64], b: &[f64]) -> bool {
    let near = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= 1e-5 * (1.0 + b.abs());
    a.len() == b.len() && a.iter().zip(b).all(near)
}

/// Checks that the bodies of two programs mean the same, with all keys there and with fewer.
#[track_caller]
fn same(one: &str, other: &str) {
    for lengths in [None, Some([11, 7]), Some([0, 3])] {
        let wrap = |body: &str| {
            if body.contains("attention") {
                body.to_owned()
            } else {
                format!("attention a {{ input x[b, j]: f32 input y[h]: f32 {body} }}")
            }
        };
        let (one, other) = (run(&wrap(one), lengths), run(&wrap(other), lengths));
        for (one, other) in one.tensors.iter().zip(&other.tensors) {
            assert_eq!(one.dims, other.dims);
            assert!(close(&one.data, &other.data), "{} with lengths {lengths:?}", one.name);
        }
        let out = &one.get("out").expect("there is an output").data;
        assert!(out.iter().any(|value| *value != 0.0) && out.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn a_head_brings_its_key_value_head() {
    same(
        "let z[b, h, j] = sum(e: v[b, g, j, e]) score = score + z[b, h, j] mask j <= i",
        "score = score + sum(e: v[b, g, j, e]) mask j <= i",
    );
    same(
        "score = score + sum(h': v[b, g', j, 0]) mask j <= i",
        "score = score + sum(g': 2 * v[b, g', j, 0]) mask j <= i",
    );
    same(
        "let z[b, g, i] = sum(h in g: q[b, h, i, 0]) score = score + z[b, g, i]",
        "score = score + sum(h': if h' div 2 == g then q[b, h', i, 0] else 0.0)",
    );
    // The rows of a selection have the query head alone.
    same(
        "mask j <= i select top(2) of y[h] * v[b, g, j, 0]",
        "let z[b, h, j] = y[h] * v[b, g, j, 0] mask j <= i select top(2) of z[b, h, j]",
    );
}

#[test]
fn defaults_are_what_they_stand_for() {
    let all = "branch p(queries q, keys k, values v over j) { mask j <= i } output p emit p.lse";
    same(all, "mask j <= i");
    same("score = scale * sum(d: q[b, h, i, d] * k[b, g, j, d]) mask j <= i", "mask j <= i");
    same("scale = rsqrt(D) mask j <= i", "mask j <= i");
    same("scale = y[h] mask j <= i", "score = score * sqrt(D) * y[h] mask j <= i");
    same("scale = 0.5 mask j <= i", "score = score * sqrt(D) / 2 mask j <= i");
    same("score = score + y[h] score = 2 * score mask j <= i", "score = 2 * (score + y[h]) mask j <= i");
    same("mask j <= i mask i - j < 3", "mask j <= i and i - j < 3");
    same("output out mask j <= i", "mask j <= i");
    same(
        "branch p { normalize softmax with y[h] mask j <= i } output p",
        "branch p { mask j <= i } output p * sigmoid(p.lse - y[h])",
    );
}

#[test]
fn windows_and_blocks_are_ranges_of_positions() {
    let axes = "axis c = windows(j, 4, 3) axis s = blocks(j, 4) axis u = N";
    same(
        &format!("{axes} score = score + sum(c, s: overlap(c, s) * s)"),
        &format!(
            "{axes} score = score + sum(c, s, u: if u >= start(c) and u < end(c) and u >= start(s) and u < end(s) then s else 0)"
        ),
    );
    same(&format!("{axes} score = score + sum(s: end(s) * s)"), "score = score + (8 + 2 * 11)");
    same(&format!("{axes} score = score + sum(c: end(c) * c)"), "score = score + (7 + 2 * 10)");
}

#[test]
fn selections_of_everything_select_what_the_masks_leave() {
    same("mask j <= i select top(N) of x[b, j]", "mask j <= i");
    same("axis s = blocks(j, 4) mask j <= i select top(N) s of s * y[h]", "mask j <= i");
    same("select top(N) of x[b, j] among true mask j <= i", "mask j <= i");
    same("mask j <= i select top(0) of x[b, j] plus true", "mask j <= i");
    same("mask j <= i select top(3) of x[b, j] forcing i - j < 3", "mask j <= i and i - j < 3");
    same("mask j <= i select top(3) of i - j ties high", "mask j <= i and j < 3");
    same("mask j <= i select top(2) of 1.0 ties high", "mask j <= i and i - j < 2");
    same("mask j <= i select top(2) of 1.0", "mask j <= i and j < 2");
    same("axis s = blocks(j, 4) mask j <= i select top(1) s of s", "mask j <= i and j div 4 == i div 4");
}

#[test]
fn functions_conversions_and_branches() {
    same(
        "fn cap(u, c) = c * tanh(u / c) fn twice(u) = u + u \
         attention a { input x[b, j]: f32 score = cap(twice(score), 20) mask j <= i }",
        "attention a { input x[b, j]: f32 score = 20.0 * tanh(score * 2 / 20.0) mask j <= i }",
    );
    same("score = score + cast(j / 2, int) mask j <= i", "score = score + j div 2 mask j <= i");
    same("mask (j <= i) == (j < N)", "mask j <= i");
    same("score = score + clamp(j, 2, 4)", "score = score + (if j < 2 then 2 else if j > 4 then 4 else j)");
    same("score = score + silu(x[b, j])", "score = score + x[b, j] * sigmoid(x[b, j])");
    same("mask j <= i and x[b, i] > -9", "mask j <= i");
    same(
        "branch p { mask j <= i } branch r(values w) { mask j <= i } let w[b, g, j, e] = 2 * v[b, g, j, e] \
         output y[h] * r - y[h] * p[b, h, i, e]",
        "branch p { mask j <= i } output y[h] * p",
    );
}

#[test]
fn pinned_parameters_are_constants() {
    let text = "attention a(w: int = 4, const l: int = 8, cap: float = 2) \
                { axis s = blocks(j, l) mask j <= i and i - j < w score = min(score + sum(s: 0.1), cap) }";
    let file = SourceFile::new("test", text);
    let (module, _) = dmac_syntax::parse(&file);
    let pin = |name: &str, value| SemaOptions {
        defines: [(name.to_owned(), value)].into(),
        ..SemaOptions::default()
    };
    let names = |options: &SemaOptions| {
        let (programs, diagnostics) = analyze(&module, options);
        assert!(diagnostics.is_empty());
        let pinned = programs[0].params.iter().filter(|param| param.pinned).map(|param| param.name.clone());
        let run_time = programs[0].graph.params.iter().map(|param| param.name.clone());
        (run_time.collect::<Vec<_>>(), pinned.collect::<Vec<_>>(), programs[0].graph.to_string())
    };
    let (run_time, pinned, text) = names(&SemaOptions::default());
    assert_eq!((run_time, pinned), (vec!["w".into(), "cap".into()], vec![]));
    assert!(text.contains("axis s blocks of N, length 8"), "{text}");
    let (run_time, pinned, text) = names(&pin("w", Value::Int(6)));
    assert_eq!((run_time, pinned), (vec!["cap".into()], vec!["w".into()]));
    assert!(text.contains("int 6"), "{text}");
    let (run_time, _, text) = names(&pin("cap", Value::Int(3)));
    assert_eq!(run_time, ["w"]);
    assert!(text.contains("float 3.0"), "{text}");
    let (_, pinned, text) = names(&pin("l", Value::Int(16)));
    assert_eq!(pinned, ["l"]);
    assert!(text.contains("axis s blocks of N, length 16"), "{text}");
}

#[test]
fn sizes_of_axes_are_their_names_in_capitals() {
    let text = "attention a { input id[b, j]: i32 in 0 .. W div 2 input table[h, w]: f32 axis w = 2 * T input y[t]: f32 \
                score = score + table[h, id[b, j]] * sum(t: y[t]) * W }";
    let graph = graph(text);
    let axes: Vec<&str> = graph.axes[7..].iter().map(|axis| axis.name.as_str()).collect();
    assert_eq!(axes, ["t", "w"], "an axis stands after those that its size depends on");
    let mut given = inputs(&graph, &[("t", 3), ("w", 6)], None);
    assert!(evaluate(&graph, &given, &Options::default()).is_ok());
    let dims = given.tensors[3].dims.clone();
    given.tensors[3] = Tensor::i32(&dims, vec![3; dims.iter().product()]);
    let error = evaluate(&graph, &given, &Options::default()).expect_err("3 is not in 0 .. 3");
    assert!(error.to_string().contains("id"), "{error}");
    same("axis s = blocks(j, 4) score = score * S", "score = score * 3");
}

#[test]
fn test_programs_run_on_the_oracle() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    for entry in std::fs::read_dir(folder).expect("the programs are there") {
        let path = entry.expect("their folder can be read").path();
        let graph = graph(&std::fs::read_to_string(&path).expect("a program can be read"));
        let sizes = [("t", 3), ("x", 4), ("nb", 3), ("r", 2), ("u", 32)];
        for lengths in [None, Some([11, 7]), Some([0, 3])] {
            let inputs = inputs(&graph, &sizes, lengths);
            let outputs = evaluate(&graph, &inputs, &Options::default());
            let outputs = outputs.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let out = &outputs.get("out").expect("there is an output").data;
            assert!(out.iter().all(|value| value.is_finite()), "{} with {lengths:?}", path.display());
        }
    }
}
