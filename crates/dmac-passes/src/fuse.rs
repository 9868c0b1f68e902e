//! Fusion of derived tensors: which `let`s are stored, and which are computed where they are read.
//!
//! ```text
//! %9 = define dt [b g j] (sum [g', e] ...)          %9 = sum [g', e] ...
//! %12 = define delta [b g j] (exp (read %9 ...))  => %12 = define delta [b g j] (exp %9)
//! %30 = select (read (define index [b i j] ..))      %30 = select (sum [x] ...)
//! ```
//!
//! A tensor is computed at its reads
//!
//! - **always** where storing it would need an object of two unbounded axes (queries, keys, their blocks and windows): no
//!   n x n memory;
//! - where it is rounded to the storage type and is an exact copy of values of that type;
//! - where it is not rounded and every read is by one other definition over the same variables: the two are one loop;
//! - where it is not rounded and costs a few arithmetic operations, without a reduction or a transcendental function.
//!
//! Everything else is stored: reductions over keys and features (projections, compression, norms) are matrix products or
//! row sums of their own, and rounded keys and values must be rounded once. Sound because reading a definition *is*
//! substituting its indices ([`dmac_ir::Graph::inline_read`] renames bound variables); an f32 `let` is not rounded by
//! meaning, so nothing is lost by not storing it. Where a body needs a plain variable and the read gives an expression
//! (the position of a block's own reduction), the tensor stays stored.

use crate::analysis::key::Keys;
use crate::analysis::parts;
use crate::canonical::Canon;
use crate::{Changed, replace_graph};
use dmac_ir::{AxisId, AxisKind, Binary, Elem, Graph, NodeId, Op, Size, Type, Unary, Var};
use std::collections::{BTreeMap, BTreeSet};

/// How many operations a tensor that is computed at each of its reads may take.
const CHEAP: usize = 8;

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let plan = Plan::of(graph);
    let mut keys = Keys::default();
    let fused = graph.rewrite(|new, node, operands| {
        let read = new.add_at(node.op.clone(), operands, node.span);
        let inlined = matches!(node.op, Op::Read)
            && plan.reads(new, operands[0]).is_some_and(|storage| !storage.is_stored());
        if !inlined {
            return read;
        }
        match new.inline_read(read) {
            Some(body) => Canon::at(new, &mut keys, node.span).again(body),
            None => read,
        }
    });
    replace_graph(graph, &fused)
}

/// Whether a derived tensor is in memory, and why.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Storage {
    /// Computed at each read: stored it would have two unbounded axes.
    Streamed,
    /// Computed at each read: a copy of another tensor.
    Copied,
    /// Computed at each read: a few operations.
    Cheap,
    /// Computed in the loop of the one definition that reads it.
    OneLoop,
    /// Stored: rounded to the storage type once.
    Rounded,
    /// Stored: computed once, read often.
    Once,
    /// Stored: a result of the program.
    Result,
}

impl Storage {
    /// Whether it is in memory.
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Rounded | Self::Once | Self::Result)
    }
}

/// What becomes of every definition.
pub(crate) struct Plan {
    one_loop: BTreeSet<Op>,
    results: BTreeSet<NodeId>,
}

impl Plan {
    pub(crate) fn of(graph: &Graph) -> Self {
        Self {
            one_loop: read_in_one_loop(graph),
            results: graph.outputs.iter().map(|output| output.node).collect(),
        }
    }

    /// What becomes of a definition of the graph that the plan was made for.
    pub(crate) fn storage(&self, graph: &Graph, tensor: NodeId) -> Option<Storage> {
        if self.results.contains(&tensor) { Some(Storage::Result) } else { self.reads(graph, tensor) }
    }

    /// What becomes of the reads of a definition.
    fn reads(&self, graph: &Graph, tensor: NodeId) -> Option<Storage> {
        let Op::Define { vars, elem, .. } = graph.op(tensor) else { return None };
        let body = graph.operand(tensor, 0);
        let unbounded = vars.iter().filter(|&&var| is_unbounded(graph, graph.axis_of(var))).count();
        Some(if is_copy(graph, body, *elem) {
            Storage::Copied
        } else if *elem == Elem::Real {
            Storage::Rounded
        } else if unbounded > 1 {
            Storage::Streamed
        } else if cost(graph, body).is_some_and(|cost| cost <= CHEAP) {
            Storage::Cheap
        } else if self.one_loop.contains(graph.op(tensor)) {
            Storage::OneLoop
        } else {
            Storage::Once
        })
    }
}

/// Whether the extent of an axis grows with the sequence: queries, keys and what divides them.
pub(crate) fn is_unbounded(graph: &Graph, axis: AxisId) -> bool {
    if graph.axis(axis).size.is_some() {
        return false;
    }
    match &graph.axis(axis).kind {
        AxisKind::Query | AxisKind::Key => true,
        AxisKind::Windows { of, .. } | AxisKind::Blocks { of, .. } => is_unbounded(graph, *of),
        AxisKind::Sized(size) => mentions_unbounded(graph, size),
        _ => false,
    }
}

fn mentions_unbounded(graph: &Graph, size: &Size) -> bool {
    match size {
        Size::Const(_) | Size::Param(_) => false,
        Size::Axis(axis) => is_unbounded(graph, *axis),
        // The smaller of two is bounded where one is.
        Size::Min(a, b) => mentions_unbounded(graph, a) && mentions_unbounded(graph, b),
        Size::Add(a, b)
        | Size::Sub(a, b)
        | Size::Mul(a, b)
        | Size::Div(a, b)
        | Size::Mod(a, b)
        | Size::Max(a, b) => mentions_unbounded(graph, a) || mentions_unbounded(graph, b),
    }
}

/// Whether a body only copies elements that already have the type, so that rounding changes nothing.
fn is_copy(graph: &Graph, body: NodeId, elem: Elem) -> bool {
    *graph.op(body) == Op::Read
        && matches!(graph.ty(graph.operand(body, 0)), Type::Tensor { elem: from, .. } if *from == elem)
}

/// How many operations a body takes, if all are cheap.
fn cost(graph: &Graph, body: NodeId) -> Option<usize> {
    parts(graph, body).into_iter().filter(|&id| matches!(graph.ty(id), Type::Scalar(_))).try_fold(
        0,
        |sum, id| {
            let own = match graph.op(id) {
                Op::Float(_)
                | Op::Int(_)
                | Op::Bool(_)
                | Op::Param(_)
                | Op::Size(_)
                | Op::Index(_)
                | Op::Position { .. }
                | Op::KeyLength { .. }
                | Op::TileEdge { .. }
                | Op::Stop => 0,
                Op::Binary(Binary::Div) => return None,
                Op::Unary(Unary::Neg | Unary::Not | Unary::Abs | Unary::Relu | Unary::Floor)
                | Op::Binary(_)
                | Op::Read
                | Op::If
                | Op::Cast(_)
                | Op::Compare(_)
                | Op::InRange => 1,
                _ => return None,
            };
            Some(sum + own)
        },
    )
}

/// Definitions that are not rounded and that one other definition reads, at its own variables and outside of any
/// reduction. Definitions have distinct names, so the operation identifies them.
fn read_in_one_loop(graph: &Graph) -> BTreeSet<Op> {
    let mut readers: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    let mut elsewhere: BTreeSet<NodeId> = graph.outputs.iter().map(|output| output.node).collect();
    for reader in graph.node_ids().filter(|&id| !matches!(graph.ty(id), Type::Scalar(_))) {
        let vars: Vec<Var> = match graph.op(reader) {
            Op::Define { vars, .. } => vars.clone(),
            _ => Vec::new(),
        };
        let mut stack: Vec<(NodeId, bool)> =
            graph.operands(reader).into_iter().map(|id| (id, false)).collect();
        let mut seen = BTreeSet::new();
        while let Some((id, reduced)) = stack.pop() {
            if !seen.insert((id, reduced)) || !matches!(graph.ty(id), Type::Scalar(_)) {
                continue;
            }
            let operands = graph.operands(id);
            if *graph.op(id) == Op::Read && matches!(graph.op(operands[0]), Op::Define { .. }) {
                let same_loop = !reduced
                    && operands.len() == vars.len() + 1
                    && vars
                        .iter()
                        .all(|&var| operands[1..].iter().any(|&index| *graph.op(index) == Op::Index(var)));
                if same_loop {
                    readers.entry(operands[0]).or_default().insert(reader);
                } else {
                    elsewhere.insert(operands[0]);
                }
            }
            let reduced = reduced || matches!(graph.op(id), Op::Reduce { .. });
            stack.extend(operands.into_iter().map(|operand| (operand, reduced)));
        }
    }
    readers
        .into_iter()
        .filter(|(tensor, readers)| {
            let rounded = matches!(graph.op(*tensor), Op::Define { elem: Elem::Real, .. });
            readers.len() == 1 && !rounded && !elsewhere.contains(tensor)
        })
        .map(|(tensor, _)| graph.op(tensor).clone())
        .collect()
}
