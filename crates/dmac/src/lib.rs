//! The compiler as a library: compile() and the public API.
