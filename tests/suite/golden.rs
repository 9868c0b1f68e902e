//! A few tiny programs in every phase of the compiler, as text.
//!
//! A change of a phase shows here as a difference that can be read. The target is pinned, so the texts are those of every
//! machine.

use dmac::codegen::{Machine, code_text};
use dmac::{Compiled, Options, Phase, SourceFile, Storage, compile};
use dmac_tests::files::{below, read, root};
use insta::{Settings, assert_snapshot};
use std::collections::BTreeMap;

/// Lines that a snapshot may have: one that is longer is not read.
const LONGEST: usize = 250;
/// Half of all snapshots may not be longer than this.
const MEDIAN: usize = 40;

fn phases(name: &str, text: &str) -> BTreeMap<&'static str, String> {
    let mut phases = BTreeMap::new();
    let options = Options::native(8, Storage::F32);
    let mut note = |phase: Phase, text: &dyn std::fmt::Display| {
        phases.insert(phase.name(), text.to_string());
    };
    let compiled = compile(&SourceFile::new(name, text), &options, &mut note)
        .unwrap_or_else(|errors| panic!("{name}: {errors:#?}"));
    phases.insert("ir_final", compiled.graph.to_string());
    phases.insert("clif", clif(&compiled));
    phases
}

/// The smallest function of the code.
fn clif(compiled: &Compiled) -> String {
    let machine = Machine::pinned("x86_64-unknown-linux-gnu", "avx2").expect("a common machine");
    let text = code_text(&compiled.program, &machine).expect("the target can run it").clif;
    let mut functions: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("; dmac_") || functions.is_empty() {
            functions.push(String::new());
        }
        let function = functions.last_mut().expect("one was pushed");
        function.push_str(line);
        function.push('\n');
    }
    functions.into_iter().min_by_key(|function| function.lines().count()).expect("a program has a kernel")
}

#[test]
fn tiny_programs_in_every_phase() {
    let mut lengths = Vec::new();
    for path in below("tests/suite/golden", &["dmac"]) {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let text = read(&root().join(&path));
        let phases = phases(&name, &text);
        let mut settings = Settings::clone_current();
        settings.set_snapshot_path("golden");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        for phase in ["ast", "ir", "ir_final", "kernel", "clif"] {
            // The tests of the passes pin more final graphs, those of the code generator more code.
            let pinned = match phase {
                "ir_final" => name == "gated" || name == "padded",
                "clif" => name == "causal",
                _ => true,
            };
            if !pinned {
                continue;
            }
            let text = &phases[phase];
            lengths.push((text.lines().count(), format!("{name}.{phase}")));
            settings.bind(|| assert_snapshot!(format!("{name}.{phase}"), text));
        }
    }
    lengths.sort();
    let longest = lengths.last().expect("there are snapshots");
    assert!(longest.0 <= LONGEST, "{longest:?}");
    let median = &lengths[lengths.len() / 2];
    assert!(median.0 <= MEDIAN, "{median:?}: {lengths:?}");
}
