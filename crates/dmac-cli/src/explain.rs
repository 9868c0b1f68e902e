//! `dmac explain`: the page of a code, or what the compiler found out about a program.

mod shape;

use crate::args::ExplainArgs;
use crate::files::read_program;
use crate::inputs::{options, options_for_random};
use crate::terminal::{Exit, Failure, Terminal};
use dmac::schedule::kernel::{Expr, VarId};
use dmac::schedule::target::SM_80;
use dmac::source::nearest;
use dmac::{Attention, Code, Options, ParamValue, Program, compile};
use std::fmt::Write as _;
use std::path::Path;

/// The head dimension for which a program is explained where none is given: the facts do not depend on it.
const ANY_HEAD_DIM: i64 = 64;

pub fn run(args: &ExplainArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    if let Some(code) = Code::parse(&args.what) {
        terminal.data(code.page())?;
        return Ok(Exit::Ok);
    }
    let looks_like_code = args.what.len() <= 6
        && args.what.starts_with(['E', 'W', 'e', 'w'])
        && args.what[1..].chars().all(|c| c.is_ascii_digit());
    if looks_like_code && !Path::new(&args.what).exists() {
        let similar = nearest(&args.what, Code::ALL.iter().map(|code| code.as_str()));
        let hint = similar.map_or(String::new(), |similar| format!("; did you mean {similar}?"));
        return Err(Failure::usage(format!("there is no code {}{hint}", args.what)));
    }
    let Some(source) = read_program(Path::new(&args.what), terminal)? else { return Ok(Exit::Mismatch) };
    let options = match &args.random {
        Some(sizes) => options_for_random(&args.build, sizes)?,
        None => options(&args.build, Some(ANY_HEAD_DIM), None, None)?,
    };
    let compiled = match compile(&source, &options, &mut |_, _| {}) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            terminal.diagnostics(&source, &diagnostics)?;
            return Ok(Exit::Mismatch);
        }
    };
    let mut text = format!("{}\n", compiled.program.name);
    for line in &compiled.doc {
        let _ = writeln!(text, "  {line}");
    }
    if !compiled.params.is_empty() {
        text.push_str("\nparameters\n");
        for param in &compiled.params {
            let kind = if param.is_const || param.pinned { "fixed when compiled" } else { "run-time" };
            let value = match param.value {
                ParamValue::Int(value) => value.to_string(),
                ParamValue::Float(value) => format!("{value:?}"),
            };
            let _ = writeln!(text, "  {} = {value}  ({kind})", param.name);
        }
    }
    let _ = write!(text, "\n{}", dmac::passes::explain::explain(&compiled.meaning));
    kernels(&mut text, "on this processor", &compiled.program);
    // Where a GPU cannot run it, `compile --target ptx` says why.
    let on_gpu = Options { target: SM_80, ..options.clone() };
    if let Ok(compiled) = compile(&source, &on_gpu, &mut |_, _| {}) {
        kernels(&mut text, "on a GPU", &compiled.program);
    }
    if let Some(sizes) = &args.random {
        match Attention::from_source(&source, &options) {
            Ok(attention) => shape::explain(&mut text, &attention, sizes, args)?,
            Err(diagnostics) => {
                terminal.diagnostics(&source, &diagnostics)?;
                return Ok(Exit::Mismatch);
            }
        }
    }
    terminal.data(&text)?;
    Ok(Exit::Ok)
}

fn kernels(text: &mut String, place: &str, program: &Program) {
    let _ = writeln!(text, "\nkernels {place}, in launch order");
    for kernel in &program.kernels {
        let axes = kernel.grid.iter().map(|axis| (axis.var, &axis.extent));
        let list = |axes: &mut dyn Iterator<Item = (VarId, &Expr)>| {
            let bounds =
                axes.map(|(var, end)| format!("{} < {}", kernel.var(var).name, program.print_expr(end)));
            bounds.collect::<Vec<_>>().join(", ")
        };
        let _ = write!(text, "  {} over ({})", kernel.name, list(&mut axes.into_iter()));
        if let Some(rounds) = &kernel.rounds {
            let _ = write!(text, " for each {}", list(&mut std::iter::once((rounds.var, &rounds.count))));
        }
        text.push('\n');
    }
}
