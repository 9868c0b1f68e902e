//! Types of nodes: scalars over index variables, tensors over axes, selected sets, attention results.

use crate::axis::AxisId;
use std::fmt;

/// The type of an element in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Elem {
    /// The storage type chosen when compiling: f32, f16 or bf16.
    Real,
    /// 32-bit float.
    F32,
    /// 32-bit signed integer.
    I32,
    /// One byte, zero or one.
    Bool,
}

/// The type of a scalar expression.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scalar {
    /// Computed to f32 accuracy; the reference uses float64 for sums and softmax.
    F32,
    /// Computed in 32 bits by kernels (positions and sizes fit); overflow is not defined.
    Int,
    /// True or false.
    Bool,
}

impl Elem {
    /// The type of the scalar that reading such an element gives.
    pub fn scalar(self) -> Scalar {
        match self {
            Self::Real | Self::F32 => Scalar::F32,
            Self::I32 => Scalar::Int,
            Self::Bool => Scalar::Bool,
        }
    }
}

/// The type of a node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Type {
    /// A scalar expression over the node's free variables.
    Scalar(Scalar),
    /// A tensor; a size-0-rank tensor is one element.
    Tensor {
        /// Its element.
        elem: Elem,
        /// Its axes, outermost first.
        axes: Vec<AxisId>,
    },
    /// For each row (a point of `rows`) a set of elements of `over`.
    Set {
        /// The axes of a row.
        rows: Vec<AxisId>,
        /// The axis that is selected from.
        over: AxisId,
    },
    /// The result of attending: read through [`crate::Field`].
    Attention,
}

impl Type {
    /// The scalar type, if this is one.
    pub fn as_scalar(&self) -> Option<Scalar> {
        match self {
            Self::Scalar(scalar) => Some(*scalar),
            _ => None,
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real => "real",
            Self::F32 => "f32",
            Self::I32 => "i32",
            Self::Bool => "bool",
        })
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Int => "int",
            Self::Bool => "bool",
        })
    }
}
