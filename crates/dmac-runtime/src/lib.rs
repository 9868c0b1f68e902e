//! Runs what was compiled: host tensors, shapes, workspaces, threads.
//!
//! Input → output: native code with its tile program, the graph that it means, and named tensors → named results.
//! Everything that a caller can get wrong is checked here, before any generated code runs, and has an error that says
//! what, where and what to do ([`RunError`]).

mod arguments;
mod error;
mod executable;
mod parallel;
mod tensor;
mod workspace;

pub use arguments::{Arguments, Bound};
pub use error::RunError;
pub use executable::{Executable, Results, Selected};
pub use parallel::{Rayon, Serial, ThreadPool};
pub use tensor::{Tensor, TensorView};
