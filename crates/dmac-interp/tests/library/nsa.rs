//! Native sparse attention (arXiv 2502.11089) from the paper's equations: compression 7, importance 8 to 10, gates 5.

use crate::setting::{Floats, Setting, Sizes, softmax, weigh};

/// Window length and stride, block length, blocks selected, sliding window.
#[derive(Clone, Copy)]
struct Parameters {
    l: i64,
    stride: i64,
    block: i64,
    n: usize,
    window: i64,
}

struct Nsa<'a> {
    setting: &'a Setting,
    p: Parameters,
    q: Floats,
    k: Floats,
    v: Floats,
    phi_k: Floats,
    phi_v: Floats,
}

impl Nsa<'_> {
    /// The compressed key or value of a window: every position and feature weighted.
    fn compressed(&self, phi: &Floats, x: &Floats, [b, g, c]: [i64; 3], feature: i64, features: i64) -> f64 {
        let mut sum = 0.0;
        for t in 0..self.p.l {
            for f in 0..features {
                sum += phi.at(&[g, t, f, feature]) * x.at(&[b, g, c * self.p.stride + t, f]);
            }
        }
        sum
    }

    /// The windows that a row sees, all of each, and their probabilities.
    fn windows(&self, [b, h, g, row, i]: [i64; 5]) -> (Vec<i64>, Vec<f64>) {
        let d = self.setting.sizes.d as i64;
        let length = self.setting.lengths[b as usize] as i64;
        let mut seen: Vec<i64> = Vec::new();
        while (seen.len() as i64) * self.p.stride + self.p.l <= (i + 1).min(length) {
            seen.push(seen.len() as i64);
        }
        let scores: Vec<f64> = seen
            .iter()
            .map(|&c| {
                let dot: f64 = (0..d)
                    .map(|f| {
                        self.q.at(&[b, h, row, f]) * self.compressed(&self.phi_k, &self.k, [b, g, c], f, d)
                    })
                    .sum();
                dot / (d as f64).sqrt()
            })
            .collect();
        let (weights, _) = softmax(&scores);
        (seen, weights)
    }

    /// The importance of a block to a group: equations 9 and 10. With `r = block / stride` windows a block, that of
    /// number `r * (s + 1) - 1 - m - n` for `m < r`, `n < l / stride`.
    fn importance(&self, group: &[(Vec<i64>, Vec<f64>)], s: i64) -> f64 {
        let mut sum = 0.0;
        for (_, weights) in group {
            for m in 0..self.p.block / self.p.stride {
                for n in 0..self.p.l / self.p.stride {
                    let c = self.p.block / self.p.stride * (s + 1) - 1 - m - n;
                    sum += usize::try_from(c).ok().and_then(|c| weights.get(c)).unwrap_or(&0.0);
                }
            }
        }
        sum
    }

    fn attend(&self, row: [i64; 5], keys: &[i64]) -> Vec<f64> {
        let scores: Vec<f64> = keys.iter().map(|&j| self.setting.score(&self.q, &self.k, row, j)).collect();
        let (weights, _) = softmax(&scores);
        weigh(&self.v, [row[0], row[2]], keys, &weights, self.setting.sizes.e)
    }

    /// The three branches of a row.
    fn branches(&self, row: [i64; 5]) -> [Vec<f64>; 3] {
        let [b, _, g, _, i] = row;
        let (seen, weights) = self.windows(row);
        let e = self.setting.sizes.e as i64;
        let value = |feature: i64| {
            let of = |(&c, weight): (&i64, &f64)| {
                weight * self.compressed(&self.phi_v, &self.v, [b, g, c], feature, e)
            };
            seen.iter().zip(&weights).map(of).sum()
        };
        let compressed = (0..e).map(value).collect();

        let ratio = (self.setting.sizes.h / self.setting.sizes.g) as i64;
        let group: Vec<(Vec<i64>, Vec<f64>)> =
            (g * ratio..(g + 1) * ratio).map(|h| self.windows([row[0], h, g, row[3], i])).collect();
        let own = i.div_euclid(self.p.block);
        let mut blocks: Vec<i64> = (0..=own).collect();
        let fixed = |s: i64| s == 0 || own - s < 2;
        blocks.sort_by(|&x, &y| {
            let rating = |s: i64| if fixed(s) { f64::INFINITY } else { self.importance(&group, s) };
            rating(y).total_cmp(&rating(x)).then(x.cmp(&y))
        });
        blocks.truncate(self.p.n);
        let selected: Vec<i64> = (0..=i).filter(|j| blocks.contains(&(j / self.p.block))).collect();
        let sliding: Vec<i64> = (0..=i).filter(|j| i - j < self.p.window).collect();
        [compressed, self.attend(row, &selected), self.attend(row, &sliding)]
    }
}

fn check(p: Parameters, lengths: Option<&[usize]>) {
    let sizes = Sizes { b: 2, h: 4, g: 2, m: 30, n: 37, d: 8, e: 8 };
    let pins =
        [("l", p.l), ("stride", p.stride), ("block", p.block), ("n", p.n as i64), ("window", p.window)];
    let more = [("t", p.l as usize), ("r", 3)];
    let mut setting = Setting::new("nsa", sizes, &pins, &more, lengths);
    // Smaller maps, so that probabilities are not all 0 or 1.
    for (input, tensor) in setting.graph.inputs.iter().zip(&mut setting.inputs.tensors) {
        if let (true, dmac_interp::Data::F32(data)) = (input.name.starts_with("phi"), &mut tensor.data) {
            for x in data {
                *x *= 0.2;
            }
        }
    }
    let [q, k, v, phi_k, phi_v, gate] =
        ["q", "k", "v", "phi_k", "phi_v", "gate"].map(|name| setting.floats(name));
    let nsa = Nsa { setting: &setting, p, q, k, v, phi_k, phi_v };
    setting.assert_rows(2e-6, &|row| {
        let [b, h, _, at, _] = row;
        let branches = nsa.branches(row);
        let merged = |e: usize| (0..3).map(|r| gate.at(&[b, h, at, r as i64]) * branches[r][e]).sum();
        ((0..8).map(merged).collect(), None)
    });
    let outputs = setting.evaluate();
    let chosen = outputs.selections.values().next().expect("a selection");
    assert!(chosen.chosen < chosen.candidates, "the selection leaves blocks out");
}

#[test]
fn overlapping_windows() {
    check(Parameters { l: 4, stride: 2, block: 8, n: 4, window: 5 }, None);
}

#[test]
fn windows_that_are_blocks_and_ragged_lengths() {
    check(Parameters { l: 4, stride: 4, block: 4, n: 3, window: 6 }, Some(&[37, 21]));
    check(Parameters { l: 6, stride: 3, block: 6, n: 4, window: 2 }, Some(&[35, 30]));
}
