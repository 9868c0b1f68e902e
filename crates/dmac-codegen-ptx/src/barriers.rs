//! Where the threads of a block must meet.
//!
//! Input → output: a kernel and its plan → for each statement, counted in text order, whether a barrier stands before it.
//! One does if the statement reads what other threads wrote since the last barrier, or overwrites what they wrote or read
//! since: tiles in shared memory, and tensors that the kernel itself writes. What holds at the head of a loop is what
//! holds before it or at its end, so loops are walked until nothing changes; barriers are only ever added.

use crate::plan::{Form, Plan};
use dmac_schedule::kernel::{Expr, Kernel, Stmt, TensorId, TileId};
use std::collections::BTreeSet;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Tile(TileId),
    Tensor(TensorId),
}

/// What happened since the last barrier.
#[derive(Clone, Default, PartialEq, Eq)]
struct State {
    read: BTreeSet<Place>,
    /// Written by several threads.
    written: BTreeSet<Place>,
    /// Written by the first thread alone.
    written_by_first: BTreeSet<Place>,
}

impl State {
    fn join(&mut self, other: &Self) {
        self.read.extend(&other.read);
        self.written.extend(&other.written);
        self.written_by_first.extend(&other.written_by_first);
    }
}

/// What a statement touches itself.
#[derive(Default)]
struct Access {
    reads: BTreeSet<Place>,
    writes: BTreeSet<Place>,
    first_writes: BTreeSet<Place>,
}

struct Walk<'a> {
    plan: &'a Plan,
    /// By statement number.
    barriers: Vec<bool>,
    /// The number of the next statement.
    next: usize,
}

/// Whether a barrier stands before each statement, in text order.
pub(crate) fn barriers(kernel: &Kernel, plan: &Plan) -> Vec<bool> {
    let mut count = 0;
    for stmt in &kernel.body {
        stmt.walk(&mut |_| count += 1);
    }
    if plan.point_threads {
        return vec![false; count];
    }
    let mut walk = Walk { plan, barriers: vec![false; count], next: 0 };
    walk.block(&kernel.body, State::default());
    walk.barriers
}

impl Walk<'_> {
    fn block(&mut self, body: &[Stmt], mut state: State) -> State {
        for stmt in body {
            state = self.stmt(stmt, state);
        }
        state
    }

    fn stmt(&mut self, stmt: &Stmt, mut state: State) -> State {
        let number = self.next;
        self.next += 1;
        let access = self.access(stmt);
        let crossed = |places: &BTreeSet<Place>, with: &BTreeSet<Place>| !places.is_disjoint(with);
        let needed = crossed(&access.reads, &state.written)
            || crossed(&access.reads, &state.written_by_first)
            || crossed(&access.writes, &state.written)
            || crossed(&access.writes, &state.written_by_first)
            || crossed(&access.writes, &state.read)
            || crossed(&access.first_writes, &state.written)
            || crossed(&access.first_writes, &state.read);
        self.barriers[number] |= needed;
        if self.barriers[number] {
            state = State::default();
        }
        state.read.extend(access.reads);
        state.written.extend(access.writes);
        state.written_by_first.extend(access.first_writes);
        match stmt {
            Stmt::For { body, .. } => {
                let mut head = state;
                loop {
                    self.next = number + 1;
                    let end = self.block(body, head.clone());
                    let mut joined = head.clone();
                    joined.join(&end);
                    if joined == head {
                        return head;
                    }
                    head = joined;
                }
            }
            Stmt::If { then, otherwise, .. } => {
                let mut end = self.block(then, state.clone());
                end.join(&self.block(otherwise, state));
                end
            }
            _ => state,
        }
    }

    fn access(&self, stmt: &Stmt) -> Access {
        let mut access = Access::default();
        for expr in stmt.expressions() {
            expr.any(&mut |x| {
                match x {
                    Expr::Load { tensor, .. } => self.tensor(*tensor, &mut access.reads),
                    Expr::Elem(tile) | Expr::At { tile, .. } => self.tile(*tile, &mut access.reads),
                    _ => {}
                }
                false
            });
        }
        match stmt {
            Stmt::Copy { dst, tensor, .. } => {
                self.tensor(*tensor, &mut access.reads);
                self.tile(dst.tile, &mut access.writes);
            }
            Stmt::Store { tensor, src, .. } | Stmt::ReduceAdd { tensor, src, .. } => {
                self.tile(*src, &mut access.reads);
                self.tensor(*tensor, &mut access.writes);
            }
            Stmt::StoreElem { tensor, .. } => self.tensor(*tensor, &mut access.first_writes),
            Stmt::Fill { tile, .. } | Stmt::Map { dst: tile, .. } => self.tile(*tile, &mut access.writes),
            Stmt::Mma { a, b, .. } => {
                self.tile(a.tile, &mut access.reads);
                self.tile(b.tile, &mut access.reads);
            }
            Stmt::RowReduce { dst, src, .. } => {
                self.tile(*src, &mut access.reads);
                self.tile(*dst, &mut access.writes);
            }
            Stmt::OnlineSoftmax { row_max, row_sum, .. } => {
                self.tile(*row_max, &mut access.writes);
                self.tile(*row_sum, &mut access.writes);
            }
            Stmt::HeapOffer { scores, valid, .. } => {
                self.tile(*scores, &mut access.reads);
                self.tile(*valid, &mut access.reads);
            }
            Stmt::HeapStore { tensor, .. } | Stmt::Filter { tensor, .. } => {
                self.tensor(*tensor, &mut access.writes);
            }
            _ => {}
        }
        // An element that is replaced by what was computed from it is read and written by one thread.
        if let Stmt::Map { dst, .. } = stmt {
            access.reads.remove(&Place::Tile(*dst));
        }
        access
    }

    fn tile(&self, tile: TileId, into: &mut BTreeSet<Place>) {
        if let Form::Shared(_) = self.plan.form(tile) {
            into.insert(Place::Tile(tile));
        }
    }

    fn tensor(&self, tensor: TensorId, into: &mut BTreeSet<Place>) {
        if self.plan.written.contains(&tensor) {
            into.insert(Place::Tensor(tensor));
        }
    }
}
