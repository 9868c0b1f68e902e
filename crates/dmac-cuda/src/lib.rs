//! The little of the CUDA driver that dmac's kernels need: modules with the assembler's log, memory, tensor maps,
//! launches with clusters, events, graphs; and [`Kernels`], a compiled program on a device.
//!
//! Input → output: PTX text or a compiled program, and bytes → results of kernels and their times. The driver library is opened at run time; that
//! it, or a GPU, is missing is the value [`Error::NoDriver`] or [`Error::NoDevice`], never a panic, so that one program
//! serves machines with and without a GPU. No CUDA toolkit takes part: the driver assembles the PTX.
//!
//! # Does the interpreter agree with the hardware?
//!
//! The example `conformance` runs every instruction test of `dmac-ptx-interp` and every attention sample of `dmac-ptx` on
//! both, with the same inputs, and compares the two with each other and with values computed independently:
//!
//! ```text
//! cargo run --release -p dmac-cuda --example conformance              # everything; needs a GPU
//! cargo run --release -p dmac-cuda --example conformance -- --time    # then times the forward kernels
//! cargo run --release -p dmac-cuda --example conformance -- --only wgmma
//! ```
//!
//! It prints a line for each test and a total. Exit codes: 0 all agree, 1 some differ, 2 usage, 4 no usable GPU. Tests for
//! a target that the GPU does not have are counted as skipped (`sm_90a` runs on Hopper alone). When a kernel hangs or
//! faults, the process cannot use the GPU any further; the command says so and `--from N` goes on after that test.

mod device;
mod error;
mod kernels;
mod launch;
mod memory;
mod module;
mod tensor_map;

pub use device::{Description, Device, Graph};
pub use error::Error;
pub use kernels::{Kernels, Prepared};
pub use launch::{Argument, Shape};
pub use memory::Buffer;
pub use module::{Function, Module, Resources};
pub use tensor_map::{EncodedTensorMap, TensorElement, TensorMap, TensorSwizzle};
