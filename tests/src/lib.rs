//! The tests package.
