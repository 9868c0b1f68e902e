//! `dmac fmt`: programs in their canonical form.

use crate::args::FmtArgs;
use crate::files::{read_program, write};
use crate::terminal::{Exit, Failure, Terminal};
use std::path::Path;

pub fn run(args: &FmtArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    for path in &args.files {
        let Some(source) = read_program(path, terminal)? else {
            exit = Exit::Mismatch;
            continue;
        };
        match dmac::syntax::format(&source) {
            Err(diagnostics) => {
                terminal.diagnostics(&source, &diagnostics)?;
                exit = Exit::Mismatch;
            }
            Ok(text) if args.check => {
                if text != source.text() {
                    terminal.note(&format!("{} is not formatted: run `dmac fmt` on it", source.name()));
                    exit = Exit::Mismatch;
                }
            }
            Ok(text) if path == Path::new("-") => terminal.data(&text)?,
            Ok(text) => {
                if text != source.text() {
                    write(path, text.as_bytes())?;
                }
            }
        }
    }
    Ok(exit)
}
