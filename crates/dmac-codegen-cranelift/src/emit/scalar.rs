//! Scalar expressions: one value at a time.
//!
//! Input → output: an [`Expr`] → an `I64`, `F32` or `I8` value. The side of `If`, `And` and `Or` that is not needed is
//! branched around where evaluating it could fault (a load, a division); otherwise both sides are computed and selected.

use super::{ACCESS, Along, Emitter, Point, WORD, scalar_type};
use crate::layout::Table;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use dmac_cpu_kernels::Kernel as Micro;
use dmac_ir::{Binary, Compare, ParamType, Reduction, Unary};
use dmac_schedule::kernel::{Element, Expr, ScalarType, TensorId, TileId, VarId, type_of};

/// The micro-kernel that computes an elementary function, if it is one.
pub(crate) fn strip(op: Unary) -> Option<Micro> {
    Some(match op {
        Unary::Exp => Micro::exp,
        Unary::Log => Micro::log,
        Unary::Tanh => Micro::tanh,
        Unary::Sigmoid => Micro::sigmoid,
        Unary::Softplus => Micro::softplus,
        Unary::LogSigmoid => Micro::logsigmoid,
        Unary::Neg | Unary::Not | Unary::Abs | Unary::Sqrt | Unary::Rsqrt | Unary::Relu | Unary::Floor => {
            return None;
        }
    })
}

/// Whether evaluating an expression where it is not wanted could fault.
pub(crate) fn partial(expr: &Expr) -> bool {
    expr.any(&mut |x| match x {
        Expr::Load { .. } | Expr::At { .. } => true,
        Expr::Binary(Binary::IntDiv | Binary::IntMod, _, y) => !matches!(**y, Expr::Int(y) if y != 0),
        _ => false,
    })
}

impl Emitter<'_, '_, '_> {
    pub(crate) fn ty(&self, expr: &Expr) -> ScalarType {
        let kernel = self.kernel.map(|(kernel, _)| kernel);
        type_of(self.program, kernel, expr).unwrap_or_else(|error| panic!("codegen: {error}"))
    }

    /// The value of an expression at the current element.
    pub(crate) fn scalar(&mut self, expr: &Expr) -> Value {
        match expr {
            Expr::Int(value) => return self.int(*value),
            Expr::Float(value) => return self.float(value.get()),
            Expr::Bool(value) => return self.b.ins().iconst(types::I8, i64::from(*value)),
            Expr::Var(var) => return self.get(*var),
            _ => {}
        }
        if let Some(value) = self.scopes.scalar(expr) {
            return value;
        }
        let value = self.compute(expr);
        self.scopes.add_scalar(expr, value);
        value
    }

    fn compute(&mut self, expr: &Expr) -> Value {
        if let Some(value) = self.strip_value(expr) {
            return value;
        }
        match expr {
            Expr::Int(_) | Expr::Float(_) | Expr::Bool(_) | Expr::Var(_) => self.scalar(expr),
            Expr::Size(size) => self.slot(Table::Args, self.layout.sizes + size.0 as usize),
            Expr::Param(param) => {
                let at = 8 * (self.layout.params + param.0 as usize) as i32;
                let ty = match self.program.params[param.0 as usize].ty {
                    ParamType::Int => WORD,
                    ParamType::Float => types::F32,
                };
                let args = self.args;
                self.b.ins().load(ty, ACCESS, args, at)
            }
            Expr::Row => self.point.row.expect("codegen: a row outside an elementwise statement"),
            Expr::Col => self.point.col.expect("codegen: a column outside an elementwise statement"),
            Expr::Load { tensor, index } => {
                let address = self.address(*tensor, index);
                self.load_element(self.program.tensor(*tensor).element, address)
            }
            Expr::Elem(tile) => {
                let address = self.elem_address(*tile);
                self.load_tile(*tile, address)
            }
            Expr::At { tile, row, col } => {
                let (row, col) = (self.scalar(row), self.scalar(col));
                let address = self.tile_address(*tile, row, col);
                self.load_tile(*tile, address)
            }
            Expr::Unary(op, x) => {
                let ty = self.ty(x);
                let x = self.scalar(x);
                self.unary(*op, ty, x)
            }
            Expr::Binary(op @ (Binary::And | Binary::Or), x, y) => {
                let x = self.scalar(x);
                if !partial(y) {
                    let y = self.scalar(y);
                    return if *op == Binary::And { self.b.ins().band(x, y) } else { self.b.ins().bor(x, y) };
                }
                if *op == Binary::And {
                    self.choose(x, types::I8, |e| e.scalar(y), |_| x)
                } else {
                    self.choose(x, types::I8, |_| x, |e| e.scalar(y))
                }
            }
            Expr::Binary(op, x, y) => {
                let ty = self.ty(x);
                let constant = match **y {
                    Expr::Int(value) => Some(value),
                    _ => None,
                };
                let x = self.scalar(x);
                match (op, constant) {
                    (Binary::IntDiv, Some(c)) if c > 0 => return self.divide_by(x, c),
                    (Binary::IntMod, Some(c)) if c > 0 => {
                        let quotient = self.divide_by(x, c);
                        let whole = self.scaled(quotient, c);
                        return self.b.ins().isub(x, whole);
                    }
                    _ => {}
                }
                let y = self.scalar(y);
                self.binary(*op, ty, x, y)
            }
            Expr::Compare(op, x, y) => {
                let ty = self.ty(x);
                let (x, y) = (self.scalar(x), self.scalar(y));
                self.compare(*op, ty, x, y)
            }
            Expr::If(c, x, y) => {
                let ty = scalar_type(self.ty(x));
                let c = self.scalar(c);
                if partial(x) || partial(y) {
                    self.choose(c, ty, |e| e.scalar(x), |e| e.scalar(y))
                } else {
                    let (x, y) = (self.scalar(x), self.scalar(y));
                    self.b.ins().select(c, x, y)
                }
            }
            Expr::CeilLog2(x) => {
                // 64 - the leading zeros of x - 1, where that is positive.
                let x = self.scalar(x);
                let (zero, below) = (self.int(0), self.add_const(x, -1));
                let below = self.b.ins().smax(below, zero);
                let zeros = self.b.ins().clz(below);
                let all = self.int(64);
                self.b.ins().isub(all, zeros)
            }
            Expr::Pow2(x) => {
                let (one, x) = (self.int(1), self.scalar(x));
                self.b.ins().ishl(one, x)
            }
            Expr::Order(x) => {
                // The bits of a negative number fall as it rises.
                let x = self.scalar(x);
                let zero = self.b.ins().f32const(0.0);
                let number = self.b.ins().fcmp(FloatCC::Equal, x, x);
                let x = self.b.ins().fadd(x, zero);
                let bits = self.b.ins().bitcast(types::I32, MemFlagsData::new(), x);
                let sign = self.b.ins().sshr_imm_u(bits, 31);
                let flip = self.b.ins().ushr_imm_u(sign, 1);
                let ordered = self.b.ins().bxor(bits, flip);
                let nan = self.b.ins().iconst(types::I32, i64::from(i32::MIN + 1));
                let ordered = self.b.ins().select(number, ordered, nan);
                self.b.ins().sextend(types::I64, ordered)
            }
            Expr::Cast(to, x) => {
                let from = self.ty(x);
                let x = self.scalar(x);
                self.cast(from, *to, x)
            }
            Expr::Reduce { op, var, lo, hi, body } => {
                let (lo, hi) = (self.scalar(lo), self.scalar(hi));
                let ty = self.ty(body);
                self.reduce(*op, ty, *var, (lo, hi), false, |e| e.scalar(body))
            }
        }
    }

    /// A reduction of `body` over `range`, of scalars or of four lanes.
    pub(crate) fn reduce(
        &mut self,
        op: Reduction,
        ty: ScalarType,
        var: VarId,
        (lo, hi): (Value, Value),
        lanes: bool,
        body: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        let machine = if lanes { super::vector_type(ty) } else { scalar_type(ty) };
        let start = match (op, ty) {
            (Reduction::Any | Reduction::Sum | Reduction::Mean, _) => 0,
            (Reduction::All, _) => -1,
            (Reduction::Max, ScalarType::F32) => f32::NEG_INFINITY.to_bits() as i32 as i64,
            (Reduction::Min, ScalarType::F32) => f32::INFINITY.to_bits() as i32 as i64,
            (Reduction::Max, _) if lanes => i64::from(i32::MIN),
            (Reduction::Min, _) if lanes => i64::from(i32::MAX),
            (Reduction::Max, _) => i64::MIN,
            (Reduction::Min, _) => i64::MAX,
        };
        let start = match (lanes, ty) {
            (true, ScalarType::F32) => self.lanes_float(machine, f32::from_bits(start as u32)),
            (true, _) => self.lanes_int(machine, start as i32),
            (false, ScalarType::F32) => self.float(f32::from_bits(start as u32)),
            (false, ScalarType::Bool) => self.b.ins().iconst(types::I8, start & 1),
            (false, ScalarType::Int) => self.int(start),
        };
        let total = self.fold(lo, hi, start, |e, i, old| {
            e.set(var, i);
            let new = body(e);
            match op {
                Reduction::Any => e.b.ins().bor(old, new),
                Reduction::All => e.b.ins().band(old, new),
                Reduction::Sum | Reduction::Mean => e.binary(Binary::Add, ty, old, new),
                Reduction::Max => e.binary(Binary::Max, ty, old, new),
                Reduction::Min => e.binary(Binary::Min, ty, old, new),
            }
        });
        if op == Reduction::Mean {
            let count = self.b.ins().isub(hi, lo);
            let zero = self.int(0);
            let count = self.b.ins().smax(count, zero);
            let mut count = self.b.ins().fcvt_from_sint(types::F32, count);
            if lanes {
                count = self.b.ins().splat(types::F32X4, count);
            }
            return self.b.ins().fdiv(total, count);
        }
        total
    }

    /// An elementwise function of a scalar, or of four lanes where the operand is a vector.
    pub(crate) fn unary(&mut self, op: Unary, ty: ScalarType, x: Value) -> Value {
        let machine = self.type_of(x);
        match (op, ty) {
            (Unary::Not, _) => {
                if machine.is_vector() {
                    self.b.ins().bnot(x)
                } else {
                    self.b.ins().bxor_imm_u(x, 1)
                }
            }
            (Unary::Neg, ScalarType::F32) => self.b.ins().fneg(x),
            (Unary::Neg, _) => self.b.ins().ineg(x),
            (Unary::Abs, ScalarType::F32) => self.b.ins().fabs(x),
            (Unary::Abs, _) => self.b.ins().iabs(x),
            (Unary::Relu, ScalarType::F32) => {
                let zero = self.lanes_float(machine, 0.0);
                self.binary(Binary::Max, ty, x, zero)
            }
            (Unary::Relu, _) => {
                let zero = if machine.is_vector() { self.lanes_int(machine, 0) } else { self.int(0) };
                self.b.ins().smax(x, zero)
            }
            (Unary::Sqrt, _) => self.b.ins().sqrt(x),
            (Unary::Rsqrt, _) => {
                let root = self.b.ins().sqrt(x);
                let one = self.lanes_float(machine, 1.0);
                self.b.ins().fdiv(one, root)
            }
            (Unary::Floor, _) => self.b.ins().floor(x),
            (
                Unary::Exp | Unary::Log | Unary::Tanh | Unary::Sigmoid | Unary::Softplus | Unary::LogSigmoid,
                _,
            ) => {
                let micro = strip(op).expect("codegen: an elementary function has a strip");
                let small = self.small();
                self.b.ins().store(ACCESS, x, small, 0);
                let count = self.int(i64::from(machine.lane_count()));
                self.call(micro, &[small, small, count]);
                self.b.ins().load(machine, ACCESS, small, 0)
            }
        }
    }

    /// An elementwise function of two scalars, or of four lanes each.
    pub(crate) fn binary(&mut self, op: Binary, ty: ScalarType, x: Value, y: Value) -> Value {
        let float = ty == ScalarType::F32;
        match op {
            Binary::Add if float => self.b.ins().fadd(x, y),
            Binary::Sub if float => self.b.ins().fsub(x, y),
            Binary::Mul if float => self.b.ins().fmul(x, y),
            Binary::Add => self.b.ins().iadd(x, y),
            Binary::Sub => self.b.ins().isub(x, y),
            Binary::Mul => self.b.ins().imul(x, y),
            Binary::Div => self.b.ins().fdiv(x, y),
            // As one instruction: `fmin` and `fmax` take ten for their rules about NaN and signed zeros.
            Binary::Min if float => self.pick(FloatCC::LessThan, x, y),
            Binary::Max if float => self.pick(FloatCC::GreaterThan, x, y),
            Binary::Min => self.b.ins().smin(x, y),
            Binary::Max => self.b.ins().smax(x, y),
            Binary::And => self.b.ins().band(x, y),
            Binary::Or => self.b.ins().bor(x, y),
            Binary::IntDiv => self.floor_divide(x, y).0,
            Binary::IntMod => self.floor_divide(x, y).1,
        }
    }

    /// The one of two floats that the comparison holds for.
    fn pick(&mut self, condition: FloatCC, x: Value, y: Value) -> Value {
        let holds = self.b.ins().fcmp(condition, x, y);
        let ty = self.type_of(x);
        if ty.is_vector() {
            let holds = self.bits(ty, holds);
            self.b.ins().bitselect(holds, x, y)
        } else {
            self.b.ins().select(holds, x, y)
        }
    }

    /// `floor(x / c)` for a positive constant.
    fn divide_by(&mut self, x: Value, c: i64) -> Value {
        if c & (c - 1) == 0 {
            return if c == 1 { x } else { self.b.ins().sshr_imm_u(x, i64::from(c.trailing_zeros())) };
        }
        let y = self.int(c);
        self.floor_divide(x, y).0
    }

    /// `floor(x / y)` and the rest, of scalar ints. A zero divisor, which the meaning excludes, is taken for 1.
    pub(crate) fn floor_divide(&mut self, x: Value, y: Value) -> (Value, Value) {
        let ty = self.type_of(x);
        let zero = self.b.ins().iconst(ty, 0);
        let one = self.b.ins().iconst(ty, 1);
        let is_zero = self.b.ins().icmp(IntCC::Equal, y, zero);
        let y = self.b.ins().select(is_zero, one, y);
        // -1 apart, so that the least int divided by it does not trap.
        let minus_one = self.b.ins().iconst(ty, -1);
        let is_minus_one = self.b.ins().icmp(IntCC::Equal, y, minus_one);
        let safe = self.b.ins().select(is_minus_one, one, y);
        let quotient = self.b.ins().sdiv(x, safe);
        let negated = self.b.ins().ineg(x);
        let quotient = self.b.ins().select(is_minus_one, negated, quotient);
        let product = self.b.ins().imul(quotient, y);
        let rest = self.b.ins().isub(x, product);
        let differs = self.b.ins().bxor(rest, y);
        let opposite = self.b.ins().icmp(IntCC::SignedLessThan, differs, zero);
        let inexact = self.b.ins().icmp(IntCC::NotEqual, rest, zero);
        let down = self.b.ins().band(opposite, inexact);
        let lower = self.b.ins().iadd(quotient, minus_one);
        let higher = self.b.ins().iadd(rest, y);
        (self.b.ins().select(down, lower, quotient), self.b.ins().select(down, higher, rest))
    }

    /// A comparison: an `I8` of scalars, a mask of vectors.
    pub(crate) fn compare(&mut self, op: Compare, ty: ScalarType, x: Value, y: Value) -> Value {
        if ty == ScalarType::F32 {
            let condition = match op {
                Compare::Eq => FloatCC::Equal,
                Compare::Ne => FloatCC::NotEqual,
                Compare::Lt => FloatCC::LessThan,
                Compare::Le => FloatCC::LessThanOrEqual,
                Compare::Gt => FloatCC::GreaterThan,
                Compare::Ge => FloatCC::GreaterThanOrEqual,
            };
            return self.b.ins().fcmp(condition, x, y);
        }
        let condition = match op {
            Compare::Eq => IntCC::Equal,
            Compare::Ne => IntCC::NotEqual,
            Compare::Lt => IntCC::SignedLessThan,
            Compare::Le => IntCC::SignedLessThanOrEqual,
            Compare::Gt => IntCC::SignedGreaterThan,
            Compare::Ge => IntCC::SignedGreaterThanOrEqual,
        };
        self.b.ins().icmp(condition, x, y)
    }

    fn cast(&mut self, from: ScalarType, to: ScalarType, x: Value) -> Value {
        use ScalarType::{Bool, F32, Int};
        match (from, to) {
            (Int, Int) | (F32, F32) | (Bool, Bool) => x,
            (Int, F32) => self.b.ins().fcvt_from_sint(types::F32, x),
            (F32, Int) => {
                let floor = self.b.ins().floor(x);
                self.b.ins().fcvt_to_sint_sat(WORD, floor)
            }
            (Bool, Int) => self.b.ins().uextend(WORD, x),
            (Bool, F32) => {
                let int = self.b.ins().uextend(types::I32, x);
                self.b.ins().fcvt_from_sint(types::F32, int)
            }
            (Int, Bool) => self.b.ins().icmp_imm_s(IntCC::NotEqual, x, 0),
            (F32, Bool) => {
                let zero = self.float(0.0);
                self.b.ins().fcmp(FloatCC::NotEqual, x, zero)
            }
        }
    }

    /// Where an elementary function's values are in a buffer, the one of the current element.
    fn strip_value(&mut self, expr: &Expr) -> Option<Value> {
        let buffer = self.strip_buffer(expr)?;
        let at = match self.point.along {
            Along::Cols => self.point.col,
            Along::Rows => self.point.row,
        };
        let at = at.expect("codegen: strips belong to elementwise statements");
        let address = self.offset(buffer, at, 4);
        Some(self.b.ins().load(types::F32, ACCESS, address, 0))
    }

    pub(crate) fn strip_buffer(&self, expr: &Expr) -> Option<Value> {
        self.strips.iter().find(|(of, _)| of == expr).map(|(_, buffer)| *buffer)
    }

    /// The address of a tensor's element.
    pub(crate) fn address(&mut self, tensor: TensorId, index: &[Expr]) -> Value {
        let bytes = self.program.tensor(tensor).element.bytes() as i64;
        let Some((last, lead)) = index.split_last() else { return self.base(tensor, &[]) };
        let base = self.base(tensor, lead);
        let last = self.scalar(last);
        self.offset(base, last, bytes)
    }

    /// The address of the first element along a tensor's last axis.
    pub(crate) fn base(&mut self, tensor: TensorId, lead: &[Expr]) -> Value {
        let key = (tensor, lead.to_vec());
        if let Some(value) = self.scopes.base(&key) {
            return value;
        }
        let place = self.layout.place(tensor);
        let mut address = self.slot(place.table, place.pointer);
        let bytes = self.program.tensor(tensor).element.bytes() as i64;
        let mut elements = None;
        for (axis, index) in lead.iter().enumerate() {
            if *index == Expr::Int(0) {
                continue;
            }
            let index = self.scalar(index);
            let stride = self.stride(tensor, axis);
            let part = self.b.ins().imul(index, stride);
            elements = Some(elements.map_or(part, |sum| self.b.ins().iadd(sum, part)));
        }
        if let Some(elements) = elements {
            address = self.offset(address, elements, bytes);
        }
        self.scopes.add_base(key, address);
        address
    }

    /// The stride of an axis, in elements.
    pub(crate) fn stride(&mut self, tensor: TensorId, axis: usize) -> Value {
        if axis + 1 == self.program.tensor(tensor).dims.len() {
            return self.int(1);
        }
        let place = self.layout.place(tensor);
        self.slot(place.table, place.pointer + 1 + axis)
    }

    /// One element from memory as a scalar.
    pub(crate) fn load_element(&mut self, element: Element, address: Value) -> Value {
        match element {
            Element::F32 => self.b.ins().load(types::F32, ACCESS, address, 0),
            Element::I32 => self.b.ins().sload32(ACCESS, address, 0),
            Element::Bool => {
                let byte = self.b.ins().load(types::I8, ACCESS, address, 0);
                self.b.ins().icmp_imm_s(IntCC::NotEqual, byte, 0)
            }
            Element::F16 | Element::Bf16 => {
                let half = self.b.ins().load(types::I16, ACCESS, address, 0);
                let bits = self.b.ins().uextend(types::I32, half);
                self.widen(element, bits)
            }
        }
    }

    /// One scalar to memory, rounded to the element.
    pub(crate) fn store_element(&mut self, element: Element, value: Value, address: Value) {
        match element {
            Element::F32 | Element::Bool => {
                self.b.ins().store(ACCESS, value, address, 0);
            }
            Element::I32 => {
                self.b.ins().istore32(ACCESS, value, address, 0);
            }
            Element::F16 | Element::Bf16 => {
                let bits = self.narrow(element, value);
                self.b.ins().istore16(ACCESS, bits, address, 0);
            }
        }
    }

    /// The address of the current element of a tile, broadcast along axes of one element.
    fn elem_address(&mut self, tile: TileId) -> Value {
        let decl = self.kernel().tile(tile);
        let Point { row, col, .. } = self.point;
        let zero = self.int(0);
        let row =
            if decl.rows == 1 { zero } else { row.expect("codegen: a row outside an elementwise statement") };
        let col = if decl.cols == 1 {
            zero
        } else {
            col.expect("codegen: a column outside an elementwise statement")
        };
        self.tile_address(tile, row, col)
    }
}
