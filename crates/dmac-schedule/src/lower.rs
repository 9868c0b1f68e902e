//! The lowering of a graph to a tile program.
