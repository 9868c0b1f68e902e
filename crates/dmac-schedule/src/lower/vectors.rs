//! What a mask or a score reads for a row alone, or for a key alone, as vectors: read once, not once a pair.
//!
//! Input → output: the value of a pair of query row and key → the same value with such reads replaced by elements of row
//! vectors, which are filled before the walk, and of column vectors, which are filled once for each tile of keys. Where keys
//! come from a list, every target wants columns: there are no neighbours to read at once.
//!
//! A read may stand behind a condition that keeps it in range. It moves only where it is in range without one: its indices
//! are the tile's own rows or keys, or are clamped to their axis.

use super::Lowering;
use super::attend::Parts;
use super::element::Cx;
use super::space::{Space, as_col};
use crate::kernel::{Element, Expr, ScalarType, Space as Memory, Stmt, TileId, VarId};
use dmac_ir::Binary;
use std::collections::BTreeSet;

impl Lowering<'_> {
    /// `value`, at (row, column) of a tile of rows and keys, with its reads of rows and of keys in vectors.
    pub(super) fn read_vectors(
        &self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        value: Expr,
        (parts, cols): (&Parts<'_>, &Space),
    ) -> Expr {
        let gathered = cols.vars.iter().any(|(_, key)| key.any(&mut |x| matches!(x, Expr::Load { .. })));
        if !parts.vectors && !gathered {
            return value;
        }
        let mut fixed: BTreeSet<VarId> = cx.kernel.grid.iter().map(|axis| axis.var).collect();
        for stmt in cx.prelude.iter().chain(&cx.hoist) {
            if let Stmt::Set { var, .. } = stmt {
                fixed.insert(*var);
            }
        }
        let mut reads = Vec::new();
        value.any(&mut |x| {
            if let Expr::Load { .. } = x
                && !reads.contains(x)
            {
                reads.push(x.clone());
            }
            false
        });
        reads.into_iter().fold(value, |value, read| {
            let vector = parts.vectors.then(|| self.row_vector(cx, &read, parts, &fixed)).flatten();
            let vector = vector.or_else(|| self.column_vector(cx, out, &read, (parts, cols), &fixed));
            match vector {
                Some(tile) => value.replace(&|x| (*x == read).then_some(Expr::Elem(tile))),
                None => value,
            }
        })
    }

    fn row_vector(
        &self,
        cx: &mut Cx,
        read: &Expr,
        parts: &Parts<'_>,
        fixed: &BTreeSet<VarId>,
    ) -> Option<TileId> {
        let own: Vec<&Expr> = parts.rows.vars.iter().map(|(_, template)| template).collect();
        let known = |x: &Expr| match x {
            Expr::Var(var) => fixed.contains(var),
            Expr::Col | Expr::Elem(_) | Expr::At { .. } | Expr::Load { .. } | Expr::Reduce { .. } => false,
            _ => true,
        };
        let dims = self.in_range(read, &Expr::Row, &own, &known)?;
        let Expr::Load { tensor, .. } = read else { return None };
        let element = self.program.tensor(*tensor).element;
        // An axis without elements has nothing to clamp to.
        let some = dims.into_iter().map(|dim| Expr::lt(Expr::Int(0), dim)).reduce(Expr::and);
        let (element, zero) = match element.scalar() {
            ScalarType::F32 => (Element::F32, Expr::float(0.0)),
            ScalarType::Int => (Element::I32, Expr::Int(0)),
            ScalarType::Bool => (Element::Bool, Expr::Bool(false)),
        };
        let body = some.unwrap_or(Expr::Bool(true)).then(read.clone(), zero);
        let known = cx.hoist.iter().find_map(|stmt| match stmt {
            Stmt::Map { dst, body: known, .. } if *known == body => Some(*dst),
            _ => None,
        });
        Some(known.unwrap_or_else(|| {
            let dst = cx.tile("of_row", element, parts.rows.max, 1, Memory::Register);
            cx.hoist.push(self.per_row(parts, dst, body));
            dst
        }))
    }

    fn column_vector(
        &self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        read: &Expr,
        (parts, cols): (&Parts<'_>, &Space),
        fixed: &BTreeSet<VarId>,
    ) -> Option<TileId> {
        let own: Vec<Expr> = cols.vars.iter().map(|(_, template)| as_col(template)).collect();
        let own: Vec<&Expr> = own.iter().collect();
        let key = cols.vars.iter().find(|(var, _)| *var == parts.attend.key);
        let known = |x: &Expr| match x {
            // What the tile's own keys are counted from.
            Expr::Var(var) => {
                fixed.contains(var) || key.is_some_and(|(_, key)| key.any(&mut |y| *y == Expr::Var(*var)))
            }
            Expr::Row | Expr::Elem(_) | Expr::At { .. } | Expr::Load { .. } | Expr::Reduce { .. } => false,
            _ => true,
        };
        let dims = self.in_range(read, &Expr::Col, &own, &known)?;
        let Expr::Load { tensor, .. } = read else { return None };
        let element = self.program.tensor(*tensor).element;
        // Where there are keys there is something to clamp to, if it is their axis.
        let keys = self.extent(parts.attend.key);
        if !matches!(element, Element::I32 | Element::F32) || dims.iter().any(|dim| *dim != keys) {
            return None;
        }
        Some(self.column(cx, out, read.clone(), cols))
    }

    /// Whether a read that varies along `side` is in range for all of it: the axes that an index is clamped to.
    fn in_range(
        &self,
        read: &Expr,
        side: &Expr,
        own: &[&Expr],
        known: &dyn Fn(&Expr) -> bool,
    ) -> Option<Vec<Expr>> {
        let Expr::Load { tensor, index } = read else { return None };
        let varies = |x: &Expr| x.any(&mut |part| part == side);
        (index.iter().any(&varies)).then_some(())?;
        let mut clamped = Vec::new();
        for (x, dim) in index.iter().zip(&self.program.tensor(*tensor).dims) {
            if own.contains(&x) {
                continue;
            }
            (!x.any(&mut |part| !known(part))).then_some(())?;
            match x {
                Expr::Var(_) | Expr::Int(0..) => {}
                x if clamps(x, dim) => clamped.push(dim.clone()),
                _ => return None,
            }
        }
        Some(clamped)
    }
}

/// Whether `x` is `max(min(.., dim - 1), 0)`.
fn clamps(x: &Expr, dim: &Expr) -> bool {
    let Expr::Binary(Binary::Max, bounded, zero) = x else { return false };
    let Expr::Binary(Binary::Min, _, last) = &**bounded else { return false };
    **zero == Expr::Int(0) && **last == dim.clone() - Expr::Int(1)
}
