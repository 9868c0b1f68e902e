//! Vectors of f32: the few operations that every micro-kernel is written in.
//!
//! Input: nothing but registers and pointers. Output: one type a vector instruction set that implements [`Simd`], so that
//! each kernel is written once, in terms of the trait, and compiled once an instruction set. All methods are inlined into
//! an entry point that enables the instruction set's target features; none may be called from elsewhere.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

/// The most lanes of any implementation: the size of stack buffers that hold one vector an element.
pub(crate) const MAX_LANES: usize = 16;

/// 1.5 * 2^23: adding it to a small number leaves the nearest integer in the low bits.
pub(crate) const ROUNDER: f32 = 12_582_912.0;

/// One vector instruction set.
pub(crate) trait Simd: Copy {
    /// f32 lanes in a vector.
    const LANES: usize;
    /// Vectors in a panel of a packed matrix, and columns of vectors in a GEMM tile.
    const VECS: usize;
    /// Rows of a GEMM tile, at most 6: as many accumulators as the register file holds beside the operands.
    const ROWS: usize;
    /// Rows of A that share a row of B read in place: 4, or 2 where 16 sums would not fit the register file.
    const DOT_ROWS: usize;
    /// A vector of f32.
    type V: Copy;
    /// A vector of as many i32.
    type I: Copy;
    /// One boolean a lane.
    type M: Copy;
    /// The first lanes of a vector, for loads and stores of a rest.
    type T: Copy;

    /// The first `n` lanes, `n <= LANES`.
    unsafe fn tail(n: usize) -> Self::T;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Loads the lanes of `t`, zeros in the others, touching no other memory.
    unsafe fn load_tail(p: *const f32, t: Self::T) -> Self::V;
    unsafe fn store_tail(p: *mut f32, t: Self::T, v: Self::V);

    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `a * b + c`; only the portable implementation rounds twice.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger one; `b` where either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one; `b` where either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The nearest integer, ties to even, for magnitudes below 2^22.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `a * 2^n` rounded once, for integral `n` from -252 to 252.
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;
    /// `a * 2^n` for `n` = `x` rounded, up to 127; zero where `x` is below -126, whatever `a` is.
    #[inline(always)]
    unsafe fn scale_flushed(a: Self::V, n: Self::V, x: Self::V) -> Self::V {
        // The sum's low bits are the exponent field of 2^n.
        let field = Self::bits(Self::add(n, Self::splat(ROUNDER + 127.0)));
        let scaled = Self::mul(a, Self::from_bits(Self::shl::<23>(field)));
        Self::select(Self::less(x, Self::splat(-126.0)), Self::splat(0.0), scaled)
    }
    unsafe fn sum(a: Self::V) -> f32;
    /// The largest lane of a vector without NaN.
    unsafe fn max_lane(a: Self::V) -> f32;

    unsafe fn less(a: Self::V, b: Self::V) -> Self::M;
    unsafe fn less_equal(a: Self::V, b: Self::V) -> Self::M;
    /// Where either is NaN.
    unsafe fn unordered(a: Self::V, b: Self::V) -> Self::M;
    /// `a` where `m`, else `b`.
    unsafe fn select(m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// Lane `i` as bit `i`.
    unsafe fn mask_bits(m: Self::M) -> u32;

    unsafe fn bits(a: Self::V) -> Self::I;
    unsafe fn from_bits(a: Self::I) -> Self::V;
    unsafe fn splat_int(x: i32) -> Self::I;
    unsafe fn load_int(p: *const i32) -> Self::I;
    unsafe fn store_int(p: *mut i32, v: Self::I);
    unsafe fn load_int_tail(p: *const i32, t: Self::T) -> Self::I;
    unsafe fn store_int_tail(p: *mut i32, t: Self::T, v: Self::I);
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn shl<const N: u32>(a: Self::I) -> Self::I;
    /// Shifts in zeros.
    unsafe fn shr<const N: u32>(a: Self::I) -> Self::I;
    unsafe fn less_int(a: Self::I, b: Self::I) -> Self::M;
    unsafe fn to_float(a: Self::I) -> Self::V;

    /// Loads 16-bit elements into the low halves of the lanes.
    unsafe fn load_u16(p: *const u16) -> Self::I;
    unsafe fn load_u16_tail(p: *const u16, n: usize) -> Self::I;
    /// Stores the low halves of the lanes, which must hold nothing else.
    unsafe fn store_u16(p: *mut u16, v: Self::I);
    unsafe fn store_u16_tail(p: *mut u16, n: usize, v: Self::I);
    /// Converts f16 in the low halves of the lanes, exactly.
    unsafe fn from_f16(a: Self::I) -> Self::V;
    /// Loads and converts f16.
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self::V {
        Self::from_f16(Self::load_u16(p))
    }
    /// Rounds to f16, to nearest even.
    unsafe fn to_f16(a: Self::V) -> Self::I;
    /// Rounds to bf16, to nearest even; NaN stays NaN.
    #[inline(always)]
    unsafe fn to_bf16(a: Self::V) -> Self::I {
        round_to_bf16::<Self>(a)
    }
    /// Asks for the cache line of an address, which need not exist.
    #[inline(always)]
    unsafe fn prefetch(_p: *const u8) {}
    /// Adds the dot product of two bf16 pairs a lane to `acc`.
    #[inline(always)]
    unsafe fn dot_pair(acc: Self::V, a: Self::I, b: Self::I) -> Self::V {
        dot_pair_by_fma::<Self>(acc, a, b)
    }
    /// Transposes the square of the first `LANES` vectors.
    unsafe fn transpose(v: &mut [Self::V; MAX_LANES]);
}

/// [`Simd::to_bf16`] in integer arithmetic.
#[inline(always)]
unsafe fn round_to_bf16<S: Simd>(a: S::V) -> S::I {
    let bits = S::bits(a);
    let odd = S::and(S::shr::<16>(bits), S::splat_int(1));
    let rounded = S::add_int(S::add_int(bits, S::splat_int(0x7fff)), odd);
    let quiet = S::or(bits, S::splat_int(0x0040_0000));
    let kept = S::select(S::unordered(a, a), S::from_bits(quiet), S::from_bits(rounded));
    S::shr::<16>(S::bits(kept))
}

/// [`Simd::dot_pair`] in two steps of f32.
#[inline(always)]
unsafe fn dot_pair_by_fma<S: Simd>(acc: S::V, a: S::I, b: S::I) -> S::V {
    let high = S::splat_int(0xffff_0000_u32 as i32);
    let odd = S::fma(S::from_bits(S::and(a, high)), S::from_bits(S::and(b, high)), acc);
    S::fma(S::from_bits(S::shl::<16>(a)), S::from_bits(S::shl::<16>(b)), odd)
}
