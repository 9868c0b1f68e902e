//! The command line.

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use dmac::{ParamNumber, PtxTarget, Storage};
use dmac_ptx_interp::command::{ArgSpec, dimensions};
use std::path::PathBuf;

/// A compiler for attention: variants in a few lines, native code out.
#[derive(Parser)]
#[command(name = "dmac", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Global {
    /// The form of diagnostics.
    #[arg(long, global = true, value_enum, default_value_t = MessageFormat::Human)]
    pub message_format: MessageFormat,
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// Several lines, with the source.
    Human,
    /// One line each: file:line:column: message.
    Short,
    /// One JSON object a line, in the shape of rustc's.
    Json,
}

#[derive(Subcommand)]
pub enum Command {
    /// Check programs without compiling them.
    Check(CheckArgs),
    /// Compile a program to native code, or show a phase of the compiler.
    Compile(CompileArgs),
    /// Compile a program and run it on tensors.
    Run(RunArgs),
    /// Compare compiled programs with the reference interpreter.
    Verify(VerifyArgs),
    /// Measure compiled programs: time, attended pairs, memory.
    #[command(after_long_help = MEASUREMENTS)]
    Bench(BenchArgs),
    /// Explain an error code, or what the compiler found out about a program.
    Explain(ExplainArgs),
    /// Format programs.
    Fmt(FmtArgs),
    /// Work with PTX by hand.
    #[command(subcommand)]
    Ptx(PtxCommand),
}

#[derive(Subcommand)]
pub enum PtxCommand {
    /// Execute a PTX kernel on this processor and look for errors that a GPU would hide.
    #[command(after_long_help = ARGUMENTS)]
    Run(PtxRunArgs),
}

/// What the specifications of `--arg` are, in the words of `dmac_ptx_interp::command`.
const ARGUMENTS: &str = "\
Arguments, one --arg each, in the order of the kernel's parameters or as NAME=SPEC:
  u32:7  i32:-1  u64:7  i64:-1  f32:1.5  f64:1.5    a scalar
  bytes:0a1bff                                      a structure, in hexadecimal
  buf:f32[16,64]=CONTENT                            a buffer, outermost dimension first
  file:t.safetensors:q                              a buffer that holds a file's tensor
  map:bf16[64,448]box[64,128]swizzle128=CONTENT     a tensor map over a buffer, innermost dimension first
  map:@k[64,448]box[64,128]swizzle128               a tensor map over the buffer of argument k
  ptr:@k+256                                        an address in the buffer of argument k
CONTENT is zeros, ones, iota, random, uninit (no values), a number, or file:t.safetensors:q. Elements are u8, u16, u32, i32,
u64, f16, bf16, f32, f64. After a box may stand swizzle32, swizzle64 or swizzle128, and `,nan` to fill with NaN.";

#[derive(Args)]
pub struct CheckArgs {
    /// Programs; `-` for standard input.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub defines: Defines,
}

#[derive(Args)]
pub struct Defines {
    /// Pin a parameter (may be repeated): a `const` parameter's value, or a run-time one made a constant.
    #[arg(short = 'D', long = "define", value_name = "NAME=VALUE", value_parser = define)]
    pub defines: Vec<(String, ParamNumber)>,
}

/// What is compiled, and for which sizes.
#[derive(Args)]
pub struct Build {
    /// Which attention of the file, where it holds several.
    #[arg(long)]
    pub attention: Option<String>,
    /// D: features of queries and keys, a multiple of 8.
    #[arg(long, value_name = "D")]
    pub head_dim: Option<i64>,
    /// E: features of values [default: D].
    #[arg(long, value_name = "E")]
    pub value_dim: Option<i64>,
    /// The type that `real` tensors are stored in.
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,
    #[command(flatten)]
    pub defines: Defines,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl From<Dtype> for Storage {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Args)]
pub struct CompileArgs {
    /// The program; `-` for standard input.
    pub file: PathBuf,
    #[command(flatten)]
    pub build: Build,
    /// The target: `native`, a triple such as `aarch64-unknown-linux-gnu`, or `ptx`.
    #[arg(long, default_value = "native")]
    pub target: String,
    /// What PTX is written for [default: `sm_80`, which runs everywhere].
    #[arg(long, value_enum)]
    pub arch: Option<Arch>,
    /// What to write: one file a kind, OUT.kind (OUT.o for `obj`, OUT.h for `header`, OUT.json for `manifest`).
    #[arg(long, value_enum, value_delimiter = ',')]
    pub emit: Vec<Emit>,
    /// Path prefix of the files; `-` prints the text of one kind.
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Emit {
    /// The syntax tree.
    Ast,
    /// The graph, before and after the passes.
    Ir,
    /// The tile program.
    Kernel,
    /// Cranelift's intermediate text.
    Clif,
    /// Disassembly.
    Asm,
    /// An object file for C, with all that it calls.
    Obj,
    /// PTX text.
    Ptx,
    /// The PTX, assembled for one architecture by `ptxas`.
    Cubin,
    /// A launcher in C with the PTX inside; it needs only `cuda.h`.
    C,
    /// The C header of the object or the launcher.
    Header,
    /// What the code expects, as JSON.
    Manifest,
}

#[derive(Args)]
pub struct RunArgs {
    /// The program; `-` for standard input.
    pub file: PathBuf,
    #[command(flatten)]
    pub build: Build,
    #[command(flatten)]
    pub source: InputSource,
    /// Where to run: the compiled code, or the reference interpreter.
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub device: Device,
    /// What PTX is written for [default: the best that the device has].
    #[arg(long, value_enum)]
    pub arch: Option<Arch>,
    /// Threads [default: all].
    #[arg(long)]
    pub threads: Option<usize>,
    /// Results, as safetensors.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Compare with the tensors of the same names in this file.
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct InputSource {
    /// Input tensors, as safetensors: `q`, `k`, `v`, the program's inputs, and `kv_len` where sequences differ in length.
    #[arg(long, value_name = "FILE", conflicts_with = "random")]
    pub input: Option<PathBuf>,
    /// Random inputs of these sizes: `B=1,H=8,G=2,M=1024,N=1024,D=64`, and the axes of the program's inputs.
    #[arg(long, value_name = "SIZES", value_parser = sizes)]
    pub random: Option<Sizes>,
    /// Seed of random inputs.
    #[arg(long, default_value_t = 0, requires = "random")]
    pub seed: u64,
}

/// Sizes of axes by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sizes(pub std::collections::BTreeMap<String, i64>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Device {
    /// Compiled code on this processor.
    Cpu,
    /// The reference interpreter.
    Interp,
    /// PTX on the first GPU.
    Cuda,
    /// PTX on an interpreter that looks for races and reads of what was never written.
    PtxInterp,
}

/// A target of PTX.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Arch {
    /// A100 and every later GPU.
    #[value(name = "sm_80")]
    Sm80,
    /// H100 and H200.
    #[value(name = "sm_90a")]
    Sm90a,
}

impl From<Arch> for PtxTarget {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::Sm80 => Self::Sm80,
            Arch::Sm90a => Self::Sm90a,
        }
    }
}

#[derive(Args)]
pub struct VerifyArgs {
    /// Programs.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub defines: Defines,
    /// Sizes to verify at (may be repeated) [default: a spread of small and odd ones].
    #[arg(long, value_name = "SIZES", value_parser = sizes)]
    pub random: Vec<Sizes>,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Storage types.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Dtype::F32, Dtype::F16, Dtype::Bf16])]
    pub dtype: Vec<Dtype>,
    /// What is compared with the reference.
    #[arg(long, value_enum, default_value_t = VerifyDevice::Cpu)]
    pub device: VerifyDevice,
    /// What PTX is written for [default: the best that the device has].
    #[arg(long, value_enum)]
    pub arch: Option<Arch>,
    /// How many random query rows are compared, beside the first, the last and those at tile edges.
    #[arg(long, default_value_t = 64)]
    pub rows: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum VerifyDevice {
    /// Compiled code on this processor.
    Cpu,
    /// PTX on the first GPU; long sequences too.
    Cuda,
    /// PTX on an interpreter that looks for races and reads of what was never written; small shapes.
    PtxInterp,
}

/// What `dmac bench` measures and how it is asked from outside.
const MEASUREMENTS: &str = "\
A line a program and type:
  median       of at least 7 calls, after calls that are not counted
  GFLOP/s      2 (D + E) operations for each attended pair, counted exactly for these inputs; nothing else is counted
  in+out       bytes of inputs and results
  workspace    bytes beyond these; peak is the most memory that the process held during the calls
  compile      from the text to machine code or PTX

With --device cuda a call is one of a group that follow one another without a gap, replayed from a graph and timed by the
device; pairs are not counted.

--json prints one object: `schema` (1), `version`, `measurements`, each with all times in milliseconds and all bytes.

--requests reads one JSON object a line from standard input and answers each with a measurement on one line, so that a script
can time programs in turns without starting a process for each call:
  {\"file\": \"dma.dmac\", \"random\": \"B=1,H=8,G=2,M=4096,N=4096,D=64\", \"dtype\": \"bf16\", \"runs\": 3}
Instead of `random`, `input` names a file of tensors. Optional: `seed`, `define` and `param` (objects), `q_tile` and `kv_tile`,
`attention`, `pairs` (false: they are not counted), `output` (results are written there before anything is timed), `drop`
(true: forget the program afterwards). A program is compiled when it is first asked for and kept: equal requests,
`runs` aside, time the same code on the same inputs. An error is answered with {\"error\": ..}.";

#[derive(Args)]
pub struct BenchArgs {
    /// Programs; several attentions in a file are chosen with --attention.
    #[arg(required_unless_present = "requests", conflicts_with = "requests")]
    pub files: Vec<PathBuf>,
    /// Sizes of the random inputs: `B=1,H=8,G=2,M=4096,N=4096,D=64`.
    #[arg(long, value_name = "SIZES", value_parser = sizes, required_unless_present = "requests")]
    pub random: Option<Sizes>,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Storage types.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Dtype::F32])]
    pub dtype: Vec<Dtype>,
    /// Which attention of a file, where it holds several.
    #[arg(long)]
    pub attention: Option<String>,
    #[command(flatten)]
    pub defines: Defines,
    /// The value of a run-time parameter (may be repeated), for programs that have it.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = define)]
    pub params: Vec<(String, ParamNumber)>,
    /// Where to run.
    #[arg(long, value_enum, default_value_t = BenchDevice::Cpu)]
    pub device: BenchDevice,
    /// What PTX is written for [default: the best that the device has].
    #[arg(long, value_enum)]
    pub arch: Option<Arch>,
    /// Threads [default: all].
    #[arg(long)]
    pub threads: Option<usize>,
    /// Calls that are counted [default: 7, and more where they are short].
    #[arg(long, value_parser = clap::value_parser!(u32).range(7..))]
    pub runs: Option<u32>,
    /// Print the measurements as JSON.
    #[arg(long)]
    pub json: bool,
    /// Compare with an earlier output of --json; exit with 1 where something became slower.
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,
    /// How much slower a median may be with --compare before that is a failure: 0.1 is a tenth.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub tolerance: f64,
    /// Answer requests from standard input, one JSON object a line (see --help).
    #[arg(long)]
    pub requests: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum BenchDevice {
    /// Compiled code on this processor.
    Cpu,
    /// PTX on the first GPU.
    Cuda,
}

#[derive(Args)]
pub struct ExplainArgs {
    /// An error code (E0103) or a program.
    pub what: String,
    /// Also what happens for random inputs of these sizes: attended pairs, a map of tiles, memory, the schedule.
    #[arg(long, value_name = "SIZES", value_parser = sizes)]
    pub random: Option<Sizes>,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 0, requires = "random")]
    pub seed: u64,
    /// The value of a run-time parameter (may be repeated).
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = define, requires = "random")]
    pub params: Vec<(String, ParamNumber)>,
    #[command(flatten)]
    pub build: Build,
}

#[derive(Args)]
pub struct FmtArgs {
    /// Programs; `-` formats standard input to standard output.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Change nothing; exit with 1 where something would change.
    #[arg(long)]
    pub check: bool,
}

#[derive(Args)]
pub struct PtxRunArgs {
    /// The PTX text; `-` for standard input.
    pub file: PathBuf,
    /// The kernel [default: the only one in the file].
    #[arg(long, value_name = "NAME")]
    pub entry: Option<String>,
    /// Blocks along x, y, z.
    #[arg(long, value_name = "X[,Y,Z]", value_parser = dimensions, default_value = "1")]
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z [default: what the kernel requires, or one warp].
    #[arg(long, value_name = "X[,Y,Z]", value_parser = dimensions)]
    pub block: Option<[u32; 3]>,
    /// Blocks of a cluster along x, y, z [default: what the kernel requires, or one].
    #[arg(long, value_name = "X[,Y,Z]", value_parser = dimensions)]
    pub cluster: Option<[u32; 3]>,
    /// Bytes of dynamic shared memory.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub shared: u32,
    /// An argument of the kernel (may be repeated); --help lists the specifications.
    #[arg(long = "arg", value_name = "[NAME=]SPEC", value_parser = argument)]
    pub arguments: Vec<ArgSpec>,
    /// Seed of random contents, and of the order in which warps run and copies land.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Buffers that the kernel wrote, by the names of its parameters, as safetensors.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Threads of this processor; with one, equal seeds give equal runs [default: all].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Findings after which the launch stops.
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub max_findings: usize,
    /// Warp instructions of one block after which it is taken to run for ever.
    #[arg(long, value_name = "COUNT", default_value_t = 2_000_000_000)]
    pub max_steps: u64,
    /// Only execute: races, missing fences and values that were never written are not looked for.
    #[arg(long)]
    pub no_sanitize: bool,
    /// Accept data of `cp.async` that `wgmma` or a bulk copy reads with no proxy fence between, as published kernels do.
    #[arg(long)]
    pub no_cp_async_fence: bool,
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

fn define(text: &str) -> Result<(String, ParamNumber), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = name.trim();
    if name.is_empty() {
        return Err("expected a name before `=`".into());
    }
    let value = value.trim();
    let number = if let Ok(int) = value.parse() {
        ParamNumber::Int(int)
    } else {
        ParamNumber::Float(value.parse().map_err(|_| format!("`{value}` is not a number"))?)
    };
    Ok((name.to_owned(), number))
}

fn argument(text: &str) -> Result<ArgSpec, String> {
    text.parse()
}

/// Sizes of axes: `M=1024,N=1024`.
pub fn sizes(text: &str) -> Result<Sizes, String> {
    let mut sizes = Sizes::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, size) =
            part.split_once('=').ok_or_else(|| format!("expected NAME=SIZE, found `{part}`"))?;
        let value: i64 = size.trim().parse().map_err(|_| format!("`{}` is not a size", size.trim()))?;
        if !(0..=1 << 31).contains(&value) {
            return Err(format!("the size of {} must be between 0 and 2^31", name.trim()));
        }
        if sizes.0.insert(name.trim().to_owned(), value).is_some() {
            return Err(format!("the size of {} is given twice", name.trim()));
        }
    }
    Ok(sizes)
}
