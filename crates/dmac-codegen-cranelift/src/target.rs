//! What code is compiled for: this machine, or a named processor, the same on every machine.
//!
//! Input → output: a target's name and an instruction set for the micro-kernels → Cranelift's target and the table whose
//! layout and symbols the code is generated for.

use crate::CompileError;
use crate::build::flags;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::Configurable;
use dmac_cpu_kernels::{Isa, KernelTable, detect, layout_of};
use target_lexicon::{Architecture, Triple};

/// All instruction sets of micro-kernels, by name.
const ISAS: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];

/// Features of x86-64 that code for each instruction set may use, beyond those of all before it.
const X86_FEATURES: [(Isa, &[&str]); 2] = [
    (Isa::Portable, &["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"]),
    (Isa::Avx2, &["has_avx", "has_avx2", "has_fma", "has_bmi1", "has_bmi2", "has_lzcnt"]),
];

/// A machine that code is compiled for.
#[derive(Clone)]
pub struct Machine {
    pub(crate) isa: OwnedTargetIsa,
    pub(crate) table: &'static KernelTable,
    native: bool,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Machine({}, {})", self.isa.triple(), self.table.name())
    }
}

impl Machine {
    /// This machine, with its fastest micro-kernels.
    ///
    /// # Errors
    /// A processor that Cranelift does not know.
    pub fn native() -> Result<Self, CompileError> {
        Self::native_with(detect())
    }

    /// This machine, with given micro-kernels.
    ///
    /// # Errors
    /// A processor that Cranelift does not know.
    pub fn native_with(table: &'static KernelTable) -> Result<Self, CompileError> {
        let isa = cranelift_native::builder()
            .map_err(CompileError::target)?
            .finish(flags(true)?)
            .map_err(|error| CompileError::internal(&error))?;
        Ok(Self { isa, table, native: true })
    }

    /// A processor by its target triple (`x86_64-unknown-linux-gnu`, `aarch64-apple-darwin`) and the name of an instruction set
    /// of micro-kernels (`portable`, `avx2`, `avx512`, `avx512bf16`). The code does not depend on the machine that compiles.
    ///
    /// # Errors
    /// An unknown triple, an architecture without code generator, or an instruction set that it does not have.
    pub fn pinned(triple: &str, isa: &str) -> Result<Self, CompileError> {
        let parsed: Triple =
            triple.parse().map_err(|error| CompileError::target(format!("`{triple}`: {error}")))?;
        let kind = ISAS
            .into_iter()
            .find(|kind| kind.name() == isa)
            .ok_or_else(|| CompileError::target(format!("there are no micro-kernels `{isa}`")))?;
        let x86 = parsed.architecture == Architecture::X86_64;
        if !x86 && kind != Isa::Portable {
            return Err(CompileError::target(format!("`{triple}` does not have `{isa}`")));
        }
        let table = layout_of(kind)
            .ok_or_else(|| CompileError::target(format!("this build has no micro-kernels `{isa}`")))?;
        let mut builder =
            isa::lookup(parsed).map_err(|error| CompileError::target(format!("`{triple}`: {error}")))?;
        if x86 {
            for feature in X86_FEATURES.iter().filter(|(needs, _)| *needs <= kind).flat_map(|(_, list)| *list)
            {
                builder.enable(feature).map_err(|error| CompileError::internal(&error))?;
            }
        }
        let isa = builder.finish(flags(true)?).map_err(|error| CompileError::internal(&error))?;
        Ok(Self { isa, table, native: false })
    }

    /// The target triple.
    pub fn triple(&self) -> &Triple {
        self.isa.triple()
    }

    /// The micro-kernels.
    pub fn table(&self) -> &'static KernelTable {
        self.table
    }

    /// Whether the micro-kernels that this crate embeds are for this machine's architecture and object format.
    pub(crate) fn embeds_kernels(&self) -> bool {
        let host = Triple::host();
        let target = self.triple();
        self.native
            || (host.architecture == target.architecture
                && host.operating_system == target.operating_system
                && host.binary_format == target.binary_format)
    }
}
