//! The compiler on one screen: text → tree → graph → passes → tile program.
//!
//! Whoever wants to look inside passes `on_phase`: dumps, snapshots and timings are all users of that one callback.

use dmac_ir::Graph;
use dmac_schedule::kernel::{Program, Storage, verify};
use dmac_schedule::{Chosen, Schedule, Target};
use dmac_sema::{ProgramParam, SemaOptions, Value};
use dmac_source::{Code, Diagnostic, SourceFile, has_errors};
use std::collections::BTreeMap;
use std::fmt::Display;

/// What is fixed when a program is compiled.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The machine.
    pub target: Target,
    /// `D`: features of queries and keys, a multiple of 8.
    pub head_dim: i64,
    /// `E`: features of values; `None`: as `head_dim`.
    pub value_dim: Option<i64>,
    /// The type that `real` tensors are stored in.
    pub storage: Storage,
    /// Parameters pinned to a value (`-D w=1024`).
    pub defines: BTreeMap<String, Value>,
    /// Which attention of the text, where it holds several.
    pub attention: Option<String>,
    /// Tile sizes other than the target's own choice.
    pub schedule: Option<Schedule>,
}

impl Options {
    /// For this machine's processor, with default parameters.
    pub fn native(head_dim: i64, storage: Storage) -> Self {
        Self {
            target: dmac_schedule::target::NATIVE,
            head_dim,
            value_dim: None,
            storage,
            defines: BTreeMap::new(),
            attention: None,
            schedule: None,
        }
    }
}

/// A step of the compiler, named as its dumps and snapshots are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// The syntax tree.
    Ast,
    /// The graph as the front end made it.
    Ir,
    /// The graph after the pass of that name.
    Pass(&'static str),
    /// The tile program.
    Kernel,
}

impl Phase {
    /// The name: `ast`, `ir`, a pass, `kernel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ast => "ast",
            Self::Ir => "ir",
            Self::Pass(name) => name,
            Self::Kernel => "kernel",
        }
    }
}

/// An attention, compiled down to its tile program.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The lines of its doc comment.
    pub doc: Vec<String>,
    /// Its parameters, in the order of the text.
    pub params: Vec<ProgramParam>,
    /// What it means: what the interpreter evaluates.
    pub meaning: Graph,
    /// The graph after all passes.
    pub graph: Graph,
    /// The tile program.
    pub program: Program,
    /// Warnings of the front end.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles an attention of a text.
///
/// # Errors
/// All diagnostics, warnings included, if at least one is an error.
///
/// ```
/// use dmac::{Options, SourceFile, Storage, compile};
///
/// let source = SourceFile::new("causal.dmac", "attention causal { mask j <= i }");
/// let compiled = compile(&source, &Options::native(64, Storage::F32), &mut |_, _| {}).unwrap();
/// assert_eq!(compiled.program.name, "causal");
/// ```
pub fn compile(
    source: &SourceFile,
    options: &Options,
    on_phase: &mut dyn FnMut(Phase, &dyn Display),
) -> Result<Compiled, Vec<Diagnostic>> {
    let (module, mut diagnostics) = dmac_syntax::parse(source);
    on_phase(Phase::Ast, &dmac_syntax::ast::tree(&module));

    let sema_options = SemaOptions {
        head_dim: Some(options.head_dim),
        value_dim: options.value_dim,
        defines: options.defines.clone(),
    };
    let (programs, found) = dmac_sema::analyze(&module, &sema_options);
    diagnostics.extend(found);
    if has_errors(&diagnostics) {
        return Err(diagnostics);
    }
    let Some(analyzed) = pick(programs, options.attention.as_deref(), &mut diagnostics) else {
        return Err(diagnostics);
    };
    on_phase(Phase::Ir, &analyzed.graph);

    let mut graph = analyzed.graph.clone();
    dmac_passes::run_pipeline(&mut graph, &mut |pass, graph| on_phase(Phase::Pass(pass.name), graph));

    let features = (options.head_dim, options.value_dim.unwrap_or(options.head_dim));
    let Chosen { program, .. } =
        dmac_schedule::choose(&graph, &options.target, options.schedule, features, options.storage)?;
    if let Err(message) = verify(&program) {
        panic!("the lowering of `{}` is broken: {message}\n{program}", program.name);
    }
    on_phase(Phase::Kernel, &program);

    Ok(Compiled {
        doc: analyzed.doc,
        params: analyzed.params,
        meaning: analyzed.graph,
        graph,
        program,
        warnings: diagnostics,
    })
}

/// The attention that is asked for: the named one, or the only one.
fn pick(
    mut programs: Vec<dmac_sema::Program>,
    name: Option<&str>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<dmac_sema::Program> {
    let names: Vec<String> = programs.iter().map(|program| format!("`{}`", program.name)).collect();
    let found = match name {
        Some(name) => programs.iter().position(|program| program.name == name),
        None => (programs.len() == 1).then_some(0),
    };
    if found.is_none() {
        let message = match name {
            Some(name) => format!("there is no attention `{name}` here"),
            None if names.is_empty() => "there is no attention here".to_owned(),
            None => "there are several attentions here".to_owned(),
        };
        let help = match names.len() {
            0 => "write one: `attention causal { mask j <= i }`".to_owned(),
            _ => format!("choose with --attention among {}", names.join(", ")),
        };
        diagnostics.push(Diagnostic::error(Code::E0502, message).help(help));
    }
    found.map(|at| programs.swap_remove(at))
}

/// The diagnostics of a text, for whatever head dimension it will be compiled.
pub fn check(source: &SourceFile, defines: &BTreeMap<String, Value>) -> Vec<Diagnostic> {
    let (module, mut diagnostics) = dmac_syntax::parse(source);
    let options = SemaOptions { head_dim: None, value_dim: None, defines: defines.clone() };
    diagnostics.extend(dmac_sema::analyze(&module, &options).1);
    diagnostics
}
