//! What execution and the sanitizer report: the kind of error, the instruction, who executed it, and who else was
//! involved.

use crate::module::SourceLine;
use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The launch does not fit the kernel: arguments, block size, shared memory, tensor maps.
    BadLaunch,
    /// A register was read before any write.
    UninitializedRegister,
    /// Shared memory was read before any write.
    UninitializedShared,
    /// Global memory was read that neither the host nor the kernel wrote.
    UninitializedGlobal,
    /// An access outside every allocation, or across the end of one.
    OutOfBounds,
    /// An access that its width's alignment forbids.
    Misaligned,
    /// Two accesses, one a write, that no synchronisation orders.
    Race,
    /// Data of an asynchronous copy was touched before its completion was waited for.
    NotAwaited,
    /// A register of a `wgmma` in flight was read or written.
    RegisterInFlight,
    /// `wgmma.mma_async` without the `wgmma.fence` that its registers or its batch need.
    MissingWgmmaFence,
    /// Generic-proxy data used by the async proxy with no `fence.proxy.async` between.
    MissingProxyFence,
    /// An mbarrier used by the async proxy or another thread before its initialisation was published.
    MissingInitFence,
    /// Lanes of a warp (or warps of a warpgroup) that had to execute an instruction together did not.
    Divergence,
    /// A named barrier was used with conflicting or impossible counts.
    BarrierMismatch,
    /// An mbarrier was used wrongly: not initialised, too many arrivals, transaction count out of range.
    MbarrierMisuse,
    /// Nothing can make progress.
    Deadlock,
    /// A thread block ended while asynchronous operations still used its shared memory or registers.
    InFlightAtExit,
    /// An operand's value is not allowed: a matrix descriptor, a size, a tensor map.
    BadOperand,
    /// `setmaxnreg` asks for registers that the block cannot have.
    RegisterBudget,
    /// `trap` was executed.
    Trap,
    /// The step limit was reached: probably a livelock.
    StepLimit,
}

impl FindingKind {
    /// A short name in lower case, stable for scripts.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::BadLaunch => "bad-launch",
            FindingKind::UninitializedRegister => "uninitialized-register",
            FindingKind::UninitializedShared => "uninitialized-shared",
            FindingKind::UninitializedGlobal => "uninitialized-global",
            FindingKind::OutOfBounds => "out-of-bounds",
            FindingKind::Misaligned => "misaligned",
            FindingKind::Race => "race",
            FindingKind::NotAwaited => "not-awaited",
            FindingKind::RegisterInFlight => "register-in-flight",
            FindingKind::MissingWgmmaFence => "missing-wgmma-fence",
            FindingKind::MissingProxyFence => "missing-proxy-fence",
            FindingKind::MissingInitFence => "missing-init-fence",
            FindingKind::Divergence => "divergence",
            FindingKind::BarrierMismatch => "barrier-mismatch",
            FindingKind::MbarrierMisuse => "mbarrier-misuse",
            FindingKind::Deadlock => "deadlock",
            FindingKind::InFlightAtExit => "in-flight-at-exit",
            FindingKind::BadOperand => "bad-operand",
            FindingKind::RegisterBudget => "register-budget",
            FindingKind::Trap => "trap",
            FindingKind::StepLimit => "step-limit",
        }
    }
}

/// An instruction, who executed it and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The statement, on one line.
    pub instruction: String,
    /// Line in the PTX text.
    pub line: u32,
    /// Column in the PTX text.
    pub column: u32,
    /// The source line of the last `.loc`, if there is one.
    pub source: Option<SourceLine>,
    /// Block index.
    pub cta: [u32; 3],
    /// Warp index in the block.
    pub warp: u32,
    /// Lane, where one lane is to blame.
    pub lane: Option<u32>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.cta;
        write!(
            f,
            "{}:{} `{}`, block ({x},{y},{z}) warp {}",
            self.line, self.column, self.instruction, self.warp
        )?;
        if let Some(lane) = self.lane {
            write!(f, " lane {lane}")?;
        }
        if let Some(s) = &self.source {
            write!(f, ", from {}:{}", s.file, s.line)?;
        }
        Ok(())
    }
}

/// One error of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of error.
    pub kind: FindingKind,
    /// The error in words, with the values involved.
    pub message: String,
    /// The instruction that showed it; absent for errors of the launch itself.
    pub at: Option<Box<Site>>,
    /// The other access of a race, the copy that was not waited for, and the like.
    pub other: Option<Box<Site>>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)?;
        if let Some(at) = &self.at {
            write!(f, "\n  at    {at}")?;
        }
        if let Some(other) = &self.other {
            write!(f, "\n  other {other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Finding {}
