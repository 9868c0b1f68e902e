//! The same functions as an object file, for artifacts that are linked without this crate.
//!
//! Input: the build script's output. Output: its bytes.

/// A relocatable object for the target that this crate was built for: every function of every instruction set as
/// `dmac_rt_<isa>_<name>`, and `dmac_rt_detect`. It is position-independent and needs no libc; a linker has to supply at most
/// the four memory functions that every C toolchain has (`memcpy`, `memmove`, `memset`, `memcmp`).
pub const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dmac_rt.o"));
