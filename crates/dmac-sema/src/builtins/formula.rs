//! Small closed expressions in a constant table: what a builtin function means in terms of others, and its derivatives.
//!
//! They are data so that the table of builtins can be a constant, one row a function: the same formula is lowered to a
//! graph, evaluated by tests and printed into the documentation.

use dmac_ir::Compare;

/// An expression over the arguments `x0 x1 ...` of a builtin function and its result.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Formula {
    /// The argument of that number.
    Arg(usize),
    /// The function's own value, already computed.
    Result,
    /// A constant.
    Const(f64),
    /// `-a`
    Neg(&'static Self),
    /// `a + b`
    Add(&'static Self, &'static Self),
    /// `a - b`
    Sub(&'static Self, &'static Self),
    /// `a * b`
    Mul(&'static Self, &'static Self),
    /// `a / b`
    Div(&'static Self, &'static Self),
    /// Another builtin function.
    Call(&'static str, &'static [Self]),
    /// `if a <relation> b then c else d`
    If(Compare, &'static [Self; 4]),
}

impl Formula {
    /// As text in the language, with the arguments' names.
    pub fn text(&self, args: &[&str]) -> String {
        self.print(args, 0)
    }

    fn print(&self, args: &[&str], outer: u8) -> String {
        let two = |a: &Self, op: &str, b: &Self, level: u8| {
            let text = format!("{} {op} {}", a.print(args, level), b.print(args, level + 1));
            if level < outer { format!("({text})") } else { text }
        };
        match self {
            Self::Arg(index) => args.get(*index).copied().unwrap_or("?").to_owned(),
            Self::Result => "result".to_owned(),
            Self::Const(value) => value.to_string(),
            Self::Neg(a) => format!("-{}", a.print(args, 3)),
            Self::Add(a, b) => two(a, "+", b, 1),
            Self::Sub(a, b) => two(a, "-", b, 1),
            Self::Mul(a, b) => two(a, "*", b, 2),
            Self::Div(a, b) => two(a, "/", b, 2),
            Self::Call(name, operands) => {
                let operands: Vec<String> = operands.iter().map(|operand| operand.print(args, 0)).collect();
                format!("{name}({})", operands.join(", "))
            }
            Self::If(relation, [a, b, then, otherwise]) => {
                let [a, b, then, otherwise] = [a, b, then, otherwise].map(|part| part.print(args, 0));
                let text = format!("if {a} {} {b} then {then} else {otherwise}", relation_text(*relation));
                if outer > 0 { format!("({text})") } else { text }
            }
        }
    }
}

/// A comparison as written.
pub fn relation_text(relation: Compare) -> &'static str {
    match relation {
        Compare::Eq => "==",
        Compare::Ne => "!=",
        Compare::Lt => "<",
        Compare::Le => "<=",
        Compare::Gt => ">",
        Compare::Ge => ">=",
    }
}
