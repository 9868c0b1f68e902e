//! The command as its users see it.

mod command;
mod place;
mod ptx;
mod readme;
