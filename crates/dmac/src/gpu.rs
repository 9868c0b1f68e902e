//! A variant that runs on a GPU, or on the interpreter of PTX in its place.
//!
//! Input → output: a text and a [`Gpu`] → [`GpuAttention`]; tensors in host memory → [`GpuCall`], which holds them on the
//! device and can be run and timed as often as wanted → [`Results`]. Both executors are handed the same launches, computed
//! by `dmac-codegen-ptx`, so what runs without a GPU is what runs with one.

mod cuda;
mod interpreter;

use crate::compile::{Compiled, Options, Phase, compile};
use crate::verify::{HeldInputs, Mismatch, Verdict, judge};
use cuda::OnCuda;
use dmac_codegen_ptx::{Call, Launch, Placed, PtxProgram, contiguous};
use dmac_interp::{Inputs, Rows};
use dmac_ir::ParamValue;
use dmac_runtime::{Arguments, Bound, Results, RunError, Selected, Tensor};
use dmac_schedule::kernel::{Role, Selection, TensorId};
use dmac_schedule::target::{SM_80, SM_90A};
use dmac_source::{Code, Diagnostic, SourceFile};
use interpreter::OnInterpreter;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

pub use dmac_codegen_ptx::Target as PtxTarget;
pub use dmac_cuda::{Device as CudaDevice, Error as CudaError};

/// What executes PTX.
#[derive(Clone, Debug)]
pub enum Gpu {
    /// A GPU, through its driver.
    Cuda(Arc<CudaDevice>),
    /// The interpreter of PTX, which also looks for races and reads of what was never written.
    Interpreter(dmac_ptx_interp::Options),
}

impl Gpu {
    /// The target whose code is fastest there.
    ///
    /// # Errors
    /// A device that does not answer.
    pub fn best_target(&self) -> Result<PtxTarget, CudaError> {
        match self {
            Self::Cuda(device) if device.capability()? == (9, 0) => Ok(PtxTarget::Sm90a),
            Self::Cuda(_) => Ok(PtxTarget::Sm80),
            Self::Interpreter(_) => Ok(PtxTarget::Sm90a),
        }
    }
}

/// The description of a target to schedule for.
pub fn schedule_target(target: PtxTarget) -> dmac_schedule::Target {
    match target {
        PtxTarget::Sm80 => SM_80,
        PtxTarget::Sm90a => SM_90A,
    }
}

/// A compiled attention for a GPU. One serves all lengths, batch sizes and head counts.
pub struct GpuAttention {
    compiled: Arc<Compiled>,
    ptx: Arc<PtxProgram>,
    loaded: Loaded,
}

/// The kernels, where they will run.
enum Loaded {
    Cuda(Arc<CudaDevice>, Arc<dmac_cuda::Kernels>),
    Interpreter(Arc<dmac_ptx_interp::Module>, dmac_ptx_interp::Options),
}

/// Device memory of one call, and what runs in it.
trait Executor {
    /// Memory with these bytes; its address.
    fn upload(&mut self, bytes: &[u8]) -> Result<u64, RunError>;
    /// Memory for each workspace that has an offset; its address.
    fn workspaces(&mut self, program: &PtxProgram, bound: &Bound<'_>) -> Result<Vec<Option<u64>>, RunError>;
    /// Memory whose bytes are any; its address.
    fn allocate(&mut self, bytes: usize) -> Result<u64, RunError>;
    /// Fills words.
    fn fill(&mut self, address: u64, word: u32, count: usize) -> Result<(), RunError>;
    /// Runs all launches and waits for them.
    fn run(&mut self, launches: &[Launch]) -> Result<Vec<(String, Duration)>, RunError>;
    /// Seconds of each of `groups` groups of `runs` runs, divided by `runs`; none where time means nothing.
    fn seconds(
        &mut self,
        launches: &[Launch],
        groups: usize,
        runs: usize,
    ) -> Result<Option<Vec<f64>>, RunError>;
    /// Bytes of memory.
    fn download(&self, address: u64, bytes: usize) -> Result<Vec<u8>, RunError>;
}

/// A call whose tensors are on the device. It keeps all that it needs, the kernels too.
pub struct GpuCall {
    compiled: Arc<Compiled>,
    ptx: Arc<PtxProgram>,
    sizes: Vec<i64>,
    params: Vec<ParamValue>,
    places: Vec<Placed>,
    launches: Vec<Launch>,
    executor: Box<dyn Executor>,
    workspace_bytes: usize,
    timings: Vec<(String, Duration)>,
}

/// Compiles down to PTX, for a target rather than for a device.
///
/// # Errors
/// Diagnostics about the text, or that the target cannot compile it.
pub fn compile_ptx(
    source: &SourceFile,
    options: &Options,
    target: PtxTarget,
    on_phase: &mut dyn FnMut(Phase, &dyn Display),
) -> Result<(Compiled, PtxProgram), Vec<Diagnostic>> {
    let options = Options { target: schedule_target(target), ..options.clone() };
    let compiled = compile(source, &options, on_phase)?;
    let ptx = dmac_codegen_ptx::compile(&compiled.program, target).map_err(|error| vec![*error])?;
    Ok((compiled, ptx))
}

impl GpuAttention {
    /// Compiles the only attention of a text, or the one that `options` names, and loads it.
    ///
    /// # Errors
    /// Diagnostics about the text, that the target cannot compile it, or that the device refuses the kernels.
    pub fn from_source(
        source: &SourceFile,
        options: &Options,
        gpu: &Gpu,
        target: PtxTarget,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (compiled, ptx) = compile_ptx(source, options, target, &mut |_, _| {})?;
        Self::load(compiled, ptx, gpu)
    }

    /// Loads what was compiled before.
    ///
    /// # Errors
    /// That the device refuses the kernels.
    pub fn load(compiled: Compiled, ptx: PtxProgram, gpu: &Gpu) -> Result<Self, Vec<Diagnostic>> {
        let loaded = match gpu {
            Gpu::Cuda(device) => {
                let kernels =
                    dmac_cuda::Kernels::load(device, &ptx).map_err(|error| vec![diagnostic(&error)])?;
                Loaded::Cuda(device.clone(), Arc::new(kernels))
            }
            Gpu::Interpreter(options) => {
                let module = dmac_ptx_interp::parse(&ptx.text).map_err(|error| {
                    vec![Diagnostic::error(Code::E0505, format!("the emitted PTX: {error}"))]
                })?;
                Loaded::Interpreter(Arc::new(module), options.clone())
            }
        };
        Ok(Self { compiled: Arc::new(compiled), ptx: Arc::new(ptx), loaded })
    }

    /// What was compiled.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The kernels.
    pub fn ptx(&self) -> &PtxProgram {
        &self.ptx
    }

    /// Puts the tensors of a call on the device and computes its launches.
    ///
    /// # Errors
    /// Arguments that do not fit, or memory that cannot be had.
    pub fn bind(&self, arguments: &Arguments<'_>) -> Result<GpuCall, RunError> {
        let bound = arguments.bind(&self.compiled.graph, &self.compiled.program)?;
        let ptx = self.ptx.clone();
        let mut executor: Box<dyn Executor> = match &self.loaded {
            Loaded::Cuda(device, kernels) => Box::new(OnCuda::new(device.clone(), kernels.clone(), ptx)),
            Loaded::Interpreter(module, options) => {
                Box::new(OnInterpreter::new(module.clone(), ptx, options.clone()))
            }
        };
        let workspace_bytes =
            self.ptx.workspaces(&bound.sizes, &bound.params).map_err(cannot_launch)?.bytes as usize;
        let places = self.place(&bound, executor.as_mut())?;
        let call = Call { sizes: &bound.sizes, params: &bound.params, tensors: &places };
        let launches = self.ptx.launches(&call).map_err(cannot_launch)?;
        let (sizes, params) = (bound.sizes, bound.params);
        let (compiled, ptx) = (self.compiled.clone(), self.ptx.clone());
        Ok(GpuCall {
            compiled,
            ptx,
            sizes,
            params,
            places,
            launches,
            executor,
            workspace_bytes,
            timings: Vec::new(),
        })
    }

    /// Runs it on inputs and compares it with the reference in the given query rows.
    ///
    /// # Errors
    /// Inputs that do not fit, or what the device finds.
    pub fn verify(&self, inputs: &Inputs, rows: &Rows) -> Result<Verdict, Mismatch> {
        let held = HeldInputs::of(&self.compiled.graph, self.compiled.program.storage, inputs);
        let mut call = self.bind(&held.arguments()).map_err(Mismatch::Run)?;
        call.run().map_err(Mismatch::Run)?;
        let results = call.results(true).map_err(Mismatch::Run)?;
        let found = |name: &str| results.get(name).map(Tensor::to_f64);
        judge(&self.compiled.graph, inputs, rows, &found, &results.selections)
    }

    /// Gives each tensor of the program a place.
    fn place(&self, bound: &Bound<'_>, executor: &mut dyn Executor) -> Result<Vec<Placed>, RunError> {
        let spaces = executor.workspaces(&self.ptx, bound)?;
        let mut places = Vec::new();
        for (at, (tensor, space)) in self.ptx.tensors.iter().zip(spaces).enumerate() {
            let dims =
                self.ptx.dims(TensorId(at as u32), &bound.sizes, &bound.params).map_err(cannot_launch)?;
            let count: i64 = dims.iter().product();
            let own = |address| Placed { address, strides: contiguous(&dims) };
            places.push(match &tensor.role {
                Role::Input(id) => {
                    let view = &bound.inputs[id.0 as usize];
                    if view.has_contiguous_rows() {
                        let outer = view.strides().len().saturating_sub(1);
                        let strides = view.strides()[..outer].iter().map(|&stride| stride as i64).collect();
                        Placed { address: executor.upload(view.bytes())?, strides }
                    } else {
                        own(executor.upload(view.to_tensor().bytes())?)
                    }
                }
                Role::Output(_) => own(executor.allocate(count as usize * tensor.element.bytes())?),
                Role::Workspace => own(space.expect("a workspace has a place")),
                Role::KeyLengths => match &bound.lengths {
                    Some(lengths) => {
                        let bytes: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
                        own(executor.upload(&bytes)?)
                    }
                    None => {
                        let address = space.expect("key lengths have a place");
                        let keys = self.compiled.graph.find_axis(&dmac_ir::AxisKind::Key);
                        let keys = keys.map_or(0, |axis| bound.shape.size(axis));
                        executor.fill(address, keys as u32, count as usize)?;
                        own(address)
                    }
                },
            });
        }
        Ok(places)
    }
}

impl GpuCall {
    /// Runs it once and waits for it.
    ///
    /// # Errors
    /// [`RunError::Device`]: what the device or the interpreter found.
    pub fn run(&mut self) -> Result<(), RunError> {
        self.timings = self.executor.run(&self.launches)?;
        Ok(())
    }

    /// Seconds of one run, measured `groups` times over `runs` runs that follow one another without a gap; nothing where
    /// PTX is interpreted.
    ///
    /// # Errors
    /// As [`GpuCall::run`].
    pub fn seconds(&mut self, groups: usize, runs: usize) -> Result<Option<Vec<f64>>, RunError> {
        self.executor.seconds(&self.launches, groups, runs)
    }

    /// What was compiled.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// How long each kernel of the last run took, in launch order.
    pub fn timings(&self) -> &[(String, Duration)] {
        &self.timings
    }

    /// How many kernels are launched.
    pub fn launches(&self) -> usize {
        self.launches.len()
    }

    /// Bytes of workspace, beyond inputs and outputs.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace_bytes
    }

    /// What the last run gave; with `observe` also what it selected.
    ///
    /// # Errors
    /// [`RunError::Device`].
    pub fn results(&self, observe: bool) -> Result<Results, RunError> {
        let ptx = &self.ptx;
        let mut tensors = Vec::new();
        for (at, output) in self.compiled.graph.outputs.iter().enumerate() {
            let id = ptx.tensors.iter().position(|tensor| tensor.role == Role::Output(at));
            let id = id.expect("every output of the graph is a tensor of the program");
            tensors.push((output.name.clone(), self.tensor(TensorId(id as u32))?));
        }
        let wanted: &[Selection] = if observe { &ptx.selections } else { &[] };
        let selections = wanted
            .iter()
            .map(|selection| {
                Ok(match *selection {
                    Selection::Ends { node, ends } => Selected::Ends { node, ends: self.tensor(ends)? },
                    Selection::Lists { node, items, counts } => {
                        Selected::Lists { node, items: self.tensor(items)?, counts: self.tensor(counts)? }
                    }
                })
            })
            .collect::<Result<_, RunError>>()?;
        let (timings, workspace_bytes) = (self.timings.clone(), self.workspace_bytes);
        Ok(Results { tensors, selections, timings, workspace_bytes })
    }

    /// A contiguous tensor of the program.
    fn tensor(&self, id: TensorId) -> Result<Tensor, RunError> {
        let ptx = &self.ptx;
        let dims = ptx.dims(id, &self.sizes, &self.params).map_err(cannot_launch)?;
        let dims: Vec<usize> = dims.into_iter().map(|dim| dim as usize).collect();
        let element = ptx.tensor(id).element;
        let bytes = dims.iter().product::<usize>() * element.bytes();
        Tensor::from_bytes(element, &dims, self.executor.download(self.places[id.0 as usize].address, bytes)?)
    }
}

/// A driver's error as a diagnostic.
fn diagnostic(error: &CudaError) -> Diagnostic {
    let code = Code::parse(error.code()).unwrap_or(Code::E0807);
    Diagnostic::error(code, error.to_string())
}

/// A driver's error as one of a call.
fn device_error(error: &CudaError) -> RunError {
    RunError::Device { code: error.code(), message: error.to_string() }
}

fn cannot_launch(error: dmac_codegen_ptx::LaunchError) -> RunError {
    match error {
        dmac_codegen_ptx::LaunchError::Requirement(message) => RunError::Requirement(message),
        other => RunError::Device { code: "E0806", message: other.to_string() },
    }
}
