//! A compiled program and its calls.

#![allow(unsafe_code, reason = "machine code is called; each call states what makes it sound")]

use crate::arguments::{Arguments, Bound};
use crate::error::RunError;
use crate::parallel::ThreadPool;
use crate::tensor::{Tensor, TensorView};
use crate::workspace::Workspace;
use dmac_codegen_cranelift::layout::{Layout, Table};
use dmac_codegen_cranelift::{CompileError, JitProgram, compile_jit};
use dmac_cpu_kernels::KernelTable;
use dmac_ir::{Graph, NodeId, ParamValue};
use dmac_schedule::Program;
use dmac_schedule::kernel::{Role, Selection, TensorId};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A program as machine code for this processor. One serves all shapes; calls may run at the same time.
pub struct Executable {
    program: Program,
    graph: Graph,
    jit: JitProgram,
    /// Workspaces of earlier calls.
    spare: Mutex<Vec<Workspace>>,
}

/// What a call gave.
#[derive(Debug)]
pub struct Results {
    /// Outputs by name, `out` first.
    pub tensors: Vec<(String, Tensor)>,
    /// What the program selected, where that was asked for.
    pub selections: Vec<Selected>,
    /// How long each kernel took, by name.
    pub timings: Vec<(String, Duration)>,
    /// Bytes of workspace, beyond inputs and outputs.
    pub workspace_bytes: usize,
}

/// A selection that a program made.
#[derive(Clone, Debug)]
pub enum Selected {
    /// The ends of lifetimes, `[row..., element]`.
    Ends {
        /// The node of the graph.
        node: NodeId,
        /// The ends.
        ends: Tensor,
    },
    /// Lists, `[row..., slot]`, and how many slots each uses.
    Lists {
        /// The node of the graph.
        node: NodeId,
        /// Elements, ascending.
        items: Tensor,
        /// Used slots.
        counts: Tensor,
    },
}

impl Results {
    /// An output by its name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor)
    }
}

/// What kernels read in place of an input that they cannot read as it is.
fn replacement(view: &TensorView<'_>) -> Option<Tensor> {
    if view.dims().contains(&0) {
        // An index that no condition holds inside an axis is bounded to it, but an empty one has no element: what is read
        // there, and not used, must be memory.
        let dims: Vec<usize> = view.dims().iter().map(|&dim| dim.max(1)).collect();
        return Some(Tensor::zeros(view.element(), &dims));
    }
    // Rows are read in place: the last axis must be contiguous.
    (!view.has_contiguous_rows()).then(|| view.to_tensor())
}

impl Executable {
    /// Compiles a tile program. `graph` is the graph that it was lowered from.
    ///
    /// # Errors
    /// What the code generator cannot do.
    pub fn new(program: Program, graph: Graph, table: &'static KernelTable) -> Result<Self, CompileError> {
        let jit = compile_jit(&program, table)?;
        Ok(Self { program, graph, jit, spare: Mutex::new(Vec::new()) })
    }

    /// The tile program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The name of the micro-kernels that are called.
    pub fn isa(&self) -> &'static str {
        self.jit.table().name()
    }

    /// Bytes of workspace of a call with these sizes and parameters (in the order of the program), `workers` calls of a
    /// kernel running at a time. No tensor is needed to know it.
    ///
    /// # Panics
    /// If there are more or fewer sizes or parameters than the program has.
    pub fn workspace_bytes(&self, sizes: &[i64], params: &[ParamValue], workers: usize) -> u64 {
        let expected = (self.program.sizes.len(), self.program.params.len());
        assert_eq!((sizes.len(), params.len()), expected, "sizes and parameters of another program");
        self.jit.workspace_size(&self.scalars(sizes, params, workers)).max(0) as u64
    }

    /// Runs the program.
    ///
    /// # Errors
    /// Arguments that do not fit, or memory that cannot be had.
    pub fn run(&self, arguments: &Arguments<'_>, pool: &dyn ThreadPool) -> Result<Results, RunError> {
        self.call(arguments, pool, false)
    }

    /// Runs the program and also returns what it selected: for checking a selection by its margin.
    ///
    /// # Errors
    /// As [`Executable::run`].
    pub fn run_observed(
        &self,
        arguments: &Arguments<'_>,
        pool: &dyn ThreadPool,
    ) -> Result<Results, RunError> {
        self.call(arguments, pool, true)
    }

    fn call(
        &self,
        arguments: &Arguments<'_>,
        pool: &dyn ThreadPool,
        observe: bool,
    ) -> Result<Results, RunError> {
        let bound = arguments.bind(&self.graph, &self.program)?;
        let copies: Vec<Option<Tensor>> = bound.inputs.iter().map(replacement).collect();
        let mut outputs = self.outputs(&bound)?;
        let args = self.argument_table(&bound, &copies, &mut outputs, pool.workers());
        self.jit.check(&args).map_err(|message| RunError::Requirement(message.to_owned()))?;
        let bytes = usize::try_from(self.jit.workspace_size(&args))
            .map_err(|_| RunError::OutOfMemory { bytes: usize::MAX })?;
        let workspace = self.workspace(bytes)?;
        // SAFETY: the workspace has the bytes asked for, aligned; `args` lives until this function returns.
        unsafe { self.jit.prepare(&args, workspace.start()) };
        let timings = self.launch(&workspace, pool);
        let selections = if observe { self.selections(&bound, &workspace)? } else { Vec::new() };
        self.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(workspace);
        let names = self.graph.outputs.iter().map(|output| output.name.clone());
        Ok(Results { tensors: names.zip(outputs).collect(), selections, timings, workspace_bytes: bytes })
    }

    fn launch(&self, workspace: &Workspace, pool: &dyn ThreadPool) -> Vec<(String, Duration)> {
        struct Frame(*const u64);
        // SAFETY: kernels only read the frame, and each worker writes its own scratch memory and its own points' elements.
        unsafe impl Sync for Frame {}
        let frame = Frame(workspace.start());
        let layout = self.jit.layout();
        let mut timings = Vec::new();
        for (at, function) in self.jit.kernels().iter().enumerate() {
            // SAFETY: `prepare` filled the frame.
            let points = unsafe { *frame.0.add(layout.points[at]) } as usize;
            let start = Instant::now();
            let frame = &frame;
            pool.run(points, &|point, worker| {
                // SAFETY: as `JitProgram::kernels` asks: the frame is filled, the pool keeps points and workers in their
                // ranges and workers apart, and `bind` checked the tensors.
                unsafe { function(frame.0, point as i64, worker as i64) }
            });
            timings.push((self.jit.names()[at].clone(), start.elapsed()));
        }
        timings
    }

    fn workspace(&self, bytes: usize) -> Result<Workspace, RunError> {
        let mut spare = self.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match spare.iter().position(|workspace| workspace.bytes() >= bytes) {
            Some(at) => Ok(spare.swap_remove(at)),
            None => {
                spare.clear();
                Workspace::new(bytes)
            }
        }
    }

    /// The extents of a tensor in this call.
    fn dims(&self, tensor: TensorId, bound: &Bound<'_>) -> Result<Vec<usize>, RunError> {
        let decl = self.program.tensor(tensor);
        decl.dims
            .iter()
            .map(|dim| {
                let size = dim.eval(&|size| Some(bound.sizes[size.0 as usize]), &|param| match bound.params
                    [param.0 as usize]
                {
                    ParamValue::Int(value) => Some(value),
                    ParamValue::Float(_) => None,
                });
                size.map(|size| size.max(0) as usize).ok_or_else(|| {
                    RunError::Requirement(format!("the size of tensor `{}` cannot be computed", decl.name))
                })
            })
            .collect()
    }

    fn outputs(&self, bound: &Bound<'_>) -> Result<Vec<Tensor>, RunError> {
        let mut outputs = Vec::new();
        for (at, tensor) in self.program.tensors.iter().enumerate() {
            if matches!(tensor.role, Role::Output(_)) {
                let dims = self.dims(TensorId(at as u32), bound)?;
                let count =
                    dims.iter().try_fold(tensor.element.bytes(), |count, &dim| count.checked_mul(dim));
                if count.is_none_or(|bytes| bytes > isize::MAX as usize) {
                    return Err(RunError::OutOfMemory { bytes: usize::MAX });
                }
                outputs.push(Tensor::zeros(tensor.element, &dims));
            }
        }
        Ok(outputs)
    }

    /// An argument table without tensors.
    fn scalars(&self, sizes: &[i64], params: &[ParamValue], workers: usize) -> Vec<u64> {
        let layout = self.jit.layout();
        let mut args = vec![0; layout.args];
        args[Layout::WORKERS] = workers as u64;
        for (at, size) in sizes.iter().enumerate() {
            args[layout.sizes + at] = *size as u64;
        }
        for (at, param) in params.iter().enumerate() {
            args[layout.params + at] = match param {
                ParamValue::Int(value) => *value as u64,
                ParamValue::Float(value) => u64::from(value.to_bits()),
            };
        }
        args
    }

    fn argument_table(
        &self,
        bound: &Bound<'_>,
        copies: &[Option<Tensor>],
        outputs: &mut [Tensor],
        workers: usize,
    ) -> Vec<u64> {
        let layout = self.jit.layout();
        let mut args = self.scalars(&bound.sizes, &bound.params, workers);
        for (tensor, slot) in self.program.tensors.iter().zip(&layout.given) {
            let Some(slot) = *slot else { continue };
            let (pointer, strides) = match &tensor.role {
                Role::Input(id) => {
                    let at = id.0 as usize;
                    let copy = copies[at].as_ref().map(Tensor::view);
                    let view: &TensorView<'_> = copy.as_ref().unwrap_or(&bound.inputs[at]);
                    (view.bytes().as_ptr() as u64, view.strides().to_vec())
                }
                Role::Output(at) => {
                    let output = &mut outputs[*at];
                    let strides = crate::tensor::contiguous(output.dims());
                    (output.bytes_mut().as_mut_ptr() as u64, strides)
                }
                Role::KeyLengths => {
                    (bound.lengths.as_ref().map_or(0, |lengths| lengths.as_ptr() as u64), vec![1])
                }
                Role::Workspace => continue,
            };
            args[slot] = pointer;
            for (axis, stride) in strides.iter().rev().skip(1).rev().enumerate() {
                args[slot + 1 + axis] = *stride as u64;
            }
        }
        args
    }

    fn selections(&self, bound: &Bound<'_>, workspace: &Workspace) -> Result<Vec<Selected>, RunError> {
        let read = |id| self.read_workspace(id, bound, workspace);
        self.program
            .selections
            .iter()
            .map(|selection| {
                Ok(match *selection {
                    Selection::Ends { node, ends } => Selected::Ends { node, ends: read(ends)? },
                    Selection::Lists { node, items, counts } => {
                        Selected::Lists { node, items: read(items)?, counts: read(counts)? }
                    }
                })
            })
            .collect()
    }

    /// A copy of a workspace tensor.
    fn read_workspace(
        &self,
        id: TensorId,
        bound: &Bound<'_>,
        workspace: &Workspace,
    ) -> Result<Tensor, RunError> {
        let dims = self.dims(id, bound)?;
        let element = self.program.tensor(id).element;
        let place = self.jit.layout().place(id);
        debug_assert_eq!(place.table, Table::Frame);
        let count = dims.iter().product::<usize>() * element.bytes();
        // SAFETY: the frame holds the address of the tensor, which lies in the workspace with all its elements.
        let bytes = unsafe {
            let start = *workspace.start().add(place.pointer) as *const u8;
            std::slice::from_raw_parts(start, count).to_vec()
        };
        Tensor::from_bytes(element, &dims, bytes)
    }
}
