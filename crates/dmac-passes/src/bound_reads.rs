//! Indices that may leave their axis, held inside it.
//!
//! ```text
//! read tag b %position   =>   read tag b max(min(%position, N - 1), 0)
//! ```
//!
//! A read that a mask, an `if` or an `and` excludes does not happen, and one that nothing excludes is an error: either way
//! the element that is read in its place decides nothing. So the bounds change no result, and compiled code never reads
//! outside a tensor, whatever the program says and whatever is evaluated early. Indices that are proved to be inside, which
//! almost all are, stay as they are.
//!
//! One class stays bare without a proof: an index of a stored tensor's expression that is linear in coordinates
//! (`start(c) + t`) and under no condition. Bounds would hide that such reads are rows of one another, which matrix products
//! rest on. The lowering checks these from the sizes before anything runs.

use crate::analysis::linear::Linear;
use crate::analysis::proof::in_axis;
use crate::{Changed, replace_graph};
use dmac_ir::{AxisId, Binary, Graph, NodeId, Op, Size, Type};
use std::collections::BTreeSet;

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let roots: Vec<NodeId> = graph.outputs.iter().map(|output| output.node).collect();
    let order = graph.reachable(&roots);
    let conditional = conditional(graph, &order);
    let mut at = 0;
    let old = graph.clone();
    let bounded = graph.rewrite(|new, node, operands| {
        let id = order[at];
        at += 1;
        let axes = match (&node.op, old.operands(id).first().map(|&first| old.ty(first))) {
            (Op::Read, Some(Type::Tensor { axes, .. })) => axes.clone(),
            // A list is found by the row; what is looked for in it is no address.
            (Op::Contains, Some(Type::Set { rows, .. })) => rows.clone(),
            _ => return Graph::keep(new, node, operands),
        };
        let mut operands = operands.to_vec();
        for (place, &axis) in axes.iter().enumerate() {
            let index = old.operand(id, place + 1);
            let bare = !conditional.contains(&id) && linear(&old, axis, index);
            if !bare && !in_axis(&old, axis, index, &[]) && !is_bounded(&old, axis, index) {
                operands[place + 1] = bound(new, axis, operands[place + 1]);
            }
        }
        Graph::keep(new, node, &operands)
    });
    replace_graph(graph, &bounded)
}

/// Nodes that are evaluated under a condition: below an `if`, an `and`, an `or`, or an operand of an attention or a
/// selection, which masks exclude.
fn conditional(graph: &Graph, order: &[NodeId]) -> BTreeSet<NodeId> {
    let mut open: Vec<NodeId> = Vec::new();
    for &id in order {
        let operands = graph.operands(id);
        let skipped = match graph.op(id) {
            Op::If | Op::Binary(Binary::And | Binary::Or) => 1,
            Op::Attend(_) | Op::Select(_) | Op::Lifetime { .. } => 0,
            _ => continue,
        };
        open.extend(&operands[skipped..]);
    }
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        // A tensor has its own expression, which is evaluated for its own elements.
        if matches!(graph.ty(id), Type::Scalar(_)) && found.insert(id) {
            open.extend(graph.operands(id));
        }
    }
    found
}

/// Whether an index is linear in coordinates and sizes, so that its extremes follow from the sizes, and not outside for
/// every size.
fn linear(graph: &Graph, axis: AxisId, index: NodeId) -> bool {
    let linear = Linear::of(graph, index);
    let plain = |(&id, &by): (&NodeId, &i64)| match graph.op(id) {
        Op::Index(var) => by > 0 && graph.axis_of(*var) != axis,
        Op::Size(_) | Op::Param(_) => true,
        Op::Binary(Binary::Mul) => graph
            .operands(id)
            .iter()
            .all(|&x| matches!(graph.op(x), Op::Index(_) | Op::Size(_) | Op::Param(_))),
        _ => false,
    };
    !linear.terms.is_empty() && linear.constant >= 0 && linear.terms.iter().all(plain)
}

/// `max(min(index, size - 1), 0)`.
fn bound(graph: &mut Graph, axis: AxisId, index: NodeId) -> NodeId {
    let size = graph.size(Size::Axis(axis));
    let (one, zero) = (graph.int(1), graph.int(0));
    let last = match graph.op(size) {
        Op::Int(size) => graph.int(size - 1),
        _ => graph.binary(Binary::Sub, size, one),
    };
    let below = graph.binary(Binary::Min, index, last);
    graph.binary(Binary::Max, below, zero)
}

/// Whether an index has the form that [`bound`] makes.
fn is_bounded(graph: &Graph, axis: AxisId, index: NodeId) -> bool {
    let operands = graph.operands(index);
    if *graph.op(index) != Op::Binary(Binary::Max) || *graph.op(operands[1]) != Op::Int(0) {
        return false;
    }
    let last = Linear::of(graph, graph.operands(operands[0]).last().copied().unwrap_or(operands[0]));
    let is_size = |id: NodeId| match graph.op(id) {
        Op::Size(size) => *size == Size::Axis(axis),
        _ => false,
    };
    *graph.op(operands[0]) == Op::Binary(Binary::Min)
        && match graph.axis(axis).size {
            Some(size) => last.as_constant() == Some(size - 1),
            None => {
                last.constant == -1
                    && last.terms.len() == 1
                    && last.terms.iter().all(|(&id, &by)| by == 1 && is_size(id))
            }
        }
}
