//! The small sample kernels, one a technique, against results computed here.

use crate::attention::{Numbers, relative, worst};
use crate::launches::seeded;
use crate::samples::{clean, module};
use dmac_ptx::samples::{self, Sample};
use dmac_ptx_interp::{Arg, Buffer, Launch, Memory, Swizzle, TensorElement, TensorMap};
use half::{bf16, f16};

/// Runs a sample under a few schedules; `check` sees the memory after each.
fn run(sample: &Sample, grid: u32, make: &dyn Fn(&mut Memory) -> Vec<Arg>, check: &dyn Fn(&Memory, &[Arg])) {
    let (module, smem) = module(sample);
    for seed in 0..4 {
        let mut memory = Memory::new();
        let args = make(&mut memory);
        let launch =
            Launch::new(&module, &sample.kernel.name).grid([grid, 1, 1]).block([sample.threads, 1, 1]);
        clean(launch.dynamic_smem(smem).args(args.clone()).run(&mut memory, &seeded(seed)));
        check(&memory, &args);
    }
}

fn buffer(arg: &Arg) -> Buffer {
    match arg {
        Arg::Buffer(b) => *b,
        Arg::TensorMap(m) => m.buffer,
        other => panic!("{other:?} is no buffer"),
    }
}

#[test]
fn matrix_products() {
    let mut n = Numbers::new(4);
    let (a, b) = (n.bf16s(16 * 16), n.bf16s(8 * 16));
    let make =
        |m: &mut Memory| [m.alloc(&a), m.alloc(&b), m.alloc_uninit::<f32>(128)].map(Arg::Buffer).to_vec();
    run(&samples::mma_tile(), 1, &make, &|m, args| {
        let want: Vec<f64> = (0..128)
            .map(|i| (0..16).map(|k| a[i / 8 * 16 + k].to_f64() * b[i % 8 * 16 + k].to_f64()).sum())
            .collect();
        assert!(worst(m.read::<f32>(buffer(&args[2])).into_iter().map(f64::from), &want) < 1e-5);
    });

    // Five turns of a ring of two stages.
    let k = 160;
    let halves = |count: usize, n: &mut Numbers| -> Vec<f16> {
        (0..count).map(|_| f16::from_f32(n.normal())).collect()
    };
    let (a, b) = (halves(64 * k, &mut n), halves(32 * k, &mut n));
    let make = |m: &mut Memory| {
        let mut args = [m.alloc(&a), m.alloc(&b), m.alloc_uninit::<f32>(64 * 32)].map(Arg::Buffer).to_vec();
        args.push(Arg::U32(k as u32));
        args
    };
    run(&samples::cp_async_ring(), 1, &make, &|m, args| {
        let dot = |i: usize, j: usize| (0..k).map(|x| a[i * k + x].to_f64() * b[j * k + x].to_f64()).sum();
        let want: Vec<f64> = (0..64 * 32).map(|i| dot(i / 32, i % 32)).collect();
        assert!(relative(m.read::<f32>(buffer(&args[2])).into_iter().map(f64::from), &want) < 1e-6);
    });
}

#[test]
fn moving_data() {
    let words: Vec<u16> = (0..64 * 64).map(|i| (i * 7) as u16).collect();
    let make = |m: &mut Memory| [m.alloc(&words), m.alloc_uninit::<u16>(4096)].map(Arg::Buffer).to_vec();
    run(&samples::transpose_matrices(), 1, &make, &|m, args| {
        let want: Vec<u16> = (0..4096).map(|i| words[i % 64 * 64 + i / 64]).collect();
        assert_eq!(m.read::<u16>(buffer(&args[1])), want);
    });

    let rows: Vec<u16> = (0..100 * 128).map(|i| (i * 3 + 1) as u16).collect();
    let index: Vec<i32> = (0..64).map(|i| if i % 9 == 4 { -1 } else { i * 37 % 100 }).collect();
    let make = |m: &mut Memory| {
        let (rows, index, out) = (m.alloc(&rows), m.alloc(&index), m.alloc_uninit::<u16>(2 * 64 * 64));
        vec![Arg::Buffer(rows), Arg::Buffer(index), Arg::U32(256), Arg::Buffer(out)]
    };
    run(&samples::row_gather(), 1, &make, &|m, args| {
        let got = m.read::<u16>(buffer(&args[3]));
        for r in 0..64 {
            for c in 0..128 {
                let chunk = (c % 64 / 8) ^ (r % 8);
                let x = got[c / 64 * 4096 + r * 64 + chunk * 8 + c % 8];
                let want = usize::try_from(index[r]).map_or(0, |i| rows[i * 128 + c]);
                assert_eq!(x, want, "row {r} column {c}");
            }
        }
    });

    let values: Vec<f32> = (0..5 * 1024).map(|i| (i % 23) as f32).collect();
    let make = |m: &mut Memory| [m.alloc(&values), m.alloc(&[0f32; 1024])].map(Arg::Buffer).to_vec();
    run(&samples::bulk_reduce(), 5, &make, &|m, args| {
        let want: Vec<f32> = (0..1024).map(|i| (0..5).map(|c| values[c * 1024 + i]).sum()).collect();
        assert_eq!(m.read::<f32>(buffer(&args[1])), want);
    });

    let tile: Vec<u16> = (0..64 * 64).map(|i| (i * 5 + 2) as u16).collect();
    let make = |m: &mut Memory| {
        let map = TensorMap {
            buffer: m.alloc(&tile),
            offset: 0,
            element: TensorElement::U16,
            dims: vec![64, 64],
            strides: vec![128],
            box_dims: vec![64, 32],
            swizzle: Swizzle::None,
            nan_fill: false,
        };
        vec![Arg::TensorMap(map), Arg::Buffer(m.alloc_uninit::<u16>(2 * 4096))]
    };
    run(&samples::cluster_multicast(), 2, &make, &|m, args| {
        assert_eq!(m.read::<u16>(buffer(&args[1])), [tile.clone(), tile.clone()].concat());
    });
}

#[test]
fn rows_of_attention() {
    let (rows, splits) = (7, 3);
    let mut n = Numbers::new(9);
    let partial: Vec<f32> = (0..splits * rows * 128).map(|_| n.normal()).collect();
    // The second row has no keys in one split, the last row in none.
    let lse: Vec<f32> = (0..splits * rows)
        .map(|i| if i % rows == 6 || i == rows + 1 { f32::NEG_INFINITY } else { n.normal() })
        .collect();
    let make = |m: &mut Memory| {
        let buffers = [m.alloc(&partial), m.alloc(&lse), m.alloc_uninit::<bf16>(rows * 128)];
        let mut args = buffers.map(Arg::Buffer).to_vec();
        args.extend([rows, splits].map(|x| Arg::U32(x as u32)));
        args
    };
    run(&samples::split_combine(), 2, &make, &|m, args| {
        let weight = |s: usize, r: usize| f64::from(lse[s * rows + r]).exp();
        let want: Vec<f64> = (0..rows * 128)
            .map(|i| {
                let (r, e) = (i / 128, i % 128);
                let total: f64 = (0..splits).map(|s| weight(s, r)).sum();
                let sum: f64 =
                    (0..splits).map(|s| weight(s, r) * f64::from(partial[(s * rows + r) * 128 + e])).sum();
                if total > 0.0 { sum / total } else { 0.0 }
            })
            .collect();
        let got = m.read::<bf16>(buffer(&args[2])).into_iter().map(bf16::to_f64);
        assert!(relative(got, &want) < 3e-3);
    });

    let (out, dout) = (n.bf16s(rows * 128), n.bf16s(rows * 128));
    let make = |m: &mut Memory| {
        let (delta, log2) = (m.alloc_uninit::<f32>(rows), m.alloc_uninit::<f32>(rows));
        let mut args =
            [m.alloc(&out), m.alloc(&dout), m.alloc(&lse[..rows]), delta, log2].map(Arg::Buffer).to_vec();
        args.push(Arg::U32(rows as u32));
        args
    };
    run(&samples::backward_preprocess(), 2, &make, &|m, args| {
        let dot = |r: usize| (0..128).map(|e| out[r * 128 + e].to_f64() * dout[r * 128 + e].to_f64()).sum();
        let delta: Vec<f64> = (0..rows).map(dot).collect();
        assert!(worst(m.read::<f32>(buffer(&args[3])).into_iter().map(f64::from), &delta) < 1e-4);
        let log2: Vec<f64> = lse[..rows].iter().map(|x| f64::from(*x) * std::f64::consts::LOG2_E).collect();
        assert!(worst(m.read::<f32>(buffer(&args[4])).into_iter().map(f64::from), &log2) < 1e-6);
    });
}
