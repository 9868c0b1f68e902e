//! Values of scalar expressions in registers, and the numbering that computes each once.
//!
//! An int is a register plus a constant, so that the 32 elements of a thread's part of a tile, whose coordinates differ by
//! constants only, share their address and mask arithmetic. Pure instructions are numbered: the same operation on the
//! same operands gives the same register, as long as it dominates. Code of one statement has no branches besides loops,
//! whose bodies have a scope of their own.

use super::Emitter;
use dmac_ptx::{B32, B64, Cmp, F32, Operand, Pred, Reg, RegId, Ty};
use std::collections::BTreeMap;

/// An int: `base + offset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Int {
    pub base: Option<Reg<B32>>,
    pub offset: i32,
}

impl Int {
    pub fn constant(value: i64) -> Self {
        Self { base: None, offset: value as i32 }
    }

    pub fn plus(self, offset: i32) -> Self {
        Self { offset: self.offset.wrapping_add(offset), ..self }
    }

    /// The value, where it is known.
    pub fn known(self) -> Option<i32> {
        self.base.is_none().then_some(self.offset)
    }
}

impl From<Reg<B32>> for Int {
    fn from(base: Reg<B32>) -> Self {
        Self { base: Some(base), offset: 0 }
    }
}

/// An f32.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Float {
    Constant(f32),
    Register(Reg<F32>),
}

impl From<Reg<F32>> for Float {
    fn from(register: Reg<F32>) -> Self {
        Self::Register(register)
    }
}

impl From<Float> for Operand<F32> {
    fn from(value: Float) -> Self {
        match value {
            Float::Constant(value) => value.into(),
            Float::Register(register) => register.into(),
        }
    }
}

/// A condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bool {
    Constant(bool),
    Register(Reg<Pred>),
}

impl From<Reg<Pred>> for Bool {
    fn from(register: Reg<Pred>) -> Self {
        Self::Register(register)
    }
}

/// The value of an expression.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Value {
    Int(Int),
    Float(Float),
    Bool(Bool),
}

/// An operand of a numbered operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Part {
    None,
    Known(i64),
    Register(RegId),
}

impl<T: Ty> From<Reg<T>> for Part {
    fn from(register: Reg<T>) -> Self {
        Self::Register(register.id())
    }
}

impl From<Float> for Part {
    fn from(value: Float) -> Self {
        match value {
            Float::Constant(value) => Self::Known(i64::from(value.to_bits())),
            Float::Register(register) => register.into(),
        }
    }
}

impl From<i32> for Part {
    fn from(value: i32) -> Self {
        Self::Known(i64::from(value))
    }
}

/// An operation and its operands.
pub(crate) type Key = (&'static str, [Part; 3]);

/// A register of any class.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnyReg {
    B32(Reg<B32>),
    B64(Reg<B64>),
    F32(Reg<F32>),
    Pred(Reg<Pred>),
}

/// Register classes whose values are numbered.
pub(crate) trait Numbered: Ty + Sized {
    fn wrap(register: Reg<Self>) -> AnyReg;
    fn unwrap(register: AnyReg) -> Option<Reg<Self>>;
}

macro_rules! numbered {
    ($($class:ident),*) => {
        $(impl Numbered for $class {
            fn wrap(register: Reg<Self>) -> AnyReg {
                AnyReg::$class(register)
            }
            fn unwrap(register: AnyReg) -> Option<Reg<Self>> {
                match register {
                    AnyReg::$class(register) => Some(register),
                    _ => None,
                }
            }
        })*
    };
}
numbered!(B32, B64, F32, Pred);

/// What has been computed where code is being emitted, innermost scope last.
#[derive(Default)]
pub(crate) struct Numbers {
    scopes: Vec<BTreeMap<Key, AnyReg>>,
}

impl Emitter<'_> {
    /// The register of an operation, computed now unless it was before.
    pub(crate) fn number<T: Numbered>(
        &mut self,
        name: &'static str,
        parts: [Part; 3],
        make: impl FnOnce(&mut Self) -> Reg<T>,
    ) -> Reg<T> {
        let key = (name, parts);
        let found = self.numbers.scopes.iter().rev().find_map(|scope| scope.get(&key).copied());
        if let Some(register) = found.and_then(T::unwrap) {
            return register;
        }
        let register = make(self);
        if let Some(scope) = self.numbers.scopes.last_mut() {
            scope.insert(key, T::wrap(register));
        }
        register
    }

    /// Emits in a scope whose values are forgotten afterwards.
    pub(crate) fn scoped<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        self.numbers.scopes.push(BTreeMap::new());
        let reductions = self.reductions.len();
        let result = f(self);
        self.numbers.scopes.pop();
        self.reductions.truncate(reductions);
        result
    }

    /// Emits what must not see earlier values: a statement, between which variables and tiles change.
    pub(crate) fn fresh<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let outer = std::mem::take(&mut self.numbers);
        let reductions = std::mem::take(&mut self.reductions);
        let result = self.scoped(f);
        self.numbers = outer;
        self.reductions = reductions;
        result
    }

    // Ints.

    /// An int in a register.
    pub(crate) fn int(&mut self, value: Int) -> Reg<B32> {
        match value {
            Int { base: Some(base), offset: 0 } => base,
            Int { base: Some(base), offset } => {
                self.number("add", [base.into(), offset.into(), Part::None], |e| e.k.add("int", base, offset))
            }
            Int { base: None, offset } => {
                self.number("mov", [offset.into(), Part::None, Part::None], |e| e.k.mov("int", offset))
            }
        }
    }

    pub(crate) fn int_operand(&mut self, value: Int) -> Operand<B32> {
        value.known().map_or_else(|| self.int(value).into(), Operand::from)
    }

    pub(crate) fn int_add(&mut self, x: Int, y: Int) -> Int {
        let offset = x.offset.wrapping_add(y.offset);
        let base = match (x.base, y.base) {
            (base, None) | (None, base) => base,
            (Some(a), Some(b)) => {
                let (a, b) = if a.id() <= b.id() { (a, b) } else { (b, a) };
                Some(self.number("add", [a.into(), b.into(), Part::None], |e| e.k.add("int", a, b)))
            }
        };
        Int { base, offset }
    }

    pub(crate) fn int_sub(&mut self, x: Int, y: Int) -> Int {
        let offset = x.offset.wrapping_sub(y.offset);
        let base = match (x.base, y.base) {
            (base, None) => base,
            (Some(a), Some(b)) if a == b => None,
            (a, Some(b)) => {
                let part = a.map_or(Part::Known(0), Part::from);
                let operand = a.map_or_else(|| Operand::from(0), Operand::from);
                Some(self.number("sub", [part, b.into(), Part::None], |e| e.k.sub("int", operand, b)))
            }
        };
        Int { base, offset }
    }

    pub(crate) fn int_mul(&mut self, x: Int, y: Int) -> Int {
        let (x, y) = if x.base.is_none() { (y, x) } else { (x, y) };
        if let Some(factor) = y.known() {
            let offset = x.offset.wrapping_mul(factor);
            let base = match (x.base, factor) {
                (None, _) | (_, 0) => None,
                (base, 1) => base,
                (Some(base), _) => Some(self.number("mul", [base.into(), factor.into(), Part::None], |e| {
                    if factor > 0 && factor & (factor - 1) == 0 {
                        e.k.shl("int", base, factor.trailing_zeros())
                    } else {
                        e.k.mul("int", base, factor)
                    }
                })),
            };
            return Int { base, offset };
        }
        let (a, b) = (self.int(x), self.int(y));
        let (a, b) = if a.id() <= b.id() { (a, b) } else { (b, a) };
        self.number("mul", [a.into(), b.into(), Part::None], |e| e.k.mul("int", a, b)).into()
    }

    /// `floor(x / y)`.
    pub(crate) fn int_div(&mut self, x: Int, y: Int) -> Int {
        if let Some(divisor) = y.known().filter(|divisor| *divisor > 0) {
            if let Some(known) = x.known() {
                return Int::constant(i64::from(known.div_euclid(divisor)));
            }
            if divisor == 1 {
                return x;
            }
            if divisor & (divisor - 1) == 0 {
                // A multiple of the divisor moves out of the division.
                let (inner, outer) = if x.offset % divisor == 0 {
                    (Int { offset: 0, ..x }, x.offset / divisor)
                } else {
                    (x, 0)
                };
                let a = self.int(inner);
                let shift = divisor.trailing_zeros();
                let register = self
                    .number("shr", [a.into(), divisor.into(), Part::None], |e| e.k.shr_s("int", a, shift));
                return Int::from(register).plus(outer);
            }
        }
        let a = self.int(x);
        let part = y.known().map_or_else(|| Part::from(self.int(y)), Part::from);
        let b = self.int_operand(y);
        self.number("floordiv", [a.into(), part, Part::None], |e| {
            let quotient = e.k.div_s("int", a, b);
            let whole = e.k.mul("int", quotient, b);
            let rest = e.k.sub("int", a, whole);
            // Division rounds towards zero: one less where there is a rest and the signs differ.
            let signs = e.k.xor("int", rest, b);
            let differ = e.k.setp_s("cond", signs, Cmp::Lt, 0);
            let inexact = e.k.setp_s("cond", rest, Cmp::Ne, 0);
            let both = e.k.and("cond", differ, inexact);
            let less = e.k.selp::<B32>("int", -1, 0, both);
            e.k.add("int", quotient, less)
        })
        .into()
    }

    /// `x - y * floor(x / y)`.
    pub(crate) fn int_mod(&mut self, x: Int, y: Int) -> Int {
        let quotient = self.int_div(x, y);
        let whole = self.int_mul(quotient, y);
        self.int_sub(x, whole)
    }

    pub(crate) fn int_min_max(&mut self, max: bool, x: Int, y: Int) -> Int {
        if x.base == y.base {
            let first = if max { x.offset >= y.offset } else { x.offset <= y.offset };
            return if first { x } else { y };
        }
        let (x, y) = if x.base.is_none() { (y, x) } else { (x, y) };
        let a = self.int(x);
        let part = y.known().map_or_else(|| Part::from(self.int(y)), Part::from);
        let b = self.int_operand(y);
        let name = if max { "max" } else { "min" };
        self.number(name, [a.into(), part, Part::None], |e| {
            if max { e.k.max_s("int", a, b) } else { e.k.min_s("int", a, b) }
        })
        .into()
    }

    /// `x * 2^power`.
    pub(crate) fn int_shift(&mut self, x: Int, power: Int) -> Int {
        let x = self.int(x);
        let part = power.known().map_or_else(|| Part::from(self.int(power)), Part::from);
        let power = self.int_operand(power);
        self.number("shl", [x.into(), part, Part::None], |e| e.k.shl("int", x, power)).into()
    }

    /// `floor(x / 2^power)`.
    pub(crate) fn int_shift_down(&mut self, x: Int, power: Int) -> Int {
        let x = self.int(x);
        let part = power.known().map_or_else(|| Part::from(self.int(power)), Part::from);
        let power = self.int_operand(power);
        self.number("shr_by", [x.into(), part, Part::None], |e| e.k.shr_s("int", x, power)).into()
    }

    /// An int that is larger where a score is better: the bits, those of negative numbers but the sign inverted.
    pub(crate) fn order(&mut self, x: Reg<F32>) -> Reg<B32> {
        self.number("order", [x.into(), Part::None, Part::None], |e| {
            let number = e.k.setp_f("cond", x, Cmp::Eq, x);
            // -0 becomes +0.
            let x = e.k.add_rn("real", x, 0.0);
            let bits = e.k.bits_of("int", x);
            let sign = e.k.shr_s("int", bits, 31);
            let flip = e.k.shr_u("int", sign, 1);
            let ordered = e.k.xor("int", bits, flip);
            e.k.selp::<B32>("int", ordered, i32::MIN + 1, number)
        })
    }

    /// The least `l >= 0` with `2^l >= x`: 32 less the leading zeros of `x - 1`, where that is positive.
    pub(crate) fn int_ceil_log2(&mut self, x: Int) -> Int {
        let below = self.int_min_max(true, x.plus(-1), Int::constant(0));
        let below = self.int(below);
        self.number("ceil_log2", [below.into(), Part::None, Part::None], |e| {
            let zeros = e.k.clz("int", below);
            e.k.sub("int", 32, zeros)
        })
        .into()
    }

    /// A comparison. Where constants are added to a side, the difference of the bases is compared with a constant: the
    /// elements of a thread then share the subtraction.
    pub(crate) fn int_compare(&mut self, cmp: Cmp, x: Int, y: Int) -> Bool {
        if x.base == y.base {
            return Bool::Constant(match cmp {
                Cmp::Eq => x.offset == y.offset,
                Cmp::Ne => x.offset != y.offset,
                Cmp::Lt => x.offset < y.offset,
                Cmp::Le => x.offset <= y.offset,
                Cmp::Gt => x.offset > y.offset,
                _ => x.offset >= y.offset,
            });
        }
        let (a, bound) = match (x.base, y.base) {
            (None, Some(b)) => {
                let flipped = match cmp {
                    Cmp::Lt => Cmp::Gt,
                    Cmp::Le => Cmp::Ge,
                    Cmp::Gt => Cmp::Lt,
                    Cmp::Ge => Cmp::Le,
                    same => same,
                };
                return self.int_compare(flipped, Int { base: Some(b), offset: y.offset }, x);
            }
            (Some(a), None) => (a, y.offset.wrapping_sub(x.offset)),
            (Some(a), Some(b)) if x.offset == y.offset => {
                return self
                    .number(compare_name(cmp), [a.into(), b.into(), Part::None], |e| {
                        e.k.setp_s("cond", a, cmp, b)
                    })
                    .into();
            }
            _ => {
                let (plain_x, plain_y) = (Int { offset: 0, ..x }, Int { offset: 0, ..y });
                let difference = self.int_sub(plain_x, plain_y);
                (self.int(difference), y.offset.wrapping_sub(x.offset))
            }
        };
        self.number(compare_name(cmp), [a.into(), bound.into(), Part::None], |e| {
            e.k.setp_s("cond", a, cmp, bound)
        })
        .into()
    }

    // Conditions.

    /// A condition in a register.
    pub(crate) fn condition(&mut self, value: Bool) -> Reg<Pred> {
        match value {
            Bool::Register(register) => register,
            Bool::Constant(value) => {
                let tid = self.thread.tid;
                let cmp = if value { Cmp::Eq } else { Cmp::Ne };
                self.number("constant", [i32::from(value).into(), Part::None, Part::None], |e| {
                    e.k.setp_s("cond", tid, cmp, tid)
                })
            }
        }
    }

    pub(crate) fn and(&mut self, x: Bool, y: Bool) -> Bool {
        match (x, y) {
            (Bool::Constant(false), _) | (_, Bool::Constant(false)) => Bool::Constant(false),
            (Bool::Constant(true), other) | (other, Bool::Constant(true)) => other,
            (Bool::Register(a), Bool::Register(b)) if a == b => x,
            (Bool::Register(a), Bool::Register(b)) => {
                let (a, b) = if a.id() <= b.id() { (a, b) } else { (b, a) };
                self.number("and", [a.into(), b.into(), Part::None], |e| e.k.and("cond", a, b)).into()
            }
        }
    }

    pub(crate) fn or(&mut self, x: Bool, y: Bool) -> Bool {
        match (x, y) {
            (Bool::Constant(true), _) | (_, Bool::Constant(true)) => Bool::Constant(true),
            (Bool::Constant(false), other) | (other, Bool::Constant(false)) => other,
            (Bool::Register(a), Bool::Register(b)) => {
                let (a, b) = if a.id() <= b.id() { (a, b) } else { (b, a) };
                self.number("or", [a.into(), b.into(), Part::None], |e| e.k.or("cond", a, b)).into()
            }
        }
    }

    pub(crate) fn not(&mut self, x: Bool) -> Bool {
        match x {
            Bool::Constant(value) => Bool::Constant(!value),
            Bool::Register(a) => {
                self.number("not", [a.into(), Part::None, Part::None], |e| e.k.not("cond", a)).into()
            }
        }
    }

    // Floats.

    /// An f32 in a register.
    pub(crate) fn float(&mut self, value: Float) -> Reg<F32> {
        match value {
            Float::Register(register) => register,
            Float::Constant(constant) => {
                self.number("movf", [value.into(), Part::None, Part::None], |e| e.k.mov("real", constant))
            }
        }
    }

    pub(crate) fn float_binary(
        &mut self,
        name: &'static str,
        x: Float,
        y: Float,
        make: impl FnOnce(&mut Self, Reg<F32>, Operand<F32>) -> Reg<F32>,
    ) -> Float {
        let a = self.float(x);
        self.number(name, [a.into(), y.into(), Part::None], |e| make(e, a, y.into())).into()
    }

    pub(crate) fn float_unary(
        &mut self,
        name: &'static str,
        x: Float,
        make: impl FnOnce(&mut Self, Reg<F32>) -> Reg<F32>,
    ) -> Float {
        let a = self.float(x);
        self.number(name, [a.into(), Part::None, Part::None], |e| make(e, a)).into()
    }

    // Choices.

    pub(crate) fn choose(&mut self, condition: Bool, x: Value, y: Value) -> Value {
        let p = match condition {
            Bool::Constant(true) => return x,
            Bool::Constant(false) => return y,
            Bool::Register(p) => p,
        };
        match (x, y) {
            (Value::Int(x), Value::Int(y)) => {
                if x == y {
                    return Value::Int(x);
                }
                let (a, b) = (self.int(x), self.int(y));
                let chosen =
                    self.number("selp", [a.into(), b.into(), p.into()], |e| e.k.selp("int", a, b, p));
                Value::Int(chosen.into())
            }
            (Value::Float(x), Value::Float(y)) => {
                let parts = [x.into(), y.into(), p.into()];
                Value::Float(self.number("selpf", parts, |e| e.k.selp::<F32>("real", x, y, p)).into())
            }
            (Value::Bool(x), Value::Bool(y)) => {
                let not = self.not(condition);
                let (a, b) = (self.and(condition, x), self.and(not, y));
                Value::Bool(self.or(a, b))
            }
            (x, y) => panic!("codegen: a choice between {x:?} and {y:?}"),
        }
    }
}

fn compare_name(cmp: Cmp) -> &'static str {
    match cmp {
        Cmp::Eq => "eq",
        Cmp::Ne => "ne",
        Cmp::Lt => "lt",
        Cmp::Le => "le",
        Cmp::Gt => "gt",
        _ => "ge",
    }
}
