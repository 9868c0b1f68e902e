//! The checker: what may not be printed.
//!
//! In: a recorded [`Kernel`]. Out: every error found, each naming the instruction and the roles of its registers.
//! Why: `ptxas` finds some of this (labels), says some of it obscurely (register counts of a product) and lets the rest
//! through to the device (an undefined register, a misaligned vector, a warp that arrives at a `wgmma` in pieces).

mod alignment;
mod divergence;
mod flow;
mod operands;

use crate::inst::Inst;
use crate::kernel::{Item, Kernel, Target};
use crate::print;
use crate::requires::requires;
use crate::types::{Class, RegId};
use std::fmt;

/// Something that the checker refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckError {
    /// The kernel's name.
    pub kernel: String,
    /// Index into [`Kernel::items`]; the length of the list for errors of the whole kernel.
    pub at: usize,
    /// The instruction as it would be printed; empty for errors of the whole kernel.
    pub inst: String,
    /// What is wrong.
    pub kind: CheckErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckErrorKind {
    /// One role, two register classes.
    RoleClass {
        /// The role.
        role: String,
        /// Its class.
        has: Class,
        /// The class asked for.
        wanted: Class,
    },
    /// A register is read although a path from the entry never writes it.
    Undefined {
        /// The register, `%role0`.
        register: String,
    },
    /// A branch goes to a label that is nowhere.
    LabelMissing {
        /// The label.
        label: String,
    },
    /// A label is in two places.
    LabelTwice {
        /// The label.
        label: String,
    },
    /// The target lacks the instruction.
    Target {
        /// What it needs.
        needs: Target,
        /// What there is.
        has: Target,
    },
    /// An operand list has the wrong length.
    Count {
        /// Which list.
        what: &'static str,
        /// Its length.
        got: usize,
        /// What it may be.
        wanted: &'static str,
    },
    /// An immediate is out of range.
    Range {
        /// Which.
        what: &'static str,
        /// Its value.
        got: i64,
        /// What it may be.
        wanted: &'static str,
    },
    /// Modifiers or register types that do not go together.
    Combination {
        /// Why not.
        why: &'static str,
    },
    /// An address that is certainly not a multiple of the access.
    Misaligned {
        /// The role of the base register.
        role: String,
        /// Bytes that the address must be a multiple of.
        wanted: u32,
        /// The remainder that it has.
        remainder: u32,
    },
    /// All lanes of a warp must execute the instruction together, but a branch or guard that depends on the lane
    /// stands before it.
    Divergent {
        /// The predicate that depends on the lane.
        predicate: String,
    },
    /// Something about the kernel's frame.
    Frame {
        /// What.
        what: String,
    },
}

impl fmt::Display for CheckErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckErrorKind::RoleClass { role, has, wanted } => {
                write!(f, "role `{role}` is {} and cannot be {} too", has.name(), wanted.name())
            }
            CheckErrorKind::Undefined { register } => {
                write!(f, "{register} is read, but a path from the entry never writes it")
            }
            CheckErrorKind::LabelMissing { label } => write!(f, "label {label} is nowhere"),
            CheckErrorKind::LabelTwice { label } => write!(f, "label {label} is in two places"),
            CheckErrorKind::Target { needs, has } => {
                write!(f, "needs {}, the target is {}", needs.name(), has.name())
            }
            CheckErrorKind::Count { what, got, wanted } => write!(f, "{what}: {got}, not {wanted}"),
            CheckErrorKind::Range { what, got, wanted } => write!(f, "{what} is {got}, not {wanted}"),
            CheckErrorKind::Combination { why } => f.write_str(why),
            CheckErrorKind::Misaligned { role, wanted, remainder } => write!(
                f,
                "the address by `{role}` must be a multiple of {wanted} bytes, but leaves a remainder of {remainder}"
            ),
            CheckErrorKind::Divergent { predicate } => {
                write!(f, "all lanes must come here together, but {predicate} depends on the lane")
            }
            CheckErrorKind::Frame { what } => f.write_str(what),
        }
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inst.is_empty() {
            write!(f, "{}: {}", self.kernel, self.kind)
        } else {
            write!(f, "{}: `{}`: {}", self.kernel, self.inst, self.kind)
        }
    }
}

impl std::error::Error for CheckError {}

impl CheckError {
    pub(crate) fn role_class(kernel: &Kernel, role: &str, wanted: Class) -> Self {
        let has = kernel.roles.iter().find(|r| r.name == role).map_or(wanted, |r| r.class);
        CheckError::whole(kernel, CheckErrorKind::RoleClass { role: role.to_owned(), has, wanted })
    }

    /// An error of the kernel as a whole.
    fn whole(kernel: &Kernel, kind: CheckErrorKind) -> Self {
        CheckError { kernel: kernel.name.clone(), at: kernel.items.len(), inst: String::new(), kind }
    }

    /// An error at an item.
    fn at(kernel: &Kernel, at: usize, kind: CheckErrorKind) -> Self {
        let mut inst = String::new();
        if let Item::Inst { guard, inst: i } = &kernel.items[at] {
            print::instruction(&mut inst, kernel, *guard, i);
        }
        CheckError { kernel: kernel.name.clone(), at, inst, kind }
    }
}

/// Everything wrong with `kernel`, in order of place.
pub(crate) fn check(kernel: &Kernel) -> Vec<CheckError> {
    let mut errors = Vec::new();
    frame(kernel, &mut errors);
    for (at, inst) in instructions(kernel) {
        let needs = requires(inst).target;
        if needs > kernel.target {
            let kind = CheckErrorKind::Target { needs, has: kernel.target };
            errors.push(CheckError::at(kernel, at, kind));
        }
        operands::check(kernel, at, inst, &mut errors);
    }
    alignment::check(kernel, &mut errors);
    let flow = flow::Flow::of(kernel, &mut errors);
    if let Some(flow) = flow {
        flow.undefined(kernel, &mut errors);
        divergence::check(kernel, &flow, &mut errors);
    }
    errors.sort_by_key(|e| e.at);
    errors
}

fn instructions(kernel: &Kernel) -> impl Iterator<Item = (usize, &Inst)> {
    kernel.items.iter().enumerate().filter_map(|(at, item)| match item {
        Item::Inst { inst, .. } => Some((at, inst)),
        _ => None,
    })
}

/// Dynamic shared memory that one CTA can have: 163 KiB on the A100, 227 KiB on Hopper.
const fn shared_limit(target: Target) -> u32 {
    match target {
        Target::Sm80 => 163 * 1024,
        Target::Sm90a => 227 * 1024,
    }
}

/// Bytes of kernel parameters that every driver takes.
const PARAM_LIMIT: u32 = 4096;

fn frame(kernel: &Kernel, errors: &mut Vec<CheckError>) {
    let mut complain = |what: String| {
        errors.push(CheckError::whole(kernel, CheckErrorKind::Frame { what }));
    };
    let frame = &kernel.frame;
    if !is_identifier(&kernel.name) {
        complain(format!("`{}` is not a name", kernel.name));
    }
    let mut names: Vec<&str> = kernel.params.iter().map(|p| p.name.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        complain(format!("two parameters are called `{}`", pair[0]));
    }
    for name in names.iter().filter(|n| !is_identifier(n)) {
        complain(format!("parameter name `{name}` is not a name"));
    }
    for p in &kernel.params {
        match p.kind {
            crate::kernel::ParamKind::Pointer(align) if !align.is_power_of_two() => {
                complain(format!("parameter `{}` is aligned to {align}, which is no power of two", p.name));
            }
            _ => {}
        }
    }
    let bytes = kernel.params.iter().fold(0u32, |at, p| {
        let (size, align) = p.kind.layout();
        at.next_multiple_of(align) + size
    });
    if bytes > PARAM_LIMIT {
        complain(format!("parameters take {bytes} bytes, more than {PARAM_LIMIT}"));
    }
    if let Some(threads) = frame.threads.filter(|t| !(1..=1024).contains(t)) {
        complain(format!("{threads} threads a CTA, not 1 to 1024"));
    }
    if let Some(ctas) = frame.cluster.filter(|c| !(1..=8).contains(c)) {
        complain(format!("{ctas} CTAs a cluster, not 1 to 8"));
    }
    if frame.cluster.is_some() && kernel.target < Target::Sm90a {
        complain(format!("{} has no clusters", kernel.target.name()));
    }
    if let Some(registers) = frame.max_registers.filter(|r| !(24..=255).contains(r)) {
        complain(format!("at most {registers} registers a thread, not 24 to 255"));
    }
    if let Some((bytes, align)) = frame.shared {
        let limit = shared_limit(kernel.target);
        if bytes > limit {
            complain(format!("{bytes} bytes of shared memory, more than {limit}"));
        }
        if !align.is_power_of_two() || align > 1024 {
            complain(format!("shared memory aligned to {align}, not a power of two up to 1024"));
        }
    }
    let uses = |wanted: fn(&Inst) -> bool| kernel.instructions().any(wanted);
    if frame.shared.is_none() && uses(|i| matches!(i, Inst::SharedBase { .. })) {
        complain("dynamic shared memory is addressed but not declared".to_owned());
    }
    let register_count_known =
        frame.max_registers.is_some() || (frame.threads.is_some() && frame.min_ctas.is_some());
    if !register_count_known && uses(|i| matches!(i, Inst::Setmaxnreg { .. })) {
        // ptxas 13 says C7508 and ignores the instruction; the number of threads alone is not enough for it.
        complain("setmaxnreg needs min_ctas (with threads) or max_registers in the frame".to_owned());
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
}

/// A dense set of registers.
#[derive(Clone, PartialEq, Eq)]
struct RegSet(Vec<u64>);

impl RegSet {
    fn empty(registers: usize) -> Self {
        RegSet(vec![0; registers.div_ceil(64)])
    }

    fn full(registers: usize) -> Self {
        RegSet(vec![u64::MAX; registers.div_ceil(64)])
    }

    /// Whether it was new.
    fn insert(&mut self, r: RegId) -> bool {
        let (word, bit) = (r.0 as usize / 64, 1 << (r.0 % 64));
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    fn contains(&self, r: RegId) -> bool {
        self.0[r.0 as usize / 64] & (1 << (r.0 % 64)) != 0
    }

    fn intersect(&mut self, other: &RegSet) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a &= b;
        }
    }
}
