//! Schedules: the sizes and choices that a lowering binds.

use crate::target::{Family, Target};

/// Entries of a list of visited tiles: with tiles of 128 keys each is one tile up to 131,072 keys, for 32 bytes a row.
const LISTED_TILES: usize = 1024;

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
    /// Whether factors that scale a whole tile of products multiply the products: see [`Target::scale_products`].
    pub scale_products: bool,
    /// Whether lifetimes and lists of keys are found by many threads at once (a sort, a search for each key), or by one
    /// for each row of the selection (a heap), which is less work in all.
    pub parallel_selection: bool,
    /// Whether a step of online softmax takes a constant scale of the scores and the interval of columns that each row
    /// attends, so that neither needs a map.
    pub fused_softmax: bool,
    /// Tiles of consecutive keys start at a multiple of this: what one packed panel holds.
    pub kv_align: usize,
    /// Where masks read memory: entries of the list of key tiles that a tile of query rows visits, at most. With 0 there
    /// are no lists, and tiles test for themselves.
    pub listed_tiles: usize,
    /// Where masks and scores read what depends on a row or a key alone.
    pub reads: Reads,
}

/// Where a value of a pair of row and key is read that depends on one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// At each pair: vector code reads neighbours at once.
    ByPair,
    /// Once for each row and each key of a tile, into vectors.
    ByVector,
}

impl Schedule {
    /// The schedule for a target and head sizes.
    ///
    /// On a CPU a tile of scores stays in the first-level cache beside a packed tile of keys; figures are flat for
    /// 48 to 192 query rows and 256 keys. On a GPU a warp has 16 query rows, whose scores and results are registers of its
    /// threads: `(kv_tile + E) / 2` f32 a thread of 255, so fewer keys where features are many.
    pub fn choose(target: &Target, head_dim: i64, value_dim: i64) -> Self {
        let scale_products = target.scale_products;
        let parallel_selection = target.family == Family::Gpu;
        match target.family {
            Family::Cpu => Self {
                q_tile: 64,
                kv_tile: 256,
                k_tile: 64,
                select_tile: 16,
                head_tile: 16,
                scale_products,
                parallel_selection,
                fused_softmax: true,
                kv_align: 64,
                listed_tiles: 0,
                reads: Reads::ByPair,
            },
            Family::Gpu => {
                let kv_tile = if head_dim.max(value_dim) > 128 { 32 } else { 64 };
                Self {
                    q_tile: 64,
                    kv_tile,
                    k_tile: 64,
                    select_tile: 16,
                    head_tile: 16,
                    scale_products,
                    parallel_selection,
                    fused_softmax: false,
                    kv_align: 1,
                    listed_tiles: LISTED_TILES,
                    reads: Reads::ByVector,
                }
            }
        }
    }

    /// Schedules for kernels with specialised warps, the fastest first: two consumer groups, and as many keys as their
    /// registers hold. Kernels that gather rows have fewer registers and shared memory left, so they need smaller tiles; the
    /// last is for masks that are dear for each pair: of smaller tiles fewer are attended in part.
    pub fn specialised(target: &Target, head_dim: i64, value_dim: i64) -> [Self; 4] {
        let kv_tile = match head_dim.max(value_dim) {
            ..=128 => 128,
            129..=192 => 96,
            _ => 80,
        };
        let schedule =
            |q_tile, kv_tile| Self { q_tile, kv_tile, ..Self::choose(target, head_dim, value_dim) };
        [schedule(128, kv_tile), schedule(128, 64), schedule(128, 32), schedule(64, 64)]
    }
}
