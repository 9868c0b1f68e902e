//! Storage types: how rows of f32, f16 and bf16 become vectors of f32 and back.
//!
//! Input: a pointer to elements of one of the three types. Output: f32 lanes, or bf16 lanes for the pair kernels. A storage
//! type is a type parameter inside a kernel and a small number in its signature; [`with_element`] goes from one to the
//! other.

use crate::simd::Simd;

/// The storage type of a tensor, as run-time functions are told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum ElementType {
    /// IEEE single precision.
    F32 = 0,
    /// IEEE half precision.
    F16 = 1,
    /// The upper half of an f32.
    Bf16 = 2,
}

impl ElementType {
    /// The value of a `*_type` argument.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Runs `$body` with `$e` standing for the element type of a code; an unknown code is taken for bf16.
macro_rules! with_element {
    ($code:expr, $e:ident => $body:expr) => {
        match $code {
            0 => {
                type $e = crate::element::F32;
                $body
            }
            1 => {
                type $e = crate::element::F16;
                $body
            }
            _ => {
                type $e = crate::element::Bf16;
                $body
            }
        }
    };
}
pub(crate) use with_element;

/// One storage type; pointers are to its first element.
pub(crate) trait Element: Copy {
    /// What lies in memory.
    type Raw: Copy;
    /// Whether memory holds bf16 already.
    const IS_BF16: bool = false;

    unsafe fn load<S: Simd>(p: *const Self::Raw) -> S::V;
    /// The first `n` lanes, zeros after them; no other memory is touched.
    unsafe fn load_first<S: Simd>(p: *const Self::Raw, n: usize) -> S::V;
    unsafe fn store<S: Simd>(p: *mut Self::Raw, v: S::V);
    unsafe fn store_first<S: Simd>(p: *mut Self::Raw, n: usize, v: S::V);

    /// Up to a vector of elements: all of them where `n` reaches that far.
    #[inline(always)]
    unsafe fn load_up_to<S: Simd>(p: *const Self::Raw, n: usize) -> S::V {
        if n >= S::LANES { Self::load::<S>(p) } else { Self::load_first::<S>(p, n) }
    }

    /// Up to a vector of elements as bf16 in the low halves of the lanes.
    #[inline(always)]
    unsafe fn load_bf16<S: Simd>(p: *const Self::Raw, n: usize) -> S::I {
        S::to_bf16(Self::load_up_to::<S>(p, n))
    }
}

/// See [`ElementType::F32`].
#[derive(Clone, Copy)]
pub(crate) struct F32;
/// See [`ElementType::F16`].
#[derive(Clone, Copy)]
pub(crate) struct F16;
/// See [`ElementType::Bf16`].
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Element for F32 {
    type Raw = f32;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const f32) -> S::V {
        S::load(p)
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(p: *const f32, n: usize) -> S::V {
        S::load_tail(p, S::tail(n))
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut f32, v: S::V) {
        S::store(p, v);
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(p: *mut f32, n: usize, v: S::V) {
        S::store_tail(p, S::tail(n), v);
    }
}

impl Element for F16 {
    type Raw = u16;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u16) -> S::V {
        S::load_f16(p)
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(p: *const u16, n: usize) -> S::V {
        S::from_f16(S::load_u16_tail(p, n))
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut u16, v: S::V) {
        S::store_u16(p, S::to_f16(v));
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(p: *mut u16, n: usize, v: S::V) {
        S::store_u16_tail(p, n, S::to_f16(v));
    }
}

impl Element for Bf16 {
    type Raw = u16;
    const IS_BF16: bool = true;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u16) -> S::V {
        S::from_bits(S::shl::<16>(S::load_u16(p)))
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(p: *const u16, n: usize) -> S::V {
        S::from_bits(S::shl::<16>(S::load_u16_tail(p, n)))
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut u16, v: S::V) {
        S::store_u16(p, S::to_bf16(v));
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(p: *mut u16, n: usize, v: S::V) {
        S::store_u16_tail(p, n, S::to_bf16(v));
    }
    #[inline(always)]
    unsafe fn load_bf16<S: Simd>(p: *const u16, n: usize) -> S::I {
        if n >= S::LANES { S::load_u16(p) } else { S::load_u16_tail(p, n) }
    }
}

/// A row-major matrix of a storage type, with an optional list of its rows.
#[derive(Clone, Copy)]
pub(crate) struct Rows<E: Element> {
    /// The first element of row 0.
    pub(crate) first: *const E::Raw,
    /// Elements from one row to the next.
    pub(crate) stride: usize,
    /// The rows to take, or null for all in order.
    pub(crate) index: *const i32,
}

impl<E: Element> Rows<E> {
    /// The first element of the row that is taken as number `x`.
    #[inline(always)]
    pub(crate) unsafe fn row(self, x: usize) -> *const E::Raw {
        self.first.add(listed(self.index, x) * self.stride)
    }
}

/// Element `x` of an index list, or `x` itself where there is no list.
#[inline(always)]
pub(crate) unsafe fn listed(list: *const i32, x: usize) -> usize {
    if list.is_null() { x } else { list.add(x).read_unaligned() as usize }
}
