//! Expressions of a graph as a reader of the program would write them.
//!
//! Input → output: a scalar node → `0 <= j < i + 1`. Positions of query rows are written as the query's variable, tensors
//! by their names, conditions made by classification as chained comparisons.

use dmac_ir::{Binary, Compare, Domain, Edge, Field, Graph, NodeId, Op, Scalar, Size, Unary};

/// How deep an expression is written out.
const DEEPEST: usize = 14;

/// A scalar node as text; `...` stands for what is nested too deeply.
pub fn expression(graph: &Graph, id: NodeId) -> String {
    at(graph, id, Level::Lowest, 0)
}

/// How tightly an operator binds; an operand that binds less is put in parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Lowest,
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Atom,
}

fn at(graph: &Graph, id: NodeId, needed: Level, depth: usize) -> String {
    if depth == DEEPEST {
        return "...".into();
    }
    let (text, level) = print(graph, id, depth + 1);
    if level < needed { format!("({text})") } else { text }
}

fn print(graph: &Graph, id: NodeId, depth: usize) -> (String, Level) {
    let operands = graph.operands(id);
    let name = |var| graph.var(var).name.clone();
    let operand = |index: usize, level: Level| at(graph, operands[index], level, depth);
    let next = |level: Level| match level {
        Level::Lowest => Level::Or,
        Level::Or => Level::And,
        Level::And => Level::Not,
        Level::Not => Level::Compare,
        Level::Compare => Level::Sum,
        Level::Sum => Level::Product,
        Level::Product | Level::Atom => Level::Atom,
    };
    let call = |name: &str| {
        let list: Vec<String> =
            operands.iter().map(|&operand| at(graph, operand, Level::Lowest, depth)).collect();
        (format!("{name}({})", list.join(", ")), Level::Atom)
    };
    let infix = |op: &str, level: Level, right: Level| {
        (format!("{} {op} {}", operand(0, level), operand(1, right)), level)
    };
    let atom = |text: String| (text, Level::Atom);
    match graph.op(id) {
        Op::Float(value) => atom(format!("{:?}", value.get())),
        Op::Int(value) if *value < 0 => (value.to_string(), Level::Sum),
        Op::Int(value) => atom(value.to_string()),
        Op::Bool(value) => atom(value.to_string()),
        Op::Param(param) => atom(graph.param(*param).name.clone()),
        // An axis of the program has the name of a variable; `N` and its like do not.
        Op::Size(Size::Axis(axis)) if graph.vars.iter().any(|var| var.name == graph.axis(*axis).name) => {
            atom(format!("size({})", graph.axis(*axis).name))
        }
        Op::Size(size) => atom(graph.print_size(size)),
        Op::Index(var) => atom(name(*var)),
        Op::Position { query, .. } => atom(name(*query)),
        Op::KeyLength { batch } => atom(format!("kv_len[{}]", name(*batch))),
        Op::TileEdge { var, edge: Edge::First, .. } => atom(format!("first({})", name(*var))),
        Op::TileEdge { var, edge: Edge::Last, .. } => atom(format!("last({})", name(*var))),
        Op::Read => {
            let index: Vec<String> =
                operands[1..].iter().map(|&operand| at(graph, operand, Level::Lowest, depth)).collect();
            let tensor = tensor(graph, operands[0]);
            atom(if index.is_empty() { tensor } else { format!("{tensor}[{}]", index.join(", ")) })
        }
        Op::Unary(Unary::Neg) => (format!("-{}", operand(0, Level::Atom)), Level::Sum),
        Op::Unary(Unary::Not) => (format!("not {}", operand(0, Level::Not)), Level::Not),
        Op::Unary(unary) => call(&format!("{unary:?}").to_lowercase()),
        Op::Binary(binary) => match binary {
            Binary::Add => infix("+", Level::Sum, Level::Sum),
            Binary::Sub => infix("-", Level::Sum, next(Level::Sum)),
            Binary::Mul => infix("*", Level::Product, next(Level::Product)),
            Binary::Div => infix("/", Level::Product, next(Level::Product)),
            Binary::IntDiv => infix("div", Level::Product, next(Level::Product)),
            Binary::IntMod => infix("mod", Level::Product, next(Level::Product)),
            Binary::And => infix("and", Level::And, Level::And),
            Binary::Or => infix("or", Level::Or, Level::Or),
            Binary::Min => call("min"),
            Binary::Max => call("max"),
        },
        Op::Compare(compare) => {
            let sign = match compare {
                Compare::Eq => "==",
                Compare::Ne => "!=",
                Compare::Lt => "<",
                Compare::Le => "<=",
                Compare::Gt => ">",
                Compare::Ge => ">=",
            };
            (infix(sign, Level::Sum, Level::Sum).0, Level::Compare)
        }
        Op::InRange => {
            let [x, lo, hi] = [0, 1, 2].map(|index| operand(index, Level::Sum));
            (format!("{lo} <= {x} < {hi}"), Level::Compare)
        }
        Op::If => {
            let [c, x, y] = [0, 1, 2].map(|index| operand(index, Level::Or));
            (format!("if {c} then {x} else {y}"), Level::Lowest)
        }
        Op::Cast(Scalar::Int) => atom(format!("cast({}, int)", operand(0, Level::Lowest))),
        Op::Cast(_) | Op::Stop => print(graph, operands[0], depth),
        Op::Reduce { op, domains } => {
            let vars: Vec<String> = domains
                .iter()
                .map(|&domain| match domain {
                    Domain::All(var) | Domain::Keys { var, .. } => name(var),
                    Domain::Heads { var, kv_head: of }
                    | Domain::Positions { var, part: of }
                    | Domain::Tile { var, of } => format!("{} in {}", name(var), name(of)),
                })
                .collect();
            let op = format!("{op:?}").to_lowercase();
            atom(format!("{op}({}: {})", vars.join(", "), operand(0, Level::Lowest)))
        }
        Op::Contains => {
            let element =
                operands.last().map(|&element| at(graph, element, Level::Sum, depth)).unwrap_or_default();
            (format!("{element} is selected"), Level::Compare)
        }
        _ => atom(tensor(graph, id)),
    }
}

/// A tensor, by name.
fn tensor(graph: &Graph, id: NodeId) -> String {
    match graph.op(id) {
        Op::Input(input) => graph.input(*input).name.clone(),
        Op::Define { name, .. } => name.clone(),
        Op::Lifetime { .. } => "end".into(),
        Op::Field(field) => {
            let branch = match graph.op(graph.operand(id, 0)) {
                Op::Attend(attend) => attend.name.clone(),
                _ => String::new(),
            };
            match field {
                Field::Out => branch,
                Field::Lse => format!("{branch}.lse"),
                Field::RowMax => format!("{branch}.row_max"),
                Field::Prob => format!("{branch}.prob"),
            }
        }
        _ => format!("%{}", id.0),
    }
}
