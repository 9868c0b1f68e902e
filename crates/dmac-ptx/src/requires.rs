//! What each instruction needs: the lowest target and the lowest `.version`.
//!
//! In: an [`Inst`]. Out: [`Requires`], from the "PTX ISA Notes" and "Target ISA Notes" of each instruction in the
//! manual. Why: the text must load on the oldest driver that can run it, and an `sm_80` kernel that asks for Hopper
//! must be refused by us, with a name, and not by the driver of a user.

use crate::address::SpaceName;
use crate::inst::{
    AtomicTy, CpBytes, CvtTy, Fence, FloatBinary, Half, HalfUnary, Inst, L2Prefetch, MapAt, ReduceOp, Round,
    Scope,
};
use crate::kernel::{Item, Kernel, Target, Version};

/// Needs of one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requires {
    /// The lowest target.
    pub target: Target,
    /// The lowest ISA version.
    pub version: Version,
}

const BASE: Requires = Requires { target: Target::Sm80, version: Version(7, 0) };

const fn ampere(major: u8, minor: u8) -> Requires {
    Requires { target: Target::Sm80, version: Version(major, minor) }
}

const fn hopper(major: u8, minor: u8) -> Requires {
    Requires { target: Target::Sm90a, version: Version(major, minor) }
}

fn most(all: impl IntoIterator<Item = Requires>) -> Requires {
    all.into_iter()
        .fold(BASE, |a, b| Requires { target: a.target.max(b.target), version: a.version.max(b.version) })
}

fn hinted(hint: bool) -> Requires {
    if hint { ampere(7, 4) } else { BASE }
}

fn prefetched(prefetch: Option<L2Prefetch>) -> Requires {
    hinted(prefetch.is_some())
}

fn scoped(scope: Option<Scope>) -> Requires {
    if scope == Some(Scope::Cluster) { hopper(7, 8) } else { BASE }
}

fn spaced(space: SpaceName) -> Requires {
    if space == SpaceName::SharedCluster { hopper(7, 8) } else { BASE }
}

/// What `inst` needs.
pub fn requires(inst: &Inst) -> Requires {
    match inst {
        Inst::HalfBinary { op, ty, .. } => match (op, ty) {
            // bf16x2 add, sub and mul came with Hopper; Ampere has fma, min and max.
            (FloatBinary::Add | FloatBinary::Sub | FloatBinary::Mul, Half::Bf16x2) => hopper(7, 8),
            _ => BASE,
        },
        Inst::HalfUnary { op, ty, .. } => match (op, ty) {
            (HalfUnary::Ex2 | HalfUnary::Tanh, Half::Bf16x2) => hopper(7, 8),
            _ => BASE,
        },
        Inst::Cvt { to, from, round, .. } => match (to, from, round) {
            (CvtTy::F32, CvtTy::Bf16, _) => ampere(7, 1),
            (CvtTy::Tf32, _, Some(Round::Rna)) | (CvtTy::Bf16, CvtTy::F32, _) => BASE,
            (CvtTy::Tf32 | CvtTy::Bf16, ..) | (_, CvtTy::Bf16, _) => hopper(7, 8),
            _ => BASE,
        },
        Inst::Ld { space, mode, .. } => most([
            spaced(*space),
            prefetched(mode.prefetch),
            hinted(mode.policy.is_some()),
            scoped(mode.acquire),
        ]),
        Inst::St { space, mode, .. } => {
            most([spaced(*space), hinted(mode.policy.is_some()), scoped(mode.release)])
        }
        Inst::CreatePolicy { .. } => ampere(7, 4),
        Inst::CpAsync { bytes: CpBytes::B4 | CpBytes::B8 | CpBytes::B16, prefetch, policy, .. } => {
            most([prefetched(*prefetch), hinted(policy.is_some())])
        }
        Inst::PrefetchTensorMap { map: MapAt::Generic(_) | MapAt::Param(_) }
        | Inst::BulkLoad { .. }
        | Inst::BulkStore { .. }
        | Inst::BulkReduce { op: ReduceOp::Add | ReduceOp::Min | ReduceOp::Max, .. }
        | Inst::TensorLoad { .. }
        | Inst::TensorStore { .. }
        | Inst::TensorReduce { .. }
        | Inst::TensorPrefetch { .. }
        | Inst::BulkCommit
        | Inst::BulkWait { .. }
        | Inst::MbarrierExpect { .. }
        | Inst::MbarrierArriveExpect { .. }
        | Inst::Elect { .. }
        | Inst::Wgmma { .. }
        | Inst::WgmmaFence
        | Inst::WgmmaCommit
        | Inst::WgmmaWait { .. }
        | Inst::Setmaxnreg { .. } => hopper(8, 0),
        Inst::Mapa { .. }
        | Inst::ClusterArrive { .. }
        | Inst::ClusterWait
        | Inst::GridDependency { .. }
        | Inst::MbarrierTry { test: false, .. }
        | Inst::Stmatrix { .. } => hopper(7, 8),
        // The `::cta` qualifier of shared memory is 7.8; the barriers themselves are Ampere's.
        Inst::MbarrierInit { .. }
        | Inst::MbarrierInval { .. }
        | Inst::MbarrierTry { test: true, .. }
        | Inst::CpAsyncArrive { .. } => ampere(7, 8),
        Inst::MbarrierArrive { cluster, .. } => {
            if *cluster {
                hopper(8, 0)
            } else {
                ampere(7, 8)
            }
        }
        Inst::Fence { fence } => match fence {
            Fence::ProxyAsync | Fence::ProxyAsyncShared | Fence::ProxyAsyncGlobal | Fence::MbarrierInit => {
                hopper(8, 0)
            }
            Fence::AcqRel(scope) | Fence::Sc(scope) => scoped(Some(*scope)),
        },
        Inst::Atomic { ty, space, scope, a, .. } => most([
            spaced(*space),
            scoped(Some(*scope)),
            if *ty == AtomicTy::Bf16x2 { hopper(7, 8) } else { BASE },
            if a.len() > 1 { hopper(8, 1) } else { BASE },
        ]),
        Inst::MovSpecial { special, .. } => {
            if special.needs_cluster() {
                hopper(7, 8)
            } else {
                BASE
            }
        }
        Inst::Cvta { space, .. } => {
            if *space == SpaceName::Param {
                ampere(7, 7)
            } else {
                spaced(*space)
            }
        }
        Inst::IntBinary { .. }
        | Inst::IntUnary { .. }
        | Inst::MadLo { .. }
        | Inst::MulWide { .. }
        | Inst::MadWide { .. }
        | Inst::Bfe { .. }
        | Inst::Bfi { .. }
        | Inst::FloatBinary { .. }
        | Inst::Fma { .. }
        | Inst::FloatUnary { .. }
        | Inst::Approx { .. }
        | Inst::Exact { .. }
        | Inst::Div { .. }
        | Inst::HalfFma { .. }
        | Inst::Setp { .. }
        | Inst::Selp { .. }
        | Inst::Logic { .. }
        | Inst::Not { .. }
        | Inst::Lop3 { .. }
        | Inst::Shift { .. }
        | Inst::FunnelShift { .. }
        | Inst::Mov { .. }
        | Inst::SharedBase { .. }
        | Inst::ParamAddress { .. }
        | Inst::Pack { .. }
        | Inst::Unpack { .. }
        | Inst::Prmt { .. }
        | Inst::CvtPack { .. }
        | Inst::Shfl { .. }
        | Inst::LdParam { .. }
        | Inst::Prefetch { .. }
        | Inst::CpAsyncCommit
        | Inst::CpAsyncWait { .. }
        | Inst::CpAsyncWaitAll
        | Inst::Bra { .. }
        | Inst::Ret
        | Inst::Exit
        | Inst::Bar { .. }
        | Inst::BarVote { .. }
        | Inst::BarWarp { .. }
        | Inst::Vote { .. }
        | Inst::Ballot { .. }
        | Inst::Match { .. }
        | Inst::ActiveMask { .. }
        | Inst::Redux { .. }
        | Inst::Mma { .. }
        | Inst::Ldmatrix { .. }
        | Inst::Nanosleep { .. }
        | Inst::Trap => BASE,
    }
}

/// The lowest `.version` for a whole kernel.
pub fn version(kernel: &Kernel) -> Version {
    let frame = if kernel.frame.cluster.is_some() { Version(7, 8) } else { Version(7, 0) };
    kernel
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Inst { inst, .. } => Some(requires(inst).version),
            _ => None,
        })
        .fold(kernel.target.version().max(frame), Version::max)
}
