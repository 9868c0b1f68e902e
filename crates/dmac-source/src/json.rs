//! A diagnostic as one JSON object in the shape of rustc's JSON messages, so that tools which read those read ours.

use serde::Serialize;

use crate::{Diagnostic, Label, SourceFile, Span};

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "$message_type")]
    kind: &'static str,
    #[serde(rename = "message")]
    text: &'a str,
    code: Option<CodeField>,
    level: &'static str,
    spans: Vec<SpanField<'a>>,
    children: Vec<Message<'a>>,
    rendered: Option<&'a str>,
}

#[derive(Serialize)]
struct CodeField {
    code: &'static str,
    explanation: &'static str,
}

#[derive(Serialize)]
struct SpanField<'a> {
    file_name: &'a str,
    byte_start: usize,
    byte_end: usize,
    line_start: usize,
    line_end: usize,
    column_start: usize,
    column_end: usize,
    is_primary: bool,
    text: Vec<Line<'a>>,
    label: Option<&'a str>,
    suggested_replacement: Option<&'a str>,
    suggestion_applicability: Option<&'static str>,
    expansion: Option<()>,
}

#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    highlight_start: usize,
    highlight_end: usize,
}

/// The object on one line; `rendered` is the human form.
pub(crate) fn object(file: &SourceFile, diagnostic: &Diagnostic, rendered: &str) -> String {
    let mut children: Vec<Message<'_>> =
        diagnostic.notes.iter().map(|note| child("note", note, vec![])).collect();
    children.extend(diagnostic.help.iter().map(|help| child("help", help, vec![])));
    children.extend(diagnostic.suggestion.iter().map(|suggestion| {
        let mut span = place(file, suggestion.span, true, None);
        span.suggested_replacement = Some(&suggestion.replacement);
        span.suggestion_applicability = Some("MaybeIncorrect");
        child("help", &suggestion.message, vec![span])
    }));
    let message = Message {
        kind: "diagnostic",
        text: &diagnostic.message,
        code: Some(CodeField { code: diagnostic.code.as_str(), explanation: diagnostic.code.page() }),
        level: diagnostic.severity.name(),
        spans: diagnostic.labels.iter().map(|label| labelled(file, label)).collect(),
        children,
        rendered: Some(rendered),
    };
    serde_json::to_string(&message).expect("json::object: strings and numbers always serialise")
}

fn child<'a>(level: &'static str, message: &'a str, spans: Vec<SpanField<'a>>) -> Message<'a> {
    Message { kind: "diagnostic", text: message, code: None, level, spans, children: vec![], rendered: None }
}

fn labelled<'a>(file: &'a SourceFile, label: &'a Label) -> SpanField<'a> {
    let text = (!label.text.is_empty()).then_some(label.text.as_str());
    place(file, label.span, label.primary, text)
}

fn place<'a>(file: &'a SourceFile, span: Span, is_primary: bool, label: Option<&'a str>) -> SpanField<'a> {
    let range = file.clamp(span);
    let (start, end) = (file.line_column(range.start as u32), file.line_column(range.end as u32));
    let text = (start.line..=end.line)
        .map(|line| {
            let text = file.line(line);
            let whole = text.chars().count() + 1;
            Line {
                text,
                highlight_start: if line == start.line { start.column } else { 1 },
                highlight_end: if line == end.line { end.column } else { whole },
            }
        })
        .collect();
    SpanField {
        file_name: file.name(),
        byte_start: range.start,
        byte_end: range.end,
        line_start: start.line,
        line_end: end.line,
        column_start: start.column,
        column_end: end.column,
        is_primary,
        text,
        label,
        suggested_replacement: None,
        suggestion_applicability: None,
        expansion: None,
    }
}
