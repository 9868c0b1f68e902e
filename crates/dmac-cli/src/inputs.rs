//! What a program runs on: tensors of a file or random ones, parameters, and sizes that follow from them.

use crate::args::{Build, Sizes};
use crate::terminal::Failure;
use dmac::interp::{Data, Inputs};
use dmac::runtime::TensorView;
use dmac::{Compiled, Element, Options, ParamNumber, ParamValue, Storage};

/// The options of a build; sizes that it leaves open come from `head` and `value`, the storage type from `stored`.
pub fn options(
    build: &Build,
    head: Option<i64>,
    value: Option<i64>,
    stored: Option<Storage>,
) -> Result<Options, Failure> {
    let head_dim = build
        .head_dim
        .or(head)
        .ok_or_else(|| Failure::usage("the size of features is not known: give it with --head-dim"))?;
    let storage = build.dtype.map(Storage::from).or(stored).unwrap_or(Storage::F32);
    let mut options = Options::native(head_dim, storage);
    options.value_dim = build.value_dim.or(value);
    options.defines = build.defines.defines.iter().cloned().collect();
    options.attention.clone_from(&build.attention);
    Ok(options)
}

/// The options for tensors of a file: features and storage type are those of `q` and `v`.
pub fn options_for(build: &Build, tensors: &[(String, TensorView<'_>)]) -> Result<Options, Failure> {
    let find = |name: &str| tensors.iter().find(|(own, _)| own == name).map(|(_, view)| view);
    let last = |name: &str| find(name).and_then(|view| view.dims().last()).map(|&dim| dim as i64);
    let stored = find("q").and_then(|view| match view.element() {
        Element::F32 => Some(Storage::F32),
        Element::F16 => Some(Storage::F16),
        Element::Bf16 => Some(Storage::Bf16),
        Element::I32 | Element::Bool => None,
    });
    if find("q").is_none() {
        return Err(Failure::io(
            "the input has no tensor `q`; a program reads `q`, `k`, `v` and its own inputs",
        ));
    }
    options(build, last("q"), last("v"), stored)
}

/// The options for random inputs of these sizes.
pub fn options_for_random(build: &Build, sizes: &Sizes) -> Result<Options, Failure> {
    options(build, sizes.0.get("D").copied(), sizes.0.get("E").copied(), None)
}

/// The reference's form of a file's tensors.
pub fn reference_inputs(
    compiled: &Compiled,
    tensors: &[(String, TensorView<'_>)],
) -> Result<Inputs, Failure> {
    let mut held = Vec::new();
    for input in &compiled.graph.inputs {
        let view = tensors
            .iter()
            .find(|(name, _)| *name == input.name)
            .map(|(_, view)| view)
            .ok_or_else(|| Failure::io(format!("input `{}` is missing", input.name)))?;
        let values = view.to_f64();
        let data = match view.element() {
            Element::F32 | Element::F16 | Element::Bf16 => {
                Data::F32(values.into_iter().map(|x| x as f32).collect())
            }
            Element::I32 => Data::I32(values.into_iter().map(|x| x as i32).collect()),
            Element::Bool => Data::Bool(values.into_iter().map(|x| x != 0.0).collect()),
        };
        held.push(dmac::interp::Tensor { dims: view.dims().to_vec(), data });
    }
    let mut inputs = Inputs::new(&compiled.graph, held);
    inputs.storage = reference_storage(compiled.program.storage);
    inputs.kv_len = tensors
        .iter()
        .find(|(name, _)| name == "kv_len")
        .map(|(_, view)| view.to_f64().into_iter().map(|x| x as i64).collect());
    Ok(inputs)
}

/// The reference's name for a storage type.
pub fn reference_storage(storage: Storage) -> dmac::interp::Storage {
    match storage {
        Storage::F32 => dmac::interp::Storage::F32,
        Storage::F16 => dmac::interp::Storage::F16,
        Storage::Bf16 => dmac::interp::Storage::Bf16,
    }
}

/// The values of parameters that are not given.
pub fn default_params(compiled: &Compiled) -> Vec<ParamValue> {
    compiled.graph.params.iter().map(|param| param.default).collect()
}

/// Values of run-time parameters: those that are given by name, defaults for the others. Names that the program does not
/// have are left out, so that several programs can be given the same ones.
pub fn params_with(compiled: &Compiled, given: &[(String, ParamNumber)]) -> Result<Vec<ParamValue>, Failure> {
    let value = |param: &dmac::ir::Param| {
        let found = given.iter().rev().find(|(name, _)| *name == param.name).map(|(_, number)| *number);
        match (param.default, found) {
            (default, None) => Ok(default),
            (ParamValue::Int(_), Some(ParamNumber::Int(value))) => Ok(ParamValue::Int(value)),
            (ParamValue::Float(_), Some(ParamNumber::Int(value))) => Ok(ParamValue::Float(value as f32)),
            (ParamValue::Float(_), Some(ParamNumber::Float(value))) => Ok(ParamValue::Float(value as f32)),
            (ParamValue::Int(_), Some(_)) => {
                Err(Failure::usage(format!("parameter `{}` must be an int", param.name)))
            }
        }
    };
    compiled.graph.params.iter().map(value).collect()
}

/// Random inputs of these sizes and parameters.
pub fn random_inputs(
    compiled: &Compiled,
    sizes: &Sizes,
    params: Vec<ParamValue>,
    seed: u64,
) -> Result<Inputs, Failure> {
    for name in sizes.0.keys() {
        if !compiled.graph.axes.iter().any(|axis| axis.name == *name) {
            let known: Vec<&str> = compiled.graph.axes.iter().map(|axis| axis.name.as_str()).collect();
            return Err(Failure::usage(format!(
                "the program has no axis `{name}`; its axes are {}",
                known.join(", ")
            )));
        }
    }
    let storage = reference_storage(compiled.program.storage);
    dmac::interp::random_inputs_with(&compiled.graph, &sizes.0, params, storage, seed)
        .map_err(|error| Failure::usage(error.to_string()))
}
