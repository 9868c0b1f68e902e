//! Executes PTX text without a GPU, and finds the errors that a GPU would hide.
//!
//! PTX text goes in: [`parse`] gives a [`Module`] or an error with line and column. A [`Launch`] of one of its kernels
//! on a [`Memory`] of buffers, with grid, block, arguments and tensor maps, executes it instruction by instruction and
//! leaves the results in the buffers, or gives [`Finding`]s that name the instruction, the warp and the source line.
//!
//! ```
//! use dmac_ptx_interp::{Arg, Launch, Memory, Options, parse};
//! let module = parse(
//!     ".version 8.0 .target sm_80 .address_size 64
//!      .visible .entry twice(.param .u64 x) {
//!          .reg .b64 %at; .reg .b32 %i; .reg .f32 %v;
//!          ld.param.u64 %at, [x];  mov.u32 %i, %tid.x;  mad.wide.u32 %at, %i, 4, %at;
//!          ld.global.f32 %v, [%at];  add.f32 %v, %v, %v;  st.global.f32 [%at], %v;  ret;
//!      }",
//! )?;
//! let mut memory = Memory::new();
//! let x = memory.alloc(&[1.0f32, 2.5]);
//! let launch = Launch::new(&module, "twice").block([2, 1, 1]).arg(Arg::Buffer(x));
//! launch.run(&mut memory, &Options::default()).expect("no findings");
//! assert_eq!(memory.read::<f32>(x), [2.0, 5.0]);
//! # Ok::<(), dmac_ptx_interp::ParseError>(())
//! ```
//!
//! # What is executed
//!
//! The instructions that attention kernels for `sm_80` and `sm_90a` need, with their documented results: integer and
//! floating-point arithmetic, conversions, loads, stores and atomics, warp exchanges, named barriers, mbarriers,
//! `cp.async`, bulk and tensor copies, `ldmatrix`, `stmatrix`, `mma.sync`, `wgmma`, clusters. [`conformance::cases`]
//! lists a test of every form with its expected result, which a GPU can run as well. What is not modelled is refused by
//! the parser, never guessed.
//!
//! # What is found
//!
//! Registers and memory start without values. Copies land late, at random legal times; warps run in random order; all
//! from [`Options::seed`]. Whether an error is *reported* does not depend on luck, though: accesses are compared by
//! happens-before (vector clocks through barriers, mbarriers and atomics; completions of copies; proxy fences), so an
//! access that nothing orders is a finding even when this run did it in the right order. The unit of that order is the
//! warp: an exchange through memory between lanes of one warp without `bar.warp.sync` is not noticed. Memory scopes
//! (`.cta`, `.gpu`) are taken as wide enough. Timing, registers per thread and bank conflicts are not modelled.

pub mod command;
pub mod conformance;
mod decode;
mod finding;
mod flow;
mod launch;
mod lexer;
mod machine;
mod memory;
mod module;
mod op;
mod parser;
mod sanitize;
mod tensor_map;
mod types;

pub use finding::{Finding, FindingKind, Site};
pub use launch::{Arg, Launch, Options, Stats};
pub use lexer::ParseError;
pub use memory::{Buffer, Element, Memory};
pub use module::{Kernel, Module, Param, SourceLine};
pub use parser::parse;
pub use tensor_map::{Swizzle, TensorElement, TensorMap};
