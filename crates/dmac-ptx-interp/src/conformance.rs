//! One small kernel per instruction form with inputs and independently computed outputs: the definition of what the
//! interpreter claims, as data.
//!
//! [`cases`] lists them. [`Case::interpret`] runs one here; a program with a GPU loads the same PTX, passes the same
//! arguments, and hands its output bytes to [`Case::compare`]. Expected values come from plain Rust written for the
//! purpose (no code is shared with the machine), so a disagreement of any two of the three shows which one is wrong.

#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "the PTX of a test is put together line by line; its speed does not matter"
)]

mod copies;
mod floats;
mod integers;
mod lanes;
mod matrices;
mod scalar;
mod synchronisation;
mod tiles;
mod wgmma;

use crate::{Arg, Buffer, Finding, Launch, Memory, Options, TensorMap, parse};

/// The least target that has the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Ampere and later.
    Sm80,
    /// Hopper only.
    Sm90a,
}

/// How an output is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Bit for bit.
    Exact,
    /// f32: equal bits, or both NaN.
    SameF32,
    /// f32: relative error, or absolute error below the second number. NaN and infinities must agree.
    F32 {
        /// Allowed |got − want| / |want|.
        relative: f64,
        /// Allowed |got − want|.
        absolute: f64,
    },
    /// 16-bit floats (bf16 when the flag is set): relative or absolute error. NaN and infinities must agree.
    Half {
        /// bf16 instead of f16.
        bf16: bool,
        /// Allowed |got − want| / |want|.
        relative: f64,
        /// Allowed |got − want|.
        absolute: f64,
    },
}

/// An argument of a case's kernel, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum CaseArg {
    /// The address of [`Case::buffers`] number so-and-so.
    Buffer(usize),
    /// A 32-bit integer.
    U32(u32),
    /// A tensor map over a buffer; its [`TensorMap::buffer`] is to be replaced by the real one.
    TensorMap(usize, TensorMap),
}

/// A buffer: its bytes before the launch, and what is checked after it.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseBuffer {
    /// Bytes at the start. Outputs start with 0xFF.
    pub bytes: Vec<u8>,
    /// Bytes after the launch and how to compare them, for outputs.
    pub expected: Option<(Vec<u8>, Tolerance)>,
}

/// One instruction test.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The instruction form and what is special about the test.
    pub name: String,
    /// A PTX module with the entry `t`.
    pub ptx: String,
    /// What the kernel needs.
    pub target: Target,
    /// Blocks along x.
    pub grid: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks of a cluster along x.
    pub cluster: u32,
    /// Bytes of dynamic shared memory.
    pub smem: u32,
    /// Buffers, inputs and outputs.
    pub buffers: Vec<CaseBuffer>,
    /// Arguments.
    pub args: Vec<CaseArg>,
}

/// Every case, in a fixed order.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    integers::add(&mut all);
    floats::add(&mut all);
    lanes::add(&mut all);
    copies::add(&mut all);
    tiles::add(&mut all);
    synchronisation::add(&mut all);
    matrices::add(&mut all);
    wgmma::add(&mut all);
    all
}

/// A number of a small deterministic sequence (splitmix64).
pub(crate) fn noise(i: u64) -> u64 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl CaseBuffer {
    /// An input.
    pub(crate) fn input(bytes: Vec<u8>) -> Self {
        CaseBuffer { bytes, expected: None }
    }

    /// An output with its expected bytes.
    pub(crate) fn output(expected: Vec<u8>, tolerance: Tolerance) -> Self {
        CaseBuffer { bytes: vec![0xFF; expected.len()], expected: Some((expected, tolerance)) }
    }
}

/// Marks the last case as one for Hopper.
pub(crate) fn only_hopper(all: &mut [Case]) {
    if let Some(last) = all.last_mut() {
        last.target = Target::Sm90a;
        last.ptx = last.ptx.replacen(".target sm_80", ".target sm_90a", 1);
    }
}

/// A module with the entry `t`: `params` and `body` as PTX, targets and shared memory filled in.
pub(crate) fn kernel(target: Target, smem: bool, threads: u32, params: &[&str], body: &str) -> String {
    let target = match target {
        Target::Sm80 => "sm_80",
        Target::Sm90a => "sm_90a",
    };
    let shared = if smem { ".extern .shared .align 1024 .b8 smem[];\n" } else { "" };
    format!(
        ".version 8.0\n.target {target}\n.address_size 64\n{shared}.visible .entry t({})\n.reqntid {threads}, 1, 1\n\
         {{\n{body}    ret;\n}}\n",
        params.join(", ")
    )
}

impl Case {
    /// Runs the case in the interpreter: the bytes of every buffer after the launch.
    ///
    /// # Errors
    /// A malformed case, or what the sanitizer found.
    pub fn interpret(&self, options: &Options) -> Result<Vec<Vec<u8>>, Vec<Finding>> {
        let module = parse(&self.ptx).map_err(|e| {
            vec![Finding {
                kind: crate::FindingKind::BadLaunch,
                message: format!("{}: {e}", self.name),
                at: None,
                other: None,
            }]
        })?;
        let mut memory = Memory::new();
        let buffers: Vec<Buffer> = self.buffers.iter().map(|b| memory.alloc(&b.bytes)).collect();
        let args = self.args.iter().map(|a| match a {
            CaseArg::Buffer(i) => Arg::Buffer(buffers[*i]),
            CaseArg::U32(v) => Arg::U32(*v),
            CaseArg::TensorMap(i, map) => Arg::TensorMap(TensorMap { buffer: buffers[*i], ..map.clone() }),
        });
        Launch::new(&module, "t")
            .grid([self.grid, 1, 1])
            .block([self.threads, 1, 1])
            .cluster([self.cluster, 1, 1])
            .dynamic_smem(self.smem)
            .args(args)
            .run(&mut memory, options)?;
        Ok(buffers.iter().map(|b| memory.read::<u8>(*b)).collect())
    }

    /// Compares the bytes of every buffer after a launch with the expected ones.
    ///
    /// # Errors
    /// The first element that differs, in words.
    pub fn compare(&self, after: &[Vec<u8>]) -> Result<(), String> {
        for (i, (b, got)) in self.buffers.iter().zip(after).enumerate() {
            let Some((want, tolerance)) = &b.expected else { continue };
            if got.len() != want.len() {
                return Err(format!("{}: buffer {i} has {} bytes, not {}", self.name, got.len(), want.len()));
            }
            let each = match tolerance {
                Tolerance::Exact => 1,
                Tolerance::SameF32 | Tolerance::F32 { .. } => 4,
                Tolerance::Half { .. } => 2,
            };
            for (at, (g, w)) in got.chunks_exact(each).zip(want.chunks_exact(each)).enumerate() {
                if !tolerance.accepts(g, w) {
                    return Err(format!(
                        "{}: element {at} of buffer {i} is {g:02x?}, expected {w:02x?}",
                        self.name
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Tolerance {
    fn accepts(self, got: &[u8], want: &[u8]) -> bool {
        let close = |g: f64, w: f64, relative: f64, absolute: f64| {
            if w.is_nan() || g.is_nan() {
                return w.is_nan() && g.is_nan();
            }
            g == w || (g - w).abs() <= absolute || (g - w).abs() <= relative * w.abs()
        };
        let single = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        match self {
            Tolerance::Exact => got == want,
            Tolerance::SameF32 => got == want || (single(got).is_nan() && single(want).is_nan()),
            Tolerance::F32 { relative, absolute } => close(single(got), single(want), relative, absolute),
            Tolerance::Half { bf16, relative, absolute } => {
                let half = |b: &[u8]| {
                    let bits = u16::from_le_bytes([b[0], b[1]]);
                    if bf16 {
                        half::bf16::from_bits(bits).to_f64()
                    } else {
                        half::f16::from_bits(bits).to_f64()
                    }
                };
                close(half(got), half(want), relative, absolute)
            }
        }
    }
}
