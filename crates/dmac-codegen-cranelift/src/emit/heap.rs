//! Heaps and top lists in a worker's scratch memory.
//!
//! Input → output: the heap statements → calls of the selection micro-kernels. Each row of a heap is its length (8 bytes)
//! and its entries (8 bytes each): as many as its capacity where single elements are pushed, about twice as many where
//! rows are offered, because the list is cut down only when it is full.

use super::{ACCESS, Emitter, WORD};
use crate::plan::HeapUse;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use dmac_cpu_kernels::Kernel as Micro;
use dmac_ir::Ties;
use dmac_schedule::kernel::{Expr, Heap, HeapId, TensorId, TileId, VarId};

/// Where a heap lies.
#[derive(Clone, Copy)]
pub(crate) struct HeapPlace {
    address: Value,
    capacity: Value,
    /// Entries that there is room for in a row.
    room: Value,
    /// Bytes of a row.
    row: Value,
}

impl Emitter<'_, '_, '_> {
    /// The sizes of a heap: capacity, room and bytes of a row.
    fn heap_sizes(&mut self, heap: &Heap, kind: HeapUse) -> (Value, Value, Value) {
        let capacity = self.scalar(&heap.capacity);
        let zero = self.int(0);
        let capacity = self.b.ins().smax(capacity, zero);
        let room = match kind {
            HeapUse::Push => capacity,
            HeapUse::Offer => {
                let twice = self.scaled(capacity, 2);
                self.add_const(twice, 64)
            }
        };
        let row = self.scaled(room, 8);
        let row = self.add_const(row, 8);
        (capacity, room, row)
    }

    /// Bytes of a kernel's heaps for one worker.
    pub(crate) fn heap_bytes(&mut self, heaps: &[Heap], uses: &[HeapUse]) -> Value {
        let mut total = self.int(0);
        for (heap, kind) in heaps.iter().zip(uses) {
            let (_, _, row) = self.heap_sizes(heap, *kind);
            let bytes = self.scaled(row, heap.rows as i64);
            total = self.b.ins().iadd(total, bytes);
        }
        total
    }

    /// Finds the heaps of a kernel behind its tiles.
    pub(crate) fn place_heaps(&mut self) {
        let (kernel, plan) = (self.kernel(), self.plan());
        if kernel.heaps.is_empty() {
            return;
        }
        let scratch = self.scratch.expect("codegen: heaps occur in kernels only");
        let mut address = self.add_const(scratch, plan.bytes as i64);
        for (heap, kind) in kernel.heaps.iter().zip(&plan.heaps) {
            let (capacity, room, row) = self.heap_sizes(heap, *kind);
            self.heaps.push(HeapPlace { address, capacity, room, row });
            let bytes = self.scaled(row, heap.rows as i64);
            address = self.b.ins().iadd(address, bytes);
        }
    }

    /// A heap's place and the address of one of its rows.
    fn heap_row(&mut self, heap: HeapId, row: &Expr) -> (HeapPlace, Value) {
        let place = self.heaps[heap.0 as usize];
        let row = self.scalar(row);
        let offset = self.b.ins().imul(row, place.row);
        (place, self.b.ins().iadd(place.address, offset))
    }

    fn ties(&mut self, heap: HeapId) -> Value {
        let ties = self.kernel().heaps[heap.0 as usize].ties;
        self.int32(i32::from(ties == Ties::High))
    }

    pub(crate) fn heap_clear(&mut self, heap: HeapId, row: &Expr) {
        self.fresh(|e| {
            let (_, row) = e.heap_row(heap, row);
            let zero = e.int(0);
            e.b.ins().store(ACCESS, zero, row, 0);
        });
    }

    pub(crate) fn heap_push(&mut self, heap: HeapId, row: &Expr, score: &Expr, index: &Expr, evicted: VarId) {
        let out = self.fresh(|e| {
            let score = e.scalar(score);
            let index = e.scalar(index);
            let index = e.as_i32(index);
            let (place, row) = e.heap_row(heap, row);
            let entries = e.add_const(row, 8);
            let length = e.b.ins().load(WORD, ACCESS, row, 0);
            let small = e.small();
            e.b.ins().store(ACCESS, score, small, 0);
            let out = e.add_const(small, 16);
            let (one, ties) = (e.int(1), e.ties(heap));
            let args = [entries, length, place.capacity, small, one, index, ties, out];
            let length = e.call(Micro::heap_push, &args).expect("codegen: pushing gives the new length");
            e.b.ins().store(ACCESS, length, row, 0);
            e.b.ins().load(types::I32, ACCESS, small, 16)
        });
        let out = self.b.ins().sextend(WORD, out);
        self.set(evicted, out);
    }

    pub(crate) fn heap_offer(
        &mut self,
        heap: HeapId,
        row: &Expr,
        (scores, valid): (TileId, TileId),
        first: &Expr,
        cols: &Expr,
    ) {
        self.fresh(|e| {
            let (place, at) = e.heap_row(heap, row);
            let entries = e.add_const(at, 8);
            let length = e.b.ins().load(WORD, ACCESS, at, 0);
            let (tile_row, zero) = (e.scalar(row), e.int(0));
            let scores = e.tile_address(scores, tile_row, zero);
            let valid = e.tile_address(valid, tile_row, zero);
            let first = e.scalar(first);
            let (first, cols) = (e.as_i32(first), e.scalar(cols));
            let ties = e.ties(heap);
            let args = [entries, length, place.capacity, place.room, scores, valid, cols, first, ties];
            let length = e.call(Micro::top_push, &args).expect("codegen: offering gives the new length");
            e.b.ins().store(ACCESS, length, at, 0);
        });
    }

    pub(crate) fn heap_store(
        &mut self,
        heap: HeapId,
        row: &Expr,
        tensor: TensorId,
        index: &[Expr],
        count: VarId,
    ) {
        let stored = self.fresh(|e| {
            let (place, at) = e.heap_row(heap, row);
            let entries = e.add_const(at, 8);
            let length = e.b.ins().load(WORD, ACCESS, at, 0);
            let slots: Vec<Expr> = index.iter().cloned().chain([Expr::Int(0)]).collect();
            let to = e.address(tensor, &slots);
            let ties = e.ties(heap);
            e.call(Micro::top_finish, &[entries, length, place.capacity, ties, to])
                .expect("codegen: finishing gives a count")
        });
        self.set(count, stored);
    }
}
