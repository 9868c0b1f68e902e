//! Bounded best-of lists, by one warp.
//!
//! A (score, index) pair is one 64-bit key whose unsigned order is the language's: the score's bits made monotone, NaN
//! below everything, -0 equal to +0, and below them the index, inverted where lower indices win. Keys are unique.
//!
//! Where rows of a tile are offered, entries that beat a threshold are appended to a buffer of twice the capacity and some;
//! when it is full, a radix selection finds the key of rank `capacity`, which becomes the threshold, and what is below it
//! is dropped. Order is kept throughout, and offers come in ascending order of their indices: the list is ascending. Each
//! offered element costs a compare; a selection costs a few passes and comes once for `capacity` accepted elements.
//!
//! Where single elements are pushed and what falls out matters, the worst entry is known at any time: an accepted element
//! replaces it, and all lanes look for the next.
//!
//! Entries are in global memory, a part of `heaps` for each block. A row's header is in shared memory, because every offer
//! begins and ends with it: its count, the place of its worst entry, and the worst key or the threshold.

use super::Emitter;
use super::value::{Bool, Int, Value};
use dmac_ir::Ties;
use dmac_ptx::{
    AtomicOp, AtomicTy, B32, B64, Cmp, F32, Label, Pred, Reg, Scope, ShflMode, Special, global, shared,
};
use dmac_schedule::kernel::{Expr, Heap, HeapId, TensorId, TileId, VarId};

/// Bytes of a row's header.
pub(crate) const HEADER: u32 = 16;
/// Entries of a row beyond twice the capacity: a warp's, twice, so that an offer always fits.
const SPARE: u32 = 64;
/// Entries of a lane that a selection reads at a time: they come from memory, hundreds of cycles away.
const IN_FLIGHT: u32 = 8;
/// 32-bit words of a row, as an expression of the capacity.
pub(crate) fn row_words(heap: &Heap) -> Expr {
    let entries = heap.capacity.clone() * Expr::Int(2) + Expr::Int(i64::from(SPARE));
    entries * Expr::Int(2)
}

/// A heap of a block.
#[derive(Clone, Copy)]
pub(crate) struct HeapRegs {
    base: Reg<B64>,
    /// Bytes from the start of shared memory to the rows' headers.
    headers: u32,
    capacity: Reg<B32>,
    /// Entries that a row has place for.
    entries: Reg<B32>,
    row_bytes: Reg<B32>,
}

/// A row's state.
#[derive(Clone, Copy)]
struct Row {
    heap: HeapRegs,
    ties: Ties,
    /// Address of the header in shared memory, and of the first entry.
    header: Reg<B32>,
    first: Reg<B64>,
    count: Reg<B32>,
    /// The place of the worst entry, for pushes.
    worst: Reg<B32>,
    /// The worst key or the threshold.
    limit: Reg<B64>,
}

impl Emitter<'_> {
    /// Addresses of the heaps of a block.
    pub(crate) fn make_heaps(&mut self, tensor: TensorId) {
        let kernel = self.kernel;
        let pointer = self.tensors[&tensor].pointer;
        let block = self.k.special("block", Special::CtaidX);
        let mut words = Int::constant(0);
        let mut parts = Vec::new();
        for heap in &kernel.heaps {
            let capacity = self.int_value(&heap.capacity);
            let row = self.int_value(&row_words(heap));
            let all = self.int_mul(row, Int::constant(heap.rows as i64));
            parts.push((capacity, row, words));
            words = self.int_add(words, all);
        }
        let words = self.int(words);
        let wide = self.k.mul_wide_u("heap_words", words, block);
        let mut headers = self.plan.headers;
        for (heap, (capacity, row, before)) in kernel.heaps.iter().zip(parts) {
            let before = self.int(before);
            let sum = self.k.mad_wide_u("heap_words", before, 1, wide);
            let bytes = self.k.shl("heap_words", sum, 2);
            let base = self.k.add("heap", pointer, bytes);
            let capacity = self.int(capacity);
            let entries = self.k.mad("entries", capacity, 2, dmac_ptx::Operand::from(SPARE));
            let row = self.int(row);
            let row_bytes = self.k.shl("row_bytes", row, 2);
            self.heaps.push(HeapRegs { base, headers, capacity, entries, row_bytes });
            headers += HEADER * heap.rows as u32;
        }
    }

    fn heap_row(&mut self, heap: HeapId, row: &Expr) -> Row {
        let regs = self.heaps[heap.0 as usize];
        let row = self.int_value(row);
        let row = self.int(row);
        let first = self.k.mad_wide_u("first", row, regs.row_bytes, regs.base);
        let header = self.header(regs, row);
        let count = self.k.ld("count", shared(header));
        let worst = self.k.ld("worst", shared(header) + 4);
        let limit = self.k.ld("limit", shared(header) + 8);
        let ties = self.kernel.heaps[heap.0 as usize].ties;
        Row { heap: regs, ties, header, first, count, worst, limit }
    }

    fn header(&mut self, heap: HeapRegs, row: Reg<B32>) -> Reg<B32> {
        let base = self.k.add("headers", self.thread.base, heap.headers);
        self.k.mad("header", row, HEADER, base)
    }

    /// Writes a row's state back, and lets all lanes see it.
    fn keep(&mut self, row: &Row) {
        let first = self.first_lane();
        let row = *row;
        self.k.when(first, |k| {
            k.st(shared(row.header), row.count);
            k.st(shared(row.header) + 4, row.worst);
            k.st(shared(row.header) + 8, row.limit);
        });
        self.k.bar_warp();
    }

    fn first_lane(&mut self) -> Reg<Pred> {
        self.k.setp_u("first_lane", self.thread.lane, Cmp::Eq, 0)
    }

    pub(crate) fn heap_clear(&mut self, heap: HeapId, row: &Expr) {
        let regs = self.heaps[heap.0 as usize];
        let row = self.int_value(row);
        let row = self.int(row);
        let header = self.header(regs, row);
        // No key is above the threshold of a heap without places.
        let none = self.k.setp_u("cond", regs.capacity, Cmp::Eq, 0);
        let limit = self.k.selp::<B64>("limit", -1, 0, none);
        let first = self.first_lane();
        self.k.bar_warp();
        self.k.when(first, |k| {
            k.st::<B32, _>(shared(header), 0);
            k.st::<B32, _>(shared(header) + 4, 0);
            k.st(shared(header) + 8, limit);
        });
        self.k.bar_warp();
    }

    /// The key of a score and an index.
    fn key(&mut self, ties: Ties, score: Reg<F32>, index: Reg<B32>) -> Reg<B64> {
        let k = &mut self.k;
        let number = k.setp_f("cond", score, Cmp::Eq, score);
        let score = k.add_rn("real", score, 0.0);
        let bits = k.bits_of("int", score);
        let sign = k.shr_s("int", bits, 31);
        let flip = k.or("int", sign, 0x8000_0000_u32);
        let ordered = k.xor("int", bits, flip);
        let ordered = k.selp::<B32>("int", ordered, 1, number);
        let low = match ties {
            Ties::High => index,
            Ties::Low => k.not("int", index),
        };
        k.pack64("key", low, ordered)
    }

    /// The index in a key.
    fn index_of(&mut self, ties: Ties, key: Reg<B64>) -> Reg<B32> {
        let low = self.k.truncate("int", key);
        match ties {
            Ties::High => low,
            Ties::Low => self.k.not("int", low),
        }
    }

    /// A loop of the warp over `0 .. count`, a lane an entry: `f` gets the entry and whether there is one.
    fn over_entries(&mut self, count: Reg<B32>, f: impl FnOnce(&mut Self, Reg<B32>, Reg<Pred>)) {
        let start = self.k.mov("entry", 0);
        let (head, done) = (self.k.label("entries"), self.k.label("entries_end"));
        self.k.place(head);
        let more = self.k.setp_s("more", start, Cmp::Lt, count);
        self.k.branch_if(!more, done);
        let at = self.k.add("place", start, self.thread.lane);
        let there = self.k.setp_s("there", at, Cmp::Lt, count);
        self.scoped(|e| f(e, at, there));
        self.k.add(start, start, 32);
        self.k.branch(head);
        self.k.place(done);
    }

    /// A loop of the warp over all entries in order, [`IN_FLIGHT`] of a lane at a time: `f` gets each key and whether there
    /// is one. All of a step are read before the first is given out.
    fn over_keys(&mut self, row: &Row, mut f: impl FnMut(&mut Self, Reg<B64>, Reg<Pred>)) {
        let start = self.k.mov("entry", 0);
        let (head, done) = (self.k.label("entries"), self.k.label("entries_end"));
        self.k.place(head);
        let more = self.k.setp_s("more", start, Cmp::Lt, row.count);
        self.k.branch_if(!more, done);
        self.scoped(|e| {
            let first = e.k.add("place", start, e.thread.lane);
            let from = e.k.mad_wide_u("entry_at", first, 8, row.first);
            let keys: Vec<(Reg<B64>, Reg<Pred>)> = (0..IN_FLIGHT)
                .map(|step| {
                    let at = e.k.add("place", first, 32 * step);
                    let there = e.k.setp_s("there", at, Cmp::Lt, row.count);
                    let key = e.k.mov::<B64>("key", 0);
                    e.k.when(there, |k| {
                        k.ld(key, global(from) + (256 * step).cast_signed());
                    });
                    (key, there)
                })
                .collect();
            e.k.bar_warp();
            for (key, there) in keys {
                e.scoped(|e| f(e, key, there));
            }
            e.k.bar_warp();
        });
        self.k.add(start, start, 32 * IN_FLIGHT);
        self.k.branch(head);
        self.k.place(done);
    }

    fn entry(&mut self, row: &Row, at: Reg<B32>, there: Reg<Pred>) -> Reg<B64> {
        let from = self.k.mad_wide_u("entry_at", at, 8, row.first);
        let key = self.k.mov::<B64>("key", 0);
        self.k.when(there, |k| {
            k.ld(key, global(from));
        });
        key
    }

    /// Lanes before this one among those of a mask.
    fn rank(&mut self, mask: Reg<B32>) -> Reg<B32> {
        let before = self.k.special("before", Special::LanemaskLt);
        let before = self.k.and("before", before, mask);
        self.k.popc("rank", before)
    }

    pub(crate) fn heap_offer(
        &mut self,
        (heap, row): (HeapId, &Expr),
        (scores, valid): (TileId, TileId),
        first: &Expr,
        cols: &Expr,
    ) {
        let tile_row = self.int_value(row);
        let tile_row = Int::from(self.int(tile_row));
        let first = self.int_value(first);
        let cols = self.int_value(cols);
        let cols = self.int(cols);
        let row = self.heap_row(heap, row);
        let score_tile = self.in_shared(scores).expect("codegen: offered scores are in shared memory");
        let valid_tile = self.in_shared(valid).expect("codegen: offered flags are in shared memory");
        self.over_entries(cols, |e, at, there| {
            let candidate = match e.load_shared(valid, valid_tile, tile_row, at.into(), Bool::Register(there))
            {
                Value::Bool(candidate) => e.and(candidate, Bool::Register(there)),
                other => panic!("codegen: {other:?} is no condition"),
            };
            let candidate = e.condition(candidate);
            let score = match e.load_shared(scores, score_tile, tile_row, at.into(), Bool::Register(there)) {
                Value::Float(score) => e.float(score),
                other => panic!("codegen: {other:?} is no score"),
            };
            let index = e.int_add(first, at.into());
            let index = e.int(index);
            let key = e.key(row.ties, score, index);
            let passes = e.k.setp_u("cond", key, Cmp::Gt, row.limit);
            let passes = e.k.and("cond", passes, candidate);
            let mask = e.k.ballot("mask", passes);
            let rank = e.rank(mask);
            let place = e.k.add("place", row.count, rank);
            let to = e.k.mad_wide_u("entry_at", place, 8, row.first);
            e.k.when(passes, |k| k.st(global(to), key));
            let accepted = e.k.popc("accepted", mask);
            e.k.add(row.count, row.count, accepted);
            e.k.bar_warp();
            // There is place for another warp's worth, or room is made.
            let filled = e.k.add("filled", row.count, 32);
            let full = e.k.setp_u("full", filled, Cmp::Gt, row.heap.entries);
            let end = e.k.label("fits");
            e.k.branch_if(!full, end);
            e.scoped(|e| e.prune(&row));
            e.k.place(end);
        });
        self.keep(&row);
    }

    /// Drops all but the best `capacity` entries, of which there are more.
    fn prune(&mut self, row: &Row) {
        let counters = self.k.add("counters", self.thread.base, self.plan.counters);
        let lane = self.thread.lane;
        // Lane l counts digits 255 - 8 l down to 248 - 8 l: the best are in lane 0.
        let own = self.k.sub("own", 31, lane);
        let own = self.k.mad("own", own, 32, counters);
        let prefix = self.k.mov::<B64>("prefix", 0);
        let left = self.k.mov("left", row.heap.capacity);
        let shift = self.k.mov("shift_by", 56);
        let (head, done) = (self.k.label("digit"), self.k.label("digit_end"));
        self.k.place(head);
        for at in 0..8 {
            self.k.st::<B32, _>(shared(own) + 4 * at, 0);
        }
        self.k.bar_warp();
        self.scoped(|e| {
            e.over_keys(row, |e, key, there| {
                let digits = e.k.shr_u("digits", key, shift);
                let wanted = e.k.shr_u("digits", prefix, shift);
                let (above, wanted) = (e.k.shr_u("digits", digits, 8), e.k.shr_u("digits", wanted, 8));
                let same = e.k.setp_u("cond", above, Cmp::Eq, wanted);
                let counts = e.k.and("cond", same, there);
                let digit = e.k.truncate("int", digits);
                let digit = e.k.and("int", digit, 255);
                let at = e.k.mad("int", digit, 4, counters);
                e.k.when(counts, |k| {
                    k.red::<B32, _>(AtomicOp::Add, AtomicTy::U32, Scope::Cta, shared(at), 1);
                });
            });
            e.k.bar_warp();
            e.pick_digit(own, prefix, left, shift, done);
        });
        self.k.add(shift, shift, -8);
        let more = self.k.setp_s("more", shift, Cmp::Ge, 0);
        self.k.branch_if(more, head);
        self.k.place(done);
        self.k.bar_warp();
        // What is at least the prefix stays, in order.
        let kept = self.k.mov("kept", 0);
        self.over_keys(row, |e, key, there| {
            let stays = e.k.setp_u("cond", key, Cmp::Ge, prefix);
            let stays = e.k.and("cond", stays, there);
            let mask = e.k.ballot("mask", stays);
            let rank = e.rank(mask);
            let place = e.k.add("place", kept, rank);
            let to = e.k.mad_wide_u("entry_at", place, 8, row.first);
            // It goes to a place that all lanes have read.
            e.k.when(stays, |k| k.st(global(to), key));
            let accepted = e.k.popc("accepted", mask);
            e.k.add(kept, kept, accepted);
        });
        self.k.mov(row.count, kept);
        self.k.sub(row.limit, prefix, 1);
    }

    /// The digit in which the entry of rank `left` lies; done where all entries with that digit are kept.
    fn pick_digit(&mut self, own: Reg<B32>, prefix: Reg<B64>, left: Reg<B32>, shift: Reg<B32>, done: Label) {
        let lane = self.thread.lane;
        let counts: [Reg<B32>; 8] =
            std::array::from_fn(|at| self.k.ld("digit_count", shared(own) + 4 * at as i32));
        let sum = self.k.mov("sum", counts[0]);
        for count in &counts[1..] {
            self.k.add(sum, sum, *count);
        }
        let upto = self.k.mov("upto", sum);
        for distance in [1, 2, 4, 8, 16] {
            let other = self.k.shfl(ShflMode::Up, "other_count", upto, distance);
            let from = self.k.setp_u("cond", lane, Cmp::Ge, distance);
            let other = self.k.selp::<B32>("other_count", other, 0, from);
            self.k.add(upto, upto, other);
        }
        let before = self.k.sub("before_lane", upto, sum);
        // Down from the lane's best digit to the one that holds the rank.
        let digit = self.k.mov("found_digit", -1);
        let rest = self.k.mov("rest", 0);
        let here = self.k.mov("here", 0);
        let seen = self.k.mov("seen", before);
        let top = self.k.mul("top", lane, -8);
        for at in (0..8).rev() {
            let behind = self.k.setp_u("cond", seen, Cmp::Lt, left);
            let with = self.k.add("with", seen, counts[at]);
            let reached = self.k.setp_u("cond", with, Cmp::Ge, left);
            let found = self.k.and("cond", behind, reached);
            let value = self.k.add("value", top, 248 + at as i32);
            self.k.selp(digit, value, digit, found);
            let needed = self.k.sub("needed", left, seen);
            self.k.selp(rest, needed, rest, found);
            self.k.selp(here, counts[at], here, found);
            self.k.mov(seen, with);
        }
        let found = self.k.setp_s("cond", digit, Cmp::Ge, 0);
        let mask = self.k.ballot("mask", found);
        let above = self.k.clz("source", mask);
        let source = self.k.sub("source", 31, above);
        let [digit, rest, here] = [digit, rest, here].map(|value| {
            let value = self.k.shfl(ShflMode::Idx, "agreed", value, source);
            self.k.assume_uniform(value);
            value
        });
        let wide = self.k.widen_u("wide_digit", digit);
        let wide = self.k.shl("wide_digit", wide, shift);
        self.k.or(prefix, prefix, wide);
        self.k.mov(left, rest);
        self.k.bar_warp();
        let all = self.k.setp_u("all", here, Cmp::Eq, rest);
        self.k.branch_if(all, done);
    }

    pub(crate) fn heap_store(
        &mut self,
        (heap, row): (HeapId, &Expr),
        (tensor, index): (TensorId, &[Expr]),
        count: VarId,
    ) {
        let mut index: Vec<Int> = index.iter().map(|x| self.int_value(x)).collect();
        let row = self.heap_row(heap, row);
        let many = self.k.setp_u("many", row.count, Cmp::Gt, row.heap.capacity);
        let end = self.k.label("few");
        self.k.branch_if(!many, end);
        self.scoped(|e| e.prune(&row));
        self.k.place(end);
        index.push(Int::constant(0));
        self.over_entries(row.count, |e, at, there| {
            let key = e.entry(&row, at, there);
            let item = e.index_of(row.ties, key);
            *index.last_mut().expect("the slot was pushed") = at.into();
            e.store_element(tensor, &index, Value::Int(item.into()), Bool::Register(there));
        });
        self.assign(count, Value::Int(row.count.into()));
        self.keep(&row);
    }

    pub(crate) fn heap_push(&mut self, heap: HeapId, row: &Expr, score: &Expr, index: &Expr, evicted: VarId) {
        let score = self.float_value(score);
        let score = self.float(score);
        let index = self.int_value(index);
        let index = self.int(index);
        let row = self.heap_row(heap, row);
        let key = self.key(row.ties, score, index);
        let out = self.k.mov("out", index);
        let (end, replace) = (self.k.label("pushed"), self.k.label("replace"));
        let first = self.first_lane();
        let empty = self.k.setp_u("empty", row.heap.capacity, Cmp::Eq, 0);
        self.k.branch_if(empty, end);
        let full = self.k.setp_u("full", row.count, Cmp::Ge, row.heap.capacity);
        self.k.branch_if(full, replace);
        self.scoped(|e| {
            let to = e.k.mad_wide_u("entry_at", row.count, 8, row.first);
            e.k.when(first, |k| k.st(global(to), key));
            e.k.add(row.count, row.count, 1);
            e.k.mov(out, -1);
            e.k.bar_warp();
            let full = e.k.setp_u("full", row.count, Cmp::Ge, row.heap.capacity);
            let later = e.k.label("later");
            e.k.branch_if(!full, later);
            e.scoped(|e| e.find_worst(&row));
            e.k.place(later);
        });
        self.k.branch(end);
        self.k.place(replace);
        let better = self.k.setp_u("better", key, Cmp::Gt, row.limit);
        self.k.branch_if(!better, end);
        self.scoped(|e| {
            let worst = e.index_of(row.ties, row.limit);
            e.k.mov(out, worst);
            let to = e.k.mad_wide_u("entry_at", row.worst, 8, row.first);
            e.k.when(first, |k| k.st(global(to), key));
            e.k.bar_warp();
            e.find_worst(&row);
        });
        self.k.place(end);
        self.assign(evicted, Value::Int(out.into()));
        self.keep(&row);
    }

    /// The smallest key and where it is.
    fn find_worst(&mut self, row: &Row) {
        let least = self.k.mov::<B64>("least", -1);
        let place = self.k.mov("least_at", 0);
        self.over_entries(row.count, |e, at, there| {
            let key = e.entry(row, at, there);
            let less = e.k.setp_u("cond", key, Cmp::Lt, least);
            let less = e.k.and("cond", less, there);
            e.k.selp(least, key, least, less);
            e.k.selp(place, at, place, less);
        });
        for distance in [16, 8, 4, 2, 1] {
            let (low, high) = self.k.unpack64("int", "int", least);
            let [low, high, other_place] =
                [low, high, place].map(|value| self.k.shfl(ShflMode::Bfly, "other_word", value, distance));
            let other = self.k.pack64("key", low, high);
            let less = self.k.setp_u("cond", other, Cmp::Lt, least);
            self.k.selp(least, other, least, less);
            self.k.selp(place, other_place, place, less);
        }
        self.k.mov(row.limit, least);
        self.k.mov(row.worst, place);
        // All lanes agree: keys are unique.
        self.k.assume_uniform(row.limit);
        self.k.assume_uniform(row.worst);
    }
}
