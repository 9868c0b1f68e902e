//! Tensors in safetensors files.

use crate::files::write;
use crate::terminal::Failure;
use dmac::Element;
use dmac::runtime::{Tensor, TensorView};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// The bytes of a tensor file.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io(format!("cannot read {}: {error}", path.display())))
}

/// The tensors of a file's bytes, by name.
pub fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(String, TensorView<'a>)>, Failure> {
    let broken = |what: &dyn std::fmt::Display| {
        Failure::io(format!("{} is not a complete safetensors file: {what}", path.display()))
    };
    let file = SafeTensors::deserialize(bytes).map_err(|error| broken(&error))?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let view = TensorView::of_safetensors(&name, &view)
            .map_err(|error| Failure::io(format!("{}: {error}", path.display())))?;
        tensors.push((name, view));
    }
    tensors.sort_by(|x, y| x.0.cmp(&y.0));
    Ok(tensors)
}

/// Writes named tensors to a file, whole or not at all.
pub fn save(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Failure> {
    let parts = tensors.iter().map(|(name, tensor)| {
        let dtype = match tensor.element() {
            Element::F32 => Dtype::F32,
            Element::F16 => Dtype::F16,
            Element::Bf16 => Dtype::BF16,
            Element::I32 => Dtype::I32,
            Element::Bool => Dtype::BOOL,
        };
        (name.as_str(), dtype, tensor.dims().to_vec(), tensor.bytes())
    });
    save_bytes(path, parts)
}

/// Writes tensors, each a name, an element type, dimensions and bytes, to a file, whole or not at all.
pub fn save_bytes<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, Dtype, Vec<usize>, &'a [u8])>,
) -> Result<(), Failure> {
    let views: Result<Vec<_>, _> = tensors
        .map(|(name, dtype, dims, bytes)| {
            safetensors::tensor::TensorView::new(dtype, dims, bytes).map(|view| (name, view))
        })
        .collect();
    let bytes = views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| Failure::io(format!("cannot write {}: {error}", path.display())))?;
    write(path, &bytes)
}

/// A line about a tensor: what it is, and enough numbers to see that it is alive.
pub fn summary(name: &str, element: &str, dims: &[usize], values: &[f64]) -> String {
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    let mean = if finite.is_empty() { 0.0 } else { finite.iter().sum::<f64>() / finite.len() as f64 };
    let norm = finite.iter().map(|x| x * x).sum::<f64>().sqrt();
    let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
    let odd = values.len() - finite.len();
    let odd = if odd == 0 { String::new() } else { format!("  not finite {odd}") };
    format!("{name}  {element} [{}]  mean {mean:.6}  norm {norm:.6}{odd}\n", dims.join(", "))
}
