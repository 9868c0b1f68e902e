//! From a tile program to native code through Cranelift.
