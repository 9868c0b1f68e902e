//! What the tests share: a runner for compiled programs, and programs written by hand.

#![allow(unsafe_code, reason = "tests call compiled code")]
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::cast_ptr_alignment, reason = "the workspace is aligned by hand")]

pub mod attend;

use dmac_codegen_cranelift::layout::Layout;
use dmac_codegen_cranelift::{JitProgram, compile_jit};
use dmac_cpu_kernels::by_name;
use dmac_ir::Binary;
use dmac_schedule::Program;
use dmac_schedule::kernel::{Element, Expr, Role};
use half::{bf16, f16};

/// The elements of a tensor as f64 (ints and bools too).
pub type Values = Vec<f64>;

/// A call of a program: sizes and parameters in the program's order.
pub struct Call<'a> {
    pub program: &'a Program,
    pub sizes: Vec<i64>,
    pub params: Vec<u64>,
}

impl Call<'_> {
    pub fn eval(&self, expr: &Expr) -> i64 {
        match expr {
            Expr::Int(value) => *value,
            Expr::Size(size) => self.sizes[size.0 as usize],
            Expr::Param(param) => self.params[param.0 as usize] as i64,
            Expr::Binary(op, x, y) => {
                let (x, y) = (self.eval(x), self.eval(y));
                match op {
                    Binary::Add => x + y,
                    Binary::Sub => x - y,
                    Binary::Mul => x * y,
                    Binary::Min => x.min(y),
                    Binary::Max => x.max(y),
                    Binary::IntDiv => x.div_euclid(y),
                    _ => panic!("{op:?} in an extent"),
                }
            }
            _ => panic!("{expr:?} in an extent"),
        }
    }

    pub fn dims(&self, tensor: usize) -> Vec<usize> {
        self.program.tensors[tensor].dims.iter().map(|dim| self.eval(dim).max(0) as usize).collect()
    }

    /// Runs with the portable micro-kernels; gives the outputs in order.
    pub fn run(&self, inputs: &[Values]) -> Vec<Values> {
        self.run_with("portable", inputs)
    }

    /// Runs serially with the micro-kernels of an instruction set. `inputs` are the tensors that are inputs, in order.
    pub fn run_with(&self, isa: &str, inputs: &[Values]) -> Vec<Values> {
        let table = by_name(isa).expect("the instruction set exists here");
        let jit = compile_jit(self.program, table).expect("the program compiles");
        self.run_compiled(&jit, inputs)
    }

    pub fn run_compiled(&self, jit: &JitProgram, inputs: &[Values]) -> Vec<Values> {
        let layout: &Layout = jit.layout();
        let mut args = vec![0_u64; layout.args];
        args[Layout::WORKERS] = 1;
        for (at, size) in self.sizes.iter().enumerate() {
            args[layout.sizes + at] = *size as u64;
        }
        args[layout.params..layout.params + self.params.len()].copy_from_slice(&self.params);
        let mut inputs = inputs.iter();
        let mut buffers = Vec::new();
        for (at, tensor) in self.program.tensors.iter().enumerate() {
            let Some(slot) = layout.given[at] else { continue };
            let dims = self.dims(at);
            let count: usize = dims.iter().product();
            let bytes = match tensor.role {
                Role::Input(_) => {
                    let values = inputs.next().expect("every input has values");
                    assert_eq!(values.len(), count, "{}", tensor.name);
                    encode(tensor.element, values)
                }
                Role::KeyLengths => continue,
                _ => vec![0xee; count * tensor.element.bytes()],
            };
            let mut stride = 1;
            for axis in (1..dims.len()).rev() {
                stride *= dims[axis];
                args[slot + axis] = stride as u64;
            }
            buffers.push((at, slot, bytes));
        }
        for (_, slot, bytes) in &mut buffers {
            args[*slot] = bytes.as_mut_ptr() as u64;
        }
        assert_eq!(jit.check(&args), Ok(()));
        let size = jit.workspace_size(&args) as usize;
        // A guard behind the workspace shows writes beyond it.
        let guard = 64;
        let mut workspace = vec![[0x5a5a_5a5a_5a5a_5a5a_u64; 8]; size.div_ceil(64) + guard + 1];
        let start = workspace.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(64);
        // SAFETY: the workspace has the size that was asked for, and the frame is its start.
        unsafe {
            let frame = start.add(skip).cast::<u64>();
            jit.prepare(&args, frame);
            for (number, kernel) in jit.kernels().iter().enumerate() {
                for point in 0..*frame.add(layout.points[number]) as i64 {
                    kernel(frame, point, 0);
                }
            }
            let behind = std::slice::from_raw_parts(start.add(skip + size), 64 * guard - 64);
            assert!(behind.iter().all(|byte| *byte == 0x5a), "something was written behind the workspace");
        }
        buffers
            .iter()
            .filter(|(at, ..)| matches!(self.program.tensors[*at].role, Role::Output(_)))
            .map(|(at, _, bytes)| decode(self.program.tensors[*at].element, bytes))
            .collect()
    }
}

pub fn encode(element: Element, values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| match element {
            Element::F32 => (*value as f32).to_le_bytes().to_vec(),
            Element::F16 => f16::from_f64(*value).to_le_bytes().to_vec(),
            Element::Bf16 => bf16::from_f64(*value).to_le_bytes().to_vec(),
            Element::I32 => (*value as i32).to_le_bytes().to_vec(),
            Element::Bool => vec![u8::from(*value != 0.0)],
        })
        .collect()
}

pub fn decode(element: Element, bytes: &[u8]) -> Values {
    bytes
        .chunks(element.bytes())
        .map(|x| match element {
            Element::F32 => f64::from(f32::from_le_bytes([x[0], x[1], x[2], x[3]])),
            Element::F16 => f16::from_le_bytes([x[0], x[1]]).to_f64(),
            Element::Bf16 => bf16::from_le_bytes([x[0], x[1]]).to_f64(),
            Element::I32 => f64::from(i32::from_le_bytes([x[0], x[1], x[2], x[3]])),
            Element::Bool => f64::from(x[0]),
        })
        .collect()
}

/// A value as its storage element holds it.
pub fn rounded(element: Element, values: &[f64]) -> Values {
    decode(element, &encode(element, values))
}

/// Pseudo-random values from -1 to 1.
pub fn random(seed: u64, count: usize) -> Values {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f64 / f64::from(1 << 23) - 1.0
        })
        .collect()
}

/// The largest distance between two lists, infinite where they differ in NaN or infinities.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() })
        .map(|d| if d.is_nan() { f64::INFINITY } else { d })
        .fold(0.0, f64::max)
}
