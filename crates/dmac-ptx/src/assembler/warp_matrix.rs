//! Warp Level Matrix Multiply-Accumulate Instructions (9.7.14).
//!
//! In: fragments, four `B32` of A, two of B, four `F32` of C for a product of 16 × 8 over k. Out: fragments.
//! With lane l: `c[0..2]` is row l/4, columns 2(l%4) and +1; `c[2..4]` the same 8 rows below. `a[0]` is row l/4,
//! k = 2(l%4) and +1; `a[1]` 8 rows below; `a[2]`, `a[3]` the same 8 columns on. `b[0]` is k = 2(l%4) and +1,
//! column l/4; `b[1]` the same 8 in k on.

use super::Assembler;
use crate::address::{Addr, Shared};
use crate::inst::{Inst, MmaElem};
use crate::types::{B32, F32, Reg, ids};

impl Assembler {
    /// c += a · b over one k-step: 16 for the 16-bit types, 8 for tf32.
    pub fn mma(&mut self, elem: MmaElem, c: &[Reg<F32>; 4], a: &[Reg<B32>; 4], b: &[Reg<B32>; 2]) {
        self.mma_to(elem, c, a, b, c);
    }

    /// d = a · b + c over one k-step.
    pub fn mma_to(
        &mut self,
        elem: MmaElem,
        d: &[Reg<F32>; 4],
        a: &[Reg<B32>; 4],
        b: &[Reg<B32>; 2],
        c: &[Reg<F32>; 4],
    ) {
        self.push(Inst::Mma { elem, d: d.map(|r| r.id), a: ids(a), b: b.map(|r| r.id), c: c.map(|r| r.id) });
    }

    /// 1, 2 or 4 matrices of 8 × 8 of 16 bits from shared memory, one register each. Lane l gives the address of
    /// row l%8 of matrix l/8 (16 bytes, aligned) and gets row l/4, columns 2(l%4) and +1 of each; with `trans` of the
    /// transposes.
    ///
    /// Its address is a shared one; a global one does not compile:
    ///
    /// ```compile_fail
    /// # use dmac_ptx::{Assembler, B32, B64, Target, global};
    /// # let mut k = Assembler::new("k", Target::Sm80);
    /// # let pointer = k.reg::<B64>("pointer");
    /// # let a = k.regs::<B32>("a", 4);
    /// k.ldmatrix(&a, global(pointer), false);
    /// ```
    pub fn ldmatrix(&mut self, d: &[Reg<B32>], from: Addr<Shared>, trans: bool) {
        self.push(Inst::Ldmatrix { trans, d: ids(d), from: from.at });
    }

    /// The inverse of [`Assembler::ldmatrix`].
    pub fn stmatrix(&mut self, to: Addr<Shared>, a: &[Reg<B32>], trans: bool) {
        self.push(Inst::Stmatrix { trans, to: to.at, a: ids(a) });
    }
}
