//! Without a GPU the command says so and ends with its own exit code; wrong arguments are told.

use dmac_cuda::{Device, Error};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs the example, which Cargo builds beside the tests.
fn conformance(arguments: &[&str]) -> Output {
    let mut path: PathBuf = std::env::current_exe().expect("a test has a path");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(format!("conformance{}", std::env::consts::EXE_SUFFIX));
    Command::new(&path).args(arguments).output().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_machine_without_a_gpu_is_an_error_value_and_exit_code_4() {
    let Err(error) = Device::open(0) else { return };
    assert!(error.no_gpu(), "{error}");
    let output = conformance(&[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout.is_empty(), "nothing was run");
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(message, format!("error: {error}\n"));
    if error == Error::NoDriver {
        assert!(message.contains("no CUDA driver"), "{message}");
    }
}

#[test]
fn a_device_that_does_not_exist_is_an_error_value() {
    assert!(Device::open(usize::MAX).is_err_and(|e| e.no_gpu()));
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for arguments in [&["--frm"][..], &["--from"], &["--from", "one"]] {
        let output = conformance(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: conformance"), "{arguments:?}");
    }
}
