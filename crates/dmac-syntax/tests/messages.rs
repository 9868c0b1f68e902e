//! What the parser says about broken programs: each text in `messages/` with its rendered diagnostics.
//!
//! Each text has many mistakes of one kind, so the snapshots also show that one does not hide the next.

use std::fs;

use dmac_source::{Format, Renderer, SourceFile};
use dmac_syntax::{ast, parse};

#[test]
fn messages() {
    insta::glob!("messages/*.dmac", |path| {
        let name = path.file_name().unwrap().to_string_lossy();
        let file = SourceFile::new(name, fs::read_to_string(path).unwrap());
        let (module, diagnostics) = parse(&file);
        let report = Renderer::new(Format::Human).render_all(&file, &diagnostics);
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("{}\n\n{}", report.trim_end(), ast::tree(&module)));
        });
    });
}
