//! Graphs of small programs, built by hand, and random inputs for them.

use dmac_interp::{Inputs, Tensor};
use dmac_ir::{
    Attend, Axis, AxisId, AxisKind, Binary, Compare, Domain, Elem, Field, Form, Graph, Input, NodeId,
    Normalize, Op, Output, Reduction, Scalar, Select, SelectLowering, Size, Ties, Unary, Var,
};

/// The sizes of a problem.
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
    pub fn key_head(&self, head: usize) -> usize {
        head / (self.h / self.g)
    }
}

/// A graph with the seven axes, `q`, `k`, `v` and the scaled score.
pub struct Program {
    pub graph: Graph,
    pub axes: [AxisId; 7],
    pub b: Var,
    pub h: Var,
    pub g: Var,
    pub i: Var,
    pub j: Var,
    pub d: Var,
    pub e: Var,
    pub q: NodeId,
    pub k: NodeId,
    pub v: NodeId,
}

impl Program {
    pub fn new() -> Self {
        let mut graph = Graph::new("test");
        let kinds = [
            ("B", AxisKind::Batch),
            ("H", AxisKind::Head),
            ("G", AxisKind::KvHead),
            ("M", AxisKind::Query),
            ("N", AxisKind::Key),
            ("D", AxisKind::Feature),
            ("E", AxisKind::ValueFeature),
        ];
        let axes = kinds.map(|(name, kind)| graph.add_axis(Axis::new(name, kind)));
        let [b, h, g, i, j, d, e] = {
            let names = ["b", "h", "g", "i", "j", "d", "e"];
            let mut vars = names.iter().zip(axes).map(|(name, axis)| graph.add_var(*name, axis));
            std::array::from_fn(|_| vars.next().expect("seven"))
        };
        let [ab, ah, ag, am, an, ad, ae] = axes;
        let mut program = Self { graph, axes, b, h, g, i, j, d, e, q: NodeId(0), k: NodeId(0), v: NodeId(0) };
        program.q = program.input("q", Elem::Real, &[ab, ah, am, ad]);
        program.k = program.input("k", Elem::Real, &[ab, ag, an, ad]);
        program.v = program.input("v", Elem::Real, &[ab, ag, an, ae]);
        program
    }

    pub fn input(&mut self, name: &str, elem: Elem, axes: &[AxisId]) -> NodeId {
        let id = self.graph.add_input(Input {
            name: name.into(),
            elem,
            axes: axes.to_vec(),
            range: None,
            bounds: None,
            span: None,
        });
        self.graph.add(Op::Input(id), &[])
    }

    pub fn at(&mut self, var: Var) -> NodeId {
        self.graph.index(var)
    }

    pub fn read(&mut self, tensor: NodeId, vars: &[Var]) -> NodeId {
        let index: Vec<NodeId> = vars.iter().map(|&var| self.graph.index(var)).collect();
        self.graph.read(tensor, &index)
    }

    pub fn op(&mut self, op: Binary, x: NodeId, y: NodeId) -> NodeId {
        self.graph.binary(op, x, y)
    }

    pub fn int(&mut self, value: i64) -> NodeId {
        self.graph.int(value)
    }

    pub fn position(&mut self) -> NodeId {
        self.graph.add(Op::Position { query: self.i, batch: self.b }, &[])
    }

    /// A selection over `j` in the rows `b g i`, and its membership term.
    pub fn select(&mut self, choice: Choice, score: NodeId, candidate: NodeId, n: NodeId) -> NodeId {
        let select = Select {
            rows: vec![self.b, self.g, self.i],
            over: self.j,
            ties: choice.ties,
            forcing: choice.forcing.is_some(),
            plus: choice.plus.is_some(),
            lowering: choice.lowering,
        };
        let mut operands = vec![score, candidate, n];
        operands.extend(choice.forcing);
        operands.extend(choice.plus);
        let set = self.graph.add(Op::Select(select), &operands);
        let index: Vec<NodeId> =
            [self.b, self.g, self.i, self.j].iter().map(|&var| self.graph.index(var)).collect();
        let operands: Vec<NodeId> = std::iter::once(set).chain(index).collect();
        self.graph.add(Op::Contains, &operands)
    }

    /// `position in enter .. end(j)` of a lifetime in the rows `b g` with `enter = j`.
    pub fn lifetime(&mut self, score: NodeId, ties: Ties, n: NodeId) -> NodeId {
        let op = Op::Lifetime {
            rows: vec![self.b, self.g],
            over: self.j,
            ties,
            batch: self.b,
            forcing: false,
            class: false,
        };
        let enter = self.at(self.j);
        let ends = self.graph.add(op, &[score, enter, n]);
        let end = self.read(ends, &[self.b, self.g, self.j]);
        let position = self.position();
        self.graph.add(Op::InRange, &[position, enter, end])
    }

    pub fn sum(&mut self, domains: &[Domain], body: NodeId) -> NodeId {
        self.graph.add(Op::Reduce { op: Reduction::Sum, domains: domains.to_vec() }, &[body])
    }

    /// `rsqrt(D) * sum(d: q * k)` for keys `k` over the variables given.
    pub fn score_of(&mut self, k: NodeId, key: &[Var]) -> NodeId {
        let q = self.read(self.q, &[self.b, self.h, self.i, self.d]);
        let k = self.read(k, key);
        let product = self.op(Binary::Mul, q, k);
        let dot = self.sum(&[Domain::All(self.d)], product);
        let size = self.graph.size(Size::Axis(self.axes[5]));
        let size = self.graph.cast(size, Scalar::F32);
        let scale = self.graph.unary(Unary::Rsqrt, size);
        self.op(Binary::Mul, scale, dot)
    }

    pub fn score(&mut self) -> NodeId {
        self.score_of(self.k, &[self.b, self.g, self.j, self.d])
    }

    /// `j < KeyLength(b)`.
    pub fn exists(&mut self) -> NodeId {
        let length = self.graph.add(Op::KeyLength { batch: self.b }, &[]);
        let j = self.at(self.j);
        self.graph.compare(Compare::Lt, j, length)
    }

    /// `j <= i`.
    pub fn causal(&mut self) -> NodeId {
        let (j, i) = (self.at(self.j), self.position());
        self.graph.compare(Compare::Le, j, i)
    }

    pub fn attend_as(&self, name: &str, key: Var, normalize: Normalize, terms: usize) -> Attend {
        Attend {
            name: name.into(),
            batch: self.b,
            head: self.h,
            kv_head: self.g,
            query: self.i,
            key,
            feature: self.e,
            normalize,
            forms: vec![Form::Unclassified; terms],
            tiling: None,
            skips: false,
        }
    }

    /// Attention to `v` over `j`; a sink makes it a softmax with sink.
    pub fn attend(
        &mut self,
        normalize: Normalize,
        score: NodeId,
        sink: Option<NodeId>,
        terms: &[NodeId],
    ) -> NodeId {
        let value = self.read(self.v, &[self.b, self.g, self.j, self.e]);
        let mut operands = vec![score, value];
        operands.extend(sink);
        operands.extend(terms);
        let attend = self.attend_as("out", self.j, normalize, terms.len());
        self.graph.add(Op::Attend(attend), &operands)
    }

    /// Makes the fields of an attention outputs.
    pub fn finish(mut self, attention: NodeId, fields: &[(&str, Field)]) -> Graph {
        for (name, field) in fields {
            let node = self.graph.field(attention, *field);
            self.graph.outputs.push(Output { name: (*name).into(), node });
        }
        self.graph.verify(&[]).expect("a well-formed graph");
        self.graph
    }

    /// Makes a tensor given by an expression the only output.
    pub fn emit(&mut self, vars: &[Var], elem: Elem, body: NodeId) {
        let define = Op::Define { name: "it".into(), vars: vars.to_vec(), elem };
        let node = self.graph.add(define, &[body]);
        self.graph.outputs = vec![Output { name: "it".into(), node }];
        self.graph.verify(&[]).expect("a well-formed graph");
    }

    /// Softmax attention under mask terms, with `out` and `lse`.
    pub fn softmax(mut self, terms: &[NodeId]) -> Graph {
        let score = self.score();
        let attention = self.attend(Normalize::Softmax, score, None, terms);
        self.finish(attention, &[("out", Field::Out), ("lse", Field::Lse)])
    }
}

/// The options of a selection.
#[derive(Clone, Copy)]
pub struct Choice {
    pub ties: Ties,
    pub forcing: Option<NodeId>,
    pub plus: Option<NodeId>,
    pub lowering: Option<SelectLowering>,
}

impl Choice {
    pub fn plain(ties: Ties) -> Self {
        Self { ties, forcing: None, plus: None, lowering: None }
    }
}

/// A generator of pseudo-random numbers (xorshift), seeded.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In -1 .. 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 20) % end
    }

    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.unit()).collect()
    }
}

/// Random `q`, `k`, `v`, then `more` tensors.
pub fn inputs(graph: &Graph, sizes: Sizes, seed: u64, more: Vec<Tensor>) -> Inputs {
    let mut random = Random::new(seed);
    let Sizes { b, h, g, m, n, d, e } = sizes;
    let mut tensors: Vec<Tensor> = [[b, h, m, d], [b, g, n, d], [b, g, n, e]]
        .iter()
        .map(|dims| Tensor::f32(dims, random.floats(dims.iter().product())))
        .collect();
    tensors.extend(more);
    Inputs::new(graph, tensors)
}
