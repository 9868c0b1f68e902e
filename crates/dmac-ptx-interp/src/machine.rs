//! One cluster of thread blocks in execution: its warps, shared memory, barriers, and the random scheduler.
//!
//! The scheduler picks a warp and a number of instructions at random (from the seed), lets asynchronous operations
//! land between turns, and stops when all warps have exited or nothing can move. Instruction groups live in the
//! submodules; each returns a [`Flow`] that says how its lanes go on.

mod access;
mod alu;
mod barrier;
mod copy;
mod exchange;
mod float;
mod fpu;
mod matrix;
mod mbarrier;
mod rng;
mod step;
mod store;
mod tensor;
mod warp;
mod wgmma;

use crate::finding::{Finding, FindingKind};
use crate::launch::{Run, SHARED_BASE};
use crate::op::Inst;
use crate::sanitize::{Access, AccessId, Conflict, Flags, History, Knowledge, Origin, Shadow};
use copy::{CopyState, Pending};
use mbarrier::Mbarrier;
use rng::Rng;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use warp::{Env, Group, Misuse, State, Warp};
use wgmma::WgmmaState;

/// Warp loads that may poll global memory before the unit lets others run.
const MAX_POLLS: u32 = 256;

/// How the executing lanes go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next instruction.
    Next,
    /// To the next instruction, and the warp's turn ends.
    Yield,
    /// They stay at this instruction in this state.
    Block(State),
}

/// How a slice of a unit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Finished,
    Running,
}

/// The warp, instruction and lanes that are executing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub w: usize,
    pub pc: u32,
    pub mask: u32,
}

/// One thread block.
pub(crate) struct Cta {
    coords: [u32; 3],
    /// Its warps in the unit.
    warps: std::ops::Range<usize>,
    /// From address 0; the first [`SHARED_BASE`] bytes belong to the driver.
    smem: Vec<u8>,
    shadow: Option<Shadow>,
    barriers: Vec<barrier::Barrier>,
    mbars: BTreeMap<u32, u32>,
    /// Registers that `setmaxnreg.dec` has freed.
    free_registers: u32,
    /// Bulk copies into this block's shared memory whose completion is to be seen before it ends.
    loads: Vec<(AccessId, u32)>,
    ended: bool,
}

pub(crate) struct Unit<'a> {
    run: &'a Run<'a>,
    code: &'a [Inst],
    number: u32,
    ctas: Vec<Cta>,
    warps: Vec<Warp>,
    copies: Vec<CopyState>,
    wgmma: Vec<WgmmaState>,
    logs: Vec<wgmma::Log>,
    mbars: Vec<Mbarrier>,
    cluster_barrier: barrier::ClusterBarrier,
    pending: Vec<Pending>,
    history: History,
    /// Knowledge published at shared-memory atomics, by block and address.
    locations: BTreeMap<(usize, u32), Knowledge>,
    rng: Rng,
    sanitize: bool,
    /// An asynchronous operation lands with probability `landing / 32` at each opportunity.
    landing: u32,
    /// Warps preferred at present, and turns until the next choice: skews warps against one another.
    favoured: u64,
    favoured_for: u32,
    steps: u64,
    /// Strong loads of global memory in this slice: a unit that polls gives way early.
    polls: u32,
    /// Warps that can run, kept between turns for its storage.
    runnable: Vec<usize>,
}

impl<'a> Unit<'a> {
    pub(crate) fn new(run: &'a Run<'a>, number: u64) -> Self {
        let mut rng = Rng::new(run.options.seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
        let cluster = run.cluster;
        let ranks: u32 = cluster.iter().product();
        let per_axis: [u64; 3] = std::array::from_fn(|i| u64::from(run.grid[i] / cluster[i]));
        let at =
            [number % per_axis[0], number / per_axis[0] % per_axis[1], number / (per_axis[0] * per_axis[1])];
        let threads: u32 = run.block.iter().product();
        let nwarps = threads.div_ceil(32) as usize;
        let bytes = (run.dynamic_base + run.dynamic_smem) as usize;
        let sanitize = run.options.sanitize;
        let mut ctas = Vec::new();
        let mut warps = Vec::new();
        for rank in 0..ranks {
            let inside =
                [rank % cluster[0], rank / cluster[0] % cluster[1], rank / (cluster[0] * cluster[1])];
            let coords: [u32; 3] = std::array::from_fn(|i| at[i] as u32 * cluster[i] + inside[i]);
            let first = warps.len();
            for w in 0..nwarps {
                let left = threads - 32 * w as u32;
                let live = if left >= 32 { u32::MAX } else { (1 << left) - 1 };
                let env = Env {
                    first_thread: 32 * w as u32,
                    warp: w as u32,
                    ntid: run.block,
                    ctaid: coords,
                    nctaid: run.grid,
                    cluster_ctaid: inside,
                    cluster_nctaid: cluster,
                    cta_rank: rank,
                    dynamic_base: run.dynamic_base,
                    dynamic_smem: run.dynamic_smem,
                    total_smem: bytes as u32 - SHARED_BASE,
                    smid: (number % 132) as u32,
                };
                let mut warp = Warp::new(run.kernel.counts, rank as usize, env, live, sanitize);
                warp.budget = run.entry_registers.unwrap_or(0);
                warps.push(warp);
            }
            ctas.push(Cta {
                coords,
                warps: first..warps.len(),
                smem: vec![0xFF; bytes],
                shadow: sanitize.then(|| Shadow::new(bytes)),
                barriers: vec![barrier::Barrier::default(); 16],
                mbars: BTreeMap::new(),
                free_registers: 0,
                loads: Vec::new(),
                ended: false,
            });
        }
        let n = warps.len();
        let landing = [1, 4, 12, 28][rng.below(4)];
        Unit {
            run,
            code: &run.kernel.insts,
            number: number as u32,
            ctas,
            copies: (0..n).map(|_| CopyState::default()).collect(),
            wgmma: (0..n).map(|_| WgmmaState::default()).collect(),
            logs: (0..n.div_ceil(4) + ranks as usize).map(|_| wgmma::Log::default()).collect(),
            warps,
            mbars: Vec::new(),
            cluster_barrier: barrier::ClusterBarrier::default(),
            pending: Vec::new(),
            history: History::new(),
            locations: BTreeMap::new(),
            rng,
            sanitize,
            landing,
            favoured: u64::MAX,
            favoured_for: 0,
            steps: 0,
            polls: 0,
            runnable: Vec::new(),
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Runs for about `slice` instructions.
    pub(crate) fn run(&mut self, slice: u64) -> Status {
        let end = self.steps + slice;
        self.polls = 0;
        while self.steps < end && self.polls < MAX_POLLS {
            if self.run.stop.load(Relaxed) {
                return Status::Finished;
            }
            let mut runnable = std::mem::take(&mut self.runnable);
            runnable.clear();
            let mut alive = false;
            for w in 0..self.warps.len() {
                if !self.warps[w].done() {
                    alive = true;
                    if self.wake(w) {
                        runnable.push(w);
                    }
                }
            }
            self.runnable = runnable;
            if !alive {
                self.land_all();
                return Status::Finished;
            }
            if self.runnable.is_empty() {
                if self.land_one() {
                    continue;
                }
                self.deadlock();
                return Status::Finished;
            }
            if self.favoured_for == 0 {
                self.favoured = self.rng.next() | self.rng.next();
                self.favoured_for = 1 + self.rng.below(128) as u32;
            }
            self.favoured_for -= 1;
            let preferred = |w: &&usize| self.favoured >> (**w % 64) & 1 != 0;
            let n = self.runnable.iter().filter(preferred).count();
            let w = if n > 0 {
                let i = self.rng.below(n);
                self.runnable.iter().filter(|w| self.favoured >> (**w % 64) & 1 != 0).nth(i).copied()
            } else {
                self.runnable.get(self.rng.below(self.runnable.len())).copied()
            };
            let w = w.expect("there is a runnable warp");
            let quantum =
                if self.rng.chance(1, 4) { 1 + self.rng.below(16) } else { 1 + self.rng.below(400) };
            self.wgmma_progress(w);
            self.turn(w, quantum as u64);
            while !self.pending.is_empty() && self.rng.chance(self.landing, 32) {
                self.land_one();
            }
            if self.steps > self.run.options.max_steps {
                self.give_up();
                return Status::Finished;
            }
            if self.history.large() {
                self.compact();
            }
        }
        Status::Running
    }

    /// Wakes groups whose condition has come true; whether any group can run.
    fn wake(&mut self, w: usize) -> bool {
        let cta = self.warps[w].cta;
        let mut any = false;
        for g in 0..self.warps[w].groups.len() {
            let group = &self.warps[w].groups[g];
            let ready = match group.state {
                State::Ready => true,
                State::Mbarrier { bar, phase } => self.mbars[bar as usize].phase() > phase,
                State::Registers => self.registers_free(w, cta, group.pc),
                State::Parked | State::Barrier(_) | State::ClusterBarrier | State::Members(_) => false,
            };
            if ready {
                self.warps[w].groups[g].state = State::Ready;
                any = true;
            }
        }
        any
    }

    fn deadlock(&mut self) {
        let stuck: Vec<(usize, Group)> = (0..self.warps.len())
            .flat_map(|w| {
                self.warps[w].groups.iter().filter(|g| g.state != State::Parked).map(move |g| (w, g.clone()))
            })
            .collect();
        let Some((w, group)) = stuck.first() else { return };
        let mut places: Vec<String> = Vec::new();
        for (w, g) in &stuck {
            let line = self.code.get(g.pc as usize).map_or(0, |i| i.line);
            let warp = &self.warps[*w];
            places.push(format!(
                "block {} warp {} at line {line} {}",
                warp.cta,
                warp.env.warp,
                self.waits_for(g.state)
            ));
        }
        places.dedup();
        let message = format!("no warp can go on and no copy is under way: {}", places.join("; "));
        let at = At { w: *w, pc: group.pc, mask: group.mask };
        self.report(FindingKind::Deadlock, at, None, message, None);
    }

    fn waits_for(&self, state: State) -> String {
        match state {
            State::Ready => "is ready".to_owned(),
            State::Parked => "waits for its other lanes".to_owned(),
            State::Barrier(id) => format!("waits in barrier {id}"),
            State::Mbarrier { bar, .. } => self.mbars[bar as usize].describe(),
            State::ClusterBarrier => "waits for the cluster".to_owned(),
            State::Registers => "waits for registers".to_owned(),
            State::Members(m) => format!("waits for the lanes {m:#x}"),
        }
    }

    fn give_up(&mut self) {
        let Some(w) = (0..self.warps.len()).find(|&w| !self.warps[w].done()) else { return };
        let Some(group) = self.warps[w].groups.first().cloned() else { return };
        let message = format!("still running after {} warp instructions", self.steps);
        self.report(FindingKind::StepLimit, At { w, pc: group.pc, mask: group.mask }, None, message, None);
    }

    /// Drops history that nothing refers to any more.
    fn compact(&mut self) {
        let roots = self.live_accesses();
        let mut words = self.ctas.iter_mut().filter_map(|c| c.shadow.as_mut()).flat_map(Shadow::references);
        let kept = self.history.compact(&roots, &mut words);
        drop(words);
        self.renumber(&kept);
    }

    // --- reporting

    /// Reports an error of the instruction at `at`.
    pub(crate) fn report(
        &mut self,
        kind: FindingKind,
        at: At,
        lane: Option<u32>,
        message: impl Into<String>,
        other: Option<AccessId>,
    ) {
        let other = other.filter(|o| *o != 0).map(|o| *self.history.get(o));
        let warp = &self.warps[at.w];
        let run = self.run;
        let here = run.site(at.pc, self.ctas[warp.cta].coords, warp.env.warp, lane);
        let message = message.into();
        run.report(kind, (at.pc, other.map_or(u32::MAX, |o| o.pc)), || Finding {
            kind,
            message,
            at: Some(Box::new(here)),
            other: other.map(|o| {
                let warp = &self.warps[o.warp as usize];
                Box::new(run.site(o.pc, self.ctas[warp.cta].coords, warp.env.warp, None))
            }),
        });
    }

    /// Reports a conflict that the shadow of shared memory found at byte `address`.
    pub(crate) fn conflict(
        &mut self,
        at: At,
        lane: Option<u32>,
        conflict: Conflict,
        address: u32,
        writes: bool,
    ) {
        let what = |w: bool| if w { "write" } else { "read" };
        let byte = address.wrapping_sub(SHARED_BASE);
        let (kind, message, other) = match conflict {
            Conflict::Uninitialized => (
                FindingKind::UninitializedShared,
                format!("byte {byte} of shared memory is read before anything was written there"),
                None,
            ),
            Conflict::Race { other, other_writes } => (
                FindingKind::Race,
                format!(
                    "this {} of byte {byte} of shared memory and an earlier {} by another warp are not ordered",
                    what(writes),
                    what(other_writes)
                ),
                Some(other),
            ),
            Conflict::NotAwaited { other, other_writes } => (
                FindingKind::NotAwaited,
                format!(
                    "byte {byte} of shared memory is {} before the asynchronous {} of it was waited for",
                    if writes { "written" } else { "read" },
                    what(other_writes)
                ),
                Some(other),
            ),
            Conflict::Proxy { other } => {
                let access = self.history.get(other);
                if access.flags.asynchronous && !self.run.options.fence_after_cp_async {
                    return;
                }
                (
                    FindingKind::MissingProxyFence,
                    format!(
                        "byte {byte} of shared memory was written through the generic proxy and is used by the async \
                         proxy with no fence.proxy.async between"
                    ),
                    Some(other),
                )
            }
            Conflict::Mbarrier => (
                FindingKind::MbarrierMisuse,
                format!("byte {byte} of shared memory is part of an mbarrier and is accessed as data"),
                None,
            ),
        };
        self.report(kind, at, lane, message, other);
    }

    /// Reports a register used against the rules by the last instruction.
    fn take_violation(&mut self, at: At) {
        let Some(v) = self.warps[at.w].violation.take() else { return };
        let name = self.run.kernel.names[v.file].get(v.index as usize).cloned().unwrap_or_default();
        let (kind, message) = match v.what {
            Misuse::Uninitialized => (
                FindingKind::UninitializedRegister,
                format!("`{name}` is read before anything was written to it"),
            ),
            Misuse::InFlight => (
                FindingKind::RegisterInFlight,
                format!("`{name}` belongs to a wgmma in flight: wgmma.wait_group must come first"),
            ),
        };
        self.report(kind, at, Some(v.lane), message, None);
    }

    // --- knowledge

    /// A new access of the executing warp.
    pub(crate) fn access(&mut self, at: At, flags: Flags) -> AccessId {
        let clock = self.warps[at.w].now;
        self.history.push(Access { warp: at.w as u32, pc: at.pc, clock, flags, done: [None; 2] })
    }

    /// Makes everything so far part of what the warp passes on, and starts its next event.
    pub(crate) fn release(&mut self, w: usize) {
        let warp = &mut self.warps[w];
        warp.know.clock.raise(w as u32, warp.now);
        warp.now += 1;
    }

    pub(crate) fn origin(&self, at: At, strong: bool) -> Origin {
        Origin { cluster: self.number + 1, warp: at.w as u32, clock: self.warps[at.w].now, pc: at.pc, strong }
    }
}
