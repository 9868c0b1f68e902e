//! `dmac compile`: native code, and every phase before it as text.

use crate::args::{CompileArgs, Emit};
use crate::files::{read_program, write};
use crate::inputs::options;
use crate::terminal::{Exit, Failure, Terminal};
use dmac::codegen::{CodeText, CompileError, Machine, c_header, code_text, compile_object, manifest};
use dmac::source::{Code, Diagnostic, SourceFile};
use dmac::{Compiled, Phase, compile};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub fn run(args: &CompileArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let Some(source) = read_program(&args.file, terminal)? else { return Ok(Exit::Mismatch) };
    let options = options(&args.build, None, None, None)?;
    let machine = match machine(&args.target) {
        Ok(machine) => machine,
        Err(error) => {
            return Err(Failure { exit: Exit::NoDevice, message: format!("{error} ({})", error.code()) });
        }
    };
    let mut phases = Phases::default();
    let compiled = match compile(&source, &options, &mut |phase, text| phases.add(phase, text)) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            terminal.diagnostics(&source, &diagnostics)?;
            return Ok(Exit::Mismatch);
        }
    };
    terminal.diagnostics(&source, &compiled.warnings)?;
    let mut wanted = args.emit.clone();
    if wanted.is_empty() {
        wanted = vec![Emit::Obj, Emit::Header, Emit::Manifest];
    }
    wanted.sort_unstable();
    wanted.dedup();
    let made = match products(&wanted, &compiled, &machine, &phases) {
        Ok(made) => made,
        Err(error) => {
            refuse(&source, &error, terminal)?;
            return Ok(Exit::Mismatch);
        }
    };
    if args.output == Path::new("-") {
        return match made.as_slice() {
            [(kind, bytes)] if *kind != Emit::Obj => {
                terminal.data(&String::from_utf8_lossy(bytes))?;
                Ok(Exit::Ok)
            }
            _ => Err(Failure::usage("-o - prints one kind of text: name it with --emit")),
        };
    }
    for (kind, bytes) in made {
        write(&with_suffix(&args.output, suffix(kind)), &bytes)?;
    }
    Ok(Exit::Ok)
}

fn machine(target: &str) -> Result<Machine, CompileError> {
    match target {
        "native" => Machine::native(),
        triple => Machine::pinned(triple, "portable"),
    }
}

fn refuse(source: &SourceFile, error: &CompileError, terminal: &Terminal) -> Result<(), Failure> {
    let code = Code::parse(error.code()).unwrap_or(Code::E0505);
    terminal.diagnostics(source, &[Diagnostic::error(code, error.to_string())])
}

/// The text of each phase.
#[derive(Default)]
struct Phases {
    ast: String,
    ir: String,
    kernel: String,
    last: String,
}

impl Phases {
    fn add(&mut self, phase: Phase, text: &dyn std::fmt::Display) {
        match phase {
            Phase::Ast => self.ast = text.to_string(),
            Phase::Ir => {
                let _ = writeln!(self.ir, "// as written\n{text}");
            }
            Phase::Pass(_) => self.last = text.to_string(),
            Phase::Kernel => self.kernel = text.to_string(),
        }
    }
}

/// Everything is made before anything is written.
fn products(
    wanted: &[Emit],
    compiled: &Compiled,
    machine: &Machine,
    phases: &Phases,
) -> Result<Vec<(Emit, Vec<u8>)>, CompileError> {
    let text: Option<CodeText> = if wanted.iter().any(|kind| matches!(kind, Emit::Clif | Emit::Asm)) {
        Some(code_text(&compiled.program, machine)?)
    } else {
        None
    };
    let mut made = Vec::new();
    for &kind in wanted {
        let bytes = match kind {
            Emit::Ast => phases.ast.clone().into_bytes(),
            Emit::Ir => format!("{}// after all passes\n{}", phases.ir, phases.last).into_bytes(),
            Emit::Kernel => phases.kernel.clone().into_bytes(),
            Emit::Clif => text.as_ref().map_or(Vec::new(), |text| text.clif.clone().into_bytes()),
            Emit::Asm => text.as_ref().map_or(Vec::new(), |text| text.asm.clone().into_bytes()),
            Emit::Obj => compile_object(&compiled.program, machine)?,
            Emit::Header => c_header(&compiled.program).into_bytes(),
            Emit::Manifest => manifest(&compiled.program, machine).into_bytes(),
        };
        made.push((kind, bytes));
    }
    Ok(made)
}

fn suffix(kind: Emit) -> &'static str {
    match kind {
        Emit::Ast => "ast",
        Emit::Ir => "ir",
        Emit::Kernel => "kernel",
        Emit::Clif => "clif",
        Emit::Asm => "s",
        Emit::Obj => "o",
        Emit::Header => "h",
        Emit::Manifest => "json",
    }
}

/// `OUT` with `.suffix` behind it, whatever dots it has.
fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(prefix);
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
