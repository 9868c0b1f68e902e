//! The rules of statements, and warnings.
//!
//! Input: a program with names and types. Output: diagnostics only.

mod rules;
mod usage;

use crate::hir::Program;
use dmac_source::{Diagnostic, has_errors};

/// Checks a program. Warnings are given only if there is no error: an error often leaves something unused.
pub(crate) fn check(program: &Program, diagnostics: &mut Vec<Diagnostic>) {
    rules::check(program, diagnostics);
    if !has_errors(diagnostics) && program.is_complete() {
        usage::check(program, diagnostics);
    }
}
