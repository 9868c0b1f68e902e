//! Arithmetic on ints that are known at compile time, and sizes as expressions of what is known at launch.

use crate::builtins::Means;
use crate::hir::{AxisIx, Expr, ExprKind, ParamIx, Program};
use dmac_ir::{Axis, Binary, ParamValue, Size};
use dmac_syntax::ast::{BinOp, UnOp};

/// The value of an int operation; none for comparisons, `/`, zero divisors and overflow.
pub(crate) fn int(op: BinOp, lhs: i64, rhs: i64) -> Option<i64> {
    match op {
        BinOp::Add => lhs.checked_add(rhs),
        BinOp::Sub => lhs.checked_sub(rhs),
        BinOp::Mul => lhs.checked_mul(rhs),
        BinOp::FloorDiv => floor_div(lhs, rhs),
        BinOp::Mod => floor_div(lhs, rhs).map(|quotient| lhs - rhs * quotient),
        _ => None,
    }
}

fn floor_div(lhs: i64, rhs: i64) -> Option<i64> {
    let quotient = lhs.checked_div(rhs)?;
    Some(if lhs % rhs != 0 && (lhs < 0) != (rhs < 0) { quotient - 1 } else { quotient })
}

/// An int expression as a size, or nothing if it contains what is not known before launch.
pub(crate) fn size(program: &Program, expr: &Expr) -> Option<Size> {
    let two = |make: fn(Box<Size>, Box<Size>) -> Size, lhs: &Expr, rhs: &Expr| {
        Some(fold(make(Box::new(size(program, lhs)?), Box::new(size(program, rhs)?))))
    };
    match &expr.kind {
        ExprKind::Int(value) => Some(Size::Const(*value)),
        ExprKind::Param(param) => match (program.params[param.0].fixed, program.params[param.0].value) {
            (true, ParamValue::Int(value)) => Some(Size::Const(value)),
            (false, ParamValue::Int(_)) => Some(Size::Param(graph_param(program, *param))),
            (_, ParamValue::Float(_)) => None,
        },
        ExprKind::Size(axis) => Some(Size::Axis(graph_axis(program, *axis))),
        ExprKind::Unary(UnOp::Neg, operand) => {
            Some(fold(Size::Sub(Box::new(Size::Const(0)), Box::new(size(program, operand)?))))
        }
        ExprKind::Binary { op, lhs, rhs, .. } => match op {
            BinOp::Add => two(Size::Add, lhs, rhs),
            BinOp::Sub => two(Size::Sub, lhs, rhs),
            BinOp::Mul => two(Size::Mul, lhs, rhs),
            BinOp::FloorDiv => two(Size::Div, lhs, rhs),
            BinOp::Mod => two(Size::Mod, lhs, rhs),
            _ => None,
        },
        ExprKind::Call { builtin, args } => match (builtin.means, args.as_slice()) {
            (Means::Binary(Binary::Min), [lhs, rhs]) => two(Size::Min, lhs, rhs),
            (Means::Binary(Binary::Max), [lhs, rhs]) => two(Size::Max, lhs, rhs),
            _ => None,
        },
        _ => None,
    }
}

/// The same size, as a constant if it is one.
pub(crate) fn fold(size: Size) -> Size {
    match size.eval(&|_| None, &|_| None) {
        Some(value) => Size::Const(value),
        None => size,
    }
}

/// The value of a size that is known at compile time, given the axes of the graph.
pub(crate) fn known(size: &Size, axes: &[Axis]) -> Option<i64> {
    size.eval(&|_| None, &|axis| axes.get(axis.0 as usize).and_then(|axis| axis.size))
}

/// In the graph an axis stands after those that its size depends on.
pub(crate) fn graph_axis(program: &Program, axis: AxisIx) -> dmac_ir::AxisId {
    dmac_ir::AxisId(program.axis_number[axis.0] as u32)
}

/// The graph has the parameters that are known only at run time.
pub(crate) fn graph_param(program: &Program, param: ParamIx) -> dmac_ir::ParamId {
    let before = program.params[..param.0].iter().filter(|param| !param.fixed).count();
    dmac_ir::ParamId(before as u32)
}
