//! The interpreter on hand-built graphs, against independent nested loops.

mod build;
mod masks;
mod plain;
mod selections;
