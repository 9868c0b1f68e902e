//! Decodes moves, integer, logic and floating-point arithmetic, comparisons and conversions.

use super::{Cx, Operand, Placed, Result};
use crate::op::{BoolOp, Cmp, FloatMode, FloatOp1, FloatOp2, IntOp1, IntOp2, Op, Reg, Round};
use crate::types::Ty;

const INTS: [Ty; 6] = [Ty::U16, Ty::U32, Ty::U64, Ty::S16, Ty::S32, Ty::S64];
const BITS: [Ty; 3] = [Ty::B16, Ty::B32, Ty::B64];
const FLOATS: [Ty; 6] = [Ty::F32, Ty::F64, Ty::F16, Ty::F16x2, Ty::Bf16, Ty::Bf16x2];

impl Cx<'_, '_> {
    pub(super) fn arith(&mut self) -> Result<Op> {
        match self.s.base {
            "mov" => self.mov(),
            "add" | "sub" | "mul" | "div" | "rem" | "min" | "max" => self.binary(),
            "mad" | "fma" => self.ternary(),
            "abs" | "neg" | "not" | "cnot" | "popc" | "clz" | "brev" => self.unary(),
            "and" | "or" | "xor" => self.logic(),
            "shl" | "shr" => self.shift(),
            "shf" => {
                let left = self.s.pick(&[("l", true), ("r", false)]);
                let wrap = self.s.pick(&[("wrap", true), ("clamp", false)]);
                let (Some(left), Some(wrap)) = (left, wrap) else {
                    return self.s.fail("`shf` needs .l or .r, and .wrap or .clamp");
                };
                let ty = self.s.ty_in(&[Ty::B32])?;
                self.s.done(4)?;
                let (lo, hi, by) = (self.val(1, ty)?, self.val(2, ty)?, self.val(3, Ty::U32)?);
                Ok(Op::FunnelShift { d: self.dst_word(0, ty)?, lo, hi, by, left, wrap })
            }
            "lop3" => {
                let ty = self.s.ty_in(&[Ty::B32])?;
                self.s.done(5)?;
                let lut = self.literal(4, "the look-up table")?;
                if lut > 255 {
                    return self.s.fail("the look-up table of `lop3` has 8 bits");
                }
                let (a, b, c) = (self.val(1, ty)?, self.val(2, ty)?, self.val(3, ty)?);
                Ok(Op::Lop3 { d: self.dst_word(0, ty)?, a, b, c, lut: lut as u8 })
            }
            "prmt" => {
                let ty = self.s.ty_in(&[Ty::B32])?;
                self.s.done(4)?;
                let (a, b, sel) = (self.val(1, ty)?, self.val(2, ty)?, self.val(3, ty)?);
                Ok(Op::Prmt { d: self.dst_word(0, ty)?, a, b, sel })
            }
            "bfe" => {
                let ty = self.s.ty_in(&[Ty::U32, Ty::S32, Ty::U64, Ty::S64])?;
                self.s.done(4)?;
                let (a, pos, len) = (self.val(1, ty)?, self.val(2, Ty::U32)?, self.val(3, Ty::U32)?);
                Ok(Op::BitExtract { ty, d: self.dst(0, ty)?, a, pos, len })
            }
            "bfi" => {
                let ty = self.s.ty_in(&[Ty::B32, Ty::B64])?;
                self.s.done(5)?;
                Ok(Op::BitInsert {
                    bits: ty.bits(),
                    d: self.dst(0, ty)?,
                    field: self.val(1, ty)?,
                    into: self.val(2, ty)?,
                    pos: self.val(3, Ty::U32)?,
                    len: self.val(4, Ty::U32)?,
                })
            }
            "copysign" => {
                let ty = self.s.ty_in(&[Ty::F32])?;
                self.s.done(3)?;
                Ok(Op::Copysign { d: self.dst(0, ty)?, a: self.val(1, ty)?, b: self.val(2, ty)? })
            }
            "ex2" | "lg2" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "tanh" => self.function(),
            "setp" => self.setp(),
            "set" => self.set(),
            "selp" => {
                let ty = self.s.ty()?;
                self.s.done(4)?;
                Ok(Op::Selp {
                    d: self.dst(0, ty)?,
                    a: self.val(1, ty)?,
                    b: self.val(2, ty)?,
                    p: self.pval(3)?,
                })
            }
            "cvt" => self.cvt(),
            _ => self.s.fail(format!("the instruction `{}` is not modelled", self.s.base)),
        }
    }

    fn mov(&mut self) -> Result<Op> {
        let ty = self.s.ty()?;
        self.s.done(2)?;
        if ty == Ty::Pred {
            return Ok(Op::MovPred { d: self.dst_pred(0)?, s: self.pval(1)? });
        }
        let split = |n: usize| -> Result<u32> {
            let part = ty.bits() / (n.max(1) as u32);
            if matches!((ty.bits(), n), (32 | 64, 2) | (64, 4)) {
                Ok(part)
            } else {
                self.s.fail("a move packs two halves of a 32- or 64-bit register, or four 16-bit parts")
            }
        };
        if let (Operand::Vector(parts), _) = self.s.op(1)? {
            let part = split(parts.len())?;
            let part_ty = if part == 16 { Ty::B16 } else { Ty::B32 };
            let parts = parts.iter().map(|p| self.source(p, part_ty, false)).collect::<Result<_>>()?;
            return Ok(Op::Pack { d: self.dst(0, ty)?, parts, part });
        }
        if let (Operand::Vector(parts), _) = self.s.op(0)? {
            let part = split(parts.len())?;
            let part_ty = if part == 16 { Ty::B16 } else { Ty::B32 };
            let parts = parts
                .iter()
                .map(|p| if Self::is_sink(p) { Ok(None) } else { self.target(p, part_ty, false).map(Some) })
                .collect::<Result<_>>()?;
            return Ok(Op::Unpack { parts, s: self.val(1, ty)?, part });
        }
        Ok(Op::Mov { d: self.dst(0, ty)?, s: self.val(1, ty)? })
    }

    /// `.ftz`, `.sat`, `.relu` and rounding of floating-point arithmetic, which is to nearest only.
    fn float_mode(&mut self) -> FloatMode {
        let mode = FloatMode {
            ftz: self.s.take("ftz"),
            sat: self.s.take("sat"),
            relu: self.s.take("relu"),
            round: Round::Nearest,
        };
        self.s.take("rn");
        mode
    }

    fn binary(&mut self) -> Result<Op> {
        let base = self.s.base;
        let wide = self.s.take("wide");
        let high = self.s.take("hi");
        let low = self.s.take("lo");
        let nan = self.s.take("NaN");
        let _ = self.s.take("approx") || self.s.take("full");
        let mode = self.float_mode();
        let ty = self.s.ty()?;
        self.s.done(3)?;
        if ty.floating() {
            if !FLOATS.contains(&ty) {
                return self.s.fail(format!("`{base}` does not take this type"));
            }
            let op = match (base, nan) {
                ("add", false) => FloatOp2::Add,
                ("sub", false) => FloatOp2::Sub,
                ("mul", false) => FloatOp2::Mul,
                ("div", false) if !ty.packed() => FloatOp2::Div,
                ("min", false) => FloatOp2::Min,
                ("max", false) => FloatOp2::Max,
                ("min", true) => FloatOp2::MinNan,
                ("max", true) => FloatOp2::MaxNan,
                _ => return self.s.fail(format!("`{base}` does not take this type")),
            };
            return Ok(Op::Float2 {
                op,
                ty,
                mode,
                d: self.dst(0, ty)?,
                a: self.val(1, ty)?,
                b: self.val(2, ty)?,
            });
        }
        if !INTS.contains(&ty) {
            return self.s.fail(format!("`{base}` does not take this type"));
        }
        if wide {
            if base != "mul" || ty.bits() == 64 {
                return self.s.fail("only `mul` and `mad` of 16 or 32 bits are .wide");
            }
            let d = self.dst(0, if ty.bits() == 16 { Ty::B32 } else { Ty::B64 })?;
            return Ok(Op::MulWide { ty, d, a: self.val(1, ty)?, b: self.val(2, ty)? });
        }
        let op = match (base, high, low) {
            ("add", ..) => IntOp2::Add,
            ("sub", ..) => IntOp2::Sub,
            ("mul", true, false) => IntOp2::MulHi,
            ("mul", false, true) => IntOp2::MulLo,
            ("mul", ..) => return self.s.fail("an integer `mul` needs .lo, .hi or .wide"),
            ("div", ..) => IntOp2::Div,
            ("rem", ..) => IntOp2::Rem,
            ("min", ..) => IntOp2::Min,
            _ => IntOp2::Max,
        };
        let (a, b) = (self.val(1, ty)?, self.val(2, ty)?);
        Ok(Op::Int2 { op, ty, d: self.dst(0, ty)?, a, b, sat: mode.sat && ty == Ty::S32 })
    }

    fn ternary(&mut self) -> Result<Op> {
        let wide = self.s.take("wide");
        let high = self.s.take("hi");
        let low = self.s.take("lo");
        let mode = self.float_mode();
        let ty = self.s.ty()?;
        self.s.done(4)?;
        let third = if wide && ty.bits() == 16 {
            Ty::B32
        } else if wide {
            Ty::B64
        } else {
            ty
        };
        let (a, b, c) = (self.val(1, ty)?, self.val(2, ty)?, self.val(3, third)?);
        if FLOATS.contains(&ty) {
            return Ok(Op::Fma { ty, mode, d: self.dst(0, ty)?, a, b, c });
        }
        if self.s.base == "fma"
            || !INTS.contains(&ty)
            || u32::from(wide) + u32::from(high) + u32::from(low) != 1
        {
            return self.s.fail(format!("`{}` does not take this type and form", self.s.base));
        }
        let d = self.dst(0, third)?;
        Ok(if wide { Op::MadWide { ty, d, a, b, c } } else { Op::Mad { ty, d, a, b, c, high } })
    }

    fn unary(&mut self) -> Result<Op> {
        let base = self.s.base;
        let mode = self.float_mode();
        let ty = self.s.ty()?;
        self.s.done(2)?;
        if base == "not" && ty == Ty::Pred {
            return Ok(Op::PredNot { d: self.dst_pred(0)?, a: self.pval(1)? });
        }
        if ty.floating() {
            let op = match base {
                "abs" => FloatOp1::Abs,
                "neg" => FloatOp1::Neg,
                _ => return self.s.fail(format!("`{base}` does not take this type")),
            };
            return Ok(Op::Float1 { op, ty, mode, d: self.dst(0, ty)?, a: self.val(1, ty)? });
        }
        let (op, allowed): (IntOp1, &[Ty]) = match base {
            "abs" => (IntOp1::Abs, &[Ty::S16, Ty::S32, Ty::S64]),
            "neg" => (IntOp1::Neg, &[Ty::S16, Ty::S32, Ty::S64]),
            "not" => (IntOp1::Not, &BITS),
            "cnot" => (IntOp1::Cnot, &BITS),
            "popc" => (IntOp1::Popc, &[Ty::B32, Ty::B64]),
            "clz" => (IntOp1::Clz, &[Ty::B32, Ty::B64]),
            _ => (IntOp1::Brev, &[Ty::B32, Ty::B64]),
        };
        if !allowed.contains(&ty) {
            return self.s.fail(format!("`{base}` does not take this type"));
        }
        let out = if matches!(op, IntOp1::Popc | IntOp1::Clz) { Ty::B32 } else { ty };
        Ok(Op::Int1 { op, ty, d: self.dst(0, out)?, a: self.val(1, ty)? })
    }

    fn logic(&mut self) -> Result<Op> {
        let (of_bits, of_preds) = match self.s.base {
            "and" => (IntOp2::And, BoolOp::And),
            "or" => (IntOp2::Or, BoolOp::Or),
            _ => (IntOp2::Xor, BoolOp::Xor),
        };
        let ty = self.s.ty()?;
        self.s.done(3)?;
        if ty == Ty::Pred {
            return Ok(Op::Logic { op: of_preds, d: self.dst_pred(0)?, a: self.pval(1)?, b: self.pval(2)? });
        }
        if !BITS.contains(&ty) {
            return self.s.fail(format!("`{}` takes .pred, .b16, .b32 or .b64", self.s.base));
        }
        let (a, b) = (self.val(1, ty)?, self.val(2, ty)?);
        Ok(Op::Int2 { op: of_bits, ty, d: self.dst(0, ty)?, a, b, sat: false })
    }

    fn shift(&mut self) -> Result<Op> {
        let left = self.s.base == "shl";
        let ty = self.s.ty()?;
        let allowed = if left { BITS.contains(&ty) } else { BITS.contains(&ty) || INTS.contains(&ty) };
        if !allowed {
            return self.s.fail(format!("`{}` does not take this type", self.s.base));
        }
        self.s.done(3)?;
        let op = if left { IntOp2::Shl } else { IntOp2::Shr };
        let (a, b) = (self.val(1, ty)?, self.val(2, Ty::U32)?);
        Ok(Op::Int2 { op, ty, d: self.dst(0, ty)?, a, b, sat: false })
    }

    fn function(&mut self) -> Result<Op> {
        let op = match self.s.base {
            "ex2" => FloatOp1::Ex2,
            "lg2" => FloatOp1::Lg2,
            "rcp" => FloatOp1::Rcp,
            "sqrt" => FloatOp1::Sqrt,
            "rsqrt" => FloatOp1::Rsqrt,
            "sin" => FloatOp1::Sin,
            "cos" => FloatOp1::Cos,
            _ => FloatOp1::Tanh,
        };
        let approx = self.s.take("approx");
        let mode = self.float_mode();
        let ty = self.s.ty()?;
        let half = matches!(op, FloatOp1::Ex2 | FloatOp1::Tanh) && FLOATS.contains(&ty) && ty != Ty::F64;
        if ty != Ty::F32 && !half {
            return self.s.fail(format!("`{}` does not take this type", self.s.base));
        }
        if !approx && !matches!(op, FloatOp1::Rcp | FloatOp1::Sqrt) {
            return self.s.fail(format!("`{}` needs .approx", self.s.base));
        }
        self.s.done(2)?;
        Ok(Op::Float1 { op, ty, mode, d: self.dst(0, ty)?, a: self.val(1, ty)? })
    }

    fn cmp(&mut self) -> Result<Cmp> {
        let table = [
            ("eq", Cmp::Eq),
            ("ne", Cmp::Ne),
            ("lt", Cmp::Lt),
            ("le", Cmp::Le),
            ("gt", Cmp::Gt),
            ("ge", Cmp::Ge),
            ("lo", Cmp::Lt),
            ("ls", Cmp::Le),
            ("hi", Cmp::Gt),
            ("hs", Cmp::Ge),
            ("equ", Cmp::Equ),
            ("neu", Cmp::Neu),
            ("ltu", Cmp::Ltu),
            ("leu", Cmp::Leu),
            ("gtu", Cmp::Gtu),
            ("geu", Cmp::Geu),
            ("num", Cmp::Num),
            ("nan", Cmp::Nan),
        ];
        match self.s.pick(&table) {
            Some(c) => Ok(c),
            None => self.s.fail("a comparison is missing"),
        }
    }

    fn compared(&mut self) -> Result<Ty> {
        let ty = self.s.ty()?;
        if (ty.integral() && ty.bits() >= 16) || matches!(ty, Ty::F32 | Ty::F64 | Ty::F16 | Ty::Bf16) {
            Ok(ty)
        } else {
            self.s.fail("this type is not compared")
        }
    }

    fn setp(&mut self) -> Result<Op> {
        let cmp = self.cmp()?;
        let ftz = self.s.take("ftz");
        let with = self.s.pick(&[("and", BoolOp::And), ("or", BoolOp::Or), ("xor", BoolOp::Xor)]);
        let ty = self.compared()?;
        self.s.done(if with.is_some() { 4 } else { 3 })?;
        let sunk = |p: &Placed<'_>| if Self::is_sink(p) { Ok(None) } else { self.pred_at(p).map(Some) };
        let (d, q) = match &self.s.op(0)?.0 {
            Operand::Pair(d, q) => (sunk(d)?, sunk(q)?),
            _ => (Some(self.dst_pred(0)?), None),
        };
        let with = match with {
            Some(op) => Some((op, self.pval(3)?)),
            None => None,
        };
        Ok(Op::Setp { cmp, ty, ftz, d, q, a: self.val(1, ty)?, b: self.val(2, ty)?, with })
    }

    fn set(&mut self) -> Result<Op> {
        let cmp = self.cmp()?;
        let ftz = self.s.take("ftz");
        let to = self.s.ty_in(&[Ty::U32, Ty::S32, Ty::F32])?;
        let ty = self.compared()?;
        self.s.done(3)?;
        let (a, b) = (self.val(1, ty)?, self.val(2, ty)?);
        Ok(Op::Set { cmp, ty, ftz, float: to == Ty::F32, d: self.dst_word(0, to)?, a, b })
    }

    fn cvt(&mut self) -> Result<Op> {
        let round = self.s.pick(&[
            ("rn", (Round::Nearest, false)),
            ("rz", (Round::Zero, false)),
            ("rm", (Round::Down, false)),
            ("rp", (Round::Up, false)),
            ("rna", (Round::NearestAway, false)),
            ("rni", (Round::Nearest, true)),
            ("rzi", (Round::Zero, true)),
            ("rmi", (Round::Down, true)),
            ("rpi", (Round::Up, true)),
        ]);
        let (ftz, sat, relu) = (self.s.take("ftz"), self.s.take("sat"), self.s.take("relu"));
        let satfinite = self.s.take("satfinite");
        let to = self.s.ty()?;
        let from = self.s.ty()?;
        let (rounding, integral) = round.unwrap_or((Round::Nearest, false));
        let mode = FloatMode { ftz, sat, relu, round: rounding };
        if to.packed() {
            self.s.done(3)?;
            if from != Ty::F32 {
                return self.s.fail("a packed conversion starts from .f32");
            }
            let (hi, lo) = (self.val(1, from)?, self.val(2, from)?);
            return Ok(Op::CvtPack { to, mode, satfinite, d: self.dst_word(0, to)?, hi, lo });
        }
        self.s.done(2)?;
        let known = |t: Ty| (t.integral() || t.floating()) && !t.packed();
        if !known(to) || !known(from) || from == Ty::Tf32 {
            return self.s.fail("this conversion is not modelled");
        }
        let narrows = to.floating()
            && (from.integral() || (from.floating() && to.bits() < from.bits()) || to == Ty::Tf32);
        if round.is_none() && (narrows || (to.integral() && from.floating())) {
            return self.s.fail("this conversion needs a rounding modifier");
        }
        let a = self.source(self.s.op(1)?, from, true)?;
        let d = self.target(self.s.op(0)?, to, true)?;
        if matches!(d, Reg::P(_)) {
            return self.s.fail("`cvt` does not write predicates");
        }
        Ok(Op::Cvt { to, from, mode, integral, satfinite, d, a })
    }
}
