//! The pieces that a spelling is made of: operands with their direction, suffixes of modifiers.
//!
//! In: modifiers and operands of one instruction. Out: [`Arg`] values and suffix strings, put together in
//! [`super::spell`].

use crate::address::{Base, MemRef, ParamId, SpaceName};
use crate::inst::{FloatMode, Label, LoadMode, Special, StoreMode};
use crate::types::{Class, Cond, Imm, RegId, Src};

/// One operand as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arg {
    /// A register that is written.
    Def(RegId),
    /// A register that is read.
    Use(RegId),
    /// A register that is read and written.
    Update(RegId),
    /// A negated predicate that is read.
    Not(RegId),
    /// `d|p`, both written; without `d` the sink `_|p`.
    Pair(Option<RegId>, RegId),
    /// An immediate.
    Imm(Imm),
    /// Bits, printed in hexadecimal.
    Hex(u32),
    /// `{a, b, …}`.
    Group(Vec<Arg>),
    /// `[base+offset]`.
    Mem(MemRef),
    /// `[map, {coordinates}]`.
    Tensor(RegId, Vec<Arg>),
    /// A parameter by name.
    Param(ParamId),
    /// The dynamic shared memory symbol.
    SharedBase,
    /// A special register.
    Special(Special),
    /// A branch target.
    Label(Label),
    /// `_`.
    Sink,
}

/// An instruction as it is written, without its guard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spelled {
    pub op: String,
    pub args: Vec<Arg>,
}

impl Spelled {
    /// Calls `visit(register, is_written, is_read)` for every register of the operands, reads of addresses included.
    pub fn registers(&self, mut visit: impl FnMut(RegId, bool, bool)) {
        fn walk(arg: &Arg, visit: &mut dyn FnMut(RegId, bool, bool)) {
            match arg {
                Arg::Def(r) => visit(*r, true, false),
                Arg::Use(r) | Arg::Not(r) | Arg::Mem(MemRef { base: Base::Reg(r), .. }) => {
                    visit(*r, false, true);
                }
                Arg::Update(r) => visit(*r, true, true),
                Arg::Pair(d, p) => {
                    if let Some(d) = d {
                        visit(*d, true, false);
                    }
                    visit(*p, true, false);
                }
                Arg::Group(args) => {
                    for a in args {
                        walk(a, visit);
                    }
                }
                Arg::Tensor(map, at) => {
                    visit(*map, false, true);
                    for a in at {
                        walk(a, visit);
                    }
                }
                Arg::Imm(_)
                | Arg::Hex(_)
                | Arg::Mem(_)
                | Arg::Param(_)
                | Arg::SharedBase
                | Arg::Special(_)
                | Arg::Label(_)
                | Arg::Sink => {}
            }
        }
        for arg in &self.args {
            walk(arg, &mut visit);
        }
    }
}

pub(super) fn spelled(op: impl Into<String>, args: impl IntoIterator<Item = Arg>) -> Spelled {
    Spelled { op: op.into(), args: args.into_iter().collect() }
}

pub(super) fn src(s: Src) -> Arg {
    match s {
        Src::Reg(r) => Arg::Use(r),
        Src::Imm(i) => Arg::Imm(i),
    }
}

pub(super) fn int(n: impl Into<i64>) -> Arg {
    Arg::Imm(Imm::Int(n.into()))
}

pub(super) fn cond(c: Cond) -> Arg {
    if c.negated { Arg::Not(c.pred) } else { Arg::Use(c.pred) }
}

pub(super) fn defs(regs: &[RegId]) -> Arg {
    Arg::Group(regs.iter().map(|r| Arg::Def(*r)).collect())
}

pub(super) fn uses(regs: &[RegId]) -> Arg {
    Arg::Group(regs.iter().map(|r| Arg::Use(*r)).collect())
}

pub(super) fn sources(args: &[Src]) -> Vec<Arg> {
    args.iter().map(|s| src(*s)).collect()
}

/// One register bare, several in braces.
pub(super) fn vector(args: Vec<Arg>) -> Arg {
    if args.len() == 1 { args.into_iter().next().expect("one") } else { Arg::Group(args) }
}

pub(super) fn flag(on: bool, text: &'static str) -> &'static str {
    if on { text } else { "" }
}

pub(super) fn vec_suffix(n: usize) -> &'static str {
    match n {
        1 => "",
        2 => ".v2",
        4 => ".v4",
        8 => ".v8",
        _ => ".v?",
    }
}

pub(super) fn bits(class: Class) -> &'static str {
    match class {
        Class::Pred => "pred",
        Class::B16 => "b16",
        Class::B32 | Class::F32 => "b32",
        Class::B64 => "b64",
    }
}

pub(super) fn space(space: SpaceName) -> &'static str {
    match space {
        SpaceName::Shared => ".shared",
        SpaceName::SharedCluster => ".shared::cluster",
        SpaceName::Global => ".global",
        SpaceName::Param => ".param",
        SpaceName::Generic => "",
    }
}

pub(super) fn signed(signed: bool) -> &'static str {
    if signed { "s32" } else { "u32" }
}

pub(super) fn float_mode(mode: FloatMode) -> String {
    format!("{}{}{}", flag(mode.rn, ".rn"), flag(mode.ftz, ".ftz"), flag(mode.nan, ".NaN"))
}

pub(super) fn load_mode(mode: LoadMode, at: SpaceName) -> String {
    let order = if mode.volatile {
        ".volatile".to_owned()
    } else if let Some(scope) = mode.acquire {
        format!(".acquire.{}", scope.name())
    } else {
        String::new()
    };
    let mut text = format!("{order}{}", space(at));
    if let Some(cache) = mode.cache {
        text += ".";
        text += cache.name();
    }
    text += flag(mode.read_only, ".nc");
    text += flag(mode.policy.is_some(), ".L2::cache_hint");
    if let Some(prefetch) = mode.prefetch {
        text += ".";
        text += prefetch.name();
    }
    text
}

pub(super) fn store_mode(mode: StoreMode, at: SpaceName) -> String {
    let order = if mode.volatile {
        ".volatile".to_owned()
    } else if let Some(scope) = mode.release {
        format!(".release.{}", scope.name())
    } else {
        String::new()
    };
    let mut text = format!("{order}{}", space(at));
    if let Some(cache) = mode.cache {
        text += ".";
        text += cache.name();
    }
    text + flag(mode.policy.is_some(), ".L2::cache_hint")
}

/// The trailing operand of a cache hint.
pub(super) fn policy(policy: Option<RegId>) -> Option<Arg> {
    policy.map(Arg::Use)
}
