//! A consumer: 64 rows, their scores, their softmax, their share of the output.
//!
//! Input → output: the statements after the kernel's bounds → a consumer's statements, for the group whose index is a
//! variable.

use super::structure::Structure;
use super::{GROUP_ROWS, Position, Rewrite, substitute, times};
use crate::kernel::{Expr, ScalarType, Space, Stmt, TileId, TileRef, VarId};
use dmac_ir::Compare;

/// Which turn of the loops a visit is.
#[derive(Clone, Copy)]
enum Turn {
    First,
    Later,
}

/// Whether the visits are the turns of one loop, so that the first can stand before it.
pub(super) fn peels(structure: &Structure, body: &[Stmt]) -> bool {
    let mut loops = body.iter().filter(|stmt| structure.has_visit(stmt));
    matches!((loops.next(), loops.next()), (Some(Stmt::For { body, .. }), None) if structure.is_visit(body))
}

/// What a consumer keeps from visit to visit.
struct State {
    keys: Position,
    values: Position,
    /// The weights of the last visit, in the values' type.
    weights: TileId,
    /// What the accumulator is still to be multiplied with.
    alpha: Option<TileId>,
    /// The keys of the last visit.
    last_cols: VarId,
    /// Where the group's rows begin in the query tile, and how many there are.
    row0: VarId,
    rows: VarId,
}

impl Rewrite {
    /// `None` where a statement has other rows than the query tile's.
    pub(super) fn consumer(&mut self, body: &[Stmt], group: VarId) -> Option<Vec<Stmt>> {
        for tile in &mut self.kernel.tiles {
            if tile.space == Space::Register && tile.rows == self.structure.rows {
                tile.rows = GROUP_ROWS;
            }
        }
        let scores = self.kernel.tile(self.structure.scores).clone();
        let values = self.kernel.tile(self.structure.values).element;
        let weights = crate::kernel::Tile { element: values, ..scores.clone() };
        let weights = self.register("weights", &weights, scores.cols);
        let alpha = self.structure.online.then(|| self.register("alpha", &scores, 1));
        let mut out = Vec::new();
        let keys = self.position("keys", (0, 0), &mut out);
        let peeled = peels(&self.structure, body);
        // A nest of loops begins with the product of a visit that never was: no weights, no values.
        let start = if peeled { (0, 0) } else { (self.pipeline.stages as i64 - 1, 1) };
        let values = self.position("values", start, &mut out);
        let mut int = |name: &str| self.kernel.add_var(name, ScalarType::Int);
        let state = State {
            keys,
            values,
            weights,
            alpha,
            last_cols: int("last_cols"),
            row0: int("row0"),
            rows: int("rows"),
        };
        let first = times(Expr::Var(group), Expr::Int(GROUP_ROWS as i64));
        let rest = self.structure.row_count.clone() - Expr::Var(state.row0);
        let rows = rest.min(Expr::Int(GROUP_ROWS as i64)).max(Expr::Int(0));
        out.push(Stmt::Set { var: state.row0, value: first });
        out.push(Stmt::Set { var: state.rows, value: rows });
        out.push(Stmt::Set { var: state.last_cols, value: Expr::Int(0) });
        let loops = body.iter().filter(|stmt| self.structure.has_visit(stmt)).count();
        let mut left = loops;
        for stmt in body {
            if self.structure.has_visit(stmt) {
                if left == loops {
                    out.push(Stmt::Wait {
                        barrier: self.left_full,
                        stage: Expr::Var(group),
                        parity: Expr::Int(0),
                    });
                }
                left -= 1;
                if peeled {
                    out.push(self.peeled(stmt, &state, group)?);
                    continue;
                }
                if left + 1 == loops {
                    out.push(Stmt::Fill { tile: self.structure.scores, value: Expr::float(0.0) });
                    out.extend(state.alpha.map(|tile| Stmt::Fill { tile, value: Expr::float(1.0) }));
                }
                out.push(self.consume_loop(stmt, &state, group)?);
                if left == 0 {
                    out.extend(self.last_output(&state));
                }
            } else if !matches!(stmt, Stmt::Copy { .. }) {
                out.push(self.own_rows(stmt, &state)?);
            }
        }
        Some(out)
    }

    /// A loop each of whose turns is a visit: the first one stands before the loop, so that the turns of the loop are all
    /// alike and its products stay in flight from turn to turn.
    fn peeled(&self, stmt: &Stmt, state: &State, group: VarId) -> Option<Stmt> {
        let Stmt::For { var, lo, hi, step, body } = stmt else { return None };
        let mut then = vec![Stmt::Set { var: *var, value: lo.clone() }];
        then.extend(self.consume_visit(body, state, group, Turn::First)?);
        let body = self.consume_visit(body, state, group, Turn::Later)?;
        let second = lo.clone() + step.clone();
        then.push(Stmt::For { var: *var, lo: second, hi: hi.clone(), step: step.clone(), body });
        then.extend(self.last_output(state));
        Some(Stmt::If { cond: Expr::lt(lo.clone(), hi.clone()), then, otherwise: Vec::new() })
    }

    fn consume_loop(&self, stmt: &Stmt, state: &State, group: VarId) -> Option<Stmt> {
        let mut stmt = stmt.clone();
        let (Stmt::For { body, .. } | Stmt::If { then: body, .. }) = &mut stmt else {
            unreachable!("pipeline: a loop nest has loops and conditions")
        };
        if self.structure.is_visit(body) {
            *body = self.consume_visit(body, state, group, Turn::Later)?;
        } else {
            let nested = std::mem::take(body);
            for stmt in nested {
                let visits = self.structure.has_visit(&stmt);
                body.push(if visits { self.consume_loop(&stmt, state, group)? } else { stmt });
            }
        }
        Some(stmt)
    }

    fn consume_visit(&self, body: &[Stmt], state: &State, group: VarId, turn: Turn) -> Option<Vec<Stmt>> {
        let visit = self.structure.visit(body);
        let mut out = visit.front.clone();
        let mut scores = vec![Self::wait(self.keys.full, state.keys)];
        for stmt in &visit.scores {
            let Stmt::Mma { acc, a, b, transpose_b, accumulate, n, k, .. } = stmt else {
                unreachable!("pipeline: scores are products")
            };
            scores.push(Stmt::Mma {
                acc: *acc,
                a: Self::at_stage(a.tile, group),
                b: Self::at_stage(b.tile, state.keys.stage),
                transpose_b: *transpose_b,
                accumulate: *accumulate,
                m: Expr::Var(state.rows),
                n: n.clone(),
                k: k.clone(),
            });
        }
        let output = self.output(&visit.output[0], state);
        let mut first = scores.clone();
        first.push(Stmt::MmaWait { pending: 0 });
        let mut later = self.settle(state);
        later.extend(scores);
        later.push(Self::wait(self.values.full, state.values));
        later.push(output.clone());
        later.extend(self.advance(state.values));
        later.push(Stmt::MmaWait { pending: 1 });
        match turn {
            Turn::First => out.extend(first),
            Turn::Later => out.extend(later),
        }
        let stage = || Expr::Var(state.keys.stage);
        out.push(Stmt::Arrive { barrier: self.keys.empty, stage: stage() });
        if let Some(ring) = self.columns {
            out.push(Self::wait(ring.full, state.keys));
        }
        for stmt in &visit.middle {
            let stmt = self.own_rows(stmt, state)?;
            out.extend(self.deferred(stmt, state));
        }
        if let Some(ring) = self.columns {
            out.push(Stmt::Arrive { barrier: ring.empty, stage: stage() });
        }
        let Stmt::Mma { k, .. } = &visit.output[0] else { unreachable!("pipeline: the output is a product") };
        out.push(Stmt::Set { var: state.last_cols, value: k.clone() });
        out.extend(self.advance(state.keys));
        Some(out)
    }

    /// The product into the accumulator, of the last visit's weights and values.
    fn output(&self, stmt: &Stmt, state: &State) -> Stmt {
        let Stmt::Mma { acc, n, .. } = stmt else { unreachable!("pipeline: the output is a product") };
        Stmt::Mma {
            acc: *acc,
            a: TileRef::from(state.weights),
            b: Self::at_stage(self.structure.values, state.values.stage),
            transpose_b: false,
            accumulate: true,
            m: Expr::Var(state.rows),
            n: n.clone(),
            k: Expr::Var(state.last_cols),
        }
    }

    /// Ends the product under way and makes the operands of the next: releases its values, converts the weights,
    /// rescales the accumulator.
    fn settle(&self, state: &State) -> Vec<Stmt> {
        let stages = self.pipeline.stages as i64;
        let at = Expr::Var(state.values.stage);
        let wraps = Expr::compare(Compare::Eq, at.clone(), Expr::Int(0));
        let before = wraps.then(Expr::Int(stages - 1), at - Expr::Int(1));
        let rows = || Expr::Var(state.rows);
        let mut out = vec![
            Stmt::MmaWait { pending: 0 },
            Stmt::Arrive { barrier: self.values.empty, stage: before },
            Stmt::Map {
                dst: state.weights,
                rows: rows(),
                cols: Expr::Var(state.last_cols),
                body: Expr::Elem(self.structure.scores),
            },
        ];
        if let Some(alpha) = state.alpha {
            let acc = self.structure.acc;
            out.push(Stmt::Map {
                dst: acc,
                rows: rows(),
                cols: Expr::Int(self.kernel.tile(acc).cols as i64),
                body: times(Expr::Elem(acc), Expr::Elem(alpha)),
            });
        }
        out
    }

    /// After the last visit: its product.
    fn last_output(&self, state: &State) -> Vec<Stmt> {
        let mut then = self.settle(state);
        then.push(Self::wait(self.values.full, state.values));
        let features = Expr::Int(self.kernel.tile(self.structure.acc).cols as i64);
        then.push(Stmt::Mma {
            acc: self.structure.acc,
            a: TileRef::from(state.weights),
            b: Self::at_stage(self.structure.values, state.values.stage),
            transpose_b: false,
            accumulate: true,
            m: Expr::Var(state.rows),
            n: features,
            k: Expr::Var(state.last_cols),
        });
        then.push(Stmt::MmaWait { pending: 0 });
        then
    }

    /// The step of online softmax with its factor for the accumulator kept in a row vector.
    fn deferred(&self, stmt: Stmt, state: &State) -> Vec<Stmt> {
        match (stmt, state.alpha) {
            (Stmt::OnlineSoftmax { scores, row_max, row_sum, rows, cols, taken, .. }, Some(alpha)) => vec![
                Stmt::Fill { tile: alpha, value: Expr::float(1.0) },
                Stmt::OnlineSoftmax {
                    scores,
                    row_max,
                    row_sum,
                    acc: (alpha, Expr::Int(1)),
                    rows,
                    cols,
                    taken,
                },
            ],
            (stmt, _) => vec![stmt],
        }
    }

    /// The statement for the group's rows and the ring's stage.
    fn own_rows(&self, stmt: &Stmt, state: &State) -> Option<Stmt> {
        let mut stmt = stmt.clone();
        let fits = self.bound_rows(&mut stmt, state);
        substitute::exprs(&mut stmt, &mut |expr| {
            *expr = expr.replace(&|x| match x {
                Expr::Row => Some(Expr::Row + Expr::Var(state.row0)),
                Expr::Elem(tile) if self.structure.columns.contains(tile) => Some(Expr::At {
                    tile: *tile,
                    row: Box::new(Expr::Var(state.keys.stage)),
                    col: Box::new(Expr::Col),
                }),
                _ => None,
            });
        });
        fits.then_some(stmt)
    }

    /// Whether all rows are those of the query tile; they become the group's.
    fn bound_rows(&self, stmt: &mut Stmt, state: &State) -> bool {
        match stmt {
            Stmt::If { then, otherwise, .. } => {
                then.iter_mut().chain(otherwise).all(|stmt| self.bound_rows(stmt, state))
            }
            Stmt::Map { rows, .. }
            | Stmt::Store { rows, .. }
            | Stmt::RowReduce { rows, .. }
            | Stmt::OnlineSoftmax { rows, .. } => {
                let fits = *rows == self.structure.row_count;
                *rows = Expr::Var(state.rows);
                fits
            }
            Stmt::Fill { .. } | Stmt::Set { .. } | Stmt::Comment(_) => true,
            _ => false,
        }
    }
}
