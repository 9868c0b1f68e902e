//! What can go wrong when compiling: values for users, each with a code.

use dmac_schedule::kernel::Kernel;
use std::fmt;

/// Why a tile program did not become native code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompileError {
    /// A kernel uses the tile program in a way that has no CPU form.
    Unsupported {
        /// The kernel.
        kernel: String,
        /// What it does.
        what: String,
    },
    /// There is no code generator for the target.
    Target {
        /// What is wrong with it.
        what: String,
    },
    /// Cranelift refused generated code: a mistake of this crate.
    Internal {
        /// Its message.
        what: String,
    },
}

impl CompileError {
    pub(crate) fn unsupported(kernel: &Kernel, what: String) -> Self {
        Self::Unsupported { kernel: kernel.name.clone(), what }
    }

    pub(crate) fn target(what: impl fmt::Display) -> Self {
        Self::Target { what: what.to_string() }
    }

    pub(crate) fn internal(what: &impl fmt::Display) -> Self {
        Self::Internal { what: what.to_string() }
    }

    /// The code of its page.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "E0503",
            Self::Target { .. } => "E0504",
            Self::Internal { .. } => "E0505",
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { kernel, what } => write!(f, "kernel `{kernel}` cannot run on a CPU: {what}"),
            Self::Target { what } => write!(f, "no native code for this target: {what}"),
            Self::Internal { what } => {
                write!(f, "the code generator made code that Cranelift refuses: {what}")
            }
        }
    }
}

impl std::error::Error for CompileError {}
