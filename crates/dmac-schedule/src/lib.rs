//! From what is computed to how: targets, schedules, the tile program, and the lowering of a graph to it.
//!
//! Input → output: a [`dmac_ir::Graph`] whose attentions are tiled, a [`Target`] and a [`Schedule`] → a [`Program`]: the
//! kernels in launch order with their tensors and workspaces. A code generator sees only the program: no graph, no
//! variant, no mask analysis. The schedule never changes what is computed, only how.

pub mod choose;
pub mod kernel;
pub mod lower;
pub mod pipeline;
pub mod schedule;
pub mod target;

pub use choose::{Chosen, choose};
pub use kernel::Program;
pub use schedule::{Reads, Schedule};
pub use target::Target;
