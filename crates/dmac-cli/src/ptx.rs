//! `dmac ptx run`: a PTX kernel executed on this processor, under the sanitizer.
//!
//! PTX text, sizes of a launch and arguments → a line about each buffer that the kernel wrote, or a diagnostic for each
//! error: a malformed text (`E0701`) or what the sanitizer found (`E0702`), both with the line of the PTX.

use crate::args::PtxRunArgs;
use crate::files::read_program;
use crate::tensors;
use crate::terminal::{Exit, Failure, Terminal};
use dmac::Code;
use dmac::source::{Diagnostic, SourceFile, Span, nearest};
use dmac_ptx_interp::command::{BoundBuffer, HostTensor, TensorName, bind};
use dmac_ptx_interp::{
    Finding, FindingKind, Kernel, Launch, Memory, Module, Options, Site, Stats, TensorElement, parse,
};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

pub fn run(args: &PtxRunArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let Some(source) = read_program(&args.file, terminal)? else { return Ok(Exit::Mismatch) };
    let module = match parse(source.text()) {
        Ok(module) => module,
        Err(error) => {
            let span = word_at(&source, error.line, error.column);
            let diagnostic = Diagnostic::error(Code::E0701, error.message).label(span, "");
            terminal.diagnostics(&source, &[diagnostic])?;
            return Ok(Exit::Mismatch);
        }
    };
    let kernel = entry(&module, args.entry.as_deref())?;
    let mut memory = Memory::new();
    let files = read_files(args)?;
    let (bound_args, buffers) =
        bind(kernel.params(), &args.arguments, &files, &mut memory, args.seed).map_err(Failure::usage)?;
    let mut launch = Launch::new(&module, kernel.name())
        .grid(args.grid)
        .block(args.block.or(kernel.required_block()).unwrap_or([32, 1, 1]))
        .dynamic_smem(args.shared)
        .args(bound_args);
    if let Some(cluster) = args.cluster {
        launch = launch.cluster(cluster);
    }
    let options = Options {
        seed: args.seed,
        sanitize: !args.no_sanitize,
        max_steps: args.max_steps,
        max_findings: args.max_findings,
        workers: args.threads.map_or(0, usize::from),
        fence_after_cp_async: !args.no_cp_async_fence,
    };
    match launch.run(&mut memory, &options) {
        Ok(stats) => {
            report(args, kernel, stats, &memory, &buffers, terminal)?;
            Ok(Exit::Ok)
        }
        Err(findings) => {
            if let Some(bad) = findings.iter().find(|finding| finding.kind == FindingKind::BadLaunch) {
                return Err(Failure::usage(bad.message.clone()));
            }
            let diagnostics: Vec<Diagnostic> =
                findings.iter().map(|finding| diagnostic(&source, finding)).collect();
            terminal.diagnostics(&source, &diagnostics)?;
            // Messages count allocations in the order in which buffers were made.
            for (number, bound) in buffers.iter().enumerate() {
                terminal.note(&format!("allocation {number} is `{}` {:?}", bound.name, bound.dims));
            }
            Ok(Exit::Mismatch)
        }
    }
}

/// The kernel of that name, or the only one.
fn entry<'a>(module: &'a Module, name: Option<&str>) -> Result<&'a Kernel, Failure> {
    let names: Vec<&str> = module.entries().map(Kernel::name).collect();
    let Some(name) = name else {
        return match names.as_slice() {
            [only] => Ok(module.entry(only).expect("the name of an entry finds it")),
            [] => Err(Failure::usage("the file has no kernel")),
            several => Err(Failure::usage(format!(
                "the file has several kernels: name one of {} with --entry",
                several.join(", ")
            ))),
        };
    };
    module.entry(name).ok_or_else(|| {
        let hint = nearest(name, names.iter().copied()).map_or_else(
            || format!("the file has {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Failure::usage(format!("there is no kernel `{name}`; {hint}"))
    })
}

/// The tensors of files that arguments name.
fn read_files(args: &PtxRunArgs) -> Result<BTreeMap<TensorName, HostTensor>, Failure> {
    let mut files = BTreeMap::new();
    for name in args.arguments.iter().filter_map(|argument| argument.file()) {
        if files.contains_key(name) {
            continue;
        }
        let bytes = tensors::read(Path::new(&name.path))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| {
            Failure::io(format!("{} is not a complete safetensors file: {error}", name.path))
        })?;
        let view = file.tensor(&name.tensor).map_err(|_| {
            let known: Vec<&str> = file.names().into_iter().collect();
            let hint = nearest(&name.tensor, known.iter().copied())
                .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Failure::io(format!("{} has no tensor `{}`{hint}", name.path, name.tensor))
        })?;
        let element = element(view.dtype()).ok_or_else(|| {
            Failure::io(format!("{name} has elements of {:?}, which no buffer holds", view.dtype()))
        })?;
        let dims = view.shape().iter().map(|dim| *dim as u64).collect();
        files.insert(name.clone(), HostTensor { element, dims, bytes: view.data().to_vec() });
    }
    Ok(files)
}

/// Elements of a file as elements of a buffer: a sign or a truth value is the kernel's interpretation.
fn element(dtype: Dtype) -> Option<TensorElement> {
    Some(match dtype {
        Dtype::BOOL | Dtype::U8 | Dtype::I8 => TensorElement::U8,
        Dtype::U16 | Dtype::I16 => TensorElement::U16,
        Dtype::U32 => TensorElement::U32,
        Dtype::I32 => TensorElement::S32,
        Dtype::U64 | Dtype::I64 => TensorElement::U64,
        Dtype::F16 => TensorElement::F16,
        Dtype::BF16 => TensorElement::Bf16,
        Dtype::F32 => TensorElement::F32,
        Dtype::F64 => TensorElement::F64,
        _ => return None,
    })
}

fn dtype(element: TensorElement) -> Option<Dtype> {
    Some(match element {
        TensorElement::U8 => Dtype::U8,
        TensorElement::U16 => Dtype::U16,
        TensorElement::U32 => Dtype::U32,
        TensorElement::S32 => Dtype::I32,
        TensorElement::U64 => Dtype::U64,
        TensorElement::F16 => Dtype::F16,
        TensorElement::Bf16 => Dtype::BF16,
        TensorElement::F32 => Dtype::F32,
        TensorElement::F64 => Dtype::F64,
        _ => return None,
    })
}

/// The buffers that the kernel wrote: a line each, and the file.
fn report(
    args: &PtxRunArgs,
    kernel: &Kernel,
    stats: Stats,
    memory: &Memory,
    buffers: &[BoundBuffer],
    terminal: &Terminal,
) -> Result<(), Failure> {
    let mut written = Vec::new();
    for bound in buffers.iter().filter(|bound| memory.unwritten(bound.buffer) < bound.buffer.bytes()) {
        let dtype = dtype(bound.element).expect("every element of a specification has a type in files");
        let dims: Vec<usize> = bound.dims.iter().map(|dim| *dim as usize).collect();
        let element = dtype.to_string().to_lowercase();
        terminal.data(&tensors::summary(&bound.name, &element, &dims, &bound.values(memory)))?;
        let unwritten = memory.unwritten(bound.buffer);
        if unwritten > 0 {
            terminal.note(&format!("{}: the kernel did not write {unwritten} bytes of it", bound.name));
        }
        written.push((bound.name.as_str(), dtype, dims, bound.tensor(memory).bytes));
    }
    if let Some(path) = &args.output {
        let parts =
            written.iter().map(|(name, dtype, dims, bytes)| (*name, *dtype, dims.clone(), bytes.as_slice()));
        tensors::save_bytes(path, parts)?;
    }
    let looked = if args.no_sanitize { "not sanitized" } else { "nothing found" };
    terminal.note(&format!(
        "{}: {} blocks, {} warp instructions, {looked}",
        kernel.name(),
        stats.blocks,
        stats.instructions
    ));
    Ok(())
}

fn diagnostic(source: &SourceFile, finding: &Finding) -> Diagnostic {
    let message = format!("{}: {}", finding.kind.name(), finding.message);
    let mut diagnostic = Diagnostic::error(Code::E0702, message);
    if let Some(at) = &finding.at {
        diagnostic = diagnostic.label(statement_at(source, at), who(at));
        if let Some(line) = &at.source {
            diagnostic =
                diagnostic.note(format!("the instruction was made from {}:{}", line.file, line.line));
        }
    }
    if let Some(other) = &finding.other {
        let same = finding.at.as_ref().is_some_and(|at| (at.line, at.column) == (other.line, other.column));
        // Two labels at one place would hide which is which.
        diagnostic = if same {
            diagnostic.note(format!("the other one is the same instruction, executed by {}", who(other)))
        } else {
            diagnostic.secondary(statement_at(source, other), format!("the other one: {}", who(other)))
        };
    }
    diagnostic
}

fn who(site: &Site) -> String {
    let [x, y, z] = site.cta;
    let lane = site.lane.map_or(String::new(), |lane| format!(" lane {lane}"));
    format!("block ({x},{y},{z}) warp {}{lane}", site.warp)
}

/// The byte at a line and column, both from 1; the end of the text where it is shorter.
fn offset(source: &SourceFile, line: u32, column: u32) -> usize {
    let line = (line as usize).max(1);
    if line > source.line_count() {
        return source.text().len();
    }
    let text = source.line(line);
    let within =
        text.char_indices().nth((column as usize).saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    source.line_start(line) + within
}

/// The word at a place, or its one character.
fn word_at(source: &SourceFile, line: u32, column: u32) -> Span {
    let start = offset(source, line, column);
    let rest = &source.text()[start..];
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '%' | '$');
    let len = rest.find(|c| !word(c)).unwrap_or(rest.len());
    let one = rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    Span::new(start, start + len.max(one))
}

/// The statement at a place: up to its semicolon, or to the end of its line.
fn statement_at(source: &SourceFile, site: &Site) -> Span {
    let start = offset(source, site.line, site.column);
    let rest = source.text()[start..].split(['\n', '\r']).next().unwrap_or_default();
    let len = rest.find(';').map_or(rest.trim_end().len(), |at| at + 1);
    Span::new(start, start + len)
}
