//! Tensor maps: how the bulk copy engine sees a tensor in global memory.
//!
//! Input → output: extents, strides and a box → the 128 bytes that a kernel takes as a parameter.

#![allow(
    unsafe_code,
    reason = "the driver's encoder has no safe wrapper; the call states what makes it sound"
)]

use crate::Error;
use cudarc::driver::sys;
use std::fmt;

/// Element type of a tensor map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// How a box is permuted in shared memory, by the width of the permuted span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorSwizzle {
    /// Unchanged.
    None,
    /// 32 bytes.
    B32,
    /// 64 bytes.
    B64,
    /// 128 bytes.
    B128,
}

/// A tiled tensor map as data; dimension 0 is the innermost and contiguous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Address of the first element, a multiple of 16.
    pub address: u64,
    /// Element type.
    pub element: TensorElement,
    /// Extents in elements, 1 to 5 of them.
    pub dims: Vec<u64>,
    /// Byte strides of dimensions 1 and up, multiples of 16.
    pub strides: Vec<u64>,
    /// Extents of the box, each at most 256.
    pub box_dims: Vec<u32>,
    /// Permutation in shared memory.
    pub swizzle: TensorSwizzle,
    /// Elements outside read as NaN instead of 0.
    pub nan_fill: bool,
}

/// A tensor map in the hardware's form.
#[derive(Clone, Copy)]
pub struct EncodedTensorMap(pub(crate) sys::CUtensorMap);

impl TensorMap {
    /// The hardware's form.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the lists' lengths disagree, [`Error::Driver`] for what the driver refuses.
    pub fn encode(&self) -> Result<EncodedTensorMap, Error> {
        use sys::CUtensorMapDataType as T;
        let rank = self.dims.len();
        if !(1..=5).contains(&rank) || self.strides.len() + 1 != rank || self.box_dims.len() != rank {
            return Err(Error::Invalid(format!(
                "a tensor map has 1 to 5 dimensions with as many box extents and one stride fewer; found {rank}, {}, {}",
                self.box_dims.len(),
                self.strides.len()
            )));
        }
        let element = match self.element {
            TensorElement::U8 => T::CU_TENSOR_MAP_DATA_TYPE_UINT8,
            TensorElement::U16 => T::CU_TENSOR_MAP_DATA_TYPE_UINT16,
            TensorElement::U32 => T::CU_TENSOR_MAP_DATA_TYPE_UINT32,
            TensorElement::S32 => T::CU_TENSOR_MAP_DATA_TYPE_INT32,
            TensorElement::U64 => T::CU_TENSOR_MAP_DATA_TYPE_UINT64,
            TensorElement::F16 => T::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            TensorElement::Bf16 => T::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            TensorElement::F32 => T::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
            TensorElement::F64 => T::CU_TENSOR_MAP_DATA_TYPE_FLOAT64,
        };
        let swizzle = match self.swizzle {
            TensorSwizzle::None => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
            TensorSwizzle::B32 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
            TensorSwizzle::B64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
            TensorSwizzle::B128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
        };
        let fill = if self.nan_fill {
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA
        } else {
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE
        };
        let element_strides = vec![1u32; rank];
        // SAFETY: a tensor map is plain bytes.
        let mut map: sys::CUtensorMap = unsafe { std::mem::zeroed() };
        // SAFETY: the lists have `rank` entries, the strides one fewer, as the function reads them; the tensor's address
        // is only stored.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                &raw mut map,
                element,
                rank as u32,
                std::ptr::with_exposed_provenance_mut(self.address as usize),
                self.dims.as_ptr(),
                self.strides.as_ptr(),
                self.box_dims.as_ptr(),
                element_strides.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                swizzle,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                fill,
            )
            .result()
        }
        .map_err(Error::driver("cuTensorMapEncodeTiled"))?;
        Ok(EncodedTensorMap(map))
    }
}

impl fmt::Debug for EncodedTensorMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedTensorMap").finish_non_exhaustive()
    }
}
