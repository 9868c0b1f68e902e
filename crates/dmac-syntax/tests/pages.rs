//! The examples on the pages of syntax errors: the wrong one has the error, the right one has none and is formatted.
//! Right examples of all other pages parse.

use dmac_source::{Code, Format, Renderer, SourceFile};
use dmac_syntax::{format, parse};

/// The example under a heading, if it is a program.
fn example(code: Code, heading: &str) -> Option<SourceFile> {
    let (_, section) = code.page().split_once(heading)?;
    let section = section.split("\n## ").next()?;
    let (_, block) = section.split_once("```dmac\n")?;
    let (text, _) = block.split_once("```").expect("a block on a page is not closed");
    Some(SourceFile::new(format!("{code}.md"), text))
}

fn is_syntax(code: Code) -> bool {
    code.as_str().starts_with("E01") || code.as_str().starts_with("W01")
}

#[test]
fn wrong_examples_have_the_error() {
    for code in Code::ALL.iter().copied().filter(|code| is_syntax(*code)) {
        let Some(file) = example(code, "## Wrong") else { continue };
        let (_, diagnostics) = parse(&file);
        assert!(!diagnostics.is_empty(), "the wrong example of {code} is right");
        let report = Renderer::new(Format::Human).render_all(&file, &diagnostics);
        assert!(diagnostics.iter().all(|diagnostic| diagnostic.code == code), "{code}:\n{report}");
    }
}

#[test]
fn right_examples_have_none() {
    for code in Code::ALL.iter().copied() {
        let Some(file) = example(code, "## Right") else { continue };
        let (_, diagnostics) = parse(&file);
        let report = Renderer::new(Format::Human).render_all(&file, &diagnostics);
        assert!(diagnostics.is_empty(), "{code}:\n{report}");
        if is_syntax(code) {
            assert_eq!(
                format(&file).as_deref(),
                Ok(file.text()),
                "the right example of {code} is not formatted"
            );
        }
    }
}
