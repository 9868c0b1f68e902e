//! What a caller can get wrong at run time.

use dmac_interp::{Error as OracleError, ShapeError};
use dmac_schedule::kernel::Element;
use std::fmt;

/// Why a call cannot run. Nothing has been written when one is returned.
#[derive(Clone, PartialEq, Debug)]
pub enum RunError {
    /// An input that is not given.
    Missing {
        /// Its name.
        tensor: String,
        /// The names of all inputs.
        wanted: Vec<String>,
    },
    /// A tensor that the program does not have.
    Unknown {
        /// Its name.
        tensor: String,
        /// The nearest name that there is.
        similar: Option<String>,
    },
    /// A parameter that the program does not have, or that was pinned when it was compiled.
    UnknownParam {
        /// Its name.
        param: String,
        /// The run-time parameters.
        wanted: Vec<String>,
    },
    /// A parameter of the wrong type.
    ParamType {
        /// Its name.
        param: String,
    },
    /// Shapes, lengths, ranges or sizes that do not fit.
    Shape(ShapeError),
    /// Elements of another type than compiled for.
    Element {
        /// The tensor.
        tensor: String,
        /// What the program was compiled for.
        expected: Element,
        /// What was given.
        found: Element,
    },
    /// An element type that no input has.
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// Not as many bytes as the dims need.
    ByteCount {
        /// The dims.
        dims: Vec<usize>,
        /// The element type.
        element: Element,
        /// Bytes given.
        found: usize,
    },
    /// Strides that do not fit.
    Strides {
        /// The dims.
        dims: Vec<usize>,
        /// The strides.
        strides: Vec<usize>,
        /// Bytes given.
        found: usize,
    },
    /// A requirement of the program on its sizes and parameters.
    Requirement(String),
    /// What a device did not do.
    Device {
        /// The code under which `dmac explain` tells more.
        code: &'static str,
        /// What happened.
        message: String,
    },
    /// Memory that cannot be had.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}

impl From<ShapeError> for RunError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

impl From<OracleError> for RunError {
    fn from(error: OracleError) -> Self {
        match error {
            OracleError::Shape(error) => Self::Shape(error),
            other => Self::Requirement(other.to_string()),
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { tensor, wanted } => {
                write!(f, "input `{tensor}` is missing; the program reads {}", wanted.join(", "))
            }
            Self::Unknown { tensor, similar: Some(similar) } => {
                write!(f, "the program has no input `{tensor}`; did you mean `{similar}`?")
            }
            Self::Unknown { tensor, similar: None } => write!(f, "the program has no input `{tensor}`"),
            Self::UnknownParam { param, wanted } if wanted.is_empty() => {
                write!(f, "the program has no run-time parameter `{param}`, nor any other")
            }
            Self::UnknownParam { param, wanted } => {
                write!(f, "the program has no run-time parameter `{param}`; it has {}", wanted.join(", "))
            }
            Self::ParamType { param } => write!(f, "parameter `{param}` is an int"),
            Self::Shape(error) => write!(f, "{error}"),
            Self::Element { tensor, expected, found } => {
                write!(f, "tensor `{tensor}` holds {found}, the program was compiled for {expected}")
            }
            Self::Dtype { tensor, found } => {
                write!(f, "tensor `{tensor}` holds {found}; inputs hold f32, f16, bf16, i32 or bool")
            }
            Self::ByteCount { dims, element, found } => {
                write!(f, "{found} bytes are given for {element} {dims:?}")
            }
            Self::Strides { dims, strides, found } => {
                write!(f, "strides {strides:?} of dims {dims:?} reach outside of the {found} bytes given")
            }
            Self::Requirement(message) => f.write_str(message),
            Self::Device { code, message } => write!(f, "{message} ({code})"),
            Self::OutOfMemory { bytes } => write!(f, "{bytes} bytes of memory cannot be had"),
        }
    }
}

impl std::error::Error for RunError {}
