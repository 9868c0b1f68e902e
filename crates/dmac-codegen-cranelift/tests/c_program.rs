//! An object file, its header and a C program: compiled with the system's C compiler, linked without any library of ours,
//! and compared with the code that runs in this process.

mod support;

use dmac_codegen_cranelift::{Machine, c_header, code_text, compile_object, manifest};
use dmac_schedule::kernel::Storage;
use std::collections::BTreeSet;
use std::process::Command;
use support::attend::causal;
use support::{Call, distance, random, rounded};

const MAIN: &str = r#"
#include "causal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs points backwards, on changing workers, to show that neither matters. */
static void backwards(void *context, int64_t count, dmac_body body, const void *state) {
    int64_t workers = *(int64_t *)context;
    for (int64_t point = count - 1; point >= 0; point--) body(state, point, point % workers);
}

static float *read_floats(FILE *file, size_t count) {
    float *values = malloc(count * sizeof(float) + 4);
    if (fread(values, sizeof(float), count, file) != count) exit(4);
    return values;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (!in || !out) return 3;
    enum { B = 2, H = 4, G = 2, M = 19, N = 45, D = 16, E = 8 };
    struct dmac_causal_args args;
    memset(&args, 0, sizeof args);
    args.workers = 3;
    args.size_B = B; args.size_H = H; args.size_G = G; args.size_M = M; args.size_N = N;
    args.q = read_floats(in, B * H * M * D);
    args.q_stride[0] = H * M * D; args.q_stride[1] = M * D; args.q_stride[2] = D;
    args.k = read_floats(in, B * G * N * D);
    args.k_stride[0] = G * N * D; args.k_stride[1] = N * D; args.k_stride[2] = D;
    args.v = read_floats(in, B * G * N * E);
    args.v_stride[0] = G * N * E; args.v_stride[1] = N * E; args.v_stride[2] = E;
    for (int parallel = 0; parallel < 2; parallel++) {
        args.out = malloc(B * H * M * E * sizeof(float));
        args.out_stride[0] = H * M * E; args.out_stride[1] = M * E; args.out_stride[2] = E;
        args.lse = malloc(B * H * M * sizeof(float));
        args.lse_stride[0] = H * M; args.lse_stride[1] = M;
        int64_t size = dmac_causal_workspace_size(&args);
        void *workspace = aligned_alloc(64, (size_t)(size + 63) / 64 * 64);
        int64_t workers = args.workers;
        int status = dmac_causal_run(&args, workspace, parallel ? backwards : 0, &workers);
        if (status != 0) return 10 + status;
        fwrite(args.out, sizeof(float), B * H * M * E, out);
        fwrite(args.lse, sizeof(float), B * H * M, out);
        free(workspace);
    }
    return fclose(out);
}
"#;

#[test]
fn a_c_program_links_the_object() {
    let program = causal(Storage::F32, 16, 8, 8, 16);
    let machine = Machine::native().expect("this machine has a code generator");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("causal.o"), compile_object(&program, &machine).expect("it compiles"))
        .expect("written");
    std::fs::write(path("causal.h"), c_header(&program)).expect("written");
    std::fs::write(path("main.c"), MAIN).expect("written");
    let shape = [2, 4, 2, 19, 45];
    let inputs: Vec<_> = [2 * 4 * 19 * 16, 2 * 2 * 45 * 16, 2 * 2 * 45 * 8]
        .iter()
        .enumerate()
        .map(|(at, count)| rounded(dmac_schedule::kernel::Element::F32, &random(at as u64, *count)))
        .collect();
    let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|x| (*x as f32).to_le_bytes()).collect();
    std::fs::write(path("in.bin"), bytes).expect("written");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([path("program"), path("main.c"), path("causal.o")])
        .status()
        .expect("a C compiler is installed");
    assert!(status.success(), "the C program links");
    let status =
        Command::new(path("program")).args([path("in.bin"), path("out.bin")]).status().expect("it runs");
    assert!(status.success(), "the C program ended with {status}");
    let written = std::fs::read(path("out.bin")).expect("results");
    let values = support::decode(dmac_schedule::kernel::Element::F32, &written);
    let (outs, rows) = (2 * 4 * 19 * 8, 2 * 4 * 19);
    assert_eq!(values.len(), 2 * (outs + rows));
    let call = Call { program: &program, sizes: shape.to_vec(), params: vec![] };
    let expected = call.run_with(machine.table().name(), &inputs);
    for half in values.chunks(outs + rows) {
        assert_eq!(distance(&half[..outs], &expected[0]), 0.0, "out");
        assert_eq!(distance(&half[outs..], &expected[1]), 0.0, "lse");
    }
}

#[test]
fn objects_for_other_processors() {
    let program = causal(Storage::Bf16, 16, 16, 16, 32);
    for (triple, isa, class) in [
        ("aarch64-unknown-linux-gnu", "portable", 183_u16),
        ("x86_64-unknown-linux-gnu", "portable", 62),
        ("x86_64-unknown-linux-gnu", "avx512", 62),
    ] {
        let machine = Machine::pinned(triple, isa).expect("the target is known");
        let object = compile_object(&program, &machine).expect("it compiles");
        assert_eq!(&object[..4], b"\x7fELF");
        assert_eq!(u16::from_le_bytes([object[18], object[19]]), class, "{triple}");
        let again = compile_object(&program, &machine).expect("it compiles");
        assert_eq!(object, again, "the same input gives the same bytes");
    }
    let machine = Machine::pinned("aarch64-apple-darwin", "portable").expect("the target is known");
    assert!(compile_object(&program, &machine).is_ok());
}

#[test]
fn unknown_targets_are_named() {
    for (triple, isa) in [
        ("sparc-unknown-linux-gnu", "portable"),
        ("not a triple", "portable"),
        ("x86_64-unknown-linux-gnu", "mmx"),
        ("aarch64-unknown-linux-gnu", "avx2"),
    ] {
        let error = Machine::pinned(triple, isa).expect_err("it is refused");
        assert_eq!(error.code(), "E0504");
        assert!(error.to_string().contains(if isa == "mmx" { isa } else { triple }), "{error}");
    }
}

#[test]
fn header_and_manifest() {
    let program = causal(Storage::F16, 16, 8, 8, 16);
    let machine = Machine::pinned("x86_64-unknown-linux-gnu", "portable").expect("the target is known");
    insta::assert_snapshot!("header", c_header(&program));
    insta::assert_snapshot!("manifest", manifest(&program, &machine));
}

#[test]
fn text_is_the_same_everywhere() {
    let program = causal(Storage::F32, 16, 8, 8, 16);
    let machine = Machine::pinned("x86_64-unknown-linux-gnu", "portable").expect("the target is known");
    let text = code_text(&program, &machine).expect("it compiles");
    assert_eq!(text, code_text(&program, &machine).expect("it compiles"));
    assert!(text.clif.contains("fcvt_from_sint") || text.clif.contains("icmp sle"), "the mask is generated");
    let calls: BTreeSet<&str> = text
        .clif
        .lines()
        .filter_map(|line| line.split_once(" is dmac_rt_portable_"))
        .map(|(_, name)| name)
        .collect();
    let expected = ["dot_rows", "gemm", "log", "pack_panels", "softmax", "store_rows"];
    assert_eq!(calls, BTreeSet::from(expected), "a kernel calls functions of one tile");
    assert!(!text.asm.is_empty());
}
