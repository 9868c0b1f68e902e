//! Devices that execute PTX: opened, and given a target.
//!
//! Input → output: `--device` and `--arch` → a [`Gpu`] and the target that programs are compiled for. That there is no GPU
//! is an answer with its own exit code, not an accident.

use crate::args::Arch;
use crate::terminal::{Exit, Failure};
use dmac::{CudaDevice, CudaError, Gpu, PtxTarget};
use std::sync::Arc;

/// The first GPU.
///
/// # Errors
/// Exit code 4 where there is none.
pub fn cuda() -> Result<Gpu, Failure> {
    CudaDevice::open(0).map(|device| Gpu::Cuda(Arc::new(device))).map_err(|error| failure(&error))
}

/// The interpreter of PTX, with the sanitizer.
pub fn interpreter() -> Gpu {
    Gpu::Interpreter(dmac_ptx_interp::Options::default())
}

/// What to compile for: the target asked for, or the best that the device has.
pub fn target(gpu: &Gpu, arch: Option<Arch>) -> Result<PtxTarget, Failure> {
    match arch {
        Some(arch) => Ok(arch.into()),
        None => gpu.best_target().map_err(|error| failure(&error)),
    }
}

fn failure(error: &CudaError) -> Failure {
    let exit = if error.no_gpu() { Exit::NoDevice } else { Exit::Io };
    Failure { exit, message: format!("{error} ({})", error.code()) }
}
