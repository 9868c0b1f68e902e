//! Decodes loads, stores, atomics, address conversions and every asynchronous copy.

use super::{Cx, Operand, Result};
use crate::op::{Addr, AtomOp, Op, Order, PVal, RedOp, Reg, Space, Tensor, Val};
use crate::types::Ty;

impl Cx<'_, '_> {
    pub(super) fn memory(&mut self) -> Result<Op> {
        match self.s.base {
            "ld" | "ldu" => self.load(),
            "st" => self.store(),
            "atom" | "red" => self.atomic(),
            "cvta" => {
                let to_space = self.s.take("to");
                let space = self.s.space();
                let ty = self.s.ty_in(&[Ty::U64])?;
                self.s.done(2)?;
                if space == Space::Generic {
                    return self.s.fail("`cvta` needs a state space");
                }
                Ok(Op::Cvta { d: self.dst(0, ty)?, a: self.val(1, ty)?, space, to_space })
            }
            "isspacep" => {
                let space = self.s.space();
                self.s.done(2)?;
                Ok(Op::IsSpace { d: self.dst_pred(0)?, a: self.val(1, Ty::U64)?, space })
            }
            "mapa" => {
                let generic = !self.s.take("shared::cluster");
                let ty = self.s.ty_in(&[Ty::U32, Ty::U64])?;
                self.s.done(3)?;
                Ok(Op::Mapa {
                    d: self.dst(0, ty)?,
                    a: self.val(1, ty)?,
                    rank: self.val(2, Ty::U32)?,
                    generic,
                })
            }
            "getctarank" => {
                let generic = !self.s.take("shared::cluster");
                let ty = self.s.ty_in(&[Ty::U32, Ty::U64])?;
                self.s.done(2)?;
                Ok(Op::GetCtaRank { d: self.dst_word(0, Ty::U32)?, a: self.val(1, ty)?, generic })
            }
            "createpolicy" => {
                self.s.hints();
                let ranged = self.s.take("range");
                self.s.take("fractional");
                self.s.take("global");
                self.s.pick(&[("L2::evict_unchanged", ())]);
                let ty = self.s.ty_in(&[Ty::B64])?;
                self.s.done_between(1, if ranged { 4 } else { 2 })?;
                Ok(Op::Mov { d: self.dst(0, ty)?, s: Val::Imm(0) })
            }
            "prefetch" | "prefetchu" | "applypriority" | "discard" => {
                self.s.hints();
                self.s.space();
                let _ = self.s.pick(&[("L1", ()), ("L2", ()), ("tensormap", ())]);
                self.s.done_between(1, 2)?;
                self.addr(0)?;
                Ok(Op::Nop)
            }
            _ => self.copy(),
        }
    }

    /// `.weak`, `.volatile`, `.relaxed.scope`, `.acquire.scope`, …
    fn order(&mut self, default: Order) -> Order {
        let found = self.s.pick(&[
            ("weak", Order::Weak),
            ("volatile", Order::Relaxed),
            ("relaxed", Order::Relaxed),
            ("acquire", Order::Acquire),
            ("release", Order::Release),
            ("acq_rel", Order::AcqRel),
        ]);
        if found.is_some_and(Order::strong) {
            self.s.scope();
        }
        found.unwrap_or(default)
    }

    fn width(&mut self) -> Option<usize> {
        self.s.pick(&[("v2", 2), ("v4", 4), ("v8", 8)])
    }

    fn load(&mut self) -> Result<Op> {
        self.s.hints();
        let hint = self.s.take("L2::cache_hint");
        let order = self.order(Order::Weak);
        let nc = self.s.take("nc");
        let space = self.s.space();
        let n = self.width();
        let ty = self.s.ty()?;
        self.s.done(if hint { 3 } else { 2 })?;
        if matches!(ty, Ty::Pred | Ty::B128) || ty.packed() || n.unwrap_or(1) as u32 * ty.bytes() > 32 {
            return self.s.fail("this access is not modelled");
        }
        if nc && space != Space::Global {
            return self.s.fail("`.nc` needs `.global`");
        }
        let a = self.addr(1)?;
        let items = self.items(0)?;
        if items.len() != n.unwrap_or(1) {
            return self.s.fail("the destination does not have the access's length");
        }
        let d = items
            .iter()
            .map(|o| if Self::is_sink(o) { Ok(None) } else { self.target(o, ty, true).map(Some) })
            .collect::<Result<_>>()?;
        Ok(Op::Ld { space, ty, order, nc, d, a })
    }

    fn store(&mut self) -> Result<Op> {
        self.s.hints();
        if self.s.take("async") {
            return self.s.fail("`st.async` is not modelled");
        }
        let hint = self.s.take("L2::cache_hint");
        let order = self.order(Order::Weak);
        let space = self.s.space();
        let n = self.width();
        let ty = self.s.ty()?;
        self.s.done(if hint { 3 } else { 2 })?;
        if matches!(ty, Ty::Pred | Ty::B128) || ty.packed() || n.unwrap_or(1) as u32 * ty.bytes() > 32 {
            return self.s.fail("this access is not modelled");
        }
        if space == Space::Param {
            return self.s.fail("parameters of an entry are read-only");
        }
        let items = self.items(1)?;
        if items.len() != n.unwrap_or(1) {
            return self.s.fail("the source does not have the access's length");
        }
        let s = items.iter().map(|o| self.source(o, ty, true)).collect::<Result<_>>()?;
        Ok(Op::St { space, ty, order, a: self.addr(0)?, s })
    }

    fn atomic(&mut self) -> Result<Op> {
        let is_atom = self.s.base == "atom";
        if self.s.take("async") {
            return self.s.fail("`red.async` is not modelled");
        }
        let hint = self.s.take("L2::cache_hint");
        let order = self.order(Order::Relaxed);
        self.s.scope();
        let space = self.s.space();
        let op = self.s.pick(&[
            ("add", AtomOp::Add),
            ("min", AtomOp::Min),
            ("max", AtomOp::Max),
            ("inc", AtomOp::Inc),
            ("dec", AtomOp::Dec),
            ("and", AtomOp::And),
            ("or", AtomOp::Or),
            ("xor", AtomOp::Xor),
            ("exch", AtomOp::Exch),
            ("cas", AtomOp::Cas),
        ]);
        let Some(op) = op else { return self.s.fail("the operation is missing") };
        self.s.take("noftz");
        let n = self.width();
        let ty = self.s.ty()?;
        let floats = [Ty::F32, Ty::F64, Ty::F16x2, Ty::Bf16x2, Ty::F16, Ty::Bf16];
        let fits = match op {
            AtomOp::Add => floats.contains(&ty) || matches!(ty, Ty::U32 | Ty::S32 | Ty::U64),
            AtomOp::Min | AtomOp::Max => matches!(ty, Ty::U32 | Ty::S32 | Ty::U64 | Ty::S64),
            AtomOp::Inc | AtomOp::Dec => ty == Ty::U32,
            AtomOp::And | AtomOp::Or | AtomOp::Xor => matches!(ty, Ty::B32 | Ty::B64),
            AtomOp::Exch | AtomOp::Cas => matches!(ty, Ty::B32 | Ty::B64) && is_atom,
        };
        if !fits || space == Space::Param || (n.is_some() && (op != AtomOp::Add || !floats.contains(&ty))) {
            return self.s.fail(format!("`{}` does not take this operation and type", self.s.base));
        }
        let first = usize::from(is_atom);
        let cas = op == AtomOp::Cas;
        self.s.done(first + 2 + usize::from(cas) + usize::from(hint))?;
        let a = self.addr(first)?;
        let values = self.items(first + 1)?;
        if values.len() != n.unwrap_or(1) {
            return self.s.fail("the source does not have the access's length");
        }
        let b = values.iter().map(|o| self.source(o, ty, false)).collect::<Result<_>>()?;
        let c = if cas { Some(self.val(first + 2, ty)?) } else { None };
        let d: Box<[Option<Reg>]> = if is_atom {
            self.items(0)?
                .iter()
                .map(|o| if Self::is_sink(o) { Ok(None) } else { self.target(o, ty, false).map(Some) })
                .collect::<Result<_>>()?
        } else {
            Box::default()
        };
        if is_atom && d.len() != values.len() {
            return self.s.fail("the destination does not have the access's length");
        }
        Ok(Op::Atom { op, space, ty, order, d, a, b, c })
    }

    /// Every `cp…` instruction.
    fn copy(&mut self) -> Result<Op> {
        let reduce = self.s.take("reduce");
        self.s.require("async")?;
        if self.s.take("bulk") {
            return self.bulk(reduce);
        }
        if self.s.take("commit_group") {
            self.s.done(0)?;
            return Ok(Op::CpAsyncCommit);
        }
        if self.s.take("wait_group") {
            self.s.done(1)?;
            let pending = self.literal(0, "the number of groups")?.min(u64::from(u32::MAX)) as u32;
            return Ok(Op::CpAsyncWait { pending, all: false });
        }
        if self.s.take("wait_all") {
            self.s.done(0)?;
            return Ok(Op::CpAsyncWait { pending: 0, all: true });
        }
        if self.s.take("mbarrier") {
            self.s.require("arrive")?;
            let noinc = self.s.take("noinc");
            self.s.space();
            self.s.ty_in(&[Ty::B64])?;
            self.s.done(1)?;
            return Ok(Op::CpAsyncMbarArrive { a: self.addr(0)?, noinc });
        }
        // cp.async.ca|cg.shared.global [dst], [src], size{, src_size | ignore}{, policy}
        let cg = self.s.take("cg");
        self.s.hints();
        let hint = self.s.take("L2::cache_hint");
        let shared = self.s.take("shared") || self.s.take("shared::cta");
        if !shared || !self.s.take("global") {
            return self.s.fail("`cp.async` copies from .global to .shared");
        }
        let n = self.s.ops.len() - usize::from(hint).min(self.s.ops.len());
        self.s.done_between(3 + usize::from(hint), 4 + usize::from(hint))?;
        let bytes = self.literal(2, "the size")?;
        if !(bytes == 16 || (!cg && (bytes == 4 || bytes == 8))) {
            return self.s.fail("`cp.async` copies 16 bytes, or 4 or 8 with .ca");
        }
        let mut src_bytes = None;
        let mut ignore = None;
        if n == 4 {
            let is_pred = match self.s.op(3)? {
                (Operand::Not(_), _) => true,
                o @ (Operand::Name(..), _) => self.pred_at(o).is_ok(),
                _ => false,
            };
            if is_pred {
                ignore = Some(self.pval(3)?);
            } else {
                src_bytes = Some(self.val(3, Ty::U32)?);
            }
        }
        Ok(Op::CpAsync { dst: self.addr(0)?, src: self.addr(1)?, bytes: bytes as u32, src_bytes, ignore })
    }

    fn tensor(&self, i: usize, rank: usize) -> Result<Tensor> {
        let (operand, pos) = self.s.op(i)?;
        let Operand::Address { base, offset, coords: Some(coords) } = operand else {
            return Err(pos.error("expected [map, {coordinates}]"));
        };
        if coords.len() != rank {
            return Err(pos.error(format!("expected {rank} coordinates, found {}", coords.len())));
        }
        let coords = coords.iter().map(|c| self.source(c, Ty::S32, false)).collect::<Result<_>>()?;
        Ok(Tensor { map: self.base_address(base, *offset)?, coords })
    }

    fn bulk(&mut self, reduce: bool) -> Result<Op> {
        if self.s.take("commit_group") {
            self.s.done(0)?;
            return Ok(Op::BulkCommit);
        }
        if self.s.take("wait_group") {
            let read = self.s.take("read");
            self.s.done(1)?;
            let pending = self.literal(0, "the number of groups")?.min(u64::from(u32::MAX)) as u32;
            return Ok(Op::BulkWait { pending, read });
        }
        self.s.hints();
        let hint = self.s.take("L2::cache_hint");
        let tensor = self.s.take("tensor");
        if self.s.take("prefetch") {
            if !self.s.take("L2") && !self.s.take("L2::global") {
                return self.s.fail("only a prefetch to .L2 exists");
            }
            self.s.take("global");
            self.s.take("tile");
            self.rank(tensor)?;
            self.s.done_between(1, 3)?;
            return Ok(Op::Nop);
        }
        let rank = self.rank(tensor)?;
        // The first state space is the destination's.
        let to_shared = self.s.mods.iter().find_map(|m| match *m {
            "shared::cluster" | "shared::cta" => Some(true),
            "global" => Some(false),
            _ => None,
        });
        let Some(to_shared) = to_shared else { return self.s.fail("the state spaces are missing") };
        self.s.take("tile");
        if to_shared {
            self.bulk_to_shared(rank, hint, reduce)
        } else {
            self.bulk_to_global(rank, hint, reduce)
        }
    }

    fn rank(&mut self, tensor: bool) -> Result<Option<usize>> {
        let rank = self.s.pick(&[("1d", 1), ("2d", 2), ("3d", 3), ("4d", 4), ("5d", 5)]);
        if tensor && rank.is_none() {
            return self.s.fail("a tensor copy needs its rank, .1d to .5d");
        }
        Ok(if tensor { rank } else { None })
    }

    fn bulk_to_shared(&mut self, rank: Option<usize>, hint: bool, reduce: bool) -> Result<Op> {
        if reduce {
            return self.s.fail("a bulk reduction into shared memory is not modelled");
        }
        let dst_cluster = self.s.take("shared::cluster");
        let from_global = self.s.take("global");
        let src_cta = self.s.take("shared::cta");
        self.s.require("mbarrier::complete_tx::bytes")?;
        let multicast = self.s.take("multicast::cluster");
        let extra = usize::from(multicast) + usize::from(hint);
        if let Some(rank) = rank {
            self.s.done(3 + extra)?;
            let mask = if multicast { Some(self.val(3, Ty::B16)?) } else { None };
            return Ok(Op::TensorLoad {
                dst: self.addr(0)?,
                tensor: self.tensor(1, rank)?,
                bar: self.addr(2)?,
                mask,
            });
        }
        self.s.done(4 + extra)?;
        let (dst, src, bytes, bar) = (self.addr(0)?, self.addr(1)?, self.val(2, Ty::U32)?, self.addr(3)?);
        if from_global {
            let mask = if multicast { Some(self.val(4, Ty::B16)?) } else { None };
            Ok(Op::BulkLoad { dst, src, bytes, bar, mask })
        } else if dst_cluster && src_cta {
            Ok(Op::BulkShared { dst, src, bytes, bar })
        } else {
            self.s.fail("the state spaces of this copy are not modelled")
        }
    }

    fn bulk_to_global(&mut self, rank: Option<usize>, hint: bool, reduce: bool) -> Result<Op> {
        self.s.take("global");
        self.s.require("shared::cta")?;
        self.s.require("bulk_group")?;
        let red = if reduce {
            let op = self.s.pick(&[
                ("add", RedOp::Add),
                ("min", RedOp::Min),
                ("max", RedOp::Max),
                ("and", RedOp::And),
                ("or", RedOp::Or),
                ("xor", RedOp::Xor),
                ("inc", RedOp::Inc),
                ("dec", RedOp::Dec),
            ]);
            if op.is_none() {
                return self.s.fail("the operation of the reduction is missing");
            }
            op
        } else {
            None
        };
        if let Some(rank) = rank {
            self.s.done(2 + usize::from(hint))?;
            return Ok(Op::TensorStore { tensor: self.tensor(0, rank)?, src: self.addr(1)?, red });
        }
        let red = match red {
            Some(op) => {
                self.s.take("noftz");
                let ty = self.s.ty_in(&[
                    Ty::F32,
                    Ty::F64,
                    Ty::F16,
                    Ty::Bf16,
                    Ty::U32,
                    Ty::S32,
                    Ty::U64,
                    Ty::S64,
                    Ty::B32,
                    Ty::B64,
                ])?;
                if ty.floating() && op != RedOp::Add {
                    return self
                        .s
                        .fail("a bulk reduction of floating-point numbers is modelled for .add only");
                }
                Some((op, ty))
            }
            None => None,
        };
        self.s.done(3 + usize::from(hint))?;
        let (dst, src): (Addr, Addr) = (self.addr(0)?, self.addr(1)?);
        Ok(Op::BulkStore { dst, src, bytes: self.val(2, Ty::U32)?, red })
    }

    /// A predicate operand or a literal, for `wgmma`'s scale.
    pub(super) fn scale(&self, i: usize) -> Result<PVal> {
        self.pval(i)
    }
}
