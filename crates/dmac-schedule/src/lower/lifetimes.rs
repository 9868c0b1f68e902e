//! Lifetimes in memory: for each key when it falls out of the best, by one bounded heap over the sequence.
//!
//! Input → output: a lifetime node → a kernel that stores `end[row, key]`. Keys are pushed in the order of their index,
//! which is that in which they enter; a key that falls out ends where the key that pushed it out enters. O(n log w) work,
//! one grid point a row of the selection, and nothing but the heap besides the result.
//!
//! **Forced keys** come before all others, in an order of their own. They have a heap of their own, and each that is in it
//! takes one place in the other heap, by an entry that beats every score.
//!
//! **Classes** (packed documents) restart the heap. Ids that never fall name each class once; where an id comes back, the
//! heap is filled again with the keys of that class so far, so any ids are right. Keys end with their class: where ids
//! never fall, that is where the next class starts; otherwise their ends are left as they are, which is as good, because
//! an end matters at positions of the key's own class only.

use super::element::Cx;
use super::{Env, Lowering};
use crate::kernel::{Element, Expr, Heap, HeapId, Kernel, ScalarType, Selection, Stmt, TensorId, VarId};
use dmac_ir::{Compare, NodeId, Op};

/// What the statements of one kernel share.
struct Parts {
    end: TensorId,
    /// The row's indices.
    row: Vec<Expr>,
    length: Expr,
    best: HeapId,
    forced: Option<HeapId>,
    evicted: VarId,
}

/// What is known of one key.
struct Key {
    index: Expr,
    score: Expr,
    enter: Expr,
    forced: Option<Expr>,
    class: Option<Expr>,
}

impl Parts {
    fn end_of(&self, key: Expr) -> Vec<Expr> {
        self.row.iter().cloned().chain([key]).collect()
    }

    fn set_end(&self, key: Expr, value: Expr) -> Stmt {
        Stmt::StoreElem { tensor: self.end, index: self.end_of(key), value }
    }

    /// Pushes a key; `evicted` becomes the key that fell out, or -1.
    fn push(&self, key: &Key) -> Vec<Stmt> {
        let push = |heap, score| Stmt::HeapPush {
            heap,
            row: Expr::Int(0),
            score,
            index: key.index.clone(),
            evicted: self.evicted,
        };
        let (Some(forced), Some(own)) = (&key.forced, self.forced) else {
            return vec![push(self.best, key.score.clone())];
        };
        let is_nan = Expr::compare(Compare::Ne, key.score.clone(), key.score.clone());
        let finite = is_nan.then(key.score.clone(), key.score.clone().min(Expr::float(f32::MAX)));
        let kept = Expr::lt(Expr::Var(self.evicted), Expr::Int(0));
        vec![Stmt::If {
            cond: forced.clone(),
            then: vec![
                push(own, key.score.clone()),
                Stmt::If {
                    cond: kept,
                    then: vec![push(self.best, Expr::float(f32::INFINITY))],
                    otherwise: Vec::new(),
                },
            ],
            otherwise: vec![push(self.best, finite)],
        }]
    }

    fn clear(&self) -> Vec<Stmt> {
        let heaps = std::iter::once(self.best).chain(self.forced);
        heaps.map(|heap| Stmt::HeapClear { heap, row: Expr::Int(0) }).collect()
    }
}

fn when(cond: Expr, then: Vec<Stmt>) -> Stmt {
    Stmt::If { cond, then, otherwise: Vec::new() }
}

fn upto(var: VarId, hi: Expr, body: Vec<Stmt>) -> Stmt {
    Stmt::For { var, lo: Expr::Int(0), hi, step: Expr::Int(1), body }
}

impl Lowering<'_> {
    pub(super) fn lower_lifetime(&mut self, id: NodeId) {
        let Op::Lifetime { rows, over, ties, batch, forcing, class } = self.graph.op(id).clone() else {
            return;
        };
        let operands = self.graph.operands(id);
        let end = self.store(id, "end", Element::I32);
        self.program.selections.push(Selection::Ends { node: id, ends: end });
        let mut cx = Cx::new(Kernel::new("lifetimes"));
        let mut env = Env::default();
        for &var in &rows {
            let extent = self.extent(var);
            let at = self.grid_axis(&mut cx, var, extent);
            env.vars.insert(var, at);
        }
        self.bind_kv_head(&mut env);
        let length = self.key_length(batch, &env);
        let length = cx.known("key_count", ScalarType::Int, length);
        let count = self.scalar(&mut cx.kernel, operands[2], &env);
        let capacity = count.max(Expr::Int(0)).min(self.extent(over));
        let best = Heap { name: "best".into(), rows: 1, capacity, ties };
        let own = forcing.then(|| Heap { name: "best_forced".into(), ..best.clone() });
        let (best, own) = (cx.kernel.add_heap(best), own.map(|own| cx.kernel.add_heap(own)));
        let key = cx.kernel.add_var(self.var_name(over), ScalarType::Int);
        let evicted = cx.kernel.add_var("evicted", ScalarType::Int);
        let row = rows.iter().map(|var| env.vars[var].clone()).collect();
        let parts = Parts { end, row, length: length.clone(), best, forced: own, evicted };
        let known = |this: &Self, cx: &mut Cx, index: Expr| {
            let inside = env.with(over, index.clone());
            let mut of = |node: NodeId| this.scalar(&mut cx.kernel, node, &inside);
            Key {
                index,
                score: of(operands[0]),
                enter: of(operands[1]),
                forced: forcing.then(|| of(operands[3])),
                class: class.then(|| of(operands[operands.len() - 1])),
            }
        };
        let own = known(self, &mut cx, Expr::Var(key));
        let fell_out = Expr::compare(Compare::Ge, Expr::Var(evicted), Expr::Int(0));
        let mut push = Vec::new();
        let mut out = Vec::new();
        if let Some(of_key) = &own.class {
            let t = cx.kernel.add_var("earlier", ScalarType::Int);
            let earlier = known(self, &mut cx, Expr::Var(t));
            push.extend(restart(&mut cx, &mut out, &parts, of_key, &earlier, &own.index, t));
        }
        push.extend(parts.push(&own));
        push.push(when(fell_out, vec![parts.set_end(Expr::Var(evicted), own.enter.clone())]));
        let mut body = vec![parts.set_end(Expr::Var(key), length.clone())];
        // A key that never becomes a candidate takes nobody's place.
        if *self.graph.op(operands[1]) == Op::Index(over) {
            body.extend(push);
        } else {
            body.push(when(Expr::lt(own.enter, length.clone()), push));
        }
        out.extend(parts.clear());
        out.push(upto(key, length.clone(), body));
        if class {
            let t = cx.kernel.add_var("from_end", ScalarType::Int);
            let index = length.clone() - Expr::Int(1) - Expr::Var(t);
            let of_key = known(self, &mut cx, index.clone()).class.expect("there are classes");
            end_with_class(&mut cx, &mut out, &parts, of_key, &index, t);
        }
        let absent = vec![parts.set_end(Expr::Var(key), Expr::Int(0))];
        out.push(Stmt::For { var: key, lo: length, hi: self.extent(over), step: Expr::Int(1), body: absent });
        self.finish(cx.close(out));
    }
}

/// Empties the heap where the class changes, and fills it again where the class may have been there before.
fn restart(
    cx: &mut Cx,
    before: &mut Vec<Stmt>,
    parts: &Parts,
    class: &Expr,
    earlier: &Key,
    key: &Expr,
    t: VarId,
) -> Vec<Stmt> {
    let mut int = |name: &str| cx.kernel.add_var(name, ScalarType::Int);
    let (own, current, greatest) = (int("own_class"), int("class"), int("greatest_class"));
    let lowest = Expr::Int(i64::from(i32::MIN));
    before.push(Stmt::Set { var: current, value: lowest.clone() });
    before.push(Stmt::Set { var: greatest, value: lowest });
    let same = earlier.class.clone().expect("there are classes");
    let same = Expr::compare(Compare::Eq, same, Expr::Var(own));
    let candidate = Expr::and(same, Expr::lt(earlier.enter.clone(), parts.length.clone()));
    let again = upto(t, key.clone(), vec![when(candidate, parts.push(earlier))]);
    let mut change = parts.clear();
    change.push(when(Expr::compare(Compare::Le, Expr::Var(own), Expr::Var(greatest)), vec![again]));
    change.push(Stmt::Set { var: current, value: Expr::Var(own) });
    change.push(Stmt::Set { var: greatest, value: Expr::Var(greatest).max(Expr::Var(own)) });
    vec![
        Stmt::Set { var: own, value: class.clone() },
        when(Expr::compare(Compare::Ne, Expr::Var(own), Expr::Var(current)), change),
    ]
}

/// From the last key to the first: keys end where their class ends, if no later class has a lower id.
fn end_with_class(cx: &mut Cx, out: &mut Vec<Stmt>, parts: &Parts, class: Expr, index: &Expr, t: VarId) {
    let mut int = |name: &str| cx.kernel.add_var(name, ScalarType::Int);
    let (own, current, least, last) = (int("own_class"), int("class"), int("least_class"), int("class_end"));
    let highest = Expr::Int(i64::from(i32::MAX));
    out.push(Stmt::Set { var: current, value: highest.clone() });
    out.push(Stmt::Set { var: least, value: highest });
    out.push(Stmt::Set { var: last, value: parts.length.clone() });
    let new = Expr::lt(Expr::Var(own), Expr::Var(least));
    let change = vec![
        Stmt::Set { var: last, value: new.then(index.clone() + Expr::Int(1), parts.length.clone()) },
        Stmt::Set { var: current, value: Expr::Var(own) },
        Stmt::Set { var: least, value: Expr::Var(least).min(Expr::Var(own)) },
    ];
    let old = Expr::load(parts.end, parts.end_of(index.clone()));
    out.push(upto(
        t,
        parts.length.clone(),
        vec![
            Stmt::Set { var: own, value: class },
            when(Expr::compare(Compare::Ne, Expr::Var(own), Expr::Var(current)), change),
            parts.set_end(index.clone(), old.min(Expr::Var(last))),
        ],
    ));
}
