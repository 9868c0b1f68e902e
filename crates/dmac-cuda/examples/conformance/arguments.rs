//! The command line.
//!
//! Input → output: words → [`Arguments`] or what is wrong with them.

/// How to call the command.
pub const USAGE: &str = "usage: conformance [--only TEXT] [--from NUMBER] [--time]";

/// What to run.
#[derive(Default)]
pub struct Arguments {
    /// Only tests whose name contains this.
    pub only: Option<String>,
    /// The first test, from 1.
    pub from: usize,
    /// Time the forward kernels after the tests.
    pub time: bool,
}

impl Arguments {
    /// Reads the words after the command's name.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--only" => arguments.only = Some(value()?),
                "--from" => {
                    let n = value()?;
                    arguments.from = n.parse().map_err(|_| format!("`{n}` is not a number"))?;
                }
                "--time" => arguments.time = true,
                _ => return Err(format!("unknown argument `{word}`")),
            }
        }
        Ok(arguments)
    }
}
