//! The order in which lets and attentions can be computed; definitions that need themselves.

use super::Resolver;
use crate::hir::{AttentionIx, Definition, Expr, ExprKind, LetIx, Program, Tensor};
use dmac_source::{Code, Diagnostic, Span};
use std::collections::BTreeSet;

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

impl Resolver<'_> {
    /// Orders all definitions; reports each cycle once and takes it apart.
    pub(super) fn order(&mut self) {
        let lets = (0..self.program.lets.len()).map(|at| Definition::Let(LetIx(at)));
        let attentions = (0..self.program.attentions.len()).map(|at| Definition::Attention(AttentionIx(at)));
        let mut done = BTreeSet::new();
        for definition in lets.chain(attentions).collect::<Vec<_>>() {
            self.visit(definition, &mut Vec::new(), &mut done);
        }
    }

    fn visit(
        &mut self,
        definition: Definition,
        path: &mut Vec<(Definition, Span)>,
        done: &mut BTreeSet<Definition>,
    ) {
        if done.contains(&definition) {
            return;
        }
        path.push((definition, Span::default()));
        for (needed, span) in needs(&self.program, definition) {
            if let Some(last) = path.last_mut() {
                last.1 = span;
            }
            match path.iter().position(|(on_path, _)| *on_path == needed) {
                Some(at) => self.cycle(&path[at..]),
                None => self.visit(needed, path, done),
            }
        }
        path.pop();
        if done.insert(definition) {
            self.program.order.push(definition);
        }
    }

    /// Reports a cycle and cuts it where it was entered.
    fn cycle(&mut self, path: &[(Definition, Span)]) {
        let (first, span) = path[0];
        let name = self.definition_name(first);
        let mut diagnostic = Diagnostic::error(Code::E0206, format!("`{name}` is defined by itself"));
        for (at, (definition, span)) in path.iter().enumerate() {
            let next = path.get(at + 1).map_or(first, |(next, _)| *next);
            let text =
                format!("`{}` needs `{}`", self.definition_name(*definition), self.definition_name(next));
            diagnostic =
                if at == 0 { diagnostic.label(*span, text) } else { diagnostic.secondary(*span, text) };
        }
        self.report(diagnostic);
        match path[path.len() - 1].0 {
            Definition::Let(binding) => self.program.lets[binding.0].value = Expr::error(span),
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
