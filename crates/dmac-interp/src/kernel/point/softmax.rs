//! A row's step of online softmax in a running grid point.
//!
//! Input → output: a row of scores, its running maximum and sum, its accumulator → weights in place of the scores, the new
//! maximum and sum, the accumulator rescaled. Scores outside of the columns that the row takes have no weight.

use super::super::memory::Tiles;
use super::{Machine, bank};
use dmac_schedule::kernel::{Taken, TileId};

impl Machine<'_> {
    pub(super) fn softmax_row(
        &mut self,
        group: usize,
        (scores, row_max, row_sum, acc): (TileId, TileId, TileId, TileId),
        row: i64,
        (cols, taken): (i64, Taken),
        features: i64,
    ) -> Result<(), String> {
        let kernel = self.kernel;
        let (mut first, mut end) = (0, cols);
        if let Some((lo, hi)) = taken.columns {
            first = self.tiles[bank(kernel, lo, group)].load(kernel, lo, 0, row, 0)? as i64;
            end = self.tiles[bank(kernel, hi, group)].load(kernel, hi, 0, row, 0)? as i64;
        }
        let scale = f64::from(taken.scale.get());
        let tiles = &mut self.tiles[group];
        let score = |tiles: &Tiles, col: i64| {
            if col < first || end <= col {
                return Ok(f64::NEG_INFINITY);
            }
            tiles.load(kernel, scores, 0, row, col).map(|score| score * scale)
        };
        let old = tiles.load(kernel, row_max, 0, row, 0)?;
        let mut new = old;
        for col in 0..cols {
            new = new.max(score(tiles, col)?);
        }
        let empty = new == f64::NEG_INFINITY;
        let alpha = if empty { 1.0 } else { (old - new).exp() };
        let mut sum = tiles.load(kernel, row_sum, 0, row, 0)? * alpha;
        for col in 0..cols {
            let weight = if empty { 0.0 } else { (score(tiles, col)? - new).exp() };
            sum += weight;
            tiles.store(kernel, scores, 0, (row, col), Some(weight))?;
        }
        for col in 0..features {
            let value = tiles.load(kernel, acc, 0, row, col)?;
            tiles.store(kernel, acc, 0, (row, col), Some(value * alpha))?;
        }
        tiles.store(kernel, row_max, 0, (row, 0), Some(new))?;
        tiles.store(kernel, row_sum, 0, (row, 0), Some(sum))
    }
}
