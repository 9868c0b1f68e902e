//! The producer: copies the rows' tile once, and keys and values of each visit into rings.
//!
//! Input → output: the statements after the kernel's bounds → the producer's statements. Keys are copied one visit ahead of
//! values, as the consumers need them.

use super::{GROUP_ROWS, Position, Rewrite, Ring, substitute};
use crate::kernel::{BarrierId, Expr, ScalarType, Stmt, VarId};
use dmac_ir::{Binary, Compare};

/// What the producer keeps from visit to visit.
struct State {
    values: Position,
    /// Variables of the last visit that its copy of values uses.
    kept: Vec<(VarId, VarId)>,
    /// The copy of values.
    copy: Stmt,
}

impl Rewrite {
    /// `None` where another loop's values come from elsewhere than the first's.
    pub(super) fn producer(&mut self, body: &[Stmt]) -> Option<Vec<Stmt>> {
        let mut out = Vec::new();
        let keys = self.position("copy_keys", (0, 1), &mut out);
        let values = self.position("copy_values", (0, 1), &mut out);
        let visits = self.kernel.add_var("copied", ScalarType::Int);
        out.push(Stmt::Set { var: visits, value: Expr::Int(0) });
        self.released_early = if super::consumer::peels(&self.structure, body) { 1 } else { 2 };
        let mut state: Option<State> = None;
        for stmt in body {
            match stmt {
                Stmt::Set { .. } => out.push(stmt.clone()),
                Stmt::Copy { .. } => self.copy_left(stmt, &mut out),
                stmt if self.structure.has_visit(stmt) => {
                    out.push(self.produce_loop(stmt, (keys, values, visits), &mut state)?);
                }
                _ => {}
            }
        }
        if let Some(state) = state {
            let then = self.copy_last_values(&state);
            out.push(Stmt::If { cond: Self::visited(visits), then, otherwise: Vec::new() });
            let sets = state.kept.iter().map(|(of, keeps)| {
                let zero = match self.kernel.var(*of).ty {
                    ScalarType::Int => Expr::Int(0),
                    ScalarType::F32 => Expr::float(0.0),
                    ScalarType::Bool => Expr::Bool(false),
                };
                Stmt::Set { var: *keeps, value: zero }
            });
            let sets: Vec<Stmt> = sets.collect();
            out.splice(0..0, sets);
        }
        Some(out)
    }

    /// The tile of the rows, one stage for each consumer.
    fn copy_left(&self, stmt: &Stmt, out: &mut Vec<Stmt>) {
        let Stmt::Copy { dst, tensor, index, rows, cols, .. } = stmt else { return };
        for group in 0..self.pipeline.consumers {
            let first = Expr::Int((group * GROUP_ROWS) as i64);
            let stage = Expr::Int(group as i64);
            let moved = |x: &Expr| x.replace(&|x| (*x == Expr::Row).then(|| first.clone() + Expr::Row));
            let rest = (rows.clone() - first.clone()).min(Expr::Int(GROUP_ROWS as i64)).max(Expr::Int(0));
            out.push(Stmt::Copy {
                dst: crate::kernel::TileRef { tile: dst.tile, stage: Some(Box::new(stage.clone())) },
                tensor: *tensor,
                index: index.iter().map(moved).collect(),
                rows: rest,
                cols: cols.clone(),
                arrive: Some((self.left_full, stage)),
            });
        }
    }

    fn produce_loop(
        &mut self,
        stmt: &Stmt,
        at: (Position, Position, VarId),
        state: &mut Option<State>,
    ) -> Option<Stmt> {
        let mut stmt = stmt.clone();
        let (Stmt::For { body, .. } | Stmt::If { then: body, .. }) = &mut stmt else {
            unreachable!("pipeline: a loop nest has loops and conditions")
        };
        if self.structure.is_visit(body) {
            *body = self.produce_visit(body, at, state)?;
        } else {
            for stmt in std::mem::take(body) {
                let visits = self.structure.has_visit(&stmt);
                body.push(if visits { self.produce_loop(&stmt, at, state)? } else { stmt });
            }
        }
        Some(stmt)
    }

    fn produce_visit(
        &mut self,
        body: &[Stmt],
        (keys, values, visits): (Position, Position, VarId),
        state: &mut Option<State>,
    ) -> Option<Vec<Stmt>> {
        let visit = self.structure.visit(body);
        let mut out = visit.front.clone();
        out.push(Self::wait(self.keys.empty, keys));
        out.extend(visit.keys.iter().map(|copy| Self::into_ring(copy, self.keys, keys)));
        if let Some(ring) = self.columns {
            out.push(Self::wait(ring.empty, keys));
            out.extend(visit.columns.iter().map(|copy| Self::into_ring(copy, ring, keys)));
        }
        out.extend(self.advance(keys));
        let copy = &visit.values[0];
        let first = match state.take() {
            Some(first) => first,
            None => {
                let used: Vec<VarId> = self.varying(copy);
                let kept = self.kept(&used);
                State { values, kept, copy: copy.clone() }
            }
        };
        let then = self.copy_last_values(&first);
        out.push(Stmt::If { cond: Self::visited(visits), then, otherwise: Vec::new() });
        // Another loop over keys has variables of its own for the same places.
        let current: Vec<VarId> = self.varying(copy);
        let renamed: Vec<(VarId, VarId)> =
            current.iter().zip(&first.kept).map(|(now, (_, keeps))| (*now, *keeps)).collect();
        let same = Self::with_kept(copy, &renamed) == Self::with_kept(&first.copy, &first.kept);
        (same && current.len() == first.kept.len()).then_some(())?;
        for (now, keeps) in renamed {
            out.push(Stmt::Set { var: keeps, value: Expr::Var(now) });
        }
        out.push(Self::count_visit(visits));
        *state = Some(first);
        Some(out)
    }

    /// The variables that a statement reads, in order of their numbers, without those set before all roles.
    fn varying(&self, stmt: &Stmt) -> Vec<VarId> {
        let set_once = |var: &VarId| self.common.contains(var);
        substitute::reads_of(stmt).into_iter().filter(|var| !set_once(var)).collect()
    }

    fn copy_last_values(&self, state: &State) -> Vec<Stmt> {
        let first_released = Expr::Int((self.pipeline.stages - self.released_early) as i64);
        let parity = Expr::Var(state.values.parity);
        // Consumers release the last stages before they have had values: those of visits that never were.
        let released = Expr::compare(Compare::Le, first_released, Expr::Var(state.values.stage));
        let parity = released.then(Expr::binary(Binary::Sub, Expr::Int(1), parity.clone()), parity);
        let stage = Expr::Var(state.values.stage);
        let mut out = vec![Stmt::Wait { barrier: self.values.empty, stage, parity }];
        out.push(Self::into_ring(&Self::with_kept(&state.copy, &state.kept), self.values, state.values));
        out.extend(self.advance(state.values));
        out
    }

    /// The copy into the ring's current stage.
    fn into_ring(stmt: &Stmt, ring: Ring, at: Position) -> Stmt {
        let arrive: Option<(BarrierId, Expr)> = Some((ring.full, Expr::Var(at.stage)));
        match stmt {
            Stmt::Copy { dst, tensor, index, rows, cols, .. } => Stmt::Copy {
                dst: Self::at_stage(dst.tile, at.stage),
                tensor: *tensor,
                index: index.clone(),
                rows: rows.clone(),
                cols: cols.clone(),
                arrive,
            },
            Stmt::Map { dst, rows, cols, body: Expr::Load { tensor, index } } => Stmt::Copy {
                dst: Self::at_stage(*dst, at.stage),
                tensor: *tensor,
                index: index.clone(),
                rows: rows.clone(),
                cols: cols.clone(),
                arrive,
            },
            other => unreachable!("pipeline: {other:?} is no copy"),
        }
    }
}
