//! A tree with every span set to `0..0`, for comparing what two trees say rather than where.

use dmac_source::Span;

use super::{
    Attention, AxisDef, Binder, Branch, Emit, Expr, ExprKind, FnItem, Ident, InputTypeKind, Item, Module,
    Param, Stmt, StmtKind,
};

const NOWHERE: Span = Span { start: 0, end: 0 };

impl Module {
    /// The same tree with every span `0..0`.
    #[must_use]
    pub fn without_spans(&self) -> Self {
        let mut module = self.clone();
        module.items.iter_mut().for_each(item);
        module
    }
}

impl Expr {
    /// The same expression with every span `0..0`.
    #[must_use]
    pub fn without_spans(&self) -> Self {
        let mut copy = self.clone();
        expr(&mut copy);
        copy
    }
}

fn item(item: &mut Item) {
    match item {
        Item::Attention(Attention { doc: _, name, params, body, span }) => {
            *span = NOWHERE;
            ident(name);
            params.iter_mut().for_each(param);
            body.iter_mut().for_each(stmt);
        }
        Item::Fn(FnItem { doc: _, name, params, body, span }) => {
            *span = NOWHERE;
            ident(name);
            params.iter_mut().for_each(ident);
            expr(body);
        }
        Item::Error(span) => *span = NOWHERE,
    }
}

fn param(Param { is_const: _, name, ty, default, span }: &mut Param) {
    *span = NOWHERE;
    ty.span = NOWHERE;
    ident(name);
    default.iter_mut().for_each(expr);
}

fn stmt(Stmt { kind, span }: &mut Stmt) {
    *span = NOWHERE;
    match kind {
        StmtKind::Input(input) => {
            ident(&mut input.name);
            input.axes.iter_mut().for_each(ident);
            input.ty.span = NOWHERE;
            if let InputTypeKind::I32 { range: Some((low, high)) } = &mut input.ty.kind {
                expr(low);
                expr(high);
            }
        }
        StmtKind::Axis(axis) => {
            ident(&mut axis.name);
            match &mut axis.def {
                AxisDef::Size(size) => expr(size),
                AxisDef::Windows { over, length, stride, span } => {
                    *span = NOWHERE;
                    ident(over);
                    expr(length);
                    expr(stride);
                }
                AxisDef::Blocks { over, length, span } => {
                    *span = NOWHERE;
                    ident(over);
                    expr(length);
                }
            }
        }
        StmtKind::Let(binding) => {
            ident(&mut binding.name);
            binding.axes.iter_mut().for_each(ident);
            expr(&mut binding.value);
        }
        StmtKind::Scale(value) | StmtKind::Score(value) | StmtKind::Mask(value) | StmtKind::Output(value) => {
            expr(value);
        }
        StmtKind::Select(select) => {
            expr(&mut select.count);
            select.block.iter_mut().for_each(ident);
            expr(&mut select.operand);
            let conditions = [&mut select.among, &mut select.forcing, &mut select.plus];
            conditions.into_iter().flatten().for_each(expr);
            select.ties.iter_mut().for_each(|ties| ties.span = NOWHERE);
        }
        StmtKind::Normalize(normalize) => {
            ident(&mut normalize.name);
            normalize.with.iter_mut().for_each(expr);
        }
        StmtKind::Branch(Branch { name, over, body }) => {
            ident(name);
            if let Some(over) = over {
                over.span = NOWHERE;
                let parts = [&mut over.queries, &mut over.keys, &mut over.values, &mut over.axis];
                parts.into_iter().flatten().for_each(ident);
            }
            body.iter_mut().for_each(stmt);
        }
        StmtKind::Emit(entries) => {
            for Emit { name, field, span } in entries {
                *span = NOWHERE;
                ident(name);
                field.iter_mut().for_each(ident);
            }
        }
        StmtKind::Error => {}
    }
}

fn expr(Expr { kind, span }: &mut Expr) {
    *span = NOWHERE;
    match kind {
        ExprKind::Int(_) | ExprKind::Float { .. } | ExprKind::Bool(_) | ExprKind::Error => {}
        ExprKind::Name(name) => ident(name),
        ExprKind::Index { base, indices } => {
            expr(base);
            indices.iter_mut().for_each(expr);
        }
        ExprKind::Field { base, field } => {
            expr(base);
            ident(field);
        }
        ExprKind::Call { function, args } => {
            ident(function);
            args.iter_mut().for_each(expr);
        }
        ExprKind::Unary { op: _, op_span, operand } => {
            *op_span = NOWHERE;
            expr(operand);
        }
        ExprKind::Binary { op: _, op_span, lhs, rhs } => {
            *op_span = NOWHERE;
            expr(lhs);
            expr(rhs);
        }
        ExprKind::If { condition, then, otherwise } => {
            expr(condition);
            expr(then);
            expr(otherwise);
        }
        ExprKind::Reduce { op: _, op_span, binders, body } => {
            *op_span = NOWHERE;
            for Binder { index, within } in binders {
                ident(index);
                within.iter_mut().for_each(ident);
            }
            expr(body);
        }
    }
}

fn ident(ident: &mut Ident) {
    ident.span = NOWHERE;
}
