//! Single tokens, names, brackets and lists, with their recovery.
//!
//! A missing comma or bracket is reported and then read as if it were there, so that the statement survives and
//! what follows is still checked.

use dmac_source::{Code, Diagnostic, Span};
use nom::Parser as _;
use nom::combinator::map;

use super::begins_statement;
use super::expected::{Result, describe, expected, fail, label, unexpected};
use super::input::Tokens;
use crate::ast::Ident;
use crate::token::{Keyword, Punct, TokenKind};

/// Constructs within constructs that are taken. A level of an expression costs about 20 kB of stack in a build
/// without any optimisation and 5 kB in one with a little, so that this many fit twice into the two megabytes of a
/// thread, whatever the build.
pub(super) const MAX_DEPTH: usize = 32;

/// Runs `parser` one level deeper. Every rule that can contain itself goes through here.
pub(super) fn nested<'a, T>(
    input: Tokens<'a>,
    parser: impl FnOnce(Tokens<'a>) -> Result<'a, T>,
) -> Result<'a, T> {
    let depth = &input.context.depth;
    if depth.get() >= MAX_DEPTH {
        return fail(input, too_deep(input.next().span));
    }
    depth.set(depth.get() + 1);
    let result = parser(input);
    depth.set(depth.get() - 1);
    result
}

/// `E0109` at the construct that is one too many.
pub(super) fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(Code::E0109, "this is nested too deeply")
        .label(span, "the limit is reached here")
        .note(format!(
            "at most {MAX_DEPTH} constructs may be open at once, and at most {} operators joined in a row",
            super::expr::MAX_HEIGHT
        ))
        .help("define a part with `let` or `fn` and use its name; nothing after this place was checked")
}

/// One punctuation mark.
pub(super) fn punct<'a>(punct: Punct) -> impl FnMut(Tokens<'a>) -> Result<'a, Span> {
    move |input| {
        if input.at(punct) {
            Ok((input.advance(1), input.next().span))
        } else {
            expected(input, punct.quoted())
        }
    }
}

/// One reserved word.
pub(super) fn keyword<'a>(keyword: Keyword) -> impl FnMut(Tokens<'a>) -> Result<'a, Span> {
    move |input| {
        let token = input.next();
        if token.kind == TokenKind::Keyword(keyword) {
            Ok((input.advance(1), token.span))
        } else {
            expected(input, keyword.quoted())
        }
    }
}

/// A word that is special only here, so that it stays a name elsewhere: `top`, `keys`, `low`.
pub(super) fn word<'a>(
    text: &'static str,
    quoted: &'static str,
) -> impl FnMut(Tokens<'a>) -> Result<'a, Span> {
    move |input| {
        let token = input.next();
        if token.kind == TokenKind::Ident && input.text() == text {
            Ok((input.advance(1), token.span))
        } else {
            expected(input, quoted)
        }
    }
}

/// A name. A reserved word in a place that can only be a name's is reported and taken.
pub(super) fn name(input: Tokens<'_>) -> Result<'_, Ident> {
    let token = input.next();
    let ident = || (input.advance(1), Ident::new(input.text(), token.span));
    match token.kind {
        TokenKind::Ident => Ok(ident()),
        TokenKind::Keyword(keyword) if used_as_name(input) => {
            let diagnostic =
                Diagnostic::error(Code::E0116, format!("{} is a reserved word", keyword.quoted()))
                    .label(token.span, "cannot be a name")
                    .help(format!("choose another name, such as `{}_`", keyword.text()));
            input.context.report(diagnostic);
            Ok(ident())
        }
        _ => expected(input, "a name"),
    }
}

fn used_as_name(input: Tokens<'_>) -> bool {
    use Punct::{Colon, Comma, Eq, LeftBracket, RightBracket};
    let TokenKind::Punct(next) = input.ahead(1).kind else { return false };
    matches!(next, LeftBracket | RightBracket | Colon | Comma | Eq)
}

/// `open body close`. `body` is told apart from its brackets in messages: an unclosed one points at where it opened.
pub(super) fn enclosed<'a, T>(
    input: Tokens<'a>,
    (open, close): (Punct, Punct),
    body: impl FnOnce(Tokens<'a>) -> Result<'a, T>,
) -> Result<'a, T> {
    let (rest, open_span) = punct(open)(input)?;
    rest.context.open.borrow_mut().push(close);
    let result = body(rest);
    rest.context.open.borrow_mut().pop();
    let (rest, value) = result?;
    let (rest, ()) = closed(rest, open, open_span, close)?;
    Ok((rest, value))
}

/// The closing bracket, or a report that it is missing.
fn closed(input: Tokens<'_>, open: Punct, open_span: Span, close: Punct) -> Result<'_, ()> {
    let token = input.next();
    let opened = format!("to close this {}", open.quoted());
    let missing = |message: String| {
        Diagnostic::error(Code::E0106, message)
            .label(open_span, "opened here")
            .secondary(token.span, format!("{} is needed before this", close.quoted()))
            .suggest(input.last_span().after(), close.text(), "close it")
    };
    match token.kind {
        TokenKind::Punct(found) if found == close => Ok((input.advance(1), ())),
        TokenKind::Punct(found @ (Punct::RightParen | Punct::RightBracket)) => {
            if input.context.open.borrow().contains(&found) {
                input.context.report(missing(format!("this {} is not closed", open.quoted())));
                return Ok((input, ()));
            }
            let message = format!("expected {}, found {}", close.quoted(), found.quoted());
            let diagnostic = Diagnostic::error(Code::E0103, message)
                .label(token.span, format!("expected {}", close.quoted()))
                .secondary(open_span, opened)
                .suggest(token.span, close.text(), format!("write {}", close.quoted()));
            input.context.report(diagnostic);
            Ok((input.advance(1), ()))
        }
        _ if ends_statement(input) => {
            input.context.report(missing(format!("this {} is never closed", open.quoted())));
            Ok((input, ()))
        }
        _ => {
            let what = if open == Punct::LeftParen { "`)`" } else { "`,` or `]`" };
            fail(input, unexpected(input, what).secondary(open_span, opened))
        }
    }
}

/// Whether a statement cannot go on with the next token.
fn ends_statement(input: Tokens<'_>) -> bool {
    match input.next().kind {
        TokenKind::End | TokenKind::Punct(Punct::LeftBrace | Punct::RightBrace) => true,
        TokenKind::Keyword(keyword) => {
            !matches!(keyword, Keyword::In | Keyword::Const | Keyword::True | Keyword::False | Keyword::Not)
        }
        _ => begins_statement(input) || !input.on_same_line(),
    }
}

/// What a list between brackets may look like.
#[derive(Clone, Copy)]
pub(super) struct ListRules {
    /// What its elements are called in messages; empty lists are refused with it, if given.
    pub at_least_one: Option<&'static str>,
    /// Whether a comma may follow the last element.
    pub trailing_comma: bool,
}

/// `[a, b]` or `(a, b)`.
pub(super) fn list<'a, T>(
    input: Tokens<'a>,
    brackets: (Punct, Punct),
    rules: ListRules,
    element: impl FnMut(Tokens<'a>) -> Result<'a, T>,
) -> Result<'a, Vec<T>> {
    enclosed(input, brackets, |input| {
        if input.at(brackets.1) {
            if let Some(what) = rules.at_least_one {
                input.context.report(unexpected(input, what));
            }
            return Ok((input, vec![]));
        }
        elements(input, Some(brackets.1), rules.trailing_comma, element)
    })
}

/// `a, b, c` up to and without `close`, or as far as commas go.
pub(super) fn elements<'a, T>(
    input: Tokens<'a>,
    close: Option<Punct>,
    trailing_comma: bool,
    mut element: impl FnMut(Tokens<'a>) -> Result<'a, T>,
) -> Result<'a, Vec<T>> {
    let (mut rest, first) = element(input)?;
    let mut all = vec![first];
    loop {
        if rest.at(Punct::Comma) {
            let comma = rest.next().span;
            rest = rest.advance(1);
            if close.is_some_and(|close| rest.at(close)) {
                if !trailing_comma {
                    let diagnostic = unexpected(rest, "another element after the `,`");
                    rest.context.report(diagnostic.suggest(comma, "", "remove the `,`"));
                }
                return Ok((rest, all));
            }
        } else if rest.on_same_line() && begins_element(rest) {
            let place = rest.last_span().after();
            let diagnostic = Diagnostic::error(Code::E0114, format!("missing `,` before {}", describe(rest)))
                .label(rest.next().span, "expected `,` before this")
                .suggest(place, ",", "separate them with a `,`");
            rest.context.report(diagnostic);
        } else {
            return Ok((rest, all));
        }
        let (after, next) = element(rest)?;
        all.push(next);
        rest = after;
    }
}

fn begins_element(input: Tokens<'_>) -> bool {
    let fits = matches!(
        input.next().kind,
        TokenKind::Ident
            | TokenKind::Int(_)
            | TokenKind::Float(_)
            | TokenKind::Keyword(Keyword::True | Keyword::False | Keyword::Const)
    );
    fits && !begins_statement(input)
}

/// `[b, h, i]` after a name that is declared; nothing at rank 0.
pub(super) fn axes(input: Tokens<'_>) -> Result<'_, Vec<Ident>> {
    if !input.at(Punct::LeftBracket) {
        return Ok((input, vec![]));
    }
    let rules = ListRules { at_least_one: Some("an index"), trailing_comma: false };
    list(input, (Punct::LeftBracket, Punct::RightBracket), rules, label("an index", map(name, |name| name)))
}

/// `: ` or `= ` and what follows, or nothing.
pub(super) fn after<'a, T>(
    mark: Punct,
    mut parser: impl FnMut(Tokens<'a>) -> Result<'a, T>,
) -> impl FnMut(Tokens<'a>) -> Result<'a, Option<T>> {
    move |input| {
        if !input.at(mark) {
            return Ok((input, None));
        }
        parser.parse(input.advance(1)).map(|(rest, value)| (rest, Some(value)))
    }
}
