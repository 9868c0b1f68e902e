//! PTX text loaded by the driver, with what its assembler said.
//!
//! Input → output: PTX text → [`Module`] and its [`Function`]s, or the assembler's log.

#![allow(
    unsafe_code,
    reason = "driver functions without a safe wrapper are called; each call states what makes it sound"
)]

use crate::{Device, Error};
use cudarc::driver::{CudaContext, sys};
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::Arc;

/// Room for each of the assembler's logs, bytes.
const LOG: usize = 64 << 10;

/// Kernels in the GPU's memory; unloaded when dropped.
pub struct Module {
    raw: sys::CUmodule,
    context: Arc<CudaContext>,
    log: String,
}

/// A kernel of a module.
#[derive(Clone, Copy)]
pub struct Function<'a> {
    pub(crate) raw: sys::CUfunction,
    module: &'a Module,
}

/// What a thread and a block of a kernel take, as assembled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: i32,
    /// Bytes of a thread in local memory: spills and stack.
    pub local_bytes: i32,
    /// Bytes of a block in static shared memory.
    pub shared_bytes: i32,
}

impl Module {
    /// Assembles and loads a PTX text.
    ///
    /// # Errors
    /// [`Error::Assembler`] with the log; [`Error::Invalid`] for a text with a NUL.
    pub fn load(device: &Device, ptx: &str) -> Result<Module, Error> {
        use sys::CUjit_option_enum as O;
        device.bind()?;
        let text = CString::new(ptx).map_err(|_| Error::Invalid("the PTX has a NUL byte".to_owned()))?;
        let (mut errors, mut notes) = (vec![0u8; LOG], vec![0u8; LOG]);
        let mut options = [
            O::CU_JIT_ERROR_LOG_BUFFER,
            O::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
            O::CU_JIT_INFO_LOG_BUFFER,
            O::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
            O::CU_JIT_LOG_VERBOSE,
        ];
        // Numbers are passed in the place of pointers.
        let number = |n: usize| std::ptr::without_provenance_mut::<c_void>(n);
        let mut values: [*mut c_void; 5] =
            [errors.as_mut_ptr().cast(), number(LOG), notes.as_mut_ptr().cast(), number(LOG), number(1)];
        let mut raw: sys::CUmodule = std::ptr::null_mut();
        // SAFETY: the text ends in NUL; options and values correspond and outlive the call, as do the logs, whose sizes
        // are given.
        let status = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut raw,
                text.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        status
            .result()
            .map_err(|e| Error::Assembler { status: format!("{e:?}"), log: until_nul(&errors) })?;
        Ok(Module { raw, context: device.context.clone(), log: until_nul(&notes) })
    }

    /// The assembler's notes: registers, spills, warnings.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The entry `name`, with leave to take `dynamic_shared` bytes of dynamic shared memory.
    ///
    /// # Errors
    /// [`Error::Driver`] when there is no such entry, or not so much shared memory.
    pub fn function(&self, name: &str, dynamic_shared: u32) -> Result<Function<'_>, Error> {
        use sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED;
        let text =
            CString::new(name).map_err(|_| Error::Invalid("the entry's name has a NUL byte".to_owned()))?;
        self.context.bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"))?;
        let mut raw: sys::CUfunction = std::ptr::null_mut();
        // SAFETY: the module is alive, the name ends in NUL.
        unsafe { sys::cuModuleGetFunction(&raw mut raw, self.raw, text.as_ptr()).result() }
            .map_err(Error::driver("cuModuleGetFunction"))?;
        // SAFETY: the function belongs to the live module.
        unsafe { sys::cuFuncSetAttribute(raw, SHARED, dynamic_shared as i32).result() }
            .map_err(Error::driver("cuFuncSetAttribute"))?;
        Ok(Function { raw, module: self })
    }
}

impl Function<'_> {
    /// Registers and memory.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn resources(&self) -> Result<Resources, Error> {
        use sys::CUfunction_attribute as A;
        let attribute = |which| {
            let mut value = 0;
            // SAFETY: the function's module is alive; one integer is written.
            unsafe { sys::cuFuncGetAttribute(&raw mut value, which, self.raw).result() }
                .map_err(Error::driver("cuFuncGetAttribute"))?;
            Ok(value)
        };
        Ok(Resources {
            registers: attribute(A::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            local_bytes: attribute(A::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
            shared_bytes: attribute(A::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
        })
    }

    /// Sizes of the parameters in bytes, in order.
    pub(crate) fn parameter_bytes(&self) -> Vec<usize> {
        (0..)
            .map_while(|i| {
                let (mut offset, mut bytes) = (0, 0);
                // SAFETY: the function's module is alive; two numbers are written. An index past the last is an error.
                let status =
                    unsafe { sys::cuFuncGetParamInfo(self.raw, i, &raw mut offset, &raw mut bytes).result() };
                status.ok().map(|()| bytes)
            })
            .collect()
    }
}

fn until_nul(log: &[u8]) -> String {
    let end = log.iter().position(|c| *c == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // A failure means that the context is lost, and the module with it.
            // SAFETY: the module was loaded here and is unloaded once.
            let _ = unsafe { sys::cuModuleUnload(self.raw) };
        }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("log", &self.log).finish_non_exhaustive()
    }
}

impl fmt::Debug for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("module", &self.module).finish_non_exhaustive()
    }
}
