//! Float expressions: only what is exact for every value, NaN, infinities and signed zeros included.

use super::Canon;
use dmac_ir::{Binary, Compare, NodeId, Op, Unary};

impl Canon<'_> {
    fn float_value(&self, id: NodeId) -> Option<f32> {
        match self.graph.op(id) {
            Op::Float(bits) => Some(bits.get()),
            _ => None,
        }
    }

    pub(super) fn float_unary(&mut self, unary: Unary, x: NodeId) -> NodeId {
        if let Some(value) = self.float_value(x) {
            let exact = match unary {
                Unary::Neg => Some(-value),
                Unary::Abs => Some(value.abs()),
                Unary::Floor => Some(value.floor()),
                Unary::Relu if value >= 0.0 => Some(value),
                Unary::Sqrt => Some(value.sqrt()).filter(|&root| product(root, root) == Some(value)),
                Unary::Rsqrt => {
                    let root = value.sqrt();
                    (product(root, root) == Some(value)).then(|| quotient(1.0, root)).flatten()
                }
                _ => None,
            };
            if let Some(exact) = exact {
                return self.graph.float(exact);
            }
        }
        let inner = match self.graph.op(x) {
            Op::Unary(inner) => Some(*inner),
            _ => None,
        };
        match (unary, inner) {
            (Unary::Neg, Some(Unary::Neg)) => self.graph.operand(x, 0),
            (Unary::Abs, Some(Unary::Neg | Unary::Abs)) => {
                let inside = self.graph.operand(x, 0);
                self.float_unary(Unary::Abs, inside)
            }
            (Unary::Abs | Unary::Relu, Some(Unary::Exp)) | (Unary::Floor, Some(Unary::Floor)) => x,
            _ => self.add(Op::Unary(unary), &[x]),
        }
    }

    pub(super) fn float_binary(&mut self, binary: Binary, x: NodeId, y: NodeId) -> NodeId {
        let (a, b) = (self.float_value(x), self.float_value(y));
        if let (Some(a), Some(b)) = (a, b) {
            let exact = match binary {
                Binary::Add => sum(a, b),
                Binary::Sub => sum(a, -b),
                Binary::Mul => product(a, b),
                Binary::Div => quotient(a, b),
                Binary::Min if a < b => Some(a),
                Binary::Min if b < a => Some(b),
                Binary::Max if a > b => Some(a),
                Binary::Max if b > a => Some(b),
                _ => None,
            };
            if let Some(exact) = exact {
                return self.graph.float(exact);
            }
        }
        match (binary, a, b) {
            (Binary::Mul | Binary::Div, _, Some(1.0)) => return x,
            (Binary::Mul, Some(1.0), _) => return y,
            (Binary::Mul | Binary::Div, _, Some(-1.0)) => return self.float_unary(Unary::Neg, x),
            (Binary::Mul, Some(-1.0), _) => return self.float_unary(Unary::Neg, y),
            // x - 0 = x and x + -0 = x for every x; x + 0 turns -0 into 0.
            (Binary::Sub, _, Some(zero)) if zero == 0.0 && zero.is_sign_positive() => return x,
            (Binary::Add, _, Some(zero)) if zero == 0.0 && zero.is_sign_negative() => return x,
            (Binary::Add, Some(zero), _) if zero == 0.0 && zero.is_sign_negative() => return y,
            // Division by a power of two is multiplication by its exact inverse.
            (Binary::Div, _, Some(by)) => {
                if let Some(inverse) = quotient(1.0, by) {
                    let factor = self.graph.float(inverse);
                    return self.float_binary(Binary::Mul, x, factor);
                }
            }
            _ => {}
        }
        match (binary, self.graph.op(y)) {
            (Binary::Sub, Op::Unary(Unary::Neg)) => {
                let negated = self.graph.operand(y, 0);
                self.float_binary(Binary::Add, x, negated)
            }
            (Binary::Add | Binary::Mul, _) => {
                let mut pair = [x, y];
                self.keys.sort(self.graph, &mut pair);
                if binary == Binary::Add {
                    // x + -y = x - y, exactly.
                    for (x, y) in [(pair[0], pair[1]), (pair[1], pair[0])] {
                        if *self.graph.op(y) == Op::Unary(Unary::Neg) {
                            let negated = self.graph.operand(y, 0);
                            return self.add(Op::Binary(Binary::Sub), &[x, negated]);
                        }
                    }
                }
                self.add(Op::Binary(binary), &pair)
            }
            _ => self.add(Op::Binary(binary), &[x, y]),
        }
    }

    pub(super) fn float_compare(&mut self, compare: Compare, x: NodeId, y: NodeId) -> NodeId {
        if let (Some(a), Some(b)) = (self.float_value(x), self.float_value(y)) {
            let holds = match compare {
                Compare::Eq => a == b,
                Compare::Ne => a != b,
                Compare::Lt => a < b,
                Compare::Le => a <= b,
                Compare::Gt => a > b,
                Compare::Ge => a >= b,
            };
            return self.graph.bool(holds);
        }
        match compare {
            Compare::Gt => self.add(Op::Compare(Compare::Lt), &[y, x]),
            Compare::Ge => self.add(Op::Compare(Compare::Le), &[y, x]),
            Compare::Eq | Compare::Ne => {
                let mut pair = [x, y];
                self.keys.sort(self.graph, &mut pair);
                self.add(Op::Compare(compare), &pair)
            }
            _ => self.add(Op::Compare(compare), &[x, y]),
        }
    }
}

/// `a * b` where it is an f32 exactly: a product of two f32 is exact in f64, unless it underflows.
fn product(a: f32, b: f32) -> Option<f32> {
    let wide = f64::from(a) * f64::from(b);
    (f64::from(wide as f32) == wide && (wide != 0.0 || a == 0.0 || b == 0.0)).then_some(wide as f32)
}

/// `a + b` where it is an f32 exactly.
fn sum(a: f32, b: f32) -> Option<f32> {
    let (wide_a, wide_b) = (f64::from(a), f64::from(b));
    let wide = wide_a + wide_b;
    (f64::from(wide as f32) == wide && wide - wide_a == wide_b && wide - wide_b == wide_a)
        .then_some(wide as f32)
}

/// `a / b` where it is a normal f32 exactly.
fn quotient(a: f32, b: f32) -> Option<f32> {
    let value = a / b;
    (value.is_normal() && product(value, b) == Some(a)).then_some(value)
}
