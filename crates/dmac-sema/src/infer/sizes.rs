//! Sizes: of declared axes, ranges of int inputs, counts of selections. They are known before launch, and those that the
//! shape of a tile depends on at compile time.

use super::Infer;
use crate::constant;
use crate::hir::{AxisDef, AxisIx, Expr, ExprKind, Ty};
use dmac_ir::Size;
use dmac_source::{Code, Diagnostic, Span};

impl Infer<'_> {
    /// Checks axes and ranges.
    pub(super) fn sizes(&mut self) {
        for axis in 0..self.program.axes.len() {
            let mut def = std::mem::replace(&mut self.program.axes[axis].def, AxisDef::FromInput);
            match &mut def {
                AxisDef::Sized(size) => {
                    self.size_expr(size, "the size of an axis");
                }
                AxisDef::Windows { length, stride, .. } => {
                    self.tile_size(length, "the length of a window");
                    self.tile_size(stride, "the distance of windows");
                }
                AxisDef::Blocks { length, .. } => self.tile_size(length, "the length of a block"),
                AxisDef::Builtin | AxisDef::FromInput => {}
            }
            self.program.axes[axis].def = def;
        }
        for input in 0..self.program.inputs.len() {
            let Some((mut low, mut high)) = self.program.inputs[input].range.take() else { continue };
            let sizes = [self.size_expr(&mut low, "a range"), self.size_expr(&mut high, "a range")]
                .map(|size| size.and_then(|size| self.known(&size)));
            if let [Some(from), Some(to)] = sizes
                && from >= to
            {
                let diagnostic = Diagnostic::error(Code::E0313, format!("the range {from} .. {to} is empty"))
                    .label(low.span.join(high.span), "no value lies in it")
                    .note("the first bound is the first value allowed, the second the first one above them that is not");
                self.report(diagnostic);
            }
            self.program.inputs[input].range = Some((low, high));
        }
    }

    /// A size that is known at launch.
    pub(super) fn size_expr(&mut self, expr: &mut Expr, what: &str) -> Option<Size> {
        self.expr(expr);
        match expr.ty {
            Ty::Unknown => return None,
            Ty::Int => {}
            Ty::Float | Ty::Bool => {
                let found = expr.ty.name();
                let diagnostic =
                    Diagnostic::error(Code::E0307, format!("{what} is an int, and this is {found}"))
                        .label(expr.span, format!("expected int, found {found}"))
                        .help("`div` divides ints, rounding down");
                self.report(diagnostic);
                return None;
            }
        }
        let size = constant::size(self.program, expr);
        match &size {
            None => {
                let diagnostic = Diagnostic::error(
                    Code::E0307,
                    format!("{what} is not known before the kernel runs"),
                )
                .label(expr.span, "not a size")
                .help("a size is made of ints, parameters and sizes (`N`, `H`) with `+ - * div mod min max`");
                self.report(diagnostic);
            }
            Some(Size::Const(value)) if *value < 0 => {
                let diagnostic = Diagnostic::error(Code::E0309, format!("{what} cannot be negative"))
                    .label(expr.span, format!("this is {value}"));
                self.report(diagnostic);
            }
            Some(_) => {}
        }
        size
    }

    /// A size that the shape of a tile depends on: a constant, at least 1.
    fn tile_size(&mut self, expr: &mut Expr, what: &str) {
        let before = self.diagnostics.len();
        let Some(size) = self.size_expr(expr, what) else { return };
        match self.known(&size) {
            Some(value) if value < 1 => {
                if self.diagnostics.len() == before {
                    let diagnostic = Diagnostic::error(Code::E0309, format!("{what} is at least 1"))
                        .label(expr.span, format!("this is {value}"));
                    self.report(diagnostic);
                }
            }
            Some(_) => {}
            None => self.not_const(expr, what),
        }
    }

    fn not_const(&mut self, expr: &Expr, what: &str) {
        let mut param = None;
        expr.walk(&mut |expr| {
            if let ExprKind::Param(id) = expr.kind {
                param = param.or(Some((id, expr.span)));
            }
        });
        let diagnostic = Diagnostic::error(Code::E0308, format!("{what} must be known at compile time"));
        let diagnostic = match param {
            Some((id, span)) => {
                let param = &self.program.params[id.0];
                let place = param.span.before();
                diagnostic
                    .label(span, format!("`{}` is a run-time parameter", param.name))
                    .secondary(param.span, "declared here")
                    .note("the shape of a tile depends on it")
                    .suggest(place, "const ", format!("make `{}` a constant", param.name))
            }
            None => diagnostic
                .label(expr.span, "known at run time only")
                .help("use a number or a `const` parameter"),
        };
        self.report(diagnostic);
    }

    /// The value of a size that is known at compile time.
    pub(super) fn known(&self, size: &Size) -> Option<i64> {
        size.eval(&|_| None, &|axis| match axis.0 as usize {
            at if at == AxisIx::D.0 => self.head_dim,
            at if at == AxisIx::E.0 => self.value_dim,
            _ => None,
        })
    }

    /// The size of an axis that is known at compile time.
    pub(super) fn known_axis(&self, axis: AxisIx) -> Option<i64> {
        match &self.program.axis(axis).def {
            AxisDef::Sized(size) => constant::size(self.program, size).and_then(|size| self.known(&size)),
            AxisDef::Builtin => self.known(&Size::Axis(constant::graph_axis(self.program, axis))),
            _ => None,
        }
    }

    /// Reports an index that no element has.
    pub(super) fn out_of_range(&mut self, value: i64, size: Option<i64>, axis: AxisIx, span: Span) {
        let name = self.program.index_name(axis);
        let label = match size {
            Some(size) => format!("the axis of `{name}` has {size} elements, numbered from 0"),
            None => "indices start at 0".to_owned(),
        };
        let diagnostic =
            Diagnostic::error(Code::E0317, format!("the index {value} is out of range")).label(span, label);
        self.report(diagnostic);
    }
}
