//! Every sample goes through the real `ptxas`: no errors, no spills, no stack, no serialised products.

use dmac_ptx::{ptxas, samples};

#[test]
fn samples_assemble_cleanly() {
    let samples = samples::all();
    let files: Vec<_> = samples
        .iter()
        .map(|s| ptxas::keep(&s.kernel.name, &s.kernel.text()).expect("the target folder is writable"))
        .collect();
    let Some(program) = ptxas::find() else {
        assert!(std::env::var_os("CI").is_none(), "no ptxas under CI: run `cargo xtask assemble` first");
        #[allow(clippy::print_stderr, reason = "the reason for a skip has to be seen")]
        {
            eprintln!("skipped by hand: no ptxas (run `cargo xtask assemble`, or set DMAC_PTXAS)");
        }
        return;
    };
    let mut complaints = Vec::new();
    for (sample, file) in samples.iter().zip(&files) {
        let report = ptxas::assemble(&program, file, sample.kernel.target, None).expect("ptxas runs");
        assert!(!report.assembled || report.kernels.len() == 1, "{}", report.log);
        complaints.extend(report.complaints().into_iter().map(|c| format!("{}: {c}", sample.kernel.name)));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
