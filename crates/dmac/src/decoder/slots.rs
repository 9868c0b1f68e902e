//! The memory of a cache: slots that hold what the attention reads of a key.
//!
//! Each tensor is `[B, rows, capacity, own...]`, its used slots first; a slot that is freed takes over the last one, so the
//! compiled kernel sees one dense axis. Capacity doubles when it is needed and never shrinks.

use dmac_passes::decode::Along;
use dmac_runtime::{RunError, TensorView};
use dmac_schedule::kernel::Element;
use std::collections::BTreeMap;

/// One tensor.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The input that it is.
    pub name: String,
    element: Element,
    own: Vec<usize>,
    data: Vec<u8>,
}

impl Held {
    /// Bytes of one slot.
    fn width(&self) -> usize {
        self.own.iter().product::<usize>() * self.element.bytes()
    }
}

/// The slots of all rows.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    batch: usize,
    rows: usize,
    capacity: usize,
    pub held: Vec<Held>,
    /// For each batch element and row: the key in each used slot.
    keys: Vec<Vec<i64>>,
    /// The other way round.
    slot_of: Vec<BTreeMap<i64, usize>>,
}

/// Where the part of a key is in a tensor.
pub(super) struct Source<'a> {
    pub view: TensorView<'a>,
    pub axes: &'a [Along],
}

/// The row and key that a part is of.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub batch: usize,
    pub kv_head: usize,
    pub head: usize,
    pub key: usize,
}

impl Source<'_> {
    fn own(&self) -> Vec<usize> {
        let dims = self.view.dims().iter().zip(self.axes);
        dims.filter(|(_, along)| **along == Along::Own).map(|(&dim, _)| dim).collect()
    }

    fn copy(&self, part: Part, into: &mut [u8]) {
        let size = self.view.element().bytes();
        let mut start = 0;
        let mut own = Vec::new();
        for ((&dim, &stride), along) in self.view.dims().iter().zip(self.view.strides()).zip(self.axes) {
            match along {
                Along::Batch => start += part.batch * stride,
                Along::KvHead => start += part.kv_head * stride,
                Along::Head => start += part.head * stride,
                Along::Key => start += part.key * stride,
                Along::Own => own.push((dim, stride)),
            }
        }
        // The innermost axis is copied at once where it is contiguous.
        let run = match own.last() {
            Some(&(dim, 1)) => {
                own.pop();
                dim
            }
            _ => 1,
        };
        let mut index = vec![0; own.len()];
        for chunk in into.chunks_exact_mut((run * size).max(1)) {
            let at: usize = index.iter().zip(&own).map(|(at, (_, stride))| at * stride).sum();
            let from = (start + at) * size;
            chunk.copy_from_slice(&self.view.bytes()[from..from + run * size]);
            for axis in (0..own.len()).rev() {
                index[axis] += 1;
                if index[axis] < own[axis].0 {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

impl Slots {
    pub fn new(batch: usize, rows: usize, sources: &[(String, Source<'_>)]) -> Self {
        let held = sources.iter().map(|(name, source)| Held {
            name: name.clone(),
            element: source.view.element(),
            own: source.own(),
            data: Vec::new(),
        });
        Self {
            batch,
            rows,
            capacity: 0,
            held: held.collect(),
            keys: vec![Vec::new(); batch * rows],
            slot_of: vec![BTreeMap::new(); batch * rows],
        }
    }

    /// Slots in use, of the fullest row.
    pub fn used(&self) -> usize {
        self.keys.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The keys in the slots of a row.
    pub fn keys(&self, batch: usize, row: usize) -> &[i64] {
        &self.keys[batch * self.rows + row]
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.held.iter().map(|held| held.data.len()).sum()
    }

    /// Puts a key into a slot.
    pub fn insert(&mut self, row: usize, key: i64, sources: &[(String, Source<'_>)], part: Part) {
        let line = part.batch * self.rows + row;
        let slot = self.keys[line].len();
        if slot == self.capacity {
            self.grow((2 * self.capacity).max(16));
        }
        self.keys[line].push(key);
        self.slot_of[line].insert(key, slot);
        let at = line * self.capacity + slot;
        for (held, (_, source)) in self.held.iter_mut().zip(sources) {
            let width = held.width();
            source.copy(part, &mut held.data[at * width..(at + 1) * width]);
        }
    }

    /// Frees the slot of a key.
    pub fn remove(&mut self, batch: usize, row: usize, key: i64) {
        let line = batch * self.rows + row;
        let Some(slot) = self.slot_of[line].remove(&key) else { return };
        let last = self.keys[line].len() - 1;
        self.keys[line].swap_remove(slot);
        if slot == last {
            return;
        }
        self.slot_of[line].insert(self.keys[line][slot], slot);
        let first = line * self.capacity;
        for held in &mut self.held {
            let width = held.width();
            let from = (first + last) * width;
            held.data.copy_within(from..from + width, (first + slot) * width);
        }
    }

    fn grow(&mut self, capacity: usize) {
        for held in &mut self.held {
            let width = held.width();
            let mut data = vec![0; self.batch * self.rows * capacity * width];
            for line in 0..self.batch * self.rows {
                let used = self.keys[line].len() * width;
                let (from, to) = (line * self.capacity * width, line * capacity * width);
                data[to..to + used].copy_from_slice(&held.data[from..from + used]);
            }
            held.data = data;
        }
        self.capacity = capacity;
    }

    /// The used slots as tensors, each with its name.
    pub fn views(&self) -> Result<Vec<(&str, TensorView<'_>)>, RunError> {
        let used = self.used();
        let view = |held: &'_ Held| {
            let own: usize = held.own.iter().product();
            let mut dims = vec![self.batch, self.rows, used];
            let mut strides = vec![self.rows * self.capacity * own, self.capacity * own, own];
            let mut inner = own;
            for &dim in &held.own {
                inner /= dim.max(1);
                dims.push(dim);
                strides.push(inner.max(1));
            }
            (dims, strides)
        };
        self.held
            .iter()
            .map(|held| {
                let (dims, strides) = view(held);
                Ok((held.name.as_str(), TensorView::strided(held.element, &dims, &strides, &held.data)?))
            })
            .collect()
    }
}
