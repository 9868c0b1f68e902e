//! Stored tensors: a grid over all their elements, in tiles of one variable by another.
//!
//! The last variable, contiguous in memory, runs along columns. Rows are the variable that makes the definition's first
//! sum a matrix product, where there is one.

use super::element::Cx;
use super::{Env, Lowering, Space};
use crate::kernel::{Element, Expr, GridAxis, Kernel, ScalarType, Space as Memory, Stmt, TensorId};
use dmac_ir::{NodeId, Op, Var};

impl Lowering<'_> {
    pub(super) fn lower_define(&mut self, id: NodeId) {
        let Op::Define { name, vars, elem } = self.graph.op(id).clone() else { return };
        let tensor = self.store(id, &name, self.element_of(elem));
        let body = self.graph.operand(id, 0);
        let mut cx = Cx::new(Kernel::new(name));
        let mut env = Env::default();
        let Some((&col_var, others)) = vars.split_last() else {
            let value = self.scalar(&mut cx.kernel, body, &env);
            cx.kernel.body = vec![Stmt::StoreElem { tensor, index: Vec::new(), value }];
            self.finish(cx.kernel);
            return;
        };
        let row_var = self.row_var(body, others, col_var);
        let mut out = Vec::new();
        for &var in others {
            if Some(var) != row_var {
                let extent = self.extent(var);
                let grid = self.grid_axis(&mut cx, var, extent);
                env.vars.insert(var, grid);
            }
        }
        let rows = match row_var {
            None => Space::unit(),
            Some(var) => self.grid_space(&mut cx, var, self.schedule.q_tile),
        };
        let cols = self.grid_space(&mut cx, col_var, self.schedule.kv_tile);
        let value = self.element(&mut cx, &mut out, body, &env, &rows, &cols);
        let tile = match value {
            value @ Expr::Elem(_) => self.materialize(&mut cx, &mut out, "result", value, &rows, &cols),
            body => {
                let element = self.program.tensor(tensor).element;
                let element =
                    if matches!(element, Element::F16 | Element::Bf16) { Element::F32 } else { element };
                let dst = cx.tile("result", element, rows.max, cols.max, Memory::Register);
                out.push(Stmt::Map { dst, rows: rows.count.clone(), cols: cols.count.clone(), body });
                dst
            }
        };
        let at = env.rows(&rows).cols(&cols);
        let index = vars.iter().map(|var| at.vars[var].clone()).collect();
        out.push(Stmt::Store { tensor, index, src: tile, rows: rows.count, cols: cols.count });
        self.finish(cx.close(out));
    }

    /// The variable for rows: one that separates from the column in the first sum that depends on the column.
    fn row_var(&self, body: NodeId, others: &[Var], col: Var) -> Option<Var> {
        let separates = |var: &Var| {
            let space = |var| Space::range(var, Expr::Int(0), Expr::Int(1), 1);
            let (rows, cols) = (space(*var), space(col));
            self.scalars(&[body]).into_iter().any(|node| {
                matches!(self.graph.op(node), Op::Reduce { .. })
                    && self.graph.free(node).contains(var)
                    && self.separable(node, &rows, &cols)
            })
        };
        others.iter().rev().copied().find(|var| separates(var)).or(others.last().copied())
    }

    /// A grid axis over a variable, one point an element.
    pub(super) fn grid_axis(&self, cx: &mut Cx, var: Var, extent: Expr) -> Expr {
        let id = cx.kernel.add_var(self.var_name(var), ScalarType::Int);
        cx.kernel.grid.push(GridAxis { var: id, extent, descending: false });
        Expr::Var(id)
    }

    /// A grid axis over tiles of a variable, and the tile as a space.
    pub(super) fn grid_space(&self, cx: &mut Cx, var: Var, tile: usize) -> Space {
        let max = self.static_extent(var).map_or(tile, |size| size.clamp(1, tile));
        let extent = self.extent(var);
        if extent == Expr::Int(max as i64) {
            return Space::range(var, Expr::Int(0), extent, max);
        }
        let name = format!("{}_block", self.var_name(var));
        let block = cx.kernel.add_var(name, ScalarType::Int);
        let step = Expr::Int(max as i64);
        cx.kernel.grid.push(GridAxis {
            var: block,
            extent: extent.clone().ceil_div(step.clone()),
            descending: false,
        });
        let first =
            cx.known(&format!("{}0", self.var_name(var)), ScalarType::Int, Expr::Var(block) * step.clone());
        let count = (extent - first.clone()).min(step);
        let count = cx.known(&format!("{}_count", self.var_name(var)), ScalarType::Int, count);
        Space::range(var, first, count, max)
    }

    /// A kernel that copies one tensor to another of the same extents.
    pub(super) fn copy_tensor(&mut self, from: TensorId, to: TensorId, name: &str) {
        let mut cx = Cx::new(Kernel::new(format!("copy_{name}")));
        let dims = self.program.tensor(from).dims.clone();
        let mut index = Vec::new();
        for extent in dims {
            let var = cx.kernel.add_var("x", ScalarType::Int);
            cx.kernel.grid.push(GridAxis { var, extent, descending: false });
            index.push(Expr::Var(var));
        }
        let value = Expr::load(from, index.iter().cloned());
        cx.kernel.body = vec![Stmt::StoreElem { tensor: to, index, value }];
        self.finish(cx.kernel);
    }
}
