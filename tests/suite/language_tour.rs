//! The tour of the language is true: every program in it compiles, is formatted, and runs as the reference says; every
//! program that it calls wrong has the error that it names.

use dmac::{Code, SourceFile, Storage};
use dmac_tests::files::{read, root};
use dmac_tests::markdown::{Block, blocks};
use dmac_tests::subject::{Numbers, Twist, agrees, build, inputs};
use dmac_tests::table::pairs;

fn tour() -> Vec<Block> {
    blocks(&read(&root().join("dsl/README.md")))
}

/// Sizes at which every program of the tour runs: of the built-in axes, and of the letters that it gives its own.
const SIZES: &str = "B=2,H=4,G=2,M=37,N=41,T=4,t=4,x=3,f=8,r=3,p=6";

#[test]
fn programs_compile_and_agree_with_the_reference() {
    let sizes: Numbers = pairs(SIZES).into_iter().collect();
    let mut programs = 0;
    for block in tour().iter().filter(|block| block.info == "dmac") {
        let at = format!("dsl/README.md:{}", block.line);
        let attention = build(&at, &block.text, Storage::F32, (16, 16), &Numbers::new());
        let inputs = inputs(&attention, &sizes, &Numbers::new(), Twist::Lengths, 7);
        agrees(&attention, &inputs).unwrap_or_else(|complaint| panic!("{at}: {complaint}"));
        programs += 1;
    }
    assert!(programs >= 10, "the tour has {programs} programs");
}

#[test]
fn programs_are_formatted() {
    for block in tour().iter().filter(|block| block.info == "dmac") {
        let source = SourceFile::new(format!("dsl/README.md:{}", block.line), block.text.clone());
        assert_eq!(dmac::syntax::format(&source).as_deref(), Ok(block.text.as_str()));
    }
}

#[test]
fn wrong_programs_have_the_errors_that_are_named() {
    let mut wrong = 0;
    for block in tour() {
        let Some(code) = block.info.strip_prefix("dmac error ") else { continue };
        let code = Code::parse(code).unwrap_or_else(|| panic!("line {}: {code} is no code", block.line));
        let source = SourceFile::new("tour", block.text.clone());
        let found: Vec<Code> =
            dmac::check(&source, &std::collections::BTreeMap::new()).iter().map(|d| d.code).collect();
        assert!(found.contains(&code), "line {}: {found:?}, not {code:?}", block.line);
        wrong += 1;
    }
    assert!(wrong >= 2, "the tour has {wrong} wrong programs");
}

#[test]
fn blocks_are_of_a_tested_kind() {
    for block in tour() {
        let tested = block.info == "dmac" || block.info.starts_with("dmac error ");
        assert!(tested, "line {}: nothing tests a block `{}`", block.line, block.info);
    }
}

#[test]
fn every_library_program_is_described() {
    let text = read(&root().join("dsl/README.md"));
    for path in dmac_tests::files::below("dsl/std", &["dmac"]) {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        assert!(text.contains(&format!("(std/{name}.dmac)")), "{name} is not described");
    }
}
