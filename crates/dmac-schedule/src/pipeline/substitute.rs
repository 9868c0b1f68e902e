//! Rewriting of statements: expressions, tiles, variables that nothing uses.
//!
//! Input → output: statements → statements. Why: the specialisation moves statements between roles and renames what
//! they use.

use crate::kernel::{Expr, Kernel, Stmt, TileId, VarId};
use std::collections::BTreeSet;

/// Calls `f` for each expression of a statement, nested statements included.
pub(super) fn exprs(stmt: &mut Stmt, f: &mut dyn FnMut(&mut Expr)) {
    match stmt {
        Stmt::Comment(_) | Stmt::MmaWait { .. } | Stmt::Sync { .. } => {}
        Stmt::For { lo, hi, step, body, .. } => {
            [lo, hi, step].into_iter().for_each(&mut *f);
            for stmt in body {
                exprs(stmt, f);
            }
        }
        Stmt::If { cond, then, otherwise } => {
            f(cond);
            then.iter_mut().chain(otherwise).for_each(|stmt| exprs(stmt, f));
        }
        Stmt::Role { body, .. } => body.iter_mut().for_each(|stmt| exprs(stmt, f)),
        Stmt::Set { value, .. } | Stmt::Fill { value, .. } => f(value),
        Stmt::Copy { dst, index, rows, cols, arrive, .. } => {
            dst.stage.as_deref_mut().into_iter().chain(index).chain([rows, cols]).for_each(&mut *f);
            if let Some((_, stage)) = arrive {
                f(stage);
            }
        }
        Stmt::Store { index, rows, cols, .. } | Stmt::ReduceAdd { index, rows, cols, .. } => {
            index.iter_mut().chain([rows, cols]).for_each(f);
        }
        Stmt::StoreElem { index, value, .. } => index.iter_mut().chain([value]).for_each(f),
        Stmt::Map { rows, cols, body, .. } => [rows, cols, body].into_iter().for_each(f),
        Stmt::Mma { a, b, m, n, k, .. } => {
            let stages = [a, b].into_iter().filter_map(|tile| tile.stage.as_deref_mut());
            stages.chain([m, n, k]).for_each(f);
        }
        Stmt::RowReduce { rows, cols, .. } => [rows, cols].into_iter().for_each(f),
        Stmt::OnlineSoftmax { acc, rows, cols, .. } => [&mut acc.1, rows, cols].into_iter().for_each(f),
        Stmt::HeapClear { row, .. } => f(row),
        Stmt::HeapPush { row, score, index, .. } => [row, score, index].into_iter().for_each(f),
        Stmt::HeapOffer { row, first, cols, .. } => [row, first, cols].into_iter().for_each(f),
        Stmt::HeapStore { row, index, .. } => index.iter_mut().chain([row]).for_each(f),
        Stmt::Filter { lo, hi, source, keep, index, limit, .. } => {
            index.iter_mut().chain([lo, hi, source, keep, limit]).for_each(f);
        }
        Stmt::Wait { stage, parity, .. } => [stage, parity].into_iter().for_each(f),
        Stmt::Arrive { stage, .. } => f(stage),
    }
}

/// The tiles that a statement names itself (not in its expressions), nested statements included.
pub(super) fn tiles(stmt: &mut Stmt, f: &mut dyn FnMut(&mut TileId)) {
    match stmt {
        Stmt::For { body, .. } | Stmt::Role { body, .. } => body.iter_mut().for_each(|stmt| tiles(stmt, f)),
        Stmt::If { then, otherwise, .. } => {
            then.iter_mut().chain(otherwise).for_each(|stmt| tiles(stmt, f));
        }
        Stmt::Copy { dst, .. } => f(&mut dst.tile),
        Stmt::Store { src, .. } | Stmt::ReduceAdd { src, .. } => f(src),
        Stmt::Fill { tile, .. } => f(tile),
        Stmt::Map { dst, .. } => f(dst),
        Stmt::Mma { acc, a, b, .. } => [acc, &mut a.tile, &mut b.tile].into_iter().for_each(f),
        Stmt::RowReduce { dst, src, .. } => [src, dst].into_iter().for_each(f),
        Stmt::OnlineSoftmax { scores, row_max, row_sum, acc, taken, .. } => {
            let bounds = taken.columns.iter_mut().flat_map(|(first, end)| [first, end]);
            [scores, row_max, row_sum, &mut acc.0].into_iter().chain(bounds).for_each(f);
        }
        Stmt::HeapOffer { scores, valid, .. } => [scores, valid].into_iter().for_each(f),
        _ => {}
    }
}

/// Renames tiles everywhere.
pub(super) fn rename(body: &mut [Stmt], to: &dyn Fn(TileId) -> TileId) {
    for stmt in body {
        tiles(stmt, &mut |tile| *tile = to(*tile));
        exprs(stmt, &mut |expr| {
            *expr = expr.replace(&|x| match x {
                Expr::Elem(tile) if to(*tile) != *tile => Some(Expr::Elem(to(*tile))),
                Expr::At { tile, row, col } if to(*tile) != *tile => {
                    Some(Expr::At { tile: to(*tile), row: row.clone(), col: col.clone() })
                }
                _ => None,
            });
        });
    }
}

/// The variables that an expression reads.
pub(super) fn reads(expr: &Expr, into: &mut BTreeSet<VarId>) {
    if let Expr::Var(var) = expr {
        into.insert(*var);
    }
    expr.children().into_iter().for_each(|child| reads(child, into));
}

/// The variables that a statement reads, nested statements included.
pub(super) fn reads_of(stmt: &Stmt) -> BTreeSet<VarId> {
    let mut found = BTreeSet::new();
    exprs(&mut stmt.clone(), &mut |expr| reads(expr, &mut found));
    found
}

/// Drops the tiles that no statement names any more.
pub(super) fn drop_tiles(kernel: &mut Kernel) {
    let mut used = BTreeSet::new();
    for stmt in &mut kernel.body {
        tiles(stmt, &mut |tile| {
            used.insert(*tile);
        });
        exprs(stmt, &mut |expr| {
            expr.any(&mut |x| {
                if let Expr::Elem(tile) | Expr::At { tile, .. } = x {
                    used.insert(*tile);
                }
                false
            });
        });
    }
    let to = |tile: TileId| TileId(used.range(..tile).count() as u32);
    let all = std::mem::take(&mut kernel.tiles);
    let kept = all.into_iter().enumerate().filter(|(at, _)| used.contains(&TileId(*at as u32)));
    kernel.tiles = kept.map(|(_, tile)| tile).collect();
    rename(&mut kernel.body, &to);
}

/// Drops, from each role, what sets variables that the role does not read.
pub(super) fn prune(kernel: &mut Kernel) {
    let keep_outside: BTreeSet<VarId> = kernel.body.iter().flat_map(reads_of).collect();
    for stmt in &mut kernel.body {
        let Stmt::Role { body, .. } = stmt else { continue };
        loop {
            let used: BTreeSet<VarId> = body.iter().flat_map(reads_of).collect();
            if !drop_sets(body, &used) {
                break;
            }
        }
    }
    kernel.body.retain(|stmt| !matches!(stmt, Stmt::Set { var, .. } if !keep_outside.contains(var)));
}

/// Whether any was dropped.
fn drop_sets(body: &mut Vec<Stmt>, used: &BTreeSet<VarId>) -> bool {
    let before = body.len();
    body.retain(|stmt| !matches!(stmt, Stmt::Set { var, .. } if !used.contains(var)));
    let mut dropped = body.len() < before;
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } => dropped |= drop_sets(body, used),
            Stmt::If { then, otherwise, .. } => {
                dropped |= drop_sets(then, used);
                dropped |= drop_sets(otherwise, used);
            }
            _ => {}
        }
    }
    dropped
}
