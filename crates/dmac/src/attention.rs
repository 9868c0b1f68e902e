//! A variant that runs: compiled text and its machine code.

use crate::compile::{Compiled, Options, compile};
use dmac_cpu_kernels::KernelTable;
use dmac_ir::{AxisKind, Graph};
use dmac_runtime::{Arguments, Executable, Rayon, Results, RunError};
use dmac_schedule::kernel::Storage;
use dmac_schedule::{Schedule, lower, target};
use dmac_source::{Code, Diagnostic, Format, Renderer, SourceFile};
use std::fmt;

/// A compiled attention for this processor. One serves all lengths, batch sizes and head counts.
pub struct Attention {
    compiled: Compiled,
    executable: Executable,
}

/// Why a text did not compile: diagnostics, and their rendering with the source.
#[derive(Clone, Debug)]
pub struct CompileFailure {
    /// All diagnostics.
    pub diagnostics: Vec<Diagnostic>,
    rendered: String,
}

impl fmt::Display for CompileFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

impl std::error::Error for CompileFailure {}

impl Attention {
    /// Compiles the only attention of a text, or the one that `options` names, for this processor.
    ///
    /// # Errors
    /// Diagnostics about the text, or that the target cannot compile it.
    pub fn compile(text: &str, options: &Options) -> Result<Self, CompileFailure> {
        let source = SourceFile::new("program", text);
        Self::from_source(&source, options).map_err(|diagnostics| CompileFailure {
            rendered: Renderer::new(Format::Human).render_all(&source, &diagnostics),
            diagnostics,
        })
    }

    /// Compiles a named text with the fastest micro-kernels of this processor.
    ///
    /// # Errors
    /// As [`Attention::compile`].
    pub fn from_source(source: &SourceFile, options: &Options) -> Result<Self, Vec<Diagnostic>> {
        Self::with_kernels(source, options, dmac_cpu_kernels::detect())
    }

    /// Compiles a named text with given micro-kernels.
    ///
    /// # Errors
    /// As [`Attention::compile`].
    pub fn with_kernels(
        source: &SourceFile,
        options: &Options,
        table: &'static KernelTable,
    ) -> Result<Self, Vec<Diagnostic>> {
        let compiled = compile(source, options, &mut |_, _| {})?;
        let executable = Executable::new(compiled.program.clone(), compiled.graph.clone(), table)
            .map_err(|error| vec![code_diagnostic(&error)])?;
        Ok(Self { compiled, executable })
    }

    /// What was compiled.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The machine code.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// Runs it on the current rayon pool.
    ///
    /// # Errors
    /// Arguments that do not fit the program: missing tensors, wrong shapes, types, lengths or values.
    pub fn run(&self, arguments: &Arguments<'_>) -> Result<Results, RunError> {
        self.executable.run(arguments, &Rayon)
    }
}

/// A graph that the compiler itself derived, as machine code for this processor.
pub(crate) fn executable(meaning: &Graph, storage: Storage) -> Result<Executable, String> {
    let mut graph = meaning.clone();
    dmac_passes::run_pipeline(&mut graph, &mut |_, _| {});
    let features = |kind| graph.find_axis(&kind).and_then(|axis| graph.axis(axis).size).unwrap_or(8);
    let schedule =
        Schedule::choose(&target::NATIVE, features(AxisKind::Feature), features(AxisKind::ValueFeature));
    let program =
        lower::lower(&graph, &target::NATIVE, &schedule, storage).map_err(|errors| format!("{errors:?}"))?;
    Executable::new(program, graph, dmac_cpu_kernels::detect()).map_err(|error| error.to_string())
}

/// A code generator's error as a diagnostic.
pub(crate) fn code_diagnostic(error: &dmac_codegen_cranelift::CompileError) -> Diagnostic {
    let code = Code::parse(error.code()).unwrap_or(Code::E0503);
    Diagnostic::error(code, error.to_string())
}
