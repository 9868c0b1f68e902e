//! Scalar expressions.
//!
//! Input → output: an [`Expr`] → a [`Value`]. Nothing branches: both sides of `If`, `And` and `Or` are computed, loads in
//! the side that is not needed under a guard that keeps them from happening, and loops there run no times.

use super::Emitter;
use super::value::{AnyReg, Bool, Float, Int, Value};
use crate::plan::WARP;
use dmac_ir::{Binary, Compare, Reduction};
use dmac_ptx::{Cmp, ReduxOp, VoteMode};
use dmac_schedule::kernel::{Expr, ScalarType, type_of};

/// Where a thread's element lies in its part of a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// 0 or 1: the first row or the one eight below.
    pub row: usize,
    /// Which eight columns.
    pub group: usize,
    /// 0 or 1: which column of the pair.
    pub column: usize,
}

/// The element that an elementwise statement is at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub row: Int,
    pub col: Int,
    /// What is wanted of rows and columns; loads happen below only.
    pub rows: Int,
    pub cols: Int,
    /// Where it is in registers.
    pub place: Option<Place>,
}

/// A reduction at an element: the expression, the row and column that it depends on, the guards.
pub(crate) type ReductionKey = (Expr, Option<Int>, Option<Int>, Vec<Bool>);

/// Whether an expression depends on the row and on the column.
fn depends(e: &Emitter<'_>, expr: &Expr) -> (bool, bool) {
    let (mut row, mut col) = (false, false);
    expr.any(&mut |x| {
        match x {
            Expr::Row => row = true,
            Expr::Col => col = true,
            Expr::Elem(tile) => {
                let tile = e.kernel.tile(*tile);
                row |= tile.rows > 1;
                col |= tile.cols > 1;
            }
            _ => {}
        }
        row && col
    });
    (row, col)
}

/// Items of a reduction that a thread has under way at once, where their order does not matter. With more, or with more than
/// one where lanes share it, predicates are spilled.
const ITEMS_AT_ONCE: u32 = 2;

/// Whether the lanes of a warp may share a reduction, and should: it reads memory, and no order of its items matters.
pub(crate) fn shared_by_lanes(expr: &Expr) -> bool {
    let Expr::Reduce { op, body, .. } = expr else { return false };
    let loads = body.any(&mut |x| matches!(x, Expr::Load { .. }));
    let real = body.any(&mut |x| matches!(x, Expr::Float(_) | Expr::Cast(..)));
    loads && !real && matches!(op, Reduction::Min | Reduction::Max | Reduction::Any | Reduction::All)
}

impl Emitter<'_> {
    /// Whether the point is inside the wanted rows and columns, where these matter.
    pub(crate) fn bounds(&mut self, row: bool, col: bool) -> Bool {
        let Some(point) = self.point else { return Bool::Constant(true) };
        let mut inside = Bool::Constant(true);
        if row {
            let below = self.int_compare(Cmp::Lt, point.row, point.rows);
            inside = self.and(inside, below);
        }
        if col {
            let below = self.int_compare(Cmp::Lt, point.col, point.cols);
            inside = self.and(inside, below);
        }
        inside
    }

    /// The condition under which a load that depends on the row or the column happens.
    fn guarded_bounds(&mut self, row: bool, col: bool) -> Bool {
        let mut guard = self.bounds(row, col);
        for at in 0..self.guards.len() {
            guard = self.and(guard, self.guards[at]);
        }
        guard
    }

    pub(crate) fn int_value(&mut self, expr: &Expr) -> Int {
        match self.value(expr) {
            Value::Int(value) => value,
            value => panic!("codegen: {value:?} where an int is needed"),
        }
    }

    pub(crate) fn float_value(&mut self, expr: &Expr) -> Float {
        match self.value(expr) {
            Value::Float(value) => value,
            value => panic!("codegen: {value:?} where a float is needed"),
        }
    }

    pub(crate) fn bool_value(&mut self, expr: &Expr) -> Bool {
        match self.value(expr) {
            Value::Bool(value) => value,
            value => panic!("codegen: {value:?} where a condition is needed"),
        }
    }

    /// The value of an expression at the current point.
    pub(crate) fn value(&mut self, expr: &Expr) -> Value {
        match expr {
            Expr::Int(value) => Value::Int(Int::constant(*value)),
            Expr::Float(value) => Value::Float(Float::Constant(value.get())),
            Expr::Bool(value) => Value::Bool(Bool::Constant(*value)),
            Expr::Size(size) => Value::Int(self.sizes[size].into()),
            Expr::Param(param) => register_value(self.params[param]),
            Expr::Var(var) => register_value(self.variable(*var)),
            Expr::Row => Value::Int(self.point.expect("codegen: a row outside an elementwise statement").row),
            Expr::Col => {
                Value::Int(self.point.expect("codegen: a column outside an elementwise statement").col)
            }
            Expr::Elem(tile) => self.tile_element(*tile),
            Expr::Load { tensor, index } => {
                let (row, col) = depends(self, expr);
                let index: Vec<Int> = index.iter().map(|x| self.int_value(x)).collect();
                let guard = self.guarded_bounds(row, col);
                self.load_element(*tensor, &index, guard)
            }
            Expr::At { tile, row, col } => {
                let on = depends(self, expr);
                let (row, col) = (self.int_value(row), self.int_value(col));
                let guard = self.guarded_bounds(on.0, on.1);
                let shared =
                    self.in_shared(*tile).expect("codegen: a tile read at computed places is shared");
                self.load_shared(*tile, shared, row, col, guard)
            }
            Expr::Unary(op, x) => {
                let x = self.value(x);
                self.unary(*op, x)
            }
            Expr::Binary(op @ (Binary::And | Binary::Or), x, y) => {
                let x = self.bool_value(x);
                let wanted = if *op == Binary::And { x } else { self.not(x) };
                let y = self.under(wanted, |e| e.bool_value(y));
                Value::Bool(if *op == Binary::And { self.and(x, y) } else { self.or(x, y) })
            }
            Expr::Binary(op @ (Binary::IntDiv | Binary::IntMod | Binary::Mul), x, y)
                if let Expr::Pow2(power) = &**y =>
            {
                let (x, power) = (self.int_value(x), self.int_value(power));
                Value::Int(match op {
                    Binary::Mul => self.int_shift(x, power),
                    Binary::IntDiv => self.int_shift_down(x, power),
                    _ => {
                        let quotient = self.int_shift_down(x, power);
                        let whole = self.int_shift(quotient, power);
                        self.int_sub(x, whole)
                    }
                })
            }
            // One division for a whole statement.
            Expr::Binary(Binary::Div, x, y) if self.point.is_some() && depends(self, y) == (false, false) => {
                let (x, y) = (self.value(x), self.float_value(y));
                let inverse = self.float_unary("inverse", y, |e, y| e.k.rcp_rn("real", y));
                self.binary(Binary::Mul, x, Value::Float(inverse))
            }
            Expr::Binary(op, x, y) => {
                let (x, y) = (self.value(x), self.value(y));
                self.binary(*op, x, y)
            }
            Expr::Compare(op, x, y) => {
                let (x, y) = (self.value(x), self.value(y));
                Value::Bool(self.compare(*op, x, y))
            }
            Expr::If(c, x, y) => {
                let c = self.bool_value(c);
                let otherwise = self.not(c);
                let x = self.under(c, |e| e.value(x));
                let y = self.under(otherwise, |e| e.value(y));
                self.choose(c, x, y)
            }
            Expr::Pow2(x) => {
                let x = self.int_value(x);
                Value::Int(self.int_shift(Int::constant(1), x))
            }
            Expr::Order(x) => {
                let x = self.float_value(x);
                let x = self.float(x);
                Value::Int(self.order(x).into())
            }
            Expr::CeilLog2(x) => {
                let x = self.int_value(x);
                Value::Int(self.int_ceil_log2(x))
            }
            Expr::Cast(to, x) => {
                let x = self.value(x);
                self.cast(*to, x)
            }
            Expr::Reduce { .. } => self.reduce(expr),
        }
    }

    /// Emits what is wanted under a condition only.
    fn under<R>(&mut self, condition: Bool, f: impl FnOnce(&mut Self) -> R) -> R {
        if condition == Bool::Constant(true) {
            return f(self);
        }
        self.guards.push(condition);
        let result = f(self);
        self.guards.pop();
        result
    }

    fn binary(&mut self, op: Binary, x: Value, y: Value) -> Value {
        match (x, y) {
            (Value::Int(x), Value::Int(y)) => Value::Int(match op {
                Binary::Add => self.int_add(x, y),
                Binary::Sub => self.int_sub(x, y),
                Binary::Mul => self.int_mul(x, y),
                Binary::IntDiv => self.int_div(x, y),
                Binary::IntMod => self.int_mod(x, y),
                Binary::Min => self.int_min_max(false, x, y),
                Binary::Max => self.int_min_max(true, x, y),
                op => panic!("codegen: {op:?} of ints"),
            }),
            (Value::Float(x), Value::Float(y)) => Value::Float(match op {
                Binary::Add => self.float_binary("addf", x, y, |e, a, b| e.k.add("real", a, b)),
                Binary::Sub => self.float_binary("subf", x, y, |e, a, b| e.k.sub("real", a, b)),
                Binary::Mul => self.float_binary("mulf", x, y, |e, a, b| e.k.mul("real", a, b)),
                Binary::Div => self.float_binary("divf", x, y, |e, a, b| e.k.div_full("real", a, b)),
                Binary::Min => self.float_binary("minf", x, y, |e, a, b| e.k.min_f_nan("real", a, b)),
                Binary::Max => self.float_binary("maxf", x, y, |e, a, b| e.k.max_f_nan("real", a, b)),
                op => panic!("codegen: {op:?} of floats"),
            }),
            (x, y) => panic!("codegen: {op:?} of {x:?} and {y:?}"),
        }
    }

    pub(crate) fn compare(&mut self, op: Compare, x: Value, y: Value) -> Bool {
        match (x, y) {
            (Value::Int(x), Value::Int(y)) => {
                let cmp = match op {
                    Compare::Eq => Cmp::Eq,
                    Compare::Ne => Cmp::Ne,
                    Compare::Lt => Cmp::Lt,
                    Compare::Le => Cmp::Le,
                    Compare::Gt => Cmp::Gt,
                    Compare::Ge => Cmp::Ge,
                };
                self.int_compare(cmp, x, y)
            }
            (Value::Float(x), Value::Float(y)) => {
                // Nothing equals NaN, so it differs from everything.
                let (name, cmp) = match op {
                    Compare::Eq => ("eqf", Cmp::Eq),
                    Compare::Ne => ("nef", Cmp::Neu),
                    Compare::Lt => ("ltf", Cmp::Lt),
                    Compare::Le => ("lef", Cmp::Le),
                    Compare::Gt => ("gtf", Cmp::Gt),
                    Compare::Ge => ("gef", Cmp::Ge),
                };
                let a = self.float(x);
                let parts = [a.into(), y.into(), super::value::Part::None];
                self.number(name, parts, |e| e.k.setp_f("cond", a, cmp, y)).into()
            }
            (Value::Bool(x), Value::Bool(y)) => {
                let (not_x, not_y) = (self.not(x), self.not(y));
                let (both, neither) = (self.and(x, y), self.and(not_x, not_y));
                let equal = self.or(both, neither);
                if op == Compare::Eq { equal } else { self.not(equal) }
            }
            (x, y) => panic!("codegen: {op:?} of {x:?} and {y:?}"),
        }
    }

    /// A reduction, by a loop: its bounds are the same for all lanes or the lanes that are done wait.
    fn reduce(&mut self, expr: &Expr) -> Value {
        let (row, col) = depends(self, expr);
        let key: ReductionKey = (
            expr.clone(),
            self.point.filter(|_| row).map(|point| point.row),
            self.point.filter(|_| col).map(|point| point.col),
            self.guards.clone(),
        );
        if let Some((_, value)) = self.reductions.iter().find(|(known, _)| *known == key) {
            return *value;
        }
        if self.point.is_none() && !self.reducing && shared_by_lanes(expr) {
            let value = self.reduce_in_any_order(expr);
            self.reductions.push((key, value));
            return value;
        }
        let Expr::Reduce { op, var, lo, hi, body } = expr else { panic!("codegen: not a reduction") };
        let (lo, hi) = (self.int_value(lo), self.int_value(hi));
        let wanted = self.guarded_bounds(row, col);
        let hi = match self.choose(wanted, Value::Int(hi), Value::Int(lo)) {
            Value::Int(hi) => hi,
            value => panic!("codegen: {value:?} is no bound"),
        };
        let ty =
            type_of(self.program, Some(self.kernel), body).unwrap_or_else(|error| panic!("codegen: {error}"));
        let total = match ty {
            ScalarType::F32 => {
                let start = match op {
                    Reduction::Max => f32::NEG_INFINITY,
                    Reduction::Min => f32::INFINITY,
                    _ => 0.0,
                };
                AnyReg::F32(self.k.mov("total_f", start))
            }
            ScalarType::Int => {
                let start = match op {
                    Reduction::Max => i32::MIN,
                    Reduction::Min => i32::MAX,
                    _ => 0,
                };
                AnyReg::B32(self.k.mov("total", start))
            }
            ScalarType::Bool => {
                let start = self.condition(Bool::Constant(*op == Reduction::All));
                AnyReg::Pred(self.k.mov("total_c", start))
            }
        };
        let count = (*op == Reduction::Mean).then(|| self.int_sub(hi, lo));
        let AnyReg::B32(at) = self.variable(*var) else { panic!("codegen: a reduction is over ints") };
        // The variable counts: it is a plain register, not a number that others share.
        let (start, end) = (self.int(lo), self.int(hi));
        self.k.mov(at, start);
        let (head, done) = (self.k.label("reduce"), self.k.label("reduce_end"));
        let more = self.k.setp_s("more", at, Cmp::Lt, end);
        self.k.branch_if(!more, done);
        self.k.place(head);
        self.scoped(|e| {
            let value = e.value(body);
            let old = register_value(total);
            let new = match (op, ty) {
                (Reduction::Any, _) => Value::Bool(match (old, value) {
                    (Value::Bool(x), Value::Bool(y)) => e.or(x, y),
                    _ => panic!("codegen: any of what is no condition"),
                }),
                (Reduction::All, _) => Value::Bool(match (old, value) {
                    (Value::Bool(x), Value::Bool(y)) => e.and(x, y),
                    _ => panic!("codegen: all of what is no condition"),
                }),
                (Reduction::Sum | Reduction::Mean, _) => e.binary(Binary::Add, old, value),
                (Reduction::Max, _) => e.binary(Binary::Max, old, value),
                (Reduction::Min, _) => e.binary(Binary::Min, old, value),
            };
            e.overwrite(total, new);
            e.k.add(at, at, 1);
            e.k.setp_s(more, at, Cmp::Lt, end);
        });
        self.k.branch_if(more, head);
        self.k.place(done);
        let mut value = register_value(total);
        if let Some(count) = count {
            let count = self.cast(ScalarType::F32, Value::Int(count));
            value = self.binary(Binary::Div, value, count);
        }
        self.reductions.push((key, value));
        value
    }

    /// A reduction whose items may come in any order: several at once, so that their loads are in flight together. Where
    /// whole warps run with the same scalars the items are dealt to the lanes, and then all get the total. The loop runs as
    /// often for all lanes; beyond the last item nothing is added.
    fn reduce_in_any_order(&mut self, expr: &Expr) -> Value {
        let Expr::Reduce { op, var, lo, hi, body } = expr else { panic!("codegen: not a reduction") };
        let (lo, hi) = (self.int_value(lo), self.int_value(hi));
        let wanted = self.guarded_bounds(false, false);
        let hi = match self.choose(wanted, Value::Int(hi), Value::Int(lo)) {
            Value::Int(hi) => hi,
            value => panic!("codegen: {value:?} is no bound"),
        };
        let total = match op {
            Reduction::Min => AnyReg::B32(self.k.mov("total", i32::MAX)),
            Reduction::Max => AnyReg::B32(self.k.mov("total", i32::MIN)),
            _ => {
                let start = self.condition(Bool::Constant(*op == Reduction::All));
                AnyReg::Pred(self.k.mov("total_c", start))
            }
        };
        let AnyReg::B32(at) = self.variable(*var) else { panic!("codegen: a reduction is over ints") };
        let by_lanes = std::mem::take(&mut self.together);
        // Reductions inside of this one are loops of a thread.
        self.reducing = true;
        let (stride, items) = if by_lanes { (WARP, 1) } else { (1, ITEMS_AT_ONCE) };
        let (start, end) = (self.int(lo), self.int(hi));
        let first = self.k.mov("first_of_turn", start);
        let (head, done) = (self.k.label("reduce"), self.k.label("reduce_end"));
        let more = self.k.setp_s("more", first, Cmp::Lt, end);
        self.k.branch_if(!more, done);
        self.k.place(head);
        let mut values = Vec::new();
        for item in 0..items {
            self.scoped(|e| {
                e.k.add(at, first, item * stride);
                if by_lanes {
                    e.k.add(at, at, e.thread.lane);
                }
                let inside = e.int_compare(Cmp::Lt, at.into(), end.into());
                let value = e.under(inside, |e| e.value(body));
                match (total, value) {
                    // Predicates are few: none is kept for later.
                    (AnyReg::Pred(sum), Value::Bool(value)) => {
                        let sum = Bool::Register(sum);
                        let value = if *op == Reduction::Any {
                            let value = e.and(inside, value);
                            e.or(sum, value)
                        } else {
                            let outside = e.not(inside);
                            let value = e.or(outside, value);
                            e.and(sum, value)
                        };
                        e.overwrite(total, Value::Bool(value));
                    }
                    (AnyReg::B32(sum), value) => {
                        let Value::Int(value) = e.choose(inside, value, register_value(total)) else {
                            panic!("codegen: a choice of ints is an int")
                        };
                        let value = e.int(value);
                        values.push((sum, e.k.mov("item", value)));
                    }
                    (total, value) => panic!("codegen: {value:?} reduced into {total:?}"),
                }
            });
        }
        let which = if *op == Reduction::Max { Binary::Max } else { Binary::Min };
        for (sum, value) in values {
            self.scoped(|e| {
                let sum = e.binary(which, Value::Int(sum.into()), Value::Int(value.into()));
                e.overwrite(total, sum);
            });
        }
        self.k.add(first, first, items * stride);
        self.k.setp_s(more, first, Cmp::Lt, end);
        self.reducing = false;
        self.k.branch_if(more, head);
        self.k.place(done);
        if !by_lanes {
            return register_value(total);
        }
        self.together = true;
        self.k.bar_warp();
        match total {
            AnyReg::B32(total) => {
                let op = if *op == Reduction::Max { ReduxOp::MaxS32 } else { ReduxOp::MinS32 };
                Value::Int(self.k.redux(op, "total_of_lanes", total).into())
            }
            AnyReg::Pred(total) => {
                let mode = if *op == Reduction::All { VoteMode::All } else { VoteMode::Any };
                Value::Bool(self.k.vote(mode, "total_of_lanes", total).into())
            }
            other => panic!("codegen: {other:?} is no total of lanes"),
        }
    }

    /// Puts a value into a register.
    pub(crate) fn overwrite(&mut self, register: AnyReg, value: Value) {
        match (register, value) {
            (AnyReg::B32(register), Value::Int(value)) => {
                let value = self.int_operand(value);
                self.k.mov(register, value);
            }
            (AnyReg::F32(register), Value::Float(value)) => {
                self.k.mov(register, value);
            }
            (AnyReg::Pred(register), Value::Bool(value)) => {
                let value = self.condition(value);
                self.k.mov(register, value);
            }
            (register, value) => panic!("codegen: {value:?} put into {register:?}"),
        }
    }

    /// A counting loop over `0 .. count` with a scope of its own.
    pub(crate) fn repeat(&mut self, role: &str, count: u32, f: impl FnOnce(&mut Self, Int)) {
        let counter = self.k.mov(role, 0);
        let head = self.k.label(role);
        self.k.place(head);
        self.scoped(|e| {
            f(e, counter.into());
            e.k.add(counter, counter, 1);
        });
        let more = self.k.setp_s("more", counter, Cmp::Lt, count);
        self.k.branch_if(more, head);
    }
}

/// The value that a register holds.
pub(crate) fn register_value(register: AnyReg) -> Value {
    match register {
        AnyReg::B32(register) => Value::Int(register.into()),
        AnyReg::F32(register) => Value::Float(register.into()),
        AnyReg::Pred(register) => Value::Bool(register.into()),
        AnyReg::B64(register) => panic!("codegen: {register:?} is an address"),
    }
}
