//! Filters, by a whole block: items that are taken, in order, appended to a list.
//!
//! A step tests [`ITEMS`] items a thread, whose loads are in flight together. Warps say how many of their items they take,
//! meet, and each finds by a scan over these counts where its own go. Counts of one step and the next lie in different
//! places, so that one barrier a step is enough.

use super::Emitter;
use super::scalar::register_value;
use super::value::{AnyReg, Bool, Int, Value};
use crate::plan::{FILTER_WARPS, WARP};
use dmac_ptx::{B32, Cmp, Pred, Reg, ShflMode, Special, shared};
use dmac_schedule::kernel::Stmt;

/// Items of a thread in a step: one count for each lane of a warp.
const ITEMS: u32 = WARP / FILTER_WARPS;
/// Items of a step.
const STEP: u32 = ITEMS * FILTER_WARPS * WARP;
/// Bytes of a step's counts.
const COUNTS: u32 = ITEMS * FILTER_WARPS * 4;

/// An item of a thread.
struct Item {
    value: Reg<B32>,
    taken: Reg<Pred>,
    /// The lanes of the warp that take theirs.
    mask: Reg<B32>,
    count: Reg<B32>,
}

impl Emitter<'_> {
    pub(crate) fn filter(&mut self, stmt: &Stmt) {
        let Stmt::Filter { var, lo, hi, item, source, keep, tensor, index, limit, count } = stmt else {
            panic!("codegen: {stmt:?} is no filter")
        };
        let [lo, hi, limit] = [lo, hi, limit].map(|x| {
            let x = self.int_value(x);
            self.int(x)
        });
        let index: Vec<Int> = index
            .iter()
            .map(|x| {
                let x = self.int_value(x);
                self.int(x).into()
            })
            .collect();
        let AnyReg::B32(total) = self.variable(*count) else { panic!("codegen: a filter counts ints") };
        let lane = self.thread.lane;
        let own = self.k.add("counts_at", self.thread.base, self.plan.counters);
        let write = self.k.mad("counts_write", self.thread.warp, 4, own);
        let read = self.k.mad("counts_read", lane, 4, own);
        let first_lane = self.k.setp_u("first_lane", lane, Cmp::Eq, 0);
        let before = self.k.special("before", Special::LanemaskLt);
        let start = self.k.mov("start", lo);
        let first = self.k.add("first_item", start, self.thread.tid);
        let which = self.k.mov("which", 0);
        let (head, done) = (self.k.label("filter"), self.k.label("filter_end"));
        // Nobody reads the counts of a filter before this one.
        self.k.bar_sync_all();
        self.k.place(head);
        let more = self.k.setp_s("more", start, Cmp::Lt, hi);
        self.k.branch_if(!more, done);
        // A ballot holds back what comes after it: items are loaded first, then what is known of them, then they are counted.
        let found: Vec<(Reg<B32>, Reg<Pred>, Reg<B32>)> = (0..ITEMS)
            .map(|at| {
                self.fresh(|e| {
                    let place = e.k.add("place", first, at * FILTER_WARPS * WARP);
                    let there = e.k.setp_s("there", place, Cmp::Lt, hi);
                    e.assign(*var, Value::Int(place.into()));
                    e.guards.push(Bool::Register(there));
                    let value = e.int_value(source);
                    e.guards.pop();
                    let value = e.int(value);
                    (place, there, e.k.mov("item", value))
                })
            })
            .collect();
        let taken: Vec<Reg<Pred>> = found
            .iter()
            .map(|&(place, there, value)| {
                self.fresh(|e| {
                    e.assign(*var, Value::Int(place.into()));
                    e.assign(*item, Value::Int(value.into()));
                    e.guards.push(Bool::Register(there));
                    let keep = e.bool_value(keep);
                    e.guards.pop();
                    let keep = e.and(keep, Bool::Register(there));
                    let keep = e.condition(keep);
                    e.k.mov("taken", keep)
                })
            })
            .collect();
        let items: Vec<Item> = found
            .iter()
            .zip(taken)
            .map(|(&(_, _, value), taken)| {
                let mask = self.k.ballot("mask", taken);
                let count = self.k.popc("accepted", mask);
                Item { value, taken, mask, count }
            })
            .collect();
        let to = self.k.add("counts_write", write, which);
        for (at, item) in items.iter().enumerate() {
            let to = shared(to) + (at as u32 * FILTER_WARPS * 4).cast_signed();
            self.k.when(first_lane, |k| k.st(to, item.count));
        }
        self.k.bar_sync_all();
        let from = self.k.add("counts_read", read, which);
        self.k.xor(which, which, COUNTS);
        let upto: Reg<B32> = self.k.ld("upto", shared(from));
        for distance in [1, 2, 4, 8, 16] {
            let other = self.k.shfl(ShflMode::Up, "other_count", upto, distance);
            let there = self.k.setp_u("cond", lane, Cmp::Ge, distance);
            let other = self.k.selp::<B32>("other_count", other, 0, there);
            self.k.add(upto, upto, other);
        }
        for (at, item) in items.iter().enumerate() {
            let behind = self.k.add("behind", self.thread.warp, at as u32 * FILTER_WARPS);
            let behind = self.k.shfl(ShflMode::Idx, "behind", upto, behind);
            let behind = self.k.sub("behind", behind, item.count);
            let rank = self.k.and("rank", before, item.mask);
            let rank = self.k.popc("rank", rank);
            let slot = self.k.add("slot", behind, rank);
            let slot = self.k.add("slot", slot, total);
            let fits = self.k.setp_s("fits", slot, Cmp::Lt, limit);
            let stores = self.k.and("cond", fits, item.taken);
            let slots: Vec<Int> = index.iter().copied().chain([slot.into()]).collect();
            let value = register_value(AnyReg::B32(item.value));
            self.fresh(|e| e.store_element(*tensor, &slots, value, Bool::Register(stores)));
        }
        let all = self.k.shfl(ShflMode::Idx, "all", upto, 31);
        // All warps have read the same counts.
        self.k.assume_uniform(all);
        self.k.add(total, total, all);
        self.k.add(start, start, STEP);
        self.k.add(first, first, STEP);
        self.k.branch(head);
        self.k.place(done);
    }
}
