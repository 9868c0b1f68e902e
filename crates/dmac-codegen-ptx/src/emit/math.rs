//! Elementary functions and conversions.
//!
//! Every function is within 1e-6 of the true value over the whole range of f32: relatively (`log` near its zero included), but
//! absolutely where values lie between -1 and 1 (`tanh`, `sigmoid`), which are functions of scores and have to be cheap. The
//! hardware's `ex2.approx` is that good on fractions; the rest is range reduction around it and short series: for the
//! logarithm `2 atanh(s)` with `s = (x - 1) / (x + 1)`, whose terms fall by `s^2`.

use super::Emitter;
use super::value::{Float, Int, Value};
use dmac_ir::Unary;
use dmac_ptx::{Approx, Cmp, F32, Reg, Round};
use dmac_schedule::kernel::ScalarType;

/// log2(e), and what its f32 leaves out.
const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LOG2_E_REST: f32 = 1.925_963e-8;
/// ln 2 in two parts: the first has few enough bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Beyond this `exp` is 0 or infinite.
const EXP_LIMIT: f32 = 120.0;

impl Emitter<'_> {
    pub(crate) fn unary(&mut self, op: Unary, x: Value) -> Value {
        match x {
            Value::Bool(x) => Value::Bool(self.not(x)),
            Value::Int(x) => Value::Int(match op {
                Unary::Neg => self.int_sub(Int::constant(0), x),
                Unary::Abs => {
                    let negative = self.int_sub(Int::constant(0), x);
                    self.int_min_max(true, x, negative)
                }
                Unary::Relu => self.int_min_max(true, x, Int::constant(0)),
                op => panic!("codegen: {op:?} of an int"),
            }),
            Value::Float(x) => Value::Float(match op {
                Unary::Neg => self.float_unary("neg", x, |e, a| e.k.neg_f("real", a)),
                Unary::Abs => self.float_unary("abs", x, |e, a| e.k.abs_f("real", a)),
                Unary::Exp => self.float_unary("exp", x, Self::exp),
                Unary::Log => self.float_unary("log", x, Self::log),
                Unary::Sqrt => self.float_unary("sqrt", x, |e, a| e.k.sqrt_rn("real", a)),
                Unary::Rsqrt => self.float_unary("rsqrt", x, |e, a| {
                    let root = e.k.sqrt_rn("real", a);
                    e.k.rcp_rn("real", root)
                }),
                Unary::Tanh => self.float_unary("tanh", x, Self::tanh),
                Unary::Sigmoid => self.float_unary("sigmoid", x, |e, a| e.logistic(a, -LOG2_E)),
                Unary::Softplus => self.float_unary("softplus", x, Self::softplus),
                Unary::LogSigmoid => self.float_unary("logsigmoid", x, |e, a| {
                    let negative = e.k.neg_f("real", a);
                    let positive = e.softplus(negative);
                    e.k.neg_f("real", positive)
                }),
                Unary::Relu => self.float_unary("relu", x, |e, a| e.k.max_f_nan("real", a, 0.0)),
                Unary::Floor => self.float_unary("floor", x, |e, a| e.k.round_f("real", Round::Rmi, a)),
                Unary::Not => panic!("codegen: not of a float"),
            }),
        }
    }

    /// `2^n 2^f` with `n + f = x log2(e)`: the product's rounding error is part of f, and `2^n` is applied in two steps
    /// because n reaches beyond the exponents of f32 where the result does not.
    fn exp(&mut self, x: Reg<F32>) -> Reg<F32> {
        let k = &mut self.k;
        let x = k.max_f_nan("real", x, -EXP_LIMIT);
        let x = k.min_f_nan("real", x, EXP_LIMIT);
        let product = k.mul("real", x, LOG2_E);
        let whole = k.round_f("real", Round::Rni, product);
        let minus = k.neg_f("real", whole);
        let fraction = k.fma("real", x, LOG2_E, minus);
        let fraction = k.fma("real", x, LOG2_E_REST, fraction);
        let power = k.ex2("real", fraction);
        let half = k.mul("real", whole, 0.5);
        let half = k.round_f("real", Round::Rmi, half);
        let rest = k.sub("real", whole, half);
        for part in [half, rest] {
            let scale = k.ex2("real", part);
            k.mul(power, power, scale);
        }
        power
    }

    /// `s + s^3 c[0] + s^5 c[1] + ...` times `2`, with `c[n] = 1 / (2 n + 3)`: `2 atanh(s)`.
    fn twice_atanh(&mut self, s: Reg<F32>, terms: u32) -> Reg<F32> {
        let k = &mut self.k;
        let square = k.mul("real", s, s);
        let mut sum = k.mov::<F32>("real", 2.0 / (2 * terms + 1) as f32);
        for n in (1..terms).rev() {
            sum = k.fma("real", sum, square, 2.0 / (2 * n + 1) as f32);
        }
        let cube = k.mul("real", square, s);
        let rest = k.mul("real", sum, cube);
        let twice = k.add("real", s, s);
        k.add("real", twice, rest)
    }

    /// `e ln 2 + 2 atanh((m - 1) / (m + 1))` for `x = 2^e m` with m between the root of 1/2 and the root of 2.
    fn log(&mut self, x: Reg<F32>) -> Reg<F32> {
        const ROOT_BITS: i32 = 0x3F35_04F3; // sqrt(1/2)
        let k = &mut self.k;
        // Denormals are scaled up by 2^24.
        let small = k.setp_f("cond", x, Cmp::Lt, f32::MIN_POSITIVE);
        let scale = k.selp::<F32>("real", 16_777_216.0, 1.0, small);
        let scaled = k.mul("real", x, scale);
        let bits = k.bits_of("int", scaled);
        let above = k.sub("int", bits, ROOT_BITS);
        let exponent = k.shr_s("int", above, 23);
        let removed = k.shl("int", exponent, 23);
        let mantissa = k.sub("int", bits, removed);
        let m = k.float_of("real", mantissa);
        let e = k.float_from_s("real", exponent);
        let correction = k.selp::<F32>("real", -24.0, 0.0, small);
        let e = k.add("real", e, correction);
        let (above, below) = (k.sub("real", m, 1.0), k.add("real", m, 1.0));
        let s = k.div_full("real", above, below);
        let series = self.twice_atanh(s, 5);
        let k = &mut self.k;
        let low = k.fma("real", e, LN_2_LOW, series);
        let value = k.fma("real", e, LN_2_HIGH, low);
        // Zero, infinity, and what has no logarithm.
        let zero = k.setp_f("cond", x, Cmp::Eq, 0.0);
        let value = k.selp::<F32>("real", f32::NEG_INFINITY, value, zero);
        let infinite = k.setp_f("cond", x, Cmp::Eq, f32::INFINITY);
        let value = k.selp::<F32>("real", f32::INFINITY, value, infinite);
        let defined = k.setp_f("cond", x, Cmp::Ge, 0.0);
        k.selp::<F32>("real", value, f32::NAN, defined)
    }

    /// `1 / (1 + 2^(factor x))`. What the rounding of the exponent does to the power is lost beside 1, or divided by the
    /// power's square.
    fn logistic(&mut self, x: Reg<F32>, factor: f32) -> Reg<F32> {
        let k = &mut self.k;
        let exponent = k.mul("real", x, factor);
        let power = k.ex2("real", exponent);
        let below = k.add("real", power, 1.0);
        k.rcp("real", below)
    }

    /// `1 - 2 / (1 + e^(2 x))`.
    fn tanh(&mut self, x: Reg<F32>) -> Reg<F32> {
        let part = self.logistic(x, 2.0 * LOG2_E);
        let minus_two = self.k.mov::<F32>("real", -2.0);
        self.k.fma("real", part, minus_two, 1.0)
    }

    /// `max(x, 0) + log(1 + u)` with `u = e^(-|x|)`; the logarithm is `2 atanh(u / (2 + u))`, exact for small u too.
    fn softplus(&mut self, x: Reg<F32>) -> Reg<F32> {
        let size = self.k.abs_f("real", x);
        let negative = self.k.neg_f("real", size);
        let u = self.exp(negative);
        let below = self.k.add("real", u, 2.0);
        let s = self.k.div_full("real", u, below);
        let log = self.twice_atanh(s, 7);
        let positive = self.k.max_f_nan("real", x, 0.0);
        self.k.add("real", positive, log)
    }

    /// `2^x` by one instruction: what the online softmax uses, whose arguments are at most 0.
    pub(crate) fn power_of_two(&mut self, d: Reg<F32>, x: Reg<F32>) {
        self.k.approx(Approx::Ex2, d, x);
    }

    pub(crate) fn cast(&mut self, to: ScalarType, x: Value) -> Value {
        match (to, x) {
            (ScalarType::Int, Value::Int(_))
            | (ScalarType::F32, Value::Float(_))
            | (ScalarType::Bool, Value::Bool(_)) => x,
            (ScalarType::F32, Value::Int(x)) => {
                if let Some(known) = x.known() {
                    return Value::Float(Float::Constant(known as f32));
                }
                let a = self.int(x);
                let none = super::value::Part::None;
                Value::Float(
                    self.number("cvt", [a.into(), none, none], |e| e.k.float_from_s("real", a)).into(),
                )
            }
            (ScalarType::F32, Value::Bool(x)) => {
                let (one, zero) = (Value::Float(Float::Constant(1.0)), Value::Float(Float::Constant(0.0)));
                self.choose(x, one, zero)
            }
            (ScalarType::Int, Value::Float(x)) => {
                // Towards minus infinity, within 32 bits; NaN gives 0.
                let a = self.float(x);
                let none = super::value::Part::None;
                let converted =
                    self.number("cvti", [a.into(), none, none], |e| e.k.int_from_f_s("int", Round::Rmi, a));
                Value::Int(converted.into())
            }
            (ScalarType::Int, Value::Bool(_)) => Value::Int(self.word(x).into()),
            (ScalarType::Bool, Value::Int(x)) => Value::Bool(self.int_compare(Cmp::Ne, x, Int::constant(0))),
            (ScalarType::Bool, Value::Float(x)) => {
                let zero = Value::Float(Float::Constant(0.0));
                Value::Bool(self.compare(dmac_ir::Compare::Ne, Value::Float(x), zero))
            }
        }
    }
}
