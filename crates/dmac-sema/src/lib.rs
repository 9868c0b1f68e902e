//! Semantic analysis: from a syntax tree to a graph, or to diagnostics.
//!
//! Input: an [`ast::Module`] and what the user pins at compile time. Output: one [`Program`] for each attention without
//! errors, and the diagnostics of all. The stages, one file each:
//!
//! 1. `resolve`: names to declarations, user functions inlined, cycles found.
//! 2. `infer`: types and axes; conversions from int to float become explicit.
//! 3. `check`: the rules of statements (selections, branches, `.prob`), and warnings.
//! 4. `lower`: to a [`Graph`], only if there was no error.
//!
//! ```
//! use dmac_sema::{SemaOptions, analyze};
//! use dmac_source::SourceFile;
//!
//! let file = SourceFile::new("window.dmac", "attention window(w: int = 4) { mask j <= i and i - j < w }");
//! let (module, syntax_errors) = dmac_syntax::parse(&file);
//! let (programs, diagnostics) = analyze(&module, &SemaOptions { head_dim: Some(64), ..Default::default() });
//! assert!(syntax_errors.is_empty() && diagnostics.is_empty());
//! assert_eq!(programs[0].graph.params[0].name, "w");
//! ```
//!
//! The builtin functions are a table ([`builtins::BUILTINS`]). Nothing here knows a variant of attention by name.

pub mod builtins;
mod check;
mod constant;
mod hir;
mod infer;
mod lower;
mod resolve;

use dmac_ir::{Graph, ParamType, ParamValue};
use dmac_source::{Code, Diagnostic, Span, has_errors, nearest};
use dmac_syntax::ast;
use std::collections::{BTreeMap, BTreeSet};

/// The largest head dimension of any target. A target may hold less, and says so itself.
pub const MAX_HEAD_DIM: i64 = 576;

/// Head dimensions are multiples of this on all targets.
pub const HEAD_DIM_STEP: i64 = 8;

/// What is known at compile time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SemaOptions {
    /// `D`: features of queries and keys.
    pub head_dim: Option<i64>,
    /// `E`: features of values; `D` where it is not given.
    pub value_dim: Option<i64>,
    /// Parameters pinned by the user (`-D w=1024`).
    pub defines: BTreeMap<String, Value>,
}

/// A number given by the user.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value {
    /// `1024`
    Int(i64),
    /// `0.5`
    Float(f64),
}

/// A program that means something.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// The lines of its doc comment.
    pub doc: Vec<String>,
    /// All parameters, in the order of the text.
    pub params: Vec<ProgramParam>,
    /// What it computes. It verifies.
    pub graph: Graph,
    /// Where it stands.
    pub span: Span,
}

/// A parameter of a program.
#[derive(Clone, PartialEq, Debug)]
pub struct ProgramParam {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ParamType,
    /// Whether it is declared `const`.
    pub is_const: bool,
    /// Whether the user pinned it.
    pub pinned: bool,
    /// Its pinned value, or its default. A parameter that is neither pinned nor `const` is a [`dmac_ir::Param`] of the
    /// graph, and this is what it is where the caller gives no value.
    pub value: ParamValue,
}

/// Analyses all attentions of a module.
///
/// The diagnostics of the parser are not repeated: nodes that stand for syntax errors fit everywhere. An attention with
/// such a node, or with an error found here, has no [`Program`].
pub fn analyze(module: &ast::Module, options: &SemaOptions) -> (Vec<Program>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    check_options(module, options, &mut diagnostics);
    let functions = resolve::Functions::new(module, &mut diagnostics);
    let sound = !has_errors(&diagnostics);
    let mut programs = Vec::new();
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    let mut called = BTreeSet::new();
    for attention in module.attentions() {
        let name = &attention.name;
        if let Some(first) = names.insert(&name.name, name.span) {
            diagnostics.push(
                Diagnostic::error(Code::E0202, format!("the attention `{name}` is declared twice"))
                    .label(name.span, "declared again")
                    .secondary(first, "first declared here"),
            );
        }
        let mut own = Vec::new();
        let program = one(attention, &functions, options, &mut called, &mut own);
        programs.extend(program.filter(|_| sound));
        diagnostics.append(&mut own);
    }
    if !has_errors(&diagnostics) {
        functions.warn_unused(&called, &mut diagnostics);
    }
    // A function that is inlined twice reports what is wrong in it twice.
    let mut seen = BTreeSet::new();
    diagnostics.retain(|diagnostic| {
        seen.insert((diagnostic.code, diagnostic.primary_span(), diagnostic.message.clone()))
    });
    (programs, diagnostics)
}

fn one(
    attention: &ast::Attention,
    functions: &resolve::Functions<'_>,
    options: &SemaOptions,
    called: &mut BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Program> {
    let (head_dim, value_dim) = (options.head_dim, options.value_dim.or(options.head_dim));
    let mut program = resolve::resolve(attention, functions, options, diagnostics);
    called.append(&mut program.called);
    infer::infer(&mut program, head_dim, value_dim, diagnostics);
    check::check(&program, diagnostics);
    if has_errors(diagnostics) || !program.is_complete() {
        return None;
    }
    let graph = lower::lower(&program, head_dim, value_dim);
    let params = program.params.into_iter().map(|param| ProgramParam {
        name: param.name,
        ty: param.ty,
        is_const: param.is_const,
        pinned: param.pinned,
        value: param.value,
    });
    Some(Program {
        params: params.collect(),
        name: program.name,
        doc: program.doc,
        graph,
        span: attention.span,
    })
}

/// Checks what was given on the command line: it has no place in the text.
fn check_options(module: &ast::Module, options: &SemaOptions, diagnostics: &mut Vec<Diagnostic>) {
    for (what, value) in [("head", options.head_dim), ("value", options.value_dim)] {
        let Some(value) = value else { continue };
        if !(HEAD_DIM_STEP..=MAX_HEAD_DIM).contains(&value) || value % HEAD_DIM_STEP != 0 {
            diagnostics.push(
                Diagnostic::error(Code::E0314, format!("the {what} dimension {value} is not supported"))
                    .help(format!("use a multiple of {HEAD_DIM_STEP}, at most {MAX_HEAD_DIM}")),
            );
        }
    }
    let params: BTreeSet<&str> = module
        .attentions()
        .flat_map(|attention| attention.params.iter().map(|param| param.name.name.as_str()))
        .collect();
    for name in options.defines.keys().filter(|name| !params.contains(name.as_str())) {
        let diagnostic = Diagnostic::error(Code::E0211, format!("no program here has a parameter `{name}`"));
        diagnostics.push(match nearest(name, params.iter().copied()) {
            Some(similar) => diagnostic.help(format!("did you mean `{similar}`?")),
            None if params.is_empty() => diagnostic.help("these programs have no parameters"),
            None => {
                let known: Vec<&str> = params.iter().copied().collect();
                diagnostic.help(format!("the parameters are {}", known.join(", ")))
            }
        });
    }
}
