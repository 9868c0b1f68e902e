//! Decoding with a bounded cache: an attention whose selection has lifetimes, as two programs around a small state.
//!
//! ```text
//! select top(w) of delta[b, g, j]      append:  k, v of new keys      => delta, enter, competes, leave of each
//! score = score + delta[b, g, j]  =>   attend:  q, the kept keys      => out, lse
//! ```
//!
//! Input → output: a graph as the front end makes it → [`Decoding`], or why it has none. At any position the attended keys
//! are those alive: at most `n`, and those that `plus` keeps. Everything that the score reads of a key is a function of
//! that key alone, so it is computed once when the key is appended, and kept in a slot as long as the key lives. Sound
//! because a key that falls out of the best of a growing set never returns.
//!
//! In the program that attends, the key axis is that of the slots: a tensor over keys becomes an input over
//! `[b, g, slot, ...]`, the key's number an input, and the query's position another; all masks that the lifetime implies
//! are gone. Where rows of the selection are query heads, each head has its own slots: that program runs with as many
//! key/value heads as query heads.

use crate::analysis::key::Keys;
use crate::canonical::Canon;
use crate::fold;
use crate::lower_selection::life_between;
use dmac_ir::{
    Attend, Attendance, AxisId, AxisKind, Binary, Elem, Form, Graph, Input, InputId, NodeId, Op, Output,
    Scalar, Size, Ties, Type, Var,
};
use std::collections::BTreeMap;

/// A position after all others; its negative is before all.
pub const NEVER: i64 = 1 << 30;

/// The two programs, and what the state between them holds.
#[derive(Clone, Debug)]
pub struct Decoding {
    /// From new keys (`k`, `v`, other inputs over keys; `decode.first`: i32 `[B]`, the number of the first new key) to
    /// what the state needs to know of them: `decode.count`, the `n`; `decode.rating` (f32), `decode.enter`,
    /// `decode.competes` and, where there are such, `decode.leave`, `decode.forced`, `decode.class` (i32) over `[B, row, N]`; and
    /// the derived tensors that are kept.
    pub append: Graph,
    /// From a query row and the slots to the results. Inputs besides the slots: `decode.used` (i32 `[B, G]`), how many
    /// slots are in use; `decode.now` (i32 `[B]`), the position; `decode.number` (i32 `[B, G, N]`), that of the slot's
    /// key. The latter two only where they are read.
    pub attend: Graph,
    /// What a slot holds.
    pub slots: Vec<Slot>,
    /// Whether each query head has its own slots; otherwise each key/value head has.
    pub by_head: bool,
    /// Which of two equal ratings wins.
    pub ties: Ties,
}

/// One tensor of which each slot holds the key's part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The input of the program that attends.
    pub input: String,
    /// The input or result of the program that appends, by its name.
    pub source: String,
    /// Whether that is a result.
    pub derived: bool,
    /// What each axis of it is.
    pub axes: Vec<Along>,
}

/// An axis of a tensor that a slot holds a part of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Along {
    /// The batch.
    Batch,
    /// The key/value head of the slot.
    KvHead,
    /// The query head of the slot.
    Head,
    /// The keys.
    Key,
    /// All of it is in the slot.
    Own,
}

/// Splits a program.
///
/// # Errors
/// Why it cannot be decoded with a bounded cache.
pub fn split(meaning: &Graph) -> Result<Decoding, String> {
    let mut graph = meaning.clone();
    fold::run(&mut graph);
    let roots: Vec<NodeId> = graph.outputs.iter().map(|output| output.node).collect();
    let live = graph.reachable(&roots);
    let attentions: Vec<NodeId> =
        live.into_iter().filter(|&id| matches!(graph.op(id), Op::Attend(_))).collect();
    let [attention] = attentions[..] else {
        return Err("the program has several branches".into());
    };
    let Op::Attend(attend) = graph.op(attention).clone() else {
        panic!("decode: %{} is an attention", attention.0)
    };
    if graph.axis(graph.axis_of(attend.key)).kind != AxisKind::Key {
        return Err("the branch attends to derived keys".into());
    }
    let operands = graph.operands(attention);
    let mut keys = Keys::default();
    let mut canon = Canon::new(&mut graph, &mut keys);
    let terms = canon.conjuncts(Attendance { attend: &attend, operands: &operands }.terms());
    let memberships: Vec<NodeId> =
        terms.iter().copied().filter(|&term| *canon.graph.op(term) == Op::Contains).collect();
    let [membership] = memberships[..] else {
        return Err(match memberships.len() {
            0 => "nothing is selected, so all keys are attended for ever".into(),
            _ => "several selections decide together".into(),
        });
    };
    let bounds = (canon.graph.int(-NEVER), canon.graph.int(NEVER));
    let (select, life, implied) = life_between(&mut canon, membership, bounds)?;
    let kept: Vec<NodeId> =
        terms.into_iter().filter(|term| *term != membership && !implied.contains(term)).collect();

    let by_head = select.rows.contains(&attend.head);
    let mut slots = Slots { attend: &attend, by_head, found: Vec::new() };
    let attending = slots.program(&graph, attention, &kept)?;
    let found = slots.found;

    let row: Vec<Var> =
        select.rows.iter().copied().filter(|&var| var != attend.query && var != attend.batch).collect();
    let mut of_key = vec![attend.batch];
    of_key.extend(row);
    of_key.push(select.over);
    let mut append = Copied::new(&graph, "append", attend.batch);
    let define = |append: &mut Copied<'_>, name: &str, node: NodeId, vars: &[Var], elem: Elem| {
        let mut body = append.scalar(node)?;
        if append.to.ty(body).as_scalar() == Some(Scalar::Bool) {
            body = append.to.add(Op::Cast(Scalar::Int), &[body]);
        }
        let define = Op::Define { name: name.into(), vars: vars.to_vec(), elem };
        let node = append.closed(define, body)?;
        append.to.outputs.push(Output { name: name.into(), node });
        Ok::<(), String>(())
    };
    define(&mut append, "decode.count", life.count, &[], Elem::I32)?;
    define(&mut append, "decode.rating", life.score, &of_key, Elem::F32)?;
    let ints = [
        ("decode.enter", Some(life.enter)),
        ("decode.competes", Some(life.competes)),
        ("decode.leave", life.leave),
        ("decode.forced", life.forcing),
        ("decode.class", life.class.map(|(class, _)| class)),
    ];
    for (name, node) in ints {
        if let Some(node) = node {
            define(&mut append, name, node, &of_key, Elem::I32)?;
        }
    }
    for (slot, tensor) in &found {
        if slot.derived && !append.to.outputs.iter().any(|output| output.name == slot.source) {
            let node = append.tensor(*tensor)?;
            append.to.outputs.push(Output { name: slot.source.clone(), node });
        }
    }
    Ok(Decoding {
        append: append.to.rewrite(Graph::keep),
        attend: attending,
        slots: found.into_iter().map(|(slot, _)| slot).collect(),
        by_head,
        ties: select.ties,
    })
}

/// A graph that takes over parts of another, with its axes, variables and parameters.
struct Copied<'g> {
    from: &'g Graph,
    to: Graph,
    done: BTreeMap<NodeId, NodeId>,
    batch: Var,
}

impl<'g> Copied<'g> {
    fn new(from: &'g Graph, name: &str, batch: Var) -> Self {
        let mut to = from.like();
        to.name = format!("{}_{name}", from.name);
        to.inputs.truncate(3);
        Self { from, to, done: BTreeMap::new(), batch }
    }

    fn is_key(&self, var: Var) -> bool {
        self.from.axis(self.from.axis_of(var)).kind == AxisKind::Key
    }

    /// An input over these axes, declared when it is first asked for.
    fn input(&mut self, name: &str, elem: Elem, axes: Vec<AxisId>) -> NodeId {
        let known = self.to.inputs.iter().position(|input| input.name == name);
        let id = known.map_or_else(
            || {
                let name = name.to_owned();
                self.to.add_input(Input { name, elem, axes, range: None, bounds: None, span: None })
            },
            |at| InputId(at as u32),
        );
        self.to.add(Op::Input(id), &[])
    }

    /// A definition, which must not depend on anything around it.
    fn closed(&mut self, define: Op, body: NodeId) -> Result<NodeId, String> {
        let Op::Define { vars, name, .. } = &define else { panic!("decode: not a definition") };
        if self.to.free(body).iter().any(|var| !vars.contains(var)) {
            return Err(format!("`{name}` depends on the number of the key, but not on the batch"));
        }
        Ok(self.to.add(define, &[body]))
    }

    /// An input or definition of the old graph.
    fn tensor(&mut self, id: NodeId) -> Result<NodeId, String> {
        if let Some(&done) = self.done.get(&id) {
            return Ok(done);
        }
        let new = match self.from.op(id).clone() {
            Op::Input(input) => {
                let input = self.from.input(input).clone();
                let known = self.to.inputs.iter().position(|other| other.name == input.name);
                let id = known.map_or_else(|| self.to.add_input(input), |at| InputId(at as u32));
                self.to.add(Op::Input(id), &[])
            }
            define @ Op::Define { .. } => {
                let body = self.scalar(self.from.operand(id, 0))?;
                self.closed(define, body)?
            }
            _ => return Err("the selection depends on a result of attention".into()),
        };
        self.done.insert(id, new);
        Ok(new)
    }

    /// An expression of one key: other keys, the sequence as a whole, and the query are out of its reach.
    fn scalar(&mut self, id: NodeId) -> Result<NodeId, String> {
        if let Some(&done) = self.done.get(&id) {
            return Ok(done);
        }
        let operands = self.from.operands(id);
        let new = match self.from.op(id).clone() {
            Op::Index(var) if self.is_key(var) => {
                let axis = self.from.axis_of(self.batch);
                let first = self.input("decode.first", Elem::I32, vec![axis]);
                let b = self.to.index(self.batch);
                let first = self.to.read(first, &[b]);
                let index = self.to.index(var);
                self.to.binary(Binary::Add, first, index)
            }
            Op::KeyLength { .. } => self.to.int(NEVER),
            Op::Position { .. } => return Err("a part of it depends on the query".into()),
            Op::Size(size) if self.of_sequence(&size) => {
                return Err("a part of it depends on the length of the sequence".into());
            }
            Op::Reduce { ref domains, .. } if domains.iter().any(|domain| self.is_key(domain.var())) => {
                return Err("a part of it goes over several keys".into());
            }
            Op::Read => {
                let Type::Tensor { axes, .. } = self.from.ty(operands[0]).clone() else {
                    return Err("the selection depends on a result of attention".into());
                };
                let mut index = Vec::new();
                for (axis, &operand) in axes.iter().zip(&operands[1..]) {
                    index.push(match self.from.axis(*axis).kind {
                        AxisKind::Key => match self.from.op(operand) {
                            Op::Index(var) => self.to.index(*var),
                            _ => return Err("a part of it reads another key".into()),
                        },
                        AxisKind::Query | AxisKind::Windows { .. } | AxisKind::Blocks { .. } => {
                            return Err("a part of it depends on more than one key".into());
                        }
                        _ => self.scalar(operand)?,
                    });
                }
                let tensor = self.tensor(operands[0])?;
                self.to.read(tensor, &index)
            }
            Op::Contains | Op::Field(_) | Op::Attend(_) | Op::Select(_) | Op::Lifetime { .. } => {
                return Err("the selection depends on another one".into());
            }
            op => {
                let operands = self.scalars(&operands)?;
                self.to.add(op, &operands)
            }
        };
        self.done.insert(id, new);
        Ok(new)
    }

    fn scalars(&mut self, ids: &[NodeId]) -> Result<Vec<NodeId>, String> {
        ids.iter().map(|&id| self.scalar(id)).collect()
    }

    fn of_sequence(&self, size: &Size) -> bool {
        match size {
            Size::Const(_) | Size::Param(_) => false,
            Size::Axis(axis) => {
                matches!(self.from.axis(*axis).kind, AxisKind::Key | AxisKind::Query | AxisKind::Sized(_))
            }
            Size::Add(a, b)
            | Size::Sub(a, b)
            | Size::Mul(a, b)
            | Size::Div(a, b)
            | Size::Mod(a, b)
            | Size::Min(a, b)
            | Size::Max(a, b) => self.of_sequence(a) || self.of_sequence(b),
        }
    }
}

/// The program that attends to slots.
struct Slots<'a> {
    attend: &'a Attend,
    by_head: bool,
    /// Each with its tensor in the old graph.
    found: Vec<(Slot, NodeId)>,
}

impl Slots<'_> {
    fn program(&mut self, from: &Graph, attention: NodeId, terms: &[NodeId]) -> Result<Graph, String> {
        let mut copied = Copied::new(from, "attend", self.attend.batch);
        let [batch, groups] = [self.attend.batch, self.attend.kv_head].map(|var| from.axis_of(var));
        let operands = from.operands(attention);
        let view = Attendance { attend: self.attend, operands: &operands };
        let mut now = vec![self.of(&mut copied, view.score())?, self.of(&mut copied, view.value())?];
        if let Some(sink) = view.sink() {
            now.push(self.of(&mut copied, sink)?);
        }
        // Slots that are in use.
        let used = copied.input("decode.used", Elem::I32, vec![batch, groups]);
        let [b, g, slot] =
            [self.attend.batch, self.attend.kv_head, self.attend.key].map(|var| copied.to.index(var));
        let used = copied.to.read(used, &[b, g]);
        now.push(copied.to.add(Op::Compare(dmac_ir::Compare::Lt), &[slot, used]));
        for &term in terms {
            now.push(self.of(&mut copied, term)?);
        }
        let forms = vec![Form::Unclassified; terms.len() + 1];
        let attend = Attend { forms, tiling: None, skips: false, ..self.attend.clone() };
        let new = copied.to.add(Op::Attend(attend), &now);
        copied.done.insert(attention, new);
        for output in &from.outputs {
            let node = self.of(&mut copied, output.node)?;
            copied.to.outputs.push(Output { name: output.name.clone(), node });
        }
        Ok(copied.to.rewrite(Graph::keep))
    }

    /// A node of the old graph with slots in the place of keys.
    fn of(&mut self, copied: &mut Copied<'_>, id: NodeId) -> Result<NodeId, String> {
        if let Some(&done) = copied.done.get(&id) {
            return Ok(done);
        }
        let operands = copied.from.operands(id);
        let axes =
            [self.attend.batch, self.attend.kv_head, self.attend.key].map(|var| copied.from.axis_of(var));
        let new = match copied.from.op(id).clone() {
            Op::Index(var) if copied.is_key(var) => {
                let number = copied.input("decode.number", Elem::I32, axes.to_vec());
                let index = [self.attend.batch, self.attend.kv_head, var].map(|var| copied.to.index(var));
                copied.to.read(number, &index)
            }
            Op::Position { batch, .. } => self.now(copied, batch),
            Op::KeyLength { batch } => {
                let now = self.now(copied, batch);
                let one = copied.to.int(1);
                copied.to.binary(Binary::Add, now, one)
            }
            Op::Size(size) if copied.of_sequence(&size) => {
                return Err("the attention depends on the length of the sequence".into());
            }
            Op::Reduce { ref domains, .. } if domains.iter().any(|domain| copied.is_key(domain.var())) => {
                return Err("the attention has a reduction over keys of its own".into());
            }
            Op::Read if self.over_keys(copied.from, operands[0]) => {
                self.slot(copied, operands[0], &operands[1..])?
            }
            Op::Input(input) => {
                let declared = copied.from.input(input);
                let kinds: Vec<&AxisKind> =
                    declared.axes.iter().map(|&axis| &copied.from.axis(axis).kind).collect();
                if self.by_head && input.0 >= 3 && kinds.contains(&&AxisKind::KvHead) {
                    return Err(format!("`{}` is read by key/value head", declared.name));
                }
                copied.tensor(id)?
            }
            Op::Contains | Op::Select(_) | Op::Lifetime { .. } | Op::Attend(_) => {
                return Err("the attention depends on another selection".into());
            }
            op => {
                let operands: Vec<NodeId> =
                    operands.iter().map(|&operand| self.of(copied, operand)).collect::<Result<_, _>>()?;
                match op {
                    op @ Op::Define { .. } => copied.closed(op, operands[0])?,
                    op => copied.to.add(op, &operands),
                }
            }
        };
        copied.done.insert(id, new);
        Ok(new)
    }

    fn now(&self, copied: &mut Copied<'_>, batch: Var) -> NodeId {
        let axis = copied.from.axis_of(batch);
        let now = copied.input("decode.now", Elem::I32, vec![axis]);
        let b = copied.to.index(batch);
        copied.to.read(now, &[b])
    }

    fn over_keys(&self, graph: &Graph, tensor: NodeId) -> bool {
        match graph.ty(tensor) {
            Type::Tensor { axes, .. } => axes.iter().any(|&axis| graph.axis(axis).kind == AxisKind::Key),
            _ => false,
        }
    }

    /// The read of a tensor over keys, as that of its slots.
    fn slot(&mut self, copied: &mut Copied<'_>, tensor: NodeId, index: &[NodeId]) -> Result<NodeId, String> {
        let from = copied.from;
        let Type::Tensor { axes, elem } = from.ty(tensor).clone() else {
            panic!("decode: %{} is a tensor", tensor.0)
        };
        let (name, derived) = match from.op(tensor) {
            Op::Input(id) => (from.input(*id).name.clone(), false),
            Op::Define { name, .. } => (name.clone(), true),
            _ => return Err("the attention reads lists of its own".into()),
        };
        let attend = self.attend;
        let [b, g, slot] = [attend.batch, attend.kv_head, attend.key];
        let mut along = Vec::new();
        let mut at: Vec<NodeId> = [b, g, slot].map(|var| copied.to.index(var)).to_vec();
        let mut dims = [b, g, slot].map(|var| from.axis_of(var)).to_vec();
        for (&axis, &operand) in axes.iter().zip(index) {
            let plain = |var: Var| *from.op(operand) == Op::Index(var);
            along.push(match from.axis(axis).kind {
                AxisKind::Key if plain(attend.key) => Along::Key,
                AxisKind::Key => {
                    return Err(format!("`{name}` is read at another key than the attended one"));
                }
                AxisKind::Batch if plain(attend.batch) => Along::Batch,
                AxisKind::KvHead if plain(attend.kv_head) => Along::KvHead,
                AxisKind::Head if plain(attend.head) && self.by_head => Along::Head,
                AxisKind::KvHead if self.by_head => {
                    return Err(format!("`{name}` is read at another key/value head"));
                }
                _ => {
                    at.push(self.of(copied, operand)?);
                    dims.push(axis);
                    Along::Own
                }
            });
        }
        let known = self.found.iter().find(|(slot, of)| *of == tensor && slot.axes == along);
        let input = if let Some((slot, _)) = known {
            slot.input.clone()
        } else {
            let mut input = name.clone();
            while input != "k" && input != "v" && copied.to.inputs.iter().any(|other| other.name == input) {
                input.push('\'');
            }
            self.found.push((Slot { input: input.clone(), source: name, derived, axes: along }, tensor));
            input
        };
        let node = copied.input(&input, elem, dims);
        Ok(copied.to.read(node, &at))
    }
}
