//! Buffers in the GPU's memory.
//!
//! Input → output: bytes → an address, and back.

use crate::{Device, Error};
use cudarc::driver::{CudaSlice, DevicePtr as _};

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
        let slice = device.stream.clone_htod(bytes).map_err(Error::driver("cuMemcpyHtoD"))?;
        let address = slice.device_ptr(&device.stream).0;
        Ok(Buffer { slice, address })
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
}
