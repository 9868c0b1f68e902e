//! Short constructors of common nodes.
//!
//! Input → output: values and operands → nodes of a [`Graph`]. Why: lowering and passes build many of them, and the long
//! form of [`Graph::add`] hides what is computed.

use crate::axis::{Size, Var};
use crate::graph::{Graph, NodeId};
use crate::op::{Binary, Compare, Field, FloatBits, Op, Unary};
use crate::ty::Scalar;

impl Graph {
    /// A float constant.
    pub fn float(&mut self, value: f32) -> NodeId {
        self.add(Op::Float(FloatBits::new(value)), &[])
    }

    /// An int constant.
    pub fn int(&mut self, value: i64) -> NodeId {
        self.add(Op::Int(value), &[])
    }

    /// A bool constant.
    pub fn bool(&mut self, value: bool) -> NodeId {
        self.add(Op::Bool(value), &[])
    }

    /// The coordinate of a variable.
    pub fn index(&mut self, var: Var) -> NodeId {
        self.add(Op::Index(var), &[])
    }

    /// A size as an int: a constant where the axis has one.
    pub fn size(&mut self, size: Size) -> NodeId {
        match size {
            Size::Const(value) => self.int(value),
            Size::Param(param) => self.add(Op::Param(param), &[]),
            Size::Axis(axis) if self.axis(axis).size.is_some() => {
                self.int(self.axis(axis).size.unwrap_or_default())
            }
            size => self.add(Op::Size(size), &[]),
        }
    }

    /// An elementwise function.
    pub fn unary(&mut self, op: Unary, x: NodeId) -> NodeId {
        self.add(Op::Unary(op), &[x])
    }

    /// An elementwise function.
    pub fn binary(&mut self, op: Binary, x: NodeId, y: NodeId) -> NodeId {
        self.add(Op::Binary(op), &[x, y])
    }

    /// A comparison.
    pub fn compare(&mut self, op: Compare, x: NodeId, y: NodeId) -> NodeId {
        self.add(Op::Compare(op), &[x, y])
    }

    /// An element of a tensor.
    pub fn read(&mut self, tensor: NodeId, index: &[NodeId]) -> NodeId {
        let operands: Vec<NodeId> = std::iter::once(tensor).chain(index.iter().copied()).collect();
        self.add(Op::Read, &operands)
    }

    /// A tensor of an attention.
    pub fn field(&mut self, attention: NodeId, field: Field) -> NodeId {
        self.add(Op::Field(field), &[attention])
    }

    /// A scalar converted, unless it already has the type.
    pub fn cast(&mut self, x: NodeId, to: Scalar) -> NodeId {
        if self.ty(x).as_scalar() == Some(to) { x } else { self.add(Op::Cast(to), &[x]) }
    }
}
