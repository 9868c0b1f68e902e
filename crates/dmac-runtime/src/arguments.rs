//! Named arguments of a call, checked against the program and bound to its order.

use crate::error::RunError;
use crate::tensor::TensorView;
use dmac_interp::{Shape, ShapeError};
use dmac_ir::{AxisKind, Graph, ParamType, ParamValue};
use dmac_schedule::Program;
use dmac_schedule::kernel::{Element, Role};
use std::collections::BTreeMap;

/// What a caller gives.
#[derive(Clone, Default, Debug)]
pub struct Arguments<'a> {
    tensors: BTreeMap<String, TensorView<'a>>,
    params: BTreeMap<String, ParamValue>,
}

/// Arguments that fit a program.
#[derive(Clone, Debug)]
pub struct Bound<'a> {
    /// The sizes of all axes of the graph.
    pub shape: Shape,
    /// The program's run-time sizes, in its order.
    pub sizes: Vec<i64>,
    /// The program's parameters, in its order.
    pub params: Vec<ParamValue>,
    /// One for each input of the graph, with contiguous rows or copied to have them by the caller of this.
    pub inputs: Vec<TensorView<'a>>,
    /// Key lengths, where given.
    pub lengths: Option<Vec<i32>>,
}

impl<'a> Arguments<'a> {
    /// Without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an input tensor: `q`, `k`, `v`, an input of the program, or `kv_len` (i32 `[B]`: keys of each batch element).
    #[must_use]
    pub fn tensor(mut self, name: impl Into<String>, view: TensorView<'a>) -> Self {
        self.tensors.insert(name.into(), view);
        self
    }

    /// With a run-time parameter; those that are not given have their defaults.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: ParamValue) -> Self {
        self.params.insert(name.into(), value);
        self
    }

    /// A tensor, if it is given.
    pub fn get(&self, name: &str) -> Option<&TensorView<'a>> {
        self.tensors.get(name)
    }

    /// The given tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorView<'a>)> {
        self.tensors.iter().map(|(name, view)| (name.as_str(), view))
    }

    /// The given parameters, by name.
    pub fn params(&self) -> impl Iterator<Item = (&str, ParamValue)> {
        self.params.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Checks everything that can be checked before code runs.
    pub fn bind(&self, graph: &Graph, program: &Program) -> Result<Bound<'a>, RunError> {
        let names: Vec<String> = graph.inputs.iter().map(|input| input.name.clone()).collect();
        for name in self.tensors.keys() {
            if name != "kv_len" && !names.contains(name) {
                let known = names.iter().map(String::as_str).chain(["kv_len"]);
                let similar = dmac_source::nearest(name, known).map(ToOwned::to_owned);
                return Err(RunError::Unknown { tensor: name.clone(), similar });
            }
        }
        let params = self.bind_params(graph)?;
        let mut inputs = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let view = self.tensors.get(name).ok_or_else(|| RunError::Missing {
                tensor: name.clone(),
                wanted: names.iter().map(|name| format!("`{name}`")).collect(),
            })?;
            let expected = program
                .tensors
                .iter()
                .find(|tensor| tensor.role == Role::Input(dmac_ir::InputId(at as u32)))
                .map(|tensor| tensor.element);
            if let Some(expected) = expected.filter(|expected| *expected != view.element()) {
                return Err(RunError::Element { tensor: name.clone(), expected, found: view.element() });
            }
            inputs.push(view.clone());
        }
        let dims: Vec<Vec<usize>> = inputs.iter().map(|view| view.dims().to_vec()).collect();
        let shape = Shape::resolve(graph, &dims, &params)?;
        for (input, view) in graph.inputs.iter().zip(&inputs) {
            if input.range.is_some() {
                let values: Vec<i32> = view.to_f64().into_iter().map(|x| x as i32).collect();
                shape.check_range(input, &values)?;
            }
        }
        let lengths = self.bind_lengths(graph, &shape)?;
        let sizes: Vec<i64> = program.sizes.iter().map(|size| shape.size(size.axis)).collect();
        for (condition, message) in &program.requires {
            let holds = condition.eval(&|size| Some(sizes[size.0 as usize]), &|param| match params
                [param.0 as usize]
            {
                ParamValue::Int(value) => Some(value),
                ParamValue::Float(_) => None,
            });
            if holds != Some(1) {
                return Err(RunError::Requirement(message.clone()));
            }
        }
        Ok(Bound { shape, sizes, params, inputs, lengths })
    }

    fn bind_params(&self, graph: &Graph) -> Result<Vec<ParamValue>, RunError> {
        for name in self.params.keys() {
            if !graph.params.iter().any(|param| param.name == *name) {
                let wanted = graph.params.iter().map(|param| format!("`{}`", param.name)).collect();
                return Err(RunError::UnknownParam { param: name.clone(), wanted });
            }
        }
        graph
            .params
            .iter()
            .map(|param| match (param.ty, self.params.get(&param.name)) {
                (_, None) => Ok(param.default),
                (ParamType::Int, Some(ParamValue::Int(value))) => Ok(ParamValue::Int(*value)),
                (ParamType::Float, Some(ParamValue::Float(value))) => Ok(ParamValue::Float(*value)),
                (ParamType::Float, Some(ParamValue::Int(value))) => Ok(ParamValue::Float(*value as f32)),
                (ParamType::Int, Some(ParamValue::Float(_))) => {
                    Err(RunError::ParamType { param: param.name.clone() })
                }
            })
            .collect()
    }

    fn bind_lengths(&self, graph: &Graph, shape: &Shape) -> Result<Option<Vec<i32>>, RunError> {
        let Some(view) = self.tensors.get("kv_len") else { return Ok(None) };
        if view.element() != Element::I32 {
            return Err(RunError::Element {
                tensor: "kv_len".into(),
                expected: Element::I32,
                found: view.element(),
            });
        }
        let batch = graph.find_axis(&AxisKind::Batch).map_or(0, |axis| shape.size(axis));
        if view.dims() != [batch as usize] {
            return Err(RunError::Shape(ShapeError::Rank {
                tensor: "kv_len".into(),
                axes: vec!["B".into()],
                dims: view.dims().to_vec(),
            }));
        }
        let lengths: Vec<i64> = view.to_f64().into_iter().map(|x| x as i64).collect();
        shape.check_lengths(graph, &lengths)?;
        Ok(Some(lengths.into_iter().map(|length| length as i32).collect()))
    }
}
