//! Data Movement and Conversion Instructions (9.7.9), the synchronous ones.
//!
//! In: registers and typed addresses. Out: registers, memory.

use super::{Assembler, Dest, Param, TensorMap, TensorMapParam};
use crate::address::{Addr, Global, MemRef, Shared, SharedCluster, Space, SpaceName};
use crate::inst::{
    CvtTy, Eviction, Half, Inst, Level, LoadMode, MapAt, MemTy, Round, ShflMode, Special, StoreMode,
};
use crate::types::{B16, B32, B64, Class, F32, Int, Operand, Pred, Reg, Src, Stored, Ty, ids};

/// A space that `ld` and `st` reach with a register address.
pub trait Memory: Space {}
impl Memory for Shared {}
impl Memory for SharedCluster {}
impl Memory for Global {}

/// The width of a load or store of a whole register.
fn whole(class: Class) -> MemTy {
    match class {
        Class::B16 => MemTy::B16,
        Class::B32 => MemTy::B32,
        Class::B64 => MemTy::B64,
        Class::F32 => MemTy::F32,
        Class::Pred => panic!("predicates are not stored"),
    }
}

impl Assembler {
    // ---- mov

    /// A register or an immediate into a register.
    pub fn mov<T: Ty>(&mut self, d: impl Dest<T>, a: impl Into<Operand<T>>) -> Reg<T> {
        let a = a.into();
        self.into(d, |d| Inst::Mov { class: T::CLASS, d, a: a.src })
    }

    /// A special register that is 32 bits wide.
    ///
    /// # Panics
    ///
    /// For the 64-bit clocks; see [`Assembler::clock`].
    pub fn special(&mut self, d: impl Dest<B32>, special: Special) -> Reg<B32> {
        assert!(!special.is_wide(), "{} has 64 bits", special.name());
        self.into(d, |d| Inst::MovSpecial { d, special })
    }

    /// A clock: [`Special::Clock64`] or [`Special::GlobalTimer`].
    ///
    /// # Panics
    ///
    /// For a special register of 32 bits.
    pub fn clock(&mut self, d: impl Dest<B64>, special: Special) -> Reg<B64> {
        assert!(special.is_wide(), "{} has 32 bits", special.name());
        self.into(d, |d| Inst::MovSpecial { d, special })
    }

    /// The shared-memory address of the start of dynamic shared memory.
    pub fn shared_base(&mut self, d: impl Dest<B32>) -> Reg<B32> {
        self.into(d, |d| Inst::SharedBase { d })
    }

    /// The generic address of a tensor map parameter (`mov` and `cvta.param`), which the copies take.
    pub fn tensor_map(&mut self, role: &str, map: TensorMapParam) -> TensorMap {
        let at: Reg<B64> = self.into(role, |d| Inst::ParamAddress { d, param: map.id });
        self.push(Inst::Cvta { space: SpaceName::Param, to: false, d: at.id, a: at.id });
        TensorMap { at: at.id }
    }

    /// The bits of an f32 as an integer register.
    pub fn bits_of(&mut self, d: impl Dest<B32>, a: Reg<F32>) -> Reg<B32> {
        self.into(d, |d| Inst::Mov { class: Class::B32, d, a: Src::Reg(a.id) })
    }

    /// 32 bits read as an f32.
    pub fn float_of(&mut self, d: impl Dest<F32>, a: Reg<B32>) -> Reg<F32> {
        self.into(d, |d| Inst::Mov { class: Class::B32, d, a: Src::Reg(a.id) })
    }

    /// 64 bits from two halves.
    pub fn pack64(
        &mut self,
        d: impl Dest<B64>,
        lo: impl Into<Operand<B32>>,
        hi: impl Into<Operand<B32>>,
    ) -> Reg<B64> {
        let (lo, hi) = (lo.into(), hi.into());
        self.into(d, |d| Inst::Pack { class: Class::B64, d, lo: lo.src, hi: hi.src })
    }

    /// 32 bits from two halves.
    pub fn pack32(&mut self, d: impl Dest<B32>, lo: Reg<B16>, hi: Reg<B16>) -> Reg<B32> {
        self.into(d, |d| Inst::Pack { class: Class::B32, d, lo: Src::Reg(lo.id), hi: Src::Reg(hi.id) })
    }

    /// The two halves of 64 bits, low first.
    pub fn unpack64(&mut self, lo: impl Dest<B32>, hi: impl Dest<B32>, a: Reg<B64>) -> (Reg<B32>, Reg<B32>) {
        let (lo, hi) = (lo.register(self), hi.register(self));
        self.push(Inst::Unpack { class: Class::B64, lo: lo.id, hi: hi.id, a: a.id });
        (lo, hi)
    }

    /// The two halves of 32 bits, low first.
    pub fn unpack32(&mut self, lo: impl Dest<B16>, hi: impl Dest<B16>, a: Reg<B32>) -> (Reg<B16>, Reg<B16>) {
        let (lo, hi) = (lo.register(self), hi.register(self));
        self.push(Inst::Unpack { class: Class::B32, lo: lo.id, hi: hi.id, a: a.id });
        (lo, hi)
    }

    /// Four bytes picked out of the eight of `b:a`; one hex digit of `selector` a byte.
    pub fn prmt(
        &mut self,
        d: impl Dest<B32>,
        a: Reg<B32>,
        b: impl Into<Operand<B32>>,
        selector: impl Into<Operand<B32>>,
    ) -> Reg<B32> {
        let (b, selector) = (b.into(), selector.into());
        self.into(d, |d| Inst::Prmt { d, a: Src::Reg(a.id), b: b.src, selector: selector.src })
    }

    // ---- shfl.sync

    /// A lane's value from another lane; all 32 lanes take part, segments are whole warps.
    pub fn shfl<T: Stored>(
        &mut self,
        mode: ShflMode,
        d: impl Dest<T>,
        a: Reg<T>,
        lane: impl Into<Operand<B32>>,
    ) -> Reg<T> {
        let lane = lane.into();
        let clamp = if mode == ShflMode::Up { 0 } else { 31 };
        self.into(d, |d| Inst::Shfl {
            mode,
            d,
            in_range: None,
            a: Src::Reg(a.id),
            b: lane.src,
            clamp,
            mask: Operand::<B32>::from(-1).src,
        })
    }

    /// [`Assembler::shfl`], and whether the source lane was in range.
    pub fn shfl_in_range<T: Stored>(
        &mut self,
        mode: ShflMode,
        d: impl Dest<T>,
        in_range: impl Dest<Pred>,
        a: Reg<T>,
        lane: impl Into<Operand<B32>>,
    ) -> (Reg<T>, Reg<Pred>) {
        let lane = lane.into();
        let clamp = if mode == ShflMode::Up { 0 } else { 31 };
        let p = in_range.register(self);
        let d = self.into(d, |d| Inst::Shfl {
            mode,
            d,
            in_range: Some(p.id),
            a: Src::Reg(a.id),
            b: lane.src,
            clamp,
            mask: Operand::<B32>::from(-1).src,
        });
        (d, p)
    }

    // ---- cvt

    fn cvt<D: Stored, A: Stored>(
        &mut self,
        to: CvtTy,
        from: CvtTy,
        round: Option<Round>,
        d: impl Dest<D>,
        a: Reg<A>,
    ) -> Reg<D> {
        self.into(d, |d| Inst::Cvt { to, from, round, ftz: false, sat: false, d, a: Src::Reg(a.id) })
    }

    /// 32 to 64 bits, zero-extended.
    pub fn widen_u(&mut self, d: impl Dest<B64>, a: Reg<B32>) -> Reg<B64> {
        self.cvt(CvtTy::U64, CvtTy::U32, None, d, a)
    }

    /// 32 to 64 bits, sign-extended.
    pub fn widen_s(&mut self, d: impl Dest<B64>, a: Reg<B32>) -> Reg<B64> {
        self.cvt(CvtTy::S64, CvtTy::S32, None, d, a)
    }

    /// The low 32 of 64 bits.
    pub fn truncate(&mut self, d: impl Dest<B32>, a: Reg<B64>) -> Reg<B32> {
        self.cvt(CvtTy::U32, CvtTy::U64, None, d, a)
    }

    /// 16 to 32 bits, zero-extended.
    pub fn widen16_u(&mut self, d: impl Dest<B32>, a: Reg<B16>) -> Reg<B32> {
        self.cvt(CvtTy::U32, CvtTy::U16, None, d, a)
    }

    /// 16 to 32 bits, sign-extended.
    pub fn widen16_s(&mut self, d: impl Dest<B32>, a: Reg<B16>) -> Reg<B32> {
        self.cvt(CvtTy::S32, CvtTy::S16, None, d, a)
    }

    /// The low 16 of 32 bits.
    pub fn truncate16(&mut self, d: impl Dest<B16>, a: Reg<B32>) -> Reg<B16> {
        self.cvt(CvtTy::U16, CvtTy::U32, None, d, a)
    }

    /// The low 8 bits of a word, sign-extended.
    pub fn extend8_s(&mut self, d: impl Dest<B32>, a: Reg<B32>) -> Reg<B32> {
        self.cvt(CvtTy::S32, CvtTy::S8, None, d, a)
    }

    /// An unsigned integer as f32, rounded to nearest even.
    pub fn float_from_u<T: Int>(&mut self, d: impl Dest<F32>, a: Reg<T>) -> Reg<F32> {
        let from = if T::CLASS == Class::B64 { CvtTy::U64 } else { CvtTy::U32 };
        self.cvt(CvtTy::F32, from, Some(Round::Rn), d, a)
    }

    /// A signed integer as f32, rounded to nearest even.
    pub fn float_from_s<T: Int>(&mut self, d: impl Dest<F32>, a: Reg<T>) -> Reg<F32> {
        let from = if T::CLASS == Class::B64 { CvtTy::S64 } else { CvtTy::S32 };
        self.cvt(CvtTy::F32, from, Some(Round::Rn), d, a)
    }

    /// An f32 as an unsigned 32-bit integer, clamped; `round` is one of the `i` forms.
    pub fn int_from_f_u(&mut self, d: impl Dest<B32>, round: Round, a: Reg<F32>) -> Reg<B32> {
        self.cvt(CvtTy::U32, CvtTy::F32, Some(round), d, a)
    }

    /// An f32 as a signed 32-bit integer, clamped; `round` is one of the `i` forms.
    pub fn int_from_f_s(&mut self, d: impl Dest<B32>, round: Round, a: Reg<F32>) -> Reg<B32> {
        self.cvt(CvtTy::S32, CvtTy::F32, Some(round), d, a)
    }

    /// An f32 rounded to an integral f32: nearest even (`Rni`), zero, floor (`Rmi`) or ceiling (`Rpi`).
    pub fn round_f(&mut self, d: impl Dest<F32>, round: Round, a: Reg<F32>) -> Reg<F32> {
        self.cvt(CvtTy::F32, CvtTy::F32, Some(round), d, a)
    }

    /// An f32 clamped to [0, 1]; NaN gives 0.
    pub fn saturate(&mut self, d: impl Dest<F32>, a: Reg<F32>) -> Reg<F32> {
        let (to, from) = (CvtTy::F32, CvtTy::F32);
        self.into(d, |d| Inst::Cvt { to, from, round: None, ftz: false, sat: true, d, a: Src::Reg(a.id) })
    }

    /// An f32 as one f16 or bf16, rounded to nearest even.
    pub fn half_from_f(&mut self, ty: Half, d: impl Dest<B16>, a: Reg<F32>) -> Reg<B16> {
        self.cvt(half_scalar(ty), CvtTy::F32, Some(Round::Rn), d, a)
    }

    /// One f16 or bf16 as f32, exactly.
    pub fn float_from_half(&mut self, ty: Half, d: impl Dest<F32>, a: Reg<B16>) -> Reg<F32> {
        self.cvt(CvtTy::F32, half_scalar(ty), None, d, a)
    }

    /// Two f32 as a packed pair, rounded to nearest even; `lo` is the element at the lower address.
    pub fn pack_half(&mut self, ty: Half, d: impl Dest<B32>, lo: Reg<F32>, hi: Reg<F32>) -> Reg<B32> {
        self.into(d, |d| Inst::CvtPack { to: ty, relu: false, d, hi: Src::Reg(hi.id), lo: Src::Reg(lo.id) })
    }

    /// [`Assembler::pack_half`] with negative values clamped to zero.
    pub fn pack_half_relu(&mut self, ty: Half, d: impl Dest<B32>, lo: Reg<F32>, hi: Reg<F32>) -> Reg<B32> {
        self.into(d, |d| Inst::CvtPack { to: ty, relu: true, d, hi: Src::Reg(hi.id), lo: Src::Reg(lo.id) })
    }

    /// An f32 rounded to tf32 (ties away), as the bits that the tf32 products take.
    pub fn tf32_from_f(&mut self, d: impl Dest<B32>, a: Reg<F32>) -> Reg<B32> {
        self.cvt(CvtTy::Tf32, CvtTy::F32, Some(Round::Rna), d, a)
    }

    // ---- cvta, mapa

    /// A generic 64-bit address of global memory as a global one (the same bits on every device so far).
    pub fn to_global(&mut self, d: impl Dest<B64>, a: Reg<B64>) -> Reg<B64> {
        self.into(d, |d| Inst::Cvta { space: SpaceName::Global, to: true, d, a: a.id })
    }

    /// The shared address `a` of this CTA as it is seen in CTA `rank` of the cluster.
    pub fn mapa(&mut self, d: impl Dest<B32>, a: Reg<B32>, rank: impl Into<Operand<B32>>) -> Reg<B32> {
        let rank = rank.into();
        self.into(d, |d| Inst::Mapa { d, a: a.id, rank: rank.src })
    }

    // ---- ld, st

    /// A kernel parameter.
    pub fn ld_param<T: Stored>(&mut self, d: impl Dest<T>, param: Param<T>) -> Reg<T> {
        self.into(d, |d| Inst::LdParam { ty: whole(T::CLASS), d: [d].into(), from: MemRef::param(param.id) })
    }

    /// One register from memory.
    pub fn ld<T: Stored, S: Memory>(&mut self, d: impl Dest<T>, from: Addr<S>) -> Reg<T> {
        let d = d.register(self);
        self.ld_with(LoadMode::default(), &[d], from);
        d
    }

    /// One register from global memory that nobody writes while the kernel runs (`.nc`).
    pub fn ld_read_only<T: Stored>(&mut self, d: impl Dest<T>, from: Addr<Global>) -> Reg<T> {
        let d = d.register(self);
        self.ld_with(LoadMode { read_only: true, ..LoadMode::default() }, &[d], from);
        d
    }

    /// `N` new registers of a role from consecutive memory; the address is a multiple of their size together.
    pub fn ld_vec<T: Stored, S: Memory, const N: usize>(&mut self, role: &str, from: Addr<S>) -> [Reg<T>; N] {
        let d: [Reg<T>; N] = std::array::from_fn(|_| self.reg(role));
        self.ld_with(LoadMode::default(), &d, from);
        d
    }

    /// One, two or four registers from consecutive memory, through the caches as `mode` says.
    pub fn ld_with<T: Stored, S: Memory>(&mut self, mode: LoadMode, d: &[Reg<T>], from: Addr<S>) {
        self.push(Inst::Ld { space: S::NAME, mode, ty: whole(T::CLASS), d: ids(d), from: from.at });
    }

    /// 8 or 16 bits from memory, widened to 32 as the type says.
    pub fn ld_narrow<S: Memory>(&mut self, ty: MemTy, d: impl Dest<B32>, from: Addr<S>) -> Reg<B32> {
        let mode = LoadMode::default();
        self.into(d, |d| Inst::Ld { space: S::NAME, mode, ty, d: [d].into(), from: from.at })
    }

    /// One register to memory.
    pub fn st<T: Stored, S: Memory>(&mut self, to: Addr<S>, a: impl Into<Operand<T>>) {
        let a = a.into();
        let (mode, ty) = (StoreMode::default(), whole(T::CLASS));
        self.push(Inst::St { space: S::NAME, mode, ty, to: to.at, a: [a.src].into() });
    }

    /// Two or four registers to consecutive memory; the address is a multiple of their size together.
    pub fn st_vec<T: Stored, S: Memory>(&mut self, to: Addr<S>, a: &[Reg<T>]) {
        self.st_with(StoreMode::default(), to, a);
    }

    /// One, two or four registers to consecutive memory, through the caches as `mode` says.
    pub fn st_with<T: Stored, S: Memory>(&mut self, mode: StoreMode, to: Addr<S>, a: &[Reg<T>]) {
        let a = a.iter().map(|r| Src::Reg(r.id)).collect();
        self.push(Inst::St { space: S::NAME, mode, ty: whole(T::CLASS), to: to.at, a });
    }

    /// The low 8 or 16 bits of a register to memory.
    pub fn st_narrow<S: Memory>(&mut self, ty: MemTy, to: Addr<S>, a: Reg<B32>) {
        let mode = StoreMode::default();
        self.push(Inst::St { space: S::NAME, mode, ty, to: to.at, a: [Src::Reg(a.id)].into() });
    }

    // ---- prefetch, policies

    /// Asks for the line at an address to be brought into a cache.
    pub fn prefetch(&mut self, level: Level, at: Addr<Global>) {
        self.push(Inst::Prefetch { level, at: at.at });
    }

    /// Brings a tensor map into the descriptor cache.
    pub fn prefetch_tensor_map(&mut self, map: TensorMapParam) {
        self.push(Inst::PrefetchTensorMap { map: MapAt::Param(map.id) });
    }

    /// A cache policy for everything that it is given to.
    pub fn create_policy(&mut self, d: impl Dest<B64>, policy: Eviction) -> Reg<B64> {
        self.into(d, |d| Inst::CreatePolicy { policy, d })
    }
}

fn half_scalar(ty: Half) -> CvtTy {
    match ty {
        Half::F16x2 => CvtTy::F16,
        Half::Bf16x2 => CvtTy::Bf16,
    }
}
