//! Selection: the best few of a stream of scores, under a total order.
//!
//! Input: strips of scores. Output: a bounded heap with the index that each arrival drives out, or a running list of the
//! best with its indices at the end. The order: a higher score is better, NaN is worse than everything, -0 equals +0, and
//! of equal scores the lower index is better, or the higher one with `ties_high`. Score and index make one 64-bit key in
//! which better is larger; keys are distinct, so the result depends on neither the strips nor the algorithm.

use crate::simd::Simd;

/// The key of a score: better is larger.
#[inline(always)]
pub(crate) const fn key(score: f32, index: i32, ties_high: bool) -> u64 {
    let bits = score.to_bits();
    let order = if score.is_nan() {
        0
    } else if score == 0.0 {
        0x8000_0000
    } else if bits >> 31 != 0 {
        !bits
    } else {
        bits | 0x8000_0000
    };
    let index = index as u32;
    ((order as u64) << 32) | (if ties_high { index } else { !index }) as u64
}

/// The index in a key.
#[inline(always)]
pub(crate) const fn key_index(key: u64, ties_high: bool) -> i32 {
    (if ties_high { key as u32 } else { !(key as u32) }) as i32
}

/// The score in a key; any NaN comes back as the canonical one, and -0 as +0.
#[inline(always)]
pub(crate) const fn key_score(key: u64) -> f32 {
    let order = (key >> 32) as u32;
    if order == 0 {
        f32::NAN
    } else if order >> 31 != 0 {
        f32::from_bits(order & 0x7fff_ffff)
    } else {
        f32::from_bits(!order)
    }
}

/// Moves `key` down from place `at` of a heap with the least key first.
#[inline(always)]
unsafe fn sift_down(heap: *mut u64, len: usize, mut at: usize, key: u64) {
    loop {
        let mut child = 2 * at + 1;
        if child >= len {
            break;
        }
        if child + 1 < len && *heap.add(child + 1) < *heap.add(child) {
            child += 1;
        }
        if *heap.add(child) >= key {
            break;
        }
        *heap.add(at) = *heap.add(child);
        at = child;
    }
    *heap.add(at) = key;
}

/// Moves `key` up from place `at`.
#[inline(always)]
unsafe fn sift_up(heap: *mut u64, mut at: usize, key: u64) {
    while at > 0 {
        let parent = (at - 1) / 2;
        if *heap.add(parent) <= key {
            break;
        }
        *heap.add(at) = *heap.add(parent);
        at = parent;
    }
    *heap.add(at) = key;
}

#[inline(always)]
pub(crate) unsafe fn heap_push<S: Simd>(
    heap: *mut u64,
    mut len: usize,
    capacity: usize,
    x: *const f32,
    n: usize,
    first: i32,
    ties_high: i32,
    evicted: *mut i32,
) -> usize {
    let ties_high = ties_high != 0;
    for t in 0..n {
        let index = first.wrapping_add(t as i32);
        let new = key(x.add(t).read_unaligned(), index, ties_high);
        let out = if len < capacity {
            sift_up(heap, len, new);
            len += 1;
            -1
        } else if capacity == 0 || new < *heap {
            index
        } else {
            let weakest = *heap;
            sift_down(heap, len, 0, new);
            key_index(weakest, ties_high)
        };
        if !evicted.is_null() {
            evicted.add(t).write_unaligned(out);
        }
    }
    len
}

/// Bit `i` set where candidate `i` of the next vector may enter: an admissible score not below the threshold's.
#[inline(always)]
unsafe fn admitted<S: Simd>(x: *const f32, n: usize, threshold: f32) -> u32 {
    let lanes = if n < S::LANES { n } else { S::LANES };
    let present = (1_u32 << lanes) - 1;
    if threshold.is_nan() {
        return present;
    }
    let v = if n < S::LANES { S::load_tail(x, S::tail(n)) } else { S::load(x) };
    S::mask_bits(S::less_equal(S::splat(threshold), v)) & present
}

#[inline(always)]
pub(crate) unsafe fn top_push<S: Simd>(
    entries: *mut u64,
    mut len: usize,
    best: usize,
    room: usize,
    x: *const f32,
    valid: *const u8,
    n: usize,
    first: i32,
    ties_high: i32,
) -> usize {
    if best == 0 {
        return 0;
    }
    let ties_high = ties_high != 0;
    // With `best` entries or more, entry 0 is the weakest of some `best` of them: nothing below it can be among the best.
    let mut least = if len >= best { *entries } else { 0 };
    let mut t = 0;
    while t < n {
        let mut bits = admitted::<S>(x.add(t), n - t, key_score(least));
        while bits != 0 {
            let at = t + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let new = key(x.add(at).read_unaligned(), first.wrapping_add(at as i32), ties_high);
            if new < least || !(valid.is_null() || *valid.add(at) != 0) {
                continue;
            }
            *entries.add(len) = new;
            len += 1;
            if len == best || len == room {
                len = keep_best(entries, len, best);
                least = *entries;
            }
        }
        t += S::LANES;
    }
    len
}

#[inline(always)]
pub(crate) unsafe fn top_finish<S: Simd>(
    entries: *mut u64,
    len: usize,
    best: usize,
    ties_high: i32,
    index: *mut i32,
) -> usize {
    let len = if len > best { keep_best(entries, len, best) } else { len };
    for t in 0..len {
        // The index alone, in the order in which it is to be sorted.
        *entries.add(t) = key_index(*entries.add(t), ties_high != 0) as u64;
    }
    sort(entries, len);
    for t in 0..len {
        index.add(t).write_unaligned(*entries.add(t) as i32);
    }
    len
}

/// Reorders so that the `best` largest keys come first, the least of them at the very front; returns `best`.
#[inline(always)]
unsafe fn keep_best(entries: *mut u64, len: usize, best: usize) -> usize {
    partition_best(entries, len, best);
    let mut weakest = 0;
    for t in 1..best {
        if *entries.add(t) < *entries.add(weakest) {
            weakest = t;
        }
    }
    swap(entries, 0, weakest);
    best
}

#[inline(always)]
unsafe fn swap(keys: *mut u64, a: usize, b: usize) {
    let x = *keys.add(a);
    *keys.add(a) = *keys.add(b);
    *keys.add(b) = x;
}

/// The middle one of three keys of a range: a pivot that sorted input does not defeat.
#[inline(always)]
unsafe fn pivot(keys: *const u64, low: usize, high: usize) -> u64 {
    let (a, b, c) = (*keys.add(low), *keys.add(low + (high - low) / 2), *keys.add(high - 1));
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if c < small {
        small
    } else if c > large {
        large
    } else {
        c
    }
}

/// Quickselect for the `best` largest of `len` keys; falls back on a heap if its pivots are bad.
#[inline(always)]
unsafe fn partition_best(keys: *mut u64, len: usize, best: usize) {
    let (mut low, mut high) = (0, len);
    let mut work = 8 * len;
    while low < best && best < high {
        if work < high - low {
            return heap_best(keys.add(low), high - low, best - low);
        }
        work -= high - low;
        let middle = pivot(keys, low, high);
        // Larger keys to the front; keys are distinct, so the pivot itself is met exactly once and both sides shrink.
        let (mut i, mut j) = (low, high);
        loop {
            while *keys.add(i) > middle {
                i += 1;
            }
            while *keys.add(j - 1) < middle {
                j -= 1;
            }
            if i + 1 >= j {
                break;
            }
            swap(keys, i, j - 1);
        }
        // The pivot is at `i`.
        if best <= i {
            high = i;
        } else {
            low = i + 1;
        }
    }
}

/// The `best` largest keys to the front by a heap over the first `best`.
#[inline(always)]
unsafe fn heap_best(keys: *mut u64, len: usize, best: usize) {
    let mut at = best / 2;
    while at > 0 {
        at -= 1;
        sift_down(keys, best, at, *keys.add(at));
    }
    for t in best..len {
        let weakest = *keys;
        if *keys.add(t) > weakest {
            sift_down(keys, best, 0, *keys.add(t));
            *keys.add(t) = weakest;
        }
    }
}

/// Sorts distinct keys, ascending, in place: quicksort down to short ranges with a heap sort for bad pivots, then
/// insertion over everything.
#[inline(always)]
unsafe fn sort(keys: *mut u64, len: usize) {
    const SHORT: usize = 16;
    // The larger side of every split waits here, so 64 ranges are enough for any length.
    let mut waiting = [(0_usize, 0_usize); 64];
    let mut depth = 0;
    let (mut low, mut high) = (0, len);
    let mut work = 4 * len * (usize::BITS - len.leading_zeros()) as usize;
    loop {
        while high - low > SHORT {
            if work < high - low {
                heap_sort(keys.add(low), high - low);
                break;
            }
            work -= high - low;
            let middle = pivot(keys, low, high);
            let (mut i, mut j) = (low, high);
            loop {
                while *keys.add(i) < middle {
                    i += 1;
                }
                while *keys.add(j - 1) > middle {
                    j -= 1;
                }
                if i + 1 >= j {
                    break;
                }
                swap(keys, i, j - 1);
            }
            let (left, right) = ((low, i), (i + 1, high));
            let (small, large) = if i - low < high - i { (left, right) } else { (right, left) };
            *waiting.as_mut_ptr().add(depth) = large;
            depth += 1;
            (low, high) = small;
        }
        if depth == 0 {
            break;
        }
        depth -= 1;
        (low, high) = *waiting.as_ptr().add(depth);
    }
    for t in 1..len {
        let new = *keys.add(t);
        let mut at = t;
        while at > 0 && *keys.add(at - 1) > new {
            *keys.add(at) = *keys.add(at - 1);
            at -= 1;
        }
        *keys.add(at) = new;
    }
}

#[inline(always)]
unsafe fn heap_sort(keys: *mut u64, len: usize) {
    let mut at = len / 2;
    while at > 0 {
        at -= 1;
        sift_down(keys, len, at, *keys.add(at));
    }
    // The least key goes to the back each time, which leaves them descending.
    let mut end = len;
    while end > 1 {
        end -= 1;
        let last = *keys.add(end);
        *keys.add(end) = *keys;
        sift_down(keys, end, 0, last);
    }
    let (mut i, mut j) = (0, len);
    while i + 1 < j {
        j -= 1;
        swap(keys, i, j);
        i += 1;
    }
}
