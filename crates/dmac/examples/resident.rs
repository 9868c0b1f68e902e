//! A process that compiles programs and times calls of them on demand, without the start of a process in any time.
//!
//! Input: one command a line, words `name=value` after a verb.
//! `load file=PATH dtype=f32 d=64 B=1 H=8 N=4096 -w=512` compiles a program for random inputs of these sizes (`-name=value`
//! sets a run-time parameter); `run id=0 times=3` calls it; `drop id=0` forgets it.
//! Output: one JSON object a line: for `load` the id, the time to compile and the bytes of workspace, for `run` the
//! milliseconds of each call, the processor time that each took on all threads, and the part of each kernel.
//! `benches/cpu.py` is its user. `threads=N` as the first argument sets the number of threads.
#![allow(clippy::print_stdout, reason = "a measuring program prints its measurements")]

use dmac::interp::Inputs;
use dmac::runtime::{Rayon, Serial, ThreadPool};
use dmac::{Attention, HeldInputs, Options, ParamValue, SourceFile, Storage};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

/// A compiled program with its inputs.
struct Case {
    attention: Attention,
    held: HeldInputs,
    workspace: usize,
}

/// The words of a command.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn get(&self, name: &str) -> Result<&'a str, Failure> {
        self.0.get(name).copied().ok_or_else(|| format!("`{name}=` is missing").into())
    }
}

fn load(words: &Words<'_>) -> Result<(Case, f64), Failure> {
    let path = words.get("file")?;
    let storage = match words.get("dtype")? {
        "f32" => Storage::F32,
        "f16" => Storage::F16,
        "bf16" => Storage::Bf16,
        other => return Err(format!("no storage type `{other}`").into()),
    };
    let source = SourceFile::new(path, &std::fs::read_to_string(path)?);
    let mut options = Options::native(words.get("d")?.parse()?, storage);
    let mut schedule = dmac_schedule::Schedule::choose(&options.target, options.head_dim, options.head_dim);
    for (name, tile) in [("q_tile", &mut schedule.q_tile), ("kv_tile", &mut schedule.kv_tile)] {
        if let Ok(word) = words.get(name) {
            *tile = word.parse()?;
        }
    }
    options.schedule = Some(schedule);
    let start = Instant::now();
    let attention = Attention::from_source(&source, &options).map_err(|found| format!("{found:?}"))?;
    let compile = start.elapsed().as_secs_f64() * 1e3;
    let graph = &attention.compiled().graph;
    let mut sizes = BTreeMap::new();
    let mut params: Vec<ParamValue> = graph.params.iter().map(|param| param.default).collect();
    for (name, value) in &words.0 {
        if let Some(param) = name.strip_prefix('-') {
            let at = graph.params.iter().position(|known| known.name == param);
            let at = at.ok_or_else(|| format!("no parameter `{param}`"))?;
            params[at] = match params[at] {
                ParamValue::Int(_) => ParamValue::Int(value.parse()?),
                ParamValue::Float(_) => ParamValue::Float(value.parse()?),
            };
        } else if name.starts_with(|c: char| c.is_uppercase()) {
            sizes.insert((*name).to_owned(), value.parse()?);
        }
    }
    let stored = match storage {
        Storage::F32 => dmac::interp::Storage::F32,
        Storage::F16 => dmac::interp::Storage::F16,
        Storage::Bf16 => dmac::interp::Storage::Bf16,
    };
    let inputs: Inputs = dmac::interp::random_inputs_with(graph, &sizes, params, stored, 1)
        .map_err(|error| error.to_string())?;
    let held = HeldInputs::new(&attention, &inputs);
    Ok((Case { attention, held, workspace: 0 }, compile))
}

/// Seconds that the threads of this process have run, all together; 0 where the system does not say.
fn processor_time() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() * 1e-9
}

fn run(case: &mut Case, times: usize, pool: &dyn ThreadPool) -> Result<String, Failure> {
    let (mut all, mut all_busy, mut kernels) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let arguments = case.held.arguments();
        let (start, busy) = (Instant::now(), processor_time());
        let results = case.attention.executable().run(&arguments, pool)?;
        all.push(format!("{:.4}", start.elapsed().as_secs_f64() * 1e3));
        all_busy.push(format!("{:.4}", (processor_time() - busy) * 1e3));
        case.workspace = results.workspace_bytes;
        kernels = results.timings;
    }
    let kernels: Vec<String> =
        kernels.iter().map(|(name, time)| format!("\"{name}\": {:.4}", time.as_secs_f64() * 1e3)).collect();
    Ok(format!(
        "{{\"ms\": [{}], \"cpu_ms\": [{}], \"workspace\": {}, \"kernels\": {{{}}}}}",
        all.join(", "),
        all_busy.join(", "),
        case.workspace,
        kernels.join(", ")
    ))
}

fn command(line: &str, cases: &mut Vec<Option<Case>>, pool: &dyn ThreadPool) -> Result<String, Failure> {
    let mut parts = line.split_whitespace();
    let verb = parts.next().unwrap_or_default();
    let words = Words(parts.filter_map(|word| word.split_once('=')).collect());
    if verb == "load" {
        let (case, compile) = load(&words)?;
        cases.push(Some(case));
        return Ok(format!("{{\"id\": {}, \"compile_ms\": {compile:.3}}}", cases.len() - 1));
    }
    let id: usize = words.get("id")?.parse()?;
    let slot = cases.get_mut(id).ok_or("no such case")?;
    match verb {
        "run" => run(slot.as_mut().ok_or("dropped")?, words.get("times")?.parse()?, pool),
        "drop" => {
            *slot = None;
            Ok("{}".into())
        }
        other => Err(format!("no command `{other}`").into()),
    }
}

fn main() -> Result<(), Failure> {
    let threads: usize = match std::env::args().nth(1) {
        Some(word) => word.trim_start_matches("threads=").parse()?,
        None => std::thread::available_parallelism()?.get(),
    };
    let pool: &dyn ThreadPool = if threads == 1 { &Serial } else { &Rayon };
    let mut cases = Vec::new();
    for line in std::io::stdin().lock().lines() {
        match command(&line?, &mut cases, pool) {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("{{\"error\": {:?}}}", error.to_string()),
        }
    }
    Ok(())
}
