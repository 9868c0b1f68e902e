//! Linear forms of integer expressions.
//!
//! Input → output: an int node → `c + k1 * atom1 + k2 * atom2 ...`, where an atom is any node that is not itself a sum, a
//! difference or a multiple. Two int expressions that differ by associativity, commutativity and distribution over
//! constants have one linear form; solving a comparison for a variable is arithmetic on its coefficients.

use dmac_ir::{Binary, Graph, NodeId, Op, Unary};
use std::collections::BTreeMap;

/// `constant + sum(coefficient * atom)`; no coefficient is zero.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Linear {
    /// The atoms with their coefficients.
    pub terms: BTreeMap<NodeId, i64>,
    /// The constant.
    pub constant: i64,
}

impl Linear {
    /// A constant.
    pub fn constant(constant: i64) -> Self {
        Self { terms: BTreeMap::new(), constant }
    }

    /// One atom.
    pub fn atom(id: NodeId) -> Self {
        Self { terms: BTreeMap::from([(id, 1)]), constant: 0 }
    }

    /// The linear form of an int node. Where a coefficient would overflow, the node is its own atom.
    pub fn of(graph: &Graph, id: NodeId) -> Self {
        let operand = |index| Self::of(graph, graph.operand(id, index));
        let found = match graph.op(id) {
            Op::Int(value) => Some(Self::constant(*value)),
            Op::Unary(Unary::Neg) => operand(0).scale(-1),
            Op::Binary(Binary::Add) => operand(0).add(&operand(1)),
            Op::Binary(Binary::Sub) => operand(0).sub(&operand(1)),
            // Constants are folded before, so a constant factor is a node; nothing else is worth looking into.
            Op::Binary(Binary::Mul) => {
                match (graph.op(graph.operand(id, 0)), graph.op(graph.operand(id, 1))) {
                    (_, Op::Int(by)) => operand(0).scale(*by),
                    (Op::Int(by), _) => operand(1).scale(*by),
                    _ => None,
                }
            }
            _ => None,
        };
        found.unwrap_or_else(|| Self::atom(id))
    }

    /// The value, where there is no atom.
    pub fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The sum; `None` on overflow, here and below.
    pub fn add(&self, other: &Self) -> Option<Self> {
        let mut sum = self.clone();
        sum.constant = sum.constant.checked_add(other.constant)?;
        for (&atom, &coefficient) in &other.terms {
            let entry = sum.terms.entry(atom).or_insert(0);
            *entry = entry.checked_add(coefficient)?;
        }
        sum.terms.retain(|_, coefficient| *coefficient != 0);
        Some(sum)
    }

    /// The difference.
    pub fn sub(&self, other: &Self) -> Option<Self> {
        self.add(&other.scale(-1)?)
    }

    /// The multiple.
    pub fn scale(&self, by: i64) -> Option<Self> {
        let mut scaled = Self::constant(self.constant.checked_mul(by)?);
        if by != 0 {
            for (&atom, coefficient) in &self.terms {
                scaled.terms.insert(atom, coefficient.checked_mul(by)?);
            }
        }
        Some(scaled)
    }

    /// With a constant added.
    pub fn plus(&self, constant: i64) -> Option<Self> {
        Some(Self { terms: self.terms.clone(), constant: self.constant.checked_add(constant)? })
    }

    /// The greatest common divisor of the coefficients; 0 where there is no atom.
    pub fn divisor(&self) -> i64 {
        self.terms.values().fold(0, |divisor, &coefficient| gcd(divisor, coefficient.abs()))
    }

    /// The atoms that satisfy `part`, and everything else.
    pub fn split(&self, part: impl Fn(NodeId) -> bool) -> (Self, Self) {
        let (mut inside, mut outside) = (Self::default(), Self::constant(self.constant));
        for (&atom, &coefficient) in &self.terms {
            let side = if part(atom) { &mut inside } else { &mut outside };
            side.terms.insert(atom, coefficient);
        }
        (inside, outside)
    }
}

/// The greatest common divisor of two numbers that are not negative.
pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `floor(a / b)` for `b > 0`.
pub fn floor_div(a: i64, b: i64) -> i64 {
    a.div_euclid(b)
}
