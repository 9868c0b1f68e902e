//! The language says more than the library does: programs of other systems are accepted and become graphs that verify.

use dmac_sema::{SemaOptions, analyze};
use dmac_source::{Format, Renderer, SourceFile};
use std::path::Path;

#[test]
fn programs_are_accepted_without_a_word() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    for entry in std::fs::read_dir(folder).expect("the programs are there") {
        let path = entry.expect("their folder can be read").path();
        let file = SourceFile::new(
            path.display().to_string(),
            std::fs::read_to_string(&path).expect("a program can be read"),
        );
        let (module, mut diagnostics) = dmac_syntax::parse(&file);
        for (head_dim, value_dim) in [(None, None), (Some(128), Some(64))] {
            let options = SemaOptions { head_dim, value_dim, ..SemaOptions::default() };
            let (programs, found) = analyze(&module, &options);
            diagnostics.extend(found);
            // Selection inputs without a gradient are what these systems are about.
            diagnostics.retain(dmac_source::Diagnostic::is_error);
            let text = Renderer::new(Format::Human).render_all(&file, &diagnostics);
            assert!(diagnostics.is_empty(), "{text}");
            assert_eq!(programs.len(), 1);
        }
    }
}
