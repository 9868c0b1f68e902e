//! The host's part of a call: what to launch, with which arguments.
//!
//! Input → output: a [`PtxProgram`] and a [`Call`] (sizes, parameters, where the tensors are) → [`Launch`]es. This is
//! arithmetic only, so that whoever executes launches (a GPU, an interpreter of PTX) executes the same ones, and so that
//! it can be tested without either.

use crate::program::{Entry, ParamSpec, PtxProgram, TensorMapSpec};
use dmac_ir::{AxisId, ParamId, ParamValue};
use dmac_schedule::kernel::{Element, Expr, Role, SizeId, TensorId};
use std::fmt;

/// Alignment of workspaces and of the tensors in them, bytes: what `cuMemAlloc` gives, and a multiple of every element.
pub const WORKSPACE_ALIGNMENT: u64 = 256;
/// The largest grid: x, y, z.
const GRID_LIMITS: [i64; 3] = [i32::MAX as i64, 65_535, 65_535];
/// Bytes that addresses and strides of tensor maps are multiples of.
const MAP_ALIGNMENT: u64 = 16;

/// The key axis: a graph's first axes are B, H, G, M, N, D, E.
const KEYS: AxisId = AxisId(4);

/// Where a tensor is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placed {
    /// The address of its first element on the device.
    pub address: u64,
    /// Elements from one index to the next, for all axes but the last, which is contiguous.
    pub strides: Vec<i64>,
}

/// What a program is called with.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The sizes, in the program's order.
    pub sizes: &'a [i64],
    /// The parameters, in the program's order.
    pub params: &'a [ParamValue],
    /// Each tensor of the program, workspaces too.
    pub tensors: &'a [Placed],
}

/// One launch with everything that it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// The program's entry.
    pub entry: usize,
    /// Thread blocks along x, y and z, none of them 0.
    pub grid: [u32; 3],
    /// Threads of a block, along x.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// The arguments, in the entry's order.
    pub arguments: Vec<LaunchArgument>,
}

/// An argument of a launch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LaunchArgument {
    /// An address.
    Address(u64),
    /// 32 bits: an int, or the bits of an f32.
    Word(u32),
    /// A tensor map.
    TensorMap(MappedTensor),
}

/// A tensor map as data; axes innermost first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedTensor {
    /// The address of the first element, a multiple of 16.
    pub address: u64,
    /// The element type.
    pub element: Element,
    /// Extents in elements; at least 1 each.
    pub dims: Vec<u64>,
    /// Byte strides of all axes but the innermost; multiples of 16.
    pub strides: Vec<u64>,
    /// Elements that one copy moves along each axis.
    pub box_dims: Vec<u32>,
    /// Whether 16-byte chunks of 128-byte rows are permuted in shared memory.
    pub swizzle_128b: bool,
}

/// Where workspaces lie in one block of memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workspaces {
    /// For each tensor of the program its offset in bytes, if it is a workspace or the key lengths (which lie there when
    /// the caller gives none).
    pub offsets: Vec<Option<u64>>,
    /// Bytes of all; at least 1.
    pub bytes: u64,
}

/// Why a call cannot be launched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LaunchError {
    /// A requirement of the program on its sizes and parameters does not hold.
    Requirement(String),
    /// A number that does not fit where a kernel takes it.
    TooLarge {
        /// What it is.
        what: String,
        /// Its value; none if it overflows or cannot be computed.
        value: Option<i64>,
    },
    /// An address or stride that an instruction cannot take.
    Misaligned {
        /// The tensor.
        tensor: String,
        /// What about it.
        what: String,
        /// The bytes that it must be a multiple of.
        multiple: u64,
    },
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requirement(message) => f.write_str(message),
            Self::TooLarge { what, value: Some(value) } => {
                write!(f, "{what} is {value}, which is out of range")
            }
            Self::TooLarge { what, value: None } => write!(f, "{what} cannot be computed"),
            Self::Misaligned { tensor, what, multiple } => {
                write!(f, "{what} of tensor `{tensor}` must be a multiple of {multiple} bytes")
            }
        }
    }
}

impl std::error::Error for LaunchError {}

impl Call<'_> {
    fn eval(&self, expr: &Expr, what: impl Fn() -> String) -> Result<i64, LaunchError> {
        eval(expr, self.sizes, self.params).ok_or_else(|| LaunchError::TooLarge { what: what(), value: None })
    }
}

fn eval(expr: &Expr, sizes: &[i64], params: &[ParamValue]) -> Option<i64> {
    expr.eval(&|SizeId(size)| sizes.get(size as usize).copied(), &|ParamId(param)| match params
        .get(param as usize)?
    {
        ParamValue::Int(value) => Some(*value),
        ParamValue::Float(_) => None,
    })
}

fn in_range<T: TryFrom<i64>>(value: i64, what: impl Fn() -> String) -> Result<T, LaunchError> {
    T::try_from(value).map_err(|_| LaunchError::TooLarge { what: what(), value: Some(value) })
}

impl PtxProgram {
    /// The extents of a tensor, none negative.
    ///
    /// # Errors
    /// [`LaunchError::TooLarge`].
    pub fn dims(
        &self,
        tensor: TensorId,
        sizes: &[i64],
        params: &[ParamValue],
    ) -> Result<Vec<i64>, LaunchError> {
        let decl = self.tensor(tensor);
        let call = Call { sizes, params, tensors: &[] };
        decl.dims
            .iter()
            .map(|dim| Ok(call.eval(dim, || format!("an extent of `{}`", decl.name))?.max(0)))
            .collect()
    }

    /// The size of the key axis: what key lengths are filled with where the caller gives none.
    pub fn key_size(&self) -> Option<SizeId> {
        let at = self.sizes.iter().position(|size| size.axis == KEYS)?;
        Some(SizeId(at as u32))
    }

    /// Where workspaces lie, and how many bytes they take. `cuMemAlloc` alone may allocate that much: nothing else is
    /// needed beside inputs and outputs.
    ///
    /// # Errors
    /// [`LaunchError::TooLarge`] for sizes that no memory has.
    pub fn workspaces(&self, sizes: &[i64], params: &[ParamValue]) -> Result<Workspaces, LaunchError> {
        let mut bytes = 0_u64;
        let mut offsets = Vec::with_capacity(self.tensors.len());
        for (at, tensor) in self.tensors.iter().enumerate() {
            if !matches!(tensor.role, Role::Workspace | Role::KeyLengths) {
                offsets.push(None);
                continue;
            }
            offsets.push(Some(bytes));
            let dims = self.dims(TensorId(at as u32), sizes, params)?;
            let size =
                dims.iter().try_fold(tensor.element.bytes() as u64, |all, &dim| all.checked_mul(dim as u64));
            bytes = size
                .and_then(|size| bytes.checked_add(size))
                .and_then(|end| end.checked_next_multiple_of(WORKSPACE_ALIGNMENT))
                .ok_or_else(|| LaunchError::TooLarge {
                    what: format!("workspace `{}`", tensor.name),
                    value: None,
                })?;
        }
        Ok(Workspaces { offsets, bytes: bytes.max(1) })
    }

    /// What to launch, in order, each after all of the one before has finished.
    ///
    /// # Errors
    /// [`LaunchError`] for what does not hold or does not fit.
    ///
    /// # Panics
    /// If `call` has not one size, parameter and tensor for each of the program's.
    pub fn launches(&self, call: &Call<'_>) -> Result<Vec<Launch>, LaunchError> {
        assert_eq!(call.sizes.len(), self.sizes.len(), "one size for each of the program's");
        assert_eq!(call.params.len(), self.params.len(), "one parameter for each of the program's");
        assert_eq!(call.tensors.len(), self.tensors.len(), "one place for each tensor of the program");
        for (condition, message) in &self.requires {
            if eval(condition, call.sizes, call.params) != Some(1) {
                return Err(LaunchError::Requirement(message.clone()));
            }
        }
        let mut launches = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let what = || format!("the number of launches of `{}`", entry.name);
            let rounds: u32 = in_range(call.eval(&entry.rounds, what)?, what)?;
            for round in 0..rounds {
                launches.extend(self.launch(at, entry, round, call)?);
            }
        }
        Ok(launches)
    }

    /// One launch, or none where there is nothing to do.
    fn launch(
        &self,
        at: usize,
        entry: &Entry,
        round: u32,
        call: &Call<'_>,
    ) -> Result<Option<Launch>, LaunchError> {
        let mut grid = [0; 3];
        for axis in 0..3 {
            let what = || format!("the grid's axis {axis} of `{}`", entry.name);
            let extent = call.eval(&entry.grid[axis], what)?;
            if extent > GRID_LIMITS[axis] {
                return Err(LaunchError::TooLarge { what: what(), value: Some(extent) });
            }
            grid[axis] = extent.max(0) as u32;
        }
        if grid.contains(&0) {
            return Ok(None);
        }
        let what = || format!("the shared memory of `{}`", entry.name);
        let shared_bytes = in_range(call.eval(&entry.shared_bytes, what)?, what)?;
        let arguments = entry
            .params
            .iter()
            .map(|param| match param {
                ParamSpec::Round => Ok(LaunchArgument::Word(round)),
                param => self.argument(param, call),
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(Launch { entry: at, grid, threads: entry.threads, shared_bytes, arguments }))
    }

    fn argument(&self, param: &ParamSpec, call: &Call<'_>) -> Result<LaunchArgument, LaunchError> {
        let word = |value: i64, what: &dyn Fn() -> String| {
            Ok(LaunchArgument::Word(in_range::<i32>(value, what)?.cast_unsigned()))
        };
        match param {
            ParamSpec::Pointer(id) => {
                let (decl, placed) = (self.tensor(*id), &call.tensors[id.0 as usize]);
                let multiple = decl.element.bytes() as u64;
                if !placed.address.is_multiple_of(multiple) {
                    return Err(misaligned(&decl.name, "the address", multiple));
                }
                Ok(LaunchArgument::Address(placed.address))
            }
            ParamSpec::Stride { tensor, axis } => {
                let what = || format!("stride {axis} of tensor `{}`", self.tensor(*tensor).name);
                // Of an axis with one index nothing is skipped, so whatever stride it has does no harm.
                let single = self.dims(*tensor, call.sizes, call.params)?[*axis] <= 1;
                word(if single { 0 } else { call.tensors[tensor.0 as usize].strides[*axis] }, &what)
            }
            ParamSpec::Size(id) => {
                let at = id.0 as usize;
                word(call.sizes[at], &|| format!("size {}", self.sizes[at].name))
            }
            ParamSpec::Param(id) => {
                let at = id.0 as usize;
                match call.params[at] {
                    ParamValue::Int(value) => {
                        word(value, &|| format!("parameter `{}`", self.params[at].name))
                    }
                    ParamValue::Float(value) => Ok(LaunchArgument::Word(value.to_bits())),
                }
            }
            ParamSpec::Round => panic!("launch: the caller knows the round"),
            ParamSpec::TensorMap(spec) => Ok(LaunchArgument::TensorMap(self.map(spec, call)?)),
        }
    }

    fn map(&self, spec: &TensorMapSpec, call: &Call<'_>) -> Result<MappedTensor, LaunchError> {
        let (decl, placed) = (self.tensor(spec.tensor), &call.tensors[spec.tensor.0 as usize]);
        if !placed.address.is_multiple_of(MAP_ALIGNMENT) {
            return Err(misaligned(&decl.name, "the address", MAP_ALIGNMENT));
        }
        let mut dims: Vec<u64> =
            self.dims(spec.tensor, call.sizes, call.params)?.iter().map(|&dim| dim as u64).collect();
        let bytes = decl.element.bytes() as i64;
        let mut strides = Vec::new();
        for (axis, &stride) in placed.strides.iter().enumerate() {
            let what = || format!("stride {axis} of tensor `{}` in bytes", decl.name);
            let stride =
                stride.checked_mul(bytes).ok_or(LaunchError::TooLarge { what: what(), value: None })?;
            let stride: u64 = in_range(stride, what)?;
            if dims[axis] <= 1 {
                // Never added, but the encoder looks at it.
                strides.push(stride.next_multiple_of(MAP_ALIGNMENT));
            } else if stride.is_multiple_of(MAP_ALIGNMENT) {
                strides.push(stride);
            } else {
                return Err(misaligned(&decl.name, &format!("stride {axis}"), MAP_ALIGNMENT));
            }
        }
        // An empty tensor has no map. A kernel copies nothing of it, so any map will do.
        for dim in &mut dims {
            *dim = (*dim).max(1);
        }
        dims.reverse();
        strides.reverse();
        Ok(MappedTensor {
            address: placed.address,
            element: decl.element,
            dims,
            strides,
            box_dims: spec.box_dims.clone(),
            swizzle_128b: spec.swizzle_128b,
        })
    }
}

fn misaligned(tensor: &str, what: &str, multiple: u64) -> LaunchError {
    LaunchError::Misaligned { tensor: tensor.to_owned(), what: what.to_owned(), multiple }
}

/// The strides of a contiguous tensor, of all axes but the last.
pub fn contiguous(dims: &[i64]) -> Vec<i64> {
    let mut strides: Vec<i64> = dims
        .iter()
        .skip(1)
        .rev()
        .scan(1_i64, |stride, dim| {
            *stride *= dim.max(&1);
            Some(*stride)
        })
        .collect();
    strides.reverse();
    strides
}
