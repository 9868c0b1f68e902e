//! One warp: its register files with shadow state, its diverged lane groups, and operand access.
//!
//! A register is 32 lanes wide, so that an instruction is one loop over lanes. The shadow state knows which lanes of
//! a register hold a value, how many asynchronous matrix operations use it, and whether it was touched since the last
//! `wgmma.fence`; reading or writing against these rules leaves a [`Violation`] for the machine to report.

use crate::op::{PVal, Reg, Special, Val};
use crate::sanitize::Knowledge;

pub(crate) type Lanes = [u32; 32];
pub(crate) type Wide = [u64; 32];

/// A register used against the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub what: Misuse,
    /// Register file (0 words, 1 doubles, 2 predicates) and index.
    pub file: usize,
    pub index: u16,
    pub lane: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    Uninitialized,
    InFlight,
}

/// Why a group of lanes does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// At its reconvergence point, waiting for the other lanes.
    Parked,
    /// In a named barrier.
    Barrier(u8),
    /// Waiting for a phase of an mbarrier: re-executes when the phase count of `bar` passes `phase`.
    Mbarrier {
        bar: u32,
        phase: u64,
    },
    ClusterBarrier,
    /// `setmaxnreg.inc` until registers are free.
    Registers,
    /// `bar.warp.sync` or another warp-level exchange, until all members arrive.
    Members(u32),
}

/// Where diverged lanes meet: `mask` lanes at `pc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub id: u32,
    pub pc: u32,
    pub mask: u32,
}

/// Lanes that execute together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub pc: u32,
    pub mask: u32,
    pub frames: Vec<Frame>,
    pub state: State,
}

/// What special registers read, the same for all lanes unless noted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Env {
    pub first_thread: u32,
    pub warp: u32,
    pub ntid: [u32; 3],
    pub ctaid: [u32; 3],
    pub nctaid: [u32; 3],
    pub cluster_ctaid: [u32; 3],
    pub cluster_nctaid: [u32; 3],
    pub cta_rank: u32,
    pub dynamic_base: u32,
    pub dynamic_smem: u32,
    pub total_smem: u32,
    pub smid: u32,
}

pub(crate) struct Warp {
    /// Index of its CTA in the cluster.
    pub cta: usize,
    pub env: Env,
    w: Vec<Lanes>,
    d: Vec<Wide>,
    p: Vec<u32>,
    init_w: Vec<u32>,
    init_d: Vec<u32>,
    init_p: Vec<u32>,
    /// Matrix operations in flight that use a word register.
    pub flight: Vec<u16>,
    /// Fence epoch of a word register's last ordinary access, plus one.
    touch: Vec<u32>,
    pub fence_epoch: u32,
    pub checked: bool,
    pub violation: Option<Violation>,
    pub groups: Vec<Group>,
    /// Lanes that exist and have not exited.
    pub live: u32,
    pub next_frame: u32,
    /// Executed instructions, which also serves as the clock registers.
    pub steps: u64,
    /// Registers per thread at present, for `setmaxnreg`.
    pub budget: u32,
    /// What this warp knows about the progress of every actor.
    pub know: Knowledge,
    /// Own clock.
    pub now: u32,
    /// Knowledge at the last memory fence: what a relaxed store after it publishes.
    pub fenced: Option<Box<Knowledge>>,
    /// Knowledge read by relaxed loads, to be learned at the next memory fence.
    pub observed: Option<Box<Knowledge>>,
    /// Lanes that wrote shared memory since the last proxy fence that covered them and the last warp-wide ordering.
    pub unfenced: u32,
}

impl Warp {
    pub(crate) fn new(counts: [usize; 3], cta: usize, env: Env, live: u32, checked: bool) -> Self {
        let shadow = |n: usize| if checked { n } else { 0 };
        let [w, d, p] = counts;
        Warp {
            cta,
            env,
            w: vec![[0x7FC0_DEAD; 32]; w],
            d: vec![[0x7FF8_DEAD_7FC0_DEAD; 32]; d],
            p: vec![0; p],
            init_w: vec![0; shadow(w)],
            init_d: vec![0; shadow(d)],
            init_p: vec![0; shadow(p)],
            flight: vec![0; shadow(w)],
            touch: vec![0; shadow(w)],
            fence_epoch: 0,
            checked,
            violation: None,
            groups: vec![Group { pc: 0, mask: live, frames: Vec::new(), state: State::Ready }],
            live,
            next_frame: 0,
            steps: 0,
            budget: 0,
            know: Knowledge::default(),
            now: 1,
            fenced: None,
            observed: None,
            unfenced: 0,
        }
    }

    pub(crate) fn done(&self) -> bool {
        self.live == 0
    }

    #[cold]
    fn misuse(&mut self, what: Misuse, file: usize, index: u16, lanes: u32) {
        if self.violation.is_none() {
            self.violation = Some(Violation { what, file, index, lane: lanes.trailing_zeros().min(31) });
        }
    }

    #[inline]
    fn read_check(&mut self, i: u16, mask: u32) {
        let k = i as usize;
        let missing = mask & !self.init_w[k];
        if missing != 0 {
            self.misuse(Misuse::Uninitialized, 0, i, missing);
            self.init_w[k] |= mask;
        }
        if self.flight[k] != 0 {
            self.misuse(Misuse::InFlight, 0, i, mask);
        }
        self.touch[k] = self.fence_epoch + 1;
    }

    /// The word register `i`, read by the lanes of `mask`.
    #[inline]
    pub(crate) fn word(&mut self, i: u16, mask: u32) -> Lanes {
        if self.checked {
            self.read_check(i, mask);
        }
        self.w[i as usize]
    }

    /// The raw value with no check, for operations that have their own rules.
    pub(crate) fn raw(&self, i: u16) -> &Lanes {
        &self.w[i as usize]
    }

    pub(crate) fn raw_mut(&mut self, i: u16) -> &mut Lanes {
        &mut self.w[i as usize]
    }

    /// Lanes of `i` without a value.
    pub(crate) fn missing(&self, i: u16) -> u32 {
        !self.init_w[i as usize]
    }

    pub(crate) fn mark_init(&mut self, i: u16) {
        if self.checked {
            self.init_w[i as usize] = u32::MAX;
        }
    }

    /// Whether `i` was touched by an ordinary instruction since the last `wgmma.fence`.
    pub(crate) fn touched(&self, i: u16) -> bool {
        self.touch[i as usize] > self.fence_epoch
    }

    /// A 32-bit operand (16-bit ones live in the low half).
    #[inline]
    pub(crate) fn get(&mut self, v: Val, mask: u32) -> Lanes {
        match v {
            Val::W(i) => self.word(i, mask),
            Val::Imm(x) => [x as u32; 32],
            Val::D(_) | Val::Special(_) => self.get64(v, mask).map(|x| x as u32),
        }
    }

    /// A 64-bit operand; narrower registers are zero-extended.
    pub(crate) fn get64(&mut self, v: Val, mask: u32) -> Wide {
        match v {
            Val::D(i) => {
                if self.checked {
                    let missing = mask & !self.init_d[i as usize];
                    if missing != 0 {
                        self.misuse(Misuse::Uninitialized, 1, i, missing);
                        self.init_d[i as usize] |= mask;
                    }
                }
                self.d[i as usize]
            }
            Val::W(i) => self.word(i, mask).map(u64::from),
            Val::Imm(x) => [x; 32],
            Val::Special(s) => self.special(s),
        }
    }

    /// The value in the first lane of `mask`.
    pub(crate) fn first(&mut self, v: Val, mask: u32) -> u64 {
        self.get64(v, mask)[mask.trailing_zeros().min(31) as usize]
    }

    pub(crate) fn pred(&mut self, i: u16, mask: u32) -> u32 {
        if self.checked {
            let missing = mask & !self.init_p[i as usize];
            if missing != 0 {
                self.misuse(Misuse::Uninitialized, 2, i, missing);
                self.init_p[i as usize] |= mask;
            }
        }
        self.p[i as usize]
    }

    pub(crate) fn get_pred(&mut self, v: PVal, mask: u32) -> u32 {
        match v {
            PVal::Const(true) => u32::MAX,
            PVal::Const(false) => 0,
            PVal::Reg { index, negated } => {
                let p = self.pred(index, mask);
                if negated { !p } else { p }
            }
        }
    }

    pub(crate) fn set_pred(&mut self, i: u16, v: u32, mask: u32) {
        let p = &mut self.p[i as usize];
        *p = *p & !mask | v & mask;
        if self.checked {
            self.init_p[i as usize] |= mask;
        }
    }

    #[inline]
    pub(crate) fn set_word(&mut self, i: u16, v: &Lanes, mask: u32) {
        let k = i as usize;
        if self.checked {
            if self.flight[k] != 0 {
                self.misuse(Misuse::InFlight, 0, i, mask);
            }
            self.init_w[k] |= mask;
            self.touch[k] = self.fence_epoch + 1;
        }
        if mask == u32::MAX {
            self.w[k] = *v;
        } else {
            for (lane, (out, x)) in self.w[k].iter_mut().zip(v).enumerate() {
                if mask >> lane & 1 != 0 {
                    *out = *x;
                }
            }
        }
    }

    pub(crate) fn set_wide(&mut self, i: u16, v: &Wide, mask: u32) {
        if self.checked {
            self.init_d[i as usize] |= mask;
        }
        for (lane, (out, x)) in self.d[i as usize].iter_mut().zip(v).enumerate() {
            if mask >> lane & 1 != 0 {
                *out = *x;
            }
        }
    }

    /// Writes 64-bit values to a register of either file, truncating for the smaller one.
    pub(crate) fn set64(&mut self, d: Reg, v: &Wide, mask: u32) {
        match d {
            Reg::D(i) => self.set_wide(i, v, mask),
            Reg::W(i) => self.set_word(i, &v.map(|x| x as u32), mask),
            Reg::P(i) => {
                let bits = (0..32).fold(0, |b, l| b | u32::from(v[l] != 0) << l);
                self.set_pred(i, bits, mask);
            }
        }
    }

    pub(crate) fn set(&mut self, d: Reg, v: &Lanes, mask: u32) {
        match d {
            Reg::W(i) => self.set_word(i, v, mask),
            other => self.set64(other, &v.map(u64::from), mask),
        }
    }

    fn special(&self, s: Special) -> Wide {
        let e = &self.env;
        let same = |v: u32| [u64::from(v); 32];
        let lanes = |f: fn(u32) -> u32| std::array::from_fn(|l| u64::from(f(l as u32)));
        match s {
            Special::Tid(axis) => std::array::from_fn(|l| {
                let t = e.first_thread + l as u32;
                u64::from(match axis {
                    0 => t % e.ntid[0],
                    1 => t / e.ntid[0] % e.ntid[1],
                    _ => t / (e.ntid[0] * e.ntid[1]),
                })
            }),
            Special::Ntid(a) => same(e.ntid[a as usize]),
            Special::Ctaid(a) => same(e.ctaid[a as usize]),
            Special::Nctaid(a) => same(e.nctaid[a as usize]),
            Special::ClusterCtaid(a) => same(e.cluster_ctaid[a as usize]),
            Special::ClusterNctaid(a) => same(e.cluster_nctaid[a as usize]),
            Special::Clusterid(a) => same(e.ctaid[a as usize] / e.cluster_nctaid[a as usize]),
            Special::Nclusterid(a) => same(e.nctaid[a as usize] / e.cluster_nctaid[a as usize]),
            Special::ClusterCtarank => same(e.cta_rank),
            Special::ClusterNctarank => same(e.cluster_nctaid.iter().product()),
            Special::Laneid => lanes(|l| l),
            Special::Warpid => same(e.warp),
            Special::Nwarpid => same(e.ntid.iter().product::<u32>().div_ceil(32)),
            Special::Smid => same(e.smid),
            Special::Nsmid => same(132),
            Special::Gridid => same(0),
            Special::LanemaskEq => lanes(|l| 1 << l),
            Special::LanemaskLe => lanes(|l| u32::MAX >> (31 - l)),
            Special::LanemaskLt => lanes(|l| (1 << l) - 1),
            Special::LanemaskGe => lanes(|l| u32::MAX << l),
            Special::LanemaskGt => lanes(|l| !(u32::MAX >> (31 - l))),
            Special::Clock | Special::Globaltimer => [self.steps; 32],
            Special::DynamicSmem => same(e.dynamic_smem),
            Special::TotalSmem => same(e.total_smem),
            Special::DynamicBase => same(e.dynamic_base),
        }
    }
}
