//! Packing and storing: every element lands where the contract says, and nothing else changes.

use dmac_cpu_kernels::{ElementType, KernelTable};
use half::bf16;

use super::harness::{
    Guarded, Random, TYPES, decode, encode, for_each_table, index_list, listed, pointer, rounded,
};

/// Rows of a storage type picked by an index list, as a packing function sees them.
struct Source {
    ty: ElementType,
    stride: usize,
    bytes: Guarded<u8>,
    values: Vec<f32>,
    index: Option<Guarded<i32>>,
}

impl Source {
    fn new(random: &mut Random, rows: usize, cols: usize, ty: ElementType, with_index: bool) -> Self {
        let (stored, stride) = (rows + 3, cols + 2);
        let len = if cols == 0 { 0 } else { (stored - 1) * stride + cols };
        let bytes = encode(&random.units(len), ty);
        let values = decode(&bytes, ty);
        Self { ty, stride, bytes, values, index: index_list(random, rows, stored, with_index) }
    }

    fn at(&self, row: usize, x: usize) -> f32 {
        self.values[listed(self.index.as_ref(), row) * self.stride + x]
    }

    fn index(&self) -> *const i32 {
        pointer(self.index.as_ref())
    }
}

/// Distinct slots for `rows` rows out of `of`.
fn slots(random: &mut Random, rows: usize, of: usize) -> Guarded<i32> {
    let mut all: Vec<i32> = (0..of as i32).collect();
    for i in 0..rows {
        let j = i + random.below(of - i);
        all.swap(i, j);
    }
    Guarded::new(&all[..rows])
}

/// Runs `body` over sizes, types, with and without an index list and slots.
fn for_each_case(seed: u64, mut body: impl FnMut(&KernelTable, &mut Random, usize, usize, &Source, bool)) {
    for_each_table(|table| {
        let mut random = Random::new(seed);
        let (panel, lanes) = (table.panel, table.lanes);
        for rows in [0, 1, lanes - 1, lanes, panel, panel + lanes + 1, 2 * panel] {
            for cols in [0, 1, 2, lanes - 1, 2 * lanes, 2 * lanes + 3, 4 * lanes + 7] {
                for ty in TYPES {
                    for variant in 0..4 {
                        let source = Source::new(&mut random, rows, cols, ty, variant & 1 != 0);
                        body(table, &mut random, rows, cols, &source, variant & 2 != 0);
                    }
                }
            }
        }
    });
}

fn what(table: &KernelTable, rows: usize, cols: usize, source: &Source) -> String {
    format!("{} {rows}x{cols} {:?}", table.name(), source.ty)
}

#[test]
fn pack_panels_transposes() {
    for_each_case(10, |table, random, rows, depth, source, with_slots| {
        let panel = table.panel;
        let room = if with_slots { rows + 5 } else { rows }.div_ceil(panel) * panel;
        let slots = with_slots.then(|| slots(random, rows, room));
        let mut to = Guarded::filled(9.5_f32, room * depth);
        // SAFETY: the arrays have the extents that the contract asks for.
        unsafe {
            (table.functions.pack_panels)(
                rows,
                depth,
                source.bytes.as_ptr(),
                source.ty.code(),
                source.stride,
                source.index(),
                to.as_mut_ptr(),
                pointer(slots.as_ref()),
            );
        }
        let rest = if with_slots { 9.5 } else { 0.0 };
        let mut want = vec![rest; room * depth];
        for t in 0..rows {
            let s = listed(slots.as_ref(), t);
            for x in 0..depth {
                want[s / panel * panel * depth + x * panel + s % panel] = source.at(t, x);
            }
        }
        assert_eq!(to[..], want[..], "{}", what(table, rows, depth, source));
    });
}

/// Bits of a value rounded to bf16.
fn bits(x: f32) -> u32 {
    u32::from(bf16::from_f32(x).to_bits())
}

#[test]
fn pack_panels_bf16_transposes_pairs() {
    for_each_case(11, |table, random, rows, depth, source, with_slots| {
        let (panel, words) = (table.panel, depth.div_ceil(2));
        let room = if with_slots { rows + 5 } else { rows }.div_ceil(panel) * panel;
        let slots = with_slots.then(|| slots(random, rows, room));
        let mut to = Guarded::filled(0x1234_5678_u32, room * words);
        // SAFETY: the arrays have the extents that the contract asks for.
        unsafe {
            (table.functions.pack_panels_bf16)(
                rows,
                depth,
                source.bytes.as_ptr(),
                source.ty.code(),
                source.stride,
                source.index(),
                to.as_mut_ptr(),
                pointer(slots.as_ref()),
            );
        }
        let mut want = vec![if with_slots { 0x1234_5678 } else { 0 }; room * words];
        for t in 0..rows {
            let s = listed(slots.as_ref(), t);
            for pair in 0..words {
                let high = if 2 * pair + 1 < depth { bits(source.at(t, 2 * pair + 1)) } else { 0 };
                want[s / panel * panel * words + pair * panel + s % panel] =
                    bits(source.at(t, 2 * pair)) | (high << 16);
            }
        }
        assert_eq!(to[..], want[..], "{}", what(table, rows, depth, source));
    });
}

#[test]
fn pack_rows_converts() {
    for_each_case(12, |table, random, rows, cols, source, with_slots| {
        let (room, to_row) = (rows + 5, cols + 1);
        let slots = with_slots.then(|| slots(random, rows, room));
        let mut to = Guarded::filled(9.5_f32, room * to_row);
        // SAFETY: the arrays have the extents that the contract asks for.
        unsafe {
            (table.functions.pack_rows)(
                rows,
                cols,
                source.bytes.as_ptr(),
                source.ty.code(),
                source.stride,
                source.index(),
                to.as_mut_ptr(),
                to_row,
                pointer(slots.as_ref()),
            );
        }
        let mut want = vec![9.5; room * to_row];
        for t in 0..rows {
            for x in 0..cols {
                want[listed(slots.as_ref(), t) * to_row + x] = source.at(t, x);
            }
        }
        assert_eq!(to[..], want[..], "{}", what(table, rows, cols, source));
    });
}

#[test]
fn pack_rows_bf16_interleaves() {
    for_each_case(13, |table, random, rows, cols, source, with_slots| {
        let (room, to_row) = (rows.div_ceil(2) + 3, cols + 1);
        let slots = with_slots.then(|| slots(random, rows, 2 * room));
        let mut to = Guarded::filled(0x1234_5678_u32, room * to_row);
        // SAFETY: the arrays have the extents that the contract asks for.
        unsafe {
            (table.functions.pack_rows_bf16)(
                rows,
                cols,
                source.bytes.as_ptr(),
                source.ty.code(),
                source.stride,
                source.index(),
                to.as_mut_ptr(),
                to_row,
                pointer(slots.as_ref()),
            );
        }
        let mut want = vec![0x1234_5678_u32; room * to_row];
        for t in 0..rows {
            let s = listed(slots.as_ref(), t);
            for x in 0..cols {
                let (word, shift) = (&mut want[s / 2 * to_row + x], 16 * (s % 2));
                if slots.is_none() && shift == 0 {
                    *word = 0;
                }
                *word = (*word & !(0xffff << shift)) | (bits(source.at(t, x)) << shift);
            }
        }
        assert_eq!(to[..], want[..], "{}", what(table, rows, cols, source));
    });
}

#[test]
fn store_rows_rounds_to_nearest() {
    for_each_table(|table| {
        let mut random = Random::new(14);
        for ty in TYPES {
            for cols in [0, 1, table.lanes - 1, table.lanes, 2 * table.lanes + 3] {
                let (rows, from_row, to_row) = (3, cols + 4, cols + 1);
                let from = Guarded::new(&random.units(rows * from_row));
                let mut to = encode(&vec![9.5; rows * to_row], ty);
                // SAFETY: the arrays have the extents that the contract asks for.
                unsafe {
                    (table.functions.store_rows)(
                        rows,
                        cols,
                        from.as_ptr(),
                        from_row,
                        to.as_mut_ptr(),
                        ty.code(),
                        to_row,
                    );
                }
                let mut want = vec![9.5; rows * to_row];
                for t in 0..rows {
                    for x in 0..cols {
                        want[t * to_row + x] = rounded(from[t * from_row + x], ty);
                    }
                }
                assert_eq!(decode(&to, ty), want, "{} {ty:?} {cols}", table.name());
            }
        }
    });
}
