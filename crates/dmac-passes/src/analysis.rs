//! What passes find out about expressions, without changing them.
//!
//! Input → output: a node of a graph → a structural key, a linear form, a proved bound, a direction of growth, the set of
//! keys that satisfy a predicate. Every answer is a proof that holds for all sizes, parameters and tensors; where no proof
//! is found the answer is "unknown", and the caller keeps the general form.

pub mod key;
pub mod linear;
pub mod monotone;
pub mod proof;
pub mod solve;

use dmac_ir::{Graph, NodeId, Type};
use std::collections::BTreeSet;

/// The scalar nodes that a scalar is made of, itself included, each once, and the tensors and sets that they read.
///
/// Expressions share nodes: whoever follows operands without remembering where it has been may take exponential time.
pub fn parts(graph: &Graph, root: NodeId) -> Vec<NodeId> {
    let mut seen = BTreeSet::from([root]);
    let mut stack = vec![root];
    let mut found = Vec::new();
    while let Some(id) = stack.pop() {
        found.push(id);
        if matches!(graph.ty(id), Type::Scalar(_)) {
            stack.extend(graph.operands(id).into_iter().filter(|&operand| seen.insert(operand)));
        }
    }
    found
}
