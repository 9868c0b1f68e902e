//! Integer Arithmetic Instructions (9.7.1), and `add`, `sub`, `mul`, which integers and f32 share.
//!
//! In: `B32` and `B64` registers. Out: the same. Signedness is in the method's name.

use super::{Assembler, Dest};
use crate::inst::{FloatBinary, FloatMode, Inst, IntBinary, IntTy, IntUnary};
use crate::types::{B32, B64, Class, Int, Number, Operand, Reg};

/// The type suffix for a class and a sign.
fn int_ty(class: Class, signed: bool) -> IntTy {
    match (class, signed) {
        (Class::B64, false) => IntTy::U64,
        (Class::B64, true) => IntTy::S64,
        (_, false) => IntTy::U32,
        (_, true) => IntTy::S32,
    }
}

impl Assembler {
    /// a + b, wrapping. On f32 `ptxas` may contract it into an fma; see [`Assembler::add_rn`].
    ///
    /// Both operands have the destination's type:
    ///
    /// ```
    /// # use dmac_ptx::{Assembler, B32, F32, Target};
    /// # let mut k = Assembler::new("k", Target::Sm80);
    /// # let (row, scale) = (k.reg::<B32>("row"), k.reg::<F32>("scale"));
    /// let next = k.add("row", row, 1);
    /// let twice = k.add("scale", scale, scale);
    /// ```
    ///
    /// ```compile_fail
    /// # use dmac_ptx::{Assembler, B32, F32, Target};
    /// # let mut k = Assembler::new("k", Target::Sm80);
    /// # let (row, scale) = (k.reg::<B32>("row"), k.reg::<F32>("scale"));
    /// let wrong = k.add("row", row, scale); // an f32 added to a 32-bit integer
    /// ```
    ///
    /// ```compile_fail
    /// # use dmac_ptx::{Assembler, B32, B64, Target};
    /// # let mut k = Assembler::new("k", Target::Sm80);
    /// # let (row, pointer) = (k.reg::<B32>("row"), k.reg::<B64>("pointer"));
    /// let wrong = k.add("pointer", pointer, row); // 32 bits added to 64
    /// ```
    pub fn add<T: Number>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.number(IntBinary::Add, FloatBinary::Add, d, a.into(), b.into())
    }

    /// a − b, wrapping.
    pub fn sub<T: Number>(
        &mut self,
        d: impl Dest<T>,
        a: impl Into<Operand<T>>,
        b: impl Into<Operand<T>>,
    ) -> Reg<T> {
        self.number(IntBinary::Sub, FloatBinary::Sub, d, a.into(), b.into())
    }

    /// a · b; of integers the low half (`mul.lo`).
    pub fn mul<T: Number>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.number(IntBinary::MulLo, FloatBinary::Mul, d, a.into(), b.into())
    }

    fn number<T: Number>(
        &mut self,
        int: IntBinary,
        float: FloatBinary,
        d: impl Dest<T>,
        a: Operand<T>,
        b: Operand<T>,
    ) -> Reg<T> {
        self.into(d, |d| match T::CLASS {
            Class::F32 => Inst::FloatBinary { op: float, mode: FloatMode::default(), d, a: a.src, b: b.src },
            class => Inst::IntBinary { op: int, ty: int_ty(class, false), d, a: a.src, b: b.src },
        })
    }

    fn int<T: Int>(
        &mut self,
        op: IntBinary,
        signed: bool,
        d: impl Dest<T>,
        a: Reg<T>,
        b: Operand<T>,
    ) -> Reg<T> {
        let ty = int_ty(T::CLASS, signed);
        self.into(d, |d| Inst::IntBinary { op, ty, d, a: Operand::from(a).src, b: b.src })
    }

    fn int_unary<D: Int, T: Int>(
        &mut self,
        op: IntUnary,
        signed: bool,
        d: impl Dest<D>,
        a: Reg<T>,
    ) -> Reg<D> {
        let ty = int_ty(T::CLASS, signed);
        self.into(d, |d| Inst::IntUnary { op, ty, d, a: Operand::from(a).src })
    }

    /// The high half of the unsigned product.
    pub fn mul_hi_u<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::MulHi, false, d, a, b.into())
    }

    /// a / b, unsigned. A few dozen instructions unless b is a constant.
    pub fn div_u<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::Div, false, d, a, b.into())
    }

    /// a / b, signed, towards zero.
    pub fn div_s<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::Div, true, d, a, b.into())
    }

    /// The remainder of the unsigned division.
    pub fn rem_u<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::Rem, false, d, a, b.into())
    }

    /// The remainder of the signed division; it has a's sign.
    pub fn rem_s<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::Rem, true, d, a, b.into())
    }

    /// The smaller, unsigned.
    pub fn min_u<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::Min, false, d, a, b.into())
    }

    /// The smaller, signed.
    pub fn min_s<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::Min, true, d, a, b.into())
    }

    /// The larger, unsigned.
    pub fn max_u<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::Max, false, d, a, b.into())
    }

    /// The larger, signed.
    pub fn max_s<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>, b: impl Into<Operand<T>>) -> Reg<T> {
        self.int(IntBinary::Max, true, d, a, b.into())
    }

    /// −a, two's complement.
    pub fn neg_s<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>) -> Reg<T> {
        self.int_unary(IntUnary::Neg, true, d, a)
    }

    /// |a|, signed.
    pub fn abs_s<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>) -> Reg<T> {
        self.int_unary(IntUnary::Abs, true, d, a)
    }

    /// Number of set bits.
    pub fn popc<T: Int>(&mut self, d: impl Dest<B32>, a: Reg<T>) -> Reg<B32> {
        self.int_unary(IntUnary::Popc, false, d, a)
    }

    /// Number of leading zeros.
    pub fn clz<T: Int>(&mut self, d: impl Dest<B32>, a: Reg<T>) -> Reg<B32> {
        self.int_unary(IntUnary::Clz, false, d, a)
    }

    /// Position of the highest set bit from the lowest; all ones for zero.
    pub fn bfind_u<T: Int>(&mut self, d: impl Dest<B32>, a: Reg<T>) -> Reg<B32> {
        self.int_unary(IntUnary::Bfind, false, d, a)
    }

    /// The bits in reverse order.
    pub fn brev<T: Int>(&mut self, d: impl Dest<T>, a: Reg<T>) -> Reg<T> {
        self.int_unary(IntUnary::Brev, false, d, a)
    }

    /// a · b + c, low half (`mad.lo`).
    pub fn mad<T: Int>(
        &mut self,
        d: impl Dest<T>,
        a: Reg<T>,
        b: impl Into<Operand<T>>,
        c: impl Into<Operand<T>>,
    ) -> Reg<T> {
        let (ty, b, c) = (int_ty(T::CLASS, false), b.into(), c.into());
        self.into(d, |d| Inst::MadLo { ty, d, a: Operand::from(a).src, b: b.src, c: c.src })
    }

    /// The 64-bit product of two unsigned 32-bit numbers.
    pub fn mul_wide_u(&mut self, d: impl Dest<B64>, a: Reg<B32>, b: impl Into<Operand<B32>>) -> Reg<B64> {
        let b = b.into();
        self.into(d, |d| Inst::MulWide { signed: false, d, a: Operand::from(a).src, b: b.src })
    }

    /// The 64-bit product of two signed 32-bit numbers.
    pub fn mul_wide_s(&mut self, d: impl Dest<B64>, a: Reg<B32>, b: impl Into<Operand<B32>>) -> Reg<B64> {
        let b = b.into();
        self.into(d, |d| Inst::MulWide { signed: true, d, a: Operand::from(a).src, b: b.src })
    }

    /// c + a · b with unsigned 32-bit factors and a 64-bit sum: the step from an index to an address.
    pub fn mad_wide_u(
        &mut self,
        d: impl Dest<B64>,
        a: Reg<B32>,
        b: impl Into<Operand<B32>>,
        c: impl Into<Operand<B64>>,
    ) -> Reg<B64> {
        let (b, c) = (b.into(), c.into());
        self.into(d, |d| Inst::MadWide { signed: false, d, a: Operand::from(a).src, b: b.src, c: c.src })
    }

    /// c + a · b with signed 32-bit factors and a 64-bit sum.
    pub fn mad_wide_s(
        &mut self,
        d: impl Dest<B64>,
        a: Reg<B32>,
        b: impl Into<Operand<B32>>,
        c: impl Into<Operand<B64>>,
    ) -> Reg<B64> {
        let (b, c) = (b.into(), c.into());
        self.into(d, |d| Inst::MadWide { signed: true, d, a: Operand::from(a).src, b: b.src, c: c.src })
    }

    /// `len` bits of `a` from bit `pos`, zero-extended.
    pub fn bfe_u<T: Int>(
        &mut self,
        d: impl Dest<T>,
        a: Reg<T>,
        pos: impl Into<Operand<B32>>,
        len: impl Into<Operand<B32>>,
    ) -> Reg<T> {
        let (ty, pos, len) = (int_ty(T::CLASS, false), pos.into(), len.into());
        self.into(d, |d| Inst::Bfe { ty, d, a: Operand::from(a).src, pos: pos.src, len: len.src })
    }

    /// `len` bits of `a` from bit `pos`, sign-extended.
    pub fn bfe_s<T: Int>(
        &mut self,
        d: impl Dest<T>,
        a: Reg<T>,
        pos: impl Into<Operand<B32>>,
        len: impl Into<Operand<B32>>,
    ) -> Reg<T> {
        let (ty, pos, len) = (int_ty(T::CLASS, true), pos.into(), len.into());
        self.into(d, |d| Inst::Bfe { ty, d, a: Operand::from(a).src, pos: pos.src, len: len.src })
    }

    /// `base` with the low `len` bits of `insert` put at bit `pos`.
    pub fn bfi(
        &mut self,
        d: impl Dest<B32>,
        insert: Reg<B32>,
        base: impl Into<Operand<B32>>,
        pos: impl Into<Operand<B32>>,
        len: impl Into<Operand<B32>>,
    ) -> Reg<B32> {
        let (base, pos, len) = (base.into(), pos.into(), len.into());
        self.into(d, |d| Inst::Bfi {
            d,
            a: Operand::from(insert).src,
            b: base.src,
            pos: pos.src,
            len: len.src,
        })
    }
}
