//! What a program in another language needs to launch the kernels, as JSON.
//!
//! Expressions are text over the names of sizes and parameters: ints, `+ - *`, `div` and `mod` (towards minus infinity),
//! `min`, `max`, comparisons, `and`, `or`, `not`, `if c then x else y`.

use crate::program::{ParamSpec, PtxProgram};
use dmac_ir::{ParamType, ParamValue};
use dmac_schedule::Program;
use dmac_schedule::kernel::{Expr, Role};
use serde_json::{Value, json};

/// The manifest of a program.
pub fn manifest(program: &PtxProgram) -> String {
    // The printer of expressions belongs to tile programs: one without kernels has the names.
    let names = Program {
        name: program.name.clone(),
        storage: program.storage,
        sizes: program.sizes.clone(),
        params: program.params.clone(),
        tensors: program.tensors.clone(),
        requires: Vec::new(),
        selections: Vec::new(),
        kernels: Vec::new(),
    };
    let expr = |x: &Expr| names.print_expr(x);
    let tensors: Vec<Value> = program
        .tensors
        .iter()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "role": match tensor.role {
                    Role::Input(_) => "input",
                    Role::KeyLengths => "key_lengths",
                    Role::Output(_) => "output",
                    Role::Workspace => "workspace",
                },
                "element": tensor.element.to_string(),
                "dims": tensor.dims.iter().map(expr).collect::<Vec<_>>(),
                "optional": tensor.role == Role::KeyLengths,
            })
        })
        .collect();
    let params: Vec<Value> = program
        .params
        .iter()
        .map(|param| {
            json!({
                "name": param.name,
                "type": if param.ty == ParamType::Int { "int32" } else { "float32" },
                "default": match param.default {
                    ParamValue::Int(value) => json!(value),
                    ParamValue::Float(value) => json!(value),
                },
            })
        })
        .collect();
    let argument = |spec: &ParamSpec| match spec {
        ParamSpec::Pointer(tensor) => json!({ "pointer": program.tensor(*tensor).name }),
        ParamSpec::Stride { tensor, axis } => {
            json!({ "stride": program.tensor(*tensor).name, "axis": axis })
        }
        ParamSpec::Size(size) => json!({ "size": program.sizes[size.0 as usize].name }),
        ParamSpec::Param(param) => json!({ "param": program.params[param.0 as usize].name }),
        ParamSpec::Round => json!("round"),
        ParamSpec::TensorMap(map) => json!({
            "tensor_map": program.tensor(map.tensor).name,
            "box": map.box_dims,
            "swizzle": if map.swizzle_128b { "128B" } else { "none" },
        }),
    };
    let entries: Vec<Value> = program
        .entries
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name,
                "params": entry.params.iter().map(argument).collect::<Vec<_>>(),
                "grid": entry.grid.iter().map(expr).collect::<Vec<_>>(),
                "threads": entry.threads,
                "shared_bytes": expr(&entry.shared_bytes),
                "rounds": expr(&entry.rounds),
            })
        })
        .collect();
    let requires: Vec<Value> = program
        .requires
        .iter()
        .map(|(condition, message)| json!({ "condition": expr(condition), "message": message }))
        .collect();
    let manifest = json!({
        "name": program.name,
        "arch": program.target.name(),
        "storage": dmac_schedule::kernel::Element::from(program.storage).to_string(),
        "sizes": program.sizes.iter().map(|size| &size.name).collect::<Vec<_>>(),
        "params": params,
        "tensors": tensors,
        "requires": requires,
        "entries": entries,
        "lse_base": "e",
    });
    let mut text = serde_json::to_string_pretty(&manifest).expect("a manifest is plain data");
    text.push('\n');
    text
}
