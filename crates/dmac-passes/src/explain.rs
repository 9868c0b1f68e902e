//! What the passes found out about a program, for its author.
//!
//! Input → output: the front end's graph → an [`Explanation`]: the form of every mask term and why it has it, how every
//! selection is computed and why, what is stored and what is computed again, what a tile of rows walks over. The facts are
//! those on which the passes act: they come from the same functions, run on a copy.

use crate::analysis::key::Keys;
use crate::canonical::Canon;
use crate::classify_masks::{Pair, classify};
use crate::fuse::{Plan, Storage};
use crate::lower_selection::{Lowering, lowering};
use crate::text::expression;
use crate::{fold, run_pipeline};
use dmac_ir::{
    Attend, Attendance, Binary, Elem, Form, Graph, NodeId, Op, SelectLowering, Ties, Tiling, Walk,
};
use dmac_source::Span;
use std::fmt;

/// What is known about a program.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// Its attentions, in the order in which the outputs reach them.
    pub attentions: Vec<AttentionFact>,
    /// Its derived tensors, in the same order.
    pub tensors: Vec<TensorFact>,
}

/// What is known about one attention.
#[derive(Clone, PartialEq, Debug)]
pub struct AttentionFact {
    /// The branch's name, or `out`.
    pub name: String,
    /// Every condition of its masks, selections included.
    pub terms: Vec<TermFact>,
    /// What is left to test, after selections were lowered and terms fused: text, with its form.
    pub tested: Vec<(String, Form)>,
    /// What a tile of rows walks over.
    pub walk: Walk,
    /// Whether running statistics are kept.
    pub online: bool,
}

/// What is known about one condition.
#[derive(Clone, PartialEq, Debug)]
pub struct TermFact {
    /// The condition, in canonical form.
    pub condition: String,
    /// Where it is written; nothing for the condition that a key exists.
    pub span: Option<Span>,
    /// Its form.
    pub form: Form,
    /// What was proved: the condition in the shape of its form.
    pub proved: String,
    /// For a selection: how it is computed.
    pub selection: Option<SelectionFact>,
    /// Of a predicate that is a choice of several conditions, the parts of each with their own forms: tiles in which none
    /// of the choices can hold are skipped by these.
    pub choices: Vec<Vec<(String, Form)>>,
}

/// How a selection is computed.
#[derive(Clone, PartialEq, Debug)]
pub struct SelectionFact {
    /// What is compared.
    pub score: String,
    /// How many are kept.
    pub count: String,
    /// The name of the selected variable.
    pub over: String,
    /// Which of two equal scores wins.
    pub ties: Ties,
    /// How.
    pub lowering: Lowering,
}

/// What becomes of a derived tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorFact {
    /// Its name.
    pub name: String,
    /// The names of its axes.
    pub axes: Vec<String>,
    /// Its element.
    pub elem: Elem,
    /// Whether it is stored, and why.
    pub storage: Storage,
}

/// Explains the front end's graph of a program.
pub fn explain(graph: &Graph) -> Explanation {
    let mut folded = graph.clone();
    fold::run(&mut folded);
    let mut finished = graph.clone();
    run_pipeline(&mut finished, &mut |_, _| {});

    let mut keys = Keys::default();
    let mut attentions = Vec::new();
    for (id, attend) in attentions_of(&folded) {
        let operands = folded.operands(id);
        let written = Attendance { attend: &attend, operands: &operands }.terms().to_vec();
        let mut canon = Canon::new(&mut folded, &mut keys);
        let conditions = canon.conjuncts(&written);
        let terms =
            conditions.into_iter().map(|condition| term(&mut canon, condition, Pair::of_attend(&attend)));
        let terms = terms.collect();
        let other = attentions_of(&finished).into_iter().find(|(_, other)| other.name == attend.name);
        let Some((other, Attend { forms, tiling: Some(Tiling { walk, online }), .. })) = other else {
            panic!("explain: attention `{}` has no walk after the last pass", attend.name)
        };
        let operands = finished.operands(other);
        let Op::Attend(final_attend) = finished.op(other) else { unreachable!("found as an attention") };
        let view = Attendance { attend: final_attend, operands: &operands };
        let tested = view.terms().iter().map(|&term| expression(&finished, term)).zip(forms).collect();
        attentions.push(AttentionFact { name: attend.name, terms, tested, walk, online });
    }
    Explanation { attentions, tensors: tensors(&folded) }
}

/// The live attentions of a graph, operands before users.
fn attentions_of(graph: &Graph) -> Vec<(NodeId, Attend)> {
    let roots: Vec<NodeId> = graph.outputs.iter().map(|output| output.node).collect();
    let live = graph.reachable(&roots).into_iter();
    live.filter_map(|id| match graph.op(id) {
        Op::Attend(attend) => Some((id, attend.clone())),
        _ => None,
    })
    .collect()
}

fn term(canon: &mut Canon<'_>, condition: NodeId, pair: Pair) -> TermFact {
    let (proved, form) = classify(canon, condition, pair);
    let mut choices = Vec::new();
    if form == Form::Predicate && *canon.graph.op(condition) == Op::Binary(Binary::Or) {
        for choice in canon.disjuncts(condition) {
            let parts = canon.conjuncts(&[choice]);
            let classified = parts.into_iter().map(|part| {
                let (proved, form) = classify(canon, part, pair);
                (expression(canon.graph, proved), form)
            });
            choices.push(classified.collect());
        }
    }
    TermFact {
        choices,
        condition: expression(canon.graph, condition),
        span: canon.graph.node(condition).span,
        form,
        proved: expression(canon.graph, proved),
        selection: selection(canon, condition),
    }
}

fn selection(canon: &mut Canon<'_>, term: NodeId) -> Option<SelectionFact> {
    if *canon.graph.op(term) != Op::Contains {
        return None;
    }
    let set = canon.graph.operand(term, 0);
    let Op::Select(select) = canon.graph.op(set).clone() else { return None };
    let operands = canon.graph.operands(set);
    let (score, count) = (expression(canon.graph, operands[0]), expression(canon.graph, operands[2]));
    let lowering = lowering(canon, term);
    let over = canon.graph.var(select.over).name.clone();
    Some(SelectionFact { score, count, over, ties: select.ties, lowering })
}

fn tensors(folded: &Graph) -> Vec<TensorFact> {
    let plan = Plan::of(folded);
    let roots: Vec<NodeId> = folded.outputs.iter().map(|output| output.node).collect();
    let live = folded.reachable(&roots).into_iter();
    live.filter_map(|id| {
        let Op::Define { name, vars, elem } = folded.op(id) else { return None };
        let axes = vars.iter().map(|&var| folded.var(var).name.clone()).collect();
        Some(TensorFact { name: name.clone(), axes, elem: *elem, storage: plan.storage(folded, id)? })
    })
    .collect()
}

/// Why a term has its form.
pub fn reason(form: Form) -> &'static str {
    match form {
        Form::Unclassified => "not looked at",
        Form::Interval => "one interval of keys a row, whose bounds never fall from one position to the next",
        Form::Intervals => {
            "a few intervals of keys a row, whose bounds never fall from one position to the next"
        }
        Form::KeyInterval => "one interval of positions a key: one or two ints a key decide",
        Form::SameId => "an id of the row equals an id of the key: tiles compare ranges of ids",
        Form::Selected => "membership in a selection of keys",
        Form::SelectedBlock => "membership of the key's block in a selection of blocks",
        Form::KeyOnly => "a property of the key alone",
        Form::RowOnly => "a property of the row alone",
        Form::Predicate => "no simpler form was proved: tested for each pair of a tile that it may cut",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for attention in &self.attentions {
            write!(f, "{attention}")?;
        }
        for tensor in &self.tensors {
            writeln!(f, "{tensor}")?;
        }
        Ok(())
    }
}

impl fmt::Display for AttentionFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "attention {}", self.name)?;
        for term in &self.terms {
            writeln!(f, "  mask {}", term.condition)?;
            match &term.selection {
                Some(selection) => writeln!(f, "    {selection}")?,
                None => writeln!(f, "    {:?}: {}", term.form, reason(term.form))?,
            }
            if term.proved != term.condition {
                writeln!(f, "    {}", term.proved)?;
            }
            for choice in &term.choices {
                let parts: Vec<String> =
                    choice.iter().map(|(part, form)| format!("{part} ({form:?})")).collect();
                writeln!(f, "    or {}", parts.join(" and "))?;
            }
        }
        for (term, form) in &self.tested {
            writeln!(f, "  tested {term} ({form:?})")?;
        }
        let walk = match self.walk {
            Walk::Blocks => "tiles of consecutive keys",
            Walk::AliveKeys(_) => "the keys alive in a tile of rows",
            Walk::RowKeys(_) => "the list of selected keys",
            Walk::RowBlocks(_) => "the list of selected blocks",
        };
        let statistics =
            if self.online { "running maximum and sum" } else { "weights independent of other keys" };
        writeln!(f, "  walks {walk}, {statistics}")
    }
}

impl fmt::Display for SelectionFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ties = if self.ties == Ties::High { ", ties high" } else { "" };
        write!(f, "top({}) {} of {}{ties}: ", self.count, self.over, self.score)?;
        f.write_str(match self.lowering.list {
            None => "one lifetime a key",
            Some(SelectLowering::RowList) => "one list of keys a row",
            Some(SelectLowering::BlockList) => "one list of blocks a row",
            Some(SelectLowering::GlobalList) => "one list for all rows",
        })?;
        write!(f, "; {}", self.lowering.why)
    }
}

impl fmt::Display for TensorFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.storage {
            Storage::Streamed => {
                "computed where it is read: stored, it would have two axes that grow with the sequence"
            }
            Storage::Copied => "read from the tensor that it copies",
            Storage::Cheap => "computed where it is read: a few operations",
            Storage::OneLoop => "computed in the loop of the only tensor that reads it",
            Storage::Rounded => "stored, rounded to the storage type once",
            Storage::Once => "stored: computed once, read often",
            Storage::Result => "a result",
        };
        write!(f, "tensor {}[{}]: {why}", self.name, self.axes.join(", "))
    }
}
