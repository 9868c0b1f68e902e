//! Classification of masks: which keys a row attends, as intervals where that is provable.
//!
//! ```text
//! attend masks [Unclassified]                         attend masks [Interval Interval]
//!   and (le j i) (lt i (add j window))           =>     in_range j 0 (add i 1)
//!                                                       in_range j (max 0 (sub (add i 1) window)) N
//! ```
//!
//! A mask is split at `and`; every term gets the cheapest [`Form`] that is proved for it, in this order:
//!
//! 1. free of the key: `RowOnly`;
//! 2. membership in a selection: `Selected`, or `SelectedBlock` where the element is not the key itself;
//! 3. a union of key intervals ([`crate::analysis::solve`] is exact in both directions) whose bounds never fall from one
//!    position to the next ([`crate::analysis::monotone`]): `Interval`, `Intervals`;
//! 4. free of query and head: `KeyOnly`;
//! 5. an interval of positions with bounds free of the query: `KeyInterval`;
//! 6. an equation of two ints, one free of the key, one of the query: `SameId`;
//! 7. anything else: `Predicate`. Where the solver did find intervals, but their bounds are data (`start[b, i] <= j`), the
//!    term is rewritten to `InRange` all the same, for the block-skip predicates.
//!
//! Candidates of selections are rewritten in the same way, for the selected variable in the place of the key, so that
//! equal conditions stay equal nodes. Nothing here is a sample: a form is given only where the algebra shows it for all
//! sizes, parameters and tensors.

use crate::analysis::key::Keys;
use crate::analysis::monotone::trend;
use crate::analysis::proof::total;
use crate::analysis::solve::{Anchor, Interval, Subject, membership, solve};
use crate::canonical::Canon;
use crate::{Changed, replace_graph};
use dmac_ir::{Attend, Attendance, AxisKind, Compare, Form, Graph, NodeId, Op, Scalar, Select, Var};

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let mut keys = Keys::default();
    let classified = graph.rewrite(|new, node, operands| match &node.op {
        Op::Attend(attend) => {
            let mut canon = Canon::at(new, &mut keys, node.span);
            attention(&mut canon, attend, operands)
        }
        Op::Select(select) => {
            let mut canon = Canon::at(new, &mut keys, node.span);
            let mut operands = operands.to_vec();
            operands[1] = candidates(&mut canon, select, operands[1]);
            new.add_at(node.op.clone(), &operands, node.span)
        }
        _ => Graph::keep(new, node, operands),
    });
    replace_graph(graph, &classified)
}

fn attention(canon: &mut Canon<'_>, attend: &Attend, operands: &[NodeId]) -> NodeId {
    let view = Attendance { attend, operands };
    let first = operands.len() - view.terms().len();
    let pair = Pair::of_attend(attend);
    let terms: Vec<(NodeId, Form)> =
        canon.conjuncts(view.terms()).into_iter().map(|term| classify(canon, term, pair)).collect();
    let mut now = operands[..first].to_vec();
    let mut forms = Vec::new();
    for (term, form) in in_order(canon, &terms, pair) {
        now.push(term);
        forms.push(form);
    }
    canon.graph.add(Op::Attend(Attend { forms, ..attend.clone() }), &now)
}

/// Classified terms in the order in which they are evaluated; constants and repetitions are gone.
pub(crate) fn in_order(canon: &mut Canon<'_>, terms: &[(NodeId, Form)], pair: Pair) -> Vec<(NodeId, Form)> {
    let order = canon.conjuncts(&terms.iter().map(|(term, _)| *term).collect::<Vec<_>>());
    let mut ordered: Vec<(NodeId, Form)> = Vec::new();
    for term in order {
        let known = terms.iter().find(|(other, _)| *other == term).copied();
        // A term that is not of the list is what others left of one.
        ordered.push(known.unwrap_or_else(|| classify(canon, term, pair)));
    }
    // Of those that cannot fail, the ones that a tile's bounds decide come first: forms are declared in that order.
    ordered
        .sort_by_key(|&(term, form)| if total(canon.graph, term, &[]) { (0, Some(form)) } else { (1, None) });
    ordered
}

fn candidates(canon: &mut Canon<'_>, select: &Select, condition: NodeId) -> NodeId {
    let pair = Pair::of_select(canon.graph, select);
    let terms: Vec<NodeId> =
        canon.conjuncts(&[condition]).into_iter().map(|term| classify(canon, term, pair).0).collect();
    canon.and(&terms)
}

/// The variables that a term relates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// The key's variable, or the selected one.
    pub key: Var,
    /// The query's, where there is one.
    pub query: Option<Var>,
    /// The batch's, where there is one.
    pub batch: Option<Var>,
    /// The query head's, where there is one.
    pub head: Option<Var>,
}

impl Pair {
    /// Of an attention.
    pub fn of_attend(attend: &Attend) -> Self {
        Self {
            key: attend.key,
            query: Some(attend.query),
            batch: Some(attend.batch),
            head: Some(attend.head),
        }
    }

    /// Of a selection: `over` in the place of the key.
    pub fn of_select(graph: &Graph, select: &Select) -> Self {
        let row = |kind: AxisKind| {
            select.rows.iter().copied().find(|&var| graph.axis(graph.axis_of(var)).kind == kind)
        };
        Self {
            key: select.over,
            query: row(AxisKind::Query),
            batch: row(AxisKind::Batch),
            head: row(AxisKind::Head),
        }
    }
}

/// A term in the shape of its form.
pub(crate) fn classify(canon: &mut Canon<'_>, term: NodeId, pair: Pair) -> (NodeId, Form) {
    let free = |canon: &Canon<'_>, id: NodeId, var: Option<Var>| {
        var.is_some_and(|var| canon.graph.free(id).contains(&var))
    };
    if !free(canon, term, Some(pair.key)) {
        return (term, Form::RowOnly);
    }
    if *canon.graph.op(term) == Op::Contains {
        let element = *canon.graph.operands(term).last().expect("an element is the last operand");
        let own = *canon.graph.op(element) == Op::Index(pair.key);
        return (term, if own { Form::Selected } else { Form::SelectedBlock });
    }
    let subject = Subject::index(canon, pair.key);
    let solved = solve(canon, term, subject);
    if let Some(union) = &solved
        && union.iter().all(|interval| never_falls(canon.graph, *interval, pair.query))
    {
        let form = if union.len() == 1 { Form::Interval } else { Form::Intervals };
        let node = membership(canon, subject.node, union);
        return match canon.graph.op(node) {
            Op::Bool(_) => (node, Form::RowOnly),
            _ => (node, form),
        };
    }
    if !free(canon, term, pair.query) && !free(canon, term, pair.head) {
        return (term, Form::KeyOnly);
    }
    if let (Some(query), Some(batch)) = (pair.query, pair.batch)
        && let Some(interval) = position_interval(canon, term, query, batch)
    {
        let subject = Subject::position(canon, query, batch, Anchor::Least);
        return (membership(canon, subject.node, &[interval]), Form::KeyInterval);
    }
    if *canon.graph.op(term) == Op::Compare(Compare::Eq) {
        let operands = canon.graph.operands(term);
        if canon.graph.ty(operands[0]).as_scalar() == Some(Scalar::Int)
            && !free(canon, operands[0], Some(pair.key))
            && !free(canon, operands[1], pair.query)
        {
            return (term, Form::SameId);
        }
    }
    match solved {
        Some(union) => (membership(canon, subject.node, &union), Form::Predicate),
        None => (term, Form::Predicate),
    }
}

/// The positions for which a term holds, where they are one interval that is free of the query.
fn position_interval(canon: &mut Canon<'_>, term: NodeId, query: Var, batch: Var) -> Option<Interval> {
    if !canon.graph.free(term).contains(&query) {
        return None;
    }
    let subject = Subject::position(canon, query, batch, Anchor::Least);
    let union = solve(canon, term, subject)?;
    let [interval] = union[..] else { return None };
    let free = |id: NodeId| canon.graph.free(id).contains(&query);
    (!free(interval.lo) && !free(interval.hi)).then_some(interval)
}

/// Whether both bounds never fall from one position to the next.
fn never_falls(graph: &Graph, interval: Interval, query: Option<Var>) -> bool {
    let bound = |id: NodeId| query.is_none_or(|query| trend(graph, id, query).never_falls());
    bound(interval.lo) && bound(interval.hi)
}
