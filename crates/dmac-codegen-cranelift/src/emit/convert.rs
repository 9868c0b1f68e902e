//! Storage types in generated code: f16 and bf16 bits to f32 and back, one element or four.
//!
//! Cranelift has no bf16 and, on x86-64, no arithmetic on f16, so both are integer operations on the bits. All of them
//! work on a scalar (`I32`, `F32`) and on four lanes (`I32X4`, `F32X4`): the type of the operand decides. Rounding is to
//! nearest even; NaN stays NaN.

use super::Emitter;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use dmac_schedule::kernel::Element;

/// The int type with the lanes of a type.
fn ints(ty: Type) -> Type {
    if ty.is_vector() { types::I32X4 } else { types::I32 }
}

/// The float type with the lanes of a type.
fn floats(ty: Type) -> Type {
    if ty.is_vector() { types::F32X4 } else { types::F32 }
}

impl Emitter<'_, '_, '_> {
    /// `if a < b (unsigned) { x } else { y }`, lane by lane; all ints.
    fn pick_below(&mut self, a: Value, b: Value, x: Value, y: Value) -> Value {
        let less = self.b.ins().icmp(IntCC::UnsignedLessThan, a, b);
        if self.type_of(a).is_vector() {
            self.b.ins().bitselect(less, x, y)
        } else {
            self.b.ins().select(less, x, y)
        }
    }

    /// The f32 of the 16 low bits of an int.
    pub(crate) fn widen(&mut self, element: Element, bits: Value) -> Value {
        let ty = self.type_of(bits);
        let result = match element {
            Element::Bf16 => self.b.ins().ishl_imm_u(bits, 16),
            Element::F16 => {
                let sign = self.lanes_int(ty, 0x8000);
                let sign = self.b.ins().band(bits, sign);
                let sign = self.b.ins().ishl_imm_u(sign, 16);
                let rest = self.lanes_int(ty, 0x7fff);
                let rest = self.b.ins().band(bits, rest);
                let rest = self.b.ins().ishl_imm_u(rest, 13);
                // The exponent's bias differs by 112: a multiplication puts it right, for subnormals too.
                let value = self.bits(floats(ty), rest);
                let scale = self.lanes_float(floats(ty), f32::from_bits(0x7780_0000));
                let value = self.b.ins().fmul(value, scale);
                let value = self.bits(ty, value);
                let exponent = self.lanes_int(ty, 0x7f80_0000);
                let special = self.b.ins().bor(rest, exponent);
                let limit = self.lanes_int(ty, 0x7c00 << 13);
                let value = self.pick_below(rest, limit, value, special);
                self.b.ins().bor(value, sign)
            }
            Element::F32 | Element::I32 | Element::Bool => {
                unreachable!("codegen: {element} is no 16-bit storage type")
            }
        };
        self.bits(floats(ty), result)
    }

    /// An f32 rounded to a value of the storage type, still as an f32.
    pub(crate) fn round(&mut self, element: Element, value: Value) -> Value {
        let ty = self.type_of(value);
        let int = ints(ty);
        let dropped = match element {
            Element::F32 => return value,
            Element::Bf16 => 16,
            Element::F16 => 13,
            Element::I32 | Element::Bool => unreachable!("codegen: {element} holds no floats"),
        };
        let bits = self.bits(int, value);
        let rest = self.lanes_int(int, 0x7fff_ffff);
        let magnitude = self.b.ins().band(bits, rest);
        let sign = self.b.ins().bxor(bits, magnitude);
        // To nearest even: add half of what is dropped less one, and the bit that stays lowest.
        let lowest = self.b.ins().ushr_imm_u(magnitude, dropped);
        let one = self.lanes_int(int, 1);
        let lowest = self.b.ins().band(lowest, one);
        let half = self.lanes_int(int, (1 << (dropped - 1)) - 1);
        let rounded = self.b.ins().iadd(magnitude, half);
        let rounded = self.b.ins().iadd(rounded, lowest);
        let keep = self.lanes_int(int, !((1 << dropped) - 1));
        let mut rounded = self.b.ins().band(rounded, keep);
        let infinity = self.lanes_int(int, 0x7f80_0000);
        if element == Element::F16 {
            // Above the largest, 65504: infinity. Below 2^-14 the spacing is 2^-24, that of an f32 from 0.5 to 1.
            let limit = self.lanes_int(int, 0x4780_0000);
            rounded = self.pick_below(rounded, limit, rounded, infinity);
            let float = self.bits(floats(ty), magnitude);
            let half = self.lanes_float(floats(ty), 0.5);
            let sum = self.b.ins().fadd(float, half);
            let small = self.b.ins().fsub(sum, half);
            let small = self.bits(int, small);
            let normal = self.lanes_int(int, 0x3880_0000);
            rounded = self.pick_below(magnitude, normal, small, rounded);
        }
        // Infinity rounds to itself; NaN must not be carried over into a number.
        let rounded = self.pick_below(infinity, magnitude, magnitude, rounded);
        let result = self.b.ins().bor(rounded, sign);
        self.bits(floats(ty), result)
    }

    /// An f32 as 16 bits of the storage type, in the low half of an int.
    pub(crate) fn narrow(&mut self, element: Element, value: Value) -> Value {
        let value = self.round(element, value);
        let ty = self.type_of(value);
        let int = ints(ty);
        let bits = self.bits(int, value);
        match element {
            Element::Bf16 => {
                // A NaN whose payload is in the dropped half alone stays a NaN.
                let high = self.b.ins().ushr_imm_u(bits, 16);
                let rest = self.lanes_int(int, 0x7fff_ffff);
                let magnitude = self.b.ins().band(bits, rest);
                let infinity = self.lanes_int(int, 0x7f80_0000);
                let quiet = self.lanes_int(int, 0x40);
                let quiet = self.b.ins().bor(high, quiet);
                self.pick_below(infinity, magnitude, quiet, high)
            }
            Element::F16 => {
                let rest = self.lanes_int(int, 0x7fff_ffff);
                let magnitude = self.b.ins().band(bits, rest);
                let sign = self.b.ins().bxor(bits, magnitude);
                let sign = self.b.ins().ushr_imm_u(sign, 16);
                let bias = self.lanes_int(int, 112 << 23);
                let normal = self.b.ins().isub(magnitude, bias);
                let normal = self.b.ins().ushr_imm_u(normal, 13);
                let float = self.bits(floats(ty), magnitude);
                let half = self.lanes_float(floats(ty), 0.5);
                let sum = self.b.ins().fadd(float, half);
                let sum = self.bits(int, sum);
                let half_bits = self.lanes_int(int, 0x3f00_0000);
                let small = self.b.ins().isub(sum, half_bits);
                let least_normal = self.lanes_int(int, 0x3880_0000);
                let finite = self.pick_below(magnitude, least_normal, small, normal);
                let infinity = self.lanes_int(int, 0x7f80_0000);
                let half_infinity = self.lanes_int(int, 0x7c00);
                let nan = self.lanes_int(int, 0x7e00);
                let special = self.pick_below(infinity, magnitude, nan, half_infinity);
                let result = self.pick_below(magnitude, infinity, finite, special);
                self.b.ins().bor(result, sign)
            }
            Element::F32 | Element::I32 | Element::Bool => {
                unreachable!("codegen: {element} is no 16-bit storage type")
            }
        }
    }
}
