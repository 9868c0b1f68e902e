//! Matrix products of a running grid point, which may be in flight.
//!
//! Input → output: a product whose bounds are known → its elements in the accumulator: at once in kernels that never
//! wait for products, otherwise at an arbitrary time before the wait returns. Until then the accumulator holds nothing,
//! and the operands are read as late as possible, so whoever overwrites them too early is found out.

use super::memory::Tiles;
use super::point::bank;
use dmac_schedule::kernel::{Kernel, TileId};

/// A product with its bounds.
pub(super) struct Product {
    pub acc: TileId,
    /// Tile and stage.
    pub a: (TileId, usize),
    /// Tile and stage.
    pub b: (TileId, usize),
    pub transpose_b: bool,
    pub accumulate: bool,
    pub m: i64,
    pub n: i64,
    pub k: i64,
    /// What the accumulator held when the product was issued, unless another product into it is under way.
    start: Vec<Option<f64>>,
}

impl Product {
    #[allow(clippy::too_many_arguments, reason = "the fields of the statement")]
    pub fn new(
        acc: TileId,
        a: (TileId, usize),
        b: (TileId, usize),
        (transpose_b, accumulate): (bool, bool),
        (m, n, k): (i64, i64, i64),
    ) -> Self {
        Self { acc, a, b, transpose_b, accumulate, m, n, k, start: Vec::new() }
    }

    fn places(&self) -> impl Iterator<Item = (i64, i64)> + use<> {
        let n = self.n;
        (0..self.m).flat_map(move |row| (0..n).map(move |col| (row, col)))
    }

    /// Takes what is accumulated to out of the accumulator, which nobody may read from now on. `behind`: products that
    /// are under way already.
    pub fn issue(
        mut self,
        kernel: &Kernel,
        tiles: &mut [Tiles],
        group: usize,
        behind: &[Self],
    ) -> Result<Self, String> {
        let chained = behind.iter().any(|product| product.acc == self.acc);
        let home = bank(kernel, self.acc, group);
        for place in self.places() {
            if self.accumulate && !chained {
                self.start.push(Some(tiles[home].load(kernel, self.acc, 0, place.0, place.1)?));
            }
            tiles[home].store(kernel, self.acc, 0, place, None)?;
        }
        Ok(self)
    }

    /// Computes the product. `after`: those issued later, for which this one's result is where they start.
    pub fn complete(
        self,
        kernel: &Kernel,
        tiles: &mut [Tiles],
        group: usize,
        after: &mut [Self],
    ) -> Result<(), String> {
        let (a_in, b_in) = (bank(kernel, self.a.0, group), bank(kernel, self.b.0, group));
        let home = bank(kernel, self.acc, group);
        let next = after.iter_mut().find(|product| product.acc == self.acc);
        let mut results = Vec::new();
        for (at, (row, col)) in self.places().enumerate() {
            let mut total = if self.accumulate {
                self.start.get(at).copied().flatten().ok_or("a product starts from nothing")?
            } else {
                0.0
            };
            for depth in 0..self.k {
                let (b_row, b_col) = if self.transpose_b { (col, depth) } else { (depth, col) };
                total += tiles[a_in].load(kernel, self.a.0, self.a.1, row, depth)?
                    * tiles[b_in].load(kernel, self.b.0, self.b.1, b_row, b_col)?;
            }
            results.push(((row, col), total));
        }
        match next {
            Some(next) => {
                if next.accumulate {
                    next.start = results.into_iter().map(|(_, total)| Some(total)).collect();
                }
            }
            None => {
                for (place, total) in results {
                    tiles[home].store(kernel, self.acc, 0, place, Some(total))?;
                }
            }
        }
        Ok(())
    }
}
