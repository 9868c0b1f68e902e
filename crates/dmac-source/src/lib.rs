//! Named source text, spans into it, diagnostics about it and their rendering.
//!
//! A stage gets a [`SourceFile`] and returns its result with a list of [`Diagnostic`]s; the command line renders
//! them with a [`Renderer`]. Every diagnostic carries a [`Code`] from one closed table, and every code has a page
//! in `dsl/errors/` that is part of the binary, so that a message is never a dead end.
//!
//! This crate knows no stage of the compiler: it is the only thing that all of them share.

mod code;
mod diagnostic;
mod file;
mod json;
mod nearest;
mod render;
mod span;

pub use code::Code;
pub use diagnostic::{Diagnostic, Label, Severity, Suggestion, has_errors};
pub use file::{LineColumn, SourceFile};
pub use nearest::nearest;
pub use render::{Format, Renderer};
pub use span::{Span, Spanned};
