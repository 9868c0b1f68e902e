//! Whatever the text, the parser comes back, with a tree and a bounded number of diagnostics that can be rendered.

use std::fs;
use std::path::Path;

use dmac_source::{Format, Renderer, SourceFile};
use dmac_syntax::ast::tree;
use dmac_syntax::{format, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Words that sentences are made of, and some that they are not.
const WORDS: &[&str] = &[
    "attention",
    "fn",
    "const",
    "input",
    "axis",
    "let",
    "mask",
    "select",
    "normalize",
    "branch",
    "output",
    "emit",
    "of",
    "among",
    "forcing",
    "plus",
    "ties",
    "with",
    "over",
    "in",
    "if",
    "then",
    "else",
    "and",
    "or",
    "not",
    "div",
    "mod",
    "true",
    "top",
    "score",
    "scale",
    "=",
    "==",
    "<=",
    "<",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    "..",
    "+",
    "-",
    "*",
    "/",
    "i",
    "j",
    "g'",
    "sum",
    "windows",
    "3",
    "2.5",
    "real",
    "int",
    "&&",
    "!",
    ";",
    "%",
    "\n",
    "//",
    "/// d\n",
    "0x1",
    "1e99",
    "≤",
    "\"",
    "'",
    "é",
    "#",
    "/*",
    "*/",
    "\u{0}",
];

fn library() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl/std");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn survives(text: String) {
    let file = SourceFile::new("any.dmac", text);
    let (module, diagnostics) = parse(&file);
    assert!(diagnostics.len() <= 64, "{} diagnostics", diagnostics.len());
    for form in [Format::Human, Format::Short, Format::Json] {
        let rendered = Renderer::new(form).color(true).render_all(&file, &diagnostics);
        assert_eq!(rendered.is_empty(), diagnostics.is_empty());
    }
    let end = file.text().len() as u32;
    for label in diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        assert!(label.span.start <= label.span.end && label.span.end <= end, "{label:?} beyond {end}");
    }
    let has_errors = dmac_source::has_errors(&diagnostics);
    assert_eq!(format(&file).is_err(), has_errors);
    if !has_errors {
        let holes = tree(&module).lines().filter(|line| line.trim() == "error").count();
        assert_eq!(holes, 0, "an error that was not reported in {:?}", file.text());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        match SourceFile::read("any.dmac", bytes) {
            Ok(file) => survives(file.text().to_owned()),
            Err(diagnostic) => prop_assert_eq!(diagnostic.code.as_str(), "E0101"),
        }
    }

    #[test]
    fn any_characters(text in ".{0,200}") {
        survives(text);
    }

    #[test]
    fn any_words(words in vec(select(WORDS), 0..60)) {
        survives(words.join(" "));
    }

    #[test]
    fn any_body(words in vec(select(WORDS), 0..30)) {
        survives(format!("attention a {{ mask {} }}", words.join(" ")));
    }

    #[test]
    fn any_change_of_a_program(
        program in select(library()),
        changes in vec((any::<Index>(), any::<Index>(), select(WORDS)), 1..6),
    ) {
        let mut text: Vec<char> = program.chars().collect();
        for (from, to, word) in changes {
            let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
            // A short piece goes, or a long one now and then; a word comes in its place.
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + to % 12));
            text.splice(from..to, word.chars());
        }
        survives(text.into_iter().collect());
    }
}

#[test]
fn deep_texts_end_in_a_message() {
    let nests = ["(", "f(", "t[", "-", "not ", "if a then b else ", "sum(t: ", "1 + (", "a and not "];
    let mut texts: Vec<String> =
        nests.iter().map(|nest| format!("attention a {{ mask {}x }}", nest.repeat(20_000))).collect();
    texts.push(format!("attention a {{ mask x {} }}", "+ x".repeat(20_000)));
    texts.push(format!("attention a {{ mask x{} }}", "[i]".repeat(20_000)));
    texts.push(format!("attention a {{ mask x{} }}", ".y".repeat(20_000)));
    texts.push(format!("attention a {{ {}", "branch x { ".repeat(20_000)));
    // A quarter of what a thread has by default: what reads the tree later needs stack too.
    let check = move || {
        for text in texts {
            let (module, diagnostics) = parse(&SourceFile::new("deep.dmac", text.clone()));
            let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
            assert_eq!(codes, ["E0109"], "{}", &text[..60]);
            assert!(!tree(&module).is_empty());
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(check).unwrap().join().unwrap();
}

#[test]
fn long_texts_take_no_long() {
    let statement = "    mask j <= i and (i - j < 3 or j < 4)\n";
    let count = SourceFile::MAX_LEN / statement.len() - 1;
    let text = format!("attention a {{\n{}}}\n", statement.repeat(count));
    let started = std::time::Instant::now();
    let (module, diagnostics) = parse(&SourceFile::new("long.dmac", text));
    assert!(diagnostics.is_empty());
    assert_eq!(module.attentions().next().unwrap().body.len(), count);
    let too_long = parse(&SourceFile::new("long.dmac", " ".repeat(SourceFile::MAX_LEN + 1))).1;
    assert_eq!(too_long[0].code.as_str(), "E0102");
    // Linear work takes about a second without optimisation; quadratic work would take hours.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
