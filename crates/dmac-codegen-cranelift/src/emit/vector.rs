//! Vector expressions: four elements of a tile at a time, along its columns (or the rows of a row vector).
//!
//! Input → output: an [`Expr`] → an `F32X4`, an `I32X4`, or for a bool an `I32X4` of all ones or zeros. What does not
//! vary along the vector is computed once as a scalar. Where a side of `If`, `And` or `Or` must not be evaluated for some
//! lanes, a mask of the lanes that count travels along: loads read the lanes that count only.

use super::scalar::partial;
use super::{ACCESS, Along, Emitter, Point, WORD};
use crate::rows::unit_by;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, StackSlotData, StackSlotKind, Value, types};
use dmac_ir::Binary;
use dmac_schedule::kernel::{Element, Expr, ScalarType, TensorId, TileId};

/// The lanes of a vector.
pub(crate) const LANES: i64 = 4;

impl Emitter<'_, '_, '_> {
    /// Whether an expression varies along the vector.
    pub(crate) fn varies(&self, expr: &Expr) -> bool {
        let along = self.point.along;
        expr.any(&mut |x| match x {
            Expr::Col => along == Along::Cols,
            Expr::Row => along == Along::Rows,
            Expr::Elem(tile) => self.tile_varies(*tile),
            _ => false,
        })
    }

    fn tile_varies(&self, tile: TileId) -> bool {
        let decl = self.kernel().tile(tile);
        match self.point.along {
            Along::Cols => decl.cols != 1,
            Along::Rows => decl.rows != 1,
        }
    }

    /// The coordinate of lane 0 along the vector.
    fn lane_zero(&self) -> Value {
        let at = match self.point.along {
            Along::Cols => self.point.col,
            Along::Rows => self.point.row,
        };
        at.expect("codegen: vector code is inside an elementwise loop")
    }

    /// Four lanes of an expression. Lanes outside `guard` may hold anything.
    pub(crate) fn vector(&mut self, expr: &Expr, guard: Option<Value>) -> Value {
        if let Some(value) = self.scopes.vector(expr) {
            return value;
        }
        let guarded = guard.is_some() && partial(expr);
        let value = if self.varies(expr) { self.lanes(expr, guard) } else { self.spread(expr, guard) };
        if !guarded {
            self.scopes.add_vector(expr, value);
        }
        value
    }

    /// A scalar in all lanes.
    fn spread(&mut self, expr: &Expr, guard: Option<Value>) -> Value {
        let ty = self.ty(expr);
        match expr {
            Expr::Float(value) => return self.lanes_float(types::F32X4, value.get()),
            Expr::Int(value) => return self.lanes_int(types::I32X4, *value as i32),
            Expr::Bool(value) => return self.lanes_int(types::I32X4, -i32::from(*value)),
            _ => {}
        }
        let value = match guard {
            Some(mask) if partial(expr) && self.scopes.scalar(expr).is_none() => {
                let any = self.b.ins().vany_true(mask);
                let machine = super::scalar_type(ty);
                self.choose(
                    any,
                    machine,
                    |e| e.scalar(expr),
                    |e| if ty == ScalarType::F32 { e.float(0.0) } else { e.b.ins().iconst(machine, 0) },
                )
            }
            _ => self.scalar(expr),
        };
        self.splat(ty, value)
    }

    fn splat(&mut self, ty: ScalarType, value: Value) -> Value {
        match ty {
            ScalarType::F32 => self.b.ins().splat(types::F32X4, value),
            ScalarType::Int => {
                let value = self.b.ins().ireduce(types::I32, value);
                self.b.ins().splat(types::I32X4, value)
            }
            ScalarType::Bool => {
                let value = self.b.ins().uextend(types::I32, value);
                let value = self.b.ins().ineg(value);
                self.b.ins().splat(types::I32X4, value)
            }
        }
    }

    fn lanes(&mut self, expr: &Expr, guard: Option<Value>) -> Value {
        if let Some(buffer) = self.strip_buffer(expr) {
            let at = self.lane_zero();
            let address = self.offset(buffer, at, 4);
            return self.b.ins().load(types::F32X4, ACCESS, address, 0);
        }
        match expr {
            Expr::Row | Expr::Col => {
                let at = self.lane_zero();
                let first = self.splat(ScalarType::Int, at);
                let iota = self.vconst(types::I32X4, [0, 1, 2, 3]);
                self.b.ins().iadd(first, iota)
            }
            Expr::Elem(tile) => self.elem_lanes(*tile),
            Expr::Load { tensor, index } => self.load_vector(*tensor, index, guard),
            Expr::At { tile, row, col } => self.at_lanes(*tile, row, col, guard),
            Expr::Unary(op, x) => {
                let ty = self.ty(x);
                let x = self.vector(x, guard);
                self.unary(*op, ty, x)
            }
            Expr::Binary(op @ (Binary::And | Binary::Or), x, y) => {
                let x = self.vector(x, guard);
                let needed = if *op == Binary::And { x } else { self.b.ins().bnot(x) };
                let y = self.within(guard, needed, y);
                if *op == Binary::And { self.b.ins().band(x, y) } else { self.b.ins().bor(x, y) }
            }
            Expr::Binary(op @ (Binary::IntDiv | Binary::IntMod), x, y) => self.divide_lanes(*op, x, y, guard),
            Expr::Binary(op, x, y) => {
                let ty = self.ty(x);
                let (x, y) = (self.vector(x, guard), self.vector(y, guard));
                self.binary(*op, ty, x, y)
            }
            Expr::Compare(op, x, y) => {
                let ty = self.ty(x);
                let (x, y) = (self.vector(x, guard), self.vector(y, guard));
                self.compare(*op, ty, x, y)
            }
            Expr::If(c, x, y) => {
                let c = self.vector(c, guard);
                let not = self.b.ins().bnot(c);
                let x = self.within(guard, c, x);
                let y = self.within(guard, not, y);
                let mask = self.bits(self.type_of(x), c);
                self.b.ins().bitselect(mask, x, y)
            }
            Expr::CeilLog2(_) | Expr::Pow2(_) | Expr::Order(_) => {
                panic!("codegen: {expr:?} is no element of a tile")
            }
            Expr::Cast(to, x) => {
                let from = self.ty(x);
                let x = self.vector(x, guard);
                self.cast_lanes(from, *to, x)
            }
            Expr::Reduce { op, var, lo, hi, body } => {
                if self.varies(lo) || self.varies(hi) {
                    return self.one_by_one(expr, guard);
                }
                let ty = self.ty(body);
                let (lo, hi) = (self.scalar_within(lo, guard), self.scalar_within(hi, guard));
                self.reduce(*op, ty, *var, (lo, hi), true, |e| e.vector(body, guard))
            }
            Expr::Int(_) | Expr::Float(_) | Expr::Bool(_) | Expr::Size(_) | Expr::Param(_) | Expr::Var(_) => {
                self.spread(expr, guard)
            }
        }
    }

    /// An expression for the lanes that are in `guard` and in `needed`.
    fn within(&mut self, guard: Option<Value>, needed: Value, expr: &Expr) -> Value {
        if !partial(expr) {
            return self.vector(expr, guard);
        }
        let mask = guard.map_or(needed, |guard| self.b.ins().band(guard, needed));
        self.vector(expr, Some(mask))
    }

    /// A scalar that is 0 where no lane counts.
    fn scalar_within(&mut self, expr: &Expr, guard: Option<Value>) -> Value {
        match guard {
            Some(mask) if partial(expr) => {
                let any = self.b.ins().vany_true(mask);
                self.choose(any, WORD, |e| e.scalar(expr), |e| e.int(0))
            }
            _ => self.scalar(expr),
        }
    }

    fn cast_lanes(&mut self, from: ScalarType, to: ScalarType, x: Value) -> Value {
        use ScalarType::{Bool, F32, Int};
        match (from, to) {
            (Int, Int) | (F32, F32) | (Bool, Bool) => x,
            (Int, F32) => self.b.ins().fcvt_from_sint(types::F32X4, x),
            (F32, Int) => {
                let floor = self.b.ins().floor(x);
                self.b.ins().fcvt_to_sint_sat(types::I32X4, floor)
            }
            (Bool, Int) => self.b.ins().ineg(x),
            (Bool, F32) => {
                let int = self.b.ins().ineg(x);
                self.b.ins().fcvt_from_sint(types::F32X4, int)
            }
            (Int, Bool) => {
                let zero = self.lanes_int(types::I32X4, 0);
                self.b.ins().icmp(IntCC::NotEqual, x, zero)
            }
            (F32, Bool) => {
                let zero = self.lanes_float(types::F32X4, 0.0);
                self.b.ins().fcmp(FloatCC::NotEqual, x, zero)
            }
        }
    }

    /// There is no vector division of ints: shifts for powers of two, one lane after the other otherwise.
    fn divide_lanes(&mut self, op: Binary, x: &Expr, y: &Expr, guard: Option<Value>) -> Value {
        let x = self.vector(x, guard);
        if let Expr::Int(divisor) = y
            && *divisor > 0
            && divisor & (divisor - 1) == 0
        {
            return if op == Binary::IntDiv {
                self.b.ins().sshr_imm_u(x, i64::from(divisor.trailing_zeros()))
            } else {
                let mask = self.lanes_int(types::I32X4, (*divisor - 1) as i32);
                self.b.ins().band(x, mask)
            };
        }
        let y = self.vector(y, guard);
        let mut result = self.lanes_int(types::I32X4, 0);
        for lane in 0..LANES as u8 {
            let (x, y) = (self.b.ins().extractlane(x, lane), self.b.ins().extractlane(y, lane));
            let (quotient, rest) = self.floor_divide(x, y);
            let value = if op == Binary::IntDiv { quotient } else { rest };
            result = self.b.ins().insertlane(result, value, lane);
        }
        result
    }

    /// Each lane by scalar code: for what has no vector form.
    fn one_by_one(&mut self, expr: &Expr, guard: Option<Value>) -> Value {
        let ty = self.ty(expr);
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 32, 4);
        let slot = self.b.create_sized_stack_slot(data);
        let address = self.b.ins().stack_addr(WORD, slot, 0);
        let mask = guard.unwrap_or_else(|| self.lanes_int(types::I32X4, -1));
        self.b.ins().store(ACCESS, mask, address, 16);
        let first = self.lane_zero();
        let (zero, four) = (self.int(0), self.int(LANES));
        let outer = self.point;
        self.count_by(zero, four, 1, |e, lane| {
            let at = e.b.ins().iadd(first, lane);
            let point = match outer.along {
                Along::Cols => Point { col: Some(at), ..outer },
                Along::Rows => Point { row: Some(at), ..outer },
            };
            let place = e.offset(address, lane, 4);
            let counts = e.b.ins().load(types::I32, ACCESS, place, 16);
            let machine = super::scalar_type(ty);
            // What is remembered was computed for lane 0.
            let value = e.fresh(|e| {
                e.choose(
                    counts,
                    machine,
                    |e| e.at_point(point, |e| e.scalar(expr)),
                    |e| if ty == ScalarType::F32 { e.float(0.0) } else { e.b.ins().iconst(machine, 0) },
                )
            });
            match ty {
                ScalarType::F32 => e.b.ins().store(ACCESS, value, place, 0),
                ScalarType::Int => e.b.ins().istore32(ACCESS, value, place, 0),
                ScalarType::Bool => {
                    let wide = e.b.ins().uextend(types::I32, value);
                    let mask = e.b.ins().ineg(wide);
                    e.b.ins().store(ACCESS, mask, place, 0)
                }
            };
        });
        self.b.ins().load(super::vector_type(ty), ACCESS, address, 0)
    }

    /// The address of the element at coordinate 0 of the vector's axis, in the line of the current point.
    pub(crate) fn tile_line(&mut self, tile: TileId) -> Value {
        if let Some(value) = self.scopes.line(tile) {
            return value;
        }
        let decl = self.kernel().tile(tile);
        let zero = self.int(0);
        let fixed = |extent: usize, at: Option<Value>| match at {
            Some(at) if extent != 1 => at,
            _ => zero,
        };
        let (row, col) = match self.point.along {
            Along::Cols => (fixed(decl.rows, self.point.row), zero),
            Along::Rows => (zero, fixed(decl.cols, self.point.col)),
        };
        let value = self.tile_address(tile, row, col);
        self.scopes.add_line(tile, value);
        value
    }

    /// Bytes from one lane to the next in a tile.
    pub(crate) fn lane_bytes(&self, tile: TileId) -> i64 {
        let plan = self.plan().tile(tile);
        (match self.point.along {
            Along::Cols => plan.bytes,
            Along::Rows => plan.stride * plan.bytes,
        }) as i64
    }

    fn elem_lanes(&mut self, tile: TileId) -> Value {
        let (line, at) = (self.tile_line(tile), self.lane_zero());
        let step = self.lane_bytes(tile);
        let address = self.offset(line, at, step);
        let element = self.held(tile);
        let value = if step == self.plan().tile(tile).bytes as i64 {
            self.load_lanes(element, address)
        } else {
            let lanes = std::array::from_fn(|lane| self.add_const(address, lane as i64 * step));
            self.collect(element, lanes, None)
        };
        self.meant(tile, value)
    }

    fn at_lanes(&mut self, tile: TileId, row: &Expr, col: &Expr, guard: Option<Value>) -> Value {
        let plan = self.plan().tile(tile);
        let (stride, bytes) = (plan.stride as i64, plan.bytes as i64);
        let base = self.tile_base(tile);
        let row = self.lane_ints(row, guard);
        let col = self.lane_ints(col, guard);
        let lanes = std::array::from_fn(|lane| {
            let row = self.scaled(row[lane], stride * bytes);
            let col = self.scaled(col[lane], bytes);
            let within = self.b.ins().iadd(row, col);
            self.b.ins().iadd(base, within)
        });
        let value = self.collect(self.held(tile), lanes, guard);
        self.meant(tile, value)
    }

    /// The lanes of an int expression as addresses are computed with.
    fn lane_ints(&mut self, expr: &Expr, guard: Option<Value>) -> [Value; LANES as usize] {
        if !self.varies(expr) {
            let value = self.scalar_within(expr, guard);
            return [value; LANES as usize];
        }
        if self.steps_with_lane(expr) {
            let first = self.scalar(expr);
            return std::array::from_fn(|lane| self.add_const(first, lane as i64));
        }
        let lanes = self.vector(expr, guard);
        std::array::from_fn(|lane| {
            let value = self.b.ins().extractlane(lanes, lane as u8);
            self.b.ins().sextend(WORD, value)
        })
    }

    /// Whether an int expression goes up by one from lane to lane and can be computed in any case.
    fn steps_with_lane(&self, expr: &Expr) -> bool {
        let variable = if self.point.along == Along::Cols { Expr::Col } else { Expr::Row };
        !partial(expr) && unit_by(expr, &variable, &|x| !self.varies(x)).is_some()
    }

    fn load_vector(&mut self, tensor: TensorId, index: &[Expr], guard: Option<Value>) -> Value {
        let element = self.program.tensor(tensor).element;
        let Some((last, lead)) = index.split_last() else {
            unreachable!("codegen: a tensor without axes does not vary")
        };
        let plain = !lead.iter().any(|x| self.varies(x) || (guard.is_some() && partial(x)));
        if plain && self.steps_with_lane(last) {
            let base = self.base(tensor, lead);
            let first = self.scalar(last);
            let address = self.offset(base, first, element.bytes() as i64);
            return match guard {
                None => self.load_lanes(element, address),
                Some(mask) => {
                    let all = self.b.ins().vall_true(mask);
                    let ty = super::vector_type(element.scalar());
                    let bytes = element.bytes() as i64;
                    self.choose(
                        all,
                        ty,
                        |e| e.load_lanes(element, address),
                        |e| {
                            let lanes = std::array::from_fn(|lane| e.add_const(address, lane as i64 * bytes));
                            e.collect(element, lanes, guard)
                        },
                    )
                }
            };
        }
        // The part of the address that all lanes share, then each lane's own.
        let shared: Vec<Expr> = lead
            .iter()
            .map(|x| if self.varies(x) || partial(x) { Expr::Int(0) } else { x.clone() })
            .collect();
        let base = self.base(tensor, &shared);
        let mut lanes = [base; LANES as usize];
        for (axis, expr) in index.iter().enumerate() {
            if shared.get(axis).is_some_and(|x| x == expr) {
                continue;
            }
            let values = self.lane_ints(expr, guard);
            let stride = (axis + 1 < index.len()).then(|| self.stride(tensor, axis));
            for (lane, value) in lanes.iter_mut().zip(values) {
                let elements = stride.map_or(value, |stride| self.b.ins().imul(value, stride));
                *lane = self.offset(*lane, elements, element.bytes() as i64);
            }
        }
        self.collect(element, lanes, guard)
    }

    /// Four elements from four addresses; those of lanes outside `guard` are not followed.
    fn collect(
        &mut self,
        element: Element,
        addresses: [Value; LANES as usize],
        guard: Option<Value>,
    ) -> Value {
        let safe = guard.map(|_| self.small());
        let ty = if element == Element::F32 { types::F32X4 } else { types::I32X4 };
        let mut result =
            if element == Element::F32 { self.lanes_float(ty, 0.0) } else { self.lanes_int(ty, 0) };
        for (lane, address) in addresses.into_iter().enumerate() {
            let address = match (guard, safe) {
                (Some(mask), Some(safe)) => {
                    let counts = self.b.ins().extractlane(mask, lane as u8);
                    self.b.ins().select(counts, address, safe)
                }
                _ => address,
            };
            let value = match element {
                Element::F32 => self.b.ins().load(types::F32, ACCESS, address, 0),
                Element::I32 => self.b.ins().load(types::I32, ACCESS, address, 0),
                Element::F16 | Element::Bf16 => {
                    let half = self.b.ins().load(types::I16, ACCESS, address, 0);
                    self.b.ins().uextend(types::I32, half)
                }
                Element::Bool => {
                    let byte = self.b.ins().load(types::I8, ACCESS, address, 0);
                    self.b.ins().uextend(types::I32, byte)
                }
            };
            result = self.b.ins().insertlane(result, value, lane as u8);
        }
        match element {
            Element::F32 | Element::I32 => result,
            Element::F16 | Element::Bf16 => self.widen(element, result),
            Element::Bool => {
                let zero = self.lanes_int(types::I32X4, 0);
                self.b.ins().icmp(IntCC::NotEqual, result, zero)
            }
        }
    }
}
