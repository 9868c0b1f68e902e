//! Random inputs of a graph: what `--random` and the tests run on.
//!
//! Input → output: sizes of axes by name, parameters and a seed → [`Inputs`] of those sizes, the same on every machine.
//! Queries, keys and values are standard normal. Other `real` tensors are scaled as trained ones are: those without a batch
//! axis are weights, by one over the square root of their longest axis; `f32` tensors are slopes and logits, by a tenth. So
//! scores keep a size that f32 holds to the accuracy that results are compared with. Ints with a declared range are uniform
//! in it. Ints without one and with an axis of keys are ids of segments: non-decreasing along the keys. Other ints are
//! small. Bools are fair.

use crate::rows::split_mix;
use crate::shape::{ShapeError, computed, resolve_computed};
use crate::tensor::{Data, Inputs, Storage, Tensor};
use dmac_ir::{AxisKind, Elem, Graph, Input, ParamId, ParamValue};
use std::collections::BTreeMap;

/// The size of an axis of the program's own inputs that is not given, where no window says better.
const SMALL: i64 = 4;

/// Random inputs. `sizes` gives the axes that are not fixed by the graph, by name (`B`, `H`, `G`, `M`, `N`, a free axis). Of
/// those that it does not give, `G` is `H`, `M` and `N` are each other, `B` and `H` are 1, and a free axis is as long as the
/// program's windows, else 4. Parameters have their defaults.
///
/// # Errors
/// A size that contradicts what the graph is compiled for.
pub fn random_inputs(
    graph: &Graph,
    sizes: &BTreeMap<String, i64>,
    storage: Storage,
    seed: u64,
) -> Result<Inputs, ShapeError> {
    let params = graph.params.iter().map(|param| param.default).collect();
    random_inputs_with(graph, sizes, params, storage, seed)
}

/// [`random_inputs`] with these parameters, on which sizes may depend.
///
/// # Errors
/// As [`random_inputs`].
pub fn random_inputs_with(
    graph: &Graph,
    sizes: &BTreeMap<String, i64>,
    params: Vec<ParamValue>,
    storage: Storage,
    seed: u64,
) -> Result<Inputs, ShapeError> {
    let axes = axis_sizes(graph, sizes, &params)?;
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let tensors = graph
        .inputs
        .iter()
        .enumerate()
        .map(|(at, input)| {
            let dims: Vec<usize> =
                input.axes.iter().map(|axis| axes[axis.0 as usize].max(0) as usize).collect();
            let scale = scale(graph, at, input, &dims);
            let range = input.range_at(&|id| int(&params, id), &|axis| axes.get(axis.0 as usize).copied());
            tensor(graph, input, dims, range, (storage, scale), &mut state)
        })
        .collect();
    Ok(Inputs { params, storage, ..Inputs::new(graph, tensors) })
}

/// The sizes of all axes: given ones, then those that are computed from them.
fn axis_sizes(
    graph: &Graph,
    sizes: &BTreeMap<String, i64>,
    params: &[ParamValue],
) -> Result<Vec<i64>, ShapeError> {
    let ints: Vec<Option<i64>> = (0..params.len() as u32).map(|id| int(params, ParamId(id))).collect();
    let windows = graph.axes.iter().find_map(|axis| match &axis.kind {
        AxisKind::Windows { length, .. } => length.eval(&|id| int(params, id), &|_| None),
        _ => None,
    });
    let mut known = Vec::new();
    for axis in &graph.axes {
        let other = match axis.name.as_str() {
            "G" => "H",
            "M" => "N",
            "N" => "M",
            name => name,
        };
        let given = sizes.get(&axis.name).or_else(|| sizes.get(other)).copied();
        known.push(match (axis.size, given) {
            (Some(fixed), Some(found)) if fixed != found => {
                return Err(ShapeError::Conflict {
                    axis: axis.name.clone(),
                    expected: fixed,
                    reason: "the program is compiled for it".into(),
                    tensor: "--random".into(),
                    found,
                });
            }
            (Some(fixed), _) => Some(fixed),
            _ if computed(&axis.kind) => None,
            (None, Some(given)) => Some(given),
            (None, None) if axis.kind == AxisKind::Free => Some(windows.unwrap_or(SMALL)),
            (None, None) => Some(1),
        });
    }
    resolve_computed(graph, &ints, &mut known)?;
    Ok(known.into_iter().map(|size| size.unwrap_or(0)).collect())
}

/// The value of an int parameter.
fn int(params: &[ParamValue], id: ParamId) -> Option<i64> {
    match params[id.0 as usize] {
        ParamValue::Int(value) => Some(value),
        ParamValue::Float(_) => None,
    }
}

/// What standard normal numbers are multiplied by.
fn scale(graph: &Graph, at: usize, input: &Input, dims: &[usize]) -> f32 {
    let is_weight = !input.axes.iter().any(|&axis| graph.axis(axis).kind == AxisKind::Batch);
    match input.elem {
        Elem::F32 => 0.1,
        Elem::Real if at >= 3 && is_weight => {
            1.0 / (dims.iter().copied().max().unwrap_or(1).max(1) as f32).sqrt()
        }
        _ => 1.0,
    }
}

fn tensor(
    graph: &Graph,
    input: &Input,
    dims: Vec<usize>,
    range: Option<(i64, i64)>,
    (storage, scale): (Storage, f32),
    state: &mut u64,
) -> Tensor {
    let count: usize = dims.iter().product();
    let data = match input.elem {
        Elem::Real => {
            Data::F32((0..count).map(|_| storage.round(f64::from(scale * normal(state))) as f32).collect())
        }
        Elem::F32 => Data::F32((0..count).map(|_| scale * normal(state)).collect()),
        Elem::Bool => Data::Bool((0..count).map(|_| split_mix(state) & 1 == 1).collect()),
        Elem::I32 => Data::I32(match range {
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
