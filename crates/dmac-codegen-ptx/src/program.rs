//! What a launcher needs: the text of all kernels, and for each of them its parameters, grid and shared memory.
//!
//! Nothing here refers to the graph or to the tile program's statements: sizes, parameters and tensors are declared
//! here, and whatever depends on them is an [`Expr`] over sizes and parameters ([`Expr::eval`] gives its value).

use dmac_ir::{Param, ParamId};
use dmac_ptx::Target;
use dmac_schedule::kernel::{Expr, Selection, SizeDecl, SizeId, Storage, TensorDecl, TensorId};

/// A compiled program.
#[derive(Clone, PartialEq, Debug)]
pub struct PtxProgram {
    /// The attention's name.
    pub name: String,
    /// What the text is written for.
    pub target: Target,
    /// The storage type of `real` tensors.
    pub storage: Storage,
    /// One module with all kernels.
    pub text: String,
    /// What to launch, in order; each after all of the one before has finished.
    pub entries: Vec<Entry>,
    /// Run-time sizes.
    pub sizes: Vec<SizeDecl>,
    /// Run-time parameters.
    pub params: Vec<Param>,
    /// Inputs, key lengths, outputs and workspaces: those of the tile program first, by the same ids, then workspaces
    /// that only this target needs. Workspaces are contiguous; of the others the last axis is, and the other strides are
    /// free. Key lengths are filled with `N` where the caller gives none.
    pub tensors: Vec<TensorDecl>,
    /// What must hold of the sizes and parameters before launch, with the message for when it does not.
    pub requires: Vec<(Expr, String)>,
    /// Where the selections of the graph are, for whoever checks them.
    pub selections: Vec<Selection>,
}

/// One launch.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The entry's name in the text.
    pub name: String,
    /// Its parameters, in ABI order.
    pub params: Vec<ParamSpec>,
    /// Thread blocks along x, y and z. Where one of them is 0 there is nothing to launch.
    pub grid: [Expr; 3],
    /// Threads of a block, along x.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block.
    pub shared_bytes: Expr,
    /// How many times it is launched in turn, with [`ParamSpec::Round`] from 0; each after all of the one before.
    pub rounds: Expr,
}

/// A parameter of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ParamSpec {
    /// The address of a tensor's first element: 64 bits, a multiple of the element's size.
    Pointer(TensorId),
    /// The distance of neighbours along an axis in elements: 32 bits.
    Stride {
        /// The tensor.
        tensor: TensorId,
        /// Its axis, outermost 0; never the last one, which is contiguous.
        axis: usize,
    },
    /// A run-time size: 32 bits.
    Size(SizeId),
    /// A run-time parameter: 32 bits, a signed int or an f32.
    Param(ParamId),
    /// Which launch of the entry this is, from 0: 32 bits.
    Round,
    /// A tensor map of 128 bytes, aligned to 64, which the launcher makes from the tensor's address, sizes and strides.
    TensorMap(TensorMapSpec),
}

/// How to make a tensor map. Its dimensions are the tensor's axes, innermost first; everything outside the tensor reads as
/// zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorMapSpec {
    /// The tensor. Its address and all strides in bytes must be multiples of 16.
    pub tensor: TensorId,
    /// Elements that one copy moves along each axis, innermost first.
    pub box_dims: Vec<u32>,
    /// Whether 16-byte chunks of 128-byte rows are permuted in shared memory (`SWIZZLE_128B`); otherwise they are not.
    pub swizzle_128b: bool,
}

impl PtxProgram {
    /// A tensor.
    pub fn tensor(&self, id: TensorId) -> &TensorDecl {
        &self.tensors[id.0 as usize]
    }
}
