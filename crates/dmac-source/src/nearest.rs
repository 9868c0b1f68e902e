//! "Did you mean": the known name closest to one that is not known.

/// The candidate that `name` is most likely a slip of, or `None` if all are too far away to suggest.
///
/// Distance counts inserted, deleted, replaced and swapped neighbouring characters, without regard to case. At
/// most a third of the longer name may differ (at least one character). Ties go to the earliest candidate, so the
/// order of candidates decides and messages stay the same from run to run.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let longer = name.chars().count().max(candidate.chars().count());
        // A one-letter index is a slip of every other one; suggesting one of those would be noise.
        if !(2..=64).contains(&longer) {
            continue;
        }
        let distance = distance(name, candidate);
        if distance <= (longer / 3).max(1) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance over lower-cased characters.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut before_last: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        assert_eq!(nearest("dleta", ["slope", "delta"]), Some("delta"));
        assert_eq!(nearest("Mask", ["mask", "select"]), Some("mask"));
        assert_eq!(nearest("dt", ["d'", "wdt"]), Some("d'"));
        assert_eq!(nearest("window", ["delta", "slope"]), None);
        assert_eq!(nearest("k", ["q", "v"]), None);
    }

    #[test]
    fn distance_counts_single_edits() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("abc", "ab"), 1);
        assert_eq!(distance("", "ab"), 2);
    }
}
