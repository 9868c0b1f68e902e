//! Tensors in host memory: owned ones, and views of memory that someone else owns.

use crate::error::RunError;
use dmac_schedule::kernel::Element;

/// A tensor that owns its memory: contiguous, outermost axis first.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    element: Element,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

/// A view of a tensor: any strides, no alignment needed.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorView<'a> {
    element: Element,
    dims: Vec<usize>,
    /// Elements from one index to the next along each axis.
    strides: Vec<usize>,
    bytes: &'a [u8],
}

impl Tensor {
    /// Zeros.
    pub fn zeros(element: Element, dims: &[usize]) -> Self {
        let count: usize = dims.iter().product();
        Self { element, dims: dims.to_vec(), bytes: vec![0; count * element.bytes()] }
    }

    /// Of these bytes (little-endian elements, row-major).
    ///
    /// # Errors
    /// If there are not as many as the dims need.
    pub fn from_bytes(element: Element, dims: &[usize], bytes: Vec<u8>) -> Result<Self, RunError> {
        TensorView::new(element, dims, &bytes)?;
        Ok(Self { element, dims: dims.to_vec(), bytes })
    }

    /// Of floats, rounded to the element type (`F32`, `F16` or `Bf16`).
    ///
    /// # Errors
    /// If there are not as many as the dims need.
    pub fn from_f32(element: Element, dims: &[usize], values: &[f32]) -> Result<Self, RunError> {
        let bytes = match element {
            Element::F16 => values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
            Element::Bf16 => values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        Self::from_bytes(element, dims, bytes)
    }

    /// The element type.
    pub fn element(&self) -> Element {
        self.element
    }

    /// The sizes of the axes.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The elements, little-endian, row-major.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// A view of all of it.
    pub fn view(&self) -> TensorView<'_> {
        TensorView {
            element: self.element,
            strides: contiguous(&self.dims),
            dims: self.dims.clone(),
            bytes: &self.bytes,
        }
    }

    /// The elements as f64 (exact for all element types).
    pub fn to_f64(&self) -> Vec<f64> {
        self.view().to_f64()
    }

    /// The elements of an int tensor.
    pub fn to_i32(&self) -> Vec<i32> {
        self.to_f64().into_iter().map(|x| x as i32).collect()
    }
}

impl<'a> TensorView<'a> {
    /// A contiguous tensor in borrowed bytes (little-endian elements, row-major).
    ///
    /// # Errors
    /// If there are not as many bytes as the dims need.
    pub fn new(element: Element, dims: &[usize], bytes: &'a [u8]) -> Result<Self, RunError> {
        let expected = dims.iter().try_fold(element.bytes(), |product, &dim| product.checked_mul(dim));
        if expected != Some(bytes.len()) {
            return Err(RunError::ByteCount { dims: dims.to_vec(), element, found: bytes.len() });
        }
        Ok(Self { element, dims: dims.to_vec(), strides: contiguous(dims), bytes })
    }

    /// A tensor with its own strides (in elements): element `[x, y]` is at `x * strides[0] + y * strides[1]`.
    ///
    /// # Errors
    /// If there is not one stride an axis, or an element lies outside of the bytes.
    pub fn strided(
        element: Element,
        dims: &[usize],
        strides: &[usize],
        bytes: &'a [u8],
    ) -> Result<Self, RunError> {
        let outside =
            || RunError::Strides { dims: dims.to_vec(), strides: strides.to_vec(), found: bytes.len() };
        if dims.len() != strides.len() {
            return Err(outside());
        }
        if dims.iter().all(|&dim| dim > 0) {
            let last = dims.iter().zip(strides).try_fold(0_usize, |last, (&dim, &stride)| {
                (dim - 1).checked_mul(stride).and_then(|more| last.checked_add(more))
            });
            let end = last.and_then(|last| (last + 1).checked_mul(element.bytes()));
            if end.is_none_or(|end| end > bytes.len()) {
                return Err(outside());
            }
        }
        Ok(Self { element, dims: dims.to_vec(), strides: strides.to_vec(), bytes })
    }

    /// Of a slice of floats.
    ///
    /// # Errors
    /// If there are not as many as the dims need.
    pub fn of_f32(dims: &[usize], values: &'a [f32]) -> Result<Self, RunError> {
        Self::new(Element::F32, dims, bytes_of(values))
    }

    /// Of a slice of ints.
    ///
    /// # Errors
    /// If there are not as many as the dims need.
    pub fn of_i32(dims: &[usize], values: &'a [i32]) -> Result<Self, RunError> {
        Self::new(Element::I32, dims, bytes_of(values))
    }

    /// A tensor of a safetensors file.
    ///
    /// # Errors
    /// For element types other than f32, f16, bf16, i32 and bool.
    pub fn of_safetensors(name: &str, view: &safetensors::tensor::TensorView<'a>) -> Result<Self, RunError> {
        use safetensors::Dtype;
        let element = match view.dtype() {
            Dtype::F32 => Element::F32,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            Dtype::I32 => Element::I32,
            Dtype::BOOL => Element::Bool,
            other => {
                return Err(RunError::Dtype {
                    tensor: name.to_owned(),
                    found: format!("{other:?}").to_lowercase(),
                });
            }
        };
        Self::new(element, view.shape(), view.data())
    }

    /// The element type.
    pub fn element(&self) -> Element {
        self.element
    }

    /// The sizes of the axes.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Elements from one index to the next, for each axis.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// The memory that the view is of.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the last axis is contiguous, as kernels need it.
    pub fn has_contiguous_rows(&self) -> bool {
        match (self.strides.last(), self.dims.last()) {
            (Some(&stride), Some(&dim)) => stride == 1 || dim <= 1,
            _ => true,
        }
    }

    /// A contiguous copy.
    pub fn to_tensor(&self) -> Tensor {
        let size = self.element.bytes();
        let mut bytes = Vec::with_capacity(self.dims.iter().product::<usize>() * size);
        self.each_offset(&mut |offset| {
            bytes.extend_from_slice(&self.bytes[offset * size..(offset + 1) * size]);
        });
        Tensor { element: self.element, dims: self.dims.clone(), bytes }
    }

    /// The elements as f64 (exact for all element types), row-major.
    pub fn to_f64(&self) -> Vec<f64> {
        let mut values = Vec::with_capacity(self.dims.iter().product());
        let size = self.element.bytes();
        self.each_offset(&mut |offset| {
            values.push(self.decode(&self.bytes[offset * size..(offset + 1) * size]));
        });
        values
    }

    fn decode(&self, bytes: &[u8]) -> f64 {
        let four = || [bytes[0], bytes[1], bytes[2], bytes[3]];
        match self.element {
            Element::F32 => f64::from(f32::from_le_bytes(four())),
            Element::I32 => f64::from(i32::from_le_bytes(four())),
            Element::F16 => half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
            Element::Bf16 => half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
            Element::Bool => f64::from(u8::from(bytes[0] != 0)),
        }
    }

    fn each_offset(&self, f: &mut dyn FnMut(usize)) {
        let count: usize = self.dims.iter().product();
        let mut index = vec![0_usize; self.dims.len()];
        for _ in 0..count {
            f(index.iter().zip(&self.strides).map(|(at, stride)| at * stride).sum());
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.dims[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

/// Row-major strides.
pub(crate) fn contiguous(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis].max(1);
    }
    strides
}

/// The bytes of a slice of 4-byte numbers.
fn bytes_of<T: bytemuck::Pod>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values)
}
