//! `dmac verify`: compiled programs against the reference.

use crate::args::{Dtype, Sizes, VerifyArgs, VerifyDevice};
use crate::devices;
use crate::files::read_program;
use crate::inputs::random_inputs;
use crate::terminal::{Exit, Failure, Terminal};
use dmac::interp::{Inputs, Limit, Rows};
use dmac::source::SourceFile;
use dmac::{Attention, Compiled, Gpu, GpuAttention, Mismatch, Options, ParamValue, PtxTarget, Verdict};
use std::collections::BTreeMap;
use std::path::Path;

/// A spread of shapes: several tiles of queries and keys, ragged tails, grouped heads, fewer and more queries than keys.
const SHAPES: &[&[(&str, i64)]] = &[
    &[("B", 2), ("H", 4), ("G", 2), ("M", 150), ("N", 150), ("D", 64)],
    &[("B", 1), ("H", 3), ("G", 1), ("M", 70), ("N", 600), ("D", 40), ("E", 24)],
    &[("B", 1), ("H", 2), ("G", 2), ("M", 90), ("N", 33), ("D", 16)],
    &[("B", 3), ("H", 7), ("G", 1), ("M", 1), ("N", 300), ("D", 128)],
    &[("B", 1), ("H", 2), ("G", 1), ("M", 4), ("N", 0), ("D", 8)],
    &[("B", 3), ("H", 16), ("G", 1), ("M", 40), ("N", 130), ("D", 16)],
];

/// Default shapes with so many batch elements have lengths of their own: the first has no key at all.
const RAGGED: i64 = 3;

/// What a GPU is verified at beyond these: features that fill no tile, values of other features than queries, and lengths
/// that need many tiles for each thread block.
const GPU_SHAPES: &[&[(&str, i64)]] = &[
    &[("B", 2), ("H", 4), ("G", 2), ("M", 200), ("N", 333), ("D", 72), ("E", 40)],
    &[("B", 1), ("H", 2), ("G", 1), ("M", 65), ("N", 129), ("D", 192), ("E", 128)],
    &[("B", 1), ("H", 4), ("G", 2), ("M", 1000), ("N", 3000), ("D", 128)],
    &[("B", 1), ("H", 2), ("G", 2), ("M", 300), ("N", 517), ("D", 256)],
    &[("B", 1), ("H", 2), ("G", 1), ("M", 16_384), ("N", 16_384), ("D", 128)],
    &[("B", 1), ("H", 1), ("G", 1), ("M", 131_072), ("N", 131_072), ("D", 64)],
];

/// Small enough for an interpreter: two query tiles, ragged tails.
const INTERPRETED_SHAPES: &[&[(&str, i64)]] = &[
    &[("B", 2), ("H", 2), ("G", 1), ("M", 70), ("N", 70), ("D", 16)],
    &[("B", 1), ("H", 2), ("G", 2), ("M", 66), ("N", 600), ("D", 40), ("E", 24)],
    &[("B", 1), ("H", 2), ("G", 1), ("M", 90), ("N", 33), ("D", 16)],
    &[("B", 1), ("H", 2), ("G", 1), ("M", 4), ("N", 0), ("D", 8)],
    &[("B", 3), ("H", 2), ("G", 1), ("M", 3), ("N", 41), ("D", 16)],
];

/// Query rows beyond which fewer of them are compared, and how many: a row of so long a sequence takes the reference long.
const LONG: (i64, usize) = (8192, 8);

pub fn run(args: &VerifyArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let shapes: Vec<Sizes> = if args.random.is_empty() {
        let named = |sizes: &&[(&str, i64)]| {
            Sizes(sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect())
        };
        default_shapes(args.device).iter().map(named).collect()
    } else {
        args.random.clone()
    };
    let gpu = match args.device {
        VerifyDevice::Cpu => None,
        VerifyDevice::Cuda => Some(devices::cuda()?),
        VerifyDevice::PtxInterp => Some(devices::interpreter()),
    };
    let gpu = gpu.map(|gpu| devices::target(&gpu, args.arch).map(|target| (gpu, target))).transpose()?;
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
                let ragged = args.random.is_empty() && sizes.0.get("B") == Some(&RAGGED);
                match verify_one(&source, args, gpu.as_ref(), (sizes, ragged), dtype, terminal)? {
                    Some(verdict) => summary.add(path, &verdict, sizes, dtype),
                    None => summary.failed = true,
                }
                bar.inc(1);
            }
        }
        summary.check_binding(path);
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
    gpu: Option<&(Gpu, PtxTarget)>,
    (sizes, ragged): (&Sizes, bool),
    dtype: Dtype,
    terminal: &Terminal,
) -> Result<Option<Verdict>, Failure> {
    let head_dim = sizes.0.get("D").copied().unwrap_or(64);
    let mut options = Options::native(head_dim, dtype.into());
    options.value_dim = sizes.0.get("E").copied();
    options.defines = args.defines.defines.iter().cloned().collect();
    let made = match gpu {
        None => Attention::from_source(source, &options).map(|made| Subject::Cpu(Box::new(made))),
        Some((gpu, target)) => {
            GpuAttention::from_source(source, &options, gpu, *target).map(|made| Subject::Gpu(Box::new(made)))
        }
    };
    let subject = match made {
        Ok(subject) => subject,
        Err(diagnostics) => {
            terminal.diagnostics(source, &diagnostics)?;
            return Ok(None);
        }
    };
    let compiled = subject.compiled();
    let mut inputs = random_inputs(compiled, sizes, binding_params(compiled, sizes), args.seed)?;
    if ragged && let (Some(&batch), Some(&keys)) = (sizes.0.get("B"), sizes.0.get("N")) {
        inputs.kv_len = Some((0..batch).map(|b| b * keys / (batch - 1).max(1)).collect());
    }
    let queries = sizes.0.get("M").or_else(|| sizes.0.get("N")).copied().unwrap_or(1);
    let chosen = if queries > LONG.0 { args.rows.min(LONG.1) } else { args.rows };
    let rows = Rows::sample(queries as usize, 64, chosen, args.seed);
    match subject.verify(&inputs, &rows) {
        Ok(verdict) => Ok(Some(verdict)),
        Err(error) => {
            let shape: Vec<String> = sizes.0.iter().map(|(name, size)| format!("{name}={size}")).collect();
            terminal.error(&format!("{}: {dtype} {}: {error}", source.name(), shape.join(",")));
            Ok(None)
        }
    }
}

/// What is compared with the reference.
enum Subject {
    Cpu(Box<Attention>),
    Gpu(Box<GpuAttention>),
}

impl Subject {
    fn compiled(&self) -> &Compiled {
        match self {
            Self::Cpu(attention) => attention.compiled(),
            Self::Gpu(attention) => attention.compiled(),
        }
    }

    fn verify(&self, inputs: &Inputs, rows: &Rows) -> Result<Verdict, Mismatch> {
        match self {
            Self::Cpu(attention) => dmac::verify(attention, inputs, rows),
            Self::Gpu(attention) => attention.verify(inputs, rows),
        }
    }
}

fn default_shapes(device: VerifyDevice) -> Vec<&'static [(&'static str, i64)]> {
    match device {
        VerifyDevice::Cpu => SHAPES.to_vec(),
        VerifyDevice::Cuda => [SHAPES, GPU_SHAPES].concat(),
        VerifyDevice::PtxInterp => INTERPRETED_SHAPES.to_vec(),
    }
}

/// Int parameters that are not pinned are scaled to the shape, so that windows and selections keep some pairs and drop
/// others: to a third of the keys, or of the blocks where the program selects those.
fn binding_params(compiled: &Compiled, sizes: &Sizes) -> Vec<ParamValue> {
    use dmac::ir::{AxisKind, Size};
    let keys = sizes.0.get("N").or_else(|| sizes.0.get("M")).copied().unwrap_or(1);
    let blocks = compiled.graph.axes.iter().filter_map(|axis| match &axis.kind {
        AxisKind::Blocks { length: Size::Const(length), .. } => Some(*length),
        _ => None,
    });
    let places = keys / blocks.max().unwrap_or(1).max(1);
    let scaled = |value| match value {
        ParamValue::Int(value) => ParamValue::Int(value.min((places / 3).max(1))),
        ParamValue::Float(value) => ParamValue::Float(value),
    };
    compiled.graph.params.iter().map(|param| scaled(param.default)).collect()
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
    /// Of each mask term after the first (that keys exist) and each selection: candidates and kept ones, over all cases.
    binding: BTreeMap<String, (u64, u64)>,
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
        for (what, considered, kept) in &verdict.binding {
            let sum = self.binding.entry(what.clone()).or_default();
            *sum = (sum.0 + considered, sum.1 + kept);
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

    /// A term or selection that never drops or never keeps anything has not been tested.
    fn check_binding(&mut self, path: &Path) {
        let idle = self.binding.iter().find(|(_, (considered, kept))| considered == kept || *kept == 0);
        if let (Some((what, (considered, kept))), false) = (idle, self.failed) {
            let text = format!("{}: {what} never binds: it keeps {kept} of {considered}", path.display());
            self.complaint = Some(text);
            self.failed = true;
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
