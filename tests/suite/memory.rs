//! Memory beyond inputs and outputs grows with the sequence, not with its square: for every program of the library, with its
//! windows, `w` and `n` as they are.

use dmac::runtime::ThreadPool;
use dmac::{Attention, HeldInputs, Storage};
use dmac_tests::files::{below, read, root};
use dmac_tests::subject::{Numbers, Twist, build, inputs};

/// Positions of queries and keys.
const LENGTH: i64 = 65_536;

fn numbers(pairs: &[(&str, i64)]) -> Numbers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn sizes(rows: i64, keys: i64) -> Numbers {
    numbers(&[("B", 1), ("H", 1), ("G", 1), ("M", rows), ("N", keys)])
}

/// Bytes of workspace of a call, from the formula that the call evaluates.
fn workspace(attention: &Attention, held: &HeldInputs, workers: usize) -> u64 {
    let compiled = attention.compiled();
    let bound = held.arguments().bind(&compiled.graph, &compiled.program).expect("random inputs fit");
    attention.executable().workspace_bytes(&bound.sizes, &bound.params, workers)
}

fn held(attention: &Attention, sizes: &Numbers, params: &Numbers) -> HeldInputs {
    let compiled = attention.compiled();
    let inputs = inputs(attention, sizes, params, Twist::None, 1);
    HeldInputs::of(&compiled.graph, compiled.program.storage, &inputs)
}

#[test]
fn workspaces_of_the_library_grow_with_the_sequence_only() {
    let mut grown = Vec::new();
    let mut seen = 0;
    for path in below("dsl/std", &["dmac"]) {
        let name = path.display().to_string();
        let attention = build(&name, &read(&root().join(&path)), Storage::F32, (8, 8), &Numbers::new());
        let at = |n: i64| workspace(&attention, &held(&attention, &sizes(n, n), &Numbers::new()), 2);
        let (once, twice) = (at(LENGTH), at(2 * LENGTH));
        // A stored tensor of n^2 / 64 bytes would be 1024 bytes a position here, and four times as much for twice as many.
        if twice > 2 * once + 4096 {
            grown.push(format!("{name}: {once} bytes for {LENGTH} positions, {twice} for twice as many"));
        }
        seen += 1;
    }
    assert!(grown.is_empty(), "{grown:#?}");
    assert!(seen >= 31, "only {seen} programs");
}

/// Counts as two workers, runs on the calling thread.
struct Two;

impl ThreadPool for Two {
    fn workers(&self) -> usize {
        2
    }

    fn run(&self, count: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        (0..count).for_each(|point| f(point, 0));
    }
}

#[test]
fn calls_take_the_workspace_that_the_formula_says() {
    // The last rows of a long sequence: what is stored of keys is as for all rows.
    let mut seen = 0;
    for path in below("dsl/std", &["dmac"]) {
        let name = path.display().to_string();
        let attention = build(&name, &read(&root().join(&path)), Storage::F32, (8, 8), &Numbers::new());
        let held = held(&attention, &sizes(64, LENGTH), &Numbers::new());
        let expected = workspace(&attention, &held, 2);
        let results = attention.executable().run(&held.arguments(), &Two).expect("it runs");
        assert_eq!(results.workspace_bytes as u64, expected, "{name}");
        // Keys and values, packed or in f32, and a few ints a key; nothing for each pair of a row and a key.
        assert!(expected <= 400 * LENGTH as u64, "{name}: {expected} bytes");
        seen += 1;
    }
    assert!(seen >= 31, "only {seen} programs");
}
