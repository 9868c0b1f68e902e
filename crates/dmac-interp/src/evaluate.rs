//! Evaluation of a whole graph: rows in order, and every output for each row.
//!
//! Input → output: graph, inputs, options → [`Outputs`]. Why this order: a row's attention weights and selections are
//! shared by the outputs and heads of the row, and are forgotten with it, so memory stays within a row.

mod attend;
mod lifetime;
mod read;
mod reduce;
mod scalar;
mod select;

use crate::error::Error;
use crate::lanes::Lanes;
use crate::margin::SelectionOracle;
use crate::points::Points;
use crate::rows::Rows;
use crate::shape::Shape;
use crate::statistics::{AttentionStatistics, SelectionStatistics};
use crate::tensor::{Data, Inputs, Storage};
use attend::AttentionState;
use dmac_ir::{AxisId, AxisKind, Elem, Graph, NodeId, Op, ParamValue, Type, Var};
use lifetime::LifetimeState;
use read::Table;
use select::SelectionState;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// How floats are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Arithmetic {
    /// In float64, rounded where the language says: the reference.
    #[default]
    Exact,
    /// In f32 after every operation, sums in order, attention weights rounded to the storage type before they multiply
    /// values: a plain program, whose error is the yardstick for f16 and bf16.
    Plain,
}

/// What is evaluated, and how.
#[derive(Clone, Default)]
pub struct Options<'a> {
    /// Which query rows.
    pub rows: Rows,
    /// How floats are computed.
    pub arithmetic: Arithmetic,
    /// The sizes of symbolic tiles, by the axis that is tiled.
    pub tiles: BTreeMap<AxisId, i64>,
    /// Choices of selections to follow, and to check.
    pub selection: Option<&'a dyn SelectionOracle>,
}

/// A result of the program.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its axes.
    pub axes: Vec<AxisId>,
    /// Their sizes; along the query axis, the number of rows evaluated.
    pub dims: Vec<usize>,
    /// Its elements, row-major; ints and bools as floats.
    pub data: Vec<f64>,
}

/// The results of a program on some query rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Outputs {
    /// The rows, ascending.
    pub rows: Vec<usize>,
    /// The outputs, in the graph's order.
    pub tensors: Vec<Output>,
    /// What each attention did in these rows, in the graph's order.
    pub attentions: Vec<AttentionStatistics>,
    /// What each selection and lifetime did in these rows.
    pub selections: BTreeMap<NodeId, SelectionStatistics>,
}

impl Outputs {
    /// An output by its name.
    pub fn get(&self, name: &str) -> Option<&Output> {
        self.tensors.iter().find(|output| output.name == name)
    }
}

/// Evaluates a graph.
pub fn evaluate(graph: &Graph, inputs: &Inputs, options: &Options) -> Result<Outputs, Error> {
    let shape = inputs.shape(graph)?;
    let plain_options = Options { arithmetic: Arithmetic::Plain, ..options.clone() };
    let plain = Evaluator::new(graph, inputs, &shape, &plain_options);
    let mut evaluator = Evaluator::new(graph, inputs, &shape, options);
    if options.selection.is_some() && options.arithmetic == Arithmetic::Exact {
        evaluator.plain = Some(&plain);
    }
    evaluator.run()
}

/// What is known about a node before anything is evaluated.
struct NodeInfo {
    operands: Vec<NodeId>,
    free: Vec<Var>,
    /// Whether more than one node uses it, so that its value is worth remembering.
    shared: bool,
}

/// A graph on its inputs, with what has been computed so far.
pub(crate) struct Evaluator<'a> {
    pub(crate) graph: &'a Graph,
    shape: &'a Shape,
    options: &'a Options<'a>,
    /// The same in f32, where choices of others are checked.
    plain: Option<&'a Evaluator<'a>>,
    kv_len: Option<&'a [i64]>,
    params: &'a [ParamValue],
    storage: Storage,
    /// The inputs, `real` ones rounded to the storage type.
    tensors: Vec<Cow<'a, Data>>,
    nodes: Vec<NodeInfo>,
    /// `N` and `M`.
    keys: i64,
    queries: i64,
    /// `H / G`.
    pub(crate) group: i64,
    tables: Vec<RefCell<Option<Table>>>,
    attentions: Vec<RefCell<AttentionState>>,
    selections: Vec<RefCell<SelectionState>>,
    lifetimes: Vec<RefCell<LifetimeState>>,
}

impl<'a> Evaluator<'a> {
    /// Nothing is computed yet. `shape` is that of `inputs`.
    pub fn new(graph: &'a Graph, inputs: &'a Inputs, shape: &'a Shape, options: &'a Options<'a>) -> Self {
        let mut nodes: Vec<NodeInfo> = graph
            .node_ids()
            .map(|id| NodeInfo {
                operands: graph.operands(id),
                free: graph.free(id).iter().copied().collect(),
                shared: false,
            })
            .collect();
        let mut uses = vec![0_usize; nodes.len()];
        for operand in nodes.iter().flat_map(|node| &node.operands) {
            uses[operand.0 as usize] += 1;
        }
        for (node, uses) in nodes.iter_mut().zip(uses) {
            node.shared = uses > 1 && !node.operands.is_empty();
        }
        let tensors = graph.inputs.iter().zip(&inputs.tensors).map(|(input, tensor)| match &tensor.data {
            Data::F32(data) if input.elem == Elem::Real && inputs.storage != Storage::F32 => {
                let round = |&x: &f32| inputs.storage.round(f64::from(x)) as f32;
                Cow::Owned(Data::F32(data.iter().map(round).collect()))
            }
            data => Cow::Borrowed(data),
        });
        let of_kind = |kind: AxisKind| graph.find_axis(&kind).map_or(0, |axis| shape.size(axis));
        let kv_heads = of_kind(AxisKind::KvHead);
        Self {
            graph,
            shape,
            options,
            plain: None,
            kv_len: inputs.kv_len.as_deref(),
            params: &inputs.params,
            storage: inputs.storage,
            tensors: tensors.collect(),
            keys: of_kind(AxisKind::Key),
            queries: of_kind(AxisKind::Query),
            group: of_kind(AxisKind::Head).checked_div(kv_heads).unwrap_or(1).max(1),
            tables: nodes.iter().map(|_| RefCell::default()).collect(),
            attentions: nodes.iter().map(|_| RefCell::default()).collect(),
            selections: nodes.iter().map(|_| RefCell::default()).collect(),
            lifetimes: nodes.iter().map(|_| RefCell::default()).collect(),
            nodes,
        }
    }

    pub(crate) fn operands(&self, id: NodeId) -> &[NodeId] {
        &self.nodes[id.0 as usize].operands
    }

    pub(crate) fn kind(&self, var: Var) -> &'a AxisKind {
        &self.graph.axis(self.graph.axis_of(var)).kind
    }

    pub(crate) fn extent(&self, var: Var) -> i64 {
        self.shape.size(self.graph.axis_of(var))
    }

    /// The number of keys of a batch element.
    pub(crate) fn key_length(&self, batch: i64) -> i64 {
        self.kv_len.map_or(self.keys, |lengths| lengths[batch as usize])
    }

    /// The size of the symbolic tile of a variable's axis.
    pub(crate) fn tile(&self, var: Var) -> Result<i64, Error> {
        let axis = self.graph.axis_of(var);
        let tile = self.options.tiles.get(&axis).copied().filter(|&tile| tile > 0);
        tile.ok_or_else(|| Error::NoTile { axis: self.graph.axis(axis).name.clone() })
    }

    /// Whoever binds a query head also binds its key/value head, where `bodies` use one that is not bound.
    fn bind_group(&self, points: Points<'a>, bound: &[Var], bodies: &[NodeId]) -> Points<'a> {
        let Some(&head) = bound.iter().find(|&&var| *self.kind(var) == AxisKind::Head) else { return points };
        let wanted = bodies.iter().flat_map(|body| &self.nodes[body.0 as usize].free);
        let unbound = |var: &&Var| *self.kind(**var) == AxisKind::KvHead && points.get(**var).is_none();
        match (wanted.copied().find(|var| unbound(&var)), points.get(head).cloned()) {
            (Some(kv_head), Some(heads)) => {
                let group = self.group;
                let len = points.len();
                points.with_all(len, &[kv_head], &[heads.map(|head| head.div_euclid(group))])
            }
            _ => points,
        }
    }

    fn run(&self) -> Result<Outputs, Error> {
        let rows = self.options.rows.list(self.queries as usize)?;
        let mut outputs = Vec::new();
        for output in &self.graph.outputs {
            let Type::Tensor { axes, .. } = self.graph.ty(output.node) else {
                panic!("interpreter: output `{}` is not a tensor", output.name);
            };
            let dims = self.output_dims(axes, rows.len());
            let data = vec![0.0; dims.iter().product()];
            outputs.push(Output { name: output.name.clone(), axes: axes.clone(), dims, data });
        }
        let batches = self.graph.find_axis(&AxisKind::Batch).map_or(1, |axis| self.shape.size(axis));
        for batch in 0..batches {
            for (at, &row) in rows.iter().enumerate() {
                for (output, tensor) in self.graph.outputs.iter().zip(&mut outputs) {
                    self.fill_output(output.node, tensor, batch, Some((at, row)))?;
                }
            }
            for (output, tensor) in self.graph.outputs.iter().zip(&mut outputs) {
                self.fill_output(output.node, tensor, batch, None)?;
            }
        }
        let ids = || self.graph.node_ids();
        let attentions = ids().filter_map(|id| {
            let Op::Attend(attend) = self.graph.op(id) else { return None };
            let state = self.attentions[id.0 as usize].borrow();
            Some(state.statistics.clone().named(&attend.name, attend.forms.len()))
        });
        let selections = ids().filter_map(|id| match self.graph.op(id) {
            Op::Select(_) => Some((id, self.selections[id.0 as usize].borrow().statistics.clone())),
            Op::Lifetime { .. } => Some((id, self.lifetimes[id.0 as usize].borrow().statistics.clone())),
            _ => None,
        });
        Ok(Outputs {
            rows,
            tensors: outputs,
            attentions: attentions.collect(),
            selections: selections.collect(),
        })
    }

    fn output_dims(&self, axes: &[AxisId], rows: usize) -> Vec<usize> {
        let size = |&axis: &AxisId| match self.graph.axis(axis).kind {
            AxisKind::Query => rows,
            _ => self.shape.size(axis) as usize,
        };
        axes.iter().map(size).collect()
    }

    /// Fills in an output's elements of a batch element and a row (the `row.0`-th of those evaluated), or those of an
    /// output without a query axis.
    fn fill_output(
        &self,
        node: NodeId,
        output: &mut Output,
        batch: i64,
        row: Option<(usize, usize)>,
    ) -> Result<(), Error> {
        let kinds: Vec<&AxisKind> = output.axes.iter().map(|&axis| &self.graph.axis(axis).kind).collect();
        let has = |kind: &AxisKind| kinds.contains(&kind);
        if has(&AxisKind::Query) != row.is_some() || (!has(&AxisKind::Batch) && batch > 0) {
            return Ok(());
        }
        // The last axis that is neither batch nor row varies; the loop runs over the others.
        let free: Vec<usize> =
            (0..kinds.len()).filter(|&at| !matches!(kinds[at], AxisKind::Query | AxisKind::Batch)).collect();
        let (lane, looped) = match free.split_last() {
            Some((lane, looped)) => (Some(*lane), looped),
            None => (None, &[][..]),
        };
        let steps: usize = looped.iter().map(|&at| output.dims[at]).product();
        let len = lane.map_or(1, |at| output.dims[at]);
        for step in 0..steps {
            let mut index = vec![Lanes::Same(0); kinds.len()];
            let mut places = vec![0; kinds.len()];
            let mut rest = step;
            for &at in looped.iter().rev() {
                places[at] = rest % output.dims[at];
                index[at] = Lanes::Same(places[at] as i64);
                rest /= output.dims[at];
            }
            for (at, kind) in kinds.iter().enumerate() {
                match (kind, row) {
                    (AxisKind::Batch, _) => {
                        (places[at], index[at]) = (batch as usize, Lanes::Same(batch));
                    }
                    (AxisKind::Query, Some((place, row))) => {
                        (places[at], index[at]) = (place, Lanes::Same(row as i64));
                    }
                    _ => {}
                }
            }
            if let Some(at) = lane {
                index[at] = Lanes::each((0..len as i64).collect());
            }
            let values = self.unrounded(node, &index, len)?.to_vec(len);
            for (step, value) in values.into_iter().enumerate() {
                if let Some(at) = lane {
                    places[at] = step;
                }
                let offset =
                    places.iter().zip(&output.dims).fold(0, |offset, (place, dim)| offset * dim + place);
                output.data[offset] = value;
            }
        }
        Ok(())
    }

    /// Elements of an output before they are stored: a definition at the top is not rounded.
    fn unrounded(&self, node: NodeId, index: &[Lanes<i64>], len: usize) -> Result<Lanes<f64>, Error> {
        let value = if let Op::Define { vars, .. } = self.graph.op(node) {
            let body = self.operands(node)[0];
            let points = Points::root(self.graph).with_all(len, vars, index);
            let points = self.bind_group(points, vars, &[body]);
            self.eval(body, &points)?
        } else {
            let points = Points::root(self.graph).with_all(len, &[], &[]);
            self.read(node, index, &points)?
        };
        Ok(value.into_floats())
    }
}
