//! `dsl/grammar.ebnf` and the parser describe the same language.
//!
//! The grammar is read as data. Sentences are made from it, which must parse; and a recogniser that knows nothing
//! but the grammar must accept exactly those texts in which the parser finds no error: the programs of the library,
//! and what becomes of them when words are lost, doubled, swapped and replaced.

mod ebnf;
mod recognise;
mod sentence;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dmac_source::{Format, Renderer, SourceFile};
use dmac_syntax::lexer::lex;
use dmac_syntax::parse;
use dmac_syntax::token::{Keyword, Punct, TokenKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use ebnf::Grammar;

fn dsl(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl").join(path)
}

fn grammar() -> Grammar {
    ebnf::read(&fs::read_to_string(dsl("grammar.ebnf")).unwrap())
}

fn library() -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(dsl("std")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// What the parser has against the text.
fn errors(text: &str) -> Option<String> {
    let file = SourceFile::new("text.dmac", text);
    let (_, diagnostics) = parse(&file);
    dmac_source::has_errors(&diagnostics)
        .then(|| Renderer::new(Format::Human).render_all(&file, &diagnostics))
}

/// The words of a text, without comments.
fn words(text: &str) -> Vec<String> {
    let file = SourceFile::new("text.dmac", text);
    let tokens = lex(&file).tokens;
    tokens.iter().map(|token| file.slice(token.span).to_owned()).filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_library_is_in_the_grammar() {
    let grammar = grammar();
    for program in library() {
        assert!(recognise::accepts(&grammar, "module", &words(&program)), "{program}");
    }
}

#[test]
fn the_words_of_both_are_the_same() {
    let grammar = grammar();
    let reserved: Vec<&str> = Keyword::ALL.iter().map(|keyword| keyword.text()).collect();
    let mut listed = BTreeSet::new();
    grammar.texts_of("keyword", &mut listed);
    assert_eq!(listed, reserved.iter().copied().collect());

    let mut used = BTreeSet::new();
    grammar.texts_below("module", &mut used);
    let missing: Vec<&&str> = reserved.iter().filter(|word| !used.contains(**word)).collect();
    assert!(missing.is_empty(), "reserved, but in no rule: {missing:?}");
    let marks: Vec<&str> = Punct::ALL.iter().map(|punct| punct.text()).collect();
    let missing: Vec<&&str> = marks.iter().filter(|mark| !used.contains(**mark)).collect();
    assert!(missing.is_empty(), "a token, but in no rule: {missing:?}");
    for word in used {
        let tokens = lex(&SourceFile::new("word", word)).tokens;
        assert_eq!(tokens.len(), 2, "`{word}` is not one token: {tokens:?}");
    }
}

#[test]
fn every_rule_is_used() {
    let grammar = grammar();
    let mut reached = BTreeSet::from(["module"]);
    grammar.rules_below("module", &mut reached);
    let idle: Vec<&str> = grammar.names().filter(|name| !reached.contains(name)).collect();
    assert!(idle.is_empty(), "rules that nothing leads to: {idle:?}");
}

/// A list of words that begins as a program of the library or a sentence of the grammar.
fn program_words() -> impl Strategy<Value = Vec<String>> {
    let library: Vec<Vec<String>> = library().iter().map(|program| words(program)).collect();
    let sentence = vec(any::<u16>(), 1..120).prop_map(|choices| sentence::make(&grammar(), "item", &choices));
    prop_oneof![select(library), sentence]
}

/// All words of the grammar, some names and numbers.
fn vocabulary() -> Vec<String> {
    let grammar = grammar();
    let mut used = BTreeSet::new();
    grammar.texts_below("module", &mut used);
    let others = ["x", "j", "g'", "7", "2.5", "1e3", "f"];
    used.into_iter().chain(others).map(str::to_owned).collect()
}

#[derive(Clone, Debug)]
enum Change {
    Remove(Index),
    Insert(Index, String),
    Replace(Index, String),
    Double(Index),
    Swap(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    let word = || select(vocabulary());
    prop_oneof![
        place().prop_map(Change::Remove),
        (place(), word()).prop_map(|(at, word)| Change::Insert(at, word)),
        (place(), word()).prop_map(|(at, word)| Change::Replace(at, word)),
        place().prop_map(Change::Double),
        place().prop_map(Change::Swap),
    ]
}

fn changed(mut words: Vec<String>, changes: &[Change]) -> Vec<String> {
    for change in changes {
        if words.is_empty() {
            break;
        }
        let len = words.len();
        match change {
            Change::Remove(at) => drop(words.remove(at.index(len))),
            Change::Insert(at, word) => words.insert(at.index(len), word.clone()),
            Change::Replace(at, word) => words[at.index(len)].clone_from(word),
            Change::Double(at) => words.insert(at.index(len), words[at.index(len)].clone()),
            Change::Swap(at) => words.swap(at.index(len), (at.index(len) + 1) % len),
        }
    }
    words
}

/// Words as a text, with line ends here and there.
fn text(words: &[String], line_ends: &[bool]) -> String {
    let blank =
        |at: usize| if line_ends.get(at % line_ends.len().max(1)) == Some(&true) { "\n" } else { " " };
    words.iter().enumerate().flat_map(|(at, word)| [word.as_str(), blank(at)]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sentences_of_the_grammar_parse(choices in vec(any::<u16>(), 1..400), lines in vec(any::<bool>(), 1..9)) {
        let words = sentence::make(&grammar(), "item", &choices);
        let text = text(&words, &lines);
        prop_assert_eq!(errors(&text), None, "{}", text);
    }

    #[test]
    fn both_agree_on_changed_programs(
        words in program_words(),
        changes in vec(change(), 1..4),
        lines in vec(any::<bool>(), 1..9),
    ) {
        let words = changed(words, &changes);
        let text = text(&words, &lines);
        let derivable = recognise::accepts(&grammar(), "module", &words);
        let errors = errors(&text);
        prop_assert_eq!(errors.is_none(), derivable, "{}\n{}", text, errors.unwrap_or_default());
    }

    #[test]
    fn tokens_of_the_grammar_are_tokens(choices in vec(any::<u16>(), 1..20)) {
        for (rule, fits) in [
            ("NAME", (|kind| kind == TokenKind::Ident) as fn(TokenKind) -> bool),
            ("INT", |kind| matches!(kind, TokenKind::Int(_))),
            ("FLOAT", |kind| matches!(kind, TokenKind::Float(_))),
        ] {
            let [word] = sentence::make(&grammar(), rule, &choices).try_into().unwrap();
            let lexed = lex(&SourceFile::new("word", word.as_str()));
            prop_assert_eq!(lexed.tokens.len(), 2, "{}", word);
            prop_assert!(fits(lexed.tokens[0].kind), "{} is {:?}", word, lexed.tokens[0].kind);
        }
    }
}
