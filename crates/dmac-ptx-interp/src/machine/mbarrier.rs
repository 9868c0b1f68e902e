//! mbarrier objects: arrival counts, transaction counts and phases.
//!
//! A phase completes when no arrivals and no transaction bytes are pending. Every mbarrier is an actor of the
//! happens-before relation whose clock is its number of completed phases: a copy that completes in phase p is ordered
//! before everybody who saw phase p complete.

use super::warp::State;
use super::{At, Flow, Unit};
use crate::finding::FindingKind;
use crate::op::{Addr, ArriveTx, Op, Space, Val, WaitOn};
use crate::sanitize::{AccessId, Flags, Knowledge};

/// Largest count and largest absolute transaction count of an mbarrier (2^20 - 1).
const LIMIT: i64 = (1 << 20) - 1;

pub(crate) struct Mbarrier {
    cta: usize,
    address: u32,
    count: i64,
    pending: i64,
    tx: i64,
    phase: u64,
    /// What the arrivals of this phase pass on, and those of all complete phases.
    arriving: Knowledge,
    done: Knowledge,
    /// Its clock in the happens-before relation.
    pub actor: u32,
    pub init: AccessId,
    init_warp: usize,
    /// Its initialisation was made visible to the async proxy.
    published: bool,
}

impl Mbarrier {
    pub(super) fn phase(&self) -> u64 {
        self.phase
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "waits for phase {} of the mbarrier at shared byte {} ({} arrivals and {} transaction bytes pending)",
            self.phase,
            self.address - crate::launch::SHARED_BASE,
            self.pending,
            self.tx
        )
    }

    fn settle(&mut self) {
        if self.pending == 0 && self.tx == 0 {
            self.phase += 1;
            self.pending = self.count;
            let arriving = std::mem::take(&mut self.arriving);
            self.done.join(&arriving);
        }
    }
}

impl Unit<'_> {
    /// The mbarrier at an address in shared memory.
    pub(super) fn mbar_at(&mut self, at: At, lane: u32, cta: usize, address: u32) -> Option<u32> {
        if !self.aligned(at, lane, u64::from(address), 8) {
            return None;
        }
        let found = self.ctas[cta].mbars.get(&address).copied();
        if found.is_none() {
            let message = format!(
                "there is no initialised mbarrier at shared byte {}",
                address.wrapping_sub(crate::launch::SHARED_BASE)
            );
            self.report(FindingKind::MbarrierMisuse, at, Some(lane), message, None);
        }
        found
    }

    fn mbar_of(&mut self, at: At, lane: u32, address: u64, space: Space) -> Option<u32> {
        let (cta, offset) = self.shared_target(at, lane, address, space)?;
        self.mbar_at(at, lane, cta, offset)
    }

    /// The initialisation must happen before any use by another warp.
    pub(super) fn mbar_known(&mut self, at: At, bar: u32) {
        if !self.sanitize {
            return;
        }
        let init = self.mbars[bar as usize].init;
        if !self.history.before(init, at.w as u32, &self.warps[at.w].know.clock) {
            let message = "this use of an mbarrier and its initialisation by another warp are not ordered";
            self.report(FindingKind::Race, at, None, message, Some(init));
        }
    }

    /// The async proxy is about to use the mbarrier.
    pub(super) fn mbar_async(&mut self, at: At, bar: u32) {
        self.mbar_known(at, bar);
        if self.sanitize && !self.mbars[bar as usize].published {
            let init = self.mbars[bar as usize].init;
            let message =
                "the mbarrier's initialisation was not published with fence.mbarrier_init (or a proxy fence)";
            self.report(FindingKind::MissingInitFence, at, None, message, Some(init));
            self.mbars[bar as usize].published = true;
        }
    }

    /// Mbarriers that this warp initialised are now visible to the async proxy.
    pub(super) fn publish_mbarriers(&mut self, w: usize) {
        for b in self.mbars.iter_mut().filter(|b| b.init_warp == w) {
            b.published = true;
        }
    }

    /// Adds to the transaction count, or with `bytes` negative completes transactions.
    pub(super) fn mbar_tx(&mut self, at: At, bar: u32, bytes: i64) {
        let b = &mut self.mbars[bar as usize];
        b.tx += bytes;
        let tx = b.tx;
        if tx.abs() > LIMIT {
            let message = format!("the transaction count of an mbarrier reaches {tx} bytes");
            self.report(FindingKind::MbarrierMisuse, at, None, message, None);
        }
        let b = &mut self.mbars[bar as usize];
        if bytes < 0 {
            b.settle();
        }
    }

    /// The asynchronous operation `op` completes in the current phase of `bar`.
    pub(super) fn mbar_completes(&mut self, op: AccessId, bar: u32) {
        let b = &self.mbars[bar as usize];
        self.history.complete(op, b.actor, (b.phase + 1) as u32);
    }

    /// `n` arrivals; `know` is what they pass on.
    pub(super) fn mbar_arrive(&mut self, at: At, bar: u32, n: i64, know: Option<&Knowledge>) {
        let b = &mut self.mbars[bar as usize];
        if let Some(know) = know {
            b.arriving.join(know);
        }
        b.pending -= n;
        if b.pending < 0 {
            let message =
                format!("{} arrivals at an mbarrier of count {} in one phase", b.count - b.pending, b.count);
            b.pending = 0;
            self.report(FindingKind::MbarrierMisuse, at, None, message, None);
        }
        self.mbars[bar as usize].settle();
    }

    /// Adds a pending arrival, as `cp.async.mbarrier.arrive` without `.noinc` does.
    pub(super) fn mbar_expect_arrival(&mut self, bar: u32) {
        self.mbars[bar as usize].pending += 1;
    }

    pub(super) fn mbarrier(&mut self, at: At, op: &Op) -> Flow {
        match *op {
            Op::MbarInit { a, space, count } => self.mbar_init(at, a, space, count),
            Op::MbarInval { a, space } => {
                for (lane, address) in self.lanes(at, a) {
                    let Some(bar) = self.mbar_of(at, lane, address, space) else { continue };
                    let b = &self.mbars[bar as usize];
                    let (cta, address) = (b.cta, b.address);
                    self.ctas[cta].mbars.remove(&address);
                    if let Some(s) = self.ctas[cta].shadow.as_mut() {
                        s.set_mbarrier(address, false);
                    }
                }
            }
            Op::MbarExpectTx { a, space, bytes } => {
                let n = self.warps[at.w].get(bytes, at.mask);
                for (lane, address) in self.lanes(at, a) {
                    if let Some(bar) = self.mbar_of(at, lane, address, space) {
                        self.mbar_known(at, bar);
                        self.mbar_tx(at, bar, i64::from(n[lane as usize]));
                    }
                }
            }
            Op::MbarCompleteTx { a, space, bytes } => {
                let n = self.warps[at.w].get(bytes, at.mask);
                for (lane, address) in self.lanes(at, a) {
                    if let Some(bar) = self.mbar_of(at, lane, address, space) {
                        self.mbar_known(at, bar);
                        self.mbar_tx(at, bar, -i64::from(n[lane as usize]));
                    }
                }
            }
            Op::MbarArrive { a, space, state, count, tx, drop, release } => {
                let warp = &mut self.warps[at.w];
                let counts = count.map(|c| warp.get(c, at.mask));
                let expected = match tx {
                    ArriveTx::None => None,
                    ArriveTx::Expect(v) => Some(warp.get(v, at.mask)),
                };
                let mut states = [0u64; 32];
                if release {
                    self.release(at.w);
                }
                for (lane, address) in self.lanes(at, a) {
                    let Some(bar) = self.mbar_of(at, lane, address, space) else { continue };
                    self.mbar_known(at, bar);
                    if let Some(bytes) = expected {
                        self.mbar_tx(at, bar, i64::from(bytes[lane as usize]));
                    }
                    let n = counts.map_or(1, |c| i64::from(c[lane as usize]));
                    let b = &mut self.mbars[bar as usize];
                    states[lane as usize] = b.phase << 24 | (b.pending & 0xFF_FFFF) as u64;
                    if drop {
                        b.count -= 1;
                    }
                    let know = if release { Some(self.warps[at.w].know.clone()) } else { None };
                    self.mbar_arrive(at, bar, n, know.as_ref());
                }
                if let Some(d) = state {
                    self.warps[at.w].set64(d, &states, at.mask);
                }
            }
            Op::MbarPending { d, state } => {
                let v = self.warps[at.w].get64(state, at.mask).map(|s| (s & 0xFF_FFFF) as u32);
                self.warps[at.w].set_word(d, &v, at.mask);
            }
            Op::MbarWait { a, space, d, on, blocking, acquire } => {
                return self.mbar_wait(at, (a, space), d, on, (blocking, acquire));
            }
            _ => unreachable!("not an mbarrier operation"),
        }
        Flow::Next
    }

    fn mbar_init(&mut self, at: At, a: Addr, space: Space, count: Val) {
        let counts = self.warps[at.w].get(count, at.mask);
        for (lane, address) in self.lanes(at, a) {
            let Some((cta, offset)) = self.shared_target(at, lane, address, space) else { continue };
            let n = i64::from(counts[lane as usize]);
            if !self.aligned(at, lane, u64::from(offset), 8) || !self.shared_bounds(at, lane, cta, offset, 8)
            {
                continue;
            }
            if !(1..=LIMIT).contains(&n) {
                let message = format!("the count of an mbarrier is from 1 to 2^20 - 1, not {n}");
                self.report(FindingKind::MbarrierMisuse, at, Some(lane), message, None);
                continue;
            }
            if self.ctas[cta].mbars.contains_key(&offset) {
                let message = "the mbarrier is initialised again without mbarrier.inval";
                self.report(FindingKind::MbarrierMisuse, at, Some(lane), message, None);
            }
            self.touch_shared(at, lane, cta, (offset, 8), true, Flags::default());
            let init = self.access(at, Flags::default());
            let index = self.mbars.len() as u32;
            let actor = self.warps.len() as u32 + index;
            self.mbars.push(Mbarrier {
                cta,
                address: offset,
                count: n,
                pending: n,
                tx: 0,
                phase: 0,
                arriving: Knowledge::default(),
                done: Knowledge::default(),
                actor,
                init,
                init_warp: at.w,
                published: false,
            });
            self.ctas[cta].mbars.insert(offset, index);
            if let Some(s) = self.ctas[cta].shadow.as_mut() {
                s.set_mbarrier(offset, true);
            }
        }
    }

    fn mbar_wait(
        &mut self,
        at: At,
        (a, space): (Addr, Space),
        d: u16,
        on: WaitOn,
        (blocking, acquire): (bool, bool),
    ) -> Flow {
        let warp = &mut self.warps[at.w];
        let wanted = match on {
            WaitOn::State(v) => warp.get64(v, at.mask),
            WaitOn::Parity(v) => warp.get(v, at.mask).map(u64::from),
        };
        let mut complete = 0u32;
        let mut blocked = None;
        let mut passed = Vec::new();
        for (lane, address) in self.lanes(at, a) {
            let Some(bar) = self.mbar_of(at, lane, address, space) else {
                // Keep going rather than spin on a barrier that does not exist.
                complete |= 1 << lane;
                continue;
            };
            self.mbar_known(at, bar);
            let b = &self.mbars[bar as usize];
            let want = wanted[lane as usize];
            let done = match on {
                WaitOn::State(_) => b.phase > want >> 24,
                // True when the phase of that parity is the last complete one.
                WaitOn::Parity(_) => b.phase & 1 != want & 1,
            };
            if done {
                complete |= 1 << lane;
                if !passed.contains(&bar) {
                    passed.push(bar);
                }
            } else {
                blocked = Some((bar, b.phase));
            }
        }
        if let Some((bar, phase)) = blocked {
            // A try_wait may give up at any time, so that code which relies on its blocking is found out.
            if blocking && !self.rng.chance(1, 4) {
                return Flow::Block(State::Mbarrier { bar, phase });
            }
        }
        if acquire {
            for bar in passed {
                let b = &self.mbars[bar as usize];
                let warp = &mut self.warps[at.w];
                warp.know.join(&b.done);
                warp.know.clock.raise(b.actor, b.phase as u32);
            }
        }
        self.warps[at.w].set_pred(d, complete, at.mask);
        if blocked.is_some() { Flow::Yield } else { Flow::Next }
    }
}
