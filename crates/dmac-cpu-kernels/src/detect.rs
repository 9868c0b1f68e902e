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
    /// The same with `AVX512_BF16`.
    Avx512Bf16 = 3,
}

/// What a processor has; every instruction set of [`Isa`] includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// The last one that can run.
    widest: Isa,
    /// VDPBF16PS does twice the work of an f32 FMA on AMD's cores (Zen 4: 230 against 117 GFLOP/s), and less than it on
    /// Intel's (Sapphire and Emerald Rapids: 0.6 of f32), where AMX is the fast path.
    fast_bf16: bool,
}

impl Features {
    /// Whether a table can run.
    pub(crate) const fn have(self, isa: Isa) -> bool {
        isa as i32 <= self.widest as i32
    }

    /// The fastest table.
    pub(crate) const fn best(self) -> Isa {
        match self.widest {
            Isa::Avx512Bf16 if !self.fast_bf16 => Isa::Avx512,
            widest => widest,
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn features() -> Features {
    Features { widest: Isa::Portable, fast_bf16: false }
}

/// Reads CPUID; a few hundred cycles, more under a hypervisor.
#[cfg(target_arch = "x86_64")]
pub(crate) fn features() -> Features {
    // "AuthenticAMD".
    let amd = core::arch::x86_64::__cpuid(0);
    let amd = (amd.ebx, amd.edx, amd.ecx) == (0x6874_7541, 0x6974_6e65, 0x444d_4163);
    Features { widest: widest(), fast_bf16: amd }
}

#[cfg(target_arch = "x86_64")]
fn widest() -> Isa {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    // FMA, OSXSAVE, AVX and F16C of leaf 1; AVX2, and AVX-512 F, DQ, BW and VL of leaf 7.
    const BASIC: u32 = (1 << 12) | (1 << 27) | (1 << 28) | (1 << 29);
    const AVX2: u32 = 1 << 5;
    const AVX512: u32 = (1 << 16) | (1 << 17) | (1 << 30) | (1 << 31);
    const BF16: u32 = 1 << 5;
    // The operating system saves the registers of 256 bits, and of 512.
    const YMM: u64 = 0x06;
    const ZMM: u64 = 0xe6;
    let all = |register: u32, bits: u32| register & bits == bits;
    if __cpuid(0).eax < 7 || !all(__cpuid(1).ecx, BASIC) {
        return Isa::Portable;
    }
    let extended = __cpuid_count(7, 0);
    // SAFETY: OSXSAVE, just checked, says that XGETBV exists.
    let saved = unsafe { saved_registers() };
    if !all(extended.ebx, AVX2) || saved & YMM != YMM {
        Isa::Portable
    } else if !all(extended.ebx, AVX512) || saved & ZMM != ZMM {
        Isa::Avx2
    } else if extended.eax < 1 || !all(__cpuid_count(7, 1).eax, BF16) {
        Isa::Avx512
    } else {
        Isa::Avx512Bf16
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_products_are_chosen_only_where_they_win() {
        let on = |widest, fast_bf16| Features { widest, fast_bf16 }.best();
        assert_eq!(on(Isa::Avx512Bf16, true), Isa::Avx512Bf16);
        assert_eq!(on(Isa::Avx512Bf16, false), Isa::Avx512);
        assert_eq!(on(Isa::Avx512, true), Isa::Avx512);
        assert_eq!(on(Isa::Avx2, true), Isa::Avx2);
        assert_eq!(on(Isa::Portable, false), Isa::Portable);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn detection_agrees_with_the_standard_library() {
        extern crate std;
        let features = features();
        let avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
        assert_eq!(features.have(Isa::Avx2), avx2 && std::is_x86_feature_detected!("f16c"));
        let has = [
            std::is_x86_feature_detected!("avx512f"),
            std::is_x86_feature_detected!("avx512bw"),
            std::is_x86_feature_detected!("avx512dq"),
            std::is_x86_feature_detected!("avx512vl"),
        ];
        assert_eq!(features.have(Isa::Avx512), has.iter().all(|has| *has), "{has:?}");
        assert_eq!(features.have(Isa::Avx512Bf16), std::is_x86_feature_detected!("avx512bf16"));
    }
}
