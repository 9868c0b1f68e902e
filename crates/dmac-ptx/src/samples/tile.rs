//! What the tile kernels share: who a thread is, rings of shared stages, swizzled addresses, descriptors.
//!
//! In: an assembler. Out: registers and the few instructions that make them. A shared tile of 16-bit elements is
//! `[columns / 64][rows][128 bytes]`, with 16-byte chunk c of row r at chunk `c ^ (r & 7)`: the 128-byte swizzle of TMA
//! and `wgmma`. Tiles start at multiples of 1024 bytes.

use crate::{
    Addr, Assembler, B32, B64, Cmp, Cond, Reg, SWIZZLE_128B_1024, Shared, ShflMode, Special, shared,
};

/// Bytes of one row of a subtile: 64 elements of 16 bits.
pub(super) const ROW: u32 = 128;

/// Where a thread stands in its CTA.
#[derive(Clone, Copy)]
pub(super) struct Thread {
    pub tid: Reg<B32>,
    pub lane: Reg<B32>,
    /// Uniform over the warp, and `ptxas` knows it.
    pub warp: Reg<B32>,
    /// Start of dynamic shared memory.
    pub base: Reg<B32>,
}

impl Thread {
    pub fn new(k: &mut Assembler) -> Thread {
        let tid = k.special("tid", Special::TidX);
        let warp = k.shr_u("warp", tid, 5);
        // From lane 0, so that everything computed from it stays in uniform registers.
        let warp = k.shfl(ShflMode::Idx, warp, warp, 0);
        let lane = k.and("lane", tid, 31);
        let base = k.shared_base("base");
        Thread { tid, lane, warp, base }
    }

    /// Makes barriers of the given counts at shared offsets, in thread 0, and lets all threads see them.
    pub fn make_barriers(self, k: &mut Assembler, barriers: &[(u32, u32)]) {
        let first = k.setp_u("first", self.tid, Cmp::Eq, 0);
        k.if_then(first, |k| {
            for &(offset, count) in barriers {
                k.mbarrier_init(self.at(offset), count);
            }
            k.fence(crate::Fence::MbarrierInit);
        });
        k.bar_sync_all();
    }

    /// A constant offset into shared memory.
    pub fn at(self, offset: u32) -> Addr<Shared> {
        shared(self.base) + offset as i32
    }
}

/// One lane of the warp goes on; the others go to `end`.
pub(super) fn elect_or(k: &mut Assembler, end: crate::Label) {
    let one = k.elect("one");
    k.branch_if(!one, end);
}

/// A position in a ring of stages: which stage, and the parity to wait for.
#[derive(Clone, Copy)]
pub(super) struct Ring {
    pub stage: Reg<B32>,
    pub parity: Reg<B32>,
    base: Reg<B32>,
    stages: u32,
}

impl Ring {
    /// At stage 0. A consumer waits for parity 0 first; a producer for 1, which a fresh barrier passes at once.
    pub fn new(k: &mut Assembler, thread: Thread, role: &str, stages: u32, parity: i32) -> Ring {
        let stage = k.mov::<B32>(&format!("{role}_stage"), 0);
        let parity = k.mov::<B32>(&format!("{role}_parity"), parity);
        Ring { stage, parity, base: thread.base, stages }
    }

    /// The barrier of this stage in the array at `offset`.
    pub fn barrier(self, k: &mut Assembler, role: &str, offset: u32) -> Addr<Shared> {
        let at = k.mad(role, self.stage, 8, self.base);
        shared(at) + offset as i32
    }

    /// The tile of this stage in the array at `offset`.
    pub fn tile(self, k: &mut Assembler, role: &str, offset: u32, bytes: u32) -> Reg<B32> {
        let at = k.mad(role, self.stage, bytes, self.base);
        k.add(at, at, offset)
    }

    /// Waits for the barrier of this stage.
    pub fn wait(self, k: &mut Assembler, role: &str, offset: u32) -> Addr<Shared> {
        let barrier = self.barrier(k, role, offset);
        k.mbarrier_wait(barrier, self.parity);
        barrier
    }

    /// To the next stage.
    pub fn advance(self, k: &mut Assembler) {
        k.add(self.stage, self.stage, 1);
        self.wrap(k);
    }

    /// To the next stage where `cond` holds.
    pub fn advance_if(self, k: &mut Assembler, cond: impl Into<Cond>) {
        k.when(cond, |k| {
            k.add(self.stage, self.stage, 1);
        });
        self.wrap(k);
    }

    fn wrap(self, k: &mut Assembler) {
        let wrapped = k.setp_u("wrapped", self.stage, Cmp::Eq, self.stages);
        k.when(wrapped, |k| {
            k.mov(self.stage, 0);
            k.xor(self.parity, self.parity, 1);
        });
    }

    /// This position, as registers of its own.
    pub fn copy(self, k: &mut Assembler, role: &str) -> Ring {
        let stage = k.mov(&format!("{role}_stage"), self.stage);
        let parity = k.mov(&format!("{role}_parity"), self.parity);
        Ring { stage, parity, ..self }
    }
}

/// The lower half of the descriptor of the tile at `base + offset (+ more)`. `leading_bytes` is the distance between
/// column blocks of an MN-major tile, 16 for a K-major one.
pub(super) fn descriptor_low(
    k: &mut Assembler,
    role: &str,
    thread: Thread,
    offset: u32,
    more: Option<Reg<B32>>,
    leading_bytes: u32,
) -> Reg<B32> {
    let at = k.add(&format!("{role}_at"), thread.base, offset);
    if let Some(more) = more {
        k.add(at, at, more);
    }
    k.descriptor_low(role, at, leading_bytes)
}

/// A descriptor `bytes` further on than `from`.
pub(super) fn descriptor_plus(k: &mut Assembler, role: &str, from: Reg<B64>, bytes: u32) -> Reg<B64> {
    k.add(role, from, bytes >> 4)
}

/// A whole descriptor of a swizzled tile.
pub(super) fn descriptor(k: &mut Assembler, role: &str, low: Reg<B32>) -> Reg<B64> {
    k.descriptor(role, low, SWIZZLE_128B_1024)
}

/// Bytes from the start of a K-major tile of `rows` rows to k-step `step` (16 elements).
pub(super) fn k_major_step(rows: u32) -> impl Fn(u32) -> u32 {
    move |step| (step / 4) * rows * ROW + (step % 4) * 32
}

/// Bytes from the start of an MN-major tile to k-step `step`: 16 rows.
pub(super) fn mn_major_step(step: u32) -> u32 {
    step * 16 * ROW
}
