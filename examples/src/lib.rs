//! The examples package.
