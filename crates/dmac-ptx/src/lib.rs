//! Typed PTX: registers, addresses by state space, instructions, checker, printer.
//!
//! In: calls of the [`Assembler`]'s methods, one an instruction. Out: a checked [`Kernel`] and its text. Nothing here
//! knows what the kernels compute, and nobody else writes a PTX string: a mnemonic is put together in one file, so the
//! text, the data flow that the checker sees and the counts in a [`Digest`] cannot disagree.
//!
//! ```
//! use dmac_ptx::{Assembler, Cmp, F32, Special, Target, global};
//!
//! let mut k = Assembler::new("double", Target::Sm80);
//! k.threads(128);
//! let (data, count) = (k.param_pointer("data", 4), k.param("count"));
//! let tid = k.special("tid", Special::TidX);
//! let count = k.ld_param("count", count);
//! let inside = k.setp_u("inside", tid, Cmp::Lt, count);
//! k.if_then(inside, |k| {
//!     k.comment("data[i] *= 2");
//!     let data = k.ld_param("data", data);
//!     let at = k.mad_wide_u("at", tid, 4, data);
//!     let x = k.ld::<F32, _>("x", global(at));
//!     let twice = k.add("twice", x, x);
//!     k.st(global(at), twice);
//! });
//! k.ret();
//! let kernel = k.finish().expect("nothing to refuse");
//! assert!(kernel.text().contains("add.f32 %twice0, %x0, %x0;"));
//! ```
//!
//! # What is where
//!
//! | part | what |
//! |---|---|
//! | [`Reg`], [`Operand`], [`Cond`] | registers by type; an `f32` cannot be added to an integer |
//! | [`Addr`], [`shared`], [`global`] | addresses by state space; a generic one cannot go to `cp.async` |
//! | [`Assembler`] | the frame, roles, guards, comments, source lines, and the instructions under the manual's chapters |
//! | [`Inst`] | the closed instruction enum, with operands that have lost their Rust types |
//! | [`CheckError`] | what [`Assembler::finish`] refuses: registers read before they are written, labels, what the target lacks, lengths and ranges, certain misalignment, warps that arrive in pieces |
//! | [`requires`], [`version`] | the lowest target and `.version` an instruction or kernel needs |
//! | [`Kernel`], [`Module`] | the result as data, and its text |
//! | [`Digest`] | a large kernel in a snapshot |
//! | [`ptxas`] | the vendor's assembler as a second opinion, where there is one |
//! | `samples` (feature `samples`) | whole kernels, the test material of the assembler and of the PTX interpreter |
//!
//! # The text
//!
//! A register is `%role0`: the role says what it holds, the number counts within the role, so a change renames only its
//! namesakes. A label is `$role0`. A comment stands above the instructions of one source node, in its words; `.loc`
//! lines lead back to the source file. Dynamic shared memory is the symbol `dynamic_shared`; all kernels of a module
//! share it. Floats are printed as bits, integers in decimal. Text is ASCII, whatever the source's comments are.
//!
//! # Adding an instruction
//!
//! A variant of [`Inst`] under its chapter; the compiler then asks for its spelling (`spell.rs`) and its needs
//! (`requires.rs`). Give it a typed method in the chapter's file, a line in the chapter's test, and, if it has ranges, a
//! line in `check/operands.rs`; if a warp must execute it together, one in `check/divergence.rs`.

mod address;
mod assembler;
mod check;
mod digest;
mod inst;
mod kernel;
mod print;
pub mod ptxas;
mod requires;
#[cfg(feature = "samples")]
pub mod samples;
mod spell;
mod types;

pub use address::{
    Addr, Base, Generic, Global, MemRef, ParamId, Shared, SharedCluster, Space, SpaceName, global, shared,
};
pub use assembler::{
    Accumulate, Assembler, BulkOptions, Dest, Major, Memory, Param, SWIZZLE_128B_1024, TensorMap,
    TensorMapParam, Unroll,
};
pub use check::{CheckError, CheckErrorKind};
pub use digest::Digest;
pub use inst::*;
pub use kernel::{Frame, Item, Kernel, Module, ParamDecl, ParamKind, Target, Version};
pub use requires::{Requires, requires, version};
pub use types::{
    B16, B32, B64, Bits, Class, Cond, F32, Imm, Int, Number, Operand, Pred, Reg, RegId, Src, Stored, Ty,
};
