//! A variant of one's own through the library: compiled once, run with several windows.
//!
//! `cargo run --release -p dmac-examples --bin own_variant`
#![expect(clippy::print_stdout, reason = "it shows its results")]

use dmac::{Arguments, Attention, Options, ParamValue, Storage, TensorView};
use std::error::Error;

const HEADS: usize = 4;
const LENGTH: usize = 500;
const FEATURES: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::native(FEATURES as i64, Storage::F32);
    // The error of a wrong text displays as the command prints it: what, where, and what to do.
    let attention = Attention::compile(include_str!("own_variant.dmac"), &options)?;

    let wave = |step: f32| move |at: usize| (at as f32 * step).sin();
    let q: Vec<f32> = (0..HEADS * LENGTH * FEATURES).map(wave(0.37)).collect();
    let k: Vec<f32> = (0..LENGTH * FEATURES).map(wave(0.11)).collect();
    let v: Vec<f32> = (0..LENGTH * FEATURES).map(wave(0.53)).collect();
    // The slopes of the paper on linear biases: 2^(-8 (h + 1) / H).
    let slopes: Vec<f32> = (1..=HEADS).map(|h| (-8.0 * h as f32 / HEADS as f32).exp2()).collect();

    for window in [16, 256, LENGTH as i64] {
        let arguments = Arguments::new()
            .tensor("q", TensorView::of_f32(&[1, HEADS, LENGTH, FEATURES], &q)?)
            .tensor("k", TensorView::of_f32(&[1, 1, LENGTH, FEATURES], &k)?)
            .tensor("v", TensorView::of_f32(&[1, 1, LENGTH, FEATURES], &v)?)
            .tensor("slope", TensorView::of_f32(&[HEADS], &slopes)?)
            .param("window", ParamValue::Int(window));
        let results = attention.run(&arguments)?;
        let lse = results.get("lse").ok_or("softmax has `lse`")?.to_f64();
        let mean = lse.iter().sum::<f64>() / lse.len() as f64;
        println!("window {window}: mean lse {mean:.6}");
    }
    Ok(())
}
