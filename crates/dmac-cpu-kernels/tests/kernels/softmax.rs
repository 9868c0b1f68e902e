//! The online softmax over several tiles, its ending, and the merging of partial states, against a softmax in f64.

use std::f32::consts::LOG2_E;

use dmac_cpu_kernels::{ElementType, KernelTable};
use half::bf16;

use super::harness::{Guarded, Random, TYPES, decode, encode, for_each_table, pointer, rounded};

const NONE: f32 = f32::NEG_INFINITY;

/// One tile of scores with its masks and values.
struct Tile {
    n: usize,
    scores: Vec<f32>,
    lo: Option<Guarded<i32>>,
    hi: Option<Guarded<i32>>,
    values: Guarded<f32>,
}

impl Tile {
    fn new(random: &mut Random, m: usize, n: usize, e: usize, variant: usize) -> Self {
        let scores = (0..m * n)
            .map(|_| if variant & 4 != 0 && random.below(3) == 0 { NONE } else { 8.0 * random.unit() });
        let scores = scores.collect();
        let mut bound = |some: bool| {
            some.then(|| Guarded::new(&(0..m).map(|_| random.below(n + 5) as i32 - 2).collect::<Vec<_>>()))
        };
        let (lo, hi) = (bound(variant & 1 != 0), bound(variant & 2 != 0));
        Self { n, scores, lo, hi, values: Guarded::new(&random.units(n * e)) }
    }

    fn attended(&self, r: usize, x: usize) -> bool {
        let lo = self.lo.as_ref().map_or(0, |lo| lo[r]);
        let hi = self.hi.as_ref().map_or(i32::MAX, |hi| hi[r]);
        lo <= x as i32 && (x as i32) < hi && self.scores[r * self.n + x] > NONE
    }
}

/// The running state of `m` rows.
struct State {
    row_max: Guarded<f32>,
    row_sum: Guarded<f32>,
    acc: Guarded<f32>,
    alpha: Guarded<f32>,
}

impl State {
    fn new(m: usize, e: usize) -> Self {
        Self {
            row_max: Guarded::filled(NONE, m),
            row_sum: Guarded::filled(0.0, m),
            acc: Guarded::filled(0.0, m * e),
            alpha: Guarded::filled(f32::NAN, m),
        }
    }
}

/// How the probabilities are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    F32,
    /// bf16 in an array of their own.
    Apart,
    /// bf16 over the scores.
    InPlace,
}

/// One step: scores to probabilities to the accumulator. Checks what holds for the tile alone.
fn step(table: &KernelTable, tile: &Tile, state: &mut State, (m, e): (usize, usize), scale: f32, form: Form) {
    let (n, s_row) = (tile.n, tile.n + 3);
    let mut s = Guarded::filled(f32::NAN, m * s_row);
    for r in 0..m {
        s[r * s_row..r * s_row + n].copy_from_slice(&tile.scores[r * n..(r + 1) * n]);
    }
    let (lo, hi) = (pointer(tile.lo.as_ref()), pointer(tile.hi.as_ref()));
    let before: Vec<f32> = state.acc.to_vec();
    let old_max: Vec<f32> = state.row_max.to_vec();
    let [row_max, row_sum, acc, alpha] =
        [&mut state.row_max, &mut state.row_sum, &mut state.acc, &mut state.alpha]
            .map(|list| list.as_mut_ptr());
    let mut apart = Guarded::filled(0_u16, m * n);
    let p: Vec<f32> = if form == Form::F32 {
        // SAFETY: the arrays have the extents that the contract asks for.
        unsafe {
            (table.functions.softmax)(
                m,
                n,
                s.as_mut_ptr(),
                s_row,
                lo,
                hi,
                scale,
                row_max,
                row_sum,
                acc,
                e,
                e,
                alpha,
            );
        }
        (0..m * n).map(|at| s[at / n * s_row + at % n]).collect()
    } else {
        let (to, to_row) =
            if form == Form::Apart { (apart.as_mut_ptr(), n) } else { (s.as_mut_ptr().cast(), 2 * s_row) };
        // SAFETY: as above; the scores' own rows have room for half as many bytes.
        unsafe {
            (table.functions.softmax_bf16)(
                m,
                n,
                s.as_mut_ptr(),
                s_row,
                lo,
                hi,
                scale,
                row_max,
                row_sum,
                acc,
                e,
                e,
                alpha,
                to,
                to_row,
            );
            (0..m * n).map(|at| bf16::from_bits(*to.add(at / n * to_row + at % n)).to_f32()).collect()
        }
    };
    for r in 0..m {
        let (new, alpha) = (state.row_max[r], state.alpha[r]);
        let moved = old_max[r] > NONE && new > old_max[r];
        let want = if moved { f64::from(old_max[r] - new).exp2() } else { 1.0 };
        assert!(
            (f64::from(alpha) - want).abs() <= 1e-6 * want,
            "{}: alpha {alpha} instead of {want}",
            table.name()
        );
        for x in 0..n {
            let exact = (f64::from(tile.scores[r * n + x]) * f64::from(scale) - f64::from(new)).exp2();
            let (got, limit) = (f64::from(p[r * n + x]), if form == Form::F32 { 2e-6 } else { 4e-3 });
            if tile.attended(r, x) {
                assert!(
                    (got - exact).abs() <= limit * exact + 1e-37,
                    "{} {form:?}: {got} instead of {exact}",
                    table.name()
                );
            } else {
                assert_eq!(got, 0.0, "{} {form:?}: a masked column", table.name());
            }
        }
        for x in 0..e {
            assert_eq!(state.acc[r * e + x], before[r * e + x] * alpha, "{}: accumulator", table.name());
        }
    }
    let p = Guarded::new(&p);
    // SAFETY: P is m by n, V n by e, the accumulator m by e.
    unsafe {
        (table.functions.gemm)(
            m,
            e,
            n,
            p.as_ptr(),
            n,
            1,
            tile.values.as_ptr(),
            e,
            table.panel,
            state.acc.as_mut_ptr(),
            e,
            1,
        );
    }
}

/// Output of one row in f64, the magnitudes that it is the sum of, and its lse.
fn exact_row(tiles: &[Tile], r: usize, e: usize, scale: f32) -> (Vec<f64>, Vec<f64>, f64) {
    let mut terms = vec![];
    for tile in tiles {
        for x in (0..tile.n).filter(|&x| tile.attended(r, x)) {
            terms.push((
                f64::from(tile.scores[r * tile.n + x]) * f64::from(scale),
                &tile.values[x * e..(x + 1) * e],
            ));
        }
    }
    let max = terms.iter().map(|t| t.0).fold(f64::NEG_INFINITY, f64::max);
    let (mut out, mut magnitude) = (vec![0.0; e], vec![0.0; e]);
    let mut sum = 0.0;
    for (score, values) in &terms {
        let p = (score - max).exp2();
        sum += p;
        for (x, v) in values.iter().enumerate() {
            out[x] += p * f64::from(*v);
            magnitude[x] += p * f64::from(v.abs());
        }
    }
    if terms.is_empty() {
        return (out, magnitude, f64::NEG_INFINITY);
    }
    out.iter_mut().chain(&mut magnitude).for_each(|x| *x /= sum);
    (out, magnitude, (max + sum.log2()) * std::f64::consts::LN_2)
}

/// Ends a state and compares it with the exact rows.
fn check_end(
    table: &KernelTable,
    state: &State,
    tiles: &[Tile],
    (m, e): (usize, usize),
    scale: f32,
    form: Form,
) {
    for ty in TYPES {
        let (out_row, lse_row) = (e + 1, 2);
        let mut out = encode(&vec![9.5; m * out_row], ty);
        let mut lse = Guarded::filled(9.5_f32, m * lse_row);
        // SAFETY: the arrays have the extents that the contract asks for.
        unsafe {
            (table.functions.finalize)(
                m,
                e,
                state.acc.as_ptr(),
                e,
                state.row_max.as_ptr(),
                state.row_sum.as_ptr(),
                out.as_mut_ptr(),
                ty.code(),
                out_row,
                lse.as_mut_ptr(),
                lse_row,
            );
        }
        let out = decode(&out, ty);
        let (mut error, mut norm) = (0.0, 0.0);
        for r in 0..m {
            let (want, magnitude, want_lse) = exact_row(tiles, r, e, scale);
            let close = (f64::from(lse[r * lse_row]) - want_lse).abs() <= 1e-5 * want_lse.abs().max(1.0);
            assert!(
                close || f64::from(lse[r * lse_row]) == want_lse,
                "{}: lse {} instead of {want_lse}",
                table.name(),
                lse[r * lse_row]
            );
            for x in 0..e {
                let want = f64::from(rounded(want[x] as f32, ty));
                error += (f64::from(out[r * out_row + x]) - want).powi(2);
                norm += magnitude[x] * magnitude[x];
            }
            assert_eq!(out[r * out_row + e], rounded(9.5, ty), "{}: wrote between rows", table.name());
        }
        let limit = if form == Form::F32 && ty == ElementType::F32 { 1e-6 } else { 6e-3 };
        assert!(
            error.sqrt() <= limit * norm.sqrt() + 1e-30,
            "{} {form:?} {ty:?}: {:e}",
            table.name(),
            (error / norm).sqrt()
        );
    }
}

#[test]
fn tiles_add_up_to_a_softmax() {
    for_each_table(|table| {
        let mut random = Random::new(20);
        let lanes = table.lanes;
        for (m, e) in [(1, 1), (3, lanes + 3), (7, 2 * lanes)] {
            for variant in 0..8 {
                for form in [Form::F32, Form::Apart, Form::InPlace] {
                    let sizes = [lanes + 1, 1, 5 * lanes + 3, 8 * lanes, lanes - 1, 4 * lanes];
                    let tiles: Vec<Tile> =
                        sizes.iter().map(|&n| Tile::new(&mut random, m, n, e, variant)).collect();
                    let scale = 0.37 * LOG2_E;
                    let mut state = State::new(m, e);
                    for tile in &tiles {
                        step(table, tile, &mut state, (m, e), scale, form);
                    }
                    check_end(table, &state, &tiles, (m, e), scale, form);
                }
            }
        }
    });
}

#[test]
fn partial_states_merge() {
    for_each_table(|table| {
        let mut random = Random::new(21);
        let (m, e) = (9, table.lanes + 5);
        for variant in 0..8 {
            let tiles: Vec<Tile> = (0..4).map(|t| Tile::new(&mut random, m, 3 + 9 * t, e, variant)).collect();
            let mut states = [State::new(m, e), State::new(m, e)];
            for (t, tile) in tiles.iter().enumerate() {
                step(table, tile, &mut states[t % 2], (m, e), 1.1, Form::F32);
            }
            let [mut ours, theirs] = states;
            // SAFETY: both states have m rows of e columns.
            unsafe {
                (table.functions.merge)(
                    m,
                    e,
                    ours.row_max.as_mut_ptr(),
                    ours.row_sum.as_mut_ptr(),
                    ours.acc.as_mut_ptr(),
                    e,
                    theirs.row_max.as_ptr(),
                    theirs.row_sum.as_ptr(),
                    theirs.acc.as_ptr(),
                    e,
                );
            }
            check_end(table, &ours, &tiles, (m, e), 1.1, Form::F32);
        }
    });
}

/// One row of scores through `softmax`; returns probabilities, maximum, sum and alpha.
fn one_row(table: &KernelTable, scores: &[f32], max: f32, sum: f32) -> (Vec<f32>, f32, f32, f32) {
    let mut s = Guarded::new(scores);
    let (mut max, mut sum, mut alpha) = (max, sum, f32::NAN);
    // SAFETY: one row, no bounds, no accumulator.
    unsafe {
        (table.functions.softmax)(
            1,
            s.len(),
            s.as_mut_ptr(),
            0,
            std::ptr::null(),
            std::ptr::null(),
            1.0,
            &raw mut max,
            &raw mut sum,
            std::ptr::null_mut(),
            0,
            0,
            &raw mut alpha,
        );
    }
    (s.to_vec(), max, sum, alpha)
}

#[test]
fn empty_rows_stay_empty_and_nan_is_not_lost() {
    for_each_table(|table| {
        for n in [1, table.lanes, 4 * table.lanes + 1] {
            let (p, max, sum, alpha) = one_row(table, &vec![NONE; n], NONE, 0.0);
            assert_eq!((p, max, sum, alpha), (vec![0.0; n], NONE, 0.0, 1.0), "{}", table.name());
            let (p, max, sum, alpha) = one_row(table, &vec![NONE; n], 3.0, 2.0);
            assert_eq!((p, max, sum, alpha), (vec![0.0; n], 3.0, 2.0, 1.0), "{}", table.name());
            for bad in [f32::NAN, f32::INFINITY] {
                for other in [NONE, 1.0] {
                    let mut scores = vec![other; n];
                    scores[n / 2] = bad;
                    assert!(
                        one_row(table, &scores, NONE, 0.0).2.is_nan(),
                        "{}: {bad} among {other}",
                        table.name()
                    );
                }
            }
        }
        let (p, max, sum, _) = one_row(table, &[], NONE, 0.0);
        assert_eq!((p, max, sum), (vec![], NONE, 0.0));
    });
}

#[test]
fn sinks_count_as_attended_mass() {
    for_each_table(|table| {
        let (p, max, sum, alpha) = one_row(table, &[1.0, 3.0], 2.0, 1.0);
        assert_eq!((p, max, sum, alpha), (vec![0.25, 1.0], 3.0, 1.75, 0.5), "{}", table.name());
        let (p, max, sum, alpha) = one_row(table, &[1.0, NONE], 2.0, 1.0);
        assert_eq!((p, max, sum, alpha), (vec![0.5, 0.0], 2.0, 1.5, 1.0), "{}", table.name());
    });
}

#[test]
fn exponentials_follow_known_statistics() {
    for_each_table(|table| {
        let mut random = Random::new(22);
        let m = 3;
        for variant in 0..8 {
            for n in [1, table.lanes + 3, 4 * table.lanes, 6 * table.lanes + 1] {
                let tile = Tile::new(&mut random, m, n, 0, variant);
                let base = Guarded::new(&[1.5, NONE, -0.25]);
                let mut s = Guarded::new(&tile.scores);
                let (lo, hi) = (pointer(tile.lo.as_ref()), pointer(tile.hi.as_ref()));
                // SAFETY: m rows of n columns.
                unsafe { (table.functions.exp2_rows)(m, n, s.as_mut_ptr(), n, lo, hi, 0.7, base.as_ptr()) };
                for r in 0..m {
                    for x in 0..n {
                        let got = f64::from(s[r * n + x]);
                        if base[r] > NONE && tile.attended(r, x) {
                            let want = (f64::from(tile.scores[r * n + x]) * f64::from(0.7_f32)
                                - f64::from(base[r]))
                            .exp2();
                            assert!(
                                (got - want).abs() <= 2e-6 * want,
                                "{}: {got} instead of {want}",
                                table.name()
                            );
                        } else {
                            assert_eq!(got, 0.0, "{}", table.name());
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn intervals_mask_columns() {
    for_each_table(|table| {
        let mut random = Random::new(23);
        for n in [0, 1, table.lanes, 3 * table.lanes + 2] {
            let m = 4;
            let keys = Guarded::new(&[0, 5, 9, i32::MAX]);
            let mut list = || Guarded::new(&(0..n).map(|_| random.below(12) as i32).collect::<Vec<_>>());
            let (lo, hi) = (list(), list());
            let old = random.units(m * (n + 2));
            let mut s = Guarded::new(&old);
            // SAFETY: m rows of n columns.
            unsafe {
                (table.functions.mask_interval)(
                    m,
                    n,
                    s.as_mut_ptr(),
                    n + 2,
                    keys.as_ptr(),
                    lo.as_ptr(),
                    hi.as_ptr(),
                );
            }
            for (at, (&got, &old)) in s.iter().zip(&old).enumerate() {
                let (r, x) = (at / (n + 2), at % (n + 2));
                let outside = x < n && !(lo[x] <= keys[r] && keys[r] < hi[x]);
                assert_eq!(got, if outside { NONE } else { old }, "{}", table.name());
            }
        }
    });
}
