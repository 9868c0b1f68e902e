//! Executes and sanitizes PTX text without a GPU.

pub mod command;
pub mod conformance;
mod decode;
mod finding;
mod flow;
mod launch;
mod lexer;
mod machine;
mod memory;
mod module;
mod op;
mod parser;
mod sanitize;
mod tensor_map;
mod types;

pub use finding::{Finding, FindingKind, Site};
pub use launch::{Arg, Launch, Options, Stats};
pub use lexer::ParseError;
pub use memory::{Buffer, Element, Memory};
pub use module::{Kernel, Module, Param, SourceLine};
pub use parser::parse;
pub use tensor_map::{Swizzle, TensorElement, TensorMap};
