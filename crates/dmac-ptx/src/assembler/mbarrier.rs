//! Parallel Synchronization and Communication Instructions: mbarrier (9.7.13.15).
//!
//! In: the address of 8 bytes of shared memory. Out: phases. A phase ends when the expected arrivals and the expected
//! bytes are all in; a waiter names the parity of the phase it waits for, and flips it each time round its ring. A
//! consumer starts with parity 0; a producer that waits for free stages starts with 1, so that its first pass is free.

use super::{Assembler, Dest};
use crate::address::{Addr, Shared, SharedCluster};
use crate::inst::Inst;
use crate::types::{B32, Operand, Pred, Reg};

impl Assembler {
    /// Makes a barrier of `count` arrivals a phase (1 to 2^20 − 1). Fence and synchronise before others use it.
    pub fn mbarrier_init(&mut self, at: Addr<Shared>, count: u32) {
        self.push(Inst::MbarrierInit { at: at.at, count: Operand::<B32>::from(count).src });
    }

    /// Ends a barrier, so that its memory can be used for something else.
    pub fn mbarrier_inval(&mut self, at: Addr<Shared>) {
        self.push(Inst::MbarrierInval { at: at.at });
    }

    /// Announces bytes of asynchronous copies without arriving.
    pub fn mbarrier_expect(&mut self, at: Addr<Shared>, bytes: impl Into<Operand<B32>>) {
        self.push(Inst::MbarrierExpect { at: at.at, bytes: bytes.into().src });
    }

    /// Announces bytes of asynchronous copies and arrives.
    pub fn mbarrier_arrive_expect(&mut self, at: Addr<Shared>, bytes: impl Into<Operand<B32>>) {
        self.push(Inst::MbarrierArriveExpect { at: at.at, bytes: bytes.into().src });
    }

    /// Arrives.
    pub fn mbarrier_arrive(&mut self, at: Addr<Shared>) {
        self.push(Inst::MbarrierArrive { cluster: false, at: at.at, count: None });
    }

    /// Arrives `count` times.
    pub fn mbarrier_arrive_count(&mut self, at: Addr<Shared>, count: impl Into<Operand<B32>>) {
        self.push(Inst::MbarrierArrive { cluster: false, at: at.at, count: Some(count.into().src) });
    }

    /// Arrives at a barrier of another CTA of the cluster.
    pub fn mbarrier_arrive_cluster(&mut self, at: Addr<SharedCluster>) {
        self.push(Inst::MbarrierArrive { cluster: true, at: at.at, count: None });
    }

    /// Whether the phase of the given parity has ended; may suspend the thread for a while.
    pub fn mbarrier_try_wait(
        &mut self,
        d: impl Dest<Pred>,
        at: Addr<Shared>,
        parity: impl Into<Operand<B32>>,
    ) -> Reg<Pred> {
        let parity = parity.into();
        self.into(d, |d| Inst::MbarrierTry { test: false, d, at: at.at, parity: parity.src })
    }

    /// Whether the phase of the given parity has ended; returns at once.
    pub fn mbarrier_test_wait(
        &mut self,
        d: impl Dest<Pred>,
        at: Addr<Shared>,
        parity: impl Into<Operand<B32>>,
    ) -> Reg<Pred> {
        let parity = parity.into();
        self.into(d, |d| Inst::MbarrierTry { test: true, d, at: at.at, parity: parity.src })
    }

    /// Waits until the phase of the given parity has ended: a loop around `try_wait`.
    pub fn mbarrier_wait(&mut self, at: Addr<Shared>, parity: impl Into<Operand<B32>>) {
        let parity = parity.into();
        let again = self.label("wait");
        let done = self.predicate("done");
        self.place(again);
        self.mbarrier_try_wait(done, at, parity);
        self.branch_if(!done, again);
    }

    /// Arrives once all `cp.async` that this thread has issued so far are complete. The arrival is one of the
    /// barrier's count (`.noinc`), so the count includes every thread that does this.
    pub fn cp_async_arrive(&mut self, at: Addr<Shared>) {
        self.push(Inst::CpAsyncArrive { noinc: true, at: at.at });
    }

    /// [`Assembler::cp_async_arrive`] that raises the phase's pending count first, so that it cancels out.
    pub fn cp_async_arrive_incrementing(&mut self, at: Addr<Shared>) {
        self.push(Inst::CpAsyncArrive { noinc: false, at: at.at });
    }
}
