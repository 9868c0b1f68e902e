//! The points at which expressions are evaluated: index variables bound to values.
//!
//! Input → output: bindings → smaller or larger sets of points with links to where they came from. Why: an expression
//! that does not depend on what a loop adds is evaluated once outside the loop and remembered there.

use crate::lanes::{Lanes, Value};
use dmac_ir::{Graph, NodeId, Var};
use std::cell::RefCell;

/// A list of points: for each variable in scope one value, or one for each point.
pub(crate) struct Points<'a> {
    len: usize,
    vars: Vec<Option<Lanes<i64>>>,
    origin: Origin<'a>,
    memo: RefCell<Vec<(NodeId, Value)>>,
}

/// Where points come from.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// Nowhere: a closed expression begins here.
    Root,
    /// All of another's points, with one more variable. Where an expression depends on neither the variable nor on
    /// anything that varies, there may also be another number of points.
    Bound(&'a Points<'a>, Var),
    /// The points of another with these numbers.
    Part(&'a Points<'a>, &'a [usize]),
}

impl<'a> Points<'a> {
    /// One point, nothing bound.
    pub fn root(graph: &Graph) -> Self {
        Self { len: 1, vars: vec![None; graph.vars.len()], origin: Origin::Root, memo: RefCell::default() }
    }

    /// Binds a variable of a root to one value.
    #[must_use]
    pub fn with(mut self, var: Var, value: i64) -> Self {
        self.vars[var.0 as usize] = Some(Lanes::Same(value));
        self
    }

    /// Binds variables of a root to given values at `len` points.
    #[must_use]
    pub fn with_all(mut self, len: usize, vars: &[Var], values: &[Lanes<i64>]) -> Self {
        self.len = len;
        for (var, values) in vars.iter().zip(values) {
            self.vars[var.0 as usize] = Some(values.clone());
        }
        self
    }

    /// These points with one more variable, not bound yet.
    pub fn bound(&'a self, var: Var) -> Self {
        let vars = self.vars.clone();
        Self { len: self.len, vars, origin: Origin::Bound(self, var), memo: RefCell::default() }
    }

    /// One point for each of `values` of one more variable; variables that vary here are not in scope there.
    pub fn spread(&'a self, var: Var, values: Vec<i64>) -> Self {
        let fixed = |slot: &Option<Lanes<i64>>| slot.clone().filter(|slot| matches!(slot, Lanes::Same(_)));
        let mut vars: Vec<_> = self.vars.iter().map(fixed).collect();
        let len = values.len();
        vars[var.0 as usize] = Some(Lanes::each(values));
        Self { len, vars, origin: Origin::Bound(self, var), memo: RefCell::default() }
    }

    /// Some of these points.
    pub fn part(&'a self, points: &'a [usize]) -> Self {
        let vars = self.vars.iter().map(|slot| slot.as_ref().map(|slot| slot.pick(points))).collect();
        Self { len: points.len(), vars, origin: Origin::Part(self, points), memo: RefCell::default() }
    }

    /// Binds a variable anew; what was remembered under its old value is forgotten.
    pub fn rebind(&mut self, var: Var, values: Lanes<i64>) {
        self.vars[var.0 as usize] = Some(values);
        self.memo.get_mut().clear();
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where these points come from.
    pub fn origin(&self) -> Origin<'a> {
        self.origin
    }

    /// The values of a variable.
    pub fn get(&self, var: Var) -> Option<&Lanes<i64>> {
        self.vars[var.0 as usize].as_ref()
    }

    /// Whether one of the variables differs between points.
    pub fn varies(&self, vars: &[Var]) -> bool {
        vars.iter().any(|&var| matches!(self.get(var), Some(Lanes::Each(_))))
    }

    /// A value computed here before.
    pub fn recall(&self, id: NodeId) -> Option<Value> {
        let memo = self.memo.borrow();
        memo.iter().find(|(known, _)| *known == id).map(|(_, value)| value.clone())
    }

    /// Remembers a value.
    pub fn remember(&self, id: NodeId, value: &Value) {
        self.memo.borrow_mut().push((id, value.clone()));
    }

    /// The variables' values at a point, for messages.
    pub fn describe(&self, graph: &Graph, point: usize) -> Vec<(String, i64)> {
        let named = |(info, slot): (&dmac_ir::VarInfo, &Option<Lanes<i64>>)| {
            slot.as_ref().map(|values| (info.name.clone(), values.at(point)))
        };
        graph.vars.iter().zip(&self.vars).filter_map(named).collect()
    }
}
