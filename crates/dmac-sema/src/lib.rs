//! From a syntax tree to a graph: resolve, infer, check, lower.
