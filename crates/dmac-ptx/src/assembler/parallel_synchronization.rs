//! Parallel Synchronization and Communication Instructions (9.7.13): barriers, fences, atomics, votes.
//! Barriers in memory (`mbarrier`) have a file of their own.
//!
//! In: predicates, values, addresses. Out: an order between threads, or a value that they agree on. The warp-wide
//! instructions take all 32 lanes.

use super::{Assembler, Dest};
use crate::address::Addr;
use crate::assembler::data_movement_and_conversion::Memory;
use crate::inst::{AtomicOp, AtomicTy, Fence, Inst, Order, ReduxOp, Scope, VoteMode};
use crate::types::{B32, Cond, F32, Operand, Pred, Reg, Src, Stored};

fn all_lanes() -> Src {
    Operand::<B32>::from(-1).src
}

impl Assembler {
    // ---- bar

    /// Waits for all threads of the CTA (barrier 0).
    pub fn bar_sync_all(&mut self) {
        self.push(Inst::Bar { arrive: false, id: Operand::<B32>::from(0).src, threads: None });
    }

    /// Arrives at named barrier `id` (0 to 15) and waits until `threads` threads (a multiple of 32) have.
    pub fn bar_sync(&mut self, id: impl Into<Operand<B32>>, threads: u32) {
        let threads = Some(Operand::<B32>::from(threads).src);
        self.push(Inst::Bar { arrive: false, id: id.into().src, threads });
    }

    /// Arrives at named barrier `id` and goes on.
    pub fn bar_arrive(&mut self, id: impl Into<Operand<B32>>, threads: u32) {
        let threads = Some(Operand::<B32>::from(threads).src);
        self.push(Inst::Bar { arrive: true, id: id.into().src, threads });
    }

    /// Waits for all threads of the CTA; whether `p` holds in one of them.
    pub fn bar_any(
        &mut self,
        d: impl Dest<Pred>,
        id: impl Into<Operand<B32>>,
        p: impl Into<Cond>,
    ) -> Reg<Pred> {
        let (id, p) = (id.into(), p.into());
        self.into(d, |d| Inst::BarVote { any: true, d, id: id.src, p })
    }

    /// Waits for all threads of the CTA; whether `p` holds in all of them.
    pub fn bar_all(
        &mut self,
        d: impl Dest<Pred>,
        id: impl Into<Operand<B32>>,
        p: impl Into<Cond>,
    ) -> Reg<Pred> {
        let (id, p) = (id.into(), p.into());
        self.into(d, |d| Inst::BarVote { any: false, d, id: id.src, p })
    }

    /// Waits for all lanes of the warp, and orders their memory accesses.
    pub fn bar_warp(&mut self) {
        self.push(Inst::BarWarp { mask: all_lanes() });
    }

    /// Arrives at the cluster's barrier, releasing this thread's writes.
    pub fn cluster_arrive(&mut self) {
        self.push(Inst::ClusterArrive { relaxed: false });
    }

    /// Arrives at the cluster's barrier without ordering memory.
    pub fn cluster_arrive_relaxed(&mut self) {
        self.push(Inst::ClusterArrive { relaxed: true });
    }

    /// Waits for the cluster's barrier, acquiring what was released.
    pub fn cluster_wait(&mut self) {
        self.push(Inst::ClusterWait);
    }

    // ---- fence

    /// A fence.
    pub fn fence(&mut self, fence: Fence) {
        self.push(Inst::Fence { fence });
    }

    /// `fence.proxy.async.shared::cta`: what this thread wrote to shared memory with ordinary stores becomes visible to
    /// the asynchronous engines (bulk copies, `wgmma`).
    pub fn fence_proxy_async(&mut self) {
        self.fence(Fence::ProxyAsyncShared);
    }

    // ---- atom, red

    /// A relaxed atomic update that returns the old value.
    pub fn atom<T: Stored, S: Memory>(
        &mut self,
        op: AtomicOp,
        ty: AtomicTy,
        scope: Scope,
        d: impl Dest<T>,
        at: Addr<S>,
        a: impl Into<Operand<T>>,
    ) -> Reg<T> {
        self.atom_with(op, ty, Order::Relaxed, scope, d, at, a)
    }

    /// An atomic update with an order.
    #[allow(clippy::too_many_arguments, reason = "the instruction has this many independent parts")]
    pub fn atom_with<T: Stored, S: Memory>(
        &mut self,
        op: AtomicOp,
        ty: AtomicTy,
        order: Order,
        scope: Scope,
        d: impl Dest<T>,
        at: Addr<S>,
        a: impl Into<Operand<T>>,
    ) -> Reg<T> {
        let a = [a.into().src].into();
        self.into(d, |d| Inst::Atomic {
            op,
            ty,
            space: S::NAME,
            order,
            scope,
            d: Some(d),
            at: at.at,
            a,
            compare: None,
        })
    }

    /// Compare and swap: stores `new` where memory holds `expected`; returns what it held.
    pub fn atom_cas<T: Stored, S: Memory>(
        &mut self,
        scope: Scope,
        d: impl Dest<T>,
        at: Addr<S>,
        expected: impl Into<Operand<T>>,
        new: impl Into<Operand<T>>,
    ) -> Reg<T> {
        let (compare, a) = (Some(expected.into().src), [new.into().src].into());
        let ty = if T::CLASS.bytes() == 8 { AtomicTy::B64 } else { AtomicTy::B32 };
        self.into(d, |d| Inst::Atomic {
            op: AtomicOp::Cas,
            ty,
            space: S::NAME,
            order: Order::AcqRel,
            scope,
            d: Some(d),
            at: at.at,
            a,
            compare,
        })
    }

    /// A relaxed atomic update without a result.
    pub fn red<T: Stored, S: Memory>(
        &mut self,
        op: AtomicOp,
        ty: AtomicTy,
        scope: Scope,
        at: Addr<S>,
        a: impl Into<Operand<T>>,
    ) {
        self.red_with(op, ty, Order::Relaxed, scope, at, [a.into().src].into());
    }

    /// Adds two or four f32 to consecutive memory, each atomically.
    pub fn red_add_vec<S: Memory>(&mut self, scope: Scope, at: Addr<S>, a: &[Reg<F32>]) {
        let a = a.iter().map(|r| Src::Reg(r.id)).collect();
        self.red_with(AtomicOp::Add, AtomicTy::F32, Order::Relaxed, scope, at, a);
    }

    fn red_with<S: Memory>(
        &mut self,
        op: AtomicOp,
        ty: AtomicTy,
        order: Order,
        scope: Scope,
        at: Addr<S>,
        a: Box<[Src]>,
    ) {
        self.push(Inst::Atomic {
            op,
            ty,
            space: S::NAME,
            order,
            scope,
            d: None,
            at: at.at,
            a,
            compare: None,
        });
    }

    /// Releases this thread's writes at a scope and adds `a` to a counter there: the arriving half of a grid-wide
    /// hand-over.
    pub fn red_release_add<S: Memory>(&mut self, scope: Scope, at: Addr<S>, a: impl Into<Operand<B32>>) {
        self.red_with(AtomicOp::Add, AtomicTy::U32, Order::Release, scope, at, [a.into().src].into());
    }

    // ---- vote, match, redux, elect

    /// Whether `p` holds in all lanes, in any, or is the same in all.
    pub fn vote(&mut self, mode: VoteMode, d: impl Dest<Pred>, p: impl Into<Cond>) -> Reg<Pred> {
        let p = p.into();
        self.into(d, |d| Inst::Vote { mode, d, p, mask: all_lanes() })
    }

    /// The lanes where `p` holds, a bit each.
    pub fn ballot(&mut self, d: impl Dest<B32>, p: impl Into<Cond>) -> Reg<B32> {
        let p = p.into();
        self.into(d, |d| Inst::Ballot { d, p, mask: all_lanes() })
    }

    /// The lanes that hold the same value as this one, a bit each.
    pub fn match_any(&mut self, d: impl Dest<B32>, a: Reg<B32>) -> Reg<B32> {
        self.into(d, |d| Inst::Match { all: false, d, a: Src::Reg(a.id), mask: all_lanes() })
    }

    /// All lanes if they hold one value, else none.
    pub fn match_all(&mut self, d: impl Dest<B32>, a: Reg<B32>) -> Reg<B32> {
        self.into(d, |d| Inst::Match { all: true, d, a: Src::Reg(a.id), mask: all_lanes() })
    }

    /// The lanes that execute this together. Which do is up to the device.
    pub fn active_mask(&mut self, d: impl Dest<B32>) -> Reg<B32> {
        self.into(d, |d| Inst::ActiveMask { d })
    }

    /// An integer reduction over the warp.
    pub fn redux(&mut self, op: ReduxOp, d: impl Dest<B32>, a: Reg<B32>) -> Reg<B32> {
        self.into(d, |d| Inst::Redux { op, d, a: Src::Reg(a.id), mask: all_lanes() })
    }

    /// True in exactly one lane of the warp.
    pub fn elect(&mut self, p: impl Dest<Pred>) -> Reg<Pred> {
        self.into(p, |p| Inst::Elect { p, mask: all_lanes() })
    }

    // ---- griddepcontrol

    /// Waits until the grids that this one depends on have finished and their writes are visible.
    pub fn grid_dependency_wait(&mut self) {
        self.push(Inst::GridDependency { launch: false });
    }

    /// Lets the dependent grid be scheduled once all CTAs have said so.
    pub fn grid_launch_dependents(&mut self) {
        self.push(Inst::GridDependency { launch: true });
    }
}
