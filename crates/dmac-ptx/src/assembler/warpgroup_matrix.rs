//! Asynchronous Warpgroup Level Matrix Instructions (9.7.15).
//!
//! In: shared tiles by descriptor, or an A fragment in registers. Out: an accumulator of 64 × n f32, n/2 registers a
//! thread, which is nobody's business between issue and wait. `d[4j..4j+2]` of lane l of warp w is row 16w + l/4,
//! columns 8j + 2(l%4) and +1; `d[4j+2..4j+4]` the same 8 rows below.

use super::Assembler;
use crate::inst::{Inst, MmaElem, ScaleD, WgmmaA};
use crate::types::{B32, B64, F32, Operand, Pred, Reg, ids};

/// Whether a product adds to its accumulator.
#[derive(Clone, Copy, Debug)]
pub enum Accumulate {
    /// The accumulator is overwritten.
    No,
    /// It is added to.
    Yes,
    /// It is added to where the predicate holds; uniform over the warpgroup.
    If(Reg<Pred>),
}

impl Accumulate {
    fn scale(self) -> ScaleD {
        match self {
            Accumulate::No => ScaleD::Zero,
            Accumulate::Yes => ScaleD::One,
            Accumulate::If(p) => ScaleD::If(p.id),
        }
    }
}

/// How a shared tile is laid out, seen by the product: which axis is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    /// The contracted axis is contiguous: rows of A, columns of B.
    K,
    /// The other axis is contiguous. 16-bit types only.
    Mn,
}

/// The constant upper half of the descriptor of a tile with 128-byte swizzle whose groups of 8 rows lie 1024 bytes
/// apart: bits 32–45 are 1024 >> 4, bits 62–63 are 1.
pub const SWIZZLE_128B_1024: i32 = 0x4000_0040;

impl Assembler {
    /// The lower half of a descriptor: `address >> 4` with the leading byte offset (a multiple of 16, at most 262128)
    /// above it. For a K-major tile with swizzle the offset is not used; 16 is the custom.
    pub fn descriptor_low(&mut self, role: &str, address: Reg<B32>, leading_bytes: u32) -> Reg<B32> {
        assert!(
            leading_bytes.is_multiple_of(16) && leading_bytes < 1 << 18,
            "leading byte offset {leading_bytes} of a descriptor"
        );
        let low = self.shr_u(role, address, 4);
        self.or(low, low, (leading_bytes >> 4) << 16)
    }

    /// A descriptor from its lower half and a constant upper half such as [`SWIZZLE_128B_1024`].
    pub fn descriptor(&mut self, role: &str, low: impl Into<Operand<B32>>, high: i32) -> Reg<B64> {
        self.pack64(role, low, high)
    }

    /// d (+)= A · B with both operands in shared memory, one k-step (16 elements of 16 bits, 8 of tf32).
    /// `d` has n/2 registers, n a multiple of 8 up to 256.
    pub fn wgmma_ss(
        &mut self,
        elem: MmaElem,
        d: &[Reg<F32>],
        a: (Reg<B64>, Major),
        b: (Reg<B64>, Major),
        accumulate: Accumulate,
    ) {
        self.push(Inst::Wgmma {
            elem,
            n: d.len() as u32 * 2,
            d: ids(d),
            a: WgmmaA::Descriptor(a.0.id),
            b: b.0.id,
            scale_d: accumulate.scale(),
            negate_a: false,
            negate_b: false,
            trans_a: a.1 == Major::Mn,
            trans_b: b.1 == Major::Mn,
        });
    }

    /// d (+)= A · B with A in four registers of each thread, one k-step.
    pub fn wgmma_rs(
        &mut self,
        elem: MmaElem,
        d: &[Reg<F32>],
        a: &[Reg<B32>],
        b: (Reg<B64>, Major),
        accumulate: Accumulate,
    ) {
        self.push(Inst::Wgmma {
            elem,
            n: d.len() as u32 * 2,
            d: ids(d),
            a: WgmmaA::Registers(ids(a)),
            b: b.0.id,
            scale_d: accumulate.scale(),
            negate_a: false,
            negate_b: false,
            trans_a: false,
            trans_b: b.1 == Major::Mn,
        });
    }

    /// Orders register accesses of the threads before the products that follow. Before every batch.
    pub fn wgmma_fence(&mut self) {
        self.push(Inst::WgmmaFence);
    }

    /// Closes a batch of products as a group.
    pub fn wgmma_commit(&mut self) {
        self.push(Inst::WgmmaCommit);
    }

    /// Waits until at most `pending` groups are under way.
    pub fn wgmma_wait(&mut self, pending: u32) {
        self.push(Inst::WgmmaWait { pending });
    }
}
