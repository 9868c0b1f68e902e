//! Conversions between storage types, over all 16-bit values and the borders of rounding.

use dmac_cpu_kernels::{ElementType, Isa};
use half::{bf16, f16};

use super::harness::{Guarded, decode, encode, for_each_table, rounded};

#[test]
fn every_16_bit_value_is_loaded_exactly() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let all = Guarded::new(&all);
    for_each_table(|table| {
        for ty in [ElementType::F16, ElementType::Bf16] {
            let want = decode(&all, ty);
            let mut got = Guarded::filled(0.0_f32, 1 << 16);
            // SAFETY: one row of 65536 elements on both sides.
            unsafe {
                (table.functions.pack_rows)(
                    1,
                    1 << 16,
                    all.as_ptr(),
                    ty.code(),
                    0,
                    std::ptr::null(),
                    got.as_mut_ptr(),
                    0,
                    std::ptr::null(),
                );
            }
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                    "{got} is not {want}"
                );
            }
        }
    });
}

/// Values on, just below and just above every border between two neighbours of a 16-bit type, and others of all sizes.
fn borders(to_f32: impl Fn(u16) -> f32) -> Vec<f32> {
    let mut values =
        vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 1e-45, 1e-40];
    for bits in (0..0x7fff).step_by(3) {
        let (low, high) = (to_f32(bits), to_f32(bits + 1));
        if high.is_finite() {
            let middle = f32::midpoint(low, high);
            values.extend([middle, f32::from_bits(middle.to_bits() + 1), -middle]);
            values.push(f32::from_bits(middle.to_bits().saturating_sub(1)));
        }
    }
    values.extend((0..u32::MAX).step_by(0x1_2345).map(f32::from_bits));
    values
}

#[test]
fn stores_round_to_nearest_even() {
    for_each_table(|table| {
        for ty in [ElementType::F16, ElementType::Bf16] {
            let values = match ty {
                ElementType::F16 => borders(|bits| f16::from_bits(bits).to_f32()),
                _ => borders(|bits| bf16::from_bits(bits).to_f32()),
            };
            let n = values.len();
            let from = Guarded::new(&values);
            let mut to = encode(&vec![0.0; n], ty);
            // SAFETY: one row of `n` elements on both sides.
            unsafe { (table.functions.store_rows)(1, n, from.as_ptr(), 0, to.as_mut_ptr(), ty.code(), 0) };
            for (x, got) in values.iter().zip(decode(&to, ty)) {
                let want = rounded(*x, ty);
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                // The bf16 instructions take subnormals for zero.
                let flushed =
                    table.isa == Isa::Avx512Bf16 && ty == ElementType::Bf16 && !x.is_normal() && got == 0.0;
                assert!(same || flushed, "{} {ty:?}: {x:e} became {got:e} instead of {want:e}", table.name());
            }
        }
    });
}
