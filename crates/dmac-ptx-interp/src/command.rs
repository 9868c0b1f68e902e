//! Launches described by strings, for a command line: argument specifications in, output values out.
//!
//! | specification | argument |
//! |---|---|
//! | `u32:7`, `u64:7`, `i32:-1`, `f32:1.5` | a scalar |
//! | `buf:f32[1024]=random` | a buffer; `zeros`, `ones`, `iota`, `random` (normal), `uninit`, or `7.5` for a constant |
//! | `map:bf16[64,448,1,1]box[64,128,1,1]swizzle128=random` | a buffer and a tensor map over it, innermost dimension first |
//! | `map:@3[64,448]box[64,128]swizzle128` | a tensor map over the buffer of argument 3, contiguous |
//! | `ptr:@3` or `ptr:@3+256` | the address of argument 3's buffer |
//!
//! Elements are `u8`, `u16`, `u32`, `i32`, `u64`, `f16`, `bf16`, `f32`, `f64`.

use crate::{Arg, Buffer, Memory, Swizzle, TensorElement, TensorMap};
use half::{bf16, f16};

/// A parsed argument specification.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgSpec {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Scalar(Arg),
    Buffer(TensorElement, u64, Init),
    Map { of: Of, dims: Vec<u64>, box_dims: Vec<u32>, swizzle: Swizzle },
    Pointer { argument: usize, offset: u64 },
}

#[derive(Clone, Debug, PartialEq)]
enum Of {
    New(TensorElement, Init),
    Argument(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Init {
    Constant(f64),
    Iota,
    Random,
    Uninit,
}

/// A buffer that [`bind`] made, to be read after the launch.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundBuffer {
    /// Number of the argument.
    pub argument: usize,
    /// Its memory.
    pub buffer: Buffer,
    /// Its elements.
    pub element: TensorElement,
}

fn element(s: &str) -> Result<TensorElement, String> {
    Ok(match s {
        "u8" => TensorElement::U8,
        "u16" => TensorElement::U16,
        "u32" => TensorElement::U32,
        "i32" | "s32" => TensorElement::S32,
        "u64" => TensorElement::U64,
        "f16" => TensorElement::F16,
        "bf16" => TensorElement::Bf16,
        "f32" => TensorElement::F32,
        "f64" => TensorElement::F64,
        _ => return Err(format!("`{s}` is no element type")),
    })
}

fn init(s: &str) -> Result<Init, String> {
    Ok(match s {
        "zeros" => Init::Constant(0.0),
        "ones" => Init::Constant(1.0),
        "iota" => Init::Iota,
        "random" => Init::Random,
        "uninit" => Init::Uninit,
        _ => Init::Constant(s.parse().map_err(|_| format!("`{s}` is no initial value"))?),
    })
}

fn number<T: std::str::FromStr>(s: &str) -> Result<T, String> {
    s.trim().parse().map_err(|_| format!("`{s}` is no number of this type"))
}

/// `name[a,b,c]rest` → (name, list, rest).
fn bracketed(s: &str) -> Result<(&str, Vec<u64>, &str), String> {
    let split = s
        .split_once('[')
        .and_then(|(name, rest)| rest.split_once(']').map(|(list, rest)| (name, list, rest)));
    let Some((name, list, rest)) = split else { return Err(format!("`{s}` lacks sizes in brackets")) };
    Ok((name, list.split(',').map(number).collect::<Result<_, _>>()?, rest))
}

impl std::str::FromStr for ArgSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let Some((kind, rest)) = s.split_once(':') else {
            return Err(format!("`{s}` is no argument: write u32:7, f32:1.5, buf:f32[64]=zeros or map:…"));
        };
        let kind = match kind {
            "u32" => Kind::Scalar(Arg::U32(number(rest)?)),
            "i32" => Kind::Scalar(Arg::U32(number::<i32>(rest)? as u32)),
            "u64" => Kind::Scalar(Arg::U64(number(rest)?)),
            "f32" => Kind::Scalar(Arg::F32(number(rest)?)),
            "buf" => {
                let (name, dims, rest) = bracketed(rest)?;
                let value =
                    rest.strip_prefix('=').ok_or_else(|| format!("`{s}` lacks `=` and an initial value"))?;
                let n = dims.iter().try_fold(1u64, |a, b| a.checked_mul(*b)).filter(|n| *n <= 1 << 30);
                Kind::Buffer(element(name)?, n.ok_or("a buffer has at most 2^30 elements")?, init(value)?)
            }
            "map" => {
                let (name, dims, rest) = bracketed(rest)?;
                let rest = rest.strip_prefix("box").ok_or_else(|| format!("`{s}` lacks `box[…]`"))?;
                let (_, box_dims, rest) = bracketed(rest)?;
                let (swizzle, value) = rest.split_once('=').map_or((rest, None), |(a, b)| (a, Some(b)));
                let swizzle = match swizzle {
                    "" => Swizzle::None,
                    "swizzle32" => Swizzle::B32,
                    "swizzle64" => Swizzle::B64,
                    "swizzle128" => Swizzle::B128,
                    other => return Err(format!("`{other}` is no swizzle")),
                };
                let of = match (name.strip_prefix('@'), value) {
                    (Some(i), None) => Of::Argument(number(i)?),
                    (None, Some(v)) => Of::New(element(name)?, init(v)?),
                    _ => {
                        return Err(format!(
                            "`{s}` needs an initial value for a new buffer, and none for `@`"
                        ));
                    }
                };
                let box_dims = box_dims.iter().map(|b| u32::try_from(*b).unwrap_or(u32::MAX)).collect();
                Kind::Map { of, dims, box_dims, swizzle }
            }
            "ptr" => {
                let rest = rest
                    .strip_prefix('@')
                    .ok_or_else(|| format!("`{s}` lacks `@` and an argument number"))?;
                let (argument, offset) = rest.split_once('+').unwrap_or((rest, "0"));
                Kind::Pointer { argument: number(argument)?, offset: number(offset)? }
            }
            other => return Err(format!("`{other}` is no kind of argument")),
        };
        Ok(ArgSpec { kind })
    }
}

/// Three sizes as `x`, `x,y` or `x,y,z`.
///
/// # Errors
/// Anything else.
pub fn dimensions(s: &str) -> Result<[u32; 3], String> {
    let parts: Vec<u32> = s.split([',', 'x']).map(number).collect::<Result<_, _>>()?;
    match parts[..] {
        [x] => Ok([x, 1, 1]),
        [x, y] => Ok([x, y, 1]),
        [x, y, z] => Ok([x, y, z]),
        _ => Err(format!("`{s}` is no size: write x, x,y or x,y,z")),
    }
}

/// Allocates what the specifications need and gives the arguments and the buffers, in order. Equal seeds give equal
/// random values.
///
/// # Errors
/// A reference to an argument without a buffer.
pub fn bind(
    specs: &[ArgSpec],
    memory: &mut Memory,
    seed: u64,
) -> Result<(Vec<Arg>, Vec<BoundBuffer>), String> {
    let mut args = Vec::new();
    let mut bound: Vec<BoundBuffer> = Vec::new();
    for (argument, spec) in specs.iter().enumerate() {
        let mut make = |memory: &mut Memory, element, n, how| {
            let buffer = fill(memory, element, n, how, seed.wrapping_add(argument as u64));
            bound.push(BoundBuffer { argument, buffer, element });
            buffer
        };
        let arg = match &spec.kind {
            Kind::Scalar(arg) => arg.clone(),
            Kind::Buffer(element, n, how) => Arg::Buffer(make(memory, *element, *n, *how)),
            Kind::Pointer { argument, offset } => Arg::Address(find(&bound, *argument)?.buffer, *offset),
            Kind::Map { of, dims, box_dims, swizzle } => {
                let n = dims.iter().try_fold(1u64, |a, b| a.checked_mul(*b)).filter(|n| *n <= 1 << 30);
                let n = n.ok_or("a buffer has at most 2^30 elements")?;
                let (buffer, element) = match of {
                    Of::New(element, how) => (make(memory, *element, n, *how), *element),
                    Of::Argument(i) => find(&bound, *i).map(|b| (b.buffer, b.element))?,
                };
                let mut strides = Vec::new();
                let mut bytes = element.bytes();
                for d in dims.iter().take(dims.len().saturating_sub(1)) {
                    bytes = bytes.saturating_mul(*d);
                    strides.push(bytes);
                }
                Arg::TensorMap(TensorMap {
                    buffer,
                    offset: 0,
                    element,
                    dims: dims.clone(),
                    strides,
                    box_dims: box_dims.clone(),
                    swizzle: *swizzle,
                    nan_fill: false,
                })
            }
        };
        args.push(arg);
    }
    Ok((args, bound))
}

fn find(bound: &[BoundBuffer], argument: usize) -> Result<&BoundBuffer, String> {
    bound
        .iter()
        .find(|b| b.argument == argument)
        .ok_or_else(|| format!("argument {argument} has no buffer before this one"))
}

fn fill(memory: &mut Memory, element: TensorElement, n: u64, how: Init, seed: u64) -> Buffer {
    let n = n as usize;
    if how == Init::Uninit {
        return memory.alloc_uninit::<u8>(n * element.bytes() as usize);
    }
    let value = |i: usize| match how {
        Init::Constant(x) => x,
        Init::Iota => i as f64,
        Init::Random | Init::Uninit => {
            // A sum of twelve uniform numbers is close to normal.
            let uniform = |k: u64| {
                (crate::conformance::noise(seed.wrapping_mul(1 << 40).wrapping_add(i as u64 * 12 + k)) >> 11)
                    as f64
                    / (1u64 << 53) as f64
            };
            (0..12).map(uniform).sum::<f64>() - 6.0
        }
    };
    macro_rules! make {
        ($convert:expr) => {
            memory.alloc(&(0..n).map(|i| $convert(value(i))).collect::<Vec<_>>())
        };
    }
    match element {
        TensorElement::U8 => make!(|x| x as u8),
        TensorElement::U16 => make!(|x| x as u16),
        TensorElement::U32 => make!(|x| x as u32),
        TensorElement::S32 => make!(|x| x as i32),
        TensorElement::U64 => make!(|x| x as u64),
        TensorElement::F16 => make!(f16::from_f64),
        TensorElement::Bf16 => make!(bf16::from_f64),
        TensorElement::F32 => make!(|x| x as f32),
        TensorElement::F64 => make!(|x: f64| x),
    }
}

impl BoundBuffer {
    /// The elements as numbers.
    pub fn values(&self, memory: &Memory) -> Vec<f64> {
        macro_rules! read {
            ($t:ty, $convert:expr) => {
                memory.read::<$t>(self.buffer).into_iter().map($convert).collect()
            };
        }
        match self.element {
            TensorElement::U8 => read!(u8, f64::from),
            TensorElement::U16 => read!(u16, f64::from),
            TensorElement::U32 => read!(u32, f64::from),
            TensorElement::S32 => read!(i32, f64::from),
            TensorElement::U64 => read!(u64, |x| x as f64),
            TensorElement::F16 => read!(f16, f16::to_f64),
            TensorElement::Bf16 => read!(bf16, bf16::to_f64),
            TensorElement::F32 => read!(f32, f64::from),
            TensorElement::F64 => read!(f64, |x| x),
        }
    }
}
