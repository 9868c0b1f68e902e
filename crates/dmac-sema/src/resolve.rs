//! From the syntax tree to a program with every name resolved.
//!
//! Input: an attention of a module, its functions, and the values that the user pinned. Output: an [`hir::Program`] and
//! diagnostics about names: unknown, declared twice, not bound here, cyclic. Declarations are hoisted, so all names are
//! collected before any expression is read. Where an error is reported, [`ExprKind::Error`] stands, which fits everywhere,
//! so that one mistake is one message.

mod attention;
mod call;
mod expr;
mod functions;
mod names;
mod order;
mod params;
mod scope;

pub(crate) use functions::Functions;

use crate::SemaOptions;
use crate::hir::{self, AttentionIx, AxisDef, AxisIx, Expr, InputIx, LetIx, Program, UNNAMED, VarIx};
use dmac_ir::Elem;
use dmac_source::{Code, Diagnostic, Span, nearest};
use dmac_syntax::ast::{self, Ident, InputTypeKind, Stmt, StmtKind};
use names::{BUILTIN_AXES, Meaning, Named, Names};
use scope::{Place, Scope};
use std::collections::BTreeSet;

/// How many expression nodes a program may have after its functions are inlined. A page of text has hundreds; the limit
/// stops functions that double at each call.
const MAX_NODES: usize = 200_000;

/// Resolves one attention.
pub(crate) fn resolve(
    attention: &ast::Attention,
    functions: &Functions<'_>,
    options: &SemaOptions,
    diagnostics: &mut Vec<Diagnostic>,
) -> Program {
    let program = Program {
        name: attention.name.name.clone(),
        doc: attention.doc.clone(),
        params: vec![],
        axes: BUILTIN_AXES
            .into_iter()
            .map(|(_, size)| hir::Axis { name: size.to_owned(), span: None, def: AxisDef::Builtin })
            .collect(),
        vars: vec![],
        inputs: vec![],
        lets: vec![],
        attentions: vec![],
        branches: false,
        output: None,
        emits: vec![],
        order: vec![],
        axis_order: vec![],
        axis_number: vec![],
        incomplete: has_syntax_errors(&attention.body),
        called: BTreeSet::new(),
    };
    let mut resolver = Resolver {
        functions,
        program,
        names: Names::builtin(),
        diagnostics,
        nodes: 0,
        depth: 0,
        exhausted: false,
    };
    for (name, _) in BUILTIN_AXES {
        resolver.var(&Ident::new(name, attention.name.span));
    }
    resolver.builtin_inputs();
    resolver.params(attention, options);
    resolver.declare(&attention.body);
    resolver.inputs(&attention.body);
    resolver.declare_lets(&attention.body);
    resolver.declare_attentions(attention);
    resolver.axes(&attention.body);
    resolver.ranges(&attention.body);
    resolver.lets(&attention.body);
    resolver.attentions(attention);
    resolver.outputs(attention);
    resolver.order_axes();
    resolver.order();
    resolver.program
}

/// The state of resolving one attention.
struct Resolver<'a> {
    functions: &'a Functions<'a>,
    program: Program,
    names: Names,
    diagnostics: &'a mut Vec<Diagnostic>,
    /// Expression nodes made so far.
    nodes: usize,
    /// Of the expression that is being resolved.
    depth: usize,
    /// Whether a limit was reported.
    exhausted: bool,
}

impl Resolver<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn builtin_inputs(&mut self) {
        let query = [AxisIx::B, AxisIx::H, AxisIx::M, AxisIx::D];
        let key = [AxisIx::B, AxisIx::G, AxisIx::N, AxisIx::D];
        let value = [AxisIx::B, AxisIx::G, AxisIx::N, AxisIx::E];
        for (name, axes) in [("q", query), ("k", key), ("v", value)] {
            let axes = axes.to_vec();
            let input = hir::Input { name: name.to_owned(), span: None, elem: Elem::Real, axes, range: None };
            self.program.inputs.push(input);
        }
    }

    /// Collects the names of all declarations of the program.
    fn declare(&mut self, body: &[Stmt]) {
        let mut branches = 0;
        let (mut inputs, mut lets) = (self.program.inputs.len(), 0);
        for stmt in body {
            match &stmt.kind {
                StmtKind::Axis(axis) => {
                    let id = AxisIx(self.program.axes.len());
                    if self.declare_name(&axis.name, Meaning::Index(id)) {
                        let name = axis.name.name.clone();
                        let span = Some(axis.name.span);
                        self.program.axes.push(hir::Axis { name, span, def: AxisDef::FromInput });
                    }
                }
                StmtKind::Input(input) => {
                    let meaning = Meaning::Input(InputIx(inputs));
                    inputs += usize::from(self.declare_name(&input.name, meaning));
                }
                StmtKind::Let(binding) => {
                    let meaning = Meaning::Let(LetIx(lets));
                    lets += usize::from(self.declare_name(&binding.name, meaning));
                }
                StmtKind::Branch(branch) => {
                    let meaning = Meaning::Attention(AttentionIx(branches));
                    branches += usize::from(self.declare_name(&branch.name, meaning));
                }
                _ => {}
            }
        }
        // What is declared in a branch is reported there; a use of it is no further mistake.
        for stmt in body {
            let StmtKind::Branch(branch) = &stmt.kind else { continue };
            for stmt in &branch.body {
                let name = match &stmt.kind {
                    StmtKind::Axis(axis) => &axis.name,
                    StmtKind::Input(input) => &input.name,
                    StmtKind::Let(binding) => &binding.name,
                    StmtKind::Branch(branch) => &branch.name,
                    _ => continue,
                };
                let _ = self.names.declare(&name.name, Meaning::Broken, name.span);
            }
        }
        self.program.branches = body.iter().any(|stmt| matches!(stmt.kind, StmtKind::Branch(_)));
        if !self.program.branches {
            // A program may use the name for something of its own: then its output has none.
            if self.names.declared(UNNAMED).is_none() {
                let _ = self.names.declare(UNNAMED, Meaning::Attention(AttentionIx(0)), Span::default());
            }
        }
    }

    /// Declares a name, or reports the earlier declaration.
    fn declare_name(&mut self, name: &Ident, meaning: Meaning) -> bool {
        let Some(earlier) = self.names.declare(&name.name, meaning, name.span) else { return true };
        let diagnostic = if let Some(span) = earlier.span {
            Diagnostic::error(Code::E0202, format!("`{name}` is declared twice"))
                .label(name.span, "declared again")
                .secondary(span, "first declared here")
        } else {
            let what = self.what_builtin(&name.name, earlier);
            Diagnostic::error(Code::E0202, format!("`{name}` already has a meaning in every program"))
                .label(name.span, format!("this is {what}"))
                .help("choose another name")
        };
        self.report(diagnostic);
        false
    }

    fn what_builtin(&self, name: &str, named: Named) -> String {
        match named.meaning {
            Meaning::Index(axis) => format!("the index of axis {}", self.program.axis(axis).name),
            Meaning::Size(axis) => format!("the size of the axis of `{}`", BUILTIN_AXES[axis.0].0),
            Meaning::Input(_) => format!("the tensor `{name}`"),
            meaning => meaning.kind().to_owned(),
        }
    }

    /// Whether a declaration is the one that its name stands for.
    fn is_declared_at(&self, name: &Ident) -> Option<Meaning> {
        let named = self.names.declared(&name.name)?;
        (named.span == Some(name.span)).then_some(named.meaning)
    }

    fn inputs(&mut self, body: &[Stmt]) {
        for stmt in body {
            let StmtKind::Input(input) = &stmt.kind else { continue };
            let axes = self.input_axes(&input.axes);
            if !matches!(self.is_declared_at(&input.name), Some(Meaning::Input(_))) {
                continue;
            }
            let elem = match &input.ty.kind {
                InputTypeKind::Real => Elem::Real,
                InputTypeKind::F32 => Elem::F32,
                InputTypeKind::I32 { .. } => Elem::I32,
                InputTypeKind::Bool => Elem::Bool,
            };
            let name = input.name.name.clone();
            let span = Some(input.name.span);
            self.program.inputs.push(hir::Input { name, span, elem, axes, range: None });
        }
    }

    /// Reads the ranges of inputs: they may mention any size, so all axes are known before.
    fn ranges(&mut self, body: &[Stmt]) {
        let mut ranges = Vec::new();
        for stmt in body {
            let StmtKind::Input(input) = &stmt.kind else { continue };
            let Some(Meaning::Input(id)) = self.is_declared_at(&input.name) else { continue };
            if let InputTypeKind::I32 { range: Some((low, high)) } = &input.ty.kind {
                let mut scope = Scope::new(Place::Size);
                ranges.push((id, self.expr(low, &mut scope), self.expr(high, &mut scope)));
            }
        }
        for (id, low, high) in ranges {
            self.program.inputs[id.0].range = Some((low, high));
        }
    }

    /// The axes of an input; an index that is met for the first time makes one.
    fn input_axes(&mut self, indices: &[Ident]) -> Vec<AxisIx> {
        let mut axes = Vec::new();
        let mut seen: Vec<&Ident> = Vec::new();
        for index in indices {
            // A repeated one keeps its place: the number of axes is what was meant.
            self.repeated(index, &seen);
            seen.push(index);
            if self.names.get(&index.name).is_none() {
                let id = AxisIx(self.program.axes.len());
                let (name, span) = (index.base().to_owned(), Some(index.span));
                let _ = self.names.declare(&name, Meaning::Index(id), index.span);
                self.program.axes.push(hir::Axis { name, span, def: AxisDef::FromInput });
            }
            if let Some(var) = self.var(index) {
                axes.push(self.program.axis_of(var));
            }
        }
        axes
    }

    /// Reports an index that stands twice in one list.
    fn repeated(&mut self, index: &Ident, seen: &[&Ident]) {
        let Some(first) = seen.iter().find(|first| first.name == index.name) else { return };
        let diagnostic = Diagnostic::error(Code::E0205, format!("the index `{index}` stands here twice"))
            .label(index.span, "a second time")
            .secondary(first.span, "first here")
            .help(format!("a second index over the same axis has a prime: `{index}'`"));
        self.report(diagnostic);
    }

    fn axes(&mut self, body: &[Stmt]) {
        for stmt in body {
            let StmtKind::Axis(axis) = &stmt.kind else { continue };
            let Some(Meaning::Index(id)) = self.is_declared_at(&axis.name) else { continue };
            let mut scope = Scope::new(Place::Size);
            let def = match &axis.def {
                ast::AxisDef::Size(size) => Some(AxisDef::Sized(self.expr(size, &mut scope))),
                ast::AxisDef::Windows { over, length, stride, .. } => {
                    let (length, stride) = (self.expr(length, &mut scope), self.expr(stride, &mut scope));
                    self.divided(over).map(|of| AxisDef::Windows { of, length, stride })
                }
                ast::AxisDef::Blocks { over, length, .. } => {
                    let length = self.expr(length, &mut scope);
                    self.divided(over).map(|of| AxisDef::Blocks { of, length })
                }
            };
            // A definition that was reported leaves an axis about which nothing is known.
            if let Some(def) = def {
                self.program.axes[id.0].def = def;
            }
        }
    }

    /// The axis that windows or blocks divide.
    fn divided(&mut self, index: &Ident) -> Option<AxisIx> {
        let var = self.var(index)?;
        let axis = self.program.axis_of(var);
        if axis == AxisIx::M {
            let diagnostic = Diagnostic::error(Code::E0310, "the axis of queries cannot be divided")
                .label(index.span, "`i` is the position of a query")
                .note("which queries there are differs from call to call: decoding has one, and it must mean the same")
                .help("divide the axis of keys, `j`, or use `i div LENGTH`");
            self.report(diagnostic);
            return None;
        }
        Some(axis)
    }

    /// Makes all lets, without their values: the right side of any may read any other.
    fn declare_lets(&mut self, body: &[Stmt]) {
        for stmt in body {
            let StmtKind::Let(binding) = &stmt.kind else { continue };
            let mut vars: Vec<VarIx> = Vec::new();
            let mut seen: Vec<&Ident> = Vec::new();
            for index in &binding.axes {
                self.repeated(index, &seen);
                seen.push(index);
                vars.extend(self.var(index));
            }
            if matches!(self.is_declared_at(&binding.name), Some(Meaning::Let(_))) {
                let (name, span) = (binding.name.name.clone(), binding.name.span);
                let value = Expr::error(binding.value.span);
                self.program.lets.push(hir::Let { name, span, vars, value, stored_as_real: false });
            }
        }
    }

    /// Fills in the values of all lets.
    fn lets(&mut self, body: &[Stmt]) {
        for stmt in body {
            let StmtKind::Let(binding) = &stmt.kind else { continue };
            let mut scope = Scope::new(Place::Let);
            for index in &binding.axes {
                if let Some(var) = self.names.var(&index.name)
                    && !scope.bound().contains(&var)
                {
                    scope.bind(var);
                }
            }
            let value = self.expr(&binding.value, &mut scope);
            if let Some(Meaning::Let(id)) = self.is_declared_at(&binding.name) {
                self.program.lets[id.0].value = value;
            }
        }
    }

    /// The variable of an index, or a report that there is no such index.
    fn var(&mut self, index: &Ident) -> Option<VarIx> {
        if let Some(var) = self.names.var(&index.name) {
            return Some(var);
        }
        match self.names.get(&index.name).map(|named| named.meaning) {
            Some(Meaning::Index(axis)) => {
                let var = VarIx(self.program.vars.len());
                self.program.vars.push(hir::Var { name: index.name.clone(), axis });
                self.names.add_var(&index.name, var);
                Some(var)
            }
            Some(Meaning::Broken) => None,
            Some(meaning) => {
                let diagnostic =
                    Diagnostic::error(Code::E0209, format!("expected an index, found {}", meaning.kind()))
                        .label(index.span, format!("`{index}` is {}, not an index", meaning.kind()));
                self.report(diagnostic);
                None
            }
            None => {
                let similar = nearest(&index.name, self.names.all(|m| matches!(m, Meaning::Index(_))))
                    .map(str::to_owned);
                let mut diagnostic =
                    Diagnostic::error(Code::E0304, format!("the index `{index}` has no axis"))
                        .label(index.span, "how large is its axis?")
                        .note(
                            "an axis takes its size from the input that has it, or from an `axis` statement",
                        );
                diagnostic = match similar {
                    Some(similar) => {
                        diagnostic.suggest(index.span, &*similar, format!("did you mean `{similar}`?"))
                    }
                    None => diagnostic.help(format!("declare it: `axis {} = SIZE`", index.base())),
                };
                self.report(diagnostic);
                // As if it were declared: one message for each name is enough.
                let id = AxisIx(self.program.axes.len());
                let name = index.base().to_owned();
                let _ = self.names.declare(&name, Meaning::Index(id), index.span);
                self.program.axes.push(hir::Axis { name, span: Some(index.span), def: AxisDef::FromInput });
                self.var(index)
            }
        }
    }
}

/// Whether a statement stands for a syntax error. (Expressions that do are [`hir::ExprKind::Error`].)
fn has_syntax_errors(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match &stmt.kind {
        StmtKind::Error => true,
        StmtKind::Branch(branch) => has_syntax_errors(&branch.body),
        _ => false,
    })
}
