//! Scalar nodes of the graph as scalar expressions of a kernel, given where the index variables point.

use super::{Env, Lowering, quotient};
use crate::kernel::{Expr, Kernel, ScalarType, VarId};
use dmac_ir::{AxisKind, Binary, Compare, Domain, Edge, NodeId, Op, Reduction, Scalar, Type, Var};
use std::collections::BTreeSet;

impl Lowering<'_> {
    /// The value of a scalar node.
    pub(crate) fn scalar(&self, kernel: &mut Kernel, id: NodeId, env: &Env) -> Expr {
        if let Some(known) = env.nodes.get(&id) {
            return known.clone();
        }
        let operands = self.graph.operands(id);
        let mut operand = |this: &Self, index: usize| this.scalar(kernel, operands[index], env);
        match self.graph.op(id).clone() {
            Op::Float(value) => Expr::Float(value),
            Op::Int(value) => Expr::Int(value),
            Op::Bool(value) => Expr::Bool(value),
            Op::Param(param) => Expr::Param(param),
            Op::Size(size) => self.size(&size),
            Op::Index(var) => self.coordinate(var, env),
            Op::Position { query, batch } => self.position(query, batch, env),
            Op::KeyLength { batch } => self.key_length(batch, env),
            Op::TileEdge { var, edge, .. } => env.edges[&(var, edge)].clone(),
            Op::Read => {
                let index = (1..operands.len()).map(|at| operand(self, at)).collect::<Vec<_>>();
                Expr::load(self.tensors[&operands[0]], index)
            }
            Op::Unary(op) => Expr::unary(op, operand(self, 0)),
            Op::Binary(op) => Expr::binary(op, operand(self, 0), operand(self, 1)),
            Op::Compare(op) => Expr::compare(op, operand(self, 0), operand(self, 1)),
            Op::If => operand(self, 0).then(operand(self, 1), operand(self, 2)),
            Op::Cast(to) => {
                let to = match to {
                    Scalar::F32 => ScalarType::F32,
                    Scalar::Int => ScalarType::Int,
                    Scalar::Bool => ScalarType::Bool,
                };
                Expr::cast(to, operand(self, 0))
            }
            Op::Stop => operand(self, 0),
            Op::Reduce { op, domains } => self.reduction(kernel, op, &domains, operands[0], env),
            Op::InRange => {
                let x = operand(self, 0);
                let low = Expr::compare(Compare::Le, operand(self, 1), x.clone());
                Expr::and(low, Expr::lt(x, operand(self, 2)))
            }
            Op::Contains => self.contains(kernel, &operands, env),
            op => panic!("lower: {op:?} is not a scalar"),
        }
    }

    /// The scalar nodes that expressions are made of, without the insides of tensors that they read.
    pub(crate) fn scalars(&self, roots: &[NodeId]) -> Vec<NodeId> {
        let mut open = roots.to_vec();
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if matches!(self.graph.ty(id), Type::Scalar(_)) && seen.insert(id) {
                open.extend(self.graph.operands(id));
            }
        }
        seen.into_iter().collect()
    }

    /// Whether the factors' tensors are contiguous along `var`: it is the last index of a read.
    pub(super) fn contiguous_in(&self, factors: &[NodeId], var: Var) -> bool {
        self.scalars(factors).into_iter().any(|node| {
            *self.graph.op(node) == Op::Read
                && self
                    .graph
                    .operands(node)
                    .last()
                    .is_some_and(|&last| *self.graph.op(last) == Op::Index(var))
        })
    }

    fn coordinate(&self, var: Var, env: &Env) -> Expr {
        let known = env.vars.get(&var).cloned();
        known.unwrap_or_else(|| panic!("lower: `{}` is not bound", self.var_name(var)))
    }

    /// The logical position of a query row: `index + key_length(batch) - M`.
    pub(crate) fn position(&self, query: Var, batch: Var, env: &Env) -> Expr {
        self.coordinate(query, env) + self.key_length(batch, env) - self.extent(query)
    }

    /// The keys of a batch element.
    pub(crate) fn key_length(&self, batch: Var, env: &Env) -> Expr {
        match env.key_length {
            Some((known, var)) if known == batch => Expr::Var(var),
            _ => Expr::load(self.program.key_lengths(), [self.coordinate(batch, env)]),
        }
    }

    /// The range of a reduction's variable.
    pub(crate) fn domain(&self, domain: Domain, env: &Env) -> (Expr, Expr) {
        match domain {
            Domain::All(var) => (Expr::Int(0), self.extent(var)),
            Domain::Keys { batch, .. } => (Expr::Int(0), self.key_length(batch, env)),
            Domain::Heads { var, kv_head } => {
                let group = self.extent(var).int_div(self.extent(kv_head));
                let first = self.coordinate(kv_head, env) * group.clone();
                (first.clone(), first + group)
            }
            Domain::Positions { var, part } => {
                let (length, stride) = match &self.graph.axis(self.graph.axis_of(part)).kind {
                    AxisKind::Blocks { length, .. } => (self.size(length), self.size(length)),
                    AxisKind::Windows { length, stride, .. } => (self.size(length), self.size(stride)),
                    kind => panic!("lower: positions of {kind:?}"),
                };
                let first = self.coordinate(part, env) * stride;
                let mut end = (first.clone() + length).min(self.extent(var));
                if let Some(batch) = self.batch_in(env).filter(|_| self.is_key(var)) {
                    end = end.min(self.key_length(batch, env));
                }
                (first, end)
            }
            Domain::Tile { of, .. } => {
                let first = env.edges[&(of, Edge::First)].clone();
                let end = env.edges[&(of, Edge::Last)].clone() + Expr::Int(1);
                if self.kind(of) != AxisKind::Query {
                    return (first, end);
                }
                // A query tile's edges are logical positions; its elements are rows.
                let batch = self.batch_in(env).expect("a query tile is of a batch element");
                let offset = self.key_length(batch, env) - self.extent(of);
                (first - offset.clone(), end - offset)
            }
        }
    }

    fn is_key(&self, var: Var) -> bool {
        self.kind(var) == AxisKind::Key
    }

    /// The batch variable in scope.
    fn batch_in(&self, env: &Env) -> Option<Var> {
        env.vars.keys().copied().find(|&var| self.graph.axis(self.graph.axis_of(var)).kind == AxisKind::Batch)
    }

    /// A reduction as nested loops: the general form.
    fn reduction(
        &self,
        kernel: &mut Kernel,
        op: Reduction,
        domains: &[Domain],
        body: NodeId,
        env: &Env,
    ) -> Expr {
        let mut inner = env.clone();
        let mut loops = Vec::new();
        for &domain in domains {
            let (lo, hi) = self.domain(domain, &inner);
            let var = kernel.add_var(self.var_name(domain.var()), ScalarType::Int);
            inner.vars.insert(domain.var(), Expr::Var(var));
            loops.push((var, lo, hi));
        }
        // What was computed for other values of a variable bound here does not hold inside.
        inner.nodes.retain(|node, _| {
            let free = self.graph.free(*node);
            domains.iter().all(|domain| !free.contains(&domain.var()))
        });
        // A mean over several variables divides once, by the number of all points.
        let (inner_op, counted) = match op {
            Reduction::Mean if loops.len() > 1 => (Reduction::Sum, true),
            op => (op, false),
        };
        let nest = |op: Reduction, body: Expr| {
            let each = |body, (var, lo, hi): &(VarId, Expr, Expr)| {
                quotient::reduce(op, (*var, lo.clone(), hi.clone()), body)
            };
            loops.iter().rev().fold(body, each)
        };
        let value = self.scalar(kernel, body, &inner);
        let total = nest(inner_op, value);
        if counted { Expr::binary(Binary::Div, total, nest(Reduction::Sum, Expr::float(1.0))) } else { total }
    }

    /// Membership by a search of the row's list: the general form, for what the walk of an attention does not cover.
    fn contains(&self, kernel: &mut Kernel, operands: &[NodeId], env: &Env) -> Expr {
        let list = self.lists[&operands[0]];
        let row: Vec<Expr> =
            operands[1..operands.len() - 1].iter().map(|&index| self.scalar(kernel, index, env)).collect();
        let element = self.scalar(kernel, operands[operands.len() - 1], env);
        let slot = kernel.add_var("slot", ScalarType::Int);
        let at = row.iter().cloned().chain([Expr::Var(slot)]);
        let found = Expr::compare(Compare::Eq, Expr::load(list.items, at), element.clone());
        let listed = Expr::Reduce {
            op: Reduction::Any,
            var: slot,
            lo: Box::new(Expr::Int(0)),
            hi: Box::new(Expr::load(list.counts, row.iter().cloned())),
            body: Box::new(found),
        };
        let Op::Select(select) = self.graph.op(operands[0]) else { panic!("lower: not a selection") };
        if !select.plus {
            return listed;
        }
        // Elements taken in addition are in no list.
        let of_select = self.graph.operands(operands[0]);
        let mut inner = env.clone();
        inner.vars.extend(select.rows.iter().copied().zip(row));
        inner.vars.insert(select.over, element);
        let candidate = self.scalar(kernel, of_select[1], &inner);
        let plus = self.scalar(kernel, of_select[3 + usize::from(select.forcing)], &inner);
        Expr::or(listed, Expr::and(candidate, plus))
    }
}
