//! A compiler for attention: a small language in, native code out.
//!
//! A variant is a few lines of text. [`Attention::compile`] turns it into machine code for this processor, and
//! [`Attention::run`] runs it on slices or safetensors views, at any lengths and batch sizes:
//!
//! ```
//! use dmac::{Arguments, Attention, Options, Storage, TensorView};
//!
//! let text = "attention window(w: int = 128) { mask j <= i and i - j < w }";
//! let attention = Attention::compile(text, &Options::native(64, Storage::F32))?;
//!
//! // Two query heads over one key/value head, ten positions.
//! let q = vec![0.5; 2 * 10 * 64];
//! let (k, v) = (vec![0.25; 10 * 64], vec![1.0; 10 * 64]);
//! let results = attention.run(
//!     &Arguments::new()
//!         .tensor("q", TensorView::of_f32(&[1, 2, 10, 64], &q)?)
//!         .tensor("k", TensorView::of_f32(&[1, 1, 10, 64], &k)?)
//!         .tensor("v", TensorView::of_f32(&[1, 1, 10, 64], &v)?)
//!         .param("w", dmac::ParamValue::Int(4)),
//! )?;
//! let out = results.get("out").expect("every program has `out`");
//! assert_eq!(out.dims(), [1, 2, 10, 64]);
//! assert!(out.to_f64().iter().all(|x| (x - 1.0).abs() < 1e-6));
//! // The natural logarithm of the sum of exponentials, for merging partial results.
//! assert_eq!(results.get("lse").expect("softmax has `lse`").dims(), [1, 2, 10]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`compile`] stops before machine code and shows every phase on the way. The stages are public as modules:
//! [`syntax`], [`ir`], [`passes`], [`schedule`], [`interp`] (the reference), [`runtime`].

mod attention;
mod compile;
mod decoder;
mod gpu;
mod pairs;
mod verify;

pub use attention::{Attention, CompileFailure};
pub use compile::{Compiled, Options, Phase, check, compile};
pub use decoder::{Cache, DecodeError, Decoder, NoDecoder};
pub use dmac_codegen_ptx::PtxProgram;
pub use dmac_ir::{Graph, ParamType, ParamValue};
pub use dmac_runtime::{Arguments, Results, RunError, Tensor, TensorView};
pub use dmac_schedule::kernel::{Element, Program, Storage};
pub use dmac_schedule::{Schedule, Target};
pub use dmac_sema::Value as ParamNumber;
pub use dmac_source::{Code, Diagnostic, SourceFile};
pub use gpu::{CudaDevice, CudaError, Gpu, GpuAttention, GpuCall, PtxTarget, compile_ptx};
pub use pairs::PairMap;
pub use verify::{Check, HeldInputs, Mismatch, Verdict, judge, verify};

pub use dmac_codegen_cranelift as codegen;
pub use dmac_codegen_ptx as codegen_ptx;
pub use dmac_interp as interp;
pub use dmac_ir as ir;
pub use dmac_passes as passes;
pub use dmac_runtime as runtime;
pub use dmac_schedule as schedule;
pub use dmac_sema as sema;
pub use dmac_source as source;
pub use dmac_syntax as syntax;
