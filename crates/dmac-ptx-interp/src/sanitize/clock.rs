//! Vector clocks: per actor, the last event that is known.

use std::collections::BTreeMap;

/// Counter per actor; actors beyond the end are at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock(Vec<u32>);

impl Clock {
    pub(crate) fn get(&self, actor: u32) -> u32 {
        self.0.get(actor as usize).copied().unwrap_or(0)
    }

    /// Raises the counter of `actor` to at least `value`.
    pub(crate) fn raise(&mut self, actor: u32, value: u32) {
        let i = actor as usize;
        if i >= self.0.len() {
            self.0.resize(i + 1, 0);
        }
        self.0[i] = self.0[i].max(value);
    }

    /// Learns everything that `other` knows.
    pub(crate) fn join(&mut self, other: &Clock) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a = (*a).max(*b);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Everything that a warp, a barrier or an atomic location passes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    /// Events of the own cluster.
    pub clock: Clock,
    /// Those of them that a proxy fence lies behind.
    pub proxy: Clock,
    /// Events of other clusters, learned through global atomics.
    pub remote: BTreeMap<u32, Clock>,
}

impl Knowledge {
    pub(crate) fn join(&mut self, other: &Knowledge) {
        self.clock.join(&other.clock);
        self.proxy.join(&other.proxy);
        for (cluster, clock) in &other.remote {
            self.remote.entry(*cluster).or_default().join(clock);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.clock.clear();
        self.proxy.clear();
        self.remote.clear();
    }
}
