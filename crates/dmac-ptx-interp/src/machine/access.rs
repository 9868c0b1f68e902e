//! Addresses, loads, stores and atomics.

use super::store::Place;
use super::{At, Unit};
use crate::finding::FindingKind;
use crate::launch::{PARAM_WINDOW, SHARED_BASE, SHARED_WINDOW};
use crate::op::{Addr, AtomOp, Op, Order, Reg, Space, Val};
use crate::sanitize::{Flags, GlobalAccess};
use crate::types::Ty;

impl Unit<'_> {
    /// The active lanes with their addresses.
    pub(super) fn lanes(&mut self, at: At, a: Addr) -> Vec<(u32, u64)> {
        let warp = &mut self.warps[at.w];
        let base = warp.get64(a.base, at.mask);
        let narrow = matches!(a.base, Val::W(_));
        (0..32u32)
            .filter(|l| at.mask >> l & 1 != 0)
            .map(|l| {
                let sum = base[l as usize].wrapping_add(a.offset as u64);
                (l, if narrow { u64::from(sum as u32) } else { sum })
            })
            .collect()
    }

    /// The block and address in its shared memory that `address` means.
    pub(super) fn shared_target(
        &mut self,
        at: At,
        lane: u32,
        address: u64,
        space: Space,
    ) -> Option<(usize, u32)> {
        if let Some(Place::Shared { cta, address }) = self.place(at, address, space) {
            return Some((cta, address));
        }
        let message = format!("{address:#x} is not an address in shared memory");
        self.report(FindingKind::OutOfBounds, at, Some(lane), message, None);
        None
    }

    /// What an address means in a state space.
    pub(super) fn place(&self, at: At, address: u64, space: Space) -> Option<Place> {
        let own = self.warps[at.w].cta;
        let shared = |cluster: u64| {
            let rank = cluster >> 24;
            let cta = if rank == 0 { own } else { rank as usize - 1 };
            (cta < self.ctas.len()).then_some(Place::Shared { cta, address: cluster as u32 & 0xFF_FFFF })
        };
        match space {
            Space::Shared => {
                (address < 1 << 24).then_some(Place::Shared { cta: own, address: address as u32 })
            }
            Space::SharedCluster => shared(address & 0xFFFF_FFFF),
            Space::Param => Some(Place::Param(address)),
            Space::Generic if (SHARED_WINDOW..SHARED_WINDOW + (1 << 32)).contains(&address) => {
                shared(address - SHARED_WINDOW)
            }
            Space::Generic if (PARAM_WINDOW..PARAM_WINDOW + (1 << 16)).contains(&address) => {
                Some(Place::Param(address - PARAM_WINDOW))
            }
            Space::Global | Space::Generic => Some(Place::Global(address)),
        }
    }

    pub(super) fn address_op(&mut self, at: At, op: &Op) {
        let m = at.mask;
        let own = self.warps[at.w].cta as u64;
        let warp = &mut self.warps[at.w];
        match *op {
            Op::Cvta { d, a, space, to_space } => {
                let window = match space {
                    Space::Shared | Space::SharedCluster => SHARED_WINDOW,
                    Space::Param => PARAM_WINDOW,
                    Space::Global | Space::Generic => 0,
                };
                let v = warp
                    .get64(a, m)
                    .map(|x| if to_space { x.wrapping_sub(window) } else { x.wrapping_add(window) });
                warp.set64(d, &v, m);
            }
            Op::IsSpace { d, a, space } => {
                let v = warp.get64(a, m);
                let window = |x: u64| match x {
                    x if (SHARED_WINDOW..SHARED_WINDOW + (1 << 32)).contains(&x) => Space::Shared,
                    x if (PARAM_WINDOW..PARAM_WINDOW + (1 << 16)).contains(&x) => Space::Param,
                    _ => Space::Global,
                };
                let space = if space == Space::SharedCluster { Space::Shared } else { space };
                let bits = (0..32).fold(0, |b, l| b | u32::from(window(v[l]) == space) << l);
                warp.set_pred(d, bits, m);
            }
            Op::Mapa { d, a, rank, generic } => {
                let (v, r) = (warp.get64(a, m), warp.get(rank, m));
                let base = if generic { SHARED_WINDOW } else { 0 };
                let out = std::array::from_fn(|l| base + ((u64::from(r[l]) + 1) << 24 | (v[l] & 0xFF_FFFF)));
                warp.set64(d, &out, m);
            }
            Op::GetCtaRank { d, a, generic } => {
                let v = warp.get64(a, m);
                let out = v.map(|x| {
                    let x = if generic { x.wrapping_sub(SHARED_WINDOW) } else { x };
                    match x >> 24 & 0xFF {
                        0 => own as u32,
                        r => r as u32 - 1,
                    }
                });
                warp.set_word(d, &out, m);
            }
            _ => unreachable!("not an address operation"),
        }
    }

    /// Reports a misaligned access.
    pub(super) fn aligned(&mut self, at: At, lane: u32, address: u64, bytes: u32) -> bool {
        if address.is_multiple_of(u64::from(bytes)) {
            return true;
        }
        let message = format!("address {address:#x} is not aligned to the {bytes} bytes of the access");
        self.report(FindingKind::Misaligned, at, Some(lane), message, None);
        false
    }

    pub(super) fn load(&mut self, at: At, op: &Op) {
        let Op::Ld { space, ty, order, nc, ref d, a } = *op else { unreachable!("not a load") };
        let each = ty.bytes();
        let bytes = each * d.len() as u32;
        let flags = Flags { strong: order.strong(), ..Flags::default() };
        let mut out = vec![[0u64; 32]; d.len()];
        if order.strong() && matches!(space, Space::Global | Space::Generic) {
            self.polls += 1;
        }
        for (lane, address) in self.lanes(at, a) {
            if !self.aligned(at, lane, address, bytes) {
                continue;
            }
            let Some(place) = self.place(at, address, space) else {
                self.out_of_bounds(at, lane, address);
                continue;
            };
            let mut raw = [0u8; 32];
            let raw = &mut raw[..bytes as usize];
            if !self.read_place(at, lane, place, raw, flags, nc) {
                continue;
            }
            if order.strong() {
                self.observe(at, place, order);
            }
            for (i, part) in raw.chunks_exact(each as usize).enumerate() {
                let mut x = [0u8; 8];
                x[..part.len()].copy_from_slice(part);
                out[i][lane as usize] = super::alu::extend(u64::from_le_bytes(x), ty);
            }
        }
        for (d, v) in d.iter().zip(&out) {
            match d {
                Some(d @ Reg::W(_)) => self.warps[at.w].set64(*d, &v.map(|x| x & 0xFFFF_FFFF), at.mask),
                Some(d) => self.warps[at.w].set64(*d, v, at.mask),
                None => {}
            }
        }
    }

    pub(super) fn store(&mut self, at: At, op: &Op) {
        let Op::St { space, ty, order, a, ref s } = *op else { unreachable!("not a store") };
        let each = ty.bytes();
        let bytes = each * s.len() as u32;
        let flags = Flags { strong: order.strong(), ..Flags::default() };
        let values: Vec<_> = s.iter().map(|v| self.warps[at.w].get64(*v, at.mask)).collect();
        for (lane, address) in self.lanes(at, a) {
            if !self.aligned(at, lane, address, bytes) {
                continue;
            }
            let Some(place) = self.place(at, address, space) else {
                self.out_of_bounds(at, lane, address);
                continue;
            };
            let mut raw = [0u8; 32];
            for (part, v) in raw.chunks_exact_mut(each as usize).zip(&values) {
                part.copy_from_slice(&v[lane as usize].to_le_bytes()[..each as usize]);
            }
            if order.strong() {
                // Before the value: who sees it on another host thread must find the knowledge too.
                self.publish(at, place, order);
            }
            self.write_place(at, lane, place, &raw[..bytes as usize], flags);
        }
        if order.strong() {
            self.release(at.w);
        }
    }

    pub(super) fn out_of_bounds(&mut self, at: At, lane: u32, address: u64) {
        let message = format!("address {address:#x} is in no state space");
        self.report(FindingKind::OutOfBounds, at, Some(lane), message, None);
    }

    /// A strong load: learn at once, or at the next fence.
    pub(super) fn observe(&mut self, at: At, place: Place, order: Order) {
        if !self.sanitize {
            return;
        }
        let known = match place {
            Place::Shared { cta, address } => self.locations.get(&(cta, address)).cloned(),
            Place::Global(address) => {
                self.run.global.as_ref().and_then(|g| g.acquire(address, self.number + 1))
            }
            Place::Param(_) => None,
        };
        let Some(known) = known else { return };
        let warp = &mut self.warps[at.w];
        if order.acquires() {
            warp.know.join(&known);
        } else {
            warp.observed.get_or_insert_default().join(&known);
        }
    }

    /// A strong store: pass on what is known, or what was known at the last fence.
    pub(super) fn publish(&mut self, at: At, place: Place, order: Order) {
        if !self.sanitize {
            return;
        }
        if order.releases() {
            self.release(at.w);
        }
        let warp = &self.warps[at.w];
        let know = if order.releases() { Some(&warp.know) } else { warp.fenced.as_deref() };
        let Some(know) = know else { return };
        match place {
            Place::Shared { cta, address } => self.locations.entry((cta, address)).or_default().join(know),
            Place::Global(address) => {
                if let Some(g) = &self.run.global {
                    g.release(address, self.number + 1, know);
                }
            }
            Place::Param(_) => {}
        }
    }

    pub(super) fn atomic(&mut self, at: At, op: &Op) {
        let Op::Atom { op, space, ty, order, ref d, a, ref b, c } = *op else {
            unreachable!("not an atomic")
        };
        let each = ty.bytes();
        let bytes = each * b.len() as u32;
        let warp = &mut self.warps[at.w];
        let values: Vec<_> = b.iter().map(|v| warp.get64(*v, at.mask)).collect();
        let third = c.map(|c| warp.get64(c, at.mask));
        let mut old = vec![[0u64; 32]; d.len()];
        let mut lanes = self.lanes(at, a);
        // Lanes of one instruction take effect in no particular order.
        for i in (1..lanes.len()).rev() {
            lanes.swap(i, self.rng.below(i + 1));
        }
        for (lane, address) in lanes {
            if !self.aligned(at, lane, address, bytes) {
                continue;
            }
            let l = lane as usize;
            for (i, v) in values.iter().enumerate() {
                let address = address + u64::from(each) * i as u64;
                let Some(place) = self.place(at, address, space) else {
                    self.out_of_bounds(at, lane, address);
                    continue;
                };
                let third = third.as_ref().map(|t| t[l]);
                let f = |x: u64| combine(op, ty, x, v[l], third);
                self.publish(at, place, order);
                let Some(before) = self.update_place(at, lane, place, each, &f) else { continue };
                if let Some(out) = old.get_mut(i) {
                    out[l] = before;
                }
                self.observe(at, place, order);
            }
        }
        for (d, v) in d.iter().zip(&old) {
            if let Some(d) = d {
                self.warps[at.w].set64(*d, v, at.mask);
            }
        }
    }

    /// Checks one global access against the shadow; the range lies in the allocation.
    pub(super) fn touch_global(&mut self, at: At, lane: u32, access: &GlobalAccess) {
        let Some(shadow) = &self.run.global else { return };
        let Some(c) = shadow.access(access, &self.warps[at.w].know) else { return };
        let what = |w: bool| if w { "write" } else { "read" };
        let message = if access.read_only && c.other_writes && c.other.cluster == self.number + 1 {
            format!(
                "a read-only load of byte {} of allocation {} that this kernel wrote",
                c.offset, access.allocation
            )
        } else {
            format!(
                "this {} of byte {} of allocation {} and a {} by {} are not ordered",
                what(access.writes),
                c.offset,
                access.allocation,
                what(c.other_writes),
                if c.other.cluster == self.number + 1 { "another warp" } else { "another thread block" }
            )
        };
        let run = self.run;
        let warp = &self.warps[at.w];
        let here = run.site(at.pc, self.ctas[warp.cta].coords, warp.env.warp, Some(lane));
        let nwarps = self.ctas[0].warps.len() as u32;
        run.report(FindingKind::Race, (at.pc, c.other.pc), || {
            let per_axis: [u32; 3] = std::array::from_fn(|i| run.grid[i] / run.cluster[i]);
            let unit = c.other.cluster - 1;
            let rank = c.other.warp / nwarps;
            let place =
                [unit % per_axis[0], unit / per_axis[0] % per_axis[1], unit / (per_axis[0] * per_axis[1])];
            let inside = [
                rank % run.cluster[0],
                rank / run.cluster[0] % run.cluster[1],
                rank / (run.cluster[0] * run.cluster[1]),
            ];
            let coords = std::array::from_fn(|i| place[i] * run.cluster[i] + inside[i]);
            crate::finding::Finding {
                kind: FindingKind::Race,
                message,
                at: Some(Box::new(here)),
                other: Some(Box::new(run.site(c.other.pc, coords, c.other.warp % nwarps, None))),
            }
        });
    }

    /// Where an allocation-relative address lies, for messages.
    pub(super) fn shared_byte(address: u32) -> i64 {
        i64::from(address) - i64::from(SHARED_BASE)
    }
}

/// The new value of an atomic operation; `x` is the old one.
pub(super) fn combine(op: AtomOp, ty: Ty, x: u64, v: u64, third: Option<u64>) -> u64 {
    use super::float::{decode, narrow};
    use crate::op::Round;
    let bits = ty.bits();
    if ty.floating() {
        return match ty {
            Ty::F64 => (f64::from_bits(x) + f64::from_bits(v)).to_bits(),
            Ty::F32 => u64::from((f32::from_bits(x as u32) + f32::from_bits(v as u32)).to_bits()),
            Ty::F16x2 | Ty::Bf16x2 => {
                let half = |s: u32| {
                    let (a, b) = ((x >> s) as u32 & 0xFFFF, (v >> s) as u32 & 0xFFFF);
                    u64::from(narrow(decode(a, ty) + decode(b, ty), ty, Round::Nearest)) << s
                };
                half(0) | half(16)
            }
            _ => u64::from(narrow(decode(x as u32, ty) + decode(v as u32, ty), ty, Round::Nearest)),
        };
    }
    let (a, b) = (super::alu::extend(x, ty), super::alu::extend(v, ty));
    let signed = ty.signed();
    let r = match op {
        AtomOp::Add => a.wrapping_add(b),
        AtomOp::Min if signed => (a as i64).min(b as i64) as u64,
        AtomOp::Max if signed => (a as i64).max(b as i64) as u64,
        AtomOp::Min => a.min(b),
        AtomOp::Max => a.max(b),
        AtomOp::Inc => {
            if a >= b {
                0
            } else {
                a + 1
            }
        }
        AtomOp::Dec => {
            if a == 0 || a > b {
                b
            } else {
                a - 1
            }
        }
        AtomOp::And => a & b,
        AtomOp::Or => a | b,
        AtomOp::Xor => a ^ b,
        AtomOp::Exch => b,
        AtomOp::Cas => {
            if a == b {
                third.unwrap_or(a)
            } else {
                a
            }
        }
    };
    super::alu::truncate(r, bits)
}
