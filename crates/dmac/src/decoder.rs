//! Decoding with a bounded cache: tokens are appended one by one, and a query attends to the keys that are still alive.
//!
//! Input → output: a compiled attention whose selection has lifetimes ([`dmac_passes::decode`]) → a [`Decoder`]; from it a
//! [`Cache`], whose size is that of the selection and not of the sequence. Appending a token costs O(log w) and what its
//! ratings cost; attending costs what w keys cost, whatever the length.

mod alive;
mod slots;

use crate::attention::{Attention, executable};
use alive::{Alive, NewKey, Rank, Refusal};
use dmac_ir::{AxisKind, Graph, ParamValue, Ties};
use dmac_passes::decode::{Decoding, NEVER, split};
use dmac_runtime::{Arguments, Executable, Rayon, Results, RunError, Tensor, TensorView};
use dmac_schedule::kernel::Element;
use slots::{Part, Slots, Source};
use std::fmt;

/// The compiled programs of a decoder. One serves any number of caches.
pub struct Decoder {
    decoding: Decoding,
    append: Executable,
    attend: Executable,
}

/// What the attention still sees of the tokens so far.
pub struct Cache<'d> {
    decoder: &'d Decoder,
    heads: usize,
    constants: Vec<(String, Tensor)>,
    params: Vec<(String, ParamValue)>,
    /// For each batch element and row.
    alive: Vec<Alive>,
    slots: Option<Slots>,
    /// Tokens of each batch element.
    lengths: Vec<i64>,
    batch: usize,
    rows: usize,
}

/// Why an attention has no decoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoDecoder {
    why: String,
}

impl fmt::Display for NoDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this attention has no bounded cache: {}", self.why)
    }
}

impl std::error::Error for NoDecoder {}

/// Why a step cannot be made. The cache is as it was, except after [`DecodeError::ClassReturns`] and
/// [`DecodeError::EntersLater`], where the tokens before the named one are appended.
#[derive(Clone, PartialEq, Debug)]
pub enum DecodeError {
    /// Arguments that do not fit.
    Run(RunError),
    /// The token's class (its document) has a lower id than the one before: its keys may be gone already.
    ClassReturns {
        /// The token.
        position: i64,
    },
    /// Only later queries see the token's key.
    EntersLater {
        /// The token.
        position: i64,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(error) => error.fmt(f),
            Self::ClassReturns { position } => {
                write!(
                    f,
                    "the class of token {position} is lower than that before it: ids may not fall in a cache"
                )
            }
            Self::EntersLater { position } => {
                write!(f, "token {position} is seen by later queries only, which a cache does not hold")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<RunError> for DecodeError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl Attention {
    /// The decoder of an attention whose selection has lifetimes: at any position at most `n` keys are attended, and those
    /// that `plus` keeps besides.
    ///
    /// # Errors
    /// Why there is none: nothing is selected, candidates may leave, the score depends on the query, or something of a key
    /// depends on other keys.
    ///
    /// ```
    /// use dmac::{Arguments, Attention, Options, Storage, TensorView};
    ///
    /// let text = "attention best(w: int = 2) {
    ///     input rating[b, g, j]: f32
    ///     mask j <= i
    ///     select top(w) of rating[b, g, j]
    /// }";
    /// let attention = Attention::compile(text, &Options::native(8, Storage::F32))?;
    /// let decoder = attention.decoder()?;
    ///
    /// // Two query heads on one key/value head; three tokens, then one more.
    /// let (k, v) = (vec![0.5; 3 * 8], vec![1.0; 3 * 8]);
    /// let mut cache = decoder.init(
    ///     2,
    ///     &Arguments::new()
    ///         .tensor("k", TensorView::of_f32(&[1, 1, 3, 8], &k)?)
    ///         .tensor("v", TensorView::of_f32(&[1, 1, 3, 8], &v)?)
    ///         .tensor("rating", TensorView::of_f32(&[1, 1, 3], &[3.0, 1.0, 2.0])?),
    /// )?;
    /// assert_eq!(cache.keys(0, 0), [0, 2]);
    /// let (k, v) = (vec![0.5; 8], vec![4.0; 8]);
    /// cache.append(
    ///     &Arguments::new()
    ///         .tensor("k", TensorView::of_f32(&[1, 1, 1, 8], &k)?)
    ///         .tensor("v", TensorView::of_f32(&[1, 1, 1, 8], &v)?)
    ///         .tensor("rating", TensorView::of_f32(&[1, 1, 1], &[9.0])?),
    /// )?;
    /// assert_eq!(cache.keys(0, 0), [0, 3]);
    /// let q = vec![1.0; 2 * 8];
    /// let results = cache.attend(&Arguments::new().tensor("q", TensorView::of_f32(&[1, 2, 1, 8], &q)?))?;
    /// assert!((results.get("out").expect("every program has `out`").to_f64()[0] - 2.5).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decoder(&self) -> Result<Decoder, NoDecoder> {
        let decoding = split(&self.compiled().meaning).map_err(|why| NoDecoder { why })?;
        let compile = |meaning: &Graph| {
            executable(meaning, self.compiled().program.storage).map_err(|why| NoDecoder { why })
        };
        let (append, attend) = (compile(&decoding.append)?, compile(&decoding.attend)?);
        Ok(Decoder { decoding, append, attend })
    }
}

impl Decoder {
    /// A cache after the given tokens: `k`, `v` and the program's other inputs over keys, `N >= 0` of them, and the inputs
    /// that have neither keys nor queries, which the cache keeps. With `kv_len`, so many tokens of each batch element.
    /// `heads` is the number of query heads.
    ///
    /// # Errors
    /// Arguments that do not fit the program, or tokens that a cache cannot take.
    pub fn init(&self, heads: usize, arguments: &Arguments<'_>) -> Result<Cache<'_>, DecodeError> {
        let k = arguments.get("k").ok_or_else(|| self.missing("k"))?;
        let (batch, groups) = (k.dims().first().copied(), k.dims().get(1).copied());
        let (batch, groups) = (batch.unwrap_or(0), groups.unwrap_or(0));
        let rows = if self.decoding.by_head { heads } else { groups };
        let graphs = [&self.decoding.append, &self.decoding.attend];
        let is_constant = |name: &str| {
            let input = graphs.iter().find_map(|graph| graph.inputs.iter().find(|input| input.name == name));
            input.is_some_and(|input| {
                let kind = |axis: &dmac_ir::AxisId| graphs[0].axis(*axis).kind.clone();
                !input.axes.iter().any(|axis| matches!(kind(axis), AxisKind::Key | AxisKind::Query))
            })
        };
        let mut cache = Cache {
            decoder: self,
            heads,
            constants: arguments
                .tensors()
                .filter(|(name, _)| is_constant(name))
                .map(|(name, view)| (name.to_owned(), view.to_tensor()))
                .collect(),
            params: arguments.params().map(|(name, value)| (name.to_owned(), value)).collect(),
            alive: vec![Alive::default(); batch * rows],
            slots: None,
            lengths: vec![0; batch],
            batch,
            rows,
        };
        let lengths = arguments.get("kv_len").map(|view| view.to_tensor().to_i32());
        cache.take(arguments, lengths.as_deref())?;
        Ok(cache)
    }

    fn missing(&self, name: &str) -> RunError {
        let wanted = self.decoding.append.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
        RunError::Missing { tensor: name.to_owned(), wanted }
    }
}

impl Cache<'_> {
    /// Appends tokens: `k`, `v` and the program's other inputs over keys, one or more of each batch element.
    ///
    /// # Errors
    /// As [`Decoder::init`].
    pub fn append(&mut self, arguments: &Arguments<'_>) -> Result<(), DecodeError> {
        self.take(arguments, None)
    }

    /// The results of one query row (`q` and the program's other inputs over queries) at the position of the last token.
    ///
    /// # Errors
    /// Arguments that do not fit the program.
    pub fn attend(&self, arguments: &Arguments<'_>) -> Result<Results, DecodeError> {
        let graph = &self.decoder.decoding.attend;
        let declared = |name: &str| graph.inputs.iter().any(|input| input.name == name);
        let slots = self.slots.as_ref();
        let used = slots.map_or(0, Slots::used);
        let lines = || (0..self.batch).flat_map(|b| (0..self.rows).map(move |row| (b, row)));
        let keys = |(b, row)| slots.map_or(&[][..], |slots| slots.keys(b, row));
        let counts: Vec<i32> = lines().map(|line| keys(line).len() as i32).collect();
        let now: Vec<i32> = self.lengths.iter().map(|length| *length as i32 - 1).collect();
        let mut numbers = Vec::new();
        if declared("decode.number") {
            for line in lines() {
                let keys = keys(line).iter().map(|&key| key as i32);
                numbers.extend(keys.chain(std::iter::repeat(-1)).take(used));
            }
        }
        let mut call = self.known(graph, arguments);
        if let Some(slots) = slots {
            for (name, view) in slots.views()? {
                call = call.tensor(name, view);
            }
        }
        let own = [
            ("decode.used", vec![self.batch, self.rows], &counts),
            ("decode.now", vec![self.batch], &now),
            ("decode.number", vec![self.batch, self.rows, used], &numbers),
        ];
        for (name, dims, values) in own {
            if declared(name) {
                call = call.tensor(name, TensorView::of_i32(&dims, values)?);
            }
        }
        Ok(self.decoder.attend.run(&call, &Rayon)?)
    }

    /// The keys that are alive in a row of the selection (a key/value head, or a query head where each selects for
    /// itself), ascending.
    pub fn keys(&self, batch: usize, row: usize) -> Vec<i64> {
        let mut keys = self.slots.as_ref().map_or_else(Vec::new, |slots| slots.keys(batch, row).to_vec());
        keys.sort_unstable();
        keys
    }

    /// The tokens of a batch element so far.
    pub fn len(&self, batch: usize) -> usize {
        self.lengths[batch] as usize
    }

    /// Whether no batch element has a token.
    pub fn is_empty(&self) -> bool {
        self.lengths.iter().all(|&length| length == 0)
    }

    /// Bytes that are held of keys, values and what else is read of a key.
    pub fn bytes(&self) -> usize {
        self.slots.as_ref().map_or(0, Slots::bytes)
    }

    /// The arguments that a program declares, from those given, the constants and the parameters.
    fn known<'a>(&'a self, graph: &Graph, arguments: &Arguments<'a>) -> Arguments<'a> {
        let declared = |name: &str| graph.inputs.iter().any(|input| input.name == name);
        let mut call = Arguments::new();
        for (name, tensor) in self.constants.iter().filter(|(name, _)| declared(name)) {
            call = call.tensor(name, tensor.view());
        }
        for (name, view) in arguments.tensors().filter(|(name, _)| *name != "kv_len") {
            call = call.tensor(name, view.clone());
        }
        self.params.iter().fold(call, |call, (name, value)| call.param(name, *value))
    }

    fn take(&mut self, arguments: &Arguments<'_>, lengths: Option<&[i32]>) -> Result<(), DecodeError> {
        let decoder = self.decoder;
        let decoding = &decoder.decoding;
        let k = arguments.get("k").ok_or_else(|| decoder.missing("k"))?;
        let features = k.dims().get(3).copied().unwrap_or(0);
        let first: Vec<i32> = self.lengths.iter().map(|length| *length as i32).collect();
        // No query takes part.
        let q = Tensor::zeros(k.element(), &[self.batch, self.heads, 0, features]);
        let results = {
            let mut call = Arguments::new();
            let given = self.known(&decoding.append, arguments);
            let declared = |name: &str| decoding.append.inputs.iter().any(|input| input.name == name);
            for (name, view) in given.tensors().filter(|(name, _)| declared(name)) {
                call = call.tensor(name, view.clone());
            }
            call = given.params().fold(call, |call, (name, value)| call.param(name, value));
            call = call.tensor("q", q.view());
            if declared("decode.first") {
                call = call.tensor("decode.first", TensorView::of_i32(&[self.batch], &first)?);
            }
            decoder.append.run(&call, &Rayon)?
        };
        let result = |name: &str| results.get(name).ok_or_else(|| decoder.missing(name));
        let ints = |name: &str| results.get(name).map(Tensor::to_i32);
        let count = result("decode.count")?.to_i32()[0].max(0) as usize;
        let [enter, competes, leave, forced, class] =
            ["enter", "competes", "leave", "forced", "class"].map(|name| ints(&format!("decode.{name}")));
        let rating = result("decode.rating")?;
        let dims = rating.dims().to_vec();
        let rating = floats(rating);

        let mut sources = Vec::new();
        for slot in &decoding.slots {
            let view = if slot.derived {
                result(&slot.source)?.view()
            } else {
                arguments.get(&slot.source).cloned().ok_or_else(|| decoder.missing(&slot.source))?
            };
            sources.push((slot.input.clone(), Source { view, axes: &slot.axes }));
        }
        let slots = self.slots.get_or_insert_with(|| Slots::new(self.batch, self.rows, &sources));
        let tokens = *dims.last().unwrap_or(&0);
        let groups = k.dims()[1].max(1);
        for b in 0..self.batch {
            let here = lengths.map_or(tokens, |lengths| (lengths[b].max(0) as usize).min(tokens));
            for t in 0..here {
                let key = self.lengths[b];
                for row in 0..self.rows {
                    // Without an axis of heads, all rows share what the selection knows of a key.
                    let at = if dims.len() == 3 { (b * dims[1] + row) * tokens + t } else { b * tokens + t };
                    let of = |tensor: &Option<Vec<i32>>, missing: i64| {
                        tensor.as_ref().map_or(missing, |values| i64::from(values[at]))
                    };
                    let rank = Rank::new(of(&forced, 0) != 0, rating[at], key, decoding.ties == Ties::High);
                    let new = NewKey {
                        key,
                        rank,
                        enter: of(&enter, key),
                        competes: of(&competes, key),
                        leave: of(&leave, -NEVER),
                        class: of(&class, 0),
                    };
                    let alive = &mut self.alive[b * self.rows + row];
                    let change = alive.append(new, count).map_err(|refusal| match refusal {
                        Refusal::ClassReturns => DecodeError::ClassReturns { position: key },
                        Refusal::EntersLater => DecodeError::EntersLater { position: key },
                    })?;
                    for dead in change.dead {
                        slots.remove(b, row, dead);
                    }
                    if change.lives {
                        let kv_head = row * groups / self.rows.max(1);
                        slots.insert(row, key, &sources, Part { batch: b, kv_head, head: row, key: t });
                    }
                }
                self.lengths[b] += 1;
            }
        }
        Ok(())
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    debug_assert_eq!(tensor.element(), Element::F32);
    tensor.to_f64().into_iter().map(|x| x as f32).collect()
}
