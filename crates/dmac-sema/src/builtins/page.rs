//! The builtin functions, reductions and normalizations as a page of documentation: `dsl/BUILTINS.md`.

use super::{BUILTINS, Builtin, Gives, Means, NORMALIZERS, REDUCTIONS, Takes};
use std::fmt::Write as _;

/// The page, in Markdown.
pub fn page() -> String {
    let mut text = String::from(
        "# Builtin functions\n\n\
         Generated from the table in `crates/dmac-sema/src/builtins.rs`; a test keeps it so.\n\n\
         An int is converted where a float is taken. A *number* is an int or a float: the value is an int if all \
         arguments are. In a derivative, `result` is the value of the function.\n\n\
         | function | gives | is | derivative by each argument |\n|---|---|---|---|\n",
    );
    for row in BUILTINS {
        line(&mut text, &[&call(row), gives(row), &meaning(row), &derivatives(row)]);
    }
    text.push_str(
        "\n# Reductions\n\n\
         `NAME(t, h in g: body)` binds its indices in the body: `t` over its whole axis, `h in g` over the query heads \
         of a key/value head, `j in s` over the positions of a window or block.\n\n\
         | reduction | of | is | over nothing |\n|---|---|---|---|\n",
    );
    for row in REDUCTIONS {
        let name = format!("`{}`", row.op.text());
        line(&mut text, &[&name, takes(row.takes), row.doc, row.empty]);
    }
    text.push_str(
        "\n# Normalizations\n\n`normalize NAME` says how scores become weights; without it, softmax does.\n\n\
         | name | weights |\n|---|---|\n",
    );
    for row in NORMALIZERS {
        line(&mut text, &[&format!("`{}`", row.name), row.doc]);
    }
    text
}

fn line(text: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a string never fails");
}

fn arg_names(row: &Builtin) -> Vec<&'static str> {
    row.args.iter().map(|(name, _)| *name).collect()
}

fn call(row: &Builtin) -> String {
    let args: Vec<String> = row.args.iter().map(|(name, kind)| format!("{name}: {}", takes(*kind))).collect();
    let mut text = format!("`{}({})`", row.name, args.join(", "));
    if !row.aliases.is_empty() {
        let aliases: Vec<String> = row.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        write!(text, ", also {}", aliases.join(", ")).expect("writing to a string never fails");
    }
    text
}

fn takes(kind: Takes) -> &'static str {
    match kind {
        Takes::Float => "float",
        Takes::Number => "number",
        Takes::Scalar => "any",
        Takes::Bool => "bool",
        Takes::Part => "index over windows or blocks",
        Takes::TypeName => "int or float",
    }
}

fn gives(row: &Builtin) -> &'static str {
    match row.gives {
        Gives::Float => "float",
        Gives::Int => "int",
        Gives::Same => takes(row.args[0].1),
        Gives::Named => "the type named",
    }
}

fn meaning(row: &Builtin) -> String {
    match row.means {
        Means::Formula(formula) => format!("{} Defined as `{}`.", row.doc, formula.text(&arg_names(row))),
        _ => row.doc.to_owned(),
    }
}

fn derivatives(row: &Builtin) -> String {
    if row.derivatives.is_empty() {
        return "none".to_owned();
    }
    let names = arg_names(row);
    let texts: Vec<String> =
        row.derivatives.iter().map(|formula| format!("`{}`", formula.text(&names))).collect();
    texts.join(", ")
}
