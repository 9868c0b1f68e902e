//! Rows: when the indices of a copy or a store are rows of a tensor, so that micro-kernels can do them.
//!
//! Input → output: index expressions over [`Expr::Row`] and [`Expr::Col`] → a [`RowAccess`]: the last axis runs with the
//! column, at most one other axis with the row, either directly or through a list.

use dmac_ir::Binary;
use dmac_schedule::kernel::{Expr, TensorId};

/// Rows of a tensor.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RowAccess {
    /// The indices of row 0, column 0, with a list's axis at 0.
    pub first: Vec<Expr>,
    /// The axis that runs with the row; none where all rows are the same.
    pub axis: Option<usize>,
    /// The tensor and indices of a list's first element, where the rows are those that it names.
    pub list: Option<(TensorId, Vec<Expr>)>,
}

/// Whether an expression is the same for all elements of a tile.
pub(crate) fn uniform(expr: &Expr) -> bool {
    !expr.any(&mut |x| matches!(x, Expr::Row | Expr::Col | Expr::Elem(_)))
}

/// `expr` as `rest + variable`, with a rest that does not depend on the element: the rest.
pub(crate) fn unit(expr: &Expr, variable: &Expr) -> Option<Expr> {
    unit_by(expr, variable, &uniform)
}

/// The same, with a rest for which `invariant` holds.
pub(crate) fn unit_by(expr: &Expr, variable: &Expr, invariant: &dyn Fn(&Expr) -> bool) -> Option<Expr> {
    let go = |x: &Expr| unit_by(x, variable, invariant);
    match expr {
        _ if expr == variable => Some(Expr::Int(0)),
        Expr::Binary(Binary::Add, x, y) if invariant(x) => Some((**x).clone() + go(y)?),
        Expr::Binary(Binary::Add, x, y) if invariant(y) => Some(go(x)? + (**y).clone()),
        Expr::Binary(Binary::Sub, x, y) if invariant(y) => Some(go(x)? - (**y).clone()),
        _ => None,
    }
}

/// The rows that indices describe, if they do.
pub(crate) fn rows_of(index: &[Expr]) -> Option<RowAccess> {
    let (last, lead) = index.split_last()?;
    let mut access = RowAccess { first: Vec::new(), axis: None, list: None };
    for (axis, expr) in lead.iter().enumerate() {
        if uniform(expr) {
            access.first.push(expr.clone());
            continue;
        }
        if access.axis.is_some() {
            return None;
        }
        access.axis = Some(axis);
        if let Some(first) = unit(expr, &Expr::Row) {
            access.first.push(first);
        } else if let Expr::Load { tensor, index } = expr
            && let Some((slot, list)) = index.split_last()
            && list.iter().all(uniform)
            && let Some(start) = unit(slot, &Expr::Row)
        {
            access.list = Some((*tensor, list.iter().cloned().chain([start]).collect()));
            access.first.push(Expr::Int(0));
        } else {
            return None;
        }
    }
    access.first.push(unit(last, &Expr::Col)?);
    Some(access)
}
