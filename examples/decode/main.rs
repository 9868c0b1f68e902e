//! Decoding with a bounded cache: time and memory a token, after contexts of growing length.
//!
//! `cargo run --release -p dmac-examples --bin decode -- [LENGTH]...`: one line a length (1000 to 1000000 unless given),
//! for eight query heads on two key/value heads of 64 features and `w` = 1024 kept keys.
#![expect(clippy::print_stdout, reason = "it shows its results")]

use anyhow::Result;
use dmac::{Arguments, Attention, Options, Storage, TensorView};
use std::time::{Duration, Instant};

const HEADS: usize = 8;
const GROUPS: usize = 2;
const D: usize = 64;
/// Tokens that are appended and attended to at each length.
const STEPS: usize = 64;

fn main() -> Result<()> {
    let attention =
        Attention::compile(include_str!("decode.dmac"), &Options::native(D as i64, Storage::F32))?;
    let decoder = attention.decoder()?;
    let given: Vec<usize> =
        std::env::args().skip(1).map(|length| length.parse()).collect::<Result<_, _>>()?;
    let lengths = if given.is_empty() { vec![1_000, 10_000, 100_000, 1_000_000] } else { given };
    let (wdt, a) = (random(GROUPS * GROUPS * D, 1), vec![0.5; GROUPS]);
    println!("{:>9}  {:>12}  {:>12}  {:>12}", "tokens", "append us", "attend us", "cache KiB");
    for length in lengths {
        let dims = [1, GROUPS, length, D];
        let (k, v) = (random(GROUPS * length * D, 2), random(GROUPS * length * D, 3));
        let prompt = Arguments::new()
            .tensor("k", TensorView::of_f32(&dims, &k)?)
            .tensor("v", TensorView::of_f32(&dims, &v)?)
            .tensor("wdt", TensorView::of_f32(&[GROUPS, GROUPS, D], &wdt)?)
            .tensor("a", TensorView::of_f32(&[GROUPS], &a)?);
        let mut cache = decoder.init(HEADS, &prompt)?;
        let (mut append, mut attend) = (Vec::new(), Vec::new());
        for step in 0..STEPS {
            let (k, v, q) =
                (random(GROUPS * D, 5 + step), random(GROUPS * D, 6 + step), random(HEADS * D, 7 + step));
            let dims = [1, GROUPS, 1, D];
            let token = Arguments::new()
                .tensor("k", TensorView::of_f32(&dims, &k)?)
                .tensor("v", TensorView::of_f32(&dims, &v)?);
            let start = Instant::now();
            cache.append(&token)?;
            append.push(start.elapsed());
            let query = Arguments::new().tensor("q", TensorView::of_f32(&[1, HEADS, 1, D], &q)?);
            let start = Instant::now();
            cache.attend(&query)?;
            attend.push(start.elapsed());
        }
        let (append, attend) = (median(append), median(attend));
        println!("{length:>9}  {append:>12.1}  {attend:>12.1}  {:>12}", cache.bytes() / 1024);
    }
    Ok(())
}

/// The median in microseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// Numbers between -0.5 and 0.5.
fn random(count: usize, seed: usize) -> Vec<f32> {
    let mut state = (seed as u32).wrapping_mul(2_654_435_761);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(next).collect()
}
