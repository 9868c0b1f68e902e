//! A compiled program on the PTX interpreter: buffers from inputs, parameters in ABI order, outputs by name.

use dmac_codegen_ptx::{Entry, ParamSpec, PtxProgram, TensorMapSpec};
use dmac_interp::{Data, Inputs};
use dmac_ir::ParamValue;
use dmac_ptx_interp::{Arg, Buffer, Launch, Memory, Options, Swizzle, TensorElement, TensorMap, parse};
use dmac_schedule::kernel::{Element, Expr, Role};
use half::{bf16, f16};
use std::collections::BTreeMap;

/// What a launcher knows.
pub struct Device<'a> {
    program: &'a PtxProgram,
    sizes: &'a BTreeMap<String, i64>,
    params: &'a [ParamValue],
    dims: Vec<Vec<usize>>,
    buffers: Vec<Buffer>,
    memory: Memory,
}

impl<'a> Device<'a> {
    pub fn new(program: &'a PtxProgram, sizes: &'a BTreeMap<String, i64>, inputs: &'a Inputs) -> Self {
        let mut device = Self {
            program,
            sizes,
            params: &inputs.params,
            dims: Vec::new(),
            buffers: Vec::new(),
            memory: Memory::new(),
        };
        for tensor in &program.tensors {
            let dims: Vec<usize> = tensor.dims.iter().map(|dim| device.number(dim).max(0) as usize).collect();
            let count = dims.iter().product::<usize>();
            let buffer = match &tensor.role {
                Role::Input(id) => device.alloc(tensor.element, &inputs.tensors[id.0 as usize].data),
                Role::KeyLengths => {
                    let n = sizes["N"];
                    let lengths = inputs.kv_len.clone().unwrap_or_else(|| vec![n; count]);
                    device.memory.alloc(&lengths.iter().map(|x| *x as i32).collect::<Vec<_>>())
                }
                Role::Output(_) | Role::Workspace => match tensor.element.bytes() {
                    4 => device.memory.alloc_uninit::<u32>(count.max(1)),
                    2 => device.memory.alloc_uninit::<u16>(count.max(1)),
                    _ => device.memory.alloc_uninit::<u8>(count.max(1)),
                },
            };
            device.dims.push(dims);
            device.buffers.push(buffer);
        }
        device
    }

    fn alloc(&mut self, element: Element, data: &Data) -> Buffer {
        match (element, data) {
            (Element::F32, Data::F32(data)) => self.memory.alloc(data),
            (Element::F16, Data::F32(data)) => {
                self.memory.alloc(&data.iter().map(|x| f16::from_f32(*x)).collect::<Vec<_>>())
            }
            (Element::Bf16, Data::F32(data)) => {
                self.memory.alloc(&data.iter().map(|x| bf16::from_f32(*x)).collect::<Vec<_>>())
            }
            (Element::I32, Data::I32(data)) => self.memory.alloc(data),
            (Element::Bool, Data::Bool(data)) => {
                self.memory.alloc(&data.iter().map(|x| u8::from(*x)).collect::<Vec<_>>())
            }
            (element, data) => panic!("{} in a tensor of {element}", data.elem_name()),
        }
    }

    fn number(&self, expr: &Expr) -> i64 {
        let size = |id: dmac_schedule::kernel::SizeId| {
            self.sizes.get(&self.program.sizes[id.0 as usize].name).copied()
        };
        let param = |id: dmac_ir::ParamId| match self.params[id.0 as usize] {
            ParamValue::Int(value) => Some(value),
            ParamValue::Float(_) => None,
        };
        expr.eval(&size, &param).expect("an expression over sizes and parameters")
    }

    /// Elements from one index of an axis to the next.
    fn stride(&self, tensor: usize, axis: usize) -> usize {
        self.dims[tensor][axis + 1..].iter().product()
    }

    fn map(&self, spec: &TensorMapSpec) -> TensorMap {
        let at = spec.tensor.0 as usize;
        let tensor = &self.program.tensors[at];
        let rank = self.dims[at].len();
        TensorMap {
            buffer: self.buffers[at],
            offset: 0,
            element: match tensor.element {
                Element::Bf16 => TensorElement::Bf16,
                Element::F16 => TensorElement::F16,
                other => panic!("a map of {other}"),
            },
            dims: self.dims[at].iter().rev().map(|dim| *dim as u64).collect(),
            strides: (0..rank - 1).rev().map(|axis| self.stride(at, axis) as u64 * 2).collect(),
            box_dims: spec.box_dims.clone(),
            swizzle: if spec.swizzle_128b { Swizzle::B128 } else { Swizzle::None },
            nan_fill: false,
        }
    }

    /// Runs all entries.
    pub fn run(&mut self, seed: u64) {
        let module =
            parse(&self.program.text).unwrap_or_else(|error| panic!("{error}\n{}", self.program.text));
        let rounds = |entry: &Entry| (0..self.number(&entry.rounds) as u32).collect::<Vec<_>>();
        let launches = self
            .program
            .entries
            .iter()
            .flat_map(|entry| rounds(entry).into_iter().map(move |round| (entry, round)));
        for (entry, round) in launches.collect::<Vec<_>>() {
            let grid = [0, 1, 2].map(|at| self.number(&entry.grid[at]) as u32);
            if grid.contains(&0) {
                continue;
            }
            let args = entry.params.iter().map(|spec| match spec {
                ParamSpec::Round => Arg::U32(round),
                ParamSpec::Pointer(tensor) => Arg::Buffer(self.buffers[tensor.0 as usize]),
                ParamSpec::Stride { tensor, axis } => Arg::U32(self.stride(tensor.0 as usize, *axis) as u32),
                ParamSpec::Size(size) => {
                    Arg::U32(self.sizes[&self.program.sizes[size.0 as usize].name] as u32)
                }
                ParamSpec::Param(param) => match self.params[param.0 as usize] {
                    ParamValue::Int(value) => Arg::U32(value as u32),
                    ParamValue::Float(value) => Arg::F32(value),
                },
                ParamSpec::TensorMap(spec) => Arg::TensorMap(self.map(spec)),
            });
            let launch = Launch::new(&module, &entry.name)
                .grid(grid)
                .dynamic_smem(self.number(&entry.shared_bytes) as u32)
                .args(args.collect::<Vec<_>>());
            let options = Options { seed, workers: 1, ..Options::default() };
            if let Err(findings) = launch.run(&mut self.memory, &options) {
                let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
                panic!("{}: {}", entry.name, list.join("\n"));
            }
        }
    }

    /// The elements of an output.
    pub fn output(&self, name: &str) -> Vec<f64> {
        let at = self.program.tensors.iter().position(|tensor| tensor.name == name).expect("a tensor");
        let buffer = self.buffers[at];
        assert_eq!(self.memory.unwritten(buffer), 0, "{name} is not written everywhere");
        match self.program.tensors[at].element {
            Element::F32 => self.memory.read::<f32>(buffer).into_iter().map(f64::from).collect(),
            Element::F16 => self.memory.read::<f16>(buffer).into_iter().map(f64::from).collect(),
            Element::Bf16 => self.memory.read::<bf16>(buffer).into_iter().map(f64::from).collect(),
            other => panic!("an output of {other}"),
        }
    }
}
