//! A compiled program on a device.
//!
//! Input → output: a [`PtxProgram`] → [`Kernels`]; its [`Launch`]es → [`Prepared`], which goes on the stream as often as
//! wanted. Everything that can fail for a reason other than the device itself fails while preparing. A prepared launch
//! neither allocates nor waits, so it can be captured into a graph.

#![allow(unsafe_code, reason = "launches run machine code; the contract is the caller's and stated")]

use crate::module::{Function, Module, Resources};
use crate::tensor_map::{TensorElement, TensorMap, TensorSwizzle};
use crate::{Argument, Device, Error, Shape};
use dmac_codegen_ptx::{Launch, LaunchArgument, MappedTensor, PtxProgram, Target};
use dmac_schedule::kernel::Element;
use std::sync::{Mutex, PoisonError};

/// Dynamic shared memory that every function may take without leave, bytes.
const COMMON_SHARED: u32 = 48 << 10;

/// The kernels of a program in a device's memory.
#[derive(Debug)]
pub struct Kernels {
    functions: Vec<Function>,
    /// Of each function, the dynamic shared memory that it has leave to take, bytes.
    shared: Vec<Mutex<u32>>,
    names: Vec<String>,
    log: String,
}

/// Launches with their arguments in the driver's form.
#[derive(Debug)]
pub struct Prepared<'a> {
    launches: Vec<(&'a Function, Shape, Vec<Argument>)>,
}

impl Kernels {
    /// Assembles the program's text with the driver and loads it.
    ///
    /// # Errors
    /// [`Error::OtherTarget`]; [`Error::Assembler`] with the log and the lines of the text that it names;
    /// [`Error::Driver`].
    pub fn load(device: &Device, program: &PtxProgram) -> Result<Kernels, Error> {
        check_target(program.target, device.capability()?)?;
        Kernels::of(&Module::load(device, &program.text)?, program)
    }

    /// Loads the program's text as `ptxas` assembled it before.
    ///
    /// # Errors
    /// As [`Kernels::load`].
    pub fn load_cubin(device: &Device, program: &PtxProgram, cubin: &[u8]) -> Result<Kernels, Error> {
        check_target(program.target, device.capability()?)?;
        Kernels::of(&Module::load_cubin(device, cubin)?, program)
    }

    fn of(module: &Module, program: &PtxProgram) -> Result<Kernels, Error> {
        let functions = program
            .entries
            .iter()
            .map(|entry| module.function(&entry.name, COMMON_SHARED))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = functions.iter().map(|_| Mutex::new(COMMON_SHARED)).collect();
        let names = program.entries.iter().map(|entry| entry.name.clone()).collect();
        Ok(Kernels { functions, shared, names, log: module.log().to_owned() })
    }

    /// The assembler's notes: registers, spills, warnings.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// What each kernel takes, by name.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn resources(&self) -> Result<Vec<(String, Resources)>, Error> {
        self.names.iter().zip(&self.functions).map(|(name, f)| Ok((name.clone(), f.resources()?))).collect()
    }

    /// Encodes tensor maps and reserves shared memory.
    ///
    /// # Errors
    /// [`Error::Driver`] for a tensor map or for shared memory that the device does not have.
    ///
    /// # Panics
    /// If the launches are not those of the loaded program.
    pub fn prepare(&self, launches: &[Launch]) -> Result<Prepared<'_>, Error> {
        let prepared = launches.iter().map(|launch| {
            let function = &self.functions[launch.entry];
            // Never lowered: launches that were prepared before still need theirs.
            let mut allowed = self.shared[launch.entry].lock().unwrap_or_else(PoisonError::into_inner);
            if launch.shared_bytes > *allowed {
                function.allow_shared(launch.shared_bytes)?;
                *allowed = launch.shared_bytes;
            }
            let shape = Shape {
                grid: launch.grid,
                threads: launch.threads,
                cluster: 1,
                dynamic_shared: launch.shared_bytes,
            };
            let arguments = launch.arguments.iter().map(argument).collect::<Result<_, Error>>()?;
            Ok((function, shape, arguments))
        });
        Ok(Prepared { launches: prepared.collect::<Result<_, Error>>()? })
    }
}

impl Prepared<'_> {
    /// Puts all launches on the device's stream.
    ///
    /// # Safety
    /// The addresses and extents that the launches were computed from are those of live memory, which lives until the
    /// work has finished; nothing else writes the inputs or touches outputs and workspaces meanwhile.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub unsafe fn launch(&self, device: &Device) -> Result<(), Error> {
        self.launches.iter().try_for_each(|(function, shape, arguments)| {
            // SAFETY: the caller's promise; the arguments are those of the function's own program.
            unsafe { device.launch(function, *shape, arguments) }
        })
    }

    /// How many launches there are.
    pub fn len(&self) -> usize {
        self.launches.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.launches.is_empty()
    }

    /// Puts one launch on the device's stream.
    ///
    /// # Safety
    /// As [`Prepared::launch`], and the launches before it have run.
    ///
    /// # Errors
    /// [`Error::Driver`].
    ///
    /// # Panics
    /// If there is no such launch.
    pub unsafe fn launch_one(&self, device: &Device, at: usize) -> Result<(), Error> {
        let (function, shape, arguments) = &self.launches[at];
        // SAFETY: the caller's promise; the arguments are those of the function's own program.
        unsafe { device.launch(function, *shape, arguments) }
    }
}

/// Whether a device of this compute capability runs the target.
fn check_target(target: Target, found: (i32, i32)) -> Result<(), Error> {
    let runs = match target {
        Target::Sm80 => found >= (8, 0),
        Target::Sm90a => found == (9, 0),
    };
    if runs { Ok(()) } else { Err(Error::OtherTarget { target: target.name(), found }) }
}

fn argument(argument: &LaunchArgument) -> Result<Argument, Error> {
    Ok(match argument {
        LaunchArgument::Address(address) => Argument::Address(*address),
        LaunchArgument::Word(word) => Argument::U32(*word),
        LaunchArgument::TensorMap(map) => Argument::TensorMap(Box::new(tensor_map(map).encode()?)),
    })
}

fn tensor_map(map: &MappedTensor) -> TensorMap {
    TensorMap {
        address: map.address,
        element: match map.element {
            Element::F32 => TensorElement::F32,
            Element::F16 => TensorElement::F16,
            Element::Bf16 => TensorElement::Bf16,
            Element::I32 => TensorElement::S32,
            Element::Bool => TensorElement::U8,
        },
        dims: map.dims.clone(),
        strides: map.strides.clone(),
        box_dims: map.box_dims.clone(),
        swizzle: if map.swizzle_128b { TensorSwizzle::B128 } else { TensorSwizzle::None },
        nan_fill: false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Target, check_target};

    #[test]
    fn targets_run_where_their_instructions_exist() {
        for (target, capability, runs) in [
            (Target::Sm80, (7, 5), false),
            (Target::Sm80, (8, 0), true),
            (Target::Sm80, (9, 0), true),
            (Target::Sm80, (12, 0), true),
            (Target::Sm90a, (8, 9), false),
            (Target::Sm90a, (9, 0), true),
            (Target::Sm90a, (10, 0), false),
        ] {
            let result = check_target(target, capability);
            assert_eq!(result.is_ok(), runs, "{target:?} on {capability:?}");
            if let Err(error) = result {
                assert_eq!((error.code(), error.no_gpu()), ("E0803", true));
                assert!(matches!(error, Error::OtherTarget { .. }));
            }
        }
    }
}
