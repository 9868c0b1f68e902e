//! The rules of statements: what a selection may select from, what may stand below it, where `.prob` may be read, which
//! attention has statistics.

use crate::hir::{AttentionIx, AxisDef, AxisIx, Expr, ExprKind, Program, Select, StepKind, Tensor, VarIx};
use crate::lower::has_lse;
use dmac_ir::Field;
use dmac_source::{Code, Diagnostic, Span};
use std::collections::BTreeSet;

pub(super) fn check(program: &Program, diagnostics: &mut Vec<Diagnostic>) {
    let mut rules = Rules { program, diagnostics };
    rules.order();
    for attention in &program.attentions {
        for step in &attention.steps {
            if let StepKind::Select(select) = &step.kind {
                rules.selected_axis(select, attention.key);
            }
        }
    }
    rules.probabilities();
    rules.statistics();
}

struct Rules<'a> {
    program: &'a Program,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Rules<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// No mask stands below a selection whose candidates are what the masks leave.
    fn order(&mut self) {
        for attention in &self.program.attentions {
            let mut select: Option<Span> = None;
            for step in &attention.steps {
                match (&step.kind, select) {
                    (StepKind::Select(statement), None) if statement.among.is_none() => {
                        select = Some(step.span);
                    }
                    (StepKind::Mask(_), Some(select)) => {
                        let diagnostic = Diagnostic::error(Code::E0401, "a mask below a selection does not narrow it")
                            .label(step.span, "this mask comes too late")
                            .secondary(select, "this selects from what the masks above it leave")
                            .note("keys that only a later mask removes would take part in the selection: with `j <= i`, the future")
                            .help("move the mask above the selection, or say what is selected from: `among ...`");
                        self.report(diagnostic);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A selection is over the keys, or over blocks of them.
    fn selected_axis(&mut self, select: &Select, key: VarIx) {
        let (over, keys) = (self.program.axis_of(select.over), self.program.axis_of(key));
        let of_keys = |of: AxisIx| of == keys;
        let key_name = &self.program.var(key).name;
        let name = &self.program.var(select.over).name;
        let note = match self.program.axis(over).def {
            _ if select.over == key => return,
            AxisDef::Blocks { of, .. } if of_keys(of) => return,
            AxisDef::Windows { of, .. } if of_keys(of) => {
                format!(
                    "windows may overlap, so a key does not belong to one of them: use `blocks({key_name}, LENGTH)`"
                )
            }
            _ => format!(
                "a row of this attention has keys `{key_name}`; it selects from them, or from blocks of them"
            ),
        };
        let diagnostic =
            Diagnostic::error(Code::E0402, format!("this attention cannot select over `{name}`"))
                .label(select.over_span, format!("`{name}` is no axis of its rows"))
                .note(note);
        self.report(diagnostic);
    }

    /// Probabilities are read only in operands of selections, directly or through lets.
    fn probabilities(&mut self) {
        let program = self.program;
        // Lets whose value depends on probabilities; those that they read come before them in the order.
        let mut made_of: BTreeSet<Tensor> = BTreeSet::new();
        for definition in &program.order {
            let crate::hir::Definition::Let(id) = *definition else { continue };
            if probability_in(&program.lets[id.0].value, &made_of).is_some() {
                made_of.insert(Tensor::Let(id));
            }
        }
        let mut wrong: Vec<(Span, Tensor)> = Vec::new();
        for attention in &program.attentions {
            let mut elsewhere: Vec<&Expr> = attention.scale.iter().chain(&attention.sink).collect();
            for step in &attention.steps {
                match &step.kind {
                    StepKind::Score(value) | StepKind::Mask(value) => elsewhere.push(value),
                    StepKind::Select(select) => elsewhere.extend(select.parts().skip(1)),
                }
            }
            wrong.extend(elsewhere.into_iter().filter_map(|expr| probability_in(expr, &made_of)));
            for operand in [&attention.queries, &attention.keys, &attention.values] {
                if made_of.contains(&operand.tensor) {
                    wrong.push((attention.span, operand.tensor));
                }
            }
        }
        wrong.extend(program.output.iter().filter_map(|expr| probability_in(expr, &made_of)));
        for (span, tensor) in wrong {
            let name = program.tensor_name(tensor);
            let message = match tensor {
                Tensor::Let(_) => {
                    format!("`{name}` is made of probabilities, which only a selection may read")
                }
                _ => format!("`{name}` may be read only in the operand of a `select`"),
            };
            let diagnostic = Diagnostic::error(Code::E0403, message)
                .label(span, "not in the operand of a `select`")
                .note("probabilities are one number for each pair of query and key; a selection consumes them as they are computed, anything else would have to store them all")
                .help("the branch's output and `lse` can be read anywhere");
            self.report(diagnostic);
        }
    }

    /// Only softmax has row statistics.
    fn statistics(&mut self) {
        let program = self.program;
        let mut reads: Vec<(AttentionIx, Field, Span)> = Vec::new();
        let mut collect = |expr: &Expr| {
            expr.walk(&mut |expr| {
                if let ExprKind::Read { tensor: Tensor::Field(attention, field), .. } = expr.kind {
                    reads.push((attention, field, expr.span));
                }
            });
        };
        program.lets.iter().for_each(|binding| collect(&binding.value));
        program.attentions.iter().flat_map(crate::hir::Attention::exprs).for_each(&mut collect);
        program.output.iter().for_each(&mut collect);
        reads.extend(program.emits.iter().map(|emit| (emit.attention, emit.field, emit.span)));
        for (attention, field, span) in reads {
            let attention = &program.attentions[attention.0];
            if !matches!(field, Field::Lse | Field::RowMax) || has_lse(attention.normalize) {
                continue;
            }
            let name = crate::hir::field_name(field).unwrap_or_default();
            let diagnostic = Diagnostic::error(Code::E0408, format!("this attention has no `{name}`"))
                .label(span, "needs `normalize softmax`")
                .secondary(attention.span, "normalized key by key")
                .note("only softmax divides by a sum over the row");
            self.report(diagnostic);
        }
    }
}

/// Where an expression reads probabilities, or a let that is made of them.
fn probability_in(expr: &Expr, made_of: &BTreeSet<Tensor>) -> Option<(Span, Tensor)> {
    let mut found = None;
    expr.walk(&mut |expr| {
        if let ExprKind::Read { tensor, .. } = expr.kind
            && (matches!(tensor, Tensor::Field(_, Field::Prob)) || made_of.contains(&tensor))
        {
            found = found.or(Some((expr.span, tensor)));
        }
    });
    found
}
