//! The interpreter's tests: whole kernels against f64 references, single instructions, every kind of finding,
//! malformed text, and kernels with one synchronisation broken at a time.

#[path = "interp/attention.rs"]
mod attention;
#[path = "interp/launches.rs"]
mod launches;
#[path = "interp/samples.rs"]
mod samples;
