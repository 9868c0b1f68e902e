//! Expressions in canonical form: one blank around binary operators, none within brackets, and only the parentheses
//! that the tree needs or that the author put around something with an operator in it.

use super::layout::Layout;
use crate::ast::{BinOp, Binder, Expr, ExprKind, UnOp};

/// How tightly the forms of expressions that are no [`BinOp`] hold together, on the scale of its precedence.
const CHOICE: u8 = 0;
const NOT: u8 = 3;
const NEG: u8 = 7;
const ATOM: u8 = 8;

/// An expression where any expression may stand.
pub(super) fn layout(expr: &Expr) -> Layout {
    operand(expr, CHOICE)
}

/// An expression where only those stand without parentheses that bind as tightly as `min`.
fn operand(expr: &Expr, min: u8) -> Layout {
    if tightness(expr) >= min && !was_parenthesised(expr) {
        return bare(expr);
    }
    let inner = Layout::row([Layout::Cut, bare(expr)]).indent();
    Layout::row([Layout::text("("), inner, Layout::Cut, Layout::text(")")]).group()
}

fn tightness(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::If { .. } => CHOICE,
        ExprKind::Binary { op, .. } => op.precedence(),
        ExprKind::Unary { op: UnOp::Not, .. } => NOT,
        ExprKind::Unary { op: UnOp::Neg, .. } => NEG,
        _ => ATOM,
    }
}

/// Whether the source had parentheses around a compound expression: its span then begins before its first part.
fn was_parenthesised(expr: &Expr) -> bool {
    let first = match &expr.kind {
        ExprKind::Binary { lhs, .. } => lhs.span,
        ExprKind::Unary { op_span, .. } => *op_span,
        _ => return false,
    };
    expr.span.start < first.start
}

fn bare(expr: &Expr) -> Layout {
    match &expr.kind {
        ExprKind::Int(value) => Layout::text(value.to_string()),
        ExprKind::Float { text, .. } => Layout::text(text),
        ExprKind::Bool(value) => Layout::text(value.to_string()),
        ExprKind::Name(name) => Layout::text(&name.name),
        ExprKind::Index { base, indices } => Layout::row([operand(base, ATOM), arguments("[", indices, "]")]),
        ExprKind::Field { base, field } => {
            Layout::row([operand(base, ATOM), Layout::text(format!(".{field}"))])
        }
        ExprKind::Call { function, args } => {
            Layout::row([Layout::text(&function.name), arguments("(", args, ")")])
        }
        ExprKind::Unary { op: UnOp::Not, operand: inner, .. } => {
            Layout::row([Layout::text("not "), operand(inner, NOT)])
        }
        ExprKind::Unary { op: UnOp::Neg, operand: inner, .. } => {
            Layout::row([Layout::text("-"), operand(inner, NEG)])
        }
        ExprKind::Binary { op, lhs, rhs, .. } => chain(*op, lhs, rhs),
        ExprKind::If { condition, then, otherwise } => {
            let branch =
                |word: &str, value: &Expr| Layout::row([Layout::Line, Layout::text(word), layout(value)]);
            let branches = Layout::row([branch("then ", then), branch("else ", otherwise)]);
            Layout::row([Layout::text("if "), layout(condition), branches.indent()]).group()
        }
        ExprKind::Reduce { op, binders, body, .. } => {
            let binders = binders.iter().map(binder).collect::<Vec<_>>().join(", ");
            let body = Layout::row([Layout::Line, layout(body)]).indent();
            let head = Layout::text(format!("{}({binders}:", op.text()));
            Layout::row([head, body, Layout::Cut, Layout::text(")")]).group()
        }
        ExprKind::Error => unreachable!("format: a text with syntax errors is not formatted"),
    }
}

fn arguments(open: &'static str, args: &[Expr], close: &'static str) -> Layout {
    Layout::list(open, args.iter().map(layout).collect(), close, false)
}

fn binder(binder: &Binder) -> String {
    match &binder.within {
        Some(within) => format!("{} in {within}", binder.index),
        None => binder.index.name.clone(),
    }
}

/// `a + b - c`: operands of one precedence are broken all together, each line beginning with its operator.
fn chain(op: BinOp, lhs: &Expr, rhs: &Expr) -> Layout {
    let precedence = op.precedence();
    let mut links = vec![(op, rhs)];
    let mut first = lhs;
    while let ExprKind::Binary { op, lhs, rhs, .. } = &first.kind {
        if op.precedence() != precedence || op.is_comparison() || was_parenthesised(first) {
            break;
        }
        links.push((*op, rhs));
        first = lhs;
    }
    // Comparisons do not associate, so one within another needs parentheses on the left as well.
    let first = operand(first, if op.is_comparison() { precedence + 1 } else { precedence });
    let links = links.into_iter().rev().map(|(op, rhs)| {
        Layout::row([Layout::Line, Layout::text(format!("{} ", op.text())), operand(rhs, precedence + 1)])
    });
    Layout::row([first, Layout::row(links).indent()]).group()
}
