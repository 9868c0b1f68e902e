//! Calls on the interpreter of PTX.
//!
//! Input → output: tensors' bytes and launches → results, or what the sanitizer found. Every tensor is an allocation of
//! its own, so that an access past its end is found.

use super::{Executor, cannot_launch};
use dmac_codegen_ptx::{Launch, LaunchArgument, MappedTensor, PtxProgram};
use dmac_ptx_interp::{Arg, Buffer, Memory, Module, Options, Swizzle, TensorElement, TensorMap};
use dmac_runtime::{Bound, RunError};
use dmac_schedule::kernel::{Element, TensorId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Interpreted memory of a call.
pub(super) struct OnInterpreter {
    module: Arc<Module>,
    program: Arc<PtxProgram>,
    options: Options,
    memory: Memory,
    /// By address.
    buffers: BTreeMap<u64, Buffer>,
}

impl OnInterpreter {
    pub fn new(module: Arc<Module>, program: Arc<PtxProgram>, options: Options) -> Self {
        Self { module, program, options, memory: Memory::new(), buffers: BTreeMap::new() }
    }

    fn keep(&mut self, buffer: Buffer) -> u64 {
        self.buffers.insert(buffer.address(), buffer);
        buffer.address()
    }

    /// The allocation of an address, and the offset in it.
    fn find(&self, address: u64) -> (Buffer, u64) {
        let (start, buffer) =
            self.buffers.range(..=address).next_back().expect("a placed tensor is in a buffer");
        (*buffer, address - start)
    }

    fn argument(&self, argument: &LaunchArgument) -> Arg {
        match argument {
            LaunchArgument::Address(address) => Arg::U64(*address),
            LaunchArgument::Word(word) => Arg::U32(*word),
            LaunchArgument::TensorMap(map) => Arg::TensorMap(self.tensor_map(map)),
        }
    }

    fn tensor_map(&self, map: &MappedTensor) -> TensorMap {
        let (buffer, offset) = self.find(map.address);
        TensorMap {
            buffer,
            offset,
            element: match map.element {
                Element::F32 => TensorElement::F32,
                Element::F16 => TensorElement::F16,
                Element::Bf16 => TensorElement::Bf16,
                Element::I32 => TensorElement::S32,
                Element::Bool => TensorElement::U8,
            },
            dims: map.dims.clone(),
            strides: map.strides.clone(),
            box_dims: map.box_dims.clone(),
            swizzle: if map.swizzle_128b { Swizzle::B128 } else { Swizzle::None },
            nan_fill: false,
        }
    }
}

impl Executor for OnInterpreter {
    fn upload(&mut self, bytes: &[u8]) -> Result<u64, RunError> {
        // A tensor map of nothing still lies in an allocation.
        let buffer =
            if bytes.is_empty() { self.memory.alloc_uninit::<u8>(16) } else { self.memory.alloc(bytes) };
        Ok(self.keep(buffer))
    }

    fn workspaces(&mut self, program: &PtxProgram, bound: &Bound<'_>) -> Result<Vec<Option<u64>>, RunError> {
        let spaces = program.workspaces(&bound.sizes, &bound.params).map_err(cannot_launch)?;
        let mut addresses = Vec::new();
        for (at, offset) in spaces.offsets.iter().enumerate() {
            addresses.push(match offset {
                None => None,
                Some(_) => {
                    let id = TensorId(at as u32);
                    let dims = program.dims(id, &bound.sizes, &bound.params).map_err(cannot_launch)?;
                    let count: i64 = dims.iter().product();
                    Some(self.allocate(count as usize * program.tensor(id).element.bytes())?)
                }
            });
        }
        Ok(addresses)
    }

    fn allocate(&mut self, bytes: usize) -> Result<u64, RunError> {
        let buffer = self.memory.alloc_uninit::<u8>(bytes.max(16));
        Ok(self.keep(buffer))
    }

    fn fill(&mut self, address: u64, word: u32, count: usize) -> Result<(), RunError> {
        let (buffer, _) = self.find(address);
        self.memory.write(buffer, &vec![word; count]);
        Ok(())
    }

    fn run(&mut self, launches: &[Launch]) -> Result<Vec<(String, Duration)>, RunError> {
        let mut timings = Vec::new();
        for launch in launches {
            let name = &self.program.entries[launch.entry].name;
            let arguments: Vec<Arg> =
                launch.arguments.iter().map(|argument| self.argument(argument)).collect();
            let start = Instant::now();
            dmac_ptx_interp::Launch::new(&self.module, name)
                .grid(launch.grid)
                .block([launch.threads, 1, 1])
                .dynamic_smem(launch.shared_bytes)
                .args(arguments)
                .run(&mut self.memory, &self.options)
                .map_err(|findings| {
                    let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
                    RunError::Device { code: "E0505", message: format!("`{name}`: {}", all.join("\n")) }
                })?;
            timings.push((name.clone(), start.elapsed()));
        }
        Ok(timings)
    }

    fn seconds(&mut self, _: &[Launch], _: usize, _: usize) -> Result<Option<Vec<f64>>, RunError> {
        Ok(None)
    }

    fn download(&self, address: u64, bytes: usize) -> Result<Vec<u8>, RunError> {
        let (buffer, offset) = self.find(address);
        let mut all = self.memory.read::<u8>(buffer);
        all.truncate(offset as usize + bytes);
        all.drain(..offset as usize);
        Ok(all)
    }
}
