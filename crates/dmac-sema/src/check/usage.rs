//! Warnings: what is declared and not used, what has no effect, what gets no gradient.

use crate::hir::{Attention, AxisDef, Definition, Expr, ExprKind, Program, StepKind, Tensor, VarIx};
use dmac_ir::Elem;
use dmac_source::{Code, Diagnostic};
use std::collections::BTreeSet;

pub(super) fn check(program: &Program, diagnostics: &mut Vec<Diagnostic>) {
    let usage = Usage::of(program);
    usage.unused(diagnostics);
    usage.without_gradient(diagnostics);
    for attention in &program.attentions {
        ties(program, attention, diagnostics);
    }
}

/// What the outputs depend on.
struct Usage<'a> {
    program: &'a Program,
    /// Tensors that are read for the outputs, in any way.
    read: BTreeSet<Tensor>,
    /// Those whose values reach an output other than through masks and selections.
    valued: BTreeSet<Tensor>,
    params: BTreeSet<usize>,
    axes: BTreeSet<usize>,
}

/// The expressions of an attention: those that make values, and those that only decide what is attended.
fn split(attention: &Attention) -> (Vec<&Expr>, Vec<&Expr>) {
    let mut values: Vec<&Expr> = attention.scale.iter().chain(&attention.sink).collect();
    let mut decisions = Vec::new();
    for step in &attention.steps {
        match &step.kind {
            StepKind::Score(value) => values.push(value),
            StepKind::Mask(predicate) => decisions.push(predicate),
            StepKind::Select(select) => {
                decisions.push(&select.count);
                decisions.extend(select.parts());
            }
        }
    }
    (values, decisions)
}

impl<'a> Usage<'a> {
    fn of(program: &'a Program) -> Self {
        let mut usage = Self {
            program,
            read: BTreeSet::new(),
            valued: BTreeSet::new(),
            params: BTreeSet::new(),
            axes: BTreeSet::new(),
        };
        match &program.output {
            Some(output) => usage.expr(output, true),
            None => usage.tensor(Tensor::Field(crate::hir::AttentionIx(0), dmac_ir::Field::Out), true),
        }
        for emit in &program.emits {
            usage.tensor(Tensor::Field(emit.attention, emit.field), true);
        }
        // Definitions stand after what they read, so users come first in reverse.
        for definition in program.order.iter().rev() {
            match *definition {
                Definition::Let(id) => {
                    let tensor = Tensor::Let(id);
                    if usage.read.contains(&tensor) {
                        let valued = usage.valued.contains(&tensor);
                        usage.expr(&program.lets[id.0].value, valued);
                        usage.vars(&program.lets[id.0].vars);
                    }
                }
                Definition::Attention(id) => {
                    let of =
                        |tensor: &&Tensor| matches!(tensor, Tensor::Field(attention, _) if *attention == id);
                    if !usage.read.iter().any(|tensor| of(&tensor)) {
                        continue;
                    }
                    let valued = usage.valued.iter().any(|tensor| of(&tensor));
                    let attention = &program.attentions[id.0];
                    let (values, decisions) = split(attention);
                    for expr in values {
                        usage.expr(expr, valued);
                    }
                    for expr in decisions {
                        usage.expr(expr, false);
                    }
                    for operand in [&attention.queries, &attention.keys, &attention.values] {
                        usage.tensor(operand.tensor, valued);
                    }
                    usage.vars(&[attention.key, attention.feature]);
                    for step in &attention.steps {
                        if let StepKind::Select(select) = &step.kind {
                            usage.vars(&[select.over]);
                        }
                    }
                }
            }
        }
        // Axes are used by the inputs that have them, and by their parts.
        for input in &program.inputs {
            usage.axes.extend(input.axes.iter().map(|axis| axis.0));
            for bound in input.range.iter().flat_map(|(low, high)| [low, high]) {
                usage.expr(bound, false);
            }
        }
        for axis in &program.axes {
            match &axis.def {
                AxisDef::Windows { of, length, stride } => {
                    usage.axes.insert(of.0);
                    usage.expr(length, false);
                    usage.expr(stride, false);
                }
                AxisDef::Blocks { of, length } => {
                    usage.axes.insert(of.0);
                    usage.expr(length, false);
                }
                AxisDef::Sized(size) => usage.expr(size, false),
                AxisDef::Builtin | AxisDef::FromInput => {}
            }
        }
        usage
    }

    fn vars(&mut self, vars: &[VarIx]) {
        for &var in vars {
            self.axes.insert(self.program.axis_of(var).0);
        }
    }

    fn tensor(&mut self, tensor: Tensor, valued: bool) {
        self.read.insert(tensor);
        if valued {
            self.valued.insert(tensor);
        }
    }

    /// Notes what an expression reads. What only decides, or is an index, has no gradient.
    fn expr(&mut self, expr: &Expr, valued: bool) {
        match &expr.kind {
            ExprKind::Read { tensor, indices } => {
                self.tensor(*tensor, valued);
                for index in indices {
                    self.expr(index, false);
                }
            }
            ExprKind::Param(param) => {
                self.params.insert(param.0);
            }
            ExprKind::Index(var) | ExprKind::Start(var) | ExprKind::End(var) => self.vars(&[*var]),
            ExprKind::Overlap(c, s) => self.vars(&[*c, *s]),
            ExprKind::Size(axis) => {
                self.axes.insert(axis.0);
            }
            ExprKind::Reduce { binders, body, .. } => {
                for binder in binders {
                    self.vars(&[binder.var]);
                }
                self.expr(body, valued);
            }
            _ => expr.each_child(&mut |child| self.expr(child, valued)),
        }
    }

    fn unused(&self, diagnostics: &mut Vec<Diagnostic>) {
        let mut unused = |what: &str, name: &str, span, help: &str| {
            let diagnostic =
                Diagnostic::warning(Code::W0201, format!("{what} `{name}` has no effect on any output"));
            diagnostics.push(diagnostic.label(span, "unused").help(help));
        };
        let program = self.program;
        for (at, param) in program.params.iter().enumerate() {
            if !self.params.contains(&at) {
                unused("the parameter", &param.name, param.span, "remove it");
            }
        }
        for (at, input) in program.inputs.iter().enumerate() {
            if let Some(span) = input.span
                && !self.read.contains(&Tensor::Input(crate::hir::InputIx(at)))
            {
                unused(
                    "the input",
                    &input.name,
                    span,
                    "remove it: callers would have to give it for nothing",
                );
            }
        }
        for (at, axis) in program.axes.iter().enumerate() {
            if let Some(span) = axis.span
                && !self.axes.contains(&at)
            {
                unused("the axis", &axis.name, span, "remove it");
            }
        }
        for (at, binding) in program.lets.iter().enumerate() {
            if !self.read.contains(&Tensor::Let(crate::hir::LetIx(at))) {
                unused("the `let`", &binding.name, binding.span, "remove it");
            }
        }
        if program.branches {
            for (at, attention) in program.attentions.iter().enumerate() {
                let of = |tensor: &Tensor| matches!(tensor, Tensor::Field(read, _) if read.0 == at);
                if !self.read.iter().any(of) {
                    unused("the branch", &attention.name, attention.span, "add it to `output`, or remove it");
                }
            }
        }
    }

    fn without_gradient(&self, diagnostics: &mut Vec<Diagnostic>) {
        for (at, input) in self.program.inputs.iter().enumerate() {
            let tensor = Tensor::Input(crate::hir::InputIx(at));
            let float = matches!(input.elem, Elem::Real | Elem::F32);
            let Some(span) = input.span else { continue };
            if float && self.read.contains(&tensor) && !self.valued.contains(&tensor) {
                let message = format!("the input `{}` gets no gradient", input.name);
                diagnostics.push(
                    Diagnostic::warning(Code::W0401, message)
                        .label(span, "used only to decide what is attended")
                        .note("which keys a mask or a selection leaves does not change with a small change of it: its gradient is zero")
                        .help("to train it, let the values that are compared reach the score too: `score = score + ...`"),
                );
            }
        }
    }
}

/// Warns about selections in which all candidates of a row are equal.
fn ties(program: &Program, attention: &Attention, diagnostics: &mut Vec<Diagnostic>) {
    for step in &attention.steps {
        let StepKind::Select(select) = &step.kind else { continue };
        let mut depends = false;
        select.operand.walk(&mut |expr| match expr.kind {
            ExprKind::Index(var) | ExprKind::Start(var) | ExprKind::End(var) => depends |= var == select.over,
            ExprKind::Overlap(c, s) => depends |= [c, s].contains(&select.over),
            ExprKind::Score => depends = true,
            ExprKind::Reduce { ref binders, .. } => {
                depends |= binders.iter().any(
                    |binder| matches!(binder.domain, crate::hir::Domain::Positions(part) if part == select.over),
                );
            }
            _ => {}
        });
        if !depends {
            let over = &program.var(select.over).name;
            diagnostics.push(
                Diagnostic::warning(Code::W0402, format!("what is compared does not depend on `{over}`"))
                    .label(select.operand.span, "equal for all candidates")
                    .note("only the rule for ties decides what is selected"),
            );
        }
    }
}
