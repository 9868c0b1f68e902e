//! Elimination of what no output needs.
//!
//! ```text
//! %3 = read ...   (used by nothing)
//! %4 = ...                             =>    %3 = ...
//! ```
//!
//! The graph is rebuilt from its outputs, so nodes come in the order in which the outputs reach them, operands first,
//! whatever order they were made in. Axes, variables, parameters and inputs stay: they are the calling convention. Sound
//! because a node is a pure function: without a user it has no effect.

use crate::{Changed, replace_graph};
use dmac_ir::Graph;

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let all = graph.clone();
    replace_graph(graph, &all)
}
