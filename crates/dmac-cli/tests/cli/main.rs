//! The command as its users see it.

mod bench;
mod command;
mod devices;
mod place;
mod ptx;
mod readme;
