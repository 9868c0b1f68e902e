//! The decoded instruction: a closed enum with register numbers, immediates and resolved branch targets.
//!
//! The decoder makes one [`Inst`] from each PTX statement; the machine matches on [`Op`] and never looks at text
//! again except to name an instruction in a finding.

use crate::types::Ty;

/// A register: which file, and the index in it. Files: `W` holds everything up to 32 bits, `D` 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reg {
    W(u16),
    D(u16),
    P(u16),
}

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Val {
    W(u16),
    D(u16),
    Imm(u64),
    Special(Special),
}

/// A predicate operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PVal {
    Reg { index: u16, negated: bool },
    Const(bool),
}

/// Read-only special registers. The number is the axis for the three-dimensional ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    Clusterid(u8),
    Nclusterid(u8),
    ClusterCtarank,
    ClusterNctarank,
    Laneid,
    Warpid,
    Nwarpid,
    Smid,
    Nsmid,
    Gridid,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    Clock,
    Globaltimer,
    DynamicSmem,
    TotalSmem,
    /// Address of the `.extern .shared` array.
    DynamicBase,
}

/// `[base + offset]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Addr {
    pub base: Val,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Generic,
    Global,
    /// The CTA's own shared memory.
    Shared,
    /// Shared memory of any CTA of the cluster.
    SharedCluster,
    Param,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntOp1 {
    Abs,
    Neg,
    Not,
    Cnot,
    Popc,
    Clz,
    Brev,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntOp2 {
    Add,
    Sub,
    MulLo,
    MulHi,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatOp1 {
    Neg,
    Abs,
    Ex2,
    Lg2,
    Rcp,
    Sqrt,
    Rsqrt,
    Sin,
    Cos,
    Tanh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatOp2 {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    MinNan,
    MaxNan,
}

/// Rounding of a floating-point result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    Nearest,
    Zero,
    Down,
    Up,
    NearestAway,
}

/// Rounding and clamping of floating-point arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloatMode {
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    pub round: Round,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// The unordered forms: true when an operand is NaN.
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    /// Both are numbers.
    Num,
    /// Either is NaN.
    Nan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoolOp {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomOp {
    Add,
    Min,
    Max,
    Inc,
    Dec,
    And,
    Or,
    Xor,
    Exch,
    Cas,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShflMode {
    Up,
    Down,
    Bfly,
    Idx,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

/// Memory ordering of a strong access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// An ordinary access, which may race.
    Weak,
    /// `.volatile` and `.relaxed`: does not race, orders nothing.
    Relaxed,
    Acquire,
    Release,
    AcqRel,
}

impl Order {
    pub(crate) fn acquires(self) -> bool {
        matches!(self, Order::Acquire | Order::AcqRel)
    }
    pub(crate) fn releases(self) -> bool {
        matches!(self, Order::Release | Order::AcqRel)
    }
    pub(crate) fn strong(self) -> bool {
        self != Order::Weak
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// `fence.acq_rel`, `fence.sc`, `membar`.
    Memory,
    /// `fence.proxy.async`: which of shared and global memory it covers.
    ProxyAsync { shared: bool, global: bool },
    /// `fence.mbarrier_init`.
    MbarrierInit,
    /// `wgmma.fence`.
    Wgmma,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BarKind {
    Sync,
    Arrive,
    /// `bar.red`: reduces a predicate over the participating threads.
    Popc {
        dst: Reg,
        src: PVal,
    },
    And {
        dst: u16,
        src: PVal,
    },
    Or {
        dst: u16,
        src: PVal,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ArriveTx {
    None,
    /// `.expect_tx`: bytes.
    Expect(Val),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WaitOn {
    /// The 64-bit state that an arrive returned.
    State(Val),
    Parity(Val),
}

/// Element arithmetic of a bulk reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Inc,
    Dec,
}

/// Type of the multiplicands of a matrix instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MmaIn {
    F16,
    Bf16,
}

/// The A operand of `wgmma.mma_async`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WgmmaA {
    Shared { desc: Val, transposed: bool },
    Regs([u16; 4]),
}

/// `wgmma.mma_async`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wgmma {
    pub n: u32,
    pub input: MmaIn,
    /// The accumulator is f32 (else packed f16).
    pub f32_acc: bool,
    pub acc: Box<[u16]>,
    pub a: WgmmaA,
    pub b: Val,
    pub b_transposed: bool,
    pub scale_d: PVal,
    pub neg_a: bool,
    pub neg_b: bool,
}

/// A tensor-map operand `[map, {coordinates}]`; the innermost coordinate comes first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub map: Addr,
    pub coords: Box<[Val]>,
}

/// What an instruction does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// Hints that change nothing observable: prefetch, createpolicy's companions, nanosleep.
    Nop,
    Mov {
        d: Reg,
        s: Val,
    },
    MovPred {
        d: u16,
        s: PVal,
    },
    /// `mov.b64 d, {a, b}`: parts of `part` bits each, lowest first.
    Pack {
        d: Reg,
        parts: Box<[Val]>,
        part: u32,
    },
    Unpack {
        parts: Box<[Option<Reg>]>,
        s: Val,
        part: u32,
    },
    Int1 {
        op: IntOp1,
        ty: Ty,
        d: Reg,
        a: Val,
    },
    Int2 {
        op: IntOp2,
        ty: Ty,
        d: Reg,
        a: Val,
        b: Val,
        sat: bool,
    },
    MulWide {
        ty: Ty,
        d: Reg,
        a: Val,
        b: Val,
    },
    Mad {
        ty: Ty,
        d: Reg,
        a: Val,
        b: Val,
        c: Val,
        high: bool,
    },
    MadWide {
        ty: Ty,
        d: Reg,
        a: Val,
        b: Val,
        c: Val,
    },
    Lop3 {
        d: u16,
        a: Val,
        b: Val,
        c: Val,
        lut: u8,
    },
    Prmt {
        d: u16,
        a: Val,
        b: Val,
        sel: Val,
    },
    FunnelShift {
        d: u16,
        lo: Val,
        hi: Val,
        by: Val,
        left: bool,
        wrap: bool,
    },
    BitExtract {
        ty: Ty,
        d: Reg,
        a: Val,
        pos: Val,
        len: Val,
    },
    BitInsert {
        bits: u32,
        d: Reg,
        field: Val,
        into: Val,
        pos: Val,
        len: Val,
    },
    Float1 {
        op: FloatOp1,
        ty: Ty,
        mode: FloatMode,
        d: Reg,
        a: Val,
    },
    Float2 {
        op: FloatOp2,
        ty: Ty,
        mode: FloatMode,
        d: Reg,
        a: Val,
        b: Val,
    },
    Fma {
        ty: Ty,
        mode: FloatMode,
        d: Reg,
        a: Val,
        b: Val,
        c: Val,
    },
    Copysign {
        d: Reg,
        a: Val,
        b: Val,
    },
    Setp {
        cmp: Cmp,
        ty: Ty,
        ftz: bool,
        d: Option<u16>,
        q: Option<u16>,
        a: Val,
        b: Val,
        with: Option<(BoolOp, PVal)>,
    },
    /// `set`: a comparison as 0 / all-ones, or 0.0 / 1.0 when `float`.
    Set {
        cmp: Cmp,
        ty: Ty,
        ftz: bool,
        float: bool,
        d: u16,
        a: Val,
        b: Val,
    },
    Selp {
        d: Reg,
        a: Val,
        b: Val,
        p: PVal,
    },
    PredOp {
        op: BoolOp,
        d: u16,
        a: PVal,
        b: PVal,
    },
    PredNot {
        d: u16,
        a: PVal,
    },
    Cvt {
        to: Ty,
        from: Ty,
        mode: FloatMode,
        integral: bool,
        satfinite: bool,
        d: Reg,
        a: Val,
    },
    /// `cvt.rn.bf16x2.f32 d, hi, lo` and the f16 form.
    CvtPack {
        to: Ty,
        mode: FloatMode,
        satfinite: bool,
        d: u16,
        hi: Val,
        lo: Val,
    },
    /// An address moved between the generic space and `space`.
    Cvta {
        d: Reg,
        a: Val,
        space: Space,
        to_space: bool,
    },
    IsSpace {
        d: u16,
        a: Val,
        space: Space,
    },
    Mapa {
        d: Reg,
        a: Val,
        rank: Val,
        generic: bool,
    },
    GetCtaRank {
        d: u16,
        a: Val,
        generic: bool,
    },
    Ld {
        space: Space,
        ty: Ty,
        order: Order,
        nc: bool,
        d: Box<[Option<Reg>]>,
        a: Addr,
    },
    St {
        space: Space,
        ty: Ty,
        order: Order,
        a: Addr,
        s: Box<[Val]>,
    },
    /// `atom` (with a destination) and `red`; several values are the vector forms.
    Atom {
        op: AtomOp,
        space: Space,
        ty: Ty,
        order: Order,
        d: Box<[Option<Reg>]>,
        a: Addr,
        b: Box<[Val]>,
        c: Option<Val>,
    },
    Shfl {
        mode: ShflMode,
        d: u16,
        p: Option<u16>,
        a: Val,
        b: Val,
        c: Val,
        members: Val,
    },
    Vote {
        mode: VoteMode,
        d: Reg,
        a: PVal,
        members: Val,
    },
    Match {
        all: bool,
        bits: u32,
        d: u16,
        p: Option<u16>,
        a: Val,
        members: Val,
    },
    Redux {
        op: AtomOp,
        signed: bool,
        d: u16,
        a: Val,
        members: Val,
    },
    Elect {
        d: Option<u16>,
        p: u16,
        members: Val,
    },
    ActiveMask {
        d: u16,
    },
    WarpSync {
        members: Val,
    },
    Bar {
        kind: BarKind,
        aligned: bool,
        id: Val,
        count: Option<Val>,
    },
    ClusterArrive {
        release: bool,
        aligned: bool,
    },
    ClusterWait {
        acquire: bool,
        aligned: bool,
    },
    Bra {
        target: u32,
    },
    Exit,
    Trap,
    Fence(Fence),
    MbarInit {
        a: Addr,
        space: Space,
        count: Val,
    },
    MbarInval {
        a: Addr,
        space: Space,
    },
    MbarExpectTx {
        a: Addr,
        space: Space,
        bytes: Val,
    },
    MbarCompleteTx {
        a: Addr,
        space: Space,
        bytes: Val,
    },
    MbarArrive {
        a: Addr,
        space: Space,
        state: Option<Reg>,
        count: Option<Val>,
        tx: ArriveTx,
        drop: bool,
        release: bool,
    },
    MbarWait {
        a: Addr,
        space: Space,
        d: u16,
        on: WaitOn,
        blocking: bool,
        acquire: bool,
    },
    MbarPending {
        d: u16,
        state: Val,
    },
    CpAsync {
        dst: Addr,
        src: Addr,
        bytes: u32,
        src_bytes: Option<Val>,
        ignore: Option<PVal>,
    },
    CpAsyncCommit,
    CpAsyncWait {
        pending: u32,
        all: bool,
    },
    CpAsyncMbarArrive {
        a: Addr,
        noinc: bool,
    },
    /// Global to shared memory, 1-dimensional, with an mbarrier.
    BulkLoad {
        dst: Addr,
        src: Addr,
        bytes: Val,
        bar: Addr,
        mask: Option<Val>,
    },
    /// Shared memory to shared memory of another CTA of the cluster.
    BulkShared {
        dst: Addr,
        src: Addr,
        bytes: Val,
        bar: Addr,
    },
    /// Shared to global memory, 1-dimensional; `red` for the reducing form.
    BulkStore {
        dst: Addr,
        src: Addr,
        bytes: Val,
        red: Option<(RedOp, Ty)>,
    },
    TensorLoad {
        dst: Addr,
        tensor: Tensor,
        bar: Addr,
        mask: Option<Val>,
    },
    TensorStore {
        tensor: Tensor,
        src: Addr,
        red: Option<RedOp>,
    },
    BulkCommit,
    BulkWait {
        pending: u32,
        read: bool,
    },
    Ldmatrix {
        d: Box<[u16]>,
        a: Addr,
        transposed: bool,
    },
    Stmatrix {
        a: Addr,
        s: Box<[u16]>,
        transposed: bool,
    },
    /// `mma.sync.aligned.m16n8kK`, K 8 or 16; `d` and `c` have 4 f32 or 2 packed f16 registers.
    Mma {
        input: MmaIn,
        k: u32,
        f32_acc: bool,
        d: Box<[u16]>,
        a: Box<[u16]>,
        b: Box<[u16]>,
        c: Box<[Val]>,
    },
    Wgmma(Box<Wgmma>),
    WgmmaCommit,
    WgmmaWait {
        pending: u32,
    },
    SetMaxNReg {
        increase: bool,
        count: u32,
    },
}

/// One decoded instruction with its guard and its place in the text.
#[derive(Clone, Debug)]
pub(crate) struct Inst {
    /// `@p` or `@!p`.
    pub guard: Option<(u16, bool)>,
    pub op: Op,
    /// Byte range of the statement in the text.
    pub span: (u32, u32),
    pub line: u32,
    pub column: u32,
    /// Index into the kernel's `.loc` entries.
    pub loc: Option<u32>,
    /// First instruction after the branch where its paths meet again, for conditional branches.
    pub reconverge: Option<u32>,
}
