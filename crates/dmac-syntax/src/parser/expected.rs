//! The parser's error: what was expected where, and how it becomes a diagnostic.
//!
//! Of several alternatives that fail, the one that came furthest wins; alternatives that fail at the same token
//! add up, so that the message is "expected `,` or `]`" without any function knowing the whole list.

use dmac_source::{Code, Diagnostic};
use nom::Parser;
use nom::error::{ErrorKind, ParseError};

use super::input::Tokens;
use crate::token::{Foreign, Punct, TokenKind};

/// Why a function of the parser failed.
pub(super) struct Expected {
    /// Index of the token at which it failed.
    pub at: usize,
    /// What could have stood there.
    what: Vec<&'static str>,
    /// A diagnostic that says more than a list of what was expected.
    report: Option<Box<Diagnostic>>,
}

pub(super) type Result<'a, T> = nom::IResult<Tokens<'a>, T, Expected>;

impl<'a> ParseError<Tokens<'a>> for Expected {
    fn from_error_kind(input: Tokens<'a>, _: ErrorKind) -> Self {
        Self { at: input.index(), what: vec![], report: None }
    }

    fn append(_: Tokens<'a>, _: ErrorKind, other: Self) -> Self {
        other
    }

    fn or(mut self, other: Self) -> Self {
        match self.at.cmp(&other.at) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => {
                self.what.extend(other.what);
                self.report = self.report.or(other.report);
                self
            }
        }
    }
}

/// Fails at the next token, recoverably: another alternative may fit.
pub(super) fn expected<'a, T>(input: Tokens<'a>, what: &'static str) -> Result<'a, T> {
    Err(nom::Err::Error(Expected { at: input.index(), what: vec![what], report: None }))
}

/// Fails for good, with a diagnostic of its own.
pub(super) fn fail<T>(input: Tokens<'_>, report: Diagnostic) -> Result<'_, T> {
    Err(nom::Err::Failure(Expected { at: input.index(), what: vec![], report: Some(Box::new(report)) }))
}

/// Gives a rule its name in messages: if `parser` fails without having read anything, `what` was expected.
pub(super) fn label<'a, T>(
    what: &'static str,
    mut parser: impl Parser<Tokens<'a>, Output = T, Error = Expected>,
) -> impl FnMut(Tokens<'a>) -> Result<'a, T> {
    move |input| {
        parser.parse(input).map_err(|error| {
            error.map(|mut error| {
                if error.at == input.index() {
                    error.what = vec![what];
                }
                error
            })
        })
    }
}

/// The diagnostic for a failure.
pub(super) fn diagnose(input: Tokens<'_>, error: nom::Err<Expected>) -> Diagnostic {
    let error = match error {
        nom::Err::Error(error) | nom::Err::Failure(error) => error,
        nom::Err::Incomplete(_) => unreachable!("parser: all of the text is there from the beginning"),
    };
    if let Some(report) = error.report {
        return *report;
    }
    let found = Tokens::new(input.context).advance(error.at);
    unexpected(found, &listed(&error.what))
}

/// "expected WHAT, found the next token".
pub(super) fn unexpected(found: Tokens<'_>, what: &str) -> Diagnostic {
    let token = found.next();
    if let TokenKind::Foreign(foreign) = token.kind {
        return Diagnostic::error(Code::E0108, format!("{} is not part of the language", foreign.quoted()))
            .label(token.span, format!("expected {what}"))
            .help(foreign_help(foreign));
    }
    let message = format!("expected {what}, found {}", describe(found));
    // What is missing at the end of a line is missing there, and not where the next line begins.
    let at_line_end = token.kind == TokenKind::End || !found.on_same_line();
    let span = if at_line_end && found.index() > 0 { found.last_span().after() } else { token.span };
    let help =
        (token.kind == TokenKind::Punct(Punct::Eq)).then(|| "`=` defines, and `==` compares".to_owned());
    Diagnostic::error(Code::E0103, message).label(span, format!("expected {what}")).help_opt(help)
}

/// The next token in words.
pub(super) fn describe(input: Tokens<'_>) -> String {
    match input.next().kind {
        TokenKind::End => "the end of the file".to_owned(),
        TokenKind::Keyword(keyword) => format!("the reserved word {}", keyword.quoted()),
        TokenKind::Ident | TokenKind::Int(_) | TokenKind::Float(_) | TokenKind::BadNumber => {
            let text = input.text();
            if text.chars().count() <= 40 { format!("`{text}`") } else { "a very long word".to_owned() }
        }
        TokenKind::Punct(punct) => punct.quoted().to_owned(),
        TokenKind::Foreign(foreign) => foreign.quoted().to_owned(),
    }
}

fn listed(what: &[&str]) -> String {
    let mut different: Vec<&str> = vec![];
    what.iter().filter(|text| !text.is_empty()).for_each(|text| {
        if !different.contains(text) {
            different.push(text);
        }
    });
    match different.as_slice() {
        [] => "something else".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What the language has in place of another language's operator.
pub(super) fn foreign_help(foreign: Foreign) -> &'static str {
    match foreign {
        Foreign::AndAnd | Foreign::And => "the logical operators are `and`, `or` and `not`: write `and`",
        Foreign::OrOr | Foreign::Or => "the logical operators are `and`, `or` and `not`: write `or`",
        Foreign::Bang | Foreign::Tilde => "the logical operators are `and`, `or` and `not`: write `not`",
        Foreign::Percent => "the remainder is `x mod y`",
        Foreign::StarStar | Foreign::Caret => {
            "there is no operator for powers: write `x * x`, or `exp(y * log(x))`"
        }
        Foreign::Semicolon => "statements need no `;`: a statement ends where the next one begins",
        Foreign::Question => "a choice is written `if condition then x else y`",
        Foreign::Walrus => "a value is defined with `=`: `let x = ...`",
        Foreign::PlusEq | Foreign::MinusEq | Foreign::StarEq | Foreign::SlashEq => {
            "there are no assignments: write `score = score + ...` to change the score"
        }
        Foreign::Arrow | Foreign::FatArrow => {
            "there are no arrows: a function is `fn f(x) = ...`, without types"
        }
        Foreign::At => "there are no matrix products or decorators: write `sum(d: x[i, d] * y[d, j])`",
    }
}
