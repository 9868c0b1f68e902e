//! Which keys of one row are alive: the state machine of a selection with lifetimes.
//!
//! Input → output: what is known of each new key (its rating, when it enters, competes and leaves, its class) → which keys
//! die, and whether the new one lives. Each key enters once, competes once and dies once, each in O(log w).

use dmac_passes::decode::NEVER;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The place of a key in the order of a selection: greater is better. NaN is worst, -0 equals +0, ties by rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Rank {
    forced: bool,
    rating: u32,
    tie: i64,
}

impl Rank {
    pub fn new(forced: bool, rating: f32, key: i64, ties_high: bool) -> Self {
        let bits = rating.to_bits();
        let rating = if rating.is_nan() {
            0
        } else if rating == 0.0 {
            0x8000_0000
        } else if bits >> 31 != 0 {
            !bits
        } else {
            bits | 0x8000_0000
        };
        Self { forced, rating, tie: if ties_high { key } else { -key } }
    }

    fn key(self) -> i64 {
        self.tie.abs()
    }
}

/// What is known of a key when it is appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewKey {
    /// Its number, which is the position of its token.
    pub key: i64,
    pub rank: Rank,
    pub enter: i64,
    pub competes: i64,
    pub leave: i64,
    pub class: i64,
}

/// What an appended key changes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Change {
    /// Keys that die, the new one not among them.
    pub dead: Vec<i64>,
    /// Whether the new one lives.
    pub lives: bool,
}

/// Why a key cannot be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// The class of keys that are gone comes back.
    ClassReturns,
    /// The key is seen by later queries only.
    EntersLater,
}

/// The keys of one row.
#[derive(Clone, Debug, Default)]
pub(super) struct Alive {
    /// Those that live, with the position until which each does whatever its rank.
    leave: BTreeMap<i64, i64>,
    /// The best.
    best: BTreeSet<Rank>,
    /// Those that do not compete yet, in the order in which they will.
    waiting: VecDeque<(i64, Rank)>,
    /// Those that are not among the best any more, by when they die.
    leaving: BTreeSet<(i64, i64)>,
    class: Option<i64>,
}

impl Alive {
    /// Appends a key to a selection of the best `count`.
    pub fn append(&mut self, new: NewKey, count: usize) -> Result<Change, Refusal> {
        let mut dead = Vec::new();
        if self.class != Some(new.class) {
            if self.class.is_some_and(|class| class > new.class) {
                return Err(Refusal::ClassReturns);
            }
            dead.extend(std::mem::take(self).leave.into_keys());
            self.class = Some(new.class);
        }
        if new.enter > new.key && new.enter < NEVER {
            return Err(Refusal::EntersLater);
        }
        if new.enter <= new.key {
            self.leave.insert(new.key, new.leave);
            if new.competes < NEVER {
                self.waiting.push_back((new.competes, new.rank));
            }
        }
        while let Some(&(competes, rank)) = self.waiting.front()
            && competes <= new.key
        {
            self.waiting.pop_front();
            self.best.insert(rank);
            if self.best.len() > count
                && let Some(worst) = self.best.pop_first()
            {
                self.leaving.insert((self.leave[&worst.key()], worst.key()));
            }
        }
        while let Some(&(leave, key)) = self.leaving.first()
            && leave <= new.key
        {
            self.leaving.pop_first();
            self.leave.remove(&key);
            if key != new.key {
                dead.push(key);
            }
        }
        Ok(Change { dead, lives: self.leave.contains_key(&new.key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(key: i64, rating: f32) -> NewKey {
        let rank = Rank::new(false, rating, key, false);
        NewKey { key, rank, enter: key, competes: key, leave: -NEVER, class: 0 }
    }

    #[test]
    fn the_weakest_dies() {
        let mut alive = Alive::default();
        let mut dead = Vec::new();
        for (key, rating) in [1.0, 5.0, 2.0, 4.0, 3.0, 6.0].into_iter().enumerate() {
            let change = alive.append(new(key as i64, rating), 2).expect("it enters");
            dead.push((change.dead, change.lives));
        }
        let expected: [(Vec<i64>, bool); 6] = [
            (vec![], true),
            (vec![], true),
            (vec![0], true),
            (vec![2], true),
            (vec![], false),
            (vec![3], true),
        ];
        assert_eq!(dead, expected);
    }

    #[test]
    fn a_new_class_ends_the_old_one_and_an_old_one_may_not_come_back() {
        let mut alive = Alive::default();
        let of = |key, class| NewKey { class, ..new(key, 1.0) };
        assert!(alive.append(of(0, 3), 4).expect("it enters").dead.is_empty());
        assert_eq!(alive.append(of(1, 4), 4).expect("it enters").dead, [0]);
        assert_eq!(alive.append(of(2, 3), 4), Err(Refusal::ClassReturns));
    }
}
