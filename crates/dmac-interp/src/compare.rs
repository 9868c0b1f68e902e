//! Comparison of results with the reference, under one table of tolerances.
//!
//! Input → output: what something computed, what the reference says, a [`Limit`] → a [`Comparison`] with the worst element.
//!
//! | quantity | storage | limit |
//! |---|---|---|
//! | weighted values, `let` tensors | f32 | relative norm 2e-6 |
//! | the same | f16, bf16 | relative norm 1.5 × that of plain arithmetic ([`crate::Arithmetic::Plain`]), at least 2e-6 |
//! | row statistics (`lse`, `row_max`) | all | each element within 1e-5 × max(1, its size) |
//!
//! The relative norm is the Euclidean norm of the differences over that of the reference, of the whole tensor. NaN equals
//! NaN only, and an infinity itself only; a tensor with an element that breaks this fails, however small its norm.

use crate::evaluate::{Output, Outputs};
use crate::tensor::Storage;
use dmac_ir::{AxisKind, Graph};

/// What a comparison allows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Limit {
    /// On the relative norm.
    RelativeNorm(f64),
    /// On each element's difference over the larger of 1 and its size.
    Elementwise(f64),
}

/// An element of a comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Element {
    /// Its index along each axis; along the query axis the row's own index.
    pub index: Vec<usize>,
    /// What was found.
    pub found: f64,
    /// What the reference says.
    pub expected: f64,
}

/// The result of a comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// What was allowed.
    pub limit: Limit,
    /// What there is, in the limit's measure; infinite where a NaN or an infinity is not matched.
    pub error: f64,
    /// The element that differs most (the first that is not matched); none if all are equal.
    pub worst: Option<Element>,
}

/// f32 results of weighted values.
const VALUES: f64 = 2e-6;
/// Row statistics.
const STATISTICS: f64 = 1e-5;
/// How much worse than plain arithmetic a result may be.
const OVER_PLAIN: f64 = 1.5;

impl Limit {
    /// The limit for an output, from the table. `plain` is the same output in plain arithmetic, before it is stored: needed
    /// for f16 and bf16.
    ///
    /// # Panics
    /// If `plain` has another shape than `expected`.
    pub fn of(graph: &Graph, expected: &Output, storage: Storage, plain: Option<&Output>) -> Self {
        let kind = |kind: &AxisKind| expected.axes.iter().any(|&axis| graph.axis(axis).kind == *kind);
        let per_row = expected.axes.iter().all(|&axis| {
            matches!(
                graph.axis(axis).kind,
                AxisKind::Batch | AxisKind::Head | AxisKind::KvHead | AxisKind::Query
            )
        });
        if per_row && kind(&AxisKind::Query) {
            return Self::Elementwise(STATISTICS);
        }
        Self::RelativeNorm(match plain {
            Some(plain) if storage != Storage::F32 => {
                let stored: Vec<f64> = plain.data.iter().map(|&x| storage.round(x)).collect();
                let error = Difference::of(&stored, &expected.data).relative_norm();
                (OVER_PLAIN * error).max(VALUES)
            }
            _ => VALUES,
        })
    }
}

impl Comparison {
    /// Compares `found`, the elements of `expected` as something else computed them.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn of(found: &[f64], expected: &Output, rows: &[usize], graph: &Graph, limit: Limit) -> Self {
        let difference = Difference::of(found, &expected.data);
        let error = match limit {
            Limit::RelativeNorm(_) => difference.relative_norm(),
            Limit::Elementwise(_) => difference.elementwise,
        };
        let worst = match limit {
            Limit::RelativeNorm(_) => difference.furthest,
            Limit::Elementwise(_) => difference.worst,
        };
        let worst = difference.unmatched.or(worst).map(|at| Element {
            index: index_of(at, expected, rows, graph),
            found: found[at],
            expected: expected.data[at],
        });
        Self { limit, error, worst }
    }

    /// Whether the error is within the limit.
    pub fn passes(&self) -> bool {
        let (Limit::RelativeNorm(limit) | Limit::Elementwise(limit)) = self.limit;
        self.error <= limit
    }
}

impl Outputs {
    /// Of an output's elements for all query rows, those of the rows that were evaluated.
    ///
    /// # Panics
    /// If `all` is not a tensor with the output's axes and `query_rows` rows.
    pub fn rows_of<T: Copy>(&self, output: &Output, all: &[T], query_rows: usize, graph: &Graph) -> Vec<T> {
        let query = output.axes.iter().position(|&axis| graph.axis(axis).kind == AxisKind::Query);
        let Some(query) = query else { return all.to_vec() };
        let outer: usize = output.dims[..query].iter().product();
        let inner: usize = output.dims[query + 1..].iter().product();
        assert_eq!(all.len(), outer * query_rows * inner, "rows_of: `{}` has another shape", output.name);
        let mut picked = Vec::with_capacity(output.data.len());
        for block in 0..outer {
            for row in &self.rows {
                picked.extend_from_slice(&all[(block * query_rows + row) * inner..][..inner]);
            }
        }
        picked
    }
}

fn index_of(at: usize, output: &Output, rows: &[usize], graph: &Graph) -> Vec<usize> {
    let mut rest = at;
    let mut index: Vec<usize> = output
        .dims
        .iter()
        .rev()
        .map(|&dim| {
            let place = rest % dim;
            rest /= dim;
            place
        })
        .collect();
    index.reverse();
    for (place, &axis) in index.iter_mut().zip(&output.axes) {
        if graph.axis(axis).kind == AxisKind::Query {
            *place = rows[*place];
        }
    }
    index
}

/// How two lists of numbers differ.
struct Difference {
    squares: f64,
    reference: f64,
    /// The largest difference over the larger of 1 and the reference's size.
    elementwise: f64,
    /// The element of that.
    worst: Option<usize>,
    /// The element with the largest difference.
    furthest: Option<usize>,
    /// The first that must be equal and is not.
    unmatched: Option<usize>,
}

impl Difference {
    fn of(found: &[f64], expected: &[f64]) -> Self {
        assert_eq!(found.len(), expected.len(), "compared tensors have one shape");
        let mut all = Self {
            squares: 0.0,
            reference: 0.0,
            elementwise: 0.0,
            worst: None,
            furthest: None,
            unmatched: None,
        };
        let mut largest = 0.0;
        for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            if !found.is_finite() || !expected.is_finite() {
                if found != expected && !(found.is_nan() && expected.is_nan()) {
                    all.unmatched = all.unmatched.or(Some(at));
                    all.elementwise = f64::INFINITY;
                    all.squares = f64::INFINITY;
                }
                continue;
            }
            let error = (found - expected).abs();
            all.squares += error * error;
            all.reference += expected * expected;
            if error > largest {
                (largest, all.furthest) = (error, Some(at));
            }
            let relative = error / expected.abs().max(1.0);
            if relative > all.elementwise {
                (all.elementwise, all.worst) = (relative, Some(at));
            }
        }
        all
    }

    fn relative_norm(&self) -> f64 {
        if self.squares == 0.0 { 0.0 } else { (self.squares / self.reference).sqrt() }
    }
}
