//! `dmac explain`: the page of a code, or what the compiler found out about a program.

use crate::args::ExplainArgs;
use crate::files::read_program;
use crate::inputs::options;
use crate::terminal::{Exit, Failure, Terminal};
use dmac::source::nearest;
use dmac::{Code, compile};
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
    let options = options(&args.build, Some(ANY_HEAD_DIM), None, None)?;
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
            let _ = writeln!(text, "  {} = {:?}  ({kind})", param.name, param.value);
        }
    }
    let _ = write!(text, "\n{}", dmac::passes::explain::explain(&compiled.meaning));
    text.push_str("\nkernels, in launch order\n");
    for kernel in &compiled.program.kernels {
        let grid: Vec<String> = kernel
            .grid
            .iter()
            .map(|axis| {
                format!("{} < {}", kernel.var(axis.var).name, compiled.program.print_expr(&axis.extent))
            })
            .collect();
        let _ = writeln!(text, "  {} over ({})", kernel.name, grid.join(", "));
    }
    terminal.data(&text)?;
    Ok(Exit::Ok)
}
