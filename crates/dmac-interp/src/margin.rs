//! Whether a selection that something else made is as good as the exact one, up to the error of f32.
//!
//! Input → output: scores computed exactly and in f32, and what was chosen → a [`Margin`]. Why: the best `n` is
//! discontinuous. Two scores that differ by less than their rounding errors may be ordered either way, and everything after
//! the selection then differs; so the choice is checked here, and the reference is evaluated on it.
//!
//! ε, the error that a score may have, is measured: four times the largest difference, absolute or relative whichever
//! allows less, between the row's scores computed in float64 and in f32 (the factor allows for other orders of summation),
//! plus 16 units in the last place, since elementary functions on devices err by a few.

use dmac_ir::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What something else chose, where the reference is to follow it. Nodes are those of the graph that is evaluated.
pub trait SelectionOracle {
    /// The elements chosen in a row of a selection, in any order; `None`: the reference chooses. Those that `plus` adds
    /// need not be among them.
    fn chosen(&self, selection: NodeId, row: &[i64]) -> Option<Vec<i64>>;

    /// The ends in a row of a lifetime, one for each element; `None`: the reference computes them.
    fn ends(&self, lifetime: NodeId, row: &[i64]) -> Option<Vec<i64>>;
}

/// How far a choice is from the exact one, at its worst element.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Margin {
    /// How much the element's score is on the wrong side of the threshold, as a multiple of ε. Up to 1 the choice is
    /// right; infinite where it breaks a rule that no rounding explains.
    pub worst: f64,
    /// What is wrong there, in words; empty if nothing.
    pub reason: String,
}

impl Margin {
    /// Whether the choice is right up to rounding.
    pub fn passes(&self) -> bool {
        self.worst <= 1.0
    }

    /// The worse of two.
    pub(crate) fn worsen(&mut self, other: Self) {
        if other.worst > self.worst {
            *self = other;
        }
    }

    fn broken(reason: String) -> Self {
        Self { worst: f64::INFINITY, reason }
    }
}

/// The errors that scores may have.
pub(crate) struct Uncertainty {
    absolute: f64,
    relative: f64,
}

/// 16 units in the last place of f32.
const FLOOR: f64 = 16.0 / (1 << 24) as f64;

impl Uncertainty {
    /// Measured on scores in float64 and in f32.
    pub fn measure(exact: &[f64], plain: &[f64]) -> Self {
        let mut measured = Self { absolute: 0.0, relative: 0.0 };
        for (exact, plain) in exact.iter().zip(plain) {
            let error = (exact - plain).abs();
            if error.is_finite() && error > 0.0 {
                measured.absolute = measured.absolute.max(4.0 * error);
                measured.relative = measured.relative.max(4.0 * error / exact.abs());
            }
        }
        measured
    }

    /// By how many ε a score is above a threshold that it should not be above. NaN is below every number.
    fn excess(&self, score: f64, threshold: f64) -> f64 {
        if score.is_nan() || score <= threshold {
            return 0.0;
        }
        let size = score.abs().max(threshold.abs());
        let epsilon = self.absolute.min(self.relative * size) + FLOOR * size;
        if threshold.is_nan() || !size.is_finite() { f64::INFINITY } else { (score - threshold) / epsilon }
    }

    /// The margin of a chosen element against the threshold.
    fn chosen(&self, element: usize, score: f64, threshold: f64) -> Margin {
        Margin {
            worst: self.excess(threshold, score),
            reason: format!(
                "element {element} is chosen with score {score:e}, the last place has {threshold:e}"
            ),
        }
    }

    /// The margin of an element that is not chosen.
    fn left_out(&self, element: usize, score: f64, threshold: f64) -> Margin {
        Margin {
            worst: self.excess(score, threshold),
            reason: format!(
                "element {element} is left out with score {score:e}, the last place has {threshold:e}"
            ),
        }
    }
}

/// The candidates of a row of a selection.
pub(crate) struct Candidates<'a> {
    /// Their indices, ascending.
    pub elements: &'a [usize],
    /// Their scores in float64.
    pub scores: &'a [f64],
    /// Whether each is forced.
    pub forced: &'a [bool],
    /// Whether each is taken in addition to the `n`.
    pub extra: &'a [bool],
}

impl Candidates<'_> {
    /// Checks that `chosen` (one flag for each element) is a choice of `count`. `stray` was chosen too, and is no element
    /// or was chosen before.
    pub fn check(
        &self,
        chosen: &[bool],
        count: usize,
        uncertainty: &Uncertainty,
        stray: Option<i64>,
    ) -> Margin {
        if let Some(stray) = stray {
            return Margin::broken(format!("element {stray} does not exist or is chosen twice"));
        }
        let mut is_candidate = vec![false; chosen.len()];
        for &element in self.elements {
            is_candidate[element] = true;
        }
        if let Some(element) = (0..chosen.len()).find(|&at| chosen[at] && !is_candidate[at]) {
            return Margin::broken(format!("element {element} is chosen and is no candidate"));
        }
        let picked = |at: usize| chosen[self.elements[at]];
        let all = 0..self.elements.len();
        let competing: Vec<usize> = all.filter(|&at| !self.extra[at]).collect();
        let count = count.min(competing.len());
        let found = competing.iter().filter(|&&at| picked(at)).count();
        if found != count {
            return Margin::broken(format!("{found} elements are chosen, not {count}"));
        }
        let forced: Vec<usize> = competing.iter().copied().filter(|&at| self.forced[at]).collect();
        // Forced elements compete among themselves only if there are too many of them.
        let (group, places) = if forced.len() >= count {
            (forced, count)
        } else {
            if let Some(&at) = forced.iter().find(|&&at| !picked(at)) {
                return Margin::broken(format!("element {} is forced and is left out", self.elements[at]));
            }
            let places = count - forced.len();
            (competing.into_iter().filter(|&at| !self.forced[at]).collect(), places)
        };
        let outside = (0..self.elements.len())
            .find(|&at| picked(at) && !self.extra[at] && !self.forced[at] && !group.contains(&at));
        if let Some(at) = outside {
            return Margin::broken(format!("element {} took the place of a forced one", self.elements[at]));
        }
        let mut order: Vec<f64> = group.iter().map(|&at| self.scores[at]).collect();
        order.sort_by(|x, y| descending(*x, *y));
        let Some(&threshold) = places.checked_sub(1).and_then(|last| order.get(last)) else {
            return Margin::default();
        };
        let mut margin = Margin::default();
        for at in group {
            let (element, score) = (self.elements[at], self.scores[at]);
            margin.worsen(if picked(at) {
                uncertainty.chosen(element, score, threshold)
            } else {
                uncertainty.left_out(element, score, threshold)
            });
        }
        margin
    }
}

/// Larger first, NaN last.
fn descending(x: f64, y: f64) -> std::cmp::Ordering {
    match (x.is_nan(), y.is_nan()) {
        (false, false) => y.partial_cmp(&x).unwrap_or(std::cmp::Ordering::Equal),
        (x, y) => x.cmp(&y),
    }
}

/// A row of a lifetime: the elements that exist.
pub(crate) struct Lives<'a> {
    /// Their scores in float64.
    pub scores: &'a [f64],
    /// From which position each is a candidate.
    pub enter: &'a [i64],
    /// Whether each is forced.
    pub forced: &'a [bool],
    /// How many live at a time.
    pub count: usize,
    /// The end of positions.
    pub length: i64,
}

impl Lives<'_> {
    /// Checks ends: at every position, the elements of a class that have entered and not ended must be a choice of
    /// `count` among those that have entered. `complete` says whether there was an end for every element. The ends of
    /// different classes have nothing to do with each other, and none matters where its class has no more positions.
    pub fn check_classes(
        &self,
        class: &[i64],
        ends: &[i64],
        complete: bool,
        uncertainty: &Uncertainty,
    ) -> Margin {
        if !complete {
            return Margin::broken("there is not one end for each element".into());
        }
        let mut members: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (element, &class) in class.iter().enumerate() {
            members.entry(class).or_default().push(element);
        }
        let several = members.len() > 1;
        let mut margin = Margin::default();
        for members in members.into_values() {
            // A position has the class of the element of its number.
            let last = members.last().map_or(0, |&last| last as i64);
            let length = if several { self.length.min(last + 1) } else { self.length };
            margin.worsen(self.check(&members, length, ends, uncertainty));
        }
        margin
    }

    fn check(&self, members: &[usize], length: i64, ends: &[i64], uncertainty: &Uncertainty) -> Margin {
        let Self { scores, enter, forced, count, .. } = *self;
        let mut ranked: Vec<usize> = members.to_vec();
        ranked.sort_by(|&x, &y| {
            forced[y].cmp(&forced[x]).then(descending(scores[x], scores[y])).then(x.cmp(&y))
        });
        let rank: BTreeMap<usize, usize> =
            ranked.iter().enumerate().map(|(place, &element)| (element, place)).collect();
        // What happens at a position: elements enter, elements end.
        let mut events: BTreeMap<i64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for &element in members.iter().filter(|&&element| enter[element] < length) {
            events.entry(enter[element]).or_default().0.push(element);
            if ends[element] > enter[element] && ends[element] < length {
                events.entry(ends[element]).or_default().1.push(element);
            }
        }
        let (mut best, mut alive, mut gone) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut candidates = 0;
        let mut margin = Margin::default();
        for (position, (entering, ending)) in events {
            candidates += entering.len();
            for element in entering {
                best.insert(rank[&element]);
                let group = if ends[element] > position { &mut alive } else { &mut gone };
                group.insert(rank[&element]);
            }
            for element in ending {
                alive.remove(&rank[&element]);
                gone.insert(rank[&element]);
            }
            while best.len() > count {
                best.pop_last();
            }
            if alive.len() != count.min(candidates) {
                let wanted = count.min(candidates);
                return Margin::broken(format!(
                    "at position {position}, {} elements live, not {wanted}",
                    alive.len()
                ));
            }
            let Some(threshold) = best.last().map(|&last| ranked[last]) else { continue };
            // A forced element and one that is not do not compare by score.
            if let Some(chosen) = alive.last().map(|&last| ranked[last]) {
                if forced[threshold] && !forced[chosen] {
                    return Margin::broken(format!("element {chosen} took the place of a forced one"));
                }
                if forced[threshold] == forced[chosen] {
                    margin.worsen(uncertainty.chosen(chosen, scores[chosen], scores[threshold]));
                }
            }
            if let Some(left) = gone.first().map(|&first| ranked[first]) {
                if forced[left] && !forced[threshold] {
                    return Margin::broken(format!("element {left} is forced and is left out"));
                }
                if forced[threshold] == forced[left] {
                    margin.worsen(uncertainty.left_out(left, scores[left], scores[threshold]));
                }
            }
        }
        margin
    }
}
