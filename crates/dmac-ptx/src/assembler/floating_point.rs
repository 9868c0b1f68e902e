//! Floating Point Instructions (9.7.3), f32. `add`, `sub` and `mul` without a rounding are with the integers.
//!
//! In: `F32` registers. Out: the same. The `.ftz` form of the approximations is the one that is a single instruction
//! on the device, so it is the plain name here; the exact denormal forms end in `_full`.

use super::{Assembler, Dest};
use crate::inst::{Approx, Exact, FloatBinary, FloatMode, FloatUnary, Inst};
use crate::types::{F32, Operand, Reg};

impl Assembler {
    fn float(
        &mut self,
        op: FloatBinary,
        mode: FloatMode,
        d: impl Dest<F32>,
        a: Operand<F32>,
        b: Operand<F32>,
    ) -> Reg<F32> {
        self.into(d, |d| Inst::FloatBinary { op, mode, d, a: a.src, b: b.src })
    }

    /// a + b, rounded to nearest even and never contracted into an fma.
    pub fn add_rn(&mut self, d: impl Dest<F32>, a: Reg<F32>, b: impl Into<Operand<F32>>) -> Reg<F32> {
        self.float(FloatBinary::Add, FloatMode { rn: true, ..FloatMode::default() }, d, a.into(), b.into())
    }

    /// a − b, rounded to nearest even and never contracted.
    pub fn sub_rn(
        &mut self,
        d: impl Dest<F32>,
        a: impl Into<Operand<F32>>,
        b: impl Into<Operand<F32>>,
    ) -> Reg<F32> {
        self.float(FloatBinary::Sub, FloatMode { rn: true, ..FloatMode::default() }, d, a.into(), b.into())
    }

    /// a · b, rounded to nearest even and never contracted.
    pub fn mul_rn(&mut self, d: impl Dest<F32>, a: Reg<F32>, b: impl Into<Operand<F32>>) -> Reg<F32> {
        self.float(FloatBinary::Mul, FloatMode { rn: true, ..FloatMode::default() }, d, a.into(), b.into())
    }

    /// The smaller; of a number and NaN the number.
    pub fn min_f(&mut self, d: impl Dest<F32>, a: Reg<F32>, b: impl Into<Operand<F32>>) -> Reg<F32> {
        self.float(FloatBinary::Min, FloatMode::default(), d, a.into(), b.into())
    }

    /// The larger; of a number and NaN the number.
    pub fn max_f(&mut self, d: impl Dest<F32>, a: Reg<F32>, b: impl Into<Operand<F32>>) -> Reg<F32> {
        self.float(FloatBinary::Max, FloatMode::default(), d, a.into(), b.into())
    }

    /// The smaller; NaN if an operand is NaN.
    pub fn min_f_nan(&mut self, d: impl Dest<F32>, a: Reg<F32>, b: impl Into<Operand<F32>>) -> Reg<F32> {
        self.float(FloatBinary::Min, FloatMode { nan: true, ..FloatMode::default() }, d, a.into(), b.into())
    }

    /// The larger; NaN if an operand is NaN.
    pub fn max_f_nan(&mut self, d: impl Dest<F32>, a: Reg<F32>, b: impl Into<Operand<F32>>) -> Reg<F32> {
        self.float(FloatBinary::Max, FloatMode { nan: true, ..FloatMode::default() }, d, a.into(), b.into())
    }

    /// a · b + c with one rounding.
    pub fn fma(
        &mut self,
        d: impl Dest<F32>,
        a: Reg<F32>,
        b: impl Into<Operand<F32>>,
        c: impl Into<Operand<F32>>,
    ) -> Reg<F32> {
        let (b, c) = (b.into(), c.into());
        self.into(d, |d| Inst::Fma { ftz: false, d, a: Operand::from(a).src, b: b.src, c: c.src })
    }

    /// −a.
    pub fn neg_f(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.into(d, |d| Inst::FloatUnary { op: FloatUnary::Neg, ftz: false, d, a: Operand::from(a).src })
    }

    /// |a|.
    pub fn abs_f(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.into(d, |d| Inst::FloatUnary { op: FloatUnary::Abs, ftz: false, d, a: Operand::from(a).src })
    }

    /// A hardware approximation with denormals flushed: one instruction. [`Approx`] lists the errors. `tanh` has no
    /// flushing form and is exact about denormals.
    pub fn approx(&mut self, op: Approx, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.into(d, |d| Inst::Approx { op, ftz: op != Approx::Tanh, d, a: Operand::from(a).src })
    }

    /// A hardware approximation with denormals kept: a few instructions around the same unit.
    pub fn approx_full(&mut self, op: Approx, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.into(d, |d| Inst::Approx { op, ftz: false, d, a: Operand::from(a).src })
    }

    /// 2^a, approximately.
    pub fn ex2(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.approx(Approx::Ex2, d, a)
    }

    /// log2 a, approximately.
    pub fn lg2(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.approx(Approx::Lg2, d, a)
    }

    /// tanh a, approximately: relative error up to 2^-11, which is too coarse where 1e-6 is asked for.
    pub fn tanh(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.approx(Approx::Tanh, d, a)
    }

    /// 1/a, approximately.
    pub fn rcp(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.approx(Approx::Rcp, d, a)
    }

    /// 1/√a, approximately.
    pub fn rsqrt(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.approx(Approx::Rsqrt, d, a)
    }

    /// 1/a, correctly rounded.
    pub fn rcp_rn(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.into(d, |d| Inst::Exact { op: Exact::Rcp, d, a: Operand::from(a).src })
    }

    /// √a, correctly rounded.
    pub fn sqrt_rn(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        self.into(d, |d| Inst::Exact { op: Exact::Sqrt, d, a: Operand::from(a).src })
    }

    /// a / b, correctly rounded.
    pub fn div_rn(
        &mut self,
        d: impl Dest<F32>,
        a: impl Into<Operand<F32>>,
        b: impl Into<Operand<F32>>,
    ) -> Reg<F32> {
        let (a, b) = (a.into(), b.into());
        self.into(d, |d| Inst::Div { full: false, d, a: a.src, b: b.src })
    }

    /// a / b within 2 ulp on the full range.
    pub fn div_full(
        &mut self,
        d: impl Dest<F32>,
        a: impl Into<Operand<F32>>,
        b: impl Into<Operand<F32>>,
    ) -> Reg<F32> {
        let (a, b) = (a.into(), b.into());
        self.into(d, |d| Inst::Div { full: true, d, a: a.src, b: b.src })
    }
}
