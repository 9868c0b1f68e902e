//! Tokens, the syntax tree, the parser with recovery and the formatter.
