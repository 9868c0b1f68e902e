//! `cargo xtask assemble`: the vendor's assembler over every kernel that the tests emit.
//!
//! In: `.ptx` files, folders of them, or nothing (the folder that tests write to). Out: a table of registers, shared
//! memory and spills, and failure if a kernel does not assemble, spills, uses a stack or draws a C75xx notice.
//!
//! Two versions run: the one that the results are held to ([`ptxas::VERSION`]) and the newest 13.x, which reports
//! injected waits that older ones insert silently. Both come from `PyPI` into the target folder; no CUDA is needed.
//! `DMAC_PTXAS` names an assembler to use in place of the first, and then nothing is installed.

use anyhow::{Context, Result, bail, ensure};
use dmac_ptx::{Target, ptxas};
use std::env;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The distribution on `PyPI` that has ptxas.
const PACKAGE: &str = "nvidia-cuda-nvcc";
/// What the lint may be: within one major version, so that the PTX versions stay compatible.
const LINT_RANGE: &str = ">=13,<14";

#[derive(clap::Args)]
pub struct Args {
    /// Files, or folders searched for .ptx files; without any, what the tests emitted.
    paths: Vec<PathBuf>,
    /// Leave out the newest version.
    #[arg(long)]
    no_lint: bool,
    /// Only install the assemblers.
    #[arg(long)]
    install: bool,
}

/// One assembler and what to call it.
struct Assembler {
    name: String,
    program: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let target = ptxas::target_folder().context("xtask runs from a Cargo target folder")?;
    let assemblers = assemblers(&target, !args.no_lint)?;
    if args.install {
        return Ok(());
    }
    let paths = if args.paths.is_empty() { vec![ptxas::emitted_folder(&target)] } else { args.paths.clone() };
    let mut files = Vec::new();
    for path in &paths {
        collect(path, &mut files).with_context(|| format!("cannot read {}", path.display()))?;
    }
    files.sort();
    ensure!(!files.is_empty(), "no .ptx file in {}: run the tests that emit them first", list(&paths));

    let jobs: Vec<(&PathBuf, &Assembler)> =
        files.iter().flat_map(|file| assemblers.iter().map(move |assembler| (file, assembler))).collect();
    let mut rows = Vec::new();
    let mut complaints = Vec::new();
    for ((file, assembler), report) in jobs.iter().zip(assemble_all(&jobs)?) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !report.assembled {
            rows.push([
                name.clone(),
                assembler.name.clone(),
                "refused".into(),
                "-".into(),
                "-".into(),
                "-".into(),
            ]);
        }
        for k in &report.kernels {
            rows.push([
                k.name.clone(),
                assembler.name.clone(),
                k.registers.to_string(),
                k.static_shared.to_string(),
                k.spills.to_string(),
                report.notices.len().to_string(),
            ]);
        }
        complaints
            .extend(report.complaints().into_iter().map(|c| format!("{name} ({}): {c}", assembler.name)));
    }
    table(["kernel", "ptxas", "registers", "static smem", "spills", "C75xx"], &rows)?;
    if !complaints.is_empty() {
        bail!("{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    }
    Ok(())
}

/// Runs all jobs on all processors; the reports are in the order of the jobs.
fn assemble_all(jobs: &[(&PathBuf, &Assembler)]) -> Result<Vec<ptxas::Report>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((file, assembler)) = jobs.get(at) else { return done };
            let report = flavour(file).and_then(|target| {
                ptxas::assemble(&assembler.program, file, target, None)
                    .with_context(|| format!("cannot run {}", assembler.program.display()))
            });
            done.push((at, report));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut all = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|w| w.join().expect("workers report errors")).collect::<Vec<_>>()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, report)| report).collect()
}

/// The assemblers to run, installed if need be.
fn assemblers(target: &Path, lint: bool) -> Result<Vec<Assembler>> {
    if env::var_os("DMAC_PTXAS").is_some_and(|v| !v.is_empty()) {
        let program = ptxas::find().context("DMAC_PTXAS does not name a file")?;
        return Ok(vec![Assembler { name: "DMAC_PTXAS".into(), program }]);
    }
    let mut wanted = vec![(ptxas::VERSION, format!("{PACKAGE}=={}", ptxas::VERSION))];
    if lint {
        wanted.push(("newest", format!("{PACKAGE}{LINT_RANGE}")));
    }
    let mut out = Vec::new();
    for (name, requirement) in wanted {
        let program = ptxas::installed(target, name);
        if !program.is_file() {
            install(target, name, &requirement)?;
        }
        ensure!(program.is_file(), "{requirement} was installed but has no {}", program.display());
        out.push(Assembler { name: name.to_owned(), program });
    }
    Ok(out)
}

/// Puts a version of the package into its folder, with the pip of a virtual environment beside it.
fn install(target: &Path, name: &str, requirement: &str) -> Result<()> {
    let folder = target.join("ptxas");
    let environment = folder.join("venv");
    let python = environment.join("bin/python");
    if !python.is_file() {
        fs::create_dir_all(&folder)?;
        command(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    command(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
            .arg(folder.join(name))
            .arg(requirement),
    )
}

fn command(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// Adds the `.ptx` files at `path`.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            if entry.is_dir() || entry.extension().is_some_and(|e| e == "ptx") {
                collect(&entry, files)?;
            }
        }
    } else {
        ensure!(path.is_file(), "no such file");
        files.push(path.to_owned());
    }
    Ok(())
}

/// The target that a text names.
fn flavour(file: &Path) -> Result<Target> {
    let text = fs::read_to_string(file)?;
    let named = text.lines().find_map(|l| l.trim().strip_prefix(".target")).map(str::trim);
    match named {
        Some("sm_80") => Ok(Target::Sm80),
        Some("sm_90a") => Ok(Target::Sm90a),
        other => bail!("{}: target {other:?} is not one of ours", file.display()),
    }
}

/// Writes a table with aligned columns.
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<()> {
    let width = |c: usize| rows.iter().map(|r| r[c].len()).chain([head[c].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = stdout().lock();
    let head = head.map(str::to_owned);
    for row in [&head].into_iter().chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(c, cell)| {
                if c < 2 {
                    format!("{cell:<w$}", w = widths[c])
                } else {
                    format!("{cell:>w$}", w = widths[c])
                }
            })
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}
