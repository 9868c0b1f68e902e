//! The assembler's tests: what the checker refuses, how every instruction is written, what `ptxas` says about all of it.

#[path = "suite/assembles.rs"]
mod assembles;
#[path = "suite/instructions.rs"]
mod instructions;
#[path = "suite/refuses.rs"]
mod refuses;
#[path = "suite/samples.rs"]
mod samples;

use std::path::PathBuf;

/// The real `ptxas`; without one the test is skipped by hand, with a printed reason, and fails under CI.
fn ptxas_or_skip() -> Option<PathBuf> {
    let found = dmac_ptx::ptxas::find();
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no ptxas under CI: run `cargo xtask assemble --install` first"
        );
        #[allow(clippy::print_stderr, reason = "the reason for a skip has to be seen")]
        {
            eprintln!("skipped by hand: no ptxas (run `cargo xtask assemble --install`, or set DMAC_PTXAS)");
        }
    }
    found
}
