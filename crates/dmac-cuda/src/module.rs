//! Kernels loaded by the driver, with what its assembler said.
//!
//! Input → output: PTX text, or a cubin that was assembled before → [`Module`] and its [`Function`]s, or the assembler's
//! log with the lines that it names.

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

/// Kernels in the GPU's memory; unloaded when it and all its functions are dropped.
#[derive(Debug)]
pub struct Module {
    loaded: Arc<Loaded>,
    log: String,
}

/// What the driver holds of a module.
struct Loaded {
    raw: sys::CUmodule,
    context: Arc<CudaContext>,
}

// SAFETY: modules belong to a context, not to a thread; the context is made current before each use.
unsafe impl Send for Loaded {}
// SAFETY: as above; the driver's functions on modules may be called at the same time.
unsafe impl Sync for Loaded {}

/// A kernel of a module.
#[derive(Debug)]
pub struct Function {
    pub(crate) raw: sys::CUfunction,
    /// Sizes of the parameters in bytes, in order.
    parameters: Vec<usize>,
    loaded: Arc<Loaded>,
}

// SAFETY: as for the module that the function keeps alive.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

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
        let text = CString::new(ptx).map_err(|_| Error::Invalid("the PTX has a NUL byte".to_owned()))?;
        Module::load_image(device, text.as_bytes_with_nul()).map_err(|error| match error {
            Error::Assembler { status, log } => Error::Assembler { status, log: with_lines(&log, ptx) },
            other => other,
        })
    }

    /// Loads a cubin: machine code for one kind of GPU, which the driver does not assemble again.
    ///
    /// # Errors
    /// [`Error::Assembler`] when it is for another kind of GPU, or no cubin.
    pub fn load_cubin(device: &Device, cubin: &[u8]) -> Result<Module, Error> {
        // The driver finds the end by the headers in it.
        if !cubin.starts_with(b"\x7fELF") || cubin.len() < 64 {
            return Err(Error::Invalid("this is not a cubin".to_owned()));
        }
        Module::load_image(device, cubin)
    }

    /// `image` is a PTX text that ends in NUL, or a cubin.
    fn load_image(device: &Device, image: &[u8]) -> Result<Module, Error> {
        use sys::CUjit_option_enum as O;
        device.bind()?;
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
        // SAFETY: a text ends in NUL, a cubin has its length inside; options and values correspond and outlive the call, as do the logs, whose sizes
        // are given.
        let status = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut raw,
                image.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        status
            .result()
            .map_err(|e| Error::Assembler { status: format!("{e:?}"), log: until_nul(&errors) })?;
        let loaded = Arc::new(Loaded { raw, context: device.context.clone() });
        Ok(Module { loaded, log: until_nul(&notes) })
    }

    /// The assembler's notes: registers, spills, warnings.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The entry `name`, with leave to take `dynamic_shared` bytes of dynamic shared memory.
    ///
    /// # Errors
    /// [`Error::Driver`] when there is no such entry, or not so much shared memory.
    pub fn function(&self, name: &str, dynamic_shared: u32) -> Result<Function, Error> {
        let text =
            CString::new(name).map_err(|_| Error::Invalid("the entry's name has a NUL byte".to_owned()))?;
        self.loaded.context.bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"))?;
        let mut raw: sys::CUfunction = std::ptr::null_mut();
        // SAFETY: the module is alive, the name ends in NUL.
        unsafe { sys::cuModuleGetFunction(&raw mut raw, self.loaded.raw, text.as_ptr()).result() }
            .map_err(Error::driver("cuModuleGetFunction"))?;
        let function = Function { raw, parameters: parameter_bytes(raw), loaded: self.loaded.clone() };
        function.allow_shared(dynamic_shared)?;
        Ok(function)
    }
}

impl Function {
    /// Gives leave to take so many bytes of dynamic shared memory.
    ///
    /// # Errors
    /// [`Error::Driver`] when a block of the device has not so much.
    pub fn allow_shared(&self, dynamic_shared: u32) -> Result<(), Error> {
        use sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED;
        self.loaded.context.bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"))?;
        let bytes = i32::try_from(dynamic_shared)
            .map_err(|_| Error::Invalid(format!("no block has {dynamic_shared} bytes of shared memory")))?;
        // SAFETY: the function belongs to the live module.
        unsafe { sys::cuFuncSetAttribute(self.raw, SHARED, bytes).result() }
            .map_err(Error::driver("cuFuncSetAttribute"))
    }

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
    pub(crate) fn parameter_bytes(&self) -> &[usize] {
        &self.parameters
    }
}

/// Sizes of a function's parameters in bytes, in order. Its module is alive.
fn parameter_bytes(function: sys::CUfunction) -> Vec<usize> {
    (0..)
        .map_while(|i| {
            let (mut offset, mut bytes) = (0, 0);
            // SAFETY: the function's module is alive; two numbers are written. An index past the last is an error.
            let status =
                unsafe { sys::cuFuncGetParamInfo(function, i, &raw mut offset, &raw mut bytes).result() };
            status.ok().map(|()| bytes)
        })
        .collect()
}

fn until_nul(log: &[u8]) -> String {
    let end = log.iter().position(|c| *c == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

/// An assembler's log with each line of the text that it names below the message.
fn with_lines(log: &str, text: &str) -> String {
    let mut out = String::new();
    for message in log.lines() {
        out.push_str(message);
        out.push('\n');
        let number = message.split_once("line ").and_then(|(_, rest)| {
            rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<usize>().ok())
        });
        if let Some(line) = number.and_then(|n| text.lines().nth(n.checked_sub(1)?)) {
            out.push_str("    ");
            out.push_str(line.trim());
            out.push('\n');
        }
    }
    out
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // A failure means that the context is lost, and the module with it.
            // SAFETY: the module was loaded here and is unloaded once.
            let _ = unsafe { sys::cuModuleUnload(self.raw) };
        }
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::with_lines;

    #[test]
    fn the_log_shows_the_lines_that_it_names() {
        let text = ".version 8.0\n  add.s32 %r0, %r1;\nret;";
        let log = "ptxas application ptx input, line 2; error   : Arguments mismatch\nptxas fatal : stopped";
        assert_eq!(
            with_lines(log, text),
            "ptxas application ptx input, line 2; error   : Arguments mismatch\n    add.s32 %r0, %r1;\n\
             ptxas fatal : stopped\n"
        );
        assert_eq!(with_lines("line 0 and line 99\n", text), "line 0 and line 99\n");
    }
}
