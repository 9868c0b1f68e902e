//! Programs compiled to PTX, executed by the interpreter, compared with the reference.

use dmac::schedule::kernel::{Element, Expr, Role, Selection, SizeId, TensorId};
use dmac::schedule::target::{SM_80, SM_90A};
use dmac::{HeldInputs, Options, ParamNumber, ParamValue, SourceFile, Storage, Tensor, Verdict, compile};
use dmac_codegen_ptx::{ParamSpec, PtxProgram, Target};
use dmac_interp::{Inputs, Rows, random_inputs_with};
use dmac_ptx_interp::{Arg, Buffer, Launch, Memory, parse};
use std::collections::BTreeMap;

/// What is compiled and on which shape it runs.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub storage: Storage,
    pub head_dim: i64,
    pub value_dim: i64,
    pub sizes: &'static [(&'static str, i64)],
    pub params: &'static [(&'static str, i64)],
    pub pins: &'static [(&'static str, i64)],
    /// Keys of each batch element, where they differ.
    pub lengths: Option<&'static [i64]>,
}

/// The tile program of a program of the library for a GPU, and its PTX.
pub fn build(name: &str, target: Target, case: &Case) -> (dmac::Compiled, PtxProgram) {
    let path = format!("{}/../../dsl/std/{name}.dmac", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the library has the program");
    let source = SourceFile::new(name, text);
    let data = if target == Target::Sm80 { SM_80 } else { SM_90A };
    let mut options = Options { target: data, ..Options::native(case.head_dim, case.storage) };
    options.value_dim = Some(case.value_dim);
    options.defines =
        case.pins.iter().map(|(name, value)| ((*name).into(), ParamNumber::Int(*value))).collect();
    let compiled = compile(&source, &options, &mut |_, _| {}).unwrap_or_else(|errors| panic!("{errors:?}"));
    let ptx = dmac_codegen_ptx::compile(&compiled.program, target)
        .unwrap_or_else(|error| panic!("{error:?}\n{}", compiled.program));
    (compiled, ptx)
}

/// Compiles, runs and compares.
pub fn check(case: &Case) -> Verdict {
    let (compiled, ptx) = build(case.name, Target::Sm80, case);
    let sizes: BTreeMap<String, i64> =
        case.sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
    let params = compiled.meaning.params.iter().map(|param| {
        let given = case.params.iter().find(|(name, _)| *name == param.name);
        given.map_or(param.default, |(_, value)| ParamValue::Int(*value))
    });
    let storage = match case.storage {
        Storage::F32 => dmac_interp::Storage::F32,
        Storage::F16 => dmac_interp::Storage::F16,
        Storage::Bf16 => dmac_interp::Storage::Bf16,
    };
    let mut inputs = random_inputs_with(&compiled.meaning, &sizes, params.collect(), storage, 3)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    if let Some(lengths) = case.lengths {
        inputs.kv_len = Some(lengths.to_vec());
    }
    let run = Run::new(&ptx, &compiled, &inputs);
    let found = |name: &str| {
        let at = ptx.tensors.iter().position(|tensor| tensor.name == name)?;
        Some(run.tensor(&ptx, TensorId(at as u32)).to_f64())
    };
    let selections = ptx.selections.iter().map(|selection| match *selection {
        Selection::Ends { node, ends } => {
            dmac::runtime::Selected::Ends { node, ends: run.tensor(&ptx, ends) }
        }
        Selection::Lists { node, items, counts } => dmac::runtime::Selected::Lists {
            node,
            items: run.tensor(&ptx, items),
            counts: run.tensor(&ptx, counts),
        },
    });
    let selections: Vec<_> = selections.collect();
    let verdict = dmac::judge(&compiled.graph, &inputs, &Rows::All, &found, &selections)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    assert!(verdict.passes(), "{} {:?} {:?}: {verdict:?}", case.name, case.storage, case.sizes);
    verdict
}

/// An execution: tensors in the interpreter's memory.
struct Run {
    memory: Memory,
    buffers: Vec<Buffer>,
    dims: Vec<Vec<usize>>,
}

impl Run {
    fn new(ptx: &PtxProgram, compiled: &dmac::Compiled, inputs: &Inputs) -> Self {
        let shape = inputs.shape(&compiled.meaning).unwrap_or_else(|error| panic!("{error}"));
        let size = |id: SizeId| Some(shape.size(ptx.sizes[id.0 as usize].axis));
        let param = |id: dmac::ir::ParamId| match inputs.params[id.0 as usize] {
            ParamValue::Int(value) => Some(value),
            ParamValue::Float(_) => None,
        };
        let eval = |expr: &Expr| expr.eval(&size, &param).expect("an expression over sizes and parameters");
        for (condition, message) in &ptx.requires {
            assert!(eval(condition) != 0, "{message}");
        }
        let held = HeldInputs::of(&compiled.meaning, ptx.storage, inputs);
        let mut memory = Memory::new();
        let (mut buffers, mut dims) = (Vec::new(), Vec::new());
        for tensor in &ptx.tensors {
            let extents: Vec<usize> = tensor.dims.iter().map(|dim| eval(dim).max(0) as usize).collect();
            let given = match &tensor.role {
                Role::Input(id) => Some(held.tensors()[id.0 as usize].1.bytes().to_vec()),
                Role::KeyLengths => {
                    let keys = ptx.sizes.iter().position(|size| size.name == "N").map(|at| SizeId(at as u32));
                    let keys = keys.and_then(size).unwrap_or(0);
                    let all = vec![keys; extents[0]];
                    let lengths = inputs.kv_len.as_ref().unwrap_or(&all);
                    Some(lengths.iter().flat_map(|length| (*length as i32).to_le_bytes()).collect())
                }
                Role::Output(_) | Role::Workspace => None,
            };
            buffers.push(match given {
                Some(bytes) => memory.alloc(&bytes),
                None => memory.alloc_uninit::<u8>(extents.iter().product::<usize>() * tensor.element.bytes()),
            });
            dims.push(extents);
        }
        let module = parse(&ptx.text).unwrap_or_else(|error| panic!("{error}\n{}", ptx.text));
        for entry in &ptx.entries {
            let grid = [0, 1, 2].map(|at| eval(&entry.grid[at]).max(0) as u32);
            if grid.contains(&0) {
                continue;
            }
            for round in 0..eval(&entry.rounds) as u32 {
                let args = entry.params.iter().map(|spec| match spec {
                    ParamSpec::Round => Arg::U32(round),
                    ParamSpec::Pointer(tensor) => Arg::Buffer(buffers[tensor.0 as usize]),
                    ParamSpec::Stride { tensor, axis } => {
                        let stride: usize = dims[tensor.0 as usize][axis + 1..].iter().product();
                        Arg::U32(stride as u32)
                    }
                    ParamSpec::Size(id) => Arg::U32(size(*id).expect("a size") as u32),
                    ParamSpec::Param(id) => match inputs.params[id.0 as usize] {
                        ParamValue::Int(value) => Arg::U32(value as u32),
                        ParamValue::Float(value) => Arg::F32(value),
                    },
                    ParamSpec::TensorMap(_) => panic!("no tensor maps"),
                });
                let launch = Launch::new(&module, &entry.name)
                    .grid(grid)
                    .block([entry.threads, 1, 1])
                    .dynamic_smem(eval(&entry.shared_bytes) as u32)
                    .args(args);
                let options = dmac_ptx_interp::Options { workers: 1, ..Default::default() };
                if let Err(findings) = launch.run(&mut memory, &options) {
                    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
                    panic!("{}: {}\n{}", entry.name, list.join("\n"), compiled.program);
                }
            }
        }
        Self { memory, buffers, dims }
    }

    /// A tensor after the run.
    fn tensor(&self, ptx: &PtxProgram, id: TensorId) -> Tensor {
        let at = id.0 as usize;
        let element: Element = ptx.tensors[at].element;
        let bytes = self.memory.read::<u8>(self.buffers[at]);
        Tensor::from_bytes(element, &self.dims[at], bytes).expect("a whole tensor")
    }
}
