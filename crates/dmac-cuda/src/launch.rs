//! Launches with clusters.
//!
//! Input → output: a function, a shape and arguments → work on the device's stream. Arguments are checked against the
//! sizes of the kernel's parameters.

#![allow(unsafe_code, reason = "a launch runs machine code; the contract is the caller's and stated")]

use crate::module::Function;
use crate::tensor_map::EncodedTensorMap;
use crate::{Device, Error};
use cudarc::driver::sys;
use std::ffi::c_void;

/// The extents of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block, along x.
    pub threads: u32,
    /// Blocks of a cluster along x; 1 for none.
    pub cluster: u32,
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
}

/// A kernel's argument.
#[derive(Clone, Debug)]
pub enum Argument {
    /// An address in the GPU's memory.
    Address(u64),
    /// A 32-bit integer, or any other 32 bits.
    U32(u32),
    /// An f32.
    F32(f32),
    /// A tensor map, passed by value.
    TensorMap(Box<EncodedTensorMap>),
}

impl Argument {
    fn bytes(&self) -> usize {
        match self {
            Argument::Address(_) => 8,
            Argument::U32(_) | Argument::F32(_) => 4,
            Argument::TensorMap(_) => 128,
        }
    }

    fn pointer(&self) -> *mut c_void {
        match self {
            Argument::Address(a) => std::ptr::from_ref(a).cast_mut().cast(),
            Argument::U32(v) => std::ptr::from_ref(v).cast_mut().cast(),
            Argument::F32(v) => std::ptr::from_ref(v).cast_mut().cast(),
            Argument::TensorMap(map) => std::ptr::from_ref(&map.0).cast_mut().cast(),
        }
    }
}

impl Device {
    /// Puts a launch on the stream. It runs after the ones before it; [`Device::wait`] tells how it ended.
    ///
    /// # Safety
    /// The kernel may touch only memory that is allocated, through addresses and extents among the arguments, and the
    /// buffers behind them must live until it has finished.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the arguments' sizes are not those of the parameters, [`Error::Driver`] for a shape that
    /// the device does not have.
    pub unsafe fn launch(
        &self,
        function: &Function,
        shape: Shape,
        arguments: &[Argument],
    ) -> Result<(), Error> {
        let (want, got) = (function.parameter_bytes(), arguments.iter().map(Argument::bytes));
        if !got.clone().eq(want.iter().copied()) {
            return Err(Error::Invalid(format!(
                "the kernel's parameters have {want:?} bytes, its arguments {:?}",
                got.collect::<Vec<_>>()
            )));
        }
        self.bind()?;
        // SAFETY: a launch attribute is plain data.
        let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
        attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        attribute.value.clusterDim =
            sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: shape.cluster, y: 1, z: 1 };
        let mut parameters: Vec<*mut c_void> = arguments.iter().map(Argument::pointer).collect();
        let config = sys::CUlaunchConfig {
            gridDimX: shape.grid[0],
            gridDimY: shape.grid[1],
            gridDimZ: shape.grid[2],
            blockDimX: shape.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shape.dynamic_shared,
            hStream: self.stream.cu_stream(),
            attrs: &raw mut attribute,
            numAttrs: u32::from(shape.cluster > 1),
        };
        // SAFETY: the function is of a live module and takes parameters of these sizes, which are copied during the call;
        // what the kernel does with them is the caller's promise.
        unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function.raw,
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
            .result()
        }
        .map_err(Error::driver("cuLaunchKernelEx"))
    }
}
