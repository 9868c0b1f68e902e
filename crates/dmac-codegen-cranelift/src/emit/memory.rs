//! Tiles in memory: addresses, element loads and stores, operands of micro-kernels.

use super::{ACCESS, Emitter, WORD};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_frontend::Variable;
use dmac_schedule::kernel::{Element, Expr, TileId, TileRef};

/// Where the contents of a tile are, when it is not scratch memory alone that says so.
#[derive(Clone, Copy)]
pub(crate) struct View {
    /// Address of the first element in the tensor.
    pub(crate) address: Variable,
    /// Elements from one row to the next in the tensor.
    pub(crate) stride: Variable,
    /// The list of rows, or null.
    pub(crate) list: Variable,
    /// Rows that were copied.
    pub(crate) rows: Variable,
    /// Address of the panels.
    pub(crate) panels: Variable,
    /// Rows of a panel's matrix: the depth that was packed.
    pub(crate) depth: Variable,
}

/// A row-major operand of a micro-kernel.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) address: Value,
    /// Elements from one row to the next.
    pub(crate) stride: Value,
    /// The rows that exist, where there may be fewer than are asked for.
    pub(crate) rows: Option<Value>,
}

impl Emitter<'_, '_, '_> {
    /// The address of a tile's first element, at stage 0.
    pub(crate) fn tile_base(&mut self, tile: TileId) -> Value {
        self.tile_stage(tile, None)
    }

    /// The address of the first element of a stage.
    fn tile_stage(&mut self, tile: TileId, stage: Option<&Expr>) -> Value {
        let plan = self.plan().tile(tile);
        let start = plan
            .rows
            .unwrap_or_else(|| panic!("codegen: tile {} is not held as rows", self.kernel().tile(tile).name));
        let bytes = plan.stage as i64;
        self.scratch_at(start, stage, bytes)
    }

    /// The address of a stage's panels.
    pub(crate) fn panels(&mut self, tile: &TileRef) -> Option<Value> {
        let plan = self.plan().tile(tile.tile);
        let (start, bytes) = (plan.panels?, plan.panel_stage as i64);
        Some(self.scratch_at(start, tile.stage.as_deref(), bytes))
    }

    pub(crate) fn scratch_at(&mut self, start: usize, stage: Option<&Expr>, stage_bytes: i64) -> Value {
        let scratch = self.scratch.expect("codegen: tiles occur in kernels only");
        let base = self.add_const(scratch, start as i64);
        match stage {
            None | Some(Expr::Int(0)) => base,
            Some(stage) => {
                let stage = self.scalar(stage);
                self.offset(base, stage, stage_bytes)
            }
        }
    }

    /// The tile as an operand of a micro-kernel.
    pub(crate) fn operand(&mut self, tile: &TileRef) -> Operand {
        if self.plan().tile(tile.tile).view {
            let view = self.views[tile.tile.0 as usize].expect("codegen: a view has variables");
            return Operand {
                address: self.b.use_var(view.address),
                stride: self.b.use_var(view.stride),
                rows: Some(self.b.use_var(view.rows)),
            };
        }
        let stride = self.plan().tile(tile.tile).stride as i64;
        let address = self.tile_stage(tile.tile, tile.stage.as_deref());
        Operand { address, stride: self.int(stride), rows: None }
    }

    /// The address of a tile's element.
    pub(crate) fn tile_address(&mut self, tile: TileId, row: Value, col: Value) -> Value {
        let (stride, bytes) = (self.plan().tile(tile).stride as i64, self.plan().tile(tile).bytes as i64);
        let base = self.tile_base(tile);
        let row = self.scaled(row, stride * bytes);
        let col = self.scaled(col, bytes);
        let within = self.b.ins().iadd(row, col);
        self.b.ins().iadd(base, within)
    }

    /// How an element is held in a tile: storage elements as f32.
    pub(crate) fn held(&self, tile: TileId) -> Element {
        match self.kernel().tile(tile).element {
            Element::F32 | Element::F16 | Element::Bf16 => Element::F32,
            element @ (Element::I32 | Element::Bool) => element,
        }
    }

    /// One element of a tile as a scalar.
    pub(crate) fn load_tile(&mut self, tile: TileId, address: Value) -> Value {
        let value = self.load_element(self.held(tile), address);
        self.meant(tile, value)
    }

    /// One scalar to a tile, in the form that the tile is held in.
    pub(crate) fn store_tile(&mut self, tile: TileId, value: Value, address: Value) {
        let value = self.held_as(tile, value);
        self.store_element(self.held(tile), value, address);
    }

    /// What the program means by a value that a tile holds; a scalar or four lanes.
    pub(crate) fn meant(&mut self, tile: TileId, value: Value) -> Value {
        if self.plan().tile(tile).log2 { self.times(value, std::f32::consts::LN_2) } else { value }
    }

    /// What a tile holds for a value of the program; a scalar or four lanes.
    pub(crate) fn held_as(&mut self, tile: TileId, value: Value) -> Value {
        if self.plan().tile(tile).log2 {
            return self.times(value, std::f32::consts::LOG2_E);
        }
        match self.kernel().tile(tile).element {
            element @ (Element::F16 | Element::Bf16) => self.round(element, value),
            Element::F32 | Element::I32 | Element::Bool => value,
        }
    }

    fn times(&mut self, value: Value, factor: f32) -> Value {
        let ty = self.type_of(value);
        let factor = self.lanes_float(ty, factor);
        self.b.ins().fmul(value, factor)
    }

    /// Four consecutive elements of memory: `F32X4`, `I32X4`, or a mask.
    pub(crate) fn load_lanes(&mut self, element: Element, address: Value) -> Value {
        match element {
            Element::F32 => self.b.ins().load(types::F32X4, ACCESS, address, 0),
            Element::I32 => self.b.ins().load(types::I32X4, ACCESS, address, 0),
            Element::F16 | Element::Bf16 => {
                let bits = self.b.ins().uload16x4(ACCESS, address, 0);
                self.widen(element, bits)
            }
            Element::Bool => {
                let four = self.b.ins().load(types::I32, ACCESS, address, 0);
                let bytes = self.b.ins().scalar_to_vector(types::I32X4, four);
                let bytes = self.bits(types::I8X16, bytes);
                let halves = self.b.ins().uwiden_low(bytes);
                let words = self.b.ins().uwiden_low(halves);
                let zero = self.lanes_int(types::I32X4, 0);
                self.b.ins().icmp(cranelift_codegen::ir::condcodes::IntCC::NotEqual, words, zero)
            }
        }
    }

    /// Four lanes to consecutive elements of a tile, in the form that it is held in.
    pub(crate) fn store_lanes(&mut self, tile: TileId, value: Value, address: Value) {
        let value = self.held_as(tile, value);
        if self.held(tile) == Element::Bool {
            let halves = self.b.ins().snarrow(value, value);
            let bytes = self.b.ins().snarrow(halves, halves);
            let words = self.bits(types::I32X4, bytes);
            let four = self.b.ins().extractlane(words, 0u8);
            let four = self.b.ins().band_imm_u(four, 0x0101_0101);
            self.b.ins().store(ACCESS, four, address, 0);
        } else {
            self.b.ins().store(ACCESS, value, address, 0);
        }
    }

    /// Sets `bytes / 16 * 16` bytes from an address on: whole vectors of one value.
    pub(crate) fn fill_bytes(&mut self, address: Value, bytes: Value, vector: Value) {
        let end = self.b.ins().iadd(address, bytes);
        self.count_by(address, end, 16, |e, at| {
            e.b.ins().store(ACCESS, vector, at, 0);
        });
    }

    /// The variables of a view, for the start of a kernel.
    pub(crate) fn declare_view(&mut self) -> View {
        let mut declare = |ty: Type| {
            let variable = self.b.declare_var(ty);
            let zero = self.b.ins().iconst(ty, 0);
            self.b.def_var(variable, zero);
            variable
        };
        View {
            address: declare(WORD),
            stride: declare(WORD),
            list: declare(WORD),
            rows: declare(WORD),
            panels: declare(WORD),
            depth: declare(WORD),
        }
    }
}
