//! `dmac compile --target ptx`: PTX, what was assembled from it, and what launches it.
//!
//! Input → output: a program and `--arch` → files. All but a cubin are made without a CUDA toolkit.

use super::{Phases, Product, suffix, wanted, with_suffix};
use crate::args::{Arch, CompileArgs, Emit};
use crate::inputs::options;
use crate::terminal::{Exit, Failure, Terminal};
use dmac::codegen_ptx::{c_launcher, c_launcher_header, manifest, ptxas};
use dmac::source::{Code, Diagnostic, SourceFile};
use dmac::{PtxProgram, compile_ptx};

/// Everything that is asked for, or nothing where the program has errors.
pub fn products(
    source: &SourceFile,
    args: &CompileArgs,
    terminal: &Terminal,
) -> Result<Option<Vec<Product>>, Failure> {
    let wanted = wanted(args, &[Emit::Ptx, Emit::C, Emit::Header, Emit::Manifest]);
    if wanted.iter().any(|kind| matches!(kind, Emit::Clif | Emit::Asm | Emit::Obj)) {
        return Err(Failure::usage("clif, asm and obj are of processors: leave out --target ptx"));
    }
    let options = options(&args.build, None, None, None)?;
    let mut phases = Phases::default();
    let target = args.arch.unwrap_or(Arch::Sm80).into();
    let (compiled, ptx) =
        match compile_ptx(source, &options, target, &mut |phase, text| phases.add(phase, text)) {
            Ok(made) => made,
            Err(diagnostics) => {
                terminal.diagnostics(source, &diagnostics)?;
                return Ok(None);
            }
        };
    terminal.diagnostics(source, &compiled.warnings)?;
    let mut made = Vec::new();
    for kind in wanted {
        let bytes = match kind {
            Emit::Ptx => ptx.text.clone().into_bytes(),
            Emit::C => {
                let header = with_suffix(&args.output, suffix(Emit::Header));
                let name = header.file_name().unwrap_or(header.as_os_str()).to_string_lossy().into_owned();
                c_launcher(&ptx, &name).into_bytes()
            }
            Emit::Header => c_launcher_header(&ptx).into_bytes(),
            Emit::Manifest => manifest(&ptx).into_bytes(),
            Emit::Cubin => match cubin(&ptx)? {
                Ok(bytes) => bytes,
                Err(log) => {
                    let refused = Diagnostic::error(Code::E0505, format!("ptxas refuses the PTX:\n{log}"));
                    terminal.diagnostics(source, &[refused])?;
                    return Ok(None);
                }
            },
            phase => phases.text(phase).expect("kinds of other targets were refused"),
        };
        made.push((kind, bytes));
    }
    Ok(Some(made))
}

/// Machine code, or what `ptxas` says against it.
fn cubin(ptx: &PtxProgram) -> Result<Result<Vec<u8>, String>, Failure> {
    let Some(assembler) = ptxas::find() else {
        let message = "a cubin needs ptxas, which is not found: put it on the PATH or name it in DMAC_PTXAS";
        return Err(Failure { exit: Exit::NoDevice, message: message.into() });
    };
    let failed = |error: std::io::Error| Failure::io(format!("cannot assemble: {error}"));
    let folder = tempfile::tempdir().map_err(failed)?;
    let (text, binary) = (folder.path().join("kernels.ptx"), folder.path().join("kernels.cubin"));
    std::fs::write(&text, &ptx.text).map_err(failed)?;
    let report = ptxas::assemble(&assembler, &text, ptx.target, Some(&binary)).map_err(failed)?;
    if report.assembled { std::fs::read(&binary).map(Ok).map_err(failed) } else { Ok(Err(report.log)) }
}
