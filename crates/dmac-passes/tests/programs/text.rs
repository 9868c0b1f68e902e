//! Graphs of program texts, through the front end.

use dmac_ir::Graph;
use dmac_sema::{SemaOptions, analyze};
use dmac_source::SourceFile;
use std::path::{Path, PathBuf};

/// The front end's graph of a text with one program, for a head dimension of 8.
///
/// # Panics
/// With the diagnostics, if the text is not a program.
pub fn graph(text: &str) -> Graph {
    let file = SourceFile::new("test", text);
    let (module, mut diagnostics) = dmac_syntax::parse(&file);
    let options = SemaOptions { head_dim: Some(8), ..SemaOptions::default() };
    let (programs, found) = analyze(&module, &options);
    diagnostics.extend(found);
    match programs.into_iter().next() {
        Some(program) if !dmac_source::has_errors(&diagnostics) => program.graph,
        _ => panic!("{diagnostics:#?}\n{text}"),
    }
}

/// The program files of a folder of the project, by name.
pub fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder's entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dmac"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a program can be read"))
        })
        .collect()
}
