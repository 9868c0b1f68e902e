//! A parsed PTX module: its kernels as decoded instructions, with the tables that name places in the source.
//!
//! Made by [`crate::parse`]; read by [`crate::Launch`]. It owns the text, so that findings can quote it.

use crate::op::Inst;
use std::sync::Arc;

/// A parsed PTX module.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) version: (u32, u32),
    pub(crate) target: String,
    pub(crate) kernels: Vec<Arc<Kernel>>,
}

impl Module {
    /// The `.version` line, as (major, minor).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The first word of the `.target` line, `sm_90a` for instance.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The `.entry` functions in the order of the text.
    pub fn entries(&self) -> impl Iterator<Item = &Kernel> {
        self.kernels.iter().map(|k| &**k)
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&Kernel> {
        self.entries().find(|k| k.name == name)
    }
}

/// Where and how large a kernel parameter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name in the text.
    pub name: String,
    /// Byte offset in the parameter buffer.
    pub offset: u32,
    /// Size in bytes; 128 for a tensor map.
    pub size: u32,
    /// It is a `.b8` array (a structure or a tensor map), not a scalar.
    pub array: bool,
}

/// A source line named by a `.loc` directive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLine {
    /// The path of the `.file` directive.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
}

/// One `.entry`, decoded.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) params: Vec<Param>,
    pub(crate) param_bytes: u32,
    pub(crate) insts: Vec<Inst>,
    /// Registers in the files W (up to 32 bits), D (64 bits) and P (predicates).
    pub(crate) counts: [usize; 3],
    /// Name of every register by file, for findings.
    pub(crate) names: [Vec<String>; 3],
    pub(crate) locs: Vec<SourceLine>,
    /// Bytes of statically declared shared memory.
    pub(crate) static_smem: u32,
    /// Alignment of the `.extern .shared` array.
    pub(crate) dynamic_align: u32,
    pub(crate) reqntid: Option<[u32; 3]>,
    pub(crate) maxntid: Option<[u32; 3]>,
    pub(crate) minnctapersm: Option<u32>,
    pub(crate) maxnreg: Option<u32>,
    pub(crate) cluster: Option<[u32; 3]>,
    pub(crate) text: Arc<str>,
}

impl Kernel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its parameters in order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The `.reqntid` directive: the block size that a launch must use.
    pub fn required_block(&self) -> Option<[u32; 3]> {
        self.reqntid
    }

    /// Number of decoded instructions.
    pub fn len(&self) -> usize {
        self.insts.len()
    }

    /// Whether it has no instruction at all.
    pub fn is_empty(&self) -> bool {
        self.insts.is_empty()
    }

    /// The statement's text on one line, shortened in the middle when it is long.
    pub(crate) fn quote(&self, pc: u32) -> String {
        let Some(inst) = self.insts.get(pc as usize) else { return "(end of the kernel)".to_owned() };
        let raw = self.text.get(inst.span.0 as usize..inst.span.1 as usize).unwrap_or("");
        let words: Vec<&str> = raw.split_whitespace().collect();
        let one = words.join(" ");
        let chars: Vec<char> = one.chars().collect();
        if chars.len() <= 140 {
            return one;
        }
        let head: String = chars[..90].iter().collect();
        let tail: String = chars[chars.len() - 40..].iter().collect();
        format!("{head}…{tail}")
    }
}
