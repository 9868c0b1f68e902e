//! The samples as text: small ones whole, large ones as digests.

use crate::ptxas_or_skip;
use dmac_ptx::{Accumulate, Assembler, B32, B64, F32, Major, MmaElem, Module, Reg, Target, ptxas, samples};

/// Above this many lines a kernel is kept as a digest.
const WHOLE: usize = 150;

#[test]
fn texts() {
    for sample in samples::all() {
        let kernel = &sample.kernel;
        let text = kernel.text();
        if text.lines().count() <= WHOLE {
            insta::assert_snapshot!(format!("{}_text", kernel.name), text);
        } else {
            insta::assert_snapshot!(format!("{}_digest", kernel.name), kernel.digest());
        }
    }
}

#[test]
fn output_is_deterministic() {
    let texts = || samples::all().iter().map(|s| s.kernel.text()).collect::<Vec<_>>();
    assert_eq!(texts(), texts());
}

#[test]
fn names_follow_roles() {
    // A register more of one role renames only its namesakes.
    let text = |extra: bool| {
        let mut k = Assembler::new("k", Target::Sm80);
        if extra {
            k.mov::<B32>("row", 9);
        }
        let row = k.mov::<B32>("row", 1);
        let column = k.mov::<B32>("column", 2);
        k.add("cell", row, column);
        k.ret();
        k.finish().expect("sound").text()
    };
    assert!(text(false).contains("add.u32 %cell0, %row0, %column0;"), "{}", text(false));
    assert!(text(true).contains("add.u32 %cell0, %row1, %column0;"), "{}", text(true));
    // A role that ends in a digit cannot run into its number.
    let mut k = Assembler::new("k", Target::Sm80);
    let names: [Reg<B32>; 3] = ["x1", "x", "x1"].map(|role| k.mov(role, 0));
    k.ret();
    let kernel = k.finish().expect("sound");
    assert_eq!(names.map(|r| kernel.register_name(r.id())), ["%x1_0", "%x0", "%x1_1"]);
}

/// A kernel with one product of the given width, A from shared memory or from registers.
fn product(n: usize, elem: MmaElem, from_registers: bool) -> dmac_ptx::Kernel {
    let source = if from_registers { "rs" } else { "ss" };
    let mut k = Assembler::new(&format!("wgmma_{source}_{}_{n}", elem.name()), Target::Sm90a);
    k.threads(128);
    let descriptor = k.mov::<B64>("tile", 0);
    let acc = k.regs::<F32>("acc", n / 2);
    let out = k.param_pointer("out", 4);
    let a: Vec<_> = (0..4).map(|i| k.mov::<B32>("a", i)).collect();
    k.wgmma_fence();
    let b = (descriptor, Major::K);
    if from_registers {
        k.wgmma_rs(elem, &acc, &a, b, Accumulate::No);
    } else {
        k.wgmma_ss(elem, &acc, (descriptor, Major::K), b, Accumulate::No);
    }
    k.wgmma_commit();
    k.wgmma_wait(0);
    let out = k.ld_param("out", out);
    for x in acc {
        k.st(dmac_ptx::global(out), x);
    }
    k.ret();
    k.finish().unwrap_or_else(|errors| panic!("{}", errors[0]))
}

#[test]
fn warpgroup_products_of_every_width() {
    for (name, elem, widths) in [
        ("bf16", MmaElem::Bf16, (8..=256).step_by(8).collect::<Vec<_>>()),
        ("f16", MmaElem::F16, vec![8, 72, 256]),
        ("tf32", MmaElem::Tf32, vec![8, 72, 256]),
    ] {
        let kernels: Vec<_> =
            widths.iter().flat_map(|n| [false, true].map(|registers| product(*n, elem, registers))).collect();
        let count = kernels.len();
        let file = ptxas::keep(&format!("wgmma_{name}"), &Module { kernels }.text()).expect("writable");
        let Some(program) = ptxas_or_skip() else { return };
        let report = ptxas::assemble(&program, &file, Target::Sm90a, None).expect("ptxas runs");
        assert!(report.complaints().is_empty(), "{:?}", report.complaints());
        assert_eq!(report.kernels.len(), count);
    }
}
