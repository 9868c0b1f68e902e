//! The words of the language: what the lexer makes of characters and the parser makes trees of.

use dmac_source::Span;

/// A token and its place. Its text is the text under the span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TokenKind {
    /// A name, primes included; `score`, `scale`, `top`, `keys` and the types are names.
    Ident,
    /// A reserved word.
    Keyword(Keyword),
    /// `16`
    Int(i64),
    /// `20.0`, `1e-6`
    Float(f64),
    /// Digits that are no number; already reported.
    BadNumber,
    /// Brackets, separators and operators of the language.
    Punct(Punct),
    /// An operator or separator that other languages have and this one has not.
    Foreign(Foreign),
    /// The end of the text, always the last token.
    End,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As written in a program.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// As named in messages, in backquotes.
            pub fn quoted(self) -> &'static str {
                match self { $(Self::$variant => concat!("`", $text, "`")),* }
            }
        }
    };
}

words! {
    /// The reserved words: none of them can be a name.
    Keyword {
        Attention "attention",
        Fn "fn",
        Const "const",
        Input "input",
        Axis "axis",
        Let "let",
        Mask "mask",
        Select "select",
        Normalize "normalize",
        Branch "branch",
        Output "output",
        Emit "emit",
        Of "of",
        Among "among",
        Forcing "forcing",
        Plus "plus",
        Ties "ties",
        With "with",
        Over "over",
        In "in",
        If "if",
        Then "then",
        Else "else",
        And "and",
        Or "or",
        Not "not",
        Div "div",
        Mod "mod",
        True "true",
        False "false",
    }
}

words! {
    /// Brackets, separators and operators. Where one begins another, the longer stands first.
    Punct {
        LeftParen "(",
        RightParen ")",
        LeftBracket "[",
        RightBracket "]",
        LeftBrace "{",
        RightBrace "}",
        Comma ",",
        Colon ":",
        DotDot "..",
        Dot ".",
        EqEq "==",
        Eq "=",
        NotEq "!=",
        LessEq "<=",
        Less "<",
        GreaterEq ">=",
        Greater ">",
        Plus "+",
        Minus "-",
        Star "*",
        Slash "/",
    }
}

words! {
    /// Operators and separators of other languages. Where one begins another, the longer stands first.
    Foreign {
        AndAnd "&&",
        OrOr "||",
        Arrow "->",
        FatArrow "=>",
        StarStar "**",
        Walrus ":=",
        PlusEq "+=",
        MinusEq "-=",
        StarEq "*=",
        SlashEq "/=",
        And "&",
        Or "|",
        Caret "^",
        Bang "!",
        Tilde "~",
        Percent "%",
        Semicolon ";",
        Question "?",
        At "@",
    }
}

impl Keyword {
    /// The keyword written `text`.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|keyword| keyword.text() == text)
    }

    /// Whether a statement can begin with it. (`scale = ..` and `score = ..` begin with a name.)
    pub fn begins_statement(self) -> bool {
        matches!(
            self,
            Self::Input
                | Self::Axis
                | Self::Let
                | Self::Mask
                | Self::Select
                | Self::Normalize
                | Self::Branch
                | Self::Output
                | Self::Emit
        )
    }

    /// Whether an item can begin with it.
    pub fn begins_item(self) -> bool {
        matches!(self, Self::Attention | Self::Fn)
    }
}

/// A comment and where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// From its first slash to the end of its line, without the line end and blanks before it.
    pub span: Span,
    /// Whether it begins with exactly three slashes.
    pub is_doc: bool,
    /// Index of the token that follows it.
    pub before: usize,
}
