//! What passes find out about expressions, without changing them.
//!
//! Input → output: a node of a graph → a structural key, a linear form, a proved bound, a direction of growth, the set of
//! keys that satisfy a predicate. Every answer is a proof that holds for all sizes, parameters and tensors; where no proof
//! is found the answer is "unknown", and the caller keeps the general form.

pub mod key;
pub mod linear;
pub mod monotone;
pub mod proof;
pub mod solve;
