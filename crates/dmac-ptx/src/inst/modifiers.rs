//! The closed sets of modifiers of instructions: operations, types, comparisons, cache policies.
//!
//! In: nothing. Out: small enums with the manual's spelling of each member. Why an enum each: a modifier that an
//! instruction does not have cannot be asked for.

/// Declares an enum of modifiers with their spelling.
macro_rules! modifier {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`.")] $(#[$vdoc])* $variant),*
        }
        impl $name {
            /// The spelling in PTX.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text),*
                }
            }
        }
    };
}

modifier! {
    /// An integer type with its sign.
    IntTy { U32 = "u32", S32 = "s32", U64 = "u64", S64 = "s64" }
}
modifier! {
    /// Two-operand integer arithmetic.
    IntBinary {
        Add = "add", Sub = "sub", MulLo = "mul.lo", MulHi = "mul.hi", Div = "div", Rem = "rem", Min = "min", Max = "max",
    }
}
modifier! {
    /// One-operand integer arithmetic.
    IntUnary {
        Neg = "neg", Abs = "abs", Popc = "popc", Clz = "clz", Brev = "brev",
        /// Position of the highest set bit, -1 for zero.
        Bfind = "bfind",
    }
}
modifier! {
    /// Two-operand float arithmetic.
    FloatBinary { Add = "add", Sub = "sub", Mul = "mul", Min = "min", Max = "max" }
}
modifier! {
    /// One-operand float arithmetic.
    FloatUnary { Neg = "neg", Abs = "abs" }
}
modifier! {
    /// Approximations by the special function unit, all of f32.
    Approx {
        /// 2^x; at most 2 ulp (2^-22 relative) on the full range.
        Ex2 = "ex2",
        /// log2 x; absolute error at most 2^-22 near 1, else 2^-22 relative.
        Lg2 = "lg2",
        /// tanh x; relative error at most 2^-11.
        Tanh = "tanh",
        /// 1/x; at most 1 ulp.
        Rcp = "rcp",
        /// 1/sqrt x; relative error at most 2^-22.9.
        Rsqrt = "rsqrt",
        /// sqrt x; relative error at most 2^-23 or so.
        Sqrt = "sqrt",
        /// sin x; absolute error at most 2^-20.5 in [-pi, pi].
        Sin = "sin",
        /// cos x; absolute error at most 2^-20.5 in [-pi, pi].
        Cos = "cos",
    }
}
modifier! {
    /// Correctly rounded one-operand functions.
    Exact { Rcp = "rcp", Sqrt = "sqrt" }
}
modifier! {
    /// Two packed 16-bit floats.
    Half { F16x2 = "f16x2", Bf16x2 = "bf16x2" }
}
modifier! {
    /// One-operand operations on packed 16-bit floats.
    HalfUnary { Neg = "neg", Abs = "abs", Ex2 = "ex2", Tanh = "tanh" }
}
modifier! {
    /// Comparison operators. The `u` forms of floats are true when an operand is NaN.
    Cmp {
        Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge",
        Equ = "equ", Neu = "neu", Ltu = "ltu", Leu = "leu", Gtu = "gtu", Geu = "geu",
        /// Both are numbers.
        Num = "num",
        /// One is NaN.
        Nan = "nan",
    }
}
modifier! {
    /// What a comparison compares.
    CmpTy { U16 = "u16", U32 = "u32", S32 = "s32", U64 = "u64", S64 = "s64", F32 = "f32" }
}
modifier! {
    /// Bitwise and predicate operators.
    BoolOp { And = "and", Or = "or", Xor = "xor" }
}
modifier! {
    /// Shifts. Amounts above the width give zero (or the sign).
    Shift { Shl = "shl", ShrU = "shr.u", ShrS = "shr.s" }
}
modifier! {
    /// Types of a conversion.
    CvtTy {
        U8 = "u8", S8 = "s8", U16 = "u16", S16 = "s16", U32 = "u32", S32 = "s32", U64 = "u64", S64 = "s64",
        F16 = "f16", Bf16 = "bf16", F32 = "f32", Tf32 = "tf32",
    }
}
modifier! {
    /// Rounding of a conversion; the `i` forms round to an integral value.
    Round { Rn = "rn", Rz = "rz", Rna = "rna", Rni = "rni", Rzi = "rzi", Rmi = "rmi", Rpi = "rpi" }
}
modifier! {
    /// Which lane a shuffle reads.
    ShflMode { Up = "up", Down = "down", Bfly = "bfly", Idx = "idx" }
}
modifier! {
    /// Types of a load or store; the narrow ones widen into a 32-bit register.
    MemTy {
        U8 = "u8", S8 = "s8", U16 = "u16", S16 = "s16", B8 = "b8", B16 = "b16", B32 = "b32", B64 = "b64", F32 = "f32",
    }
}

impl MemTy {
    /// Bytes in memory.
    pub const fn bytes(self) -> u32 {
        match self {
            MemTy::U8 | MemTy::S8 | MemTy::B8 => 1,
            MemTy::U16 | MemTy::S16 | MemTy::B16 => 2,
            MemTy::B32 | MemTy::F32 => 4,
            MemTy::B64 => 8,
        }
    }
}

modifier! {
    /// Cache operators of loads.
    LoadCache { Ca = "ca", Cg = "cg", Cs = "cs", Cv = "cv", Lu = "lu" }
}
modifier! {
    /// Cache operators of stores.
    StoreCache { Wb = "wb", Cg = "cg", Cs = "cs", Wt = "wt" }
}
modifier! {
    /// How much of a line a miss brings into L2.
    L2Prefetch { B64 = "L2::64B", B128 = "L2::128B", B256 = "L2::256B" }
}
modifier! {
    /// Cache levels of `prefetch`.
    Level { L1 = "L1", L2 = "L2" }
}
modifier! {
    /// Eviction priorities of a cache policy.
    Eviction {
        First = "L2::evict_first", Last = "L2::evict_last", Normal = "L2::evict_normal", Unchanged = "L2::evict_unchanged",
    }
}
modifier! {
    /// Bytes that one thread copies with `cp.async`.
    CpBytes { B4 = "4", B8 = "8", B16 = "16" }
}

impl CpBytes {
    /// As a number.
    pub const fn get(self) -> u32 {
        match self {
            CpBytes::B4 => 4,
            CpBytes::B8 => 8,
            CpBytes::B16 => 16,
        }
    }
}

modifier! {
    /// Reductions of the bulk engine.
    ReduceOp { Add = "add", Min = "min", Max = "max" }
}
modifier! {
    /// Types of a bulk reduction; the 16-bit floats do not flush denormals.
    BulkTy { U32 = "u32", S32 = "s32", U64 = "u64", F16 = "noftz.f16", Bf16 = "noftz.bf16", F32 = "f32" }
}
modifier! {
    /// Atomic operations.
    AtomicOp {
        Add = "add", Min = "min", Max = "max", Exch = "exch", Cas = "cas", And = "and", Or = "or", Xor = "xor",
        Inc = "inc", Dec = "dec",
    }
}
modifier! {
    /// Types of an atomic operation.
    AtomicTy {
        U32 = "u32", S32 = "s32", B32 = "b32", U64 = "u64", B64 = "b64", F32 = "f32",
        F16x2 = "noftz.f16x2", Bf16x2 = "noftz.bf16x2",
    }
}
modifier! {
    /// Memory orders of atomics.
    Order { Relaxed = "relaxed", Acquire = "acquire", Release = "release", AcqRel = "acq_rel" }
}
modifier! {
    /// Whose view an order holds for.
    Scope { Cta = "cta", Cluster = "cluster", Gpu = "gpu", Sys = "sys" }
}
modifier! {
    /// Votes of a warp.
    VoteMode { All = "all", Any = "any", Uni = "uni" }
}
modifier! {
    /// Reductions over a warp of integers.
    ReduxOp {
        AddU32 = "add.u32", AddS32 = "add.s32", MinU32 = "min.u32", MinS32 = "min.s32", MaxU32 = "max.u32",
        MaxS32 = "max.s32", AndB32 = "and.b32", OrB32 = "or.b32", XorB32 = "xor.b32",
    }
}
modifier! {
    /// Element types of matrix products.
    MmaElem { F16 = "f16", Bf16 = "bf16", Tf32 = "tf32" }
}

impl MmaElem {
    /// Length of the contracted axis of one instruction: 32 bytes of elements.
    pub const fn k(self) -> u32 {
        match self {
            MmaElem::F16 | MmaElem::Bf16 => 16,
            MmaElem::Tf32 => 8,
        }
    }
}

modifier! {
    /// Special registers. 32 bits but for the clocks.
    Special {
        TidX = "%tid.x", TidY = "%tid.y", TidZ = "%tid.z",
        NtidX = "%ntid.x", NtidY = "%ntid.y", NtidZ = "%ntid.z",
        CtaidX = "%ctaid.x", CtaidY = "%ctaid.y", CtaidZ = "%ctaid.z",
        NctaidX = "%nctaid.x", NctaidY = "%nctaid.y", NctaidZ = "%nctaid.z",
        LaneId = "%laneid", LanemaskLt = "%lanemask_lt", LanemaskLe = "%lanemask_le",
        SmId = "%smid", NSmId = "%nsmid", DynamicSharedBytes = "%dynamic_smem_size",
        ClusterCtaRank = "%cluster_ctarank", ClusterCtas = "%cluster_nctarank",
        ClusterIdX = "%clusterid.x", ClusterIdY = "%clusterid.y", ClusterIdZ = "%clusterid.z",
        Clock64 = "%clock64", GlobalTimer = "%globaltimer",
    }
}

impl Special {
    /// Whether it is 64 bits wide.
    pub const fn is_wide(self) -> bool {
        matches!(self, Special::Clock64 | Special::GlobalTimer)
    }

    /// Whether only a machine with clusters has it.
    pub const fn needs_cluster(self) -> bool {
        matches!(
            self,
            Special::ClusterCtaRank
                | Special::ClusterCtas
                | Special::ClusterIdX
                | Special::ClusterIdY
                | Special::ClusterIdZ
        )
    }
}

/// How f32 arithmetic rounds and treats special values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloatMode {
    /// `.rn`: never contracted into an fma. Without it `ptxas` may fuse.
    pub rn: bool,
    /// `.ftz`: denormals are zero.
    pub ftz: bool,
    /// `.NaN` of `min` and `max`: a NaN operand gives NaN.
    pub nan: bool,
}

/// How a load goes through the caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadMode {
    /// `.nc`: read-only for the whole kernel (global memory only).
    pub read_only: bool,
    /// Cache operator.
    pub cache: Option<LoadCache>,
    /// Prefetch size.
    pub prefetch: Option<L2Prefetch>,
    /// A policy from `create_policy`.
    pub policy: Option<crate::types::RegId>,
    /// `.volatile`: shared memory that other threads change.
    pub volatile: bool,
    /// `.acquire` at a scope.
    pub acquire: Option<Scope>,
}

/// How a store goes through the caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreMode {
    /// Cache operator.
    pub cache: Option<StoreCache>,
    /// A policy from `create_policy`.
    pub policy: Option<crate::types::RegId>,
    /// `.volatile`.
    pub volatile: bool,
    /// `.release` at a scope.
    pub release: Option<Scope>,
}

/// Fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fence {
    /// `fence.proxy.async`: orders generic and asynchronous accesses to all spaces.
    ProxyAsync,
    /// `fence.proxy.async.shared::cta`: the same for this CTA's shared memory.
    ProxyAsyncShared,
    /// `fence.proxy.async.global`.
    ProxyAsyncGlobal,
    /// `fence.mbarrier_init.release.cluster`: makes initialised barriers visible to the asynchronous engines.
    MbarrierInit,
    /// `fence.acq_rel` at a scope.
    AcqRel(Scope),
    /// `fence.sc` at a scope.
    Sc(Scope),
}
