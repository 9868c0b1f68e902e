//! Parameters: their values, from the text or pinned by the user.

use super::Resolver;
use super::names::Meaning;
use crate::hir::{self, ParamIx};
use crate::{SemaOptions, Value};
use dmac_ir::{ParamType, ParamValue};
use dmac_source::{Code, Diagnostic, Span};
use dmac_syntax::ast::{self, BinOp, Expr, ExprKind, UnOp};

impl Resolver<'_> {
    pub(super) fn params(&mut self, attention: &ast::Attention, options: &SemaOptions) {
        for param in &attention.params {
            let ty = match param.ty.node {
                ast::ParamType::Int => ParamType::Int,
                ast::ParamType::Float => ParamType::Float,
            };
            let default = param.default.as_ref().and_then(|default| self.default(default, ty));
            let pinned =
                options.defines.get(&param.name.name).and_then(|value| self.pinned(param, *value, ty));
            if default.is_none() && pinned.is_none() && param.default.is_none() {
                let name = &param.name;
                let diagnostic =
                    Diagnostic::error(Code::E0212, format!("the parameter `{name}` has no value"))
                        .label(param.span, "no default")
                        .help(format!(
                            "write a default, `{name}: {} = ...`, or pin it with `-D {name}=...`",
                            ty_name(ty)
                        ));
                self.report(diagnostic);
            }
            let zero = match ty {
                ParamType::Int => ParamValue::Int(0),
                ParamType::Float => ParamValue::Float(0.0),
            };
            let id = ParamIx(self.program.params.len());
            if self.declare_name(&param.name, Meaning::Param(id)) {
                self.program.params.push(hir::Param {
                    name: param.name.name.clone(),
                    span: param.name.span,
                    ty,
                    is_const: param.is_const,
                    value: pinned.or(default).unwrap_or(zero),
                    fixed: param.is_const || pinned.is_some(),
                    pinned: pinned.is_some(),
                });
            }
        }
    }

    /// The value of a default: a number, or arithmetic of numbers.
    fn default(&mut self, default: &Expr, ty: ParamType) -> Option<ParamValue> {
        let found = match constant(default) {
            Ok(found) => found,
            Err(Some(span)) => {
                let diagnostic = Diagnostic::error(Code::E0212, "a default is a number")
                    .label(span, "not a constant")
                    .help("only numbers and `+ - * / div mod` of them are known here");
                self.report(diagnostic);
                return None;
            }
            Err(None) => return None,
        };
        self.param_value(found, ty, default.span, "the default")
    }

    fn pinned(&mut self, param: &ast::Param, value: Value, ty: ParamType) -> Option<ParamValue> {
        let found = match value {
            Value::Int(value) => Constant::Int(value),
            Value::Float(value) => Constant::Float(value),
        };
        self.param_value(found, ty, param.name.span, "the pinned value")
    }

    fn param_value(&mut self, found: Constant, ty: ParamType, span: Span, what: &str) -> Option<ParamValue> {
        let value = match (ty, found) {
            (ParamType::Int, Constant::Int(value)) if i32::try_from(value).is_ok() => {
                Ok(ParamValue::Int(value))
            }
            (ParamType::Int, Constant::Int(value)) => Err(format!("{what} {value} does not fit 32 bits")),
            (ParamType::Int, Constant::Float(value)) => Err(format!("{what} {value} is not an int")),
            (ParamType::Float, Constant::Int(value)) => Ok(ParamValue::Float(value as f32)),
            (ParamType::Float, Constant::Float(value)) if (value as f32).is_finite() => {
                Ok(ParamValue::Float(value as f32))
            }
            (ParamType::Float, Constant::Float(value)) => Err(format!("{what} {value} does not fit an f32")),
        };
        match value {
            Ok(value) => Some(value),
            Err(message) => {
                let diagnostic =
                    Diagnostic::error(Code::E0212, message).label(span, format!("expected {}", ty_name(ty)));
                self.report(diagnostic);
                None
            }
        }
    }
}

fn ty_name(ty: ParamType) -> &'static str {
    match ty {
        ParamType::Int => "int",
        ParamType::Float => "float",
    }
}

/// The value of a constant expression.
#[derive(Clone, Copy)]
enum Constant {
    Int(i64),
    Float(f64),
}

impl Constant {
    fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// Evaluates numbers and arithmetic of numbers; otherwise says where something else stands, if that was not reported.
fn constant(expr: &Expr) -> Result<Constant, Option<Span>> {
    match &expr.kind {
        ExprKind::Int(value) => Ok(Constant::Int(*value)),
        ExprKind::Float { value, .. } => Ok(Constant::Float(*value)),
        ExprKind::Unary { op: UnOp::Neg, operand, .. } => Ok(match constant(operand)? {
            Constant::Int(value) => Constant::Int(value.wrapping_neg()),
            Constant::Float(value) => Constant::Float(-value),
        }),
        ExprKind::Binary { op, lhs, rhs, .. } => {
            let (lhs, rhs) = (constant(lhs)?, constant(rhs)?);
            let value = match (op, lhs, rhs) {
                (BinOp::Div, lhs, rhs) => Some(Constant::Float(lhs.float() / rhs.float())),
                (op, Constant::Int(lhs), Constant::Int(rhs)) => {
                    crate::constant::int(*op, lhs, rhs).map(Constant::Int)
                }
                (BinOp::Add, lhs, rhs) => Some(Constant::Float(lhs.float() + rhs.float())),
                (BinOp::Sub, lhs, rhs) => Some(Constant::Float(lhs.float() - rhs.float())),
                (BinOp::Mul, lhs, rhs) => Some(Constant::Float(lhs.float() * rhs.float())),
                _ => None,
            };
            value.ok_or(Some(expr.span))
        }
        ExprKind::Error => Err(None),
        _ => Err(Some(expr.span)),
    }
}
