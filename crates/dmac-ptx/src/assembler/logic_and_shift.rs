//! Logic and Shift Instructions (9.7.8).
//!
//! In: bits, predicates included. Out: bits.

use super::{Assembler, Dest};
use crate::inst::{BoolOp, Inst, Shift};
use crate::types::{B32, Bits, Int, Operand, Reg};

impl Assembler {
    fn logic<T: Bits>(&mut self, op: BoolOp, d: impl Dest<T>, a: Reg<T>, b: Operand<T>) -> Reg<T> {
        self.into(d, |d| Inst::Logic { op, class: T::CLASS, d, a: Operand::from(a).src, b: b.src })
    }

    /// a & b.
    pub fn and<T: Bits>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.logic(BoolOp::And, d, a, b.into())
    }

    /// a | b.
    pub fn or<T: Bits>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.logic(BoolOp::Or, d, a, b.into())
    }

    /// a ^ b.
    pub fn xor<T: Bits>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.logic(BoolOp::Xor, d, a, b.into())
    }

    /// !a.
    pub fn not<T: Bits>(&mut self, d: impl Dest<T>, a: Reg<T>) -> Reg<T> {
        self.into(d, |d| Inst::Not { class: T::CLASS, d, a: Operand::from(a).src })
    }

    /// Any bitwise function of three: bit `(a << 2) | (b << 1) | c` of `lut` is the result. With `A = 0xF0`,
    /// `B = 0xCC`, `C = 0xAA` the table of `a | (b & !c)` is `A | (B & !C)`.
    pub fn lop3(
        &mut self,
        d: impl Dest<B32>,
        a: Reg<B32>,
        b: impl Into<Operand<B32>>,
        c: impl Into<Operand<B32>>,
        lut: u8,
    ) -> Reg<B32> {
        let (b, c) = (b.into(), c.into());
        self.into(d, |d| Inst::Lop3 { d, a: Operand::from(a).src, b: b.src, c: c.src, lut })
    }

    fn shift<T: Int>(&mut self, op: Shift, d: impl Dest<T>, a: Reg<T>, b: Operand<B32>) -> Reg<T> {
        self.into(d, |d| Inst::Shift { op, class: T::CLASS, d, a: Operand::from(a).src, b: b.src })
    }

    /// a << b.
    pub fn shl<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<B32>>) -> Reg<T> {
        self.shift(Shift::Shl, d, a, b.into())
    }

    /// a >> b, zeros shifted in.
    pub fn shr_u<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<B32>>) -> Reg<T> {
        self.shift(Shift::ShrU, d, a, b.into())
    }

    /// a >> b, the sign shifted in.
    pub fn shr_s<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<B32>>) -> Reg<T> {
        self.shift(Shift::ShrS, d, a, b.into())
    }

    /// The high word of `hi:lo << amount`, amount clamped to 32.
    pub fn shf_left(
        &mut self,
        d: impl Dest<B32>,
        lo: Reg<B32>,
        hi: Reg<B32>,
        amount: impl Into<Operand<B32>>,
    ) -> Reg<B32> {
        let amount = amount.into();
        self.into(d, |d| Inst::FunnelShift {
            left: true,
            d,
            lo: Operand::from(lo).src,
            hi: Operand::from(hi).src,
            amount: amount.src,
        })
    }

    /// The low word of `hi:lo >> amount`, amount clamped to 32.
    pub fn shf_right(
        &mut self,
        d: impl Dest<B32>,
        lo: Reg<B32>,
        hi: Reg<B32>,
        amount: impl Into<Operand<B32>>,
    ) -> Reg<B32> {
        let amount = amount.into();
        self.into(d, |d| Inst::FunnelShift {
            left: false,
            d,
            lo: Operand::from(lo).src,
            hi: Operand::from(hi).src,
            amount: amount.src,
        })
    }
}
