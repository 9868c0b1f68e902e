//! Dense tensors, and everything that a program is evaluated on.
//!
//! Input → output: flat vectors with their dims → [`Inputs`], checked against a graph by [`Inputs::shape`]. Why: the
//! oracle needs no device, no strides and no views; whoever has those copies.

use crate::error::Error;
use crate::shape::Shape;
use dmac_ir::{Graph, ParamValue};

/// Elements, row-major.
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    /// Of `real` and `f32` tensors.
    F32(Vec<f32>),
    /// Of `i32` tensors.
    I32(Vec<i32>),
    /// Of `bool` tensors.
    Bool(Vec<bool>),
}

impl Data {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::I32(data) => data.len(),
            Self::Bool(data) => data.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the element type.
    pub fn elem_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::I32(_) => "i32",
            Self::Bool(_) => "bool",
        }
    }
}

/// A dense tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// The sizes of its axes, outermost first.
    pub dims: Vec<usize>,
    /// As many elements as the product of `dims`.
    pub data: Data,
}

impl Tensor {
    /// Of floats.
    pub fn f32(dims: &[usize], data: Vec<f32>) -> Self {
        Self { dims: dims.to_vec(), data: Data::F32(data) }
    }

    /// Of ints.
    pub fn i32(dims: &[usize], data: Vec<i32>) -> Self {
        Self { dims: dims.to_vec(), data: Data::I32(data) }
    }

    /// Of bools.
    pub fn bool(dims: &[usize], data: Vec<bool>) -> Self {
        Self { dims: dims.to_vec(), data: Data::Bool(data) }
    }
}

/// The type that `real` tensors are stored in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Storage {
    /// 32-bit.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

impl Storage {
    /// The nearest value of the type, ties to even; by way of f32, which is what kernels accumulate in.
    pub fn round(self, x: f64) -> f64 {
        let x = x as f32;
        f64::from(match self {
            Self::F32 => x,
            Self::F16 => half::f16::from_f32(x).to_f32(),
            Self::Bf16 => half::bf16::from_f32(x).to_f32(),
        })
    }
}

/// What a program is evaluated on.
#[derive(Clone, PartialEq, Debug)]
pub struct Inputs {
    /// One for each input of the graph, in the order of [`dmac_ir::InputId`]. `real` tensors are rounded to `storage`
    /// when they are read.
    pub tensors: Vec<Tensor>,
    /// The number of keys of each batch element, `0 ..= N`; `N` each where not given.
    pub kv_len: Option<Vec<i64>>,
    /// One for each run-time parameter of the graph.
    pub params: Vec<ParamValue>,
    /// The storage type.
    pub storage: Storage,
}

impl Inputs {
    /// The tensors with default parameters, no lengths, f32.
    pub fn new(graph: &Graph, tensors: Vec<Tensor>) -> Self {
        Self {
            tensors,
            kv_len: None,
            params: graph.params.iter().map(|param| param.default).collect(),
            storage: Storage::F32,
        }
    }

    /// Checks everything about the inputs that does not need evaluation: count, types, ranks, sizes, lengths,
    /// parameters, and that ints lie in their declared ranges. Returns the sizes of all axes.
    pub fn shape(&self, graph: &Graph) -> Result<Shape, Error> {
        let dims: Vec<Vec<usize>> = self.tensors.iter().map(|tensor| tensor.dims.clone()).collect();
        let shape = Shape::resolve(graph, &dims, &self.params)?;
        for (input, tensor) in graph.inputs.iter().zip(&self.tensors) {
            let wanted = input.elem.scalar();
            let fits = matches!(
                (wanted, &tensor.data),
                (dmac_ir::Scalar::F32, Data::F32(_))
                    | (dmac_ir::Scalar::Int, Data::I32(_))
                    | (dmac_ir::Scalar::Bool, Data::Bool(_))
            );
            if !fits {
                let found = tensor.data.elem_name();
                return Err(Error::ElementType { tensor: input.name.clone(), wanted: input.elem, found });
            }
            let expected: usize = tensor.dims.iter().product();
            if tensor.data.len() != expected {
                let found = tensor.data.len();
                return Err(Error::ElementCount { tensor: input.name.clone(), expected, found });
            }
            if let Data::I32(data) = &tensor.data {
                shape.check_range(input, data)?;
            }
        }
        if let Some(lengths) = &self.kv_len {
            shape.check_lengths(graph, lengths)?;
        }
        Ok(shape)
    }
}
