//! `dmac bench --requests`: a process that measures what it is asked for, one JSON object a line in, one a line out.
//!
//! A program stays compiled, with its inputs, until a request drops it: a script can time several programs in turns, and no
//! time of starting a process or compiling is in what it measures.

use super::measure::{Case, Machine, Wanted};
use crate::args::{BenchArgs, Dtype, sizes};
use crate::files::read_program;
use crate::tensors;
use crate::terminal::{Exit, Failure, Terminal};
use clap::ValueEnum as _;
use dmac::ParamNumber;
use dmac::source::{Format, Renderer};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

/// One line of standard input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    file: PathBuf,
    #[serde(default)]
    random: Option<String>,
    #[serde(default)]
    input: Option<PathBuf>,
    #[serde(default)]
    output: Option<PathBuf>,
    #[serde(default = "f32_name")]
    dtype: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    attention: Option<String>,
    #[serde(default)]
    define: BTreeMap<String, serde_json::Number>,
    #[serde(default)]
    param: BTreeMap<String, serde_json::Number>,
    #[serde(default)]
    q_tile: Option<usize>,
    #[serde(default)]
    kv_tile: Option<usize>,
    #[serde(default = "yes")]
    pairs: bool,
    #[serde(default)]
    runs: Option<usize>,
    #[serde(default)]
    drop: bool,
}

fn f32_name() -> String {
    "f32".into()
}

fn yes() -> bool {
    true
}

/// A program that is kept.
struct Kept {
    path: PathBuf,
    wanted: Wanted,
    case: Case,
}

pub fn answer(args: &BenchArgs, machine: &Machine, terminal: &Terminal) -> Result<Exit, Failure> {
    let mut kept = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::io(format!("cannot read standard input: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = request(&line, args, &mut kept, machine, terminal)
            .unwrap_or_else(|failure| serde_json::json!({ "error": failure.message }).to_string());
        terminal.data(&(answer + "\n"))?;
    }
    Ok(Exit::Ok)
}

fn request(
    line: &str,
    args: &BenchArgs,
    kept: &mut Vec<Kept>,
    machine: &Machine,
    terminal: &Terminal,
) -> Result<String, Failure> {
    let request: Request = serde_json::from_str(line).map_err(|error| Failure::usage(error.to_string()))?;
    if request.random.is_some() == request.input.is_some() {
        return Err(Failure::usage("a request has either `random` or `input`"));
    }
    let wanted = Wanted {
        input: request.input,
        sizes: sizes(request.random.as_deref().unwrap_or("")).map_err(Failure::usage)?,
        seed: request.seed,
        dtype: Dtype::from_str(&request.dtype, false).map_err(Failure::usage)?,
        attention: request.attention,
        defines: numbers(&request.define)?,
        params: numbers(&request.param)?,
        tiles: (request.q_tile, request.kv_tile),
        device: args.device,
        pairs: request.pairs,
    };
    let known = kept.iter().position(|kept| kept.path == request.file && kept.wanted == wanted);
    let at = match known {
        Some(at) => at,
        None => {
            let case = load(&request.file, &wanted, machine, terminal)?;
            kept.push(Kept { path: request.file, wanted, case });
            kept.len() - 1
        }
    };
    let measurement = {
        let case = &mut kept[at].case;
        if let Some(path) = &request.output {
            tensors::save(path, &case.results(machine)?)?;
        }
        case.measure(request.runs.map(|runs| runs.max(1)), machine)?
    };
    if request.drop {
        kept.remove(at);
    }
    serde_json::to_string(&measurement).map_err(|error| Failure::io(error.to_string()))
}

fn load(path: &Path, wanted: &Wanted, machine: &Machine, terminal: &Terminal) -> Result<Case, Failure> {
    if path == Path::new("-") {
        return Err(Failure::usage("standard input holds the requests: name a file"));
    }
    let source = read_program(path, terminal)?;
    let source = source.ok_or_else(|| Failure::io(format!("{} is not text", path.display())))?;
    let mut case = Case::load(&source, wanted, machine)?.map_err(|diagnostics| {
        Failure::usage(Renderer::new(Format::Short).render_all(&source, &diagnostics).trim_end())
    })?;
    case.warm_up(machine)?;
    Ok(case)
}

fn numbers(given: &BTreeMap<String, serde_json::Number>) -> Result<Vec<(String, ParamNumber)>, Failure> {
    let number = |(name, number): (&String, &serde_json::Number)| {
        let value = number.as_i64().map(ParamNumber::Int).or(number.as_f64().map(ParamNumber::Float));
        let value = value.ok_or_else(|| Failure::usage(format!("`{name}` is not a number that fits")))?;
        Ok((name.clone(), value))
    };
    given.iter().map(number).collect()
}
