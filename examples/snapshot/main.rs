//! A snapshot test of the kernel that is generated for one's own variant.
//!
//! `cargo test -p dmac-examples --bin snapshot` compares; `cargo run -p dmac-examples --bin snapshot` prints the texts. They
//! are the same bytes on every machine: the target of the code is pinned, and nothing depends on where it was compiled.
#![expect(clippy::print_stdout, reason = "it shows its results")]

use dmac::codegen::{Machine, code_text};
use dmac::{Options, SourceFile, Storage, compile};
use std::error::Error;

/// The final graph and Cranelift's intermediate form.
struct Texts {
    ir: String,
    clif: String,
}

fn texts() -> Result<Texts, Box<dyn Error>> {
    let source = SourceFile::new("decayed.dmac", include_str!("decayed.dmac"));
    let compiled = compile(&source, &Options::native(64, Storage::Bf16), &mut |_, _| {})
        .map_err(|diagnostics| format!("{diagnostics:?}"))?;
    let machine = Machine::pinned("x86_64-unknown-linux-gnu", "avx2")?;
    let code = code_text(&compiled.program, &machine)?;
    Ok(Texts { ir: compiled.graph.to_string(), clif: code.clif })
}

fn main() -> Result<(), Box<dyn Error>> {
    let Texts { ir, clif } = texts()?;
    println!("{ir}\n{clif}");
    Ok(())
}

#[cfg(test)]
mod tests {
    /// What is attended, and how: changes when the variant changes, or what the compiler finds out about it.
    #[test]
    fn the_graph_of_my_variant() {
        insta::assert_snapshot!(super::texts().expect("it compiles").ir);
    }

    /// The code itself: changes with every release that generates other code.
    #[test]
    fn the_code_of_my_variant() {
        insta::assert_snapshot!(super::texts().expect("it compiles").clif);
    }
}
