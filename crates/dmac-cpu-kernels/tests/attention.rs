//! Causal attention out of micro-kernels, as generated code calls them: the pieces fit, in f32 and in pairs of bf16.
#![allow(unsafe_code, reason = "the functions under test take raw pointers")]

use std::f32::consts::LOG2_E;
use std::ptr::{null, null_mut};

use dmac_cpu_kernels::{ElementType, KernelTable, available};
use half::bf16;

/// Rows of queries, head dimension, rows of a tile and columns of a tile; none divides another.
const N: usize = 203;
const D: usize = 40;
const ROWS: usize = 34;
const COLS: usize = 64;

struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

fn inputs() -> Inputs {
    let numbers = |seed: usize| {
        (0..N * D)
            .map(|i| bf16::from_f32((((i + seed) * 7919) % 2003) as f32 / 700.0 - 1.4).to_f32())
            .collect()
    };
    Inputs { q: numbers(1), k: numbers(500), v: numbers(900) }
}

/// Output and lse in f64.
fn exact(x: &Inputs) -> (Vec<f64>, Vec<f64>) {
    let (mut out, mut lse) = (vec![0.0; N * D], vec![]);
    let dot = |i: usize, j: usize| -> f64 {
        (0..D).map(|d| f64::from(x.q[i * D + d]) * f64::from(x.k[j * D + d])).sum::<f64>() / (D as f64).sqrt()
    };
    for i in 0..N {
        let scores: Vec<f64> = (0..=i).map(|j| dot(i, j)).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        for (j, s) in scores.iter().enumerate() {
            for d in 0..D {
                out[i * D + d] += (s - max).exp() / sum * f64::from(x.v[j * D + d]);
            }
        }
        lse.push(max + sum.ln());
    }
    (out, lse)
}

/// The state of one tile of rows.
struct Tile {
    max: [f32; ROWS],
    sum: [f32; ROWS],
    acc: [f32; ROWS * D],
    scores: [f32; ROWS * COLS],
    limit: [i32; ROWS],
}

impl Tile {
    fn new() -> Self {
        Self {
            max: [f32::NEG_INFINITY; ROWS],
            sum: [0.0; ROWS],
            acc: [0.0; ROWS * D],
            scores: [0.0; ROWS * COLS],
            limit: [0; ROWS],
        }
    }
}

/// Walks the tiles of a causal mask; `step(tile, first row, rows, first column, columns)` does one.
fn walk(
    table: &KernelTable,
    mut step: impl FnMut(&mut Tile, usize, usize, usize, usize),
) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut lse) = (vec![0.0_f32; N * D], vec![0.0_f32; N]);
    for first in (0..N).step_by(ROWS) {
        let rows = ROWS.min(N - first);
        let mut tile = Tile::new();
        for column in (0..first + rows).step_by(COLS) {
            let columns = COLS.min(first + rows - column);
            for (r, limit) in tile.limit.iter_mut().enumerate() {
                *limit = (first + r + 1) as i32 - column as i32;
            }
            step(&mut tile, first, rows, column, columns);
        }
        // SAFETY: `rows` rows of D columns from row `first` on.
        unsafe {
            (table.functions.finalize)(
                rows,
                D,
                tile.acc.as_ptr(),
                D,
                tile.max.as_ptr(),
                tile.sum.as_ptr(),
                out.as_mut_ptr().add(first * D).cast(),
                ElementType::F32.code(),
                D,
                lse.as_mut_ptr().add(first),
                1,
            );
        }
    }
    (out, lse)
}

fn scale() -> f32 {
    LOG2_E / (D as f32).sqrt()
}

#[track_caller]
fn check(name: &str, (out, lse): &(Vec<f32>, Vec<f32>), want: &(Vec<f64>, Vec<f64>), limit: f64) {
    let error: f64 = out.iter().zip(&want.0).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    let norm: f64 = want.0.iter().map(|b| b * b).sum();
    assert!((error / norm).sqrt() <= limit, "{name}: relative error {:e}", (error / norm).sqrt());
    for (a, b) in lse.iter().zip(&want.1) {
        assert!((f64::from(*a) - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}: lse {a} instead of {b}");
    }
}

#[test]
fn causal_attention_in_f32() {
    let x = inputs();
    let want = exact(&x);
    for table in available() {
        let (f, p) = (&table.functions, table.panel);
        let mut keys = vec![f32::NAN; N.next_multiple_of(p) * D];
        // SAFETY: panels for N keys; then tiles within the matrices.
        let got = unsafe {
            (f.pack_panels)(N, D, x.k.as_ptr().cast(), 0, D, null(), keys.as_mut_ptr(), null());
            walk(table, |t, first, rows, column, columns| {
                let q = x.q.as_ptr().add(first * D);
                let k = keys.as_ptr().add(column * D);
                let (s, acc) = (t.scores.as_mut_ptr(), t.acc.as_mut_ptr());
                let (max, sum) = (t.max.as_mut_ptr(), t.sum.as_mut_ptr());
                (f.gemm)(rows, columns, D, q, D, 1, k, p, p * D, s, COLS, 0);
                let limit = t.limit.as_ptr();
                (f.softmax)(rows, columns, s, COLS, null(), limit, scale(), max, sum, acc, D, D, null_mut());
                (f.gemm)(rows, D, columns, s, COLS, 1, x.v.as_ptr().add(column * D), D, p, acc, D, 1);
            })
        };
        check(table.name(), &got, &want, 5e-7);
    }
}

#[test]
fn causal_attention_in_pairs_of_bf16() {
    let x = inputs();
    let want = exact(&x);
    let queries: Vec<u16> = x.q.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
    for table in available() {
        let (f, p) = (&table.functions, table.panel);
        let mut keys = vec![0_u32; N.next_multiple_of(p) * D / 2];
        let mut values = vec![0_u32; N.div_ceil(2) * D];
        // SAFETY: panels for N keys and pairs for N values; then tiles within the matrices.
        let got = unsafe {
            (f.pack_panels_bf16)(N, D, x.k.as_ptr().cast(), 0, D, null(), keys.as_mut_ptr(), null());
            (f.pack_rows_bf16)(N, D, x.v.as_ptr().cast(), 0, D, null(), values.as_mut_ptr(), D, null());
            walk(table, |t, first, rows, column, columns| {
                let (q, k) = (queries.as_ptr().add(first * D), keys.as_ptr().add(column * D / 2));
                let (s, acc) = (t.scores.as_mut_ptr(), t.acc.as_mut_ptr());
                let (max, sum) = (t.max.as_mut_ptr(), t.sum.as_mut_ptr());
                (f.gemm_bf16)(rows, columns, D, q, D, k, p, p * D / 2, s, COLS, 0);
                let (limit, probabilities) = (t.limit.as_ptr(), s.cast());
                (f.softmax_bf16)(
                    rows,
                    columns,
                    s,
                    COLS,
                    null(),
                    limit,
                    scale(),
                    max,
                    sum,
                    acc,
                    D,
                    D,
                    null_mut(),
                    probabilities,
                    2 * COLS,
                );
                let v = values.as_ptr().add(column / 2 * D);
                (f.gemm_bf16)(rows, D, columns, probabilities, 2 * COLS, v, D, p, acc, D, 1);
            })
        };
        check(table.name(), &got, &want, 5e-3);
    }
}
