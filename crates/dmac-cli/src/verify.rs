//! `dmac verify`: compiled programs against the reference.

use crate::args::{Dtype, Sizes, VerifyArgs, VerifyDevice};
use crate::files::read_program;
use crate::inputs::{dtype_of, random_inputs};
use crate::terminal::{Exit, Failure, Terminal};
use dmac::interp::{Inputs, Limit, Rows};
use dmac::source::SourceFile;
use dmac::{Attention, Options, ParamValue, Verdict};
use std::path::Path;

/// A spread of shapes: several tiles of queries and keys, ragged tails, grouped heads, fewer and more queries than keys.
const SHAPES: &[&[(&str, i64)]] = &[
    &[("B", 2), ("H", 4), ("G", 2), ("M", 150), ("N", 150), ("D", 64)],
    &[("B", 1), ("H", 3), ("G", 1), ("M", 70), ("N", 600), ("D", 40), ("E", 24)],
    &[("B", 1), ("H", 2), ("G", 2), ("M", 90), ("N", 33), ("D", 16)],
    &[("B", 3), ("H", 7), ("G", 1), ("M", 1), ("N", 300), ("D", 128)],
    &[("B", 1), ("H", 2), ("G", 1), ("M", 4), ("N", 0), ("D", 8)],
];

pub fn run(args: &VerifyArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let shapes: Vec<Sizes> = match &args.random {
        Some(sizes) => vec![sizes.clone()],
        None => SHAPES
            .iter()
            .map(|sizes| Sizes(sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()))
            .collect(),
    };
    let bar = terminal.progress((args.files.len() * shapes.len() * args.dtype.len()) as u64, "verifying");
    let mut exit = Exit::Ok;
    for path in &args.files {
        let Some(source) = read_program(path, terminal)? else {
            exit = Exit::Mismatch;
            continue;
        };
        let mut summary = Summary::default();
        for &dtype in &args.dtype {
            for sizes in &shapes {
                match verify_one(&source, args, sizes, dtype, terminal)? {
                    Some(verdict) => summary.add(path, &verdict, sizes, dtype),
                    None => summary.failed = true,
                }
                bar.inc(1);
            }
        }
        bar.suspend(|| terminal.data(&summary.line(path)))?;
        if summary.failed {
            exit = Exit::Mismatch;
        }
    }
    bar.finish_and_clear();
    Ok(exit)
}

fn verify_one(
    source: &SourceFile,
    args: &VerifyArgs,
    sizes: &Sizes,
    dtype: Dtype,
    terminal: &Terminal,
) -> Result<Option<Verdict>, Failure> {
    let head_dim = sizes.0.get("D").copied().unwrap_or(64);
    let mut options = Options::native(head_dim, dtype.into());
    options.value_dim = sizes.0.get("E").copied();
    options.defines = args.defines.defines.iter().cloned().collect();
    let VerifyDevice::Cpu = args.device;
    let attention = match Attention::from_source(source, &options) {
        Ok(attention) => attention,
        Err(diagnostics) => {
            terminal.diagnostics(source, &diagnostics)?;
            return Ok(None);
        }
    };
    let compiled = attention.compiled();
    let mut sizes = sizes.clone();
    fill_axes(&mut sizes, compiled);
    let mut inputs = random_inputs(compiled, &sizes, args.seed)?;
    inputs.storage = dtype_of(dtype);
    bind_params(&mut inputs, compiled, &sizes);
    let queries = sizes.0.get("M").or_else(|| sizes.0.get("N")).copied().unwrap_or(1) as usize;
    let rows = Rows::sample(queries, 64, args.rows, args.seed);
    match dmac::verify(&attention, &inputs, &rows) {
        Ok(verdict) => Ok(Some(verdict)),
        Err(error) => {
            terminal.error(&format!("{}: {error}", source.name()));
            Ok(None)
        }
    }
}

/// Sizes for the axes of the program's own inputs that are not given: windows of a compression are as long as its axis says,
/// others are small.
fn fill_axes(sizes: &mut Sizes, compiled: &dmac::Compiled) {
    use dmac::ir::{AxisKind, Size};
    for axis in &compiled.graph.axes {
        if axis.kind != AxisKind::Free || axis.size.is_some() || sizes.0.contains_key(&axis.name) {
            continue;
        }
        let window = compiled.graph.axes.iter().find_map(|other| match &other.kind {
            AxisKind::Windows { length: Size::Const(length), .. } => Some(*length),
            _ => None,
        });
        let small = if axis.name.len() == 1 && window.is_some() && axis.name.eq_ignore_ascii_case("t") {
            window
        } else {
            None
        };
        sizes.0.insert(axis.name.clone(), small.unwrap_or(4));
    }
}

/// Int parameters that are not pinned are scaled to the shape, so that windows and selections keep some pairs and drop
/// others.
fn bind_params(inputs: &mut Inputs, compiled: &dmac::Compiled, sizes: &Sizes) {
    let keys = sizes.0.get("N").or_else(|| sizes.0.get("M")).copied().unwrap_or(1);
    for (param, value) in compiled.graph.params.iter().zip(&mut inputs.params) {
        if let ParamValue::Int(value) = value {
            *value = (*value).min((keys / 3).max(1));
        }
        debug_assert!(!param.name.is_empty());
    }
}

/// The worst of all verdicts on a program.
#[derive(Default)]
struct Summary {
    failed: bool,
    cases: usize,
    worst: Option<(f64, String)>,
    lse: f64,
    margin: Option<f64>,
    attended: u64,
    pairs: u64,
    complaint: Option<String>,
}

impl Summary {
    fn add(&mut self, path: &Path, verdict: &Verdict, sizes: &Sizes, dtype: Dtype) {
        self.cases += 1;
        self.attended += verdict.attended;
        self.pairs += verdict.pairs;
        for check in &verdict.checks {
            let (Limit::RelativeNorm(limit) | Limit::Elementwise(limit)) = check.comparison.limit;
            if check.name.ends_with("lse") {
                self.lse = self.lse.max(check.comparison.error);
            } else if self.worst.as_ref().is_none_or(|(used, _)| check.comparison.error / limit > *used) {
                let text = format!("{} {:.1e} of {limit:.1e} ({dtype})", check.name, check.comparison.error);
                self.worst = Some((check.comparison.error / limit, text));
            }
        }
        for margin in &verdict.margins {
            self.margin = Some(self.margin.unwrap_or(0.0).max(margin.worst));
        }
        if !verdict.passes() && !self.failed {
            self.failed = true;
            let shape: Vec<String> = sizes.0.iter().map(|(name, size)| format!("{name}={size}")).collect();
            let mut what = verdict
                .margins
                .iter()
                .filter(|margin| !margin.passes())
                .map(|margin| margin.reason.clone())
                .next();
            if what.is_none() {
                what =
                    verdict.checks.iter().find(|check| !check.comparison.passes()).map(|check| match &check
                        .comparison
                        .worst
                    {
                        Some(element) => format!(
                            "{}{:?} is {:e}, the reference says {:e}",
                            check.name, element.index, element.found, element.expected
                        ),
                        None => format!("{} differs", check.name),
                    });
            }
            let what = what.unwrap_or_default();
            self.complaint = Some(format!("{}: {dtype} {}: {what}", path.display(), shape.join(",")));
        }
    }

    fn line(&self, path: &Path) -> String {
        let verdict = if self.failed { "FAIL" } else { "ok  " };
        let worst = self.worst.as_ref().map_or(String::new(), |(_, text)| format!("  worst {text}"));
        let margin = self.margin.map_or(String::new(), |margin| format!("  selection margin {margin:.2}"));
        let share = if self.pairs == 0 { 0.0 } else { 100.0 * self.attended as f64 / self.pairs as f64 };
        let complaint = self.complaint.as_ref().map_or(String::new(), |text| format!("  {text}\n"));
        format!(
            "{verdict} {}  {} cases{worst}  lse {:.1e}{margin}  attended {share:.0} %\n{complaint}",
            path.display(),
            self.cases,
            self.lse
        )
    }
}
