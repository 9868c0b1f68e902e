//! The programs of the library, evaluated by the interpreter, against code written for each from its paper's definition:
//! nested loops over flat slices in float64, one function a program.

mod dense;
mod kept;
mod nsa;
mod projected;
mod setting;
mod skips;
