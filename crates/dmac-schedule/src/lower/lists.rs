//! The keys alive in each tile of query rows, for key-interval masks that come from lifetimes.
//!
//! One grid point a row of the lifetimes walks its query tiles in order. The list of a tile is what survived of the list
//! before it, then the keys that entered since: work proportional to the lists, not to the sequence. With lifetimes of a
//! selection of `n` keys and one entering key a position, a list never exceeds `n` + the tile's rows.

use super::element::Cx;
use super::{Env, Lowering};
use crate::kernel::{Element, Expr, Kernel, ScalarType, Stmt, TensorId};
use dmac_ir::{Attend, Compare, Edge, NodeId, Op, Var};

/// The lists of a key-interval term.
pub(super) struct AliveLists {
    /// `[row..., tile, slot]` i32 keys.
    pub keys: TensorId,
    /// `[row..., tile]` i32.
    pub counts: TensorId,
    /// The variables of a row.
    pub rows: Vec<Var>,
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
        let tiles = m.clone().ceil_div(tile.clone());
        let slope = self.enters_in_order(enter, attend.key);
        let alive = slope.as_ref().and_then(|slope| self.alive_at_once(end, attend.key, slope));
        let capacity = alive.map_or(n.clone(), |alive| n.clone().min(alive + tile.clone()));
        let mut dims: Vec<Expr> = rows.iter().map(|&var| self.extent(var)).collect();
        dims.push(tiles.clone());
        let counts = self.workspace("alive_count", Element::I32, dims.clone());
        dims.push(capacity);
        let keys = self.workspace("alive", Element::I32, dims);

        let mut cx = Cx::new(Kernel::new("alive_keys"));
        let mut env = Env::default();
        for &var in &rows {
            let extent = self.extent(var);
            let at = self.grid_axis(&mut cx, var, extent);
            env.vars.insert(var, at);
        }
        if let (true, false) = (rows.contains(&attend.head), rows.contains(&attend.kv_head)) {
            let group = self.extent(attend.head).int_div(self.extent(attend.kv_head));
            env.vars.insert(attend.kv_head, env.vars[&attend.head].clone().int_div(group));
        }
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
        let enters = self.scalar(&mut cx.kernel, enter, &inside);
        let ends = self.scalar(&mut cx.kernel, end, &inside);
        let push = |condition: Expr| Stmt::If {
            cond: condition,
            then: vec![
                Stmt::StoreElem { tensor: keys, index: at(vec![v(tile_var), v(count)]), value: v(key) },
                Stmt::Set { var: count, value: v(count) + Expr::Int(1) },
            ],
            otherwise: Vec::new(),
        };
        let row0 = v(tile_var) * tile.clone();
        let offset = length.clone() - m.clone();
        let survivors = Stmt::If {
            cond: Expr::lt(Expr::Int(0), v(tile_var)),
            then: vec![Stmt::For {
                var: slot,
                lo: Expr::Int(0),
                hi: Expr::load(counts, at(vec![v(tile_var) - Expr::Int(1)])),
                step: Expr::Int(1),
                body: vec![
                    Stmt::Set {
                        var: key,
                        value: Expr::load(keys, at(vec![v(tile_var) - Expr::Int(1), v(slot)])),
                    },
                    push(Expr::lt(v(first), ends.clone())),
                ],
            }],
            otherwise: Vec::new(),
        };
        // Keys that entered by this tile's last row: a prefix where keys enter in order, else a test of each key that was
        // not taken before.
        let fresh = Expr::and(
            Expr::lt(v(first).max(enters.clone()), ends.clone()),
            Expr::compare(Compare::Le, enters.clone(), v(last)),
        );
        let (body, before) = match slope {
            Some(shift) => {
                let bound = (v(last) + Expr::Int(1) - shift).max(v(next)).min(length.clone());
                (
                    vec![
                        Stmt::Set { var: limit, value: bound },
                        survivors,
                        Stmt::For {
                            var: key,
                            lo: v(next),
                            hi: v(limit),
                            step: Expr::Int(1),
                            body: vec![push(fresh)],
                        },
                        Stmt::Set { var: next, value: v(limit) },
                    ],
                    vec![Stmt::Set { var: next, value: Expr::Int(0) }],
                )
            }
            None => (
                vec![Stmt::For {
                    var: key,
                    lo: Expr::Int(0),
                    hi: length.clone(),
                    step: Expr::Int(1),
                    body: vec![push(fresh)],
                }],
                Vec::new(),
            ),
        };
        let mut stmts = vec![
            Stmt::Set { var: first, value: row0.clone() + offset.clone() },
            Stmt::Set { var: last, value: (row0 + tile).min(m) + offset - Expr::Int(1) },
            Stmt::Set { var: count, value: Expr::Int(0) },
        ];
        stmts.extend(body);
        stmts.push(Stmt::StoreElem { tensor: counts, index: at(vec![v(tile_var)]), value: v(count) });
        let mut out = before;
        out.push(Stmt::For { var: tile_var, lo: Expr::Int(0), hi: tiles, step: Expr::Int(1), body: stmts });
        let kernel = cx.close(out);
        self.finish(kernel);
        AliveLists { keys, counts, rows }
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
    /// keeps and, where each key stays for a number of positions in any case (`end = max(key + shift, ..)`), that number
    /// more.
    fn alive_at_once(&mut self, end: NodeId, key: Var, slope: &Expr) -> Option<Expr> {
        let operands = self.graph.operands(end);
        match self.graph.op(end) {
            Op::Read if matches!(self.graph.op(operands[0]), Op::Lifetime { .. }) => {
                let count = self.graph.operand(operands[0], 2);
                let mut kernel = Kernel::new("");
                Some(self.scalar(&mut kernel, count, &Env::default()).max(Expr::Int(0)))
            }
            Op::Binary(dmac_ir::Binary::Max) => {
                let (x, y) = (operands[0], operands[1]);
                let (stays, end) = match (self.enters_in_order(x, key), self.enters_in_order(y, key)) {
                    (Some(shift), _) => (shift, y),
                    (_, Some(shift)) => (shift, x),
                    _ => return None,
                };
                let stays = (stays - slope.clone()).max(Expr::Int(0));
                Some(self.alive_at_once(end, key, slope)? + stays)
            }
            _ => None,
        }
    }

    /// The environment of a tile of rows and keys, for skip predicates.
    pub(super) fn tile_edges(env: &mut Env, attend: &Attend, rows: (Expr, Expr), keys: (Expr, Expr)) {
        env.edges.insert((attend.query, Edge::First), rows.0);
        env.edges.insert((attend.query, Edge::Last), rows.1);
        env.edges.insert((attend.key, Edge::First), keys.0);
        env.edges.insert((attend.key, Edge::Last), keys.1);
    }
}
