//! What the parser reads: the rest of the tokens, and what all its functions share.
//!
//! [`Tokens`] is a nom input, so nom's combinators work on tokens as they do on text. Diagnostics that do not end
//! a statement ride along in the shared [`Context`], as `nom_locate`'s `extra` does for text.

use std::cell::{Cell, RefCell};
use std::iter::{Copied, Enumerate};
use std::slice::Iter;

use dmac_source::{Code, Diagnostic, SourceFile, Span};
use nom::{Input, Needed};

use super::expected::Expected;
use crate::lexer::Lexed;
use crate::token::{Punct, Token, TokenKind};

/// Errors after which the rest of a text is not looked at: whoever has that many gave the wrong file.
pub(super) const MAX_ERRORS: usize = 64;

/// Shared by all functions of one run of the parser.
pub(super) struct Context<'a> {
    pub file: &'a SourceFile,
    pub lexed: &'a Lexed,
    pub diagnostics: RefCell<Vec<Diagnostic>>,
    /// What closes the brackets open around the current token, outermost first.
    pub open: RefCell<Vec<Punct>>,
    /// Constructs open around the current one, each of which is a few frames of the stack.
    pub depth: Cell<usize>,
    /// Set when parsing must not go on.
    pub stopped: Cell<bool>,
}

impl Context<'_> {
    /// Notes a problem that does not keep the parser from going on.
    pub fn report(&self, diagnostic: Diagnostic) {
        let mut diagnostics = self.diagnostics.borrow_mut();
        if !self.stopped.get() {
            // A place has one first mistake; what follows from it at the same place is noise.
            let same_place = |other: &Diagnostic| other.primary_span() == diagnostic.primary_span();
            if !diagnostics.last().is_some_and(same_place) {
                self.stopped.set(diagnostic.code == Code::E0109);
                diagnostics.push(diagnostic);
            }
        }
        if diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count() >= MAX_ERRORS {
            self.stopped.set(true);
        }
    }
}

/// The tokens that are left; there is always an [`TokenKind::End`] among them unless nom has cut it off.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    rest: &'a [Token],
    pub context: &'a Context<'a>,
}

impl<'a> Tokens<'a> {
    pub fn new(context: &'a Context<'a>) -> Self {
        Self { rest: &context.lexed.tokens, context }
    }

    /// The next token. Beyond the end, and after the parser was stopped, that is the end.
    pub fn next(self) -> Token {
        let end = *self.context.lexed.tokens.last().expect("parser: the lexer ends every text with `End`");
        if self.context.stopped.get() { end } else { self.rest.first().copied().unwrap_or(end) }
    }

    /// The token `n` places after the next one.
    pub fn ahead(self, n: usize) -> Token {
        self.advance(n).next()
    }

    /// Without the next `n` tokens; never beyond the end.
    pub fn advance(self, n: usize) -> Self {
        let n = n.min(self.rest.len().saturating_sub(1));
        Self { rest: &self.rest[n..], ..self }
    }

    /// Index of the next token in the text.
    pub fn index(self) -> usize {
        self.context.lexed.tokens.len() - self.rest.len()
    }

    /// The text of the next token.
    pub fn text(self) -> &'a str {
        self.context.file.slice(self.next().span)
    }

    pub fn at(self, punct: Punct) -> bool {
        self.next().kind == TokenKind::Punct(punct)
    }

    pub fn at_end(self) -> bool {
        self.next().kind == TokenKind::End
    }

    /// The span of the last token read, or the place before the first one.
    pub fn last_span(self) -> Span {
        match self.index().checked_sub(1) {
            Some(last) => self.context.lexed.tokens[last].span,
            None => Span::at(0),
        }
    }

    /// Whether the next token stands on the same line as the last one.
    pub fn on_same_line(self) -> bool {
        let gap = Span { start: self.last_span().end, end: self.next().span.start };
        !self.context.file.slice(gap).contains('\n')
    }

    /// The place where a parser that was given this failed.
    pub fn failure(self, error: &nom::Err<Expected>) -> Self {
        let (nom::Err::Error(error) | nom::Err::Failure(error)) = error else { return self };
        Self::new(self.context).advance(error.at)
    }

    /// From the first token of `start` to the last one read.
    pub fn since(self, start: Self) -> Span {
        if self.index() <= start.index() {
            start.next().span.before()
        } else {
            start.next().span.join(self.last_span())
        }
    }
}

impl<'a> Input for Tokens<'a> {
    type Item = Token;
    type Iter = Copied<Iter<'a, Token>>;
    type IterIndices = Enumerate<Self::Iter>;

    fn input_len(&self) -> usize {
        self.rest.len()
    }

    fn take(&self, index: usize) -> Self {
        Self { rest: &self.rest[..index], ..*self }
    }

    fn take_from(&self, index: usize) -> Self {
        Self { rest: &self.rest[index..], ..*self }
    }

    fn take_split(&self, index: usize) -> (Self, Self) {
        (self.take_from(index), self.take(index))
    }

    fn position<P: Fn(Token) -> bool>(&self, predicate: P) -> Option<usize> {
        self.rest.iter().position(|token| predicate(*token))
    }

    fn iter_elements(&self) -> Self::Iter {
        self.rest.iter().copied()
    }

    fn iter_indices(&self) -> Self::IterIndices {
        self.iter_elements().enumerate()
    }

    fn slice_index(&self, count: usize) -> Result<usize, Needed> {
        if count <= self.rest.len() { Ok(count) } else { Err(Needed::new(count - self.rest.len())) }
    }
}
