//! The order in which lets and attentions can be computed; definitions that need themselves.

use super::Resolver;
use crate::hir::{AttentionIx, Definition, Expr, ExprKind, LetIx, Program, Tensor};
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

impl Resolver<'_> {
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
