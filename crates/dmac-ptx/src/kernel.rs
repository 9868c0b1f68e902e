//! A kernel and a module as data: frame, registers by role, code.
//!
//! In: what an [`Assembler`](crate::Assembler) recorded. Out: [`Kernel`], which the checker reads and the printer
//! writes, and [`Module`], several kernels in one text.

use crate::address::ParamId;
use crate::inst::{Inst, Label};
use crate::types::{Class, Cond, RegId};
use std::collections::BTreeMap;
use std::fmt;

/// The PTX flavours that dmac writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Ampere and everything after it: `mma.sync`, `cp.async`.
    Sm80,
    /// Hopper alone: `wgmma`, TMA, mbarriers, `setmaxnreg`.
    Sm90a,
}

impl Target {
    /// The name in `.target` and for `ptxas -arch`.
    pub const fn name(self) -> &'static str {
        match self {
            Target::Sm80 => "sm_80",
            Target::Sm90a => "sm_90a",
        }
    }

    /// The lowest `.version` that knows the target.
    pub const fn version(self) -> Version {
        match self {
            Target::Sm80 => Version(7, 0),
            Target::Sm90a => Version(8, 0),
        }
    }
}

/// A PTX ISA version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u8, pub u8);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What a kernel parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A number of a register class.
    Value(Class),
    /// A global pointer, aligned to so many bytes (a power of two).
    Pointer(u32),
    /// A tensor map: 128 bytes, aligned to 64.
    TensorMap,
}

impl ParamKind {
    /// Size and alignment in bytes.
    pub const fn layout(self) -> (u32, u32) {
        match self {
            ParamKind::Value(class) => (class.bytes(), class.bytes()),
            ParamKind::Pointer(_) => (8, 8),
            ParamKind::TensorMap => (128, 64),
        }
    }
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamDecl {
    /// Its name in the text.
    pub name: String,
    /// Its kind.
    pub kind: ParamKind,
}

/// The launch bounds and resources of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `.reqntid`: threads of a CTA along x.
    pub threads: Option<u32>,
    /// `.minnctapersm`.
    pub min_ctas: Option<u32>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// `.reqnctapercluster` along x.
    pub cluster: Option<u32>,
    /// Dynamic shared memory: bytes that a launch must give, and the alignment of its start.
    pub shared: Option<(u32, u32)>,
}

/// One line of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An instruction, executed where the guard holds.
    Inst {
        /// The guard.
        guard: Option<Cond>,
        /// The instruction.
        inst: Inst,
    },
    /// A label's place.
    Label(Label),
    /// `.pragma "nounroll"` for the loop whose label stands above.
    NoUnroll,
    /// A comment: what follows, in the words of the source.
    Comment(String),
    /// `.loc`: what follows comes from this place.
    Loc {
        /// Index into [`Kernel::files`].
        file: u32,
        /// From 1.
        line: u32,
        /// From 1.
        column: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub name: String,
    pub class: Class,
    pub count: u32,
}

/// A whole kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Entry name.
    pub name: String,
    /// Flavour.
    pub target: Target,
    /// Parameters in ABI order.
    pub params: Vec<ParamDecl>,
    /// Launch bounds.
    pub frame: Frame,
    /// Names of the files that `.loc` lines mean.
    pub files: Vec<String>,
    /// The code.
    pub items: Vec<Item>,
    pub(crate) roles: Vec<Role>,
    /// Role and number within the role of each register.
    pub(crate) regs: Vec<(u32, u32)>,
    /// Role and number within the role of each label.
    pub(crate) labels: Vec<(String, u32)>,
    /// Registers that the author vouches are uniform over a warp.
    pub(crate) uniform: Vec<RegId>,
}

impl Kernel {
    /// The class of a register.
    pub fn class(&self, reg: RegId) -> Class {
        self.roles[self.regs[reg.0 as usize].0 as usize].class
    }

    /// The role of a register, without its number.
    pub fn role(&self, reg: RegId) -> &str {
        &self.roles[self.regs[reg.0 as usize].0 as usize].name
    }

    /// The name of a register in the text: `%row_max0`.
    pub fn register_name(&self, reg: RegId) -> String {
        format!("%{}{}", self.role(reg), self.regs[reg.0 as usize].1)
    }

    /// The name of a label in the text: `$key_loop0`.
    pub fn label_name(&self, label: Label) -> String {
        let (role, index) = &self.labels[label.0 as usize];
        format!("${role}{index}")
    }

    pub(crate) fn param(&self, param: ParamId) -> &ParamDecl {
        &self.params[param.0 as usize]
    }

    /// The instructions in order, without labels and comments.
    pub fn instructions(&self) -> impl Iterator<Item = &Inst> {
        self.items.iter().filter_map(|item| match item {
            Item::Inst { inst, .. } => Some(inst),
            _ => None,
        })
    }

    /// How many virtual registers of each class the kernel declares.
    pub fn register_counts(&self) -> BTreeMap<Class, u32> {
        let mut counts = BTreeMap::new();
        for role in &self.roles {
            *counts.entry(role.class).or_default() += role.count;
        }
        counts
    }

    /// Bytes of dynamic shared memory that a launch must give.
    pub fn shared_bytes(&self) -> u32 {
        self.frame.shared.map_or(0, |(bytes, _)| bytes)
    }

    /// The text of a module with this kernel alone.
    pub fn text(&self) -> String {
        Module { kernels: vec![self.clone()] }.text()
    }
}

/// Kernels in one PTX text. All have one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// In the order of the text.
    pub kernels: Vec<Kernel>,
}

impl Module {
    /// The PTX text. The same module gives the same bytes on every machine.
    ///
    /// # Panics
    ///
    /// If the kernels have different targets.
    pub fn text(&self) -> String {
        crate::print::module(self)
    }
}
