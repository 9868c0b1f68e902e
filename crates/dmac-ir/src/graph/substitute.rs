//! Replacement of parts of expressions, and of variables by expressions.
//!
//! Input → output: a scalar node and what takes the place of its parts or variables → a scalar node. Nodes are shared, so
//! what has been replaced once is remembered.

use super::{Graph, NodeId};
use crate::axis::Var;
use crate::op::{Domain, Op};
use crate::ty::Type;
use std::collections::BTreeMap;

impl Graph {
    /// `root` with every sub-expression for which `f` gives a replacement replaced. A replacement must not mention a
    /// variable that is bound around the place where it goes (a panic: [`Graph::substitute`] renames). Descends into definitions' bodies only through scalar operands (not into
    /// tensors, sets and attentions, which are closed).
    pub fn replace(
        &mut self,
        root: NodeId,
        f: &mut dyn FnMut(&mut Self, NodeId) -> Option<NodeId>,
    ) -> NodeId {
        let mut done = BTreeMap::new();
        self.replace_in(root, f, &mut done)
    }

    fn replace_in(
        &mut self,
        id: NodeId,
        f: &mut dyn FnMut(&mut Self, NodeId) -> Option<NodeId>,
        done: &mut BTreeMap<NodeId, NodeId>,
    ) -> NodeId {
        if let Some(&known) = done.get(&id) {
            return known;
        }
        let result = if let Some(replacement) = f(self, id) {
            replacement
        } else if matches!(self.ty(id), Type::Scalar(_)) {
            let node = self.node(id).clone();
            let operands = self.operands(id);
            let new: Vec<NodeId> =
                operands.iter().map(|&operand| self.replace_in(operand, f, done)).collect();
            if let Op::Reduce { domains, .. } = &node.op {
                let captured = domains
                    .iter()
                    .map(|domain| domain.var())
                    .find(|var| self.free(new[0]).contains(var) && !self.free(operands[0]).contains(var));
                assert!(captured.is_none(), "graph `{}`: replacement captures {captured:?}", self.name);
            }
            self.add_at(node.op, &new, node.span)
        } else {
            id
        };
        done.insert(id, result);
        result
    }

    /// `root` with index variables replaced: `Index(var)` becomes `map[var]`. Bound variables are renamed first, so
    /// nothing is captured. `None` where an op needs a variable and would get an expression (`Position`, the domain
    /// of a reduction) that is not a plain variable.
    pub fn substitute(&mut self, root: NodeId, map: &BTreeMap<Var, NodeId>) -> Option<NodeId> {
        self.substitute_in(root, map, &mut BTreeMap::new())
    }

    /// [`Graph::substitute`] with what is already known for `map`: expressions share their parts.
    fn substitute_in(
        &mut self,
        root: NodeId,
        map: &BTreeMap<Var, NodeId>,
        done: &mut BTreeMap<NodeId, NodeId>,
    ) -> Option<NodeId> {
        if self.free(root).iter().all(|var| !map.contains_key(var)) {
            return Some(root);
        }
        if let Some(&known) = done.get(&root) {
            return Some(known);
        }
        let substituted = self.substitute_node(root, map, done)?;
        done.insert(root, substituted);
        Some(substituted)
    }

    fn substitute_node(
        &mut self,
        root: NodeId,
        map: &BTreeMap<Var, NodeId>,
        done: &mut BTreeMap<NodeId, NodeId>,
    ) -> Option<NodeId> {
        let node = self.node(root).clone();
        let plain = |graph: &Self, var: Var| match map.get(&var) {
            None => Some(var),
            Some(&to) => match graph.op(to) {
                Op::Index(var) => Some(*var),
                _ => None,
            },
        };
        let op = match &node.op {
            Op::Index(var) => return map.get(var).copied().or(Some(root)),
            Op::Position { query, batch } => {
                Op::Position { query: plain(self, *query)?, batch: plain(self, *batch)? }
            }
            Op::KeyLength { batch } => Op::KeyLength { batch: plain(self, *batch)? },
            Op::TileEdge { var, batch, edge } => Op::TileEdge {
                var: plain(self, *var)?,
                batch: match batch {
                    Some(batch) => Some(plain(self, *batch)?),
                    None => None,
                },
                edge: *edge,
            },
            Op::Reduce { op, domains } => {
                let mut inner = map.clone();
                let mut renamed = Vec::new();
                for &domain in domains {
                    let domain = match domain {
                        Domain::All(var) => Domain::All(var),
                        Domain::Keys { var, batch } => Domain::Keys { var, batch: plain(self, batch)? },
                        Domain::Heads { var, kv_head } => {
                            Domain::Heads { var, kv_head: plain(self, kv_head)? }
                        }
                        Domain::Positions { var, part } => {
                            Domain::Positions { var, part: plain(self, part)? }
                        }
                        Domain::Tile { var, of } => Domain::Tile { var, of: plain(self, of)? },
                    };
                    let var = domain.var();
                    let clashes = map.values().any(|&to| self.free(to).contains(&var));
                    let bound = if clashes { self.fresh_var(var) } else { var };
                    inner.remove(&var);
                    if clashes {
                        let index = self.index(bound);
                        inner.insert(var, index);
                    }
                    renamed.push(domain.with_var(bound));
                }
                let body = self.operand(root, 0);
                let body = self.substitute(body, &inner)?;
                return Some(self.add_at(Op::Reduce { op: *op, domains: renamed }, &[body], node.span));
            }
            op => op.clone(),
        };
        let mut operands = Vec::new();
        for operand in self.operands(root) {
            operands.push(self.substitute_in(operand, map, done)?);
        }
        Some(self.add_at(op, &operands, node.span))
    }

    /// An element of a tensor, with its definition substituted where it has one.
    pub fn inline_read(&mut self, read: NodeId) -> Option<NodeId> {
        let operands = self.operands(read);
        let Op::Define { vars, .. } = self.op(operands[0]).clone() else { return None };
        let map = vars.iter().copied().zip(operands[1..].iter().copied()).collect();
        let body = self.operand(operands[0], 0);
        self.substitute(body, &map)
    }
}

impl Domain {
    /// The same range, bound to another variable.
    #[must_use]
    pub fn with_var(self, bound: Var) -> Self {
        match self {
            Self::All(_) => Self::All(bound),
            Self::Keys { batch, .. } => Self::Keys { var: bound, batch },
            Self::Heads { kv_head, .. } => Self::Heads { var: bound, kv_head },
            Self::Positions { part, .. } => Self::Positions { var: bound, part },
            Self::Tile { of, .. } => Self::Tile { var: bound, of },
        }
    }
}
