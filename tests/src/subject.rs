//! A program under test: compiled, given random inputs, compared with the reference.
//!
//! Text, storage type, sizes → a verdict of `dmac::verify`, which is the rule of the language: the selection by its
//! margin, then the results on the selection that was made.

use dmac::interp::{Data, Inputs, Rows, random_inputs};
use dmac::{Attention, Options, ParamNumber, ParamValue, SourceFile, Storage, Verdict};
use std::collections::BTreeMap;

/// Sizes and parameters by name.
pub type Numbers = BTreeMap<String, i64>;

/// The storage type of a name.
///
/// # Panics
/// If there is none of that name.
pub fn storage(name: &str) -> Storage {
    match name {
        "f32" => Storage::F32,
        "f16" => Storage::F16,
        "bf16" => Storage::Bf16,
        other => panic!("`{other}` is no storage type"),
    }
}

/// What is special about the inputs of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Twist {
    /// Nothing.
    None,
    /// Every batch element has its own number of keys, the first one none at all where there are several.
    Lengths,
    /// All keys are equal and all values are equal, so that all scores of a row tie.
    Ties,
    /// Queries and keys are large: a careless exponential of their scores overflows.
    Large,
}

impl Twist {
    /// By its name in a table.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn of(name: &str) -> Self {
        match name {
            "-" => Self::None,
            "lengths" => Self::Lengths,
            "ties" => Self::Ties,
            "large" => Self::Large,
            other => panic!("`{other}` is no twist"),
        }
    }
}

/// Compiles a text with pinned parameters.
///
/// # Panics
/// With the diagnostics, if it does not compile.
pub fn build(name: &str, text: &str, storage: Storage, features: (i64, i64), pins: &Numbers) -> Attention {
    let mut options = Options::native(features.0, storage);
    options.value_dim = Some(features.1);
    options.defines = pins.iter().map(|(name, value)| (name.clone(), ParamNumber::Int(*value))).collect();
    Attention::from_source(&SourceFile::new(name, text), &options)
        .unwrap_or_else(|errors| panic!("{name}: {errors:#?}"))
}

/// Random inputs for it; parameters that it has are set, others ignored.
///
/// # Panics
/// If the sizes do not fit the program.
pub fn inputs(attention: &Attention, sizes: &Numbers, params: &Numbers, twist: Twist, seed: u64) -> Inputs {
    let compiled = attention.compiled();
    let storage = match compiled.program.storage {
        Storage::F32 => dmac::interp::Storage::F32,
        Storage::F16 => dmac::interp::Storage::F16,
        Storage::Bf16 => dmac::interp::Storage::Bf16,
    };
    let mut inputs =
        random_inputs(&compiled.meaning, sizes, storage, seed).unwrap_or_else(|error| panic!("{error}"));
    for (param, value) in compiled.meaning.params.iter().zip(&mut inputs.params) {
        if let (Some(given), ParamValue::Int(value)) = (params.get(&param.name), value) {
            *value = *given;
        }
    }
    let (batch, keys) = (inputs.tensors[1].dims[0] as i64, inputs.tensors[1].dims[2] as i64);
    match twist {
        Twist::None => {}
        Twist::Lengths => inputs.kv_len = Some((0..batch).rev().map(|b| (keys - b * keys).max(0)).collect()),
        Twist::Ties => {
            for tensor in &mut inputs.tensors[1..3] {
                let features = tensor.dims[3].max(1);
                if let Data::F32(data) = &mut tensor.data {
                    let first: Vec<f32> = data.iter().copied().take(features).collect();
                    data.iter_mut().enumerate().for_each(|(at, x)| *x = first[at % features]);
                }
            }
        }
        Twist::Large => {
            for tensor in &mut inputs.tensors[..2] {
                if let Data::F32(data) = &mut tensor.data {
                    for x in data {
                        *x *= 8.0;
                    }
                }
            }
        }
    }
    inputs
}

/// Compares all rows with the reference.
///
/// # Errors
/// What does not agree.
pub fn agrees(attention: &Attention, inputs: &Inputs) -> Result<Verdict, String> {
    let verdict = dmac::verify(attention, inputs, &Rows::All).map_err(|error| error.to_string())?;
    if verdict.passes() {
        return Ok(verdict);
    }
    let checks =
        verdict.checks.iter().filter(|check| !check.comparison.passes()).map(|check| {
            format!("{}: error {:e}, {:?}", check.name, check.comparison.error, check.comparison)
        });
    let margins =
        verdict.margins.iter().filter(|margin| !margin.passes()).map(|margin| margin.reason.clone());
    Err(checks.chain(margins).collect::<Vec<_>>().join("\n"))
}
