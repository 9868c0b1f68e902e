//! Every example runs, and says what its folder promises.

use assert_cmd::Command;
use safetensors::SafeTensors;

fn example(path: &str) -> Command {
    Command::new(path)
}

#[test]
fn dma_reads_and_writes_tensors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    let run = example(env!("CARGO_BIN_EXE_dma")).arg(&input).arg(&output).assert().success();
    let printed = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert_eq!(printed, "out f32 [1, 8, 3000, 64]\nlse f32 [1, 8, 3000]\n");
    let bytes = std::fs::read(&output).expect("it was written");
    let file = SafeTensors::deserialize(&bytes).expect("it is complete");
    let out = file.tensor("out").expect("it has `out`");
    let values = out.data().chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
    // Weighted means of values between -1/2 and 1/2.
    assert!(values.clone().all(|x| x.abs() <= 0.5));
    assert!(values.clone().any(|x| x.abs() > 0.01));
}

#[test]
fn dma_says_what_is_missing() {
    example(env!("CARGO_BIN_EXE_dma")).assert().failure();
}

#[test]
fn own_variant_runs_with_every_window() {
    let run = example(env!("CARGO_BIN_EXE_own_variant")).assert().success();
    let printed = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let lse: Vec<f64> = printed
        .lines()
        .map(|line| line.rsplit(' ').next().expect("a number").parse().expect("a number"))
        .collect();
    // A wider window adds keys, each of which adds to the sum of exponentials.
    assert!(lse.len() == 3 && lse[0] < lse[1] && lse[1] < lse[2], "{printed}");
}

#[test]
fn snapshot_prints_both_texts() {
    let run = example(env!("CARGO_BIN_EXE_snapshot")).assert().success();
    let printed = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(printed.contains("decay") && printed.contains("function "), "{printed}");
}

#[test]
fn a_cache_does_not_grow_with_its_context() {
    let run = example(env!("CARGO_BIN_EXE_decode")).args(["2000", "6000"]).assert().success();
    let printed = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let cells = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<String>>();
    let lines: Vec<Vec<String>> = printed.lines().skip(1).map(cells).collect();
    assert_eq!(lines.iter().map(|line| line[0].as_str()).collect::<Vec<_>>(), ["2000", "6000"]);
    assert_eq!(lines[0][3], lines[1][3], "{printed}");
}
