//! Tile products: packed, in place, transposed, accumulated, in pairs of bf16, by rows.

use dmac_cpu_kernels::{ElementType, KernelTable};
use half::bf16;

use super::harness::{Guarded, Random, TYPES, decode, encode, for_each_table, index_list, listed, pointer};

/// What lies between rows and must survive.
const PATTERN: f32 = -77.25;

/// Sizes around the edges of register tiles and panels, and empty ones.
fn sizes(table: &KernelTable) -> Vec<(usize, usize, usize)> {
    let (rows, panel, lanes) = (table.rows, table.panel, table.lanes);
    let mut sizes =
        vec![(0, 5, 5), (3, 0, 4), (3, 7, 0), (1, 1, 1), (13, 2 * panel + 1, 33), (2 * rows, panel, 64)];
    for m in 1..=rows + 1 {
        sizes.push((m, panel + lanes - 1, 7));
    }
    for n in [1, lanes - 1, lanes, lanes + 1, panel - 1, panel, panel + 1, 3 * panel - lanes - 3] {
        sizes.extend([(rows, n, 5), (rows + 2, n, 2)]);
    }
    sizes
}

/// `C = A B (+ C)` in f64 with the sum of magnitudes, for element functions of A, B and the old C.
fn expect(k: usize, old: f32, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> (f64, f64) {
    let mut sum = (f64::from(old), f64::from(old.abs()));
    for x in 0..k {
        let term = f64::from(a(x)) * f64::from(b(x));
        sum = (sum.0 + term, sum.1 + term.abs());
    }
    sum
}

#[track_caller]
fn assert_close(what: &str, got: f32, (want, magnitude): (f64, f64)) {
    let error = (f64::from(got) - want).abs();
    assert!(error <= 2e-6 * magnitude + 1e-30, "{what}: {got} instead of {want}");
}

#[test]
fn gemm_is_exact_over_edges_and_strides() {
    for_each_table(|table| {
        let mut random = Random::new(1);
        for (m, n, k) in sizes(table) {
            for variant in 0..8 {
                let (packed, transposed, accumulate) = (variant & 1 != 0, variant & 2 != 0, variant & 4 != 0);
                gemm_case(table, &mut random, (m, n, k), packed, transposed, accumulate);
            }
        }
    });
}

fn gemm_case(
    table: &KernelTable,
    random: &mut Random,
    (m, n, k): (usize, usize, usize),
    packed: bool,
    transposed: bool,
    accumulate: bool,
) {
    let panel = table.panel;
    let (a_row, a_col) = if transposed { (1, m + 3) } else { (k + 2, 1) };
    let a_len = if m * k == 0 { 0 } else { (m - 1) * a_row + (k - 1) * a_col + 1 };
    let a = Guarded::new(&random.units(a_len));
    let (b_row, b_panel) = if packed { (panel, panel * k) } else { (n + 5, panel) };
    let b_len = if packed {
        n.div_ceil(panel) * panel * k
    } else {
        k.saturating_sub(1) * b_row + if k == 0 { 0 } else { n }
    };
    let b = Guarded::new(&random.units(b_len));
    let c_row = n + 3;
    let old: Vec<f32> = if m * n == 0 { vec![] } else { random.units((m - 1) * c_row + n) };
    let mut c = Guarded::new(&old);
    for r in 0..m.saturating_sub(1) {
        if n > 0 {
            c[r * c_row + n..(r + 1) * c_row].fill(PATTERN);
        }
    }
    // SAFETY: the arrays have the extents that the contract asks for.
    unsafe {
        (table.functions.gemm)(
            m,
            n,
            k,
            a.as_ptr(),
            a_row,
            a_col,
            b.as_ptr(),
            b_row,
            b_panel,
            c.as_mut_ptr(),
            c_row,
            accumulate.into(),
        );
    }
    let what = format!(
        "{} {m}x{n}x{k} packed {packed} transposed {transposed} accumulate {accumulate}",
        table.name()
    );
    for r in 0..m {
        for x in 0..n {
            let before = if accumulate { old[r * c_row + x] } else { 0.0 };
            let b_at = |step: usize| b[x / panel * b_panel + step * b_row + x % panel];
            let want = expect(k, before, |step| a[r * a_row + step * a_col], b_at);
            assert_close(&what, c[r * c_row + x], want);
        }
        if n > 0 && r + 1 < m {
            assert_eq!(c[r * c_row + n..(r + 1) * c_row], [PATTERN; 3], "{what}: wrote between rows");
        }
    }
}

#[test]
fn gemm_bf16_multiplies_pairs() {
    for_each_table(|table| {
        let mut random = Random::new(2);
        for (m, n, k) in sizes(table) {
            for accumulate in [false, true] {
                gemm_bf16_case(table, &mut random, (m, n, k), accumulate);
            }
        }
    });
}

fn gemm_bf16_case(
    table: &KernelTable,
    random: &mut Random,
    (m, n, k): (usize, usize, usize),
    accumulate: bool,
) {
    let (panel, words) = (table.panel, k.div_ceil(2));
    let a_row = k + 1;
    let a_len = if m * k == 0 { 0 } else { (m - 1) * a_row + k };
    let a =
        Guarded::new(&random.units(a_len).iter().map(|&x| bf16::from_f32(x).to_bits()).collect::<Vec<_>>());
    let element = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    let b_len = n.div_ceil(panel) * panel * words;
    let b: Vec<u32> = (0..b_len).map(|_| element(random.unit()) | (element(random.unit()) << 16)).collect();
    let b = Guarded::new(&b);
    let old = random.units(m * n);
    let mut c = Guarded::new(&old);
    // SAFETY: the arrays have the extents that the contract asks for.
    unsafe {
        (table.functions.gemm_bf16)(
            m,
            n,
            k,
            a.as_ptr(),
            a_row,
            b.as_ptr(),
            panel,
            panel * words,
            c.as_mut_ptr(),
            n,
            accumulate.into(),
        );
    }
    let what = format!("{} {m}x{n}x{k} accumulate {accumulate}", table.name());
    for r in 0..m {
        for x in 0..n {
            let before = if accumulate { old[r * n + x] } else { 0.0 };
            let b_at = |step: usize| {
                let pair = b[x / panel * panel * words + step / 2 * panel + x % panel];
                bf16::from_bits((pair >> (16 * (step % 2))) as u16).to_f32()
            };
            let want = expect(k, before, |step| bf16::from_bits(a[r * a_row + step]).to_f32(), b_at);
            assert_close(&what, c[r * n + x], want);
        }
    }
}

/// Rows of B in a storage type, with the values that they stand for.
fn stored_rows(
    random: &mut Random,
    rows: usize,
    cols: usize,
    stride: usize,
    ty: ElementType,
) -> (Guarded<u8>, Vec<f32>) {
    let len = if rows * cols == 0 { 0 } else { (rows - 1) * stride + cols };
    let bytes = encode(&random.units(len), ty);
    let values = decode(&bytes, ty);
    (bytes, values)
}

#[test]
fn gemm_rows_reads_any_type_in_place() {
    for_each_table(|table| {
        let mut random = Random::new(3);
        for (m, n, k) in sizes(table) {
            for (case, ty) in TYPES.into_iter().cycle().take(6).enumerate() {
                let (with_index, accumulate) = (case % 2 == 0, case >= 3);
                let (a, a_row) = (Guarded::new(&random.units(m * k)), k);
                let (rows, b_row) = (k + 4, n + 1);
                let (bytes, b) = stored_rows(&mut random, rows, n, b_row, ty);
                let index = index_list(&mut random, k, rows, with_index);
                let old = random.units(m * n);
                let mut c = Guarded::new(&old);
                // SAFETY: the arrays have the extents that the contract asks for.
                unsafe {
                    (table.functions.gemm_rows)(
                        m,
                        n,
                        k,
                        a.as_ptr(),
                        a_row,
                        bytes.as_ptr(),
                        ty.code(),
                        b_row,
                        pointer(index.as_ref()),
                        c.as_mut_ptr(),
                        n,
                        accumulate.into(),
                    );
                }
                for r in 0..m {
                    for x in 0..n {
                        let before = if accumulate { old[r * n + x] } else { 0.0 };
                        let b_at = |step: usize| b[listed(index.as_ref(), step) * b_row + x];
                        let want = expect(k, before, |step| a[r * a_row + step], b_at);
                        assert_close(&format!("{} {m}x{n}x{k} {ty:?}", table.name()), c[r * n + x], want);
                    }
                }
            }
        }
    });
}

#[test]
fn dot_rows_reads_any_type_in_place() {
    for_each_table(|table| {
        let mut random = Random::new(4);
        for (m, k, n) in sizes(table) {
            for (case, ty) in TYPES.into_iter().cycle().take(6).enumerate() {
                let (a, a_row) = (Guarded::new(&random.units(m * k)), k);
                let (rows, b_row) = (n + 4, k + 1);
                let (bytes, b) = stored_rows(&mut random, rows, k, b_row, ty);
                let index = index_list(&mut random, n, rows, case % 2 == 0);
                let mut c = Guarded::filled(f32::NAN, m * n);
                // SAFETY: the arrays have the extents that the contract asks for.
                unsafe {
                    (table.functions.dot_rows)(
                        m,
                        n,
                        k,
                        a.as_ptr(),
                        a_row,
                        bytes.as_ptr(),
                        ty.code(),
                        b_row,
                        pointer(index.as_ref()),
                        c.as_mut_ptr(),
                        n,
                    );
                }
                for r in 0..m {
                    for x in 0..n {
                        let b_at = |step: usize| b[listed(index.as_ref(), x) * b_row + step];
                        let want = expect(k, 0.0, |step| a[r * a_row + step], b_at);
                        assert_close(&format!("{} {m}x{n}x{k} {ty:?}", table.name()), c[r * n + x], want);
                    }
                }
            }
        }
    });
}
