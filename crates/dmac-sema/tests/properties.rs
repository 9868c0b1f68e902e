//! Whatever a text says, analysis ends with programs or with errors: it never panics, says the same each time, and every
//! graph that it makes verifies (which lowering asserts).

use dmac_sema::{SemaOptions, analyze};
use dmac_source::{Format, Renderer, SourceFile, has_errors};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::path::Path;

/// Analyses a text, twice; gives whether it became programs.
fn survives(text: &str, options: &SemaOptions) -> bool {
    let file = SourceFile::new("generated", text);
    let (module, mut diagnostics) = dmac_syntax::parse(&file);
    let (programs, found) = analyze(&module, options);
    let (again, found_again) = analyze(&module, options);
    assert_eq!(found, found_again);
    let print = |programs: &[dmac_sema::Program]| -> Vec<String> {
        programs.iter().map(|program| program.graph.to_string()).collect()
    };
    assert_eq!(print(&programs), print(&again));
    diagnostics.extend(found);
    // Labels lie in the text, or rendering would panic.
    let rendered = Renderer::new(Format::Human).render_all(&file, &diagnostics);
    if programs.is_empty() {
        assert!(has_errors(&diagnostics) || module.attentions().next().is_none(), "{text}\n{rendered}");
    }
    !programs.is_empty()
}

/// The texts of the library and of the test programs.
fn texts() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("../../dsl/std"), root.join("tests/programs")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the programs are there"));
    let mut paths: Vec<_> = files.map(|entry| entry.expect("their folder can be read").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read_to_string(path).expect("a program can be read")).collect()
}

/// Words and signs, so that edits change meaning more often than they break the grammar.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in text.chars() {
        let letter = |c: char| c.is_alphanumeric() || c == '_' || c == '\'' || c == '.';
        match words.last_mut() {
            Some(last) if letter(c) && last.ends_with(letter) => last.push(c),
            Some(last) if c.is_whitespace() && last.ends_with(char::is_whitespace) => last.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words
}

#[derive(Clone, Debug)]
enum Edit {
    Delete(Index),
    Replace(Index, Index),
    Swap(Index, Index),
    /// A word takes the place of another one of the same kind: a name of a name, a sign of a sign.
    Retarget(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let two = || (any::<Index>(), any::<Index>());
    prop_oneof![
        1 => any::<Index>().prop_map(Edit::Delete),
        1 => two().prop_map(|(at, from)| Edit::Replace(at, from)),
        1 => two().prop_map(|(a, b)| Edit::Swap(a, b)),
        6 => two().prop_map(|(at, from)| Edit::Retarget(at, from)),
    ]
}

fn apply(words: &mut Vec<String>, edit: &Edit) {
    let count = words.len();
    if count == 0 {
        return;
    }
    match edit {
        Edit::Delete(at) => {
            words.remove(at.index(count));
        }
        Edit::Replace(at, from) => {
            let word = words[from.index(count)].clone();
            words[at.index(count)] = word;
        }
        Edit::Swap(a, b) => words.swap(a.index(count), b.index(count)),
        Edit::Retarget(at, from) => {
            let is_name = |word: &&mut String| word.starts_with(char::is_alphabetic);
            let names: Vec<String> =
                words.iter().filter(|word| word.starts_with(char::is_alphabetic)).cloned().collect();
            let count = words.iter_mut().filter(is_name).count();
            if count > 0
                && let Some(word) = words.iter_mut().filter(is_name).nth(at.index(count))
            {
                word.clone_from(&names[from.index(names.len())]);
            }
        }
    }
}

/// Things that are meaningful somewhere.
const LEAVES: &[&str] = &[
    "0",
    "1",
    "2",
    "64",
    "0.5",
    "true",
    "b",
    "h",
    "g",
    "i",
    "j",
    "c",
    "s",
    "t",
    "d'",
    "n",
    "cap",
    "N",
    "H",
    "D",
    "score",
    "scale",
    "q[b, h, i, d]",
    "q[b, h, i, 0]",
    "k[b, g, j, e]",
    "k[b, g, j, d']",
    "v[b, g, start(c), e]",
    "x[b, g, j]",
    "x[b, g, i]",
    "flag[b, j]",
    "id[b, i]",
    "id[b, j]",
    "table[id[b, j], h]",
    "table[0, h]",
    "rank0",
    "m[b, g, s, 0]",
    "delta[b, g, j]",
    "first",
    "first[b, h, i, e]",
    "first.lse",
    "first.lse[b, h, i]",
    "first.prob[b, h, i, j]",
    "start(c)",
    "end(s)",
    "overlap(c, s)",
    "unknown",
    "x",
];

fn expression() -> impl Strategy<Value = String> {
    let leaf = select(LEAVES).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = select(vec!["+", "-", "*", "/", "div", "mod", "<", "<=", "==", "!=", "and", "or"]);
        let function =
            select(vec!["exp", "abs", "max", "min", "relu", "clamp", "stop", "twice", "floor", "nothing"]);
        let reduction = select(vec!["sum", "max", "min", "mean", "any", "all"]);
        let binder =
            select(vec!["t", "d", "d'", "j", "e", "g'", "h in g", "j in s", "j in c", "c", "s", "h'", "i"]);
        prop_oneof![
            4 => (inner.clone(), operator, inner.clone()).prop_map(|(x, op, y)| format!("({x} {op} {y})")),
            1 => inner.clone().prop_map(|x| format!("not {x}")),
            1 => inner.clone().prop_map(|x| format!("-{x}")),
            2 => (function, prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(f, args)| format!("{f}({})", args.join(", "))),
            2 => (reduction, binder, inner.clone()).prop_map(|(r, b, x)| format!("{r}({b}: {x})")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(c, x, y)| format!("if {c} then {x} else {y}")),
            1 => inner.prop_map(|x| format!("cast({x}, int)")),
        ]
    })
}

fn step() -> impl Strategy<Value = String> {
    let maybe = |word: &'static str| {
        prop::option::weighted(0.3, expression())
            .prop_map(move |part| part.map_or(String::new(), |part| format!(" {word} {part}")))
    };
    prop_oneof![
        3 => expression().prop_map(|x| format!("mask {x}")),
        2 => Just("mask j <= i".to_owned()),
        3 => expression().prop_map(|x| format!("score = {x}")),
        1 => expression().prop_map(|x| format!("scale = {x}")),
        2 => (expression(), maybe("among"), maybe("forcing"), maybe("plus"), select(vec!["", " s"]))
            .prop_map(|(x, among, forcing, plus, over)| format!("select top(n){over} of {x}{among}{forcing}{plus}")),
        1 => select(vec!["softmax", "sigmoid", "softmax with cap", "relu"]).prop_map(|name| format!("normalize {name}")),
    ]
}

fn program() -> impl Strategy<Value = String> {
    let declarations = "input x[b, g, j]: f32 input flag[b, j]: bool input id[b, j]: i32 in 0 .. 8 input table[t, h]: f32 \
                        input rank0: f32 axis c = windows(j, 32, 16) axis s = blocks(j, 64)";
    let lets = prop::collection::vec(
        (select(vec!["delta[b, g, j]", "m[b, g, s, d]", "y[b, h, i]", "z[b, g, c, d']"]), expression()),
        0..3,
    );
    let body = || prop::collection::vec(step(), 0..4);
    let branch = prop::option::of((
        body(),
        select(vec!["", "(keys k)", "(values y)", "(keys z over c)"]),
        expression(),
    ));
    (lets, body(), branch).prop_map(move |(lets, body, branch)| {
        let lets: Vec<String> =
            lets.into_iter().map(|(name, value)| format!("let {name} = {value}")).collect();
        let rest = match branch {
            Some((steps, over, output)) => {
                format!("branch first {over} {{ {} }} output {output} emit first.lse", steps.join(" "))
            }
            None => String::new(),
        };
        format!(
            "fn twice(u) = u * u attention a(n: int = 4, cap: float = 2.0) {{ {declarations} {} {} {rest} }}",
            lets.join(" "),
            body.join(" ")
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_programs_never_panic(
        which in any::<Index>(),
        edits in prop::collection::vec(edit(), 1..6),
        sizes in any::<bool>(),
    ) {
        let texts = texts();
        let mut words = words(&texts[which.index(texts.len())]);
        for edit in &edits {
            apply(&mut words, edit);
        }
        let options = SemaOptions { head_dim: sizes.then_some(64), ..SemaOptions::default() };
        survives(&words.concat(), &options);
    }

    #[test]
    fn generated_programs_never_panic(text in program()) {
        survives(&text, &SemaOptions::default());
    }

    #[test]
    fn generated_predicates_never_panic(mask in expression(), score in expression()) {
        survives(
            &format!("attention a(n: int = 4, cap: float = 2.0) {{ input x[b, g, j]: f32 mask {mask} score = {score} }}"),
            &SemaOptions { head_dim: Some(8), value_dim: Some(16), ..SemaOptions::default() },
        );
    }
}

#[test]
fn the_generators_reach_every_stage() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = program();
    let accepted = (0..400)
        .filter(|_| {
            let text = strategy.new_tree(&mut runner).expect("a program is generated").current();
            survives(&text, &SemaOptions::default())
        })
        .count();
    assert!((10..390).contains(&accepted), "{accepted} of 400 programs were accepted");
}

/// The deepest and the largest programs that are taken fit a small thread.
#[test]
fn limits_fit_a_small_stack() {
    let deep = |depth: usize| {
        format!("attention a {{ score = {}score{} }}", "exp(".repeat(depth), ")".repeat(depth))
    };
    let chain = |length: usize| format!("attention a {{ score = score{} }}", " + 1.0".repeat(length));
    let calls = |count: usize| {
        let functions: Vec<String> =
            (1..count).map(|at| format!("fn f{at}(x) = exp(tanh(f{}(x)))", at - 1)).collect();
        let functions = functions.join(" ");
        format!("fn f0(x) = x {functions} attention a {{ score = f{}(score) }}", count - 1)
    };
    let lets = |count: usize| {
        let lets: Vec<String> =
            (1..count).map(|at| format!("let x{at}[b, g, j] = exp(x{}[b, g, j])", at - 1)).collect();
        let lets = lets.join(" ");
        format!("attention a {{ let x0[b, g, j] = 1.0 {lets} score = x{}[b, g, j] }}", count - 1)
    };
    let texts = [deep(50), deep(250), chain(200), chain(10_000), calls(60), calls(1000), lets(2000)];
    for text in texts {
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        let run = thread.spawn(move || survives(&text, &SemaOptions::default())).expect("a thread starts");
        run.join().expect("analysis ends");
    }
}
