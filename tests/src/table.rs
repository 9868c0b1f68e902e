//! Data tables: a row a line, columns apart by blanks, `#` begins a comment, `-` is an empty column.
//!
//! Text → rows of columns, and `NAME=NUMBER,...` columns → pairs. Why: a case is one line that can be read and added without
//! knowing the harness.

/// The rows of a table.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.split_whitespace().map(ToOwned::to_owned).collect())
        .collect()
}

/// A column of named numbers.
///
/// # Panics
/// If it is not one.
pub fn pairs(column: &str) -> Vec<(String, i64)> {
    if column == "-" {
        return Vec::new();
    }
    column
        .split(',')
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or_else(|| panic!("`{part}` is not NAME=NUMBER"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("`{value}` is not a number")))
        })
        .collect()
}
