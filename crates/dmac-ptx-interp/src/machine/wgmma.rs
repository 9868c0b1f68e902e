//! `wgmma`: asynchronous warpgroup matrix multiplication from descriptors or registers.
//!
//! Issuing registers what the operation will read (shadow of shared memory) and use (registers in flight); computing
//! happens later, in order, at the latest when a `wait_group` covers it. Each warp computes its sixteen rows.

use super::matrix::{Fragment, a_fragment, dot, element};
use super::warp::Lanes;
use super::{At, Unit};
use crate::finding::FindingKind;
use crate::op::{MmaIn, Op, Wgmma, WgmmaA};
use crate::sanitize::{AccessId, Flags};
use crate::tensor_map::Swizzle;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Issued {
    id: AccessId,
    pc: u32,
    desc_a: u64,
    desc_b: u64,
    scale_d: bool,
    computed: bool,
}

/// Matrix operations of a warp that were not waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct WgmmaState {
    open: Vec<Issued>,
    groups: VecDeque<Vec<Issued>>,
    /// A `wgmma.fence` came since the last commit.
    fenced: bool,
    /// Operations so far, to compare the warps of a warpgroup.
    count: u64,
}

impl WgmmaState {
    pub(super) fn accesses(&self) -> impl Iterator<Item = AccessId> {
        self.open.iter().chain(self.groups.iter().flatten()).map(|i| i.id)
    }

    pub(super) fn renumber(&mut self, kept: &[AccessId]) {
        for i in self.open.iter_mut().chain(self.groups.iter_mut().flatten()) {
            i.id = kept[i.id as usize];
        }
    }
}

/// What the four warps of a warpgroup issued, from operation `first` on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    first: u64,
    issued: VecDeque<(u32, u64, u64)>,
}

/// A decoded matrix descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Descriptor {
    start: u32,
    leading: u32,
    stride: u32,
    swizzle: Swizzle,
}

impl Descriptor {
    fn decode(bits: u64) -> Result<Self, String> {
        let field = |shift: u32| ((bits >> shift) as u32 & 0x3FFF) << 4;
        let swizzle = match bits >> 62 {
            0 => Swizzle::None,
            1 => Swizzle::B128,
            2 => Swizzle::B64,
            _ => Swizzle::B32,
        };
        if bits >> 49 & 7 != 0 {
            return Err(format!(
                "the matrix descriptor {bits:#018x} has a base offset, which is not modelled"
            ));
        }
        Ok(Descriptor { start: field(0), leading: field(16), stride: field(32), swizzle })
    }

    /// Address of the 16-byte chunk with eight elements: for K-major operands row `i`, columns `8 j` on; for MN-major
    /// ones rows `8 j` on of column `i`.
    fn chunk(&self, transposed: bool, i: u32, j: u32) -> u32 {
        let span = self.swizzle.span();
        let offset = match (transposed, span) {
            (false, 0) => (i % 8) * 16 + (i / 8) * self.stride + j * self.leading,
            (false, _) => (i % 8) * span + (i / 8) * self.stride + j * 16,
            (true, 0) => (i % 8) * 16 + (i / 8) * self.leading + j * self.stride,
            (true, _) => {
                let per = span / 16;
                (j % per) * 16 + (j / per) * self.leading + (i % 8) * span + (i / 8) * self.stride
            }
        };
        self.swizzle.apply(self.start.wrapping_add(offset))
    }
}

/// Chunks of rows `first..first + n` of an operand with 16 columns: (row, column, address) of eight elements that go
/// along the columns (K-major) or along the rows (MN-major).
fn chunks(d: Descriptor, transposed: bool, first: u32, n: u32) -> impl Iterator<Item = (u32, u32, u32)> {
    let (outer, inner) = if transposed { (16, n / 8) } else { (n, 2) };
    (0..outer).flat_map(move |i| {
        (0..inner).map(move |j| {
            if transposed {
                (8 * j, i, d.chunk(true, i, first / 8 + j))
            } else {
                (i, 8 * j, d.chunk(false, first + i, j))
            }
        })
    })
}

impl Unit<'_> {
    pub(super) fn wgmma_fence(&mut self, w: usize) {
        self.warps[w].fence_epoch += 1;
        self.wgmma[w].fenced = true;
    }

    pub(super) fn wgmma(&mut self, at: At, op: &Wgmma) {
        self.together(at, true);
        let warp = &mut self.warps[at.w];
        let scale_d = warp.get_pred(op.scale_d, at.mask);
        let desc_b = warp.get64(op.b, at.mask);
        let desc_a = match op.a {
            WgmmaA::Shared { desc, .. } => warp.get64(desc, at.mask),
            WgmmaA::Regs(_) => [0; 32],
        };
        let lane = at.mask.trailing_zeros().min(31) as usize;
        let (a, b, scale) = (desc_a[lane], desc_b[lane], scale_d >> lane & 1 != 0);
        if (0..32).any(|l| {
            at.mask >> l & 1 != 0
                && (desc_a[l] != a || desc_b[l] != b || scale_d >> l & 1 != u32::from(scale))
        }) {
            let message = "descriptors and scale must be the same in all lanes";
            self.report(FindingKind::BadOperand, at, None, message, None);
        }
        self.same_in_warpgroup(at, a, b);
        let flags = Flags { asynchronous: true, async_proxy: true, strong: false };
        let id = self.access(at, flags);
        if self.sanitize {
            self.wgmma_registers(at, op, scale);
        }
        self.wgmma_operands(at, op, id, (a, b));
        self.wgmma[at.w].open.push(Issued {
            id,
            pc: at.pc,
            desc_a: a,
            desc_b: b,
            scale_d: scale,
            computed: false,
        });
        self.mark_flight(at.w, op, true);
        // The next operation of the chain may accumulate onto what this one will have computed.
        for r in &op.acc {
            self.warps[at.w].mark_init(*r);
        }
    }

    /// The four warps of a warpgroup must issue the same operations with the same descriptors.
    fn same_in_warpgroup(&mut self, at: At, a: u64, b: u64) {
        if self.code[at.pc as usize].guard.is_some() && self.warps[at.w].live != u32::MAX {
            return;
        }
        let warp = &self.warps[at.w];
        let range = self.ctas[warp.cta].warps.clone();
        let group = warp.env.warp as usize / 4;
        let members = range.start + 4 * group..(range.start + 4 * group + 4).min(range.end);
        if members.len() < 4 {
            let message = "the warp is not part of a whole warpgroup of four warps";
            self.report(FindingKind::Divergence, at, None, message, None);
            return;
        }
        let n = self.wgmma[at.w].count;
        self.wgmma[at.w].count += 1;
        let slot = warp.cta + range.start / 4 + group;
        let slot = slot.min(self.logs.len() - 1);
        let oldest = members.map(|w| self.wgmma[w].count).min().unwrap_or(0);
        let log = &mut self.logs[slot];
        let mine = (at.pc, a, b);
        let seen = log.issued.get((n - log.first) as usize).copied();
        if seen.is_none() {
            log.issued.push_back(mine);
        }
        while log.first < oldest {
            log.issued.pop_front();
            log.first += 1;
        }
        if let Some(other) = seen.filter(|o| *o != mine) {
            let line = self.code[other.0 as usize].line;
            let message = format!(
                "another warp of this warpgroup issued as the same operation the one at line {line} with descriptors \
                 {:#x}, {:#x}; this one has {a:#x}, {b:#x}",
                other.1, other.2
            );
            self.report(FindingKind::Divergence, at, None, message, None);
        }
    }

    /// Registers must hold values, be fenced, and not be in flight as something else.
    fn wgmma_registers(&mut self, at: At, op: &Wgmma, scale: bool) {
        let warp = &self.warps[at.w];
        let a: &[u16] = match &op.a {
            WgmmaA::Regs(r) => r,
            WgmmaA::Shared { .. } => &[],
        };
        let name = |i: u16| self.run.kernel.names[0][i as usize].clone();
        let read = op.acc.iter().filter(|_| scale).chain(a);
        let unset = read.clone().find(|r| warp.missing(**r) & at.mask != 0).map(|r| name(*r));
        let touched = op.acc.iter().chain(a).find(|r| warp.touched(**r)).map(|r| name(*r));
        let busy = a.iter().find(|r| self.in_flight_as_accumulator(at.w, **r)).map(|r| name(*r));
        if let Some(r) = unset {
            let message = format!("`{r}` is an operand before anything was written to it");
            self.report(FindingKind::UninitializedRegister, at, None, message, None);
        }
        if let Some(r) = touched {
            let message = format!("`{r}` was accessed since the last wgmma.fence");
            self.report(FindingKind::MissingWgmmaFence, at, None, message, None);
        } else if !self.wgmma[at.w].fenced {
            let message = "no wgmma.fence since the last commit_group: ptxas may merge the batches";
            self.report(FindingKind::MissingWgmmaFence, at, None, message, None);
            self.wgmma[at.w].fenced = true;
        }
        if let Some(r) = busy {
            let message = format!("`{r}` is still written by a wgmma in flight");
            self.report(FindingKind::RegisterInFlight, at, None, message, None);
        }
    }

    fn in_flight_as_accumulator(&self, w: usize, reg: u16) -> bool {
        let s = &self.wgmma[w];
        self.warps[w].flight[reg as usize] != 0
            && s.open.iter().chain(s.groups.iter().flatten()).any(|i| match &self.code[i.pc as usize].op {
                Op::Wgmma(op) => op.acc.contains(&reg),
                _ => false,
            })
    }

    fn mark_flight(&mut self, w: usize, op: &Wgmma, on: bool) {
        if !self.sanitize {
            return;
        }
        let warp = &mut self.warps[w];
        let a: &[u16] = match &op.a {
            WgmmaA::Regs(r) => r,
            WgmmaA::Shared { .. } => &[],
        };
        for r in op.acc.iter().chain(a) {
            let f = &mut warp.flight[*r as usize];
            *f = if on { f.saturating_add(1) } else { f.saturating_sub(1) };
        }
    }

    /// Checks the shared memory that the operation will read: bounds always, order and fences with the sanitizer.
    fn wgmma_operands(&mut self, at: At, op: &Wgmma, id: AccessId, (a, b): (u64, u64)) {
        let cta = self.warps[at.w].cta;
        let quarter = 16 * (self.warps[at.w].env.warp % 4);
        let mut ranges = Vec::with_capacity(2 * op.n as usize + 32);
        let mut add = |bits: u64, transposed: bool, first: u32, n: u32| -> Result<(), String> {
            let d = Descriptor::decode(bits)?;
            ranges.extend(chunks(d, transposed, first, n).map(|c| (c.2, 16)));
            Ok(())
        };
        let mut result = Ok(());
        if let WgmmaA::Shared { transposed, .. } = op.a {
            result = add(a, transposed, quarter, 16);
        }
        let result = result.and_then(|()| add(b, op.b_transposed, 0, op.n));
        if let Err(message) = result {
            self.report(FindingKind::BadOperand, at, None, message, None);
            return;
        }
        let lane = at.mask.trailing_zeros().min(31);
        let size = self.ctas[cta].smem.len() as u32;
        if let Some(&(address, _)) =
            ranges.iter().find(|r| r.0 < crate::launch::SHARED_BASE || r.0 + 16 > size)
        {
            self.shared_bounds(at, lane, cta, address, 16);
            return;
        }
        self.shadow_read(at, lane, cta, id, &ranges);
    }

    pub(super) fn wgmma_commit(&mut self, at: At) {
        self.together(at, true);
        let s = &mut self.wgmma[at.w];
        s.fenced = false;
        let group = std::mem::take(&mut s.open);
        s.groups.push_back(group);
    }

    pub(super) fn wgmma_wait(&mut self, at: At, pending: u32) {
        self.together(at, true);
        while self.wgmma[at.w].groups.len() > pending as usize {
            let group = self.wgmma[at.w].groups.pop_front().unwrap_or_default();
            for i in group {
                if !i.computed {
                    self.wgmma_compute(at.w, &i);
                }
                let code = self.code;
                if let Op::Wgmma(op) = &code[i.pc as usize].op {
                    self.mark_flight(at.w, op, false);
                }
                self.history.complete(i.id, at.w as u32, self.warps[at.w].now);
            }
        }
    }

    /// Between turns: computes some of the operations in flight, oldest first.
    pub(super) fn wgmma_progress(&mut self, w: usize) {
        while self.rng.chance(self.landing, 32) {
            let s = &mut self.wgmma[w];
            let next = s.groups.iter_mut().flatten().chain(&mut s.open).find(|i| !i.computed);
            let Some(i) = next else { return };
            i.computed = true;
            let i = *i;
            self.wgmma_compute(w, &i);
        }
    }

    pub(super) fn wgmma_at_exit(&mut self, at: At) {
        let s = std::mem::take(&mut self.wgmma[at.w]);
        if let Some(i) = s.open.iter().chain(s.groups.iter().flatten()).next() {
            let message = "the warp ends with a wgmma that was not waited for";
            self.report(FindingKind::InFlightAtExit, at, None, message, Some(i.id));
        }
    }

    /// An operand of `n` rows from row `first` on and 16 columns, k-major: `out[k * n + row]`.
    fn operand(&self, cta: usize, bits: u64, transposed: bool, first: u32, n: u32, input: MmaIn) -> Vec<f64> {
        let mut out = vec![0.0; 16 * n as usize];
        let Ok(d) = Descriptor::decode(bits) else { return out };
        let smem = &self.ctas[cta].smem;
        for (row, col, address) in chunks(d, transposed, first, n) {
            let Some(raw) = smem.get(address as usize..address as usize + 16) else { continue };
            for (e, pair) in raw.chunks_exact(2).enumerate() {
                let v = element(u16::from_le_bytes([pair[0], pair[1]]), input);
                let (r, c) = if transposed {
                    (row as usize + e, col as usize)
                } else {
                    (row as usize, col as usize + e)
                };
                out[c * n as usize + r] = v;
            }
        }
        out
    }

    fn wgmma_compute(&mut self, w: usize, issued: &Issued) {
        let code = self.code;
        let Op::Wgmma(op) = &code[issued.pc as usize].op else { return };
        let cta = self.warps[w].cta;
        let n = op.n as usize;
        let b = self.operand(cta, issued.desc_b, op.b_transposed, 0, op.n, op.input);
        let a: Fragment = match &op.a {
            WgmmaA::Regs(regs) => {
                let regs: Vec<Lanes> = regs.iter().map(|r| *self.warps[w].raw(*r)).collect();
                a_fragment(&regs, op.input)
            }
            WgmmaA::Shared { transposed, .. } => {
                let first = 16 * (self.warps[w].env.warp % 4);
                let flat = self.operand(cta, issued.desc_a, *transposed, first, 16, op.input);
                std::array::from_fn(|r| std::array::from_fn(|k| flat[k * 16 + r]))
            }
        };
        let sign = if op.negate { -1.0 } else { 1.0 };
        let mut out = vec![0.0f64; 16 * n];
        for (row, acc) in a.iter().zip(out.chunks_exact_mut(n)) {
            dot(row, &b, 16, n, acc);
        }
        let warp = &mut self.warps[w];
        for (i, &reg) in op.acc.iter().enumerate() {
            let old = *warp.raw(reg);
            let v: Lanes = std::array::from_fn(|lane| {
                let (row, col) = (lane / 4, 2 * (lane % 4));
                if op.f32_acc {
                    let (j, e) = (i / 4, i % 4);
                    let x = sign * out[(row + 8 * (e >> 1)) * n + 8 * j + col + (e & 1)];
                    let base = if issued.scale_d { f64::from(f32::from_bits(old[lane])) } else { 0.0 };
                    ((base + x) as f32).to_bits()
                } else {
                    let (j, e) = (i / 2, i % 2);
                    let half = |h: usize| {
                        let x = sign * out[(row + 8 * e) * n + 8 * j + col + h];
                        let base = half::f16::from_bits((old[lane] >> (16 * h)) as u16).to_f64();
                        let base = if issued.scale_d { base } else { 0.0 };
                        u32::from(half::f16::from_f64(base + x).to_bits())
                    };
                    half(0) | half(1) << 16
                }
            });
            *warp.raw_mut(reg) = v;
        }
    }
}
