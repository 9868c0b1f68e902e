//! Typed PTX: registers, addresses by state space, instructions, checker, printer.

mod address;
mod assembler;
mod check;
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
pub use inst::*;
pub use kernel::{Frame, Item, Kernel, Module, ParamDecl, ParamKind, Target, Version};
pub use requires::{Requires, requires, version};
pub use types::{
    B16, B32, B64, Bits, Class, Cond, F32, Imm, Int, Number, Operand, Pred, Reg, RegId, Src, Stored, Ty,
};
