//! Control Flow Instructions (9.7.12), structured, and the labels under them.
//!
//! In: conditions and closures that record bodies. Out: branches and labels that nest properly, named by role.
//!
//! Loops say whether `ptxas` may unroll them: it unrolls small loops eightfold, which triples the code and breaks the
//! pairing of asynchronous groups with their waits, so [`Unroll::No`] is what kernels with such groups want.

use super::Assembler;
use crate::inst::{Cmp, Inst, Label};
use crate::kernel::Item;
use crate::types::{B32, Cond, Operand, Reg};

/// Whether `ptxas` may unroll a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroll {
    /// It decides.
    Allowed,
    /// `.pragma "nounroll"`.
    No,
}

impl Assembler {
    // ---- labels

    /// A new label, not placed yet.
    pub fn label(&mut self, role: &str) -> Label {
        self.new_label(role)
    }

    /// Puts a label here. Every label is put exactly once.
    pub fn place(&mut self, label: Label) {
        self.kernel.items.push(Item::Label(label));
    }

    /// Keeps `ptxas` from unrolling the loop whose label was just put.
    pub fn no_unroll(&mut self) {
        self.kernel.items.push(Item::NoUnroll);
    }

    /// Jumps.
    pub fn branch(&mut self, to: Label) {
        self.push(Inst::Bra { to });
    }

    /// Jumps where `cond` holds.
    pub fn branch_if(&mut self, cond: impl Into<Cond>, to: Label) {
        self.when(cond, |k| k.push(Inst::Bra { to }));
    }

    /// Ends the thread.
    pub fn ret(&mut self) {
        self.push(Inst::Ret);
    }

    /// Ends the thread, from anywhere.
    pub fn exit(&mut self) {
        self.push(Inst::Exit);
    }

    // ---- structured

    /// `body` where `cond` holds.
    pub fn if_then(&mut self, cond: impl Into<Cond>, body: impl FnOnce(&mut Self)) {
        let end = self.label("endif");
        self.branch_if(!cond.into(), end);
        body(self);
        self.place(end);
    }

    /// `then` where `cond` holds, `otherwise` elsewhere.
    pub fn if_else(
        &mut self,
        cond: impl Into<Cond>,
        then: impl FnOnce(&mut Self),
        otherwise: impl FnOnce(&mut Self),
    ) {
        let (other, end) = (self.label("else"), self.label("endif"));
        self.branch_if(!cond.into(), other);
        then(self);
        self.branch(end);
        self.place(other);
        otherwise(self);
        self.place(end);
    }

    /// `body`, again while the condition that it returns holds: at least one pass.
    pub fn do_while<C: Into<Cond>>(
        &mut self,
        role: &str,
        unroll: Unroll,
        body: impl FnOnce(&mut Self, Label) -> C,
    ) {
        let (start, end) = (self.label(role), self.label(&format!("{role}_end")));
        self.place(start);
        if unroll == Unroll::No {
            self.kernel.items.push(Item::NoUnroll);
        }
        let again = body(self, end);
        self.branch_if(again, start);
        self.place(end);
    }

    /// `body` while the condition that `test` computes holds. `body` is given the label after the loop, to leave early.
    pub fn while_loop<C: Into<Cond>>(
        &mut self,
        role: &str,
        unroll: Unroll,
        test: impl FnOnce(&mut Self) -> C,
        body: impl FnOnce(&mut Self, Label),
    ) {
        let (start, end) = (self.label(role), self.label(&format!("{role}_end")));
        self.place(start);
        if unroll == Unroll::No {
            self.kernel.items.push(Item::NoUnroll);
        }
        let go_on = test(self);
        self.branch_if(!go_on.into(), end);
        body(self, end);
        self.branch(start);
        self.place(end);
    }

    /// `body` for `counter` = `from`, `from + step`, … below `to` (signed, `step` positive). No pass if `from >= to`.
    pub fn for_range(
        &mut self,
        role: &str,
        unroll: Unroll,
        from: impl Into<Operand<B32>>,
        to: impl Into<Operand<B32>>,
        step: u32,
        body: impl FnOnce(&mut Self, Reg<B32>),
    ) {
        let to = to.into();
        let counter = self.mov::<B32>(role, from);
        let (start, end) = (self.label(role), self.label(&format!("{role}_end")));
        let more = self.predicate(&format!("{role}_more"));
        self.setp_s(more, counter, Cmp::Lt, to);
        self.branch_if(!more, end);
        self.place(start);
        if unroll == Unroll::No {
            self.kernel.items.push(Item::NoUnroll);
        }
        body(self, counter);
        self.add(counter, counter, step);
        self.setp_s(more, counter, Cmp::Lt, to);
        self.branch_if(more, start);
        self.place(end);
    }
}
