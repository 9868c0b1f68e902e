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
    E0501 "feature size that the target cannot hold";
    W0101 "doc comment that documents nothing";
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
