//! Compiled code against the reference, by the rules of the language: the selection by its margin, then the results on the
//! selection that the code made.

use crate::attention::Attention;
use dmac_interp::{
    Arithmetic, Comparison, Error, Inputs, Limit, Margin, Options, Rows, SelectionOracle, evaluate,
};
use dmac_ir::{Attendance, Form, Graph, NodeId, Op};
use dmac_runtime::{Arguments, Rayon, RunError, Selected, Tensor, TensorView};
use dmac_schedule::kernel::{Element, Storage};
use std::collections::BTreeMap;
use std::fmt;

/// One output compared.
#[derive(Clone, Debug)]
pub struct Check {
    /// The output.
    pub name: String,
    /// What was compared, and how far off it is.
    pub comparison: Comparison,
}

/// What a verification found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Each output.
    pub checks: Vec<Check>,
    /// The worst margin of each selection.
    pub margins: Vec<Margin>,
    /// What each mask term after the first and each selection considered and kept.
    pub binding: Vec<(String, u64, u64)>,
    /// Pairs attended in the rows that were compared.
    pub attended: u64,
    /// Pairs there are in these rows.
    pub pairs: u64,
    /// How many query rows were compared.
    pub rows: usize,
}

/// Why something could not be verified.
#[derive(Debug)]
pub enum Mismatch {
    /// The reference cannot evaluate the program on these inputs.
    Reference(Error),
    /// The compiled program cannot run on them.
    Run(RunError),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(error) => write!(f, "the reference: {error}"),
            Self::Run(error) => write!(f, "the compiled program: {error}"),
        }
    }
}

impl std::error::Error for Mismatch {}

impl Verdict {
    /// Whether everything is within its limit.
    pub fn passes(&self) -> bool {
        self.checks.iter().all(|check| check.comparison.passes()) && self.margins.iter().all(Margin::passes)
    }

    /// The output that uses most of its limit.
    pub fn worst(&self) -> Option<&Check> {
        let used = |check: &Check| {
            let (Limit::RelativeNorm(limit) | Limit::Elementwise(limit)) = check.comparison.limit;
            check.comparison.error / limit
        };
        self.checks.iter().max_by(|x, y| used(x).total_cmp(&used(y)))
    }
}

/// Runs compiled code on inputs and compares it with the reference in the given query rows.
///
/// # Errors
/// Inputs that do not fit.
pub fn verify(attention: &Attention, inputs: &Inputs, rows: &Rows) -> Result<Verdict, Mismatch> {
    let held = HeldInputs::new(attention, inputs);
    let results = attention.executable().run_observed(&held.arguments(), &Rayon).map_err(Mismatch::Run)?;
    let found = |name: &str| results.get(name).map(Tensor::to_f64);
    judge(&attention.compiled().graph, inputs, rows, &found, &results.selections)
}

/// Compares results, wherever they were computed, with the reference in the given query rows. `found` gives an output by
/// its name, row-major; `selections` are those that were made.
///
/// # Errors
/// Inputs that do not fit.
pub fn judge(
    graph: &Graph,
    inputs: &Inputs,
    rows: &Rows,
    found: &dyn Fn(&str) -> Option<Vec<f64>>,
    selections: &[Selected],
) -> Result<Verdict, Mismatch> {
    let choices = Choices::new(selections);
    let reference = |arithmetic, selection| {
        let options = Options {
            rows: rows.clone(),
            arithmetic,
            selection,
            tiles: graph.vars.iter().map(|var| (var.axis, 64)).collect(),
        };
        evaluate(graph, inputs, &options).map_err(Mismatch::Reference)
    };
    let expected = reference(Arithmetic::Exact, Some(&choices as &dyn SelectionOracle))?;
    let plain = match inputs.storage {
        dmac_interp::Storage::F32 => None,
        _ => Some(reference(Arithmetic::Plain, Some(&choices as &dyn SelectionOracle))?),
    };
    let query_rows = inputs.tensors.first().and_then(|q| q.dims.get(2)).copied().unwrap_or(0);
    let mut checks = Vec::new();
    for output in &expected.tensors {
        let Some(values) = found(&output.name) else { continue };
        let found = expected.rows_of(output, &values, query_rows, graph);
        let plain = plain.as_ref().and_then(|plain| plain.get(&output.name));
        let limit = Limit::of(graph, output, inputs.storage, plain);
        let comparison = Comparison::of(&found, output, &expected.rows, graph, limit);
        checks.push(Check { name: output.name.clone(), comparison });
    }
    let margins = expected.selections.values().filter_map(|selection| selection.margin.clone()).collect();
    let mut binding = Vec::new();
    for attention in &expected.attentions {
        let implied = ended_with_class(graph, &attention.name);
        for (at, term) in attention.terms.iter().enumerate().skip(1).filter(|(at, _)| !implied.contains(at)) {
            let what = format!("mask term {at} of `{}`", attention.name);
            binding.push((what, term.considered, term.kept));
        }
    }
    for (at, selection) in expected.selections.values().enumerate() {
        binding.push((format!("selection {at}"), selection.candidates, selection.chosen));
    }
    Ok(Verdict {
        checks,
        binding,
        margins,
        attended: expected.attentions.iter().map(|attention| attention.attended).sum(),
        pairs: expected.attentions.iter().map(|attention| attention.pairs).sum(),
        rows: expected.rows.len(),
    })
}

/// The mask terms of an attention that compare classes where a lifetime does so too: keys end with their class, so these
/// terms decide nothing unless an id comes back.
fn ended_with_class(graph: &Graph, name: &str) -> Vec<usize> {
    for id in graph.node_ids() {
        let Op::Attend(attend) = graph.op(id) else { continue };
        let operands = graph.operands(id);
        let terms = Attendance { attend, operands: &operands }.terms().to_vec();
        let classes = |term: NodeId| {
            dmac_passes::analysis::parts(graph, term)
                .into_iter()
                .any(|part| matches!(graph.op(part), Op::Lifetime { class: true, .. }))
        };
        if attend.name == name && terms.into_iter().any(classes) {
            let same = attend.forms.iter().enumerate().filter(|(_, form)| **form == Form::SameId);
            return same.map(|(at, _)| at).collect();
        }
    }
    Vec::new()
}

/// Inputs of the reference as tensors of the compiled program.
pub struct HeldInputs {
    tensors: Vec<(String, Tensor)>,
    params: Vec<(String, dmac_ir::ParamValue)>,
}

impl HeldInputs {
    /// Converts to the element types that the program was compiled for.
    pub fn new(attention: &Attention, inputs: &Inputs) -> Self {
        Self::of(&attention.compiled().graph, attention.compiled().program.storage, inputs)
    }

    /// The same for a graph's inputs and a storage type.
    pub fn of(graph: &Graph, storage: Storage, inputs: &Inputs) -> Self {
        let storage = match storage {
            Storage::F32 => Element::F32,
            Storage::F16 => Element::F16,
            Storage::Bf16 => Element::Bf16,
        };
        let mut tensors: Vec<(String, Tensor)> = graph
            .inputs
            .iter()
            .zip(&inputs.tensors)
            .map(|(input, tensor)| {
                let held = match &tensor.data {
                    dmac_interp::Data::F32(data) => {
                        let element = if input.elem == dmac_ir::Elem::Real { storage } else { Element::F32 };
                        Tensor::from_f32(element, &tensor.dims, data)
                    }
                    dmac_interp::Data::I32(data) => {
                        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
                        Tensor::from_bytes(Element::I32, &tensor.dims, bytes)
                    }
                    dmac_interp::Data::Bool(data) => {
                        let bytes = data.iter().map(|x| u8::from(*x)).collect();
                        Tensor::from_bytes(Element::Bool, &tensor.dims, bytes)
                    }
                };
                (input.name.clone(), held.expect("a checked tensor has the elements that its dims need"))
            })
            .collect();
        if let Some(lengths) = &inputs.kv_len {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| (*length as i32).to_le_bytes()).collect();
            let held = Tensor::from_bytes(Element::I32, &[lengths.len()], bytes);
            tensors.push(("kv_len".into(), held.expect("one length a batch element")));
        }
        let params =
            graph.params.iter().map(|param| param.name.clone()).zip(inputs.params.iter().copied()).collect();
        Self { tensors, params }
    }

    /// Tensors and parameters by name, as they are.
    pub fn from_tensors(tensors: Vec<(String, Tensor)>, params: Vec<(String, dmac_ir::ParamValue)>) -> Self {
        Self { tensors, params }
    }

    /// The tensors, in the order of the graph's inputs, then the lengths where there are some.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// As arguments of a call.
    pub fn arguments(&self) -> Arguments<'_> {
        let mut arguments = Arguments::new();
        for (name, tensor) in &self.tensors {
            let view: TensorView<'_> = tensor.view();
            arguments = arguments.tensor(name, view);
        }
        for (name, value) in &self.params {
            arguments = arguments.param(name, *value);
        }
        arguments
    }
}

/// What the code selected, as the reference asks for it.
struct Choices {
    rows: BTreeMap<NodeId, ChosenRows>,
}

struct ChosenRows {
    /// Sizes of a row's axes, then of the elements or slots.
    dims: Vec<usize>,
    items: Vec<i32>,
    /// Used slots of each row; none for ends.
    counts: Option<Vec<i32>>,
}

impl Choices {
    fn new(selections: &[Selected]) -> Self {
        let rows = selections.iter().map(|selected| match selected {
            Selected::Ends { node, ends } => {
                (*node, ChosenRows { dims: ends.dims().to_vec(), items: ends.to_i32(), counts: None })
            }
            Selected::Lists { node, items, counts } => {
                let counts = Some(counts.to_i32());
                (*node, ChosenRows { dims: items.dims().to_vec(), items: items.to_i32(), counts })
            }
        });
        Self { rows: rows.collect() }
    }

    fn row(&self, node: NodeId, row: &[i64], lists: bool) -> Option<Vec<i64>> {
        let chosen = self.rows.get(&node).filter(|chosen| chosen.counts.is_some() == lists)?;
        let (last, outer) = chosen.dims.split_last()?;
        let at = row.iter().zip(outer).fold(0, |at, (&index, &dim)| at * dim + index as usize);
        let used = chosen.counts.as_ref().map_or(*last, |counts| counts[at] as usize);
        Some(chosen.items[at * last..at * last + used].iter().map(|x| i64::from(*x)).collect())
    }
}

impl SelectionOracle for Choices {
    fn chosen(&self, selection: NodeId, row: &[i64]) -> Option<Vec<i64>> {
        self.row(selection, row, true)
    }

    fn ends(&self, lifetime: NodeId, row: &[i64]) -> Option<Vec<i64>> {
        self.row(lifetime, row, false)
    }
}
