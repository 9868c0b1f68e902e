//! The keys alive in each tile of query rows, all tiles at once, for targets of many threads.
//!
//! Input → output: a key-interval term and the tensors for its lists → two kernels that fill them. Walking the tiles in
//! order would make each wait for the one before, so lists come from longer lists instead: the keys alive somewhere in a
//! *span* of [`SPAN_TILES`] tiles are filtered out of all keys up to it, and the keys alive in a tile out of those of its
//! span. Keys alive in all rows of a tile come first; otherwise both keep the order of the index.
//!
//! A tile looks at what its span keeps, a few times its own list: `w` + 2048 keys for `w` + 64 with tiles of 64 rows. A
//! span looks at the ends of all keys before it, n / 4096 reads a key: with n = 131,072 less than what the tiles read,
//! and 0.3 GB in all for 16 rows, from caches.

use super::Lowering;
use super::element::Cx;
use super::lists::{AliveLists, Term};
use crate::kernel::{Element, Expr, GridAxis, Kernel, ScalarType, Stmt, TensorId, VarId};
use dmac_ir::{Attend, Compare, Unary};

/// Tiles of a span: with more, tiles filter longer lists; with fewer, there are more passes over all keys.
const SPAN_TILES: i64 = 32;

/// A kernel that fills one list for each part of the query rows.
struct Filtering {
    cx: Cx,
    /// `[row..., part]`.
    at: Vec<Expr>,
    part: VarId,
    item: VarId,
    count: VarId,
    /// Which keys are alive in some row of the part, and which in all of them.
    keep: Expr,
    throughout: Expr,
    /// The keys that may have entered by its end are those below.
    limit: Expr,
}

impl Lowering<'_> {
    /// The kernels that fill `lists`; `capacity` is the number of places of one.
    pub(super) fn filter_lists(&mut self, attend: &Attend, term: &Term, lists: &AliveLists, capacity: &Expr) {
        let tile = self.schedule.q_tile as i64;
        let rows = tile * SPAN_TILES;
        let (m, n) = (self.extent(attend.query), self.extent(attend.key));
        let mut dims: Vec<Expr> = lists.rows.iter().map(|&var| self.extent(var)).collect();
        dims.push(m.ceil_div(Expr::Int(rows)));
        let counts = self.workspace("span_count", Element::I32, dims.clone());
        let places = n.min(term.alive.clone() + Expr::Int(rows));
        dims.push(places.clone());
        let keys = self.workspace("span", Element::I32, dims);

        let mut spans = self.filtering(attend, term, lists, ("alive_spans", "span"), rows);
        let of_all = spans.filter_keys(keys, &places);
        spans.finish(self, vec![of_all], counts, places, lists.may_overflow);

        let mut tiles = self.filtering(attend, term, lists, ("alive_keys", "tile"), tile);
        let (listed, slot) = (tiles.int("listed"), tiles.int("slot"));
        let mut span = tiles.at.clone();
        let last = span.last_mut().expect("a list belongs to a part of the rows");
        *last = Expr::Var(tiles.part).int_div(Expr::Int(SPAN_TILES));
        let source = Expr::load(keys, span.iter().cloned().chain([Expr::Var(slot)]));
        let mut out = vec![Stmt::Set { var: listed, value: Expr::load(counts, span) }];
        let in_some = tiles.keep.clone();
        let in_all = tiles.throughout.clone();
        let only_some = Expr::and(in_some, Expr::unary(Unary::Not, in_all.clone()));
        for (keep, counted) in [(in_all, Some(lists.throughout)), (only_some, None)] {
            tiles.keep = keep;
            let of_span = tiles.filter(slot, Expr::Var(listed), source.clone(), lists.keys, capacity);
            out.push(if lists.may_overflow {
                let too_many = Expr::lt(Expr::Var(listed), Expr::Int(0));
                let of_all = tiles.filter_keys(lists.keys, capacity);
                Stmt::If { cond: too_many, then: vec![of_all], otherwise: vec![of_span] }
            } else {
                of_span
            });
            out.extend(counted.map(|tensor| Stmt::StoreElem {
                tensor,
                index: tiles.at.clone(),
                value: Expr::Var(tiles.count),
            }));
        }
        tiles.finish(self, out, lists.counts, capacity.clone(), lists.may_overflow);
    }

    /// A kernel over parts of `rows` query rows.
    fn filtering(
        &self,
        attend: &Attend,
        term: &Term,
        lists: &AliveLists,
        (name, part): (&str, &str),
        rows: i64,
    ) -> Filtering {
        let mut cx = Cx::new(Kernel::new(name));
        let env = self.list_rows(&mut cx, attend, &lists.rows);
        let m = self.extent(attend.query);
        let part = cx.kernel.add_var(part, ScalarType::Int);
        let extent = m.clone().ceil_div(Expr::Int(rows));
        cx.kernel.grid.push(GridAxis { var: part, extent, descending: true });
        let length = cx.known("key_count", ScalarType::Int, self.key_length(attend.batch, &env));
        let row0 = Expr::Var(part) * Expr::Int(rows);
        let offset = length.clone() - m.clone();
        let first = cx.known("first", ScalarType::Int, row0.clone() + offset.clone());
        let last = (row0 + Expr::Int(rows)).min(m) + offset - Expr::Int(1);
        let last = cx.known("last", ScalarType::Int, last);
        let item = cx.kernel.add_var("key", ScalarType::Int);
        let count = cx.kernel.add_var("count", ScalarType::Int);
        let inside = env.with(attend.key, Expr::Var(item));
        let enters = self.scalar(&mut cx.kernel, term.enter, &inside);
        let ends = self.scalar(&mut cx.kernel, term.end, &inside);
        let keep = Expr::and(
            Expr::compare(Compare::Le, enters.clone(), last.clone()),
            Expr::lt(first.clone().max(enters.clone()), ends.clone()),
        );
        let throughout = Expr::and(
            Expr::compare(Compare::Le, enters.clone(), first.clone()),
            Expr::lt(last.clone(), ends.clone()),
        );
        let limit = match &term.slope {
            Some(shift) => length.min(last + Expr::Int(1) - shift.clone()),
            None => length,
        };
        let at = lists.rows.iter().map(|var| env.vars[var].clone()).chain([Expr::Var(part)]).collect();
        Filtering { cx, at, part, item, count, keep, throughout, limit }
    }
}

impl Filtering {
    fn int(&mut self, name: &str) -> VarId {
        self.cx.kernel.add_var(name, ScalarType::Int)
    }

    /// Appends the items `source` at `0 .. hi` that are alive.
    fn filter(&self, var: VarId, hi: Expr, source: Expr, tensor: TensorId, limit: &Expr) -> Stmt {
        Stmt::Filter {
            var,
            lo: Expr::Int(0),
            hi,
            item: self.item,
            source,
            keep: self.keep.clone(),
            tensor,
            index: self.at.clone(),
            limit: limit.clone(),
            count: self.count,
        }
    }

    fn filter_keys(&mut self, tensor: TensorId, limit: &Expr) -> Stmt {
        let index = self.int("index");
        self.filter(index, self.limit.clone(), Expr::Var(index), tensor, limit)
    }

    /// The finished kernel: the list is empty before, its length is stored after, -1 if that is more than its places.
    fn finish(
        self,
        to: &mut Lowering<'_>,
        stmts: Vec<Stmt>,
        counts: TensorId,
        places: Expr,
        overflows: bool,
    ) {
        let count = Expr::Var(self.count);
        let found =
            if overflows { Expr::lt(places, count.clone()).then(Expr::Int(-1), count) } else { count };
        let mut out = vec![Stmt::Set { var: self.count, value: Expr::Int(0) }];
        out.extend(stmts);
        out.push(Stmt::StoreElem { tensor: counts, index: self.at, value: found });
        to.finish(self.cx.close(out));
    }
}
