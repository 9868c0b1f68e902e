//! `cargo xtask bless`: the tests write what they would otherwise compare with.
//!
//! Packages, or none for all → their snapshots and the pages generated from tables (`dsl/BUILTINS.md`) are those of the
//! code as it is. Why: a change of many snapshots is read in `git diff`, not accepted one by one.

use anyhow::{Context as _, Result, ensure};
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// Packages whose tests write [default: all].
    packages: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(std::env::var_os("CI").is_none(), "nothing is written under CI: there, tests compare");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("test").env("INSTA_UPDATE", "always").env("DMAC_BLESS", "1");
    if args.packages.is_empty() {
        cargo.arg("--workspace");
    }
    for package in &args.packages {
        cargo.args(["--package", package]);
    }
    let status = cargo.status().context("cargo cannot be started")?;
    ensure!(status.success(), "some tests fail for another reason than a snapshot");
    Ok(())
}
