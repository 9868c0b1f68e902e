//! The tile program's own interpreter: executes a [`Program`] in plain loops, asynchrony modelled.
//!
//! Input → output: a program, the graph that it was lowered from (for names and sizes of axes) and the graph's inputs →
//! every output and workspace tensor. Why: a lowering is compared with the graph's evaluation without a code generator
//! in between, and its synchronisation is checked where no device is needed: an asynchronous copy lands at an arbitrary
//! time before the wait for it returns, roles run interleaved in an arbitrary order, and reading what was never
//! written, or not waited for, is an error.

mod memory;
mod point;
mod product;
mod scalar;

use crate::error::Error;
use crate::shape::Shape;
use crate::tensor::{Data, Inputs};
use dmac_ir::{Graph, ParamValue};
use dmac_schedule::kernel::{Element, Expr, Program, Role};
use memory::Global;
use std::fmt;

/// A tensor after a program ran.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its sizes.
    pub dims: Vec<usize>,
    /// Its elements, row-major; `None` where nothing was written.
    pub data: Vec<Option<f64>>,
}

/// Why a program could not be executed.
#[derive(Clone, PartialEq, Debug)]
pub enum KernelError {
    /// The inputs do not fit the graph.
    Inputs(Error),
    /// A requirement of the program does not hold.
    Requirement(String),
    /// A fault while executing: a bug in a lowering or a schedule.
    Fault {
        /// The kernel.
        kernel: String,
        /// What happened, and in which statement.
        message: String,
    },
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inputs(error) => write!(f, "{error}"),
            Self::Requirement(message) => f.write_str(message),
            Self::Fault { kernel, message } => write!(f, "kernel `{kernel}`: {message}"),
        }
    }
}

impl std::error::Error for KernelError {}

/// Executes a program. `seed` chooses the order of grid points, of roles, and when asynchronous copies land.
pub fn execute(
    program: &Program,
    graph: &Graph,
    inputs: &Inputs,
    seed: u64,
) -> Result<Vec<Stored>, KernelError> {
    let shape = inputs.shape(graph).map_err(KernelError::Inputs)?;
    let mut global = Global::new(program, &shape, &inputs.params);
    global.load_inputs(program, inputs);
    let fault = |kernel: &str, message: String| KernelError::Fault { kernel: kernel.to_owned(), message };
    for (condition, message) in &program.requires {
        match scalar::constant(&global, condition).map_err(|message| fault("requirements", message))? {
            value if value != 0.0 => {}
            _ => return Err(KernelError::Requirement(message.clone())),
        }
    }
    let mut random = Random(seed | 1);
    for kernel in &program.kernels {
        let extents: Result<Vec<i64>, String> = kernel
            .grid
            .iter()
            .map(|axis| scalar::constant(&global, &axis.extent).map(|x| x as i64))
            .collect();
        let extents = extents.map_err(|message| fault(&kernel.name, message))?;
        let count: i64 = extents.iter().map(|extent| (*extent).max(0)).product();
        let rounds = match &kernel.rounds {
            None => 1,
            Some(rounds) => scalar::constant(&global, &rounds.count)
                .map_err(|message| fault(&kernel.name, message))? as i64,
        };
        for round in 0..rounds {
            let mut order: Vec<i64> = (0..count).collect();
            for at in (1..order.len()).rev() {
                order.swap(at, random.below(at + 1));
            }
            for index in order {
                let mut rest = index;
                let mut grid = vec![0; extents.len()];
                for at in (0..extents.len()).rev() {
                    grid[at] = rest % extents[at];
                    rest /= extents[at];
                }
                point::run(&mut global, program, kernel, (round, &grid), &mut random)
                    .map_err(|message| fault(&kernel.name, message))?;
            }
        }
    }
    Ok(global.into_tensors(program))
}

/// A small deterministic generator (xorshift).
pub(crate) struct Random(u64);

impl Random {
    /// Below `limit`, which is positive.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % limit as u64) as usize
    }
}

/// The sizes, parameters and elements that an expression outside any kernel may use.
fn params_of(params: &[ParamValue]) -> Vec<f64> {
    params
        .iter()
        .map(|param| match param {
            ParamValue::Int(value) => *value as f64,
            ParamValue::Float(value) => f64::from(*value),
        })
        .collect()
}

/// An element rounded as the tensor stores it.
fn rounded(element: Element, value: f64) -> f64 {
    use crate::tensor::Storage;
    match element {
        Element::F32 => Storage::F32.round(value),
        Element::F16 => Storage::F16.round(value),
        Element::Bf16 => Storage::Bf16.round(value),
        Element::I32 | Element::Bool => value,
    }
}

/// The elements of an input as floats.
fn floats(data: &Data) -> Vec<f64> {
    match data {
        Data::F32(data) => data.iter().map(|x| f64::from(*x)).collect(),
        Data::I32(data) => data.iter().map(|x| f64::from(*x)).collect(),
        Data::Bool(data) => data.iter().map(|x| f64::from(u8::from(*x))).collect(),
    }
}

/// The sizes of a tensor.
fn dims_of(global: &Global, dims: &[Expr]) -> Vec<usize> {
    dims.iter().map(|dim| scalar::constant(global, dim).map_or(0, |size| size.max(0.0) as usize)).collect()
}

/// A size by its axis.
fn sizes_of(program: &Program, shape: &Shape) -> Vec<f64> {
    program.sizes.iter().map(|size| shape.size(size.axis) as f64).collect()
}
