//! The decoded instruction: a closed enum with register numbers, immediates and resolved branch targets.
//!
//! The decoder makes one [`Inst`] from each PTX statement; the machine matches on [`Op`] and never looks at text
//! again except to name an instruction in a finding.

mod operand;

use crate::types::Ty;

pub(crate) use operand::*;

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
    Logic {
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
