//! One kernel of the tile program as PTX.
//!
//! Input → output: a [`Kernel`], its plan and its barriers → instructions of the assembler. All threads of a block run
//! all statements; scalars are computed by all alike, so that branches on them are uniform. Elementwise statements have
//! no branches inside: what must not be evaluated is a load under a guard, everything else is pure and is selected.

mod copy;
mod elementwise;
mod filter;
pub(crate) mod heap;
mod math;
mod matmul;
pub(crate) mod memory;
pub(crate) mod rounds;
pub(crate) mod scalar;
mod softmax;
mod stmt;
pub(crate) mod value;

use crate::plan::{Form, Plan, WARP_ROWS};
use crate::program::{ParamSpec, TensorMapSpec};
use dmac_ir::{ParamId, ParamType};
use dmac_ptx::{Assembler, B32, B64, F32, Reg, Special, TensorMapParam};
use dmac_schedule::Program;
use dmac_schedule::kernel::{Element, Expr, Kernel, Role, ScalarType, SizeId, TensorId, TileId, VarId};
use scalar::Point;
use std::collections::{BTreeMap, BTreeSet};
use value::{AnyReg, Int, Numbers, Value};

/// Registers of a tile.
#[derive(Clone, Debug)]
pub(crate) enum TileRegs {
    /// By groups of eight columns: rows r and r + 8, two columns each.
    Fragment(Vec<[Reg<F32>; 4]>),
    /// Rows r and r + 8.
    Floats([Reg<F32>; 2]),
    /// The same of ints and conditions (0 or 1).
    Words([Reg<B32>; 2]),
    Shared,
}

/// Registers that say which thread this is.
pub(crate) struct Thread {
    pub tid: Reg<B32>,
    pub lane: Reg<B32>,
    pub warp: Reg<B32>,
    /// The lane's row among eight.
    pub quad: Reg<B32>,
    /// The first of the thread's two rows of a fragment.
    pub row: Reg<B32>,
    /// The first of the thread's two columns of eight.
    pub pair: Reg<B32>,
    /// The start of shared memory.
    pub base: Reg<B32>,
}

/// A tensor in memory.
#[derive(Clone)]
pub(crate) struct TensorRegs {
    pub pointer: Reg<B64>,
    /// Distances of neighbours in elements, of all axes but the last.
    pub strides: Vec<Int>,
}

pub(crate) struct Emitter<'p> {
    pub k: Assembler,
    pub program: &'p Program,
    pub kernel: &'p Kernel,
    pub plan: &'p Plan,
    pub thread: Thread,
    pub numbers: Numbers,
    /// Reductions that were computed at an element, with what they depend on.
    pub reductions: Vec<(scalar::ReductionKey, Value)>,
    pub sizes: BTreeMap<SizeId, Reg<B32>>,
    pub params: BTreeMap<ParamId, AnyReg>,
    pub tensors: BTreeMap<TensorId, TensorRegs>,
    /// Scalar variables, once they are set.
    pub vars: Vec<Option<AnyReg>>,
    pub tiles: Vec<TileRegs>,
    /// The element that an elementwise statement is at.
    pub point: Option<Point>,
    /// Whether whole warps run here with the same scalars, so that their lanes may share a reduction.
    pub together: bool,
    /// Whether this is inside of a reduction.
    pub reducing: bool,
    /// Conditions under which loads are wanted, beside the bounds of the point.
    pub guards: Vec<value::Bool>,
    /// Whether a barrier stands before each statement, and the number of the next.
    pub barriers: Vec<bool>,
    pub statement: usize,
    /// The block's part of the space of heaps, in kernels that have some.
    pub heaps: Vec<heap::HeapRegs>,
    /// Tensor maps.
    pub maps: Vec<(TensorMapSpec, TensorMapParam)>,
}

/// The sizes, parameters and tensors that a kernel uses, in the order of its parameters.
pub(crate) fn parameters(program: &Program, kernel: &Kernel) -> Vec<ParamSpec> {
    let mut tensors = BTreeSet::new();
    let mut sizes = BTreeSet::new();
    let mut params = BTreeSet::new();
    let mut note = |expr: &Expr| {
        expr.any(&mut |x| {
            match x {
                Expr::Load { tensor, .. } => drop(tensors.insert(*tensor)),
                Expr::Size(size) => drop(sizes.insert(*size)),
                Expr::Param(param) => drop(params.insert(*param)),
                _ => {}
            }
            false
        });
    };
    for axis in &kernel.grid {
        note(&axis.extent);
    }
    for heap in &kernel.heaps {
        note(&heap.capacity);
    }
    if let Some(rounds) = &kernel.rounds {
        note(&rounds.count);
    }
    let mut named = Vec::new();
    for stmt in &kernel.body {
        stmt.walk(&mut |stmt| {
            stmt.expressions().into_iter().for_each(&mut note);
            named.extend(stmt.tensor());
        });
    }
    tensors.extend(named);
    // Strides of workspaces are products of their sizes.
    for tensor in &tensors {
        let decl = program.tensor(*tensor);
        if decl.role == Role::Workspace {
            for dim in decl.dims.iter().skip(1) {
                dim.any(&mut |x| {
                    match x {
                        Expr::Size(size) => drop(sizes.insert(*size)),
                        Expr::Param(param) => drop(params.insert(*param)),
                        _ => {}
                    }
                    false
                });
            }
        }
    }
    let mut specs = Vec::new();
    for tensor in tensors {
        specs.push(ParamSpec::Pointer(tensor));
        let decl = program.tensor(tensor);
        if decl.role != Role::Workspace {
            specs.extend((1..decl.dims.len()).map(|axis| ParamSpec::Stride { tensor, axis: axis - 1 }));
        }
    }
    specs.extend(sizes.into_iter().map(ParamSpec::Size));
    specs.extend(params.into_iter().map(ParamSpec::Param));
    specs.extend(kernel.rounds.iter().map(|_| ParamSpec::Round));
    specs
}

impl<'p> Emitter<'p> {
    pub fn new(
        mut k: Assembler,
        program: &'p Program,
        kernel: &'p Kernel,
        plan: &'p Plan,
        specs: &[ParamSpec],
    ) -> Self {
        // All parameters are declared before the first instruction.
        let mut pointers = Vec::new();
        let mut strides = Vec::new();
        let mut sizes = Vec::new();
        let mut params = Vec::new();
        let mut maps = Vec::new();
        let mut round = None;
        for spec in specs {
            match spec {
                ParamSpec::Pointer(tensor) => {
                    // The space of heaps is declared behind the tensors of the program.
                    let decl = program.tensors.get(tensor.0 as usize);
                    let name = decl.map_or("heaps", |decl| decl.name.as_str());
                    let align = decl.map_or(16, |decl| decl.element.bytes() as u32);
                    pointers.push((*tensor, k.param_pointer(&format!("p_{name}"), align)));
                }
                ParamSpec::Stride { tensor, axis } => {
                    let name = format!("s_{}_{axis}", program.tensor(*tensor).name);
                    strides.push((*tensor, k.param::<B32>(&name)));
                }
                ParamSpec::Size(size) => {
                    let name = format!("n_{}", program.sizes[size.0 as usize].name);
                    sizes.push((*size, k.param::<B32>(&name)));
                }
                ParamSpec::Param(param) => {
                    let decl = &program.params[param.0 as usize];
                    let name = format!("a_{}", decl.name);
                    match decl.ty {
                        ParamType::Int => params.push((*param, Ok(k.param::<B32>(&name)))),
                        ParamType::Float => params.push((*param, Err(k.param::<F32>(&name)))),
                    }
                }
                ParamSpec::Round => round = Some(k.param::<B32>("round")),
                ParamSpec::TensorMap(spec) => {
                    let name = format!("m_{}", program.tensor(spec.tensor).name);
                    maps.push((spec.clone(), k.param_tensor_map(&name)));
                }
            }
        }
        k.threads(plan.threads());
        // Left alone, ptxas aims at three blocks a multiprocessor (168 registers a thread), where half of the registers
        // are fragments it then spills.
        let fragments = kernel.tiles.iter().zip(&plan.forms).filter(|(_, form)| **form == Form::Fragment);
        let fragment_registers: usize = fragments.map(|(tile, _)| tile.cols.div_ceil(8) * 4).sum();
        if fragment_registers >= 128 {
            k.min_ctas(2);
        } else if !kernel.heaps.is_empty() {
            // Blocks of one warp: eight of them leave all the registers that a thread can have.
            k.min_ctas(8);
        }
        if plan.shared_bytes > 0 {
            k.dynamic_shared(plan.shared_bytes, 1024);
        }
        let tid = k.special("tid", Special::TidX);
        let lane = k.and("lane", tid, 31);
        let warp = k.shr_u("warp", tid, 5);
        let quad = k.shr_u("quad", lane, 2);
        let row = k.mad("fragment_row", warp, WARP_ROWS as u32, quad);
        let pair = k.and("pair", lane, 3);
        k.shl(pair, pair, 1);
        let base = if plan.shared_bytes > 0 { k.shared_base("base") } else { k.mov("base", 0) };
        let thread = Thread { tid, lane, warp, quad, row, pair, base };
        let mut emitter = Self {
            k,
            program,
            kernel,
            plan,
            thread,
            numbers: Numbers::default(),
            reductions: Vec::new(),
            sizes: BTreeMap::new(),
            params: BTreeMap::new(),
            tensors: BTreeMap::new(),
            vars: vec![None; kernel.vars.len()],
            tiles: Vec::new(),
            point: None,
            together: false,
            reducing: false,
            guards: Vec::new(),
            barriers: crate::barriers::barriers(kernel, plan),
            statement: 0,
            heaps: Vec::new(),
            maps,
        };
        let e = &mut emitter;
        if let (Some(param), Some(rounds)) = (round, &kernel.rounds) {
            let register = e.k.ld_param("round", param);
            e.k.add(register, register, plan.first_round);
            e.vars[rounds.var.0 as usize] = Some(AnyReg::B32(register));
        }
        for (size, param) in sizes {
            let register = e.k.ld_param("size", param);
            e.sizes.insert(size, register);
        }
        for (id, param) in params {
            let register = match param {
                Ok(param) => AnyReg::B32(e.k.ld_param("param", param)),
                Err(param) => AnyReg::F32(e.k.ld_param("param_f", param)),
            };
            e.params.insert(id, register);
        }
        for (tensor, param) in pointers {
            let pointer = e.k.ld_param("pointer", param);
            let given =
                strides.iter().filter(|(of, _)| *of == tensor).map(|(_, param)| *param).collect::<Vec<_>>();
            let strides = match program.tensors.get(tensor.0 as usize).map(|decl| (&decl.role, &decl.dims)) {
                Some((Role::Workspace, dims)) => e.contiguous(dims),
                _ => given.into_iter().map(|param| e.k.ld_param("stride", param).into()).collect(),
            };
            e.tensors.insert(tensor, TensorRegs { pointer, strides });
        }
        emitter
    }

    /// The strides of all axes but the last of a contiguous tensor.
    fn contiguous(&mut self, dims: &[Expr]) -> Vec<Int> {
        let mut strides = Vec::new();
        let mut stride = Int::constant(1);
        for dim in dims.iter().skip(1).rev() {
            let size = self.fresh(|e| e.int_value(dim));
            stride = self.fresh(|e| {
                let product = e.int_mul(stride, size);
                product.known().map_or_else(|| e.int(product).into(), |_| product)
            });
            strides.push(stride);
        }
        strides.reverse();
        strides
    }

    /// Registers for tiles. They start at zero: a tile that is written on some paths only may be read on all.
    pub(crate) fn make_tiles(&mut self) {
        for (at, tile) in self.kernel.tiles.iter().enumerate() {
            let name = &tile.name;
            let regs = match self.plan.form(TileId(at as u32)) {
                Form::Fragment => TileRegs::Fragment(
                    (0..tile.cols.div_ceil(8))
                        .map(|_| std::array::from_fn(|_| self.k.mov(&format!("t_{name}"), 0.0)))
                        .collect(),
                ),
                Form::Rows if tile.element.scalar() == ScalarType::F32 => {
                    TileRegs::Floats(std::array::from_fn(|_| self.k.mov(&format!("t_{name}"), 0.0)))
                }
                Form::Rows => TileRegs::Words(std::array::from_fn(|_| self.k.mov(&format!("t_{name}"), 0))),
                Form::Shared(_) => TileRegs::Shared,
            };
            self.tiles.push(regs);
        }
    }

    /// The register of a variable, made at its first use.
    pub(crate) fn variable(&mut self, var: VarId) -> AnyReg {
        if let Some(register) = self.vars[var.0 as usize] {
            return register;
        }
        let decl = self.kernel.var(var);
        let register = match decl.ty {
            ScalarType::Int => AnyReg::B32(self.k.reg(&format!("v_{}", decl.name))),
            ScalarType::F32 => AnyReg::F32(self.k.reg(&format!("f_{}", decl.name))),
            ScalarType::Bool => AnyReg::Pred(self.k.reg(&format!("c_{}", decl.name))),
        };
        self.vars[var.0 as usize] = Some(register);
        register
    }

    /// Sets a variable.
    pub(crate) fn assign(&mut self, var: VarId, value: Value) {
        match (self.variable(var), value) {
            (AnyReg::B32(register), Value::Int(value)) => {
                // Constants are added here, so that what follows sees a plain register.
                match value {
                    Int { base: Some(base), offset } if offset != 0 => self.k.add(register, base, offset),
                    Int { base: Some(base), .. } => self.k.mov(register, base),
                    Int { base: None, offset } => self.k.mov(register, offset),
                };
            }
            (AnyReg::F32(register), Value::Float(value)) => {
                self.k.mov(register, value);
            }
            (AnyReg::Pred(register), Value::Bool(value)) => {
                let value = self.condition(value);
                self.k.mov(register, value);
            }
            (register, value) => panic!("codegen: {value:?} assigned to {register:?}"),
        }
    }

    /// A barrier of the whole block; copies are complete behind it.
    pub(crate) fn meet(&mut self) {
        self.k.cp_async_wait_all();
        self.k.bar_sync_all();
    }

    pub(crate) fn element(&self, tensor: TensorId) -> Element {
        self.program.tensor(tensor).element
    }
}
