//! What the programs of this test run on: sizes, inputs, and tensors that can be indexed.

use dmac_interp::{Data, Inputs, Options, Outputs, Storage, evaluate, random_inputs};
use dmac_ir::{Graph, ParamValue};
use dmac_sema::{SemaOptions, Value, analyze};
use dmac_source::SourceFile;
use std::collections::BTreeMap;

/// Sizes of a problem.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub b: usize,
    pub h: usize,
    pub g: usize,
    pub m: usize,
    pub n: usize,
    pub d: usize,
    pub e: usize,
}

impl Sizes {
    /// Every row of every head: batch element, head, key/value head, row, position.
    pub fn rows(self, lengths: &[usize]) -> Vec<[i64; 5]> {
        let mut rows = Vec::new();
        for (b, &length) in lengths.iter().enumerate() {
            for h in 0..self.h {
                for row in 0..self.m {
                    let position = row as i64 + length as i64 - self.m as i64;
                    rows.push([b as i64, h as i64, (h / (self.h / self.g)) as i64, row as i64, position]);
                }
            }
        }
        rows
    }
}

/// A tensor of floats that is indexed by coordinates.
pub struct Floats {
    dims: Vec<usize>,
    data: Vec<f64>,
}

impl Floats {
    pub fn at(&self, index: &[i64]) -> f64 {
        assert_eq!(index.len(), self.dims.len());
        let mut offset = 0;
        for (&at, &dim) in index.iter().zip(&self.dims) {
            assert!((0..dim as i64).contains(&at), "{index:?} of {:?}", self.dims);
            offset = offset * dim + at as usize;
        }
        self.data[offset]
    }
}

/// A program of the library with its inputs.
pub struct Setting {
    pub graph: Graph,
    pub inputs: Inputs,
    pub sizes: Sizes,
    pub lengths: Vec<usize>,
}

impl Setting {
    /// A program with parameters pinned, on random inputs; `lengths` are those of the batch elements, if not all `N`.
    pub fn new(
        name: &str,
        sizes: Sizes,
        pins: &[(&str, i64)],
        more: &[(&str, usize)],
        lengths: Option<&[usize]>,
    ) -> Self {
        let path = format!("{}/../../dsl/std/{name}.dmac", env!("CARGO_MANIFEST_DIR"));
        let source =
            SourceFile::new(name, std::fs::read_to_string(path).expect("the library has the program"));
        let (module, _) = dmac_syntax::parse(&source);
        let options = SemaOptions {
            head_dim: Some(sizes.d as i64),
            value_dim: Some(sizes.e as i64),
            defines: pins.iter().map(|(name, value)| ((*name).into(), Value::Int(*value))).collect(),
        };
        let (programs, diagnostics) = analyze(&module, &options);
        let graph = programs.into_iter().next().unwrap_or_else(|| panic!("{diagnostics:?}")).graph;
        let named = [("B", sizes.b), ("H", sizes.h), ("G", sizes.g), ("M", sizes.m), ("N", sizes.n)];
        let all: BTreeMap<String, i64> =
            named.iter().chain(more).map(|(name, size)| ((*name).to_owned(), *size as i64)).collect();
        let mut inputs = random_inputs(&graph, &all, Storage::F32, 17).expect("the sizes fit");
        inputs.kv_len = lengths.map(|lengths| lengths.iter().map(|&length| length as i64).collect());
        let lengths = lengths.map_or(vec![sizes.n; sizes.b], <[usize]>::to_vec);
        Self { graph, inputs, sizes, lengths }
    }

    /// A float input.
    pub fn floats(&self, name: &str) -> Floats {
        let at = self.graph.inputs.iter().position(|input| input.name == name).expect("the input exists");
        let tensor = &self.inputs.tensors[at];
        let data = match &tensor.data {
            Data::F32(data) => data.iter().map(|&x| f64::from(x)).collect(),
            Data::I32(data) => data.iter().map(|&x| f64::from(x)).collect(),
            Data::Bool(_) => panic!("{name} is bool"),
        };
        Floats { dims: tensor.dims.clone(), data }
    }

    /// Sets a float parameter.
    #[must_use]
    pub fn with_float(mut self, name: &str, value: f32) -> Self {
        let at = self.graph.params.iter().position(|param| param.name == name).expect("the parameter exists");
        self.inputs.params[at] = ParamValue::Float(value);
        self
    }

    pub fn evaluate(&self) -> Outputs {
        evaluate(&self.graph, &self.inputs, &Options::default()).expect("evaluates")
    }

    /// `rsqrt(D) * sum(d: q * k)`.
    pub fn score(&self, q: &Floats, k: &Floats, [b, h, g, row, _]: [i64; 5], key: i64) -> f64 {
        let dot: f64 = (0..self.sizes.d as i64).map(|d| q.at(&[b, h, row, d]) * k.at(&[b, g, key, d])).sum();
        dot / (self.sizes.d as f64).sqrt()
    }

    /// Asserts that `out` and `lse` are those of `row`, which gives an output row and a logarithm for each row.
    pub fn assert_rows(&self, tolerance: f64, row: &dyn Fn([i64; 5]) -> (Vec<f64>, Option<f64>)) {
        let outputs = self.evaluate();
        let (mut out, mut lse) = (Vec::new(), Vec::new());
        for at in self.sizes.rows(&self.lengths) {
            let (values, logarithm) = row(at);
            out.extend(values);
            lse.extend(logarithm);
        }
        assert_close("out", &outputs.get("out").expect("out").data, &out, tolerance);
        if !lse.is_empty() {
            assert_close("lse", &outputs.get("lse").expect("lse").data, &lse, tolerance);
        }
    }
}

/// Softmax weights of scores, and the logarithm of the sum of exponentials; no weights for no scores.
pub fn softmax(scores: &[f64]) -> (Vec<f64>, f64) {
    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
    (scores.iter().map(|score| score.exp() / sum).collect(), sum.ln())
}

/// The weighted sum of rows of `v` at some keys.
pub fn weigh(v: &Floats, [b, g]: [i64; 2], keys: &[i64], weights: &[f64], features: usize) -> Vec<f64> {
    let sum = |e: i64| keys.iter().zip(weights).map(|(&key, weight)| weight * v.at(&[b, g, key, e])).sum();
    (0..features as i64).map(sum).collect()
}

fn assert_close(name: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    assert!(found.len() > 10, "something is compared");
    for (at, (x, y)) in found.iter().zip(expected).enumerate() {
        let close = x == y || (x - y).abs() <= tolerance * y.abs().max(1.0);
        assert!(close, "{name}[{at}] is {x}, expected {y}");
    }
}
