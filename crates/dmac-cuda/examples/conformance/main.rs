//! Runs instruction tests and attention kernels on the PTX interpreter and on the GPU, and compares.
//!
//! Input → output: the tests of `dmac_ptx_interp::conformance` and the attention samples of `dmac_ptx` → a line each and a
//! total. The crate's documentation says how to call it and what its exit codes mean.

mod arguments;
#[path = "../../../dmac-ptx-interp/tests/interp/attention.rs"]
mod attention;
mod instructions;
mod job;
mod kernels;
mod timing;

use arguments::Arguments;
use dmac_cuda::{Device, Error};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// How one test ended.
enum Outcome {
    /// Both agree with each other and with the expected values; in words, how closely.
    Agree(String),
    /// They do not; in words, where.
    Differ(String),
    /// The GPU lacks the target.
    Skipped,
}

/// Counts of outcomes.
#[derive(Default)]
struct Total {
    agreed: usize,
    differing: Vec<String>,
    skipped: usize,
}

impl Total {
    /// Prints a test's line and counts it. A failure after which the GPU cannot be used is handed on.
    fn add(
        &mut self,
        number: usize,
        name: &str,
        outcome: Result<Outcome, Error>,
    ) -> io::Result<Result<(), Error>> {
        let mut fatal = Ok(());
        let (word, note) = match outcome {
            Ok(Outcome::Agree(note)) => {
                self.agreed += 1;
                ("agree  ", note)
            }
            Ok(Outcome::Skipped) => {
                self.skipped += 1;
                ("skipped", "not a target of this GPU".to_owned())
            }
            Ok(Outcome::Differ(note)) => {
                self.differing.push(name.to_owned());
                ("DIFFER ", note)
            }
            Err(e) => {
                self.differing.push(name.to_owned());
                let note = e.to_string();
                if matches!(e, Error::Timeout { .. } | Error::Driver { .. }) {
                    fatal = Err(e);
                }
                ("FAILED ", note)
            }
        };
        writeln!(io::stdout(), "{number:4} {word} {name}: {note}")?;
        Ok(fatal)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(a) => a,
        Err(message) => {
            let _ = writeln!(io::stderr(), "error: {message}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let opened = Device::open(0).and_then(|d| d.describe().map(|about| (d, about)));
    let (device, about) = match opened {
        Ok(both) => both,
        Err(e) => {
            let _ = writeln!(io::stderr(), "error: {e}");
            return ExitCode::from(if e.no_gpu() { 4 } else { 1 });
        }
    };
    let session = job::Gpu { device, about };
    match run(&session, &arguments) {
        // A stuck or faulted GPU would hold up the release of its memory, so the process ends without it.
        Ok(false) => std::process::exit(1),
        Ok(true) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "error: {e}");
            std::process::exit(3);
        }
    }
}

/// Whether everything agreed.
fn run(gpu: &job::Gpu, arguments: &Arguments) -> io::Result<bool> {
    let about = &gpu.about;
    writeln!(
        io::stdout(),
        "{}, sm_{}{}, {} multiprocessors, {} bytes of shared memory a block, driver for CUDA {}.{}",
        about.name,
        about.capability.0,
        about.capability.1,
        about.processors,
        about.shared_bytes,
        about.driver / 1000,
        about.driver % 1000 / 10
    )?;
    let mut total = Total::default();
    let mut number = 0;
    let mut lost = false;
    let mut tests = instructions::tests();
    tests.extend(kernels::tests());
    for (name, test) in tests {
        number += 1;
        if number < arguments.from || !arguments.only.as_ref().is_none_or(|o| name.contains(o)) {
            continue;
        }
        if total.add(number, &name, test(gpu))?.is_err() {
            writeln!(io::stdout(), "the GPU is lost to this process; go on with --from {}", number + 1)?;
            lost = true;
            break;
        }
    }
    let ran = total.agreed + total.differing.len();
    writeln!(
        io::stdout(),
        "{ran} run: {} agree, {} differ; {} skipped",
        total.agreed,
        total.differing.len(),
        total.skipped
    )?;
    for name in &total.differing {
        writeln!(io::stdout(), "  differs: {name}")?;
    }
    let mut good = total.differing.is_empty();
    if arguments.time && !lost {
        for line in timing::forward(gpu) {
            match line {
                Ok(line) => writeln!(io::stdout(), "{line}")?,
                Err(e) => {
                    good = false;
                    writeln!(io::stdout(), "timing FAILED: {e}")?;
                    break;
                }
            }
        }
    }
    Ok(good)
}
