//! Targets, as data.

/// A machine that code is generated for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its name, as in `--target`.
    pub name: &'static str,
    /// The largest feature size of queries, keys and values.
    pub max_head_dim: i64,
    /// Bytes of fast memory that the tiles of one grid point should fit in.
    pub tile_bytes: usize,
}

/// The machine's own processor.
pub const NATIVE: Target = Target { name: "native", max_head_dim: 576, tile_bytes: 512 * 1024 };
