//! `dmac compile`: native code or PTX, and every phase before it as text.

mod gpu;

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

/// A kind, and what its file holds.
type Product = (Emit, Vec<u8>);

/// The target that is no processor.
const GPU: &str = "ptx";

pub fn run(args: &CompileArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let Some(source) = read_program(&args.file, terminal)? else { return Ok(Exit::Mismatch) };
    let made = if args.target == GPU {
        gpu::products(&source, args, terminal)?
    } else {
        native(&source, args, terminal)?
    };
    let Some(made) = made else { return Ok(Exit::Mismatch) };
    if args.output == Path::new("-") {
        return match made.as_slice() {
            [(kind, bytes)] if !matches!(kind, Emit::Obj | Emit::Cubin) => {
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

/// The kinds that are asked for, or `usual` ones, each once.
fn wanted(args: &CompileArgs, usual: &[Emit]) -> Vec<Emit> {
    let mut wanted = if args.emit.is_empty() { usual.to_vec() } else { args.emit.clone() };
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

fn native(
    source: &SourceFile,
    args: &CompileArgs,
    terminal: &Terminal,
) -> Result<Option<Vec<Product>>, Failure> {
    if args.arch.is_some() {
        return Err(Failure::usage("--arch is of --target ptx"));
    }
    let wanted = wanted(args, &[Emit::Obj, Emit::Header, Emit::Manifest]);
    if wanted.iter().any(|kind| matches!(kind, Emit::Ptx | Emit::Cubin | Emit::C)) {
        return Err(Failure::usage("ptx, cubin and c are made with --target ptx"));
    }
    let options = options(&args.build, None, None, None)?;
    let machine = match machine(&args.target) {
        Ok(machine) => machine,
        Err(error) => {
            return Err(Failure { exit: Exit::NoDevice, message: format!("{error} ({})", error.code()) });
        }
    };
    let mut phases = Phases::default();
    let compiled = match compile(source, &options, &mut |phase, text| phases.add(phase, text)) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            terminal.diagnostics(source, &diagnostics)?;
            return Ok(None);
        }
    };
    terminal.diagnostics(source, &compiled.warnings)?;
    match products(&wanted, &compiled, &machine, &phases) {
        Ok(made) => Ok(Some(made)),
        Err(error) => {
            refuse(source, &error, terminal)?;
            Ok(None)
        }
    }
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

impl Phases {
    /// A phase that is the same for all targets.
    fn text(&self, kind: Emit) -> Option<Vec<u8>> {
        match kind {
            Emit::Ast => Some(self.ast.clone().into_bytes()),
            Emit::Ir => Some(format!("{}// after all passes\n{}", self.ir, self.last).into_bytes()),
            Emit::Kernel => Some(self.kernel.clone().into_bytes()),
            _ => None,
        }
    }
}

/// Everything is made before anything is written.
fn products(
    wanted: &[Emit],
    compiled: &Compiled,
    machine: &Machine,
    phases: &Phases,
) -> Result<Vec<Product>, CompileError> {
    let text: Option<CodeText> = if wanted.iter().any(|kind| matches!(kind, Emit::Clif | Emit::Asm)) {
        Some(code_text(&compiled.program, machine)?)
    } else {
        None
    };
    let mut made = Vec::new();
    for &kind in wanted {
        let bytes = match kind {
            Emit::Clif => text.as_ref().map_or(Vec::new(), |text| text.clif.clone().into_bytes()),
            Emit::Asm => text.as_ref().map_or(Vec::new(), |text| text.asm.clone().into_bytes()),
            Emit::Obj => compile_object(&compiled.program, machine)?,
            Emit::Header => c_header(&compiled.program).into_bytes(),
            Emit::Manifest => manifest(&compiled.program, machine).into_bytes(),
            phase => phases.text(phase).expect("kinds of other targets were refused"),
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
        Emit::Ptx => "ptx",
        Emit::Cubin => "cubin",
        Emit::C => "c",
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
