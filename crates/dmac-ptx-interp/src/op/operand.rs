//! The parts of an instruction: registers, operands, addresses, modifiers.

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
    Tf32,
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
    /// The product is subtracted: exactly one of the multiplicands is negated.
    pub negate: bool,
}

/// A tensor-map operand `[map, {coordinates}]`; the innermost coordinate comes first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub map: Addr,
    pub coords: Box<[Val]>,
}
