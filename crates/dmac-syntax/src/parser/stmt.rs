//! Statements and bodies, with recovery at the next statement.

use dmac_source::{Code, Diagnostic, Span, Spanned, nearest};
use nom::Parser as _;

use super::delimited::{
    ListRules, after, axes, elements, enclosed, keyword, list, name, nested, punct, word,
};
use super::expected::{Result, describe, diagnose, expected, fail, foreign_help, label, unexpected};
use super::expr::expr;
use super::input::Tokens;
use super::{begins_assignment, begins_statement, skip_to};
use crate::ast::{
    Axis, AxisDef, Branch, Emit, Ident, Input, InputType, InputTypeKind, Let, Normalize, Over, Select, Stmt,
    StmtKind, Ties,
};
use crate::token::{Foreign, Keyword, Punct, TokenKind};

const PARENS: (Punct, Punct) = (Punct::LeftParen, Punct::RightParen);

/// `{ statement ... }`, with every statement in it, whatever is wrong with some of them.
pub(super) fn body(input: Tokens<'_>) -> Result<'_, Vec<Stmt>> {
    let (mut rest, open) = if begins_statement(input) {
        let open = input.last_span().after();
        input.context.report(unexpected(input, "`{`").suggest(open, " {", "open the body"));
        (input, open)
    } else {
        punct(Punct::LeftBrace)(input)?
    };
    let mut stmts = vec![];
    loop {
        let token = rest.next();
        match token.kind {
            TokenKind::Punct(Punct::RightBrace) => return Ok((rest.advance(1), stmts)),
            TokenKind::End | TokenKind::Keyword(Keyword::Attention | Keyword::Fn) => {
                let diagnostic = Diagnostic::error(Code::E0106, "this `{` is never closed")
                    .label(open, "opened here")
                    .secondary(token.span, "`}` is needed before this")
                    .suggest(rest.last_span().after(), "\n}", "close it");
                rest.context.report(diagnostic);
                return Ok((rest, stmts));
            }
            TokenKind::Foreign(Foreign::Semicolon) => {
                let diagnostic = Diagnostic::error(Code::E0108, "statements do not end with `;`")
                    .label(token.span, "not needed")
                    .help(foreign_help(Foreign::Semicolon))
                    .suggest(token.span, "", "remove it");
                rest.context.report(diagnostic);
                rest = rest.advance(1);
            }
            _ => {
                let (after, stmt) = recovering(rest);
                stmts.push(stmt);
                rest = after;
            }
        }
    }
}

/// A statement; if it is broken, a report and all tokens up to the next one.
fn recovering(input: Tokens<'_>) -> (Tokens<'_>, Stmt) {
    match statement(input) {
        Ok((rest, kind)) => (rest, Stmt { kind, span: rest.since(input) }),
        Err(error) => {
            let failed_at = input.failure(&error);
            input.context.report(diagnose(input, error));
            let from = if failed_at.index() > input.index() { failed_at } else { input.advance(1) };
            let rest = skip_to(from, begins_statement);
            (rest, Stmt { kind: StmtKind::Error, span: rest.since(input) })
        }
    }
}

fn statement(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let rest = input.advance(1);
    match input.next().kind {
        TokenKind::Keyword(keyword) if keyword.begins_statement() => after_keyword(rest, keyword),
        TokenKind::Ident if begins_assignment(input) => assignment(input),
        TokenKind::Ident => unknown(input),
        _ if input.on_same_line() && input.index() > 0 => {
            fail(input, unexpected(input, "an operator or the next statement"))
        }
        _ => expected(input, "a statement"),
    }
}

fn after_keyword(input: Tokens<'_>, keyword: Keyword) -> Result<'_, StmtKind> {
    match keyword {
        Keyword::Input => input_statement(input),
        Keyword::Axis => axis(input),
        Keyword::Let => definition(input),
        Keyword::Mask => expr(input).map(|(rest, predicate)| (rest, StmtKind::Mask(predicate))),
        Keyword::Select => select(input),
        Keyword::Normalize => normalize(input),
        Keyword::Branch => branch(input),
        Keyword::Output => expr(input).map(|(rest, value)| (rest, StmtKind::Output(value))),
        Keyword::Emit => {
            elements(input, None, false, emit).map(|(rest, entries)| (rest, StmtKind::Emit(entries)))
        }
        other => unreachable!("parser: {} begins no statement", other.quoted()),
    }
}

/// `scale = expression`, `score = expression`
fn assignment(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let statement = if input.text() == "scale" { StmtKind::Scale } else { StmtKind::Score };
    let (rest, (_, _, value)) = (name, punct(Punct::Eq), expr).parse(input)?;
    Ok((rest, statement(value)))
}

/// A name where a statement should begin: misspelt, forgotten `let`, or something of another language.
fn unknown(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let (span, text) = (input.next().span, input.text());
    let keywords = Keyword::ALL.iter().copied().filter(|keyword| keyword.begins_statement());
    let statements: Vec<&str> = keywords.map(Keyword::text).chain(["scale", "score"]).collect();
    let diagnostic = Diagnostic::error(Code::E0110, format!("{} begins no statement", describe(input)))
        .label(span, "expected a statement");
    if let Some(meant) = nearest(text, statements.iter().copied()) {
        let diagnostic = diagnostic.suggest(span, meant, format!("did you mean `{meant}`?"));
        return match Keyword::named(meant) {
            Some(keyword) => {
                input.context.report(diagnostic);
                after_keyword(input.advance(1), keyword)
            }
            None if input.ahead(1).kind == TokenKind::Punct(Punct::Eq) => {
                input.context.report(diagnostic);
                let (rest, value) = expr(input.advance(2))?;
                Ok((rest, if meant == "scale" { StmtKind::Scale(value) } else { StmtKind::Score(value) }))
            }
            None => fail(input, diagnostic),
        };
    }
    if defines(input) {
        input.context.report(diagnostic.suggest(span.before(), "let ", "define a value with `let`"));
        return definition(input);
    }
    if input.on_same_line() && !after_brace(input) {
        return fail(input, unexpected(input, "an operator or the next statement"));
    }
    let help = match text {
        "return" => "the result is stated with `output`, or follows from `mask`, `score` and `select`",
        "for" | "while" => "there are no loops: an index ranges by itself, and a sum is `sum(j: ...)`",
        "var" | "val" | "const" | "auto" | "float" | "int" => {
            "a value is defined with `let NAME[indices] = ...`"
        }
        "softmax" | "sigmoid" | "relu" => "write `normalize` before it",
        _ => {
            "statements begin with `input`, `axis`, `let`, `scale =`, `score =`, `mask`, `select`, `normalize`, \
              `branch`, `output` or `emit`"
        }
    };
    fail(input, diagnostic.help(help))
}

/// Whether `NAME =` or `NAME[...] =` comes next.
fn defines(input: Tokens<'_>) -> bool {
    let mut at = 1;
    if input.ahead(1).kind == TokenKind::Punct(Punct::LeftBracket) {
        while matches!(input.ahead(at + 1).kind, TokenKind::Ident | TokenKind::Punct(Punct::Comma)) {
            at += 1;
        }
        at += 2;
    }
    input.ahead(at).kind == TokenKind::Punct(Punct::Eq)
}

fn after_brace(input: Tokens<'_>) -> bool {
    matches!(input.context.file.slice(input.last_span()), "{" | "}" | ";")
}

/// `NAME[axes]: type`
fn input_statement(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let (rest, (name, axes, _, ty)) = (name, axes, punct(Punct::Colon), input_type).parse(input)?;
    Ok((rest, StmtKind::Input(Input { name, axes, ty })))
}

fn input_type(input: Tokens<'_>) -> Result<'_, InputType> {
    let token = input.next();
    if token.kind != TokenKind::Ident {
        return expected(input, "a type");
    }
    let mut rest = input.advance(1);
    let mut range = None;
    if rest.next().kind == TokenKind::Keyword(Keyword::In) {
        let (after, (low, _, high)) = (expr, punct(Punct::DotDot), expr).parse(rest.advance(1))?;
        range = Some((low, high));
        rest = after;
    }
    let kind = match input.text() {
        "i32" => InputTypeKind::I32 { range: range.take() },
        "real" => InputTypeKind::Real,
        "f32" => InputTypeKind::F32,
        "bool" => InputTypeKind::Bool,
        text => {
            let help = "`real` is the storage type chosen when the program is compiled (f32, f16 or bf16); \
                        the others are `f32`, `i32`, `i32 in LO .. HI` and `bool`";
            let meant = match text {
                "int" | "i64" | "int32" | "u32" | "long" => Some("i32"),
                "f16" | "bf16" | "half" | "bfloat16" | "float16" => Some("real"),
                "float" | "float32" | "f64" | "double" => Some("f32"),
                "boolean" => Some("bool"),
                other => nearest(other, InputTypeKind::NAMES),
            };
            let diagnostic =
                Diagnostic::error(Code::E0112, format!("{} is no type of an input", describe(input)))
                    .label(token.span, "unknown type")
                    .help(help);
            input.context.report(match meant {
                Some(meant) => diagnostic.suggest(token.span, meant, format!("did you mean `{meant}`?")),
                None => diagnostic,
            });
            range = None;
            InputTypeKind::Real
        }
    };
    if range.is_some() {
        let diagnostic = Diagnostic::error(Code::E0112, format!("`{}` has no range", kind.text()))
            .label(rest.since(input.advance(1)), "only `i32` can be followed by `in LO .. HI`");
        input.context.report(diagnostic);
    }
    Ok((rest, InputType { kind, span: rest.since(input) }))
}

/// `NAME = size`, `NAME = windows(j, length, stride)`, `NAME = blocks(j, length)`
fn axis(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let (rest, (name, _, def)) = (name, punct(Punct::Eq), axis_def).parse(input)?;
    Ok((rest, StmtKind::Axis(Axis { name, def })))
}

fn axis_def(input: Tokens<'_>) -> Result<'_, AxisDef> {
    let cuts =
        input.next().kind == TokenKind::Ident && input.ahead(1).kind == TokenKind::Punct(Punct::LeftParen);
    match input.text() {
        "windows" if cuts => {
            let (rest, (over, length, stride)) = enclosed(input.advance(1), PARENS, |input| {
                let comma = || punct(Punct::Comma);
                let (rest, (over, _, length, _, stride)) =
                    (name, comma(), expr, comma(), expr).parse(input)?;
                Ok((rest, (over, length, stride)))
            })?;
            Ok((rest, AxisDef::Windows { over, length, stride, span: rest.since(input) }))
        }
        "blocks" if cuts => {
            let (rest, (over, _, length)) =
                enclosed(input.advance(1), PARENS, |input| (name, punct(Punct::Comma), expr).parse(input))?;
            Ok((rest, AxisDef::Blocks { over, length, span: rest.since(input) }))
        }
        _ => expr(input).map(|(rest, size)| (rest, AxisDef::Size(size))),
    }
}

/// `NAME[axes] = expression`
fn definition(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let (rest, (name, axes, _, value)) = (name, axes, punct(Punct::Eq), expr).parse(input)?;
    Ok((rest, StmtKind::Let(Let { name, axes, value })))
}

/// `top(n) [block] of operand [among P] [forcing P] [plus P] [ties low | high]`
fn select(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let (rest, _) = word("top", "`top`")(input)?;
    let (rest, count) = enclosed(rest, PARENS, expr)?;
    let (rest, block) = if rest.next().kind == TokenKind::Ident {
        name(rest).map(|(rest, name)| (rest, Some(name)))?
    } else {
        (rest, None)
    };
    let what = if block.is_some() { "`of`" } else { "an index over blocks or `of`" };
    let (rest, _) = label(what, keyword(Keyword::Of))(rest)?;
    let (mut rest, operand) = expr(rest)?;
    let mut select = Select { count, block, operand, among: None, forcing: None, plus: None, ties: None };
    let mut last: Option<Keyword> = None;
    while let TokenKind::Keyword(
        clause @ (Keyword::Among | Keyword::Forcing | Keyword::Plus | Keyword::Ties),
    ) = rest.next().kind
    {
        if let Some(last) = last.filter(|last| *last >= clause) {
            rest.context.report(clause_order(rest, clause, last));
        }
        last = last.max(Some(clause));
        let inner = rest.advance(1);
        if clause == Keyword::Ties {
            let (after, ties) = tie_rule(inner)?;
            select.ties = Some(ties);
            rest = after;
            continue;
        }
        let (after, condition) = expr(inner)?;
        let place = match clause {
            Keyword::Among => &mut select.among,
            Keyword::Forcing => &mut select.forcing,
            _ => &mut select.plus,
        };
        *place = Some(condition);
        rest = after;
    }
    Ok((rest, StmtKind::Select(select)))
}

fn clause_order(input: Tokens<'_>, clause: Keyword, last: Keyword) -> Diagnostic {
    let message = if clause == last {
        format!("{} is given twice", clause.quoted())
    } else {
        format!("{} stands after {}", clause.quoted(), last.quoted())
    };
    Diagnostic::error(Code::E0117, message)
        .label(input.next().span, "not in its place")
        .help("the order is `select top(n) of X among P forcing P plus P ties low`; each part at most once")
}

fn tie_rule(input: Tokens<'_>) -> Result<'_, Spanned<Ties>> {
    let span = input.next().span;
    match Ties::ALL.into_iter().find(|ties| ties.text() == input.text()) {
        Some(ties) => Ok((input.advance(1), Spanned::new(ties, span))),
        None => expected(input, "`low` or `high`"),
    }
}

/// `NAME [with expression]`
fn normalize(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let (rest, name) = name(input)?;
    if rest.next().kind != TokenKind::Keyword(Keyword::With) {
        return Ok((rest, StmtKind::Normalize(Normalize { name, with: None })));
    }
    let (rest, with) = expr(rest.advance(1))?;
    Ok((rest, StmtKind::Normalize(Normalize { name, with: Some(with) })))
}

/// `NAME [(keys K, values V over c)] { ... }`
fn branch(input: Tokens<'_>) -> Result<'_, StmtKind> {
    let (rest, header) = header(input, |input| (name, over).parse(input))?;
    let (rest, body) = nested(rest, body)?;
    let kind = match header {
        Some((name, over)) => StmtKind::Branch(Branch { name, over, body }),
        None => StmtKind::Error,
    };
    Ok((rest, kind))
}

/// What stands before a body. If it is broken that is reported, and the body is looked at all the same.
pub(super) fn header<'a, T>(
    input: Tokens<'a>,
    mut parser: impl FnMut(Tokens<'a>) -> Result<'a, T>,
) -> Result<'a, Option<T>> {
    let (rest, value) = match parser(input) {
        Ok((rest, value)) => (rest, Some(value)),
        Err(error) => {
            let failed_at = input.failure(&error);
            input.context.report(diagnose(input, error));
            (skip_to(failed_at, |input| input.at(Punct::LeftBrace) || begins_statement(input)), None)
        }
    };
    if value.is_none() && !rest.at(Punct::LeftBrace) {
        // Reported already; the caller's recovery finds the place to go on from.
        return fail(rest, unexpected(rest, "`{`"));
    }
    Ok((rest, value))
}

fn over(input: Tokens<'_>) -> Result<'_, Option<Over>> {
    if !input.at(Punct::LeftParen) {
        return Ok((input, None));
    }
    let (rest, mut over) = enclosed(input, PARENS, sources)?;
    over.span = rest.since(input);
    Ok((rest, Some(over)))
}

/// `queries Q, keys K, values V over c`
fn sources(input: Tokens<'_>) -> Result<'_, Over> {
    let mut over = Over { queries: None, keys: None, values: None, axis: None, span: Span::default() };
    let mut rest = input;
    if rest.next().kind != TokenKind::Keyword(Keyword::Over) {
        loop {
            let (after, source) =
                name(rest).or_else(|_| expected(rest, "`queries`, `keys`, `values` or `over`"))?;
            let slots =
                [("queries", &mut over.queries), ("keys", &mut over.keys), ("values", &mut over.values)];
            let Some(place) = slots.iter().position(|(word, _)| *word == source.name) else {
                return expected(rest, "`queries`, `keys`, `values` or `over`");
            };
            if slots[place..].iter().any(|(_, slot)| slot.is_some()) {
                let diagnostic = Diagnostic::error(Code::E0117, format!("`{source}` is not in its place"))
                    .label(source.span, "given before, or after what it precedes")
                    .help("the order is `(queries Q, keys K, values V over c)`; each part at most once");
                rest.context.report(diagnostic);
            }
            let tensor: Ident;
            (rest, tensor) = name(after)?;
            slots.into_iter().nth(place).into_iter().for_each(|(_, slot)| *slot = Some(tensor.clone()));
            if !rest.at(Punct::Comma) {
                break;
            }
            rest = rest.advance(1);
        }
    }
    if rest.next().kind == TokenKind::Keyword(Keyword::Over) {
        let (after, axis) = name(rest.advance(1))?;
        over.axis = Some(axis);
        rest = after;
    }
    Ok((rest, over))
}

/// `lse`, `sliding.lse`
fn emit(input: Tokens<'_>) -> Result<'_, Emit> {
    let (rest, (name, field)) = (name, after(Punct::Dot, name)).parse(input)?;
    Ok((rest, Emit { name, field, span: rest.since(input) }))
}

/// `(x, y)` after the name of a function.
pub(super) fn arguments(input: Tokens<'_>) -> Result<'_, Vec<Ident>> {
    list(input, PARENS, ListRules { at_least_one: None, trailing_comma: true }, name)
}
