//! The command as its users see it.

mod command;
mod devices;
mod place;
mod ptx;
mod readme;
