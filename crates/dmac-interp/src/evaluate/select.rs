//! Selections: the best candidates of a row.
//!
//! Input → output: a selection and a row → for each element whether it is chosen. The order is total: NaN last,
//! `-0 = +0`, then the index.

use super::Evaluator;
use crate::error::Error;
use crate::lanes::Lanes;
use crate::points::Points;
use crate::statistics::SelectionStatistics;
use dmac_ir::{AxisKind, NodeId, Op, Select, Ties};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The rows of a selection that are kept (all, or those of one query and batch element where rows have a query), and
/// what all rows were like.
#[derive(Default)]
pub(super) struct SelectionState {
    pub(super) statistics: SelectionStatistics,
    current: Vec<i64>,
    rows: BTreeMap<Vec<i64>, Rc<Vec<bool>>>,
}

impl Evaluator<'_> {
    /// Whether elements are in the sets of rows. No set has an element that does not exist.
    pub(super) fn contains(
        &self,
        set: NodeId,
        row: &[Lanes<i64>],
        element: Lanes<i64>,
        points: &Points,
    ) -> Result<Lanes<bool>, Error> {
        let has = |chosen: &[bool], element: i64| {
            usize::try_from(element).is_ok_and(|element| chosen.get(element) == Some(&true))
        };
        let row_at = |point: usize| row.iter().map(|index| index.at(point)).collect::<Vec<i64>>();
        if row.iter().all(|index| matches!(index, Lanes::Same(_))) {
            let chosen = self.chosen(set, row_at(0))?;
            return Ok(element.map(|element| has(&chosen, element)));
        }
        let mut values = Vec::with_capacity(points.len());
        for point in 0..points.len() {
            values.push(has(&self.chosen(set, row_at(point))?, element.at(point)));
        }
        Ok(Lanes::each(values))
    }

    /// The chosen elements of a row.
    fn chosen(&self, set: NodeId, row: Vec<i64>) -> Result<Rc<Vec<bool>>, Error> {
        let Op::Select(select) = self.graph.op(set) else {
            panic!("interpreter: %{} is not a selection", set.0);
        };
        let has_query = select.rows.iter().any(|&var| *self.kind(var) == AxisKind::Query);
        let passing =
            |var: &dmac_ir::Var| has_query && matches!(self.kind(*var), AxisKind::Query | AxisKind::Batch);
        let current: Vec<i64> =
            select.rows.iter().zip(&row).filter(|(var, _)| passing(var)).map(|(_, at)| *at).collect();
        {
            let mut state = self.selections[set.0 as usize].borrow_mut();
            if state.current != current {
                state.current.clone_from(&current);
                state.rows.clear();
            }
            if let Some(chosen) = state.rows.get(&row) {
                return Ok(chosen.clone());
            }
        }
        let chosen = Rc::new(self.choose(set, select, &row)?);
        let mut state = self.selections[set.0 as usize].borrow_mut();
        if state.current == current {
            state.rows.insert(row, chosen.clone());
        }
        Ok(chosen)
    }

    fn choose(&self, set: NodeId, select: &Select, row: &[i64]) -> Result<Vec<bool>, Error> {
        let operands = self.operands(set);
        let (score, candidate, count) = (operands[0], operands[1], operands[2]);
        let forcing = select.forcing.then(|| operands[3]);
        let plus = select.plus.then(|| operands[3 + usize::from(select.forcing)]);
        let count = self.eval(count, &Points::root(self.graph))?.int().at(0).max(0) as usize;
        let size = self.extent(select.over) as usize;
        let index: Vec<Lanes<i64>> = row.iter().map(|&at| Lanes::Same(at)).collect();
        let root = Points::root(self.graph).with_all(1, &select.rows, &index);
        let root = self.bind_group(root, &select.rows, operands);
        let all = root.spread(select.over, (0..size as i64).collect());
        let mut chosen = vec![false; size];
        let alive = self.survivors(&[candidate], &all, &mut |_, _| {})?;
        let candidates = alive.unwrap_or_else(|| (0..size).collect());
        if candidates.is_empty() {
            self.selections[set.0 as usize].borrow_mut().statistics.add_row(0, 0);
            return Ok(chosen);
        }
        let points = all.part(&candidates);
        let flags = |node: Option<NodeId>| match node {
            None => Ok(Lanes::Same(false)),
            Some(node) => self.eval(node, &points).map(crate::lanes::Value::bool),
        };
        let (forced, extra) = (flags(forcing)?, flags(plus)?);
        let scores = self.eval(score, &points)?.float();
        let mut order: Vec<usize> = (0..candidates.len()).filter(|&at| !extra.at(at)).collect();
        order.sort_by(|&x, &y| {
            let by_score = better(scores.at(x), scores.at(y), candidates[x], candidates[y], select.ties);
            forced.at(y).cmp(&forced.at(x)).then(by_score)
        });
        for &at in order.iter().take(count) {
            chosen[candidates[at]] = true;
        }
        for (at, &candidate) in candidates.iter().enumerate() {
            chosen[candidate] |= extra.at(at);
        }
        let kept = chosen.iter().filter(|&&chosen| chosen).count();
        self.selections[set.0 as usize].borrow_mut().statistics.add_row(candidates.len(), kept);
        Ok(chosen)
    }
}

/// `Less` if element `i` with score `x` comes before element `j` with score `y`: both to f32, larger first, NaN last, then
/// by index.
pub(super) fn better(x: f64, y: f64, i: usize, j: usize, ties: Ties) -> Ordering {
    let (x, y) = (x as f32, y as f32);
    let by_score = match (x.is_nan(), y.is_nan()) {
        (false, false) => y.partial_cmp(&x).unwrap_or(Ordering::Equal),
        (x, y) => x.cmp(&y),
    };
    by_score.then(match ties {
        Ties::Low => i.cmp(&j),
        Ties::High => j.cmp(&i),
    })
}
