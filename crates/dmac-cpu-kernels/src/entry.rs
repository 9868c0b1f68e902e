//! The entries of heaps and top lists: what a caller may know of the 64-bit keys that they hold.
//!
//! Input: a score and an index. Output: a key, and back. A better score has the larger key, and no two indices share one.

use crate::select;

/// The key of a score and an index of at least 0; see [`crate::Functions::heap_push`] for `ties_high`.
pub const fn pack(score: f32, index: i32, ties_high: bool) -> u64 {
    select::key(score, index, ties_high)
}

/// The index of an entry: its low 32 bits, inverted unless `ties_high`.
pub const fn index(entry: u64, ties_high: bool) -> i32 {
    select::key_index(entry, ties_high)
}

/// The score of an entry; NaN loses its payload and -0 its sign.
pub const fn score(entry: u64) -> f32 {
    select::key_score(entry)
}
