//! Selections of keys: dynamic masks, learned indexers.

use crate::setting::{Floats, Setting, Sizes, softmax, weigh};

const SIZES: Sizes = Sizes { b: 2, h: 4, g: 2, m: 10, n: 15, d: 8, e: 8 };

/// The `n` of `keys` with the largest ratings; of equal ones the later (`newest`) or the earlier.
fn best(mut keys: Vec<i64>, n: usize, newest: bool, rating: &dyn Fn(i64) -> f64) -> Vec<i64> {
    keys.sort_by(|&x, &y| {
        let by_rating = rating(y).total_cmp(&rating(x));
        by_rating.then(if newest { y.cmp(&x) } else { x.cmp(&y) })
    });
    keys.truncate(n);
    keys
}

/// `exp(a[g] * softplus(sum(g', e: wdt[g, g', e] * v[b, g', j, e])))`, as the published code computes it.
fn delta(setting: &Setting, wdt: &Floats, a: &Floats, v: &Floats, [b, g, j]: [i64; 3]) -> f64 {
    let mut x = 0.0;
    for head in 0..setting.sizes.g as i64 {
        for e in 0..setting.sizes.e as i64 {
            x += wdt.at(&[g, head, e]) * v.at(&[b, head, j, e]);
        }
    }
    (a.at(&[g]) * (1.0 + x.exp()).ln()).exp()
}

#[test]
fn dynamic_masks_keep_the_highest_ratings_of_the_prefix() {
    for (w, lengths, zeroed) in [
        (4, None, false),
        (4, Some(&[15, 7][..]), false),
        (3, None, true),
        (0, None, false),
        (40, None, false),
    ] {
        let mut setting = Setting::new("dma", SIZES, &[("w", w)], &[], lengths);
        if zeroed {
            // As initialised: all ratings are 1, and the newest keys win.
            let at = setting.graph.inputs.iter().position(|input| input.name == "a").expect("a");
            setting.inputs.tensors[at] = dmac_interp::Tensor::f32(&[2], vec![0.0; 2]);
        }
        let (q, k, v) = (setting.floats("q"), setting.floats("k"), setting.floats("v"));
        let (wdt, a) = (setting.floats("wdt"), setting.floats("a"));
        setting.assert_rows(1e-6, &|row| {
            let rating = |j: i64| delta(&setting, &wdt, &a, &v, [row[0], row[2], j]);
            let keys = best((0..=row[4]).collect(), w as usize, true, &rating);
            let scores: Vec<f64> = keys.iter().map(|&j| setting.score(&q, &k, row, j) + rating(j)).collect();
            let (weights, lse) = softmax(&scores);
            (weigh(&v, [row[0], row[2]], &keys, &weights, setting.sizes.e), Some(lse))
        });
        let counts = setting.evaluate().selections;
        assert_eq!(counts.len(), 1);
    }
}

#[test]
fn an_indexer_keeps_one_list_for_all_heads() {
    let setting = Setting::new("indexed", SIZES, &[("n", 5)], &[("x", 3), ("f", 4)], None);
    let (q, k, v) = (setting.floats("q"), setting.floats("k"), setting.floats("v"));
    let (qi, ki, wi) = (setting.floats("qi"), setting.floats("ki"), setting.floats("wi"));
    setting.assert_rows(1e-7, &|row| {
        let [b, _, g, at, i] = row;
        let rating = |j: i64| {
            let head = |x: i64| {
                let dot: f64 = (0..4).map(|f| qi.at(&[b, x, at, f]) * ki.at(&[b, j, f])).sum();
                wi.at(&[b, x, at]) * dot.max(0.0)
            };
            (0..3).map(head).sum()
        };
        let keys = best((0..=i).collect(), 5, false, &rating);
        let scores: Vec<f64> = keys.iter().map(|&j| setting.score(&q, &k, row, j)).collect();
        let (weights, lse) = softmax(&scores);
        (weigh(&v, [b, g], &keys, &weights, setting.sizes.e), Some(lse))
    });
}
