//! Launches described by strings, for a command line: argument specifications in, arguments and buffers out.
//!
//! | specification | argument |
//! |---|---|
//! | `u32:7`, `i32:-1`, `u64:7`, `i64:-1`, `f32:1.5`, `f64:1.5` | a scalar |
//! | `bytes:0a1bff` | a structure by value, in hexadecimal |
//! | `buf:f32[16,64]=random` | a buffer, outermost dimension first, and what it holds |
//! | `file:t.safetensors:q` | a buffer that holds the tensor `q` of a file |
//! | `map:bf16[64,448,1,1]box[64,128,1,1]swizzle128=random` | a buffer and a tensor map over it, innermost dimension first |
//! | `map:@k[64,448]box[64,128]swizzle128` | a tensor map over the buffer of the argument `k` (or of number `@3`) |
//! | `ptr:@k`, `ptr:@3+256` | the address of an argument's buffer, with an offset in bytes |
//!
//! `NAME=` in front gives the argument to the kernel's parameter of that name; arguments without a name take the
//! parameters that are left, in order. A buffer holds `zeros`, `ones`, `iota`, `random` (normal), `uninit` (no values),
//! a constant such as `7.5`, or `file:PATH:TENSOR`. Elements are `u8`, `u16`, `u32`, `i32`, `u64`, `f16`, `bf16`, `f32`,
//! `f64`. After the box may stand `swizzle32`, `swizzle64` or `swizzle128`, and `nan` for the fill value.
//!
//! Files are the caller's business: [`ArgSpec::file`] names the tensor that a specification needs, and [`bind`] gets its
//! contents.

mod spec;
mod values;

pub use spec::{ArgSpec, TensorName, dimensions};

use crate::{Arg, Buffer, Memory, Param, TensorElement, TensorMap};
use spec::{Content, Kind, Reference};
use std::collections::BTreeMap;

/// Bytes of all buffers of one launch: more is a mistake in a size rather than a test of a kernel.
const MAX_BYTES: u64 = 1 << 32;

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTensor {
    /// Its elements.
    pub element: TensorElement,
    /// Its dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Its elements' bytes, little-endian, contiguous.
    pub bytes: Vec<u8>,
}

/// A buffer that [`bind`] made, to be read after the launch.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundBuffer {
    /// Number of the argument.
    pub argument: usize,
    /// Name of the kernel's parameter.
    pub name: String,
    /// Its memory.
    pub buffer: Buffer,
    /// Its elements.
    pub element: TensorElement,
    /// Its dimensions, outermost first.
    pub dims: Vec<u64>,
}

/// Allocates what the specifications need and gives the arguments in the order of the parameters, and the buffers. Equal
/// seeds give equal random values.
///
/// # Errors
/// A parameter without an argument or with two, a reference to an argument without a buffer, a tensor that is not in
/// `files` or does not fit, more memory than a launch may have.
pub fn bind(
    params: &[Param],
    specs: &[ArgSpec],
    files: &BTreeMap<TensorName, HostTensor>,
    memory: &mut Memory,
    seed: u64,
) -> Result<(Vec<Arg>, Vec<BoundBuffer>), String> {
    let specs = arrange(params, specs)?;
    let mut bound: Vec<BoundBuffer> = Vec::new();
    let mut total = 0u64;
    for (argument, spec) in specs.iter().enumerate() {
        let (element, dims, content) = match &spec.kind {
            Kind::Buffer { element, dims, content } => (*element, dims.clone(), content),
            Kind::NewMap { element, dims, content, .. } => {
                (*element, dims.iter().rev().copied().collect(), content)
            }
            Kind::File { name, content } => {
                let tensor = find_tensor(files, name)?;
                (tensor.element, tensor.dims.clone(), content)
            }
            Kind::Scalar(_) | Kind::MapOf { .. } | Kind::Pointer { .. } => continue,
        };
        let count = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
        let bytes = count.and_then(|count| count.checked_mul(element.bytes()));
        total = bytes
            .and_then(|bytes| total.checked_add(bytes))
            .filter(|total| *total <= MAX_BYTES)
            .ok_or_else(|| format!("the buffers have more than {MAX_BYTES} bytes"))?;
        let name = &params[argument].name;
        let buffer = if let Content::File(file) = content {
            let tensor = find_tensor(files, file)?;
            if tensor.element != element || Some(tensor.bytes.len() as u64) != bytes {
                return Err(format!(
                    "`{name}` wants {} elements of {}, and `{file}` has {:?} of {}",
                    count.unwrap_or_default(),
                    spec::element_name(element),
                    tensor.dims,
                    spec::element_name(tensor.element)
                ));
            }
            memory.alloc(&tensor.bytes)
        } else {
            let seed = seed.wrapping_add(argument as u64);
            values::fill(memory, element, count.unwrap_or_default() as usize, content, seed)
        };
        bound.push(BoundBuffer { argument, name: name.clone(), buffer, element, dims });
    }
    let own = |argument: usize| find(&bound, params, &Reference::Number(argument));
    let mut args = Vec::new();
    for (argument, spec) in specs.iter().enumerate() {
        args.push(match &spec.kind {
            Kind::Scalar(arg) => arg.clone(),
            Kind::Buffer { .. } | Kind::File { .. } => Arg::Buffer(own(argument)?.buffer),
            Kind::Pointer { of, offset } => Arg::Address(find(&bound, params, of)?.buffer, *offset),
            Kind::NewMap { dims, tile, .. } => tensor_map(own(argument)?, dims, tile),
            Kind::MapOf { of, dims, tile } => tensor_map(find(&bound, params, of)?, dims, tile),
        });
    }
    Ok((args, bound))
}

/// The specifications in the order of the parameters.
fn arrange<'a>(params: &[Param], specs: &'a [ArgSpec]) -> Result<Vec<&'a ArgSpec>, String> {
    let names = || params.iter().map(|param| format!("`{}`", param.name)).collect::<Vec<_>>().join(", ");
    let mut places: Vec<Option<&ArgSpec>> = vec![None; params.len()];
    for spec in specs {
        let Some(name) = &spec.name else { continue };
        let place = params.iter().position(|param| param.name == *name);
        let place =
            place.ok_or_else(|| format!("the kernel has no parameter `{name}`; it has {}", names()))?;
        if places[place].replace(spec).is_some() {
            return Err(format!("two arguments are given for `{name}`"));
        }
    }
    let mut unnamed = specs.iter().filter(|spec| spec.name.is_none());
    for place in places.iter_mut().filter(|place| place.is_none()) {
        *place = unnamed.next();
    }
    let missing = params.iter().zip(&places).find(|(_, place)| place.is_none());
    if let Some((param, _)) = missing {
        return Err(format!("no argument is given for `{}`; the parameters are {}", param.name, names()));
    }
    match unnamed.count() {
        0 => Ok(places.into_iter().flatten().collect()),
        more => Err(format!("{more} arguments too many: the parameters are {}", names())),
    }
}

fn find_tensor<'a>(
    files: &'a BTreeMap<TensorName, HostTensor>,
    name: &TensorName,
) -> Result<&'a HostTensor, String> {
    files.get(name).ok_or_else(|| format!("the tensor `{name}` is not there"))
}

fn find<'a>(
    bound: &'a [BoundBuffer],
    params: &[Param],
    reference: &Reference,
) -> Result<&'a BoundBuffer, String> {
    let argument = match reference {
        Reference::Number(number) => *number,
        Reference::Name(name) => params
            .iter()
            .position(|param| param.name == *name)
            .ok_or_else(|| format!("`@{name}`: the kernel has no parameter `{name}`"))?,
    };
    bound
        .iter()
        .find(|buffer| buffer.argument == argument)
        .ok_or_else(|| format!("argument {argument} is no buffer that another can refer to"))
}

/// A map over a contiguous buffer.
fn tensor_map(of: &BoundBuffer, dims: &[u64], tile: &spec::Tile) -> Arg {
    let mut strides = Vec::new();
    let mut bytes = of.element.bytes();
    for dim in dims.iter().take(dims.len().saturating_sub(1)) {
        bytes = bytes.saturating_mul(*dim);
        strides.push(bytes);
    }
    Arg::TensorMap(TensorMap {
        buffer: of.buffer,
        offset: 0,
        element: of.element,
        dims: dims.to_vec(),
        strides,
        box_dims: tile.dims.clone(),
        swizzle: tile.swizzle,
        nan_fill: tile.nan_fill,
    })
}
