//! The walk of an attention: what a tile of query rows goes over, and whether its weights need running statistics.
//!
//! ```text
//! attend softmax masks [KeyInterval]     =>     attend softmax masks [KeyInterval] walk AliveKeys(0) online
//! ```
//!
//! One pass over the keys suffices for softmax: a running maximum `m` and sum `l` are kept, and when a tile raises the
//! maximum to `m'`, what was summed so far is multiplied by `exp(m - m')`. In exact arithmetic the result is
//! `sum exp(s) v / sum exp(s)` for any order and grouping of keys, so any walk that meets every attended key once is sound.
//! Sigmoid and relu weights do not depend on other keys.
//!
//! The walk follows the mask term that leaves the fewest keys: a row's own keys, then lifetimes (the keys alive in a tile),
//! then a row's own blocks; without a selection, consecutive tiles of the key axis. Every other term still masks.

use crate::analysis::parts;
use crate::{Changed, replace_graph};
use dmac_ir::{Attend, Attendance, Form, Graph, NodeId, Normalize, Op, Tiling, Walk};

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let tiled = graph.rewrite(|new, node, operands| match &node.op {
        Op::Attend(attend) => {
            let walk = walk(new, attend, operands);
            let online = matches!(attend.normalize, Normalize::Softmax | Normalize::SoftmaxSink);
            let tiling = Some(Tiling { walk, online });
            new.add_at(Op::Attend(Attend { tiling, ..attend.clone() }), operands, node.span)
        }
        _ => Graph::keep(new, node, operands),
    });
    replace_graph(graph, &tiled)
}

fn walk(graph: &Graph, attend: &Attend, operands: &[NodeId]) -> Walk {
    let view = Attendance { attend, operands };
    let first = |wanted: &dyn Fn(Form, NodeId) -> bool| {
        attend
            .forms
            .iter()
            .zip(view.terms())
            .position(|(&form, &term)| wanted(form, term))
            .map(|at| at as u16)
    };
    if let Some(term) = first(&|form, _| form == Form::Selected) {
        return Walk::RowKeys(term);
    }
    if let Some(term) = first(&|form, term| form == Form::KeyInterval && reads_lifetime(graph, term)) {
        return Walk::AliveKeys(term);
    }
    if let Some(term) = first(&|form, _| form == Form::SelectedBlock) {
        return Walk::RowBlocks(term);
    }
    Walk::Blocks
}

/// Whether a scalar reads the lifetimes of a selection.
fn reads_lifetime(graph: &Graph, id: NodeId) -> bool {
    parts(graph, id).into_iter().any(|id| matches!(graph.op(id), Op::Lifetime { .. }))
}
