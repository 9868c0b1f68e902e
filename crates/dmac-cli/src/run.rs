//! `dmac run`: a program on tensors.

use crate::args::{Device, RunArgs};
use crate::devices;
use crate::files::read_program;
use crate::inputs::{default_params, options_for, options_for_random, random_inputs, reference_inputs};
use crate::tensors;
use crate::terminal::{Exit, Failure, Terminal};
use crate::threads::Threads;
use dmac::interp::{Inputs, Rows, evaluate};
use dmac::runtime::{Tensor, TensorView};
use dmac::source::{SourceFile, has_errors};
use dmac::{Arguments, Attention, Compiled, Element, GpuAttention, HeldInputs, Options, compile};

pub fn run(args: &RunArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let Some(source) = read_program(&args.file, terminal)? else { return Ok(Exit::Mismatch) };
    let bytes = args.source.input.as_deref().map(|path| tensors::read(path).map(|bytes| (path, bytes)));
    let results = if let Some(read) = bytes {
        let (path, bytes) = read?;
        let given = tensors::parse(path, &bytes)?;
        let options = options_for(&args.build, &given)?;
        match args.device {
            Device::Cpu => on_cpu(&source, &options, args, terminal, |_| Ok(Call::Views(given.clone())))?,
            Device::Interp => {
                on_reference(&source, &options, terminal, |compiled| reference_inputs(compiled, &given))?
            }
            Device::Cuda | Device::PtxInterp => {
                on_gpu(&source, &options, args, terminal, |_| Ok(Call::Views(given.clone())))?
            }
        }
    } else {
        let sizes = args.source.random.clone().unwrap_or_default();
        let options = options_for_random(&args.build, &sizes)?;
        let make =
            |compiled: &Compiled| random_inputs(compiled, &sizes, default_params(compiled), args.source.seed);
        match args.device {
            Device::Cpu => {
                on_cpu(&source, &options, args, terminal, |compiled| make(compiled).map(Call::Inputs))?
            }
            Device::Interp => on_reference(&source, &options, terminal, make)?,
            Device::Cuda | Device::PtxInterp => {
                on_gpu(&source, &options, args, terminal, |compiled| make(compiled).map(Call::Inputs))?
            }
        }
    };
    let Some(results) = results else { return Ok(Exit::Mismatch) };
    for (name, tensor) in &results {
        let element = tensor.element().to_string();
        terminal.data(&tensors::summary(name, &element, tensor.dims(), &tensor.to_f64()))?;
    }
    if let Some(path) = &args.output {
        tensors::save(path, &results)?;
    }
    match &args.expect {
        None => Ok(Exit::Ok),
        Some(path) => compare(path, &results, terminal),
    }
}

/// What a call is made with.
enum Call<'a> {
    Views(Vec<(String, TensorView<'a>)>),
    Inputs(Inputs),
}

type Named = Vec<(String, Tensor)>;

impl<'a> Call<'a> {
    /// Inputs that are not yet in the types that the program takes.
    fn held(&self, compiled: &Compiled) -> Option<HeldInputs> {
        match self {
            Call::Views(_) => None,
            Call::Inputs(inputs) => Some(HeldInputs::of(&compiled.graph, compiled.program.storage, inputs)),
        }
    }

    fn arguments<'b>(&'b self, held: Option<&'b HeldInputs>) -> Arguments<'b>
    where
        'a: 'b,
    {
        match (self, held) {
            (Call::Views(views), _) => views
                .iter()
                .fold(Arguments::new(), |arguments, (name, view)| arguments.tensor(name, view.clone())),
            (Call::Inputs(_), Some(held)) => held.arguments(),
            (Call::Inputs(_), None) => Arguments::new(),
        }
    }
}

fn on_cpu<'a>(
    source: &SourceFile,
    options: &Options,
    args: &RunArgs,
    terminal: &Terminal,
    call: impl FnOnce(&Compiled) -> Result<Call<'a>, Failure>,
) -> Result<Option<Named>, Failure> {
    let attention = match Attention::from_source(source, options) {
        Ok(attention) => attention,
        Err(diagnostics) => {
            terminal.diagnostics(source, &diagnostics)?;
            return Ok(None);
        }
    };
    terminal.diagnostics(source, &attention.compiled().warnings)?;
    let failed = |error: dmac::RunError| Failure::io(error.to_string());
    let call = call(attention.compiled())?;
    let held = call.held(attention.compiled());
    let arguments = call.arguments(held.as_ref());
    let pool = Threads::new(args.threads)?;
    let results = attention.executable().run(&arguments, &pool).map_err(failed)?;
    Ok(Some(results.tensors))
}

fn on_gpu<'a>(
    source: &SourceFile,
    options: &Options,
    args: &RunArgs,
    terminal: &Terminal,
    call: impl FnOnce(&Compiled) -> Result<Call<'a>, Failure>,
) -> Result<Option<Named>, Failure> {
    let gpu = if args.device == Device::Cuda { devices::cuda()? } else { devices::interpreter() };
    let target = devices::target(&gpu, args.arch)?;
    let attention = match GpuAttention::from_source(source, options, &gpu, target) {
        Ok(attention) => attention,
        Err(diagnostics) => {
            terminal.diagnostics(source, &diagnostics)?;
            return Ok(None);
        }
    };
    terminal.diagnostics(source, &attention.compiled().warnings)?;
    let failed = |error: dmac::RunError| Failure::io(error.to_string());
    let call = call(attention.compiled())?;
    let held = call.held(attention.compiled());
    let mut bound = attention.bind(&call.arguments(held.as_ref())).map_err(failed)?;
    bound.run().map_err(failed)?;
    Ok(Some(bound.results(false).map_err(failed)?.tensors))
}

/// Rows that are evaluated between two steps of the progress bar.
const STEP: usize = 64;

fn on_reference(
    source: &SourceFile,
    options: &Options,
    terminal: &Terminal,
    make: impl FnOnce(&Compiled) -> Result<Inputs, Failure>,
) -> Result<Option<Named>, Failure> {
    let compiled = match compile(source, options, &mut |_, _| {}) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            debug_assert!(has_errors(&diagnostics));
            terminal.diagnostics(source, &diagnostics)?;
            return Ok(None);
        }
    };
    terminal.diagnostics(source, &compiled.warnings)?;
    let inputs = make(&compiled)?;
    let rows = inputs.tensors.first().and_then(|q| q.dims.get(2)).copied().unwrap_or(0);
    let bar = terminal.progress(rows as u64, "evaluating rows");
    let mut whole: Vec<Option<dmac::interp::Output>> = Vec::new();
    let mut starts: Vec<usize> = (0..rows).step_by(STEP).collect();
    if starts.is_empty() {
        starts.push(0);
    }
    for start in starts {
        let these = (start..(start + STEP).min(rows)).collect();
        let options = dmac::interp::Options { rows: Rows::These(these), ..Default::default() };
        let outputs =
            evaluate(&compiled.meaning, &inputs, &options).map_err(|error| Failure::io(error.to_string()))?;
        whole.resize(outputs.tensors.len(), None);
        for (all, part) in whole.iter_mut().zip(outputs.tensors) {
            match all {
                None => *all = Some(part),
                Some(all) => append(&compiled, all, &part),
            }
        }
        bar.inc(STEP as u64);
    }
    bar.finish_and_clear();
    let storage = match compiled.program.storage {
        dmac::Storage::F32 => Element::F32,
        dmac::Storage::F16 => Element::F16,
        dmac::Storage::Bf16 => Element::Bf16,
    };
    let mut results = Vec::new();
    for (at, output) in whole.into_iter().flatten().enumerate() {
        let element = if at == 0 { storage } else { Element::F32 };
        let values: Vec<f32> = output.data.iter().map(|x| *x as f32).collect();
        let tensor = Tensor::from_f32(element, &output.dims, &values)
            .map_err(|error| Failure::io(format!("{}: {error}", output.name)))?;
        results.push((output.name, tensor));
    }
    Ok(Some(results))
}

/// Joins two parts of an output along its query axis.
fn append(compiled: &Compiled, all: &mut dmac::interp::Output, part: &dmac::interp::Output) {
    use dmac::ir::AxisKind;
    let query = all.axes.iter().position(|&axis| compiled.meaning.axis(axis).kind == AxisKind::Query);
    let Some(query) = query else { return };
    let inner: usize = all.dims[query + 1..].iter().product();
    let (old, new) = (all.dims[query] * inner, part.dims[query] * inner);
    let outer: usize = all.dims[..query].iter().product();
    let mut data = Vec::with_capacity(all.data.len() + part.data.len());
    for block in 0..outer {
        data.extend_from_slice(&all.data[block * old..(block + 1) * old]);
        data.extend_from_slice(&part.data[block * new..(block + 1) * new]);
    }
    all.data = data;
    all.dims[query] += part.dims[query];
}

/// Relative norm that a result may be off by from an expected tensor, by its element type.
fn tolerance(element: Element) -> f64 {
    match element {
        Element::F16 => 2e-3,
        Element::Bf16 => 1e-2,
        _ => 1e-5,
    }
}

fn compare(path: &std::path::Path, results: &Named, terminal: &Terminal) -> Result<Exit, Failure> {
    let bytes = tensors::read(path)?;
    let expected = tensors::parse(path, &bytes)?;
    let mut exit = Exit::Ok;
    let mut compared = 0;
    for (name, tensor) in results {
        let Some((_, wanted)) = expected.iter().find(|(own, _)| own == name) else { continue };
        compared += 1;
        if wanted.dims() != tensor.dims() {
            terminal.error(&format!("{name}: dims {:?}, expected {:?}", tensor.dims(), wanted.dims()));
            exit = Exit::Mismatch;
            continue;
        }
        let (found, wanted) = (tensor.to_f64(), wanted.to_f64());
        let mut squares = 0.0;
        let mut reference = 0.0;
        let mut unmatched = None;
        for (at, (x, y)) in found.iter().zip(&wanted).enumerate() {
            if x.is_finite() && y.is_finite() {
                squares += (x - y) * (x - y);
                reference += y * y;
            } else if !(x == y || (x.is_nan() && y.is_nan())) {
                unmatched = unmatched.or(Some((at, *x, *y)));
            }
        }
        let error = if squares == 0.0 { 0.0 } else { (squares / reference.max(f64::MIN_POSITIVE)).sqrt() };
        let limit = tolerance(tensor.element());
        if let Some((at, x, y)) = unmatched {
            terminal.error(&format!("{name}: element {at} is {x}, expected {y}"));
            exit = Exit::Mismatch;
        } else if error > limit {
            terminal.error(&format!("{name}: relative error {error:.2e}, allowed {limit:.0e}"));
            exit = Exit::Mismatch;
        } else {
            terminal.note(&format!("{name}: relative error {error:.2e}, allowed {limit:.0e}"));
        }
    }
    if compared == 0 {
        return Err(Failure::io(format!("{} has none of the results", path.display())));
    }
    Ok(exit)
}
