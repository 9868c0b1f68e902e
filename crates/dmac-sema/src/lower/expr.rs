//! Scalar expressions.

use super::{Lower, graph_var};
use crate::builtins::{Builtin, Formula, Gives, Means, builtin, reduction_row};
use crate::hir::{self, Expr, ExprKind, Ty, VarIx};
use dmac_ir::{AxisKind, Binary, Compare, Domain, NodeId, Op, ParamValue, Scalar, Size, Unary, Var};
use dmac_source::Span;
use dmac_syntax::ast::{BinOp, UnOp};

/// What `score` and `scale` are where an expression stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Context {
    pub score: Option<NodeId>,
    pub scale: Option<NodeId>,
}

impl Lower<'_> {
    pub(super) fn expr(&mut self, expr: &Expr, context: &Context) -> NodeId {
        let span = Some(expr.span);
        let op = match &expr.kind {
            ExprKind::Int(value) => Op::Int(*value),
            ExprKind::Float(value) => return self.graph.float(*value as f32),
            ExprKind::Bool(value) => Op::Bool(*value),
            ExprKind::Param(param) => {
                let info = &self.program.params[param.0];
                match (info.fixed, info.value) {
                    (true, ParamValue::Int(value)) => Op::Int(value),
                    (true, ParamValue::Float(value)) => return self.graph.float(value),
                    (false, _) => Op::Param(crate::constant::graph_param(self.program, *param)),
                }
            }
            ExprKind::Size(axis) => {
                return self.graph.size(Size::Axis(crate::constant::graph_axis(self.program, *axis)));
            }
            ExprKind::Index(var) | ExprKind::Row(var) => Op::Index(graph_var(*var)),
            ExprKind::Position { query, batch } => {
                Op::Position { query: graph_var(*query), batch: graph_var(*batch) }
            }
            ExprKind::KvHeadOf(head) => return self.kv_head_of(graph_var(*head)),
            ExprKind::Read { tensor, indices } => {
                let tensor = self.tensor(*tensor);
                let indices = indices.iter().map(|index| self.expr(index, context));
                let operands: Vec<NodeId> = std::iter::once(tensor).chain(indices).collect();
                return self.graph.add_at(Op::Read, &operands, span);
            }
            ExprKind::Score => {
                return context
                    .score
                    .unwrap_or_else(|| panic!("lower: `score` is read where it is not known"));
            }
            ExprKind::Scale => {
                return context
                    .scale
                    .unwrap_or_else(|| panic!("lower: `scale` is read where it is not known"));
            }
            ExprKind::Unary(op, operand) => {
                let operand = self.expr(operand, context);
                let op = match op {
                    UnOp::Neg => Unary::Neg,
                    UnOp::Not => Unary::Not,
                };
                return self.graph.add_at(Op::Unary(op), &[operand], span);
            }
            ExprKind::Binary { op, lhs, rhs, .. } => {
                let bools = lhs.ty == Ty::Bool;
                let (lhs, rhs) = (self.expr(lhs, context), self.expr(rhs, context));
                return self.binary(*op, lhs, rhs, bools, expr.span);
            }
            ExprKind::Call { builtin, args } => {
                let args: Vec<NodeId> = args.iter().map(|arg| self.expr(arg, context)).collect();
                return self.call(builtin, &args, expr.span);
            }
            ExprKind::Start(part) => return self.start(graph_var(*part)),
            ExprKind::End(part) => return self.end(graph_var(*part)),
            ExprKind::Overlap(c, s) => return self.overlap(*c, *s),
            ExprKind::Convert { to, operand } => {
                let operand = self.expr(operand, context);
                return self.graph.cast(operand, scalar(*to));
            }
            ExprKind::If { condition, then, otherwise } => {
                let parts = [condition, then, otherwise].map(|part| self.expr(part, context));
                return self.graph.add_at(Op::If, &parts, span);
            }
            ExprKind::Reduce { op, binders, body } => {
                let body = self.expr(body, context);
                let domains = binders.iter().map(|binder| domain(*binder)).collect();
                return self.graph.add_at(
                    Op::Reduce { op: reduction_row(*op).means, domains },
                    &[body],
                    span,
                );
            }
            ExprKind::Error => panic!("lower: an expression with an error at {:?}", expr.span),
        };
        self.graph.add_at(op, &[], span)
    }

    fn binary(&mut self, op: BinOp, lhs: NodeId, rhs: NodeId, bools: bool, span: Span) -> NodeId {
        let op = match op {
            BinOp::Or => Op::Binary(Binary::Or),
            BinOp::And => Op::Binary(Binary::And),
            BinOp::Add => Op::Binary(Binary::Add),
            BinOp::Sub => Op::Binary(Binary::Sub),
            BinOp::Mul => Op::Binary(Binary::Mul),
            BinOp::Div => Op::Binary(Binary::Div),
            BinOp::FloorDiv => Op::Binary(Binary::IntDiv),
            BinOp::Mod => Op::Binary(Binary::IntMod),
            BinOp::Eq => Op::Compare(Compare::Eq),
            BinOp::Ne => Op::Compare(Compare::Ne),
            BinOp::Lt => Op::Compare(Compare::Lt),
            BinOp::Le => Op::Compare(Compare::Le),
            BinOp::Gt => Op::Compare(Compare::Gt),
            BinOp::Ge => Op::Compare(Compare::Ge),
        };
        // Comparisons of the graph are of numbers.
        let compared = bools && matches!(op, Op::Compare(_));
        let operands =
            [lhs, rhs].map(|operand| if compared { self.graph.cast(operand, Scalar::Int) } else { operand });
        self.graph.add_at(op, &operands, Some(span))
    }

    fn call(&mut self, builtin: &Builtin, args: &[NodeId], span: Span) -> NodeId {
        match builtin.means {
            Means::Unary(op) => self.graph.add_at(Op::Unary(op), args, Some(span)),
            Means::Binary(op) => self.graph.add_at(Op::Binary(op), args, Some(span)),
            Means::Stop => self.graph.add_at(Op::Stop, args, Some(span)),
            Means::Formula(formula) => self.formula(&formula, args, builtin, span),
            Means::Cast | Means::Start | Means::End | Means::Overlap => {
                panic!("lower: `{}` is an expression of its own", builtin.name)
            }
        }
    }

    /// A function given in terms of others.
    fn formula(&mut self, formula: &Formula, args: &[NodeId], of: &Builtin, span: Span) -> NodeId {
        let at = Some(span);
        let two = |lower: &mut Self, op: Binary, x: &Formula, y: &Formula| {
            let operands = [lower.formula(x, args, of, span), lower.formula(y, args, of, span)];
            lower.graph.add_at(Op::Binary(op), &operands, at)
        };
        match formula {
            Formula::Arg(index) => args[*index],
            Formula::Result => panic!("lower: `{}` is defined by its own result", of.name),
            Formula::Const(value) => {
                assert_eq!(of.gives, Gives::Float, "builtins: `{}` has a float constant", of.name);
                self.graph.float(*value as f32)
            }
            Formula::Neg(x) => {
                let x = self.formula(x, args, of, span);
                self.graph.add_at(Op::Unary(Unary::Neg), &[x], at)
            }
            Formula::Add(x, y) => two(self, Binary::Add, x, y),
            Formula::Sub(x, y) => two(self, Binary::Sub, x, y),
            Formula::Mul(x, y) => two(self, Binary::Mul, x, y),
            Formula::Div(x, y) => two(self, Binary::Div, x, y),
            Formula::Call(name, operands) => {
                let row = builtin(name).unwrap_or_else(|| panic!("builtins: there is no `{name}`"));
                let operands: Vec<NodeId> =
                    operands.iter().map(|operand| self.formula(operand, args, of, span)).collect();
                self.call(row, &operands, span)
            }
            Formula::If(relation, parts) => {
                let [x, y, then, otherwise] = parts.each_ref().map(|part| self.formula(part, args, of, span));
                let condition = self.graph.add_at(Op::Compare(*relation), &[x, y], at);
                self.graph.add_at(Op::If, &[condition, then, otherwise], at)
            }
        }
    }

    /// `h div (H div G)`.
    pub(super) fn kv_head_of(&mut self, head: Var) -> NodeId {
        let axis = |var: Var| Box::new(Size::Axis(self.graph.axis_of(var)));
        let ratio = Size::Div(axis(head), axis(self.kv_head()));
        let (head, ratio) = (self.graph.index(head), self.graph.size(ratio));
        self.graph.binary(Binary::IntDiv, head, ratio)
    }

    /// Length and distance of windows or blocks, and the axis that they divide.
    fn part(&self, var: Var) -> (Size, Size, dmac_ir::AxisId, bool) {
        match self.axis_kind(var).1 {
            AxisKind::Windows { of, length, stride } => (length, stride, of, false),
            AxisKind::Blocks { of, length } => (length.clone(), length, of, true),
            kind => panic!("lower: `{}` is neither windows nor blocks: {kind:?}", self.graph.var(var).name),
        }
    }

    /// The first position of a window or block.
    pub(super) fn start(&mut self, var: Var) -> NodeId {
        let (_, stride, ..) = self.part(var);
        let (index, stride) = (self.graph.index(var), self.graph.size(stride));
        self.graph.binary(Binary::Mul, index, stride)
    }

    /// The first position after a window or block.
    pub(super) fn end(&mut self, var: Var) -> NodeId {
        let (length, _, of, short) = self.part(var);
        let (start, length) = (self.start(var), self.graph.size(length));
        let end = self.graph.binary(Binary::Add, start, length);
        if !short {
            return end;
        }
        let size = self.graph.size(Size::Axis(of));
        self.graph.binary(Binary::Min, end, size)
    }

    /// `max(0, min(end(c), end(s)) - max(start(c), start(s)))`.
    fn overlap(&mut self, c: VarIx, s: VarIx) -> NodeId {
        let (c, s) = (graph_var(c), graph_var(s));
        let (ends, starts) = ([self.end(c), self.end(s)], [self.start(c), self.start(s)]);
        let end = self.graph.binary(Binary::Min, ends[0], ends[1]);
        let start = self.graph.binary(Binary::Max, starts[0], starts[1]);
        let (zero, common) = (self.graph.int(0), self.graph.binary(Binary::Sub, end, start));
        self.graph.binary(Binary::Max, zero, common)
    }
}

fn domain(binder: hir::Binder) -> Domain {
    let var = graph_var(binder.var);
    match binder.domain {
        hir::Domain::Whole => Domain::All(var),
        hir::Domain::Keys(batch) => Domain::Keys { var, batch: graph_var(batch) },
        hir::Domain::Heads(kv_head) => Domain::Heads { var, kv_head: graph_var(kv_head) },
        hir::Domain::Positions(part) => Domain::Positions { var, part: graph_var(part) },
    }
}

/// The graph's type of a scalar.
pub(super) fn scalar(ty: Ty) -> Scalar {
    match ty {
        Ty::Float => Scalar::F32,
        Ty::Int => Scalar::Int,
        Ty::Bool => Scalar::Bool,
        Ty::Unknown => panic!("lower: an expression without a type"),
    }
}
