//! The text form of a tile program: deterministic, one statement a line.

use super::{
    Element, Expr, Kernel, MapReduction, Program, Role, ScalarType, Space, Stmt, Storage, Taken, TensorId,
    TileRef,
};
use dmac_ir::{Binary, Compare, ParamValue, Ties, Unary};
use std::fmt::{self, Write as _};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {} {}", self.name, self.storage)?;
        let sizes: Vec<&str> = self.sizes.iter().map(|size| size.name.as_str()).collect();
        writeln!(f, "  sizes {}", sizes.join(" "))?;
        for param in &self.params {
            match param.default {
                ParamValue::Int(value) => writeln!(f, "  param {}: int = {value}", param.name)?,
                ParamValue::Float(value) => writeln!(f, "  param {}: float = {value:?}", param.name)?,
            }
        }
        let text = Text { program: self, kernel: None };
        for tensor in &self.tensors {
            let role = match tensor.role {
                Role::Input(_) => "input",
                Role::KeyLengths => "lengths",
                Role::Output(_) => "output",
                Role::Workspace => "workspace",
            };
            writeln!(f, "  {role} {}: {} [{}]", tensor.name, tensor.element, text.list(&tensor.dims))?;
        }
        for (condition, message) in &self.requires {
            writeln!(f, "  require {} else {message:?}", text.expr(condition))?;
        }
        for kernel in &self.kernels {
            f.write_str(&Text { program: self, kernel: Some(kernel) }.kernel(kernel))?;
        }
        Ok(())
    }
}

impl Program {
    /// One kernel as text.
    pub fn print_kernel(&self, kernel: &Kernel) -> String {
        Text { program: self, kernel: Some(kernel) }.kernel(kernel)
    }

    /// An expression over sizes and parameters as text.
    pub fn print_expr(&self, expr: &Expr) -> String {
        Text { program: self, kernel: None }.expr(expr)
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I32 => "i32",
            Self::Bool => "bool",
        })
    }
}

struct Text<'a> {
    program: &'a Program,
    kernel: Option<&'a Kernel>,
}

impl Text<'_> {
    fn kernel(&self, kernel: &Kernel) -> String {
        let mut out = String::new();
        let grid: Vec<String> = kernel
            .grid
            .iter()
            .map(|axis| {
                let order = if axis.descending { " desc" } else { "" };
                format!("{} < {}{order}", kernel.var(axis.var).name, self.expr(&axis.extent))
            })
            .collect();
        let rounds = kernel.rounds.as_ref().map_or(String::new(), |rounds| {
            let doubling = if rounds.doubling { " in groups that double" } else { "" };
            format!(" for each {} < {}{doubling}", self.var(rounds.var), self.expr(&rounds.count))
        });
        let _ = writeln!(out, "  kernel {} over ({}){rounds}", kernel.name, grid.join(", "));
        for tile in &kernel.tiles {
            let space = match tile.space {
                Space::Shared => "shared",
                Space::Register => "register",
            };
            let ring = if tile.stages > 1 { format!(" ring {}", tile.stages) } else { String::new() };
            let _ = writeln!(
                out,
                "    {space} {}[{}, {}] {}{ring}",
                tile.name, tile.rows, tile.cols, tile.element
            );
        }
        for heap in &kernel.heaps {
            let ties = if heap.ties == Ties::High { " ties high" } else { "" };
            let _ =
                writeln!(out, "    heap {}[{}; {}]{ties}", heap.name, heap.rows, self.expr(&heap.capacity));
        }
        for barrier in &kernel.barriers {
            let _ = writeln!(
                out,
                "    barrier {} stages {} arrivals {}",
                barrier.name, barrier.stages, barrier.arrivals
            );
        }
        self.block(&mut out, &kernel.body, 4);
        out
    }

    fn block(&self, out: &mut String, body: &[Stmt], indent: usize) {
        for stmt in body {
            let _ = write!(out, "{:indent$}", "");
            self.stmt(out, stmt, indent);
        }
    }

    fn stmt(&self, out: &mut String, stmt: &Stmt, indent: usize) {
        let e = |x: &Expr| self.expr(x);
        let _ = match stmt {
            Stmt::Comment(text) => writeln!(out, "// {text}"),
            Stmt::For { var, lo, hi, step, body } => {
                let step = if *step == Expr::Int(1) { String::new() } else { format!(" step {}", e(step)) };
                let _ = writeln!(out, "for {} in {} .. {}{step}", self.var(*var), e(lo), e(hi));
                self.block(out, body, indent + 2);
                Ok(())
            }
            Stmt::If { cond, then, otherwise } => {
                let _ = writeln!(out, "if {}", e(cond));
                self.block(out, then, indent + 2);
                if !otherwise.is_empty() {
                    let _ = writeln!(out, "{:indent$}else", "");
                    self.block(out, otherwise, indent + 2);
                }
                Ok(())
            }
            Stmt::Set { var, value } => writeln!(out, "{} = {}", self.var(*var), e(value)),
            Stmt::Copy { dst, tensor, index, rows, cols, arrive } => {
                let arrive = arrive.as_ref().map_or(String::new(), |(barrier, stage)| {
                    format!(" -> {}[{}]", self.barrier(*barrier), e(stage))
                });
                writeln!(
                    out,
                    "copy {}[{}, {}] <- {}[{}]{arrive}",
                    self.tile_ref(dst),
                    e(rows),
                    e(cols),
                    self.tensor(*tensor),
                    self.list(index)
                )
            }
            Stmt::Store { tensor, index, src, rows, cols } => writeln!(
                out,
                "store {}[{}] <- {}[{}, {}]",
                self.tensor(*tensor),
                self.list(index),
                self.tile(*src),
                e(rows),
                e(cols)
            ),
            Stmt::ReduceAdd { tensor, index, src, rows, cols } => writeln!(
                out,
                "reduce_add {}[{}] <- {}[{}, {}]",
                self.tensor(*tensor),
                self.list(index),
                self.tile(*src),
                e(rows),
                e(cols)
            ),
            Stmt::StoreElem { tensor, index, value } => {
                writeln!(out, "{}[{}] = {}", self.tensor(*tensor), self.list(index), e(value))
            }
            Stmt::Fill { tile, value } => writeln!(out, "fill {} = {}", self.tile(*tile), e(value)),
            Stmt::Map { dst, rows, cols, body } => {
                writeln!(out, "map {}[{}, {}] = {}", self.tile(*dst), e(rows), e(cols), e(body))
            }
            Stmt::Mma { acc, a, b, transpose_b, accumulate, m, n, k } => writeln!(
                out,
                "mma {} {} {} * {}{} ({} x {} x {})",
                self.tile(*acc),
                if *accumulate { "+=" } else { "=" },
                self.tile_ref(a),
                self.tile_ref(b),
                if *transpose_b { "^T" } else { "" },
                e(m),
                e(n),
                e(k)
            ),
            Stmt::MmaWait { pending } => writeln!(out, "mma_wait {pending}"),
            Stmt::RowReduce { dst, src, op, rows, cols, accumulate } => {
                let name = match op {
                    MapReduction::Sum => "sum",
                    MapReduction::Max => "max",
                    MapReduction::Min => "min",
                };
                let with = if *accumulate { " with itself" } else { "" };
                let (dst, src) = (self.tile(*dst), self.tile(*src));
                writeln!(out, "row_{name} {dst} = {src}[{}, {}]{with}", e(rows), e(cols))
            }
            Stmt::OnlineSoftmax { scores, row_max, row_sum, acc, rows, cols, taken } => {
                let mut how = String::new();
                if taken.scale != Taken::default().scale {
                    let _ = write!(how, " times {}", e(&Expr::Float(taken.scale)));
                }
                if let Some((first, end)) = taken.columns {
                    let _ = write!(how, " within {} .. {}", self.tile(first), self.tile(end));
                }
                writeln!(
                    out,
                    "online_softmax {}[{}, {}]{how} max {} sum {} rescale {}[.., {}]",
                    self.tile(*scores),
                    e(rows),
                    e(cols),
                    self.tile(*row_max),
                    self.tile(*row_sum),
                    self.tile(acc.0),
                    e(&acc.1)
                )
            }
            Stmt::HeapClear { heap, row } => writeln!(out, "clear {}[{}]", self.heap(heap.0), e(row)),
            Stmt::HeapPush { heap, row, score, index, evicted } => writeln!(
                out,
                "{} = push {}[{}] ({}, {})",
                self.var(*evicted),
                self.heap(heap.0),
                e(row),
                e(score),
                e(index)
            ),
            Stmt::HeapOffer { heap, row, scores, valid, first, cols } => writeln!(
                out,
                "offer {}[{}] {}[.., {}] from {} where {}",
                self.heap(heap.0),
                e(row),
                self.tile(*scores),
                e(cols),
                e(first),
                self.tile(*valid)
            ),
            Stmt::HeapStore { heap, row, tensor, index, count } => writeln!(
                out,
                "{} = store {}[{}, ..] <- {}[{}]",
                self.var(*count),
                self.tensor(*tensor),
                self.list(index),
                self.heap(heap.0),
                e(row)
            ),
            Stmt::Filter { var, lo, hi, item, source, keep, tensor, index, limit, count } => {
                let _ = writeln!(
                    out,
                    "filter {} = {} for {} in {} .. {}",
                    self.var(*item),
                    e(source),
                    self.var(*var),
                    e(lo),
                    e(hi)
                );
                let (to, index, count) = (self.tensor(*tensor), self.list(index), self.var(*count));
                let pad = indent + 2;
                writeln!(out, "{:pad$}where {} -> {to}[{index}, {count} ..] below {}", "", e(keep), e(limit))
            }
            Stmt::Role { name, groups, registers, group, body } => {
                let registers = registers.map_or(String::new(), |count| format!(" registers {count}"));
                let _ = writeln!(out, "role {name} x {groups}{registers} as {}", self.var(*group));
                self.block(out, body, indent + 2);
                Ok(())
            }
            Stmt::Wait { barrier, stage, parity } => {
                writeln!(out, "wait {}[{}] parity {}", self.barrier(*barrier), e(stage), e(parity))
            }
            Stmt::Arrive { barrier, stage } => {
                writeln!(out, "arrive {}[{}]", self.barrier(*barrier), e(stage))
            }
            Stmt::Sync { id, groups } => writeln!(out, "sync {id} groups {groups}"),
        };
    }

    fn var(&self, var: super::VarId) -> String {
        self.kernel.map_or_else(|| format!("v{}", var.0), |kernel| kernel.var(var).name.clone())
    }

    fn tile(&self, tile: super::TileId) -> String {
        self.kernel.map_or_else(|| format!("t{}", tile.0), |kernel| kernel.tile(tile).name.clone())
    }

    fn heap(&self, heap: u32) -> String {
        self.kernel.map_or_else(|| format!("heap{heap}"), |kernel| kernel.heaps[heap as usize].name.clone())
    }

    fn barrier(&self, barrier: super::BarrierId) -> String {
        let index = barrier.0;
        self.kernel
            .map_or_else(|| format!("barrier{index}"), |kernel| kernel.barriers[index as usize].name.clone())
    }

    fn tile_ref(&self, tile: &TileRef) -> String {
        match &tile.stage {
            None => self.tile(tile.tile),
            Some(stage) => format!("{}@{}", self.tile(tile.tile), self.expr(stage)),
        }
    }

    fn tensor(&self, tensor: TensorId) -> String {
        self.program.tensor(tensor).name.clone()
    }

    fn list(&self, list: &[Expr]) -> String {
        list.iter().map(|x| self.expr(x)).collect::<Vec<_>>().join(", ")
    }

    fn expr(&self, expr: &Expr) -> String {
        let e = |x: &Expr| self.expr(x);
        match expr {
            Expr::Int(value) => value.to_string(),
            Expr::Float(value) => format!("{:?}", value.get()),
            Expr::Bool(value) => value.to_string(),
            Expr::Size(size) => self.program.sizes[size.0 as usize].name.clone(),
            Expr::Param(param) => self.program.params[param.0 as usize].name.clone(),
            Expr::Var(var) => self.var(*var),
            Expr::Load { tensor, index } => format!("{}[{}]", self.tensor(*tensor), self.list(index)),
            Expr::Elem(tile) => self.tile(*tile),
            Expr::Row => "row".into(),
            Expr::Col => "col".into(),
            Expr::At { tile, row, col } => format!("{}[{}, {}]", self.tile(*tile), e(row), e(col)),
            Expr::Unary(Unary::Neg, x) => format!("-{}", e(x)),
            Expr::Unary(Unary::Not, x) => format!("not {}", e(x)),
            Expr::Unary(op, x) => format!("{}({})", format!("{op:?}").to_lowercase(), e(x)),
            Expr::Binary(op @ (Binary::Min | Binary::Max), x, y) => {
                format!("{}({}, {})", format!("{op:?}").to_lowercase(), e(x), e(y))
            }
            Expr::Binary(op, x, y) => {
                let op = match op {
                    Binary::Add => "+",
                    Binary::Sub => "-",
                    Binary::Mul => "*",
                    Binary::Div => "/",
                    Binary::IntDiv => "div",
                    Binary::IntMod => "mod",
                    Binary::Min | Binary::Max => "",
                    Binary::And => "and",
                    Binary::Or => "or",
                };
                format!("({} {op} {})", e(x), e(y))
            }
            Expr::Compare(op, x, y) => {
                let op = match op {
                    Compare::Eq => "==",
                    Compare::Ne => "!=",
                    Compare::Lt => "<",
                    Compare::Le => "<=",
                    Compare::Gt => ">",
                    Compare::Ge => ">=",
                };
                format!("({} {op} {})", e(x), e(y))
            }
            Expr::If(c, x, y) => format!("(if {} then {} else {})", e(c), e(x), e(y)),
            Expr::Cast(to, x) => {
                let to = match to {
                    ScalarType::Int => "int",
                    ScalarType::F32 => "f32",
                    ScalarType::Bool => "bool",
                };
                format!("{to}({})", e(x))
            }
            Expr::Pow2(x) => format!("pow2({})", e(x)),
            Expr::Order(x) => format!("order({})", e(x)),
            Expr::CeilLog2(x) => format!("ceil_log2({})", e(x)),
            Expr::Reduce { op, var, lo, hi, body } => format!(
                "{}({} in {} .. {}: {})",
                format!("{op:?}").to_lowercase(),
                self.var(*var),
                e(lo),
                e(hi),
                e(body)
            ),
        }
    }
}
