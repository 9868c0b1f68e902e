//! Packing: rows of K and V, in any storage type, into the layouts that the tile products read.
//!
//! Input: rows in place, all in order or picked by an index list. Output: transposed panels (K), rows of f32 or interleaved
//! pairs of rows of bf16 (V), with zeros where a panel or a pair is not full. With a list of slots each row goes to a place of
//! its own and nothing else is touched: a table of keys that come and go is kept packed that way.

use crate::element::{Element, Rows, listed, with_element};
use crate::simd::{MAX_LANES, Simd};

/// How a row of elements is cut into 32-bit words.
trait Words<E: Element> {
    /// Words in a row of `depth` elements.
    fn count(depth: usize) -> usize;
    /// Words `x..` of a row, zeros after its end.
    unsafe fn load<S: Simd>(row: *const E::Raw, depth: usize, x: usize) -> S::V;
}

/// An f32 a word.
struct Floats;

impl<E: Element> Words<E> for Floats {
    #[inline(always)]
    fn count(depth: usize) -> usize {
        depth
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const E::Raw, depth: usize, x: usize) -> S::V {
        E::load_up_to::<S>(row.add(x), depth - x)
    }
}

/// Two neighbouring elements as bf16 a word.
struct Pairs;

impl<E: Element> Words<E> for Pairs {
    #[inline(always)]
    fn count(depth: usize) -> usize {
        depth.div_ceil(2)
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const E::Raw, depth: usize, x: usize) -> S::V {
        let (p, rest) = (row.add(2 * x), depth - 2 * x);
        if E::IS_BF16 && rest >= 2 * S::LANES {
            return S::load(p.cast());
        }
        let mut buffer = [0_u32; MAX_LANES];
        let halves: *mut u16 = buffer.as_mut_ptr().cast();
        S::store_u16(halves, E::load_bf16::<S>(p, rest));
        if rest > S::LANES {
            S::store_u16(halves.add(S::LANES), E::load_bf16::<S>(p.add(S::LANES), rest - S::LANES));
        }
        S::load(buffer.as_ptr().cast())
    }
}

#[inline(always)]
fn smaller(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

/// Rows in order into panels, the last one filled up with zeros.
#[inline(always)]
unsafe fn panels<S: Simd, E: Element, W: Words<E>>(rows: usize, depth: usize, from: Rows<E>, to: *mut f32) {
    let panel = S::VECS * S::LANES;
    let words = W::count(depth);
    let mut t = 0;
    while t < rows.div_ceil(panel) * panel {
        let block = to.add(t / panel * panel * words + t % panel);
        let present = smaller(rows.saturating_sub(t), S::LANES);
        let mut x = 0;
        while x < words {
            let mut square = [S::splat(0.0); MAX_LANES];
            for i in 0..S::LANES {
                if i < present {
                    square[i] = W::load::<S>(from.row(t + i), depth, x);
                }
            }
            S::transpose(&mut square);
            for i in 0..S::LANES {
                if x + i < words {
                    S::store(block.add((x + i) * panel), square[i]);
                }
            }
            x += S::LANES;
        }
        t += S::LANES;
    }
}

/// Each row into the column of its slot.
#[inline(always)]
unsafe fn columns<S: Simd, E: Element, W: Words<E>>(
    rows: usize,
    depth: usize,
    from: Rows<E>,
    to: *mut f32,
    slots: *const i32,
) {
    let panel = S::VECS * S::LANES;
    let words = W::count(depth);
    for t in 0..rows {
        let (row, slot) = (from.row(t), listed(slots, t));
        let column = to.add(slot / panel * panel * words + slot % panel);
        let mut x = 0;
        while x < words {
            let mut buffer = [0.0_f32; MAX_LANES];
            S::store(buffer.as_mut_ptr(), W::load::<S>(row, depth, x));
            for i in 0..S::LANES {
                if x + i < words {
                    column.add((x + i) * panel).write_unaligned(buffer[i]);
                }
            }
            x += S::LANES;
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn pack_panels<S: Simd>(
    rows: usize,
    depth: usize,
    from: *const u8,
    from_type: i32,
    from_row: usize,
    index: *const i32,
    to: *mut f32,
    slots: *const i32,
) {
    with_element!(from_type, E => {
        let from = Rows::<E> { first: from.cast(), stride: from_row, index };
        if slots.is_null() {
            panels::<S, E, Floats>(rows, depth, from, to);
        } else {
            columns::<S, E, Floats>(rows, depth, from, to, slots);
        }
    });
}

#[inline(always)]
pub(crate) unsafe fn pack_panels_bf16<S: Simd>(
    rows: usize,
    depth: usize,
    from: *const u8,
    from_type: i32,
    from_row: usize,
    index: *const i32,
    to: *mut u32,
    slots: *const i32,
) {
    with_element!(from_type, E => {
        let from = Rows::<E> { first: from.cast(), stride: from_row, index };
        if slots.is_null() {
            panels::<S, E, Pairs>(rows, depth, from, to.cast());
        } else {
            columns::<S, E, Pairs>(rows, depth, from, to.cast(), slots);
        }
    });
}

#[inline(always)]
pub(crate) unsafe fn pack_rows<S: Simd>(
    rows: usize,
    cols: usize,
    from: *const u8,
    from_type: i32,
    from_row: usize,
    index: *const i32,
    to: *mut f32,
    to_row: usize,
    slots: *const i32,
) {
    with_element!(from_type, E => {
        let from = Rows::<E> { first: from.cast(), stride: from_row, index };
        for t in 0..rows {
            let (row, to) = (from.row(t), to.add(listed(slots, t) * to_row));
            let mut x = 0;
            while x + S::LANES <= cols {
                S::store(to.add(x), E::load::<S>(row.add(x)));
                x += S::LANES;
            }
            if x < cols {
                S::store_tail(to.add(x), S::tail(cols - x), E::load_first::<S>(row.add(x), cols - x));
            }
        }
    });
}

#[inline(always)]
pub(crate) unsafe fn pack_rows_bf16<S: Simd>(
    rows: usize,
    cols: usize,
    from: *const u8,
    from_type: i32,
    from_row: usize,
    index: *const i32,
    to: *mut u32,
    to_row: usize,
    slots: *const i32,
) {
    with_element!(from_type, E => {
        let from = Rows::<E> { first: from.cast(), stride: from_row, index };
        if slots.is_null() {
            interleave::<S, E>(rows, cols, from, to.cast(), to_row);
        } else {
            for t in 0..rows {
                let slot = listed(slots, t);
                merge_half::<S, E>(cols, from.row(t), to.add(slot / 2 * to_row).cast(), slot % 2 == 1);
            }
        }
    });
}

/// Neighbouring rows into the halves of one row of words.
#[inline(always)]
unsafe fn interleave<S: Simd, E: Element>(
    rows: usize,
    cols: usize,
    from: Rows<E>,
    to: *mut i32,
    to_row: usize,
) {
    let mut t = 0;
    while t < rows {
        let to = to.add(t / 2 * to_row);
        let low = from.row(t);
        let high = if t + 1 < rows { from.row(t + 1) } else { low };
        let mut x = 0;
        while x < cols {
            let rest = cols - x;
            let mut words = E::load_bf16::<S>(low.add(x), rest);
            if t + 1 < rows {
                words = S::or(words, S::shl::<16>(E::load_bf16::<S>(high.add(x), rest)));
            }
            store_words::<S>(to.add(x), rest, words);
            x += S::LANES;
        }
        t += 2;
    }
}

/// A row into one half of a row of words.
#[inline(always)]
unsafe fn merge_half<S: Simd, E: Element>(cols: usize, row: *const E::Raw, to: *mut i32, high: bool) {
    let mut x = 0;
    while x < cols {
        let rest = cols - x;
        let (p, value) = (to.add(x), E::load_bf16::<S>(row.add(x), rest));
        let old = S::load_int_tail(p, S::tail(smaller(rest, S::LANES)));
        let words = if high {
            S::or(S::and(old, S::splat_int(0xffff)), S::shl::<16>(value))
        } else {
            S::or(S::and(old, S::splat_int(0xffff_0000_u32 as i32)), value)
        };
        store_words::<S>(p, rest, words);
        x += S::LANES;
    }
}

#[inline(always)]
unsafe fn store_words<S: Simd>(to: *mut i32, rest: usize, words: S::I) {
    if rest >= S::LANES {
        S::store_int(to, words);
    } else {
        S::store_int_tail(to, S::tail(rest), words);
    }
}

#[inline(always)]
pub(crate) unsafe fn store_rows<S: Simd>(
    rows: usize,
    cols: usize,
    from: *const f32,
    from_row: usize,
    to: *mut u8,
    to_type: i32,
    to_row: usize,
) {
    with_element!(to_type, E => {
        let to: *mut <E as Element>::Raw = to.cast();
        for t in 0..rows {
            store_scaled::<S, E>(cols, from.add(t * from_row), S::splat(1.0), to.add(t * to_row));
        }
    });
}

/// One row, times a factor, in a storage type.
#[inline(always)]
pub(crate) unsafe fn store_scaled<S: Simd, E: Element>(
    cols: usize,
    from: *const f32,
    factor: S::V,
    to: *mut E::Raw,
) {
    let mut x = 0;
    while x + S::LANES <= cols {
        E::store::<S>(to.add(x), S::mul(S::load(from.add(x)), factor));
        x += S::LANES;
    }
    if x < cols {
        let value = S::load_tail(from.add(x), S::tail(cols - x));
        E::store_first::<S>(to.add(x), cols - x, S::mul(value, factor));
    }
}
