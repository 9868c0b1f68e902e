//! Measurements as text, as JSON, and compared with earlier ones.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The version of the JSON's shape: it changes when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// All measurements of one command.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of dmac.
    pub version: String,
    /// One for each program and storage type.
    pub measurements: Vec<Measurement>,
}

impl Default for Report {
    fn default() -> Self {
        Self { schema: SCHEMA, version: env!("CARGO_PKG_VERSION").into(), measurements: Vec::new() }
    }
}

/// One program on one shape. Times are milliseconds of wall time where nothing else is said.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Measurement {
    /// The file's name as it was given.
    pub file: String,
    /// The attention.
    pub program: String,
    /// `cpu` or `cuda`.
    pub device: String,
    /// Which micro-kernels were called, or what PTX was written for.
    pub isa: String,
    /// Threads.
    pub threads: usize,
    /// Storage type.
    pub dtype: String,
    /// The sizes of all axes of the program.
    pub sizes: BTreeMap<String, i64>,
    /// The values of its parameters, pinned ones included.
    pub params: BTreeMap<String, f64>,
    /// From the text to machine code or PTX.
    pub compile_ms: f64,
    /// From PTX to kernels that can be launched: the driver's assembler.
    #[serde(default)]
    pub load_ms: f64,
    /// The median call.
    pub median_ms: f64,
    /// The fastest call.
    pub least_ms: f64,
    /// The slowest call.
    pub greatest_ms: f64,
    /// All calls.
    pub times_ms: Vec<f64>,
    /// Processor time of all threads for each call; empty where the system does not say.
    pub processor_ms: Vec<f64>,
    /// Each kernel of the program, in launch order: its median.
    pub kernels: Vec<KernelTime>,
    /// What is attended, where that was counted.
    pub attention: Option<PairCount>,
    /// Bytes of all inputs.
    pub input_bytes: u64,
    /// Bytes of all results.
    pub output_bytes: u64,
    /// Bytes of memory beyond these.
    pub workspace_bytes: u64,
    /// The most that the process held during these calls, everything included.
    pub peak_bytes: Option<u64>,
}

/// How long one kernel took.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct KernelTime {
    /// Its name.
    pub name: String,
    /// Its median.
    pub ms: f64,
}

/// Pairs of a query row and a key, over all branches, heads and batch elements.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub struct PairCount {
    /// All there are.
    pub pairs: u64,
    /// Those attended, counted.
    pub attended: u64,
    /// `2 (D + E)` operations for each of them.
    pub flops: f64,
    /// Those in the median time, in 10^9 a second.
    pub gflops: f64,
}

/// The columns of [`Measurement::line`].
pub const HEADER: &str = "\
program                dtype     median ms   least ms  GFLOP/s  attended pairs  share    in+out  workspace      peak  compile ms
";

impl Measurement {
    /// One line of the table.
    pub fn line(&self) -> String {
        let (gflops, attended, share) = match self.attention {
            None => ("-".into(), "-".into(), "-".into()),
            Some(PairCount { pairs, attended, gflops, .. }) => {
                let share = if pairs == 0 { 0.0 } else { 100.0 * attended as f64 / pairs as f64 };
                (format!("{gflops:.1}"), attended.to_string(), format!("{share:.1}%"))
            }
        };
        format!(
            "{:<22} {:<5} {:>13.3} {:>10.3} {gflops:>8} {attended:>15} {share:>6} {:>9} {:>10} {:>9} {:>11.1}\n",
            self.program,
            self.dtype,
            self.median_ms,
            self.least_ms,
            bytes(self.input_bytes + self.output_bytes),
            bytes(self.workspace_bytes),
            self.peak_bytes.map_or("-".into(), bytes),
            self.compile_ms,
        )
    }

    /// Whether two measurements are of the same thing.
    fn same_as(&self, other: &Self) -> bool {
        let key = |m: &Self| {
            let Self { program, device, dtype, threads, sizes, params, .. } = m;
            (program.clone(), device.clone(), dtype.clone(), *threads, sizes.clone(), params.clone())
        };
        key(self) == key(other)
    }
}

/// Bytes in a unit that leaves at most four digits before the point.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

impl Report {
    /// As JSON.
    pub fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_else(|error| panic!("bench: {error}"));
        text + "\n"
    }
}

/// What a comparison found.
pub struct Verdict {
    /// A line for each measurement.
    pub text: String,
    /// How many had an earlier one.
    pub compared: usize,
    /// Whether one of them is slower than the tolerance allows.
    pub slower: bool,
}

/// Compares medians with those of an earlier report: `new / old` above `1 + tolerance` is slower.
pub fn compare(old: &Report, new: &Report, tolerance: f64) -> Verdict {
    let mut verdict = Verdict { text: String::new(), compared: 0, slower: false };
    for now in &new.measurements {
        let before = old.measurements.iter().find(|before| before.same_as(now));
        let name = format!("{:<22} {:<5}", now.program, now.dtype);
        let Some(before) = before else {
            let _ = writeln!(verdict.text, "{name} no earlier measurement");
            continue;
        };
        verdict.compared += 1;
        let ratio = now.median_ms / before.median_ms;
        let word = if ratio > 1.0 + tolerance {
            verdict.slower = true;
            format!("SLOWER than {:.2} times", 1.0 + tolerance)
        } else if ratio < 1.0 / (1.0 + tolerance) {
            "faster".into()
        } else {
            "same".into()
        };
        let _ = writeln!(
            verdict.text,
            "{name} {:>10.3} ms, was {:>10.3} ms: {ratio:.3} times  {word}",
            now.median_ms, before.median_ms
        );
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(program: &str, median_ms: f64) -> Measurement {
        let text = format!(
            "{{\"file\": \"x\", \"program\": \"{program}\", \"device\": \"cpu\", \"isa\": \"portable\", \"threads\": 1,
              \"dtype\": \"f32\", \"sizes\": {{\"M\": 8}}, \"params\": {{}}, \"compile_ms\": 1.0, \"median_ms\": {median_ms},
              \"least_ms\": 1.0, \"greatest_ms\": 3.0, \"times_ms\": [], \"processor_ms\": [], \"kernels\": [],
              \"attention\": null, \"input_bytes\": 0, \"output_bytes\": 0, \"workspace_bytes\": 0, \"peak_bytes\": null}}"
        );
        serde_json::from_str(&text).expect("the fields of schema 1")
    }

    #[test]
    fn slower_medians_beyond_the_tolerance_are_found() {
        let report = |median| Report { measurements: vec![measurement("a", median)], ..Report::default() };
        let slower = |now, tolerance| compare(&report(2.0), &report(now), tolerance).slower;
        assert!(!slower(2.19, 0.1) && slower(2.21, 0.1) && !slower(2.21, 0.2) && !slower(0.1, 0.0));
        let verdict = compare(&report(2.0), &report(1.0), 0.1);
        assert!(verdict.text.contains("0.500 times  faster") && verdict.compared == 1, "{}", verdict.text);
        let other = Report { measurements: vec![measurement("b", 9.0)], ..Report::default() };
        let verdict = compare(&report(2.0), &other, 0.1);
        assert!(verdict.compared == 0 && !verdict.slower && verdict.text.contains("no earlier"));
    }

    #[test]
    fn bytes_have_a_readable_unit() {
        let texts = [0, 1023, 1024, 1536 * 1024, 3 << 30].map(bytes);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "3.0 GiB"]);
    }
}
