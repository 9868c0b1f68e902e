//! Comparison and Selection Instructions (9.7.6).
//!
//! In: two values of one type. Out: a predicate, or the value that a predicate picks.

use super::{Assembler, Dest};
use crate::inst::{BoolOp, Cmp, CmpTy, Inst};
use crate::types::{B16, Class, Cond, F32, Int, Operand, Pred, Reg, Stored};

fn int_cmp(class: Class, signed: bool) -> CmpTy {
    match (class, signed) {
        (Class::B64, false) => CmpTy::U64,
        (Class::B64, true) => CmpTy::S64,
        (_, false) => CmpTy::U32,
        (_, true) => CmpTy::S32,
    }
}

impl Assembler {
    fn compare<T: Stored>(
        &mut self,
        ty: CmpTy,
        with: Option<(BoolOp, Cond)>,
        d: impl Dest<Pred>,
        a: Reg<T>,
        cmp: Cmp,
        b: Operand<T>,
    ) -> Reg<Pred> {
        self.into(d, |d| Inst::Setp { cmp, ty, with, d, a: Operand::from(a).src, b: b.src })
    }

    /// a ? b on unsigned integers.
    pub fn setp_u<T: Int>(
        &mut self,
        d: impl Dest<Pred>,
        a: Reg<T>,
        cmp: Cmp,
        b: impl Into<Operand<T>>,
    ) -> Reg<Pred> {
        self.compare(int_cmp(T::CLASS, false), None, d, a, cmp, b.into())
    }

    /// a ? b on signed integers.
    pub fn setp_s<T: Int>(
        &mut self,
        d: impl Dest<Pred>,
        a: Reg<T>,
        cmp: Cmp,
        b: impl Into<Operand<T>>,
    ) -> Reg<Pred> {
        self.compare(int_cmp(T::CLASS, true), None, d, a, cmp, b.into())
    }

    /// a ? b on f32. With a NaN the plain comparisons are false, the `u` forms true.
    pub fn setp_f(
        &mut self,
        d: impl Dest<Pred>,
        a: Reg<F32>,
        cmp: Cmp,
        b: impl Into<Operand<F32>>,
    ) -> Reg<Pred> {
        self.compare(CmpTy::F32, None, d, a, cmp, b.into())
    }

    /// a ? b on unsigned 16-bit integers.
    pub fn setp_u16(
        &mut self,
        d: impl Dest<Pred>,
        a: Reg<B16>,
        cmp: Cmp,
        b: impl Into<Operand<B16>>,
    ) -> Reg<Pred> {
        self.compare(CmpTy::U16, None, d, a, cmp, b.into())
    }

    /// (a ? b) ∘ c on unsigned integers, in one instruction.
    pub fn setp_u_with<T: Int>(
        &mut self,
        d: impl Dest<Pred>,
        a: Reg<T>,
        cmp: Cmp,
        b: impl Into<Operand<T>>,
        op: BoolOp,
        c: impl Into<Cond>,
    ) -> Reg<Pred> {
        self.compare(int_cmp(T::CLASS, false), Some((op, c.into())), d, a, cmp, b.into())
    }

    /// (a ? b) ∘ c on signed integers, in one instruction.
    pub fn setp_s_with<T: Int>(
        &mut self,
        d: impl Dest<Pred>,
        a: Reg<T>,
        cmp: Cmp,
        b: impl Into<Operand<T>>,
        op: BoolOp,
        c: impl Into<Cond>,
    ) -> Reg<Pred> {
        self.compare(int_cmp(T::CLASS, true), Some((op, c.into())), d, a, cmp, b.into())
    }

    /// (a ? b) ∘ c on f32, in one instruction.
    pub fn setp_f_with(
        &mut self,
        d: impl Dest<Pred>,
        a: Reg<F32>,
        cmp: Cmp,
        b: impl Into<Operand<F32>>,
        op: BoolOp,
        c: impl Into<Cond>,
    ) -> Reg<Pred> {
        self.compare(CmpTy::F32, Some((op, c.into())), d, a, cmp, b.into())
    }

    /// p ? a : b.
    pub fn selp<T: Stored>(
        &mut self,
        d: impl Dest<T>,
        a: impl Into<Operand<T>>,
        b: impl Into<Operand<T>>,
        p: Reg<Pred>,
    ) -> Reg<T> {
        let (a, b) = (a.into(), b.into());
        self.into(d, |d| Inst::Selp { class: T::CLASS, d, a: a.src, b: b.src, p: p.id })
    }
}
