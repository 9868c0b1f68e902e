//! The order in which axes, lets and attentions can be computed; definitions that need themselves.

use super::Resolver;
use crate::hir::{AttentionIx, AxisDef, AxisIx, Definition, Expr, ExprKind, LetIx, Program, Tensor};
use dmac_source::{Code, Diagnostic, Span};
use std::collections::{BTreeMap, BTreeSet};

/// What a definition reads, and where.
fn needs(program: &Program, definition: Definition) -> Vec<(Definition, Span)> {
    let mut needs = Vec::new();
    let mut tensor = |tensor: Tensor, span: Span| match tensor {
        Tensor::Input(_) => {}
        Tensor::Let(binding) => needs.push((Definition::Let(binding), span)),
        Tensor::Field(attention, _) => needs.push((Definition::Attention(attention), span)),
    };
    let mut read = |expr: &Expr| {
        expr.walk(&mut |expr| {
            if let ExprKind::Read { tensor: read, .. } = expr.kind {
                tensor(read, expr.span);
            }
        });
    };
    match definition {
        Definition::Let(binding) => read(&program.lets[binding.0].value),
        Definition::Attention(attention) => {
            let attention = &program.attentions[attention.0];
            attention.exprs().into_iter().for_each(read);
            for operand in [&attention.queries, &attention.keys, &attention.values] {
                tensor(operand.tensor, attention.span);
            }
        }
    }
    needs
}

/// A definition on the way down, with what it needs that was not looked at.
struct Step {
    definition: Definition,
    needs: std::vec::IntoIter<(Definition, Span)>,
    /// Where it reads what is looked at.
    at: Span,
}

impl Step {
    fn new(program: &Program, definition: Definition) -> Self {
        Self { definition, needs: needs(program, definition).into_iter(), at: Span::default() }
    }
}

/// The axes that the size of an axis depends on.
fn axes_needed(program: &Program, axis: AxisIx) -> Vec<AxisIx> {
    let mut needed = Vec::new();
    let (of, sizes): (Option<AxisIx>, Vec<&Expr>) = match &program.axes[axis.0].def {
        AxisDef::Builtin | AxisDef::FromInput => (None, vec![]),
        AxisDef::Sized(size) => (None, vec![size]),
        AxisDef::Windows { of, length, stride } => (Some(*of), vec![length, stride]),
        AxisDef::Blocks { of, length } => (Some(*of), vec![length]),
    };
    needed.extend(of);
    for size in sizes {
        size.walk(&mut |expr| {
            if let ExprKind::Size(axis) = expr.kind {
                needed.push(axis);
            }
        });
    }
    needed
}

impl Resolver<'_> {
    /// Orders all axes; reports each cycle once and takes it apart.
    pub(super) fn order_axes(&mut self) {
        let count = self.program.axes.len();
        let (mut done, mut on_path) = (vec![false; count], vec![false; count]);
        for start in 0..count {
            let mut path: Vec<(AxisIx, Vec<AxisIx>)> = Vec::new();
            let mut next = (!done[start]).then_some(AxisIx(start));
            loop {
                if let Some(axis) = next.take() {
                    on_path[axis.0] = true;
                    path.push((axis, axes_needed(&self.program, axis)));
                }
                let Some((axis, needed)) = path.last_mut() else { break };
                let axis = *axis;
                match needed.pop() {
                    Some(needed) if on_path[needed.0] => {
                        self.axis_cycle(axis);
                        if let Some((_, rest)) = path.last_mut() {
                            rest.clear();
                        }
                    }
                    Some(needed) => next = (!done[needed.0]).then_some(needed),
                    None => {
                        path.pop();
                        (done[axis.0], on_path[axis.0]) = (true, false);
                        self.program.axis_order.push(axis);
                    }
                }
            }
        }
        self.program.axis_number = vec![0; count];
        for (number, axis) in self.program.axis_order.iter().enumerate() {
            self.program.axis_number[axis.0] = number;
        }
    }

    fn axis_cycle(&mut self, axis: AxisIx) {
        let axis = &mut self.program.axes[axis.0];
        axis.def = AxisDef::FromInput;
        let diagnostic = Diagnostic::error(Code::E0206, format!("axis `{}` is made of itself", axis.name))
            .label(axis.span.unwrap_or_default(), "needs its own size");
        self.report(diagnostic);
    }

    /// Orders all definitions; reports each cycle once and takes it apart.
    pub(super) fn order(&mut self) {
        let lets = (0..self.program.lets.len()).map(|at| Definition::Let(LetIx(at)));
        let attentions = (0..self.program.attentions.len()).map(|at| Definition::Attention(AttentionIx(at)));
        let mut done = BTreeSet::new();
        for definition in lets.chain(attentions).collect::<Vec<_>>() {
            self.visit(definition, &mut done);
        }
    }

    /// Depth first, with a stack of its own: a program may have as many definitions as fit its text.
    fn visit(&mut self, definition: Definition, done: &mut BTreeSet<Definition>) {
        if done.contains(&definition) {
            return;
        }
        let mut path = vec![Step::new(&self.program, definition)];
        let mut on_path = BTreeMap::from([(definition, 0)]);
        while let Some(step) = path.last_mut() {
            let Some((needed, span)) = step.needs.next() else {
                let definition = step.definition;
                path.pop();
                on_path.remove(&definition);
                done.insert(definition);
                self.program.order.push(definition);
                continue;
            };
            step.at = span;
            if done.contains(&needed) {
                continue;
            }
            if let Some(&at) = on_path.get(&needed) {
                self.cycle(&path[at..]);
            } else {
                on_path.insert(needed, path.len());
                path.push(Step::new(&self.program, needed));
            }
        }
    }

    /// Reports a cycle and cuts it where it was entered.
    fn cycle(&mut self, path: &[Step]) {
        let first = path[0].definition;
        let name = self.definition_name(first);
        let mut diagnostic = Diagnostic::error(Code::E0206, format!("`{name}` is defined by itself"));
        for (at, step) in path.iter().enumerate() {
            let next = path.get(at + 1).map_or(first, |next| next.definition);
            let (name, next) = (self.definition_name(step.definition), self.definition_name(next));
            let text = format!("`{name}` needs `{next}`");
            diagnostic =
                if at == 0 { diagnostic.label(step.at, text) } else { diagnostic.secondary(step.at, text) };
        }
        self.report(diagnostic);
        match path[path.len() - 1].definition {
            Definition::Let(binding) => {
                let binding = &mut self.program.lets[binding.0];
                binding.value = Expr::error(binding.span);
            }
            Definition::Attention(attention) => self.program.attentions[attention.0].steps.clear(),
        }
    }

    fn definition_name(&self, definition: Definition) -> String {
        match definition {
            Definition::Let(binding) => self.program.lets[binding.0].name.clone(),
            Definition::Attention(attention) => self.program.attentions[attention.0].name.clone(),
        }
    }
}
