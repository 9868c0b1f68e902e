//! Code in memory: compiled for this machine, run from here.
//!
//! Input → output: a [`Program`] → a [`JitProgram`] that owns the machine code and frees it.

#![allow(
    unsafe_code,
    reason = "machine code is called through pointers; each call states what makes it sound"
)]

use crate::CompileError;
use crate::build::{Built, Texts, build, flags};
use crate::layout::Layout;
use cranelift_jit::{JITBuilder, JITModule};
use dmac_cpu_kernels::{KernelTable, SIGNATURES};
use dmac_schedule::Program;

/// A kernel's function: frame, number of the point, number of the worker.
pub type KernelFunction = unsafe extern "C" fn(*const u64, i64, i64);
type SizeFunction = unsafe extern "C" fn(*const u64) -> i64;
type CheckFunction = unsafe extern "C" fn(*const u64) -> i32;
type PrepareFunction = unsafe extern "C" fn(*const u64, *mut u64);

/// A program as machine code in this process. Its memory is freed when it is dropped.
pub struct JitProgram {
    module: Option<JITModule>,
    layout: Layout,
    workspace_size: SizeFunction,
    check: CheckFunction,
    prepare: PrepareFunction,
    kernels: Vec<KernelFunction>,
    names: Vec<String>,
    requires: Vec<String>,
    table: &'static KernelTable,
}

// SAFETY: the code is finished and read-only; the module is only kept to be freed.
unsafe impl Send for JitProgram {}
// SAFETY: as above; all methods but `drop` only read.
unsafe impl Sync for JitProgram {}

impl Drop for JitProgram {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the function pointers are private and only lent for calls while `self` is borrowed.
            unsafe { module.free_memory() };
        }
    }
}

impl std::fmt::Debug for JitProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitProgram")
            .field("layout", &self.layout)
            .field("kernels", &self.kernels.len())
            .finish_non_exhaustive()
    }
}

/// Compiles a program for this machine, with the given micro-kernels.
///
/// # Errors
/// What a CPU kernel cannot do (see [`CompileError`]), or a processor that Cranelift does not know.
pub fn compile_jit(program: &Program, table: &'static KernelTable) -> Result<JitProgram, CompileError> {
    let isa = cranelift_native::builder()
        .map_err(CompileError::target)?
        .finish(flags(false)?)
        .map_err(|error| CompileError::internal(&error))?;
    let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
    for signature in SIGNATURES {
        builder.symbol(table.symbol(signature.kernel).to_string(), table.address(signature.kernel));
    }
    let mut module = JITModule::new(builder);
    let built = build(&mut module, program, table, Texts::default())?;
    module.finalize_definitions().map_err(|error| CompileError::internal(&error))?;
    let Built { layout, workspace_size, check, prepare, launches, .. } = built;
    let (names, kernels): (Vec<_>, Vec<_>) = launches.into_iter().unzip();
    // SAFETY: the functions were declared with these very signatures.
    let (workspace_size, check, prepare) = unsafe {
        (
            std::mem::transmute::<*const u8, SizeFunction>(module.get_finalized_function(workspace_size)),
            std::mem::transmute::<*const u8, CheckFunction>(module.get_finalized_function(check)),
            std::mem::transmute::<*const u8, PrepareFunction>(module.get_finalized_function(prepare)),
        )
    };
    let kernels = kernels
        .into_iter()
        // SAFETY: as above.
        .map(|id| unsafe {
            std::mem::transmute::<*const u8, KernelFunction>(module.get_finalized_function(id))
        })
        .collect();
    let requires = program.requires.iter().map(|(_, message)| message.clone()).collect();
    Ok(JitProgram {
        module: Some(module),
        layout,
        workspace_size,
        check,
        prepare,
        kernels,
        names,
        requires,
        table,
    })
}

impl JitProgram {
    /// Where things lie in the argument table and the frame.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The micro-kernels that the code calls.
    pub fn table(&self) -> &'static KernelTable {
        self.table
    }

    /// Bytes of workspace that a call needs.
    ///
    /// # Panics
    /// If the table does not have the layout's number of slots.
    pub fn workspace_size(&self, args: &[u64]) -> i64 {
        assert_eq!(args.len(), self.layout.args, "the argument table has another layout");
        // SAFETY: the function reads sizes and parameters from the table, which has all its slots.
        unsafe { (self.workspace_size)(args.as_ptr()) }
    }

    /// The first requirement that sizes and parameters do not meet.
    ///
    /// # Panics
    /// If the table does not have the layout's number of slots.
    pub fn check(&self, args: &[u64]) -> Result<(), &str> {
        assert_eq!(args.len(), self.layout.args, "the argument table has another layout");
        // SAFETY: as in `workspace_size`.
        match unsafe { (self.check)(args.as_ptr()) } {
            0 => Ok(()),
            number => Err(&self.requires[number as usize - 1]),
        }
    }

    /// Fills the frame at the start of a workspace.
    ///
    /// # Safety
    /// `workspace` has [`JitProgram::workspace_size`] bytes for these arguments, aligned to
    /// [`ALIGNMENT`](crate::layout::ALIGNMENT). The argument table must stay where it is while kernels run.
    pub unsafe fn prepare(&self, args: &[u64], workspace: *mut u64) {
        assert_eq!(args.len(), self.layout.args, "the argument table has another layout");
        // SAFETY: both tables have all their slots.
        unsafe { (self.prepare)(args.as_ptr(), workspace) }
    }

    /// The names of what is launched, in order: kernels, and the packing of tensors before them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The functions of what is launched, in order.
    ///
    /// Calling one is sound for a frame that [`JitProgram::prepare`] filled, points below the frame's count for that kernel,
    /// workers below the arguments' number of workers, no worker used by two calls at a time, and tensors that have the
    /// extents, strides and values that sizes and ranges promise.
    pub fn kernels(&self) -> &[KernelFunction] {
        &self.kernels
    }
}
