//! Compiled code against the reference: every program of the library, those of the semantic tests, and a few made to be
//! difficult, over the shapes and types of `run/cases.txt`.

use dmac_tests::files::{below, read, root};
use dmac_tests::subject::{Numbers, Twist, agrees, build, inputs, storage};
use dmac_tests::table::{pairs, rows};
use std::collections::BTreeMap;

/// Sizes of further axes and pinned parameters that a program needs at these small shapes.
#[derive(Default)]
struct Needs {
    sizes: Numbers,
    pins: Numbers,
}

fn needs() -> BTreeMap<String, Needs> {
    rows(&read(&root().join("tests/suite/run/programs.txt")))
        .into_iter()
        .map(|row| {
            let needs = Needs {
                sizes: pairs(&row[1]).into_iter().collect(),
                pins: pairs(&row[2]).into_iter().collect(),
            };
            (row[0].clone(), needs)
        })
        .collect()
}

/// One line of the table of cases.
struct Case {
    storage: dmac::Storage,
    sizes: Numbers,
    params: Numbers,
    twist: Twist,
    line: String,
}

fn cases() -> Vec<Case> {
    rows(&read(&root().join("tests/suite/run/cases.txt")))
        .into_iter()
        .map(|row| Case {
            storage: storage(&row[0]),
            sizes: pairs(&row[1]).into_iter().collect(),
            params: pairs(&row[2]).into_iter().collect(),
            twist: Twist::of(&row[3]),
            line: row.join(" "),
        })
        .collect()
}

fn check(folder: &str) {
    let needs = needs();
    let nothing = Needs::default();
    let mut complaints = Vec::new();
    for path in below(folder, &["dmac"]) {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let text = read(&root().join(&path));
        let needs = needs.get(&name).unwrap_or(&nothing);
        let mut built = BTreeMap::new();
        for (at, case) in cases().into_iter().enumerate() {
            let mut sizes = case.sizes.clone();
            sizes.extend(needs.sizes.clone());
            let features = (sizes["D"], sizes.get("E").copied().unwrap_or(sizes["D"]));
            let key = (case.storage as u8, features);
            let attention =
                built.entry(key).or_insert_with(|| build(&name, &text, case.storage, features, &needs.pins));
            let inputs = inputs(attention, &sizes, &case.params, case.twist, at as u64);
            if let Err(complaint) = agrees(attention, &inputs) {
                complaints.push(format!("{name}: {}\n{complaint}", case.line));
            }
        }
    }
    assert!(complaints.is_empty(), "{} cases differ:\n{}", complaints.len(), complaints.join("\n\n"));
}

#[test]
fn the_library_agrees_with_the_reference() {
    check("dsl/std");
}

/// The sizes of DeepSeek-V2: the largest features that the CPU holds, and values that are part of the keys.
#[test]
fn latent_attention_at_its_published_sizes() {
    let text = read(&root().join("dsl/std/mla.dmac"));
    let sizes = [("B", 2), ("H", 4), ("G", 1), ("M", 3), ("N", 21), ("D", 576), ("E", 512)];
    let sizes: Numbers = sizes.map(|(name, size)| (name.to_owned(), size)).into();
    for storage in [dmac::Storage::F32, dmac::Storage::F16, dmac::Storage::Bf16] {
        let attention = build("mla", &text, storage, (576, 512), &Numbers::new());
        let inputs = inputs(&attention, &sizes, &Numbers::new(), Twist::Lengths, 5);
        agrees(&attention, &inputs).unwrap_or_else(|complaint| panic!("{complaint}"));
    }
}

#[test]
fn programs_of_other_papers_agree_with_the_reference() {
    check("crates/dmac-sema/tests/programs");
}

#[test]
fn difficult_programs_agree_with_the_reference() {
    check("tests/suite/run");
}
