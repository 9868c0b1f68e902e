//! What the processor has and which instruction set is the fastest on it.
//!
//! Input: CPUID and the operating system's mask of saved registers. Output: the instruction sets that can run, and one of
//! them. Written on `core` alone, since the embedded object has nothing else.

/// An instruction set that has a table, by growing width; the numbers are what `dmac_rt_detect` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust on any processor.
    Portable = 0,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2 = 1,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512 = 2,
    /// The same with AVX512_BF16.
    Avx512Bf16 = 3,
}

/// What of the optional instruction sets can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) avx2: bool,
    pub(crate) avx512: bool,
    pub(crate) avx512bf16: bool,
    /// VDPBF16PS does twice the work of an f32 FMA on AMD's cores (Zen 4: 230 against 117 GFLOP/s), and less than it on
    /// Intel's (Sapphire and Emerald Rapids: 0.6 of f32), where AMX is the fast path.
    pub(crate) fast_bf16: bool,
}

impl Features {
    /// Whether a table can run.
    pub(crate) const fn have(self, isa: Isa) -> bool {
        match isa {
            Isa::Portable => true,
            Isa::Avx2 => self.avx2,
            Isa::Avx512 => self.avx512,
            Isa::Avx512Bf16 => self.avx512bf16,
        }
    }

    /// The fastest table.
    pub(crate) const fn best(self) -> Isa {
        if self.avx512bf16 && self.fast_bf16 {
            Isa::Avx512Bf16
        } else if self.avx512 {
            Isa::Avx512
        } else if self.avx2 {
            Isa::Avx2
        } else {
            Isa::Portable
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn features() -> Features {
    Features { avx2: false, avx512: false, avx512bf16: false, fast_bf16: false }
}

/// Reads CPUID; a few hundred cycles, more under a hypervisor.
#[cfg(target_arch = "x86_64")]
pub(crate) fn features() -> Features {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    let bit = |register: u32, at: u32| register >> at & 1 == 1;
    let vendor = __cpuid(0);
    let none = Features { avx2: false, avx512: false, avx512bf16: false, fast_bf16: false };
    if vendor.eax < 7 {
        return none;
    }
    let (basic, extended) = (__cpuid(1), __cpuid_count(7, 0));
    if !bit(basic.ecx, 27) {
        return none;
    }
    // SAFETY: OSXSAVE, just checked, says that XGETBV exists.
    let saved = unsafe { saved_registers() };
    let (ymm, zmm) = (saved & 0x06 == 0x06, saved & 0xe6 == 0xe6);
    let avx2 = ymm && bit(basic.ecx, 28) && bit(basic.ecx, 12) && bit(basic.ecx, 29) && bit(extended.ebx, 5);
    let avx512 = avx2
        && zmm
        && bit(extended.ebx, 16)
        && bit(extended.ebx, 17)
        && bit(extended.ebx, 30)
        && bit(extended.ebx, 31);
    let avx512bf16 = avx512 && extended.eax >= 1 && bit(__cpuid_count(7, 1).eax, 5);
    // "AuthenticAMD".
    let amd = (vendor.ebx, vendor.edx, vendor.ecx) == (0x6874_7541, 0x6974_6e65, 0x444d_4163);
    Features { avx2, avx512, avx512bf16, fast_bf16: amd }
}

/// XCR0: the register states that the operating system saves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "xsave")]
fn saved_registers() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { core::arch::x86_64::_xgetbv(0) }
}

/// The number of the fastest instruction set on this processor: what an object file chooses its kernels by.
#[cfg(dmac_object)]
#[unsafe(no_mangle)]
pub extern "C" fn dmac_rt_detect() -> i32 {
    features().best() as i32
}
