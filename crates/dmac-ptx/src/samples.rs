//! Kernels written with the assembler: its test material.
//!
//! In: nothing. Out: [`Sample`]s, whole kernels that `ptxas` must take without spills and that the interpreter of PTX
//! executes. Attention appears here only because its kernels use every instruction that the assembler has; the compiler
//! takes nothing from this module.

mod small;

use crate::kernel::Kernel;

pub use small::{mma_tile, vector_add};

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
    vec![vector_add(), mma_tile()]
}

/// Finishes a sample. A sample that the checker refuses is a bug in the sample.
fn sample(k: crate::Assembler, threads: u32) -> Sample {
    let name = "sample";
    match k.finish() {
        Ok(kernel) => Sample { kernel, threads },
        Err(errors) => {
            let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{name} is refused:\n{}", list.join("\n"));
        }
    }
}
