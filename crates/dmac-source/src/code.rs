//! The table of all codes of errors and warnings, each with its title and its page.
//!
//! To add one: add a row below, in order, and write `dsl/errors/CODE.md`. The build fails if the page is missing,
//! a test fails if the page does not begin with the row's code and title, or if a page has no row.
//!
//! | range | about |
//! |---|---|
//! | `E01xx` | the text: characters, tokens, grammar |
//! | `E02xx` | names: what is declared, bound, allowed where |
//! | `E03xx` | axes, shapes and types |
//! | `E04xx` | meaning: selections, branches, masks |
//! | `E05xx` | schedules and targets |
//! | `E06xx` | inputs at run time |
//! | `E07xx` | PTX that is executed by hand |
//! | `E08xx` | devices |
//! | `W0xxx` | warnings, in the same ranges |

use std::fmt;

macro_rules! codes {
    ($($code:ident $title:literal;)*) => {
        /// A code such as `E0103`: what kind of problem a diagnostic reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// All codes, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            /// The code itself, `E0103`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code)),* }
            }

            /// What it means, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$code => $title),* }
            }

            /// Its page, in Markdown.
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$code => {
                        include_str!(concat!("../../../dsl/errors/", stringify!($code), ".md"))
                    })*
                }
            }
        }
    };
}

codes! {
    E0101 "the file is not UTF-8 text";
    E0102 "the file is too long";
    E0103 "unexpected token";
    E0104 "unknown character";
    E0105 "malformed or oversized number";
    E0106 "something opened here is never closed";
    E0107 "chained comparison";
    E0108 "operator of another language";
    E0109 "nested too deeply";
    E0110 "unknown statement";
    E0111 "not a program";
    E0112 "unknown type";
    E0113 "`=` where `==` is meant";
    E0114 "missing comma";
    E0115 "unknown reduction";
    E0116 "reserved word used as a name";
    E0117 "part of a statement out of order or given twice";
    E0201 "unknown name";
    E0202 "name declared twice";
    E0203 "unknown function";
    E0204 "index that is not bound";
    E0205 "index bound twice";
    E0206 "definition that needs itself";
    E0207 "function that calls itself";
    E0208 "wrong number of arguments";
    E0209 "name of the wrong kind";
    E0210 "unknown field";
    E0211 "unknown parameter";
    E0212 "parameter without a usable value";
    E0213 "function that sees more than its arguments";
    E0214 "unknown normalization";
    E0215 "cannot be emitted";
    E0216 "`score` or `scale` where it is not known";
    E0217 "position without a batch element";
    E0218 "program too large once functions are inlined";
    E0301 "wrong type";
    E0302 "mask that is not true or false";
    E0303 "axis used with two sizes";
    E0304 "index without an axis";
    E0305 "wrong number of indices";
    E0306 "another row of a tensor over queries";
    E0307 "not a size";
    E0308 "not known at compile time";
    E0309 "size out of range";
    E0310 "not windows or blocks";
    E0311 "index that does not range within the other";
    E0312 "queries, keys or values with the wrong axes";
    E0313 "empty range";
    E0314 "unsupported head dimension";
    E0315 "int overflow or division by zero";
    E0316 "value that is not a float";
    E0317 "index out of range";
    E0401 "mask below a selection";
    E0402 "selection over an axis that the row does not have";
    E0403 "probabilities outside of a selection";
    E0404 "statement next to branches";
    E0405 "statement given twice";
    E0406 "branches without an output";
    E0407 "statement that cannot stand in a branch";
    E0408 "no row statistics";
    E0501 "feature size that the target cannot hold";
    E0502 "no such attention in the text";
    E0503 "program that the target cannot compile";
    E0504 "unknown target";
    E0505 "generated code refused";
    E0601 "read out of range";
    E0701 "malformed PTX";
    E0702 "error found while PTX was executed";
    E0801 "no usable GPU";
    E0802 "driver that is too old";
    E0803 "kernels for another kind of GPU";
    E0804 "not enough memory on the device";
    E0805 "kernel refused by the driver";
    E0806 "call that cannot be launched";
    E0807 "failure of the device";
    W0101 "doc comment that documents nothing";
    W0201 "unused declaration";
    W0301 "floats compared for equality";
    W0401 "input without a gradient";
    W0402 "selection among equals";
}

impl Code {
    /// The code written `text`, in any case, or `None`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
