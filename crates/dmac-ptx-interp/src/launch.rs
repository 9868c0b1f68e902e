//! A launch: grid, block, shared memory, arguments and options in; statistics or findings out.
//!
//! Clusters of thread blocks (single blocks, mostly) are independent units that several host threads take from one
//! queue. A unit runs in slices and goes back to the end of the queue, so that blocks which wait for one another
//! through global memory all make progress.

use crate::finding::{Finding, FindingKind, Site};
use crate::machine::{Status, Unit};
use crate::memory::{Buffer, Memory};
use crate::module::{Kernel, Module};
use crate::op::Op;
use crate::sanitize::GlobalShadow;
use crate::tensor_map::TensorMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// First address of a block's shared memory: the driver keeps the kilobyte below it.
pub(crate) const SHARED_BASE: u32 = 1024;
/// Where shared memory lies in the generic address space.
pub(crate) const SHARED_WINDOW: u64 = 0x7E00_0000_0000;
/// Where parameters lie in the generic address space.
pub(crate) const PARAM_WINDOW: u64 = 0x7F00_0000_0000;
/// Shared memory that a block may have (H100: 227 KiB and the reserved kilobyte).
const MAX_SMEM: u32 = 232_448;
/// Instructions of a unit before it lets others run.
const SLICE: u64 = 1 << 18;
/// Units that may wait for their next slice before new ones become rare.
const RESIDENT: u64 = 32;

/// A kernel argument.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Arg {
    /// A 32-bit integer.
    U32(u32),
    /// A 64-bit integer.
    U64(u64),
    /// A 32-bit float.
    F32(f32),
    /// The address of a buffer.
    Buffer(Buffer),
    /// The address of a byte inside a buffer.
    Address(Buffer, u64),
    /// A tensor map, for a 128-byte parameter.
    TensorMap(TensorMap),
    /// A structure by value.
    Bytes(Vec<u8>),
}

/// How to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Seed of the schedule: warp order, landing times of copies. With one worker, equal seeds give equal runs.
    pub seed: u64,
    /// Check every access. Without it only the machine's own errors remain (bounds, deadlock, misused barriers).
    pub sanitize: bool,
    /// Warp instructions of one cluster before it is given up.
    pub max_steps: u64,
    /// Findings after which the launch stops.
    pub max_findings: usize,
    /// Host threads; 0 takes as many as the machine has.
    pub workers: usize,
    /// Data written by `cp.async` needs a proxy fence before `wgmma` or a bulk copy reads it, as the ISA says.
    /// Published kernels leave it out and work; `false` accepts them.
    pub fence_after_cp_async: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 0,
            sanitize: true,
            max_steps: 2_000_000_000,
            max_findings: 8,
            workers: 0,
            fence_after_cp_async: true,
        }
    }
}

/// What a launch executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Warp instructions.
    pub instructions: u64,
    /// Thread blocks.
    pub blocks: u64,
}

/// A launch in preparation.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    kernel: Result<&'a Kernel, String>,
    grid: [u32; 3],
    block: [u32; 3],
    cluster: Option<[u32; 3]>,
    dynamic_smem: u32,
    args: Vec<Arg>,
}

impl<'a> Launch<'a> {
    /// A launch of the entry `name` with one block of its required size and no arguments.
    pub fn new(module: &'a Module, name: &str) -> Self {
        let kernel = module.entry(name).ok_or_else(|| format!("there is no entry `{name}`"));
        let block = kernel.as_ref().ok().and_then(|k| k.reqntid).unwrap_or([32, 1, 1]);
        Launch { kernel, grid: [1; 3], block, cluster: None, dynamic_smem: 0, args: Vec::new() }
    }

    /// Number of blocks along x, y, z.
    #[must_use]
    pub fn grid(mut self, grid: [u32; 3]) -> Self {
        self.grid = grid;
        self
    }

    /// Threads of a block along x, y, z.
    #[must_use]
    pub fn block(mut self, block: [u32; 3]) -> Self {
        self.block = block;
        self
    }

    /// Blocks of a cluster along x, y, z; otherwise the kernel's directive, or one.
    #[must_use]
    pub fn cluster(mut self, cluster: [u32; 3]) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Bytes of dynamic shared memory.
    #[must_use]
    pub fn dynamic_smem(mut self, bytes: u32) -> Self {
        self.dynamic_smem = bytes;
        self
    }

    /// Adds the next argument.
    #[must_use]
    pub fn arg(mut self, arg: Arg) -> Self {
        self.args.push(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = Arg>) -> Self {
        self.args.extend(args);
        self
    }

    /// Executes the launch. Results are in `memory`, also when there are findings.
    ///
    /// # Errors
    /// What the sanitizer or the machine found, in order of discovery, each error of a place once.
    pub fn run(&self, memory: &mut Memory, options: &Options) -> Result<Stats, Vec<Finding>> {
        let run = match self.prepare(memory, options) {
            Ok(run) => run,
            Err(message) => {
                return Err(vec![Finding { kind: FindingKind::BadLaunch, message, at: None, other: None }]);
            }
        };
        let units = volume(run.grid) / volume(run.cluster);
        let queue = Queue {
            state: Mutex::new((0, VecDeque::new())),
            units,
            running: AtomicU64::new(0),
            turn: AtomicU64::new(0),
        };
        let workers = match options.workers {
            0 => rayon::current_num_threads().min(usize::try_from(units).unwrap_or(usize::MAX)),
            n => n,
        };
        if workers <= 1 {
            work(&run, &queue);
        } else {
            rayon::scope(|s| {
                for _ in 0..workers {
                    s.spawn(|_| work(&run, &queue));
                }
            });
        }
        let findings = run.findings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).list;
        if findings.is_empty() {
            Ok(Stats { instructions: run.steps.into_inner(), blocks: volume(run.grid) })
        } else {
            Err(findings)
        }
    }

    /// Checks everything that does not need execution.
    fn prepare<'r>(&'r self, memory: &'r Memory, options: &'r Options) -> Result<Run<'r>, String>
    where
        'a: 'r,
    {
        let kernel = self.kernel.clone()?;
        let threads = volume(self.block);
        if threads == 0 || threads > 1024 {
            return Err(format!("a block has 1 to 1024 threads, not {threads}"));
        }
        if let Some(need) = kernel.reqntid
            && need != self.block
        {
            return Err(format!("the kernel requires blocks of {need:?} threads, not {:?}", self.block));
        }
        if let Some(max) = kernel.maxntid
            && threads > volume(max)
        {
            return Err(format!("the kernel allows blocks of at most {max:?} threads, not {:?}", self.block));
        }
        if self.grid.contains(&0) {
            return Err("a grid has at least one block along each axis".to_owned());
        }
        let cluster = self.cluster.or(kernel.cluster).unwrap_or([1; 3]);
        if kernel.cluster.is_some_and(|k| k != cluster) {
            return Err(format!(
                "the kernel requires clusters of {:?} blocks",
                kernel.cluster.unwrap_or_default()
            ));
        }
        let ranks = volume(cluster);
        if !(1..=16).contains(&ranks)
            || (0..3).any(|i| cluster[i] == 0 || !self.grid[i].is_multiple_of(cluster[i]))
        {
            return Err(format!(
                "a grid of {:?} blocks does not divide into clusters of {cluster:?}",
                self.grid
            ));
        }
        if volume(self.grid) > 1 << 24 {
            return Err("more than 2^24 blocks".to_owned());
        }
        let dynamic_base = (SHARED_BASE + kernel.static_smem).next_multiple_of(kernel.dynamic_align.max(16));
        let total = u64::from(dynamic_base - SHARED_BASE) + u64::from(self.dynamic_smem);
        if total > u64::from(MAX_SMEM) {
            return Err(format!("{total} bytes of shared memory, of which a block has {MAX_SMEM}"));
        }
        let (params, maps) = self.parameters(kernel, memory)?;
        Ok(Run {
            kernel,
            memory,
            options,
            params,
            maps,
            grid: self.grid,
            block: self.block,
            cluster,
            dynamic_base,
            dynamic_smem: self.dynamic_smem,
            global: options.sanitize.then(|| GlobalShadow::new(memory)),
            findings: Mutex::new(Findings { seen: BTreeSet::new(), list: Vec::new() }),
            stop: AtomicBool::new(false),
            steps: AtomicU64::new(0),
            entry_registers: entry_registers(kernel, threads as u32),
        })
    }

    fn parameters(
        &self,
        kernel: &Kernel,
        memory: &Memory,
    ) -> Result<(Vec<u8>, BTreeMap<u64, TensorMap>), String> {
        if self.args.len() != kernel.params.len() {
            return Err(format!(
                "`{}` takes {} arguments, not {}",
                kernel.name,
                kernel.params.len(),
                self.args.len()
            ));
        }
        let mut bytes = vec![0u8; kernel.param_bytes as usize];
        let mut maps = BTreeMap::new();
        for (param, arg) in kernel.params.iter().zip(&self.args) {
            let raw: Vec<u8> = match arg {
                Arg::U32(v) => v.to_le_bytes().to_vec(),
                Arg::U64(v) => v.to_le_bytes().to_vec(),
                Arg::F32(v) => v.to_le_bytes().to_vec(),
                Arg::Buffer(b) => b.address().to_le_bytes().to_vec(),
                Arg::Address(b, offset) => b.address().wrapping_add(*offset).to_le_bytes().to_vec(),
                Arg::Bytes(b) => b.clone(),
                Arg::TensorMap(map) => {
                    map.check(memory).map_err(|e| format!("the tensor map `{}`: {e}", param.name))?;
                    if param.offset % 64 != 0 {
                        return Err(format!("the tensor map `{}` is not aligned to 64 bytes", param.name));
                    }
                    maps.insert(PARAM_WINDOW + u64::from(param.offset), map.clone());
                    vec![0; 128]
                }
            };
            if raw.len() != param.size as usize {
                return Err(format!("`{}` has {} bytes, its argument {}", param.name, param.size, raw.len()));
            }
            bytes[param.offset as usize..][..raw.len()].copy_from_slice(&raw);
        }
        Ok((bytes, maps))
    }
}

/// The product of three sizes; what does not fit is as large as can be.
fn volume(sizes: [u32; 3]) -> u64 {
    sizes.iter().fold(1, |product: u64, size| product.saturating_mul(u64::from(*size)))
}

/// Registers a thread has at entry: what the directives leave, as `ptxas` computes it. `None` when the kernel never
/// moves registers, which makes the number irrelevant.
fn entry_registers(kernel: &Kernel, threads: u32) -> Option<u32> {
    if !kernel.insts.iter().any(|i| matches!(i.op, Op::SetMaxNReg { .. })) {
        return None;
    }
    let bound = kernel.reqntid.or(kernel.maxntid).map_or(threads, |t| t.iter().product());
    let per_thread = 65536 / (bound.max(32) * kernel.minnctapersm.unwrap_or(1)) / 8 * 8;
    Some(kernel.maxnreg.unwrap_or(per_thread).min(255).next_multiple_of(8).min(256))
}

pub(crate) struct Findings {
    seen: BTreeSet<(FindingKind, u32, u32)>,
    pub list: Vec<Finding>,
}

/// A launch under way, shared by all units.
pub(crate) struct Run<'a> {
    pub kernel: &'a Kernel,
    pub memory: &'a Memory,
    pub options: &'a Options,
    pub params: Vec<u8>,
    pub maps: BTreeMap<u64, TensorMap>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    pub dynamic_base: u32,
    pub dynamic_smem: u32,
    pub global: Option<GlobalShadow>,
    pub findings: Mutex<Findings>,
    pub stop: AtomicBool,
    pub steps: AtomicU64,
    pub entry_registers: Option<u32>,
}

impl Run<'_> {
    pub(crate) fn site(&self, pc: u32, cta: [u32; 3], warp: u32, lane: Option<u32>) -> Site {
        let inst = self.kernel.insts.get(pc as usize);
        Site {
            instruction: self.kernel.quote(pc),
            line: inst.map_or(0, |i| i.line),
            column: inst.map_or(0, |i| i.column),
            source: inst.and_then(|i| i.loc).and_then(|l| self.kernel.locs.get(l as usize).cloned()),
            cta,
            warp,
            lane,
        }
    }

    /// Records a finding unless its kind was already found at the same pair of instructions.
    pub(crate) fn report(&self, kind: FindingKind, pcs: (u32, u32), make: impl FnOnce() -> Finding) {
        let mut all = self.findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if all.list.len() >= self.options.max_findings.max(1) || !all.seen.insert((kind, pcs.0, pcs.1)) {
            return;
        }
        all.list.push(make());
        if all.list.len() >= self.options.max_findings.max(1) {
            self.stop.store(true, Relaxed);
        }
    }
}

struct Queue<'a> {
    /// Next unit that was never started, and the units that gave way.
    state: Mutex<(u64, VecDeque<Box<Unit<'a>>>)>,
    units: u64,
    running: AtomicU64,
    turn: AtomicU64,
}

impl<'a> Queue<'a> {
    /// A unit to run; `Err(true)` when all is done, `Err(false)` when others may still come back.
    fn take(&self, run: &'a Run<'a>) -> Result<Box<Unit<'a>>, bool> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let next = state.0;
        // New blocks first, since the ones that gave way may wait for them; but when many are under way, one new block
        // for each round of those, so that not the whole grid is in memory at once.
        let waiting = state.1.len() as u64;
        let turn = self.turn.fetch_add(1, Relaxed);
        if next < self.units && (waiting < RESIDENT || turn.is_multiple_of(waiting + 1)) {
            state.0 += 1;
            self.running.fetch_add(1, Relaxed);
            drop(state);
            return Ok(Box::new(Unit::new(run, next)));
        }
        match state.1.pop_front() {
            Some(u) => {
                self.running.fetch_add(1, Relaxed);
                Ok(u)
            }
            None => Err(self.running.load(Relaxed) == 0),
        }
    }

    fn give(&self, unit: Option<Box<Unit<'a>>>) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(u) = unit {
            state.1.push_back(u);
        }
        self.running.fetch_sub(1, Relaxed);
    }
}

fn work<'a>(run: &'a Run<'a>, queue: &Queue<'a>) {
    while !run.stop.load(Relaxed) {
        match queue.take(run) {
            Err(true) => return,
            Err(false) => std::thread::yield_now(),
            Ok(mut unit) => {
                let done = unit.run(SLICE) == Status::Finished;
                if done {
                    run.steps.fetch_add(unit.steps(), Relaxed);
                }
                queue.give(if done { None } else { Some(unit) });
            }
        }
    }
}
