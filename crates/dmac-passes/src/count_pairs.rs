//! Counting attended pairs: a program that computes how many keys each row attends to, part by part of the key axis.
//!
//! ```text
//! attend out score=.. value=v[b, g, j, e] mask..   =>   attend out score=1 value=(j div width == c) mask.., relu
//! ```
//!
//! Input → output: a graph as the front end makes it → a graph with the same inputs, whose only results are, for each
//! attention, ints `[B, H, M, cells]`: pairs of a row with a key in that cell. Masks and selections are those of the program,
//! so what they depend on is computed as the program computes it, and the walk over keys is the same. Exact, because a sum
//! of ones in f32 is exact up to 2^24 and an axis has fewer keys in any program that runs in reasonable time.

use dmac_ir::{
    Attend, Attendance, Axis, AxisId, AxisKind, Binary, Compare, Elem, Field, Graph, NodeId, Normalize, Op,
    Output, Scalar, Size,
};

/// One counted attention.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Its name, and that of the result.
    pub name: String,
    /// The axis of its keys.
    pub keys: AxisId,
    /// The axis of its values' features.
    pub features: AxisId,
}

/// The width of the cells of an axis of `keys` keys: as few keys as `cells` of them need, in multiples of `unit`.
pub fn cell_width(keys: i64, cells: i64, unit: i64) -> i64 {
    ((keys + cells * unit - 1) / (cells * unit)).max(1) * unit
}

/// The program that counts, its key axes divided into `cells` parts of [`cell_width`] keys, and what it counts, in the order
/// of its results.
///
/// # Panics
/// If `cells` or `unit` is not positive.
pub fn count_pairs(meaning: &Graph, cells: i64, unit: i64) -> (Graph, Vec<Counted>) {
    assert!(cells > 0 && unit > 0, "count_pairs: {cells} cells of multiples of {unit} keys");
    let mut graph = meaning.clone();
    let roots: Vec<NodeId> = graph.outputs.iter().map(|output| output.node).collect();
    let kind = AxisKind::Sized(Size::Const(cells));
    let axis = graph.add_axis(Axis { name: "cells".into(), kind, size: Some(cells) });
    let cell = graph.add_var("cell", axis);
    let mut counted = Vec::new();
    graph.outputs.clear();
    for id in meaning.reachable(&roots) {
        let Op::Attend(attend) = graph.op(id).clone() else { continue };
        let operands = graph.operands(id);
        let terms = Attendance { attend: &attend, operands: &operands }.terms().to_vec();
        let keys = graph.axis_of(attend.key);
        let [zero, one] = [0.0, 1.0].map(|value| graph.float(value));
        let (j, c) = (graph.index(attend.key), graph.index(cell));
        let [all, least, short, unit] =
            [cells * unit, 1, cells * unit - 1, unit].map(|value| graph.int(value));
        let size = graph.size(Size::Axis(keys));
        let size = graph.binary(Binary::Add, size, short);
        let width = graph.binary(Binary::IntDiv, size, all);
        let width = graph.binary(Binary::Max, width, least);
        let width = graph.binary(Binary::Mul, width, unit);
        let at = graph.binary(Binary::IntDiv, j, width);
        let here = graph.compare(Compare::Eq, at, c);
        let value = if cells == 1 { one } else { graph.add(Op::If, &[here, one, zero]) };
        let new = Attend { feature: cell, normalize: Normalize::Relu, ..attend.clone() };
        let now: Vec<NodeId> = [one, value].into_iter().chain(terms).collect();
        let new = graph.add(Op::Attend(new), &now);
        let out = graph.field(new, Field::Out);
        let vars = [attend.batch, attend.head, attend.query, cell];
        let index = vars.map(|var| graph.index(var));
        let value = graph.read(out, &index);
        let value = graph.cast(value, Scalar::Int);
        let define = Op::Define { name: attend.name.clone(), vars: vars.to_vec(), elem: Elem::I32 };
        let node = graph.add(define, &[value]);
        graph.outputs.push(Output { name: attend.name.clone(), node });
        let features = graph.axis_of(attend.feature);
        counted.push(Counted { name: attend.name, keys, features });
    }
    (graph.rewrite(Graph::keep), counted)
}
