//! The interpreter on hand-built graphs, against independent nested loops.

mod build;
mod expressions;
mod masks;
mod plain;
mod results;
mod selections;
