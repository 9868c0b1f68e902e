//! Micro-kernels for one tile, chosen by instruction set.
//!
//! Input: pointers to tiles of scores, probabilities, keys and values. Output: the same tiles after a product, a softmax
//! step, a packing or an elementary function. Generated code owns everything that an attention variant is (loops, positions,
//! heads, masks, score arithmetic) and calls these functions for the inner work that it cannot express at full speed,
//! because Cranelift has 128-bit vectors only. No function loops over the keys of a sequence, allocates, or keeps state.
//!
//! # The interface
//!
//! Every function has the C calling convention and is reached through a [`KernelTable`] (just-in-time code) or through its
//! symbol `dmac_rt_<isa>_<name>` in the object that this crate embeds (ahead-of-time code). [`SIGNATURES`] describes all of
//! them, and the fields of [`Functions`] document each one. What holds for all:
//!
//! - Counts and strides are in elements of the type pointed to (or of the storage type, for `bytes`), never in bytes.
//!   A count may be 0; pointers are then not followed.
//! - No pointer needs an alignment beyond its element's; entries of heaps and lists are 8-byte aligned.
//! - Nothing outside the described elements is read or written, with one exception: packed panels are read in full by their
//!   writer's leave, so a packed matrix of n columns has room for n rounded up to the panel width, and `pack_panels` fills it.
//! - Inputs and outputs do not overlap unless a contract allows it.
//! - A `*_type` argument is an [`ElementType`] code. A flag is 0 or 1. An optional pointer is null.
//! - A panel of P columns (P = [`KernelTable::panel`]) holds element (x, c) at `c / P * depth * P + x * P + c % P`: K is packed
//!   that way once and shared by all tiles of queries. Matrices in place are read with the same formula and other strides.
//! - Pairs of bf16 are u32 with the element of the even position in the low half: the layout that VDPBF16PS and the AMX tile
//!   product read.
//! - Masked probabilities are exact zeros, but a product still multiplies them: values of masked keys must be finite, so a
//!   table of slots starts out as zeros.
//! - Functions are reentrant and may be called from any thread.
//!
//! A tile of attention is then `gemm` (scores), generated code on the scores if the program has any, `softmax`, `gemm` with
//! `accumulate` (output), and `finalize` at the end; `tests/attention.rs` does just that, and `examples/peak.rs` measures
//! each step.
#![no_std]
#![allow(
    unsafe_code,
    reason = "kernels work on raw tiles through C pointers; the contract above is what makes a call sound"
)]
#![allow(unsafe_op_in_unsafe_fn, reason = "each kernel is one unsafe operation under one contract")]
#![allow(
    clippy::inline_always,
    reason = "code must be inlined into the entry point that enables its target features"
)]
#![allow(clippy::too_many_arguments, reason = "arguments travel in registers, one value each")]
#![allow(
    clippy::needless_range_loop,
    reason = "loops over register tiles unroll fully when they are plain counters"
)]
#![allow(clippy::missing_safety_doc, reason = "the contract of all functions is stated once, above")]
#![allow(clippy::cast_ptr_alignment, reason = "every access through a cast pointer is an unaligned one")]

mod detect;
mod element;
mod entry_points;
mod gemm;
mod list;
mod math;
mod pack;
mod rows;
mod select;
mod simd;
mod softmax;
mod strips;

#[cfg(not(dmac_object))]
mod abi;
#[cfg(not(dmac_object))]
pub mod entry;
#[cfg(all(not(dmac_object), feature = "object"))]
mod object;
#[cfg(not(dmac_object))]
mod table;

#[cfg(not(dmac_object))]
pub use abi::{ArgKind, Functions, Kernel, MachineType, Param, SIGNATURES, Signature, SignatureList};
pub use detect::Isa;
pub use element::ElementType;
#[cfg(all(not(dmac_object), feature = "object"))]
pub use object::OBJECT;
#[cfg(not(dmac_object))]
pub use table::{KernelTable, Symbol, available, by_name, detect, layout_of};
