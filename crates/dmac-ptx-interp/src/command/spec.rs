//! The text of an argument: what it says, as data.
//!
//! `k=map:bf16[64,448]box[64,128]swizzle128=random` → [`ArgSpec`]. Nothing is allocated and no file is read here, so a
//! command line can be refused as a whole before anything happens.

use crate::{Arg, Swizzle, TensorElement};
use std::fmt;
use std::str::FromStr;

/// A parsed argument specification.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgSpec {
    /// The kernel's parameter that it is for, if it says so.
    pub(super) name: Option<String>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Scalar(Arg),
    Buffer { element: TensorElement, dims: Vec<u64>, content: Content },
    File { name: TensorName, content: Content },
    NewMap { element: TensorElement, dims: Vec<u64>, tile: Tile, content: Content },
    MapOf { of: Reference, dims: Vec<u64>, tile: Tile },
    Pointer { of: Reference, offset: u64 },
}

/// What a tensor map moves at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tile {
    pub dims: Vec<u32>,
    pub swizzle: Swizzle,
    pub nan_fill: bool,
}

/// Another argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reference {
    Number(usize),
    Name(String),
}

/// What a buffer holds before the launch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Constant(f64),
    Iota,
    Random,
    Uninit,
    File(TensorName),
}

/// A tensor of a file, written `PATH:TENSOR`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorName {
    /// The file.
    pub path: String,
    /// The tensor's name in it.
    pub tensor: String,
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.tensor)
    }
}

impl ArgSpec {
    /// The tensor of a file that the argument needs.
    pub fn file(&self) -> Option<&TensorName> {
        match &self.kind {
            Kind::Buffer { content: Content::File(name), .. }
            | Kind::NewMap { content: Content::File(name), .. }
            | Kind::File { name, .. } => Some(name),
            _ => None,
        }
    }
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

/// The word that [`element`] reads.
pub(super) fn element_name(element: TensorElement) -> &'static str {
    match element {
        TensorElement::U8 => "u8",
        TensorElement::U16 => "u16",
        TensorElement::U32 => "u32",
        TensorElement::S32 => "i32",
        TensorElement::U64 => "u64",
        TensorElement::F16 => "f16",
        TensorElement::Bf16 => "bf16",
        TensorElement::F32 => "f32",
        TensorElement::F64 => "f64",
    }
}

fn content(s: &str) -> Result<Content, String> {
    Ok(match s {
        "zeros" => Content::Constant(0.0),
        "ones" => Content::Constant(1.0),
        "iota" => Content::Iota,
        "random" => Content::Random,
        "uninit" => Content::Uninit,
        _ => match s.strip_prefix("file:") {
            Some(name) => Content::File(tensor_name(name)?),
            None => Content::Constant(s.parse().map_err(|_| format!("`{s}` is no initial value"))?),
        },
    })
}

fn tensor_name(s: &str) -> Result<TensorName, String> {
    match s.rsplit_once(':') {
        Some((path, tensor)) if !path.is_empty() && !tensor.is_empty() => {
            Ok(TensorName { path: path.to_owned(), tensor: tensor.to_owned() })
        }
        _ => Err(format!("`{s}` is no tensor of a file: write file:PATH:TENSOR")),
    }
}

fn reference(s: &str) -> Result<Reference, String> {
    match s {
        "" => Err("`@` lacks the argument that is meant".to_owned()),
        _ if s.starts_with(|c: char| c.is_ascii_digit()) => Ok(Reference::Number(number(s)?)),
        _ => Ok(Reference::Name(s.to_owned())),
    }
}

fn number<T: FromStr>(s: &str) -> Result<T, String> {
    s.trim().parse().map_err(|_| format!("`{s}` is no number of this type"))
}

fn hexadecimal(s: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = s.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => {
            Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(format!("`{s}` is no sequence of bytes: write two hexadecimal digits for each")),
    }
}

/// `name[a,b,c]rest` → (name, list, rest).
fn bracketed(s: &str) -> Result<(&str, Vec<u64>, &str), String> {
    let split = s
        .split_once('[')
        .and_then(|(name, rest)| rest.split_once(']').map(|(list, rest)| (name, list, rest)));
    let Some((name, list, rest)) = split else { return Err(format!("`{s}` lacks sizes in brackets")) };
    Ok((name, list.split(',').map(number).collect::<Result<_, _>>()?, rest))
}

/// Refuses sizes whose product is beyond what a buffer may have.
fn limited(dims: Vec<u64>) -> Result<Vec<u64>, String> {
    let count = dims.iter().try_fold(1u64, |a, b| a.checked_mul(*b)).filter(|count| *count <= 1 << 30);
    count.map(|_| dims).ok_or_else(|| "a buffer has at most 2^30 elements".to_owned())
}

fn tile(box_dims: &[u64], words: &str) -> Result<Tile, String> {
    let dims = box_dims.iter().map(|b| u32::try_from(*b).unwrap_or(u32::MAX)).collect();
    let mut tile = Tile { dims, swizzle: Swizzle::None, nan_fill: false };
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word {
            "swizzle32" => tile.swizzle = Swizzle::B32,
            "swizzle64" => tile.swizzle = Swizzle::B64,
            "swizzle128" => tile.swizzle = Swizzle::B128,
            "nan" => tile.nan_fill = true,
            other => return Err(format!("`{other}` is no swizzle")),
        }
    }
    Ok(tile)
}

fn kind(s: &str) -> Result<Kind, String> {
    let Some((kind, rest)) = s.split_once(':') else {
        return Err(format!("`{s}` is no argument: write u32:7, f32:1.5, buf:f32[64]=zeros or map:…"));
    };
    Ok(match kind {
        "u32" => Kind::Scalar(Arg::U32(number(rest)?)),
        "i32" => Kind::Scalar(Arg::U32(number::<i32>(rest)? as u32)),
        "u64" => Kind::Scalar(Arg::U64(number(rest)?)),
        "i64" => Kind::Scalar(Arg::U64(number::<i64>(rest)? as u64)),
        "f32" => Kind::Scalar(Arg::F32(number(rest)?)),
        "f64" => Kind::Scalar(Arg::U64(number::<f64>(rest)?.to_bits())),
        "bytes" => Kind::Scalar(Arg::Bytes(hexadecimal(rest)?)),
        "buf" => {
            let (name, dims, rest) = bracketed(rest)?;
            let value =
                rest.strip_prefix('=').ok_or_else(|| format!("`{s}` lacks `=` and an initial value"))?;
            Kind::Buffer { element: element(name)?, dims: limited(dims)?, content: content(value)? }
        }
        "file" => {
            let name = tensor_name(rest)?;
            Kind::File { name: name.clone(), content: Content::File(name) }
        }
        "map" => {
            let (name, dims, rest) = bracketed(rest)?;
            let rest = rest.strip_prefix("box").ok_or_else(|| format!("`{s}` lacks `box[…]`"))?;
            let (_, box_dims, rest) = bracketed(rest)?;
            let (words, value) = rest.split_once('=').map_or((rest, None), |(a, b)| (a, Some(b)));
            let (dims, tile) = (limited(dims)?, tile(&box_dims, words)?);
            match (name.strip_prefix('@'), value) {
                (Some(of), None) => Kind::MapOf { of: reference(of)?, dims, tile },
                (None, Some(value)) => {
                    Kind::NewMap { element: element(name)?, dims, tile, content: content(value)? }
                }
                _ => {
                    return Err(format!("`{s}` needs an initial value for a new buffer, and none for `@`"));
                }
            }
        }
        "ptr" => {
            let rest = rest.strip_prefix('@').ok_or_else(|| format!("`{s}` lacks `@` and an argument"))?;
            let (of, offset) = rest.split_once('+').unwrap_or((rest, "0"));
            Kind::Pointer { of: reference(of)?, offset: number(offset)? }
        }
        other => return Err(format!("`{other}` is no kind of argument")),
    })
}

impl FromStr for ArgSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        // A name is a PTX identifier, which has no colon; every specification has one before its first `=`.
        let identifier = |name: &str| {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%'))
        };
        match s.split_once('=') {
            Some((name, rest)) if identifier(name) => {
                Ok(ArgSpec { name: Some(name.to_owned()), kind: kind(rest)? })
            }
            _ => Ok(ArgSpec { name: None, kind: kind(s)? }),
        }
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
