//! Reductions.
//!
//! Input → output: a reduction and points → one value for each point. Where the result is the same at all points, the
//! last variable of the reduction varies between points instead; otherwise its variables are walked one value at a time.

use super::scalar::{larger, smaller};
use super::{Arithmetic, Evaluator};
use crate::error::Error;
use crate::lanes::{Lanes, Value};
use crate::points::Points;
use dmac_ir::{AxisKind, Domain, NodeId, Reduction, Scalar, Var};

/// What is known of a reduction's results while it is walked: one entry for each point, or one for all.
struct Accumulator {
    op: Reduction,
    scalar: Scalar,
    plain: bool,
    floats: Vec<f64>,
    ints: Vec<i64>,
    bools: Vec<bool>,
    counts: Vec<u64>,
}

impl Accumulator {
    fn new(op: Reduction, scalar: Scalar, len: usize, plain: bool) -> Self {
        let float = match op {
            Reduction::Max => f64::NEG_INFINITY,
            Reduction::Min => f64::INFINITY,
            _ => 0.0,
        };
        // Ints are 32-bit in kernels.
        let int = match op {
            Reduction::Max => i64::from(i32::MIN),
            Reduction::Min => i64::from(i32::MAX),
            _ => 0,
        };
        let lens = |wanted| if scalar == wanted { len } else { 0 };
        Self {
            op,
            scalar,
            plain,
            floats: vec![float; lens(Scalar::F32)],
            ints: vec![int; lens(Scalar::Int)],
            bools: vec![op == Reduction::All; lens(Scalar::Bool)],
            counts: vec![0; if op == Reduction::Mean { len } else { 0 }],
        }
    }

    /// Takes in the values at `count` points.
    fn take(&mut self, value: &Value, count: usize, places: Places) -> Result<(), usize> {
        // The common case, so that the compiler sees a plain loop.
        if let (Value::Float(Lanes::Each(values)), Reduction::Sum, Places::Own, false) =
            (value, self.op, places, self.plain)
        {
            for (total, x) in self.floats.iter_mut().zip(values.iter()) {
                *total += x;
            }
            return Ok(());
        }
        for point in 0..count {
            let place = places.of(point);
            match value {
                Value::Float(lanes) => {
                    let (total, x) = (&mut self.floats[place], lanes.at(point));
                    *total = match self.op {
                        Reduction::Max => larger(*total, x),
                        Reduction::Min => smaller(*total, x),
                        _ if self.plain => f64::from((*total + x) as f32),
                        _ => *total + x,
                    };
                }
                Value::Int(lanes) => {
                    let (total, x) = (&mut self.ints[place], lanes.at(point));
                    *total = match self.op {
                        Reduction::Max => (*total).max(x),
                        Reduction::Min => (*total).min(x),
                        _ => total.checked_add(x).ok_or(point)?,
                    };
                }
                Value::Bool(lanes) => {
                    let (total, x) = (&mut self.bools[place], lanes.at(point));
                    *total = if self.op == Reduction::All { *total && x } else { *total || x };
                }
            }
            if self.op == Reduction::Mean {
                self.counts[place] += 1;
            }
        }
        Ok(())
    }

    /// Whether nothing that follows can change the results.
    fn is_settled(&self) -> bool {
        match self.op {
            Reduction::Any => self.bools.iter().all(|&decided| decided),
            Reduction::All => self.bools.iter().all(|&decided| !decided),
            _ => false,
        }
    }

    fn finish(self, uniform: bool) -> Value {
        fn lanes<T: Copy>(values: Vec<T>, uniform: bool) -> Lanes<T> {
            if uniform { Lanes::Same(values[0]) } else { Lanes::each(values) }
        }
        match (self.scalar, self.op) {
            (Scalar::F32, Reduction::Mean) => {
                let mean = |(total, &count): (&f64, &u64)| total / count as f64;
                Value::Float(lanes(self.floats.iter().zip(&self.counts).map(mean).collect(), uniform))
            }
            (Scalar::F32, _) => Value::Float(lanes(self.floats, uniform)),
            (Scalar::Int, Reduction::Mean) => {
                let mean =
                    |(total, &count): (&i64, &u64)| total.checked_div_euclid(count as i64).unwrap_or(0);
                Value::Int(lanes(self.ints.iter().zip(&self.counts).map(mean).collect(), uniform))
            }
            (Scalar::Int, _) => Value::Int(lanes(self.ints, uniform)),
            (Scalar::Bool, _) => Value::Bool(lanes(self.bools, uniform)),
        }
    }
}

/// Which result a point contributes to.
#[derive(Clone, Copy)]
enum Places<'p> {
    /// There is one result for all.
    One,
    /// Its own.
    Own,
    /// That of this number.
    Of(&'p [usize]),
}

impl Places<'_> {
    fn of(self, point: usize) -> usize {
        match self {
            Self::One => 0,
            Self::Own => point,
            Self::Of(places) => places[point],
        }
    }
}

/// A reduction that is being walked.
struct Walk<'p> {
    body: NodeId,
    /// The batch variable that the body is about.
    batch: Option<Var>,
    places: Places<'p>,
}

impl Evaluator<'_> {
    pub(super) fn reduce(
        &self,
        id: NodeId,
        op: Reduction,
        domains: &[Domain],
        points: &Points,
    ) -> Result<Value, Error> {
        let body = self.operands(id)[0];
        if domains.is_empty() {
            return self.eval(body, points);
        }
        let uniform = !points.varies(&self.nodes[id.0 as usize].free);
        let Some(scalar) = self.graph.ty(body).as_scalar() else {
            panic!("interpreter: the body of %{} is not a scalar", id.0);
        };
        let plain = self.options.arithmetic == Arithmetic::Plain;
        let len = if uniform { 1 } else { points.len() };
        let mut accumulator = Accumulator::new(op, scalar, len, plain);
        let batch =
            self.nodes[body.0 as usize].free.iter().copied().find(|&var| *self.kind(var) == AxisKind::Batch);
        let walk = Walk { body, batch, places: if uniform { Places::One } else { Places::Own } };
        self.walk(domains, &walk, points, &mut accumulator)?;
        let value = accumulator.finish(uniform);
        Ok(match value {
            Value::Float(lanes) => self.float(lanes),
            value => value,
        })
    }

    fn walk(
        &self,
        domains: &[Domain],
        walk: &Walk,
        points: &Points,
        accumulator: &mut Accumulator,
    ) -> Result<(), Error> {
        let uniform = matches!(walk.places, Places::One);
        let Some((domain, rest)) = domains.split_first() else {
            let value = self.eval(walk.body, points)?;
            let overflow = |point| Error::Overflow { at: points.describe(self.graph, point) };
            return accumulator.take(&value, points.len(), walk.places).map_err(overflow);
        };
        let var = domain.var();
        match self.range(*domain, walk.batch, points)? {
            Lanes::Same((lo, hi)) if uniform && rest.is_empty() => {
                let inner = points.spread(var, (lo..hi).collect());
                self.walk(rest, walk, &inner, accumulator)
            }
            Lanes::Same((lo, hi)) => {
                let mut inner = points.bound(var);
                for value in lo..hi {
                    if accumulator.is_settled() {
                        break;
                    }
                    inner.rebind(var, Lanes::Same(value));
                    self.walk(rest, walk, &inner, accumulator)?;
                }
                Ok(())
            }
            Lanes::Each(ranges) => {
                let longest = ranges.iter().map(|(lo, hi)| hi - lo).max().unwrap_or(0);
                for step in 0..longest {
                    if accumulator.is_settled() {
                        break;
                    }
                    let inside = |&point: &usize| ranges[point].0 + step < ranges[point].1;
                    let picked: Vec<usize> = (0..ranges.len()).filter(inside).collect();
                    let part = points.part(&picked);
                    let mut inner = part.bound(var);
                    let values = picked.iter().map(|&point| ranges[point].0 + step).collect();
                    inner.rebind(var, Lanes::each(values));
                    let places: Vec<usize> = picked.iter().map(|&point| walk.places.of(point)).collect();
                    let walk = Walk { places: Places::Of(&places), ..*walk };
                    self.walk(rest, &walk, &inner, accumulator)?;
                }
                Ok(())
            }
        }
    }

    /// What a reduction's variable ranges over at each point: from, to (exclusive). The positions of a block end where
    /// the keys of the batch element end, if the body is about one.
    fn range(&self, domain: Domain, batch: Option<Var>, points: &Points) -> Result<Lanes<(i64, i64)>, Error> {
        Ok(match domain {
            Domain::All(var) => Lanes::Same((0, self.extent(var))),
            Domain::Keys { batch, .. } => self.bound(batch, points).map(|batch| (0, self.key_length(batch))),
            Domain::Heads { kv_head, .. } => {
                self.bound(kv_head, points).map(|head| (head * self.group, (head + 1) * self.group))
            }
            Domain::Positions { var, part } => {
                let size = self.extent(var);
                let (length, stride) = match self.kind(part) {
                    AxisKind::Blocks { length, .. } => (length, length),
                    AxisKind::Windows { length, stride, .. } => (length, stride),
                    kind => panic!("interpreter: {kind:?} has no positions"),
                };
                let value = |size: &dmac_ir::Size| {
                    self.shape.eval(size).ok_or_else(|| Error::Size { size: self.graph.print_size(size) })
                };
                let (length, stride) = (value(length)?, value(stride)?);
                let whole =
                    self.bound(part, points).map(|part| (part * stride, (part * stride + length).min(size)));
                match batch.filter(|_| *self.kind(var) == AxisKind::Key) {
                    None => whole,
                    Some(batch) => {
                        let batch = points.get(batch).cloned().unwrap_or(Lanes::Same(0));
                        whole.zip(batch, |(lo, hi), batch| (lo, hi.min(self.key_length(batch))))
                    }
                }
            }
            Domain::Tile { of, .. } => {
                let (tile, size) = (self.tile(of)?, self.extent(of));
                self.bound(of, points).map(|of| (of / tile * tile, (of / tile * tile + tile).min(size)))
            }
        })
    }
}
