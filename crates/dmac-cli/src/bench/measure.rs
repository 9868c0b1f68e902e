//! One program on one shape: compiled, given random inputs, called and timed.

use super::report::{KernelTime, Measurement, PairCount};
use super::system;
use crate::args::{BenchDevice, Build, Defines, Dtype, Sizes};
use crate::inputs::{options, options_for, params_with, random_inputs};
use crate::tensors;
use crate::terminal::Failure;
use crate::threads::Threads;
use dmac::runtime::ThreadPool;
use dmac::source::{Diagnostic, SourceFile};
use dmac::{
    Attention, Compiled, Gpu, GpuAttention, GpuCall, HeldInputs, Options, ParamNumber, ParamValue, PtxTarget,
    Schedule, Tensor, compile_ptx,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Counted calls where nothing else is asked for: at least so many, and more until they took [`ENOUGH`] together.
const LEAST_RUNS: usize = 7;
const MOST_RUNS: usize = 101;
const ENOUGH: Duration = Duration::from_millis(500);
/// Calls before those that count take at least so long together: caches are warm and clocks are up.
const WARM_UP: Duration = Duration::from_millis(50);
/// On a GPU, calls that follow one another without a gap are timed together, for about so long.
const GROUP: Duration = Duration::from_millis(15);
/// Calls of such a group, at most.
const MOST_IN_GROUP: usize = 200;

/// What programs are measured on.
pub struct Machine {
    pub threads: Threads,
    /// The GPU, and what PTX is written for, where that is measured.
    pub gpu: Option<(Gpu, PtxTarget)>,
}

/// What is measured.
#[derive(Clone, PartialEq)]
pub struct Wanted {
    /// The tensors, where they are not random.
    pub input: Option<PathBuf>,
    pub sizes: Sizes,
    pub seed: u64,
    pub dtype: Dtype,
    pub attention: Option<String>,
    pub defines: Vec<(String, ParamNumber)>,
    pub params: Vec<(String, ParamNumber)>,
    /// Query rows and keys of a tile, where they are not the target's own choice.
    pub tiles: (Option<usize>, Option<usize>),
    pub device: BenchDevice,
    /// Whether attended pairs are counted.
    pub pairs: bool,
}

/// A program that is compiled and has its inputs.
pub struct Case {
    subject: Subject,
    /// All that does not change from call to call.
    facts: Measurement,
}

/// Makes the inputs and the parameters of a compiled program.
type MakeInputs<'a> = dyn Fn(&Compiled) -> Result<(HeldInputs, Vec<ParamValue>), Failure> + 'a;

/// What is called.
enum Subject {
    Cpu(Box<Attention>, HeldInputs),
    /// The call, and how many of them are timed together.
    Gpu(Box<GpuCall>, usize),
}

/// One call.
struct Call {
    ms: f64,
    processor_ms: Option<f64>,
    kernels: Vec<(String, Duration)>,
}

impl Case {
    /// Compiles a program and makes its inputs; diagnostics where it does not compile.
    pub fn load(
        source: &SourceFile,
        wanted: &Wanted,
        machine: &Machine,
    ) -> Result<Result<Self, Vec<Diagnostic>>, Failure> {
        let build = Build {
            attention: wanted.attention.clone(),
            head_dim: None,
            value_dim: None,
            dtype: Some(wanted.dtype),
            defines: Defines { defines: wanted.defines.clone() },
        };
        let bytes = wanted.input.as_deref().map(tensors::read).transpose()?;
        let given = match (&bytes, &wanted.input) {
            (Some(bytes), Some(path)) => Some(tensors::parse(path, bytes)?),
            _ => None,
        };
        let sizes = &wanted.sizes;
        let mut options = match &given {
            Some(given) => options_for(&build, given)?,
            None => options(&build, sizes.0.get("D").copied(), sizes.0.get("E").copied(), None)?,
        };
        if wanted.tiles != (None, None) {
            let value_dim = options.value_dim.unwrap_or(options.head_dim);
            let chosen = Schedule::choose(&options.target, options.head_dim, value_dim);
            options.schedule = Some(Schedule {
                q_tile: wanted.tiles.0.unwrap_or(chosen.q_tile),
                kv_tile: wanted.tiles.1.unwrap_or(chosen.kv_tile),
                ..chosen
            });
        }
        let held = |compiled: &Compiled| -> Result<(HeldInputs, Vec<ParamValue>), Failure> {
            let params = params_with(compiled, &wanted.params)?;
            let held = match &given {
                Some(given) => {
                    let names = compiled.graph.params.iter().map(|param| param.name.clone());
                    let tensors = given.iter().map(|(name, view)| (name.clone(), view.to_tensor()));
                    HeldInputs::from_tensors(tensors.collect(), names.zip(params.iter().copied()).collect())
                }
                None => {
                    let inputs = random_inputs(compiled, sizes, params.clone(), wanted.seed)?;
                    HeldInputs::of(&compiled.graph, compiled.program.storage, &inputs)
                }
            };
            Ok((held, params))
        };
        let made = match (wanted.device, &machine.gpu) {
            (BenchDevice::Cuda, Some((gpu, target))) => {
                Self::load_gpu(source, wanted, &options, gpu, *target, &held)?
            }
            (BenchDevice::Cpu, _) => Self::load_cpu(source, wanted, &options, machine, &held)?,
            (BenchDevice::Cuda, None) => panic!("bench: the GPU was opened before"),
        };
        Ok(made)
    }

    fn load_cpu(
        source: &SourceFile,
        wanted: &Wanted,
        options: &Options,
        machine: &Machine,
        held: &MakeInputs<'_>,
    ) -> Result<Result<Self, Vec<Diagnostic>>, Failure> {
        let start = Instant::now();
        let attention = match Attention::from_source(source, options) {
            Ok(attention) => attention,
            Err(diagnostics) => return Ok(Err(diagnostics)),
        };
        let compile_ms = milliseconds(start.elapsed());
        let (held, params) = held(attention.compiled())?;
        let facts = Measurement {
            device: "cpu".into(),
            isa: attention.executable().isa().to_owned(),
            threads: machine.threads.workers(),
            compile_ms,
            ..facts(source, wanted, attention.compiled(), &held, &params)?
        };
        let mut case = Self { subject: Subject::Cpu(Box::new(attention), held), facts };
        if wanted.pairs {
            case.facts.attention = case.count(&machine.threads)?;
        }
        Ok(Ok(case))
    }

    fn load_gpu(
        source: &SourceFile,
        wanted: &Wanted,
        options: &Options,
        gpu: &Gpu,
        target: PtxTarget,
        held: &MakeInputs<'_>,
    ) -> Result<Result<Self, Vec<Diagnostic>>, Failure> {
        let start = Instant::now();
        let (compiled, ptx) = match compile_ptx(source, options, target, &mut |_, _| {}) {
            Ok(made) => made,
            Err(diagnostics) => return Ok(Err(diagnostics)),
        };
        let compile_ms = milliseconds(start.elapsed());
        let start = Instant::now();
        let attention = match GpuAttention::load(compiled, ptx, gpu) {
            Ok(attention) => attention,
            Err(diagnostics) => return Ok(Err(diagnostics)),
        };
        let load_ms = milliseconds(start.elapsed());
        let (held, params) = held(attention.compiled())?;
        let facts = Measurement {
            device: "cuda".into(),
            isa: target.name().to_owned(),
            compile_ms,
            load_ms,
            ..facts(source, wanted, attention.compiled(), &held, &params)?
        };
        let call = attention.bind(&held.arguments()).map_err(|error| refused(&error))?;
        Ok(Ok(Self { subject: Subject::Gpu(Box::new(call), 1), facts }))
    }

    /// PairCount pairs; they are counted on processors only.
    fn count(&self, threads: &Threads) -> Result<Option<PairCount>, Failure> {
        let Subject::Cpu(attention, held) = &self.subject else { return Ok(None) };
        let maps = attention.pairs(&held.arguments(), 1, 1, threads).map_err(|error| refused(&error))?;
        let sum = |of: fn(&dmac::PairMap) -> u64| maps.iter().map(of).sum();
        Ok(Some(PairCount {
            pairs: sum(dmac::PairMap::pairs),
            attended: sum(dmac::PairMap::attended),
            flops: maps.iter().map(dmac::PairMap::flops).sum(),
            gflops: 0.0,
        }))
    }

    /// Whether it has a run-time parameter of that name.
    pub fn has_param(&self, name: &str) -> bool {
        let compiled = match &self.subject {
            Subject::Cpu(attention, _) => attention.compiled(),
            Subject::Gpu(call, _) => call.compiled(),
        };
        compiled.graph.params.iter().any(|param| param.name == name)
    }

    /// Calls that are not counted, and what is known after one call.
    pub fn warm_up(&mut self, machine: &Machine) -> Result<(), Failure> {
        match &mut self.subject {
            Subject::Cpu(attention, held) => {
                let start = Instant::now();
                loop {
                    let results = attention
                        .executable()
                        .run(&held.arguments(), &machine.threads)
                        .map_err(|error| refused(&error))?;
                    self.facts.output_bytes = size_of(&results.tensors);
                    self.facts.workspace_bytes = results.workspace_bytes as u64;
                    if start.elapsed() >= WARM_UP {
                        return Ok(());
                    }
                }
            }
            Subject::Gpu(call, in_group) => {
                call.run().map_err(|error| refused(&error))?;
                self.facts.output_bytes =
                    size_of(&call.results(false).map_err(|error| refused(&error))?.tensors);
                self.facts.workspace_bytes = call.workspace_bytes() as u64;
                let seconds = call.seconds(2, 1).map_err(|error| refused(&error))?.unwrap_or_default();
                let one = seconds.into_iter().fold(f64::INFINITY, f64::min).max(1e-6);
                *in_group = ((GROUP.as_secs_f64() / one) as usize).clamp(1, MOST_IN_GROUP);
                Ok(())
            }
        }
    }

    /// The results of a call, to be looked at.
    pub fn results(&mut self, machine: &Machine) -> Result<Vec<(String, Tensor)>, Failure> {
        match &mut self.subject {
            Subject::Cpu(attention, held) => {
                let results = attention.executable().run(&held.arguments(), &machine.threads);
                Ok(results.map_err(|error| refused(&error))?.tensors)
            }
            Subject::Gpu(call, _) => {
                call.run().map_err(|error| refused(&error))?;
                Ok(call.results(false).map_err(|error| refused(&error))?.tensors)
            }
        }
    }

    /// Calls it `runs` times, or as often as is worth it.
    pub fn measure(&mut self, runs: Option<usize>, machine: &Machine) -> Result<Measurement, Failure> {
        let calls = match &mut self.subject {
            Subject::Cpu(attention, held) => calls_on_cpu(attention, held, runs, &machine.threads)?,
            Subject::Gpu(call, in_group) => calls_on_gpu(call, runs.unwrap_or(LEAST_RUNS), *in_group)?,
        };
        let mut found = self.facts.clone();
        found.times_ms = calls.iter().map(|call| call.ms).collect();
        found.processor_ms = calls.iter().filter_map(|call| call.processor_ms).collect();
        found.median_ms = median(&found.times_ms);
        found.least_ms = found.times_ms.iter().copied().fold(f64::INFINITY, f64::min);
        found.greatest_ms = found.times_ms.iter().copied().fold(0.0, f64::max);
        let names = calls.first().map_or(&[][..], |call| &call.kernels).iter().enumerate();
        found.kernels = names
            .map(|(at, (name, _))| {
                let times: Vec<f64> = calls.iter().map(|call| milliseconds(call.kernels[at].1)).collect();
                KernelTime { name: name.clone(), ms: median(&times) }
            })
            .collect();
        if let Some(attended) = &mut found.attention {
            attended.gflops = attended.flops / (found.median_ms * 1e6).max(f64::MIN_POSITIVE);
        }
        if matches!(self.subject, Subject::Cpu(..)) {
            found.peak_bytes = system::peak_bytes();
        }
        Ok(found)
    }
}

fn calls_on_cpu(
    attention: &Attention,
    held: &HeldInputs,
    runs: Option<usize>,
    threads: &Threads,
) -> Result<Vec<Call>, Failure> {
    // What it took to make the inputs and to count pairs is not the program's.
    system::forget_peak();
    let begin = Instant::now();
    let mut calls: Vec<Call> = Vec::new();
    let goes_on = |done: usize| match runs {
        Some(runs) => done < runs,
        None => done < LEAST_RUNS || (done < MOST_RUNS && begin.elapsed() < ENOUGH),
    };
    while goes_on(calls.len()) {
        let arguments = held.arguments();
        let (start, busy) = (Instant::now(), system::processor_ms());
        let results = attention.executable().run(&arguments, threads).map_err(|error| refused(&error))?;
        let ms = milliseconds(start.elapsed());
        let processor_ms = system::processor_ms().zip(busy).map(|(now, then)| now - then);
        calls.push(Call { ms, processor_ms, kernels: results.timings });
    }
    Ok(calls)
}

/// Each is the mean of a group that runs without a gap; what single kernels take is measured beside it.
fn calls_on_gpu(call: &mut GpuCall, runs: usize, in_group: usize) -> Result<Vec<Call>, Failure> {
    let seconds = call.seconds(runs, in_group).map_err(|error| refused(&error))?.unwrap_or_default();
    seconds
        .into_iter()
        .map(|seconds| {
            call.run().map_err(|error| refused(&error))?;
            let kernels = call.timings().to_vec();
            Ok(Call { ms: seconds * 1e3, processor_ms: None, kernels })
        })
        .collect()
}

/// All that is known before a call, but for the device.
fn facts(
    source: &SourceFile,
    wanted: &Wanted,
    compiled: &Compiled,
    held: &HeldInputs,
    params: &[ParamValue],
) -> Result<Measurement, Failure> {
    let bound = held.arguments().bind(&compiled.graph, &compiled.program).map_err(|error| refused(&error))?;
    let axes = compiled.graph.axes.iter().enumerate();
    let sizes = axes.map(|(at, axis)| (axis.name.clone(), bound.shape.size(dmac::ir::AxisId(at as u32))));
    let mut values: BTreeMap<String, f64> =
        compiled.params.iter().map(|param| (param.name.clone(), number(param.value))).collect();
    for (param, value) in compiled.graph.params.iter().zip(params) {
        values.insert(param.name.clone(), number(*value));
    }
    Ok(Measurement {
        file: source.name().to_owned(),
        program: compiled.program.name.clone(),
        device: String::new(),
        isa: String::new(),
        threads: 1,
        dtype: wanted.dtype.to_string(),
        sizes: sizes.collect(),
        params: values,
        compile_ms: 0.0,
        load_ms: 0.0,
        median_ms: 0.0,
        least_ms: 0.0,
        greatest_ms: 0.0,
        times_ms: Vec::new(),
        processor_ms: Vec::new(),
        kernels: Vec::new(),
        attention: None,
        input_bytes: size_of(held.tensors()),
        output_bytes: 0,
        workspace_bytes: 0,
        peak_bytes: None,
    })
}

fn refused(error: &dmac::RunError) -> Failure {
    Failure::io(error.to_string())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn number(value: ParamValue) -> f64 {
    match value {
        ParamValue::Int(value) => value as f64,
        ParamValue::Float(value) => f64::from(value),
    }
}

fn size_of(tensors: &[(String, Tensor)]) -> u64 {
    tensors.iter().map(|(_, tensor)| tensor.bytes().len() as u64).sum()
}

/// The middle of some times, the mean of the two in the middle where their number is even; 0 without any.
fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len => f64::midpoint(sorted[(len - 1) / 2], sorted[len / 2]),
    }
}
