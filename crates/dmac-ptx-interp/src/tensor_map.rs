//! Tensor maps: what `cuTensorMapEncodeTiled` encodes, as plain data with the same checks.
//!
//! Dimension 0 is the innermost and contiguous one. A copy moves a box; elements of the box outside the tensor read
//! as the fill value and are not written.

use crate::memory::{Buffer, Memory};

/// Element type of a tensor map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TensorElement {
    /// 8-bit integer.
    U8,
    /// 16-bit integer.
    U16,
    /// 32-bit unsigned integer.
    U32,
    /// 32-bit signed integer.
    S32,
    /// 64-bit integer.
    U64,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
}

impl TensorElement {
    /// Size in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            TensorElement::U8 => 1,
            TensorElement::U16 | TensorElement::F16 | TensorElement::Bf16 => 2,
            TensorElement::U32 | TensorElement::S32 | TensorElement::F32 => 4,
            TensorElement::U64 | TensorElement::F64 => 8,
        }
    }
}

/// How the box is permuted in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Swizzle {
    /// Rows follow one another unchanged.
    #[default]
    None,
    /// Address bit 4 ^= bit 7.
    B32,
    /// Address bits 4–5 ^= bits 7–8.
    B64,
    /// Address bits 4–6 ^= bits 7–9.
    B128,
}

impl Swizzle {
    /// Width of the permuted span in bytes; 0 without swizzle.
    pub fn span(self) -> u32 {
        match self {
            Swizzle::None => 0,
            Swizzle::B32 => 32,
            Swizzle::B64 => 64,
            Swizzle::B128 => 128,
        }
    }

    /// The permuted byte address.
    pub fn apply(self, address: u32) -> u32 {
        let mask = match self {
            Swizzle::None => 0,
            Swizzle::B32 => 1,
            Swizzle::B64 => 3,
            Swizzle::B128 => 7,
        };
        address ^ (((address >> 7) & mask) << 4)
    }
}

/// A tiled tensor map over a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorMap {
    /// The buffer that holds the tensor.
    pub buffer: Buffer,
    /// Byte offset of the tensor in the buffer; a multiple of 16.
    pub offset: u64,
    /// Element type.
    pub element: TensorElement,
    /// Extent of each dimension in elements, innermost first; 1 to 5 of them.
    pub dims: Vec<u64>,
    /// Byte stride of dimensions 1 and up; each a multiple of 16.
    pub strides: Vec<u64>,
    /// Box extents, each at most 256.
    pub box_dims: Vec<u32>,
    /// Permutation in shared memory.
    pub swizzle: Swizzle,
    /// Elements outside the tensor read as NaN instead of 0 (floating-point types only).
    pub nan_fill: bool,
}

impl TensorMap {
    /// Bytes that one copy of the whole box adds to the transaction count.
    pub fn box_bytes(&self) -> u64 {
        self.box_dims.iter().map(|b| u64::from(*b)).product::<u64>() * self.element.bytes()
    }

    /// The checks of `cuTensorMapEncodeTiled`, and that the tensor lies in its buffer.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self, memory: &Memory) -> Result<(), String> {
        let rank = self.dims.len();
        if !(1..=5).contains(&rank) || self.box_dims.len() != rank || self.strides.len() + 1 != rank {
            return Err(format!(
                "a tensor map has 1 to 5 dimensions with as many box extents and one stride fewer; found {rank}, {}, {}",
                self.box_dims.len(),
                self.strides.len()
            ));
        }
        if self.dims.iter().any(|d| *d == 0 || *d > 1 << 32) {
            return Err("every dimension is from 1 to 2^32".to_owned());
        }
        if self.box_dims.iter().any(|b| !(1..=256).contains(b)) {
            return Err("every box extent is from 1 to 256".to_owned());
        }
        if self.strides.iter().any(|s| s % 16 != 0 || *s >= 1 << 40) {
            return Err("every stride is a multiple of 16 bytes below 2^40".to_owned());
        }
        if !self.offset.is_multiple_of(16) {
            return Err("the tensor's address is a multiple of 16".to_owned());
        }
        let inner = u64::from(self.box_dims[0]) * self.element.bytes();
        if !inner.is_multiple_of(16) {
            return Err(format!("the inner box extent has {inner} bytes, which is no multiple of 16"));
        }
        let span = u64::from(self.swizzle.span());
        if span != 0 && inner > span {
            return Err(format!(
                "the inner box extent has {inner} bytes, more than the swizzle's span of {span}"
            ));
        }
        if span != 0 && inner < span {
            return Err(format!(
                "an inner box extent of {inner} bytes under a swizzle of {span} is not modelled"
            ));
        }
        if self.nan_fill
            && !matches!(
                self.element,
                TensorElement::F16 | TensorElement::Bf16 | TensorElement::F32 | TensorElement::F64
            )
        {
            return Err("only floating-point tensors are filled with NaN".to_owned());
        }
        let mut last = self.element.bytes() * self.dims[0];
        for (d, s) in self.dims[1..].iter().zip(&self.strides) {
            last = last.saturating_add((d - 1).saturating_mul(*s));
        }
        let start = self.buffer.address() + self.offset;
        if memory.find(start, last).is_none() {
            return Err(format!(
                "the tensor's {last} bytes do not lie in its buffer of {} bytes",
                self.buffer.bytes()
            ));
        }
        Ok(())
    }

    /// The fill value's bytes, repeated over 16. The hardware's NaN is 0x7FF7 in every 16 bits, a NaN in all formats.
    pub(crate) fn fill(&self) -> [u8; 16] {
        let one: [u8; 2] = if self.nan_fill { [0xF7, 0x7F] } else { [0; 2] };
        std::array::from_fn(|i| one[i % 2])
    }
}
