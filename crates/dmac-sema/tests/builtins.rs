//! The table of builtin functions: its documentation is up to date, its derivatives are those of its functions, and each
//! row can be called.

use dmac_ir::{Binary, Compare, Unary};
use dmac_sema::builtins::{BUILTINS, Builtin, Formula, Gives, Means, Takes, builtin, page, relation_text};
use dmac_sema::{SemaOptions, analyze};
use dmac_source::{Format, Renderer, SourceFile};
use std::path::Path;

#[test]
fn the_page_is_generated_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl/BUILTINS.md");
    if std::env::var_os("DMAC_BLESS").is_some() {
        std::fs::write(&path, page()).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "dsl/BUILTINS.md is not what the table says: run this test with DMAC_BLESS=1");
}

#[test]
fn names_are_unique_and_found() {
    for row in BUILTINS {
        for name in row.aliases.iter().chain([&row.name]) {
            assert_eq!(builtin(name).map(|found| found.name), Some(row.name), "{name}");
        }
        assert!(row.derivatives.is_empty() || row.derivatives.len() <= row.args.len(), "{}", row.name);
        assert!(row.doc.ends_with('.') || row.doc.ends_with(')'), "{}", row.name);
    }
    assert!(builtin("no_such_function").is_none());
}

/// The value of a unary operation.
fn unary(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Not => panic!("not a number"),
        Unary::Abs => x.abs(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Softplus => x.exp().ln_1p(),
        Unary::LogSigmoid => -(-x).exp().ln_1p(),
        Unary::Relu => x.max(0.0),
        Unary::Floor => x.floor(),
    }
}

fn call(row: &Builtin, args: &[f64]) -> f64 {
    match row.means {
        Means::Unary(op) => unary(op, args[0]),
        Means::Binary(Binary::Min) => args[0].min(args[1]),
        Means::Binary(Binary::Max) => args[0].max(args[1]),
        Means::Formula(formula) => value(&formula, args, f64::NAN),
        _ => panic!("`{}` is not a function of floats", row.name),
    }
}

fn value(formula: &Formula, args: &[f64], result: f64) -> f64 {
    let of = |formula: &Formula| value(formula, args, result);
    match formula {
        Formula::Arg(index) => args[*index],
        Formula::Result => result,
        Formula::Const(value) => *value,
        Formula::Neg(x) => -of(x),
        Formula::Add(x, y) => of(x) + of(y),
        Formula::Sub(x, y) => of(x) - of(y),
        Formula::Mul(x, y) => of(x) * of(y),
        Formula::Div(x, y) => of(x) / of(y),
        Formula::Call(name, operands) => {
            let operands: Vec<f64> = operands.iter().map(of).collect();
            call(builtin(name).expect("the formula's function exists"), &operands)
        }
        Formula::If(relation, [x, y, then, otherwise]) => {
            let (x, y) = (of(x), of(y));
            let holds = match relation {
                Compare::Eq => x == y,
                Compare::Ne => x != y,
                Compare::Lt => x < y,
                Compare::Le => x <= y,
                Compare::Gt => x > y,
                Compare::Ge => x >= y,
            };
            if holds { of(then) } else { of(otherwise) }
        }
    }
}

#[test]
fn derivatives_are_slopes() {
    // Points in the domain of every function, away from kinks and jumps; the second list has arguments out of order.
    let points: [[f64; 3]; 5] =
        [[0.3, 0.7, 1.9], [2.4, 0.6, 1.1], [0.2, 1.3, 0.9], [3.6, 4.4, 2.5], [1.2, 0.4, 2.6]];
    let mut checked = 0;
    for row in BUILTINS {
        let of_floats = row.args.iter().all(|(_, takes)| matches!(takes, Takes::Float | Takes::Number));
        if !of_floats {
            continue;
        }
        assert_eq!(row.derivatives.len(), row.args.len(), "`{}` has a derivative by each argument", row.name);
        for signs in [1.0, -1.0] {
            for point in points {
                let args: Vec<f64> = point[..row.args.len()].iter().map(|x| x * signs).collect();
                let result = call(row, &args);
                if result.is_nan() {
                    continue;
                }
                for (at, derivative) in row.derivatives.iter().enumerate() {
                    let step = 1e-6;
                    let shifted = |by: f64| {
                        let mut args = args.clone();
                        args[at] += by;
                        call(row, &args)
                    };
                    let slope = (shifted(step) - shifted(-step)) / (2.0 * step);
                    let stated = value(derivative, &args, result);
                    assert!(
                        (slope - stated).abs() <= 1e-6 * (1.0 + slope.abs()),
                        "`{}` at {args:?} by argument {at}: slope {slope}, stated {stated}",
                        row.name
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100, "only {checked} slopes were compared");
}

#[test]
fn every_function_can_be_called() {
    for row in BUILTINS {
        let args: Vec<&str> = row
            .args
            .iter()
            .map(|(_, takes)| match takes {
                Takes::Float | Takes::Number | Takes::Scalar => "score",
                Takes::Bool => "j < 3",
                Takes::Part => "s",
                Takes::TypeName => "float",
            })
            .collect();
        let call = format!("{}({})", row.name, args.join(", "));
        let part = row.args.iter().any(|(_, takes)| *takes == Takes::Part);
        let value = if part { format!("sum(s: {call})") } else { call };
        let axis = if part { "axis s = blocks(j, 64)" } else { "" };
        let file = SourceFile::new(row.name, format!("attention a {{ {axis} score = {value} }}"));
        let (module, mut diagnostics) = dmac_syntax::parse(&file);
        let (programs, found) = analyze(&module, &SemaOptions::default());
        diagnostics.extend(found);
        assert!(diagnostics.is_empty(), "{}", Renderer::new(Format::Human).render_all(&file, &diagnostics));
        assert_eq!(programs.len(), 1);
    }
}

#[test]
fn ints_stay_ints_where_a_number_is_taken() {
    let gives_int = |text: &str| {
        let file = SourceFile::new(
            "ints",
            format!("attention a {{ input x[b, j]: f32 mask {text} mod 2 == 0 and x[b, j] > 0.0 }}"),
        );
        let (module, _) = dmac_syntax::parse(&file);
        let (_, diagnostics) = analyze(&module, &SemaOptions::default());
        !dmac_source::has_errors(&diagnostics)
    };
    for row in BUILTINS.iter().filter(|row| row.gives == Gives::Same && row.args[0].1 == Takes::Number) {
        let call = |first: &str| {
            let args: Vec<&str> =
                std::iter::once(first).chain(std::iter::repeat("j")).take(row.args.len()).collect();
            format!("{}({})", row.name, args.join(", "))
        };
        assert!(gives_int(&call("i")), "{}", row.name);
        assert!(!gives_int(&call("x[b, j]")), "{}", row.name);
    }
}

#[test]
fn formulas_print_as_the_language() {
    let silu = builtin("silu").expect("there is silu");
    let Means::Formula(formula) = silu.means else { panic!("silu is a formula") };
    assert_eq!(formula.text(&["x"]), "x * sigmoid(x)");
    assert_eq!(silu.derivatives[0].text(&["x"]), "sigmoid(x) * (1 + x * (1 - sigmoid(x)))");
    assert_eq!(relation_text(Compare::Ne), "!=");
}
