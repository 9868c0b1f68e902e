//! The keys alive in each tile of query rows, for key-interval masks that come from lifetimes.
//!
//! One grid point a row of the lifetimes walks its query tiles in order. The list of a tile is what survived of the list
//! before it, then the keys that entered since: work proportional to the lists, not to the sequence.
//!
//! Keys alive in all rows of the tile come first, then the others: a step over the first of them needs no mask.
//!
//! Lists have a fixed number of places: as many keys as can be alive at once, and one more for each further row of the
//! tile. Where that number is not proved (ids of classes may come back; many keys may enter at once), a tile that needs
//! more has the count -1 and is walked over all blocks instead.

use super::element::Cx;
use super::{Env, Lowering};
use crate::kernel::{Element, Expr, Kernel, ScalarType, Stmt, TensorId};
use dmac_ir::{Attend, Compare, Edge, NodeId, Op, Unary, Var};

/// The lists of a key-interval term.
pub(super) struct AliveLists {
    /// `[row..., tile, slot]` i32 keys.
    pub keys: TensorId,
    /// `[row..., tile]` i32.
    pub counts: TensorId,
    /// `[row..., tile]` i32: how many of the keys are alive in all rows of the tile.
    pub throughout: TensorId,
    /// The variables of a row.
    pub rows: Vec<Var>,
    /// Whether some count may be -1: more keys than places.
    pub may_overflow: bool,
}

/// A key-interval term: keys are attended from `enter` to `end`.
pub(super) struct Term {
    pub enter: NodeId,
    pub end: NodeId,
    /// Where keys enter one a position, in order: at their index and this.
    pub slope: Option<Expr>,
    /// How many keys are alive at once.
    pub alive: Expr,
}

/// A number of keys.
struct Alive {
    keys: Expr,
    /// Whether there are never more.
    proved: bool,
}

impl Lowering<'_> {
    /// The kernel that makes the lists of `term`, an `InRange(position, enter, end)`.
    pub(super) fn alive_lists(&mut self, attend: &Attend, term: NodeId) -> AliveLists {
        let operands = self.graph.operands(term);
        let (enter, end) = (operands[1], operands[2]);
        let outer = [attend.batch, attend.kv_head, attend.head];
        let rows: Vec<Var> = outer.into_iter().filter(|var| self.graph.free(term).contains(var)).collect();
        let tile = Expr::Int(self.schedule.q_tile as i64);
        let (m, n) = (self.extent(attend.query), self.extent(attend.key));
        let tiles = m.ceil_div(tile.clone());
        let slope = self.enters_in_order(enter, attend.key);
        let alive = self.alive_at_once(end, attend.key, slope.as_ref());
        let may_overflow = !alive.proved;
        let capacity = n.clone().min(alive.keys.clone() + tile);
        let mut dims: Vec<Expr> = rows.iter().map(|&var| self.extent(var)).collect();
        dims.push(tiles);
        let counts = self.workspace("alive_count", Element::I32, dims.clone());
        let throughout = self.workspace("alive_throughout", Element::I32, dims.clone());
        dims.push(capacity.clone());
        let keys = self.workspace("alive", Element::I32, dims);
        let lists = AliveLists { keys, counts, throughout, rows, may_overflow };
        let term = Term { enter, end, slope, alive: alive.keys };
        if self.schedule.parallel_selection {
            self.filter_lists(attend, &term, &lists, &capacity);
        } else {
            self.walk_tiles(attend, &term, &lists, capacity);
        }
        lists
    }

    /// Grid axes for the rows that have lists.
    pub(super) fn list_rows(&self, cx: &mut Cx, attend: &Attend, rows: &[Var]) -> Env {
        let mut env = Env::default();
        for &var in rows {
            let extent = self.extent(var);
            let at = self.grid_axis(cx, var, extent);
            env.vars.insert(var, at);
        }
        if let (true, false) = (rows.contains(&attend.head), rows.contains(&attend.kv_head)) {
            let group = self.extent(attend.head).int_div(self.extent(attend.kv_head));
            env.vars.insert(attend.kv_head, env.vars[&attend.head].clone().int_div(group));
        }
        env
    }

    /// One walk over the tiles in order, by one grid point a row.
    fn walk_tiles(&mut self, attend: &Attend, term: &Term, lists: &AliveLists, capacity: Expr) {
        let Term { enter, end, slope, .. } = term;
        let &AliveLists { keys, counts, throughout, ref rows, may_overflow } = lists;
        let tile = Expr::Int(self.schedule.q_tile as i64);
        let m = self.extent(attend.query);
        let tiles = m.clone().ceil_div(tile.clone());
        let mut cx = Cx::new(Kernel::new("alive_keys"));
        let env = self.list_rows(&mut cx, attend, rows);
        let length = self.key_length(attend.batch, &env);
        let length = cx.known("key_count", ScalarType::Int, length);
        let at = |extra: Vec<Expr>| -> Vec<Expr> {
            rows.iter().map(|var| env.vars[var].clone()).chain(extra).collect()
        };
        let mut int = |name: &str| cx.kernel.add_var(name, ScalarType::Int);
        let (tile_var, count, next, limit, slot, key, first, last) = (
            int("tile"),
            int("count"),
            int("next"),
            int("limit"),
            int("slot"),
            int("key"),
            int("first"),
            int("last"),
        );
        let v = Expr::Var;
        let inside = env.with(attend.key, v(key));
        let enters = self.scalar(&mut cx.kernel, *enter, &inside);
        let ends = self.scalar(&mut cx.kernel, *end, &inside);
        let when = |cond, then| Stmt::If { cond, then, otherwise: Vec::new() };
        let places = if may_overflow { cx.known("places", ScalarType::Int, capacity) } else { Expr::Int(0) };
        let push = |condition: Expr| {
            let index = at(vec![v(tile_var), v(count)]);
            let store = Stmt::StoreElem { tensor: keys, index, value: v(key) };
            let store =
                if may_overflow { when(Expr::lt(v(count), places.clone()), vec![store]) } else { store };
            when(condition, vec![store, Stmt::Set { var: count, value: v(count) + Expr::Int(1) }])
        };
        let each_key = |lo: Expr, hi: Expr, condition: Expr| Stmt::For {
            var: key,
            lo,
            hi,
            step: Expr::Int(1),
            body: vec![push(condition)],
        };
        let row0 = v(tile_var) * tile.clone();
        let offset = length.clone() - m.clone();
        let before = Expr::load(counts, at(vec![v(tile_var) - Expr::Int(1)]));
        let still = Expr::lt(v(first), ends.clone());
        let in_all_rows =
            Expr::and(Expr::compare(Compare::Le, enters.clone(), v(first)), Expr::lt(v(last), ends.clone()));
        let survivors = |which: &Expr| {
            let kept = Stmt::For {
                var: slot,
                lo: Expr::Int(0),
                hi: before.clone(),
                step: Expr::Int(1),
                body: vec![
                    Stmt::Set {
                        var: key,
                        value: Expr::load(keys, at(vec![v(tile_var) - Expr::Int(1), v(slot)])),
                    },
                    push(Expr::and(still.clone(), which.clone())),
                ],
            };
            if !may_overflow {
                return kept;
            }
            let entered = Expr::and(Expr::lt(enters.clone(), length.clone()), still.clone());
            Stmt::If {
                cond: Expr::lt(before.clone(), Expr::Int(0)),
                then: vec![each_key(Expr::Int(0), v(next), Expr::and(entered, which.clone()))],
                otherwise: vec![kept],
            }
        };
        // Keys enter in the order of their index, so those that entered by this tile's last row are a prefix.
        let (prelude, limit_of) = match slope {
            Some(shift) => (Vec::new(), v(last) + Expr::Int(1) - shift.clone()),
            None => {
                // For each tile the last key that enters in it, kept where its count will be.
                let entry = (enters.clone() - offset.clone()).max(Expr::Int(0)).int_div(tile.clone());
                let note =
                    Stmt::StoreElem { tensor: counts, index: at(vec![entry]), value: v(key) + Expr::Int(1) };
                let none =
                    Stmt::StoreElem { tensor: counts, index: at(vec![v(tile_var)]), value: Expr::Int(0) };
                let each = |var, hi, body| Stmt::For { var, lo: Expr::Int(0), hi, step: Expr::Int(1), body };
                let notes = each(
                    key,
                    length.clone(),
                    vec![when(Expr::lt(enters.clone(), length.clone()), vec![note])],
                );
                let prelude = vec![
                    each(tile_var, tiles.clone(), vec![none]),
                    when(Expr::lt(Expr::Int(0), tiles.clone()), vec![notes]),
                ];
                (prelude, Expr::load(counts, at(vec![v(tile_var)])))
            }
        };
        let fresh = Expr::and(
            Expr::lt(v(first).max(enters.clone()), ends.clone()),
            Expr::compare(Compare::Le, enters.clone(), v(last)),
        );
        let found = if may_overflow {
            Expr::lt(places.clone(), v(count)).then(Expr::Int(-1), v(count))
        } else {
            v(count)
        };
        let mut stmts = vec![
            Stmt::Set { var: first, value: row0.clone() + offset.clone() },
            Stmt::Set { var: last, value: (row0 + tile).min(m) + offset - Expr::Int(1) },
            Stmt::Set { var: count, value: Expr::Int(0) },
            Stmt::Set { var: limit, value: limit_of.max(v(next)).min(length.clone()) },
        ];
        let not_in_all = Expr::unary(Unary::Not, in_all_rows.clone());
        for (which, counted) in [(in_all_rows, Some(throughout)), (not_in_all, None)] {
            stmts.push(when(Expr::lt(Expr::Int(0), v(tile_var)), vec![survivors(&which)]));
            stmts.push(each_key(v(next), v(limit), Expr::and(fresh.clone(), which)));
            stmts.extend(counted.map(|tensor| Stmt::StoreElem {
                tensor,
                index: at(vec![v(tile_var)]),
                value: v(count),
            }));
        }
        stmts.push(Stmt::Set { var: next, value: v(limit) });
        stmts.push(Stmt::StoreElem { tensor: counts, index: at(vec![v(tile_var)]), value: found });
        let mut out = prelude;
        out.push(Stmt::Set { var: next, value: Expr::Int(0) });
        out.push(Stmt::For { var: tile_var, lo: Expr::Int(0), hi: tiles, step: Expr::Int(1), body: stmts });
        let kernel = cx.close(out);
        self.finish(kernel);
    }

    /// Where keys enter one a position, in order, `enter(key) = key + shift` for those that ever do: the shift.
    fn enters_in_order(&self, enter: NodeId, key: Var) -> Option<Expr> {
        match self.graph.op(enter) {
            Op::Index(var) if *var == key => Some(Expr::Int(0)),
            Op::If => {
                let operands = self.graph.operands(enter);
                let never = |id: NodeId| matches!(self.graph.op(id), Op::KeyLength { .. });
                match (operands[1], operands[2]) {
                    (x, y) if never(y) => self.enters_in_order(x, key),
                    (x, y) if never(x) => self.enters_in_order(y, key),
                    _ => None,
                }
            }
            Op::Binary(dmac_ir::Binary::Add) => {
                let operands = self.graph.operands(enter);
                let constant = |id: NodeId| match self.graph.op(id) {
                    Op::Int(value) => Some(Expr::Int(*value)),
                    Op::Param(id) => Some(Expr::Param(*id)),
                    _ => None,
                };
                let index = |id: NodeId| *self.graph.op(id) == Op::Index(key);
                match (operands[0], operands[1]) {
                    (x, y) if index(x) => constant(y),
                    (x, y) if index(y) => constant(x),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// How many keys are alive at one position, if they enter at `key + slope`: those that the selection behind a lifetime
    /// keeps and, besides, those that stay in any case: for a number of positions (`end = max(key + shift, ..)`), or all
    /// the first ones (`end = max(if key < first then length .., ..)`).
    fn alive_at_once(&mut self, end: NodeId, key: Var, slope: Option<&Expr>) -> Alive {
        let operands = self.graph.operands(end);
        let number = |this: &Self, id: NodeId| {
            this.scalar(&mut Kernel::new(""), id, &Env::default()).max(Expr::Int(0))
        };
        match self.graph.op(end) {
            Op::Read => match self.graph.op(operands[0]) {
                // Ids of classes may come back: then the keys of several classes live at once.
                Op::Lifetime { class, .. } => {
                    let keys = number(self, self.graph.operand(operands[0], 2));
                    Alive { keys, proved: !class && slope.is_some() }
                }
                _ => Alive { keys: Expr::Int(0), proved: false },
            },
            Op::Binary(dmac_ir::Binary::Max) => {
                let (x, y) = (operands[0], operands[1]);
                let x = self.alive_at_once(x, key, slope);
                let y = self.alive_at_once(y, key, slope);
                Alive { keys: x.keys + y.keys, proved: x.proved && y.proved }
            }
            Op::If => {
                let bound = |id: NodeId| {
                    !self.graph.free(id).contains(&key) && !matches!(self.graph.op(id), Op::Read)
                };
                match (self.first_keys(operands[0], key), bound(operands[1]) && bound(operands[2])) {
                    (Some(keys), true) => Alive { keys, proved: true },
                    _ => Alive { keys: Expr::Int(0), proved: false },
                }
            }
            _ => match (self.enters_in_order(end, key), slope) {
                (Some(shift), Some(slope)) => {
                    Alive { keys: (shift - slope.clone()).max(Expr::Int(0)), proved: true }
                }
                (Some(shift), None) => Alive { keys: shift.max(Expr::Int(0)), proved: false },
                _ => Alive { keys: Expr::Int(0), proved: false },
            },
        }
    }

    /// How many keys satisfy `key < first`.
    fn first_keys(&self, condition: NodeId, key: Var) -> Option<Expr> {
        let operands = self.graph.operands(condition);
        let (subject, first, more) = match self.graph.op(condition) {
            Op::Compare(Compare::Lt) => (operands[0], operands[1], 0),
            Op::Compare(Compare::Le) => (operands[0], operands[1], 1),
            Op::InRange => (operands[0], operands[2], 0),
            _ => return None,
        };
        if *self.graph.op(subject) != Op::Index(key) || !self.graph.free(first).is_empty() {
            return None;
        }
        let first = self.scalar(&mut Kernel::new(""), first, &Env::default());
        Some((first + Expr::Int(more)).max(Expr::Int(0)))
    }

    /// The environment of a tile of rows and keys, for skip predicates.
    pub(super) fn tile_edges(env: &mut Env, attend: &Attend, rows: (Expr, Expr), keys: (Expr, Expr)) {
        env.edges.insert((attend.query, Edge::First), rows.0);
        env.edges.insert((attend.query, Edge::Last), rows.1);
        env.edges.insert((attend.key, Edge::First), keys.0);
        env.edges.insert((attend.key, Edge::Last), keys.1);
    }
}
