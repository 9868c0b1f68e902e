//! The verifier of tile programs: types, ranks, and the rules of rings, waits and budgets.
//!
//! A violation is a bug in the lowering, never a mistake in the user's program.

use super::{Element, Expr, Kernel, Program, ScalarType, Stmt, TileId};
use dmac_ir::{Binary, Reduction, Unary};

/// Checks a whole program. The message names the kernel and the statement's kind.
pub fn verify(program: &Program) -> Result<(), String> {
    for (condition, message) in &program.requires {
        if type_of(program, None, condition)? != ScalarType::Bool {
            return Err(format!("the requirement {message:?} is not a condition"));
        }
    }
    for kernel in &program.kernels {
        let check = Check { program, kernel };
        for axis in &kernel.grid {
            check.want(&axis.extent, ScalarType::Int)?;
        }
        if let Some(rounds) = &kernel.rounds {
            check.want(&rounds.count, ScalarType::Int)?;
        }
        for tile in &kernel.tiles {
            if tile.rows == 0 || tile.cols == 0 || tile.stages == 0 {
                return Err(format!("kernel {}: tile {} has no elements", kernel.name, tile.name));
            }
        }
        check.block(&kernel.body).map_err(|message| format!("kernel {}: {message}", kernel.name))?;
    }
    Ok(())
}

/// The type of an expression, or what is wrong with it.
pub fn type_of(program: &Program, kernel: Option<&Kernel>, expr: &Expr) -> Result<ScalarType, String> {
    use ScalarType::{Bool, F32, Int};
    let ty = |x: &Expr| type_of(program, kernel, x);
    let want = |x: &Expr, want: ScalarType| {
        let found = ty(x)?;
        if found == want { Ok(()) } else { Err(format!("{found:?} where {want:?} is needed: {x:?}")) }
    };
    let tile = |id: TileId| {
        let kernel = kernel.ok_or("a tile outside a kernel")?;
        Ok::<_, String>(match kernel.tile(id).element {
            Element::F32 | Element::F16 | Element::Bf16 => F32,
            Element::I32 => Int,
            Element::Bool => Bool,
        })
    };
    Ok(match expr {
        Expr::Int(_) | Expr::Size(_) | Expr::Row | Expr::Col => Int,
        Expr::Float(_) => F32,
        Expr::Bool(_) => Bool,
        Expr::Param(id) => match program.params[id.0 as usize].ty {
            dmac_ir::ParamType::Int => Int,
            dmac_ir::ParamType::Float => F32,
        },
        Expr::Var(var) => kernel.ok_or("a variable outside a kernel")?.var(*var).ty,
        Expr::Load { tensor, index } => {
            let decl = program.tensor(*tensor);
            if decl.dims.len() != index.len() {
                return Err(format!("{} has {} axes, not {}", decl.name, decl.dims.len(), index.len()));
            }
            index.iter().try_for_each(|x| want(x, Int))?;
            decl.element.scalar()
        }
        Expr::Elem(id) => tile(*id)?,
        Expr::At { tile: id, row, col } => {
            want(row, Int)?;
            want(col, Int)?;
            tile(*id)?
        }
        Expr::Unary(Unary::Not, x) => {
            want(x, Bool)?;
            Bool
        }
        Expr::Unary(Unary::Neg | Unary::Abs | Unary::Relu, x) => ty(x)?,
        Expr::Unary(_, x) => {
            want(x, F32)?;
            F32
        }
        Expr::Binary(op, x, y) => {
            let found = ty(x)?;
            want(y, found)?;
            let fits = match op {
                Binary::And | Binary::Or => found == Bool,
                Binary::Div => found == F32,
                Binary::IntDiv | Binary::IntMod => found == Int,
                _ => found != Bool,
            };
            if !fits {
                return Err(format!("{op:?} of {found:?}"));
            }
            found
        }
        Expr::Compare(_, x, y) => {
            want(y, ty(x)?)?;
            Bool
        }
        Expr::If(c, x, y) => {
            want(c, Bool)?;
            let found = ty(x)?;
            want(y, found)?;
            found
        }
        Expr::Order(x) => {
            want(x, F32)?;
            Int
        }
        Expr::CeilLog2(x) | Expr::Pow2(x) => {
            want(x, Int)?;
            Int
        }
        Expr::Cast(to, x) => {
            ty(x)?;
            *to
        }
        Expr::Reduce { op, lo, hi, body, .. } => {
            want(lo, Int)?;
            want(hi, Int)?;
            let found = ty(body)?;
            if (found == Bool) != matches!(op, Reduction::Any | Reduction::All) {
                return Err(format!("{op:?} of {found:?}"));
            }
            found
        }
    })
}

struct Check<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
}

impl Check<'_> {
    fn want(&self, expr: &Expr, want: ScalarType) -> Result<(), String> {
        let found = type_of(self.program, Some(self.kernel), expr)?;
        if found == want { Ok(()) } else { Err(format!("{found:?} where {want:?} is needed: {expr:?}")) }
    }

    fn ints<'e>(&self, list: impl IntoIterator<Item = &'e Expr>) -> Result<(), String> {
        list.into_iter().try_for_each(|expr| self.want(expr, ScalarType::Int))
    }

    fn rank(&self, tensor: super::TensorId, index: usize) -> Result<(), String> {
        let decl = self.program.tensor(tensor);
        if decl.dims.len() == index {
            Ok(())
        } else {
            Err(format!("{} has {} axes, not {index}", decl.name, decl.dims.len()))
        }
    }

    fn vector(&self, tile: TileId) -> Result<(), String> {
        let decl = self.kernel.tile(tile);
        if decl.cols == 1 { Ok(()) } else { Err(format!("{} is not a row vector", decl.name)) }
    }

    fn block(&self, body: &[Stmt]) -> Result<(), String> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn stmt(&self, stmt: &Stmt) -> Result<(), String> {
        let tile_type = |tile: TileId| self.kernel.tile(tile).element.scalar();
        match stmt {
            Stmt::For { lo, hi, step, body, .. } => {
                self.ints([lo, hi, step])?;
                self.block(body)
            }
            Stmt::If { cond, then, otherwise } => {
                self.want(cond, ScalarType::Bool)?;
                self.block(then)?;
                self.block(otherwise)
            }
            Stmt::Set { var, value } => self.want(value, self.kernel.var(*var).ty),
            Stmt::Copy { tensor, index, rows, cols, arrive, .. } => {
                self.rank(*tensor, index.len())?;
                self.ints(index)?;
                self.ints([rows, cols])?;
                arrive.iter().try_for_each(|(_, stage)| self.want(stage, ScalarType::Int))
            }
            Stmt::Store { tensor, index, rows, cols, .. }
            | Stmt::ReduceAdd { tensor, index, rows, cols, .. } => {
                self.rank(*tensor, index.len())?;
                self.ints(index)?;
                self.ints([rows, cols])
            }
            Stmt::StoreElem { tensor, index, value } => {
                self.rank(*tensor, index.len())?;
                self.ints(index)?;
                self.want(value, self.program.tensor(*tensor).element.scalar())
            }
            Stmt::Fill { tile, value } => self.want(value, tile_type(*tile)),
            Stmt::Map { dst, rows, cols, body } => {
                self.ints([rows, cols])?;
                self.want(body, tile_type(*dst))
            }
            Stmt::Mma { acc, m, n, k, .. } => {
                if self.kernel.tile(*acc).element != Element::F32 {
                    return Err("a matrix product accumulates in f32".into());
                }
                self.ints([m, n, k])
            }
            Stmt::RowReduce { dst, rows, cols, .. } => {
                self.vector(*dst)?;
                self.ints([rows, cols])
            }
            Stmt::OnlineSoftmax { row_max, row_sum, acc, rows, cols, taken, .. } => {
                self.vector(*row_max)?;
                self.vector(*row_sum)?;
                if !(taken.scale.get() > 0.0 && taken.scale.get().is_finite()) {
                    return Err("scores are scaled by a finite number above zero".into());
                }
                for bound in taken.columns.into_iter().flat_map(|(first, end)| [first, end]) {
                    self.vector(bound)?;
                    if self.kernel.tile(bound).element != Element::I32 {
                        return Err("bounds of columns are i32".into());
                    }
                }
                self.ints([&acc.1, rows, cols])
            }
            Stmt::HeapClear { row, .. } => self.want(row, ScalarType::Int),
            Stmt::HeapPush { row, score, index, .. } => {
                self.ints([row, index])?;
                self.want(score, ScalarType::F32)
            }
            Stmt::HeapOffer { row, first, cols, valid, .. } => {
                if self.kernel.tile(*valid).element != Element::Bool {
                    return Err("validity is bool".into());
                }
                self.ints([row, first, cols])
            }
            Stmt::HeapStore { row, tensor, index, .. } => {
                self.rank(*tensor, index.len() + 1)?;
                self.want(row, ScalarType::Int)?;
                self.ints(index)
            }
            Stmt::Filter { lo, hi, source, keep, tensor, index, limit, .. } => {
                self.rank(*tensor, index.len() + 1)?;
                self.ints([lo, hi, source, limit])?;
                self.ints(index)?;
                self.want(keep, ScalarType::Bool)
            }
            Stmt::Role { body, .. } => self.block(body),
            Stmt::Wait { stage, parity, .. } => self.ints([stage, parity]),
            Stmt::Arrive { stage, .. } => self.want(stage, ScalarType::Int),
            Stmt::Comment(_) | Stmt::MmaWait { .. } | Stmt::Sync { .. } => Ok(()),
        }
    }
}
