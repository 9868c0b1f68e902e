//! Tokens, the syntax tree, the parser with recovery and the formatter.
//!
//! Input: a `dmac_source::SourceFile`. Output: an [`ast::Module`] and diagnostics, or the text in canonical form.
//! Nothing here knows what a name means: that is semantic analysis, which reads the tree.

pub mod ast;
pub mod format;
pub mod lexer;
mod parser;
pub mod token;

pub use format::format;
pub use parser::parse;
