//! User functions: each is checked once on its own, before it is inlined anywhere.
//!
//! A function works on numbers and sees nothing but its arguments, so that its meaning does not depend on the program
//! that calls it.

use crate::builtins::{Means, builtin};
use dmac_source::{Code, Diagnostic, nearest};
use dmac_syntax::ast::{Expr, ExprKind, FnItem, Ident, Module};
use std::collections::{BTreeMap, BTreeSet};

/// The functions of a module.
#[derive(Debug)]
pub(crate) struct Functions<'a> {
    items: BTreeMap<&'a str, &'a FnItem>,
    /// Those in which an error was reported: inlining them would report it again.
    broken: BTreeSet<&'a str>,
}

impl<'a> Functions<'a> {
    /// Collects and checks the functions of a module.
    pub(crate) fn new(module: &'a Module, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut functions = Self { items: BTreeMap::new(), broken: BTreeSet::new() };
        for item in module.functions() {
            if let Some(earlier) = functions.items.get(item.name.name.as_str()) {
                diagnostics.push(
                    Diagnostic::error(Code::E0202, format!("the function `{}` is declared twice", item.name))
                        .label(item.name.span, "declared again")
                        .secondary(earlier.name.span, "first declared here"),
                );
                continue;
            }
            if builtin(&item.name.name).is_some() {
                diagnostics.push(
                    Diagnostic::error(Code::E0202, format!("`{}` is a builtin function", item.name))
                        .label(item.name.span, "every program has it")
                        .help("choose another name"),
                );
                continue;
            }
            functions.items.insert(&item.name.name, item);
        }
        for (name, item) in functions.items.clone() {
            let before = diagnostics.len();
            Self::check_params(item, diagnostics);
            Self::check_body(&item.body, item, diagnostics);
            if diagnostics.len() > before {
                functions.broken.insert(name);
            }
        }
        functions.check_recursion(diagnostics);
        functions
    }

    /// The function called `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&'a FnItem> {
        self.items.get(name).copied()
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.items.keys().copied()
    }

    /// Warns about functions that no program calls.
    pub(crate) fn warn_unused(&self, called: &BTreeSet<String>, diagnostics: &mut Vec<Diagnostic>) {
        for (name, item) in &self.items {
            if !called.contains(*name) {
                diagnostics.push(
                    Diagnostic::warning(Code::W0201, format!("the function `{name}` is never called"))
                        .label(item.name.span, "unused")
                        .help("remove it"),
                );
            }
        }
    }

    /// Whether nothing is wrong with the function on its own.
    pub(crate) fn is_sound(&self, name: &str) -> bool {
        !self.broken.contains(name)
    }

    fn check_params(item: &FnItem, diagnostics: &mut Vec<Diagnostic>) {
        for (at, param) in item.params.iter().enumerate() {
            if let Some(first) = item.params[..at].iter().find(|first| first.name == param.name) {
                diagnostics.push(
                    Diagnostic::error(Code::E0202, format!("the argument `{param}` is declared twice"))
                        .label(param.span, "declared again")
                        .secondary(first.span, "first declared here"),
                );
            }
        }
    }

    fn check_body(expr: &'a Expr, item: &FnItem, diagnostics: &mut Vec<Diagnostic>) {
        let mut foreign = |name: &Ident| {
            if item.params.iter().any(|param| param.name == name.name) {
                return;
            }
            let mut diagnostic =
                Diagnostic::error(Code::E0213, format!("`{}` has no argument `{name}`", item.name))
                    .label(name.span, "a function sees its arguments only");
            diagnostic = match nearest(&name.name, item.params.iter().map(|param| param.name.as_str())) {
                Some(similar) => diagnostic.suggest(name.span, similar, format!("did you mean `{similar}`?")),
                None => diagnostic.help(format!("make it an argument: `fn {}(..., {name})`", item.name)),
            };
            diagnostics.push(diagnostic);
        };
        match &expr.kind {
            ExprKind::Int(_) | ExprKind::Float { .. } | ExprKind::Bool(_) | ExprKind::Error => {}
            ExprKind::Name(name) => foreign(name),
            ExprKind::Index { .. } | ExprKind::Field { .. } | ExprKind::Reduce { .. } => {
                let what = match &expr.kind {
                    ExprKind::Reduce { .. } => "a reduction",
                    _ => "a tensor",
                };
                diagnostics.push(
                    Diagnostic::error(Code::E0213, "a function works on numbers")
                        .label(expr.span, format!("{what} in a function"))
                        .help("give the function its elements as arguments, or use a `let`"),
                );
            }
            ExprKind::Call { function, args } => {
                let takes_type = builtin(&function.name).is_some_and(|row| row.means == Means::Cast);
                let checked = if takes_type { &args[..args.len().min(1)] } else { args };
                for arg in checked {
                    Self::check_body(arg, item, diagnostics);
                }
            }
            ExprKind::Unary { operand, .. } => Self::check_body(operand, item, diagnostics),
            ExprKind::Binary { lhs, rhs, .. } => {
                Self::check_body(lhs, item, diagnostics);
                Self::check_body(rhs, item, diagnostics);
            }
            ExprKind::If { condition, then, otherwise } => {
                for part in [condition, then, otherwise] {
                    Self::check_body(part, item, diagnostics);
                }
            }
        }
    }

    /// Reports each cycle of calls; functions that lead into one cannot be inlined. One depth-first walk: the path holds
    /// the functions that are being looked into, and a call of one of them closes a cycle.
    fn check_recursion(&mut self, diagnostics: &mut Vec<Diagnostic>) {
        let calls: BTreeMap<&'a str, Vec<&'a str>> = self
            .items
            .iter()
            .map(|(&name, item)| {
                let mut called = BTreeSet::new();
                collect_calls(&item.body, &mut called);
                (name, called.into_iter().filter(|callee| self.items.contains_key(callee)).collect())
            })
            .collect();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        for &start in calls.keys() {
            let mut path: Vec<(&'a str, usize)> =
                if done.contains(start) { vec![] } else { vec![(start, 0)] };
            let mut on_path: BTreeMap<&str, usize> = BTreeMap::from([(start, 0)]);
            while let Some((name, next)) = path.last_mut() {
                let name = *name;
                let Some(&callee) = calls[name].get(*next) else {
                    if calls[name].iter().any(|callee| self.broken.contains(callee)) {
                        self.broken.insert(name);
                    }
                    done.insert(name);
                    on_path.remove(name);
                    path.pop();
                    continue;
                };
                *next += 1;
                if let Some(&at) = on_path.get(callee) {
                    self.report_cycle(path[at..].iter().map(|(name, _)| *name), diagnostics);
                } else if !done.contains(callee) {
                    on_path.insert(callee, path.len());
                    path.push((callee, 0));
                }
            }
        }
    }

    fn report_cycle(&mut self, cycle: impl Iterator<Item = &'a str>, diagnostics: &mut Vec<Diagnostic>) {
        let names: Vec<&str> = cycle.collect();
        let first = names[0];
        let mut diagnostic = Diagnostic::error(Code::E0207, format!("the function `{first}` calls itself"))
            .label(self.items[first].name.span, "functions are inlined, so this would never end")
            .help("what repeats is written as a reduction: `sum(t: ...)`");
        for name in &names[1..] {
            diagnostic = diagnostic.secondary(self.items[name].name.span, "by way of this one");
        }
        diagnostics.push(diagnostic);
        self.broken.extend(names);
    }
}

fn collect_calls<'a>(expr: &'a Expr, called: &mut BTreeSet<&'a str>) {
    match &expr.kind {
        ExprKind::Call { function, args } => {
            called.insert(&function.name);
            for arg in args {
                collect_calls(arg, called);
            }
        }
        ExprKind::Unary { operand, .. } => collect_calls(operand, called),
        ExprKind::Binary { lhs, rhs, .. } => {
            collect_calls(lhs, called);
            collect_calls(rhs, called);
        }
        ExprKind::If { condition, then, otherwise } => {
            for part in [condition, then, otherwise] {
                collect_calls(part, called);
            }
        }
        _ => {}
    }
}
