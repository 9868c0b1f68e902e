//! Types: of every expression, with conversions from int to float made explicit; and the axes that indices are used for.
//!
//! Input: a resolved program. Output: the same program with [`Expr::ty`] filled in, and diagnostics. An expression in which
//! an error was reported has [`Ty::Unknown`], which fits everywhere.

mod axes;
mod sizes;

use crate::builtins::{Builtin, Gives, Takes, reduction_row};
use crate::hir::{AttentionIx, Definition, Expr, ExprKind, LetIx, Program, Select, StepKind, Tensor, Ty};
use dmac_ir::{Elem, Normalize, ParamType};
use dmac_source::{Code, Diagnostic, Span};
use dmac_syntax::ast::{BinOp, UnOp};

/// Infers the types of a program. `head_dim` and `value_dim` are `D` and `E`, where they are known.
pub(crate) fn infer(
    program: &mut Program,
    head_dim: Option<i64>,
    value_dim: Option<i64>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let lets = vec![Ty::Unknown; program.lets.len()];
    let mut infer = Infer { program, lets, head_dim, value_dim, diagnostics };
    infer.sizes();
    for definition in infer.program.order.clone() {
        match definition {
            Definition::Let(binding) => infer.binding(binding),
            Definition::Attention(attention) => infer.attention(attention),
        }
    }
    if let Some(mut output) = infer.program.output.take() {
        infer.expr(&mut output);
        infer.float(&mut output, Code::E0316, "an output is a float");
        infer.program.output = Some(output);
    }
}

struct Infer<'a> {
    program: &'a mut Program,
    /// The types of the lets that were inferred.
    lets: Vec<Ty>,
    head_dim: Option<i64>,
    value_dim: Option<i64>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Infer<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn binding(&mut self, id: LetIx) {
        let place = &mut self.program.lets[id.0].value;
        let span = place.span;
        let mut value = std::mem::replace(place, Expr::error(span));
        self.expr(&mut value);
        let binding = &self.program.lets[id.0];
        if binding.stored_as_real {
            let what = format!("`{}` stands for queries, keys or values, which are floats", binding.name);
            self.float(&mut value, Code::E0316, &what);
        }
        self.lets[id.0] = value.ty;
        self.program.lets[id.0].value = value;
    }

    fn attention(&mut self, id: AttentionIx) {
        let attention = &mut self.program.attentions[id.0];
        let (mut scale, mut sink) = (attention.scale.take(), attention.sink.take());
        let mut steps = std::mem::take(&mut attention.steps);
        if let Some(scale) = &mut scale {
            self.expr(scale);
            self.float(scale, Code::E0316, "`scale` is a float");
        }
        if let Some(sink) = &mut sink {
            self.expr(sink);
            self.float(sink, Code::E0316, "the score of a sink is a float");
        }
        for step in &mut steps {
            match &mut step.kind {
                StepKind::Score(value) => {
                    self.expr(value);
                    self.float(value, Code::E0316, "a score is a float");
                }
                StepKind::Mask(value) => {
                    self.expr(value);
                    self.condition(value, "a mask", true);
                }
                StepKind::Select(select) => self.select(select),
            }
        }
        let attention = &mut self.program.attentions[id.0];
        // A sink that could not be resolved leaves a softmax without one.
        if attention.normalize == Normalize::SoftmaxSink && sink.is_none() {
            attention.normalize = Normalize::Softmax;
        }
        (attention.scale, attention.sink, attention.steps) = (scale, sink, steps);
    }

    fn select(&mut self, select: &mut Select) {
        self.size_expr(&mut select.count, "the number of selected elements");
        self.expr(&mut select.operand);
        self.float(&mut select.operand, Code::E0316, "what a selection compares is a float");
        let parts = [
            ("`among`", &mut select.among),
            ("`forcing`", &mut select.forcing),
            ("`plus`", &mut select.plus),
        ];
        for (what, part) in parts {
            if let Some(part) = part {
                self.expr(part);
                self.condition(part, what, false);
            }
        }
    }

    /// Requires a float; converts an int.
    fn float(&mut self, expr: &mut Expr, code: Code, what: &str) {
        match expr.ty {
            Ty::Float | Ty::Unknown => {}
            Ty::Int => convert(expr, Ty::Float),
            Ty::Bool => {
                let diagnostic = Diagnostic::error(code, format!("{what}, and this is a bool"))
                    .label(expr.span, "expected float, found bool")
                    .help("choose a value for each case: `if ... then 1.0 else 0.0`");
                self.report(diagnostic);
                expr.ty = Ty::Unknown;
            }
        }
    }

    /// Requires a bool.
    fn condition(&mut self, expr: &mut Expr, what: &str, mask: bool) {
        if matches!(expr.ty, Ty::Bool | Ty::Unknown) {
            return;
        }
        let found = expr.ty.name();
        let mut diagnostic = Diagnostic::error(
            if mask { Code::E0302 } else { Code::E0301 },
            format!("{what} is true or false, and this is {found}"),
        )
        .label(expr.span, format!("expected bool, found {found}"));
        diagnostic = match (expr.ty, mask) {
            (Ty::Float, true) => diagnostic
                .help("to add a value to the score, write `score = score + ...`; to attend where it is positive, compare: `... > 0.0`"),
            _ => diagnostic.help("compare it with something: `... != 0`"),
        };
        self.report(diagnostic);
        expr.ty = Ty::Unknown;
    }

    /// Infers the type of an expression and of all in it.
    fn expr(&mut self, expr: &mut Expr) {
        expr.ty = self.type_of(expr);
    }

    fn type_of(&mut self, expr: &mut Expr) -> Ty {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Int(value) => {
                if i32::try_from(*value).is_err() {
                    let diagnostic =
                        Diagnostic::error(Code::E0315, format!("the int {value} does not fit 32 bits"))
                            .label(span, "ints go from -2147483648 to 2147483647")
                            .help(format!("for a float, write `{value}.0`"));
                    self.report(diagnostic);
                }
                Ty::Int
            }
            ExprKind::Size(_)
            | ExprKind::Index(_)
            | ExprKind::Position { .. }
            | ExprKind::Row(_)
            | ExprKind::KvHeadOf(_)
            | ExprKind::Start(_)
            | ExprKind::End(_)
            | ExprKind::Overlap(..) => Ty::Int,
            ExprKind::Float(_) | ExprKind::Score | ExprKind::Scale => Ty::Float,
            ExprKind::Bool(_) => Ty::Bool,
            ExprKind::Error => Ty::Unknown,
            ExprKind::Param(param) => match self.program.params[param.0].ty {
                ParamType::Int => Ty::Int,
                ParamType::Float => Ty::Float,
            },
            ExprKind::Read { tensor, indices } => {
                let tensor = *tensor;
                self.indices(tensor, indices);
                match tensor {
                    Tensor::Input(input) => match self.program.inputs[input.0].elem {
                        Elem::Real | Elem::F32 => Ty::Float,
                        Elem::I32 => Ty::Int,
                        Elem::Bool => Ty::Bool,
                    },
                    Tensor::Let(binding) => self.lets[binding.0],
                    Tensor::Field(..) => Ty::Float,
                }
            }
            ExprKind::Unary(op, operand) => {
                self.expr(operand);
                match op {
                    UnOp::Neg => {
                        self.number(operand, "`-`");
                        operand.ty
                    }
                    UnOp::Not => {
                        self.truth(operand, "`not`");
                        Ty::Bool
                    }
                }
            }
            ExprKind::Binary { op, op_span, lhs, rhs } => {
                self.expr(lhs);
                self.expr(rhs);
                self.binary(*op, *op_span, lhs, rhs)
            }
            ExprKind::Call { builtin, args } => {
                for arg in args.iter_mut() {
                    self.expr(arg);
                }
                self.call(builtin, args)
            }
            ExprKind::Convert { to, operand } => {
                self.expr(operand);
                *to
            }
            ExprKind::If { condition, then, otherwise } => {
                for part in [&mut *condition, &mut *then, &mut *otherwise] {
                    self.expr(part);
                }
                self.condition(condition, "the condition of an `if`", false);
                self.same(span, then, otherwise, "the two sides of an `if`")
            }
            ExprKind::Reduce { op, body, .. } => {
                self.expr(body);
                let what = format!("`{}`", op.text());
                match reduction_row(*op).takes {
                    Takes::Bool => {
                        self.truth(body, &what);
                        Ty::Bool
                    }
                    Takes::Float => {
                        self.number(body, &what);
                        to_float(body);
                        body.ty
                    }
                    _ => {
                        self.number(body, &what);
                        body.ty
                    }
                }
            }
        }
    }

    fn binary(&mut self, op: BinOp, op_span: Span, lhs: &mut Expr, rhs: &mut Expr) -> Ty {
        let what = format!("`{}`", op.text());
        match op {
            BinOp::And | BinOp::Or => {
                self.truth(lhs, &what);
                self.truth(rhs, &what);
                Ty::Bool
            }
            BinOp::Eq | BinOp::Ne if lhs.ty == Ty::Bool && rhs.ty == Ty::Bool => Ty::Bool,
            BinOp::Eq | BinOp::Ne | BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge => {
                self.number(lhs, &what);
                self.number(rhs, &what);
                let floats =
                    matches!((lhs.ty, rhs.ty), (Ty::Float, Ty::Float | Ty::Int) | (Ty::Int, Ty::Float));
                if floats && matches!(op, BinOp::Eq | BinOp::Ne) {
                    let diagnostic = Diagnostic::warning(
                        Code::W0301,
                        format!("floats are compared with {what}"),
                    )
                    .label(op_span, "rounding decides")
                    .help("compare with a tolerance, `abs(x - y) < 1e-6`, or make them ints: `cast(x, int)`");
                    self.report(diagnostic);
                }
                common(lhs, rhs);
                Ty::Bool
            }
            BinOp::Add | BinOp::Sub | BinOp::Mul => {
                self.number(lhs, &what);
                self.number(rhs, &what);
                common(lhs, rhs)
            }
            BinOp::Div => {
                for operand in [lhs, rhs] {
                    self.number(operand, &what);
                    to_float(operand);
                }
                Ty::Float
            }
            BinOp::FloorDiv | BinOp::Mod => {
                for operand in [&mut *lhs, &mut *rhs] {
                    self.int(operand, &what);
                }
                if matches!(rhs.kind, ExprKind::Int(0)) {
                    let diagnostic =
                        Diagnostic::error(Code::E0315, "division by zero").label(rhs.span, "this is zero");
                    self.report(diagnostic);
                }
                Ty::Int
            }
        }
    }

    fn call(&mut self, builtin: &Builtin, args: &mut [Expr]) -> Ty {
        let what = format!("`{}`", builtin.name);
        for (arg, (_, takes)) in args.iter_mut().zip(builtin.args) {
            match takes {
                Takes::Float => {
                    self.number(arg, &what);
                    to_float(arg);
                }
                Takes::Number => self.number(arg, &what),
                Takes::Bool => self.truth(arg, &what),
                Takes::Scalar | Takes::Part | Takes::TypeName => {}
            }
        }
        let numbers = builtin.args.iter().any(|(_, takes)| *takes == Takes::Number);
        if numbers && args.iter().any(|arg| arg.ty == Ty::Float) {
            args.iter_mut().for_each(to_float);
        }
        match builtin.gives {
            Gives::Float => Ty::Float,
            Gives::Int => Ty::Int,
            Gives::Same | Gives::Named => {
                let unknown = args.iter().any(|arg| arg.ty == Ty::Unknown);
                args.first().filter(|_| !unknown).map_or(Ty::Unknown, |arg| arg.ty)
            }
        }
    }

    /// Makes two expressions of one type, or reports that they are not.
    fn same(&mut self, span: Span, lhs: &mut Expr, rhs: &mut Expr, what: &str) -> Ty {
        if (lhs.ty == Ty::Bool) != (rhs.ty == Ty::Bool) && lhs.ty != Ty::Unknown && rhs.ty != Ty::Unknown {
            let diagnostic = Diagnostic::error(Code::E0301, format!("{what} differ in type"))
                .label(lhs.span, format!("this is {}", lhs.ty.name()))
                .label(rhs.span, format!("this is {}", rhs.ty.name()))
                .secondary(span, "expected one type");
            self.report(diagnostic);
            return Ty::Unknown;
        }
        common(lhs, rhs)
    }

    /// Requires a float or an int.
    fn number(&mut self, expr: &mut Expr, what: &str) {
        if expr.ty == Ty::Bool {
            let diagnostic =
                Diagnostic::error(Code::E0301, format!("{what} works on numbers, and this is a bool"))
                    .label(expr.span, "expected a number, found bool")
                    .help("`if ... then 1 else 0`, or `cast(..., int)`, makes a number of it");
            self.report(diagnostic);
            expr.ty = Ty::Unknown;
        }
    }

    /// Requires an int.
    fn int(&mut self, expr: &mut Expr, what: &str) {
        self.number(expr, what);
        if expr.ty == Ty::Float {
            let diagnostic =
                Diagnostic::error(Code::E0301, format!("{what} works on ints, and this is a float"))
                    .label(expr.span, "expected int, found float")
                    .help("`cast(x, int)` rounds down; `/` divides floats");
            self.report(diagnostic);
            expr.ty = Ty::Unknown;
        }
    }

    /// Requires a bool, as an operand.
    fn truth(&mut self, expr: &mut Expr, what: &str) {
        if matches!(expr.ty, Ty::Float | Ty::Int) {
            let found = expr.ty.name();
            let diagnostic =
                Diagnostic::error(Code::E0301, format!("{what} works on bools, and this is {found}"))
                    .label(expr.span, format!("expected bool, found {found}"))
                    .help("compare it with something: `... != 0`");
            self.report(diagnostic);
            expr.ty = Ty::Unknown;
        }
    }
}

/// Converts an int to a float.
fn to_float(expr: &mut Expr) {
    if expr.ty == Ty::Int {
        convert(expr, Ty::Float);
    }
}

/// The common type of two numbers; an int next to a float is converted.
fn common(lhs: &mut Expr, rhs: &mut Expr) -> Ty {
    if lhs.ty == Ty::Float || rhs.ty == Ty::Float {
        to_float(lhs);
        to_float(rhs);
    }
    if rhs.ty == Ty::Unknown { rhs.ty } else { lhs.ty }
}

/// Puts a conversion around an expression.
fn convert(expr: &mut Expr, to: Ty) {
    let span = expr.span;
    let operand = Box::new(std::mem::replace(expr, Expr::error(span)));
    *expr = Expr { kind: ExprKind::Convert { to, operand }, ty: to, span };
}
