//! Tokens to a tree.
//!
//! Input: a text. Output: its tree and everything that is wrong with it. A broken statement becomes
//! [`StmtKind::Error`](crate::ast::StmtKind::Error) and parsing goes on with the next one, so one run reports the
//! mistakes of the whole text; a small slip (a missing comma, `&&`, `=` for `==`) is reported and then read as
//! what was meant. The tree of a text with errors is good for looking at, not for compiling.
//!
//! Written with nom over the tokens of the [lexer](crate::lexer). The grammar is `dsl/grammar.ebnf`; where it needs
//! more than the next token that is said. Depth is limited, so that no text can exhaust the stack, here or in what
//! walks the tree later.

mod delimited;
mod expected;
mod expr;
mod input;
mod item;
mod stmt;

use std::cell::{Cell, RefCell};

use dmac_source::{Code, Diagnostic, SourceFile, Span};

use crate::ast::Module;
use crate::lexer::{Lexed, lex};
use crate::token::{Keyword, Punct, TokenKind};
use input::{Context, Tokens};

/// Reads a program. Diagnostics are in the order of the text; the tree is whole if none of them is an error.
pub fn parse(file: &SourceFile) -> (Module, Vec<Diagnostic>) {
    if file.text().len() > SourceFile::MAX_LEN {
        return (Module::default(), vec![SourceFile::too_long(file.name(), file.text().len())]);
    }
    let lexed = lex(file);
    let context = Context::new(file, &lexed);
    let module = Module { items: item::items(Tokens::new(&context)) };
    let mut diagnostics = context.diagnostics.into_inner();
    diagnostics.retain(|diagnostic| !follows_from_lexer(file, &lexed, diagnostic));
    diagnostics.extend(lexed.diagnostics.iter().cloned());
    diagnostics.extend(idle_docs(&lexed));
    diagnostics.sort_by_key(Diagnostic::primary_span);
    diagnostics.truncate(input::MAX_ERRORS);
    (module, diagnostics)
}

/// Whether the parser only missed what the lexer has reported right before it, on the same line.
fn follows_from_lexer(file: &SourceFile, lexed: &Lexed, diagnostic: &Diagnostic) -> bool {
    let Some(span) = diagnostic.primary_span() else { return false };
    let next = lexed.tokens.partition_point(|token| token.span.start < span.start);
    let from = next.checked_sub(1).map_or(0, |last| lexed.tokens[last].span.end);
    let right_before = |other: &Diagnostic| {
        other.primary_span().is_some_and(|other| {
            let gap = Span { start: other.start.min(span.start), end: span.start };
            from <= other.start && other.start <= span.start && !file.slice(gap).contains('\n')
        })
    };
    lexed.diagnostics.iter().any(right_before)
}

/// Warnings about doc comments that precede no item, one for each run of lines.
fn idle_docs(lexed: &Lexed) -> Vec<Diagnostic> {
    let idle =
        |before: usize| !matches!(lexed.tokens[before].kind, TokenKind::Keyword(word) if word.begins_item());
    let mut warnings: Vec<Diagnostic> = vec![];
    let mut last = None;
    for comment in lexed.comments.iter().filter(|comment| comment.is_doc && idle(comment.before)) {
        if last.replace(comment.before) != Some(comment.before) {
            let warning = Diagnostic::warning(Code::W0101, "this doc comment documents nothing")
                .label(comment.span, "not before an `attention` or a `fn`")
                .help("write `//` for a remark, or move it before the item it describes");
            warnings.push(warning);
        }
    }
    warnings
}

/// Whether `scale =` or `score =` comes next.
fn begins_assignment(input: Tokens<'_>) -> bool {
    input.next().kind == TokenKind::Ident
        && matches!(input.text(), "scale" | "score")
        && input.ahead(1).kind == TokenKind::Punct(Punct::Eq)
}

/// Whether a statement certainly begins here.
fn begins_statement(input: Tokens<'_>) -> bool {
    match input.next().kind {
        TokenKind::Keyword(keyword) => keyword.begins_statement(),
        _ => begins_assignment(input),
    }
}

/// Skips to the first place, outside of braces that open on the way, where `here` holds, a `}` closes the body
/// around, an item begins or the text ends.
fn skip_to<'a>(input: Tokens<'a>, here: impl Fn(Tokens<'a>) -> bool) -> Tokens<'a> {
    let mut rest = input;
    let mut depth = 0_usize;
    loop {
        match rest.next().kind {
            TokenKind::End | TokenKind::Keyword(Keyword::Attention | Keyword::Fn) => return rest,
            _ if depth == 0 && here(rest) => return rest,
            TokenKind::Punct(Punct::LeftBrace) => depth += 1,
            TokenKind::Punct(Punct::RightBrace) => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return rest,
            },
            _ => {}
        }
        rest = rest.advance(1);
    }
}

impl<'a> Context<'a> {
    fn new(file: &'a SourceFile, lexed: &'a Lexed) -> Self {
        Self {
            file,
            lexed,
            diagnostics: RefCell::new(vec![]),
            open: RefCell::new(vec![]),
            depth: Cell::new(0),
            stopped: Cell::new(false),
        }
    }
}
