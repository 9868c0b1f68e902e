//! Control flow: basic blocks, registers read before they are written, post-dominators.
//!
//! In: a kernel. Out: [`Flow`], and errors for labels that are missing or double. A guarded write counts as a write:
//! the reader is usually under the same guard, and telling the two apart would need the predicates' values.

use super::{CheckError, CheckErrorKind, RegSet};
use crate::inst::Inst;
use crate::kernel::{Item, Kernel};
use crate::spell::spell;
use crate::types::RegId;
use std::collections::BTreeMap;

/// A straight piece of code.
pub(super) struct Block {
    /// Items `start..end`.
    pub start: usize,
    pub end: usize,
    /// Blocks that may come next; empty where the thread ends.
    pub next: Vec<usize>,
}

/// The control-flow graph.
pub(super) struct Flow {
    pub blocks: Vec<Block>,
    before: Vec<Vec<usize>>,
}

impl Flow {
    /// The graph, or `None` if labels are wrong.
    pub fn of(kernel: &Kernel, errors: &mut Vec<CheckError>) -> Option<Flow> {
        let mut places = BTreeMap::new();
        let mut sound = true;
        for (at, item) in kernel.items.iter().enumerate() {
            if let Item::Label(label) = item
                && places.insert(*label, at).is_some()
            {
                sound = false;
                let label = kernel.label_name(*label);
                errors.push(CheckError::at(kernel, at, CheckErrorKind::LabelTwice { label }));
            }
        }
        for (at, item) in kernel.items.iter().enumerate() {
            if let Item::Inst { inst: Inst::Bra { to }, .. } = item
                && !places.contains_key(to)
            {
                sound = false;
                let label = kernel.label_name(*to);
                errors.push(CheckError::at(kernel, at, CheckErrorKind::LabelMissing { label }));
            }
        }
        if !sound {
            return None;
        }

        // Blocks begin at labels and after jumps.
        let mut starts = vec![0];
        for (at, item) in kernel.items.iter().enumerate() {
            match item {
                Item::Label(_) => starts.push(at),
                Item::Inst { inst: Inst::Bra { .. } | Inst::Ret | Inst::Exit, .. } => starts.push(at + 1),
                _ => {}
            }
        }
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|s| *s < kernel.items.len());
        let block_of = |at: usize| starts.partition_point(|s| *s <= at) - 1;
        let mut blocks = Vec::new();
        for (i, &start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(kernel.items.len());
            let fall = (end < kernel.items.len()).then_some(i + 1);
            let next = match &kernel.items[end - 1] {
                Item::Inst { guard, inst: Inst::Bra { to } } => {
                    let target = block_of(places[to]);
                    if guard.is_some() { fall.into_iter().chain([target]).collect() } else { vec![target] }
                }
                Item::Inst { guard: None, inst: Inst::Ret | Inst::Exit } => Vec::new(),
                _ => fall.into_iter().collect(),
            };
            blocks.push(Block { start, end, next });
        }
        let mut before = vec![Vec::new(); blocks.len()];
        for (i, block) in blocks.iter().enumerate() {
            for &n in &block.next {
                before[n].push(i);
            }
        }
        let flow = Flow { blocks, before };
        let falls_off = flow.blocks.iter().any(|b| {
            b.next.is_empty()
                && !matches!(
                    kernel.items[b.end - 1],
                    Item::Inst { inst: Inst::Ret | Inst::Exit | Inst::Bra { .. }, .. }
                )
        });
        if falls_off || flow.blocks.is_empty() {
            let what =
                "the code runs past its end: the last instruction must be ret, exit or a jump".to_owned();
            errors.push(CheckError::whole(kernel, CheckErrorKind::Frame { what }));
        }
        Some(flow)
    }

    /// Reports registers that are read before every path has written them, once each.
    pub fn undefined(&self, kernel: &Kernel, errors: &mut Vec<CheckError>) {
        let registers = kernel.regs.len();
        let blocks = self.blocks.len();
        let accesses: Vec<Vec<(usize, RegId, bool)>> =
            self.blocks.iter().map(|b| accesses(kernel, b)).collect();
        let mut out = vec![RegSet::full(registers); blocks];
        let entry = |i: usize, out: &[RegSet]| {
            if i == 0 {
                return RegSet::empty(registers);
            }
            let mut set = RegSet::full(registers);
            for &p in &self.before[i] {
                set.intersect(&out[p]);
            }
            set
        };
        let mut changed = true;
        while changed {
            changed = false;
            for i in 0..blocks {
                let mut set = entry(i, &out);
                for (_, r, _) in accesses[i].iter().filter(|(_, _, writes)| *writes) {
                    set.insert(*r);
                }
                if set != out[i] {
                    out[i] = set;
                    changed = true;
                }
            }
        }
        let mut reported = RegSet::empty(registers);
        for (i, accesses) in accesses.iter().enumerate() {
            // Blocks that nothing reaches keep the full set and report nothing.
            let mut set = entry(i, &out);
            for &(at, r, writes) in accesses {
                if writes {
                    set.insert(r);
                } else if !set.contains(r) && reported.insert(r) {
                    let register = kernel.register_name(r);
                    errors.push(CheckError::at(kernel, at, CheckErrorKind::Undefined { register }));
                }
            }
        }
    }

    /// For each block the nearest block that every path from it to the end passes, if there is one.
    pub fn post_dominators(&self) -> Vec<Option<usize>> {
        // Sets of post-dominators by iteration; kernels have some dozens of blocks.
        let n = self.blocks.len();
        let all: Vec<bool> = vec![true; n];
        let mut post: Vec<Vec<bool>> = vec![all; n];
        let mut changed = true;
        while changed {
            changed = false;
            for i in (0..n).rev() {
                let mut set = match self.blocks[i].next.split_first() {
                    None => vec![false; n],
                    Some((first, rest)) => {
                        let mut set = post[*first].clone();
                        for r in rest {
                            for (a, b) in set.iter_mut().zip(&post[*r]) {
                                *a &= *b;
                            }
                        }
                        set
                    }
                };
                set[i] = true;
                if set != post[i] {
                    post[i] = set;
                    changed = true;
                }
            }
        }
        (0..n)
            .map(|i| {
                // The nearest is the one that has the most post-dominators itself.
                (0..n)
                    .filter(|&j| j != i && post[i][j])
                    .max_by_key(|&j| post[j].iter().filter(|p| **p).count())
            })
            .collect()
    }
}

/// Registers in the order they are read and written: `(item, register, writes)`, reads of an instruction first.
fn accesses(kernel: &Kernel, block: &Block) -> Vec<(usize, RegId, bool)> {
    let mut out = Vec::new();
    for at in block.start..block.end {
        let Item::Inst { guard, inst } = &kernel.items[at] else { continue };
        let mut writes = Vec::new();
        out.extend(guard.map(|g| (at, g.pred, false)));
        spell(inst).registers(|r, written, read| {
            if read {
                out.push((at, r, false));
            }
            if written {
                writes.push((at, r, true));
            }
        });
        out.append(&mut writes);
    }
    out
}
