//! Lists of the key tiles that tiles of query rows visit, for masks that consult memory to say which.
//!
//! Input → output: an attention's mask terms → a kernel that tests all pairs of tiles, many at a time and once for all heads
//! whose masks are the same, and lists those that may attend; and the walk over such a list. Without lists each tile of
//! rows tests every tile of keys on its way, and all its warps wait for what the test reads.
//!
//! Memory grows with the sequence and not with its square: a list has a fixed number of places, so that beyond it an entry
//! stands for several neighbouring tiles, which the walk then tests again. An entry is twice its place in the sequence,
//! plus one where it is one tile of which all is attended.

use super::attend::Parts;
use super::element::Cx;
use super::{Lowering, Space};
use crate::kernel::{Element, Expr, GridAxis, Kernel, ScalarType, Stmt, TensorId};
use dmac_ir::{Binary, Compare, Form, Op, Var};

/// The lists of an attention.
pub(super) struct TileLists {
    /// `[batch, head..., tile, slot]` i32.
    entries: TensorId,
    /// `[batch, head..., tile]` i32.
    counts: TensorId,
    /// The variables before the tile.
    rows: Vec<Var>,
    /// Tiles of an entry.
    tiles: Expr,
}

/// What an entry says of its tile of keys.
pub(super) struct Known {
    /// Whether it is the only one of the entry: it may be attended.
    pub alone: Expr,
    /// Whether all its pairs are attended.
    pub full: Expr,
}

impl Lowering<'_> {
    /// Makes lists for an attention whose mask terms read memory to say whether a pair of tiles may be attended.
    pub(super) fn tile_lists(&mut self, parts: &Parts<'_>, max: usize) -> Option<TileLists> {
        let attend = parts.attend;
        let reads = |term: usize| {
            let (may, _) = parts.view.skip(term)?;
            let reads = |id| matches!(self.graph.op(id), Op::Read | Op::Contains);
            self.scalars(&[may]).into_iter().any(reads).then_some(())
        };
        let tested: Vec<usize> = (0..attend.forms.len())
            .filter(|&term| attend.forms[term] != Form::Interval && parts.view.skip(term).is_some())
            .collect();
        if self.schedule.listed_tiles == 0 || !tested.iter().any(|&term| reads(term).is_some()) {
            return None;
        }
        let heads = [attend.head, attend.kv_head]
            .into_iter()
            .find(|var| parts.view.terms().iter().any(|&term| self.graph.free(term).contains(var)));
        let rows: Vec<Var> = [Some(attend.batch), heads].into_iter().flatten().collect();
        let q_tile = Expr::Int(self.schedule.q_tile as i64);
        let most = Expr::Int(self.schedule.listed_tiles as i64);
        let all = self.extent(attend.key).ceil_div(Expr::Int(max as i64));
        let tiles = all.clone().ceil_div(most).max(Expr::Int(1));
        let capacity = all.ceil_div(tiles.clone());
        let mut dims: Vec<Expr> = rows.iter().map(|&var| self.extent(var)).collect();
        dims.push(self.extent(attend.query).ceil_div(q_tile.clone()));
        let counts = self.workspace("visited_count", Element::I32, dims.clone());
        dims.push(capacity.clone());
        let entries = self.workspace("visited", Element::I32, dims);
        let lists = TileLists { entries, counts, rows, tiles };
        self.fill_tile_lists(parts, &lists, max, capacity);
        Some(lists)
    }

    /// The kernel that tests pairs of tiles: one grid point a list.
    fn fill_tile_lists(&mut self, parts: &Parts<'_>, lists: &TileLists, max: usize, capacity: Expr) {
        let attend = parts.attend;
        let mut cx = Cx::new(Kernel::new("visited_tiles"));
        let mut env = self.list_rows(&mut cx, attend, &lists.rows);
        let (m, q_tile) = (self.extent(attend.query), Expr::Int(self.schedule.q_tile as i64));
        let block = cx.kernel.add_var("q_block", ScalarType::Int);
        let extent = m.clone().ceil_div(q_tile.clone());
        cx.kernel.grid.push(GridAxis { var: block, extent, descending: true });
        let block = Expr::Var(block);
        let mut at: Vec<Expr> = lists.rows.iter().map(|var| env.vars[var].clone()).collect();
        at.push(block.clone());
        self.bind_length(&mut cx, &mut env, attend);
        let first = cx.known("i0", ScalarType::Int, block * q_tile.clone());
        let count = cx.known("i_count", ScalarType::Int, (m - first.clone()).min(q_tile));
        let rows = Space::range(attend.query, first, count, parts.rows.max);
        let span = self.span(&mut cx, attend, &env, &rows);
        let own = Parts { env, rows, span, ..parts.clone() };

        let mut out = Vec::new();
        let (lo, hi) = self.common_bounds(&mut cx, &own);
        let hi = cx.set(&mut out, "hi", ScalarType::Int, hi);
        let tiles = cx.known("tiles_of_entry", ScalarType::Int, lists.tiles.clone());
        let keys = cx.known("keys_of_entry", ScalarType::Int, tiles.clone() * Expr::Int(max as i64));
        let mut int = |name: &str| cx.kernel.add_var(name, ScalarType::Int);
        let (entry, item, listed) = (int("entry"), int("item"), int("listed"));
        let start = Expr::Var(entry) * keys.clone();
        let last = hi.clone().min(start.clone() + keys.clone()) - Expr::Int(1);
        let mut tile = own.env.clone();
        Self::tile_edges(&mut tile, attend, own.span.clone(), (start, last));
        let (active, full) = self.classes(&mut cx, &own, &tile);
        let mut once = |value| self.once_a_tile(&mut cx, value, entry, None);
        let (active, full) = (once(active), once(full));
        let full = Expr::and(Expr::compare(Compare::Eq, tiles, Expr::Int(1)), full);
        let source = Expr::Var(entry) * Expr::Int(2) + full.then(Expr::Int(1), Expr::Int(0));
        out.push(Stmt::Set { var: listed, value: Expr::Int(0) });
        out.push(Stmt::Filter {
            var: entry,
            lo: lo.max(Expr::Int(0)).int_div(keys.clone()),
            hi: hi.ceil_div(keys),
            item,
            source,
            keep: active,
            tensor: lists.entries,
            index: at.clone(),
            limit: capacity,
            count: listed,
        });
        out.push(Stmt::StoreElem { tensor: lists.counts, index: at, value: Expr::Var(listed) });
        self.finish(cx.close(out));
    }

    /// Tiles of at most `max` keys, below `hi`, as the tile's list says.
    pub(super) fn walk_tile_list(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        parts: &Parts<'_>,
        lists: &TileLists,
        (hi, max): (Expr, usize),
    ) {
        let mut at: Vec<Expr> = lists.rows.iter().map(|var| parts.env.vars[var].clone()).collect();
        at.push(parts.list_block.clone());
        let tiles = cx.known("tiles_of_entry", ScalarType::Int, lists.tiles.clone());
        let keys = cx.known("keys_of_entry", ScalarType::Int, tiles.clone() * Expr::Int(max as i64));
        let total = cx.set(out, "listed", ScalarType::Int, Expr::load(lists.counts, at.clone()));
        let slot = cx.kernel.add_var("slot", ScalarType::Int);
        let mut body = Vec::new();
        let entry = Expr::load(lists.entries, at.into_iter().chain([Expr::Var(slot)]));
        let entry = cx.set(&mut body, "entry", ScalarType::Int, entry);
        let start = entry.clone().int_div(Expr::Int(2)) * keys.clone();
        let start = cx.set(&mut body, "entry_start", ScalarType::Int, start);
        let end = cx.set(&mut body, "entry_end", ScalarType::Int, hi.min(start.clone() + keys));
        let odd = Expr::binary(Binary::IntMod, entry, Expr::Int(2));
        let known = Known {
            alone: Expr::compare(Compare::Eq, tiles, Expr::Int(1)),
            full: Expr::compare(Compare::Eq, odd, Expr::Int(1)),
        };
        let first = cx.kernel.add_var(format!("{}0", self.var_name(parts.attend.key)), ScalarType::Int);
        let tile = self.key_tile(cx, parts, first, (end.clone(), max), Some(&known));
        body.push(Stmt::For { var: first, lo: start, hi: end, step: Expr::Int(max as i64), body: tile });
        out.push(Stmt::For { var: slot, lo: Expr::Int(0), hi: total, step: Expr::Int(1), body });
    }
}
