//! `dmac bench`: how fast compiled programs are, what they attend to, and what memory they take.
//!
//! Input → output: programs and sizes → one measurement for each program and storage type, as a table or JSON; with
//! `--requests`, a measurement for each line of standard input, from programs that stay compiled.

mod measure;
mod report;
mod requests;
mod system;

use crate::args::{BenchArgs, BenchDevice};
use crate::devices;
use crate::files::read_program;
use crate::tensors;
use crate::terminal::{Exit, Failure, Terminal};
use crate::threads::Threads;
use measure::{Case, Machine, Wanted};
use report::{Report, compare};

pub fn run(args: &BenchArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let gpu = match args.device {
        BenchDevice::Cpu => None,
        BenchDevice::Cuda => {
            let gpu = devices::cuda()?;
            let target = devices::target(&gpu, args.arch)?;
            Some((gpu, target))
        }
    };
    let machine = Machine { threads: Threads::new(args.threads)?, gpu };
    if args.requests {
        return requests::answer(args, &machine, terminal);
    }
    if args.tolerance.is_nan() || args.tolerance < 0.0 {
        return Err(Failure::usage("--tolerance must be at least 0"));
    }
    // A report that cannot be read is found out before anything is measured.
    let old = args.compare.as_deref().map(Report::read).transpose()?;
    let bar = terminal.progress((args.files.len() * args.dtype.len()) as u64, "measuring");
    let mut report = Report::default();
    let mut exit = Exit::Ok;
    let mut unknown: Vec<&str> = args.params.iter().map(|(name, _)| name.as_str()).collect();
    for path in &args.files {
        let Some(source) = read_program(path, terminal)? else {
            exit = Exit::Mismatch;
            continue;
        };
        bar.set_message(path.display().to_string());
        for &dtype in &args.dtype {
            let wanted = Wanted {
                input: None,
                sizes: args.random.clone().unwrap_or_default(),
                seed: args.seed,
                dtype,
                attention: args.attention.clone(),
                defines: args.defines.defines.clone(),
                params: args.params.clone(),
                tiles: (None, None),
                device: args.device,
                pairs: true,
            };
            let case = Case::load(&source, &wanted, &machine)?;
            let mut case = match case {
                Ok(case) => case,
                Err(diagnostics) => {
                    bar.suspend(|| terminal.diagnostics(&source, &diagnostics))?;
                    exit = Exit::Mismatch;
                    continue;
                }
            };
            unknown.retain(|name| !case.has_param(name));
            case.warm_up(&machine)?;
            let measurement = case.measure(args.runs.map(|runs| runs as usize), &machine)?;
            if !args.json {
                let first = report.measurements.is_empty();
                bar.suspend(|| {
                    let head = if first { report::HEADER } else { "" };
                    terminal.data(&format!("{head}{}", measurement.line()))
                })?;
            }
            report.measurements.push(measurement);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if let (Some(name), Exit::Ok) = (unknown.first(), exit) {
        return Err(Failure::usage(format!("no program has a run-time parameter `{name}`")));
    }
    if args.json {
        terminal.data(&report.text())?;
    }
    if let (Some(old), Some(path)) = (old, &args.compare) {
        let verdict = compare(&old, &report, args.tolerance);
        if verdict.compared == 0 && !report.measurements.is_empty() {
            return Err(Failure::io(format!("{} has none of these measurements", path.display())));
        }
        // With JSON on standard output, the comparison is a message.
        if args.json {
            terminal.note(verdict.text.trim_end());
        } else {
            terminal.data(&verdict.text)?;
        }
        if verdict.slower {
            exit = Exit::Mismatch;
        }
    }
    Ok(exit)
}

impl Report {
    fn read(path: &std::path::Path) -> Result<Self, Failure> {
        let bytes = tensors::read(path)?;
        let report: Self = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::io(format!("{} is not an output of `dmac bench --json`: {error}", path.display()))
        })?;
        if report.schema != report::SCHEMA {
            let (found, known) = (report.schema, report::SCHEMA);
            return Err(Failure::io(format!("{} has schema {found}, not {known}", path.display())));
        }
        Ok(report)
    }
}
