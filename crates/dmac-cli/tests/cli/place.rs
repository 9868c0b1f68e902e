//! A folder with programs and tensors, and the command run in it.

use assert_cmd::Command;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize_to_file};
use std::path::PathBuf;
use tempfile::TempDir;

pub const WINDOW: &str = "attention window(w: int = 4) { mask j <= i and i - j < w }\n";
pub const BROKEN: &str = "attention broken { mask j <= k_len }\n";

/// A folder with files, and the command in it.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        place.write("window.dmac", WINDOW.as_bytes());
        place.write("broken.dmac", BROKEN.as_bytes());
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("the folder can be written");
    }

    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder can be read");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Runs a command line; arguments are apart by blanks.
    pub fn run(&self, line: &str) -> Run {
        self.run_with(line, "")
    }

    pub fn run_with(&self, line: &str, stdin: &str) -> Run {
        self.start(line, stdin, &[])
    }

    /// Runs a command line with these environment variables.
    pub fn run_in(&self, line: &str, environment: &[(&str, &str)]) -> Run {
        self.start(line, "", environment)
    }

    fn start(&self, line: &str, stdin: &str, environment: &[(&str, &str)]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_dmac"))
            .current_dir(self.0.path())
            .env("NO_COLOR", "1")
            .envs(environment.iter().copied())
            .args(line.split_whitespace())
            .write_stdin(stdin)
            .output()
            .expect("the command starts");
        Run {
            line: line.to_owned(),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Tensors `q`, `k`, `v` for the window, with some of them replaced.
    pub fn tensors(&self, name: &str, dtype: Dtype, replaced: &[(&str, Vec<usize>)], left_out: &str) {
        let width = if dtype == Dtype::F32 { 4 } else { 2 };
        let mut dims: Vec<(&str, Vec<usize>)> =
            vec![("q", vec![1, 2, 5, 8]), ("k", vec![1, 1, 5, 8]), ("v", vec![1, 1, 5, 8])];
        for (name, other) in replaced {
            dims.retain(|(own, _)| own != name);
            dims.push((name, other.clone()));
        }
        dims.retain(|(own, _)| *own != left_out);
        let bytes: Vec<Vec<u8>> =
            dims.iter().map(|(_, dims)| vec![0; dims.iter().product::<usize>() * width]).collect();
        let views = dims.iter().zip(&bytes).map(|((name, dims), bytes)| {
            (*name, TensorView::new(dtype, dims.clone(), bytes).expect("as many bytes as it needs"))
        });
        serialize_to_file(views.collect::<Vec<_>>(), None, &self.path(name)).expect("it can be written");
    }
}

pub struct Run {
    pub line: String,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Ends with this code, having said all of this on stderr.
    #[track_caller]
    pub fn ends(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "`{}`:\n{}\n{}", self.line, self.out, self.err);
        for wanted in says {
            assert!(self.err.contains(wanted), "`{}` does not say `{wanted}`:\n{}", self.line, self.err);
        }
        assert!(!self.err.contains("panicked"), "`{}`: {}", self.line, self.err);
        self
    }
}
