//! Which indices are bound where an expression stands, and what else may be used there.

use crate::hir::{AxisIx, Expr, Program, VarIx};
use std::collections::BTreeMap;

/// What an expression is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A size, a range or a count: parameters and sizes only.
    Size,
    Let,
    Scale,
    Score,
    Mask,
    /// What a selection compares.
    Operand,
    /// `among`, `forcing`, `plus`.
    Candidates,
    /// The argument of `normalize`.
    Sink,
    Output,
}

impl Place {
    /// For messages: "in ...".
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Size => "a size",
            Self::Let => "a `let`",
            Self::Scale => "`scale`",
            Self::Score => "`score`",
            Self::Mask => "`mask`",
            Self::Operand => "the operand of `select`",
            Self::Candidates => "a condition of `select`",
            Self::Sink => "`normalize`",
            Self::Output => "`output`",
        }
    }

    /// Whether the current score can be read.
    pub(crate) fn has_score(self) -> bool {
        matches!(self, Self::Score | Self::Operand)
    }
}

/// Where an expression stands.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub place: Place,
    /// Innermost last.
    bound: Vec<VarIx>,
    /// Indices that were reported as not bound: once a statement is enough.
    reported: Vec<String>,
    /// Inside a user function: its arguments, which hide everything else.
    pub call: Option<Call>,
}

/// A call that is being inlined.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub args: BTreeMap<String, Arg>,
}

/// An argument of a call, and how much of the limits each use of it takes.
#[derive(Clone, Debug)]
pub(crate) struct Arg {
    pub value: Expr,
    pub nodes: usize,
    pub depth: usize,
}

/// How an index is bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// By itself.
    Plainly,
    /// A key/value head, by a query head.
    By(VarIx),
}

impl Scope {
    /// Nothing is bound.
    pub(crate) fn new(place: Place) -> Self {
        Self { place, bound: vec![], reported: vec![], call: None }
    }

    /// Binds an index.
    pub(crate) fn bind(&mut self, var: VarIx) {
        self.bound.push(var);
    }

    /// Forgets all indices that were bound after there were `count`.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.bound.truncate(count);
    }

    /// Notes that an index is reported as not bound; whether it was before.
    pub(crate) fn was_reported(&mut self, index: &str) -> bool {
        let before = self.reported.iter().any(|reported| reported == index);
        if !before {
            self.reported.push(index.to_owned());
        }
        before
    }

    /// How many indices are bound.
    pub(crate) fn count(&self) -> usize {
        self.bound.len()
    }

    /// All bound indices, innermost last.
    pub(crate) fn bound(&self) -> &[VarIx] {
        &self.bound
    }

    /// Whether and how an index is bound. `g` is bound wherever `h` is, and `g'` wherever `h'` is.
    pub(crate) fn binding(&self, program: &Program, var: VarIx) -> Option<Bound> {
        if self.bound.contains(&var) {
            return Some(Bound::Plainly);
        }
        if program.axis_of(var) != AxisIx::G {
            return None;
        }
        let primes = |var: VarIx| program.var(var).name.matches('\'').count();
        let head = self.bound.iter().rev().copied();
        let mut heads =
            head.filter(|&head| program.axis_of(head) == AxisIx::H && primes(head) == primes(var));
        heads.next().map(Bound::By)
    }

    /// The innermost bound index over the batch.
    pub(crate) fn batch(&self, program: &Program) -> Option<VarIx> {
        self.bound.iter().rev().copied().find(|&var| program.axis_of(var) == AxisIx::B)
    }
}
