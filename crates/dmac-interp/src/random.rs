//! Random inputs of a graph: what `--random` and the tests run on.
//!
//! Input → output: sizes of axes by name and a seed → [`Inputs`] of those sizes, the same on every machine. Floats are
//! standard normal and rounded to the storage type. Ints with a declared range are uniform in it. Ints without one and
//! with an axis of keys are ids of segments: non-decreasing along the keys. Other ints are small. Bools are fair.

use crate::rows::split_mix;
use crate::shape::ShapeError;
use crate::tensor::{Data, Inputs, Storage, Tensor};
use dmac_ir::{AxisKind, Elem, Graph, Input};
use std::collections::BTreeMap;

/// Random inputs. `sizes` gives the axes that are not fixed by the graph, by name (`B`, `H`, `G`, `M`, `N`, a free axis);
/// an axis that it does not name is 1, `G` is `H`, `M` and `N` are each other.
pub fn random_inputs(
    graph: &Graph,
    sizes: &BTreeMap<String, i64>,
    storage: Storage,
    seed: u64,
) -> Result<Inputs, ShapeError> {
    let size = |name: &str| {
        let other = match name {
            "G" => "H",
            "M" => "N",
            "N" => "M",
            _ => name,
        };
        sizes.get(name).or_else(|| sizes.get(other)).copied()
    };
    let mut axes = Vec::new();
    for axis in &graph.axes {
        let given = size(&axis.name);
        match (axis.size, given) {
            (Some(fixed), Some(found)) if fixed != found => {
                return Err(ShapeError::Conflict {
                    axis: axis.name.clone(),
                    expected: fixed,
                    reason: "the program is compiled for it".into(),
                    tensor: "--random".into(),
                    found,
                });
            }
            (Some(fixed), _) => axes.push(fixed),
            (None, given) => axes.push(given.unwrap_or(1)),
        }
    }
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let tensors = graph
        .inputs
        .iter()
        .map(|input| {
            let dims: Vec<usize> =
                input.axes.iter().map(|axis| axes[axis.0 as usize].max(0) as usize).collect();
            tensor(graph, input, dims, storage, &mut state)
        })
        .collect();
    Ok(Inputs { storage, ..Inputs::new(graph, tensors) })
}

fn tensor(graph: &Graph, input: &Input, dims: Vec<usize>, storage: Storage, state: &mut u64) -> Tensor {
    let count: usize = dims.iter().product();
    let data = match input.elem {
        Elem::Real => Data::F32((0..count).map(|_| storage.round(f64::from(normal(state))) as f32).collect()),
        Elem::F32 => Data::F32((0..count).map(|_| normal(state)).collect()),
        Elem::Bool => Data::Bool((0..count).map(|_| split_mix(state) & 1 == 1).collect()),
        Elem::I32 => Data::I32(match input.range {
            Some((lo, hi)) => (0..count).map(|_| uniform(state, lo, hi)).collect(),
            None => match input.axes.last() {
                Some(&last) if graph.axis(last).kind == AxisKind::Key => {
                    segments(count, dims.last().copied().unwrap_or(1), state)
                }
                _ => (0..count).map(|_| uniform(state, 0, 3)).collect(),
            },
        }),
    };
    Tensor { dims, data }
}

/// Ids that grow by one about five times a row.
fn segments(count: usize, row: usize, state: &mut u64) -> Vec<i32> {
    let mut ids = Vec::with_capacity(count);
    let mut id = 0;
    for at in 0..count {
        if at % row == 0 {
            id = 0;
        } else if split_mix(state).is_multiple_of(row as u64 / 5 + 1) {
            id += 1;
        }
        ids.push(id);
    }
    ids
}

fn uniform(state: &mut u64, lo: i64, hi: i64) -> i32 {
    let span = (hi - lo).max(0) as u64 + 1;
    (lo + (split_mix(state) % span) as i64) as i32
}

/// A standard normal number: Box and Muller (1958), the first of the pair.
fn normal(state: &mut u64) -> f32 {
    let unit = |state: &mut u64| ((split_mix(state) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let radius = (-2.0 * unit(state).ln()).sqrt();
    (radius * (std::f64::consts::TAU * unit(state)).cos()) as f32
}
