//! Calls: builtin functions by their table, user functions by inlining.

use super::Resolver;
use super::scope::{Arg, Call, Scope};
use crate::builtins::{self, Means, Takes, builtin};
use crate::hir::{AxisDef, Expr, ExprKind, Ty, VarIx};
use dmac_source::{Code, Diagnostic, Span, nearest};
use dmac_syntax::ast::{self, Ident, ReduceOp};
use std::collections::BTreeMap;

impl Resolver<'_> {
    pub(super) fn call(
        &mut self,
        function: &Ident,
        args: &[ast::Expr],
        span: Span,
        scope: &mut Scope,
    ) -> ExprKind {
        if let Some(row) = builtin(&function.name) {
            if row.args.len() != args.len() {
                let names: Vec<&str> = row.args.iter().map(|(name, _)| *name).collect();
                self.wrong_arity(function, &names, args.len(), span);
                return ExprKind::Error;
            }
            return match row.means {
                Means::Start => self.part(&args[0], scope).map_or(ExprKind::Error, ExprKind::Start),
                Means::End => self.part(&args[0], scope).map_or(ExprKind::Error, ExprKind::End),
                Means::Overlap => {
                    let (c, s) = (self.part(&args[0], scope), self.part(&args[1], scope));
                    let (Some(c), Some(s)) = (c, s) else { return ExprKind::Error };
                    self.overlap(c, s, span)
                }
                Means::Cast => self.cast(&args[0], &args[1], scope),
                _ => {
                    debug_assert!(row.args.iter().all(|(_, takes)| *takes != Takes::Part));
                    let args = args.iter().map(|arg| self.expr(arg, scope)).collect();
                    ExprKind::Call { builtin: row, args }
                }
            };
        }
        if let Some(item) = self.functions.get(&function.name) {
            return self.inline(function, item, args, span, scope);
        }
        let known = self.names.get(&function.name);
        let candidates = builtins::BUILTINS
            .iter()
            .flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()))
            .chain(self.functions.names());
        let diagnostic = Diagnostic::error(Code::E0203, format!("there is no function `{function}`"));
        let diagnostic = if let Some(op) = ReduceOp::named(&function.name) {
            diagnostic
                .label(function.span, "a reduction needs an index")
                .help(format!("name what it ranges over: `{}(j: ...)`", op.text()))
        } else if let Some(named) = known {
            diagnostic
                .label(function.span, format!("this is {}", named.meaning.kind()))
                .help(format!("elements are read with brackets: `{function}[...]`"))
        } else if let Some(similar) = nearest(&function.name, candidates) {
            diagnostic.label(function.span, "unknown function").suggest(
                function.span,
                similar,
                format!("did you mean `{similar}`?"),
            )
        } else {
            diagnostic
                .label(function.span, "unknown function")
                .help(format!("define it: `fn {function}(x) = ...`"))
        };
        self.report(diagnostic);
        ExprKind::Error
    }

    fn wrong_arity(&mut self, function: &Ident, names: &[&str], found: usize, span: Span) {
        let plural = if names.len() == 1 { "" } else { "s" };
        let message = format!("`{function}` takes {} argument{plural}, but {found} stand here", names.len());
        let diagnostic = Diagnostic::error(Code::E0208, message)
            .label(span, format!("expected {}, found {found}", names.len()))
            .help(format!("write `{function}({})`", names.join(", ")));
        self.report(diagnostic);
    }

    /// An argument of `start`, `end`, `overlap`.
    fn part(&mut self, arg: &ast::Expr, scope: &mut Scope) -> Option<VarIx> {
        let resolved = self.expr(arg, scope);
        match resolved.kind {
            ExprKind::Error => None,
            ExprKind::Index(var)
                if matches!(
                    self.program.axis(self.program.axis_of(var)).def,
                    AxisDef::Windows { .. } | AxisDef::Blocks { .. }
                ) =>
            {
                Some(var)
            }
            _ => {
                let diagnostic = Diagnostic::error(Code::E0310, "expected an index over windows or blocks")
                    .label(arg.span, "not an index over windows or blocks")
                    .help("declare the axis: `axis c = windows(j, LENGTH, STRIDE)` or `axis s = blocks(j, LENGTH)`");
                self.report(diagnostic);
                None
            }
        }
    }

    fn overlap(&mut self, c: VarIx, s: VarIx, span: Span) -> ExprKind {
        let of = |var: VarIx| match self.program.axis(self.program.axis_of(var)).def {
            AxisDef::Windows { of, .. } | AxisDef::Blocks { of, .. } => Some(of),
            _ => None,
        };
        if of(c) == of(s) {
            return ExprKind::Overlap(c, s);
        }
        let (c, s) = (&self.program.var(c).name, &self.program.var(s).name);
        let diagnostic = Diagnostic::error(Code::E0310, format!("`{c}` and `{s}` divide different axes"))
            .label(span, "they have no positions in common");
        self.report(diagnostic);
        ExprKind::Error
    }

    fn cast(&mut self, value: &ast::Expr, to: &ast::Expr, scope: &mut Scope) -> ExprKind {
        let value = self.boxed(value, scope);
        let ty = match to.as_name().map(|name| name.name.as_str()) {
            Some("int" | "i32") => Ty::Int,
            Some("float" | "f32") => Ty::Float,
            _ => {
                let diagnostic = Diagnostic::error(Code::E0301, "the second argument of `cast` is a type")
                    .label(to.span, "expected `int` or `float`");
                self.report(diagnostic);
                return ExprKind::Error;
            }
        };
        ExprKind::Convert { to: ty, operand: value }
    }

    fn inline(
        &mut self,
        function: &Ident,
        item: &ast::FnItem,
        args: &[ast::Expr],
        span: Span,
        scope: &mut Scope,
    ) -> ExprKind {
        let args: Vec<Expr> = args.iter().map(|arg| self.expr(arg, scope)).collect();
        if item.params.len() != args.len() {
            let names: Vec<&str> = item.params.iter().map(|param| param.name.as_str()).collect();
            self.wrong_arity(function, &names, args.len(), span);
            return ExprKind::Error;
        }
        if !self.functions.is_sound(&function.name) {
            return ExprKind::Error;
        }
        let args = args.into_iter().map(|value| {
            let (nodes, depth) = value.extent();
            Arg { value, nodes, depth }
        });
        self.program.called.insert(function.name.clone());
        let args: BTreeMap<String, Arg> =
            item.params.iter().map(|param| param.name.clone()).zip(args).collect();
        let outer = scope.call.replace(Call { args });
        let body = self.expr(&item.body, scope);
        scope.call = outer;
        body.kind
    }
}
