//! Bulk copies between global and shared memory: one-dimensional ones and tiles of tensor maps.

use super::copy::{Chunk, Load, Pending, Source, Store};
use super::{At, Unit};
use crate::finding::FindingKind;
use crate::op::{Addr, Op, RedOp, Space, Tensor, Val};
use crate::sanitize::{AccessId, Flags};
use crate::tensor_map::{TensorElement, TensorMap};
use crate::types::Ty;

const BULK: Flags = Flags { asynchronous: true, async_proxy: true, strong: false };

/// One contiguous row of a box: its offset in the box, and where its valid bytes lie.
struct Row {
    /// Byte offset of the row in the unswizzled box.
    offset: u32,
    /// Global address of the first valid byte.
    address: u64,
    /// Valid bytes `lo..hi` of the row.
    lo: u32,
    hi: u32,
}

/// The rows of the box at `coords`; `lo == hi` where the row lies outside the tensor.
fn rows(map: &TensorMap, coords: &[i64]) -> Vec<Row> {
    let esz = map.element.bytes() as i64;
    let inner = i64::from(map.box_dims[0]);
    let lo = (-coords[0]).clamp(0, inner);
    let hi = (map.dims[0] as i64 - coords[0]).clamp(lo, inner);
    let count: u64 = map.box_dims[1..].iter().map(|b| u64::from(*b)).product();
    (0..count)
        .map(|i| {
            let mut rest = i;
            let mut address = (map.buffer.address() + map.offset) as i64 + (coords[0] + lo) * esz;
            let mut inside = hi > lo;
            let outer = map.dims.iter().zip(&map.box_dims).zip(coords).skip(1).zip(&map.strides);
            for (((dim, extent), coord), stride) in outer {
                let extent = u64::from(*extent);
                let x = coord + (rest % extent) as i64;
                rest /= extent;
                inside &= (0..*dim as i64).contains(&x);
                address += x.wrapping_mul(*stride as i64);
            }
            Row {
                offset: (i as i64 * inner * esz) as u32,
                address: address as u64,
                lo: if inside { (lo * esz) as u32 } else { 0 },
                hi: if inside { (hi * esz) as u32 } else { 0 },
            }
        })
        .collect()
}

fn element_type(e: TensorElement) -> Ty {
    match e {
        TensorElement::U8 => Ty::U8,
        TensorElement::U16 => Ty::U16,
        TensorElement::U32 => Ty::U32,
        TensorElement::S32 => Ty::S32,
        TensorElement::U64 => Ty::U64,
        TensorElement::F16 => Ty::F16,
        TensorElement::Bf16 => Ty::Bf16,
        TensorElement::F32 => Ty::F32,
        TensorElement::F64 => Ty::F64,
    }
}

impl Unit<'_> {
    fn bad(&mut self, at: At, lane: u32, message: impl Into<String>) {
        self.report(FindingKind::BadOperand, at, Some(lane), message, None);
    }

    /// The tensor map and coordinates of one lane.
    fn tensor(&mut self, at: At, lane: u32, tensor: &Tensor) -> Option<(TensorMap, Vec<i64>)> {
        let address = self.lanes(at, tensor.map).into_iter().find(|(l, _)| *l == lane)?.1;
        let coords: Vec<i64> = tensor
            .coords
            .iter()
            .map(|c| i64::from(self.warps[at.w].get(*c, 1 << lane)[lane as usize] as i32))
            .collect();
        let Some(map) = self.run.maps.get(&address).cloned() else {
            self.bad(at, lane, format!("{address:#x} is not the address of a tensor map of this launch"));
            return None;
        };
        if map.dims.len() != coords.len() {
            let message =
                format!("{} coordinates for a tensor map of {} dimensions", coords.len(), map.dims.len());
            self.bad(at, lane, message);
            return None;
        }
        let inner = coords[0] * map.element.bytes() as i64;
        if inner % 16 != 0 {
            let message = format!(
                "the innermost coordinate {} is {inner} bytes, no multiple of 16: the hardware stops with an illegal \
                 instruction",
                coords[0]
            );
            self.report(FindingKind::Misaligned, at, Some(lane), message, None);
            return None;
        }
        Some((map, coords))
    }

    /// Blocks that receive a copy, by rank in the cluster.
    fn receivers(&mut self, at: At, lane: u32, own: usize, mask: Option<Val>) -> Vec<usize> {
        let Some(mask) = mask else { return vec![own] };
        let bits = self.warps[at.w].get(mask, 1 << lane)[lane as usize] & 0xFFFF;
        let n = self.ctas.len();
        if bits >> n != 0 {
            self.bad(at, lane, format!("the multicast mask {bits:#x} names blocks that the cluster lacks"));
        }
        (0..n).filter(|r| bits >> r & 1 != 0).collect()
    }

    pub(super) fn bulk_load(&mut self, at: At, op: &Op) {
        let lanes: Vec<u32> = (0..32).filter(|l| at.mask >> l & 1 != 0).collect();
        for lane in lanes {
            match op {
                Op::TensorLoad { dst, tensor, bar, mask } => {
                    self.tensor_load(at, lane, (*dst, *bar), tensor, *mask);
                }
                Op::BulkLoad { dst, src, bytes, bar, mask } => {
                    self.linear_load(at, lane, (*dst, *bar), (*src, *bytes), (Space::Global, *mask));
                }
                Op::BulkShared { dst, src, bytes, bar } => {
                    self.linear_load(at, lane, (*dst, *bar), (*src, *bytes), (Space::Shared, None));
                }
                _ => unreachable!("not a bulk load"),
            }
        }
    }

    fn lane_address(&mut self, at: At, lane: u32, a: Addr) -> u64 {
        self.lanes(At { mask: 1 << lane, ..at }, a).first().map_or(0, |x| x.1)
    }

    /// Destination and mbarrier of a load: block, address, mbarrier address.
    fn load_target(
        &mut self,
        at: At,
        lane: u32,
        (dst, bar): (Addr, Addr),
        align: u32,
    ) -> Option<(usize, u32, (usize, u32))> {
        let d = self.lane_address(at, lane, dst);
        let b = self.lane_address(at, lane, bar);
        let (cta, address) = self.shared_target(at, lane, d, Space::SharedCluster)?;
        let bar = self.shared_target(at, lane, b, Space::SharedCluster)?;
        if !self.aligned(at, lane, u64::from(address), align) {
            return None;
        }
        Some((cta, address, bar))
    }

    fn queue_load(
        &mut self,
        at: At,
        lane: u32,
        cta: usize,
        mut chunks: Vec<Chunk>,
        fill: [u8; 16],
        bar: u32,
    ) {
        let bytes = chunks.iter().map(|c| i64::from(c.len)).sum();
        let id = self.access(at, BULK);
        for c in &mut chunks {
            c.op = id;
        }
        self.remember_load(cta, id, at.pc);
        self.issue_load(Load { op: id, at, lane, cta, chunks, fill, bar: Some(bar), bytes });
    }

    fn tensor_load(&mut self, at: At, lane: u32, to: (Addr, Addr), tensor: &Tensor, mask: Option<Val>) {
        let Some((map, coords)) = self.tensor(at, lane, tensor) else { return };
        let Some((own, address, (bar_cta, bar_address))) = self.load_target(at, lane, to, 128) else {
            return;
        };
        let row_bytes = u64::from(map.box_dims[0]) * map.element.bytes();
        let total = map.box_bytes() as u32;
        let mut chunks = Vec::with_capacity(total as usize / 16);
        for row in rows(&map, &coords) {
            if row.hi > row.lo
                && !self.check_global(
                    at,
                    lane,
                    (row.address, u64::from(row.hi - row.lo)),
                    false,
                    Flags::default(),
                    false,
                )
            {
                return;
            }
            for q in (0..row_bytes as u32).step_by(16) {
                let (lo, hi) = (row.lo.clamp(q, q + 16), row.hi.clamp(q, q + 16));
                chunks.push(Chunk {
                    op: 0,
                    dst: map.swizzle.apply(address + row.offset + q),
                    len: 16,
                    lo: (lo - q) as u8,
                    hi: (hi - q).max(lo - q) as u8,
                    src: Source::Global(row.address + u64::from(lo - row.lo.min(lo))),
                });
            }
        }
        for cta in self.receivers(at, lane, own, mask) {
            if !self.shared_bounds(at, lane, cta, address, total) {
                continue;
            }
            let bar_cta = if mask.is_some() { cta } else { bar_cta };
            let Some(bar) = self.mbar_at(at, lane, bar_cta, bar_address) else { continue };
            self.mbar_async(at, bar);
            self.queue_load(at, lane, cta, chunks.clone(), map.fill(), bar);
        }
    }

    /// From global memory, or from the own block's shared memory.
    fn linear_load(
        &mut self,
        at: At,
        lane: u32,
        to: (Addr, Addr),
        (src, bytes): (Addr, Val),
        (from, mask): (Space, Option<Val>),
    ) {
        let s = self.lane_address(at, lane, src);
        let n = self.warps[at.w].get(bytes, 1 << lane)[lane as usize];
        let Some((own, address, (bar_cta, bar_address))) = self.load_target(at, lane, to, 16) else { return };
        if n == 0 || !n.is_multiple_of(16) {
            return self.bad(at, lane, format!("a bulk copy moves a multiple of 16 bytes, not {n}"));
        }
        if !self.aligned(at, lane, s, 16) {
            return;
        }
        let chunk = |i: u32, src: Source| Chunk { op: 0, dst: address + i, len: 16, lo: 0, hi: 16, src };
        let me = self.warps[at.w].cta;
        let chunks: Vec<Chunk> = if from == Space::Global {
            if !self.check_global(at, lane, (s, u64::from(n)), false, Flags::default(), false) {
                return;
            }
            (0..n).step_by(16).map(|i| chunk(i, Source::Global(s + u64::from(i)))).collect()
        } else {
            let Some((_, from)) = self.shared_target(at, lane, s, Space::Shared) else { return };
            if !self.shared_bounds(at, lane, me, from, n) {
                return;
            }
            (0..n).step_by(16).map(|i| chunk(i, Source::Shared { cta: me, address: from + i })).collect()
        };
        for cta in self.receivers(at, lane, own, mask) {
            if !self.shared_bounds(at, lane, cta, address, n) {
                continue;
            }
            let bar_cta = if mask.is_some() { cta } else { bar_cta };
            let Some(bar) = self.mbar_at(at, lane, bar_cta, bar_address) else { continue };
            self.mbar_async(at, bar);
            if let Source::Shared { address: from, .. } = chunks[0].src {
                // The copy reads its source until it completes.
                let id = self.access(at, BULK);
                self.shadow_read(at, lane, me, id, &[(from, n)]);
                self.mbar_completes(id, bar);
            }
            self.queue_load(at, lane, cta, chunks.clone(), [0; 16], bar);
        }
    }

    /// Registers reads by the asynchronous operation `id` in the shadow of `cta`.
    pub(super) fn shadow_read(&mut self, at: At, lane: u32, cta: usize, id: AccessId, ranges: &[(u32, u32)]) {
        let Some(shadow) = self.ctas[cta].shadow.as_mut() else { return };
        let know = &self.warps[at.w].know;
        let mut found = None;
        for &range in ranges {
            let hit = shadow.read(&mut self.history, id, (&know.clock, &know.proxy), range);
            found = found.or(hit);
        }
        if let Some((conflict, address)) = found {
            self.conflict(at, Some(lane), conflict, address, false);
        }
    }

    pub(super) fn bulk_store(&mut self, at: At, op: &Op) {
        match op {
            Op::TensorStore { tensor, src, red } => {
                for lane in (0..32).filter(|l| at.mask >> l & 1 != 0) {
                    self.tensor_store(at, lane, tensor, *src, *red);
                }
            }
            Op::BulkStore { dst, src, bytes, red } => {
                for lane in (0..32).filter(|l| at.mask >> l & 1 != 0) {
                    self.linear_store(at, lane, *dst, *src, *bytes, *red);
                }
            }
            Op::BulkCommit => {
                let s = &mut self.copies[at.w];
                let group = std::mem::take(&mut s.bulk_open);
                s.bulk_groups.push_back(group);
            }
            Op::BulkWait { pending, read } => self.bulk_wait(at, *pending, *read),
            _ => unreachable!("not a bulk store"),
        }
    }

    fn bulk_wait(&mut self, at: At, pending: u32, read: bool) {
        while self.copies[at.w].bulk_groups.len() > pending as usize {
            let group = self.copies[at.w].bulk_groups.pop_front().unwrap_or_default();
            for (op, lane) in group {
                // A group belongs to the thread that committed it; others wait for nothing.
                if at.mask >> lane & 1 == 0 {
                    continue;
                }
                self.land_op(op);
                self.history.complete(op, at.w as u32, self.warps[at.w].now);
            }
        }
        if !read {
            while let Some(i) = self
                .pending
                .iter()
                .position(|p| matches!(p, Pending::StoreWrite { at: from, .. } if from.w == at.w))
            {
                let p = self.pending.swap_remove(i);
                self.land(p);
            }
        }
    }

    fn queue_store(&mut self, at: At, lane: u32, pieces: Vec<(u32, u64, u8)>, red: Option<(RedOp, Ty)>) {
        let cta = self.warps[at.w].cta;
        let id = self.access(at, BULK);
        let ranges: Vec<(u32, u32)> = pieces.iter().map(|p| (p.0, u32::from(p.2))).collect();
        self.shadow_read(at, lane, cta, id, &ranges);
        self.copies[at.w].bulk_open.push((id, lane));
        self.pending.push(Pending::StoreRead(Box::new(Store { op: id, at, cta, pieces, red })));
    }

    fn tensor_store(&mut self, at: At, lane: u32, tensor: &Tensor, src: Addr, red: Option<RedOp>) {
        let Some((map, coords)) = self.tensor(at, lane, tensor) else { return };
        let s = self.lane_address(at, lane, src);
        let cta = self.warps[at.w].cta;
        let Some((_, address)) = self.shared_target(at, lane, s, Space::Shared) else { return };
        if !self.aligned(at, lane, u64::from(address), 128)
            || !self.shared_bounds(at, lane, cta, address, map.box_bytes() as u32)
        {
            return;
        }
        if let Some(c) = coords.iter().find(|c| **c < 0) {
            let message = format!("a store takes no negative coordinate such as {c}: the hardware stops");
            return self.bad(at, lane, message);
        }
        let inner = map.dims[0] * map.element.bytes();
        if !inner.is_multiple_of(16) && coords[0] + i64::from(map.box_dims[0]) > map.dims[0] as i64 {
            let message = format!(
                "the box hangs over the inner extent of {inner} bytes, no multiple of 16, and the hardware stores whole \
                 units of 16 bytes"
            );
            self.bad(at, lane, message);
        }
        let ty = element_type(map.element);
        let flags = Flags { strong: red.is_some(), ..Flags::default() };
        let mut pieces = Vec::new();
        for row in rows(&map, &coords) {
            if row.hi <= row.lo {
                continue;
            }
            if !self.check_global(at, lane, (row.address, u64::from(row.hi - row.lo)), true, flags, false) {
                return;
            }
            let mut q = row.lo;
            while q < row.hi {
                let end = row.hi.min((q / 16 + 1) * 16);
                let from = map.swizzle.apply(address + row.offset + q);
                pieces.push((from, row.address + u64::from(q - row.lo), (end - q) as u8));
                q = end;
            }
        }
        self.queue_store(at, lane, pieces, red.map(|op| (op, ty)));
    }

    fn linear_store(
        &mut self,
        at: At,
        lane: u32,
        dst: Addr,
        src: Addr,
        bytes: Val,
        red: Option<(RedOp, Ty)>,
    ) {
        let (d, s) = (self.lane_address(at, lane, dst), self.lane_address(at, lane, src));
        let n = self.warps[at.w].get(bytes, 1 << lane)[lane as usize];
        let cta = self.warps[at.w].cta;
        if n == 0 || !n.is_multiple_of(16) {
            return self.bad(at, lane, format!("a bulk copy moves a multiple of 16 bytes, not {n}"));
        }
        let Some((_, address)) = self.shared_target(at, lane, s, Space::Shared) else { return };
        let flags = Flags { strong: red.is_some(), ..Flags::default() };
        if !self.aligned(at, lane, u64::from(address), 16)
            || !self.aligned(at, lane, d, 16)
            || !self.shared_bounds(at, lane, cta, address, n)
            || !self.check_global(at, lane, (d, u64::from(n)), true, flags, false)
        {
            return;
        }
        let pieces = (0..n).step_by(16).map(|i| (address + i, d + u64::from(i), 16)).collect();
        self.queue_store(at, lane, pieces, red);
    }
}
