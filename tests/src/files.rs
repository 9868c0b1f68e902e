//! Files of the project.
//!
//! A path from the root of the project → text, or the files below it in order.

use std::path::{Path, PathBuf};

/// The root of the project.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the package is a folder of the project").to_owned()
}

/// The text of a file.
///
/// # Panics
/// If it cannot be read as text.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below a folder with one of these extensions, as paths from the root, sorted. Build folders and hidden ones are
/// left out.
pub fn below(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.join(folder)];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder's entry").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with("target") && !name.starts_with('.') && !path.join("pyvenv.cfg").exists()
                {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|own| extensions.iter().any(|wanted| own == *wanted)) {
                let inner = path.strip_prefix(&root).expect("everything found is below the root");
                found.push(inner.to_owned());
            }
        }
    }
    found.sort();
    found
}
