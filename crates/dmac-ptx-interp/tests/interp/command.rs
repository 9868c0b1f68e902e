//! Launches described by strings.

use crate::samples::{clean, module};
use dmac_ptx::samples;
use dmac_ptx_interp::command::{ArgSpec, bind, dimensions};
use dmac_ptx_interp::command::{HostTensor, TensorName};
use dmac_ptx_interp::{Arg, Launch, Memory, Module, Options, Param, TensorElement};
use std::collections::BTreeMap;

fn specs(list: &[&str]) -> Vec<ArgSpec> {
    list.iter().map(|s| s.parse().unwrap_or_else(|e| panic!("{e}"))).collect()
}

fn params(module: &Module) -> &[Param] {
    module.entries().next().expect("a sample has an entry").params()
}

fn one_parameter() -> Vec<Param> {
    vec![Param { name: "x".into(), offset: 0, size: 8, array: false }]
}

#[test]
fn a_kernel_runs_from_strings() {
    let (module, _) = module(&samples::vector_add());
    let mut memory = Memory::new();
    let list = specs(&["buf:f32[300]=iota", "buf:f32[300]=2.5", "buf:f32[300]=uninit", "u32:300"]);
    let (args, buffers) = bind(params(&module), &list, &BTreeMap::new(), &mut memory, 0).unwrap();
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
    let (args, buffers) = bind(params(&module), &list, &BTreeMap::new(), &mut memory, 0).unwrap();
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
        let (_, b) = bind(&one_parameter(), &list, &BTreeMap::new(), &mut memory, seed).unwrap();
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
    let bound = |list: &[&str]| {
        let (module, _) = module(&samples::vector_add());
        bind(params(&module), &specs(list), &BTreeMap::new(), &mut Memory::new(), 0).expect_err("refused")
    };
    let lists: [&[&str]; 9] = [
        &["ptr:@4", "buf:f32[4]=zeros", "u32:1", "u32:1"],
        &["ptr:@3", "buf:f32[4]=zeros", "u32:1", "u32:1"],
        &["ptr:@who", "buf:f32[4]=zeros", "u32:1", "u32:1"],
        &["u32:1", "u32:1", "u32:1"],
        &["u32:1", "u32:1", "u32:1", "u32:1", "u32:1"],
        &["nothing=u32:1"],
        &["n=u32:1", "n=u32:2"],
        &["file:x:y", "u32:1", "u32:1", "u32:1"],
        &["buf:f64[1000000000]=zeros", "buf:f64[1000000000]=zeros", "u32:1", "u32:1"],
    ];
    let report: Vec<String> =
        lists.iter().map(|list| format!("{:<60} {}", list.join(" "), bound(list))).collect();
    insta::assert_snapshot!("unbound", report.join("\n"));
    assert!(dimensions("1,2,3,4").is_err() && dimensions("").is_err());
}

#[test]
fn arguments_go_to_the_parameters_that_they_name() {
    let (module, _) = module(&samples::vector_add());
    let names: Vec<&str> = params(&module).iter().map(|param| param.name.as_str()).collect();
    let file = TensorName { path: "t.safetensors".into(), tensor: "first".into() };
    let first: Vec<f32> = (0..100).map(|x| x as f32).collect();
    let tensor = HostTensor {
        element: TensorElement::F32,
        dims: vec![10, 10],
        bytes: first.iter().flat_map(|x| x.to_le_bytes()).collect(),
    };
    let files = BTreeMap::from([(file.clone(), tensor)]);
    let list = specs(&[
        &format!("{}=u32:100", names[3]),
        &format!("{}=buf:f32[10,10]=uninit", names[2]),
        "file:t.safetensors:first",
        "buf:f32[10,10]=file:t.safetensors:first",
    ]);
    assert_eq!(list.iter().filter_map(ArgSpec::file).collect::<Vec<_>>(), [&file, &file]);
    let mut memory = Memory::new();
    let (args, buffers) = bind(params(&module), &list, &files, &mut memory, 0).unwrap();
    assert_eq!(args[3], Arg::U32(100));
    clean(
        Launch::new(&module, "vector_add")
            .block([128, 1, 1])
            .args(args)
            .run(&mut memory, &Options::default()),
    );
    let out = buffers[2].tensor(&memory);
    assert_eq!((buffers[2].name.as_str(), out.dims), (names[2], vec![10, 10]));
    assert_eq!(buffers[2].values(&memory)[7], 14.0);
    let wrong = bind(
        params(&module),
        &specs(&["buf:f16[100]=file:t.safetensors:first", "u32:0", "u32:0", "u32:0"]),
        &files,
        &mut memory,
        0,
    );
    assert!(wrong.expect_err("another type").contains("f16"));
}
