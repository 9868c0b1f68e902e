//! Measures every table of micro-kernels on one core: GFLOP/s of the tile products, elements per nanosecond of the rest.
//!
//! Input: optionally the names of tables to measure. Output: one line a kernel, best of many short runs, beside the rate of
//! independent fused multiply-adds that is the core's ceiling. Run it with `--release`.
#![allow(unsafe_code, reason = "kernels take raw pointers")]
#![allow(clippy::print_stdout, reason = "a measuring program prints its measurements")]

use std::hint::black_box;
use std::time::Instant;

use dmac_cpu_kernels::{ElementType, Functions, KernelTable, available, detect};

/// The shortest time of one call in nanoseconds.
fn best(mut call: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..40 {
        let start = Instant::now();
        let mut calls = 0_u32;
        while start.elapsed().as_micros() < 1000 {
            for _ in 0..8 {
                call();
            }
            calls += 8;
        }
        least = least.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    least
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect()
}

fn products(table: &KernelTable) {
    let f = &table.functions;
    let p = table.panel;
    for (m, n, k) in [
        (48, 256, 64),
        (48, 256, 128),
        (48, 128, 256),
        (48, 64, 256),
        (48, 72, 256),
        (48, 96, 256),
        (6, 256, 64),
        (6, 64, 256),
        (1, 256, 64),
    ] {
        let flops = (2 * m * n * k) as f64;
        let (a, b, mut c) = (numbers(m * k), numbers(k * n.next_multiple_of(p)), vec![0.0; m * n]);
        let packed = best(|| unsafe {
            (f.gemm)(m, n, k, black_box(a.as_ptr()), k, 1, b.as_ptr(), p, p * k, c.as_mut_ptr(), n, 0);
        });
        let in_place = best(|| unsafe {
            (f.gemm)(m, n, k, black_box(a.as_ptr()), k, 1, b.as_ptr(), n, p, c.as_mut_ptr(), n, 1);
        });
        let (a16, b16) = (vec![0x3f80_u16; m * k], vec![0x3f80_3f80_u32; k / 2 * n.next_multiple_of(p)]);
        let pairs = best(|| unsafe {
            (f.gemm_bf16)(
                m,
                n,
                k,
                black_box(a16.as_ptr()),
                k,
                b16.as_ptr(),
                p,
                p * k / 2,
                c.as_mut_ptr(),
                n,
                0,
            );
        });
        println!(
            "{:<11} product {m:>2}x{n:>3}x{k:>3}  packed {:6.1}  in place {:6.1}  bf16 {:6.1}  GFLOP/s",
            table.name(),
            flops / packed,
            flops / in_place,
            flops / pairs
        );
    }
}

fn rows(table: &KernelTable) {
    let f = &table.functions;
    let (n, d) = (256, 128);
    for ty in [ElementType::F32, ElementType::F16, ElementType::Bf16] {
        let b = vec![0_u8; n * d * ty.size()];
        for m in [1, 4] {
            let (a, mut c) = (numbers(m * n.max(d)), vec![0.0; m * n]);
            let dot = best(|| unsafe {
                (f.dot_rows)(
                    m,
                    n,
                    d,
                    black_box(a.as_ptr()),
                    d,
                    b.as_ptr(),
                    ty.code(),
                    d,
                    std::ptr::null(),
                    c.as_mut_ptr(),
                    n,
                );
            });
            let sum = best(|| unsafe {
                (f.gemm_rows)(
                    m,
                    d,
                    n,
                    black_box(a.as_ptr()),
                    n,
                    b.as_ptr(),
                    ty.code(),
                    d,
                    std::ptr::null(),
                    c.as_mut_ptr(),
                    d,
                    1,
                );
            });
            let bytes = b.len() as f64;
            println!(
                "{:<11} rows m={m} {ty:?}: dot {:6.1} GB/s  sum {:6.1} GB/s (256x128, cached)",
                table.name(),
                bytes / dot,
                bytes / sum
            );
            let far = vec![1_u8; 64 << 20];
            let tile = n * d * ty.size();
            let dot = best(|| {
                for from in far.chunks_exact(tile) {
                    unsafe {
                        (f.dot_rows)(
                            m,
                            n,
                            d,
                            black_box(a.as_ptr()),
                            d,
                            from.as_ptr(),
                            ty.code(),
                            d,
                            std::ptr::null(),
                            c.as_mut_ptr(),
                            n,
                        );
                    }
                }
            });
            let sum = best(|| {
                for from in far.chunks_exact(tile) {
                    unsafe {
                        (f.gemm_rows)(
                            m,
                            d,
                            n,
                            black_box(a.as_ptr()),
                            n,
                            from.as_ptr(),
                            ty.code(),
                            d,
                            std::ptr::null(),
                            c.as_mut_ptr(),
                            d,
                            1,
                        );
                    }
                }
            });
            let bytes = far.len() as f64;
            println!(
                "{:<11} rows m={m} {ty:?}: dot {:6.1} GB/s  sum {:6.1} GB/s (256x128, streamed)",
                table.name(),
                bytes / dot,
                bytes / sum
            );
        }
        let mut to = vec![0.0_f32; n * d];
        let mut pairs = vec![0_u32; n * d];
        let elements = (n * d) as f64;
        let none = std::ptr::null;
        let panels = best(|| unsafe {
            (f.pack_panels)(n, d, black_box(b.as_ptr()), ty.code(), d, none(), to.as_mut_ptr(), none());
        });
        let panels16 = best(|| unsafe {
            (f.pack_panels_bf16)(
                n,
                d,
                black_box(b.as_ptr()),
                ty.code(),
                d,
                none(),
                pairs.as_mut_ptr(),
                none(),
            );
        });
        let rows = best(|| unsafe {
            (f.pack_rows)(n, d, black_box(b.as_ptr()), ty.code(), d, none(), to.as_mut_ptr(), d, none());
        });
        let rows16 = best(|| unsafe {
            (f.pack_rows_bf16)(
                n,
                d,
                black_box(b.as_ptr()),
                ty.code(),
                d,
                none(),
                pairs.as_mut_ptr(),
                d,
                none(),
            );
        });
        let slots: Vec<i32> = (0..n as i32).map(|i| i * 37 % n as i32).collect();
        let column = best(|| unsafe {
            (f.pack_panels)(
                n,
                d,
                black_box(b.as_ptr()),
                ty.code(),
                d,
                none(),
                to.as_mut_ptr(),
                slots.as_ptr(),
            );
        });
        println!(
            "{:<11} pack {ty:?}: panels {:.2}  panels bf16 {:.2}  rows {:.2}  rows bf16 {:.2}  slots {:.2}  elements/ns",
            table.name(),
            elements / panels,
            elements / panels16,
            elements / rows,
            elements / rows16,
            elements / column
        );
    }
}

fn softmax(table: &KernelTable) {
    let f = &table.functions;
    let (m, n, e) = (6, 256, 64);
    let scores = numbers(m * n);
    let mut s = scores.clone();
    let mut p = vec![0_u16; m * n];
    let (mut max, mut sum, mut acc) = (vec![f32::NEG_INFINITY; m], vec![0.0; m], vec![0.0; m * e]);
    let none = std::ptr::null;
    // The scores are put back each time; the time of that is measured alone and taken off.
    let copy =
        best(|| unsafe { std::ptr::copy_nonoverlapping(black_box(scores.as_ptr()), s.as_mut_ptr(), m * n) });
    let step = best(|| unsafe {
        std::ptr::copy_nonoverlapping(black_box(scores.as_ptr()), s.as_mut_ptr(), m * n);
        (f.softmax)(
            m,
            n,
            s.as_mut_ptr(),
            n,
            none(),
            none(),
            1.5,
            max.as_mut_ptr(),
            sum.as_mut_ptr(),
            acc.as_mut_ptr(),
            e,
            e,
            std::ptr::null_mut(),
        );
    });
    let step16 = best(|| unsafe {
        std::ptr::copy_nonoverlapping(black_box(scores.as_ptr()), s.as_mut_ptr(), m * n);
        (f.softmax_bf16)(
            m,
            n,
            s.as_mut_ptr(),
            n,
            none(),
            none(),
            1.5,
            max.as_mut_ptr(),
            sum.as_mut_ptr(),
            acc.as_mut_ptr(),
            e,
            e,
            std::ptr::null_mut(),
            p.as_mut_ptr(),
            n,
        );
    });
    let elements = (m * n) as f64;
    println!(
        "{:<11} softmax f32 {:.2}  bf16 {:.2}  elements/ns",
        table.name(),
        elements / (step - copy),
        elements / (step16 - copy)
    );
}

fn strips(table: &KernelTable) {
    type Pick = fn(&Functions) -> unsafe extern "C" fn(*const f32, *mut f32, usize);
    let all: &[(&str, Pick)] = &[
        ("exp", |f| f.exp),
        ("exp2", |f| f.exp2),
        ("log", |f| f.log),
        ("sqrt", |f| f.sqrt),
        ("rsqrt", |f| f.rsqrt),
        ("tanh", |f| f.tanh),
        ("sigmoid", |f| f.sigmoid),
        ("softplus", |f| f.softplus),
        ("logsigmoid", |f| f.logsigmoid),
    ];
    let x: Vec<f32> = numbers(1024).iter().map(|x| x + 1.5).collect();
    let mut y = vec![0.0; x.len()];
    for (name, pick) in all {
        let time = best(|| unsafe { pick(&table.functions)(black_box(x.as_ptr()), y.as_mut_ptr(), x.len()) });
        println!("{:<11} {name:<10} {:.2} elements/ns", table.name(), x.len() as f64 / time);
    }
}

fn selection(table: &KernelTable) {
    let f = &table.functions;
    let mut seed = 1_u32;
    let random: Vec<f32> = (0..16384)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed as f32
        })
        .collect();
    let rising: Vec<f32> = (0..16384).map(|i| i as f32).collect();
    for (name, x) in [("random", &random), ("rising", &rising)] {
        let (mut heap, mut evicted) = (vec![0_u64; 1024], vec![0_i32; x.len()]);
        let push = best(|| unsafe {
            (f.heap_push)(
                heap.as_mut_ptr(),
                0,
                1024,
                black_box(x.as_ptr()),
                x.len(),
                0,
                0,
                evicted.as_mut_ptr(),
            );
        });
        let (mut list, mut index) = (vec![0_u64; 4160], vec![0_i32; 2048]);
        let top = best(|| unsafe {
            let len = (f.top_push)(
                list.as_mut_ptr(),
                0,
                2048,
                4160,
                black_box(x.as_ptr()),
                std::ptr::null(),
                x.len(),
                0,
                0,
            );
            (f.top_finish)(list.as_mut_ptr(), len, 2048, 0, index.as_mut_ptr());
        });
        println!(
            "{:<11} select from 16384 {name}: heap of 1024 {:.1} ns, top 2048 {:.1} ns an element",
            table.name(),
            push / x.len() as f64,
            top / x.len() as f64
        );
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!("fastest here: {}", detect().name());
    for table in
        available().filter(|table| wanted.is_empty() || wanted.iter().any(|name| name == table.name()))
    {
        products(table);
        softmax(table);
        strips(table);
        rows(table);
        selection(table);
    }
}
