//! Schedules: the sizes and choices that a lowering binds.

use crate::target::Target;

/// Tile sizes of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Query rows of a tile.
    pub q_tile: usize,
    /// Keys of a tile.
    pub kv_tile: usize,
    /// Depth of one step of a matrix product over a long axis.
    pub k_tile: usize,
    /// Query rows of a tile that selects.
    pub select_tile: usize,
    /// Query heads that share a tile, where a row has its own list of keys.
    pub head_tile: usize,
}

impl Schedule {
    /// The schedule for a target and head sizes.
    ///
    /// On a CPU a tile of scores stays in the first-level cache beside a packed tile of keys; figures are flat for
    /// 48 to 192 query rows and 256 keys.
    pub fn choose(_target: &Target, _head_dim: i64, _value_dim: i64) -> Self {
        Self { q_tile: 64, kv_tile: 256, k_tile: 64, select_tile: 16, head_tile: 16 }
    }
}
