//! A launch as data, which both the interpreter and the GPU run.
//!
//! Input → output: [`Job`] → the bytes of its buffers afterwards, from the one or from the other.

#![allow(
    unsafe_code,
    reason = "launches tests; each case's kernel stays within its buffers, as the interpreter checks first"
)]

use dmac_cuda::{Argument, Description, Device, Error, Module, Resources, Shape};
use dmac_cuda::{TensorElement as GpuElement, TensorMap as GpuMap, TensorSwizzle as GpuSwizzle};
use dmac_ptx_interp::conformance::Target;
use dmac_ptx_interp::{Arg, Launch, Memory, Options, Swizzle, TensorElement, TensorMap, parse};
use std::mem::ManuallyDrop;
use std::time::Duration;

/// Every test takes a fraction of this.
pub const LIMIT: Duration = Duration::from_secs(5);

/// The GPU and what it is.
pub struct Gpu {
    pub device: Device,
    pub about: Description,
}

impl Gpu {
    /// Whether it executes the target.
    pub fn has(&self, target: Target) -> bool {
        match target {
            Target::Sm80 => self.about.capability >= (8, 0),
            Target::Sm90a => self.about.capability == (9, 0),
        }
    }
}

/// An argument; buffers by their number.
#[derive(Clone)]
pub enum JobArg {
    Buffer(usize),
    U32(u32),
    F32(f32),
    /// The map's own buffer is not looked at.
    Map(usize, TensorMap),
}

/// A launch.
pub struct Job {
    pub ptx: String,
    pub entry: String,
    pub grid: [u32; 3],
    pub threads: u32,
    pub cluster: u32,
    pub smem: u32,
    pub buffers: Vec<Vec<u8>>,
    pub args: Vec<JobArg>,
}

impl Job {
    /// The buffers after the interpreter ran it; every finding of its sanitizer is an error.
    pub fn interpret(&self) -> Result<Vec<Vec<u8>>, String> {
        let module = parse(&self.ptx).map_err(|e| format!("the interpreter: {e}"))?;
        let mut memory = Memory::new();
        let buffers: Vec<_> = self.buffers.iter().map(|b| memory.alloc(b)).collect();
        let args = self.args.iter().map(|a| match a {
            JobArg::Buffer(i) => Arg::Buffer(buffers[*i]),
            JobArg::U32(v) => Arg::U32(*v),
            JobArg::F32(v) => Arg::F32(*v),
            JobArg::Map(i, map) => Arg::TensorMap(TensorMap { buffer: buffers[*i], ..map.clone() }),
        });
        Launch::new(&module, &self.entry)
            .grid(self.grid)
            .block([self.threads, 1, 1])
            .cluster([self.cluster, 1, 1])
            .dynamic_smem(self.smem)
            .args(args)
            .run(&mut memory, &Options::default())
            .map_err(|findings| {
                let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
                format!("the interpreter: {}", all.join("; "))
            })?;
        Ok(buffers.iter().map(|b| memory.read::<u8>(*b)).collect())
    }

    /// The buffers after the GPU ran it, and what the kernel takes.
    pub fn run(&self, gpu: &Gpu) -> Result<(Vec<Vec<u8>>, Resources), Error> {
        let (after, resources, ()) = self.run_then(gpu, |_, _| Ok(()))?;
        Ok((after, resources))
    }

    /// As [`Job::run`], then `more` with the buffers and a function that launches it again.
    pub fn run_then<T>(
        &self,
        gpu: &Gpu,
        more: impl FnOnce(&[Vec<u8>], &dyn Fn() -> Result<(), Error>) -> Result<T, Error>,
    ) -> Result<(Vec<Vec<u8>>, Resources, T), Error> {
        let device = &gpu.device;
        // Only let go after success: freeing would wait for a kernel that is stuck.
        let module = ManuallyDrop::new(Module::load(device, &self.ptx)?);
        let function = module.function(&self.entry, self.smem)?;
        let buffers = self.buffers.iter().map(|b| device.upload(b)).collect::<Result<Vec<_>, _>>()?;
        let buffers = ManuallyDrop::new(buffers);
        let args = self
            .args
            .iter()
            .map(|a| {
                Ok(match a {
                    JobArg::Buffer(i) => Argument::Address(buffers[*i].address()),
                    JobArg::U32(v) => Argument::U32(*v),
                    JobArg::F32(v) => Argument::F32(*v),
                    JobArg::Map(i, map) => {
                        Argument::TensorMap(Box::new(gpu_map(buffers[*i].address(), map).encode()?))
                    }
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let (grid, threads) = (self.grid, self.threads);
        let shape = Shape { grid, threads, cluster: self.cluster, dynamic_shared: self.smem };
        // SAFETY: the kernels are this program's tests, whose accesses stay in the buffers of the job, and these live on.
        let launch = || unsafe { device.launch(&function, shape, &args) };
        launch()?;
        device.wait(LIMIT)?;
        let resources = function.resources()?;
        let after = buffers.iter().map(|b| b.download(device)).collect::<Result<Vec<_>, _>>()?;
        let extra = more(&after, &launch)?;
        device.wait(LIMIT)?;
        drop(ManuallyDrop::into_inner(buffers));
        drop(ManuallyDrop::into_inner(module));
        Ok((after, resources, extra))
    }
}

fn gpu_map(address: u64, map: &TensorMap) -> GpuMap {
    GpuMap {
        address: address + map.offset,
        element: match map.element {
            TensorElement::U8 => GpuElement::U8,
            TensorElement::U16 => GpuElement::U16,
            TensorElement::U32 => GpuElement::U32,
            TensorElement::S32 => GpuElement::S32,
            TensorElement::U64 => GpuElement::U64,
            TensorElement::F16 => GpuElement::F16,
            TensorElement::Bf16 => GpuElement::Bf16,
            TensorElement::F32 => GpuElement::F32,
            TensorElement::F64 => GpuElement::F64,
            other => panic!("a test has a tensor map of {other:?}, which no GPU element stands for"),
        },
        dims: map.dims.clone(),
        strides: map.strides.clone(),
        box_dims: map.box_dims.clone(),
        swizzle: match map.swizzle {
            Swizzle::None => GpuSwizzle::None,
            Swizzle::B32 => GpuSwizzle::B32,
            Swizzle::B64 => GpuSwizzle::B64,
            Swizzle::B128 => GpuSwizzle::B128,
        },
        nan_fill: map.nan_fill,
    }
}
