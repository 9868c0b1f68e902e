//! Decodes barriers, fences, warp-level exchanges and control flow.

use super::{Cx, Operand, Result};
use crate::op::{ArriveTx, AtomOp, BarKind, Fence, Op, Reg, ShflMode, Space, Val, VoteMode, WaitOn};
use crate::types::Ty;

impl Cx<'_, '_> {
    pub(super) fn sync(&mut self) -> Result<Op> {
        match self.s.base {
            "ret" | "exit" => {
                self.s.take("uni");
                self.s.done(0)?;
                Ok(Op::Exit)
            }
            "trap" | "brkpt" => {
                self.s.done(0)?;
                Ok(Op::Trap)
            }
            "nanosleep" => {
                self.s.ty_in(&[Ty::U32])?;
                self.s.done(1)?;
                self.val(0, Ty::U32)?;
                Ok(Op::Nop)
            }
            "griddepcontrol" => {
                let _ = self.s.take("launch_dependents") || self.s.take("wait");
                self.s.done(0)?;
                Ok(Op::Nop)
            }
            "bar" | "barrier" => self.barrier(),
            "membar" => {
                let _ = self.s.take("gl") || self.s.scope();
                self.s.done(0)?;
                Ok(Op::Fence(Fence::Memory))
            }
            "fence" => self.fence(),
            "mbarrier" => self.mbarrier(),
            "shfl" => self.shuffle(),
            "vote" => {
                self.s.require("sync")?;
                let mode = self.s.pick(&[
                    ("all", VoteMode::All),
                    ("any", VoteMode::Any),
                    ("uni", VoteMode::Uni),
                    ("ballot", VoteMode::Ballot),
                ]);
                let Some(mode) = mode else { return self.s.fail("the mode of `vote` is missing") };
                let ty = self.s.ty_in(&[if mode == VoteMode::Ballot { Ty::B32 } else { Ty::Pred }])?;
                self.s.done(3)?;
                Ok(Op::Vote { mode, d: self.dst(0, ty)?, a: self.pval(1)?, members: self.val(2, Ty::B32)? })
            }
            "match" => {
                let all = self.s.take("all");
                if !all {
                    self.s.require("any")?;
                }
                self.s.require("sync")?;
                let ty = self.s.ty_in(&[Ty::B32, Ty::B64])?;
                self.s.done(3)?;
                let (d, p) = self.word_and_pred()?;
                Ok(Op::Match {
                    all,
                    bits: ty.bits(),
                    d,
                    p,
                    a: self.val(1, ty)?,
                    members: self.val(2, Ty::B32)?,
                })
            }
            "redux" => {
                self.s.require("sync")?;
                let op = self.s.pick(&[
                    ("add", AtomOp::Add),
                    ("min", AtomOp::Min),
                    ("max", AtomOp::Max),
                    ("and", AtomOp::And),
                    ("or", AtomOp::Or),
                    ("xor", AtomOp::Xor),
                ]);
                let Some(op) = op else { return self.s.fail("the operation of `redux` is missing") };
                let ty = self.s.ty_in(&[Ty::U32, Ty::S32, Ty::B32])?;
                self.s.done(3)?;
                let (d, a) = (self.dst_word(0, ty)?, self.val(1, ty)?);
                Ok(Op::Redux { op, signed: ty.signed(), d, a, members: self.val(2, Ty::B32)? })
            }
            "elect" => {
                self.s.require("sync")?;
                self.s.done(2)?;
                let Operand::Pair(d, p) = &self.s.op(0)?.0 else {
                    return self.s.fail("`elect.sync` writes d|p");
                };
                let d = if Self::is_sink(d) { None } else { Some(self.word(d, Ty::B32)?) };
                Ok(Op::Elect { d, p: self.pred_at(p)?, members: self.val(1, Ty::B32)? })
            }
            "activemask" => {
                self.s.ty_in(&[Ty::B32])?;
                self.s.done(1)?;
                Ok(Op::ActiveMask { d: self.dst_word(0, Ty::B32)? })
            }
            _ => self.s.fail(format!("the instruction `{}` is not modelled", self.s.base)),
        }
    }

    /// A destination `d` or `d|p`.
    fn word_and_pred(&self) -> Result<(u16, Option<u16>)> {
        Ok(match &self.s.op(0)?.0 {
            Operand::Pair(d, p) => {
                (self.word(d, Ty::B32)?, if Self::is_sink(p) { None } else { Some(self.pred_at(p)?) })
            }
            _ => (self.dst_word(0, Ty::B32)?, None),
        })
    }

    fn shuffle(&mut self) -> Result<Op> {
        self.s.require("sync")?;
        let mode = self.s.pick(&[
            ("up", ShflMode::Up),
            ("down", ShflMode::Down),
            ("bfly", ShflMode::Bfly),
            ("idx", ShflMode::Idx),
        ]);
        let Some(mode) = mode else { return self.s.fail("the mode of `shfl` is missing") };
        self.s.ty_in(&[Ty::B32])?;
        self.s.done(5)?;
        let (d, p) = self.word_and_pred()?;
        Ok(Op::Shfl {
            mode,
            d,
            p,
            a: self.val(1, Ty::B32)?,
            b: self.val(2, Ty::B32)?,
            c: self.val(3, Ty::B32)?,
            members: self.val(4, Ty::B32)?,
        })
    }

    fn barrier(&mut self) -> Result<Op> {
        let short = self.s.base == "bar";
        if self.s.take("warp") {
            self.s.require("sync")?;
            self.s.done(1)?;
            return Ok(Op::WarpSync { members: self.val(0, Ty::B32)? });
        }
        if self.s.take("cluster") {
            let aligned = self.s.take("aligned");
            if self.s.take("arrive") {
                let relaxed = self.s.take("relaxed");
                self.s.take("release");
                self.s.done(0)?;
                return Ok(Op::ClusterArrive { release: !relaxed, aligned });
            }
            self.s.require("wait")?;
            self.s.take("acquire");
            self.s.done(0)?;
            return Ok(Op::ClusterWait { acquire: true, aligned });
        }
        self.s.take("cta");
        let aligned = self.s.take("aligned") || short;
        if self.s.take("red") {
            return self.barrier_reduction(aligned);
        }
        let kind = if self.s.take("arrive") {
            BarKind::Arrive
        } else {
            self.s.require("sync")?;
            BarKind::Sync
        };
        self.s.done_between(if kind == BarKind::Arrive { 2 } else { 1 }, 2)?;
        let count = if self.s.ops.len() == 2 { Some(self.val(1, Ty::U32)?) } else { None };
        Ok(Op::Bar { kind, aligned, id: self.val(0, Ty::U32)?, count })
    }

    fn barrier_reduction(&mut self, aligned: bool) -> Result<Op> {
        let popc = self.s.take("popc");
        let and = self.s.take("and");
        let or = self.s.take("or");
        self.s.ty_in(&[if popc { Ty::U32 } else { Ty::Pred }])?;
        self.s.done_between(3, 4)?;
        let last = self.s.ops.len() - 1;
        let src = self.pval(last)?;
        let kind = match (popc, and, or) {
            (true, false, false) => BarKind::Popc { dst: Reg::W(self.dst_word(0, Ty::U32)?), src },
            (false, true, false) => BarKind::And { dst: self.dst_pred(0)?, src },
            (false, false, true) => BarKind::Or { dst: self.dst_pred(0)?, src },
            _ => return self.s.fail("`bar.red` needs .popc, .and or .or"),
        };
        let count = if last == 3 { Some(self.val(2, Ty::U32)?) } else { None };
        Ok(Op::Bar { kind, aligned, id: self.val(1, Ty::U32)?, count })
    }

    fn fence(&mut self) -> Result<Op> {
        let fence = if self.s.take("mbarrier_init") {
            self.s.require("release")?;
            self.s.require("cluster")?;
            Fence::MbarrierInit
        } else if self.s.take("proxy") {
            if self.s.take("alias") {
                self.s.done(0)?;
                return Ok(Op::Nop);
            }
            self.s.require("async")?;
            match self.s.space() {
                Space::Generic => Fence::ProxyAsync { shared: true, global: true },
                Space::Global => Fence::ProxyAsync { shared: false, global: true },
                _ => Fence::ProxyAsync { shared: true, global: false },
            }
        } else {
            let _ = self.s.pick(&[("acq_rel", ()), ("sc", ()), ("acquire", ()), ("release", ())]);
            self.s.take("sync_restrict::shared::cta");
            self.s.scope();
            Fence::Memory
        };
        self.s.done(0)?;
        Ok(Op::Fence(fence))
    }

    fn mbarrier(&mut self) -> Result<Op> {
        let what = self.s.pick(&[
            ("init", "init"),
            ("inval", "inval"),
            ("arrive", "arrive"),
            ("arrive_drop", "arrive_drop"),
            ("test_wait", "test_wait"),
            ("try_wait", "try_wait"),
            ("pending_count", "pending_count"),
            // Last, because `.arrive.expect_tx` is an arrive.
            ("expect_tx", "expect_tx"),
            ("complete_tx", "complete_tx"),
        ]);
        let Some(what) = what else { return self.s.fail("this `mbarrier` operation is not modelled") };
        let expects = self.s.take("expect_tx");
        let relaxed = self.s.take("relaxed");
        let _ = self.s.take("release") || self.s.take("acquire");
        self.s.scope();
        if self.s.take("noComplete") {
            return self.s.fail("`.noComplete` is not modelled");
        }
        let space = self.s.space();
        let parity = self.s.take("parity");
        self.s.ty_in(&[Ty::B64])?;
        if what == "pending_count" {
            self.s.done(2)?;
            return Ok(Op::MbarPending { d: self.dst_word(0, Ty::B32)?, state: self.val(1, Ty::B64)? });
        }
        match what {
            "init" => {
                self.s.done(2)?;
                Ok(Op::MbarInit { a: self.addr(0)?, space, count: self.val(1, Ty::U32)? })
            }
            "inval" => {
                self.s.done(1)?;
                Ok(Op::MbarInval { a: self.addr(0)?, space })
            }
            "expect_tx" => {
                self.s.done(2)?;
                Ok(Op::MbarExpectTx { a: self.addr(0)?, space, bytes: self.val(1, Ty::U32)? })
            }
            "complete_tx" => {
                self.s.done(2)?;
                Ok(Op::MbarCompleteTx { a: self.addr(0)?, space, bytes: self.val(1, Ty::U32)? })
            }
            "arrive" | "arrive_drop" => {
                // `state, [a]{, count}`; the destination may be `_` or, for another CTA's barrier, absent.
                let has_state = !matches!(self.s.op(0)?.0, Operand::Address { .. });
                let at = usize::from(has_state);
                self.s.done_between(at + 1 + usize::from(expects), at + 2)?;
                let state = if has_state && !Self::is_sink(self.s.op(0)?) {
                    Some(self.dst(0, Ty::B64)?)
                } else {
                    None
                };
                let extra = if self.s.ops.len() == at + 2 { Some(self.val(at + 1, Ty::U32)?) } else { None };
                let (count, tx) = match (expects, extra) {
                    (true, Some(bytes)) => (None, ArriveTx::Expect(bytes)),
                    (_, count) => (count, ArriveTx::None),
                };
                let drop = what == "arrive_drop";
                Ok(Op::MbarArrive { a: self.addr(at)?, space, state, count, tx, drop, release: !relaxed })
            }
            _ => {
                let blocking = what == "try_wait";
                self.s.done_between(3, if blocking { 4 } else { 3 })?;
                let on: WaitOn = if parity {
                    WaitOn::Parity(self.val(2, Ty::U32)?)
                } else {
                    WaitOn::State(self.val(2, Ty::B64)?)
                };
                if self.s.ops.len() == 4 {
                    let _: Val = self.val(3, Ty::U32)?;
                }
                Ok(Op::MbarWait {
                    a: self.addr(1)?,
                    space,
                    d: self.dst_pred(0)?,
                    on,
                    blocking,
                    acquire: !relaxed,
                })
            }
        }
    }
}
