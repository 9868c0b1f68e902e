//! A kernel in twenty lines: what a snapshot of a large one keeps.
//!
//! In: a [`Kernel`]. Out: [`Digest`], printed as resources, instruction counts and a hash of the text. Why: the full
//! text of an attention kernel is two thousand lines that nobody reviews, but a lost wait or a doubled product shows in
//! the counts, and anything else in the hash.

use crate::inst::Inst;
use crate::kernel::Kernel;
use crate::spell::spell;
use std::collections::BTreeMap;
use std::fmt;

/// The digest of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Entry name.
    pub name: String,
    /// `sm_80, .version 7.0, 128 threads, …`.
    pub frame: String,
    /// Dynamic shared memory, bytes.
    pub shared_bytes: u32,
    /// Virtual registers by class.
    pub registers: BTreeMap<&'static str, u32>,
    /// Barriers in shared memory that the kernel makes.
    pub barriers: usize,
    /// Instructions by mnemonic.
    pub counts: BTreeMap<String, usize>,
    /// FNV-1a of the text.
    pub hash: u64,
}

impl Kernel {
    /// The kernel's digest.
    pub fn digest(&self) -> Digest {
        let mut counts = BTreeMap::new();
        for inst in self.instructions() {
            *counts.entry(spell(inst).op).or_default() += 1;
        }
        let limits = [
            (self.frame.threads, "threads"),
            (self.frame.min_ctas, "CTAs a multiprocessor"),
            (self.frame.cluster, "CTAs a cluster"),
        ];
        let limits = limits.into_iter().filter_map(|(n, what)| Some(format!("{} {what}", n?)));
        let start = [self.target.name().to_owned(), format!(".version {}", crate::requires::version(self))];
        let frame = start.into_iter().chain(limits).collect::<Vec<_>>().join(", ");
        Digest {
            name: self.name.clone(),
            frame,
            shared_bytes: self.shared_bytes(),
            registers: self.register_counts().into_iter().map(|(class, n)| (class.name(), n)).collect(),
            barriers: self.instructions().filter(|i| matches!(i, Inst::MbarrierInit { .. })).count(),
            counts,
            hash: fnv1a(self.text().as_bytes()),
        }
    }
}

/// 64-bit FNV-1a: the same on every machine and in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01B3))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {} ({})", self.name, self.frame)?;
        writeln!(f, "shared {} bytes, {} barriers", self.shared_bytes, self.barriers)?;
        let registers: Vec<String> = self.registers.iter().map(|(class, n)| format!("{class} {n}")).collect();
        writeln!(f, "registers {}", registers.join(", "))?;
        let total: usize = self.counts.values().sum();
        writeln!(f, "instructions {total}, text {:016x}", self.hash)?;
        for (op, n) in &self.counts {
            writeln!(f, "{n:6} {op}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn hash_is_fnv1a() {
        // Published test vectors of the function.
        assert_eq!(fnv1a(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_F739_67E8);
    }
}
