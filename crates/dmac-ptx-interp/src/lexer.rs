//! Splits PTX text into tokens, each with its line and column.
//!
//! Input: any string. Output: a token list that ends with [`Tok::End`], or the first [`ParseError`]. A modifier
//! such as `.shared::cta` or `.4d` is one token because every opcode is a name followed by such words; comments
//! vanish here, so the parser never sees them.

use std::fmt;

/// A malformed or unsupported piece of PTX, with the place in the text (both counted from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line of the offending token.
    pub line: u32,
    /// Column of the offending token, in characters.
    pub column: u32,
    /// What is wrong, as a sentence without a final period.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// A place in the text: byte offset, line and column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Pos {
    pub at: u32,
    pub line: u32,
    pub col: u32,
}

impl Pos {
    pub(crate) fn error(self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.col, message: message.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tok<'a> {
    /// A name: opcode, register, label, symbol (`%tid`, `$L_1`, `smem`, `_`).
    Word(&'a str),
    /// `.name`, with `::` parts kept: `shared::cta`.
    Dot(&'a str),
    /// An integer literal as 64 bits.
    Int(u64),
    /// A decimal floating-point literal, with its text (`.version 8.0` needs the text).
    Float(f64, &'a str),
    /// `0fXXXXXXXX`
    F32Bits(u32),
    /// `0dXXXXXXXXXXXXXXXX`
    F64Bits(u64),
    Str(&'a str),
    Punct(char),
    End,
}

impl fmt::Display for Tok<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tok::Word(s) => write!(f, "`{s}`"),
            Tok::Dot(s) => write!(f, "`.{s}`"),
            Tok::Int(v) => write!(f, "the number {v}"),
            Tok::Float(_, s) => write!(f, "the number {s}"),
            Tok::F32Bits(v) => write!(f, "the number 0f{v:08X}"),
            Tok::F64Bits(v) => write!(f, "the number 0d{v:016X}"),
            Tok::Str(s) => write!(f, "the string \"{s}\""),
            Tok::Punct(c) => write!(f, "`{c}`"),
            Tok::End => write!(f, "the end of the text"),
        }
    }
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c == b'$'
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

/// Tokens of the whole text with their places.
pub(crate) fn lex(text: &str) -> Result<Vec<(Tok<'_>, Pos)>, ParseError> {
    if text.len() > u32::MAX as usize {
        return Err(Pos { at: 0, line: 1, col: 1 }.error("the text is larger than 4 GiB"));
    }
    let mut lx = Lexer { text, bytes: text.as_bytes(), at: 0, line: 1, line_start: 0 };
    let mut out = Vec::new();
    loop {
        lx.skip_blank()?;
        let pos = lx.pos();
        let tok = lx.token(pos)?;
        out.push((tok, pos));
        if tok == Tok::End {
            return Ok(out);
        }
    }
}

impl<'a> Lexer<'a> {
    fn pos(&self) -> Pos {
        let col = self.text.get(self.line_start..self.at).map_or(0, |s| s.chars().count());
        Pos { at: self.at as u32, line: self.line, col: col as u32 + 1 }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn newline(&mut self) {
        self.line += 1;
        self.line_start = self.at + 1;
    }

    fn skip_blank(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek(0) {
                b'\n' => {
                    self.newline();
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'/' if self.peek(1) == b'/' => {
                    while self.at < self.bytes.len() && self.peek(0) != b'\n' {
                        self.at += 1;
                    }
                }
                b'/' if self.peek(1) == b'*' => {
                    let open = self.pos();
                    self.at += 2;
                    while !(self.peek(0) == b'*' && self.peek(1) == b'/') {
                        if self.at >= self.bytes.len() {
                            return Err(open.error("this comment is never closed"));
                        }
                        if self.peek(0) == b'\n' {
                            self.newline();
                        }
                        self.at += 1;
                    }
                    self.at += 2;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Text from `from` while `keep` holds.
    fn run(&mut self, from: usize, keep: impl Fn(u8) -> bool) -> &'a str {
        while self.at < self.bytes.len() && keep(self.bytes[self.at]) {
            self.at += 1;
        }
        // Every kept byte is ASCII, so the slice ends on a character boundary.
        self.text.get(from..self.at).unwrap_or("")
    }

    fn token(&mut self, pos: Pos) -> Result<Tok<'a>, ParseError> {
        let start = self.at;
        if start >= self.bytes.len() {
            return Ok(Tok::End);
        }
        let c = self.bytes[start];
        match c {
            b'.' if is_word(self.peek(1)) => {
                self.at += 1;
                loop {
                    self.run(start, is_word);
                    if self.peek(0) == b':' && self.peek(1) == b':' && is_word(self.peek(2)) {
                        self.at += 2;
                    } else {
                        break;
                    }
                }
                Ok(Tok::Dot(self.text.get(start + 1..self.at).unwrap_or("")))
            }
            b'%' | b'_' | b'$' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.at += 1;
                Ok(Tok::Word(self.run(start, is_word)))
            }
            b'0'..=b'9' => self.number(pos),
            b'"' => {
                self.at += 1;
                let s = self.run(start + 1, |c| c != b'"' && c != b'\n');
                if self.peek(0) != b'"' {
                    return Err(pos.error("this string is never closed"));
                }
                self.at += 1;
                Ok(Tok::Str(s))
            }
            b'{' | b'}' | b'[' | b']' | b'(' | b')' | b',' | b';' | b':' | b'@' | b'!' | b'|' | b'+'
            | b'-' | b'<' | b'>' | b'=' => {
                self.at += 1;
                Ok(Tok::Punct(c as char))
            }
            _ => {
                let ch = self.text.get(start..).and_then(|s| s.chars().next()).unwrap_or('\u{fffd}');
                Err(pos.error(format!("unexpected character {ch:?}")))
            }
        }
    }

    fn number(&mut self, pos: Pos) -> Result<Tok<'a>, ParseError> {
        let start = self.at;
        let word = self.run(start, |c| c.is_ascii_alphanumeric());
        let radix = |digits: &str, radix: u32, what: &str| {
            u64::from_str_radix(digits, radix).map_err(|_| pos.error(format!("malformed {what} `{word}`")))
        };
        match word.as_bytes() {
            [b'0', b'f' | b'F', ..] => {
                if word.len() != 10 {
                    return Err(pos.error(format!("`{word}` needs eight hexadecimal digits")));
                }
                return Ok(Tok::F32Bits(radix(&word[2..], 16, "f32 literal")? as u32));
            }
            [b'0', b'd' | b'D', ..] => {
                if word.len() != 18 {
                    return Err(pos.error(format!("`{word}` needs sixteen hexadecimal digits")));
                }
                return Ok(Tok::F64Bits(radix(&word[2..], 16, "f64 literal")?));
            }
            _ => {}
        }
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() && word.bytes().all(|c| c.is_ascii_digit()) {
            self.at += 1;
            let text = self.run(start, |c| c.is_ascii_digit());
            let value = text.parse().map_err(|_| pos.error(format!("malformed number `{text}`")))?;
            return Ok(Tok::Float(value, text));
        }
        let digits = word.strip_suffix(['U', 'u']).unwrap_or(word);
        let value = match digits.as_bytes() {
            [b'0', b'x' | b'X', ..] => radix(&digits[2..], 16, "hexadecimal number")?,
            [b'0', b'b' | b'B', ..] => radix(&digits[2..], 2, "binary number")?,
            [b'0', _, ..] => radix(digits, 8, "octal number")?,
            _ => radix(digits, 10, "number")?,
        };
        Ok(Tok::Int(value))
    }
}
