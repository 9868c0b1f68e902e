//! From a tile program to PTX.
//!
//! Input → output: a [`dmac_schedule::Program`] and a [`Target`] → a [`PtxProgram`]: one PTX module with an entry for each
//! kernel, and everything that a launcher needs to know about them.
//!
//! A kernel's grid point is one thread block. Each statement of the tile program is lowered on its own: there is no
//! variant, no mask analysis and no graph here. Matrix products are `mma.sync`, copies `cp.async`, so that the text runs on
//! an A100 and on everything after it.

mod barriers;
mod c_launcher;
mod compile;
mod emit;
mod launch;
mod manifest;
mod plan;
mod program;
mod warpgroup;

pub use c_launcher::{c_launcher, c_launcher_header};
pub use compile::compile;
pub use dmac_ptx::{Target, ptxas};
pub use launch::{
    Call, Launch, LaunchArgument, LaunchError, MappedTensor, Placed, WORKSPACE_ALIGNMENT, Workspaces,
    contiguous,
};
pub use manifest::manifest;
pub use program::{Entry, ParamSpec, PtxProgram, TensorMapSpec};
