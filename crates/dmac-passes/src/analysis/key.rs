//! Structural keys: an order of expressions, and a fingerprint of graphs, that know neither names nor creation order.
//!
//! Input → output: a node → a [`Key`]; a graph → a [`fingerprint`].
//!
//! Operands of commutative operations are ordered by key, so that `a + b` and `b + a` become one node. The key of an
//! expression is made of operations, input and parameter numbers, and the *axes* of its variables; only where two
//! expressions are equal up to the choice of variables does the number of a variable decide. The fingerprint replaces
//! bound variables by their distance to the binder, so it is the same for two graphs that differ in names, in the
//! numbering of variables or in the order of creation.

use dmac_ir::{Attend, AxisId, Domain, Graph, NodeId, Op, Select, Size, Type, Var};
use std::collections::BTreeMap;

/// The place of an expression in the canonical order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// Constants come after everything else (`x + 1`), positions and coordinates before.
    class: u8,
    /// Hash of the expression with variables replaced by their axes.
    shape: u64,
    /// Hash of the expression with variables.
    exact: u64,
}

/// Keys of the nodes of one graph, remembered.
#[derive(Default, Debug)]
pub struct Keys {
    known: BTreeMap<NodeId, Key>,
    weights: BTreeMap<NodeId, u64>,
    /// Canonical negations, found so far.
    pub(crate) negations: BTreeMap<NodeId, NodeId>,
}

impl Keys {
    /// The key of a node.
    pub fn of(&mut self, graph: &Graph, id: NodeId) -> Key {
        if let Some(&key) = self.known.get(&id) {
            return key;
        }
        let op = graph.op(id);
        let axes = |var: Var| u64::from(graph.axis_of(var).0);
        let exact = |var: Var| {
            let rank = graph.vars[..var.0 as usize].iter().filter(|v| v.axis == graph.axis_of(var)).count();
            u64::from(graph.axis_of(var).0) << 32 | rank as u64
        };
        let mut shape_hash = Fnv::default();
        let mut exact_hash = Fnv::default();
        hash_op(graph, op, &mut shape_hash, &axes);
        hash_op(graph, op, &mut exact_hash, &exact);
        for operand in graph.operands(id) {
            let key = self.of(graph, operand);
            shape_hash.write(key.shape);
            exact_hash.write(key.exact);
        }
        let class = match op {
            Op::Position { .. } => 0,
            Op::Index(_) => 1,
            Op::TileEdge { .. } | Op::KeyLength { .. } => 2,
            Op::Param(_) | Op::Size(_) => 3,
            Op::Int(_) | Op::Float(_) | Op::Bool(_) => 5,
            _ => 4,
        };
        let key = Key { class, shape: shape_hash.0, exact: exact_hash.0 };
        self.known.insert(id, key);
        key
    }

    /// How many nodes a scalar has, written out as a tree.
    pub fn weight(&mut self, graph: &Graph, id: NodeId) -> u64 {
        if let Some(&weight) = self.weights.get(&id) {
            return weight;
        }
        let mut weight: u64 = 1;
        if matches!(graph.ty(id), Type::Scalar(_)) {
            for operand in graph.operands(id) {
                weight = weight.saturating_add(self.weight(graph, operand));
            }
        }
        self.weights.insert(id, weight);
        weight
    }

    /// Puts nodes in the canonical order.
    pub fn sort(&mut self, graph: &Graph, nodes: &mut [NodeId]) {
        nodes.sort_by_key(|&id| self.of(graph, id));
    }
}

/// A hash of what a graph computes: of its outputs in order, its inputs' types, its axes and parameters, without any
/// name. Equal for graphs that are equal up to names and numbering.
pub fn fingerprint(graph: &Graph) -> u64 {
    let mut closed = BTreeMap::new();
    let mut hash = Fnv::default();
    for axis in &graph.axes {
        hash.write(axis.size.map_or(u64::MAX, |size| size as u64));
    }
    for output in &graph.outputs {
        hash.write(closed_hash(graph, output.node, &mut closed));
    }
    hash.0
}

/// The hash of a node without free variables.
fn closed_hash(graph: &Graph, id: NodeId, closed: &mut BTreeMap<NodeId, u64>) -> u64 {
    if let Some(&known) = closed.get(&id) {
        return known;
    }
    let bound: Vec<Var> = match graph.op(id) {
        Op::Define { vars, .. } => vars.clone(),
        Op::Select(select) => select.rows.iter().copied().chain([select.over]).collect(),
        Op::Lifetime { rows, over, .. } => rows.iter().copied().chain([*over]).collect(),
        Op::Attend(a) => vec![a.batch, a.head, a.kv_head, a.query, a.key, a.feature],
        _ => Vec::new(),
    };
    let mut scoped = BTreeMap::new();
    let hash = scoped_hash(graph, id, &bound, closed, &mut scoped);
    closed.insert(id, hash);
    hash
}

/// The hash of a node below the binders of `scope`, outermost first.
fn scoped_hash(
    graph: &Graph,
    id: NodeId,
    scope: &[Var],
    closed: &mut BTreeMap<NodeId, u64>,
    scoped: &mut BTreeMap<(NodeId, Vec<Var>), u64>,
) -> u64 {
    let memo = (id, scope.to_vec());
    if let Some(&known) = scoped.get(&memo) {
        return known;
    }
    let inner: Vec<Var> = match graph.op(id) {
        Op::Reduce { domains, .. } => scope.iter().copied().chain(domains.iter().map(|d| d.var())).collect(),
        _ => scope.to_vec(),
    };
    let number = |var: Var| {
        let distance = inner.iter().rev().position(|&bound| bound == var).map_or(u64::MAX, |at| at as u64);
        u64::from(graph.axis_of(var).0) << 32 ^ distance
    };
    let mut hash = Fnv::default();
    hash_op(graph, graph.op(id), &mut hash, &number);
    for operand in graph.operands(id) {
        let value = if matches!(graph.ty(operand), Type::Scalar(_)) {
            scoped_hash(graph, operand, &inner, closed, scoped)
        } else {
            closed_hash(graph, operand, closed)
        };
        hash.write(value);
    }
    scoped.insert(memo, hash.0);
    hash.0
}

/// FNV-1a over 64-bit words: the same on every machine and in every release of the standard library.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Everything about an operation but names and operands; variables as `number` gives them.
fn hash_op(graph: &Graph, op: &Op, hash: &mut Fnv, number: &dyn Fn(Var) -> u64) {
    let tag = |hash: &mut Fnv, tag: u64| hash.write(tag);
    match op {
        Op::Float(value) => {
            tag(hash, 1);
            hash.write(u64::from(value.get().to_bits()));
        }
        Op::Int(value) => {
            tag(hash, 2);
            hash.write(*value as u64);
        }
        Op::Bool(value) => {
            tag(hash, 3);
            hash.write(u64::from(*value));
        }
        Op::Param(id) => {
            tag(hash, 4);
            hash.write(u64::from(id.0));
        }
        Op::Size(size) => {
            tag(hash, 5);
            hash_size(size, hash);
        }
        Op::Index(var) => {
            tag(hash, 6);
            hash.write(number(*var));
        }
        Op::Position { query, batch } => {
            tag(hash, 7);
            hash.write(number(*query));
            hash.write(number(*batch));
        }
        Op::KeyLength { batch } => {
            tag(hash, 8);
            hash.write(number(*batch));
        }
        Op::TileEdge { var, batch, edge } => {
            tag(hash, 9);
            hash.write(number(*var));
            hash.write(batch.map_or(u64::MAX, number));
            hash.write(*edge as u64);
        }
        Op::Input(id) => {
            tag(hash, 10);
            hash.write(u64::from(id.0));
        }
        Op::Define { vars, elem, .. } => {
            tag(hash, 11);
            hash.write(*elem as u64);
            hash_axes(graph, vars, hash);
        }
        Op::Read => tag(hash, 12),
        Op::Unary(unary) => {
            tag(hash, 13);
            hash.write(*unary as u64);
        }
        Op::Binary(binary) => {
            tag(hash, 14);
            hash.write(*binary as u64);
        }
        Op::Compare(compare) => {
            tag(hash, 15);
            hash.write(*compare as u64);
        }
        Op::If => tag(hash, 16),
        Op::Cast(to) => {
            tag(hash, 17);
            hash.write(*to as u64);
        }
        Op::Stop => tag(hash, 18),
        Op::Reduce { op, domains } => {
            tag(hash, 19);
            hash.write(*op as u64);
            for &domain in domains {
                hash.write(match domain {
                    Domain::All(_) => 0,
                    Domain::Keys { .. } => 1,
                    Domain::Heads { .. } => 2,
                    Domain::Positions { .. } => 3,
                    Domain::Tile { .. } => 4,
                });
                hash.write(number(domain.var()));
                hash.write(domain.depends_on().map_or(u64::MAX, number));
            }
        }
        Op::InRange => tag(hash, 20),
        Op::Select(Select { rows, over, ties, forcing, plus, lowering }) => {
            tag(hash, 21);
            hash_axes(graph, rows, hash);
            hash.write(u64::from(graph.axis_of(*over).0));
            hash.write(*ties as u64);
            hash.write(u64::from(*forcing) * 2 + u64::from(*plus));
            hash.write(lowering.map_or(u64::MAX, |lowering| lowering as u64));
        }
        Op::Contains => tag(hash, 22),
        Op::Lifetime { rows, over, ties, forcing, class, .. } => {
            tag(hash, 23);
            hash_axes(graph, rows, hash);
            hash.write(u64::from(graph.axis_of(*over).0));
            hash.write(*ties as u64);
            hash.write(u64::from(*forcing) * 2 + u64::from(*class));
        }
        Op::Attend(Attend { key, normalize, forms, tiling, skips, .. }) => {
            tag(hash, 24);
            hash.write(u64::from(graph.axis_of(*key).0));
            hash.write(*normalize as u64);
            for &form in forms {
                hash.write(form as u64);
            }
            hash.write(u64::from(*skips));
            if let Some(tiling) = tiling {
                hash.write(u64::from(tiling.online));
                let (kind, term) = match tiling.walk {
                    dmac_ir::Walk::Blocks => (0, 0),
                    dmac_ir::Walk::AliveKeys(term) => (1, term),
                    dmac_ir::Walk::RowKeys(term) => (2, term),
                    dmac_ir::Walk::RowBlocks(term) => (3, term),
                };
                hash.write(kind);
                hash.write(u64::from(term));
            }
        }
        Op::Field(field) => {
            tag(hash, 25);
            hash.write(*field as u64);
        }
    }
}

fn hash_axes(graph: &Graph, vars: &[Var], hash: &mut Fnv) {
    for &var in vars {
        hash.write(u64::from(graph.axis_of(var).0));
    }
}

fn hash_size(size: &Size, hash: &mut Fnv) {
    let mut two = |tag: u64, a: &Size, b: &Size| {
        hash.write(tag);
        hash_size(a, hash);
        hash_size(b, hash);
    };
    match size {
        Size::Add(a, b) => two(3, a, b),
        Size::Sub(a, b) => two(4, a, b),
        Size::Mul(a, b) => two(5, a, b),
        Size::Div(a, b) => two(6, a, b),
        Size::Mod(a, b) => two(7, a, b),
        Size::Min(a, b) => two(8, a, b),
        Size::Max(a, b) => two(9, a, b),
        Size::Const(value) => {
            hash.write(0);
            hash.write(*value as u64);
        }
        Size::Param(id) => {
            hash.write(1);
            hash.write(u64::from(id.0));
        }
        Size::Axis(AxisId(id)) => {
            hash.write(2);
            hash.write(u64::from(*id));
        }
    }
}
