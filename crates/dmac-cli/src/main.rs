//! The `dmac` command: arguments and files in, the library's answers out.
//!
//! Data goes to stdout, messages to stderr. Exit codes: 0 ok, 1 diagnostics or a mismatch, 2 usage, 3 input or output, 4 no
//! such device or target, 101 an internal error.

mod args;
mod bench;
mod check;
mod compile;
mod devices;
mod explain;
mod files;
mod fmt;
mod inputs;
mod ptx;
mod run;
mod tensors;
mod terminal;
mod threads;
mod verify;

use clap::Parser as _;
use std::process::ExitCode;
use terminal::{Exit, Terminal};

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let terminal = Terminal::new(&cli.global);
    let result = match cli.command {
        args::Command::Check(args) => check::run(&args, &terminal),
        args::Command::Compile(args) => compile::run(&args, &terminal),
        args::Command::Run(args) => run::run(&args, &terminal),
        args::Command::Verify(args) => verify::run(&args, &terminal),
        args::Command::Bench(args) => bench::run(&args, &terminal),
        args::Command::Explain(args) => explain::run(&args, &terminal),
        args::Command::Fmt(args) => fmt::run(&args, &terminal),
        args::Command::Ptx(args::PtxCommand::Run(args)) => ptx::run(&args, &terminal),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            terminal.error(&failure.message);
            failure.exit.into()
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
