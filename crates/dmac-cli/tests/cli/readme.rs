//! The README's commands work as they stand: what it runs is run, what it says of the tests is what the project does.

use assert_cmd::Command;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands in its `sh` blocks.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let mut commands = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => commands.push(line.to_owned()),
            _ => {}
        }
    }
    commands
}

#[test]
fn two_commands_are_all_there_is() {
    let commands = commands();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert_eq!(commands[1], "cargo test --workspace");
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect("there is a CI");
    assert!(ci.contains(&commands[1]), "the CI runs the README's tests");
}

#[test]
fn the_first_command_runs() {
    let commands = commands();
    let arguments = commands[0].strip_prefix("cargo run --release -p dmac-cli -- ").expect("it runs dmac");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("out.safetensors");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmac"));
    command.current_dir(root());
    for argument in arguments.split(' ') {
        match argument.trim_matches('\'') {
            "out.safetensors" => command.arg(&output),
            argument => command.arg(argument),
        };
    }
    command.assert().success();
    assert!(output.metadata().expect("it was written").len() > 8 * 1024 * 64 * 4);
}

#[test]
fn its_program_is_that_of_the_library() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (_, rest) = text.split_once("```dmac\n").expect("it shows a program");
    let (shown, _) = rest.split_once("```").expect("the block is closed");
    let library = std::fs::read_to_string(root().join("dsl/std/dma.dmac")).expect("the program is there");
    let code = |text: &str| {
        let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim_end());
        lines.filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(code(shown), code(&library));
}
