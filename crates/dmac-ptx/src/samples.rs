//! Kernels written with the assembler: its test material.
//!
//! In: nothing. Out: [`Sample`]s, whole kernels that `ptxas` must take without spills and that the interpreter of PTX
//! executes. Attention appears here only because its kernels use every instruction that the assembler has; the compiler
//! takes nothing from this module.

mod backward_sm90;
mod forward_sm80;
mod forward_sm90;
mod small;
mod technique;
mod tile;

use crate::kernel::Kernel;

pub use backward_sm90::backward_sm90;
pub use forward_sm80::forward_sm80;
pub use forward_sm90::{Forward, Source, forward_sm90};
pub use small::{mma_tile, vector_add};
pub use technique::{
    backward_preprocess, bulk_reduce, cluster_multicast, cp_async_ring, row_gather, split_combine, tma_wgmma,
    transpose_matrices,
};

/// A kernel and how to launch it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The checked kernel; its name is the sample's.
    pub kernel: Kernel,
    /// Threads of a CTA.
    pub threads: u32,
}

/// Every sample, small ones first.
pub fn all() -> Vec<Sample> {
    vec![
        vector_add(),
        mma_tile(),
        tma_wgmma(),
        cp_async_ring(),
        transpose_matrices(),
        row_gather(),
        bulk_reduce(),
        cluster_multicast(),
        split_combine(),
        backward_preprocess(),
        forward_sm80(64, false),
        forward_sm80(64, true),
        forward_sm80(128, false),
        forward_sm80(128, true),
        forward_sm90(Forward { head_dim: 64, causal: false, source: Source::Blocks }),
        forward_sm90(Forward { head_dim: 64, causal: true, source: Source::Blocks }),
        forward_sm90(Forward { head_dim: 128, causal: false, source: Source::Blocks }),
        forward_sm90(Forward { head_dim: 128, causal: true, source: Source::Blocks }),
        forward_sm90(Forward { head_dim: 64, causal: false, source: Source::Rows }),
        forward_sm90(Forward { head_dim: 128, causal: false, source: Source::Rows }),
        backward_sm90(64, false),
        backward_sm90(64, true),
        backward_sm90(128, false),
        backward_sm90(128, true),
    ]
}

/// Finishes a sample. A sample that the checker refuses is a bug in the sample.
fn sample(k: crate::Assembler, threads: u32) -> Sample {
    match k.finish() {
        Ok(kernel) => Sample { kernel, threads },
        Err(errors) => {
            let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("a sample is refused:\n{}", list.join("\n"));
        }
    }
}
