//! Attention written out as nested loops over flat slices, independent of the interpreter.

use crate::build::Sizes;
use dmac_interp::{Data, Inputs, Tensor};

/// A pair of a query row and a key.
#[derive(Clone, Copy)]
pub struct Pair {
    pub b: usize,
    pub g: usize,
    /// The row's position.
    pub i: i64,
    pub j: usize,
}

pub fn floats(tensor: &Tensor) -> &[f32] {
    match &tensor.data {
        Data::F32(data) => data,
        other => panic!("not floats: {other:?}"),
    }
}

/// Softmax attention: `(out, lse)`. `attend` says which pairs are attended, `score` changes the scaled score, `sink` is a
/// logit of each head.
pub fn softmax(
    inputs: &Inputs,
    sizes: Sizes,
    attend: &dyn Fn(Pair) -> bool,
    score: &dyn Fn(f64, Pair) -> f64,
    sink: Option<&[f32]>,
) -> (Vec<f64>, Vec<f64>) {
    let Sizes { b, h, g, m, n, d, e } = sizes;
    let (q, k, v) = (floats(&inputs.tensors[0]), floats(&inputs.tensors[1]), floats(&inputs.tensors[2]));
    let (mut out, mut lse) = (Vec::new(), Vec::new());
    for batch in 0..b {
        let length = inputs.kv_len.as_ref().map_or(n, |lengths| lengths[batch] as usize);
        for head in 0..h {
            let kv = sizes.key_head(head);
            for row in 0..m {
                let mut logits = vec![];
                for j in 0..length {
                    let pair = Pair { b: batch, g: kv, i: row as i64 + length as i64 - m as i64, j };
                    if !attend(pair) {
                        continue;
                    }
                    let query = &q[((batch * h + head) * m + row) * d..][..d];
                    let key = &k[((batch * g + kv) * n + j) * d..][..d];
                    let dot: f64 = query.iter().zip(key).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                    logits.push((j, score(dot / (d as f64).sqrt(), pair)));
                }
                let mut mass: f64 = logits.iter().map(|(_, s)| s.exp()).sum();
                if let Some(sink) = sink {
                    mass += f64::from(sink[head]).exp();
                }
                lse.push(mass.ln());
                for feature in 0..e {
                    let value = |j: usize| f64::from(v[((batch * g + kv) * n + j) * e + feature]);
                    out.push(logits.iter().map(|(j, s)| s.exp() / mass * value(*j)).sum());
                }
            }
        }
    }
    (out, lse)
}

/// Asserts equality up to rounding of float64.
pub fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (x, y)) in found.iter().zip(expected).enumerate() {
        let close = x == y || (x - y).abs() <= tolerance * y.abs().max(1.0);
        assert!(close, "element {at}: {x}, expected {y}");
    }
}
