//! The interpreter's tests: whole kernels against f64 references, single instructions, every kind of finding,
//! malformed text, and kernels with one synchronisation broken at a time.

#[path = "interp/attention.rs"]
mod attention;
#[path = "interp/command.rs"]
mod command;
#[path = "interp/conformance.rs"]
mod conformance;
#[path = "interp/findings.rs"]
mod findings;
#[path = "interp/launches.rs"]
mod launches;
#[path = "interp/mutation.rs"]
mod mutation;
#[path = "interp/parser.rs"]
mod parser;
#[path = "interp/samples.rs"]
mod samples;
#[path = "interp/techniques.rs"]
mod techniques;
