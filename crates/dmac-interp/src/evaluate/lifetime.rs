//! Lifetimes: from when to when a key is among the best of a growing set.
//!
//! Input → output: a lifetime and a row → the end for each element, by walking the positions at which elements enter and
//! keeping the best `n` so far. An element that is dropped never returns, since the set only grows.

use super::Evaluator;
use super::select::better;
use crate::error::Error;
use crate::lanes::{Lanes, Value};
use crate::margin::{Lives, Uncertainty};
use crate::points::Points;
use crate::statistics::SelectionStatistics;
use dmac_ir::{AxisKind, NodeId, Op, Ties};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The end of elements that do not exist: before every position.
const NEVER: i64 = i32::MIN as i64;

/// The ends of rows computed so far, and what they are like.
#[derive(Default)]
pub(super) struct LifetimeState {
    pub(super) statistics: SelectionStatistics,
    rows: BTreeMap<Vec<i64>, Rc<Vec<i64>>>,
}

impl Evaluator<'_> {
    /// Elements of a lifetime tensor; the last index is the selected element.
    pub(super) fn read_lifetime(
        &self,
        id: NodeId,
        index: &[Lanes<i64>],
        points: &Points,
    ) -> Result<Value, Error> {
        let Some((element, row)) = index.split_last() else {
            panic!("interpreter: lifetime %{} is read without an index", id.0);
        };
        let ends_at = |point: usize| self.ends(id, row.iter().map(|index| index.at(point)).collect());
        if row.iter().all(|index| matches!(index, Lanes::Same(_))) {
            let ends = ends_at(0)?;
            return Ok(Value::Int(element.clone().map(|element| ends[element as usize])));
        }
        let mut values = Vec::with_capacity(points.len());
        for point in 0..points.len() {
            values.push(ends_at(point)?[element.at(point) as usize]);
        }
        Ok(Value::Int(Lanes::each(values)))
    }

    fn ends(&self, id: NodeId, row: Vec<i64>) -> Result<Rc<Vec<i64>>, Error> {
        if let Some(ends) = self.lifetimes[id.0 as usize].borrow().rows.get(&row) {
            return Ok(ends.clone());
        }
        let ends = Rc::new(self.live(id, &row)?);
        self.lifetimes[id.0 as usize].borrow_mut().rows.insert(row, ends.clone());
        Ok(ends)
    }

    /// Walks the entering elements of a row, or takes over and checks the ends that something else found.
    fn live(&self, id: NodeId, row: &[i64]) -> Result<Vec<i64>, Error> {
        let Op::Lifetime { rows, over, ties, batch, forcing, class } = self.graph.op(id) else {
            panic!("interpreter: %{} is not a lifetime", id.0);
        };
        let operands = self.operands(id);
        let count = self.eval(operands[2], &Points::root(self.graph))?.int().at(0).max(0) as usize;
        let of_batch = rows.iter().position(|var| var == batch).map(|at| row[at]);
        let length = of_batch.map_or(self.keys, |batch| self.key_length(batch));
        let size = self.extent(*over) as usize;
        let exist = if *self.kind(*over) == AxisKind::Key { size.min(length as usize) } else { size };
        let index: Vec<Lanes<i64>> = row.iter().map(|&at| Lanes::Same(at)).collect();
        let root = Points::root(self.graph).with_all(1, rows, &index);
        let root = self.bind_group(root, rows, operands);
        let all = root.spread(*over, (0..exist as i64).collect());
        let scores = self.eval_floats(operands[0], &all)?.to_vec(exist);
        let enter = self.eval(operands[1], &all)?.int().to_vec(exist);
        let forced =
            if *forcing { self.eval(operands[3], &all)?.bool().to_vec(exist) } else { vec![false; exist] };
        let classes = *class;
        let class = if classes {
            self.eval(operands[operands.len() - 1], &all)?.int().to_vec(exist)
        } else {
            vec![0; exist]
        };
        let given = self.options.selection.and_then(|oracle| oracle.ends(id, row));
        let mut margin = None;
        let ends = match given {
            None => {
                let mut ends = ends_of(
                    &Elements { scores: &scores, enter: &enter, forced: &forced, class: &class },
                    count,
                    length,
                    *ties,
                );
                ends.resize(size, NEVER);
                ends
            }
            Some(mut ends) => {
                let complete = ends.len() == size;
                ends.resize(size, NEVER);
                if let Some(plain) = self.plain {
                    // What these points remember is exact, so the plain evaluation has its own.
                    let root = Points::root(self.graph).with_all(1, rows, &index);
                    let root = plain.bind_group(root, rows, operands);
                    let all = root.spread(*over, (0..exist as i64).collect());
                    let in_f32 = plain.eval_floats(operands[0], &all)?.to_vec(exist);
                    let uncertainty = Uncertainty::measure(&scores, &in_f32);
                    let known = Lives { scores: &scores, enter: &enter, forced: &forced, count, length };
                    margin = Some(known.check_classes(&class, &ends, complete, &uncertainty));
                }
                ends
            }
        };
        let mut positions: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (at, &class) in class.iter().enumerate().filter(|_| classes) {
            positions.entry(class).or_default().push(at as i64);
        }
        // How many positions of its class an element has in `from .. to`.
        let count_of = |element: usize, from: i64, to: i64| match positions.get(&class[element]) {
            None => (to.min(length) - from.max(0)).max(0) as u64,
            Some(own) => {
                let below = |bound: i64| own.partition_point(|&at| at < bound);
                below(to).saturating_sub(below(from)) as u64
            }
        };
        let candidates = (0..exist).map(|at| count_of(at, enter[at], length)).sum();
        let chosen = (0..exist).map(|at| count_of(at, enter[at], ends[at])).sum();
        let statistics = &mut self.lifetimes[id.0 as usize].borrow_mut().statistics;
        statistics.add_row(candidates, chosen);
        if let Some(margin) = margin {
            statistics.add_margin(margin);
        }
        Ok(ends)
    }
}

/// What is known of the elements that exist.
struct Elements<'a> {
    scores: &'a [f64],
    enter: &'a [i64],
    forced: &'a [bool],
    class: &'a [i64],
}

/// The ends of the elements that exist.
fn ends_of(elements: &Elements<'_>, count: usize, length: i64, ties: Ties) -> Vec<i64> {
    let Elements { scores, enter, forced, class } = *elements;
    let mut ranked: Vec<usize> = (0..enter.len()).collect();
    ranked.sort_by(|&x, &y| forced[y].cmp(&forced[x]).then(better(scores[x], scores[y], x, y, ties)));
    let mut rank = vec![0; ranked.len()];
    for (place, &element) in ranked.iter().enumerate() {
        rank[element] = place;
    }
    let mut entering: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
    for (element, &enter) in enter.iter().enumerate().filter(|(_, enter)| **enter < length) {
        entering.entry((class[element], enter)).or_default().push(element);
    }
    let mut ends = vec![length; enter.len()];
    let mut best = BTreeSet::new();
    let mut of = None;
    for ((class, position), elements) in entering {
        if of != Some(class) {
            of = Some(class);
            best.clear();
        }
        best.extend(elements.into_iter().map(|element| rank[element]));
        while best.len() > count {
            if let Some(worst) = best.pop_last() {
                ends[ranked[worst]] = position;
            }
        }
    }
    ends
}
