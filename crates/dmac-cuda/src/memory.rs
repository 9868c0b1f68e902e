//! Buffers in the GPU's memory.
//!
//! Input → output: bytes → an address, and back.

#![allow(
    unsafe_code,
    reason = "memory is allocated without a first value; the call states what makes it sound"
)]

use crate::{Device, Error};
use cudarc::driver::{CudaSlice, DevicePtr as _, sys};
use std::ops::Range;

/// A buffer; freed when dropped.
#[derive(Debug)]
pub struct Buffer {
    slice: CudaSlice<u8>,
    address: u64,
}

impl Buffer {
    pub(crate) fn new(device: &Device, bytes: &[u8]) -> Result<Buffer, Error> {
        if bytes.is_empty() {
            return Err(Error::Invalid("a buffer has at least one byte".to_owned()));
        }
        let mut buffer = Buffer::uninit(device, bytes.len())?;
        device.stream.memcpy_htod(bytes, &mut buffer.slice).map_err(Error::driver("cuMemcpyHtoD"))?;
        Ok(buffer)
    }

    pub(crate) fn uninit(device: &Device, bytes: usize) -> Result<Buffer, Error> {
        // SAFETY: any bits are bytes.
        let slice = unsafe { device.stream.alloc(bytes) }.map_err(|error| {
            if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                let free = device.context.mem_get_info().map_or(0, |(free, _)| free);
                return Error::OutOfMemory { bytes: bytes as u64, free: free as u64 };
            }
            Error::driver("cuMemAlloc")(error)
        })?;
        let address = slice.device_ptr(&device.stream).0;
        Ok(Buffer { slice, address })
    }

    /// Overwrites its start, after all launches before.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are more bytes than it has; [`Error::Driver`].
    pub fn write(&mut self, device: &Device, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > self.bytes() {
            return Err(Error::Invalid(format!("{} bytes do not fit in {}", bytes.len(), self.bytes())));
        }
        device.stream.memcpy_htod(bytes, &mut self.slice).map_err(Error::driver("cuMemcpyHtoD"))
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.slice.len()
    }

    /// Its bytes, after all launches before.
    ///
    /// # Errors
    /// [`Error::Driver`], also for a kernel that faulted before.
    pub fn download(&self, device: &Device) -> Result<Vec<u8>, Error> {
        device.stream.clone_dtoh(&self.slice).map_err(Error::driver("cuMemcpyDtoH"))
    }

    /// Some of its bytes, after all launches before.
    ///
    /// # Errors
    /// As [`Buffer::download`]; [`Error::Invalid`] for bytes that it does not have.
    pub fn download_range(&self, device: &Device, range: Range<usize>) -> Result<Vec<u8>, Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let view = self
            .slice
            .try_slice(range.clone())
            .ok_or_else(|| Error::Invalid(format!("{range:?} of {} bytes", self.bytes())))?;
        device.stream.clone_dtoh(&view).map_err(Error::driver("cuMemcpyDtoH"))
    }
}
