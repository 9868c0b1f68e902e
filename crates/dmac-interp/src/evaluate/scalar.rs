//! Scalar expressions at many points.
//!
//! Input → output: a scalar node and points → its values there. Operands that might not exist at a point (behind `and`,
//! `or`, `if`, masks) are evaluated only at the points that need them.

use super::{Arithmetic, Evaluator};
use crate::error::Error;
use crate::lanes::{Lanes, Value};
use crate::points::{Origin, Points};
use crate::statistics::TermStatistics;
use dmac_ir::{Binary, Compare, Edge, NodeId, Op, ParamValue, Scalar, Unary, Var};

/// Points that are evaluated together.
pub(super) const AT_ONCE: usize = 256;

impl Evaluator<'_> {
    /// The values of a scalar node.
    pub(crate) fn eval(&self, id: NodeId, points: &Points) -> Result<Value, Error> {
        self.eval_at(id, points, false)
    }

    /// The values of a float node, computed for some points at a time: a reduction walks its variables for all points of
    /// a step, and what it reads for them should stay in the processor's cache from one value to the next.
    pub(super) fn eval_floats(&self, id: NodeId, points: &Points) -> Result<Lanes<f64>, Error> {
        if points.len() <= AT_ONCE || !points.varies(&self.nodes[id.0 as usize].free) {
            return Ok(self.eval(id, points)?.float());
        }
        let all: Vec<usize> = (0..points.len()).collect();
        let mut values = Vec::with_capacity(points.len());
        for some in all.chunks(AT_ONCE) {
            let lanes = self.eval(id, &points.part(some))?.float();
            values.extend((0..some.len()).map(|point| lanes.at(point)));
        }
        Ok(Lanes::each(values))
    }

    fn eval_at(&self, id: NodeId, points: &Points, remember: bool) -> Result<Value, Error> {
        if points.len() == 0 {
            return Ok(self.nothing(id));
        }
        let info = &self.nodes[id.0 as usize];
        if info.operands.is_empty() {
            return self.leaf(id, points);
        }
        if let Some(known) = points.recall(id) {
            return Ok(known);
        }
        match points.origin() {
            // What does not depend on the variable bound here is the business of the points around it.
            Origin::Bound(outer, var) if !info.free.contains(&var) => {
                return self.eval_at(id, outer, true);
            }
            // There is a point, so what is the same at all of them is wanted there too.
            Origin::Part(whole, _) if !points.varies(&info.free) => {
                return self.eval_at(id, whole, true);
            }
            Origin::Part(whole, picked) => {
                if let Some(known) = whole.recall(id) {
                    return Ok(known.pick(picked));
                }
            }
            _ => {}
        }
        let value = self.compute(id, points)?;
        if remember || info.shared {
            points.remember(id, &value);
        }
        Ok(value)
    }

    /// The values of a node at no point.
    fn nothing(&self, id: NodeId) -> Value {
        match self.graph.ty(id).as_scalar() {
            Some(Scalar::F32) => Value::Float(Lanes::each(Vec::new())),
            Some(Scalar::Int) => Value::Int(Lanes::each(Vec::new())),
            _ => Value::Bool(Lanes::each(Vec::new())),
        }
    }

    fn leaf(&self, id: NodeId, points: &Points) -> Result<Value, Error> {
        Ok(match self.graph.op(id) {
            Op::Float(value) => Value::Float(Lanes::Same(f64::from(value.get()))),
            Op::Int(value) => Value::Int(Lanes::Same(*value)),
            Op::Bool(value) => Value::Bool(Lanes::Same(*value)),
            Op::Param(param) => match self.params[param.0 as usize] {
                ParamValue::Int(value) => Value::Int(Lanes::Same(value)),
                ParamValue::Float(value) => Value::Float(Lanes::Same(f64::from(value))),
            },
            Op::Size(size) => match self.shape.eval(size) {
                Some(size) => Value::Int(Lanes::Same(size)),
                None => return Err(Error::Size { size: self.graph.print_size(size) }),
            },
            Op::Index(var) => Value::Int(self.var(*var, points).clone()),
            Op::Position { query, batch } => {
                Value::Int(self.position(self.var(*query, points), self.var(*batch, points)))
            }
            Op::KeyLength { batch } => {
                Value::Int(self.var(*batch, points).clone().map(|batch| self.key_length(batch)))
            }
            Op::TileEdge { var, batch, edge } => {
                let (tile, size) = (self.tile(*var)?, self.extent(*var));
                let index = self.var(*var, points).clone().map(|index| match edge {
                    Edge::First => index / tile * tile,
                    Edge::Last => (index / tile * tile + tile).min(size) - 1,
                });
                Value::Int(match batch {
                    Some(batch) => self.position(&index, self.var(*batch, points)),
                    None => index,
                })
            }
            op => panic!("interpreter: {op:?} is not a scalar"),
        })
    }

    fn var<'p>(&self, var: Var, points: &'p Points) -> &'p Lanes<i64> {
        match points.get(var) {
            Some(values) => values,
            None => panic!("interpreter: `{}` is not bound", self.graph.var(var).name),
        }
    }

    /// The values of a variable that is bound here.
    pub(super) fn bound(&self, var: Var, points: &Points) -> Lanes<i64> {
        self.var(var, points).clone()
    }

    /// The logical positions of query rows.
    fn position(&self, row: &Lanes<i64>, batch: &Lanes<i64>) -> Lanes<i64> {
        row.clone().zip(batch.clone(), |row, batch| row + self.key_length(batch) - self.queries)
    }

    fn compute(&self, id: NodeId, points: &Points) -> Result<Value, Error> {
        let operands = self.operands(id);
        let eval = |index: usize| self.eval(operands[index], points);
        Ok(match self.graph.op(id) {
            Op::Read => {
                let mut index = Vec::with_capacity(operands.len() - 1);
                for &operand in &operands[1..] {
                    index.push(self.eval(operand, points)?.int());
                }
                self.read(operands[0], &index, points)?
            }
            Op::Unary(unary) => self.unary(*unary, eval(0)?, points)?,
            Op::Binary(Binary::And) => {
                Value::Bool(match self.survivors(operands, points, &mut |_, _| {})? {
                    None => Lanes::Same(true),
                    Some(points) if points.is_empty() => Lanes::Same(false),
                    Some(picked) => {
                        let mut values = vec![false; points.len()];
                        for point in picked {
                            values[point] = true;
                        }
                        Lanes::each(values)
                    }
                })
            }
            Op::Binary(Binary::Or) => Value::Bool(match eval(0)?.bool() {
                Lanes::Same(true) => Lanes::Same(true),
                Lanes::Same(false) => eval(1)?.bool(),
                Lanes::Each(first) => {
                    let open: Vec<usize> = (0..first.len()).filter(|&point| !first[point]).collect();
                    let second = self.eval(operands[1], &points.part(&open))?.bool();
                    let mut values = first.as_ref().clone();
                    for (at, point) in open.into_iter().enumerate() {
                        values[point] = second.at(at);
                    }
                    Lanes::each(values)
                }
            }),
            Op::Binary(binary) => self.binary(*binary, eval(0)?, eval(1)?, points)?,
            Op::Compare(compare) => Value::Bool(match (eval(0)?, eval(1)?) {
                (Value::Int(x), Value::Int(y)) => x.zip(y, |x, y| ordered(*compare, &x, &y)),
                // Both sides have f32 accuracy: kernels must decide the same way.
                (x, y) => {
                    x.into_floats().zip(y.into_floats(), |x, y| ordered(*compare, &(x as f32), &(y as f32)))
                }
            }),
            Op::If => match eval(0)?.bool() {
                Lanes::Same(true) => eval(1)?,
                Lanes::Same(false) => eval(2)?,
                Lanes::Each(condition) => {
                    let yes: Vec<usize> = (0..condition.len()).filter(|&point| condition[point]).collect();
                    let no: Vec<usize> = (0..condition.len()).filter(|&point| !condition[point]).collect();
                    let x = self.eval(operands[1], &points.part(&yes))?;
                    let y = self.eval(operands[2], &points.part(&no))?;
                    match (x, y) {
                        (Value::Float(x), Value::Float(y)) => Value::Float(merge(&x, &yes, &y, &no)),
                        (Value::Int(x), Value::Int(y)) => Value::Int(merge(&x, &yes, &y, &no)),
                        (x, y) => Value::Bool(merge(&x.bool(), &yes, &y.bool(), &no)),
                    }
                }
            },
            Op::Cast(Scalar::F32) => self.float(eval(0)?.into_floats()),
            Op::Cast(to) => cast(eval(0)?, *to),
            Op::Stop => eval(0)?,
            Op::Reduce { op, domains } => self.reduce(id, *op, domains, points)?,
            Op::InRange => {
                let (x, lo, hi) = (eval(0)?.int(), eval(1)?.int(), eval(2)?.int());
                let above = x.clone().zip(lo, |x, lo| lo <= x);
                let below = x.zip(hi, |x, hi| x < hi);
                Value::Bool(above.zip(below, |above, below| above && below))
            }
            Op::Contains => {
                let mut row = Vec::with_capacity(operands.len() - 2);
                for &operand in &operands[1..operands.len() - 1] {
                    row.push(self.eval(operand, points)?.int());
                }
                let element = eval(operands.len() - 1)?.int();
                Value::Bool(self.contains(operands[0], &row, element, points)?)
            }
            op => panic!("interpreter: {op:?} is not a scalar"),
        })
    }

    /// The points at which all conditions hold (`None`: all points). A condition is evaluated only where those before
    /// it hold; one that has no value at one of these points waits until the others have been evaluated. `passed` is
    /// told what each condition did.
    pub(super) fn survivors(
        &self,
        conditions: &[NodeId],
        points: &Points,
        passed: &mut dyn FnMut(usize, TermStatistics),
    ) -> Result<Option<Vec<usize>>, Error> {
        let mut alive: Option<Vec<usize>> = None;
        let mut pending: Vec<usize> = (0..conditions.len()).collect();
        while !pending.is_empty() {
            let mut waiting = Vec::new();
            let mut reason = None;
            let before = pending.len();
            for condition in pending {
                let count = alive.as_ref().map_or(points.len(), Vec::len) as u64;
                if count == 0 {
                    return Ok(alive);
                }
                let values = match &alive {
                    None => self.eval(conditions[condition], points),
                    Some(alive) => self.eval(conditions[condition], &points.part(alive)),
                };
                match values.map(Value::bool) {
                    Err(error) if error.is_undefined_value() => {
                        waiting.push(condition);
                        reason = Some(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                    Ok(Lanes::Same(true)) => {}
                    Ok(Lanes::Same(false)) => alive = Some(Vec::new()),
                    Ok(Lanes::Each(holds)) => {
                        alive = Some(match alive {
                            None => (0..holds.len()).filter(|&at| holds[at]).collect(),
                            Some(points) => points
                                .iter()
                                .zip(holds.iter())
                                .filter(|(_, holds)| **holds)
                                .map(|(at, _)| *at)
                                .collect(),
                        });
                    }
                }
                let kept = alive.as_ref().map_or(points.len(), Vec::len) as u64;
                passed(condition, TermStatistics { considered: count, kept });
            }
            if let Some(error) = reason.filter(|_| waiting.len() == before) {
                return Err(error);
            }
            pending = waiting;
        }
        Ok(alive)
    }

    /// The result of a float operation, to the accuracy of the arithmetic.
    pub(super) fn float(&self, lanes: Lanes<f64>) -> Value {
        Value::Float(match self.options.arithmetic {
            Arithmetic::Exact => lanes,
            Arithmetic::Plain => lanes.map(|x| f64::from(x as f32)),
        })
    }

    fn unary(&self, unary: Unary, x: Value, points: &Points) -> Result<Value, Error> {
        let overflow = |point| Error::Overflow { at: points.describe(self.graph, point) };
        Ok(match (unary, x) {
            (Unary::Not, x) => Value::Bool(x.bool().map(|x| !x)),
            (Unary::Neg, Value::Int(x)) => {
                Value::Int(x.try_zip(Lanes::Same(0), |x, zero| i64::checked_sub(zero, x)).map_err(overflow)?)
            }
            (Unary::Abs, Value::Int(x)) => {
                Value::Int(x.try_zip(Lanes::Same(0), |x, _| x.checked_abs()).map_err(overflow)?)
            }
            (Unary::Relu, Value::Int(x)) => Value::Int(x.map(|x| x.max(0))),
            (_, x) => {
                let f = match unary {
                    Unary::Neg => |x: f64| -x,
                    Unary::Abs => f64::abs,
                    Unary::Exp => f64::exp,
                    Unary::Log => f64::ln,
                    Unary::Sqrt => f64::sqrt,
                    Unary::Rsqrt => |x: f64| x.sqrt().recip(),
                    Unary::Tanh => f64::tanh,
                    Unary::Sigmoid => sigmoid,
                    Unary::Softplus => softplus,
                    Unary::LogSigmoid => |x: f64| -softplus(-x),
                    Unary::Relu => relu,
                    Unary::Floor => |x: f64| f64::from((x as f32).floor()),
                    Unary::Not => panic!("interpreter: `not` of floats"),
                };
                self.float(x.float().map(f))
            }
        })
    }

    fn binary(&self, binary: Binary, x: Value, y: Value, points: &Points) -> Result<Value, Error> {
        let (x, y) = match (x, y) {
            (Value::Int(x), Value::Int(y)) => return self.int_binary(binary, x, y, points),
            (x, y) => (x.float(), y.float()),
        };
        Ok(self.float(match binary {
            Binary::Add => x.zip(y, |x, y| x + y),
            Binary::Sub => x.zip(y, |x, y| x - y),
            Binary::Mul => x.zip(y, |x, y| x * y),
            Binary::Div => x.zip(y, |x, y| x / y),
            Binary::Min => x.zip(y, smaller),
            Binary::Max => x.zip(y, larger),
            Binary::IntDiv | Binary::IntMod | Binary::And | Binary::Or => {
                panic!("interpreter: {binary:?} of floats")
            }
        }))
    }

    fn int_binary(
        &self,
        binary: Binary,
        x: Lanes<i64>,
        y: Lanes<i64>,
        points: &Points,
    ) -> Result<Value, Error> {
        let at = |point| points.describe(self.graph, point);
        let result = match binary {
            Binary::Add => x.try_zip(y, i64::checked_add),
            Binary::Sub => x.try_zip(y, i64::checked_sub),
            Binary::Mul => x.try_zip(y, i64::checked_mul),
            Binary::IntDiv => {
                let result = x.try_zip(y, floor_div);
                return result.map(Value::Int).map_err(|point| Error::DivisionByZero { at: at(point) });
            }
            Binary::IntMod => {
                let result = x.try_zip(y, |x, y| Some(x - y * floor_div(x, y)?));
                return result.map(Value::Int).map_err(|point| Error::DivisionByZero { at: at(point) });
            }
            Binary::Min => Ok(x.zip(y, i64::min)),
            Binary::Max => Ok(x.zip(y, i64::max)),
            Binary::Div | Binary::And | Binary::Or => panic!("interpreter: {binary:?} of ints"),
        };
        result.map(Value::Int).map_err(|point| Error::Overflow { at: at(point) })
    }
}

/// `floor(x / y)`; none for a zero divisor.
fn floor_div(x: i64, y: i64) -> Option<i64> {
    let quotient = x.checked_div(y)?;
    Some(if x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient })
}

fn ordered<T: PartialOrd>(compare: Compare, x: &T, y: &T) -> bool {
    match compare {
        Compare::Eq => x == y,
        Compare::Ne => x != y,
        Compare::Lt => x < y,
        Compare::Le => x <= y,
        Compare::Gt => x > y,
        Compare::Ge => x >= y,
    }
}

fn merge<T: Copy>(x: &Lanes<T>, yes: &[usize], y: &Lanes<T>, no: &[usize]) -> Lanes<T> {
    let mut values = Vec::with_capacity(yes.len() + no.len());
    let (mut of_yes, mut of_no) = (0, 0);
    for point in 0..yes.len() + no.len() {
        if yes.get(of_yes) == Some(&point) {
            values.push(x.at(of_yes));
            of_yes += 1;
        } else {
            values.push(y.at(of_no));
            of_no += 1;
        }
    }
    Lanes::each(values)
}

fn cast(x: Value, to: Scalar) -> Value {
    match (x, to) {
        (x, Scalar::F32) => Value::Float(x.into_floats()),
        (Value::Float(x), Scalar::Int) => Value::Int(x.map(|x| i64::from((x as f32).floor() as i32))),
        (Value::Int(x), Scalar::Int) => Value::Int(x),
        (Value::Bool(x), Scalar::Int) => Value::Int(x.map(i64::from)),
        (Value::Float(x), Scalar::Bool) => Value::Bool(x.map(|x| x != 0.0)),
        (Value::Int(x), Scalar::Bool) => Value::Bool(x.map(|x| x != 0)),
        (Value::Bool(x), Scalar::Bool) => Value::Bool(x),
    }
}

/// `1 / (1 + exp(-x))`.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `log(1 + exp(x))` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `max(x, 0)`, NaN for NaN.
pub(super) fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// The larger, NaN if either is.
pub(super) fn larger(x: f64, y: f64) -> f64 {
    if x.is_nan() || x > y { x } else { y }
}

/// The smaller, NaN if either is.
pub(super) fn smaller(x: f64, y: f64) -> f64 {
    if x.is_nan() || x < y { x } else { y }
}
