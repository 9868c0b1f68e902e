//! `dmac bench`: what it measures is there, whole and plausible; requests are answered line by line; comparisons fail where
//! something became slower.

use crate::place::Place;
use serde_json::Value;

const SIZES: &str = "--random B=1,H=2,G=1,M=40,N=50,D=8";

#[test]
fn a_measurement_says_what_was_measured() {
    let place = Place::new();
    let table = place.run(&format!("bench window.dmac {SIZES} --dtype f32,bf16")).ends(0, &[]).out;
    assert_eq!(table.lines().count(), 3, "{table}");
    let json = place.run(&format!("bench window.dmac {SIZES} --param w=3 --runs 9 --json")).ends(0, &[]).out;
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let found = &report["measurements"][0];
    assert_eq!((report["schema"].as_u64(), found["program"].as_str()), (Some(1), Some("window")));
    assert_eq!(found["times_ms"].as_array().map(Vec::len), Some(9));
    let least = found["least_ms"].as_f64().expect("a time");
    assert!(least > 0.0 && least <= found["median_ms"].as_f64().expect("a time"), "{json}");
    // Row i is at position i + 10 of 50 keys: each of the 40 rows of 2 heads attends to 3 keys.
    assert_eq!(found["attention"]["attended"].as_u64(), Some(2 * 40 * 3));
    assert_eq!(found["attention"]["pairs"].as_u64(), Some(2 * 40 * 50));
    // q, then k and v; out and lse.
    assert_eq!(found["input_bytes"].as_u64(), Some(4 * (2 * 40 + 2 * 50) * 8));
    assert_eq!(found["output_bytes"].as_u64(), Some(4 * 2 * 40 * 9));
}

#[test]
fn comparisons_fail_where_something_became_slower() {
    let place = Place::new();
    let json = place.run(&format!("bench window.dmac {SIZES} --json")).ends(0, &[]).out;
    let with_median = |median: f64| {
        let mut report: Value = serde_json::from_str(&json).expect("JSON");
        report["measurements"][0]["median_ms"] = median.into();
        report.to_string()
    };
    place.write("fast.json", with_median(1e-9).as_bytes());
    place.write("slow.json", with_median(1e9).as_bytes());
    place.write("other.json", b"{}");
    let line = format!("bench window.dmac {SIZES}");
    let run = place.run(&format!("{line} --compare fast.json")).ends(1, &[]);
    assert!(run.out.contains("SLOWER"), "{}", run.out);
    place.run(&format!("{line} --compare slow.json")).ends(0, &[]);
    place.run(&format!("{line} --compare other.json")).ends(3, &["other.json"]);
    place.run(&format!("{line} --param v=3")).ends(2, &["`v`"]);
    place.run("bench window.dmac").ends(2, &["--random"]);
}

#[test]
fn requests_are_answered_line_by_line() {
    let place = Place::new();
    let sizes = "B=1,H=2,G=1,M=5,N=5,D=8";
    place.run(&format!("run window.dmac --random {sizes} -o expected.safetensors")).ends(0, &[]);
    place.tensors("given.safetensors", safetensors::Dtype::BF16, &[], "");
    let requests = format!(
        "{{\"file\": \"window.dmac\", \"random\": \"{sizes}\", \"runs\": 2, \"output\": \"found.safetensors\"}}\n\n\
         {{\"file\": \"window.dmac\", \"input\": \"given.safetensors\", \"dtype\": \"bf16\", \"drop\": true}}\n\
         {{\"file\": \"window.dmac\"}}\n{{\"file\": \"broken.dmac\", \"random\": \"{sizes}\"}}\nnothing\n"
    );
    let run = place.run_with("bench --requests", &requests).ends(0, &[]);
    let answers: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), 5, "{}", run.out);
    assert_eq!(answers[0]["times_ms"].as_array().map(Vec::len), Some(2));
    assert_eq!((answers[1]["dtype"].as_str(), answers[1]["sizes"]["M"].as_u64()), (Some("bf16"), Some(5)));
    for (answer, says) in answers[2..].iter().zip(["`random`", "E0201", "expected"]) {
        let error = answer["error"].as_str().expect("an error");
        assert!(error.contains(says), "{error}");
    }
    let [expected, found] =
        ["expected", "found"].map(|name| std::fs::read(place.path(&format!("{name}.safetensors"))));
    assert_eq!(expected.expect("written"), found.expect("written"));
}

#[test]
fn without_a_gpu_there_is_nothing_to_measure_on_it() {
    let place = Place::new();
    let line = format!("bench window.dmac {SIZES} --device cuda");
    place.run_in(&line, &[("CUDA_VISIBLE_DEVICES", "-1")]).ends(4, &["CUDA", "E0801"]);
}
