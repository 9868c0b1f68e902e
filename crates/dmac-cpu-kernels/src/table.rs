//! One table of functions an instruction set, and the choice among them.
//!
//! Input: what the processor has. Output: a [`KernelTable`]: function pointers, and the sizes that callers must lay data out
//! by. The choice is made when a kernel is made, never inside a function.

use core::fmt;

use crate::abi::{Functions, Kernel};
use crate::detect::{Isa, features};
use crate::entry_points;
use crate::simd::Simd;
use crate::simd::portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};

impl Isa {
    /// Its name in symbols and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The functions of one instruction set and the layout that they share with their callers.
#[derive(Clone, Copy, Debug)]
pub struct KernelTable {
    /// Which instruction set.
    pub isa: Isa,
    /// f32 lanes of a vector.
    pub lanes: usize,
    /// Columns of a panel of a packed matrix: `P` in the contracts.
    pub panel: usize,
    /// Rows that a tile product computes at once: row counts that are multiples of it waste nothing.
    pub rows: usize,
    /// Whether products of bf16 are faster than converting to f32 first. Where it is false, the bf16 functions work all the
    /// same, but packing to f32 and calling the f32 ones is better.
    pub native_bf16: bool,
    /// The functions.
    pub functions: Functions,
}

const fn table<S: Simd>(isa: Isa, native_bf16: bool, functions: Functions) -> KernelTable {
    KernelTable { isa, lanes: S::LANES, panel: S::LANES * S::VECS, rows: S::ROWS, native_bf16, functions }
}

/// All tables of this architecture, the narrowest first.
static TABLES: &[KernelTable] = &[
    table::<Portable>(Isa::Portable, false, entry_points::portable::FUNCTIONS),
    #[cfg(target_arch = "x86_64")]
    table::<Avx2>(Isa::Avx2, false, entry_points::avx2::FUNCTIONS),
    #[cfg(target_arch = "x86_64")]
    table::<Avx512<false>>(Isa::Avx512, false, entry_points::avx512::FUNCTIONS),
    #[cfg(target_arch = "x86_64")]
    table::<Avx512<true>>(Isa::Avx512Bf16, true, entry_points::avx512bf16::FUNCTIONS),
];

impl KernelTable {
    /// The name of the instruction set.
    pub fn name(&self) -> &'static str {
        self.isa.name()
    }

    /// The address of a function.
    pub fn address(&self, kernel: Kernel) -> *const u8 {
        self.functions.address(kernel)
    }

    /// The symbol of a function in the embedded object.
    pub fn symbol(&self, kernel: Kernel) -> Symbol {
        Symbol { isa: self.isa, kernel }
    }
}

/// The name of an exported function: displays as `dmac_rt_<isa>_<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The instruction set.
    pub isa: Isa,
    /// The function.
    pub kernel: Kernel,
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dmac_rt_{}_{}", self.isa, self.kernel.name())
    }
}

/// Every table that this processor can run, the narrowest first.
pub fn available() -> impl Iterator<Item = &'static KernelTable> {
    let features = features();
    TABLES.iter().filter(move |table| features.have(table.isa))
}

/// The fastest table for this processor. It reads CPUID: ask once and keep the answer.
pub fn detect() -> &'static KernelTable {
    let best = features().best();
    TABLES.iter().find(|table| table.isa == best).unwrap_or(&TABLES[0])
}

/// The table of a name, if this processor can run it.
pub fn by_name(name: &str) -> Option<&'static KernelTable> {
    available().find(|table| table.name() == name)
}

/// The table of an instruction set, whether or not this processor can run it: layouts and symbols for an object file that
/// another one may run. None on another architecture.
pub fn layout_of(isa: Isa) -> Option<&'static KernelTable> {
    TABLES.iter().find(|table| table.isa == isa)
}
