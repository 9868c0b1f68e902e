//! The vendor's assembler as a second opinion: finds `ptxas`, runs it over a text, reads its report.
//!
//! In: PTX text and a target. Out: [`Report`], registers and spills a kernel, notices, and the cubin if asked for.
//! Why: only `ptxas` knows whether a kernel spills or whether its products were serialised, and neither shows in the
//! results. Nothing here is needed to compile; a machine without `ptxas` gets `None` from [`find`].

use crate::kernel::Target;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// The version that kernels are held to; `cargo xtask assemble` installs it.
pub const VERSION: &str = "13.0.88";

/// What `ptxas` says about one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelReport {
    /// Entry name.
    pub name: String,
    /// Registers a thread at entry.
    pub registers: u32,
    /// Static shared memory, bytes.
    pub static_shared: u32,
    /// Named barriers.
    pub barriers: u32,
    /// Stack frame, bytes.
    pub stack: u32,
    /// Spill stores and loads together, bytes.
    pub spills: u32,
}

/// What `ptxas` says about a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether it assembled.
    pub assembled: bool,
    /// In the order of its output.
    pub kernels: Vec<KernelReport>,
    /// Lines that name a C75xx notice: products serialised, `setmaxnreg` ignored, waits injected.
    pub notices: Vec<String>,
    /// All that it wrote.
    pub log: String,
}

impl Report {
    /// Why the module is not fit to ship: errors, spills, stack, notices. Empty if it is.
    pub fn complaints(&self) -> Vec<String> {
        let mut out = Vec::new();
        if !self.assembled {
            out.push(self.log.trim().to_owned());
        }
        out.extend(self.notices.iter().cloned());
        for k in &self.kernels {
            if k.spills > 0 {
                out.push(format!("{}: {} bytes of spills", k.name, k.spills));
            }
            if k.stack > 0 {
                out.push(format!("{}: {} bytes of stack", k.name, k.stack));
            }
        }
        out
    }
}

/// Where `version` of `ptxas` is put by `cargo xtask assemble`, under a Cargo target folder.
pub fn installed(target_folder: &Path, version: &str) -> PathBuf {
    target_folder.join("ptxas").join(version).join("nvidia/cu13/bin/ptxas")
}

/// Finds a `ptxas`: the one that `DMAC_PTXAS` names, the one installed under the target folder that the running program
/// was built in, or one on the path.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("DMAC_PTXAS").filter(|v| !v.is_empty()) {
        return Some(PathBuf::from(named)).filter(|p| p.is_file());
    }
    let built = target_folder().map(|t| installed(&t, VERSION)).filter(|p| p.is_file());
    built.or_else(|| {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|d| d.join("ptxas")).find(|p| p.is_file())
    })
}

/// The Cargo target folder that the running program was built in, if it was.
pub fn target_folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().find(|d| d.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}

/// The folder of texts that `cargo xtask assemble` takes when it is given none.
pub fn emitted_folder(target_folder: &Path) -> PathBuf {
    target_folder.join("ptx-emitted")
}

/// Keeps `text` as `NAME.ptx` where `cargo xtask assemble` will find it, and returns the file. Tests that emit kernels
/// call this.
///
/// # Errors
///
/// If the program runs outside a target folder or the file cannot be written.
pub fn keep(name: &str, text: &str) -> io::Result<PathBuf> {
    let target = target_folder().ok_or_else(|| io::Error::other("not run from a Cargo target folder"))?;
    let folder = emitted_folder(&target);
    fs::create_dir_all(&folder)?;
    let file = folder.join(name).with_extension("ptx");
    fs::write(&file, text)?;
    Ok(file)
}

/// Assembles a file for `target`; writes the cubin to `cubin` or nowhere.
///
/// # Errors
///
/// If `ptxas` cannot be run. That it refuses the text is not an error but a [`Report`].
pub fn assemble(ptxas: &Path, ptx: &Path, target: Target, cubin: Option<&Path>) -> io::Result<Report> {
    let arch = format!("-arch={}", target.name());
    let output = cubin.map_or(OsStr::new("/dev/null"), Path::as_os_str);
    let run = Command::new(ptxas)
        .args([OsStr::new(&arch), OsStr::new("-v"), OsStr::new("-o"), output, ptx.as_os_str()])
        .output()?;
    let log = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    Ok(read(&log, run.status.success()))
}

/// Reads the `-v` output.
fn read(log: &str, assembled: bool) -> Report {
    let mut report = Report { assembled, log: log.to_owned(), ..Report::default() };
    for line in log.lines() {
        if line.contains("C75") {
            report.notices.push(line.trim().to_owned());
        }
        if let Some(name) = line.split("Compiling entry function '").nth(1) {
            let name = name.split('\'').next().unwrap_or_default().to_owned();
            report.kernels.push(KernelReport { name, ..KernelReport::default() });
        }
        let Some(kernel) = report.kernels.last_mut() else { continue };
        if line.contains("bytes stack frame") {
            kernel.stack = before(line, "bytes stack frame");
            kernel.spills = before(line, "bytes spill stores") + before(line, "bytes spill loads");
        } else if line.contains("Used ") {
            kernel.registers = before(line, "registers");
            kernel.barriers = before(line, "barriers");
            kernel.static_shared = before(line, "bytes smem");
        }
    }
    report
}

/// The number that stands before `unit`, 0 if there is none.
fn before(line: &str, unit: &str) -> u32 {
    line.split(unit)
        .next()
        .filter(|head| head.len() < line.len())
        .and_then(|head| head.split_whitespace().last())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_verbose_report() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized\n\
            ptxas info    : Compiling entry function 'k' for 'sm_90a'\n\
            ptxas info    : Function properties for k\n    \
            8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n\
            ptxas info    : Used 168 registers, used 3 barriers, 8 bytes smem\n";
        let report = read(log, true);
        let k = &report.kernels[0];
        assert_eq!((k.name.as_str(), k.registers, k.static_shared, k.barriers), ("k", 168, 8, 3));
        assert_eq!((k.stack, k.spills), (8, 16));
        assert_eq!(report.complaints().len(), 3, "{:?}", report.complaints());
        assert!(read("", true).complaints().is_empty());
        assert_eq!(read("fatal", false).complaints(), ["fatal"]);
    }
}
