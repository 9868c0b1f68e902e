//! An attention as a kernel: a tile of query rows that walks over keys with online softmax.
//!
//! What is walked is data: tiles of consecutive keys between the bounds of the interval masks, the list of keys alive in
//! the tile, or the row's own list of keys or blocks. The rows of a tile are consecutive query rows of one head, or,
//! where each row has its own list, the heads that share it. Everything else is the same code.

use super::element::Cx;
use super::lists::AliveLists;
use super::{Env, Lowering, Space};
use crate::Reads;
use crate::kernel::{
    Element, Expr, GridAxis, Kernel, ScalarType, Space as Memory, Stmt, TensorId, TileId, VarId,
};
use dmac_ir::{
    Attend, Attendance, AxisKind, Binary, Compare, Field, Form, NodeId, Normalize, Op, Unary, Walk,
};

/// What the statements of one attention share.
#[derive(Clone)]
pub(super) struct Parts<'a> {
    pub attend: &'a Attend,
    pub view: Attendance<'a>,
    pub env: Env,
    pub rows: Space,
    /// Weights of a key tile multiply this many value features.
    pub features: usize,
    pub acc: TileId,
    /// Row vectors of the running maximum and sum, with online softmax.
    pub stats: Option<(TileId, TileId)>,
    /// Logical positions of the tile's first and last row.
    pub span: (Expr, Expr),
    /// Mask terms that the walk itself satisfies.
    pub covered: Vec<usize>,
    /// The tile's place in lists of tiles.
    pub list_block: Expr,
    /// Whether reads of rows and of keys are vectors. Two walks in one kernel leave no registers for them.
    pub vectors: bool,
}

impl Lowering<'_> {
    pub(super) fn lower_attend(&mut self, id: NodeId) {
        let Op::Attend(attend) = self.graph.op(id).clone() else { return };
        let operands = self.graph.operands(id);
        let view = Attendance { attend: &attend, operands: &operands };
        let walk = self.choose_walk(&attend, &view);
        let alive = match walk {
            Walk::AliveKeys(term) => Some(self.alive_lists(&attend, view.terms()[term as usize])),
            _ => None,
        };
        let mut cx = Cx::new(Kernel::new(format!("attend_{}", attend.name)));
        let (env, rows) = self.rows_of(&mut cx, &attend, &view, walk);
        cx.hoist_vars = [attend.batch, attend.head, attend.kv_head, attend.query].into_iter().collect();
        let span = self.span(&mut cx, &attend, &env, &rows);
        let features = self.static_extent(attend.feature).expect("E is known: checked before");
        let acc = cx.tile("acc", Element::F32, rows.max, features.max(1), Memory::Register);
        let online = matches!(attend.normalize, Normalize::Softmax | Normalize::SoftmaxSink);
        let stats = online.then(|| {
            (
                cx.tile("row_max", Element::F32, rows.max, 1, Memory::Register),
                cx.tile("row_sum", Element::F32, rows.max, 1, Memory::Register),
            )
        });
        let covered = match walk {
            Walk::RowKeys(term) | Walk::RowBlocks(term) => vec![term as usize],
            Walk::Blocks | Walk::AliveKeys(_) => Vec::new(),
        };
        let vectors =
            self.schedule.reads == Reads::ByVector && !alive.as_ref().is_some_and(|lists| lists.may_overflow);
        let attend = &attend;
        // Tiles of rows are the axis of their own that starts with the last.
        let block = cx.kernel.grid.iter().find(|axis| axis.descending).map(|axis| axis.var);
        let list_block = Expr::Var(block.expect("an attention has tiles of rows"));
        let parts =
            Parts { attend, view, env, rows, features, acc, stats, span, covered, list_block, vectors };

        let mut out = Vec::new();
        self.initialize(&mut cx, &mut out, &parts);
        match walk {
            Walk::Blocks => self.walk_blocks(&mut cx, &mut out, &parts),
            Walk::AliveKeys(_) => {
                let lists = alive.expect("made above");
                self.walk_alive(&mut cx, &mut out, &parts, &lists);
            }
            Walk::RowKeys(term) => self.walk_row_keys(&mut cx, &mut out, &parts, term as usize),
            Walk::RowBlocks(term) => self.walk_row_blocks(&mut cx, &mut out, &parts, term as usize),
        }
        self.finalize(&mut cx, &mut out, &parts, id);
        self.finish(cx.close(out));
    }

    /// The logical positions of a tile's first and last row.
    pub(super) fn span(&mut self, cx: &mut Cx, attend: &Attend, env: &Env, rows: &Space) -> (Expr, Expr) {
        let at = env.rows(rows);
        let position = self.position(attend.query, attend.batch, &at);
        let row_at = |row: Expr| position.replace(&|x| (*x == Expr::Row).then(|| row.clone()));
        let span = (row_at(Expr::Int(0)), row_at(rows.count.clone() - Expr::Int(1)));
        (
            cx.known("first_position", ScalarType::Int, span.0),
            cx.known("last_position", ScalarType::Int, span.1),
        )
    }

    /// The walk that the tiling pass chose, where its lists say all that is attended.
    fn choose_walk(&self, attend: &Attend, view: &Attendance<'_>) -> Walk {
        let walk = attend.tiling.map_or(Walk::Blocks, |tiling| tiling.walk);
        if let Walk::RowKeys(term) | Walk::RowBlocks(term) = walk {
            let set = self.graph.operand(view.terms()[term as usize], 0);
            let Op::Select(select) = self.graph.op(set) else { return Walk::Blocks };
            if select.plus {
                return Walk::Blocks;
            }
        }
        walk
    }

    /// The grid, and the rows of a tile.
    fn rows_of(&mut self, cx: &mut Cx, attend: &Attend, view: &Attendance<'_>, walk: Walk) -> (Env, Space) {
        let mut env = Env::default();
        let by_row = match walk {
            Walk::RowKeys(term) | Walk::RowBlocks(term) => {
                let set = self.graph.operand(view.terms()[term as usize], 0);
                match self.graph.op(set) {
                    Op::Select(select) if select.rows.contains(&attend.query) => Some(select.rows.clone()),
                    _ => None,
                }
            }
            _ => None,
        };
        let (batches, heads, groups) =
            (self.extent(attend.batch), self.extent(attend.head), self.extent(attend.kv_head));
        let group = heads.clone().int_div(groups.clone());
        let group = cx.known("group_size", ScalarType::Int, group);
        let grid = |cx: &mut Cx, name: &str, extent: Expr, descending: bool| {
            let var = cx.kernel.add_var(name, ScalarType::Int);
            cx.kernel.grid.push(GridAxis { var, extent, descending });
            var
        };
        if let Some(rows) = by_row {
            // One query row a point; the heads that share its list are the rows of the tile.
            let i = grid(cx, "i", self.extent(attend.query), true);
            let b = grid(cx, "b", batches, false);
            env.vars.insert(attend.query, Expr::Var(i));
            env.vars.insert(attend.batch, Expr::Var(b));
            self.bind_length(cx, &mut env, attend);
            if rows.contains(&attend.head) {
                let h = grid(cx, "h", heads, false);
                env.vars.insert(attend.head, Expr::Var(h));
                let g = cx.known("g", ScalarType::Int, Expr::Var(h).int_div(group));
                env.vars.insert(attend.kv_head, g);
                return (env, Space::unit());
            }
            let max = self.schedule.head_tile;
            let chunks = (heads.int_div(groups.clone().max(Expr::Int(1)))).ceil_div(Expr::Int(max as i64));
            let g = grid(cx, "g", groups, false);
            let chunk = grid(cx, "head_block", chunks, false);
            env.vars.insert(attend.kv_head, Expr::Var(g));
            let within = Expr::Var(chunk) * Expr::Int(max as i64);
            let first = cx.known("h0", ScalarType::Int, Expr::Var(g) * group.clone() + within.clone());
            let count = cx.known("h_count", ScalarType::Int, (group - within).min(Expr::Int(max as i64)));
            return (env, Space::range(attend.head, first, count, max));
        }
        let max = self
            .static_extent(attend.query)
            .map_or(self.schedule.q_tile, |m| m.clamp(1, self.schedule.q_tile));
        let tile = self.schedule.q_tile;
        debug_assert!(max <= tile);
        let m = self.extent(attend.query);
        let block = grid(cx, "q_block", m.clone().ceil_div(Expr::Int(tile as i64)), true);
        let b = grid(cx, "b", batches, false);
        let h = grid(cx, "h", heads, false);
        env.vars.insert(attend.batch, Expr::Var(b));
        env.vars.insert(attend.head, Expr::Var(h));
        let g = cx.known("g", ScalarType::Int, Expr::Var(h).int_div(group));
        env.vars.insert(attend.kv_head, g);
        self.bind_length(cx, &mut env, attend);
        let first = cx.known("i0", ScalarType::Int, Expr::Var(block) * Expr::Int(tile as i64));
        let count = (m - first.clone()).min(Expr::Int(tile as i64));
        let count = cx.known("i_count", ScalarType::Int, count);
        if matches!(walk, Walk::AliveKeys(_)) {
            // Neighbouring tiles of rows share most of their keys: the tiles of a head are neighbours in the grid, and what one
            // gathered is in the cache for the next.
            cx.kernel.grid.rotate_left(1);
        }
        (env, Space::range(attend.query, first, count, max))
    }

    pub(super) fn bind_length(&self, cx: &mut Cx, env: &mut Env, attend: &Attend) {
        let length = Expr::load(self.program.key_lengths(), [env.vars[&attend.batch].clone()]);
        if let Expr::Var(var) = cx.known("key_count", ScalarType::Int, length) {
            env.key_length = Some((attend.batch, var));
        }
    }

    fn initialize(&mut self, cx: &mut Cx, out: &mut Vec<Stmt>, parts: &Parts<'_>) {
        out.push(Stmt::Fill { tile: parts.acc, value: Expr::float(0.0) });
        let Some((row_max, row_sum)) = parts.stats else { return };
        match parts.view.sink() {
            None => {
                out.push(Stmt::Fill { tile: row_max, value: Expr::float(f32::NEG_INFINITY) });
                out.push(Stmt::Fill { tile: row_sum, value: Expr::float(0.0) });
            }
            Some(sink) => {
                // One more attended logit, without a value: it starts the running maximum and counts one.
                let body = self.scalar(&mut cx.kernel, sink, &parts.env.rows(&parts.rows));
                let empty = Expr::compare(Compare::Eq, Expr::Elem(row_max), Expr::float(f32::NEG_INFINITY));
                out.push(self.per_row(parts, row_max, body));
                out.push(self.per_row(parts, row_sum, empty.then(Expr::float(0.0), Expr::float(1.0))));
            }
        }
    }

    pub(super) fn per_row(&self, parts: &Parts<'_>, dst: TileId, body: Expr) -> Stmt {
        Stmt::Map { dst, rows: parts.rows.count.clone(), cols: Expr::Int(1), body }
    }

    /// Tiles of consecutive keys: those of a list, where the mask consults memory; otherwise all between the bounds of the
    /// interval terms.
    fn walk_blocks(&mut self, cx: &mut Cx, out: &mut Vec<Stmt>, parts: &Parts<'_>) {
        let max = self.key_tile_size(parts.attend);
        let Some(lists) = self.tile_lists(parts, max) else { return self.walk_ranges(cx, out, parts) };
        let (_, hi) = self.common_bounds(cx, parts);
        let hi = cx.set(out, "hi", ScalarType::Int, hi);
        self.walk_tile_list(cx, out, parts, &lists, (hi, max));
    }

    fn key_tile_size(&self, attend: &Attend) -> usize {
        let tile = self.schedule.kv_tile;
        self.static_extent(attend.key).map_or(tile, |size| size.clamp(1, tile))
    }

    /// What all interval terms leave of the keys.
    pub(super) fn common_bounds(&mut self, cx: &mut Cx, parts: &Parts<'_>) -> (Expr, Expr) {
        let mut common = (Expr::Int(0), self.extent(parts.attend.key));
        for (&term, &form) in parts.view.terms().iter().zip(&parts.attend.forms) {
            if form == Form::Interval {
                let (lo, hi) = self.bounds(cx, term, parts);
                common = (common.0.max(lo), common.1.min(hi));
            }
        }
        common
    }

    /// Tiles of consecutive keys between the bounds of the interval terms, or of the parts of one that are intervals.
    fn walk_ranges(&mut self, cx: &mut Cx, out: &mut Vec<Stmt>, parts: &Parts<'_>) {
        let attend = parts.attend;
        let common = self.common_bounds(cx, parts);
        let mut ranges: Vec<(Expr, Expr)> = Vec::new();
        let united = parts.view.terms().iter().zip(&attend.forms).find(|(_, form)| **form == Form::Intervals);
        let mut stack: Vec<NodeId> = united.into_iter().map(|(&term, _)| term).collect();
        while let Some(node) = stack.pop() {
            if *self.graph.op(node) == Op::Binary(Binary::Or) {
                stack.extend(self.graph.operands(node).into_iter().rev());
            } else {
                ranges.push(self.bounds(cx, node, parts));
            }
        }
        let max = self.key_tile_size(attend);
        let first = cx.kernel.add_var(format!("{}0", self.var_name(attend.key)), ScalarType::Int);
        let align = Expr::Int(self.schedule.kv_align.clamp(1, max) as i64);
        let down = |x: Expr| x.int_div(align.clone()) * align.clone();
        if ranges.is_empty() {
            let lo = cx.set(out, "lo", ScalarType::Int, down(common.0));
            let hi = cx.set(out, "hi", ScalarType::Int, common.1);
            self.key_tiles(cx, out, parts, first, (lo, hi), max);
            return;
        }
        // Several intervals, each cut to what none of those before it covers. All of them begin and end at edges of the same
        // grid, so that a key is visited once.
        let all = ranges
            .iter()
            .map(|(_, hi)| hi.clone())
            .reduce(Expr::max)
            .map_or(common.1.clone(), |hi| common.1.min(hi));
        let all = cx.set(out, "hi", ScalarType::Int, all);
        let mut covered: Vec<(Expr, Expr)> = Vec::new();
        for (lo, hi) in ranges {
            let lo = cx.set(out, "range_start", ScalarType::Int, down(common.0.clone().max(lo)));
            let hi = hi.ceil_div(align.clone()) * align.clone();
            let hi = cx.set(out, "range_end", ScalarType::Int, hi.max(lo.clone()));
            let mut pieces = vec![(lo.clone(), hi.clone())];
            for (start, end) in &covered {
                pieces = pieces
                    .into_iter()
                    .flat_map(|(lo, hi)| {
                        [(lo.clone(), hi.clone().min(start.clone())), (lo.max(end.clone()), hi)]
                    })
                    .collect();
            }
            for (lo, hi) in pieces {
                let lo = cx.set(out, "lo", ScalarType::Int, lo);
                let hi = cx.set(out, "piece_end", ScalarType::Int, hi.min(all.clone()));
                self.key_tiles(cx, out, parts, first, (lo, hi), max);
            }
            covered.push((lo, hi));
        }
    }

    /// The tiles of consecutive keys of a range.
    fn key_tiles(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        parts: &Parts<'_>,
        first: VarId,
        (lo, hi): (Expr, Expr),
        max: usize,
    ) {
        let body = self.key_tile(cx, parts, first, (hi.clone(), max), None);
        out.push(Stmt::For { var: first, lo, hi, step: Expr::Int(max as i64), body });
    }

    /// The keys that an interval term lets some row of the tile attend: its bounds do not decrease with the position.
    fn bounds(&mut self, cx: &mut Cx, term: NodeId, parts: &Parts<'_>) -> (Expr, Expr) {
        let operands = self.graph.operands(term);
        let at = parts.env.rows(&parts.rows);
        let mut edge = |row: Expr, node: NodeId| {
            let value = self.scalar(&mut cx.kernel, node, &at);
            value.replace(&|x| (*x == Expr::Row).then(|| row.clone()))
        };
        let lo = edge(Expr::Int(0), operands[1]);
        let hi = edge(parts.rows.count.clone() - Expr::Int(1), operands[2]);
        (lo, hi)
    }

    /// Tiles of a list of keys. `at` are the list's leading indices.
    fn walk_list(
        &mut self,
        cx: &mut Cx,
        out: &mut Vec<Stmt>,
        parts: &Parts<'_>,
        (keys, counts, throughout): (TensorId, TensorId, Option<TensorId>),
        at: Vec<Expr>,
    ) {
        let max = self.schedule.kv_tile;
        let total = cx.set(out, "listed", ScalarType::Int, Expr::load(counts, at.clone()));
        let whole = throughout
            .map(|tensor| cx.set(out, "throughout", ScalarType::Int, Expr::load(tensor, at.clone())));
        let slot = cx.kernel.add_var("slot0", ScalarType::Int);
        let mut body = Vec::new();
        let count = (total.clone() - Expr::Var(slot)).min(Expr::Int(max as i64));
        let count = cx.set(&mut body, "cols", ScalarType::Int, count);
        let key = Expr::load(keys, at.into_iter().chain([Expr::Var(slot) + Expr::Row]));
        let cols = Space { vars: vec![(parts.attend.key, key)], count, max };
        let env = parts.env.clone();
        let end = Expr::Var(slot) + cols.count.clone();
        let full = whole.map_or(Expr::Bool(false), |whole| Expr::compare(Compare::Le, end, whole));
        self.visit(cx, &mut body, parts, (&env, None), &cols, full);
        out.push(Stmt::For { var: slot, lo: Expr::Int(0), hi: total, step: Expr::Int(max as i64), body });
    }

    fn walk_alive(&mut self, cx: &mut Cx, out: &mut Vec<Stmt>, parts: &Parts<'_>, lists: &AliveLists) {
        let mut at: Vec<Expr> = lists.rows.iter().map(|var| parts.env.vars[var].clone()).collect();
        at.push(parts.list_block.clone());
        // Keys alive in all rows need no mask, where there is no other term.
        let throughout = (parts.view.terms().len() == 1).then_some(lists.throughout);
        let list = (lists.keys, lists.counts, throughout);
        if !lists.may_overflow {
            self.walk_list(cx, out, parts, list, at);
            return;
        }
        let too_many = Expr::lt(Expr::load(lists.counts, at.clone()), Expr::Int(0));
        let (mut then, mut otherwise) = (Vec::new(), Vec::new());
        self.walk_ranges(cx, &mut then, parts);
        self.walk_list(cx, &mut otherwise, parts, list, at);
        out.push(Stmt::If { cond: too_many, then, otherwise });
    }

    /// The row indices of a selection's set, where they are fixed for the tile.
    fn set_rows(&self, term: NodeId, parts: &Parts<'_>) -> (NodeId, Vec<Expr>) {
        let set = self.graph.operand(term, 0);
        let Op::Select(select) = self.graph.op(set) else { panic!("lower: not a selection") };
        let row =
            |var| parts.env.vars.get(var).cloned().unwrap_or_else(|| panic!("lower: a list of many rows"));
        (set, select.rows.iter().map(row).collect())
    }

    fn walk_row_keys(&mut self, cx: &mut Cx, out: &mut Vec<Stmt>, parts: &Parts<'_>, term: usize) {
        let (set, at) = self.set_rows(parts.view.terms()[term], parts);
        let list = self.lists[&set];
        self.walk_list(cx, out, parts, (list.items, list.counts, None), at);
    }

    fn walk_row_blocks(&mut self, cx: &mut Cx, out: &mut Vec<Stmt>, parts: &Parts<'_>, term: usize) {
        let (set, at) = self.set_rows(parts.view.terms()[term], parts);
        let list = self.lists[&set];
        let Op::Select(select) = self.graph.op(set) else { panic!("lower: not a selection") };
        let AxisKind::Blocks { length, .. } = &self.graph.axis(self.graph.axis_of(select.over)).kind else {
            panic!("lower: a list of blocks is over blocks");
        };
        let length = self.size(length);
        let total = cx.set(out, "listed", ScalarType::Int, Expr::load(list.counts, at.clone()));
        let slot = cx.kernel.add_var("slot", ScalarType::Int);
        let mut body = Vec::new();
        let block = Expr::load(list.items, at.into_iter().chain([Expr::Var(slot)]));
        let start = cx.set(&mut body, "block_start", ScalarType::Int, block * length.clone());
        let end = (start.clone() + length.clone()).min(self.extent(parts.attend.key));
        let end = cx.set(&mut body, "block_end", ScalarType::Int, end);
        let tile = self.schedule.kv_tile;
        let max = match length {
            Expr::Int(length) => (length.max(1) as usize).min(tile),
            _ => tile,
        };
        let first = cx.kernel.add_var(format!("{}0", self.var_name(parts.attend.key)), ScalarType::Int);
        let tile_body = self.key_tile(cx, parts, first, (end.clone(), max), None);
        body.push(Stmt::For { var: first, lo: start, hi: end, step: Expr::Int(max as i64), body: tile_body });
        out.push(Stmt::For { var: slot, lo: Expr::Int(0), hi: total, step: Expr::Int(1), body });
    }

    /// Divides by the row sums and stores the result and what statistics are asked for.
    fn finalize(&mut self, cx: &mut Cx, out: &mut Vec<Stmt>, parts: &Parts<'_>, id: NodeId) {
        let attend = parts.attend;
        let at = parts.env.rows(&parts.rows);
        let row: Vec<Expr> =
            [attend.batch, attend.head, attend.query].iter().map(|var| at.vars[var].clone()).collect();
        if let Some((row_max, row_sum)) = parts.stats {
            for (field, name) in [(Field::Lse, "lse"), (Field::RowMax, "row_max")] {
                let Some(node) = self.field(id, field) else { continue };
                let name =
                    if attend.name == "out" { name.to_owned() } else { format!("{}_{name}", attend.name) };
                let tensor = self.store(node, &name, Element::F32);
                let src = if field == Field::Lse {
                    let lse = cx.tile("lse", Element::F32, parts.rows.max, 1, Memory::Register);
                    let value = Expr::Elem(row_max) + Expr::unary(Unary::Log, Expr::Elem(row_sum));
                    let empty = Expr::compare(Compare::Eq, Expr::Elem(row_sum), Expr::float(0.0));
                    out.push(self.per_row(parts, lse, empty.then(Expr::float(f32::NEG_INFINITY), value)));
                    lse
                } else {
                    row_max
                };
                out.push(Stmt::Store {
                    tensor,
                    index: row.clone(),
                    src,
                    rows: parts.rows.count.clone(),
                    cols: Expr::Int(1),
                });
            }
            let empty = Expr::compare(Compare::Eq, Expr::Elem(row_sum), Expr::float(0.0));
            let inverse = Expr::binary(Binary::Div, Expr::float(1.0), Expr::Elem(row_sum));
            let factor = cx.tile("inverse_sum", Element::F32, parts.rows.max, 1, Memory::Register);
            out.push(self.per_row(parts, factor, empty.then(Expr::float(0.0), inverse)));
            out.push(Stmt::Map {
                dst: parts.acc,
                rows: parts.rows.count.clone(),
                cols: Expr::Int(parts.features as i64),
                body: Expr::Elem(parts.acc) * Expr::Elem(factor),
            });
        }
        if let Some(node) = self.field(id, Field::Out) {
            let tensor = self.store(node, &attend.name, Element::F32);
            let index = row.into_iter().chain([Expr::Col]).collect();
            out.push(Stmt::Store {
                tensor,
                index,
                src: parts.acc,
                rows: parts.rows.count.clone(),
                cols: Expr::Int(parts.features as i64),
            });
        }
    }
}
