//! The programs of `dsl/std` are read without a word, documented and formatted.

use std::fs;
use std::path::Path;

use dmac_source::{Format, Renderer, SourceFile};

fn programs() -> Vec<SourceFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl/std");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "dmac"));
    paths.sort();
    assert!(paths.len() >= 10, "the library has shrunk to {paths:?}");
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| SourceFile::new(name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_program_parses() {
    for file in programs() {
        let (module, diagnostics) = dmac_syntax::parse(&file);
        assert!(diagnostics.is_empty(), "{}", Renderer::new(Format::Human).render_all(&file, &diagnostics));
        let names: Vec<&str> = module.attentions().map(|attention| attention.name.name.as_str()).collect();
        assert_eq!(names, [file.name().trim_end_matches(".dmac")]);
    }
}

#[test]
fn every_program_is_formatted() {
    for file in programs() {
        assert_eq!(dmac_syntax::format(&file).as_deref(), Ok(file.text()), "{}", file.name());
    }
}

#[test]
fn every_program_says_what_it_is() {
    for file in programs() {
        for attention in dmac_syntax::parse(&file).0.attentions() {
            let doc = attention.doc.join("\n");
            assert!(
                doc.contains("arXiv") || doc.contains("report"),
                "{} names no source:\n{doc}",
                attention.name
            );
        }
    }
}
