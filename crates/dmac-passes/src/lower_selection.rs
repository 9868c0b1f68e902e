//! Lowering of selections: what is stored for each, from one interval a key to one list a row.
//!
//! ```text
//! %20 = select [b g i] over j (delta, j <= i, w)           %20 = lifetime [b g] over j (delta, enter = j, w)
//! contains %20 b g i j                                =>   in_range (position i b) j (read %20 b g j)
//! attend masks [Interval Interval Selected]                attend masks [KeyInterval]
//! ```
//!
//! **Lifetimes.** Let the score be free of the query, and let every candidate condition be either free of the query or, solved for the position ([`crate::analysis::solve`]), `position >= enter`. Then the set of candidates of
//! a row only grows with its position, under one fixed total order (score, then index by the tie rule; NaN last). A key that `n` others beat at some position is beaten by them at all later ones, because those stay candidates.
//! So the positions at which a candidate is among the best `n` are one interval `[enter, end)`, and `end` is one int a key.
//!
//! - Keys become candidates in the order of their index: among those that ever do (`enter < KeyLength`), `enter` never
//!   falls from one to the next. So one sweep over the sequence with a heap of `n` finds every end. Candidates in another
//!   order keep lists.
//! - A condition that is free of the query delays the key for ever: `enter = if condition then enter else KeyLength`.
//! - `forcing` that is free of the query only changes the order: forced candidates before all others.
//! - A candidate condition `x(key) == x(position)` makes classes: documents that are packed into one sequence. A row's
//!   candidates are then those of its own class, which only grow too, so one sweep finds the ends in all classes. The
//!   condition itself stays a mask: a lifetime says nothing about positions of other classes.
//! - `plus` takes candidates beside the `n`. If it holds exactly for positions below `leave` (a local window, forced
//!   first keys), the others become candidates for the `n` at `max(enter, leave)`, and a key is attended in
//!   `[enter, leave)` and in `[max(enter, leave), end)`. These two touch, or one is empty: with `end <= max(enter, leave)`
//!   for keys never chosen, the union is `[enter, max(leave, end))` in every case.
//!
//! **Lists.** A selection whose rows do not include the query is one list (`GlobalList`); one whose element is not the key
//! itself selects blocks (`BlockList`); the rest have one list a row (`RowList`).
//!
//! What a selection implies is dropped from the masks beside it: chosen keys are candidates, so each candidate condition
//! holds wherever the term does.

use crate::analysis::key::Keys;
use crate::analysis::monotone::trend;
use crate::analysis::solve::{Anchor, Interval, Subject, solve};
use crate::canonical::Canon;
use crate::classify_masks::{Pair, classify};
use crate::text::expression;
use crate::{Changed, replace_graph};
use dmac_ir::{Attend, Attendance, Binary, Compare, Graph, NodeId, Op, Scalar, Select, SelectLowering, Var};
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
                    Ok(lifetime) => lifetime,
                    Err(_) => member.list(&mut canon),
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

/// When the elements of a selection live: expressions in its own variables, free of the query.
pub(crate) struct Life {
    pub score: NodeId,
    pub forcing: Option<NodeId>,
    /// The class of an element, and the condition that makes it one.
    pub class: Option<(NodeId, NodeId)>,
    /// The first position at which an element is a candidate.
    pub enter: NodeId,
    /// Before this position it is taken beside the `n`.
    pub leave: Option<NodeId>,
    /// From this position it competes for the `n`.
    pub competes: NodeId,
    /// The `n`.
    pub count: NodeId,
}

/// The life of the elements of a membership at the given first and last position, and the conditions that it implies.
///
/// # Errors
/// Why it has no lifetimes.
pub(crate) fn life_between(
    canon: &mut Canon<'_>,
    contains: NodeId,
    (least, end): (NodeId, NodeId),
) -> Result<(Select, Life, Vec<NodeId>), String> {
    let operands = canon.graph.operands(contains);
    let member = Member::of(canon.graph, &operands);
    let subject = member.query(canon.graph).map(|(query, batch)| {
        let position = Subject::position(canon, query, batch, Anchor::End);
        Subject { least, end, ..position }
    });
    match subject.and_then(|subject| member.life(canon, subject)) {
        Ok(life) => {
            let mut conditions = member.conditions(canon);
            if let Some((_, condition)) = life.class {
                conditions.extend(member.place(canon.graph, condition));
            }
            Ok((member.select, life, conditions))
        }
        Err(obstacle) => Err(obstacle.why(canon.graph)),
    }
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
        let select = Select { lowering: Some(self.list_kind(canon.graph)), ..self.select.clone() };
        let set = canon.graph.add(Op::Select(select), &self.operands);
        let operands: Vec<NodeId> = std::iter::once(set).chain(self.at.iter().copied()).collect();
        let conditions = self.conditions(canon);
        (canon.graph.add(Op::Contains, &operands), conditions)
    }

    fn list_kind(&self, graph: &Graph) -> SelectLowering {
        if Pair::of_select(graph, &self.select).query.is_none() {
            SelectLowering::GlobalList
        } else if self.plain(graph) {
            SelectLowering::RowList
        } else {
            SelectLowering::BlockList
        }
    }

    /// The interval of positions at which the element is a member, and the conditions that it implies.
    fn lifetime(&self, canon: &mut Canon<'_>) -> Result<(NodeId, Vec<NodeId>), Obstacle> {
        let (query, batch) = self.query(canon.graph)?;
        let subject = Subject::position(canon, query, batch, Anchor::End);
        let life = self.life(canon, subject)?;
        let rows: Vec<Var> = self.select.rows.iter().copied().filter(|&var| var != query).collect();
        let op = Op::Lifetime {
            rows,
            over: self.select.over,
            ties: self.select.ties,
            batch,
            forcing: life.forcing.is_some(),
            class: life.class.is_some(),
        };
        let mut operands = vec![life.score, life.competes, life.count];
        operands.extend(life.forcing);
        operands.extend(life.class.map(|(of_key, _)| of_key));
        let ends = canon.graph.add(op, &operands);

        let Some(at_query) = self.select.rows.iter().position(|&var| var == query) else {
            return Err(Obstacle::NoQuery);
        };
        let mut index = self.at.clone();
        index.remove(at_query);
        let end = canon.graph.read(ends, &index);
        let place = |canon: &mut Canon<'_>, id: NodeId| self.place(canon.graph, id).ok_or(Obstacle::OtherRow);
        let position = place(canon, subject.node)?;
        let lo = place(canon, life.enter)?;
        let hi = match life.leave {
            None => end,
            Some(leave) => {
                let leave = place(canon, leave)?;
                canon.max(&[leave, end])
            }
        };
        let mut term = canon.in_range(position, lo, hi);
        let mut conditions = self.conditions(canon);
        if let Some((_, condition)) = life.class {
            let same = place(canon, condition)?;
            conditions.retain(|&implied| implied != same);
            term = canon.and(&[term, same]);
        }
        Ok((term, conditions))
    }

    /// The variables of the query and of the batch.
    fn query(&self, graph: &Graph) -> Result<(Var, Var), Obstacle> {
        let pair = Pair::of_select(graph, &self.select);
        pair.query.zip(pair.batch).ok_or(Obstacle::NoQuery)
    }

    /// When elements enter, compete and leave, in the selection's own variables. Positions are the subject's.
    fn life(&self, canon: &mut Canon<'_>, subject: Subject) -> Result<Life, Obstacle> {
        let query = subject.var;
        let of_query = |canon: &Canon<'_>, id: NodeId| canon.graph.free(id).contains(&query);
        let score = self.operands[0];
        if !self.plain(canon.graph) {
            return Err(Obstacle::Blocks);
        }
        if of_query(canon, score) {
            return Err(Obstacle::ScoreOfQuery);
        }
        let forcing = self.select.forcing.then(|| self.operands[3]);
        if forcing.is_some_and(|forcing| of_query(canon, forcing)) {
            return Err(Obstacle::Forcing);
        }
        let mut enters = Vec::new();
        let mut keyed = Vec::new();
        let mut class: Option<(NodeId, NodeId)> = None;
        for condition in canon.conjuncts(&[self.operands[1]]) {
            if !of_query(canon, condition) {
                keyed.push(condition);
                continue;
            }
            match solve(canon, condition, subject).as_deref() {
                Some(&[Interval { lo, hi }]) if hi == subject.end && !of_query(canon, lo) => {
                    enters.push(lo);
                    continue;
                }
                _ => {}
            }
            match self.class_of(canon, condition, subject) {
                Some(of_key) if class.is_none() => class = Some((of_key, condition)),
                _ => return Err(Obstacle::Leaving(condition)),
            }
        }
        // Without a condition on the position all keys are candidates of all rows.
        if enters.is_empty() {
            enters.push(subject.least);
        }
        let mut enter = canon.max(&enters);
        if !keyed.is_empty() {
            let holds = canon.and(&keyed);
            enter = canon.choose(holds, enter, subject.end);
        }
        let mut leave = None;
        if let Some(plus) = self.plus() {
            let from_start = Subject { anchor: Anchor::Least, ..subject };
            match solve(canon, plus, from_start).as_deref() {
                Some(&[Interval { lo, hi }]) if lo == subject.least && !of_query(canon, hi) => {
                    leave = Some(hi);
                }
                _ => return Err(Obstacle::PlusReturns),
            }
        }
        let competes = match leave {
            Some(leave) => canon.max(&[enter, leave]),
            None => enter,
        };
        let ordered = |id: NodeId| in_order(canon.graph, id, self.select.over, subject);
        if !ordered(enter) || !ordered(competes) {
            return Err(Obstacle::OutOfOrder);
        }
        Ok(Life { score, forcing, class, enter, leave, competes, count: self.operands[2] })
    }

    /// The class of an element, where a condition says that it equals that of the row: `x(element) == x(position)`.
    /// `(element - position) mod 2 == 0` is not of that form, although its two sides are equal where element and position are.
    fn class_of(&self, canon: &mut Canon<'_>, condition: NodeId, position: Subject) -> Option<NodeId> {
        if *canon.graph.op(condition) != Op::Compare(Compare::Eq) {
            return None;
        }
        let operands = canon.graph.operands(condition);
        let map = BTreeMap::from([(self.select.over, position.node)]);
        [(operands[0], operands[1]), (operands[1], operands[0])].into_iter().find_map(|(of_key, of_row)| {
            if canon.graph.free(of_key).contains(&position.var) {
                return None;
            }
            let moved = canon.graph.substitute(of_key, &map)?;
            let int = canon.graph.ty(of_key).as_scalar() == Some(Scalar::Int);
            (int && canon.again(moved) == of_row).then_some(of_key)
        })
    }
}

/// Whether, among the elements with `enter < KeyLength`, `enter` never falls from one element to the next.
///
/// `max(a, if c then b else KeyLength)` is `max(a, b)` for those that enter, and a bound of the positions
/// decides nothing, so only the other parts have to rise.
fn in_order(graph: &Graph, enter: NodeId, over: Var, positions: Subject) -> bool {
    let operands = graph.operands(enter);
    let bound = |id: NodeId| id == positions.end || id == positions.least;
    match graph.op(enter) {
        _ if bound(enter) || trend(graph, enter, over).never_falls() => true,
        Op::Binary(Binary::Max) => {
            operands.into_iter().all(|operand| in_order(graph, operand, over, positions))
        }
        Op::If => {
            let (x, y) = (operands[1], operands[2]);
            (bound(x) && bound(y))
                || (x == positions.end && in_order(graph, y, over, positions))
                || (y == positions.end && in_order(graph, x, over, positions))
        }
        _ => false,
    }
}

/// Why a selection has no lifetimes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Obstacle {
    NoQuery,
    Blocks,
    ScoreOfQuery,
    Forcing,
    /// The condition.
    Leaving(NodeId),
    PlusReturns,
    OutOfOrder,
    OtherRow,
}

impl Obstacle {
    fn why(self, graph: &Graph) -> String {
        match self {
            Self::NoQuery => "neither score nor candidates depend on the query".into(),
            Self::Blocks => "blocks are selected".into(),
            Self::ScoreOfQuery => "the score depends on the query".into(),
            Self::Forcing => "which candidates are forced depends on the query".into(),
            Self::Leaving(condition) => {
                format!("candidates may also leave: `{}`", expression(graph, condition))
            }
            Self::PlusReturns => "what `plus` adds may come back later".into(),
            Self::OutOfOrder => "keys become candidates in another order than that of their index".into(),
            Self::OtherRow => "the membership is asked for another row".into(),
        }
    }
}

/// How a selection is computed, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lowering {
    /// The list that is stored; nothing for lifetimes.
    pub list: Option<SelectLowering>,
    /// Why.
    pub why: String,
}

/// How the selection of a classified membership is computed.
pub(crate) fn lowering(canon: &mut Canon<'_>, contains: NodeId) -> Lowering {
    let operands = canon.graph.operands(contains);
    let member = Member::of(canon.graph, &operands);
    match member.lifetime(canon) {
        Ok(_) => Lowering {
            list: None,
            why: "the score does not depend on the query and candidates only grow with its position, so a key that \
                  falls out never returns"
                .into(),
        },
        Err(obstacle) => {
            Lowering { list: Some(member.list_kind(canon.graph)), why: obstacle.why(canon.graph) }
        }
    }
}
