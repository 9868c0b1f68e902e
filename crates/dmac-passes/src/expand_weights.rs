//! Weights as expressions, where a selection's operand uses them.
//!
//! ```text
//! read (field prob %attention) b h i c   =>   if mask then exp(score - lse[b, h, i]) else 0
//! ```
//!
//! Weights are never stored: they are computed again from the scores and the stored `lse`. This is sound because `lse` is
//! what the attention itself normalises by (a sink included). Without row statistics (sigmoid, relu) the weight is the
//! function itself. Rows without attended keys have `lse = -inf`, but then every mask is false.

use crate::analysis::key::Keys;
use crate::canonical::Canon;
use crate::{Changed, replace_graph};
use dmac_ir::{Attendance, AxisKind, Binary, Field, Graph, NodeId, Normalize, Op, Size, Unary};
use std::collections::BTreeMap;

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let mut keys = Keys::default();
    let expanded = graph.rewrite(|new, node, operands| {
        if node.op != Op::Read || *new.op(operands[0]) != Op::Field(Field::Prob) {
            return Graph::keep(new, node, operands);
        }
        let attention = new.operand(operands[0], 0);
        let weight = weight(new, attention, &operands[1..]);
        Canon::at(new, &mut keys, node.span).again(weight)
    });
    replace_graph(graph, &expanded)
}

/// The weight of one pair. `index` is batch, head, query, key.
fn weight(graph: &mut Graph, attention: NodeId, index: &[NodeId]) -> NodeId {
    let operands = graph.operands(attention);
    let Op::Attend(attend) = graph.op(attention).clone() else {
        panic!("expand_weights: the operand of a field is not an attention")
    };
    let view = Attendance { attend: &attend, operands: &operands };
    let mut mask = graph.bool(true);
    for &term in view.terms() {
        mask = graph.binary(Binary::And, mask, term);
    }
    let score = view.score();
    let vars = [attend.batch, attend.head, attend.query, attend.key];
    let mut map: BTreeMap<_, _> = vars.into_iter().zip(index.iter().copied()).collect();
    if *graph.op(index[1]) != Op::Index(attend.head) {
        let axis = |kind| graph.find_axis(&kind).expect("every graph has its head axes");
        let (heads, groups) = (axis(AxisKind::Head), axis(AxisKind::KvHead));
        let group = graph.size(Size::Div(Box::new(Size::Axis(heads)), Box::new(Size::Axis(groups))));
        let kv_head = graph.binary(Binary::IntDiv, index[1], group);
        map.insert(attend.kv_head, kv_head);
    }
    let at = |graph: &mut Graph, node| {
        graph
            .substitute(node, &map)
            .expect("weights are read at the row's own position: checked by the front end")
    };
    let (score, mask) = (at(graph, score), at(graph, mask));
    let weight = match attend.normalize {
        Normalize::Softmax | Normalize::SoftmaxSink => {
            let lse = graph.field(attention, Field::Lse);
            let lse = graph.read(lse, &index[..3]);
            let x = graph.binary(Binary::Sub, score, lse);
            graph.unary(Unary::Exp, x)
        }
        Normalize::Sigmoid => graph.unary(Unary::Sigmoid, score),
        Normalize::Relu => graph.unary(Unary::Relu, score),
    };
    let zero = graph.float(0.0);
    graph.add(Op::If, &[mask, weight, zero])
}
