//! Small attention graphs, built as the front end builds them.

use dmac_ir::{
    Attend, Axis, AxisId, AxisKind, Binary, Compare, Domain, Elem, Field, Form, Graph, Input, InputId,
    NodeId, Normalize, Op, Param, ParamType, ParamValue, Reduction, Select, Size, Ties, Unary, Var,
};

/// A graph under construction, with the variables that every program has.
pub struct Program {
    pub graph: Graph,
    pub b: Var,
    pub h: Var,
    pub g: Var,
    pub i: Var,
    pub j: Var,
    pub d: Var,
    pub e: Var,
}

pub const B: AxisId = AxisId(0);
pub const H: AxisId = AxisId(1);
pub const G: AxisId = AxisId(2);
pub const M: AxisId = AxisId(3);
pub const N: AxisId = AxisId(4);
pub const D: AxisId = AxisId(5);
pub const E: AxisId = AxisId(6);

impl Program {
    pub fn new(name: &str) -> Self {
        let mut graph = Graph::new(name);
        let axis = |graph: &mut Graph, name: &str, kind: AxisKind, size: Option<i64>| {
            graph.add_axis(Axis { size, ..Axis::new(name, kind) })
        };
        axis(&mut graph, "B", AxisKind::Batch, None);
        axis(&mut graph, "H", AxisKind::Head, None);
        axis(&mut graph, "G", AxisKind::KvHead, None);
        axis(&mut graph, "M", AxisKind::Query, None);
        axis(&mut graph, "N", AxisKind::Key, None);
        axis(&mut graph, "D", AxisKind::Feature, Some(4));
        axis(&mut graph, "E", AxisKind::ValueFeature, Some(4));
        let [b, h, g, i, j, d, e] = [("b", B), ("h", H), ("g", G), ("i", M), ("j", N), ("d", D), ("e", E)]
            .map(|(name, axis)| graph.add_var(name, axis));
        let mut program = Self { graph, b, h, g, i, j, d, e };
        program.input("q", Elem::Real, &[B, H, M, D]);
        program.input("k", Elem::Real, &[B, G, N, D]);
        program.input("v", Elem::Real, &[B, G, N, E]);
        program
    }

    pub fn input(&mut self, name: &str, elem: Elem, axes: &[AxisId]) -> NodeId {
        let id = self.graph.add_input(Input {
            name: name.into(),
            elem,
            axes: axes.to_vec(),
            range: None,
            span: None,
        });
        self.graph.add(Op::Input(id), &[])
    }

    #[allow(dead_code, reason = "not every test that includes this file has tables")]
    pub fn ranged_input(&mut self, name: &str, axes: &[AxisId], range: (i64, i64)) -> NodeId {
        let id = self.graph.add_input(Input {
            name: name.into(),
            elem: Elem::I32,
            axes: axes.to_vec(),
            range: Some(range),
            span: None,
        });
        self.graph.add(Op::Input(id), &[])
    }

    pub fn param(&mut self, name: &str, default: i64) -> NodeId {
        let id = self.graph.add_param(Param {
            name: name.into(),
            ty: ParamType::Int,
            default: ParamValue::Int(default),
        });
        self.graph.add(Op::Param(id), &[])
    }

    pub fn at(&mut self, tensor: NodeId, vars: &[Var]) -> NodeId {
        let index: Vec<NodeId> = vars.iter().map(|&var| self.graph.index(var)).collect();
        self.graph.read(tensor, &index)
    }

    pub fn position(&mut self) -> NodeId {
        self.graph.add(Op::Position { query: self.i, batch: self.b }, &[])
    }

    pub fn key(&mut self) -> NodeId {
        self.graph.index(self.j)
    }

    pub fn length(&mut self) -> NodeId {
        self.graph.add(Op::KeyLength { batch: self.b }, &[])
    }

    pub fn bin(&mut self, op: Binary, x: NodeId, y: NodeId) -> NodeId {
        self.graph.binary(op, x, y)
    }

    pub fn cmp(&mut self, op: Compare, x: NodeId, y: NodeId) -> NodeId {
        self.graph.compare(op, x, y)
    }

    pub fn sum(&mut self, vars: &[Var], body: NodeId) -> NodeId {
        let domains = vars.iter().map(|&var| Domain::All(var)).collect();
        self.graph.add(Op::Reduce { op: Reduction::Sum, domains }, &[body])
    }

    pub fn define(&mut self, name: &str, vars: &[Var], elem: Elem, body: NodeId) -> NodeId {
        self.graph.add(Op::Define { name: name.into(), vars: vars.to_vec(), elem }, &[body])
    }

    /// `j <= i`
    pub fn causal(&mut self) -> NodeId {
        let (j, i) = (self.key(), self.position());
        self.cmp(Compare::Le, j, i)
    }

    /// The implicit first mask term.
    pub fn valid(&mut self) -> NodeId {
        let (j, length) = (self.key(), self.length());
        self.cmp(Compare::Lt, j, length)
    }

    /// `scale * sum(d: q * k)`
    pub fn score(&mut self) -> NodeId {
        let (q, k) = (self.graph.add(Op::Input(InputId(0)), &[]), self.graph.add(Op::Input(InputId(1)), &[]));
        let (b, h, g, i, j, d) = (self.b, self.h, self.g, self.i, self.j, self.d);
        let (q, k) = (self.at(q, &[b, h, i, d]), self.at(k, &[b, g, j, d]));
        let product = self.bin(Binary::Mul, q, k);
        let sum = self.sum(&[d], product);
        let scale = self.graph.float(0.5);
        self.bin(Binary::Mul, scale, sum)
    }

    pub fn value(&mut self) -> NodeId {
        let v = self.graph.add(Op::Input(InputId(2)), &[]);
        let (b, g, j, e) = (self.b, self.g, self.j, self.e);
        self.at(v, &[b, g, j, e])
    }

    /// Ends the program: an attention over `j` with these mask terms below the implicit one.
    pub fn attend(&mut self, score: NodeId, masks: &[NodeId]) {
        let value = self.value();
        let valid = self.valid();
        let attention = self.branch("out", self.j, score, value, &[&[valid], masks].concat());
        let (out, lse) = (self.graph.field(attention, Field::Out), self.graph.field(attention, Field::Lse));
        self.output("out", out);
        self.output("lse", lse);
    }

    pub fn output(&mut self, name: &str, node: NodeId) {
        self.graph.outputs.push(dmac_ir::Output { name: name.into(), node });
    }

    pub fn branch(&mut self, name: &str, key: Var, score: NodeId, value: NodeId, masks: &[NodeId]) -> NodeId {
        let attend = Attend {
            name: name.into(),
            batch: self.b,
            head: self.h,
            kv_head: self.g,
            query: self.i,
            key,
            feature: self.e,
            normalize: Normalize::Softmax,
            forms: vec![Form::Unclassified; masks.len()],
            tiling: None,
            skips: false,
        };
        let operands = [&[score, value], masks].concat();
        self.graph.add(Op::Attend(attend), &operands)
    }

    /// `contains(select top(n) ..., rows, over)`
    pub fn select(&mut self, select: Select, operands: &[NodeId]) -> NodeId {
        let index: Vec<NodeId> =
            select.rows.iter().chain([&select.over]).map(|&var| self.graph.index(var)).collect();
        let set = self.graph.add(Op::Select(select), operands);
        self.graph.add(Op::Contains, &[&[set], &index[..]].concat())
    }

    pub fn rows(rows: &[Var], over: Var) -> Select {
        Select { rows: rows.to_vec(), over, ties: Ties::Low, forcing: false, plus: false, lowering: None }
    }
}

pub fn causal() -> Graph {
    let mut p = Program::new("causal");
    let score = p.score();
    let mask = p.causal();
    p.attend(score, &[mask]);
    p.graph
}

pub fn sliding_window() -> Graph {
    let mut p = Program::new("sliding_window");
    let (window, sink) = (p.param("window", 1024), p.param("sink", 4));
    let score = p.score();
    let causal = p.causal();
    let (i, j) = (p.position(), p.key());
    let distance = p.bin(Binary::Sub, i, j);
    let near = p.cmp(Compare::Lt, distance, window);
    let first = p.cmp(Compare::Lt, j, sink);
    let either = p.bin(Binary::Or, near, first);
    let mask = p.bin(Binary::And, causal, either);
    p.attend(score, &[mask]);
    p.graph
}

pub fn document() -> Graph {
    let mut p = Program::new("document");
    let doc = p.input("doc", Elem::I32, &[B, N]);
    let score = p.score();
    let causal = p.causal();
    let (i, b, j) = (p.position(), p.graph.index(p.b), p.key());
    let row = p.graph.read(doc, &[b, i]);
    let key = p.graph.read(doc, &[b, j]);
    let same = p.cmp(Compare::Eq, key, row);
    let mask = p.bin(Binary::And, causal, same);
    p.attend(score, &[mask]);
    p.graph
}

pub fn dma() -> Graph {
    let mut p = Program::new("dma");
    let w = p.param("w", 1024);
    let other_g = p.graph.add_var("g'", G);
    let wdt = p.input("wdt", Elem::Real, &[G, G, E]);
    let a = p.input("a", Elem::F32, &[G]);
    let v = p.graph.add(Op::Input(InputId(2)), &[]);
    let (b, g, i, j, e) = (p.b, p.g, p.i, p.j, p.e);
    let (weight, value) = (p.at(wdt, &[g, other_g, e]), p.at(v, &[b, other_g, j, e]));
    let product = p.bin(Binary::Mul, weight, value);
    let dt = p.sum(&[other_g, e], product);
    let soft = p.graph.unary(Unary::Softplus, dt);
    let a = p.at(a, &[g]);
    let exponent = p.bin(Binary::Mul, a, soft);
    let body = p.graph.unary(Unary::Exp, exponent);
    let delta = p.define("delta", &[b, g, j], Elem::F32, body);
    let delta = p.at(delta, &[b, g, j]);
    let (valid, causal) = (p.valid(), p.causal());
    let candidates = p.bin(Binary::And, valid, causal);
    let select = Select { ties: Ties::High, ..Program::rows(&[b, g, i], j) };
    let kept = p.select(select, &[delta, candidates, w]);
    let score = p.score();
    let score = p.bin(Binary::Add, score, delta);
    p.attend(score, &[causal, kept]);
    p.graph
}

/// Token selection by an indexer: the score has a query axis.
pub fn indexed() -> Graph {
    let mut p = Program::new("indexed");
    let n = p.param("n", 2048);
    let x_axis = p.graph.add_axis(Axis::new("x", AxisKind::Free));
    let f_axis = p.graph.add_axis(Axis::new("f", AxisKind::Free));
    let (x, f) = (p.graph.add_var("x", x_axis), p.graph.add_var("f", f_axis));
    let qi = p.input("qi", Elem::Real, &[B, x_axis, M, f_axis]);
    let ki = p.input("ki", Elem::Real, &[B, N, f_axis]);
    let wi = p.input("wi", Elem::F32, &[B, x_axis, M]);
    let (b, i, j) = (p.b, p.i, p.j);
    let (qi, ki, wi) = (p.at(qi, &[b, x, i, f]), p.at(ki, &[b, j, f]), p.at(wi, &[b, x, i]));
    let product = p.bin(Binary::Mul, qi, ki);
    let dot = p.sum(&[f], product);
    let active = p.graph.unary(Unary::Relu, dot);
    let weighted = p.bin(Binary::Mul, wi, active);
    let body = p.sum(&[x], weighted);
    let index = p.define("index", &[b, i, j], Elem::F32, body);
    let index = p.at(index, &[b, i, j]);
    let (valid, causal) = (p.valid(), p.causal());
    let candidates = p.bin(Binary::And, valid, causal);
    let kept = p.select(Program::rows(&[b, i], j), &[index, candidates, n]);
    let score = p.score();
    p.attend(score, &[causal, kept]);
    p.graph
}

/// Two branches: compressed keys, and the blocks that its weights choose.
pub fn blocks() -> Graph {
    let mut p = Program::new("blocks");
    let n = p.param("n", 2);
    let (l, stride, block) = (4, 2, 8);
    let c_axis = p.graph.add_axis(Axis::new(
        "c",
        AxisKind::Windows { of: N, length: Size::Const(l), stride: Size::Const(stride) },
    ));
    let s_axis = p.graph.add_axis(Axis::new("s", AxisKind::Blocks { of: N, length: Size::Const(block) }));
    let (c, s) = (p.graph.add_var("c", c_axis), p.graph.add_var("s", s_axis));
    let (b, h, g, i, j, d, e) = (p.b, p.h, p.g, p.i, p.j, p.d, p.e);
    let (k, v) = (p.graph.add(Op::Input(InputId(1)), &[]), p.graph.add(Op::Input(InputId(2)), &[]));
    let mean = |p: &mut Program, name: &str, tensor: NodeId, feature: Var| {
        let body = p.at(tensor, &[b, g, j, feature]);
        let domains = vec![Domain::Positions { var: j, part: c }];
        let body = p.graph.add(Op::Reduce { op: Reduction::Mean, domains }, &[body]);
        p.define(name, &[b, g, c, feature], Elem::Real, body)
    };
    let (kc, vc) = (mean(&mut p, "kc", k, d), mean(&mut p, "vc", v, e));
    let q = p.graph.add(Op::Input(InputId(0)), &[]);
    let (q, key, value) = (p.at(q, &[b, h, i, d]), p.at(kc, &[b, g, c, d]), p.at(vc, &[b, g, c, e]));
    let product = p.bin(Binary::Mul, q, key);
    let dot = p.sum(&[d], product);
    let (index, position, length) = (p.graph.index(c), p.position(), p.length());
    let step = p.graph.int(stride);
    let start = p.bin(Binary::Mul, index, step);
    let width = p.graph.int(l);
    let end = p.bin(Binary::Add, start, width);
    let exists = p.cmp(Compare::Le, end, length);
    let one = p.graph.int(1);
    let next = p.bin(Binary::Add, position, one);
    let complete = p.cmp(Compare::Le, end, next);
    let compressed = p.branch("compressed", c, dot, value, &[exists, complete]);
    let prob = p.graph.field(compressed, Field::Prob);
    let prob = p.at(prob, &[b, h, i, c]);
    let (block_length, s_index) = (p.graph.int(block), p.graph.index(s));
    let in_block = p.bin(Binary::IntDiv, start, block_length);
    let here = p.cmp(Compare::Eq, in_block, s_index);
    let zero = p.graph.float(0.0);
    let part = p.graph.add(Op::If, &[here, prob, zero]);
    let domains = vec![Domain::Heads { var: h, kv_head: g }, Domain::All(c)];
    let body = p.graph.add(Op::Reduce { op: Reduction::Sum, domains }, &[part]);
    let importance = p.define("importance", &[b, g, i, s], Elem::F32, body);
    let importance = p.at(importance, &[b, g, i, s]);
    let (valid, causal) = (p.valid(), p.causal());
    let attended = p.bin(Binary::And, valid, causal);
    let domains = vec![Domain::Positions { var: j, part: s }];
    let candidates = p.graph.add(Op::Reduce { op: Reduction::Any, domains }, &[attended]);
    let forcing = {
        let zero = p.graph.int(0);
        p.cmp(Compare::Eq, s_index, zero)
    };
    let select = Select { forcing: true, ..Program::rows(&[b, g, i], s) };
    let set = p.graph.add(Op::Select(select), &[importance, candidates, n, forcing]);
    let j_index = p.key();
    let own = p.bin(Binary::IntDiv, j_index, block_length);
    let row: Vec<NodeId> = [b, g, i].iter().map(|&var| p.graph.index(var)).collect();
    let kept = p.graph.add(Op::Contains, &[&[set], &row[..], &[own]].concat());
    let (score, value) = (p.score(), p.value());
    let selected = p.branch("selected", j, score, value, &[valid, causal, kept]);
    let fields = [compressed, selected].map(|branch| p.graph.field(branch, Field::Out));
    let [x, y] = fields.map(|field| p.at(field, &[b, h, i, e]));
    let body = p.bin(Binary::Add, x, y);
    let out = p.define("out", &[b, h, i, e], Elem::F32, body);
    p.output("out", out);
    p.graph
}
