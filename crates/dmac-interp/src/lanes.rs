//! Values at many points at once: one that is the same everywhere, or one for each point.
//!
//! Input → output: elementwise functions of [`Lanes`]. Why: an expression that does not depend on what varies between
//! the points is computed once, without anyone having to say so.

use std::rc::Rc;

/// A value for each of a number of points.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Lanes<T> {
    /// The same everywhere.
    Same(T),
    /// One for each point.
    Each(Rc<Vec<T>>),
}

impl<T: Copy> Lanes<T> {
    /// One for each point.
    pub fn each(values: Vec<T>) -> Self {
        Self::Each(Rc::new(values))
    }

    /// The value at a point.
    pub fn at(&self, point: usize) -> T {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => values[point],
        }
    }

    /// The values at some of the points.
    pub fn pick(&self, points: &[usize]) -> Self {
        match self {
            Self::Same(value) => Self::Same(*value),
            Self::Each(values) => Self::each(points.iter().map(|&point| values[point]).collect()),
        }
    }

    /// The values at all of `len` points.
    pub fn to_vec(&self, len: usize) -> Vec<T> {
        match self {
            Self::Same(value) => vec![*value; len],
            Self::Each(values) => values.as_ref().clone(),
        }
    }

    /// A function of each value. Reuses the memory where nobody else needs it.
    pub fn map<U: Copy>(self, f: impl Fn(T) -> U) -> Lanes<U> {
        match self {
            Self::Same(value) => Lanes::Same(f(value)),
            Self::Each(values) => Lanes::each(match Rc::try_unwrap(values) {
                Ok(values) => values.into_iter().map(f).collect(),
                Err(values) => values.iter().map(|&value| f(value)).collect(),
            }),
        }
    }

    /// A function of two values at each point.
    pub fn zip<U: Copy, V: Copy>(self, other: Lanes<U>, f: impl Fn(T, U) -> V) -> Lanes<V> {
        match (self, other) {
            (x, Lanes::Same(y)) => x.map(|x| f(x, y)),
            (Self::Same(x), y) => y.map(|y| f(x, y)),
            (Self::Each(x), Lanes::Each(y)) => Lanes::each(match Rc::try_unwrap(x) {
                Ok(x) => x.into_iter().zip(y.iter()).map(|(x, &y)| f(x, y)).collect(),
                Err(x) => x.iter().zip(y.iter()).map(|(&x, &y)| f(x, y)).collect(),
            }),
        }
    }

    /// [`Lanes::zip`] with a function that may have no value: then the first point where it has none.
    pub fn try_zip<V: Copy>(self, other: Self, f: impl Fn(T, T) -> Option<V>) -> Result<Lanes<V>, usize> {
        match (self, other) {
            (Self::Same(x), Self::Same(y)) => f(x, y).map(Lanes::Same).ok_or(0),
            (x, y) => {
                let len = if let Self::Each(x) = &x { x.len() } else { y.len_or_one() };
                let mut values = Vec::with_capacity(len);
                for point in 0..len {
                    values.push(f(x.at(point), y.at(point)).ok_or(point)?);
                }
                Ok(Lanes::each(values))
            }
        }
    }

    fn len_or_one(&self) -> usize {
        match self {
            Self::Same(_) => 1,
            Self::Each(values) => values.len(),
        }
    }
}

/// A scalar expression's values.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Float(Lanes<f64>),
    Int(Lanes<i64>),
    Bool(Lanes<bool>),
}

impl Value {
    /// The floats.
    ///
    /// # Panics
    /// If these are not floats: the graph's verifier excludes it.
    pub fn float(self) -> Lanes<f64> {
        match self {
            Self::Float(lanes) => lanes,
            other => panic!("interpreter: expected floats, found {other:?}"),
        }
    }

    /// The ints.
    ///
    /// # Panics
    /// If these are not ints.
    pub fn int(self) -> Lanes<i64> {
        match self {
            Self::Int(lanes) => lanes,
            other => panic!("interpreter: expected ints, found {other:?}"),
        }
    }

    /// The bools.
    ///
    /// # Panics
    /// If these are not bools.
    pub fn bool(self) -> Lanes<bool> {
        match self {
            Self::Bool(lanes) => lanes,
            other => panic!("interpreter: expected bools, found {other:?}"),
        }
    }

    /// The values at some of the points.
    pub fn pick(&self, points: &[usize]) -> Self {
        match self {
            Self::Float(lanes) => Self::Float(lanes.pick(points)),
            Self::Int(lanes) => Self::Int(lanes.pick(points)),
            Self::Bool(lanes) => Self::Bool(lanes.pick(points)),
        }
    }

    /// The values as floats: ints and bools exactly.
    pub fn into_floats(self) -> Lanes<f64> {
        match self {
            Self::Float(lanes) => lanes,
            Self::Int(lanes) => lanes.map(|value| value as f64),
            Self::Bool(lanes) => lanes.map(|value| f64::from(u8::from(value))),
        }
    }
}
