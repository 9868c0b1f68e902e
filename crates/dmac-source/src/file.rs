//! A named text and the way from byte offsets to lines and columns.

use crate::{Code, Diagnostic, Span};

/// The text of one program with the name that messages call it by (a path, `<stdin>`, or the name of a string).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    name: String,
    text: String,
    line_starts: Vec<u32>,
}

/// A place for people: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl SourceFile {
    /// Longest text taken, in bytes. A program is a page long; the limit keeps every offset in 32 bits and every
    /// stage's memory small whatever file is given by mistake.
    pub const MAX_LEN: usize = 4 << 20;

    /// Names a text. Texts longer than [`Self::MAX_LEN`] are refused by [`Self::read`], and by the parser.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let (name, text) = (name.into(), text.into());
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect();
        Self { name, text, line_starts }
    }

    /// Names the bytes of a file.
    ///
    /// # Errors
    /// `E0101` if they are not UTF-8 (with the offset of the first bad byte), `E0102` if there are too many.
    pub fn read(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Box<Diagnostic>> {
        let name = name.into();
        if bytes.len() > Self::MAX_LEN {
            return Err(Box::new(Self::too_long(&name, bytes.len())));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let message =
                    format!("`{name}` is not UTF-8 text: the byte at offset {at} starts no character");
                Err(Box::new(
                    Diagnostic::error(Code::E0101, message)
                        .help("a program is plain text; is this the right file?"),
                ))
            }
        }
    }

    /// `E0102`, the diagnostic for a text of `len` bytes, which is above [`Self::MAX_LEN`].
    pub fn too_long(name: &str, len: usize) -> Diagnostic {
        let message = format!("`{name}` has {len} bytes, and a program may have at most {}", Self::MAX_LEN);
        Diagnostic::error(Code::E0102, message).help("is this the right file?")
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text under `span`, cut to what exists and to whole characters.
    pub fn slice(&self, span: Span) -> &str {
        &self.text[self.clamp(span)]
    }

    /// The range of `span`, cut to what exists and widened to whole characters.
    pub fn clamp(&self, span: Span) -> std::ops::Range<usize> {
        let start = self.text.floor_char_boundary((span.start as usize).min(self.text.len()));
        let end = self.text.ceil_char_boundary((span.end as usize).clamp(start, self.text.len()));
        start..end
    }

    /// Line and column of the character at byte `offset` (the end of the text if it lies beyond).
    pub fn line_column(&self, offset: u32) -> LineColumn {
        let offset = self.clamp(Span { start: offset, end: offset }).start;
        let line = self.line_starts.partition_point(|start| *start as usize <= offset);
        let start = self.line_starts[line - 1] as usize;
        LineColumn { line, column: self.text[start..offset].chars().count() + 1 }
    }

    /// Number of lines; an empty text has one.
    pub fn line_count(&self) -> usize {
        self.line_starts.len()
    }

    /// The text of a line (from 1), without its line end.
    pub fn line(&self, line: usize) -> &str {
        let start = self.line_starts[line - 1] as usize;
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| *next as usize);
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }

    /// Byte offset of the first character of a line (from 1).
    pub fn line_start(&self, line: usize) -> usize {
        self.line_starts[line - 1] as usize
    }
}
