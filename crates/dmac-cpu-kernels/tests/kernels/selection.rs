//! Selection: the heap and the top list against sorting everything, with ties, zeros of both signs, NaN and infinities.

use std::cmp::Ordering;

use dmac_cpu_kernels::{KernelTable, entry};
use proptest::prelude::*;

use super::harness::{Guarded, Random, for_each_table};

/// Whether candidate `a` is better than `b`, spelled out as the language defines it.
fn better(a: (f32, i32), b: (f32, i32), ties_high: bool) -> bool {
    let by_score = match (a.0.is_nan(), b.0.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.0.partial_cmp(&b.0).expect("no NaN"),
    };
    match by_score {
        Ordering::Equal => (a.1 > b.1) == ties_high,
        order => order == Ordering::Greater,
    }
}

/// The indices of the best `n`, ascending.
fn best(candidates: &[(f32, i32)], n: usize, ties_high: bool) -> Vec<i32> {
    let mut sorted = candidates.to_vec();
    sorted.sort_by(|&a, &b| if better(a, b, ties_high) { Ordering::Less } else { Ordering::Greater });
    let mut indices: Vec<i32> = sorted.iter().take(n).map(|c| c.1).collect();
    indices.sort_unstable();
    indices
}

/// Pushes all scores in strips of `strip`; returns the evicted index for each.
fn heap_evictions(
    table: &KernelTable,
    scores: &[f32],
    capacity: usize,
    strip: usize,
    ties_high: bool,
) -> Vec<i32> {
    let mut heap = Guarded::filled(0_u64, capacity);
    let mut len = 0;
    let mut all = vec![];
    for (number, chunk) in scores.chunks(strip).enumerate() {
        let x = Guarded::new(chunk);
        let mut evicted = Guarded::filled(-9_i32, chunk.len());
        let first = (number * strip) as i32;
        // SAFETY: the heap has room for `capacity` entries.
        len = unsafe {
            (table.functions.heap_push)(
                heap.as_mut_ptr(),
                len,
                capacity,
                x.as_ptr(),
                x.len(),
                first,
                ties_high.into(),
                evicted.as_mut_ptr(),
            )
        };
        all.extend_from_slice(&evicted);
    }
    assert_eq!(len, capacity.min(scores.len()));
    let mut kept: Vec<i32> = heap[..len].iter().map(|&e| entry::index(e, ties_high)).collect();
    kept.sort_unstable();
    let candidates: Vec<(f32, i32)> = scores.iter().copied().zip(0..).collect();
    assert_eq!(kept, best(&candidates, capacity, ties_high));
    all
}

fn check_heap(scores: &[f32], capacity: usize, strip: usize, ties_high: bool) {
    let mut kept: Vec<(f32, i32)> = vec![];
    let mut want = vec![];
    for (&score, index) in scores.iter().zip(0..) {
        kept.push((score, index));
        if kept.len() <= capacity {
            want.push(-1);
            continue;
        }
        let weakest = (0..kept.len())
            .reduce(|a, b| if better(kept[b], kept[a], ties_high) { a } else { b })
            .expect("one at least");
        want.push(kept.swap_remove(weakest).1);
    }
    for_each_table(|table| {
        assert_eq!(heap_evictions(table, scores, capacity, strip, ties_high), want, "{}", table.name());
    });
}

fn check_top(scores: &[f32], valid: Option<&[u8]>, n: usize, room: usize, strip: usize, ties_high: bool) {
    let candidates: Vec<(f32, i32)> = scores.iter().copied().zip(0..).collect();
    let admitted: Vec<(f32, i32)> =
        candidates.iter().copied().filter(|c| valid.is_none_or(|valid| valid[c.1 as usize] != 0)).collect();
    let want = best(&admitted, n, ties_high);
    for_each_table(|table| {
        let mut entries = Guarded::filled(0_u64, room);
        let mut len = 0;
        for start in (0..scores.len()).step_by(strip) {
            let end = scores.len().min(start + strip);
            let x = Guarded::new(&scores[start..end]);
            let valid = valid.map(|valid| Guarded::new(&valid[start..end]));
            let valid = valid.as_ref().map_or(std::ptr::null(), |valid| valid.as_ptr());
            // SAFETY: the list has room for `room` entries.
            len = unsafe {
                (table.functions.top_push)(
                    entries.as_mut_ptr(),
                    len,
                    n,
                    room,
                    x.as_ptr(),
                    valid,
                    x.len(),
                    start as i32,
                    ties_high.into(),
                )
            };
        }
        let mut index = Guarded::filled(-9_i32, n);
        // SAFETY: at most `n` indices are written.
        let found = unsafe {
            (table.functions.top_finish)(entries.as_mut_ptr(), len, n, ties_high.into(), index.as_mut_ptr())
        };
        assert_eq!(index[..found], want[..], "{}", table.name());
    });
}

/// Few distinct scores, so that ties are the rule.
fn scores() -> impl Strategy<Value = Vec<f32>> {
    let score = prop_oneof![
        4 => (-3_i32..4).prop_map(|x| x as f32),
        3 => any::<f32>(),
        1 => prop::sample::select(vec![0.0_f32, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-45]),
    ];
    prop::collection::vec(score, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heap_keeps_the_best_and_names_the_evicted(
        scores in scores(), capacity in 0_usize..40, strip in 1_usize..50, ties_high: bool,
    ) {
        check_heap(&scores, capacity, strip, ties_high);
    }

    #[test]
    fn top_list_keeps_the_best(
        scores in scores(), masked: bool, n in 0_usize..40, more in 1_usize..50, strip in 1_usize..50, ties_high: bool,
    ) {
        let valid: Vec<u8> = scores.iter().map(|x| u8::from(x.to_bits() % 3 != 0)).collect();
        check_top(&scores, masked.then_some(&valid[..]), n, n + more, strip, ties_high);
    }
}

#[test]
fn long_lists_of_every_shape() {
    let len = 6000;
    let mut random = Random::new(30);
    let shapes: [Vec<f32>; 5] = [
        random.units(len),
        (0..len).map(|i| i as f32).collect(),
        (0..len).map(|i| -(i as f32)).collect(),
        vec![1.5; len],
        (0..len).map(|i| ((i * 7919) % 1000) as f32).collect(),
    ];
    for scores in &shapes {
        for ties_high in [false, true] {
            for (n, room) in [(2048, 4160), (2048, 2049), (1, 2), (100, 7000), (6000, 6001), (7000, 7001)] {
                check_top(scores, None, n, room, 512, ties_high);
            }
        }
    }
}

#[test]
fn keys_order_like_the_language() {
    let scores = [f32::NAN, f32::NEG_INFINITY, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, f32::INFINITY];
    for ties_high in [false, true] {
        for a in scores {
            for b in scores {
                let (x, y) = (entry::pack(a, 3, ties_high), entry::pack(b, 8, ties_high));
                assert_eq!(x > y, better((a, 3), (b, 8), ties_high), "{a} {b} {ties_high}");
                assert_eq!(entry::index(x, ties_high), 3);
                assert!(entry::score(x) == a || (a.is_nan() && entry::score(x).is_nan()));
            }
        }
    }
}
