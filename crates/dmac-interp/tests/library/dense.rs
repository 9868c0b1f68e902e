//! Masks by position and by document, and changes of the score.

use crate::setting::{Setting, Sizes, softmax, weigh};

const SIZES: Sizes = Sizes { b: 2, h: 4, g: 2, m: 9, n: 14, d: 8, e: 16 };

/// Attention to the keys that `attend` keeps, with scores changed by `score` (row, key, score).
fn check(
    setting: &Setting,
    attend: &dyn Fn([i64; 5], i64) -> bool,
    score: &dyn Fn([i64; 5], i64, f64) -> f64,
) {
    let (q, k, v) = (setting.floats("q"), setting.floats("k"), setting.floats("v"));
    setting.assert_rows(1e-7, &|row| {
        let length = setting.lengths[row[0] as usize] as i64;
        let keys: Vec<i64> = (0..length).filter(|&j| attend(row, j)).collect();
        let scores: Vec<f64> = keys.iter().map(|&j| score(row, j, setting.score(&q, &k, row, j))).collect();
        let (weights, lse) = softmax(&scores);
        (weigh(&v, [row[0], row[2]], &keys, &weights, setting.sizes.e), Some(lse))
    });
}

#[test]
fn full_and_causal() {
    for lengths in [None, Some(&[14, 5][..])] {
        check(&Setting::new("full", SIZES, &[], &[], lengths), &|_, _| true, &|_, _, s| s);
        check(&Setting::new("causal", SIZES, &[], &[], lengths), &|row, j| j <= row[4], &|_, _, s| s);
    }
}

#[test]
fn sliding_window_with_sinks() {
    let setting = Setting::new("sliding_window_sinks", SIZES, &[("window", 3), ("sink", 2)], &[], None);
    check(&setting, &|row, j| j <= row[4] && (row[4] - j < 3 || j < 2), &|_, _, s| s);
}

#[test]
fn alibi_and_softcap() {
    let setting = Setting::new("alibi", SIZES, &[], &[], Some(&[14, 6]));
    let slope = setting.floats("slope");
    check(&setting, &|row, j| j <= row[4], &|row, j, s| s + slope.at(&[row[1]]) * (j - row[4]) as f64);
    let setting = Setting::new("softcap", SIZES, &[], &[], None).with_float("cap", 0.75);
    check(&setting, &|row, j| j <= row[4], &|_, _, s| 0.75 * (s / 0.75).tanh());
}

#[test]
fn documents() {
    let sizes = Sizes { m: 17, ..SIZES };
    for sizes in [SIZES, sizes] {
        let setting = Setting::new("document", sizes, &[], &[], None);
        let doc = setting.floats("doc");
        let same = |row: [i64; 5], j: i64| doc.at(&[row[0], row[4]]) == doc.at(&[row[0], j]);
        check(&setting, &|row, j| j <= row[4] && same(row, j), &|_, _, s| s);
    }
}
