//! A consumer warpgroup: 64 query rows, their scores, their softmax, their output.
//!
//! In: full stages. Out: the accumulated output and row statistics, handed to the epilogue.

use super::super::tile::{
    ROW, Ring, descriptor, descriptor_low, descriptor_plus, k_major_step, mn_major_step,
};
use super::softmax::Rows;
use super::{CONSUMERS, Cta, KEYS, ROWS, SOURCE, STAGES};
use crate::{Accumulate, Assembler, B32, B64, Cmp, F32, Half, Label, Major, MmaElem, Pred, Reg, Unroll};

/// Registers and positions of one consumer.
pub(super) struct Consumer {
    /// 0 or 1.
    pub this: Reg<B32>,
    pub scores: Vec<Reg<F32>>,
    pub out: Vec<Reg<F32>>,
    pub p: Vec<Reg<B32>>,
    pub rows: Rows,
    pub keys: Ring,
    pub values: Ring,
    /// Lane 0 of each warp releases stages.
    pub leader: Reg<Pred>,
    q: Reg<B64>,
    k_low: Reg<B32>,
    v_low: Reg<B32>,
    own_turn: Reg<B32>,
    next_turn: Reg<B32>,
    /// Blocks still to visit.
    left: Reg<B32>,
}

/// What the mask of a block has to cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mask {
    None,
    /// Keys past the end.
    Tail,
    /// Keys past the end and keys after the row.
    CausalTail,
}

impl Consumer {
    /// Gives the stage back to the producer, one lane a warp.
    fn release(&self, k: &mut Assembler, ring: Ring, empty: u32) {
        let empty = ring.barrier(k, "empty", empty);
        k.when(self.leader, |k| k.mbarrier_arrive(empty));
    }
}

impl Cta {
    pub(super) fn consume(&mut self, k: &mut Assembler, this: Reg<B32>, end: Label) {
        k.comment("consumer warpgroups");
        k.setmaxnreg_inc(if self.gathers() { 224 } else { 240 });
        let c = self.consumer(k, this);
        let (empty, store) = (k.label("no_keys"), k.label("store"));
        let nothing = k.setp_u("nothing", c.left, Cmp::Eq, 0);
        k.branch_if(nothing, empty);

        k.comment("first block: S = Q K, mask, softmax");
        k.mbarrier_wait(self.thread.at(self.layout.q_full), 0);
        k.sub(c.left, c.left, 1);
        self.wait_full(k, c.keys, self.layout.k_full);
        self.issue_scores(k, &c);
        k.wgmma_wait(0);
        c.release(k, c.keys, self.layout.k_empty);
        let mask = if self.forward.causal { Mask::CausalTail } else { Mask::Tail };
        self.mask(k, &c, mask);
        c.rows.softmax(k, &c.scores, true, true);
        for o in &c.out {
            k.mov(*o, 0.0);
        }
        // Tells the first turn of the rotated loop from the others by data, so that ptxas does not peel it off.
        let first_left = k.mov("first_left", c.left);

        if self.forward.causal {
            k.comment("blocks that the diagonal crosses: those beyond the first row's reach");
            let whole = k.sub("whole", self.keys, self.queries);
            k.add(whole, whole, self.row0);
            k.add(whole, whole, 1);
            k.max_s(whole, whole, 0);
            k.shr_u(whole, whole, KEYS.ilog2());
            k.while_loop(
                "masked_loop",
                Unroll::No,
                |k| k.setp_u("masked", c.left, Cmp::Gt, whole),
                |k, _| self.step(k, &c, first_left, Mask::CausalTail),
            );
        }
        k.comment("whole blocks: no mask code");
        let more = k.setp_u("more", c.left, Cmp::Ne, 0);
        k.if_then(more, |k| {
            k.do_while("key_loop", Unroll::No, |k, _| {
                self.step(k, &c, first_left, Mask::None);
                k.setp_u(more, c.left, Cmp::Ne, 0)
            });
        });

        k.comment("last O += P V");
        self.finish_values(k, &c, first_left);
        self.wait_full(k, c.values, self.layout.v_full);
        self.issue_output(k, &c);
        let (inverse, lse) = c.rows.finish(k);
        k.wgmma_wait(0);
        for (i, o) in c.out.iter().enumerate() {
            k.mul(*o, *o, inverse[(i >> 1) & 1]);
        }
        k.branch(store);

        k.place(empty);
        k.comment("no keys: zeros and an lse of minus infinity");
        for o in &c.out {
            k.mov(*o, 0.0);
        }
        for l in lse {
            k.mov(l, f32::NEG_INFINITY);
        }
        // Q's memory is about to be reused, so Q must have landed.
        k.mbarrier_wait(self.thread.at(self.layout.q_full), 0);
        k.place(store);
        self.store(k, &c, lse, end);
    }

    fn consumer(&self, k: &mut Assembler, this: Reg<B32>) -> Consumer {
        let l = self.layout;
        let d = self.forward.head_dim as usize;
        let (scores, out, p) =
            (k.regs("s", KEYS as usize / 2), k.regs("o", d / 2), k.regs("p", KEYS as usize / 4));
        let own_rows = k.shl("own_rows", this, 13);
        let q = descriptor_low(k, "q_low", self.thread, l.q, Some(own_rows), 16);
        let q = descriptor(k, "q", q);
        let k_low = descriptor_low(k, "k_low", self.thread, l.k, None, 16);
        let v_low = descriptor_low(k, "v_low", self.thread, l.v, None, KEYS * ROW);
        let keys = Ring::new(k, self.thread, "keys", STAGES, 0);
        let values = Ring::new(k, self.thread, "values", STAGES, 0);
        let rows = Rows::new(k, self, this);
        let leader = k.setp_u("leader", self.thread.lane, Cmp::Eq, 0);

        k.comment("turns: one consumer issues its products while the other does its softmax");
        let own_turn = k.add("own_turn", this, 1);
        let next_turn = k.xor("next_turn", this, 1);
        k.add(next_turn, next_turn, 1);
        let last = k.setp_u("last_group", this, Cmp::Eq, CONSUMERS - 1);
        k.if_then(last, |k| k.bar_arrive(1, 128 * CONSUMERS));
        let left = k.mov("left", self.key_blocks);
        Consumer {
            this,
            scores,
            out,
            p,
            rows,
            keys,
            values,
            leader,
            q,
            k_low,
            v_low,
            own_turn,
            next_turn,
            left,
        }
    }

    /// One turn of the rotated loop.
    fn step(&self, k: &mut Assembler, c: &Consumer, first_left: Reg<B32>, mask: Mask) {
        self.finish_values(k, c, first_left);
        k.sub(c.left, c.left, 1);
        c.keys.advance(k);
        self.wait_full(k, c.keys, self.layout.k_full);
        k.bar_sync(c.own_turn, 128 * CONSUMERS);
        self.issue_scores(k, c);
        self.wait_full(k, c.values, self.layout.v_full);
        self.issue_output(k, c);
        k.bar_arrive(c.next_turn, 128 * CONSUMERS);
        k.wgmma_wait(1);
        c.release(k, c.keys, self.layout.k_empty);
        self.mask(k, c, mask);
        c.rows.softmax(k, &c.scores, false, mask != Mask::None);
    }

    /// What ends the last block's O += P V: its stage is released, and the next P and the rescaled O take the place of
    /// the old ones. On the first turn there is nothing under way, and the rescaling is by one.
    fn finish_values(&self, k: &mut Assembler, c: &Consumer, first_left: Reg<B32>) {
        k.comment("O += P V of the last block is done: release V, P = bf16(S), O *= alpha");
        k.wgmma_wait(0);
        let later = k.setp_u("later", c.left, Cmp::Ne, first_left);
        let release = k.and("release", c.leader, later);
        let empty = c.values.barrier(k, "empty", self.layout.v_empty);
        k.when(release, |k| k.mbarrier_arrive(empty));
        c.values.advance_if(k, later);
        for (i, p) in c.p.iter().enumerate() {
            k.pack_half(Half::Bf16x2, *p, c.scores[2 * i], c.scores[2 * i + 1]);
        }
        for (i, o) in c.out.iter().enumerate() {
            k.mul(*o, *o, c.rows.alpha[(i >> 1) & 1]);
        }
    }

    fn wait_full(&self, k: &mut Assembler, ring: Ring, full: u32) {
        ring.wait(k, "full", full);
        if self.gathers() {
            // cp.async writes through the generic proxy, wgmma reads through the asynchronous one.
            k.fence_proxy_async();
        }
    }

    /// S = Q Kᵀ, one group.
    fn issue_scores(&self, k: &mut Assembler, c: &Consumer) {
        k.location(SOURCE, 2, 3);
        let low = k.mad("k_stage", c.keys.stage, self.layout.stage >> 4, c.k_low);
        let keys = descriptor(k, "k", low);
        let (q_step, k_step) = (k_major_step(ROWS), k_major_step(KEYS));
        k.wgmma_fence();
        for step in 0..self.forward.head_dim / 16 {
            let a = descriptor_plus(k, "q_step", c.q, q_step(step));
            let b = descriptor_plus(k, "k_step", keys, k_step(step));
            let accumulate = if step == 0 { Accumulate::No } else { Accumulate::Yes };
            k.wgmma_ss(MmaElem::Bf16, &c.scores, (a, Major::K), (b, Major::K), accumulate);
        }
        k.wgmma_commit();
    }

    /// O += P V, one group.
    fn issue_output(&self, k: &mut Assembler, c: &Consumer) {
        k.location(SOURCE, 5, 3);
        let low = k.mad("v_stage", c.values.stage, self.layout.stage >> 4, c.v_low);
        let values = descriptor(k, "v", low);
        k.wgmma_fence();
        for step in 0..KEYS / 16 {
            let b = descriptor_plus(k, "v_step", values, mn_major_step(step));
            let a = &c.p[4 * step as usize..4 * step as usize + 4];
            k.wgmma_rs(MmaElem::Bf16, &c.out, a, (b, Major::Mn), Accumulate::Yes);
        }
        k.wgmma_commit();
    }

    /// Sets scores of keys that the row does not attend to minus infinity. `c.left` is the block's number.
    fn mask(&self, k: &mut Assembler, c: &Consumer, mask: Mask) {
        if mask == Mask::None {
            return;
        }
        k.location(SOURCE, 3, 3);
        k.comment("last key attended, relative to the thread's first column");
        let start = k.mad("key_start", c.left, KEYS, c.rows.pair_column);
        let tail = k.sub("tail", self.keys, start);
        k.sub(tail, tail, 1);
        let limits = [0, 8].map(|below| {
            let limit = k.mov("limit", tail);
            if mask == Mask::CausalTail {
                let diagonal = k.sub("diagonal", self.keys, self.queries);
                k.add(diagonal, diagonal, c.rows.row);
                k.sub(diagonal, diagonal, start);
                k.add(diagonal, diagonal, below);
                k.min_s(limit, limit, diagonal);
            }
            limit
        });
        for (i, s) in c.scores.iter().enumerate() {
            let column = 8 * (i / 4) + (i & 1);
            let beyond = k.setp_s("beyond", limits[(i >> 1) & 1], Cmp::Lt, column as i32);
            k.selp(*s, f32::NEG_INFINITY, *s, beyond);
        }
    }
}
