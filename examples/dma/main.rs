//! Dynamic mask attention on tensors of a safetensors file.
//!
//! `cargo run --release -p dmac-examples --bin dma -- INPUT.safetensors OUTPUT.safetensors`: `q`, `k`, `v`, `wdt` and `a`
//! in, `out` and `lse` out. Sizes and the storage type are those of the file. If there is no INPUT, one is made.
#![expect(clippy::print_stdout, reason = "it shows its results")]

use anyhow::{Context as _, Result, bail};
use dmac::{Arguments, Attention, Options, Storage, TensorView};
use safetensors::tensor::TensorView as StoredView;
use safetensors::{Dtype, SafeTensors, serialize_to_file};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (input, output) = paths.next().zip(paths.next()).context("usage: dma INPUT OUTPUT")?;
    if !input.exists() {
        make_input(&input)?;
    }
    let bytes = std::fs::read(&input).with_context(|| format!("cannot read {}", input.display()))?;
    let file = SafeTensors::deserialize(&bytes)?;

    let q = file.tensor("q")?;
    let storage = match q.dtype() {
        Dtype::F32 => Storage::F32,
        Dtype::F16 => Storage::F16,
        Dtype::BF16 => Storage::Bf16,
        other => bail!("q holds {other:?}"),
    };
    let head_dim = *q.shape().last().context("q has no axes")?;
    let attention = Attention::compile(include_str!("dma.dmac"), &Options::native(head_dim as i64, storage))?;

    let mut arguments = Arguments::new();
    for (name, tensor) in file.tensors() {
        let view = TensorView::of_safetensors(&name, &tensor)?;
        arguments = arguments.tensor(name, view);
    }
    let results = attention.run(&arguments)?;

    let mut stored = Vec::new();
    for (name, tensor) in &results.tensors {
        println!("{name} {} {:?}", tensor.element(), tensor.dims());
        // The statistics are f32, results are stored as the inputs are.
        let dtype = if name == "out" { q.dtype() } else { Dtype::F32 };
        stored.push((name, StoredView::new(dtype, tensor.dims().to_vec(), tensor.bytes())?));
    }
    serialize_to_file(stored, None, &output)?;
    Ok(())
}

/// Random tensors: eight query heads on two key/value heads, 3000 positions, of which `w` = 1024 are kept.
fn make_input(path: &Path) -> Result<()> {
    let (q, kv) = (vec![1, 8, 3000, 64], vec![1, 2, 3000, 64]);
    let shapes = [("q", q), ("k", kv.clone()), ("v", kv), ("wdt", vec![2, 2, 64]), ("a", vec![2])];
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as f32 / u32::MAX as f32 - 0.5
    };
    let bytes = shapes.clone().map(|(_, dims)| {
        (0..dims.iter().product()).flat_map(|_: usize| next().to_le_bytes()).collect::<Vec<u8>>()
    });
    let mut views = Vec::new();
    for ((name, dims), bytes) in shapes.into_iter().zip(&bytes) {
        views.push((name, StoredView::new(Dtype::F32, dims, bytes)?));
    }
    Ok(serialize_to_file(views, None, path)?)
}
