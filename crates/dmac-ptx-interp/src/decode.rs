//! One parsed statement → one [`Op`]: modifiers, operand types and operand counts are checked here.
//!
//! Modifiers are consumed one by one, whatever their order, and a modifier that nobody consumed is an error; so an
//! instruction is either understood completely or refused with its place.

mod arith;
mod matrix;
mod memory;
mod sync;

use crate::lexer::{ParseError, Pos};
use crate::op::{Addr, Op, PVal, Reg, Space, Special, Val};
use crate::parser::{Names, Symbol, address, symbol_value};
use crate::types::Ty;

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand<'a> {
    /// A name and, for special registers, its component.
    Name(&'a str, Option<&'a str>),
    Not(&'a str),
    Int(u64),
    Float(f64),
    F32Bits(u32),
    F64Bits(u64),
    Vector(Vec<(Operand<'a>, Pos)>),
    Pair(Box<(Operand<'a>, Pos)>, Box<(Operand<'a>, Pos)>),
    Address {
        base: Box<(Operand<'a>, Pos)>,
        offset: i64,
        coords: Option<Vec<(Operand<'a>, Pos)>>,
    },
}

pub(crate) type Placed<'a> = (Operand<'a>, Pos);
type Result<T> = std::result::Result<T, ParseError>;

/// A statement: opcode, modifiers not yet consumed, operands.
pub(crate) struct Stmt<'a> {
    pub pos: Pos,
    pub base: &'a str,
    mods: Vec<&'a str>,
    pub ops: Vec<Placed<'a>>,
}

impl<'a> Stmt<'a> {
    pub(crate) fn new(pos: Pos, base: &'a str, mods: Vec<&'a str>, ops: Vec<Placed<'a>>) -> Self {
        Stmt { pos, base, mods, ops }
    }

    fn take(&mut self, name: &str) -> bool {
        match self.mods.iter().position(|m| *m == name) {
            Some(i) => {
                self.mods.remove(i);
                true
            }
            None => false,
        }
    }

    /// Takes the first modifier that is in the table.
    fn pick<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let (i, value) = self
            .mods
            .iter()
            .enumerate()
            .find_map(|(i, m)| table.iter().find(|(name, _)| name == m).map(|(_, v)| (i, *v)))?;
        self.mods.remove(i);
        Some(value)
    }

    /// Takes the leftmost modifier that is a type.
    fn ty(&mut self) -> Result<Ty> {
        match self.mods.iter().position(|m| Ty::parse(m).is_some()) {
            Some(i) => Ok(Ty::parse(self.mods.remove(i)).expect("just found")),
            None => self.fail("a type is missing"),
        }
    }

    fn ty_in(&mut self, allowed: &[Ty]) -> Result<Ty> {
        let ty = self.ty()?;
        if allowed.contains(&ty) {
            Ok(ty)
        } else {
            self.fail(format!("`{}` does not take this type", self.base))
        }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(self.pos.error(message))
    }

    fn require(&mut self, name: &str) -> Result<()> {
        if self.take(name) { Ok(()) } else { self.fail(format!("`{}` needs `.{name}`", self.base)) }
    }

    /// All modifiers must be gone and `n` operands present.
    fn done(&self, n: usize) -> Result<()> {
        self.done_between(n, n)
    }

    fn done_between(&self, min: usize, max: usize) -> Result<()> {
        if let Some(m) = self.mods.first() {
            return self.fail(format!("modifier `.{m}` of `{}` is not modelled", self.base));
        }
        if (min..=max).contains(&self.ops.len()) {
            Ok(())
        } else {
            self.fail(format!("`{}` takes {min} operands here, found {}", self.base, self.ops.len()))
        }
    }

    fn op(&self, i: usize) -> Result<&Placed<'a>> {
        match self.ops.get(i) {
            Some(o) => Ok(o),
            None => self.fail(format!("`{}` lacks its operand {}", self.base, i + 1)),
        }
    }

    // --- hints that only steer caches and scopes
    fn hints(&mut self) {
        self.mods.retain(|m| {
            !matches!(
                *m,
                "L1::no_allocate"
                    | "L1::evict_normal"
                    | "L1::evict_unchanged"
                    | "L1::evict_first"
                    | "L1::evict_last"
                    | "L2::evict_last"
                    | "L2::evict_first"
                    | "L2::evict_normal"
                    | "L2::64B"
                    | "L2::128B"
                    | "L2::256B"
                    | "ca"
                    | "cg"
                    | "cs"
                    | "lu"
                    | "cv"
                    | "wb"
                    | "wt"
            )
        });
    }

    /// Drops a scope and tells whether there was one.
    fn scope(&mut self) -> bool {
        self.pick(&[("cta", ()), ("cluster", ()), ("gpu", ()), ("sys", ())]).is_some()
    }

    /// `.global`, `.shared`, … ; generic without one.
    fn space(&mut self) -> Space {
        self.pick(&[
            ("global", Space::Global),
            ("shared", Space::Shared),
            ("shared::cta", Space::Shared),
            ("shared::cluster", Space::SharedCluster),
            ("param", Space::Param),
            ("param::entry", Space::Param),
        ])
        .unwrap_or(Space::Generic)
    }
}

/// Decodes any instruction but `bra`.
pub(crate) fn decode(names: &Names, stmt: Stmt<'_>) -> Result<Op> {
    let mut cx = Cx { names, s: stmt };
    match cx.s.base {
        "mov" | "add" | "sub" | "mul" | "mul24" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "abs"
        | "neg" | "not" | "cnot" | "and" | "or" | "xor" | "shl" | "shr" | "shf" | "lop3" | "prmt"
        | "popc" | "clz" | "brev" | "bfe" | "bfi" | "ex2" | "lg2" | "rcp" | "sqrt" | "rsqrt" | "sin"
        | "cos" | "tanh" | "copysign" | "setp" | "set" | "selp" | "cvt" => cx.arith(),
        "ld" | "ldu" | "st" | "atom" | "red" | "cvta" | "isspacep" | "mapa" | "getctarank" | "prefetch"
        | "prefetchu" | "createpolicy" | "applypriority" | "discard" | "cp" => cx.memory(),
        "ldmatrix" | "stmatrix" | "mma" | "wgmma" | "setmaxnreg" => cx.matrix(),
        _ => cx.sync(),
    }
}

/// Makes a special register of an axis.
type AxisRegister = fn(u8) -> Special;

struct Cx<'n, 'a> {
    names: &'n Names,
    s: Stmt<'a>,
}

impl Cx<'_, '_> {
    fn symbol(&self, name: &str, pos: Pos) -> Result<Symbol> {
        match self.names.find(name) {
            Some(s) => Ok(s),
            None => Err(pos.error(format!("`{name}` is not declared"))),
        }
    }

    fn special(name: &str, part: Option<&str>, pos: Pos) -> Result<Val> {
        let axis = match part {
            Some("x") => Some(0),
            Some("y") => Some(1),
            Some("z") => Some(2),
            Some(p) => return Err(pos.error(format!("there is no component `.{p}`"))),
            None => None,
        };
        let axes: [(&str, AxisRegister); 8] = [
            ("%tid", Special::Tid),
            ("%ntid", Special::Ntid),
            ("%ctaid", Special::Ctaid),
            ("%nctaid", Special::Nctaid),
            ("%cluster_ctaid", Special::ClusterCtaid),
            ("%cluster_nctaid", Special::ClusterNctaid),
            ("%clusterid", Special::Clusterid),
            ("%nclusterid", Special::Nclusterid),
        ];
        if let (Some(axis), Some((_, make))) = (axis, axes.iter().find(|(n, _)| *n == name)) {
            return Ok(Val::Special(make(axis)));
        }
        let scalar = match (name, axis) {
            (_, Some(_)) => None,
            ("%laneid", _) => Some(Special::Laneid),
            ("%warpid", _) => Some(Special::Warpid),
            ("%nwarpid", _) => Some(Special::Nwarpid),
            ("%smid", _) => Some(Special::Smid),
            ("%nsmid", _) => Some(Special::Nsmid),
            ("%gridid", _) => Some(Special::Gridid),
            ("%cluster_ctarank", _) => Some(Special::ClusterCtarank),
            ("%cluster_nctarank", _) => Some(Special::ClusterNctarank),
            ("%lanemask_eq", _) => Some(Special::LanemaskEq),
            ("%lanemask_le", _) => Some(Special::LanemaskLe),
            ("%lanemask_lt", _) => Some(Special::LanemaskLt),
            ("%lanemask_ge", _) => Some(Special::LanemaskGe),
            ("%lanemask_gt", _) => Some(Special::LanemaskGt),
            ("%clock" | "%clock64" | "%clock_hi", _) => Some(Special::Clock),
            ("%globaltimer" | "%globaltimer_lo", _) => Some(Special::Globaltimer),
            ("%dynamic_smem_size", _) => Some(Special::DynamicSmem),
            ("%total_smem_size", _) => Some(Special::TotalSmem),
            ("WARP_SZ", _) => return Ok(Val::Imm(32)),
            _ => None,
        };
        match scalar {
            Some(s) => Ok(Val::Special(s)),
            None => Err(pos.error(format!("`{name}` is not declared"))),
        }
    }

    /// A source of `ty`. `wide` also admits registers larger than the type, as `ld`, `st` and `cvt` do.
    fn source(&self, placed: &Placed<'_>, ty: Ty, wide: bool) -> Result<Val> {
        let (operand, pos) = placed;
        let bits = ty.bits();
        let mask = if bits >= 64 { u64::MAX } else { (1u64 << bits) - 1 };
        match operand {
            Operand::Name(name, part) => {
                if part.is_some() || self.names.find(name).is_none() {
                    return Self::special(name, *part, *pos);
                }
                let symbol = self.symbol(name, *pos)?;
                if let Symbol::Reg { bits: have, .. } = symbol {
                    let fits = if wide { have >= bits } else { have == bits };
                    if !fits {
                        return Err(pos.error(format!(
                            "`{name}` has {have} bits where `{}` takes {bits}",
                            self.s.base
                        )));
                    }
                }
                match symbol_value(symbol) {
                    Some(v) => Ok(v),
                    None => Err(pos.error(format!("`{name}` is a predicate"))),
                }
            }
            Operand::Int(v) if !ty.floating() || *v == 0 => Ok(Val::Imm(v & mask)),
            Operand::Float(v) => match ty {
                Ty::F32 => Ok(Val::Imm(u64::from((*v as f32).to_bits()))),
                Ty::F64 => Ok(Val::Imm(v.to_bits())),
                _ => Err(pos.error("a floating-point literal needs an f32 or f64 instruction")),
            },
            Operand::F32Bits(v) if bits == 32 => Ok(Val::Imm(u64::from(*v))),
            Operand::F64Bits(v) if bits == 64 => Ok(Val::Imm(*v)),
            Operand::Int(_) | Operand::F32Bits(_) | Operand::F64Bits(_) => {
                Err(pos.error("this literal does not have the instruction's type"))
            }
            _ => Err(pos.error("expected a register or a constant")),
        }
    }

    fn val(&self, i: usize, ty: Ty) -> Result<Val> {
        self.source(self.s.op(i)?, ty, false)
    }

    fn target(&self, placed: &Placed<'_>, ty: Ty, wide: bool) -> Result<Reg> {
        let (operand, pos) = placed;
        let Operand::Name(name, None) = operand else {
            return Err(pos.error("expected a destination register"));
        };
        let Symbol::Reg { reg, bits: have } = self.symbol(name, *pos)? else {
            return Err(pos.error(format!("`{name}` is not a register")));
        };
        let bits = ty.bits();
        let fits = if wide { have >= bits && have > 1 } else { have == bits };
        if !fits {
            return Err(pos.error(format!("`{name}` has {have} bits where `{}` gives {bits}", self.s.base)));
        }
        Ok(reg)
    }

    fn dst(&self, i: usize, ty: Ty) -> Result<Reg> {
        self.target(self.s.op(i)?, ty, false)
    }

    /// Index of a register in the 32-bit file.
    fn word(&self, placed: &Placed<'_>, ty: Ty) -> Result<u16> {
        match self.target(placed, ty, false)? {
            Reg::W(i) => Ok(i),
            _ => Err(placed.1.error("expected a 32-bit register")),
        }
    }

    fn dst_word(&self, i: usize, ty: Ty) -> Result<u16> {
        self.word(self.s.op(i)?, ty)
    }

    fn pred_at(&self, placed: &Placed<'_>) -> Result<u16> {
        match self.target(placed, Ty::Pred, false)? {
            Reg::P(i) => Ok(i),
            _ => Err(placed.1.error("expected a predicate register")),
        }
    }

    fn dst_pred(&self, i: usize) -> Result<u16> {
        self.pred_at(self.s.op(i)?)
    }

    fn is_sink(placed: &Placed<'_>) -> bool {
        placed.0 == Operand::Name("_", None)
    }

    fn pval(&self, i: usize) -> Result<PVal> {
        let (operand, pos) = self.s.op(i)?;
        match operand {
            Operand::Name(..) => Ok(PVal::Reg { index: self.pred_at(self.s.op(i)?)?, negated: false }),
            Operand::Not(name) => {
                let index = self.pred_at(&(Operand::Name(name, None), *pos))?;
                Ok(PVal::Reg { index, negated: true })
            }
            Operand::Int(v) => Ok(PVal::Const(*v != 0)),
            _ => Err(pos.error("expected a predicate")),
        }
    }

    fn addr(&self, i: usize) -> Result<Addr> {
        let (operand, pos) = self.s.op(i)?;
        let Operand::Address { base, offset, coords: None } = operand else {
            return Err(pos.error("expected an address such as [%r+16]"));
        };
        self.base_address(base, *offset)
    }

    fn base_address(&self, base: &Placed<'_>, offset: i64) -> Result<Addr> {
        let (operand, pos) = base;
        match operand {
            Operand::Int(v) => Ok(address(Val::Imm(*v), offset)),
            Operand::Name(name, None) => match symbol_value(self.symbol(name, *pos)?) {
                Some(v) => Ok(address(v, offset)),
                None => Err(pos.error("a predicate is no address")),
            },
            _ => Err(pos.error("expected a register or a variable")),
        }
    }

    /// A literal constant.
    fn literal(&self, i: usize, what: &str) -> Result<u64> {
        match self.s.op(i)? {
            (Operand::Int(v), _) => Ok(*v),
            (_, pos) => Err(pos.error(format!("expected {what} as a constant"))),
        }
    }

    /// The items of `{…}`, or the operand itself.
    fn items(&self, i: usize) -> Result<Vec<Placed<'_>>> {
        Ok(match self.s.op(i)? {
            (Operand::Vector(items), _) => items.clone(),
            other => vec![other.clone()],
        })
    }

    /// Registers of the 32-bit file in `{…}`.
    fn words(&self, i: usize, ty: Ty) -> Result<Box<[u16]>> {
        self.items(i)?.iter().map(|o| self.word(o, ty)).collect()
    }
}
