//! How many pairs of a query row and a key an attention attends to, and where: exact counts for given inputs.
//!
//! Input → output: an [`Attention`] and the arguments of a call → a [`PairMap`] for each attention of the program. The counts
//! come from a program that is derived from this one and shares its masks and selections ([`dmac_passes::count_pairs`]).

use crate::attention::{Attention, executable};
use dmac_ir::AxisKind;
use dmac_passes::count_pairs::{cell_width, count_pairs};
use dmac_runtime::{Arguments, RunError, Tensor, ThreadPool};

/// What one attention attends to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairMap {
    /// The branch's name, or `out`.
    pub name: String,
    /// `B`, `H`, `M` and the cells of the key axis.
    pub dims: [usize; 4],
    /// Attended pairs, `[B, H, M, cells]`.
    pub counts: Vec<i32>,
    /// The length of its key axis.
    pub keys: i64,
    /// Keys of a cell; the last one that has any may have fewer.
    pub width: i64,
    /// `D`: features of queries and keys.
    pub features: i64,
    /// Features of its values.
    pub value_features: i64,
}

impl PairMap {
    /// Attended pairs, over all batch elements and heads.
    pub fn attended(&self) -> u64 {
        self.counts.iter().map(|&count| count.max(0) as u64).sum()
    }

    /// All pairs of a row and a key.
    pub fn pairs(&self) -> u64 {
        let [batch, heads, rows, _] = self.dims;
        (batch * heads * rows) as u64 * self.keys.max(0) as u64
    }

    /// Operations of the two products of an attention on the attended pairs: a multiplication and an addition for each
    /// feature of the key and of the value.
    pub fn flops(&self) -> f64 {
        2.0 * (self.features + self.value_features) as f64 * self.attended() as f64
    }
}

impl Attention {
    /// Counts the attended pairs of each attention of the program, its key axis divided into at most `cells` equal parts, whose width is a
    /// multiple of `unit` keys.
    ///
    /// # Errors
    /// Arguments that do not fit the program.
    ///
    /// # Panics
    /// If `cells` or `unit` is zero.
    ///
    /// ```
    /// use dmac::{Arguments, Attention, Options, Storage, TensorView, runtime::Serial};
    ///
    /// let attention = Attention::compile("attention causal { mask j <= i }", &Options::native(8, Storage::F32))?;
    /// let x = vec![1.0; 5 * 8];
    /// let view = || TensorView::of_f32(&[1, 1, 5, 8], &x);
    /// let arguments = Arguments::new().tensor("q", view()?).tensor("k", view()?).tensor("v", view()?);
    /// let maps = attention.pairs(&arguments, 1, 1, &Serial)?;
    /// assert_eq!(maps[0].counts, [1, 2, 3, 4, 5]);
    /// assert_eq!((maps[0].attended(), maps[0].pairs()), (15, 25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pairs(
        &self,
        arguments: &Arguments<'_>,
        cells: usize,
        unit: usize,
        pool: &dyn ThreadPool,
    ) -> Result<Vec<PairMap>, RunError> {
        let (graph, counted) = count_pairs(&self.compiled().meaning, cells as i64, unit as i64);
        let counting = executable(&graph, self.compiled().program.storage)
            .unwrap_or_else(|why| panic!("a program that compiles cannot be counted: {why}"));
        let shape = arguments.bind(&self.compiled().graph, &self.compiled().program)?.shape;
        let results = counting.run(arguments, pool)?;
        let features = graph.find_axis(&AxisKind::Feature).map_or(0, |axis| shape.size(axis));
        let map = |(counted, (_, tensor)): (dmac_passes::count_pairs::Counted, (String, Tensor))| PairMap {
            name: counted.name,
            dims: <[usize; 4]>::try_from(tensor.dims()).expect("counts have four axes"),
            counts: tensor.to_i32(),
            keys: shape.size(counted.keys),
            width: cell_width(shape.size(counted.keys), cells as i64, unit as i64),
            features,
            value_features: shape.size(counted.features),
        };
        Ok(counted.into_iter().zip(results.tensors).map(map).collect())
    }
}
