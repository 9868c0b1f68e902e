//! The text form of a graph: deterministic, one node a line, operands before users.
//!
//! ```text
//! graph causal
//!   axes    B H G M N D=64 E=64
//!   inputs  q real [B H M D] ...
//!   %4 = index j : int [j]
//!   %5 = position i b : int [b i]
//!   %6 = le %4 %5 : bool [b i j]
//!   out = %20
//! ```

use crate::axis::{AxisId, AxisKind, Size, Var};
use crate::graph::{Graph, NodeId, ParamValue};
use crate::op::{Domain, Edge, Field, Normalize, Op, Ties, Tiling};
use crate::ty::Type;
use std::fmt::{self, Write as _};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", self.name)?;
        for axis in &self.axes {
            let size = axis.size.map_or(String::new(), |size| format!(" = {size}"));
            match &axis.kind {
                AxisKind::Windows { of, length, stride } => writeln!(
                    f,
                    "  axis {}{size} windows of {}, length {}, stride {}",
                    axis.name,
                    self.axis(*of).name,
                    self.print_size(length),
                    self.print_size(stride)
                )?,
                AxisKind::Blocks { of, length } => writeln!(
                    f,
                    "  axis {}{size} blocks of {}, length {}",
                    axis.name,
                    self.axis(*of).name,
                    self.print_size(length)
                )?,
                AxisKind::Sized(value) => {
                    writeln!(f, "  axis {}{size} sized {}", axis.name, self.print_size(value))?;
                }
                _ => writeln!(f, "  axis {}{size}", axis.name)?,
            }
        }
        for param in &self.params {
            match param.default {
                ParamValue::Int(value) => writeln!(f, "  param {} int = {value}", param.name)?,
                ParamValue::Float(value) => writeln!(f, "  param {} float = {value:?}", param.name)?,
            }
        }
        for input in &self.inputs {
            write!(f, "  input {} {} [{}]", input.name, input.elem, self.axis_names(&input.axes))?;
            match (&input.bounds, input.range) {
                (Some((lo, hi)), _) => {
                    writeln!(f, " in {} .. {}", self.print_size(lo), self.print_size(hi))?;
                }
                (None, Some((lo, hi))) => writeln!(f, " in {lo} .. {hi}")?,
                (None, None) => writeln!(f)?,
            }
        }
        for id in self.node_ids() {
            writeln!(f, "  {}", self.print_node(id))?;
        }
        for output in &self.outputs {
            writeln!(f, "  {} = %{}", output.name, output.node.0)?;
        }
        Ok(())
    }
}

impl Graph {
    /// One node as a line of text.
    pub fn print_node(&self, id: NodeId) -> String {
        let node = self.node(id);
        let mut text = format!("%{} = {}", id.0, self.print_op(&node.op));
        for operand in self.operands(id) {
            let _ = write!(text, " %{}", operand.0);
        }
        text.push_str(" : ");
        match &node.ty {
            Type::Scalar(scalar) => {
                let _ = write!(text, "{scalar}");
                if !node.free.is_empty() {
                    let _ = write!(text, " [{}]", self.var_names(&node.free));
                }
            }
            Type::Tensor { elem, axes } => {
                let _ = write!(text, "tensor {elem} [{}]", self.axis_names(axes));
            }
            Type::Set { rows, over } => {
                let _ = write!(text, "set of {} for [{}]", self.axis(*over).name, self.axis_names(rows));
            }
            Type::Attention => text.push_str("attention"),
        }
        text
    }

    fn axis_names(&self, axes: &[AxisId]) -> String {
        axes.iter().map(|&axis| self.axis(axis).name.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// A size as text.
    pub fn print_size(&self, size: &Size) -> String {
        let two =
            |a: &Size, op: &str, b: &Size| format!("({} {op} {})", self.print_size(a), self.print_size(b));
        match size {
            Size::Const(value) => value.to_string(),
            Size::Param(id) => self.param(*id).name.clone(),
            Size::Axis(id) => self.axis(*id).name.clone(),
            Size::Add(a, b) => two(a, "+", b),
            Size::Sub(a, b) => two(a, "-", b),
            Size::Mul(a, b) => two(a, "*", b),
            Size::Div(a, b) => two(a, "div", b),
            Size::Mod(a, b) => two(a, "mod", b),
            Size::Min(a, b) => format!("min({}, {})", self.print_size(a), self.print_size(b)),
            Size::Max(a, b) => format!("max({}, {})", self.print_size(a), self.print_size(b)),
        }
    }

    fn print_op(&self, op: &Op) -> String {
        let name = |var: Var| self.var(var).name.as_str();
        match op {
            Op::Float(value) => format!("float {:?}", value.get()),
            Op::Int(value) => format!("int {value}"),
            Op::Bool(value) => format!("bool {value}"),
            Op::Param(id) => format!("param {}", self.param(*id).name),
            Op::Size(size) => format!("size {}", self.print_size(size)),
            Op::Index(var) => format!("index {}", name(*var)),
            Op::Position { query, batch } => format!("position {} {}", name(*query), name(*batch)),
            Op::KeyLength { batch } => format!("key_length {}", name(*batch)),
            Op::TileEdge { var, edge, .. } => {
                let edge = match edge {
                    Edge::First => "tile_first",
                    Edge::Last => "tile_last",
                };
                format!("{edge} {}", name(*var))
            }
            Op::Input(id) => format!("input {}", self.input(*id).name),
            Op::Define { name, vars, .. } => format!("define {name} [{}]", self.var_names(vars)),
            Op::Read => "read".into(),
            Op::Unary(unary) => format!("{unary:?}").to_lowercase(),
            Op::Binary(binary) => format!("{binary:?}").to_lowercase(),
            Op::Compare(compare) => format!("{compare:?}").to_lowercase(),
            Op::If => "if".into(),
            Op::Cast(to) => format!("cast {to}"),
            Op::Stop => "stop".into(),
            Op::Reduce { op, domains } => {
                let domains: Vec<String> = domains.iter().map(|&domain| self.print_domain(domain)).collect();
                format!("{} [{}]", format!("{op:?}").to_lowercase(), domains.join(", "))
            }
            Op::InRange => "in_range".into(),
            Op::Select(select) => {
                let mut text =
                    format!("select [{}] over {}", self.var_names(&select.rows), name(select.over));
                if select.ties == Ties::High {
                    text.push_str(" ties high");
                }
                if select.forcing {
                    text.push_str(" forcing");
                }
                if select.plus {
                    text.push_str(" plus");
                }
                if let Some(lowering) = select.lowering {
                    let _ = write!(text, " as {lowering:?}");
                }
                text
            }
            Op::Contains => "contains".into(),
            Op::Lifetime { rows, over, ties, forcing, class, .. } => {
                let ties = if *ties == Ties::High { " ties high" } else { "" };
                let forcing = if *forcing { " forcing" } else { "" };
                let class = if *class { " in classes" } else { "" };
                format!("lifetime [{}] over {}{ties}{forcing}{class}", self.var_names(rows), name(*over))
            }
            Op::Attend(a) => {
                let normalize = match a.normalize {
                    Normalize::Softmax => "softmax",
                    Normalize::SoftmaxSink => "softmax_sink",
                    Normalize::Sigmoid => "sigmoid",
                    Normalize::Relu => "relu",
                };
                let vars = [a.batch, a.head, a.kv_head, a.query, a.key, a.feature];
                let forms: Vec<String> = a.forms.iter().map(|form| format!("{form:?}")).collect();
                let skips = if a.skips { " with skips" } else { "" };
                let tiling = match a.tiling {
                    None => String::new(),
                    Some(Tiling { walk, online }) => {
                        format!(" walk {walk:?}{}", if online { " online" } else { "" })
                    }
                };
                format!(
                    "attend {} {normalize} [{}] masks [{}]{tiling}{skips}",
                    a.name,
                    self.var_names(&vars),
                    forms.join(" ")
                )
            }
            Op::Field(field) => match field {
                Field::Out => "field out".into(),
                Field::Lse => "field lse".into(),
                Field::RowMax => "field row_max".into(),
                Field::Prob => "field prob".into(),
            },
        }
    }

    fn print_domain(&self, domain: Domain) -> String {
        let name = |var: Var| self.var(var).name.as_str();
        match domain {
            Domain::All(var) => name(var).into(),
            Domain::Keys { var, batch } => format!("{} in keys({})", name(var), name(batch)),
            Domain::Heads { var, kv_head } => format!("{} in {}", name(var), name(kv_head)),
            Domain::Positions { var, part } => format!("{} in {}", name(var), name(part)),
            Domain::Tile { var, of } => format!("{} in tile({})", name(var), name(of)),
        }
    }
}
