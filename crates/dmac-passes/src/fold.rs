//! Constant folding and canonical form.
//!
//! ```text
//! %9 = le %window %8            %9 = lt %7 %8
//! %10 = not %9             =>   %11 = lt %5 %10      (i - j < window)  =>  (i < j + window)
//! ```
//!
//! `i >= j` becomes `j <= i`, sums and conjunctions are flat and ordered by structure, constants are computed, negations
//! sit on comparisons, `if`s on constants are gone. Sound because every rule of [`crate::canonical`] holds for all values
//! of its operands; idempotent because each rule gives a form to which none applies.

use crate::analysis::key::Keys;
use crate::canonical::Canon;
use crate::{Changed, replace_graph};
use dmac_ir::Graph;

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let mut keys = Keys::default();
    let folded =
        graph.rewrite(|new, node, operands| Canon::at(new, &mut keys, node.span).node(&node.op, operands));
    replace_graph(graph, &folded)
}
