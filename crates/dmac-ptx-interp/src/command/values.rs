//! The elements of buffers: made from a rule before a launch, read as numbers or bytes after it.

use super::BoundBuffer;
use super::spec::Content;
use crate::{Buffer, Memory, TensorElement};
use half::{bf16, f16};

/// A buffer of `n` elements made by a rule; one whose contents come from a file is the caller's to allocate.
pub(super) fn fill(
    memory: &mut Memory,
    element: TensorElement,
    n: usize,
    content: &Content,
    seed: u64,
) -> Buffer {
    let value = |i: usize| match content {
        Content::Constant(x) => *x,
        Content::Iota => i as f64,
        Content::Random | Content::Uninit | Content::File(_) => normal(seed, i as u64),
    };
    macro_rules! make {
        ($convert:expr) => {
            memory.alloc(&(0..n).map(|i| $convert(value(i))).collect::<Vec<_>>())
        };
    }
    if matches!(content, Content::Uninit | Content::File(_)) {
        return memory.alloc_uninit::<u8>(n * element.bytes() as usize);
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

/// A sum of twelve uniform numbers is close to normal.
fn normal(seed: u64, i: u64) -> f64 {
    let uniform = |k: u64| {
        let bits = crate::conformance::noise(seed.wrapping_mul(1 << 40).wrapping_add(i * 12 + k)) >> 11;
        bits as f64 / (1u64 << 53) as f64
    };
    (0..12).map(uniform).sum::<f64>() - 6.0
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

    /// The elements as a tensor for a file.
    pub fn tensor(&self, memory: &Memory) -> super::HostTensor {
        let bytes = memory.read::<u8>(self.buffer);
        super::HostTensor { element: self.element, dims: self.dims.clone(), bytes }
    }
}
