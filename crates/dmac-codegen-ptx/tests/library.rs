//! Every program of the library as PTX, on small ragged shapes.

mod support;

use dmac::Storage;
use dmac_codegen_ptx::Target;
use dmac_ptx::ptxas::keep;
use support::{Case, build, check};

const SMALL: Case = Case {
    name: "full",
    storage: Storage::Bf16,
    head_dim: 64,
    value_dim: 64,
    sizes: &[("B", 1), ("H", 2), ("G", 1), ("M", 70), ("N", 81)],
    params: &[],
    pins: &[],
    lengths: None,
};

/// In all storage types: several tiles with ragged tails and grouped heads; per-batch lengths, one of them 0, with odd
/// features; more queries than keys; no keys at all.
fn spread(case: Case) {
    for storage in [Storage::Bf16, Storage::F16, Storage::F32] {
        check(&Case { storage, ..case });
    }
    let ragged: &[(&str, i64)] = &[("B", 2), ("H", 3), ("G", 1), ("M", 20), ("N", 70)];
    check(&Case { sizes: ragged, head_dim: 72, value_dim: 40, lengths: Some(&[67, 0]), ..case });
    check(&Case { sizes: &[("B", 1), ("H", 1), ("G", 1), ("M", 30), ("N", 7)], ..case });
    check(&Case { sizes: &[("B", 1), ("H", 2), ("G", 2), ("M", 3), ("N", 0)], ..case });
}

#[test]
fn full() {
    spread(SMALL);
}

#[test]
fn causal() {
    spread(Case { name: "causal", ..SMALL });
}

#[test]
fn sliding_window() {
    spread(Case { name: "sliding_window", params: &[("window", 20)], ..SMALL });
}

#[test]
fn alibi() {
    spread(Case { name: "alibi", ..SMALL });
}

#[test]
fn softcap() {
    spread(Case { name: "softcap", ..SMALL });
}

#[test]
fn document() {
    spread(Case { name: "document", ..SMALL });
}

#[test]
fn low_rank() {
    spread(Case { name: "low_rank", params: &[("r", 20)], ..SMALL });
}

#[test]
fn dma() {
    spread(Case { name: "dma", params: &[("w", 9)], ..SMALL });
}

/// Lists longer than a block filters in one step; keys that are kept, that enter late, that start anew with each document.
#[test]
fn lifetimes() {
    let long: &[(&str, i64)] = &[("B", 1), ("H", 2), ("G", 2), ("M", 70), ("N", 2100)];
    let tiny = Case { head_dim: 8, value_dim: 8, storage: Storage::F32, ..SMALL };
    for (name, params) in
        [("dma", &[("w", 1200)]), ("dma_per_head", &[("w", 30)]), ("dma_window", &[("w", 9)])]
    {
        check(&Case { name, sizes: long, params, ..tiny });
    }
    let shorter: &[(&str, i64)] = &[("B", 2), ("H", 2), ("G", 1), ("M", 90), ("N", 90)];
    for name in ["dma", "dma_document", "dma_per_head", "dma_window"] {
        check(&Case { name, sizes: shorter, params: &[("w", 6)], lengths: Some(&[64, 90]), ..tiny });
    }
}

#[test]
fn indexed() {
    spread(Case { name: "indexed", params: &[("n", 11)], ..SMALL });
    // Lists that are longer than a selection reads in one step.
    let long: &[(&str, i64)] = &[("B", 1), ("H", 1), ("G", 1), ("M", 5), ("N", 900)];
    check(&Case { name: "indexed", params: &[("n", 140)], sizes: long, head_dim: 8, value_dim: 8, ..SMALL });
}

#[test]
fn nsa() {
    let pins = &[("l", 8), ("stride", 4), ("block", 16), ("n", 3)];
    spread(Case { name: "nsa", params: &[("window", 20)], pins, ..SMALL });
}

/// The vendor's assembler sees every kernel of the library, for both targets: `cargo xtask assemble`.
#[test]
fn kernels_are_kept_for_the_assembler() {
    let names = [
        "full",
        "causal",
        "sliding_window",
        "alibi",
        "softcap",
        "document",
        "low_rank",
        "dma",
        "dma_document",
        "dma_window",
        "indexed",
        "nsa",
    ];
    for name in names {
        for (target, arch) in [(Target::Sm80, "sm_80"), (Target::Sm90a, "sm_90a")] {
            for (head_dim, value_dim) in [(64, 64), (128, 128), (72, 40)] {
                let case = Case { name, head_dim, value_dim, ..SMALL };
                let (_, ptx) = build(name, target, &case);
                keep(&format!("{name}_{arch}_d{head_dim}"), &ptx.text).expect("tests run in a target folder");
            }
        }
    }
}
