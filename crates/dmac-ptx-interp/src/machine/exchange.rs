//! Exchanges between the lanes of a warp: shuffles, votes, reductions, election, `bar.warp.sync`.

use super::warp::{Lanes, State};
use super::{At, Flow, Unit};
use crate::finding::FindingKind;
use crate::op::{AtomOp, Op, ShflMode, Val, VoteMode};

/// The lane that `lane` reads, and whether it lies in the segment that `c` describes.
fn shuffle_source(mode: ShflMode, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let clamp = c & 31;
    let segment = c >> 8 & 31;
    let b = b & 31;
    let max = (lane & segment) | (clamp & !segment);
    let min = lane & segment;
    let (source, inside) = match mode {
        ShflMode::Up => {
            let s = lane as i32 - b as i32;
            (s, s >= max as i32)
        }
        ShflMode::Down => ((lane + b) as i32, lane + b <= max),
        ShflMode::Bfly => ((lane ^ b) as i32, lane ^ b <= max),
        ShflMode::Idx => {
            let s = min | (b & !segment);
            (s as i32, s <= max)
        }
    };
    if inside { (source as u32 & 31, true) } else { (lane, false) }
}

impl Unit<'_> {
    /// Checks the member mask: every named lane must be executing, and every executing lane named.
    fn members(&mut self, at: At, members: Val) -> u32 {
        let named = self.warps[at.w].first(members, at.mask) as u32;
        let absent = named & !at.mask;
        let strangers = at.mask & !named;
        if absent != 0 || strangers != 0 {
            let message = if absent != 0 {
                format!(
                    "the member mask {named:#010x} names lane {}, which {}",
                    absent.trailing_zeros(),
                    if self.warps[at.w].live & absent != 0 {
                        "does not execute this instruction"
                    } else {
                        "has exited"
                    }
                )
            } else {
                format!(
                    "lane {} executes this but is not in the member mask {named:#010x}",
                    strangers.trailing_zeros()
                )
            };
            self.report(FindingKind::Divergence, at, Some(at.mask.trailing_zeros()), message, None);
        }
        named
    }

    pub(super) fn exchange(&mut self, at: At, op: &Op) -> Flow {
        let m = at.mask;
        match *op {
            Op::Shfl { mode, d, p, a, b, c, members } => {
                self.members(at, members);
                let warp = &mut self.warps[at.w];
                let (v, b, c) = (warp.get(a, m), warp.get(b, m), warp.get(c, m));
                let mut out: Lanes = [0; 32];
                let mut inside = 0;
                let mut idle = None;
                for lane in 0..32u32 {
                    if m >> lane & 1 == 0 {
                        continue;
                    }
                    let (s, ok) = shuffle_source(mode, lane, b[lane as usize], c[lane as usize]);
                    if m >> s & 1 == 0 {
                        idle = Some((lane, s));
                    }
                    out[lane as usize] = v[s as usize];
                    inside |= u32::from(ok) << lane;
                }
                warp.set_word(d, &out, m);
                if let Some(p) = p {
                    warp.set_pred(p, inside, m);
                }
                if let Some((lane, s)) = idle {
                    let message = format!("reads from lane {s}, which does not execute this shuffle");
                    self.report(FindingKind::Divergence, at, Some(lane), message, None);
                }
            }
            Op::Vote { mode, d, a, members } => {
                self.members(at, members);
                let warp = &mut self.warps[at.w];
                let v = warp.get_pred(a, m) & m;
                let result = match mode {
                    VoteMode::All => u32::from(v == m),
                    VoteMode::Any => u32::from(v != 0),
                    VoteMode::Uni => u32::from(v == 0 || v == m),
                    VoteMode::Ballot => v,
                };
                warp.set(d, &[result; 32], m);
            }
            Op::Match { all, bits: _, d, p, a, members } => {
                self.members(at, members);
                let warp = &mut self.warps[at.w];
                let v = warp.get64(a, m);
                let first = v[m.trailing_zeros() as usize];
                let same = (0..32).filter(|&l| m >> l & 1 != 0).all(|l| v[l as usize] == first);
                let out: Lanes = std::array::from_fn(|l| {
                    if all {
                        return if same { m } else { 0 };
                    }
                    (0..32).filter(|&k| m >> k & 1 != 0 && v[k as usize] == v[l]).fold(0, |x, k| x | 1 << k)
                });
                warp.set_word(d, &out, m);
                if let Some(p) = p {
                    warp.set_pred(p, if same { u32::MAX } else { 0 }, m);
                }
            }
            Op::Redux { op, signed, d, a, members } => {
                self.members(at, members);
                let warp = &mut self.warps[at.w];
                let v = warp.get(a, m);
                let active = (0..32).filter(|l| m >> l & 1 != 0).map(|l| v[l as usize]);
                let result = active.reduce(|x, y| match op {
                    AtomOp::Min if signed => (x as i32).min(y as i32) as u32,
                    AtomOp::Max if signed => (x as i32).max(y as i32) as u32,
                    AtomOp::Min => x.min(y),
                    AtomOp::Max => x.max(y),
                    AtomOp::And => x & y,
                    AtomOp::Or => x | y,
                    AtomOp::Xor => x ^ y,
                    _ => x.wrapping_add(y),
                });
                warp.set_word(d, &[result.unwrap_or(0); 32], m);
            }
            Op::Elect { d, p, members } => {
                let named = self.members(at, members);
                // The hardware elects the lowest member; the ISA only promises one and the same.
                let leader = (named & m).trailing_zeros().min(31);
                let warp = &mut self.warps[at.w];
                warp.set_pred(p, 1 << leader, m);
                if let Some(d) = d {
                    warp.set_word(d, &[leader; 32], m);
                }
            }
            Op::ActiveMask { d } => self.warps[at.w].set_word(d, &[m; 32], m),
            Op::WarpSync { members } => return self.warp_sync(at, members),
            _ => unreachable!("not an exchange"),
        }
        Flow::Next
    }

    /// Lanes may come from different groups; the last to arrive releases all.
    fn warp_sync(&mut self, at: At, members: Val) -> Flow {
        let warp = &mut self.warps[at.w];
        let named = warp.first(members, at.mask) as u32;
        let waiting = State::Members(named);
        let have = warp.groups.iter().filter(|g| g.state == waiting).fold(at.mask, |m, g| m | g.mask);
        let absent = named & !have;
        if absent & warp.live != absent || at.mask & !named != 0 {
            let message = format!(
                "bar.warp.sync of lanes {named:#010x} is executed by lanes {:#010x}, and {:#010x} have exited",
                at.mask, !warp.live
            );
            self.report(FindingKind::Divergence, at, None, message, None);
            return Flow::Next;
        }
        if absent != 0 {
            return Flow::Block(waiting);
        }
        if named == warp.live {
            warp.unfenced = 0;
        }
        let mine = at.mask.trailing_zeros();
        while let Some(g) = warp.groups.iter().position(|g| g.state == waiting && g.mask >> mine & 1 == 0) {
            warp.advance(g);
        }
        // Groups may have merged and moved, so the caller must not go on with its index.
        Flow::Next
    }
}
