//! Rounds in which groups of points double, as long as a group fits a block: all of them in one launch.
//!
//! A block has the points of one group of `2^GROUP_ROUNDS` neighbours along the grid's last axis, several a thread, and
//! meets after each round. What it wrote comes back from the multiprocessor's own cache, and there is one launch to wait for
//! instead of one a round.

use super::Emitter;
use super::value::{Int, Value};
use crate::plan::{GROUP_ROUNDS, GROUP_THREADS};
use dmac_ptx::{Cmp, Special};

/// Points of a block.
pub(crate) const GROUP_POINTS: u32 = 1 << GROUP_ROUNDS;

impl Emitter<'_> {
    /// The first rounds of a kernel.
    pub(crate) fn group_rounds(&mut self) {
        let kernel = self.kernel;
        let rounds = kernel.rounds.as_ref().expect("codegen: a kernel has rounds");
        let last = kernel.grid.last().expect("codegen: groups are neighbours along an axis");
        assert!(!last.descending, "codegen: `{}` has groups along an axis that ascends", kernel.name);
        let block = self.k.special("group", Special::CtaidX);
        let mut extents = self.extents();
        let points = extents.pop().expect("an extent an axis");
        let groups = self.fresh(|e| {
            let groups =
                e.int_div(points.plus(GROUP_POINTS.cast_signed() - 1), Int::constant(GROUP_POINTS.into()));
            e.settled(groups)
        });
        extents.push(groups);
        self.grid_point(block, &extents);
        let first = self.fresh(|e| {
            let Value::Int(group) = e.value(&dmac_schedule::kernel::Expr::Var(last.var)) else {
                panic!("codegen: an axis counts ints")
            };
            let group = e.int(group);
            e.k.mad("first_point", group, GROUP_POINTS, e.thread.tid)
        });
        let count = self.fresh(|e| {
            let count = e.int_value(&rounds.count);
            let count = e.int_min_max(false, count, Int::constant(GROUP_ROUNDS.into()));
            let count = e.int(count);
            e.k.mov("rounds", count)
        });
        let round = self.k.mov("round", 0);
        let (head, done) = (self.k.label("rounds"), self.k.label("rounds_end"));
        self.k.place(head);
        let more = self.k.setp_s("more", round, Cmp::Lt, count);
        self.k.branch_if(!more, done);
        self.fresh(|e| e.assign(rounds.var, Value::Int(round.into())));
        let offset = self.k.mov("offset", 0);
        let (part, skip) = (self.k.label("points"), self.k.label("points_end"));
        self.k.place(part);
        let point = self.k.add("own_point", first, offset);
        let inside = self.fresh(|e| {
            e.assign(last.var, Value::Int(point.into()));
            let inside = e.int_compare(Cmp::Lt, point.into(), points);
            e.condition(inside)
        });
        self.k.branch_if(!inside, skip);
        self.body();
        self.k.place(skip);
        self.k.add(offset, offset, GROUP_THREADS);
        let parts = self.k.setp_s("more", offset, Cmp::Lt, GROUP_POINTS);
        self.k.branch_if(parts, part);
        self.k.bar_sync_all();
        self.k.add(round, round, 1);
        self.k.branch(head);
        self.k.place(done);
        self.k.ret();
    }
}
