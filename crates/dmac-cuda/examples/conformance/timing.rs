//! How fast the Hopper forward kernels run, after a check of what they compute.
//!
//! Input → output: 16 heads of 16384 × 16384 on random normal inputs → TFLOP/s, counting 4 · d operations for each score
//! that is computed and not masked.

use crate::attention::{Numbers, Problem};
use crate::job::{Gpu, LIMIT};
use crate::kernels::{self, bf16s};
use dmac_cuda::Error;
use dmac_ptx::samples::{self, Forward, Source};
use dmac_ptx_interp::conformance::Target;

/// Queries and keys.
const LENGTH: usize = 16384;
const HEADS: usize = 16;
/// Launches that one pair of events times, and pairs.
const LAUNCHES: u32 = 10;
const ROUNDS: usize = 7;
/// Output rows that are checked.
const CHECKED: usize = 48;

/// A line for each kernel.
pub fn forward(gpu: &Gpu) -> impl Iterator<Item = Result<String, Error>> {
    let kernels = [(128, false), (128, true), (64, false), (64, true)];
    kernels.into_iter().filter(|_| gpu.has(Target::Sm90a)).map(move |(d, causal)| one(gpu, d, causal))
}

fn one(gpu: &Gpu, head_dim: u32, causal: bool) -> Result<String, Error> {
    let sample = samples::forward_sm90(Forward { head_dim, causal, source: Source::Blocks });
    let p = Problem::new(head_dim as usize, (LENGTH, LENGTH), (HEADS, HEADS), causal);
    let (_, _, (error, times)) = kernels::forward(&sample, &p).run_then(gpu, |after, launch| {
        let error = error_of_some_rows(&p, &after[3]);
        if error.is_nan() || error > 5e-3 {
            let name = &sample.kernel.name;
            return Err(Error::Invalid(format!(
                "{name}: {CHECKED} rows have a relative error of {error:.1e}"
            )));
        }
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let all = gpu.device.milliseconds(|| (0..LAUNCHES).try_for_each(|_| launch()), LIMIT)?;
            times.push(all / f64::from(LAUNCHES));
        }
        times.sort_by(f64::total_cmp);
        Ok((error, times))
    })?;
    let scores = LENGTH as f64 * if causal { (LENGTH + 1) as f64 / 2.0 } else { LENGTH as f64 };
    let work = 4.0 * HEADS as f64 * scores * f64::from(head_dim);
    let (median, best) = (times[ROUNDS / 2], times[0]);
    Ok(format!(
        "{} b 1 h {HEADS} n {LENGTH}: {median:.3} ms, {:.0} TFLOP/s (median of {ROUNDS} rounds of {LAUNCHES} launches; best {best:.3} ms); \
         error of {CHECKED} rows {error:.1e}",
        sample.kernel.name,
        work / median * 1e-9
    ))
}

/// Relative error of random rows of the output, in the Euclidean norm.
fn error_of_some_rows(p: &Problem, out: &[u8]) -> f64 {
    let mut numbers = Numbers::new(5);
    let (mut difference, mut norm) = (0.0, 0.0);
    for _ in 0..CHECKED {
        let (head, i) = (numbers.below(p.heads), numbers.below(p.queries));
        let row = |x: &[half::bf16], i: usize| -> Vec<f64> {
            x[(i * p.heads + head) * p.d..][..p.d].iter().map(|x| x.to_f64()).collect()
        };
        let q = row(&p.q, i);
        let keys = if p.causal { i + 1 } else { p.keys };
        let scores: Vec<f64> = (0..keys)
            .map(|j| q.iter().zip(row(&p.k, j)).map(|(a, b)| a * b).sum::<f64>() * p.scale())
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut want = vec![0.0; p.d];
        let mut sum = 0.0;
        for (j, s) in scores.iter().enumerate() {
            let weight = (s - max).exp();
            sum += weight;
            want.iter_mut().zip(row(&p.v, j)).for_each(|(w, v)| *w += weight * v);
        }
        let from = (i * p.heads + head) * p.d * 2;
        for (w, g) in want.iter().zip(bf16s(&out[from..from + p.d * 2])) {
            difference += (g - w / sum) * (g - w / sum);
            norm += (w / sum) * (w / sum);
        }
    }
    f64::sqrt(difference / norm)
}
