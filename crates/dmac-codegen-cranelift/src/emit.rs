//! The emitter: a function being built, and the small pieces that all statements are made of.
//!
//! Input → output: calls → CLIF through Cranelift's builder. Kernels are compiled without Cranelift's optimiser (it
//! reorders pure instructions so that they spill), so values are shared and hoisted here: [`Scopes`] remembers what has
//! been computed where it is still valid.

pub(crate) mod convert;
pub(crate) mod map;
pub(crate) mod scalar;
pub(crate) mod vector;

mod copy;
mod heap;
mod matmul;
mod memory;
mod pack;
mod reduce;
mod stmt;

use crate::layout::{Layout, Table};
use crate::plan::KernelPlan;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    BlockArg, ConstantData, Endianness, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind,
    Type, Value, types,
};
use cranelift_frontend::{FunctionBuilder, Variable};
use cranelift_module::{FuncId, Linkage, Module};
use dmac_cpu_kernels::{ArgKind, Kernel as Micro, KernelTable, MachineType};
use dmac_schedule::Program;
use dmac_schedule::kernel::{Expr, Kernel, ScalarType, TensorId, TileId, VarId};
use std::collections::BTreeMap;

/// Memory accesses of generated code: addresses are valid by construction, alignment is not assumed.
pub(crate) const ACCESS: MemFlagsData = MemFlagsData::new().with_notrap();

/// The words of an address and of a scalar int.
pub(crate) const WORD: Type = types::I64;

/// The micro-kernels that a module calls.
pub(crate) struct Imports {
    table: &'static KernelTable,
    declared: BTreeMap<Micro, FuncId>,
}

impl Imports {
    pub(crate) fn new(table: &'static KernelTable) -> Self {
        Self { table, declared: BTreeMap::new() }
    }

    /// The table whose layout (the width of panels) the code is generated for.
    pub(crate) fn table(&self) -> &'static KernelTable {
        self.table
    }

    fn declare(&mut self, module: &mut dyn Module, micro: Micro) -> FuncId {
        let table = self.table;
        *self.declared.entry(micro).or_insert_with(|| {
            let mut signature = module.make_signature();
            let machine = |kind: ArgKind| match kind.machine() {
                MachineType::Word => types::I64,
                MachineType::I32 => types::I32,
                MachineType::F32 => types::F32,
            };
            for param in micro.signature().params {
                signature.params.push(cranelift_codegen::ir::AbiParam::new(machine(param.kind)));
            }
            if let Some(kind) = micro.signature().result {
                signature.returns.push(cranelift_codegen::ir::AbiParam::new(machine(kind)));
            }
            let name = table.symbol(micro).to_string();
            module
                .declare_function(&name, Linkage::Import, &signature)
                .unwrap_or_else(|error| panic!("codegen: {name} cannot be declared: {error}"))
        })
    }
}

/// What has been computed and is valid where code is being emitted, innermost last.
#[derive(Default)]
pub(crate) struct Scopes(Vec<Scope>);

#[derive(Default)]
struct Scope {
    scalars: BTreeMap<Expr, Value>,
    vectors: BTreeMap<Expr, Value>,
    bases: BTreeMap<(TensorId, Vec<Expr>), Value>,
    lines: BTreeMap<TileId, Value>,
}

impl Scopes {
    pub(crate) fn scalar(&self, expr: &Expr) -> Option<Value> {
        self.0.iter().rev().find_map(|scope| scope.scalars.get(expr).copied())
    }

    pub(crate) fn vector(&self, expr: &Expr) -> Option<Value> {
        self.0.iter().rev().find_map(|scope| scope.vectors.get(expr).copied())
    }

    pub(crate) fn base(&self, key: &(TensorId, Vec<Expr>)) -> Option<Value> {
        self.0.iter().rev().find_map(|scope| scope.bases.get(key).copied())
    }

    pub(crate) fn line(&self, tile: TileId) -> Option<Value> {
        self.0.iter().rev().find_map(|scope| scope.lines.get(&tile).copied())
    }

    pub(crate) fn add_line(&mut self, tile: TileId, value: Value) {
        self.innermost().lines.insert(tile, value);
    }

    pub(crate) fn add_scalar(&mut self, expr: &Expr, value: Value) {
        self.innermost().scalars.insert(expr.clone(), value);
    }

    pub(crate) fn add_vector(&mut self, expr: &Expr, value: Value) {
        self.innermost().vectors.insert(expr.clone(), value);
    }

    pub(crate) fn add_base(&mut self, key: (TensorId, Vec<Expr>), value: Value) {
        self.innermost().bases.insert(key, value);
    }

    fn innermost(&mut self) -> &mut Scope {
        self.0.last_mut().expect("codegen: values are remembered inside a scope")
    }
}

/// A function being built.
pub(crate) struct Emitter<'p, 'a, 'f> {
    pub(crate) b: FunctionBuilder<'f>,
    pub(crate) module: &'a mut dyn Module,
    pub(crate) imports: &'a mut Imports,
    pub(crate) program: &'p Program,
    pub(crate) layout: &'a Layout,
    /// The kernel and its plan; none in the functions around kernels.
    pub(crate) kernel: Option<(&'p Kernel, &'p KernelPlan)>,
    /// The kernel's number in the program.
    pub(crate) number: usize,
    /// The argument table.
    pub(crate) args: Value,
    /// The frame; none before it exists.
    pub(crate) frame: Option<Value>,
    /// This worker's scratch memory; none outside kernels.
    pub(crate) scratch: Option<Value>,
    pub(crate) vars: Vec<Variable>,
    pub(crate) scopes: Scopes,
    /// The element that an elementwise statement is at.
    pub(crate) point: Point,
    /// Where the contents of tiles are that are not plain scratch memory, by tile.
    pub(crate) views: Vec<Option<memory::View>>,
    /// State of heaps.
    pub(crate) heaps: Vec<heap::HeapPlace>,
    /// Elementary functions of the current statement whose values are in a buffer, with its address.
    pub(crate) strips: Vec<(Expr, Value)>,
    small: Option<StackSlot>,
}

/// Coordinates within a tile, and which of them is the axis that vector code runs along.
#[derive(Clone, Copy, Default)]
pub(crate) struct Point {
    pub(crate) row: Option<Value>,
    pub(crate) col: Option<Value>,
    pub(crate) along: Along,
}

/// The axis of a tile that vectors run along.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Along {
    #[default]
    Cols,
    Rows,
}

impl<'p, 'a, 'f> Emitter<'p, 'a, 'f> {
    pub(crate) fn new(
        b: FunctionBuilder<'f>,
        module: &'a mut dyn Module,
        imports: &'a mut Imports,
        program: &'p Program,
        layout: &'a Layout,
        args: Value,
    ) -> Self {
        Self {
            b,
            module,
            imports,
            program,
            layout,
            kernel: None,
            number: 0,
            args,
            frame: None,
            scratch: None,
            vars: Vec::new(),
            scopes: Scopes(vec![Scope::default()]),
            point: Point::default(),
            views: Vec::new(),
            heaps: Vec::new(),
            strips: Vec::new(),
            small: None,
        }
    }

    // Constants.

    pub(crate) fn int(&mut self, value: i64) -> Value {
        self.b.ins().iconst(WORD, value)
    }

    pub(crate) fn int32(&mut self, value: i32) -> Value {
        self.b.ins().iconst(types::I32, i64::from(value))
    }

    pub(crate) fn null(&mut self) -> Value {
        self.int(0)
    }

    pub(crate) fn float(&mut self, value: f32) -> Value {
        self.b.ins().f32const(value)
    }

    /// An int constant of 32 bits in every lane of `ty`, a scalar or a vector.
    pub(crate) fn lanes_int(&mut self, ty: Type, value: i32) -> Value {
        if ty == types::I32 { self.int32(value) } else { self.vconst(types::I32X4, [value as u32; 4]) }
    }

    /// A float constant in every lane of `ty`, a scalar or a vector.
    pub(crate) fn lanes_float(&mut self, ty: Type, value: f32) -> Value {
        if ty == types::F32 { self.float(value) } else { self.vconst(types::F32X4, [value.to_bits(); 4]) }
    }

    pub(crate) fn vconst(&mut self, ty: Type, lanes: [u32; 4]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(bytes));
        self.b.ins().vconst(ty, constant)
    }

    pub(crate) fn type_of(&self, value: Value) -> Type {
        self.b.func.dfg.value_type(value)
    }

    /// The same bits as another type of the same width.
    pub(crate) fn bits(&mut self, ty: Type, value: Value) -> Value {
        if self.type_of(value) == ty {
            return value;
        }
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), value)
    }

    // Memory.

    /// The value in a slot of a table.
    pub(crate) fn slot(&mut self, table: Table, slot: usize) -> Value {
        let base = match table {
            Table::Args => self.args,
            Table::Frame => self.frame.expect("codegen: this function has no frame"),
        };
        self.b.ins().load(WORD, ACCESS, base, 8 * slot as i32)
    }

    /// 32 bytes on the stack, for an element or four lanes that a micro-kernel reads or writes.
    pub(crate) fn small(&mut self) -> Value {
        let b = &mut self.b;
        let slot = *self.small.get_or_insert_with(|| {
            b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 32, 4))
        });
        self.b.ins().stack_addr(WORD, slot, 0)
    }

    /// `base + index * scale` for a constant scale.
    pub(crate) fn offset(&mut self, base: Value, index: Value, scale: i64) -> Value {
        let bytes = self.scaled(index, scale);
        self.b.ins().iadd(base, bytes)
    }

    /// `value * scale` for a constant scale.
    pub(crate) fn scaled(&mut self, value: Value, scale: i64) -> Value {
        if scale == 1 {
            value
        } else if scale > 0 && scale & (scale - 1) == 0 {
            self.b.ins().ishl_imm_u(value, i64::from(scale.trailing_zeros()))
        } else {
            self.b.ins().imul_imm_s(value, scale)
        }
    }

    pub(crate) fn add_const(&mut self, value: Value, constant: i64) -> Value {
        if constant == 0 { value } else { self.b.ins().iadd_imm_s(value, constant) }
    }

    // Control.

    /// Emits in a scope of its own, after which its values are forgotten.
    pub(crate) fn scoped<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        self.scopes.0.push(Scope::default());
        let result = f(self);
        self.scopes.0.pop();
        result
    }

    /// Emits what must not see remembered values: a statement, between which variables and tiles change.
    pub(crate) fn fresh<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let outer = std::mem::replace(&mut self.scopes, Scopes(vec![Scope::default()]));
        let result = f(self);
        self.scopes = outer;
        result
    }

    /// `for i in lo .. hi step`, with `step > 0`.
    pub(crate) fn count(&mut self, lo: Value, hi: Value, step: Value, f: impl FnOnce(&mut Self, Value)) {
        let (header, body, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(header, WORD);
        self.b.ins().jump(header, &[BlockArg::Value(lo)]);
        self.b.switch_to_block(header);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, hi);
        self.b.ins().brif(more, body, &[], exit, &[]);
        self.b.seal_block(body);
        self.b.switch_to_block(body);
        self.scoped(|e| f(e, i));
        let next = self.b.ins().iadd(i, step);
        self.b.ins().jump(header, &[BlockArg::Value(next)]);
        self.b.seal_block(header);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
    }

    /// `for i in lo .. hi` by a constant step.
    pub(crate) fn count_by(&mut self, lo: Value, hi: Value, step: i64, f: impl FnOnce(&mut Self, Value)) {
        let step = self.int(step);
        self.count(lo, hi, step, f);
    }

    /// An extent: never below zero.
    pub(crate) fn extent(&mut self, expr: &Expr) -> Value {
        let value = self.scalar(expr);
        let zero = self.int(0);
        self.b.ins().smax(value, zero)
    }

    /// A loop that carries a value through.
    pub(crate) fn fold(
        &mut self,
        lo: Value,
        hi: Value,
        start: Value,
        f: impl FnOnce(&mut Self, Value, Value) -> Value,
    ) -> Value {
        let ty = self.type_of(start);
        let carried = self.b.declare_var(ty);
        self.b.def_var(carried, start);
        self.count_by(lo, hi, 1, |e, i| {
            let old = e.b.use_var(carried);
            let new = f(e, i, old);
            e.b.def_var(carried, new);
        });
        self.b.use_var(carried)
    }

    /// `if condition { then } else { otherwise }` as a value.
    pub(crate) fn choose(
        &mut self,
        condition: Value,
        ty: Type,
        then: impl FnOnce(&mut Self) -> Value,
        otherwise: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        let (yes, no, join) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(join, ty);
        self.b.ins().brif(condition, yes, &[], no, &[]);
        self.b.seal_block(yes);
        self.b.seal_block(no);
        self.b.switch_to_block(yes);
        let value = self.scoped(then);
        self.b.ins().jump(join, &[BlockArg::Value(value)]);
        self.b.switch_to_block(no);
        let value = self.scoped(otherwise);
        self.b.ins().jump(join, &[BlockArg::Value(value)]);
        self.b.seal_block(join);
        self.b.switch_to_block(join);
        result
    }

    /// `if condition { then } else { otherwise }`.
    pub(crate) fn branch(
        &mut self,
        condition: Value,
        then: impl FnOnce(&mut Self),
        otherwise: impl FnOnce(&mut Self),
    ) {
        let (yes, no, join) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, yes, &[], no, &[]);
        self.b.seal_block(yes);
        self.b.seal_block(no);
        self.b.switch_to_block(yes);
        self.scoped(then);
        self.b.ins().jump(join, &[]);
        self.b.switch_to_block(no);
        self.scoped(otherwise);
        self.b.ins().jump(join, &[]);
        self.b.seal_block(join);
        self.b.switch_to_block(join);
    }

    /// Emits with the element of an elementwise statement at `point`.
    pub(crate) fn at_point<R>(&mut self, point: Point, f: impl FnOnce(&mut Self) -> R) -> R {
        let outer = std::mem::replace(&mut self.point, point);
        let result = self.scoped(f);
        self.point = outer;
        result
    }

    // Calls and variables.

    /// Calls a micro-kernel.
    pub(crate) fn call(&mut self, micro: Micro, args: &[Value]) -> Option<Value> {
        let id = self.imports.declare(self.module, micro);
        let function = self.module.declare_func_in_func(id, self.b.func);
        let call = self.b.ins().call(function, args);
        self.b.inst_results(call).first().copied()
    }

    pub(crate) fn get(&mut self, var: VarId) -> Value {
        self.b.use_var(self.vars[var.0 as usize])
    }

    pub(crate) fn set(&mut self, var: VarId, value: Value) {
        self.b.def_var(self.vars[var.0 as usize], value);
    }

    /// The kernel being emitted.
    pub(crate) fn kernel(&self) -> &'p Kernel {
        self.kernel.expect("codegen: tiles occur in kernels only").0
    }

    pub(crate) fn plan(&self) -> &'p KernelPlan {
        self.kernel.expect("codegen: tiles occur in kernels only").1
    }
}

/// The machine type of a scalar.
pub(crate) fn scalar_type(ty: ScalarType) -> Type {
    match ty {
        ScalarType::Int => types::I64,
        ScalarType::F32 => types::F32,
        ScalarType::Bool => types::I8,
    }
}

/// The machine type of four of them; a bool is a mask of all ones or zeros.
pub(crate) fn vector_type(ty: ScalarType) -> Type {
    match ty {
        ScalarType::F32 => types::F32X4,
        ScalarType::Int | ScalarType::Bool => types::I32X4,
    }
}
