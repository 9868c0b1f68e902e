//! The `dmac` command.
fn main() {}
