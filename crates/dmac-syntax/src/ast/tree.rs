//! The tree as text, for `--emit ast` and for snapshots.
//!
//! A statement a line, indented by its depth; expressions as prefix forms, so that the structure which precedence
//! gave them can be seen: `mask j <= i and p` prints as `mask (and (<= j i) p)`. Spans are left out: they would
//! make every line of a snapshot change with every edit.

use std::fmt::Write as _;

use super::{
    AxisDef, Expr, ExprKind, FnItem, Ident, InputTypeKind, Item, Module, Over, Param, Select, Stmt, StmtKind,
};

/// The whole module, each line ended by a newline.
pub fn tree(module: &Module) -> String {
    let mut out = String::new();
    for item in &module.items {
        match item {
            Item::Attention(attention) => {
                line(&mut out, 0, &format!("attention {}", attention.name));
                docs(&mut out, &attention.doc);
                attention.params.iter().for_each(|param| line(&mut out, 1, &parameter(param)));
                attention.body.iter().for_each(|stmt| statement(&mut out, 1, stmt));
            }
            Item::Fn(FnItem { doc, name, params, body, span: _ }) => {
                line(&mut out, 0, &format!("fn {name}({})", names(params)));
                docs(&mut out, doc);
                line(&mut out, 1, &prefix(body));
            }
            Item::Error(_) => line(&mut out, 0, "error"),
        }
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    writeln!(out, "{:width$}{text}", "", width = depth * 2).expect("writing to a string never fails");
}

fn docs(out: &mut String, doc: &[String]) {
    for text in doc {
        line(out, 1, format!("doc {text}").trim_end());
    }
}

fn names(idents: &[Ident]) -> String {
    idents.iter().map(|ident| ident.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn tensor(name: &Ident, axes: &[Ident]) -> String {
    if axes.is_empty() { name.name.clone() } else { format!("{name}[{}]", names(axes)) }
}

fn parameter(param: &Param) -> String {
    let constant = if param.is_const { "const " } else { "" };
    let default = param.default.as_ref().map_or(String::new(), |value| format!(" = {}", prefix(value)));
    format!("param {constant}{}: {}{default}", param.name, param.ty.node.text())
}

fn statement(out: &mut String, depth: usize, stmt: &Stmt) {
    let text = match &stmt.kind {
        StmtKind::Input(input) => {
            let range = match &input.ty.kind {
                InputTypeKind::I32 { range: Some((low, high)) } => {
                    format!(" in {} .. {}", prefix(low), prefix(high))
                }
                _ => String::new(),
            };
            format!("input {}: {}{range}", tensor(&input.name, &input.axes), input.ty.kind.text())
        }
        StmtKind::Axis(axis) => {
            let def = match &axis.def {
                AxisDef::Size(size) => prefix(size),
                AxisDef::Windows { over, length, stride, .. } => {
                    format!("windows {over} {} {}", prefix(length), prefix(stride))
                }
                AxisDef::Blocks { over, length, .. } => format!("blocks {over} {}", prefix(length)),
            };
            format!("axis {} = {def}", axis.name)
        }
        StmtKind::Let(binding) => {
            format!("let {} = {}", tensor(&binding.name, &binding.axes), prefix(&binding.value))
        }
        StmtKind::Scale(value) => format!("scale = {}", prefix(value)),
        StmtKind::Score(value) => format!("score = {}", prefix(value)),
        StmtKind::Mask(predicate) => format!("mask {}", prefix(predicate)),
        StmtKind::Select(select) => selection(select),
        StmtKind::Normalize(normalize) => {
            let with =
                normalize.with.as_ref().map_or(String::new(), |with| format!(" with {}", prefix(with)));
            format!("normalize {}{with}", normalize.name)
        }
        StmtKind::Branch(branch) => {
            let over = branch.over.as_ref().map_or(String::new(), |over| format!(" ({})", source_list(over)));
            line(out, depth, &format!("branch {}{over}", branch.name));
            branch.body.iter().for_each(|stmt| statement(out, depth + 1, stmt));
            return;
        }
        StmtKind::Output(value) => format!("output {}", prefix(value)),
        StmtKind::Emit(entries) => {
            let entries = entries.iter().map(|entry| match &entry.field {
                Some(field) => format!("{}.{field}", entry.name),
                None => entry.name.name.clone(),
            });
            format!("emit {}", entries.collect::<Vec<_>>().join(", "))
        }
        StmtKind::Error => "error".to_owned(),
    };
    line(out, depth, &text);
}

fn selection(select: &Select) -> String {
    let mut text = format!("select top {}", prefix(&select.count));
    if let Some(block) = &select.block {
        write!(text, " {block}").expect("writing to a string never fails");
    }
    write!(text, " of {}", prefix(&select.operand)).expect("writing to a string never fails");
    let conditions = [("among", &select.among), ("forcing", &select.forcing), ("plus", &select.plus)];
    for (word, condition) in conditions {
        if let Some(condition) = condition {
            write!(text, " {word} {}", prefix(condition)).expect("writing to a string never fails");
        }
    }
    if let Some(ties) = &select.ties {
        write!(text, " ties {}", ties.node.text()).expect("writing to a string never fails");
    }
    text
}

fn source_list(over: &Over) -> String {
    let parts =
        [("queries", &over.queries), ("keys", &over.keys), ("values", &over.values), ("over", &over.axis)];
    let parts = parts.into_iter().filter_map(|(word, name)| Some(format!("{word} {}", name.as_ref()?)));
    parts.collect::<Vec<_>>().join(", ")
}

/// An expression in prefix form.
fn prefix(expr: &Expr) -> String {
    let form = |head: &str, operands: &[&Expr]| {
        let operands: Vec<String> = operands.iter().map(|operand| prefix(operand)).collect();
        format!("({})", [&[head.to_owned()], operands.as_slice()].concat().join(" "))
    };
    match &expr.kind {
        ExprKind::Int(value) => value.to_string(),
        ExprKind::Float { text, .. } => text.clone(),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Name(name) => name.name.clone(),
        ExprKind::Index { base, indices } => {
            let operands: Vec<&Expr> = std::iter::once(&**base).chain(indices).collect();
            form("at", &operands)
        }
        ExprKind::Field { base, field } => format!("{}.{field}", prefix(base)),
        ExprKind::Call { function, args } => form(&function.name, &args.iter().collect::<Vec<_>>()),
        ExprKind::Unary { op, operand, .. } => form(op.text(), &[operand]),
        ExprKind::Binary { op, lhs, rhs, .. } => form(op.text(), &[lhs, rhs]),
        ExprKind::If { condition, then, otherwise } => form("if", &[condition, then, otherwise]),
        ExprKind::Reduce { op, binders, body, .. } => {
            let binders: Vec<String> = binders
                .iter()
                .map(|binder| match &binder.within {
                    Some(within) => format!("{} in {within}", binder.index),
                    None => binder.index.name.clone(),
                })
                .collect();
            form(&format!("{}[{}]", op.text(), binders.join(", ")), &[body])
        }
        ExprKind::Error => "error".to_owned(),
    }
}
