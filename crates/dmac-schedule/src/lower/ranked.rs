//! Lifetimes by sorting: every key at once, for targets of many threads.
//!
//! Input → output: a lifetime node → kernels of one grid point a key, which store `end[row, key]`. Key x falls out where
//! the n-th key, in the order of the index, of those that beat it enters. With all keys sorted, best first, those that beat
//! x are the first r, so the question is: *which is the n-th smallest index among the first r of the sorted order?*
//!
//! A merge sort from the order of the index answers it on the way. Its round `l` merges neighbouring runs of `2^l` keys;
//! for each place of a merged run it notes how many keys up to there come from the left run, the one of lower indices.
//! From the whole down, n is compared with that number at place r: the wanted key is in the left run, or in the right
//! one, and r becomes a place of that run. (The notes are a wavelet tree over indices.) A place in a merge is found by a
//! binary search in the other run, so no statement but a store depends on another thread: no atomics, no scans.
//!
//! O(n log² n) work in the searches, which read neighbouring places of neighbouring keys; 4 (3 + log n) bytes a key. With
//! n = 131,072 and 16 rows: 17 rounds of 20 bytes a key and round are 0.7 GB, 0.3 ms at 3 TB/s with launches; the searches
//! are 320 million reads of caches.
//!
//! **Forced keys** come before all others. **Classes** are the first criterion of the order, so keys compete with a range
//! of places, and the last key of a class, with which it ends, is the largest index of its range. **Keys that never
//! enter** come last in their class and beat nobody.

use super::element::Cx;
use super::{Env, Lowering};
use crate::kernel::{Element, Expr, Kernel, Rounds, ScalarType, Selection, Stmt, TensorId, VarId};
use dmac_ir::{Binary, Compare, NodeId, Op, Ties, Unary, Var};

/// The sorted keys in memory. All are `[.., row..., place]`; the first axis is one of two buffers, or the round.
struct Sorted {
    keys: TensorId,
    /// [`Expr::Order`] of the scores.
    scores: TensorId,
    lefts: TensorId,
}

/// A lifetime node, taken apart.
struct Lifetime {
    rows: Vec<Var>,
    over: Var,
    batch: Var,
    ties: Ties,
    score: NodeId,
    enter: NodeId,
    count: NodeId,
    forcing: Option<NodeId>,
    class: Option<NodeId>,
    /// Whether every key enters.
    all_enter: bool,
}

/// A kernel with one point a key, in terms of the lifetime.
struct Points {
    cx: Cx,
    env: Env,
    row: Vec<Expr>,
    place: Expr,
    length: Expr,
}

/// What the order compares.
struct Member {
    score: Expr,
    enters: Option<Expr>,
    forced: Option<Expr>,
    class: Option<Expr>,
}

fn when(cond: Expr, then: Vec<Stmt>) -> Stmt {
    Stmt::If { cond, then, otherwise: Vec::new() }
}

fn set(var: VarId, value: Expr) -> Stmt {
    Stmt::Set { var, value }
}

fn upto(var: VarId, hi: Expr, body: Vec<Stmt>) -> Stmt {
    Stmt::For { var, lo: Expr::Int(0), hi, step: Expr::Int(1), body }
}

fn not(x: Expr) -> Expr {
    Expr::unary(Unary::Not, x)
}

impl Member {
    /// Whether this one stands before `other`, whose score is lower by 1 where equal ones do.
    fn before(&self, other: &Self) -> Expr {
        let score = Expr::lt(other.score.clone(), self.score.clone());
        // Where one of two conditions holds, whoever satisfies it comes first.
        let first = |own: &Option<Expr>, other: &Option<Expr>, rest: Expr| match (own, other) {
            (Some(own), Some(other)) => own
                .clone()
                .then(Expr::or(not(other.clone()), rest.clone()), Expr::and(not(other.clone()), rest)),
            _ => rest,
        };
        let rest = first(&self.forced, &other.forced, score);
        let rest = first(&self.enters, &other.enters, rest);
        match (&self.class, &other.class) {
            (Some(own), Some(other)) => Expr::compare(Compare::Eq, own.clone(), other.clone())
                .then(rest, Expr::lt(own.clone(), other.clone())),
            _ => rest,
        }
    }
}

impl Points {
    fn int(&mut self, name: &str) -> VarId {
        self.cx.kernel.add_var(name, ScalarType::Int)
    }

    /// `[buffer, row..., place]`.
    fn at(&self, buffer: Expr, place: Expr) -> Vec<Expr> {
        std::iter::once(buffer).chain(self.row.iter().cloned()).chain([place]).collect()
    }

    /// The first of the places `lo .. hi` for which `beyond(place)` does not hold, where it holds for those before:
    /// `lo` becomes it.
    fn search(
        &mut self,
        lo: VarId,
        hi: VarId,
        steps: Expr,
        middle: VarId,
        beyond: (Vec<Stmt>, Expr),
    ) -> Stmt {
        let step = self.int("step");
        let (lo_value, hi_value) = (Expr::Var(lo), Expr::Var(hi));
        let mut body = vec![set(middle, (lo_value.clone() + hi_value.clone()).int_div(Expr::Int(2)))];
        body.extend(beyond.0);
        body.push(Stmt::If {
            cond: beyond.1,
            then: vec![set(lo, Expr::Var(middle) + Expr::Int(1))],
            otherwise: vec![set(hi, Expr::Var(middle))],
        });
        upto(step, steps, vec![when(Expr::lt(lo_value, hi_value), body)])
    }
}

impl Lowering<'_> {
    /// The kernels of a lifetime: fill, merge, search.
    pub(super) fn lower_ranked_lifetime(&mut self, id: NodeId) {
        let Op::Lifetime { rows, over, ties, batch, forcing, class } = self.graph.op(id).clone() else {
            return;
        };
        let operands = self.graph.operands(id).clone();
        let life = Lifetime {
            rows,
            over,
            batch,
            ties,
            score: operands[0],
            enter: operands[1],
            count: operands[2],
            forcing: forcing.then(|| operands[3]),
            class: class.then(|| operands[operands.len() - 1]),
            all_enter: *self.graph.op(operands[1]) == Op::Index(over),
        };
        let end = self.store(id, "end", Element::I32);
        self.program.selections.push(Selection::Ends { node: id, ends: end });
        let levels = self.extent(over).ceil_log2();
        let mut tensor = |name: &str, element, first: Expr| {
            let rest = life.rows.iter().chain([&over]).map(|&var| self.extent(var));
            let dims = std::iter::once(first).chain(rest).collect();
            self.workspace(name, element, dims)
        };
        let sorted = Sorted {
            keys: tensor("sorted", Element::I32, Expr::Int(2)),
            scores: tensor("sorted_score", Element::I32, Expr::Int(2)),
            lefts: tensor("from_left", Element::I32, levels.clone()),
        };
        self.fill_sorted(&life, &sorted);
        self.merge_sorted(&life, &sorted, levels.clone());
        self.find_ends(&life, &sorted, end, &levels);
    }

    fn points(&self, life: &Lifetime, name: &str, place: &str) -> Points {
        let mut cx = Cx::new(Kernel::new(name));
        let mut env = Env::default();
        for &var in &life.rows {
            let extent = self.extent(var);
            let at = self.grid_axis(&mut cx, var, extent);
            env.vars.insert(var, at);
        }
        let at = cx.kernel.add_var(place, ScalarType::Int);
        let extent = self.extent(life.over);
        cx.kernel.grid.push(crate::kernel::GridAxis { var: at, extent, descending: false });
        self.bind_kv_head(&mut env);
        let length = self.key_length(life.batch, &env);
        let length = cx.known("key_count", ScalarType::Int, length);
        if let Expr::Var(var) = length {
            env.key_length = Some((life.batch, var));
        }
        let row = life.rows.iter().map(|var| env.vars[var].clone()).collect();
        Points { cx, env, row, place: Expr::Var(at), length }
    }

    /// What the order compares of the key at a place, and what to do before: set `key` and `score`.
    fn member(
        &self,
        life: &Lifetime,
        sorted: &Sorted,
        points: &mut Points,
        (buffer, place): (Expr, Expr),
        name: &str,
    ) -> (Vec<Stmt>, Member) {
        let key = points.int(&format!("{name}_key"));
        let score = points.int(&format!("{name}_score"));
        let at = points.at(buffer, place);
        let mut stmts = Vec::new();
        if !life.all_enter || life.forcing.is_some() || life.class.is_some() {
            stmts.push(set(key, Expr::load(sorted.keys, at.clone())));
        }
        stmts.push(set(score, Expr::load(sorted.scores, at)));
        let inside = points.env.with(life.over, Expr::Var(key));
        let kernel = &mut points.cx.kernel;
        let enters = (!life.all_enter).then(|| {
            let enter = self.scalar(kernel, life.enter, &inside);
            Expr::lt(enter, points.length.clone())
        });
        let forced = life.forcing.map(|node| self.scalar(kernel, node, &inside));
        let class = life.class.map(|node| self.scalar(kernel, node, &inside));
        (stmts, Member { score: Expr::Var(score), enters, forced, class })
    }

    /// Keys in the order of their index.
    fn fill_sorted(&mut self, life: &Lifetime, sorted: &Sorted) {
        let mut points = self.points(life, "rank_start", self.var_name(life.over));
        let place = points.place.clone();
        let inside = points.env.with(life.over, place.clone());
        let score = Expr::Order(Box::new(self.scalar(&mut points.cx.kernel, life.score, &inside)));
        let index = points.at(Expr::Int(0), place.clone());
        let stmts = vec![
            Stmt::StoreElem { tensor: sorted.keys, index: index.clone(), value: place.clone() },
            Stmt::StoreElem { tensor: sorted.scores, index, value: score },
        ];
        let out = vec![when(Expr::lt(place, points.length.clone()), stmts)];
        self.finish(points.cx.close(out));
    }

    /// One round: runs of `half` keys are merged in pairs, from one buffer to the other.
    fn merge_sorted(&mut self, life: &Lifetime, sorted: &Sorted, levels: Expr) {
        let mut points = self.points(life, "rank_merge", "place");
        let v = Expr::Var;
        let place = points.place.clone();
        let level = points.int("level");
        points.cx.kernel.rounds = Some(Rounds { var: level, count: levels, doubling: true });
        let (run, middle, stop) = (points.int("run"), points.int("middle"), points.int("stop"));
        let from_left = points.cx.kernel.add_var("from_left", ScalarType::Bool);
        let (lo, hi, probe) = (points.int("lo"), points.int("hi"), points.int("probe"));
        let (own, target) = (points.int("own"), points.int("target"));
        let source = Expr::binary(Binary::IntMod, v(level), Expr::Int(2));
        let length = points.length.clone();
        let (half, whole) = (v(level).pow2(), (v(level) + Expr::Int(1)).pow2());
        let (before_own, own_member) =
            self.member(life, sorted, &mut points, (source.clone(), place.clone()), "own");
        let (before_probe, probed) =
            self.member(life, sorted, &mut points, (source.clone(), v(probe)), "other");
        // Equal ones: the keys of the right run have the higher indices.
        let other_wins = match life.ties {
            Ties::High => v(from_left),
            Ties::Low => not(v(from_left)),
        };
        let beats = probed.before(&own_member);
        let search = points.search(lo, hi, v(level) + Expr::Int(1), probe, (before_probe, beats));
        let start = v(from_left).then(v(run), v(middle));
        let other_start = v(from_left).then(v(middle), v(run));
        let lefts = v(from_left).then(v(own) + Expr::Int(1), v(lo) - other_start.clone());
        let mut stmts = vec![
            set(run, place.clone().int_div(whole.clone()) * whole.clone()),
            set(middle, (v(run) + half).min(length.clone())),
            set(stop, (v(run) + whole).min(length.clone())),
            set(from_left, Expr::lt(place.clone(), v(middle))),
            set(own, place.clone() - start),
            set(lo, other_start.clone()),
            set(hi, v(from_left).then(v(stop), v(middle))),
        ];
        stmts.extend(before_own);
        if let Expr::Var(score) = own_member.score {
            stmts.push(set(score, v(score) - Expr::cast(ScalarType::Int, other_wins)));
        }
        stmts.push(search);
        stmts.push(set(target, v(run) + v(own) + (v(lo) - other_start)));
        let to = points.at(Expr::Int(1) - source.clone(), v(target));
        let from = points.at(source, place.clone());
        for tensor in [sorted.keys, sorted.scores] {
            let value = Expr::load(tensor, from.clone());
            stmts.push(Stmt::StoreElem { tensor, index: to.clone(), value });
        }
        let index = points.at(v(level), v(target));
        stmts.push(Stmt::StoreElem { tensor: sorted.lefts, index, value: lefts });
        let out = vec![when(Expr::lt(place, length), stmts)];
        self.finish(points.cx.close(out));
    }

    /// `end` of the key at each place of the sorted order.
    fn find_ends(&mut self, life: &Lifetime, sorted: &Sorted, end: TensorId, levels: &Expr) {
        let mut points = self.points(life, "lifetimes", "place");
        let v = Expr::Var;
        let (place, length) = (points.place.clone(), points.length.clone());
        let levels = points.cx.known("levels", ScalarType::Int, levels.clone());
        let buffer = Expr::binary(Binary::IntMod, levels.clone(), Expr::Int(2));
        let key = points.int("key");
        let found = points.int("found");
        let ends = points.int("ends");
        let count = self.scalar(&mut points.cx.kernel, life.count, &points.env).max(Expr::Int(0));
        let count = points.cx.known("count", ScalarType::Int, count);
        let key_at = |points: &Points, place: Expr| Expr::load(sorted.keys, points.at(buffer.clone(), place));
        let mut stmts = vec![set(key, key_at(&points, place.clone())), set(ends, length.clone())];
        let of = |this: &Self, points: &mut Points, node: NodeId, key: Expr| {
            let inside = points.env.with(life.over, key);
            this.scalar(&mut points.cx.kernel, node, &inside)
        };
        // The places of the key's class.
        let class = life.class.map(|node| {
            let own = of(self, &mut points, node, v(key));
            let own_class = points.int("own_class");
            stmts.push(set(own_class, own));
            let mut bound = |points: &mut Points, name: &str, op: Compare| {
                let (lo, hi, probe) = (points.int(name), points.int("hi"), points.int("probe"));
                stmts.push(set(lo, Expr::Int(0)));
                stmts.push(set(hi, length.clone()));
                let at = key_at(points, v(probe));
                let there = points.int("probe_key");
                let class = of(self, points, node, v(there));
                let before = Expr::compare(op, class, v(own_class));
                let steps = levels.clone() + Expr::Int(1);
                let search = points.search(lo, hi, steps, probe, (vec![set(there, at)], before));
                stmts.push(search);
                v(lo)
            };
            let first = bound(&mut points, "class_first", Compare::Lt);
            (first, bound(&mut points, "class_last", Compare::Le))
        });
        let first = class.as_ref().map_or(Expr::Int(0), |class| class.0.clone());
        let range = (first.clone(), place.clone());
        let search = self.nth_index(&mut points, sorted, &levels, range, count.clone(), found);
        let enter = of(self, &mut points, life.enter, v(key).max(v(found)));
        let falls = vec![
            set(found, Expr::Int(0)),
            when(Expr::lt(Expr::Int(0), count.clone()), search),
            set(ends, enter),
        ];
        let beaten = Expr::compare(Compare::Ge, place.clone() - first.clone(), count);
        let own_enter = of(self, &mut points, life.enter, v(key));
        let enters = if life.all_enter { Expr::Bool(true) } else { Expr::lt(own_enter, length.clone()) };
        stmts.push(when(Expr::and(enters, beaten), falls));
        if let Some((first, last)) = class {
            let search = self.nth_index(
                &mut points,
                sorted,
                &levels,
                (first.clone(), last.clone()),
                last - first,
                found,
            );
            stmts.extend(search);
            stmts.push(set(ends, v(ends).min(v(found) + Expr::Int(1))));
        }
        let row = points.row.clone();
        let index = |key: Expr| row.iter().cloned().chain([key]).collect();
        stmts.push(Stmt::StoreElem { tensor: end, index: index(v(key)), value: v(ends) });
        let absent = vec![Stmt::StoreElem { tensor: end, index: index(place.clone()), value: Expr::Int(0) }];
        let out = vec![Stmt::If { cond: Expr::lt(place, length), then: stmts, otherwise: absent }];
        self.finish(points.cx.close(out));
    }

    /// `found` becomes the `nth` smallest index (from 1) of the keys at the places `range` of the sorted order, which are
    /// at least as many.
    fn nth_index(
        &self,
        points: &mut Points,
        sorted: &Sorted,
        levels: &Expr,
        range: (Expr, Expr),
        nth: Expr,
        found: VarId,
    ) -> Vec<Stmt> {
        let v = Expr::Var;
        let (first, last, left) = (points.int("first"), points.int("last"), points.int("left"));
        let (skipped, step) = (points.int("skipped"), points.int("step"));
        let ranged = range.0 != Expr::Int(0);
        let lefts = |points: &Points, place: VarId| {
            let level = levels.clone() - Expr::Int(1) - v(step);
            Expr::load(sorted.lefts, points.at(level, v(found) + v(place) - Expr::Int(1)))
        };
        let need = points.int("need");
        let half = (levels.clone() - Expr::Int(1) - v(step)).pow2();
        let mut body = Vec::new();
        if ranged {
            let some = Expr::lt(Expr::Int(0), v(first));
            body.push(set(skipped, some.then(lefts(points, first), Expr::Int(0))));
        }
        let skipped_of = || if ranged { v(skipped) } else { Expr::Int(0) };
        body.push(set(left, lefts(points, last)));
        let here = v(left) - skipped_of();
        let mut then = vec![set(last, v(left))];
        let mut otherwise = vec![
            set(need, v(need) - here.clone()),
            set(last, v(last) - v(left)),
            set(found, v(found) + half),
        ];
        if ranged {
            then.push(set(first, v(skipped)));
            otherwise.push(set(first, v(first) - v(skipped)));
        }
        body.push(Stmt::If { cond: Expr::compare(Compare::Le, v(need), here), then, otherwise });
        let mut stmts = vec![
            set(found, Expr::Int(0)),
            set(need, nth),
            set(last, range.1),
            upto(step, levels.clone(), body),
        ];
        if ranged {
            stmts.insert(2, set(first, range.0));
        }
        stmts
    }
}
