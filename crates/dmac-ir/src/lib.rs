//! The graph of index-notation operations: what a program computes.
