//! Every error and warning of semantic analysis, from the page that explains it: the program under `Wrong` gives the
//! code, as the snapshot of that name renders it, and the program under `Right` gives no error and not that warning.

use dmac_sema::{SemaOptions, Value, analyze};
use dmac_source::{Code, Diagnostic, Format, Renderer, SourceFile};

/// Codes that this crate reports.
fn codes() -> impl Iterator<Item = Code> {
    let own = |code: &Code| matches!(&code.as_str()[..3], "E02" | "E03" | "E04" | "W02" | "W03" | "W04");
    Code::ALL.iter().copied().filter(own)
}

/// The program under a heading of a code's page.
fn example(code: Code, heading: &str) -> String {
    let page = code.page();
    let part = page.split(&format!("## {heading}\n")).nth(1).expect("the page has the heading");
    let block = part.split("```dmac\n").nth(1).expect("there is a program under it");
    block.split("```").next().expect("the program ends").to_owned()
}

/// What is given beside the text, for codes that are about that.
fn options(code: Code) -> SemaOptions {
    let mut options = SemaOptions { head_dim: Some(64), ..SemaOptions::default() };
    match code {
        Code::E0211 => options.defines = [("windw".to_owned(), Value::Int(128))].into(),
        Code::E0314 => options.head_dim = Some(100),
        _ => {}
    }
    options
}

fn diagnostics(file: &SourceFile, options: &SemaOptions) -> Vec<Diagnostic> {
    let (module, mut diagnostics) = dmac_syntax::parse(file);
    assert!(diagnostics.is_empty(), "a syntax error in an example of {}: {diagnostics:?}", file.name());
    let (programs, found) = analyze(&module, options);
    diagnostics.extend(found);
    assert_eq!(
        programs.is_empty(),
        dmac_source::has_errors(&diagnostics),
        "{}: a program or an error",
        file.name()
    );
    diagnostics
}

#[test]
fn wrong_programs_are_told_what_is_wrong() {
    for code in codes() {
        let file = SourceFile::new("wrong.dmac", example(code, "Wrong"));
        let found = diagnostics(&file, &options(code));
        let text = Renderer::new(Format::Human).render_all(&file, &found);
        assert!(found.iter().any(|diagnostic| diagnostic.code == code), "{code} is not among\n{text}");
        let others: Vec<Code> =
            found.iter().map(|diagnostic| diagnostic.code).filter(|other| *other != code).collect();
        assert!(
            others.is_empty(),
            "one mistake is one kind of message, but {code} comes with {others:?}\n{text}"
        );
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(code.as_str(), text);
        });
    }
}

#[test]
fn right_programs_are_accepted() {
    for code in Code::ALL.iter().copied().filter(|code| !code.as_str().starts_with("E05")) {
        let page = code.page();
        if !page.contains("```dmac\n")
            || !page.split("## Right").nth(1).is_some_and(|part| part.contains("```dmac"))
        {
            continue;
        }
        let file = SourceFile::new(code.as_str(), example(code, "Right"));
        let found = diagnostics(&file, &SemaOptions { head_dim: Some(64), ..SemaOptions::default() });
        let text = Renderer::new(Format::Human).render_all(&file, &found);
        let wrong = found.iter().any(|diagnostic| diagnostic.is_error() || diagnostic.code == code);
        assert!(!wrong, "the right program of {code} is not\n{text}");
    }
}
