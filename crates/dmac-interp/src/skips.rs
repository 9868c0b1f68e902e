//! Whether block-skip predicates say the truth, for given tile sizes.
//!
//! Input → output: a graph with skip predicates, inputs, tile sizes → how many tiles each attention skips, or the first
//! pair that contradicts a predicate. Every pair of every tile is evaluated, so this is for small shapes.
//!
//! Pairs with keys that do not exist (beyond the length of the batch element) concern only the term that says so, the
//! first; a pair at which a term has no value, because it reads what another term excludes, does not concern that term.

use crate::error::Error;
use crate::evaluate::{Evaluator, Options};
use crate::lanes::Value;
use crate::points::Points;
use crate::tensor::Inputs;
use dmac_ir::{Attend, Attendance, AxisKind, Graph, NodeId, Op};

/// What the predicates of one attention decide, over all tiles of all batch elements and heads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TileStatistics {
    /// The attention's name.
    pub name: String,
    /// Tiles of which some term says that it has no pair.
    pub skipped: u64,
    /// Tiles of which every term says that all pairs are attended.
    pub full: u64,
    /// The others.
    pub partial: u64,
}

/// Checks the skip predicates of every attention that has them, with the tile sizes of `options`.
pub fn check_skips(graph: &Graph, inputs: &Inputs, options: &Options) -> Result<Vec<TileStatistics>, Error> {
    let shape = inputs.shape(graph)?;
    let evaluator = Evaluator::new(graph, inputs, &shape, options);
    let mut result = Vec::new();
    for id in graph.node_ids() {
        if let Op::Attend(attend) = graph.op(id)
            && attend.skips
        {
            result.push(evaluator.check_attention(id, attend)?);
        }
    }
    Ok(result)
}

/// A tile: first and last row, first and last key (exclusive).
#[derive(Clone, Copy)]
struct Tile {
    rows: (i64, i64),
    keys: (i64, i64),
}

impl Evaluator<'_> {
    fn check_attention(&self, id: NodeId, attend: &Attend) -> Result<TileStatistics, Error> {
        let mut statistics = TileStatistics { name: attend.name.clone(), ..TileStatistics::default() };
        let (row_tile, key_tile) = (self.tile(attend.query)?, self.tile(attend.key)?);
        let (rows, keys) = (self.extent(attend.query), self.extent(attend.key));
        let starts = |size: i64, tile: i64| (0..size).step_by(tile as usize);
        for batch in 0..self.extent(attend.batch) {
            for head in 0..self.extent(attend.head) {
                for row in starts(rows, row_tile) {
                    for key in starts(keys, key_tile) {
                        let tile = Tile {
                            rows: (row, (row + row_tile).min(rows)),
                            keys: (key, (key + key_tile).min(keys)),
                        };
                        let (may, full) = self.check_tile(id, attend, (batch, head), tile)?;
                        *match (may, full) {
                            (false, _) => &mut statistics.skipped,
                            (true, true) => &mut statistics.full,
                            (true, false) => &mut statistics.partial,
                        } += 1;
                    }
                }
            }
        }
        Ok(statistics)
    }

    /// Whether a tile may have an attended pair, and whether all its pairs are, by the predicates; each is checked.
    fn check_tile(
        &self,
        id: NodeId,
        attend: &Attend,
        (batch, head): (i64, i64),
        tile: Tile,
    ) -> Result<(bool, bool), Error> {
        let view = Attendance { attend, operands: self.operands(id) };
        let at = |row: i64| {
            Points::root(self.graph)
                .with(attend.batch, batch)
                .with(attend.head, head)
                .with(attend.kv_head, head.div_euclid(self.group))
                .with(attend.query, row)
        };
        let exist = match self.kind(attend.key) {
            AxisKind::Key => self.key_length(batch).min(tile.keys.1),
            _ => tile.keys.1,
        };
        let (mut may_all, mut full_all) = (true, true);
        for (index, &term) in view.terms().iter().enumerate() {
            let Some((may, full)) = view.skip(index) else { continue };
            let first = at(tile.rows.0);
            let first = first.spread(attend.key, vec![tile.keys.0]);
            let may = self.eval(may, &first)?.bool().at(0);
            let full = self.eval(full, &first)?.bool().at(0);
            (may_all, full_all) = (may_all && may, full_all && full);
            let last = if index == 0 { tile.keys.1 } else { exist };
            for row in tile.rows.0..tile.rows.1 {
                let points = at(row);
                let points = points.spread(attend.key, (tile.keys.0..last).collect());
                for (point, holds) in self.where_defined(term, &points)? {
                    let claim = match (may, full, holds) {
                        (false, _, true) => "empty",
                        (_, true, false) => "full",
                        _ => continue,
                    };
                    let at = points.describe(self.graph, point);
                    return Err(Error::Skip { attention: attend.name.clone(), term: index, claim, at });
                }
            }
        }
        Ok((may_all, full_all))
    }

    /// The values of a condition at the points where it has one.
    fn where_defined(&self, term: NodeId, points: &Points) -> Result<Vec<(usize, bool)>, Error> {
        match self.eval(term, points).map(Value::bool) {
            Ok(values) => Ok((0..points.len()).map(|point| (point, values.at(point))).collect()),
            Err(error) if error.is_undefined_value() => {
                let mut found = Vec::new();
                for point in 0..points.len() {
                    match self.eval(term, &points.part(&[point])).map(Value::bool) {
                        Ok(value) => found.push((point, value.at(0))),
                        Err(error) if error.is_undefined_value() => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(found)
            }
            Err(error) => Err(error),
        }
    }
}
