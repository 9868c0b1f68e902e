//! Launches described by strings.

use crate::samples::{clean, module};
use dmac_ptx::samples;
use dmac_ptx_interp::command::{ArgSpec, bind, dimensions};
use dmac_ptx_interp::{Launch, Memory, Options};

fn specs(list: &[&str]) -> Vec<ArgSpec> {
    list.iter().map(|s| s.parse().unwrap_or_else(|e| panic!("{e}"))).collect()
}

#[test]
fn a_kernel_runs_from_strings() {
    let (module, _) = module(&samples::vector_add());
    let mut memory = Memory::new();
    let list = specs(&["buf:f32[300]=iota", "buf:f32[300]=2.5", "buf:f32[300]=uninit", "u32:300"]);
    let (args, buffers) = bind(&list, &mut memory, 0).unwrap();
    let launch =
        Launch::new(&module, "vector_add").grid(dimensions("3").unwrap()).block(dimensions("128,1").unwrap());
    clean(launch.args(args).run(&mut memory, &Options::default()));
    let out = buffers[2].values(&memory);
    assert!(out.iter().enumerate().all(|(i, x)| *x == i as f64 + 2.5), "{out:?}");
}

#[test]
fn tensor_maps_and_pointers_share_buffers() {
    let (module, smem) = module(&samples::tma_wgmma());
    let mut memory = Memory::new();
    let list = specs(&[
        "map:bf16[64,64]box[64,64]swizzle128=ones",
        "map:@0[64,64]box[64,64]swizzle128",
        "buf:f32[64,64]=uninit",
    ]);
    let (args, buffers) = bind(&list, &mut memory, 0).unwrap();
    assert_eq!(buffers.len(), 2);
    clean(
        Launch::new(&module, "tma_wgmma").dynamic_smem(smem).args(args).run(&mut memory, &Options::default()),
    );
    assert!(buffers[1].values(&memory).iter().all(|x| *x == 64.0));
}

#[test]
fn random_values_depend_on_the_seed_alone() {
    let list = specs(&["buf:f64[1000]=random"]);
    let values = |seed| {
        let mut memory = Memory::new();
        let (_, b) = bind(&list, &mut memory, seed).unwrap();
        b[0].values(&memory)
    };
    assert_eq!(values(1), values(1));
    assert_ne!(values(1), values(2));
    let mean = values(1).iter().sum::<f64>() / 1000.0;
    assert!(mean.abs() < 0.2, "{mean}");
}

#[test]
fn bad_strings_are_refused() {
    let bad = [
        "7",
        "u32:x",
        "u32:-1",
        "f32:",
        "buf:f32=zeros",
        "buf:f32[3]",
        "buf:f33[3]=zeros",
        "buf:f32[3]=lots",
        "buf:u8[4294967296,4294967296]=zeros",
        "map:bf16[64]=zeros",
        "map:bf16[64]box[64]swizzle3=zeros",
        "map:bf16[64]box[64]",
        "map:@0[64]box[64]=zeros",
        "ptr:3",
        "what:3",
    ];
    let report: Vec<String> =
        bad.iter().map(|s| format!("{s:<40} {}", s.parse::<ArgSpec>().expect_err("refused"))).collect();
    insta::assert_snapshot!(report.join("\n"));
    assert!(bind(&specs(&["ptr:@1", "buf:f32[4]=zeros"]), &mut Memory::new(), 0).is_err());
    assert!(dimensions("1,2,3,4").is_err() && dimensions("").is_err());
}
