//! A program in other words: rewritten as a syntax tree, printed again.

use dmac_source::{SourceFile, Span};
use dmac_syntax::ast::{
    AxisDef, BinOp, Expr, ExprKind, Ident, InputTypeKind, Item, Module, Stmt, StmtKind, UnOp,
};
use std::collections::BTreeMap;

const NOWHERE: Span = Span { start: 0, end: 0 };

fn parsed(program: &str) -> Module {
    let (module, diagnostics) = dmac_syntax::parse(&SourceFile::new("respelt", program));
    assert!(diagnostics.is_empty(), "{diagnostics:#?}\n{program}");
    module
}

/// The program with every name replaced that its author chose.
pub fn renamed(program: &str) -> String {
    let module = parsed(program);
    let mut chosen: Vec<String> = Vec::new();
    let mut axes: Vec<String> = Vec::new();
    for item in &module.items {
        match item {
            Item::Attention(attention) => {
                chosen.push(attention.name.name.clone());
                chosen.extend(attention.params.iter().map(|param| param.name.name.clone()));
                declared(&attention.body, &mut chosen, &mut axes);
            }
            Item::Fn(function) => {
                chosen.push(function.name.name.clone());
                chosen.extend(function.params.iter().map(|param| param.name.clone()));
            }
            Item::Error(_) => {}
        }
    }
    let given = ["b", "h", "g", "i", "j", "d", "e"];
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    // The other way round in the alphabet, so that nothing can rest on the order of names.
    let mut add = |name: String, new: String| {
        names.entry(name).or_insert(new);
    };
    let count = chosen.len() + axes.len();
    for (at, axis) in axes.into_iter().enumerate().filter(|(_, axis)| !given.contains(&axis.as_str())) {
        let new = format!("z{}", count - at);
        add(axis.to_uppercase(), new.to_uppercase());
        add(axis, new);
    }
    for (at, name) in chosen.into_iter().enumerate() {
        add(name, format!("y{}", count - at));
    }
    replace_words(program, &names)
}

fn declared(body: &[Stmt], chosen: &mut Vec<String>, axes: &mut Vec<String>) {
    let base = |ident: &Ident| ident.base().to_owned();
    for stmt in body {
        match &stmt.kind {
            StmtKind::Input(input) => {
                chosen.push(input.name.name.clone());
                axes.extend(input.axes.iter().map(base));
            }
            StmtKind::Axis(axis) => axes.push(base(&axis.name)),
            StmtKind::Let(binding) => {
                chosen.push(binding.name.name.clone());
                axes.extend(binding.axes.iter().map(base));
            }
            StmtKind::Branch(branch) => {
                chosen.push(branch.name.name.clone());
                declared(&branch.body, chosen, axes);
            }
            _ => {}
        }
    }
}

fn replace_words(program: &str, names: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let mut last = String::new();
    for c in program.chars().chain(['\n']) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        match names.get(&word) {
            // `ties low` and `normalize sigmoid` name nothing of the program.
            Some(new) if !["ties", "normalize"].contains(&last.as_str()) => out.push_str(new),
            _ => out.push_str(&word),
        }
        if !word.is_empty() {
            last = std::mem::take(&mut word);
        }
        out.push(c);
    }
    out
}

/// The program in other words, chosen by `seed`.
pub fn respelt(program: &str, seed: u64) -> String {
    let mut module = parsed(program);
    let mut dice = Dice(seed);
    for item in &mut module.items {
        match item {
            Item::Attention(attention) => statements(&mut attention.body, &mut dice),
            Item::Fn(function) => respell(&mut function.body, &mut dice),
            Item::Error(_) => {}
        }
    }
    dmac_syntax::format::print(&module)
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % sides
    }

    fn coin(&mut self) -> bool {
        self.roll(2) == 1
    }
}

fn statements(body: &mut Vec<Stmt>, dice: &mut Dice) {
    for stmt in body.iter_mut() {
        match &mut stmt.kind {
            StmtKind::Let(binding) => respell(&mut binding.value, dice),
            StmtKind::Scale(value)
            | StmtKind::Score(value)
            | StmtKind::Mask(value)
            | StmtKind::Output(value) => respell(value, dice),
            StmtKind::Select(select) => {
                respell(&mut select.operand, dice);
                let conditions = [&mut select.among, &mut select.forcing, &mut select.plus];
                conditions.into_iter().flatten().for_each(|condition| respell(condition, dice));
            }
            StmtKind::Normalize(normalize) => normalize.with.iter_mut().for_each(|with| respell(with, dice)),
            StmtKind::Branch(branch) => statements(&mut branch.body, dice),
            StmtKind::Input(input) => {
                if let InputTypeKind::I32 { range: Some((low, high)) } = &mut input.ty.kind {
                    respell(low, dice);
                    respell(high, dice);
                }
            }
            StmtKind::Axis(axis) => {
                if let AxisDef::Size(size) = &mut axis.def {
                    respell(size, dice);
                }
            }
            StmtKind::Emit(_) | StmtKind::Error => {}
        }
    }
    let mut split = Vec::new();
    for stmt in body.drain(..) {
        split_mask(stmt, dice, &mut split);
    }
    // A `let` may stand anywhere among the statements before the branches that it does not read, and after; here it
    // changes places with what stands before it. Inputs and axes define the numbering of tensors and axes, so these stay
    // in order among themselves.
    for at in 1..split.len() {
        let is_let = |stmt: &Stmt| matches!(stmt.kind, StmtKind::Let(_));
        if is_let(&split[at]) && !is_let(&split[at - 1]) && dice.coin() {
            split.swap(at - 1, at);
        }
    }
    *body = split;
}

/// `mask x and y` as one mask or as two.
fn split_mask(stmt: Stmt, dice: &mut Dice, out: &mut Vec<Stmt>) {
    match stmt.kind {
        StmtKind::Mask(Expr { kind: ExprKind::Binary { op: BinOp::And, lhs, rhs, .. }, .. })
            if free_of_reads(&lhs) && free_of_reads(&rhs) && dice.coin() =>
        {
            for part in [lhs, rhs] {
                split_mask(Stmt { kind: StmtKind::Mask(*part), span: stmt.span }, dice, out);
            }
        }
        kind => out.push(Stmt { kind, span: stmt.span }),
    }
}

/// Whether the order of this operand and another one cannot decide which tensors are read where.
fn free_of_reads(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Index { .. } | ExprKind::Reduce { .. } => false,
        ExprKind::Call { args, .. } => args.iter().all(free_of_reads),
        ExprKind::Unary { operand, .. } => free_of_reads(operand),
        ExprKind::Binary { lhs, rhs, .. } => free_of_reads(lhs) && free_of_reads(rhs),
        ExprKind::If { condition, then, otherwise } => {
            [condition, then, otherwise].into_iter().all(|x| free_of_reads(x))
        }
        _ => true,
    }
}

fn turned(op: BinOp) -> BinOp {
    match op {
        BinOp::Lt => BinOp::Gt,
        BinOp::Le => BinOp::Ge,
        BinOp::Gt => BinOp::Lt,
        BinOp::Ge => BinOp::Le,
        op => op,
    }
}

fn respell(expr: &mut Expr, dice: &mut Dice) {
    match &mut expr.kind {
        ExprKind::Index { base: _, indices } => {
            for index in indices {
                respell(index, dice);
            }
        }
        ExprKind::Call { function, args } => {
            for arg in args.iter_mut() {
                respell(arg, dice);
            }
            // Of floats, the order decides which zero, or which of two NaN, comes out.
            let ints = args.iter().all(free_of_reads);
            if ints && ["min", "max"].contains(&function.name.as_str()) && dice.coin() {
                args.reverse();
            }
        }
        ExprKind::Unary { operand, .. } => respell(operand, dice),
        ExprKind::If { condition, then, otherwise } => {
            for part in [condition, then, otherwise] {
                respell(part, dice);
            }
        }
        ExprKind::Reduce { body, .. } => respell(body, dice),
        ExprKind::Binary { op, lhs, rhs, .. } => {
            respell(lhs, dice);
            respell(rhs, dice);
            let commutes = match op {
                BinOp::And | BinOp::Or => free_of_reads(lhs) && free_of_reads(rhs),
                BinOp::Add | BinOp::Mul => true,
                _ => op.is_comparison(),
            };
            if commutes && dice.coin() {
                std::mem::swap(lhs, rhs);
                *op = turned(*op);
            }
            // Of comparisons only: a negated `and` of reads is not the program that it was.
            if op.is_comparison() && dice.roll(4) == 0 {
                let inner = std::mem::replace(expr, Expr::new(ExprKind::Bool(true), NOWHERE));
                let not = |operand| {
                    Expr::new(
                        ExprKind::Unary { op: UnOp::Not, op_span: NOWHERE, operand: Box::new(operand) },
                        NOWHERE,
                    )
                };
                *expr = not(not(inner));
            }
        }
        _ => {}
    }
}
