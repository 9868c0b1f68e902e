//! The lowering of a graph to a tile program.
//!
//! Input → output: a graph after the pipeline, a schedule → a [`Program`]. Every tensor that the graph stores becomes a
//! kernel: a definition (`define`), lifetimes and lists of selections (`select`), an attention (`attend`).
//!
//! One mechanism does all arithmetic, whatever the variant: `element` turns an index-notation expression over a space
//! of rows and a space of columns into tile statements. A sum of products whose factors separate into rows and columns
//! becomes a matrix product (so QKᵀ, split scores, projections, indexers and compressions are the same code); the rest
//! becomes the scalar body of a map.

mod attend;
mod define;
mod element;
mod lifetimes;
mod lists;
mod quotient;
mod ranges;
mod ranked;
mod scalar;
mod select;
mod space;
mod spans;
mod vectors;
mod visit;
mod visited;

use crate::kernel::{Element, Expr, Kernel, Program, Role, SizeDecl, SizeId, Storage, TensorDecl, TensorId};
use crate::schedule::Schedule;
use crate::target::Target;
use dmac_ir::{AxisId, AxisKind, Elem, Field, Graph, InputId, NodeId, Op, Size, Type, Var};
use dmac_source::{Code, Diagnostic};
use std::collections::BTreeMap;

pub(crate) use space::{Env, Space};

/// Lowers a graph that went through the whole pipeline.
///
/// # Errors
/// A head dimension that is not given, not a multiple of 8 or above the target's limit.
pub fn lower(
    graph: &Graph,
    target: &Target,
    schedule: &Schedule,
    storage: Storage,
) -> Result<Program, Vec<Diagnostic>> {
    check_head_dims(graph, target)?;
    // Products of bf16 read their operands as they are stored on every machine that has them at all.
    let scale_products = schedule.scale_products || storage == Storage::Bf16;
    let mut lowering = Lowering::new(graph, Schedule { scale_products, ..*schedule }, storage);
    lowering.declare();
    for id in graph.node_ids() {
        lowering.lower_node(id);
    }
    lowering.alias_outputs();
    Ok(lowering.program)
}

fn check_head_dims(graph: &Graph, target: &Target) -> Result<(), Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    for (kind, option) in [(AxisKind::Feature, "--head-dim"), (AxisKind::ValueFeature, "--value-dim")] {
        let Some(axis) = graph.find_axis(&kind) else { continue };
        match graph.axis(axis).size {
            Some(size) if size > target.max_head_dim => diagnostics.push(
                Diagnostic::error(
                    Code::E0501,
                    format!("{} = {size} is too large for target `{}`", graph.axis(axis).name, target.name),
                )
                .note(format!("`{}` holds features of up to {}", target.name, target.max_head_dim))
                .help(format!("compile with a smaller {option}, or for another target")),
            ),
            Some(size) if size < 1 || size % 8 != 0 => diagnostics.push(
                Diagnostic::error(
                    Code::E0501,
                    format!("{} = {size} is not a positive multiple of 8", graph.axis(axis).name),
                )
                .help(format!(
                    "pad the features with zeros and compile with {option} {}",
                    (size.max(1) + 7) / 8 * 8
                )),
            ),
            Some(_) => {}
            None => diagnostics.push(
                Diagnostic::error(
                    Code::E0501,
                    format!("the size of {} must be known to compile", graph.axis(axis).name),
                )
                .help(format!("give it with {option}")),
            ),
        }
    }
    if diagnostics.is_empty() { Ok(()) } else { Err(diagnostics) }
}

/// A list of keys or blocks for each row of a selection.
#[derive(Clone, Copy)]
pub(crate) struct List {
    /// `[row..., slot]` i32.
    pub items: TensorId,
    /// `[row...]` i32.
    pub counts: TensorId,
}

pub(crate) struct Lowering<'g> {
    pub graph: &'g Graph,
    pub schedule: Schedule,
    pub program: Program,
    /// Tensor nodes that are in memory.
    pub tensors: BTreeMap<NodeId, TensorId>,
    /// Selections as lists.
    pub lists: BTreeMap<NodeId, List>,
    sizes: BTreeMap<AxisId, SizeId>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, schedule: Schedule, storage: Storage) -> Self {
        let program = Program {
            name: graph.name.clone(),
            storage,
            sizes: Vec::new(),
            params: graph.params.clone(),
            tensors: Vec::new(),
            requires: Vec::new(),
            selections: Vec::new(),
            kernels: Vec::new(),
        };
        Self {
            graph,
            schedule,
            program,
            tensors: BTreeMap::new(),
            lists: BTreeMap::new(),
            sizes: BTreeMap::new(),
        }
    }

    /// Declares sizes, inputs, key lengths and outputs.
    fn declare(&mut self) {
        for (at, axis) in self.graph.axes.iter().enumerate() {
            let derived =
                matches!(axis.kind, AxisKind::Windows { .. } | AxisKind::Blocks { .. } | AxisKind::Sized(_));
            if axis.size.is_none() && !derived {
                let id = SizeId(self.program.sizes.len() as u32);
                self.program.sizes.push(SizeDecl { name: axis.name.clone(), axis: AxisId(at as u32) });
                self.sizes.insert(AxisId(at as u32), id);
            }
        }
        for (at, input) in self.graph.inputs.iter().enumerate() {
            let dims = input.axes.iter().map(|&axis| self.axis_size(axis)).collect();
            self.program.add_tensor(TensorDecl {
                name: input.name.clone(),
                role: Role::Input(InputId(at as u32)),
                element: self.element_of(input.elem),
                dims,
            });
        }
        let batch = self.graph.find_axis(&AxisKind::Batch).map_or(Expr::Int(1), |axis| self.axis_size(axis));
        self.program.add_tensor(TensorDecl {
            name: "kv_len".into(),
            role: Role::KeyLengths,
            element: Element::I32,
            dims: vec![batch],
        });
        for (at, output) in self.graph.outputs.iter().enumerate() {
            let Type::Tensor { axes, elem } = self.graph.ty(output.node) else { continue };
            let dims = axes.iter().map(|&axis| self.axis_size(axis)).collect();
            // The attention's result is stored in the storage type; statistics stay f32.
            let element = match elem {
                Elem::F32 if at == 0 => self.program.storage.into(),
                elem => self.element_of(*elem),
            };
            let tensor = self.program.add_tensor(TensorDecl {
                name: output.name.clone(),
                role: Role::Output(at),
                element,
                dims,
            });
            self.tensors.entry(output.node).or_insert(tensor);
        }
        self.require_sizes();
        self.require_reads();
    }

    /// What the sizes must satisfy: whole groups of heads, no empty windows or blocks.
    fn require_sizes(&mut self) {
        let of = |this: &Self, kind| this.graph.find_axis(&kind).map(|axis| this.axis_size(axis));
        if let (Some(heads), Some(groups)) = (of(self, AxisKind::Head), of(self, AxisKind::KvHead)) {
            let rest = Expr::binary(dmac_ir::Binary::IntMod, heads, groups.clone().max(Expr::Int(1)));
            let whole = Expr::and(
                Expr::lt(Expr::Int(0), groups),
                Expr::compare(dmac_ir::Compare::Eq, rest, Expr::Int(0)),
            );
            self.program.requires.push((whole, "the number of query heads H must be a multiple of G".into()));
        }
        for axis in &self.graph.axes {
            let positive: Vec<(&Size, &str)> = match &axis.kind {
                AxisKind::Windows { length, stride, .. } => vec![(length, "length"), (stride, "stride")],
                AxisKind::Blocks { length, .. } => vec![(length, "length")],
                _ => Vec::new(),
            };
            for (size, what) in positive {
                let condition = Expr::lt(Expr::Int(0), self.size(size));
                if condition != Expr::Bool(true) {
                    let message = format!("the {what} of axis `{}` must be at least 1", axis.name);
                    self.program.requires.push((condition, message));
                }
            }
        }
    }

    fn lower_node(&mut self, id: NodeId) {
        match self.graph.op(id) {
            Op::Input(input) => {
                self.tensors.insert(id, TensorId(input.0));
            }
            Op::Define { .. } => self.lower_define(id),
            Op::Lifetime { .. } if self.schedule.parallel_selection => self.lower_ranked_lifetime(id),
            Op::Lifetime { .. } => self.lower_lifetime(id),
            Op::Select(_) => self.lower_select(id),
            Op::Attend(_) => self.lower_attend(id),
            _ => {}
        }
    }

    /// A second name for a result that is stored already: copied by a kernel of its own.
    fn alias_outputs(&mut self) {
        for (at, output) in self.graph.outputs.iter().enumerate() {
            let stored = self.tensors[&output.node];
            let wanted = self.output_tensor(at);
            if stored != wanted {
                self.copy_tensor(stored, wanted, &output.name);
            }
        }
    }

    fn output_tensor(&self, index: usize) -> TensorId {
        let at = self.program.tensors.iter().position(|tensor| tensor.role == Role::Output(index));
        TensorId(at.expect("every output is declared") as u32)
    }

    /// The tensor that a node is stored in, made now unless it is an output.
    pub(crate) fn store(&mut self, id: NodeId, name: &str, element: Element) -> TensorId {
        if let Some(&tensor) = self.tensors.get(&id) {
            return tensor;
        }
        let Type::Tensor { axes, .. } = self.graph.ty(id) else { panic!("lower: %{} is not a tensor", id.0) };
        let dims = axes.iter().map(|&axis| self.axis_size(axis)).collect();
        let tensor = self.workspace(name, element, dims);
        self.tensors.insert(id, tensor);
        tensor
    }

    /// A new workspace tensor, its name made unique.
    pub(crate) fn workspace(&mut self, name: &str, element: Element, dims: Vec<Expr>) -> TensorId {
        let taken = |name: &str| self.program.tensors.iter().any(|tensor| tensor.name == name);
        let mut unique = name.to_owned();
        let mut count = 2;
        while taken(&unique) {
            unique = format!("{name}{count}");
            count += 1;
        }
        self.program.add_tensor(TensorDecl { name: unique, role: Role::Workspace, element, dims })
    }

    /// The element type in memory.
    pub(crate) fn element_of(&self, elem: Elem) -> Element {
        match elem {
            Elem::Real => self.program.storage.into(),
            Elem::F32 => Element::F32,
            Elem::I32 => Element::I32,
            Elem::Bool => Element::Bool,
        }
    }

    /// The size of an axis: a constant, a run-time size, or a formula over them.
    pub(crate) fn axis_size(&self, id: AxisId) -> Expr {
        let axis = self.graph.axis(id);
        if let Some(size) = axis.size {
            return Expr::Int(size);
        }
        match &axis.kind {
            AxisKind::Windows { of, length, stride } => {
                let stride = self.size(stride);
                let spare = self.axis_size(*of) - self.size(length) + stride.clone();
                spare.int_div(stride).max(Expr::Int(0))
            }
            AxisKind::Blocks { of, length } => self.axis_size(*of).ceil_div(self.size(length)),
            AxisKind::Sized(size) => self.size(size).max(Expr::Int(0)),
            _ => Expr::Size(self.sizes[&id]),
        }
    }

    /// A symbolic size as an expression.
    pub(crate) fn size(&self, size: &Size) -> Expr {
        use dmac_ir::Binary;
        let two = |op, a: &Size, b: &Size| Expr::binary(op, self.size(a), self.size(b));
        match size {
            Size::Const(value) => Expr::Int(*value),
            Size::Param(id) => Expr::Param(*id),
            Size::Axis(id) => self.axis_size(*id),
            Size::Add(a, b) => two(Binary::Add, a, b),
            Size::Sub(a, b) => two(Binary::Sub, a, b),
            Size::Mul(a, b) => two(Binary::Mul, a, b),
            Size::Div(a, b) => two(Binary::IntDiv, a, b),
            Size::Mod(a, b) => two(Binary::IntMod, a, b),
            Size::Min(a, b) => two(Binary::Min, a, b),
            Size::Max(a, b) => two(Binary::Max, a, b),
        }
    }

    /// The size of a variable's axis.
    pub(crate) fn extent(&self, var: Var) -> Expr {
        self.axis_size(self.graph.axis_of(var))
    }

    /// The compile-time size of a variable's axis.
    pub(crate) fn static_extent(&self, var: Var) -> Option<usize> {
        match self.extent(var) {
            Expr::Int(size) => usize::try_from(size).ok(),
            _ => None,
        }
    }

    /// The name of a variable, fit for a kernel's variable.
    pub(crate) fn var_name(&self, var: Var) -> &str {
        &self.graph.var(var).name
    }

    /// Whether a node's field is used anywhere.
    pub(crate) fn field(&self, attention: NodeId, field: Field) -> Option<NodeId> {
        self.graph
            .node_ids()
            .find(|&id| *self.graph.op(id) == Op::Field(field) && self.graph.operand(id, 0) == attention)
    }

    /// Adds a finished kernel, its name made unique.
    pub(crate) fn finish(&mut self, mut kernel: Kernel) {
        let same = self.program.kernels.iter().filter(|other| {
            other.name == kernel.name || other.name.strip_prefix(&format!("{}_", kernel.name)).is_some()
        });
        let count = same.count();
        if count > 0 {
            kernel.name = format!("{}_{}", kernel.name, count + 1);
        }
        self.program.kernels.push(kernel);
    }
}
