//! A compiler for attention: a small language in, native code or PTX out.
//!
//! ```
//! use dmac::{Options, SourceFile, Storage, compile};
//!
//! let source = SourceFile::new("window.dmac", "attention window(w: int = 128) { mask j <= i and i - j < w }");
//! let compiled = compile(&source, &Options::native(64, Storage::F32), &mut |phase, text| {
//!     // One callback for dumps, snapshots and timings.
//!     assert!(!text.to_string().is_empty(), "{}", phase.name());
//! })?;
//! assert_eq!(compiled.params[0].name, "w");
//! # Ok::<(), Vec<dmac::Diagnostic>>(())
//! ```

mod compile;

pub use compile::{Compiled, Options, Phase, compile};
pub use dmac_ir::{Graph, ParamType, ParamValue};
pub use dmac_schedule::kernel::{Program, Storage};
pub use dmac_schedule::{Schedule, Target};
pub use dmac_sema::Value;
pub use dmac_source::{Code, Diagnostic, SourceFile};
