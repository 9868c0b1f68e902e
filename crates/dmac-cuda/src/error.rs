//! What can go wrong between a program and a GPU, as values.
//!
//! Input → output: a driver's status → [`Error`], which names the call.

use cudarc::driver::DriverError;
use std::fmt;

/// Why the GPU did not do what was asked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// No driver library on this machine.
    NoDriver,
    /// There is a driver, but no device that it can use; the driver's reason.
    NoDevice(String),
    /// The driver lacks functions that this crate calls.
    OldDriver {
        /// CUDA version of the driver: 1000 × major + 10 × minor.
        found: i32,
        /// The least version, encoded likewise.
        needed: i32,
    },
    /// Kernels for another kind of GPU.
    OtherTarget {
        /// What the kernels are for.
        target: &'static str,
        /// The device's compute capability: major, minor.
        found: (i32, i32),
    },
    /// The device has not so much memory left.
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes left.
        free: u64,
    },
    /// The driver refused a PTX text.
    Assembler {
        /// The driver's status.
        status: String,
        /// What its assembler wrote, with line numbers of the text.
        log: String,
    },
    /// A request that cannot be passed on to the driver.
    Invalid(String),
    /// The device did not finish in time; the process cannot use it any further.
    Timeout {
        /// How long it was waited for.
        seconds: f64,
    },
    /// Any other failing call.
    Driver {
        /// The call.
        call: &'static str,
        /// The driver's status.
        status: String,
    },
}

impl Error {
    pub(crate) fn driver(call: &'static str) -> impl Fn(DriverError) -> Error {
        move |e| Error::Driver { call, status: format!("{e:?}") }
    }

    /// The code under which `dmac explain` tells more.
    pub fn code(&self) -> &'static str {
        match self {
            Error::NoDriver | Error::NoDevice(_) => "E0801",
            Error::OldDriver { .. } => "E0802",
            Error::Assembler { status, .. } if status.contains("UNSUPPORTED_PTX_VERSION") => "E0802",
            Error::OtherTarget { .. } => "E0803",
            Error::OutOfMemory { .. } => "E0804",
            Error::Assembler { .. } => "E0805",
            Error::Invalid(_) | Error::Timeout { .. } | Error::Driver { .. } => "E0807",
        }
    }

    /// Whether there is no usable GPU at all, rather than a failure on one.
    pub fn no_gpu(&self) -> bool {
        matches!(
            self,
            Error::NoDriver | Error::NoDevice(_) | Error::OldDriver { .. } | Error::OtherTarget { .. }
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |v: i32| format!("{}.{}", v / 1000, v % 1000 / 10);
        match self {
            Error::NoDriver => write!(f, "no CUDA driver on this machine"),
            Error::NoDevice(why) => write!(f, "no usable CUDA device: {why}"),
            Error::OldDriver { found, needed } => {
                write!(f, "the driver supports CUDA {}, {} is needed", version(*found), version(*needed))
            }
            Error::OtherTarget { target, found: (major, minor) } => {
                write!(f, "the kernels are for {target}, this device is sm_{major}{minor}")
            }
            Error::OutOfMemory { bytes, free } => {
                write!(f, "the device has {free} bytes of memory left, {bytes} are needed")
            }
            Error::Assembler { status, log } => write!(f, "the driver refused the PTX: {status}\n{log}"),
            Error::Invalid(what) => write!(f, "{what}"),
            Error::Timeout { seconds } => write!(f, "the device did not finish within {seconds} s"),
            Error::Driver { call, status } => write!(f, "{call}: {status}"),
        }
    }
}

impl std::error::Error for Error {}
