//! Attention, one row at a time.
//!
//! Input → output: an attention and a row (b, h, i) → its weights, statistics and output. Mask terms are evaluated
//! first, scores only for attended keys, values only when the output is read.

use super::scalar::{AT_ONCE, relu, sigmoid};
use super::{Arithmetic, Evaluator};
use crate::error::Error;
use crate::lanes::Lanes;
use crate::points::Points;
use crate::statistics::{AttentionStatistics, TermStatistics};
use dmac_ir::{Attend, Attendance, Field, NodeId, Normalize, Op};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The rows of an attention that are kept, those of one query and batch element, and what all rows were like.
#[derive(Default)]
pub(super) struct AttentionState {
    pub(super) statistics: AttentionStatistics,
    row: (i64, i64),
    heads: BTreeMap<i64, Rc<Row>>,
}

/// An attention's result in one row.
struct Row {
    /// The attended keys, ascending, and their weights.
    keys: Vec<usize>,
    weights: Vec<f64>,
    lse: f64,
    max: f64,
    /// The weights of all keys, and the output; computed when they are read.
    prob: OnceCell<Vec<f64>>,
    out: OnceCell<Vec<f64>>,
}

impl Evaluator<'_> {
    /// Elements of a tensor of an attention.
    pub(super) fn read_field(
        &self,
        id: NodeId,
        field: Field,
        index: &[Lanes<i64>],
        points: &Points,
    ) -> Result<Lanes<f64>, Error> {
        let attention = self.operands(id)[0];
        let Op::Attend(attend) = self.graph.op(attention) else {
            panic!("interpreter: %{} is a field of no attention", id.0);
        };
        if let [Lanes::Same(batch), Lanes::Same(head), Lanes::Same(query), rest @ ..] = index {
            let row = self.attention_row(attention, attend, [*batch, *head, *query])?;
            let at = [*batch, *head, *query];
            return Ok(match (field, rest) {
                (Field::Lse, _) => Lanes::Same(row.lse),
                (Field::RowMax, _) => Lanes::Same(row.max),
                (Field::Prob, rest) => {
                    let prob = self.row_prob(attend, &row);
                    rest[0].clone().map(|key| prob[key as usize])
                }
                (Field::Out, rest) => {
                    let out = self.row_out(attention, attend, &row, at)?;
                    rest[0].clone().map(|feature| out[feature as usize])
                }
            });
        }
        let mut values = Vec::with_capacity(points.len());
        for point in 0..points.len() {
            let at: Vec<Lanes<i64>> = index.iter().map(|index| Lanes::Same(index.at(point))).collect();
            values.push(self.read_field(id, field, &at, points)?.at(0));
        }
        Ok(Lanes::each(values))
    }

    fn attention_row(&self, id: NodeId, attend: &Attend, at: [i64; 3]) -> Result<Rc<Row>, Error> {
        let [batch, head, query] = at;
        {
            let mut state = self.attentions[id.0 as usize].borrow_mut();
            if state.row != (batch, query) {
                state.row = (batch, query);
                state.heads.clear();
            }
            if let Some(row) = state.heads.get(&head) {
                return Ok(row.clone());
            }
        }
        let row = Rc::new(self.compute_row(id, attend, at)?);
        let mut state = self.attentions[id.0 as usize].borrow_mut();
        if state.row == (batch, query) {
            state.heads.insert(head, row.clone());
        }
        Ok(row)
    }

    /// The points of a row, without its keys.
    fn row_points(&self, attend: &Attend, [batch, head, query]: [i64; 3]) -> Points<'_> {
        Points::root(self.graph)
            .with(attend.batch, batch)
            .with(attend.head, head)
            .with(attend.kv_head, head.div_euclid(self.group))
            .with(attend.query, query)
    }

    fn compute_row(&self, id: NodeId, attend: &Attend, at: [i64; 3]) -> Result<Row, Error> {
        let view = Attendance { attend, operands: self.operands(id) };
        let row = self.row_points(attend, at);
        let all = row.spread(attend.key, (0..self.extent(attend.key)).collect());
        let mut terms = vec![TermStatistics::default(); view.terms().len()];
        let alive = self.survivors(view.terms(), &all, &mut |term, counts| terms[term] = counts)?;
        let keys = alive.unwrap_or_else(|| (0..all.len()).collect());
        let mut state = self.attentions[id.0 as usize].borrow_mut();
        state.statistics.add_row(all.len(), keys.len(), &terms);
        drop(state);
        let scores = if keys.is_empty() {
            Vec::new()
        } else {
            self.eval_floats(view.score(), &all.part(&keys))?.to_vec(keys.len())
        };
        let sink = match view.sink() {
            Some(sink) => Some(self.eval(sink, &row)?.float().at(0)),
            None => None,
        };
        let (weights, lse, max) = self.weights(attend.normalize, &scores, sink);
        Ok(Row { keys, weights, lse, max, prob: OnceCell::new(), out: OnceCell::new() })
    }

    /// The weights of attended keys from their scores, the logarithm of the sum of exponentials, the largest score.
    fn weights(&self, normalize: Normalize, scores: &[f64], sink: Option<f64>) -> (Vec<f64>, f64, f64) {
        let plain = self.options.arithmetic == Arithmetic::Plain;
        let round = |x: f64| if plain { f64::from(x as f32) } else { x };
        let row_max = scores.iter().copied().fold(f64::NEG_INFINITY, super::scalar::larger);
        match normalize {
            Normalize::Sigmoid => {
                (scores.iter().map(|&score| round(sigmoid(score))).collect(), f64::NAN, row_max)
            }
            Normalize::Relu => (scores.iter().map(|&score| relu(score)).collect(), f64::NAN, row_max),
            Normalize::Softmax | Normalize::SoftmaxSink => {
                let max = sink.map_or(row_max, |sink| super::scalar::larger(row_max, sink));
                if max == f64::NEG_INFINITY {
                    return (vec![0.0; scores.len()], max, row_max);
                }
                let masses: Vec<f64> = scores.iter().map(|&score| round((score - max).exp())).collect();
                let own = sink.map_or(0.0, |sink| round((sink - max).exp()));
                let sum = masses.iter().fold(own, |sum, mass| round(sum + mass));
                let lse = round(max + sum.ln());
                (masses.into_iter().map(|mass| round(mass / sum)).collect(), lse, row_max)
            }
        }
    }

    fn row_prob<'r>(&self, attend: &Attend, row: &'r Row) -> &'r [f64] {
        row.prob.get_or_init(|| {
            let mut prob = vec![0.0; self.extent(attend.key) as usize];
            for (&key, &weight) in row.keys.iter().zip(&row.weights) {
                prob[key] = weight;
            }
            prob
        })
    }

    fn row_out<'r>(
        &self,
        id: NodeId,
        attend: &Attend,
        row: &'r Row,
        at: [i64; 3],
    ) -> Result<&'r [f64], Error> {
        if row.out.get().is_none() {
            let out = self.compute_out(id, attend, row, at)?;
            // A second computation of the same row would give the same.
            let _ = row.out.set(out);
        }
        Ok(row.out.get().map_or(&[], Vec::as_slice))
    }

    /// The weighted sum of values, for some keys at a time.
    fn compute_out(&self, id: NodeId, attend: &Attend, row: &Row, at: [i64; 3]) -> Result<Vec<f64>, Error> {
        let features = self.extent(attend.feature);
        if row.keys.is_empty() {
            return Ok(vec![0.0; features as usize]);
        }
        let plain = self.options.arithmetic == Arithmetic::Plain;
        let value = Attendance { attend, operands: self.operands(id) }.value();
        let weights: Vec<f64> = match self.options.arithmetic {
            Arithmetic::Exact => row.weights.clone(),
            Arithmetic::Plain => row.weights.iter().map(|&weight| self.storage.round(weight)).collect(),
        };
        let base = self.row_points(attend, at);
        let keys = base.spread(attend.key, row.keys.iter().map(|&key| key as i64).collect());
        let mut out = vec![0.0; features as usize];
        let all: Vec<usize> = (0..weights.len()).collect();
        for some in all.chunks(AT_ONCE) {
            let keys = keys.part(some);
            let mut points = keys.bound(attend.feature);
            for (feature, sum) in out.iter_mut().enumerate() {
                points.rebind(attend.feature, Lanes::Same(feature as i64));
                let values = self.eval(value, &points)?.float();
                for (point, &key) in some.iter().enumerate() {
                    let next = *sum + weights[key] * values.at(point);
                    *sum = if plain { f64::from(next as f32) } else { next };
                }
            }
        }
        Ok(out)
    }
}
