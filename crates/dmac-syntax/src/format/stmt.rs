//! Statements and the heads of items, without their bodies.

use super::expr;
use super::layout::Layout;
use crate::ast::{
    AxisDef, Emit, Expr, FnItem, Ident, Input, InputTypeKind, Over, Param, Select, Stmt, StmtKind,
};

/// `attention NAME(parameters)`
pub(super) fn attention_head(name: &Ident, params: &[Param]) -> Layout {
    let head = Layout::text(format!("attention {name}"));
    if params.is_empty() {
        return head;
    }
    Layout::row([head, Layout::list("(", params.iter().map(param).collect(), ")", true)])
}

fn param(param: &Param) -> Layout {
    let constant = if param.is_const { "const " } else { "" };
    let declared = Layout::text(format!("{constant}{}: {}", param.name, param.ty.node.text()));
    match &param.default {
        Some(default) => Layout::row([declared, Layout::text(" = "), expr::layout(default)]),
        None => declared,
    }
}

/// `fn NAME(x, y) = expression`
pub(super) fn function(function: &FnItem) -> Layout {
    let params: Vec<&str> = function.params.iter().map(|param| param.name.as_str()).collect();
    after(&format!("fn {}({}) =", function.name, params.join(", ")), &function.body)
}

/// A statement; of a branch, only what stands before its body.
pub(super) fn statement(stmt: &Stmt) -> Layout {
    match &stmt.kind {
        StmtKind::Input(input) => input_statement(input),
        StmtKind::Axis(axis) => {
            let head = format!("axis {} =", axis.name);
            let call = |function: &str, over: &Ident, sizes: &[&Expr]| {
                let over = Layout::text(&over.name);
                let arguments = std::iter::once(over).chain(sizes.iter().map(|size| expr::layout(size)));
                let arguments = Layout::list("(", arguments.collect(), ")", false);
                Layout::row([Layout::text(format!("{head} {function}")), arguments])
            };
            match &axis.def {
                AxisDef::Size(size) => after(&head, size),
                AxisDef::Windows { over, length, stride, .. } => call("windows", over, &[length, stride]),
                AxisDef::Blocks { over, length, .. } => call("blocks", over, &[length]),
            }
        }
        StmtKind::Let(binding) => {
            after(&format!("let {} =", tensor(&binding.name, &binding.axes)), &binding.value)
        }
        StmtKind::Scale(value) => after("scale =", value),
        StmtKind::Score(value) => after("score =", value),
        StmtKind::Mask(predicate) => after("mask", predicate),
        StmtKind::Select(select) => selection(select),
        StmtKind::Normalize(normalize) => match &normalize.with {
            Some(with) => after(&format!("normalize {} with", normalize.name), with),
            None => Layout::text(format!("normalize {}", normalize.name)),
        },
        StmtKind::Branch(branch) => {
            let head = Layout::text(format!("branch {}", branch.name));
            match &branch.over {
                Some(over) => Layout::row([head, sources(over)]),
                None => head,
            }
        }
        StmtKind::Output(value) => after("output", value),
        StmtKind::Emit(entries) => {
            let entries: Vec<String> = entries.iter().map(emitted).collect();
            Layout::text(format!("emit {}", entries.join(", ")))
        }
        StmtKind::Error => unreachable!("format: a text with syntax errors is not formatted"),
    }
}

/// `head expression`, where the expression may begin on a line of its own if that is needed to fit.
fn after(head: &str, value: &Expr) -> Layout {
    Layout::row([Layout::text(format!("{head} ")), expr::layout(value)])
}

fn tensor(name: &Ident, axes: &[Ident]) -> String {
    if axes.is_empty() {
        return name.name.clone();
    }
    let axes: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
    format!("{name}[{}]", axes.join(", "))
}

fn input_statement(input: &Input) -> Layout {
    let declared = format!("input {}: {}", tensor(&input.name, &input.axes), input.ty.kind.text());
    match &input.ty.kind {
        InputTypeKind::I32 { range: Some((low, high)) } => {
            let bounds = [expr::layout(low), Layout::text(" .. "), expr::layout(high)];
            Layout::row([Layout::text(format!("{declared} in "))].into_iter().chain(bounds))
        }
        _ => Layout::text(declared),
    }
}

fn selection(select: &Select) -> Layout {
    let mut head = vec![Layout::text("select top("), expr::layout(&select.count), Layout::text(")")];
    if let Some(block) = &select.block {
        head.push(Layout::text(format!(" {block}")));
    }
    head.extend([Layout::text(" of "), expr::layout(&select.operand)]);
    let clause = |word: &str, value: &Expr| {
        Layout::row([Layout::Line, Layout::text(format!("{word} ")), expr::layout(value)])
    };
    let clauses = [("among", &select.among), ("forcing", &select.forcing), ("plus", &select.plus)];
    let mut tail: Vec<Layout> =
        clauses.iter().filter_map(|(word, value)| Some(clause(word, value.as_ref()?))).collect();
    if let Some(ties) = &select.ties {
        tail.extend([Layout::Line, Layout::text(format!("ties {}", ties.node.text()))]);
    }
    Layout::row([Layout::Row(head), Layout::Row(tail).indent()]).group()
}

fn sources(over: &Over) -> Layout {
    let named = [("queries", &over.queries), ("keys", &over.keys), ("values", &over.values)];
    let named = named.into_iter().filter_map(|(word, name)| Some(format!("{word} {}", name.as_ref()?)));
    let named = named.collect::<Vec<_>>().join(", ");
    let axis = over.axis.as_ref().map(|axis| format!("over {axis}"));
    let parts: Vec<String> = [named].into_iter().filter(|text| !text.is_empty()).chain(axis).collect();
    Layout::text(format!("({})", parts.join(" ")))
}

fn emitted(entry: &Emit) -> String {
    match &entry.field {
        Some(field) => format!("{}.{field}", entry.name),
        None => entry.name.name.clone(),
    }
}
