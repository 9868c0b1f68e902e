//! Where index variables point: the rows and columns of a tile, and what is fixed around it.

use crate::kernel::{Expr, VarId};
use dmac_ir::{Edge, NodeId, Var};
use std::collections::{BTreeMap, BTreeSet};

/// The rows (or columns) of a tile, as index variables: `var = template(local index)`.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    /// The variables that vary along this side, each with its coordinate in terms of [`Expr::Row`].
    pub vars: Vec<(Var, Expr)>,
    /// How many at run time.
    pub count: Expr,
    /// How many at most: the tile's compile-time size.
    pub max: usize,
}

impl Space {
    /// One variable over consecutive coordinates from `first`.
    pub fn range(var: Var, first: Expr, count: Expr, max: usize) -> Self {
        Self { vars: vec![(var, first + Expr::Row)], count, max }
    }

    /// A single row (or column) without a variable.
    pub fn unit() -> Self {
        Self { vars: Vec::new(), count: Expr::Int(1), max: 1 }
    }

    /// Whether a node with these free variables varies along this side.
    pub fn varies(&self, free: &BTreeSet<Var>) -> bool {
        self.vars.iter().any(|(var, _)| free.contains(var))
    }
}

/// The coordinates of all variables in scope, and values that are computed already.
#[derive(Clone, Default, Debug)]
pub(crate) struct Env {
    /// Coordinates.
    pub vars: BTreeMap<Var, Expr>,
    /// Logical positions of query variables, where they are known as a variable of the kernel.
    pub key_length: Option<(Var, VarId)>,
    /// First and last element of symbolic tiles.
    pub edges: BTreeMap<(Var, Edge), Expr>,
    /// Nodes that are in a tile or a scalar already.
    pub nodes: BTreeMap<NodeId, Expr>,
}

impl Env {
    /// With the variables of a space as rows.
    #[must_use]
    pub fn rows(&self, space: &Space) -> Self {
        let mut env = self.clone();
        env.vars.extend(space.vars.iter().cloned());
        env
    }

    /// With the variables of a space as columns.
    #[must_use]
    pub fn cols(&self, space: &Space) -> Self {
        let mut env = self.clone();
        env.vars.extend(space.vars.iter().map(|(var, template)| (*var, as_col(template))));
        env
    }

    /// With one variable fixed.
    #[must_use]
    pub fn with(&self, var: Var, at: Expr) -> Self {
        let mut env = self.clone();
        env.vars.insert(var, at);
        env
    }
}

/// A coordinate in terms of the row, in terms of the column.
pub(crate) fn as_col(template: &Expr) -> Expr {
    template.replace(&|x| (*x == Expr::Row).then_some(Expr::Col))
}
