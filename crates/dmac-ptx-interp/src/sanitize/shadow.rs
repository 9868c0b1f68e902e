//! The shadow of one CTA's shared memory, and the check of an access against it.

use super::{AccessId, Clock, History};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Word {
    /// Last write.
    write: AccessId,
    /// Set of the reads since.
    reads: u32,
    /// Bytes that hold a value.
    init: u8,
    /// Bytes of the last write and of the reads.
    write_bytes: u8,
    read_bytes: u8,
    /// Part of an initialised mbarrier.
    mbarrier: bool,
}

/// Why an access is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    Uninitialized,
    /// With a write or read that nothing orders.
    Race {
        other: AccessId,
        other_writes: bool,
    },
    /// The other is an asynchronous operation that was not waited for.
    NotAwaited {
        other: AccessId,
        other_writes: bool,
    },
    /// The other is a generic write that no proxy fence separates from this use by the async proxy.
    Proxy {
        other: AccessId,
    },
    /// The bytes are an mbarrier.
    Mbarrier,
}

/// Shadow words of one CTA.
#[derive(Debug)]
pub(crate) struct Shadow {
    words: Vec<Word>,
}

/// The bytes of the word at `word * 4` that `[start, end)` covers.
fn byte_mask(word: u32, start: u32, end: u32) -> u8 {
    let lo = start.max(word * 4) - word * 4;
    let hi = end.min(word * 4 + 4) - word * 4;
    (0xFu8 >> (4 - (hi - lo))) << lo
}

impl Shadow {
    pub(crate) fn new(bytes: usize) -> Self {
        Shadow { words: vec![Word::default(); bytes.div_ceil(4)] }
    }

    pub(crate) fn references(&mut self) -> impl Iterator<Item = (&mut AccessId, &mut u32)> {
        self.words.iter_mut().map(|w| (&mut w.write, &mut w.reads))
    }

    fn unordered(history: &History, other: AccessId, other_writes: bool) -> Conflict {
        if history.get(other).flags.asynchronous {
            Conflict::NotAwaited { other, other_writes }
        } else {
            Conflict::Race { other, other_writes }
        }
    }

    /// Registers that `me` reads `[start, start + len)` and returns the first conflict with its byte address.
    /// The range lies in the shadow.
    pub(crate) fn read(
        &mut self,
        history: &mut History,
        me: AccessId,
        (clock, proxy): (&Clock, &Clock),
        (start, len): (u32, u32),
    ) -> Option<(Conflict, u32)> {
        let access = *history.get(me);
        let end = start + len;
        let mut found = None;
        let mut memo: Option<(AccessId, u32, u8, u32)> = None;
        for word in start / 4..end.div_ceil(4) {
            let mask = byte_mask(word, start, end);
            let w = &mut self.words[word as usize];
            if let Some((write, reads, bytes, next)) = memo
                && (w.write, w.reads, mask) == (write, reads, bytes)
                && w.init & mask == mask
                && !w.mbarrier
            {
                w.reads = next;
                w.read_bytes |= mask;
                continue;
            }
            let mut conflict = None;
            if w.mbarrier {
                conflict = Some(Conflict::Mbarrier);
            } else if w.init & mask != mask {
                w.init |= mask;
                conflict = Some(Conflict::Uninitialized);
            } else if w.write != 0 && w.write_bytes & mask != 0 {
                let other = history.get(w.write);
                if !(access.flags.strong && other.flags.strong) {
                    if !history.before(w.write, access.warp, clock) {
                        conflict = Some(Self::unordered(history, w.write, true));
                    } else if access.flags.async_proxy
                        && !other.flags.async_proxy
                        && !history.covered(w.write, proxy)
                    {
                        conflict = Some(Conflict::Proxy { other: w.write });
                    }
                }
            }
            let before = (w.write, w.reads);
            w.reads = history.add_reader(w.reads, me, clock);
            w.read_bytes |= mask;
            match conflict {
                None => memo = Some((before.0, before.1, mask, w.reads)),
                Some(c) if found.is_none() => found = Some((c, (word * 4).max(start))),
                Some(_) => {}
            }
        }
        found
    }

    /// Registers that `me` writes `[start, start + len)` and returns the first conflict.
    pub(crate) fn write(
        &mut self,
        history: &History,
        me: AccessId,
        (clock, proxy): (&Clock, &Clock),
        (start, len): (u32, u32),
    ) -> Option<(Conflict, u32)> {
        let access = *history.get(me);
        let end = start + len;
        let mut found = None;
        let mut memo: Option<(AccessId, u32, u8)> = None;
        for word in start / 4..end.div_ceil(4) {
            let mask = byte_mask(word, start, end);
            let w = &mut self.words[word as usize];
            if memo != Some((w.write, w.reads, mask)) || w.mbarrier {
                memo = Some((w.write, w.reads, mask));
                let mut conflict = None;
                if w.mbarrier {
                    conflict = Some(Conflict::Mbarrier);
                }
                if conflict.is_none() && w.write != 0 && w.write != me && w.write_bytes & mask != 0 {
                    let other = history.get(w.write);
                    if !(access.flags.strong && other.flags.strong) {
                        if !history.before(w.write, access.warp, clock) {
                            conflict = Some(Self::unordered(history, w.write, true));
                        } else if access.flags.async_proxy
                            && !other.flags.async_proxy
                            && !history.covered(w.write, proxy)
                        {
                            conflict = Some(Conflict::Proxy { other: w.write });
                        }
                    }
                }
                if conflict.is_none() && w.read_bytes & mask != 0 {
                    conflict = history
                        .readers(w.reads)
                        .iter()
                        .find(|&&r| {
                            !((access.flags.strong && history.get(r).flags.strong)
                                || history.before(r, access.warp, clock))
                        })
                        .map(|&r| Self::unordered(history, r, false));
                }
                if let Some(c) = conflict {
                    memo = None;
                    if found.is_none() {
                        found = Some((c, (word * 4).max(start)));
                    }
                }
            }
            w.write_bytes = if w.write == me { w.write_bytes | mask } else { mask };
            w.write = me;
            w.init |= mask;
            w.reads = 0;
            w.read_bytes = 0;
        }
        found
    }

    /// Marks or unmarks the eight bytes of an mbarrier.
    pub(crate) fn set_mbarrier(&mut self, address: u32, on: bool) {
        for word in address / 4..address / 4 + 2 {
            self.words[word as usize].mbarrier = on;
        }
    }
}
