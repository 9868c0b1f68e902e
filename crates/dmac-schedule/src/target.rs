//! Targets, as data.

/// What kind of machine a target is: which of the default tile sizes fit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// A processor: tiles live in caches, a grid point is one thread.
    Cpu,
    /// A GPU: tiles live in shared memory and in the registers of a thread block.
    Gpu,
}

/// A machine that code is generated for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its name, as in `--target` or `--arch`.
    pub name: &'static str,
    /// Its kind.
    pub family: Family,
    /// The largest feature size of queries, keys and values.
    pub max_head_dim: i64,
    /// Bytes of fast memory that the tiles of one grid point should fit in.
    pub tile_bytes: usize,
    /// Whether factors that scale a whole tile of products multiply the products, so that operands stay in their storage
    /// type; otherwise they join the left operand, which is then f32.
    pub scale_products: bool,
    /// Whether four warps multiply tiles together, asynchronously, and registers move between warps: what
    /// [`crate::pipeline`] needs.
    pub warpgroups: bool,
}

/// The machine's own processor.
pub const NATIVE: Target = Target {
    name: "native",
    family: Family::Cpu,
    max_head_dim: 576,
    tile_bytes: 512 * 1024,
    scale_products: false,
    warpgroups: false,
};

/// A100 and every later GPU of the vendor: `mma.sync`, `cp.async`. A block has 163 KiB of shared memory on an A100.
pub const SM_80: Target = Target {
    name: "sm_80",
    family: Family::Gpu,
    max_head_dim: 256,
    tile_bytes: 163 * 1024,
    scale_products: true,
    warpgroups: false,
};

/// H100 and H200: `wgmma`, TMA. A block has 227 KiB of shared memory.
pub const SM_90A: Target = Target { name: "sm_90a", tile_bytes: 227 * 1024, warpgroups: true, ..SM_80 };

/// All targets.
pub const ALL: [&Target; 3] = [&NATIVE, &SM_80, &SM_90A];
