//! Every program of the library becomes the graph of its snapshot, with sizes known and without.

use dmac_sema::{SemaOptions, analyze};
use dmac_source::{Format, Renderer, SourceFile};
use std::path::Path;

/// The graphs of a text, or its diagnostics.
fn graphs(name: &str, text: &str, options: &SemaOptions) -> String {
    let file = SourceFile::new(name, text);
    let (module, mut diagnostics) = dmac_syntax::parse(&file);
    let (programs, found) = analyze(&module, options);
    diagnostics.extend(found);
    let graphs: Vec<String> = programs.iter().map(|program| program.graph.to_string()).collect();
    graphs.join("\n") + &Renderer::new(Format::Human).render_all(&file, &diagnostics)
}

#[test]
fn library_programs_lower_to_their_graphs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl/std");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the library of programs is there")
        .map(|entry| entry.expect("its folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dmac"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a program can be read");
        let options = SemaOptions { head_dim: Some(64), ..SemaOptions::default() };
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name.as_str(), graphs(&name, &text, &options));
        });
        let without_sizes = graphs(&name, &text, &SemaOptions::default());
        assert!(without_sizes.starts_with("graph"), "{without_sizes}");
    }
}
