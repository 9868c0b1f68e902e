//! The graph itself: nodes, operand edges, hash-consing, rewriting. The only file that names petgraph.
//!
//! petgraph returns neighbours in reverse order of insertion and its `toposort` is not creation order, so the order of
//! operands lives on the edges and traversals here follow it. Nodes are never removed: a pass rebuilds the graph.

mod substitute;

use crate::axis::{Axis, AxisId, AxisKind, Size, Var, VarInfo};
use crate::op::Op;
use crate::ty::{Elem, Type};
use dmac_source::Span;
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use std::collections::{BTreeMap, BTreeSet};

/// A node of a graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u32);

/// A run-time parameter of a graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ParamId(pub u32);

/// An input tensor of a graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InputId(pub u32);

/// What a node computes.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// The type of its result.
    pub ty: Type,
    /// Where in the program it comes from.
    pub span: Option<Span>,
    /// The index variables that its value depends on.
    pub free: BTreeSet<Var>,
}

/// An edge from a node to an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// Which operand.
    pub operand: u16,
}

/// A scalar parameter of the program.
#[derive(Clone, PartialEq, Debug)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ParamType,
    /// The value used where the caller gives none.
    pub default: ParamValue,
}

/// The type of a parameter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ParamType {
    /// 32-bit signed.
    Int,
    /// 32-bit float.
    Float,
}

/// The value of a parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ParamValue {
    /// Of an int.
    Int(i64),
    /// Of a float.
    Float(f32),
}

/// An input tensor. The first three of every graph are `q [b,h,i,d]`, `k [b,g,j,d]` and `v [b,g,j,e]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub elem: Elem,
    /// Its axes, outermost first.
    pub axes: Vec<AxisId>,
    /// For ints: the values it may hold, lowest and highest (inclusive), as far as is known at compile time.
    pub range: Option<(i64, i64)>,
    /// The same as sizes, where a bound is known at run time only: see [`Input::range_at`].
    pub bounds: Option<(Size, Size)>,
    /// Where it is declared.
    pub span: Option<Span>,
}

impl Input {
    /// The values that it may hold, lowest and highest (inclusive), with these parameters and axes.
    pub fn range_at(
        &self,
        param: &dyn Fn(ParamId) -> Option<i64>,
        axis: &dyn Fn(AxisId) -> Option<i64>,
    ) -> Option<(i64, i64)> {
        let (low, high) = self.range?;
        let Some((lowest, highest)) = &self.bounds else { return Some((low, high)) };
        Some((lowest.eval(param, axis).unwrap_or(low), highest.eval(param, axis).unwrap_or(high)))
    }
}

/// A result of the program. The first is always `out`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Its name: `out`, `lse`, `compressed.lse` ...
    pub name: String,
    /// A tensor node.
    pub node: NodeId,
}

/// A program in index notation.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The program's name.
    pub name: String,
    /// All axes.
    pub axes: Vec<Axis>,
    /// All index variables.
    pub vars: Vec<VarInfo>,
    /// Run-time parameters (pinned ones are constants in the graph).
    pub params: Vec<Param>,
    /// Input tensors.
    pub inputs: Vec<Input>,
    /// Results.
    pub outputs: Vec<Output>,
    nodes: StableDiGraph<Node, Use>,
    interned: BTreeMap<(Op, Vec<NodeId>), NodeId>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            axes: Vec::new(),
            vars: Vec::new(),
            params: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            nodes: StableDiGraph::default(),
            interned: BTreeMap::new(),
        }
    }

    /// The same axes, variables, parameters and inputs, no nodes and no outputs.
    #[must_use]
    pub fn like(&self) -> Self {
        Self {
            axes: self.axes.clone(),
            vars: self.vars.clone(),
            params: self.params.clone(),
            inputs: self.inputs.clone(),
            ..Self::new(self.name.clone())
        }
    }

    /// Adds an axis.
    pub fn add_axis(&mut self, axis: Axis) -> AxisId {
        self.axes.push(axis);
        AxisId(self.axes.len() as u32 - 1)
    }

    /// Adds an index variable.
    pub fn add_var(&mut self, name: impl Into<String>, axis: AxisId) -> Var {
        self.vars.push(VarInfo { name: name.into(), axis });
        Var(self.vars.len() as u32 - 1)
    }

    /// A new variable over the axis of `var`, with a name that differs.
    pub fn fresh_var(&mut self, var: Var) -> Var {
        let VarInfo { name, axis } = self.var(var).clone();
        let stem = name.trim_end_matches(|c: char| c == '#' || c.is_ascii_digit()).to_owned();
        let count = self.vars.iter().filter(|v| v.name.split('#').next() == Some(&stem)).count();
        self.add_var(format!("{stem}#{count}"), axis)
    }

    /// Adds an input tensor.
    pub fn add_input(&mut self, input: Input) -> InputId {
        self.inputs.push(input);
        InputId(self.inputs.len() as u32 - 1)
    }

    /// Adds a run-time parameter.
    pub fn add_param(&mut self, param: Param) -> ParamId {
        self.params.push(param);
        ParamId(self.params.len() as u32 - 1)
    }

    /// An axis.
    pub fn axis(&self, id: AxisId) -> &Axis {
        &self.axes[id.0 as usize]
    }

    /// A variable.
    pub fn var(&self, var: Var) -> &VarInfo {
        &self.vars[var.0 as usize]
    }

    /// The axis of a variable.
    pub fn axis_of(&self, var: Var) -> AxisId {
        self.var(var).axis
    }

    /// An input tensor.
    pub fn input(&self, id: InputId) -> &Input {
        &self.inputs[id.0 as usize]
    }

    /// A parameter.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0 as usize]
    }

    /// The first axis of a kind.
    pub fn find_axis(&self, kind: &AxisKind) -> Option<AxisId> {
        self.axes.iter().position(|axis| axis.kind == *kind).map(|at| AxisId(at as u32))
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[NodeIndex::new(id.0 as usize)]
    }

    /// The operation of a node.
    pub fn op(&self, id: NodeId) -> &Op {
        &self.node(id).op
    }

    /// The type of a node.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.node(id).ty
    }

    /// The free variables of a node.
    pub fn free(&self, id: NodeId) -> &BTreeSet<Var> {
        &self.node(id).free
    }

    /// The operands of a node, in order.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut uses: Vec<(u16, NodeId)> = self
            .nodes
            .edges_directed(NodeIndex::new(id.0 as usize), Direction::Outgoing)
            .map(|edge| (edge.weight().operand, NodeId(edge.target().index() as u32)))
            .collect();
        uses.sort_unstable();
        uses.into_iter().map(|(_, node)| node).collect()
    }

    /// One operand of a node.
    pub fn operand(&self, id: NodeId, index: usize) -> NodeId {
        self.operands(id)[index]
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.node_count() == 0
    }

    /// All nodes, operands before their users.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.node_count() as u32).map(NodeId)
    }

    /// Adds an operation, or finds the node that already is the same operation on the same operands.
    ///
    /// # Panics
    /// If the operands do not have the types that the operation needs: a broken invariant of the caller.
    pub fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.add_at(op, operands, None)
    }

    /// [`Graph::add`], with the place in the program that it comes from.
    pub fn add_at(&mut self, op: Op, operands: &[NodeId], span: Option<Span>) -> NodeId {
        let key = (op, operands.to_vec());
        if let Some(&id) = self.interned.get(&key) {
            return id;
        }
        let op = key.0.clone();
        let ty = match self.infer(&op, operands) {
            Ok(ty) => ty,
            Err(reason) => panic!("graph `{}`: {reason} in {op:?} of {operands:?}", self.name),
        };
        let free = self.free_of(&op, operands);
        let id = NodeId(self.nodes.add_node(Node { op, ty, span, free }).index() as u32);
        for (index, operand) in operands.iter().enumerate() {
            self.nodes.add_edge(
                NodeIndex::new(id.0 as usize),
                NodeIndex::new(operand.0 as usize),
                Use { operand: index as u16 },
            );
        }
        self.interned.insert(key, id);
        id
    }

    /// The variables that an operation's result depends on.
    fn free_of(&self, op: &Op, operands: &[NodeId]) -> BTreeSet<Var> {
        let mut free: BTreeSet<Var> = operands.iter().flat_map(|&id| self.free(id).iter().copied()).collect();
        match op {
            Op::Index(var) => {
                free.insert(*var);
            }
            Op::Position { query, batch } => free.extend([*query, *batch]),
            Op::KeyLength { batch } => {
                free.insert(*batch);
            }
            Op::TileEdge { var, batch, .. } => {
                free.insert(*var);
                free.extend(*batch);
            }
            Op::Define { vars, .. } => {
                for var in vars {
                    free.remove(var);
                }
            }
            Op::Reduce { domains, .. } => {
                for domain in domains.iter().rev() {
                    free.remove(&domain.var());
                    free.extend(domain.depends_on());
                }
            }
            Op::Select(select) => {
                free.remove(&select.over);
                for var in &select.rows {
                    free.remove(var);
                }
            }
            Op::Lifetime { rows, over, .. } => {
                free.remove(over);
                for var in rows {
                    free.remove(var);
                }
            }
            Op::Attend(a) => {
                for var in [a.batch, a.head, a.kv_head, a.query, a.key, a.feature] {
                    free.remove(&var);
                }
            }
            _ => {}
        }
        free
    }

    /// The nodes that `roots` depend on, operands first, in a deterministic order.
    pub fn reachable(&self, roots: &[NodeId]) -> Vec<NodeId> {
        let mut seen = BTreeSet::new();
        let mut order = Vec::new();
        let mut stack: Vec<(NodeId, bool)> = roots.iter().rev().map(|&id| (id, false)).collect();
        while let Some((id, done)) = stack.pop() {
            if done {
                order.push(id);
            } else if seen.insert(id) {
                stack.push((id, true));
                stack.extend(self.operands(id).into_iter().rev().map(|operand| (operand, false)));
            }
        }
        order
    }

    /// Rebuilds the graph from its outputs: `f` gets each live node with its rebuilt operands and says what takes its
    /// place in the new graph ([`Graph::keep`] for no change). Dead nodes vanish; ids are renumbered.
    #[must_use]
    pub fn rewrite(&self, mut f: impl FnMut(&mut Self, &Node, &[NodeId]) -> NodeId) -> Self {
        let mut new = self.like();
        let mut map: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let roots: Vec<NodeId> = self.outputs.iter().map(|output| output.node).collect();
        for id in self.reachable(&roots) {
            let operands: Vec<NodeId> = self.operands(id).iter().map(|operand| map[operand]).collect();
            let replaced = f(&mut new, self.node(id), &operands);
            map.insert(id, replaced);
        }
        new.outputs =
            self.outputs.iter().map(|o| Output { name: o.name.clone(), node: map[&o.node] }).collect();
        // What `f` built on the way and then did not use is dead too.
        let roots: Vec<NodeId> = new.outputs.iter().map(|output| output.node).collect();
        if new.reachable(&roots).len() == new.len() { new } else { new.rewrite(Self::keep) }
    }

    /// The rewrite that changes nothing.
    pub fn keep(new: &mut Self, node: &Node, operands: &[NodeId]) -> NodeId {
        new.add_at(node.op.clone(), operands, node.span)
    }
}
