//! Low-rank attention: keys and values projected along the sequence.

use crate::setting::{Setting, Sizes, softmax};

#[test]
fn projected_keys_and_values_mix_all_positions() {
    let sizes = Sizes { b: 2, h: 2, g: 1, m: 6, n: 11, d: 8, e: 8 };
    let setting = Setting::new("low_rank", sizes, &[("r", 5)], &[], None);
    let (q, k, v) = (setting.floats("q"), setting.floats("k"), setting.floats("v"));
    let (pk, pv) = (setting.floats("pk"), setting.floats("pv"));
    setting.assert_rows(1e-6, &|[b, h, g, row, _]| {
        let project = |p: &crate::setting::Floats, x: &crate::setting::Floats, at: i64, f: i64| -> f64 {
            (0..11).map(|j| p.at(&[g, at, j]) * x.at(&[b, g, j, f])).sum()
        };
        let score = |p: i64| {
            let dot: f64 = (0..8).map(|d| q.at(&[b, h, row, d]) * project(&pk, &k, p, d)).sum();
            dot / 8.0_f64.sqrt()
        };
        let (weights, _) = softmax(&(0..5).map(score).collect::<Vec<f64>>());
        let out = |e: i64| (0..5).map(|p| weights[p as usize] * project(&pv, &v, p, e)).sum();
        ((0..8).map(out).collect(), None)
    });
}
