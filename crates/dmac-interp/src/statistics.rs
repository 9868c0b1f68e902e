//! Counts of what masks and selections kept.
//!
//! Input → output: rows as they are evaluated → totals. Why: a comparison of two results says nothing about a mask term
//! that removed no pair or left none; whoever verifies a program asks here whether every term had its effect.

use crate::margin::Margin;

/// What one mask term did, over all rows evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TermStatistics {
    /// Pairs of a row and a key that the terms before it left.
    pub considered: u64,
    /// Those of them that it left.
    pub kept: u64,
}

/// What one attention did, over all rows evaluated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttentionStatistics {
    /// Its name.
    pub name: String,
    /// Rows (of a head) evaluated.
    pub rows: u64,
    /// Rows in which no key is attended.
    pub empty_rows: u64,
    /// Pairs of a row and a key.
    pub pairs: u64,
    /// Those of them that are attended.
    pub attended: u64,
    /// Its mask terms.
    pub terms: Vec<TermStatistics>,
}

/// What one selection or lifetime did, over all rows evaluated. For a lifetime, whose rows have no query, elements are
/// counted at every position at which they are candidates.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SelectionStatistics {
    /// Rows evaluated.
    pub rows: u64,
    /// Candidates in them.
    pub candidates: u64,
    /// Those of them that were chosen.
    pub chosen: u64,
    /// The worst margin of choices that something else made, if there are any.
    pub margin: Option<Margin>,
}

impl AttentionStatistics {
    pub(crate) fn add_row(&mut self, keys: usize, attended: usize, terms: &[TermStatistics]) {
        self.rows += 1;
        self.empty_rows += u64::from(attended == 0);
        self.pairs += keys as u64;
        self.attended += attended as u64;
        self.terms.resize(terms.len(), TermStatistics::default());
        for (total, term) in self.terms.iter_mut().zip(terms) {
            total.considered += term.considered;
            total.kept += term.kept;
        }
    }

    /// With a name, and an entry for each of `terms` terms even where no row was evaluated.
    pub(crate) fn named(mut self, name: &str, terms: usize) -> Self {
        name.clone_into(&mut self.name);
        self.terms.resize(terms, TermStatistics::default());
        self
    }
}

impl SelectionStatistics {
    pub(crate) fn add_row(&mut self, candidates: u64, chosen: u64) {
        self.rows += 1;
        self.candidates += candidates;
        self.chosen += chosen;
    }

    pub(crate) fn add_margin(&mut self, margin: Margin) {
        self.margin.get_or_insert_default().worsen(margin);
    }
}
