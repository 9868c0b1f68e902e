//! One file a pass over the graph, and the pipeline that orders them.
//!
//! Input → output: the front end's [`Graph`] → the same meaning with attend regions formed: classified masks, lowered
//! selections, a walk over tiles and block-skip predicates. A pass is a file with one entry point `run`; its file, its
//! name in [`PIPELINE`], its dump and its snapshots are the same word. After every pass the graph is verified.

pub mod analysis;
pub mod bound_reads;
pub mod canonical;
pub mod classify_masks;
pub mod count_pairs;
pub mod decode;
pub mod eliminate_dead;
pub mod expand_weights;
pub mod explain;
pub mod fold;
pub mod fuse;
pub mod fuse_masks;
pub mod insert_skips;
pub mod lower_selection;
pub mod text;
pub mod tile_softmax;

use dmac_ir::{Graph, Invariant};

/// Whether a pass changed the graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Changed(pub bool);

/// A transformation of graphs that keeps their meaning.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Its name: the name of its file.
    pub name: &'static str,
    /// The transformation.
    pub run: fn(&mut Graph) -> Changed,
    /// What holds from here on.
    pub establishes: Option<Invariant>,
}

/// The passes in order.
pub const PIPELINE: &[Pass] = &[
    // First: every later pass compares and solves expressions in canonical form only.
    Pass { name: "fold", run: fold::run, establishes: None },
    // Before selections: whether candidates only grow is read off their classified form.
    Pass { name: "classify_masks", run: classify_masks::run, establishes: Some(Invariant::MasksClassified) },
    // Before fusion of masks: conditions beside a selection are still the nodes that its candidates are made of.
    Pass {
        name: "lower_selection",
        run: lower_selection::run,
        establishes: Some(Invariant::SelectionsLowered),
    },
    // After selections: scores that became lifetimes are read per key, the others per pair.
    Pass { name: "fuse", run: fuse::run, establishes: None },
    // After selections, whose lifetimes imply most interval terms.
    Pass { name: "fuse_masks", run: fuse_masks::run, establishes: None },
    // After the terms have their final numbers, which the walk names.
    Pass { name: "tile_softmax", run: tile_softmax::run, establishes: None },
    // Last of the changes to attention: two predicates for each final term.
    Pass { name: "insert_skips", run: insert_skips::run, establishes: Some(Invariant::SkipsInserted) },
    // After the masks have their final form, which weights repeat.
    Pass { name: "expand_weights", run: expand_weights::run, establishes: None },
    // After everything that proves something from an index as it was written.
    Pass { name: "bound_reads", run: bound_reads::run, establishes: None },
    // At the end, so that node numbers follow from what is computed only.
    Pass { name: "eliminate_dead", run: eliminate_dead::run, establishes: None },
];

/// Runs all passes, calls `on_pass` with the graph after each, and checks every graph.
///
/// # Panics
/// If a graph breaks a rule: a bug in the pass that the message names.
pub fn run_pipeline(graph: &mut Graph, on_pass: &mut dyn FnMut(&Pass, &Graph)) {
    let mut established = Vec::new();
    verify(graph, &established, "before the first pass");
    for pass in PIPELINE {
        (pass.run)(graph);
        established.extend(pass.establishes);
        verify(graph, &established, pass.name);
        on_pass(pass, graph);
    }
}

fn verify(graph: &Graph, established: &[Invariant], place: &str) {
    if let Err(violations) = graph.verify(established) {
        let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
        panic!("graph `{}` is broken after {place}: {}\n{graph}", graph.name, list.join("; "));
    }
}

/// Puts a rewritten graph in the place of the old one, numbered in the order in which the outputs reach the nodes.
fn replace_graph(graph: &mut Graph, new: &Graph) -> Changed {
    let new = new.rewrite(Graph::keep);
    let same = graph.len() == new.len()
        && graph.outputs == new.outputs
        && graph.vars == new.vars
        && graph.node_ids().all(|id| graph.op(id) == new.op(id) && graph.operands(id) == new.operands(id));
    *graph = new;
    Changed(!same)
}
