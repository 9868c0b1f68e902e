//! Scalar expressions of a tile program. Every value is a float64: ints and bools are exact in it.

use super::memory::{Global, Tiles};
use dmac_ir::{Binary, Compare, Reduction, Unary};
use dmac_schedule::kernel::{Expr, Kernel, ScalarType, VarId, type_of};

/// Where an expression is evaluated.
pub(super) struct Place<'a> {
    pub global: &'a Global,
    pub program: &'a dmac_schedule::kernel::Program,
    pub kernel: &'a Kernel,
    pub tiles: &'a [Tiles],
    pub group: usize,
    pub vars: &'a [Option<f64>],
    pub element: Option<(i64, i64)>,
    /// Variables of reductions around the expression.
    pub bound: Vec<(VarId, f64)>,
}

/// An expression over sizes and parameters.
pub(super) fn constant(global: &Global, expr: &Expr) -> Result<f64, String> {
    match expr {
        Expr::Int(value) => Ok(*value as f64),
        Expr::Float(value) => Ok(f64::from(value.get())),
        Expr::Bool(value) => Ok(f64::from(u8::from(*value))),
        Expr::Size(size) => Ok(global.sizes[size.0 as usize]),
        Expr::Param(param) => Ok(global.params[param.0 as usize]),
        Expr::Unary(op, x) => Ok(unary(*op, constant(global, x)?)),
        Expr::Binary(op, x, y) => binary(*op, constant(global, x)?, constant(global, y)?, is_int(expr)),
        Expr::Compare(op, x, y) => Ok(compare(*op, constant(global, x)?, constant(global, y)?)),
        Expr::If(c, x, y) => {
            if constant(global, c)? == 0.0 {
                constant(global, y)
            } else {
                constant(global, x)
            }
        }
        Expr::CeilLog2(x) => Ok(ceil_log2(constant(global, x)?)),
        Expr::Pow2(x) => Ok(constant(global, x)?.exp2()),
        Expr::Cast(to, x) => Ok(cast(*to, constant(global, x)?)),
        other => Err(format!("{other:?} is not known before launch")),
    }
}

/// An int that is larger where a score is better.
fn order(x: f32) -> f64 {
    if x.is_nan() {
        return f64::from(i32::MIN + 1);
    }
    let size = f64::from(x.abs().to_bits());
    if x < 0.0 { -1.0 - size } else { size }
}

/// The least `l >= 0` with `2^l >= x`, by counting.
fn ceil_log2(x: f64) -> f64 {
    let mut power = 1.0;
    let mut count = 0.0;
    while power < x {
        power *= 2.0;
        count += 1.0;
    }
    count
}

fn is_int(expr: &Expr) -> bool {
    matches!(expr, Expr::Binary(Binary::IntDiv | Binary::IntMod, ..))
}

impl Place<'_> {
    pub fn int(&mut self, expr: &Expr) -> Result<i64, String> {
        self.value(expr).map(|value| value as i64)
    }

    pub fn value(&mut self, expr: &Expr) -> Result<f64, String> {
        match expr {
            Expr::Var(var) => {
                if let Some((_, value)) = self.bound.iter().rev().find(|(bound, _)| bound == var) {
                    return Ok(*value);
                }
                self.vars[var.0 as usize]
                    .ok_or_else(|| format!("`{}` is not set", self.kernel.var(*var).name))
            }
            Expr::Load { tensor, index } => {
                let index: Result<Vec<i64>, String> = index.iter().map(|x| self.int(x)).collect();
                self.global.load(*tensor, &index?)
            }
            Expr::Elem(tile) => {
                let (row, col) = self.element.ok_or("an element outside an elementwise statement")?;
                let decl = self.kernel.tile(*tile);
                let row = if decl.rows == 1 { 0 } else { row };
                let col = if decl.cols == 1 { 0 } else { col };
                self.tiles[super::point::bank(self.kernel, *tile, self.group)].load(
                    self.kernel,
                    *tile,
                    0,
                    row,
                    col,
                )
            }
            Expr::Row => Ok(self.element.ok_or("a row outside an elementwise statement")?.0 as f64),
            Expr::Col => Ok(self.element.ok_or("a column outside an elementwise statement")?.1 as f64),
            Expr::At { tile, row, col } => {
                let (row, col) = (self.int(row)?, self.int(col)?);
                let (stage, row) = match self.kernel.tile(*tile) {
                    decl if decl.stages > 1 => (row / decl.rows as i64, row % decl.rows as i64),
                    _ => (0, row),
                };
                self.tiles[super::point::bank(self.kernel, *tile, self.group)].load(
                    self.kernel,
                    *tile,
                    usize::try_from(stage).map_err(|_| "a stage below 0")?,
                    row,
                    col,
                )
            }
            Expr::Unary(op, x) => Ok(unary(*op, self.value(x)?)),
            Expr::Binary(Binary::And, x, y) => {
                if self.value(x)? == 0.0 {
                    Ok(0.0)
                } else {
                    self.value(y)
                }
            }
            Expr::Binary(Binary::Or, x, y) => {
                if self.value(x)? == 0.0 {
                    self.value(y)
                } else {
                    Ok(1.0)
                }
            }
            Expr::Binary(op, x, y) => {
                let (x, y) = (self.value(x)?, self.value(y)?);
                binary(*op, x, y, is_int(expr))
            }
            Expr::Compare(op, x, y) => Ok(compare(*op, self.value(x)?, self.value(y)?)),
            Expr::If(c, x, y) => {
                if self.value(c)? == 0.0 {
                    self.value(y)
                } else {
                    self.value(x)
                }
            }
            Expr::CeilLog2(x) => Ok(ceil_log2(self.value(x)?)),
            Expr::Pow2(x) => Ok(self.value(x)?.exp2()),
            Expr::Order(x) => Ok(order(self.value(x)? as f32)),
            Expr::Cast(to, x) => Ok(cast(*to, self.value(x)?)),
            Expr::Reduce { op, var, lo, hi, body } => {
                let (lo, hi) = (self.int(lo)?, self.int(hi)?);
                let float = type_of(self.program, Some(self.kernel), body)? == ScalarType::F32;
                let mut total = match op {
                    Reduction::Max if float => f64::NEG_INFINITY,
                    Reduction::Min if float => f64::INFINITY,
                    Reduction::Max => f64::from(i32::MIN),
                    Reduction::Min => f64::from(i32::MAX),
                    Reduction::All => 1.0,
                    Reduction::Sum | Reduction::Mean | Reduction::Any => 0.0,
                };
                for at in lo..hi {
                    self.bound.push((*var, at as f64));
                    let value = self.value(body);
                    self.bound.pop();
                    let value = value?;
                    total = match op {
                        Reduction::Sum | Reduction::Mean => total + value,
                        Reduction::Max => binary(Binary::Max, total, value, false)?,
                        Reduction::Min => binary(Binary::Min, total, value, false)?,
                        Reduction::Any => total.max(value),
                        Reduction::All => total.min(value),
                    };
                }
                Ok(if *op == Reduction::Mean { total / (hi - lo).max(0) as f64 } else { total })
            }
            expr => constant(self.global, expr),
        }
    }
}

fn unary(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Not => f64::from(u8::from(x == 0.0)),
        Unary::Abs => x.abs(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Unary::LogSigmoid => x.min(0.0) - (-x.abs()).exp().ln_1p(),
        Unary::Relu if x.is_nan() => x,
        Unary::Relu => x.max(0.0),
        Unary::Floor => x.floor(),
    }
}

fn binary(op: Binary, x: f64, y: f64, int: bool) -> Result<f64, String> {
    if int && y == 0.0 {
        return Err("division by zero".into());
    }
    let pick = |first: bool| {
        if x.is_nan() || y.is_nan() {
            f64::NAN
        } else if first {
            x
        } else {
            y
        }
    };
    Ok(match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::IntDiv => (x / y).floor(),
        Binary::IntMod => x - y * (x / y).floor(),
        Binary::Min => pick(x < y),
        Binary::Max => pick(x > y),
        Binary::And => f64::from(u8::from(x != 0.0 && y != 0.0)),
        Binary::Or => f64::from(u8::from(x != 0.0 || y != 0.0)),
    })
}

fn compare(op: Compare, x: f64, y: f64) -> f64 {
    let holds = match op {
        Compare::Eq => x == y,
        Compare::Ne => x != y,
        Compare::Lt => x < y,
        Compare::Le => x <= y,
        Compare::Gt => x > y,
        Compare::Ge => x >= y,
    };
    f64::from(u8::from(holds))
}

fn cast(to: ScalarType, x: f64) -> f64 {
    match to {
        ScalarType::Int => x.floor(),
        ScalarType::F32 => x,
        ScalarType::Bool => f64::from(u8::from(x != 0.0)),
    }
}
