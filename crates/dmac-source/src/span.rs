//! A range of bytes in a source text.
//!
//! Spans are plain offsets rather than references, so that trees and graphs which carry them stay `'static`,
//! comparable and free to outlive the text.

/// Bytes `start .. end` of a source text; `start == end` is a place between two characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset one past the last byte.
    pub end: u32,
}

impl Span {
    /// The span from `start` up to and without `end`.
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end, "Span::new: {start} .. {end} runs backwards");
        Self { start: start as u32, end: end as u32 }
    }

    /// The empty span in front of byte `at`.
    pub fn at(at: usize) -> Self {
        Self::new(at, at)
    }

    /// The smallest span that covers both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The empty span at this span's beginning.
    #[must_use]
    pub fn before(self) -> Self {
        Self { start: self.start, end: self.start }
    }

    /// The empty span at this span's end.
    #[must_use]
    pub fn after(self) -> Self {
        Self { start: self.end, end: self.end }
    }

    /// The same range for slicing a `str`.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the span covers no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A value together with the text it came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub node: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Pairs a value with its place.
    pub fn new(node: T, span: Span) -> Self {
        Self { node, span }
    }
}
