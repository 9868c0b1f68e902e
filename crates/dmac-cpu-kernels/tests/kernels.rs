//! Every micro-kernel of every instruction set that this machine has, against plain arithmetic in f64.
//!
//! One body a function, run over all tables. Arrays end at an inaccessible page, so that a read or write beyond them ends
//! the test, and what lies between rows is filled with a pattern that must survive.
#![cfg(unix)]
#![allow(unsafe_code, reason = "the functions under test take raw pointers")]

mod kernels {
    mod conversion;
    mod harness;
    mod packing;
    mod products;
    mod selection;
    mod softmax;
    mod strips;
}
