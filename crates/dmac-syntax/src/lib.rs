//! Tokens, the syntax tree, the parser with recovery and the formatter.
//!
//! Input: a [`SourceFile`](dmac_source::SourceFile). Output: an [`ast::Module`] and diagnostics, or the text in
//! canonical form. Nothing here knows what a name means: that is semantic analysis, which reads the tree.
//!
//! ```
//! use dmac_source::SourceFile;
//!
//! let file = SourceFile::new("causal.dmac", "attention causal{mask j<=i}");
//! let (module, diagnostics) = dmac_syntax::parse(&file);
//! assert!(diagnostics.is_empty());
//! assert_eq!(dmac_syntax::ast::tree(&module), "attention causal\n  mask (<= j i)\n");
//! assert_eq!(dmac_syntax::format(&file).unwrap(), "attention causal { mask j <= i }\n");
//! ```

pub mod ast;
pub mod format;
pub mod lexer;
mod parser;
pub mod token;

pub use format::format;
pub use parser::parse;
