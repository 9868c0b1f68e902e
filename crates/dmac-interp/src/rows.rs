//! Which query rows are evaluated.
//!
//! Input → output: a description → a sorted list of row indices. Why: the oracle is exact but slow, so at large `M` it is
//! asked for the rows where mistakes live (first, last, tile edges) and a random sample of the others.

use crate::error::Error;

/// A choice of query rows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Rows {
    /// All of them.
    #[default]
    All,
    /// These indices along the query axis.
    These(Vec<usize>),
}

impl Rows {
    /// The first and last row, both rows at each of the first two and last two edges of tiles of `tile` rows, and
    /// `random` others drawn from `seed`; all rows if these are not fewer.
    pub fn sample(rows: usize, tile: usize, random: usize, seed: u64) -> Self {
        let tile = tile.max(1);
        let tiles = rows.div_ceil(tile);
        let mut chosen = vec![0, rows.saturating_sub(1)];
        for edge in [1, 2, tiles.saturating_sub(2), tiles.saturating_sub(1)] {
            let first = edge * tile;
            chosen.extend([first.saturating_sub(1), first]);
        }
        chosen.retain(|&row| row < rows);
        if rows <= random + chosen.len() {
            return Self::All;
        }
        let mut state = seed;
        for _ in 0..random {
            chosen.push((split_mix(&mut state) % rows as u64) as usize);
        }
        chosen.sort_unstable();
        chosen.dedup();
        Self::These(chosen)
    }

    /// The rows in ascending order, each once.
    pub(crate) fn list(&self, rows: usize) -> Result<Vec<usize>, Error> {
        match self {
            Self::All => Ok((0..rows).collect()),
            Self::These(these) => {
                let mut list = these.clone();
                list.sort_unstable();
                list.dedup();
                match list.last() {
                    Some(&row) if row >= rows => Err(Error::Row { row, rows }),
                    _ => Ok(list),
                }
            }
        }
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): one 64-bit step.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
