//! What diagnostics look like in each form.

use dmac_source::{Code, Diagnostic, Format, LineColumn, Renderer, SourceFile, Span};

const TEXT: &str = "attention a {\n    mask é = j\n    mask (i\n}\n";

fn file() -> SourceFile {
    SourceFile::new("a.dmac", TEXT)
}

fn span_of(text: &str) -> Span {
    let start = TEXT.find(text).unwrap();
    Span::new(start, start + text.len())
}

fn rich() -> Diagnostic {
    Diagnostic::error(Code::E0113, "`=` defines, and `==` compares")
        .label(span_of("="), "compared with `=`")
        .secondary(span_of("é"), "this is a name")
        .note("a fact")
        .help("some advice")
        .suggest(span_of("="), "==", "compare with `==`")
}

#[test]
fn human() {
    insta::assert_snapshot!(Renderer::new(Format::Human).render(&file(), &rich()));
}

#[test]
fn short() {
    let at_end = Diagnostic::warning(Code::W0101, "late").label(Span::at(TEXT.len()), "");
    let nowhere = Diagnostic::error(Code::E0101, "not text");
    let all = [rich(), at_end, nowhere];
    insta::assert_snapshot!(Renderer::new(Format::Short).render_all(&file(), &all));
}

#[test]
fn json() {
    let rendered = Renderer::new(Format::Json).render(&file(), &rich());
    assert!(!rendered.contains('\n'));
    let mut value: serde_json::Value = serde_json::from_str(&rendered).unwrap();
    assert_eq!(value["rendered"], Renderer::new(Format::Human).render(&file(), &rich()));
    assert_eq!(value["code"]["explanation"], Code::E0113.page());
    value["rendered"] = "(the human form)".into();
    value["code"]["explanation"] = "(the page)".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn colours_only_where_wanted() {
    let plain = Renderer::new(Format::Human);
    assert!(!plain.render(&file(), &rich()).contains('\u{1b}'));
    assert!(plain.color(true).render(&file(), &rich()).contains('\u{1b}'));
    assert!(!Renderer::new(Format::Short).color(true).render(&file(), &rich()).contains('\u{1b}'));
}

#[test]
fn labels_over_lines_and_beyond_the_text() {
    let wide = Diagnostic::error(Code::E0106, "this `{` is never closed")
        .label(Span { start: 12, end: TEXT.len() as u32 }, "all of this")
        .secondary(Span { start: 900, end: 1000 }, "beyond")
        // In the middle of a character of two bytes.
        .secondary(Span { start: span_of("é").start + 1, end: span_of("é").start + 1 }, "within");
    for form in [Format::Human, Format::Short, Format::Json] {
        for text in [TEXT, "", "\n", "x"] {
            let rendered = Renderer::new(form).render(&SourceFile::new("any.dmac", text), &wide);
            assert!(rendered.contains("never closed"), "{rendered}");
        }
    }
}

#[test]
fn lines_and_columns_count_characters_from_one() {
    let file = file();
    let place = |text: &str| file.line_column(span_of(text).start);
    assert_eq!(place("attention"), LineColumn { line: 1, column: 1 });
    assert_eq!(place("= j"), LineColumn { line: 2, column: 12 });
    assert_eq!(file.line_column(10_000), LineColumn { line: 5, column: 1 });
    assert_eq!(file.line(2), "    mask é = j");
    assert_eq!(SourceFile::new("crlf", "a\r\nb").line(1), "a");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let refused = SourceFile::read("weights.bin", vec![b'a', b'b', 0xff]).unwrap_err();
    assert_eq!(refused.code, Code::E0101);
    assert!(refused.message.contains("offset 2"), "{}", refused.message);
    let refused = SourceFile::read("big.bin", vec![0; SourceFile::MAX_LEN + 1]).unwrap_err();
    assert_eq!(refused.code, Code::E0102);
}
