//! `dmac check`: the diagnostics of programs.

use crate::args::CheckArgs;
use crate::files::read_program;
use crate::terminal::{Exit, Failure, Terminal};
use dmac::source::has_errors;

pub fn run(args: &CheckArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    for path in &args.files {
        let Some(source) = read_program(path, terminal)? else {
            exit = Exit::Mismatch;
            continue;
        };
        let diagnostics = dmac::check(&source, &args.defines.defines.iter().cloned().collect());
        terminal.diagnostics(&source, &diagnostics)?;
        if has_errors(&diagnostics) {
            exit = Exit::Mismatch;
        }
    }
    Ok(exit)
}
