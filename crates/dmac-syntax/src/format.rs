//! The canonical form of a program's text: what `dmac fmt` writes.
//!
//! Input: a text without syntax errors. Output: the same program, with its comments, in the one form that every
//! program has. Formatting twice changes nothing, and the formatted text has the same tree.
//!
//! Four blanks a level; a statement a line, broken before operators where it is longer than [`WIDTH`]; a body of one
//! short statement on the line of its head; at most one empty line between statements and exactly one between items.
//! Comments stay before or behind the statement they were at; one from the midst of a statement is put before it.

mod expr;
mod layout;
mod stmt;

use dmac_source::{Diagnostic, SourceFile, Span, has_errors};

use crate::ast::{Item, Module, Stmt, StmtKind};
use crate::lexer::lex;
use crate::parser::parse;
use layout::{INDENT, Layout};

/// Columns that a line should not exceed.
pub const WIDTH: usize = 120;
/// Columns within which a body of one statement is written on the line of its head.
const SHORT: usize = 80;

/// Formats a text.
///
/// # Errors
/// The diagnostics of the parser, if there is an error among them: text that was not understood is not touched.
pub fn format(file: &SourceFile) -> Result<String, Vec<Diagnostic>> {
    let (module, diagnostics) = parse(file);
    if has_errors(&diagnostics) {
        return Err(diagnostics);
    }
    let comments = lex(file).comments.iter().map(|comment| comment.span).collect();
    let mut printer = Printer { source: Some(file), comments, next: 0, copied: 0, out: String::new() };
    printer.module(&module);
    Ok(printer.out)
}

/// A tree as text in canonical form, with its doc comments.
///
/// # Panics
/// If the tree has [`Item::Error`], [`StmtKind::Error`] or an erroneous expression in it.
pub fn print(module: &Module) -> String {
    let mut printer = Printer { source: None, comments: vec![], next: 0, copied: 0, out: String::new() };
    printer.module(module);
    printer.out
}

struct Printer<'a> {
    /// The text that the tree is of, if there is one: where comments and empty lines come from.
    source: Option<&'a SourceFile>,
    comments: Vec<Span>,
    /// The first comment that is not written yet.
    next: usize,
    /// Offset in the source up to which everything is written.
    copied: u32,
    out: String,
}

impl Printer<'_> {
    fn module(&mut self, module: &Module) {
        for item in &module.items {
            match item {
                Item::Attention(attention) => {
                    let head = stmt::attention_head(&attention.name, &attention.params);
                    self.before_item(attention.span, &attention.doc);
                    self.with_body(&head, &attention.body, attention.span, 0);
                }
                Item::Fn(function) => {
                    self.before_item(function.span, &function.doc);
                    self.line(&stmt::function(function), function.span, 0);
                }
                Item::Error(_) => unreachable!("format: a text with syntax errors is not formatted"),
            }
        }
        self.comments_before(u32::MAX, 0);
    }

    /// The doc comment of an item and other comments before it, and an empty line before those.
    fn before_item(&mut self, item: Span, doc: &[String]) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        if self.source.is_none() {
            for text in doc {
                self.out.push_str(format!("/// {text}").trim_end());
                self.out.push('\n');
            }
        }
        self.comments_before(item.start, 0);
        self.comments_within(item, self.first_brace(item), 0);
        self.gap_before(item.start);
        self.copied = item.start;
    }

    /// Where the body of an item or branch begins, or its end if it has none.
    fn first_brace(&self, span: Span) -> u32 {
        let Some(file) = self.source else { return span.end };
        let mut at = span.start;
        for comment in
            self.comments.iter().filter(|comment| span.start <= comment.start && comment.end <= span.end)
        {
            if let Some(brace) = file.slice(Span { start: at, end: comment.start }).find('{') {
                return at + brace as u32;
            }
            at = comment.end;
        }
        let brace = file.slice(Span { start: at, end: span.end }).find('{');
        brace.map_or(span.end, |brace| at + brace as u32)
    }

    /// `head { body }`, on one line or on several.
    fn with_body(&mut self, head: &Layout, body: &[Stmt], span: Span, indent: usize) {
        let has_comments = self.comments[self.next..].iter().any(|comment| comment.start < span.end);
        let inner = match body {
            [] => Some(String::new()),
            [only] if !matches!(only.kind, StmtKind::Branch(_)) => Some(stmt::statement(only).flat() + " "),
            _ => None,
        };
        if let Some(inner) = inner.filter(|_| !has_comments) {
            let text = format!("{} {{ {inner}}}", head.flat());
            if body.is_empty() || indent + text.chars().count() <= SHORT {
                self.line(&Layout::text(text), span, indent);
                return;
            }
        }
        let head = Layout::row([head.clone(), Layout::text(" {")]);
        self.push_line(&head.render(indent, WIDTH), indent);
        self.out.push('\n');
        self.copied = self.first_brace(span);
        let mut first = true;
        for stmt in body {
            self.statement(stmt, indent + INDENT, first);
            first = false;
        }
        self.comments_before(span.end, indent + INDENT);
        self.push_line("}", indent);
        self.end_line(span);
    }

    fn statement(&mut self, stmt: &Stmt, indent: usize, first: bool) {
        let head_end = match &stmt.kind {
            StmtKind::Branch(_) => self.first_brace(stmt.span),
            _ => stmt.span.end,
        };
        let written = self.out.len();
        if first {
            // No empty line follows an opening brace.
            self.copied = self.next_start(stmt.span.start);
        }
        self.comments_before(stmt.span.start, indent);
        self.comments_within(stmt.span, head_end, indent);
        if !first || self.out.len() > written {
            self.gap_before(stmt.span.start);
        }
        let layout = stmt::statement(stmt);
        match &stmt.kind {
            StmtKind::Branch(branch) => self.with_body(&layout, &branch.body, stmt.span, indent),
            _ => self.line(&layout, stmt.span, indent),
        }
    }

    /// Where the next comment or, if there is none before it, `start` is.
    fn next_start(&self, start: u32) -> u32 {
        self.comments.get(self.next).map_or(start, |comment| comment.start.min(start))
    }

    /// One statement or head with the comment behind it.
    fn line(&mut self, layout: &Layout, span: Span, indent: usize) {
        self.push_line(&layout.render(indent, WIDTH), indent);
        self.end_line(span);
    }

    fn push_line(&mut self, text: &str, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.out.push_str(text);
    }

    /// Ends the line of what stood at `span`, after a comment that stood behind it on its line.
    fn end_line(&mut self, span: Span) {
        self.copied = self.copied.max(span.end);
        let behind =
            self.comments.get(self.next).copied().filter(|comment| !self.gap(comment.start).contains('\n'));
        if let (Some(file), Some(comment)) = (self.source, behind) {
            // Only blanks may stand between: a comment behind two statements on one line is the second one's.
            if self.gap(comment.start).trim().is_empty() {
                self.out.push(' ');
                self.out.push_str(file.slice(comment));
                self.next += 1;
                self.copied = comment.end;
            }
        }
        self.out.push('\n');
    }

    /// The source from what was written last to `start`.
    fn gap(&self, start: u32) -> &str {
        self.source.map_or("", |file| file.slice(Span { start: self.copied.min(start), end: start }))
    }

    /// An empty line, if the source has one before `start`.
    fn gap_before(&mut self, start: u32) {
        let empty_line = self.gap(start).matches('\n').count() > 1;
        if empty_line && !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// All comments that begin before `end`, a line each.
    fn comments_before(&mut self, end: u32, indent: usize) {
        while let Some(comment) = self.comments.get(self.next).copied().filter(|comment| comment.start < end)
        {
            let Some(file) = self.source else { return };
            self.gap_before(comment.start);
            self.push_line(file.slice(comment), indent);
            self.out.push('\n');
            self.next += 1;
            self.copied = comment.end;
        }
    }

    /// The comments in the midst of a statement or head, before it. A doc comment documents nothing there, and must
    /// not come to document the item.
    fn comments_within(&mut self, span: Span, end: u32, indent: usize) {
        while let Some(comment) = self.comments.get(self.next).copied().filter(|comment| comment.start < end)
        {
            let Some(file) = self.source else { return };
            let text = file.slice(comment).trim_start_matches('/');
            self.push_line(&format!("//{text}"), indent);
            self.out.push('\n');
            self.next += 1;
            self.copied = span.start;
        }
    }
}
