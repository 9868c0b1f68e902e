//! Programs and results on disk.

use crate::terminal::{Failure, Terminal};
use dmac::source::SourceFile;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// A program's text; `-` is standard input. A text that is no text is a diagnostic, printed here: then `None`.
pub fn read_program(path: &Path, terminal: &Terminal) -> Result<Option<SourceFile>, Failure> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::io(format!("cannot read standard input: {error}")))?;
        ("<stdin>".to_owned(), bytes)
    } else {
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::io(format!("cannot read {}: {error}", path.display())))?;
        (path.display().to_string(), bytes)
    };
    match SourceFile::read(name.clone(), bytes) {
        Ok(source) => Ok(Some(source)),
        Err(diagnostic) => {
            terminal.diagnostics(&SourceFile::new(name, ""), &[*diagnostic])?;
            Ok(None)
        }
    }
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(format!("cannot write {}: {error}", path.display()));
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    // A temporary file is private to its owner; a result is not.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_or(0o644, |old| old.permissions().mode());
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
