//! Which index may stand where: an index ranges over one axis, and is used for that one.
//!
//! Any int expression can be an index, since tables are read with computed ones. But a plain index of another axis is a
//! slip unless it is a number of that axis in its own right: a position (`doc[b, i]`), or an entry of a table.

use super::Infer;
use crate::hir::{AxisDef, AxisIx, Expr, ExprKind, Tensor, Ty};
use dmac_source::{Code, Diagnostic};

impl Infer<'_> {
    /// Infers the indices of a read and checks them against the tensor's axes.
    pub(super) fn indices(&mut self, tensor: Tensor, indices: &mut [Expr]) {
        let axes = self.program.tensor_axes(tensor);
        for (index, axis) in indices.iter_mut().zip(axes) {
            self.expr(index);
            match index.ty {
                Ty::Float | Ty::Bool => {
                    let found = index.ty.name();
                    let diagnostic =
                        Diagnostic::error(Code::E0301, format!("an index is an int, and this is {found}"))
                            .label(index.span, format!("expected int, found {found}"))
                            .help("`cast(x, int)` rounds a float down");
                    self.report(diagnostic);
                    index.ty = Ty::Unknown;
                }
                Ty::Int => self.index(tensor, axis, index),
                Ty::Unknown => {}
            }
        }
    }

    fn index(&mut self, tensor: Tensor, axis: AxisIx, index: &Expr) {
        let used = match &index.kind {
            ExprKind::Index(var) => self.program.axis_of(*var),
            ExprKind::Position { .. } => AxisIx::M,
            ExprKind::KvHeadOf(_) => AxisIx::G,
            ExprKind::Int(value) => {
                let size = self.known_axis(axis);
                if size.is_some_and(|size| *value >= size) {
                    self.out_of_range(*value, size, axis, index.span);
                }
                return;
            }
            ExprKind::Unary(dmac_syntax::ast::UnOp::Neg, operand) => {
                if let ExprKind::Int(value @ 1..) = operand.kind {
                    self.out_of_range(-value, self.known_axis(axis), axis, index.span);
                }
                return;
            }
            _ => return,
        };
        if used == axis || self.is_number_of(used, axis) {
            return;
        }
        let name = self.program.tensor_name(tensor);
        let (expected, found) =
            (self.program.index_name(axis).to_owned(), self.program.index_name(used).to_owned());
        let mut diagnostic =
            Diagnostic::error(Code::E0303, format!("`{found}` is used for the axis of `{expected}`"))
                .label(index.span, format!("`{name}` has the axis of `{expected}` here"));
        diagnostic = match self.sizes_of(used, axis) {
            Some((found_size, expected_size)) => diagnostic
                .note(format!("`{found}` has {found_size} elements, `{expected}` has {expected_size}")),
            None => diagnostic.note("an axis has one size, and the sizes of these two may differ"),
        };
        diagnostic = match self.program.axis(axis).def {
            AxisDef::Blocks { of, .. } if of == used || used == AxisIx::M => {
                diagnostic.help(format!("the block of a position: `{found} div LENGTH`"))
            }
            _ => diagnostic.help(format!("use `{expected}`, or `{expected}'` if that is bound already")),
        };
        self.report(diagnostic);
    }

    fn sizes_of(&self, used: AxisIx, axis: AxisIx) -> Option<(i64, i64)> {
        Some((self.known_axis(used)?, self.known_axis(axis)?))
    }

    /// Whether coordinates of axis `used` are meaningful as elements of `axis`.
    fn is_number_of(&self, used: AxisIx, axis: AxisIx) -> bool {
        let positions = [AxisIx::N, AxisIx::M].contains(&used)
            || matches!(self.program.axis(used).def, AxisDef::Windows { .. } | AxisDef::Blocks { .. });
        let features = [AxisIx::D, AxisIx::E];
        match self.program.axis(axis).def {
            // Any position: another axis of positions, or a part's number.
            AxisDef::Builtin if axis == AxisIx::N => positions,
            // Values may be a part of the keys' features: no more of them than there are.
            AxisDef::Builtin if features.contains(&axis) && features.contains(&used) => {
                self.sizes_of(used, axis).is_none_or(|(used, axis)| used <= axis)
            }
            AxisDef::FromInput | AxisDef::Sized(_) => positions,
            _ => false,
        }
    }
}
