//! Selection for targets of many threads: lifetimes by sorting and lists by filtering, interpreted, against brute force.

use dmac::schedule::target;
use dmac::{Options, Schedule, SourceFile, Storage, compile};
use dmac_interp::kernel::{Stored, execute};
use dmac_interp::{Inputs, Tensor};
use dmac_ir::ParamValue;
use dmac_schedule::kernel::Selection;
use proptest::prelude::*;

const Q_TILE: usize = 4;

/// Scores of many kinds: scattered, rising, falling, clustered, all equal, zeros of both signs, numbers and NaN.
fn scores(kind: u8, n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 20
    };
    (0..n)
        .map(|at| {
            let random = random();
            match kind % 7 {
                0 => random as f32,
                1 => at as f32,
                2 => -(at as f32),
                3 => (random % 4) as f32,
                4 => 1.5,
                5 => [0.0, -0.0, 1.0, f32::NEG_INFINITY, f32::INFINITY][random as usize % 5],
                _ => [f32::NAN, 1.0, -1.0, f32::NEG_INFINITY, random as f32][random as usize % 5],
            }
        })
        .collect()
}

/// Whether key `x` is better than key `y`.
fn beats(scores: &[f32], high: bool, x: usize, y: usize) -> bool {
    let (a, b) = (scores[x], scores[y]);
    match (a.is_nan(), b.is_nan()) {
        (false, true) => true,
        (true, false) => false,
        (false, false) if a != b => a > b,
        _ if high => x > y,
        _ => x < y,
    }
}

/// From the definition: the first position at which `w` keys so far are better.
fn ends(scores: &[f32], length: usize, w: usize, high: bool) -> Vec<i64> {
    (0..scores.len())
        .map(|key| {
            if key >= length {
                return 0;
            }
            let better = |at: usize| (0..=at).filter(|&x| x != key && beats(scores, high, x, key)).count();
            (key..length).find(|&at| better(at) >= w).unwrap_or(length) as i64
        })
        .collect()
}

struct Case {
    /// Per batch element and head.
    scores: Vec<Vec<f32>>,
    lengths: Vec<usize>,
    rows: usize,
    w: usize,
    high: bool,
}

/// What the program's kernels before the attention store.
fn run(case: &Case, seed: u64) -> (Vec<Stored>, usize) {
    let text = format!(
        "attention rated(w: int = 4) {{\n    input s[b, g, j]: f32\n    mask j <= i\n    select top(w) of \
         s[b, g, j] ties {}\n}}\n",
        if case.high { "high" } else { "low" }
    );
    let source = SourceFile::new("rated", text);
    let mut options = Options::native(8, Storage::F32);
    options.schedule = Some(Schedule { q_tile: Q_TILE, ..Schedule::choose(&target::SM_80, 8, 8) });
    let mut compiled =
        compile(&source, &options, &mut |_, _| {}).unwrap_or_else(|errors| panic!("{errors:?}"));
    let (batches, n) = (case.lengths.len(), case.scores[0].len());
    let heads = case.scores.len() / batches;
    let zeros = |rows: usize| Tensor::f32(&[batches, heads, rows, 8], vec![0.0; batches * heads * rows * 8]);
    let tensors =
        vec![zeros(case.rows), zeros(n), zeros(n), Tensor::f32(&[batches, heads, n], case.scores.concat())];
    let inputs = Inputs {
        kv_len: Some(case.lengths.iter().map(|&length| length as i64).collect()),
        params: vec![ParamValue::Int(case.w as i64)],
        ..Inputs::new(&compiled.meaning, tensors)
    };
    compiled.program.kernels.retain(|kernel| !kernel.name.starts_with("attend"));
    let stored = execute(&compiled.program, &compiled.meaning, &inputs, seed)
        .unwrap_or_else(|error| panic!("{error}\n{}", compiled.program));
    let [Selection::Ends { ends, .. }] = compiled.program.selections[..] else {
        panic!("one lifetime is expected: {:?}", compiled.program.selections)
    };
    (stored, ends.0 as usize)
}

fn ints(stored: &[Stored], name: &str) -> Vec<Option<i64>> {
    let tensor = stored.iter().find(|tensor| tensor.name == name);
    let tensor = tensor.unwrap_or_else(|| panic!("no tensor `{name}`"));
    tensor.data.iter().map(|value| value.map(|value| value as i64)).collect()
}

fn check(case: &Case, seed: u64) {
    let (stored, at) = run(case, seed);
    let (batches, n) = (case.lengths.len(), case.scores[0].len());
    let heads = case.scores.len() / batches;
    let (counts, lists) = (ints(&stored, "alive_count"), ints(&stored, "alive"));
    let wholes = ints(&stored, "alive_throughout");
    let tiles = case.rows.div_ceil(Q_TILE);
    let places = n.min(case.w + Q_TILE);
    for (row, scores) in case.scores.iter().enumerate() {
        let length = case.lengths[row / heads];
        let wanted = ends(scores, length, case.w, case.high);
        let found: Vec<i64> = stored[at].data[row * n..(row + 1) * n]
            .iter()
            .map(|end| end.expect("every key has an end") as i64)
            .collect();
        assert_eq!(found, wanted, "{scores:?} w {} of {length}, ties high: {}", case.w, case.high);
        for tile in 0..tiles {
            let offset = length as i64 - case.rows as i64;
            let first = (tile * Q_TILE) as i64 + offset;
            let last = ((tile + 1) * Q_TILE).min(case.rows) as i64 - 1 + offset;
            let (throughout, partly): (Vec<i64>, Vec<i64>) = (0..length as i64)
                .filter(|&key| key <= last && first.max(key) < wanted[key as usize])
                .partition(|&key| key <= first && last < wanted[key as usize]);
            let whole = throughout.len() as i64;
            let alive: Vec<Option<i64>> = throughout.into_iter().chain(partly).map(Some).collect();
            let list = row * tiles + tile;
            assert_eq!(wholes[list], Some(whole), "tile {tile} of {:?}", case.scores);
            assert_eq!(counts[list], Some(alive.len() as i64), "tile {tile} of {:?}", case.scores);
            assert_eq!(lists[list * places..][..alive.len()], alive, "tile {tile} of {:?}", case.scores);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// All keys at once, every kind of scores, both rules for ties, any capacity, own lengths.
    #[test]
    fn lifetimes_and_lists_are_exact(
        n in 0_usize..70,
        kinds in (0_u8..7, 0_u8..7),
        w in 0_usize..40,
        shorter in (0_usize..10, 0_usize..70),
        rows in 1_usize..80,
        high in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case {
            scores: vec![scores(kinds.0, n, seed), scores(kinds.1, n, seed.rotate_left(7))],
            lengths: vec![n.saturating_sub(shorter.0), n.saturating_sub(shorter.1)],
            rows,
            w,
            high,
        };
        check(&case, seed);
    }
}

/// More tiles than one span has, and lengths around powers of two, where runs end.
#[test]
fn longer_sequences_are_exact() {
    for (n, w, kind) in [(257, 20, 0), (256, 7, 3), (300, 64, 6), (255, 300, 1)] {
        let case =
            Case { scores: vec![scores(kind, n, 5)], lengths: vec![n], rows: n, w, high: kind % 2 == 0 };
        check(&case, n as u64);
    }
}
