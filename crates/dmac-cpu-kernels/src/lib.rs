//! Micro-kernels for one tile, chosen by instruction set.
