//! Data Movement and Conversion Instructions: Asynchronous Copy (9.7.9.25 and on).
//!
//! In: shared addresses, global addresses or tensor maps, barriers. Out: memory, later. None of these instructions
//! waits; what does is named with each.

use super::{Assembler, TensorMap};
use crate::address::{Addr, Global, Shared};
use crate::inst::{BulkTy, CpBytes, Inst, L2Prefetch, ReduceOp};
use crate::types::{B16, B32, B64, Operand, Reg, RegId, Src};

/// Extras of a bulk copy into shared memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct BulkOptions {
    multicast: Option<RegId>,
    policy: Option<RegId>,
}

impl BulkOptions {
    /// Delivers to the same offset in every CTA of the cluster whose bit is set.
    #[must_use]
    pub fn multicast(self, mask: Reg<B16>) -> Self {
        BulkOptions { multicast: Some(mask.id), ..self }
    }

    /// Goes through L2 with a policy from [`Assembler::create_policy`].
    #[must_use]
    pub fn policy(self, policy: Reg<B64>) -> Self {
        BulkOptions { policy: Some(policy.id), ..self }
    }
}

fn coordinates(at: &[Operand<B32>]) -> Box<[Src]> {
    at.iter().map(|o| o.src).collect()
}

impl Assembler {
    // ---- non-bulk: groups of the executing thread

    /// Copies 4, 8 or 16 bytes; both addresses are multiples of the size. Complete after
    /// [`Assembler::cp_async_wait`] on its group, or through [`Assembler::cp_async_arrive`].
    ///
    /// A global address for the destination does not compile:
    ///
    /// ```compile_fail
    /// # use dmac_ptx::{Assembler, B64, CpBytes, Target, global};
    /// # let mut k = Assembler::new("k", Target::Sm80);
    /// # let pointer = k.reg::<B64>("pointer");
    /// k.cp_async(CpBytes::B16, global(pointer), global(pointer));
    /// ```
    ///
    /// and neither does a generic one for the source:
    ///
    /// ```compile_fail
    /// # use dmac_ptx::{Addr, Assembler, B32, B64, CpBytes, Generic, Target, shared};
    /// # let mut k = Assembler::new("k", Target::Sm80);
    /// # let (tile, pointer) = (k.reg::<B32>("tile"), k.reg::<B64>("pointer"));
    /// k.cp_async(CpBytes::B16, shared(tile), Addr::<Generic>::new(pointer));
    /// ```
    pub fn cp_async(&mut self, bytes: CpBytes, to: Addr<Shared>, from: Addr<Global>) {
        self.cp_async_with(bytes, to, from, None::<i32>, None);
    }

    /// [`Assembler::cp_async`] of the first `source_bytes` bytes, the rest of the destination filled with zeros. With
    /// `source_bytes` 0 the source is not read, so its address may be anything.
    pub fn cp_async_zero_fill(
        &mut self,
        bytes: CpBytes,
        to: Addr<Shared>,
        from: Addr<Global>,
        source_bytes: impl Into<Operand<B32>>,
    ) {
        self.cp_async_with(bytes, to, from, Some(source_bytes), None);
    }

    /// [`Assembler::cp_async`] with zero fill and an L2 prefetch size.
    pub fn cp_async_with(
        &mut self,
        bytes: CpBytes,
        to: Addr<Shared>,
        from: Addr<Global>,
        source_bytes: Option<impl Into<Operand<B32>>>,
        prefetch: Option<L2Prefetch>,
    ) {
        let source_bytes = source_bytes.map(|s| s.into().src);
        self.push(Inst::CpAsync { bytes, prefetch, to: to.at, from: from.at, source_bytes, policy: None });
    }

    /// Closes this thread's group of `cp.async`.
    pub fn cp_async_commit(&mut self) {
        self.push(Inst::CpAsyncCommit);
    }

    /// Waits until at most `pending` of this thread's groups are under way.
    pub fn cp_async_wait(&mut self, pending: u32) {
        self.push(Inst::CpAsyncWait { pending });
    }

    /// Waits for all `cp.async` of this thread.
    pub fn cp_async_wait_all(&mut self) {
        self.push(Inst::CpAsyncWaitAll);
    }

    // ---- bulk: one thread, the copy engine

    /// Copies `bytes` (a multiple of 16, as are the addresses) to shared memory; they count on `barrier`.
    pub fn bulk_load(
        &mut self,
        to: Addr<Shared>,
        from: Addr<Global>,
        bytes: impl Into<Operand<B32>>,
        barrier: Addr<Shared>,
        options: BulkOptions,
    ) {
        let (bytes, BulkOptions { multicast, policy }) = (bytes.into().src, options);
        self.push(Inst::BulkLoad { to: to.at, from: from.at, bytes, barrier: barrier.at, multicast, policy });
    }

    /// Copies `bytes` (a multiple of 16) from shared to global memory, in the thread's bulk group.
    pub fn bulk_store(&mut self, to: Addr<Global>, from: Addr<Shared>, bytes: impl Into<Operand<B32>>) {
        self.push(Inst::BulkStore { to: to.at, from: from.at, bytes: bytes.into().src, policy: None });
    }

    /// Reduces `bytes` (a multiple of 16) of shared memory into global memory element by element, in the thread's bulk
    /// group. Each element's update is atomic; their order is not fixed.
    pub fn bulk_reduce(
        &mut self,
        op: ReduceOp,
        ty: BulkTy,
        to: Addr<Global>,
        from: Addr<Shared>,
        bytes: impl Into<Operand<B32>>,
    ) {
        let bytes = bytes.into().src;
        self.push(Inst::BulkReduce { op, ty, to: to.at, from: from.at, bytes, policy: None });
    }

    // ---- bulk tensor

    /// Copies the map's box at the given coordinates (innermost first, 1 to 5 of them) to shared memory. What lies
    /// outside the tensor arrives as zeros and counts on `barrier` all the same.
    ///
    /// The barrier is in shared memory; a global address there does not compile:
    ///
    /// ```compile_fail
    /// # use dmac_ptx::{Assembler, B32, B64, BulkOptions, Target, global, shared};
    /// # let mut k = Assembler::new("k", Target::Sm90a);
    /// # let map = k.param_tensor_map("q");
    /// # let map = k.tensor_map("map", map);
    /// # let (tile, flag) = (k.reg::<B32>("tile"), k.reg::<B64>("flag"));
    /// k.tensor_load(shared(tile), map, &[0.into(), 0.into()], global(flag), BulkOptions::default());
    /// ```
    pub fn tensor_load(
        &mut self,
        to: Addr<Shared>,
        map: TensorMap,
        at: &[Operand<B32>],
        barrier: Addr<Shared>,
        options: BulkOptions,
    ) {
        let (at, BulkOptions { multicast, policy }) = (coordinates(at), options);
        self.push(Inst::TensorLoad { to: to.at, map: map.at, at, barrier: barrier.at, multicast, policy });
    }

    /// Copies a box from shared to global memory, in the thread's bulk group. What lies outside the tensor is dropped.
    pub fn tensor_store(&mut self, map: TensorMap, at: &[Operand<B32>], from: Addr<Shared>) {
        self.push(Inst::TensorStore { map: map.at, at: coordinates(at), from: from.at, policy: None });
    }

    /// Reduces a box of shared memory into global memory, in the thread's bulk group; the map has the type.
    pub fn tensor_reduce(&mut self, op: ReduceOp, map: TensorMap, at: &[Operand<B32>], from: Addr<Shared>) {
        self.push(Inst::TensorReduce { op, map: map.at, at: coordinates(at), from: from.at, policy: None });
    }

    /// Asks for a box to be brought into L2.
    pub fn tensor_prefetch(&mut self, map: TensorMap, at: &[Operand<B32>]) {
        self.push(Inst::TensorPrefetch { map: map.at, at: coordinates(at) });
    }

    /// Closes this thread's bulk group of stores and reductions.
    pub fn bulk_commit(&mut self) {
        self.push(Inst::BulkCommit);
    }

    /// Waits until at most `pending` of this thread's bulk groups are under way.
    pub fn bulk_wait(&mut self, pending: u32) {
        self.push(Inst::BulkWait { pending, read: false });
    }

    /// Waits until at most `pending` of this thread's bulk groups have yet to read their shared sources.
    pub fn bulk_wait_read(&mut self, pending: u32) {
        self.push(Inst::BulkWait { pending, read: true });
    }
}
