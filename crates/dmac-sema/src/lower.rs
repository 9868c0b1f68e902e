//! From a checked program to a graph, by the conventions that all stages share (see [`dmac_ir`]).
//!
//! Input: an [`hir::Program`] without errors. Output: a [`Graph`] that verifies. Indices keep their numbers. What
//! the language leaves implicit becomes explicit here: the default scale and score, the lengths of sequences (each
//! attention's first mask term), the candidates of selections, `start`, `end` and `overlap`.

mod attention;
mod expr;
mod select;

use crate::constant;
use crate::hir::{self, AttentionIx, AxisDef, AxisIx, Definition, LetIx, Program, Tensor, Ty, VarIx};
use dmac_ir::{
    Axis, AxisId, AxisKind, Elem, Field, Graph, Input, InputId, NodeId, Normalize, Op, Output, Param, Size,
    Var,
};

/// Lowers a program. `head_dim` and `value_dim` are `D` and `E`, where they are known.
///
/// # Panics
/// If the program has an error or the graph does not verify: a broken invariant of an earlier stage.
pub(crate) fn lower(program: &Program, head_dim: Option<i64>, value_dim: Option<i64>) -> Graph {
    let mut lower = Lower {
        program,
        graph: Graph::new(program.name.clone()),
        lets: vec![None; program.lets.len()],
        attentions: vec![None; program.attentions.len()],
    };
    lower.axes(head_dim, value_dim);
    lower.params();
    lower.inputs();
    for definition in &program.order {
        match definition {
            Definition::Let(binding) => lower.binding(*binding),
            Definition::Attention(attention) => {
                let node = lower.attention(&program.attentions[attention.0]);
                lower.attentions[attention.0] = Some(node);
            }
        }
    }
    lower.outputs();
    // Definitions that no output reads are left out, and nodes are numbered anew.
    let graph = lower.graph.rewrite(Graph::keep);
    if let Err(violations) = graph.verify(&[]) {
        panic!("lower: the graph of `{}` breaks a rule: {}", program.name, violations[0]);
    }
    graph
}

struct Lower<'a> {
    program: &'a Program,
    graph: Graph,
    lets: Vec<Option<NodeId>>,
    attentions: Vec<Option<NodeId>>,
}

impl Lower<'_> {
    fn axes(&mut self, head_dim: Option<i64>, value_dim: Option<i64>) {
        use AxisKind::{Batch, Feature, Head, Key, KvHead, Query, ValueFeature};
        let builtin = [Batch, Head, KvHead, Query, Key, Feature, ValueFeature];
        for &AxisIx(at) in &self.program.axis_order {
            let axis = &self.program.axes[at];
            let size = |expr: &hir::Expr| {
                let size = constant::size(self.program, expr);
                let size = size.unwrap_or_else(|| panic!("lower: the size of axis `{}` is none", axis.name));
                match constant::known(&size, &self.graph.axes) {
                    Some(value) => Size::Const(value),
                    None => size,
                }
            };
            let kind = match &axis.def {
                AxisDef::Builtin => builtin[at].clone(),
                AxisDef::FromInput => AxisKind::Free,
                AxisDef::Sized(expr) => match size(expr) {
                    Size::Const(value) => AxisKind::Sized(Size::Const(value.max(0))),
                    size @ (Size::Param(_) | Size::Axis(_)) => AxisKind::Sized(size),
                    size => AxisKind::Sized(Size::Max(Box::new(size), Box::new(Size::Const(0)))),
                },
                AxisDef::Windows { of, length, stride } => AxisKind::Windows {
                    of: constant::graph_axis(self.program, *of),
                    length: size(length),
                    stride: size(stride),
                },
                AxisDef::Blocks { of, length } => {
                    AxisKind::Blocks { of: constant::graph_axis(self.program, *of), length: size(length) }
                }
            };
            let size = match (&kind, AxisIx(at)) {
                (AxisKind::Sized(Size::Const(value)), _) => Some(*value),
                (_, AxisIx::D) => head_dim,
                (_, AxisIx::E) => value_dim,
                _ => None,
            };
            self.graph.add_axis(Axis { name: axis.name.clone(), kind, size });
        }
        for var in &self.program.vars {
            self.graph.add_var(var.name.clone(), constant::graph_axis(self.program, var.axis));
        }
    }

    fn params(&mut self) {
        for param in self.program.params.iter().filter(|param| !param.fixed) {
            self.graph.add_param(Param { name: param.name.clone(), ty: param.ty, default: param.value });
        }
    }

    fn inputs(&mut self) {
        for input in &self.program.inputs {
            let bounds = input.range.as_ref().map(|(low, high)| {
                let [low, high] = [low, high].map(|bound| {
                    let size = constant::size(self.program, bound);
                    size.unwrap_or_else(|| {
                        panic!("lower: the range of `{}` has a bound that is no size", input.name)
                    })
                });
                let last = Size::Sub(Box::new(high), Box::new(Size::Const(1)));
                [low, last].map(|size| constant::known(&size, &self.graph.axes).map_or(size, Size::Const))
            });
            let known = |size: &Size, unknown: i32| match size {
                Size::Const(value) => *value,
                _ => i64::from(unknown),
            };
            let range = bounds.as_ref().map(|[low, high]| (known(low, i32::MIN), known(high, i32::MAX)));
            let bounds = bounds.filter(|bounds| bounds.iter().any(|bound| !matches!(bound, Size::Const(_))));
            self.graph.add_input(Input {
                name: input.name.clone(),
                elem: input.elem,
                axes: input.axes.iter().map(|&axis| constant::graph_axis(self.program, axis)).collect(),
                range,
                bounds: bounds.map(|[low, high]| (low, high)),
                span: input.span,
            });
        }
    }

    fn binding(&mut self, id: LetIx) {
        let binding = &self.program.lets[id.0];
        let body = self.expr(&binding.value, &expr::Context::default());
        let elem = match binding.value.ty {
            Ty::Float if binding.stored_as_real => Elem::Real,
            Ty::Float => Elem::F32,
            Ty::Int => Elem::I32,
            Ty::Bool => Elem::Bool,
            Ty::Unknown => panic!("lower: `{}` has no type", binding.name),
        };
        let vars = binding.vars.iter().map(|&var| graph_var(var)).collect();
        let op = Op::Define { name: binding.name.clone(), vars, elem };
        self.lets[id.0] = Some(self.graph.add_at(op, &[body], Some(binding.span)));
    }

    /// The node of a tensor.
    fn tensor(&mut self, tensor: Tensor) -> NodeId {
        match tensor {
            Tensor::Input(input) => self.graph.add(Op::Input(InputId(input.0 as u32)), &[]),
            Tensor::Let(binding) => {
                let node = self.lets[binding.0];
                node.unwrap_or_else(|| panic!("lower: a `let` is read before it is lowered"))
            }
            Tensor::Field(attention, field) => self.field(attention, field),
        }
    }

    fn field(&mut self, attention: AttentionIx, field: Field) -> NodeId {
        let node = self.attentions[attention.0];
        let node = node.unwrap_or_else(|| panic!("lower: an attention is read before it is lowered"));
        self.graph.field(node, field)
    }

    fn outputs(&mut self) {
        let unnamed = AttentionIx(0);
        let out = match &self.program.output {
            Some(output) => self.output(output),
            None => self.field(unnamed, Field::Out),
        };
        self.graph.outputs.push(Output { name: "out".to_owned(), node: out });
        if !self.program.branches && has_lse(self.program.attentions[unnamed.0].normalize) {
            let node = self.field(unnamed, Field::Lse);
            self.graph.outputs.push(Output { name: "lse".to_owned(), node });
        }
        for emit in &self.program.emits {
            let node = self.field(emit.attention, emit.field);
            if self.graph.outputs.iter().all(|output| output.name != emit.name) {
                self.graph.outputs.push(Output { name: emit.name.clone(), node });
            }
        }
    }

    /// `output`, as a tensor: the attention's own where it is nothing else.
    fn output(&mut self, output: &hir::Expr) -> NodeId {
        if let hir::ExprKind::Read { tensor: tensor @ Tensor::Field(_, Field::Out), indices } = &output.kind {
            let plain = |expr: &hir::Expr| match expr.kind {
                hir::ExprKind::Index(var) | hir::ExprKind::Row(var) => Some(graph_var(var)),
                _ => None,
            };
            let own = [self.batch(), self.head(), self.query(), self.value_feature()];
            if indices.iter().map(plain).eq(own.map(Some)) {
                return self.tensor(*tensor);
            }
        }
        let body = self.expr(output, &expr::Context::default());
        let vars = vec![self.batch(), self.head(), self.query(), self.value_feature()];
        self.graph.add_at(
            Op::Define { name: "out".to_owned(), vars, elem: Elem::F32 },
            &[body],
            Some(output.span),
        )
    }

    fn batch(&self) -> Var {
        self.builtin_var(AxisIx::B)
    }

    fn head(&self) -> Var {
        self.builtin_var(AxisIx::H)
    }

    fn kv_head(&self) -> Var {
        self.builtin_var(AxisIx::G)
    }

    fn query(&self) -> Var {
        self.builtin_var(AxisIx::M)
    }

    fn value_feature(&self) -> Var {
        self.builtin_var(AxisIx::E)
    }

    /// The unprimed index over one of the first seven axes; they are the first seven variables.
    fn builtin_var(&self, axis: AxisIx) -> Var {
        debug_assert_eq!(self.program.vars[axis.0].axis, axis);
        Var(axis.0 as u32)
    }

    fn axis_kind(&self, var: Var) -> (AxisId, AxisKind) {
        let axis = self.graph.axis_of(var);
        (axis, self.graph.axis(axis).kind.clone())
    }
}

/// Indices have the same numbers in a program and in its graph.
fn graph_var(var: VarIx) -> Var {
    Var(var.0 as u32)
}

/// Whether a normalization has row statistics.
pub(crate) fn has_lse(normalize: Normalize) -> bool {
    match normalize {
        Normalize::Softmax | Normalize::SoftmaxSink => true,
        Normalize::Sigmoid | Normalize::Relu => false,
    }
}
