//! Compiles the crate's own sources a second time, into one object file with C symbols and no dependencies.
//!
//! Input: `src/lib.rs`. Output: `dmac_rt.o`, which `src/object.rs` embeds. The `dmac_object` configuration leaves out what only
//! Rust callers need and gives every entry point its symbol.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(dmac_object)");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_OBJECT").is_none() {
        return;
    }
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let object = PathBuf::from(variable("OUT_DIR")).join("dmac_rt.o");
    let status = Command::new(variable("RUSTC"))
        .args(["--crate-name", "dmac_rt", "--crate-type", "lib", "--edition", "2024", "--cfg", "dmac_object"])
        .args(["--emit", "obj", "-A", "warnings", "--target"])
        .arg(variable("TARGET"))
        .args(["-C", "panic=abort", "-C", "opt-level=3", "-C", "codegen-units=1", "-C", "debuginfo=0", "-o"])
        .arg(&object)
        .arg(PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .status()
        .unwrap_or_else(|error| panic!("rustc cannot be started for the embedded object: {error}"));
    assert!(status.success(), "rustc could not compile the embedded object: {status}");
}
