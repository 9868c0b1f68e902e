//! Lowering of selections: what is stored for each, from one interval a key to one list a row.
//!
//! ```text
//! %20 = select [b g i] over j (delta, j <= i, w)           %20 = lifetime [b g] over j (delta, enter = j, w)
//! contains %20 b g i j                                =>   in_range (position i b) j (read %20 b g j)
//! attend masks [Interval Interval Selected]                attend masks [KeyInterval]
//! ```
//!
//! **Lifetimes.** Let the score and the forcing be free of the query, and let every candidate condition be either free of
//! the query or, solved for the position ([`crate::analysis::solve`]), `position >= enter`. Then the set of candidates of
//! a row only grows with its position, under one fixed total order (forced first, score, then index by the tie rule; NaN
//! last). A key that `n` others beat at some position is beaten by them at all later ones, because those stay candidates.
//! So the positions at which a candidate is among the best `n` are one interval `[enter, end)`, and `end` is one int a key.
//!
//! - Keys become candidates in the order of their index (`enter` never falls from one to the next), so that one sweep over
//!   the sequence with a heap of `n` finds every end. Candidates in another order keep lists.
//! - A condition that is free of the query delays the key for ever: `enter = if condition then enter else KeyLength`.
//! - An equation of a row's id with a key's id restricts a row to the keys of one class. Classes do not meet in any row,
//!   so each has its own order and its own lifetimes: the ids of keys become the class operand, the equation stays a term.
//! - `plus` takes candidates beside the `n`. If it holds exactly for positions below `leave` (a local window, forced
//!   first keys), the others become candidates for the `n` at `max(enter, leave)`, and a key is attended in
//!   `[enter, leave)` and in `[max(enter, leave), end)`. These two touch, or one is empty: with `end <= max(enter, leave)`
//!   for keys never chosen, the union is `[enter, max(leave, end))` in every case.
//!
//! **Lists.** A selection whose rows do not include the query is one list (`GlobalList`); one whose element is not the key
//! itself selects blocks (`BlockList`); the rest have one list a row (`RowList`).
//!
//! What a selection implies is dropped from the masks beside it: chosen keys are candidates, so each candidate condition
//! (but the equation of a class) holds wherever the term does.

use crate::analysis::key::Keys;
use crate::analysis::monotone::trend;
use crate::analysis::solve::{Anchor, Interval, Subject, solve};
use crate::canonical::Canon;
use crate::classify_masks::{Pair, classify};
use crate::{Changed, replace_graph};
use dmac_ir::{Attend, Attendance, Form, Graph, NodeId, Op, Select, SelectLowering, Var};
use std::collections::BTreeMap;

/// The pass.
pub fn run(graph: &mut Graph) -> Changed {
    let mut keys = Keys::default();
    // For each rewritten membership: the conditions that it implies.
    let mut implied: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    let lowered = graph.rewrite(|new, node, operands| {
        let mut canon = Canon::at(new, &mut keys, node.span);
        match &node.op {
            // Sets are used by memberships only, so the membership decides.
            Op::Contains => {
                let member = Member::of(canon.graph, operands);
                let (term, conditions) = match member.lifetime(&mut canon) {
                    Some(lifetime) => lifetime,
                    None => member.list(&mut canon),
                };
                implied.insert(term, conditions);
                term
            }
            Op::Attend(attend) => attention(&mut canon, attend, operands, &implied),
            _ => Graph::keep(new, node, operands),
        }
    });
    replace_graph(graph, &lowered)
}

/// The attention with its lowered terms: without those that a selection implies.
fn attention(
    canon: &mut Canon<'_>,
    attend: &Attend,
    operands: &[NodeId],
    implied: &BTreeMap<NodeId, Vec<NodeId>>,
) -> NodeId {
    let view = Attendance { attend, operands };
    let terms = view.terms();
    let pair = Pair::of_attend(attend);
    let mut now = operands[..operands.len() - terms.len()].to_vec();
    let mut forms = Vec::new();
    for (&term, &form) in terms.iter().zip(&attend.forms) {
        let selected = implied.contains_key(&term);
        let dropped = !selected
            && terms.iter().any(|other| implied.get(other).is_some_and(|holding| holding.contains(&term)));
        if dropped || now.contains(&term) {
            continue;
        }
        if !selected || *canon.graph.op(term) == Op::Contains {
            now.push(term);
            forms.push(form);
            continue;
        }
        for part in canon.conjuncts(&[term]) {
            if !now.contains(&part) && (part == term || !terms.contains(&part)) {
                let (part, form) = classify(canon, part, pair);
                now.push(part);
                forms.push(form);
            }
        }
    }
    canon.graph.add(Op::Attend(Attend { forms, ..attend.clone() }), &now)
}

/// A membership: a selection, a row and an element.
struct Member {
    select: Select,
    /// Of the selection.
    operands: Vec<NodeId>,
    /// The row's indices and the element's.
    at: Vec<NodeId>,
}

impl Member {
    fn of(graph: &Graph, operands: &[NodeId]) -> Self {
        let Op::Select(select) = graph.op(operands[0]) else {
            panic!("lower_selection: %{} is not a selection", operands[0].0)
        };
        Self { select: select.clone(), operands: graph.operands(operands[0]), at: operands[1..].to_vec() }
    }

    fn forcing(&self) -> Option<NodeId> {
        self.select.forcing.then(|| self.operands[3])
    }

    fn plus(&self) -> Option<NodeId> {
        self.select.plus.then(|| self.operands[self.operands.len() - 1])
    }

    fn element(&self) -> NodeId {
        self.at[self.at.len() - 1]
    }

    /// Whether the element is a variable over the axis that is selected from.
    fn plain(&self, graph: &Graph) -> bool {
        matches!(graph.op(self.element()), Op::Index(var) if graph.axis_of(*var) == graph.axis_of(self.select.over))
    }

    /// An expression in the selection's variables, at the member's row and element.
    fn place(&self, graph: &mut Graph, expression: NodeId) -> Option<NodeId> {
        let vars = self.select.rows.iter().chain([&self.select.over]);
        let map: BTreeMap<Var, NodeId> = vars.copied().zip(self.at.iter().copied()).collect();
        graph.substitute(expression, &map)
    }

    /// The candidate conditions at the member's row and element, where they can be put there.
    fn conditions(&self, canon: &mut Canon<'_>) -> Vec<NodeId> {
        let conditions = canon.conjuncts(&[self.operands[1]]);
        conditions.into_iter().filter_map(|condition| self.place(canon.graph, condition)).collect()
    }

    /// One list: the membership as it is, with its lowering, and what it implies.
    fn list(&self, canon: &mut Canon<'_>) -> (NodeId, Vec<NodeId>) {
        let lowering = if Pair::of_select(canon.graph, &self.select).query.is_none() {
            SelectLowering::GlobalList
        } else if self.plain(canon.graph) {
            SelectLowering::RowList
        } else {
            SelectLowering::BlockList
        };
        let select = Select { lowering: Some(lowering), ..self.select.clone() };
        let set = canon.graph.add(Op::Select(select), &self.operands);
        let operands: Vec<NodeId> = std::iter::once(set).chain(self.at.iter().copied()).collect();
        let conditions = self.conditions(canon);
        (canon.graph.add(Op::Contains, &operands), conditions)
    }

    /// The interval of positions at which the element is a member, and the conditions that it implies.
    fn lifetime(&self, canon: &mut Canon<'_>) -> Option<(NodeId, Vec<NodeId>)> {
        let pair = Pair::of_select(canon.graph, &self.select);
        let (query, batch) = (pair.query?, pair.batch?);
        let of_query = |canon: &Canon<'_>, id: NodeId| canon.graph.free(id).contains(&query);
        let score = self.operands[0];
        if self.select.forcing
            || !self.plain(canon.graph)
            || of_query(canon, score)
            || self.forcing().is_some_and(|forcing| of_query(canon, forcing))
        {
            return None;
        }
        let subject = Subject::position(canon, query, batch, Anchor::End);
        let mut enters = Vec::new();
        let mut keyed = Vec::new();
        let mut class = None;
        for condition in canon.conjuncts(&[self.operands[1]]) {
            if !of_query(canon, condition) {
                keyed.push(condition);
            } else if classify(canon, condition, pair).1 == Form::SameId {
                // A second id would need pairs of ids as classes.
                class.replace(condition);
                return None;
            } else {
                let union = solve(canon, condition, subject)?;
                let [Interval { lo, hi }] = union[..] else { return None };
                if hi != subject.end || of_query(canon, lo) {
                    return None;
                }
                enters.push(lo);
            }
        }
        // Without a condition on the position all keys are candidates of all rows.
        enters.is_empty().then(|| enters.push(subject.least));
        let mut enter = canon.max(&enters);
        if !trend(canon.graph, enter, self.select.over).never_falls() {
            return None;
        }
        if !keyed.is_empty() {
            let holds = canon.and(&keyed);
            enter = canon.choose(holds, enter, subject.end);
        }
        let leave = match self.plus() {
            None => None,
            Some(plus) => {
                let union = solve(canon, plus, Subject { anchor: Anchor::Least, ..subject })?;
                let [Interval { lo, hi }] = union[..] else { return None };
                if lo != subject.least || of_query(canon, hi) {
                    return None;
                }
                Some(hi)
            }
        };
        let rows: Vec<Var> = self.select.rows.iter().copied().filter(|&var| var != query).collect();
        let op = Op::Lifetime { rows, over: self.select.over, ties: self.select.ties, batch };
        let competes = match leave {
            Some(leave) => canon.max(&[enter, leave]),
            None => enter,
        };
        let mut operands = vec![score, competes, self.operands[2]];
        operands.extend(self.forcing());
        operands.extend(class.map(|class| canon.graph.operand(class, 1)));
        let ends = canon.graph.add(op, &operands);

        let at_query = self.select.rows.iter().position(|&var| var == query)?;
        let mut index = self.at.clone();
        index.remove(at_query);
        let end = canon.graph.read(ends, &index);
        let position = self.place(canon.graph, subject.node)?;
        let lo = self.place(canon.graph, enter)?;
        let hi = match leave {
            None => end,
            Some(leave) => {
                let leave = self.place(canon.graph, leave)?;
                canon.max(&[leave, end])
            }
        };
        let term = canon.in_range(position, lo, hi);
        // The range comes first: with it, the row's position is one of a key's, and its id may be read.
        let mut parts = vec![term];
        if let Some(class) = class {
            parts.push(self.place(canon.graph, class)?);
        }
        let mut conditions = self.conditions(canon);
        conditions.retain(|condition| !parts.contains(condition));
        Some((canon.and(&parts), conditions))
    }
}
