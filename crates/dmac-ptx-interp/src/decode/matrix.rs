//! Decodes matrix loads, stores and multiplications, and `setmaxnreg`.

use super::{Cx, Operand, Result};
use crate::op::{Fence, MmaIn, Op, Wgmma, WgmmaA};
use crate::types::Ty;

impl Cx<'_, '_> {
    pub(super) fn matrix(&mut self) -> Result<Op> {
        match self.s.base {
            "ldmatrix" | "stmatrix" => self.matrix_move(),
            "mma" => self.mma(),
            "wgmma" => self.wgmma(),
            _ => {
                let increase = self.s.pick(&[("inc", true), ("dec", false)]);
                let Some(increase) = increase else { return self.s.fail("`setmaxnreg` needs .inc or .dec") };
                self.s.require("sync")?;
                self.s.require("aligned")?;
                self.s.ty_in(&[Ty::U32])?;
                self.s.done(1)?;
                let count = self.literal(0, "the register count")?;
                if !(24..=256).contains(&count) || count % 8 != 0 {
                    return self.s.fail("the register count must be a multiple of 8 from 24 to 256");
                }
                Ok(Op::SetMaxNReg { increase, count: count as u32 })
            }
        }
    }

    fn matrix_move(&mut self) -> Result<Op> {
        self.s.require("sync")?;
        self.s.require("aligned")?;
        self.s.require("m8n8")?;
        let Some(n) = self.s.pick(&[("x1", 1), ("x2", 2), ("x4", 4)]) else {
            return self.s.fail("the number of matrices is missing");
        };
        let transposed = self.s.take("trans");
        if !self.s.take("shared") {
            self.s.require("shared::cta")?;
        }
        self.s.ty_in(&[Ty::B16])?;
        self.s.done(2)?;
        let load = self.s.base == "ldmatrix";
        let (regs, addr) = if load { (0, 1) } else { (1, 0) };
        let words = self.words(regs, Ty::B32)?;
        if words.len() != n {
            return self.s.fail(format!("{n} registers are needed, found {}", words.len()));
        }
        let a = self.addr(addr)?;
        Ok(if load {
            Op::Ldmatrix { d: words, a, transposed }
        } else {
            Op::Stmatrix { a, s: words, transposed }
        })
    }

    fn mma(&mut self) -> Result<Op> {
        self.s.require("sync")?;
        self.s.require("aligned")?;
        let Some(k) = self.s.pick(&[("m16n8k16", 16), ("m16n8k8", 8)]) else {
            return self.s.fail("only m16n8k16 and m16n8k8 are modelled");
        };
        self.s.require("row")?;
        self.s.require("col")?;
        let (d, a, b, c) = (self.s.ty()?, self.s.ty()?, self.s.ty()?, self.s.ty()?);
        self.s.done(4)?;
        let input = match (a, b) {
            (Ty::F16, Ty::F16) => MmaIn::F16,
            (Ty::Bf16, Ty::Bf16) => MmaIn::Bf16,
            (Ty::Tf32, Ty::Tf32) if k == 8 => MmaIn::Tf32,
            _ => {
                return self.s.fail("only .f16, .bf16 and, with m16n8k8, .tf32 multiplicands are modelled");
            }
        };
        // Registers of A and B: two 16-bit elements each, or one of tf32.
        let packed = if input == MmaIn::Tf32 { 1 } else { 2 };
        let f32_acc = match (d, c, input) {
            (Ty::F32, Ty::F32, _) => true,
            (Ty::F16, Ty::F16, MmaIn::F16) => false,
            _ => return self.s.fail("this accumulator type is not modelled"),
        };
        let acc_ty = if f32_acc { Ty::F32 } else { Ty::B32 };
        let (d, a, b) = (self.words(0, acc_ty)?, self.words(1, Ty::B32)?, self.words(2, Ty::B32)?);
        let c = self.items(3)?.iter().map(|o| self.source(o, acc_ty, false)).collect::<Result<Box<[_]>>>()?;
        let n = if f32_acc { 4 } else { 2 };
        if d.len() != n
            || c.len() != n
            || a.len() != k as usize / 2 / packed
            || b.len() != k as usize / 4 / packed
        {
            return self.s.fail("the operands of `mma` do not have the shape's register counts");
        }
        Ok(Op::Mma { input, k, f32_acc, d, a, b, c })
    }

    fn wgmma(&mut self) -> Result<Op> {
        if self.s.take("fence") {
            self.s.require("sync")?;
            self.s.require("aligned")?;
            self.s.done(0)?;
            return Ok(Op::Fence(Fence::Wgmma));
        }
        if self.s.take("commit_group") {
            self.s.require("sync")?;
            self.s.require("aligned")?;
            self.s.done(0)?;
            return Ok(Op::WgmmaCommit);
        }
        if self.s.take("wait_group") {
            self.s.require("sync")?;
            self.s.require("aligned")?;
            self.s.done(1)?;
            return Ok(Op::WgmmaWait {
                pending: self.literal(0, "the number of groups")?.min(u64::from(u32::MAX)) as u32,
            });
        }
        self.s.require("mma_async")?;
        self.s.require("sync")?;
        self.s.require("aligned")?;
        let shape = self.s.mods.first().copied().unwrap_or("");
        let n = shape
            .strip_prefix("m64n")
            .and_then(|s| s.strip_suffix("k16"))
            .and_then(|s| s.parse::<u32>().ok());
        let Some(n) = n.filter(|n| n % 8 == 0 && (8..=256).contains(n)) else {
            return self.s.fail("only m64nNk16 with N a multiple of 8 up to 256 is modelled");
        };
        self.s.take(shape);
        let (d, a, b) = (self.s.ty()?, self.s.ty()?, self.s.ty()?);
        let input = match (a, b) {
            (Ty::F16, Ty::F16) => MmaIn::F16,
            (Ty::Bf16, Ty::Bf16) => MmaIn::Bf16,
            _ => return self.s.fail("only .f16 and .bf16 multiplicands are modelled"),
        };
        let f32_acc = match (d, input) {
            (Ty::F32, _) => true,
            (Ty::F16, MmaIn::F16) => false,
            _ => return self.s.fail("this accumulator type is not modelled"),
        };
        let from_regs = matches!(self.s.op(1)?.0, Operand::Vector(_));
        self.s.done(if from_regs { 7 } else { 8 })?;
        let acc = self.words(0, if f32_acc { Ty::F32 } else { Ty::B32 })?;
        if acc.len() as u32 != if f32_acc { n / 2 } else { n / 4 } {
            return self.s.fail(format!("the accumulator of N = {n} does not have {} registers", acc.len()));
        }
        let mut seen = acc.to_vec();
        seen.sort_unstable();
        if seen.windows(2).any(|w| w[0] == w[1]) {
            return self.s.fail("a register appears twice in the accumulator");
        }
        let sign = |i: usize| -> Result<bool> {
            match self.literal(i, "a sign")? {
                1 => Ok(false),
                u64::MAX => Ok(true),
                _ => self.s.fail("the scale of a multiplicand is 1 or -1"),
            }
        };
        let bit = |i: usize| -> Result<bool> {
            match self.literal(i, "a transposition")? {
                0 => Ok(false),
                1 => Ok(true),
                _ => self.s.fail("a transposition is 0 or 1"),
            }
        };
        let negate = sign(4)? != sign(5)?;
        let (a, b_transposed) = if from_regs {
            let regs = self.words(1, Ty::B32)?;
            let Ok(regs) = <[u16; 4]>::try_from(&*regs) else {
                return self.s.fail("the A operand takes four registers");
            };
            (WgmmaA::Regs(regs), bit(6)?)
        } else {
            (WgmmaA::Shared { desc: self.val(1, Ty::B64)?, transposed: bit(6)? }, bit(7)?)
        };
        let (b, scale_d) = (self.val(2, Ty::B64)?, self.scale(3)?);
        Ok(Op::Wgmma(Box::new(Wgmma { n, input, f32_acc, acc, a, b, b_transposed, scale_d, negate })))
    }
}
