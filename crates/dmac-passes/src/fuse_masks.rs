//! Fusion of mask generation: one interval a row in place of several conditions.
//!
//! ```text
//! in_range j 0 (key_length b)                      in_range j (max 0 (sub (add i 1) window)) (add i 1)
//! in_range j 0 (add i 1)                      =>
//! in_range j (max 0 (sub (add i 1) window)) N
//! ```
//!
//! All interval terms of an attention are intersected: the largest of the lower bounds, the smallest of the upper ones,
//! unions distributed. Both bounds stay non-decreasing in the position, since `max` and `min` keep that. Bounds that a
//! proof shows never to decide are gone ([`crate::analysis::proof`]: `i + 1 <= key_length`). Then terms that the others
//! imply are dropped, and the rest are put in the order in which they are evaluated: what cannot fail first, by structure.
//!
//! A bound that could fail (a table read at a position that only another term keeps in range) is left in its own term.
//! Candidates of selections are fused in the same way.

use crate::analysis::key::Keys;
use crate::analysis::linear::Linear;
use crate::analysis::proof::{facts_of, follows, total};
use crate::analysis::solve::{Interval, Subject, intersect, membership, solve};
use crate::canonical::Canon;
use crate::classify_masks::{Pair, classify, in_order};
use crate::{Changed, replace_graph};
use dmac_ir::{Attend, Attendance, Binary, Form, Graph, NodeId, Op};

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let mut keys = Keys::default();
    let fused = graph.rewrite(|new, node, operands| match &node.op {
        Op::Attend(attend) => {
            let mut canon = Canon::at(new, &mut keys, node.span);
            let view = Attendance { attend, operands };
            let terms: Vec<(NodeId, Form)> =
                view.terms().iter().copied().zip(attend.forms.iter().copied()).collect();
            let mut now = operands[..operands.len() - terms.len()].to_vec();
            let mut forms = Vec::new();
            for (term, form) in fuse(&mut canon, &terms, Pair::of_attend(attend)) {
                now.push(term);
                forms.push(form);
            }
            new.add_at(Op::Attend(Attend { forms, ..attend.clone() }), &now, node.span)
        }
        Op::Select(select) => {
            let mut canon = Canon::at(new, &mut keys, node.span);
            let pair = Pair::of_select(canon.graph, select);
            let terms: Vec<(NodeId, Form)> = canon
                .conjuncts(&[operands[1]])
                .into_iter()
                .map(|term| classify(&mut canon, term, pair))
                .collect();
            let terms: Vec<NodeId> =
                fuse(&mut canon, &terms, pair).into_iter().map(|(term, _)| term).collect();
            let mut operands = operands.to_vec();
            operands[1] = canon.and(&terms);
            new.add_at(node.op.clone(), &operands, node.span)
        }
        _ => Graph::keep(new, node, operands),
    });
    replace_graph(graph, &fused)
}

fn fuse(canon: &mut Canon<'_>, terms: &[(NodeId, Form)], pair: Pair) -> Vec<(NodeId, Form)> {
    let subject = Subject::index(canon, pair.key);
    let mut union = vec![Interval { lo: subject.least, hi: subject.end }];
    let mut rest = Vec::new();
    for &(term, form) in terms {
        let interval = matches!(form, Form::Interval | Form::Intervals) && total(canon.graph, term, &[]);
        let both = interval
            .then(|| solve(canon, term, subject).and_then(|other| intersect(canon, subject, &union, &other)));
        match both.flatten() {
            Some(both) => union = both,
            None => rest.push((term, form)),
        }
    }
    let node = membership(canon, subject.node, &union);
    if *canon.graph.op(node) != Op::Bool(true) {
        rest.push(classify(canon, node, pair));
    }
    let rest = drop_implied(canon, rest);
    in_order(canon, &rest, pair)
}

/// Without the terms whose every inequality follows from those of another term.
fn drop_implied(canon: &Canon<'_>, terms: Vec<(NodeId, Form)>) -> Vec<(NodeId, Form)> {
    let goals: Vec<Option<Vec<Linear>>> =
        terms.iter().map(|(term, _)| inequalities(canon.graph, *term)).collect();
    let facts: Vec<Vec<Linear>> = terms.iter().map(|(term, _)| facts_of(canon.graph, *term)).collect();
    let mut kept = vec![true; terms.len()];
    for at in 0..terms.len() {
        let Some(goals) = &goals[at] else { continue };
        let others: Vec<Linear> = (0..terms.len())
            .filter(|&other| other != at && kept[other])
            .flat_map(|other| facts[other].iter().cloned())
            .collect();
        kept[at] = !goals.iter().all(|goal| follows(canon.graph, goal, &others));
    }
    terms.into_iter().zip(kept).filter_map(|(term, kept)| kept.then_some(term)).collect()
}

/// What must hold for a range to hold, with `min` and `max` in its bounds taken apart.
fn inequalities(graph: &Graph, term: NodeId) -> Option<Vec<Linear>> {
    if *graph.op(term) != Op::InRange {
        return None;
    }
    let operands = graph.operands(term);
    let x = Linear::of(graph, operands[0]);
    let mut goals = Vec::new();
    for lo in parts(graph, operands[1], Binary::Max) {
        goals.push(x.sub(&Linear::of(graph, lo))?);
    }
    for hi in parts(graph, operands[2], Binary::Min) {
        goals.push(Linear::of(graph, hi).sub(&x)?.plus(-1)?);
    }
    Some(goals)
}

fn parts(graph: &Graph, id: NodeId, op: Binary) -> Vec<NodeId> {
    if *graph.op(id) == Op::Binary(op) {
        graph.operands(id).into_iter().flat_map(|operand| parts(graph, operand, op)).collect()
    } else {
        vec![id]
    }
}
