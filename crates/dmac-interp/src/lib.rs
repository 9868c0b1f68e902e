//! The oracle: evaluates a program as its graph says, densely, unfused, in plain loops.
//!
//! Input → output: a [`dmac_ir::Graph`], its input tensors and the wanted query rows → every output of the program in
//! float64, with counts of what each mask term and each selection kept. Why: every pass, schedule and backend is
//! compared with this, so it is the executable definition of the language: clear before it is fast, and sharing no
//! code with what it checks.
//!
//! # How a program is evaluated
//!
//! - A scalar node is evaluated at many *points* at once: each index variable is bound to one value or to one for each
//!   point, and a node that depends on no varying variable is evaluated once. `and`, `or`, `if` and masks evaluate
//!   their later operands only at the points where the earlier ones leave something open, so a read that a mask
//!   excludes does not happen. `and` and masks commute: a condition that cannot be evaluated at a point where another
//!   one is false is not evaluated there.
//! - Reading a `let` substitutes its indices into its expression. That values are kept once computed only saves time.
//! - Floats are float64, and are rounded where the language says: a `let` to f32 (to the storage type where it is read
//!   as keys, values or queries), operands of selections, float comparisons and `floor` to f32. Constants and
//!   parameters are f32 values. Min, max and relu of NaN are NaN. A float converted to an int is floored and kept within
//!   32 bits; NaN gives 0. Outputs are returned as they are before they are stored.
//! - A row whose attended keys have no mass (none is attended, or all scores are -inf) has `out = 0`; its `lse` is -inf
//!   or, with a sink, the sink. `row_max` is the largest attended score, without the sink.
//! - `plus` takes its candidates in addition to the `n` best of the other candidates.
//! - Only the state of one query row is kept, beside the tensors that have no query axis.
//!
//! With [`Arithmetic::Plain`] the same loops run in f32, attention weights being rounded to the storage type: what a
//! straightforward program would compute, and so a measure of the error that a comparison has to allow.

mod compare;
mod error;
mod evaluate;
pub mod kernel;
mod lanes;
mod margin;
mod points;
mod random;
mod rows;
mod shape;
mod skips;
mod statistics;
mod tensor;

pub use compare::{Comparison, Element, Limit};
pub use error::Error;
pub use evaluate::{Arithmetic, Options, Output, Outputs, evaluate};
pub use margin::{Margin, SelectionOracle};
pub use random::{random_inputs, random_inputs_with};
pub use rows::Rows;
pub use shape::{Shape, ShapeError};
pub use skips::{TileStatistics, check_skips};
pub use statistics::{AttentionStatistics, SelectionStatistics, TermStatistics};
pub use tensor::{Data, Inputs, Storage, Tensor};
