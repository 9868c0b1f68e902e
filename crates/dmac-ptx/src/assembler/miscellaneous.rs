//! Miscellaneous Instructions (9.7.19).
//!
//! In: little. Out: register budgets, naps, traps.

use super::Assembler;
use crate::inst::Inst;
use crate::types::{B32, Operand};

impl Assembler {
    /// Gives registers back, down to `registers` a thread (24 to 256, a multiple of 8). By all warps of the warpgroup.
    pub fn setmaxnreg_dec(&mut self, registers: u32) {
        self.push(Inst::Setmaxnreg { increase: false, registers });
    }

    /// Takes registers, up to `registers` a thread; waits until they are free. By all warps of the warpgroup.
    pub fn setmaxnreg_inc(&mut self, registers: u32) {
        self.push(Inst::Setmaxnreg { increase: true, registers });
    }

    /// Sleeps for about so long, at most 1 ms.
    pub fn nanosleep(&mut self, nanoseconds: impl Into<Operand<B32>>) {
        self.push(Inst::Nanosleep { nanoseconds: nanoseconds.into().src });
    }

    /// Aborts the launch with an error.
    pub fn trap(&mut self) {
        self.push(Inst::Trap);
    }
}
