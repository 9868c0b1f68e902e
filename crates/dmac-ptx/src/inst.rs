//! The instruction set: one closed enum.
//!
//! In: operands without Rust types, as the [`Assembler`](crate::Assembler)'s typed methods erase them. Out: [`Inst`],
//! which the speller turns into text, the checker into facts and the digest into counts; each is one exhaustive match,
//! so a new instruction is a compiler-led walk.
//!
//! The order is that of the chapters of the PTX manual (section 9.7).

mod modifiers;

pub use modifiers::*;

use crate::address::{MemRef, ParamId, SpaceName};
use crate::types::{Class, Cond, RegId, Src};

/// A place in the code of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(pub(crate) u32);

/// The A operand of a warpgroup product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WgmmaA {
    /// A tile in shared memory, by its 64-bit descriptor.
    Descriptor(RegId),
    /// A fragment: four registers per 16-byte column step.
    Registers(Box<[RegId]>),
}

/// Whether a warpgroup product adds to its accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleD {
    /// D = A·B: the old accumulator is not read.
    Zero,
    /// D = A·B + D.
    One,
    /// D = A·B + D where the predicate holds (it must be uniform over the warpgroup).
    If(RegId),
}

/// Where a tensor map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapAt {
    /// A generic address in a register.
    Generic(RegId),
    /// A kernel parameter.
    Param(ParamId),
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "field names are the manual's: d = destination, a, b, c = sources, p = predicate"
)]
pub enum Inst {
    // ---- Integer Arithmetic Instructions
    /// `add`, `sub`, `mul.lo`, `mul.hi`, `div`, `rem`, `min`, `max`.
    IntBinary { op: IntBinary, ty: IntTy, d: RegId, a: Src, b: Src },
    /// `neg`, `abs`, `popc`, `clz`, `brev`, `bfind`.
    IntUnary { op: IntUnary, ty: IntTy, d: RegId, a: Src },
    /// `mad.lo`: d = a·b + c, low half.
    MadLo { ty: IntTy, d: RegId, a: Src, b: Src, c: Src },
    /// `mul.wide`: 64 bits from 32 × 32.
    MulWide { signed: bool, d: RegId, a: Src, b: Src },
    /// `mad.wide`: 64 bits from 32 × 32 + 64.
    MadWide { signed: bool, d: RegId, a: Src, b: Src, c: Src },
    /// `bfe`: `len` bits of `a` from bit `pos`.
    Bfe { ty: IntTy, d: RegId, a: Src, pos: Src, len: Src },
    /// `bfi`: `len` bits of `a` put into `b` at bit `pos`.
    Bfi { d: RegId, a: Src, b: Src, pos: Src, len: Src },

    // ---- Floating Point Instructions
    /// `add`, `sub`, `mul`, `min`, `max` on f32.
    FloatBinary { op: FloatBinary, mode: FloatMode, d: RegId, a: Src, b: Src },
    /// `fma.rn.f32`.
    Fma { ftz: bool, d: RegId, a: Src, b: Src, c: Src },
    /// `neg`, `abs` on f32.
    FloatUnary { op: FloatUnary, ftz: bool, d: RegId, a: Src },
    /// `ex2.approx` and the like: the hardware's approximations.
    Approx { op: Approx, ftz: bool, d: RegId, a: Src },
    /// `rcp.rn`, `sqrt.rn`: correctly rounded, many instructions each.
    Exact { op: Exact, d: RegId, a: Src },
    /// `div.rn` or `div.full` on f32.
    Div { full: bool, d: RegId, a: Src, b: Src },

    // ---- Half Precision Floating Point Instructions
    /// `add`, `sub`, `mul`, `min`, `max` on two packed 16-bit floats.
    HalfBinary { op: FloatBinary, nan: bool, ty: Half, d: RegId, a: Src, b: Src },
    /// `fma.rn` on two packed 16-bit floats.
    HalfFma { ty: Half, d: RegId, a: Src, b: Src, c: Src },
    /// `neg`, `abs`, `ex2.approx`, `tanh.approx` on two packed 16-bit floats.
    HalfUnary { op: HalfUnary, ty: Half, d: RegId, a: Src },

    // ---- Comparison and Selection Instructions
    /// `setp`: d = (a ? b), optionally combined with another predicate.
    Setp { cmp: Cmp, ty: CmpTy, with: Option<(BoolOp, Cond)>, d: RegId, a: Src, b: Src },
    /// `selp`: d = p ? a : b.
    Selp { class: Class, d: RegId, a: Src, b: Src, p: RegId },

    // ---- Logic and Shift Instructions
    /// `and`, `or`, `xor`.
    Logic { op: BoolOp, class: Class, d: RegId, a: Src, b: Src },
    /// `not`.
    Not { class: Class, d: RegId, a: Src },
    /// `lop3`: any function of three bits, by its truth table.
    Lop3 { d: RegId, a: Src, b: Src, c: Src, lut: u8 },
    /// `shl`, `shr`.
    Shift { op: Shift, class: Class, d: RegId, a: Src, b: Src },
    /// `shf`: 32 bits out of the 64-bit `hi:lo`, shifted by a clamped amount.
    FunnelShift { left: bool, d: RegId, lo: Src, hi: Src, amount: Src },

    // ---- Data Movement and Conversion Instructions
    /// `mov` of a register or an immediate; between f32 and b32 it keeps the bits.
    Mov { class: Class, d: RegId, a: Src },
    /// `mov` of a special register.
    MovSpecial { d: RegId, special: Special },
    /// `mov` of the address of dynamic shared memory.
    SharedBase { d: RegId },
    /// `mov` of a parameter's address in the parameter space.
    ParamAddress { d: RegId, param: ParamId },
    /// `cvta`: an address of a space to a generic one, or back (`to`).
    Cvta { space: SpaceName, to: bool, d: RegId, a: RegId },
    /// `mov.b64 d, {lo, hi}` (or b32 from two b16).
    Pack { class: Class, d: RegId, lo: Src, hi: Src },
    /// `mov.b64 {lo, hi}, a`.
    Unpack { class: Class, lo: RegId, hi: RegId, a: RegId },
    /// `prmt`: four bytes picked out of eight.
    Prmt { d: RegId, a: Src, b: Src, selector: Src },
    /// `cvt` of one value.
    Cvt { to: CvtTy, from: CvtTy, round: Option<Round>, ftz: bool, sat: bool, d: RegId, a: Src },
    /// `cvt.rn.bf16x2.f32`, `cvt.rn.f16x2.f32`: two f32 to a packed pair.
    CvtPack { to: Half, relu: bool, d: RegId, hi: Src, lo: Src },
    /// `shfl.sync`.
    Shfl { mode: ShflMode, d: RegId, in_range: Option<RegId>, a: Src, b: Src, clamp: u32, mask: Src },
    /// `ld.param`.
    LdParam { ty: MemTy, d: Box<[RegId]>, from: MemRef },
    /// `ld`.
    Ld { space: SpaceName, mode: LoadMode, ty: MemTy, d: Box<[RegId]>, from: MemRef },
    /// `st`.
    St { space: SpaceName, mode: StoreMode, ty: MemTy, to: MemRef, a: Box<[Src]> },
    /// `prefetch.global.L1` or `.L2`.
    Prefetch { level: Level, at: MemRef },
    /// `prefetch.tensormap`.
    PrefetchTensorMap { map: MapAt },
    /// `createpolicy.fractional`.
    CreatePolicy { policy: Eviction, d: RegId },
    /// `mapa`: this CTA's shared address as seen in CTA `rank` of the cluster.
    Mapa { d: RegId, a: RegId, rank: Src },

    // ---- Data Movement and Conversion Instructions: asynchronous copy
    /// `cp.async`, non-bulk.
    CpAsync {
        bytes: CpBytes,
        prefetch: Option<L2Prefetch>,
        to: MemRef,
        from: MemRef,
        source_bytes: Option<Src>,
        policy: Option<RegId>,
    },
    /// `cp.async.commit_group`.
    CpAsyncCommit,
    /// `cp.async.wait_group`.
    CpAsyncWait { pending: u32 },
    /// `cp.async.wait_all`.
    CpAsyncWaitAll,
    /// `cp.async.bulk`, global to shared, completing on a barrier.
    BulkLoad {
        to: MemRef,
        from: MemRef,
        bytes: Src,
        barrier: MemRef,
        multicast: Option<RegId>,
        policy: Option<RegId>,
    },
    /// `cp.async.bulk`, shared to global.
    BulkStore { to: MemRef, from: MemRef, bytes: Src, policy: Option<RegId> },
    /// `cp.reduce.async.bulk`, shared to global.
    BulkReduce { op: ReduceOp, ty: BulkTy, to: MemRef, from: MemRef, bytes: Src, policy: Option<RegId> },
    /// `cp.async.bulk.tensor`, global to shared.
    TensorLoad {
        to: MemRef,
        map: RegId,
        at: Box<[Src]>,
        barrier: MemRef,
        multicast: Option<RegId>,
        policy: Option<RegId>,
    },
    /// `cp.async.bulk.tensor`, shared to global.
    TensorStore { map: RegId, at: Box<[Src]>, from: MemRef, policy: Option<RegId> },
    /// `cp.reduce.async.bulk.tensor`, shared to global.
    TensorReduce { op: ReduceOp, map: RegId, at: Box<[Src]>, from: MemRef, policy: Option<RegId> },
    /// `cp.async.bulk.prefetch.tensor` into L2.
    TensorPrefetch { map: RegId, at: Box<[Src]> },
    /// `cp.async.bulk.commit_group`.
    BulkCommit,
    /// `cp.async.bulk.wait_group`; `read`: the sources have been read, the writes may be under way.
    BulkWait { pending: u32, read: bool },

    // ---- Control Flow Instructions
    /// `bra`.
    Bra { to: Label },
    /// `ret`.
    Ret,
    /// `exit`.
    Exit,

    // ---- Parallel Synchronization and Communication Instructions
    /// `bar.sync`, `bar.arrive`.
    Bar { arrive: bool, id: Src, threads: Option<Src> },
    /// `bar.red.and.pred`, `.or.pred`: barrier and vote of the whole CTA.
    BarVote { any: bool, d: RegId, id: Src, p: Cond },
    /// `bar.warp.sync`.
    BarWarp { mask: Src },
    /// `barrier.cluster.arrive`.
    ClusterArrive { relaxed: bool },
    /// `barrier.cluster.wait`.
    ClusterWait,
    /// `fence` in its forms.
    Fence { fence: Fence },
    /// `atom` with a destination, `red` without.
    Atomic {
        op: AtomicOp,
        ty: AtomicTy,
        space: SpaceName,
        order: Order,
        scope: Scope,
        d: Option<RegId>,
        at: MemRef,
        a: Box<[Src]>,
        compare: Option<Src>,
    },
    /// `vote.sync` into a predicate.
    Vote { mode: VoteMode, d: RegId, p: Cond, mask: Src },
    /// `vote.sync.ballot`.
    Ballot { d: RegId, p: Cond, mask: Src },
    /// `match.any.sync`, `match.all.sync`.
    Match { all: bool, d: RegId, a: Src, mask: Src },
    /// `activemask`.
    ActiveMask { d: RegId },
    /// `redux.sync`.
    Redux { op: ReduxOp, d: RegId, a: Src, mask: Src },
    /// `elect.sync`: true in one lane.
    Elect { p: RegId, mask: Src },
    /// `griddepcontrol.wait`, `.launch_dependents`.
    GridDependency { launch: bool },

    // ---- Parallel Synchronization and Communication Instructions: mbarrier
    /// `mbarrier.init`.
    MbarrierInit { at: MemRef, count: Src },
    /// `mbarrier.inval`.
    MbarrierInval { at: MemRef },
    /// `mbarrier.expect_tx`.
    MbarrierExpect { at: MemRef, bytes: Src },
    /// `mbarrier.arrive.expect_tx`.
    MbarrierArriveExpect { at: MemRef, bytes: Src },
    /// `mbarrier.arrive`; `cluster`: on a barrier of another CTA.
    MbarrierArrive { cluster: bool, at: MemRef, count: Option<Src> },
    /// `mbarrier.try_wait.parity` (`test`: `test_wait`).
    MbarrierTry { test: bool, d: RegId, at: MemRef, parity: Src },
    /// `cp.async.mbarrier.arrive`.
    CpAsyncArrive { noinc: bool, at: MemRef },

    // ---- Warp Level Matrix Multiply-Accumulate Instructions
    /// `mma.sync`: d = a·b + c with f32 accumulators.
    Mma { elem: MmaElem, d: [RegId; 4], a: Box<[RegId]>, b: [RegId; 2], c: [RegId; 4] },
    /// `ldmatrix` of 1, 2 or 4 matrices of 8 × 8.
    Ldmatrix { trans: bool, d: Box<[RegId]>, from: MemRef },
    /// `stmatrix` of 1, 2 or 4 matrices of 8 × 8.
    Stmatrix { trans: bool, to: MemRef, a: Box<[RegId]> },

    // ---- Asynchronous Warpgroup Level Matrix Instructions
    /// `wgmma.mma_async`.
    Wgmma {
        elem: MmaElem,
        n: u32,
        d: Box<[RegId]>,
        a: WgmmaA,
        b: RegId,
        scale_d: ScaleD,
        negate_a: bool,
        negate_b: bool,
        trans_a: bool,
        trans_b: bool,
    },
    /// `wgmma.fence`.
    WgmmaFence,
    /// `wgmma.commit_group`.
    WgmmaCommit,
    /// `wgmma.wait_group`.
    WgmmaWait { pending: u32 },

    // ---- Miscellaneous Instructions
    /// `setmaxnreg`.
    Setmaxnreg { increase: bool, registers: u32 },
    /// `nanosleep`.
    Nanosleep { nanoseconds: Src },
    /// `trap`.
    Trap,
}
