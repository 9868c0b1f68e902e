//! What a stage has to say about a program: an error or a warning, as data.
//!
//! Built fluently:
//!
//! ```
//! # use dmac_source::{Code, Diagnostic, Span};
//! let diagnostic = Diagnostic::error(Code::E0103, "expected `]`, found `)`")
//!     .label(Span::new(14, 15), "expected `]` here")
//!     .secondary(Span::new(9, 10), "to close this `[`")
//!     .suggest(Span::new(14, 15), "]", "close the index list");
//! assert_eq!(diagnostic.primary_span(), Some(Span::new(14, 15)));
//! ```

use crate::{Code, Span};

/// How bad it is. Only errors stop a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The program is not compiled.
    Error,
    /// The program is compiled, but probably does not do what its author wants.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A remark at a place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What to say there; may be empty.
    pub text: String,
    /// Whether this is the place of the problem itself, rather than one that explains it.
    pub primary: bool,
}

/// A replacement of source text that would probably put the program right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// What the replacement does, as an imperative: "compare with `==`".
    pub message: String,
    /// Text to replace; empty to insert.
    pub span: Span,
    /// Text to put there; empty to delete.
    pub replacement: String,
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The row of the code table; its page explains the rule that was broken.
    pub code: Code,
    /// One sentence: what was expected and what was found.
    pub message: String,
    /// Places, the primary ones first wanted first. Empty when the problem is in no program text (run-time inputs).
    pub labels: Vec<Label>,
    /// Facts that explain why.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
    /// What to do, as an edit.
    pub suggestion: Option<Suggestion>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// A warning.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    fn new(severity: Severity, code: Code, message: String) -> Self {
        Self { severity, code, message, labels: vec![], notes: vec![], help: None, suggestion: None }
    }

    /// Adds a place of the problem.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: true });
        self
    }

    /// Adds a place that explains the problem.
    #[must_use]
    pub fn secondary(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Sets the advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Sets the advice, if there is any.
    #[must_use]
    pub fn help_opt(mut self, text: Option<String>) -> Self {
        self.help = text.or(self.help);
        self
    }

    /// Sets an edit that would put the program right.
    #[must_use]
    pub fn suggest(mut self, span: Span, replacement: impl Into<String>, message: impl Into<String>) -> Self {
        self.suggestion = Some(Suggestion { message: message.into(), span, replacement: replacement.into() });
        self
    }

    /// Whether it stops the compilation.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Where the problem is: the first primary label, or the first of all, or nowhere.
    pub fn primary_span(&self) -> Option<Span> {
        let primary = self.labels.iter().find(|label| label.primary);
        primary.or(self.labels.first()).map(|label| label.span)
    }
}

/// Whether any of the diagnostics stops the compilation.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(Diagnostic::is_error)
}
