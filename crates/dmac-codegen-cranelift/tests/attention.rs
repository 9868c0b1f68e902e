//! A causal attention written by hand runs as plain loops say, over shapes and storage types.

mod support;

use dmac_schedule::kernel::{Element, Storage};
use support::attend::{Shape, causal, expected};
use support::{Call, distance, random, rounded};

fn check(storage: Storage, [b, h, g, m, n]: Shape, d: usize, e: usize, q_tile: usize, kv_tile: usize) {
    let program = causal(storage, d, e, q_tile, kv_tile);
    let call = Call { program: &program, sizes: [b, h, g, m, n].map(|x| x as i64).to_vec(), params: vec![] };
    let element = Element::from(storage);
    let inputs: Vec<_> = [b * h * m * d, b * g * n * d, b * g * n * e]
        .iter()
        .enumerate()
        .map(|(at, count)| rounded(element, &random(at as u64 + 7, *count)))
        .collect();
    let expected = expected([b, h, g, m, n], d, e, &inputs);
    let tolerance = match storage {
        Storage::F32 => 2e-6,
        Storage::F16 => 1e-3,
        Storage::Bf16 => 8e-3,
    };
    for table in dmac_cpu_kernels::available() {
        let found = call.run_with(table.name(), &inputs);
        let (out, lse) = (distance(&found[0], &expected[0]), distance(&found[1], &expected[1]));
        assert!(out <= tolerance, "{}: out {out:e} off for {:?}", table.name(), [b, h, g, m, n]);
        assert!(lse <= 1e-5, "{}: lse {lse:e} off for {:?}", table.name(), [b, h, g, m, n]);
    }
}

#[test]
fn f32_over_shapes() {
    for shape in [[1, 1, 1, 1, 1], [1, 2, 1, 5, 5], [2, 4, 2, 33, 47], [1, 2, 2, 1, 70], [1, 1, 1, 40, 9]] {
        check(Storage::F32, shape, 16, 16, 16, 32);
        check(Storage::F32, shape, 24, 8, 8, 48);
    }
}

#[test]
fn nothing_to_attend() {
    check(Storage::F32, [1, 1, 1, 3, 0], 8, 8, 8, 16);
    check(Storage::F32, [1, 1, 1, 0, 3], 8, 8, 8, 16);
    check(Storage::F32, [0, 1, 1, 2, 3], 8, 8, 8, 16);
}

#[test]
fn storage_types() {
    for storage in [Storage::F16, Storage::Bf16] {
        check(storage, [1, 2, 1, 21, 37], 16, 24, 8, 16);
        check(storage, [2, 2, 2, 1, 19], 40, 8, 8, 16);
    }
}
