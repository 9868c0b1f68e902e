//! A GPU: opened without a panic, described, waited for, timed.
//!
//! Input → output: an ordinal → [`Device`], through which everything else goes. All work is on one stream, in order.

#![allow(
    unsafe_code,
    reason = "driver functions without a safe wrapper are called; each call states what makes it sound"
)]

use crate::Error;
use crate::memory::Buffer;
use cudarc::driver::{CudaContext, CudaGraph, CudaStream, DriverError, sys};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// CUDA 12.8, the first with `cuEventElapsedTime_v2`, the newest function that this crate calls.
const LEAST_DRIVER: i32 = 12_080;

/// Work that was recorded, to be launched as one.
pub struct Graph(CudaGraph);

impl Graph {
    /// Puts it on the stream that it was recorded on.
    ///
    /// # Safety
    /// The buffers that the recorded work uses live until it has finished.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub unsafe fn launch(&self) -> Result<(), Error> {
        self.0.launch().map_err(Error::driver("cuGraphLaunch"))
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

/// An open GPU.
#[derive(Debug)]
pub struct Device {
    pub(crate) context: Arc<CudaContext>,
    pub(crate) stream: Arc<CudaStream>,
    driver: i32,
}

/// What a GPU is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The maker's name.
    pub name: String,
    /// Compute capability: major, minor.
    pub capability: (i32, i32),
    /// Streaming multiprocessors.
    pub processors: i32,
    /// Shared memory that a block may ask for, bytes.
    pub shared_bytes: i32,
    /// CUDA version of the driver: 1000 × major + 10 × minor.
    pub driver: i32,
}

impl Device {
    /// Opens GPU number `ordinal`.
    ///
    /// # Errors
    /// [`Error::NoDriver`], [`Error::NoDevice`], [`Error::OldDriver`].
    pub fn open(ordinal: usize) -> Result<Device, Error> {
        // SAFETY: looks for the library and opens it; its initialisers are the driver's own.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::NoDriver);
        }
        let missing = |e: DriverError| Error::NoDevice(format!("{e:?}"));
        cudarc::driver::result::init().map_err(missing)?;
        let mut driver = 0;
        // SAFETY: writes one integer.
        unsafe { sys::cuDriverGetVersion(&raw mut driver).result() }.map_err(missing)?;
        if driver < LEAST_DRIVER {
            return Err(Error::OldDriver { found: driver, needed: LEAST_DRIVER });
        }
        let count = CudaContext::device_count().map_err(missing)?;
        if usize::try_from(count).is_ok_and(|n| ordinal >= n) || count <= 0 {
            return Err(Error::NoDevice(format!("device {ordinal} of {count}")));
        }
        let context = CudaContext::new(ordinal).map_err(missing)?;
        // SAFETY: every buffer is used on the one stream of this device, so its order needs no events.
        unsafe { context.disable_event_tracking() };
        // The default stream cannot be captured into a graph.
        let stream = context.new_stream().map_err(Error::driver("cuStreamCreate"))?;
        Ok(Device { context, stream, driver })
    }

    /// The same device with all work on a stream of the caller's, as a framework has one.
    ///
    /// # Safety
    /// `stream` is a stream of this device's primary context, and outlives the result and everything made with it.
    #[must_use]
    pub unsafe fn on_stream(&self, stream: *mut c_void) -> Device {
        // SAFETY: the caller promises just this.
        let stream = unsafe { self.context.wrap_borrowed_stream(stream.cast()) };
        Device { context: self.context.clone(), stream, driver: self.driver }
    }

    /// Compute capability: major, minor.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn capability(&self) -> Result<(i32, i32), Error> {
        self.context.compute_capability().map_err(Error::driver("cuDeviceGetAttribute"))
    }

    /// Name, capability and sizes.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn describe(&self) -> Result<Description, Error> {
        use sys::CUdevice_attribute as A;
        let attribute = |a| self.context.attribute(a).map_err(Error::driver("cuDeviceGetAttribute"));
        Ok(Description {
            name: self.context.name().map_err(Error::driver("cuDeviceGetName"))?,
            capability: (
                attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            processors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            driver: self.driver,
        })
    }

    /// A buffer that holds `bytes`; aligned to 256.
    ///
    /// # Errors
    /// [`Error::Driver`], as when memory runs out.
    pub fn upload(&self, bytes: &[u8]) -> Result<Buffer, Error> {
        Buffer::new(self, bytes)
    }

    /// A buffer of `bytes`, at least one, whose bytes are any; aligned to 256.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Driver`].
    pub fn allocate(&self, bytes: usize) -> Result<Buffer, Error> {
        Buffer::uninit(self, bytes.max(1))
    }

    /// Puts the filling of `count` 32-bit words from `address` on the stream.
    ///
    /// # Safety
    /// They lie in a buffer that lives until it is done.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub unsafe fn fill_words(&self, address: u64, word: u32, count: usize) -> Result<(), Error> {
        if count == 0 {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the caller promises that the words are there.
        unsafe { sys::cuMemsetD32Async(address, word, count, self.stream.cu_stream()).result() }
            .map_err(Error::driver("cuMemsetD32Async"))
    }

    /// Records what `work` puts on the stream, without running it.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Driver`] when it does what cannot be recorded: allocates or waits.
    pub fn capture(&self, work: impl FnOnce() -> Result<(), Error>) -> Result<Graph, Error> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(Error::driver("cuStreamBeginCapture"))?;
        let done = work();
        // A recording that was begun must be ended, also a failed one.
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        done?;
        let graph = graph.map_err(Error::driver("cuStreamEndCapture"))?;
        graph.map(Graph).ok_or_else(|| Error::Invalid("nothing was recorded".to_owned()))
    }

    /// Waits until all launches have finished.
    ///
    /// # Errors
    /// [`Error::Driver`] when a kernel faulted. [`Error::Timeout`] when they did not finish within `limit`: a stuck kernel
    /// cannot be stopped, and freeing its memory would wait for it, so the process should leave its buffers alone and end.
    pub fn wait(&self, limit: Duration) -> Result<(), Error> {
        self.bind()?;
        let start = Instant::now();
        loop {
            // SAFETY: the stream is alive.
            match unsafe { sys::cuStreamQuery(self.stream.cu_stream()) } {
                sys::CUresult::CUDA_SUCCESS => return Ok(()),
                sys::CUresult::CUDA_ERROR_NOT_READY if start.elapsed() < limit => std::thread::yield_now(),
                sys::CUresult::CUDA_ERROR_NOT_READY => {
                    return Err(Error::Timeout { seconds: limit.as_secs_f64() });
                }
                other => {
                    return Err(Error::driver("a kernel")(DriverError(other)));
                }
            }
        }
    }

    /// Milliseconds of GPU time between the first and the last launch of `work`.
    ///
    /// # Errors
    /// Those of `work` and of [`Device::wait`].
    pub fn milliseconds(
        &self,
        work: impl FnOnce() -> Result<(), Error>,
        limit: Duration,
    ) -> Result<f64, Error> {
        // Events carry no time unless asked to.
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = || self.context.new_event(flags).map_err(Error::driver("cuEventCreate"));
        let (before, after) = (event()?, event()?);
        before.record(&self.stream).map_err(Error::driver("cuEventRecord"))?;
        work()?;
        after.record(&self.stream).map_err(Error::driver("cuEventRecord"))?;
        self.wait(limit)?;
        before.elapsed_ms(&after).map(f64::from).map_err(Error::driver("cuEventElapsedTime"))
    }

    /// Makes this device the calling thread's.
    pub(crate) fn bind(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"))
    }
}
