//! The type of every operation, and the verifier that runs after every pass.
//!
//! A violation is a bug in the pass that ran last, never a mistake in the user's program.

use crate::axis::{AxisId, AxisKind, Var};
use crate::graph::{Graph, NodeId};
use crate::op::{Attendance, Binary, Domain, Field, Form, Normalize, Op, Unary};
use crate::ty::{Elem, Scalar, Type};
use std::fmt;

/// What a pass establishes, and every later graph must keep.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Invariant {
    /// No mask term is [`Form::Unclassified`], and each has the shape that its form promises.
    MasksClassified,
    /// Every selection is a lifetime or has a lowering.
    SelectionsLowered,
    /// Every attention has its block-skip predicates.
    SkipsInserted,
}

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The node.
    pub node: Option<NodeId>,
    /// The rule and how it is broken.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(NodeId(id)) => write!(f, "%{id}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Graph {
    /// Checks the whole graph, and what earlier passes established.
    pub fn verify(&self, established: &[Invariant]) -> Result<(), Vec<Violation>> {
        let mut violations = Vec::new();
        for id in self.node_ids() {
            if let Err(message) = self.verify_node(id, established) {
                violations.push(Violation { node: Some(id), message });
            }
        }
        for output in &self.outputs {
            if !matches!(self.ty(output.node), Type::Tensor { .. }) {
                let message = format!("output `{}` is not a tensor", output.name);
                violations.push(Violation { node: Some(output.node), message });
            }
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    fn verify_node(&self, id: NodeId, established: &[Invariant]) -> Result<(), String> {
        let node = self.node(id);
        let operands = self.operands(id);
        if operands.iter().any(|operand| *operand >= id) {
            return Err("an operand comes after its user".into());
        }
        let inferred = self.infer(&node.op, &operands)?;
        if inferred != node.ty {
            return Err(format!("has type {:?}, its operands give {inferred:?}", node.ty));
        }
        if !matches!(node.ty, Type::Scalar(_)) && !node.free.is_empty() {
            return Err(format!("is not a scalar but depends on {}", self.var_names(&node.free)));
        }
        match &node.op {
            Op::Attend(attend) => {
                let view = Attendance { attend, operands: &operands };
                if established.contains(&Invariant::SkipsInserted) && !attend.skips {
                    return Err("has no block-skip predicates".into());
                }
                for (&term, &form) in view.terms().iter().zip(&attend.forms) {
                    if established.contains(&Invariant::MasksClassified) {
                        self.verify_form(attend.key, attend.query, term, form)?;
                    }
                }
                Ok(())
            }
            Op::Select(select) => {
                if established.contains(&Invariant::SelectionsLowered) && select.lowering.is_none() {
                    return Err("is a selection without a lowering".into());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn verify_form(&self, key: Var, query: Var, term: NodeId, form: Form) -> Result<(), String> {
        let free = |id: NodeId, var: Var| self.free(id).contains(&var);
        let in_range = |id: NodeId| {
            let operands = self.operands(id);
            (*self.op(id) == Op::InRange).then(|| (operands[0], operands[1], operands[2]))
        };
        let interval = |id: NodeId| {
            in_range(id)
                .is_some_and(|(x, lo, hi)| *self.op(x) == Op::Index(key) && !free(lo, key) && !free(hi, key))
        };
        let holds = match form {
            Form::Unclassified => false,
            Form::Interval => interval(term),
            Form::Intervals => {
                let mut stack = vec![term];
                let mut all = true;
                while let Some(id) = stack.pop() {
                    match self.op(id) {
                        Op::Binary(Binary::Or) => stack.extend(self.operands(id)),
                        _ => all &= interval(id),
                    }
                }
                all
            }
            Form::KeyInterval => in_range(term).is_some_and(|(x, lo, hi)| {
                matches!(self.op(x), Op::Position { .. }) && !free(lo, query) && !free(hi, query)
            }),
            Form::SameId => {
                let operands = self.operands(term);
                *self.op(term) == Op::Compare(crate::op::Compare::Eq)
                    && !free(operands[0], key)
                    && !free(operands[1], query)
            }
            Form::Selected | Form::SelectedBlock => *self.op(term) == Op::Contains,
            Form::KeyOnly => !free(term, query),
            Form::RowOnly => !free(term, key),
            Form::Predicate => true,
        };
        if holds { Ok(()) } else { Err(format!("mask term %{} is not of the form {form:?}", term.0)) }
    }

    /// The names of variables, for messages.
    pub(crate) fn var_names<'a>(&self, vars: impl IntoIterator<Item = &'a Var>) -> String {
        vars.into_iter().map(|&var| self.var(var).name.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The type of an operation's result, or what is wrong with its operands.
    pub(crate) fn infer(&self, op: &Op, operands: &[NodeId]) -> Result<Type, String> {
        use Scalar::{Bool, F32, Int};
        let scalar = |index: usize| -> Result<Scalar, String> {
            let id = operands.get(index).ok_or("too few operands")?;
            self.ty(*id).as_scalar().ok_or_else(|| format!("operand {index} is not a scalar"))
        };
        let want = |index: usize, want: Scalar| -> Result<(), String> {
            let found = scalar(index)?;
            if found == want { Ok(()) } else { Err(format!("operand {index} is {found}, not {want}")) }
        };
        let count = |n: usize| {
            if operands.len() == n {
                Ok(())
            } else {
                Err(format!("has {} operands, not {n}", operands.len()))
            }
        };
        let axes = |vars: &[Var]| vars.iter().map(|&var| self.axis_of(var)).collect::<Vec<AxisId>>();
        let result = match op {
            Op::Float(_) => F32,
            Op::Int(_)
            | Op::Size(_)
            | Op::Index(_)
            | Op::Position { .. }
            | Op::KeyLength { .. }
            | Op::TileEdge { .. } => Int,
            Op::Bool(_) => Bool,
            Op::Param(id) => match self.param(*id).ty {
                crate::graph::ParamType::Int => Int,
                crate::graph::ParamType::Float => F32,
            },
            Op::Input(id) => {
                let input = self.input(*id);
                return Ok(Type::Tensor { elem: input.elem, axes: input.axes.clone() });
            }
            Op::Define { vars, elem, .. } => {
                count(1)?;
                want(0, elem.scalar())?;
                return Ok(Type::Tensor { elem: *elem, axes: axes(vars) });
            }
            Op::Read => {
                let tensor = operands.first().ok_or("too few operands")?;
                let Type::Tensor { elem, axes } = self.ty(*tensor) else {
                    return Err("operand 0 is not a tensor".into());
                };
                count(1 + axes.len())?;
                for index in 0..axes.len() {
                    want(1 + index, Int)?;
                }
                elem.scalar()
            }
            Op::Unary(unary) => {
                count(1)?;
                match (unary, scalar(0)?) {
                    (Unary::Not, Bool) => Bool,
                    (Unary::Neg | Unary::Abs | Unary::Relu, Int) => Int,
                    (Unary::Not, found) => return Err(format!("`not` of {found}")),
                    (_, F32) => F32,
                    (unary, found) => return Err(format!("{unary:?} of {found}")),
                }
            }
            Op::Binary(binary) => {
                count(2)?;
                let found = scalar(0)?;
                want(1, found)?;
                let fits = match binary {
                    Binary::And | Binary::Or => found == Bool,
                    Binary::Div => found == F32,
                    Binary::IntDiv | Binary::IntMod => found == Int,
                    _ => found != Bool,
                };
                if !fits {
                    return Err(format!("{binary:?} of {found}"));
                }
                found
            }
            Op::Compare(_) => {
                count(2)?;
                let found = scalar(0)?;
                want(1, found)?;
                Bool
            }
            Op::If => {
                count(3)?;
                want(0, Bool)?;
                let found = scalar(1)?;
                want(2, found)?;
                found
            }
            Op::Cast(to) => {
                count(1)?;
                scalar(0)?;
                *to
            }
            Op::Stop => {
                count(1)?;
                scalar(0)?
            }
            Op::Reduce { op, domains } => {
                count(1)?;
                self.check_domains(domains)?;
                let found = scalar(0)?;
                let bool_wanted = matches!(op, crate::op::Reduction::Any | crate::op::Reduction::All);
                if bool_wanted != (found == Bool) {
                    return Err(format!("{op:?} of {found}"));
                }
                found
            }
            Op::InRange => {
                count(3)?;
                (0..3).try_for_each(|index| want(index, Int))?;
                Bool
            }
            Op::Select(select) => {
                count(3 + usize::from(select.forcing) + usize::from(select.plus))?;
                want(0, F32)?;
                want(1, Bool)?;
                want(2, Int)?;
                (3..operands.len()).try_for_each(|index| want(index, Bool))?;
                return Ok(Type::Set { rows: axes(&select.rows), over: self.axis_of(select.over) });
            }
            Op::Contains => {
                let set = operands.first().ok_or("too few operands")?;
                let Type::Set { rows, .. } = self.ty(*set) else {
                    return Err("operand 0 is not a set".into());
                };
                count(2 + rows.len())?;
                (1..operands.len()).try_for_each(|index| want(index, Int))?;
                Bool
            }
            Op::Lifetime { rows, over, forcing, class, .. } => {
                count(3 + usize::from(*forcing) + usize::from(*class))?;
                want(0, F32)?;
                want(1, Int)?;
                want(2, Int)?;
                if *forcing {
                    want(3, Bool)?;
                }
                if *class {
                    want(operands.len() - 1, Int)?;
                }
                let mut axes = axes(rows);
                axes.push(self.axis_of(*over));
                return Ok(Type::Tensor { elem: Elem::I32, axes });
            }
            Op::Attend(attend) => {
                let sink = usize::from(attend.normalize == Normalize::SoftmaxSink);
                let skips = if attend.skips { 2 * attend.forms.len() } else { 0 };
                count(2 + sink + attend.forms.len() + skips)?;
                (0..2 + sink).try_for_each(|index| want(index, F32))?;
                (2 + sink..operands.len()).try_for_each(|index| want(index, Bool))?;
                return Ok(Type::Attention);
            }
            Op::Field(field) => {
                count(1)?;
                let Op::Attend(attend) = self.op(operands[0]) else {
                    return Err("is a field of something that is not an attention".into());
                };
                let mut vars = vec![attend.batch, attend.head, attend.query];
                match field {
                    Field::Out => vars.push(attend.feature),
                    Field::Prob => vars.push(attend.key),
                    Field::Lse | Field::RowMax => {}
                }
                return Ok(Type::Tensor { elem: Elem::F32, axes: axes(&vars) });
            }
        };
        Ok(Type::Scalar(result))
    }

    fn check_domains(&self, domains: &[Domain]) -> Result<(), String> {
        let kind = |var: Var| &self.axis(self.axis_of(var)).kind;
        for domain in domains {
            let fits = match domain {
                Domain::All(_) => true,
                Domain::Keys { var, batch } => {
                    *kind(*var) == AxisKind::Key && *kind(*batch) == AxisKind::Batch
                }
                Domain::Heads { var, kv_head } => {
                    *kind(*var) == AxisKind::Head && *kind(*kv_head) == AxisKind::KvHead
                }
                Domain::Positions { var, part } => match kind(*part) {
                    AxisKind::Blocks { of, .. } | AxisKind::Windows { of, .. } => *of == self.axis_of(*var),
                    _ => false,
                },
                Domain::Tile { var, of } => self.axis_of(*var) == self.axis_of(*of),
            };
            if !fits {
                return Err(format!("domain {domain:?} does not fit its axes"));
            }
        }
        Ok(())
    }
}
