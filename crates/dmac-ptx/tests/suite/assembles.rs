//! Every sample goes through the real `ptxas`: no errors, no spills, no stack, no serialised products.

use crate::ptxas_or_skip;
use dmac_ptx::{Module, Target, ptxas, samples};

#[test]
fn samples_assemble_cleanly() {
    let samples = samples::all();
    for s in &samples {
        ptxas::keep(&s.kernel.name, &s.kernel.text()).expect("the target folder is writable");
    }
    let Some(program) = ptxas_or_skip() else { return };
    let mut complaints = Vec::new();
    for target in [Target::Sm80, Target::Sm90a] {
        // One text with all kernels of a target: modules are under test too, and ptxas starts once.
        let of_target = samples.iter().filter(|s| s.kernel.target == target);
        let module = Module { kernels: of_target.map(|s| s.kernel.clone()).collect() };
        let file = ptxas::keep(&format!("samples_{}", target.name()), &module.text()).expect("writable");
        let report = ptxas::assemble(&program, &file, target, None).expect("ptxas runs");
        // The samples were kept one by one; `cargo xtask assemble` need not see them twice.
        std::fs::remove_file(&file).expect("just written");
        complaints.extend(report.complaints());
        assert_eq!(report.kernels.len(), module.kernels.len(), "{}", report.log);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
