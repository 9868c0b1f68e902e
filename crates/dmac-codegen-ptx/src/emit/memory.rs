//! Addresses and accesses of tensors and of tiles in shared memory.

use super::value::{Bool, Float, Int, Part, Value};
use super::{Emitter, TileRegs};
use crate::plan::{Form, SharedTile};
use dmac_ptx::{
    Addr, Assembler, B16, B32, B64, Cmp, F32, Half, LoadMode, MemTy, Memory, Pred, Reg, Shared, global,
    shared,
};
use dmac_schedule::kernel::{Element, ScalarType, TensorId, TileId};

/// How an f32 becomes two bytes.
pub(crate) fn half(element: Element) -> Option<Half> {
    match element {
        Element::F16 => Some(Half::F16x2),
        Element::Bf16 => Some(Half::Bf16x2),
        Element::F32 | Element::I32 | Element::Bool => None,
    }
}

impl Emitter<'_> {
    /// The address of an element of a tensor: a register and bytes.
    pub(crate) fn address(&mut self, tensor: TensorId, index: &[Int]) -> (Reg<B64>, i32) {
        let regs = self.tensors[&tensor].clone();
        let bytes = self.element(tensor).bytes() as u32;
        let mut elements: Option<Reg<B64>> = None;
        let mut offset = 0;
        for (at, &x) in index.iter().enumerate() {
            let stride = regs.strides.get(at).copied().unwrap_or(Int::constant(1));
            let x = match (x, stride.known()) {
                (Int { base, offset: constant }, Some(1)) => {
                    offset += constant * bytes as i32;
                    Int { base, offset: 0 }
                }
                (x, _) => x,
            };
            if x.known() == Some(0) {
                continue;
            }
            let index = self.int(x);
            let stride_part = stride.known().map_or_else(|| self.int(stride).into(), Part::from);
            let stride = self.int_operand(stride);
            let part = elements.map_or(Part::None, Part::from);
            elements = Some(self.number("wide", [index.into(), stride_part, part], |e| match elements {
                Some(sum) => e.k.mad_wide_s("elements", index, stride, sum),
                None => e.k.mul_wide_s("elements", index, stride),
            }));
        }
        let base = match elements {
            None => regs.pointer,
            Some(elements) => {
                self.number("address", [regs.pointer.into(), elements.into(), Part::None], |e| {
                    let scaled = if bytes == 1 {
                        elements
                    } else {
                        e.k.shl("elements", elements, bytes.trailing_zeros())
                    };
                    e.k.add("address", regs.pointer, scaled)
                })
            }
        };
        (base, offset)
    }

    /// The guard of a memory access: a predicate, or `None` where it always happens.
    fn guard(&mut self, guard: Bool) -> Option<Reg<Pred>> {
        match guard {
            Bool::Constant(true) => None,
            guard => Some(self.condition(guard)),
        }
    }

    /// An element in memory as a scalar; zero where the guard does not hold.
    fn load<S: Memory>(&mut self, element: Element, from: Addr<S>, guard: Bool, mode: LoadMode) -> Value {
        let p = self.guard(guard);
        let k = &mut self.k;
        let guarded = |k: &mut Assembler, f: &dyn Fn(&mut Assembler)| match p {
            Some(p) => k.when(p, f),
            None => f(k),
        };
        match element {
            Element::F32 => {
                let d = if p.is_some() { k.mov::<F32>("real", 0.0) } else { k.reg("real") };
                guarded(k, &|k| k.ld_with(mode, &[d], from));
                Value::Float(d.into())
            }
            Element::I32 => {
                let d = if p.is_some() { k.mov::<B32>("int", 0) } else { k.reg("int") };
                guarded(k, &|k| k.ld_with(mode, &[d], from));
                Value::Int(d.into())
            }
            Element::F16 => {
                let d = if p.is_some() { k.mov::<B16>("half", 0) } else { k.reg("half") };
                guarded(k, &|k| k.ld_with(mode, &[d], from));
                Value::Float(k.float_from_half(Half::F16x2, "real", d).into())
            }
            Element::Bf16 => {
                // The upper half of an f32.
                let d = if p.is_some() { k.mov::<B32>("int", 0) } else { k.reg("int") };
                guarded(k, &|k| {
                    k.ld_narrow(MemTy::U16, d, from);
                });
                let bits = k.shl("int", d, 16);
                Value::Float(k.float_of("real", bits).into())
            }
            Element::Bool => {
                let d = if p.is_some() { k.mov::<B32>("int", 0) } else { k.reg("int") };
                guarded(k, &|k| {
                    k.ld_narrow(MemTy::U8, d, from);
                });
                Value::Bool(k.setp_u("cond", d, Cmp::Ne, 0).into())
            }
        }
    }

    /// An element of a tensor.
    pub(crate) fn load_element(&mut self, tensor: TensorId, index: &[Int], guard: Bool) -> Value {
        let (base, offset) = self.address(tensor, index);
        // Nobody writes the tensor while the kernel runs.
        let read_only = !self.plan.written.contains(&tensor);
        let mode = LoadMode { read_only, ..LoadMode::default() };
        let element = self.element(tensor);
        let part = match guard {
            Bool::Constant(value) => Part::Known(i64::from(value)),
            Bool::Register(p) => p.into(),
        };
        let parts = [base.into(), offset.into(), part];
        let from = global(base) + offset;
        match element.scalar() {
            ScalarType::F32 => {
                let load = |e: &mut Self| match e.load(element, from, guard, mode) {
                    Value::Float(value) => e.float(value),
                    value => panic!("codegen: {value:?} loaded as f32"),
                };
                Value::Float(self.number("loadf", parts, load).into())
            }
            ScalarType::Int => {
                let load = |e: &mut Self| match e.load(element, from, guard, mode) {
                    Value::Int(value) => e.int(value),
                    value => panic!("codegen: {value:?} loaded as an int"),
                };
                Value::Int(self.number("load", parts, load).into())
            }
            ScalarType::Bool => {
                let load = |e: &mut Self| match e.load(element, from, guard, mode) {
                    Value::Bool(value) => e.condition(value),
                    value => panic!("codegen: {value:?} loaded as a condition"),
                };
                Value::Bool(self.number("loadc", parts, load).into())
            }
        }
    }

    /// Stores a scalar as an element.
    pub(crate) fn store<S: Memory>(&mut self, element: Element, to: Addr<S>, value: Value, guard: Bool) {
        if guard == Bool::Constant(false) {
            return;
        }
        let p = self.guard(guard);
        let guarded = |k: &mut Assembler, f: &dyn Fn(&mut Assembler)| match p {
            Some(p) => k.when(p, f),
            None => f(k),
        };
        match (element, value) {
            (Element::F32, Value::Float(value)) => {
                let value = self.float(value);
                guarded(&mut self.k, &|k| k.st(to, value));
            }
            (Element::F16 | Element::Bf16, Value::Float(value)) => {
                let value = self.float(value);
                let ty = half(element).expect("two bytes");
                let bits = self.k.half_from_f(ty, "half", value);
                guarded(&mut self.k, &|k| k.st(to, bits));
            }
            (Element::I32, Value::Int(value)) => {
                let value = self.int(value);
                guarded(&mut self.k, &|k| k.st(to, value));
            }
            (Element::Bool, Value::Bool(_)) => {
                let value = self.word(value);
                guarded(&mut self.k, &|k| k.st_narrow(MemTy::U8, to, value));
            }
            (element, value) => panic!("codegen: {value:?} stored as {element}"),
        }
    }

    /// The address of an element of a tile in shared memory.
    pub(crate) fn shared_address(&mut self, tile: SharedTile, row: Int, col: Int) -> Addr<Shared> {
        let line = self.int_mul(row, Int::constant(i64::from(tile.pitch)));
        let bytes = self.int_mul(col, Int::constant(i64::from(tile.bytes)));
        let at = self.int_add(line, bytes);
        let at = self.int_add(at, Int::from(self.thread.base).plus(tile.offset as i32));
        shared(at.base.expect("shared memory has a base")) + at.offset
    }

    /// What a tile in shared memory holds as elements: conditions are words there.
    fn shared_element(&self, tile: TileId) -> Element {
        match self.kernel.tile(tile).element {
            Element::Bool => Element::I32,
            element => element,
        }
    }

    /// An element of a tile in shared memory.
    pub(crate) fn load_shared(
        &mut self,
        id: TileId,
        tile: SharedTile,
        row: Int,
        col: Int,
        guard: Bool,
    ) -> Value {
        let from = self.shared_address(tile, row, col);
        let value = self.load(self.shared_element(id), from, guard, LoadMode::default());
        match (self.kernel.tile(id).element, value) {
            (Element::Bool, Value::Int(value)) => {
                Value::Bool(self.int_compare(Cmp::Ne, value, Int::constant(0)))
            }
            (_, value) => value,
        }
    }

    /// Replaces an element of a tile in shared memory.
    pub(crate) fn store_shared(
        &mut self,
        id: TileId,
        tile: SharedTile,
        (row, col): (Int, Int),
        value: Value,
        guard: Bool,
    ) {
        let to = self.shared_address(tile, row, col);
        let value = match value {
            Value::Bool(_) => Value::Int(self.word(value).into()),
            value => value,
        };
        self.store(self.shared_element(id), to, value, guard);
    }

    /// An int, or a condition as 0 or 1, in a register.
    pub(crate) fn word(&mut self, value: Value) -> Reg<B32> {
        match value {
            Value::Int(value) => self.int(value),
            Value::Bool(value) => {
                let (one, zero) = (Value::Int(Int::constant(1)), Value::Int(Int::constant(0)));
                match self.choose(value, one, zero) {
                    Value::Int(word) => self.int(word),
                    _ => panic!("codegen: a choice of ints is an int"),
                }
            }
            Value::Float(value) => panic!("codegen: {value:?} is no word"),
        }
    }

    /// Whether a tile is in shared memory, and where.
    pub(crate) fn in_shared(&self, tile: TileId) -> Option<SharedTile> {
        match self.plan.form(tile) {
            Form::Shared(shared) => Some(shared),
            Form::Fragment | Form::Rows => None,
        }
    }

    /// An element of a tile at the current point.
    pub(crate) fn tile_element(&mut self, id: TileId) -> Value {
        let point = self.point.expect("codegen: an element outside an elementwise statement");
        let decl = self.kernel.tile(id);
        if let Some(tile) = self.in_shared(id) {
            let row = if decl.rows == 1 { Int::constant(0) } else { point.row };
            let col = if decl.cols == 1 { Int::constant(0) } else { point.col };
            let guard = self.bounds(decl.rows > 1, decl.cols > 1);
            return self.load_shared(id, tile, row, col, guard);
        }
        let place = point.place.expect("codegen: a tile in registers is read where it lies");
        match &self.tiles[id.0 as usize] {
            TileRegs::Fragment(groups) => {
                let group = if decl.cols == 1 { 0 } else { place.group };
                let half = if decl.cols == 1 { 0 } else { place.column };
                // Operands are wider than what they are computed from, and zero there.
                groups.get(group).map_or(Value::Float(Float::Constant(0.0)), |group| {
                    Value::Float(group[2 * place.row + half].into())
                })
            }
            TileRegs::Floats(rows) => Value::Float(rows[place.row].into()),
            TileRegs::Words(rows) => {
                let word = rows[place.row];
                match decl.element.scalar() {
                    ScalarType::Bool => Value::Bool(self.int_compare(Cmp::Ne, word.into(), Int::constant(0))),
                    _ => Value::Int(word.into()),
                }
            }
            TileRegs::Shared => panic!("codegen: `{}` has registers", decl.name),
        }
    }
}
