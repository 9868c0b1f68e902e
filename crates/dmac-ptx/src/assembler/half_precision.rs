//! Half Precision Floating Point Instructions (9.7.4): two f16 or bf16 packed in a `B32` register.
//!
//! In: packed pairs. Out: packed pairs. Which of the two formats is data ([`Half`]), because one lowering serves both.

use super::{Assembler, Dest};
use crate::inst::{FloatBinary, Half, HalfUnary, Inst};
use crate::types::{B32, Operand, Reg};

impl Assembler {
    /// Both halves of a ∘ b; `min` and `max` drop a NaN operand.
    pub fn half_binary(
        &mut self,
        op: FloatBinary,
        ty: Half,
        d: impl Dest<B32>,
        a: Reg<B32>,
        b: Reg<B32>,
    ) -> Reg<B32> {
        self.into(d, |d| Inst::HalfBinary {
            op,
            nan: false,
            ty,
            d,
            a: Operand::from(a).src,
            b: Operand::from(b).src,
        })
    }

    /// Both halves of a · b + c.
    pub fn half_fma(
        &mut self,
        ty: Half,
        d: impl Dest<B32>,
        a: Reg<B32>,
        b: Reg<B32>,
        c: Reg<B32>,
    ) -> Reg<B32> {
        self.into(d, |d| Inst::HalfFma {
            ty,
            d,
            a: Operand::from(a).src,
            b: Operand::from(b).src,
            c: Operand::from(c).src,
        })
    }

    /// Both halves of op(a): negation, absolute value, 2^a or tanh a.
    pub fn half_unary(&mut self, op: HalfUnary, ty: Half, d: impl Dest<B32>, a: Reg<B32>) -> Reg<B32> {
        self.into(d, |d| Inst::HalfUnary { op, ty, d, a: Operand::from(a).src })
    }
}
