//! The C entry points of each instruction set: a generic kernel compiled with the features that it needs.
//!
//! Input: the list of functions. Output: one module an instruction set with a function for each, which is what tables point
//! to and what the embedded object exports as `dmac_rt_<isa>_<name>`.

use crate::list::kernel_list;

/// The generic kernels under their own names.
mod generic {
    pub(crate) use crate::gemm::{gemm, gemm_bf16};
    pub(crate) use crate::pack::{pack_panels, pack_panels_bf16, pack_rows, pack_rows_bf16, store_rows};
    pub(crate) use crate::rows::{dot_rows, gemm_rows};
    pub(crate) use crate::select::{heap_push, top_finish, top_push};
    pub(crate) use crate::softmax::{exp2_rows, finalize, mask_interval, merge, softmax, softmax_bf16};
    pub(crate) use crate::strips::{exp, exp2, log, logsigmoid, rsqrt, sigmoid, softplus, sqrt, tanh};
}

macro_rules! define {
    ((#[$features:meta] $simd:ty, $isa:literal);
     $($(#[doc = $doc:literal])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty;)*) => {
        $(
            #[$features]
            #[cfg_attr(dmac_object, unsafe(export_name = concat!("dmac_rt_", $isa, "_", stringify!($name))))]
            pub(crate) unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
                super::generic::$name::<$simd>($($arg),*)
            }
        )*

        /// All of them.
        #[cfg(not(dmac_object))]
        pub(crate) const FUNCTIONS: crate::abi::Functions = crate::abi::Functions { $($name),* };
    };
}

pub(crate) mod portable {
    //! Plain Rust.
    use super::kernel_list;
    use crate::simd::portable::Portable;
    kernel_list!(define!(
        #[inline(never)]
        Portable,
        "portable"
    ));
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2 {
    //! AVX2 with FMA and F16C.
    use super::kernel_list;
    use crate::simd::avx2::Avx2;
    kernel_list!(define!(
        #[target_feature(enable = "avx2,fma,f16c")]
        Avx2,
        "avx2"
    ));
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512 {
    //! AVX-512 F, BW, DQ and VL.
    use super::kernel_list;
    use crate::simd::avx512::Avx512;
    kernel_list!(define!(
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        Avx512<false>,
        "avx512"
    ));
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512bf16 {
    //! AVX-512 with its bf16 instructions.
    use super::kernel_list;
    use crate::simd::avx512::Avx512;
    kernel_list!(define!(
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
        Avx512<true>,
        "avx512bf16"
    ));
}
