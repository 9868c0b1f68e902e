//! Selections: the best candidates of a row.
//!
//! Input → output: a selection and a row → for each element whether it is chosen. The order is total: NaN last,
//! `-0 = +0`, then the index.

use super::Evaluator;
use crate::error::Error;
use crate::lanes::Lanes;
use crate::margin::{Candidates, Uncertainty};
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

    /// Chooses, or takes over and checks what something else chose.
    fn choose(&self, set: NodeId, select: &Select, row: &[i64]) -> Result<Vec<bool>, Error> {
        let operands = self.operands(set);
        let (score, candidate) = (operands[0], operands[1]);
        let forcing = select.forcing.then(|| operands[3]);
        let plus = select.plus.then(|| operands[3 + usize::from(select.forcing)]);
        let count = self.eval(operands[2], &Points::root(self.graph))?.int().at(0).max(0) as usize;
        let size = self.extent(select.over) as usize;
        let row_points = self.selected_row(operands, select, row);
        let all = row_points.spread(select.over, (0..size as i64).collect());
        let alive = self.survivors(&[candidate], &all, &mut |_, _| {})?;
        let candidates = alive.unwrap_or_else(|| (0..size).collect());
        let points = all.part(&candidates);
        let flags = |node: Option<NodeId>| match node {
            None => Ok(vec![false; candidates.len()]),
            Some(node) => self.eval(node, &points).map(|flags| flags.bool().to_vec(candidates.len())),
        };
        let (forced, extra) = (flags(forcing)?, flags(plus)?);
        let scores = self.eval_floats(score, &points)?.to_vec(candidates.len());
        let given = self.options.selection.and_then(|oracle| oracle.chosen(set, row));
        let mut chosen = vec![false; size];
        let mut margin = None;
        if let Some(given) = given {
            let mut stray = None;
            for element in given {
                match usize::try_from(element).ok().filter(|&at| at < size && !chosen[at]) {
                    Some(at) => chosen[at] = true,
                    None => stray = Some(element),
                }
            }
            // They compete for no place, so whoever chooses has no list of them.
            for (&candidate, &extra) in candidates.iter().zip(&extra) {
                chosen[candidate] |= extra;
            }
            if let Some(plain) = self.plain {
                let row_points = plain.selected_row(operands, select, row);
                let elements = candidates.iter().map(|&at| at as i64).collect();
                let points = row_points.spread(select.over, elements);
                let in_f32 = plain.eval_floats(score, &points)?.to_vec(candidates.len());
                let uncertainty = Uncertainty::measure(&scores, &in_f32);
                let known =
                    Candidates { elements: &candidates, scores: &scores, forced: &forced, extra: &extra };
                margin = Some(known.check(&chosen, count, &uncertainty, stray));
            }
        } else {
            let mut order: Vec<usize> = (0..candidates.len()).filter(|&at| !extra[at]).collect();
            order.sort_by(|&x, &y| {
                let by_score = better(scores[x], scores[y], candidates[x], candidates[y], select.ties);
                forced[y].cmp(&forced[x]).then(by_score)
            });
            for &at in order.iter().take(count) {
                chosen[candidates[at]] = true;
            }
            for (&candidate, &extra) in candidates.iter().zip(&extra) {
                chosen[candidate] |= extra;
            }
        }
        let kept = chosen.iter().filter(|&&chosen| chosen).count();
        let statistics = &mut self.selections[set.0 as usize].borrow_mut().statistics;
        statistics.add_row(candidates.len() as u64, kept as u64);
        if let Some(margin) = margin {
            statistics.add_margin(margin);
        }
        Ok(chosen)
    }

    /// The variables of a row, bound.
    fn selected_row(&self, operands: &[NodeId], select: &Select, row: &[i64]) -> Points<'_> {
        let index: Vec<Lanes<i64>> = row.iter().map(|&at| Lanes::Same(at)).collect();
        let root = Points::root(self.graph).with_all(1, &select.rows, &index);
        self.bind_group(root, &select.rows, operands)
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
