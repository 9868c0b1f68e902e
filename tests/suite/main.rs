//! Tests of the project as a whole, in one binary: it links the compiler once.

mod decode;
mod golden;
mod invariance;
mod language_tour;
mod lifetimes;
mod memory;
mod random_programs;
mod reads;
mod run;
mod tidy;
