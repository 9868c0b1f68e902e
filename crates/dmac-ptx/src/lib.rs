//! Typed PTX: registers, addresses by state space, instructions, checker, printer.
