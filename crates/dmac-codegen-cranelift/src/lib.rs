//! From a tile program to native code through Cranelift.
//!
//! Input → output: a [`dmac_schedule::Program`] → machine code in memory ([`compile_jit`]) or an object file
//! ([`compile_object`]), and their text.
//!
//! Each kernel becomes one function that runs one point of its grid. The loop nest, limits, addresses, block skipping and
//! every scalar body are generated here, bodies as vectors of four; what needs wider vectors than Cranelift has (matrix
//! products, the softmax of a tile, packing, elementary functions) is a call of a micro-kernel of `dmac-cpu-kernels`, chosen
//! when the kernel is made. No variant is known here: a program is its statements.

pub mod layout;

mod build;
mod emit;
mod error;
mod header;
mod jit;
mod launch;
mod object;
mod plan;
mod rows;
mod target;

pub use error::CompileError;
pub use header::{c_header, manifest};
pub use jit::{JitProgram, KernelFunction, compile_jit};
pub use object::{CodeText, code_text, compile_object};
pub use target::Machine;
