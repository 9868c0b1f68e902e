//! Printing a tree and reading it back gives the same tree; formatting keeps tree and comments and is done once.

use dmac_source::{Format, Renderer, SourceFile, Span, Spanned};
use dmac_syntax::ast::{
    Attention, Axis, AxisDef, BinOp, Binder, Branch, Emit, Expr, ExprKind, FnItem, Ident, Input, InputType,
    InputTypeKind, Item, Let, Module, Normalize, Over, Param, ParamType, ReduceOp, Select, Stmt, StmtKind,
    Ties, UnOp,
};
use dmac_syntax::lexer::lex;
use dmac_syntax::token::Keyword;
use dmac_syntax::{format, parse};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const NOWHERE: Span = Span { start: 0, end: 0 };

fn ident() -> impl Strategy<Value = Ident> {
    let long = "[a-zA-Z_][a-zA-Z0-9_]{0,24}'{0,2}";
    let special =
        select(vec!["score", "scale", "top", "keys", "low", "windows", "real", "i32", "sum", "lse"]);
    prop_oneof![4 => "[a-z]'?", 2 => long, 1 => special.prop_map(str::to_owned)]
        .prop_filter("reserved", |name| Keyword::named(name).is_none())
        .prop_map(|name| Ident::new(name, NOWHERE))
}

fn float() -> impl Strategy<Value = ExprKind> {
    "(0|[1-9][0-9]{0,4})(\\.[0-9]{1,4}([eE][+-]?[0-9])?|[eE][+-]?[0-9])"
        .prop_map(|text| ExprKind::Float { value: text.parse().unwrap(), text })
}

/// What the grammar lets have indices and fields: a name, with any of them before.
fn read(inner: impl Strategy<Value = Expr> + Clone + 'static) -> impl Strategy<Value = ExprKind> {
    #[derive(Clone, Debug)]
    enum Step {
        Indices(Vec<Expr>),
        Field(Ident),
    }
    let step = prop_oneof![vec(inner, 1..4).prop_map(Step::Indices), ident().prop_map(Step::Field)];
    (ident(), vec(step, 1..3)).prop_map(|(name, steps)| {
        steps.into_iter().fold(ExprKind::Name(name), |base, step| {
            let base = Box::new(bare(base));
            match step {
                Step::Indices(indices) => ExprKind::Index { base, indices },
                Step::Field(field) => ExprKind::Field { base, field },
            }
        })
    })
}

fn bare(kind: ExprKind) -> Expr {
    Expr::new(kind, NOWHERE)
}

fn expr() -> impl Strategy<Value = Expr> + Clone {
    let leaf = prop_oneof![
        4 => ident().prop_map(ExprKind::Name),
        2 => (0..=i64::MAX).prop_map(ExprKind::Int),
        2 => (0..40_i64).prop_map(ExprKind::Int),
        1 => float(),
        1 => any::<bool>().prop_map(ExprKind::Bool),
    ];
    leaf.prop_map(bare).prop_recursive(6, 40, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let function =
            ident().prop_filter("no function", |name| !["windows", "blocks"].contains(&name.name.as_str()));
        let call = (function, vec(inner.clone(), 0..4))
            .prop_map(|(function, args)| ExprKind::Call { function, args });
        let unary = (select(vec![UnOp::Neg, UnOp::Not]), boxed()).prop_map(|(op, operand)| ExprKind::Unary {
            op,
            op_span: NOWHERE,
            operand,
        });
        let binary = (select(BinOp::ALL.to_vec()), boxed(), boxed())
            .prop_map(|(op, lhs, rhs)| ExprKind::Binary { op, op_span: NOWHERE, lhs, rhs });
        let choice = (boxed(), boxed(), boxed()).prop_map(|(condition, then, otherwise)| ExprKind::If {
            condition,
            then,
            otherwise,
        });
        let binder = (ident(), option::of(ident())).prop_map(|(index, within)| Binder { index, within });
        let reduce = (select(ReduceOp::ALL.to_vec()), vec(binder, 1..4), boxed())
            .prop_map(|(op, binders, body)| ExprKind::Reduce { op, op_span: NOWHERE, binders, body });
        prop_oneof![2 => read(inner.clone()), 1 => call, 2 => unary, 5 => binary, 1 => choice, 1 => reduce]
            .prop_map(bare)
    })
}

fn axes() -> impl Strategy<Value = Vec<Ident>> {
    vec(ident(), 0..4)
}

fn input() -> impl Strategy<Value = StmtKind> {
    let range = option::of((expr(), expr()));
    let kind = prop_oneof![
        Just(InputTypeKind::Real),
        Just(InputTypeKind::F32),
        Just(InputTypeKind::Bool),
        range.prop_map(|range| InputTypeKind::I32 { range }),
    ];
    (ident(), axes(), kind).prop_map(|(name, axes, kind)| {
        StmtKind::Input(Input { name, axes, ty: InputType { kind, span: NOWHERE } })
    })
}

fn axis() -> impl Strategy<Value = StmtKind> {
    let def = prop_oneof![
        expr().prop_map(AxisDef::Size),
        (ident(), expr(), expr()).prop_map(|(over, length, stride)| AxisDef::Windows {
            over,
            length,
            stride,
            span: NOWHERE
        }),
        (ident(), expr()).prop_map(|(over, length)| AxisDef::Blocks { over, length, span: NOWHERE }),
    ];
    (ident(), def).prop_map(|(name, def)| StmtKind::Axis(Axis { name, def }))
}

fn selection() -> impl Strategy<Value = StmtKind> {
    let clause = || option::of(expr());
    let ties = option::of(select(Ties::ALL.to_vec()).prop_map(|ties| Spanned::new(ties, NOWHERE)));
    (expr(), option::of(ident()), expr(), clause(), clause(), clause(), ties).prop_map(
        |(count, block, operand, among, forcing, plus, ties)| {
            StmtKind::Select(Select { count, block, operand, among, forcing, plus, ties })
        },
    )
}

fn stmt() -> impl Strategy<Value = Stmt> {
    let emit = (ident(), option::of(ident())).prop_map(|(name, field)| Emit { name, field, span: NOWHERE });
    let simple = prop_oneof![
        input(),
        axis(),
        (ident(), axes(), expr()).prop_map(|(name, axes, value)| StmtKind::Let(Let { name, axes, value })),
        expr().prop_map(StmtKind::Scale),
        expr().prop_map(StmtKind::Score),
        expr().prop_map(StmtKind::Mask),
        selection(),
        (ident(), option::of(expr())).prop_map(|(name, with)| StmtKind::Normalize(Normalize { name, with })),
        expr().prop_map(StmtKind::Output),
        vec(emit, 1..4).prop_map(StmtKind::Emit),
    ];
    simple.prop_map(|kind| Stmt { kind, span: NOWHERE }).prop_recursive(2, 6, 3, |inner| {
        let name = || option::of(ident());
        let over = option::of((name(), name(), name(), name()));
        (ident(), over, vec(inner, 0..3)).prop_map(|(branch, over, body)| {
            let over =
                over.map(|(queries, keys, values, axis)| Over { queries, keys, values, axis, span: NOWHERE });
            let empty = |over: &Over| {
                [&over.queries, &over.keys, &over.values, &over.axis].iter().all(|x| x.is_none())
            };
            let kind =
                StmtKind::Branch(Branch { name: branch, over: over.filter(|over| !empty(over)), body });
            Stmt { kind, span: NOWHERE }
        })
    })
}

fn doc() -> impl Strategy<Value = Vec<String>> {
    vec("([!-.0-~αé€]( ?[!-~αé€]){0,9})?", 0..3)
}

fn item() -> impl Strategy<Value = Item> {
    let ty = select(ParamType::ALL.to_vec()).prop_map(|ty| Spanned::new(ty, NOWHERE));
    let param = (any::<bool>(), ident(), ty, option::of(expr()))
        .prop_map(|(is_const, name, ty, default)| Param { is_const, name, ty, default, span: NOWHERE });
    let attention =
        (doc(), ident(), vec(param, 0..4), vec(stmt(), 0..5)).prop_map(|(doc, name, params, body)| {
            Item::Attention(Attention { doc, name, params, body, span: NOWHERE })
        });
    let function = (doc(), ident(), vec(ident(), 0..3), expr())
        .prop_map(|(doc, name, params, body)| Item::Fn(FnItem { doc, name, params, body, span: NOWHERE }));
    prop_oneof![4 => attention, 1 => function]
}

fn module() -> impl Strategy<Value = Module> {
    vec(item(), 0..4).prop_map(|items| Module { items })
}

fn parsed(text: &str) -> Module {
    let file = SourceFile::new("generated.dmac", text);
    let (module, diagnostics) = parse(&file);
    let report = Renderer::new(Format::Human).render_all(&file, &diagnostics);
    assert!(diagnostics.iter().all(|diagnostic| !diagnostic.is_error()), "{report}\n{text}");
    module
}

/// The text with a comment, or a change of blanks, at every `steps[n]`-th place between two tokens.
fn disturbed(text: &str, steps: &[(usize, &str)]) -> String {
    let lexed = lex(&SourceFile::new("text", text));
    let mut out = String::new();
    let (mut copied, mut token) = (0, 0);
    for (step, inserted) in steps {
        token += step;
        let Some(place) = lexed.tokens.get(token).map(|token| token.span.start as usize) else { break };
        out.push_str(&text[copied..place]);
        out.push_str(inserted);
        copied = place;
    }
    out + &text[copied..]
}

fn comments(text: &str) -> Vec<String> {
    let file = SourceFile::new("text", text);
    let mut texts: Vec<String> = lex(&file)
        .comments
        .iter()
        .map(|comment| file.slice(comment.span).trim_start_matches('/').trim().to_owned())
        .collect();
    texts.sort();
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back(module in module()) {
        let text = format::print(&module);
        prop_assert_eq!(parsed(&text).without_spans(), module, "{}", text);
    }

    #[test]
    fn printed_text_is_canonical(module in module()) {
        let text = format::print(&module);
        let formatted = format(&SourceFile::new("printed.dmac", text.clone())).unwrap();
        prop_assert_eq!(formatted, text);
    }

    #[test]
    fn formatting_keeps_tree_and_comments(
        module in module(),
        steps in vec((1..12_usize, select(vec![
            "// one\n", "\n\n// two\n\n\n", "/// three\n", "//// four\n", " \n", "\r\n\t ", "// {\n", "// }\n",
        ])), 0..8),
    ) {
        let text = disturbed(&format::print(&module), &steps);
        let before = parsed(&text);
        let once = format(&SourceFile::new("disturbed.dmac", text.clone())).unwrap();
        prop_assert_eq!(parsed(&once).without_spans(), before.without_spans(), "{}\n=>\n{}", &text, &once);
        prop_assert_eq!(comments(&once), comments(&text), "{}\n=>\n{}", &text, &once);
        let twice = format(&SourceFile::new("formatted.dmac", once.clone())).unwrap();
        prop_assert_eq!(&twice, &once, "{}\n=>\n{}\n=>\n{}", &text, &once, &twice);
    }
}

#[test]
fn text_with_errors_is_not_formatted() {
    let file = SourceFile::new("broken.dmac", "attention a { mask j <= }");
    let diagnostics = format(&file).unwrap_err();
    assert_eq!(diagnostics.len(), 1);
}
