//! Attention in f64, forward and backward, on bf16 inputs: the reference for whole kernels.

use half::bf16;

/// A small deterministic source of numbers (a linear congruential generator's high bits).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    /// Roughly normal, with variance 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| (self.next() & 0xFF_FFFF) as f32 / 16_777_216.0).sum::<f32>() - 6.0
    }

    pub fn bf16s(&mut self, n: usize) -> Vec<bf16> {
        (0..n).map(|_| bf16::from_f32(self.normal())).collect()
    }
}

/// One problem: tensors are (sequence, head, head size), the batch is one.
pub struct Problem {
    pub d: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub causal: bool,
    /// Keys that each (head, q tile) attends, for gathered kernels, with the tile's rows.
    pub lists: Option<(usize, Vec<Vec<u32>>)>,
    pub q: Vec<bf16>,
    pub k: Vec<bf16>,
    pub v: Vec<bf16>,
    pub dout: Vec<bf16>,
}

/// Output (query, head, d) and lse (head, query).
pub struct Forward {
    pub out: Vec<f64>,
    pub lse: Vec<f64>,
}

/// Gradients in the layout of their tensors, and Σ out · dout by (head, query).
pub struct Backward {
    pub dq: Vec<f64>,
    pub dk: Vec<f64>,
    pub dv: Vec<f64>,
    pub delta: Vec<f64>,
}

impl Problem {
    pub fn new(
        d: usize,
        (queries, keys): (usize, usize),
        (heads, kv_heads): (usize, usize),
        causal: bool,
    ) -> Self {
        let mut n = Numbers::new((d * 31 + queries * 7 + keys) as u64);
        Problem {
            d,
            queries,
            keys,
            heads,
            kv_heads,
            causal,
            lists: None,
            q: n.bf16s(queries * heads * d),
            k: n.bf16s(keys * kv_heads * d),
            v: n.bf16s(keys * kv_heads * d),
            dout: n.bf16s(queries * heads * d),
        }
    }

    /// Gives every q tile of `rows` rows a random list of keys; the second one is empty.
    pub fn with_lists(mut self, rows: usize) -> Self {
        let mut n = Numbers::new(77);
        let tiles = self.queries.div_ceil(rows);
        let lists = (0..self.heads * tiles)
            .map(|t| {
                let mut all: Vec<u32> = (0..self.keys as u32).collect();
                for i in (1..all.len()).rev() {
                    all.swap(i, n.below(i + 1));
                }
                let count = match t {
                    0 => self.keys,
                    1 => 0,
                    _ => n.below(self.keys + 1),
                };
                all.truncate(count);
                all
            })
            .collect();
        self.lists = Some((rows, lists));
        self
    }

    pub fn scale(&self) -> f64 {
        1.0 / (self.d as f64).sqrt()
    }

    fn attends(&self, head: usize, i: usize, j: usize) -> bool {
        if let Some((rows, lists)) = &self.lists {
            let tiles = self.queries.div_ceil(*rows);
            return lists[head * tiles + i / rows].contains(&(j as u32));
        }
        !self.causal || j as i64 <= i as i64 + self.keys as i64 - self.queries as i64
    }

    fn row<'a>(&self, x: &'a [bf16], heads: usize, i: usize, h: usize) -> &'a [bf16] {
        &x[(i * heads + h) * self.d..][..self.d]
    }

    fn kv_head(&self, h: usize) -> usize {
        h / (self.heads / self.kv_heads)
    }

    /// Probabilities of one row and its lse; `None` when it attends nothing.
    fn probabilities(&self, h: usize, i: usize) -> Option<(Vec<f64>, f64)> {
        let q = self.row(&self.q, self.heads, i, h);
        let scores: Vec<f64> = (0..self.keys)
            .map(|j| {
                if !self.attends(h, i, j) {
                    return f64::NEG_INFINITY;
                }
                let k = self.row(&self.k, self.kv_heads, j, self.kv_head(h));
                q.iter().zip(k).map(|(a, b)| a.to_f64() * b.to_f64()).sum::<f64>() * self.scale()
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if max == f64::NEG_INFINITY {
            return None;
        }
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        let lse = max + sum.ln();
        Some((scores.iter().map(|s| (s - lse).exp()).collect(), lse))
    }

    pub fn forward(&self) -> Forward {
        let mut out = vec![0.0; self.q.len()];
        let mut lse = vec![f64::NEG_INFINITY; self.heads * self.queries];
        for h in 0..self.heads {
            for i in 0..self.queries {
                let Some((p, l)) = self.probabilities(h, i) else { continue };
                lse[h * self.queries + i] = l;
                let o = &mut out[(i * self.heads + h) * self.d..][..self.d];
                for (j, p) in p.iter().enumerate().filter(|(_, p)| **p > 0.0) {
                    for (o, v) in o.iter_mut().zip(self.row(&self.v, self.kv_heads, j, self.kv_head(h))) {
                        *o += p * v.to_f64();
                    }
                }
            }
        }
        Forward { out, lse }
    }

    pub fn backward(&self) -> Backward {
        let forward = self.forward();
        let mut g = Backward {
            dq: vec![0.0; self.q.len()],
            dk: vec![0.0; self.k.len()],
            dv: vec![0.0; self.v.len()],
            delta: vec![0.0; self.heads * self.queries],
        };
        for h in 0..self.heads {
            let kv = self.kv_head(h);
            for i in 0..self.queries {
                let at = (i * self.heads + h) * self.d;
                let dout = self.row(&self.dout, self.heads, i, h);
                let delta: f64 = dout.iter().zip(&forward.out[at..]).map(|(a, b)| a.to_f64() * b).sum();
                g.delta[h * self.queries + i] = delta;
                let Some((p, _)) = self.probabilities(h, i) else { continue };
                for (j, p) in p.iter().enumerate().filter(|(_, p)| **p > 0.0) {
                    let (k, v) =
                        (self.row(&self.k, self.kv_heads, j, kv), self.row(&self.v, self.kv_heads, j, kv));
                    let dp: f64 = dout.iter().zip(v).map(|(a, b)| a.to_f64() * b.to_f64()).sum();
                    let ds = p * (dp - delta) * self.scale();
                    let q = self.row(&self.q, self.heads, i, h);
                    let to = (j * self.kv_heads + kv) * self.d;
                    for e in 0..self.d {
                        g.dq[at + e] += ds * k[e].to_f64();
                        g.dk[to + e] += ds * q[e].to_f64();
                        g.dv[to + e] += p * dout[e].to_f64();
                    }
                }
            }
        }
        g
    }
}

/// Relative error in the Euclidean norm.
pub fn relative(got: impl IntoIterator<Item = f64>, want: &[f64]) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for (g, w) in got.into_iter().zip(want) {
        difference += (g - w) * (g - w);
        norm += w * w;
    }
    (difference / f64::max(norm, 1e-30)).sqrt()
}

/// Largest absolute error where the reference is finite; infinite unless both are −∞ at the same places.
pub fn worst(got: impl IntoIterator<Item = f64>, want: &[f64]) -> f64 {
    got.into_iter()
        .zip(want)
        .map(|(g, w)| {
            if w.is_finite() {
                (g - w).abs()
            } else if g == *w {
                0.0
            } else {
                f64::INFINITY
            }
        })
        .fold(0.0, f64::max)
}
