//! Elementwise statements: loops over a tile, vector code in the middle, scalar code for the rest of a line.
//!
//! Input → output: a [`Stmt::Map`](dmac_schedule::kernel::Stmt::Map) → loops. A line is a row of the tile, or all of a row
//! vector. What does not vary within the tile is computed before the loops, what does not vary within a line before its
//! loop. Elementary functions are computed a line at a time by micro-kernels: their arguments go to a buffer, the function
//! runs over it, and the rest of the body reads its values there.

use super::scalar::{partial, strip};
use super::vector::LANES;
use super::{ACCESS, Along, Emitter, Point};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use dmac_cpu_kernels::Kernel as Micro;
use dmac_ir::{Binary, Unary};
use dmac_schedule::kernel::{Expr, TileId};

/// An elementary function of an elementwise body, whose values are computed a line at a time.
struct Stage {
    /// The function with its argument, as it occurs in the body.
    whole: Expr,
    micro: Micro,
    argument: Expr,
    /// Where the argument is evaluated at all.
    path: Expr,
}

impl Stage {
    /// The argument, made safe to evaluate everywhere.
    fn safe_argument(&self) -> Expr {
        if partial(&self.argument) {
            self.path.clone().then(self.argument.clone(), Expr::float(0.0))
        } else {
            self.argument.clone()
        }
    }
}

/// Where the values of a line go.
#[derive(Clone, Copy)]
enum Target {
    Tile(TileId),
    Buffer(Value),
}

impl Emitter<'_, '_, '_> {
    /// `dst[row, col] = body` for `row < rows, col < cols`.
    pub(crate) fn map(&mut self, dst: TileId, rows: &Expr, cols: &Expr, body: &Expr) {
        self.fresh(|e| {
            let along = if e.kernel().tile(dst).cols == 1 { Along::Rows } else { Along::Cols };
            let (rows, cols) = (e.scalar(rows), e.scalar(cols));
            let some_rows = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, rows, 0);
            let some_cols = e.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, cols, 0);
            let some = e.b.ins().band(some_rows, some_cols);
            e.branch(some, |e| e.lines(dst, along, rows, cols, body), |_| {});
        });
    }

    fn lines(&mut self, dst: TileId, along: Along, rows: Value, cols: Value, body: &Expr) {
        let outer = self.point;
        self.point = Point { along, ..Point::default() };
        let mut stages = Vec::new();
        self.stages(body, &Expr::Bool(true), &mut stages);
        for (index, stage) in stages.iter().enumerate() {
            let (start, bytes) = self.plan().strips;
            let buffer = self.scratch_at(start + index * bytes, None, 0);
            self.strips.push((stage.whole.clone(), buffer));
        }
        self.hoist(body, true, &mut |_, x| crate::rows::uniform(x), false);
        let zero = self.int(0);
        match along {
            Along::Cols => self.count_by(zero, rows, 1, |e, row| {
                let point = Point { row: Some(row), col: None, along };
                e.at_point(point, |e| e.line(dst, cols, &stages, body));
            }),
            Along::Rows => {
                let point = Point { row: None, col: Some(zero), along };
                self.at_point(point, |e| e.line(dst, rows, &stages, body));
            }
        }
        self.strips.clear();
        self.point = outer;
    }

    /// The `count` elements of a line.
    fn line(&mut self, dst: TileId, count: Value, stages: &[Stage], body: &Expr) {
        for stage in stages {
            let buffer = self.strip_buffer(&stage.whole).expect("codegen: a stage has a buffer");
            self.run(count, &stage.safe_argument(), Target::Buffer(buffer));
            self.call(stage.micro, &[buffer, buffer, count]);
        }
        self.run(count, body, Target::Tile(dst));
    }

    /// The elements of a line: four at a time, then one by one.
    fn run(&mut self, count: Value, body: &Expr, target: Target) {
        self.scoped(|e| {
            e.hoist(body, true, &mut |e, x| !e.varies(x), true);
            let line = match target {
                Target::Tile(tile) => e.tile_line(tile),
                Target::Buffer(buffer) => buffer,
            };
            let bytes = match target {
                Target::Tile(tile) => e.lane_bytes(tile),
                Target::Buffer(_) => 4,
            };
            let zero = e.int(0);
            let whole = e.b.ins().band_imm_s(count, -LANES);
            let outer = e.point;
            let at = |at: Value| match outer.along {
                Along::Cols => Point { col: Some(at), ..outer },
                Along::Rows => Point { row: Some(at), ..outer },
            };
            e.count_by(zero, whole, LANES, |e, first| {
                e.at_point(at(first), |e| {
                    let value = e.vector(body, None);
                    let address = e.offset(line, first, bytes);
                    match target {
                        Target::Tile(tile) => e.store_lanes(tile, value, address),
                        Target::Buffer(_) => {
                            e.b.ins().store(ACCESS, value, address, 0);
                        }
                    }
                });
            });
            e.count_by(whole, count, 1, |e, element| {
                e.at_point(at(element), |e| {
                    let value = e.scalar(body);
                    let address = e.offset(line, element, bytes);
                    match target {
                        Target::Tile(tile) => e.store_tile(tile, value, address),
                        Target::Buffer(_) => {
                            e.b.ins().store(ACCESS, value, address, 0);
                        }
                    }
                });
            });
        });
    }

    /// The elementary functions that vary along a line, innermost first. `path` is the condition under which the expression
    /// is evaluated at all.
    fn stages(&self, expr: &Expr, path: &Expr, found: &mut Vec<Stage>) {
        let not = |x: &Expr| Expr::unary(Unary::Not, x.clone());
        match expr {
            Expr::Binary(op @ (Binary::And | Binary::Or), x, y) => {
                self.stages(x, path, found);
                let needed = if *op == Binary::And { (**x).clone() } else { not(x) };
                self.stages(y, &Expr::and(path.clone(), needed), found);
            }
            Expr::If(c, x, y) => {
                self.stages(c, path, found);
                self.stages(x, &Expr::and(path.clone(), (**c).clone()), found);
                self.stages(y, &Expr::and(path.clone(), not(c)), found);
            }
            Expr::Reduce { lo, hi, .. } => {
                // The body runs once for each value of the reduction's variable, so that it has no line of its own.
                self.stages(lo, path, found);
                self.stages(hi, path, found);
            }
            _ => expr.children().into_iter().for_each(|child| self.stages(child, path, found)),
        }
        let Expr::Unary(op, argument) = expr else { return };
        let Some(micro) = strip(*op).filter(|_| self.varies(expr)) else { return };
        match found.iter_mut().find(|stage| stage.whole == *expr) {
            // Needed in two places: where either is reached.
            Some(stage) => stage.path = Expr::or(stage.path.clone(), path.clone()),
            None => found.push(Stage {
                whole: expr.clone(),
                micro,
                argument: (**argument).clone(),
                path: path.clone(),
            }),
        }
    }

    /// Computes the largest parts of an expression that are the same everywhere in what follows. `sure` says that the
    /// expression is evaluated at least once in what follows, so that computing it early cannot fault; `lanes` that what
    /// follows is a vector loop.
    fn hoist(
        &mut self,
        expr: &Expr,
        sure: bool,
        invariant: &mut dyn FnMut(&Self, &Expr) -> bool,
        lanes: bool,
    ) {
        if self.strip_buffer(expr).is_some() {
            return;
        }
        if invariant(self, expr) && (sure || !partial(expr)) {
            if lanes {
                self.vector(expr, None);
            }
            self.scalar(expr);
            return;
        }
        match expr {
            Expr::If(c, x, y) => {
                self.hoist(c, sure, invariant, lanes);
                self.hoist(x, false, invariant, lanes);
                self.hoist(y, false, invariant, lanes);
            }
            Expr::Binary(Binary::And | Binary::Or, x, y) => {
                self.hoist(x, sure, invariant, lanes);
                self.hoist(y, false, invariant, lanes);
            }
            Expr::Reduce { lo, hi, .. } => {
                self.hoist(lo, sure, invariant, lanes);
                self.hoist(hi, sure, invariant, lanes);
            }
            Expr::Load { tensor, index } => {
                for x in index {
                    self.hoist(x, sure, invariant, false);
                }
                if let Some((_, lead)) = index.split_last()
                    && lead.iter().all(|x| invariant(self, x) && (sure || !partial(x)))
                {
                    self.base(*tensor, lead);
                }
            }
            Expr::Elem(tile) if lanes => {
                self.tile_line(*tile);
            }
            _ => expr.children().into_iter().for_each(|child| self.hoist(child, sure, invariant, lanes)),
        }
    }
}
