//! Expressions, by precedence climbing.
//!
//! One loop per level of precedence actually used keeps the stack shallow. Operators of other languages are
//! reported and read as the ones that are meant.

use dmac_source::{Code, Diagnostic, Span, nearest};

use super::begins_assignment;
use super::delimited::{ListRules, elements, enclosed, keyword, list, name, nested, punct, too_deep};
use super::expected::{Result, expected, fail, foreign_help, unexpected};
use super::input::Tokens;
use crate::ast::{BinOp, Binder, Expr, ExprKind, Ident, ReduceOp, UnOp};
use crate::token::{Foreign, Keyword, Punct, TokenKind};

/// Height of the tallest tree that is built. Whoever walks a tree by recursion depends on it.
pub(super) const MAX_HEIGHT: usize = 256;

/// Precedence of `not`: tighter than `and`, looser than comparisons.
const NOT: u8 = 3;
const LOOSEST: u8 = 1;
const PARENS: (Punct, Punct) = (Punct::LeftParen, Punct::RightParen);
const BRACKETS: (Punct, Punct) = (Punct::LeftBracket, Punct::RightBracket);

/// An expression and the height of its tree.
struct Built {
    expr: Expr,
    height: usize,
}

/// An expression.
pub(super) fn expr(input: Tokens<'_>) -> Result<'_, Expr> {
    built(input).map(|(rest, built)| (rest, built.expr))
}

fn built(input: Tokens<'_>) -> Result<'_, Built> {
    nested(input, |input| {
        if input.next().kind == TokenKind::Keyword(Keyword::If) {
            choice(input)
        } else {
            binary(input, LOOSEST)
        }
    })
}

/// A node over parts, if the tree does not get too tall.
fn node(rest: Tokens<'_>, kind: ExprKind, span: Span, tallest: usize) -> Result<'_, Built> {
    if tallest >= MAX_HEIGHT {
        return fail(rest, too_deep(rest.last_span()));
    }
    Ok((rest, Built { expr: Expr::new(kind, span), height: tallest + 1 }))
}

fn leaf(rest: Tokens<'_>, kind: ExprKind, span: Span) -> Result<'_, Built> {
    node(rest, kind, span, 0)
}

/// `if condition then x else y`
fn choice(input: Tokens<'_>) -> Result<'_, Built> {
    let (rest, _) = keyword(Keyword::If)(input)?;
    let (rest, condition) = built(rest)?;
    let (rest, _) = keyword(Keyword::Then)(rest)?;
    let (rest, then) = built(rest)?;
    let (rest, _) = keyword(Keyword::Else)(rest)?;
    let (rest, otherwise) = built(rest)?;
    let height = condition.height.max(then.height).max(otherwise.height);
    let [condition, then, otherwise] = [condition, then, otherwise].map(|part| Box::new(part.expr));
    node(rest, ExprKind::If { condition, then, otherwise }, rest.since(input), height)
}

/// Operands joined by operators that bind at least as tightly as `min`.
fn binary(input: Tokens<'_>, min: u8) -> Result<'_, Built> {
    let negated = matches!(
        input.next().kind,
        TokenKind::Keyword(Keyword::Not) | TokenKind::Foreign(Foreign::Bang | Foreign::Tilde)
    );
    let (mut rest, mut left) = if negated && min <= NOT { negation(input)? } else { unary(input)? };
    // The right operand of a comparison that was just made, for the message about a chain.
    let mut compared: Option<Built> = None;
    while let Some((op, problem)) = operator(rest).filter(|(op, _)| op.precedence() >= min) {
        let op_span = rest.next().span;
        if let Some(problem) = problem {
            rest.context.report(problem);
        }
        let (after, right) = binary(rest.advance(1), op.precedence() + 1)?;
        rest = after;
        let middle = if op.is_comparison() { compared.take() } else { None };
        compared = op.is_comparison().then(|| Built { expr: right.expr.clone(), height: right.height });
        left = match middle {
            Some(middle) => {
                report_chain(rest, &left.expr, &middle.expr, op_span, &right.expr);
                let (_, second) = join(rest, op, op_span, middle, right)?;
                join(rest, BinOp::And, op_span, left, second)?.1
            }
            None => join(rest, op, op_span, left, right)?.1,
        };
    }
    if min == LOOSEST && matches!(rest.next().kind, TokenKind::Foreign(sign) if sign != Foreign::Semicolon) {
        return fail(rest, unexpected(rest, "an operator"));
    }
    Ok((rest, left))
}

fn join(rest: Tokens<'_>, op: BinOp, op_span: Span, lhs: Built, rhs: Built) -> Result<'_, Built> {
    let span = lhs.expr.span.join(rhs.expr.span);
    let height = lhs.height.max(rhs.height);
    let kind = ExprKind::Binary { op, op_span, lhs: Box::new(lhs.expr), rhs: Box::new(rhs.expr) };
    node(rest, kind, span, height)
}

fn report_chain(input: Tokens<'_>, left: &Expr, middle: &Expr, op_span: Span, right: &Expr) {
    let file = input.context.file;
    let (first, shared) = (file.slice(left.span), file.slice(middle.span));
    let second = format!("{shared} {} {}", file.slice(op_span), file.slice(right.span));
    let whole = left.span.join(right.span);
    let diagnostic = Diagnostic::error(Code::E0107, "comparisons cannot be chained")
        .label(op_span, "a second comparison of the same operand")
        .secondary(left.span, "this comparison is a bool already")
        .suggest(whole, format!("{first} and {second}"), "join two comparisons with `and`");
    input.context.report(diagnostic);
}

/// The operator between two operands that comes next, and what is wrong with its spelling.
fn operator(input: Tokens<'_>) -> Option<(BinOp, Option<Diagnostic>)> {
    let foreign = |op: BinOp, foreign: Foreign| {
        let span = input.next().span;
        let diagnostic = Diagnostic::error(Code::E0108, format!("{} is no operator here", foreign.quoted()))
            .label(span, format!("write `{}`", op.text()))
            .help(foreign_help(foreign))
            .suggest(span, spaced(input, op.text()), format!("write `{}`", op.text()));
        (op, Some(diagnostic))
    };
    let op = match input.next().kind {
        TokenKind::Keyword(Keyword::Or) => BinOp::Or,
        TokenKind::Keyword(Keyword::And) => BinOp::And,
        TokenKind::Keyword(Keyword::Div) => BinOp::FloorDiv,
        TokenKind::Keyword(Keyword::Mod) => BinOp::Mod,
        TokenKind::Punct(Punct::EqEq) => BinOp::Eq,
        TokenKind::Punct(Punct::NotEq) => BinOp::Ne,
        TokenKind::Punct(Punct::Less) => BinOp::Lt,
        TokenKind::Punct(Punct::LessEq) => BinOp::Le,
        TokenKind::Punct(Punct::Greater) => BinOp::Gt,
        TokenKind::Punct(Punct::GreaterEq) => BinOp::Ge,
        TokenKind::Punct(Punct::Plus) => BinOp::Add,
        TokenKind::Punct(Punct::Minus) => BinOp::Sub,
        TokenKind::Punct(Punct::Star) => BinOp::Mul,
        TokenKind::Punct(Punct::Slash) => BinOp::Div,
        TokenKind::Punct(Punct::Eq) => {
            let span = input.next().span;
            let diagnostic = Diagnostic::error(Code::E0113, "`=` defines, and `==` compares")
                .label(span, "compared with `=`")
                .suggest(span, "==", "compare with `==`");
            return Some((BinOp::Eq, Some(diagnostic)));
        }
        TokenKind::Foreign(sign @ (Foreign::AndAnd | Foreign::And)) => {
            return Some(foreign(BinOp::And, sign));
        }
        TokenKind::Foreign(sign @ (Foreign::OrOr | Foreign::Or)) => return Some(foreign(BinOp::Or, sign)),
        TokenKind::Foreign(sign @ Foreign::Percent) => return Some(foreign(BinOp::Mod, sign)),
        _ => return None,
    };
    Some((op, None))
}

/// A word that replaces a sign, with blanks where the sign touches its neighbours.
fn spaced(input: Tokens<'_>, word: &str) -> String {
    let span = input.next().span;
    let touches_left = input.last_span().end == span.start;
    let touches_right = input.ahead(1).span.start == span.end;
    let blank = |touches| if touches { " " } else { "" };
    format!("{}{word}{}", blank(touches_left), blank(touches_right))
}

/// `not p`
fn negation(input: Tokens<'_>) -> Result<'_, Built> {
    let token = input.next();
    if let TokenKind::Foreign(sign) = token.kind {
        let diagnostic = Diagnostic::error(Code::E0108, format!("{} is no operator here", sign.quoted()))
            .label(token.span, "write `not`")
            .help(foreign_help(sign))
            .suggest(token.span, spaced(input, "not").trim_start(), "write `not`");
        input.context.report(diagnostic);
    }
    prefixed(input, UnOp::Not, |input| binary(input, NOT))
}

/// `-x`, or an operand without an operator before it.
fn unary(input: Tokens<'_>) -> Result<'_, Built> {
    match input.next().kind {
        TokenKind::Punct(Punct::Minus) => prefixed(input, UnOp::Neg, unary),
        TokenKind::Punct(Punct::Plus) => {
            let span = input.next().span;
            let with_blanks = Span { start: span.start, end: input.ahead(1).span.start };
            let diagnostic = Diagnostic::error(Code::E0108, "there is no `+` before a single operand")
                .label(span, "nothing to add to")
                .suggest(with_blanks, "", "remove it");
            input.context.report(diagnostic);
            nested(input.advance(1), unary)
        }
        _ => primary(input),
    }
}

fn prefixed<'a>(
    input: Tokens<'a>,
    op: UnOp,
    operand: impl FnOnce(Tokens<'a>) -> Result<'a, Built>,
) -> Result<'a, Built> {
    let op_span = input.next().span;
    let (rest, operand) = nested(input.advance(1), operand)?;
    let span = op_span.join(operand.expr.span);
    let height = operand.height;
    node(rest, ExprKind::Unary { op, op_span, operand: Box::new(operand.expr) }, span, height)
}

fn primary(input: Tokens<'_>) -> Result<'_, Built> {
    let token = input.next();
    let rest = input.advance(1);
    match token.kind {
        TokenKind::Int(value) => leaf(rest, ExprKind::Int(value), token.span),
        TokenKind::Float(value) => {
            leaf(rest, ExprKind::Float { value, text: input.text().to_owned() }, token.span)
        }
        TokenKind::BadNumber => leaf(rest, ExprKind::Error, token.span),
        TokenKind::Keyword(Keyword::True) => leaf(rest, ExprKind::Bool(true), token.span),
        TokenKind::Keyword(Keyword::False) => leaf(rest, ExprKind::Bool(false), token.span),
        TokenKind::Punct(Punct::LeftParen) => {
            let (rest, mut inner) = enclosed(input, PARENS, built)?;
            inner.expr.span = rest.since(input);
            Ok((rest, inner))
        }
        TokenKind::Ident if begins_assignment(input) && !input.on_same_line() => {
            expected(input, "an expression")
        }
        TokenKind::Ident if rest.at(Punct::LeftParen) => {
            if names_indices(rest) {
                reduction(input)
            } else {
                call(input)
            }
        }
        TokenKind::Ident => read(input),
        TokenKind::Keyword(word @ (Keyword::If | Keyword::Not)) => {
            let message = format!("{} needs parentheses to be an operand", word.quoted());
            let diagnostic = Diagnostic::error(Code::E0103, message)
                .label(token.span, "begins an operand here")
                .help(format!("write `({} ...)`", word.text()));
            input.context.report(diagnostic);
            built(input)
        }
        TokenKind::Foreign(Foreign::Bang | Foreign::Tilde) => negation(input),
        // No statement begins with a bracket, so this is meant for a name.
        TokenKind::Keyword(_) if rest.at(Punct::LeftBracket) => read(input),
        _ => expected(input, "an expression"),
    }
}

/// A name, with its indices and fields: `compressed.prob[b, h, i, c]`.
fn read(input: Tokens<'_>) -> Result<'_, Built> {
    let (mut rest, ident) = name(input)?;
    let span = ident.span;
    let mut base = Built { expr: Expr::new(ExprKind::Name(ident), span), height: 1 };
    loop {
        let (after, kind, height) = if rest.at(Punct::LeftBracket) {
            let rules = ListRules { at_least_one: Some("an index"), trailing_comma: false };
            let (after, parts) = list(rest, BRACKETS, rules, built)?;
            let height = parts.iter().map(|part| part.height).fold(base.height, usize::max);
            let indices = parts.into_iter().map(|part| part.expr).collect();
            (after, ExprKind::Index { base: Box::new(base.expr), indices }, height)
        } else if rest.at(Punct::Dot) {
            let (after, field) = name(rest.advance(1))?;
            (after, ExprKind::Field { base: Box::new(base.expr), field }, base.height)
        } else {
            return Ok((rest, base));
        };
        (rest, base) = node(after, kind, after.since(input), height)?;
    }
}

/// `f(x, y)`
fn call(input: Tokens<'_>) -> Result<'_, Built> {
    let (rest, function) = name(input)?;
    if matches!(function.name.as_str(), "windows" | "blocks") {
        let diagnostic = Diagnostic::error(Code::E0103, format!("`{function}` is no function"))
            .label(function.span, "only an `axis` can be defined with it")
            .help(format!("write `axis c = {function}(...)` and use `c`"));
        input.context.report(diagnostic);
    }
    let rules = ListRules { at_least_one: None, trailing_comma: false };
    let (rest, parts) = list(rest, PARENS, rules, built)?;
    let height = parts.iter().map(|part| part.height).max().unwrap_or(0);
    let args = parts.into_iter().map(|part| part.expr).collect();
    node(rest, ExprKind::Call { function, args }, rest.since(input), height)
}

/// `sum(t, h in g: body)`
fn reduction(input: Tokens<'_>) -> Result<'_, Built> {
    let (rest, function) = name(input)?;
    let op = ReduceOp::named(&function.name).unwrap_or_else(|| {
        input.context.report(unknown_reduction(&function));
        ReduceOp::Sum
    });
    let (rest, (binders, body)) = enclosed(rest, PARENS, |input| {
        let (rest, binders) = elements(input, Some(Punct::Colon), false, binder)?;
        let (rest, _) = punct(Punct::Colon)(rest)?;
        let (rest, body) = built(rest)?;
        Ok((rest, (binders, body)))
    })?;
    let kind = ExprKind::Reduce { op, op_span: function.span, binders, body: Box::new(body.expr) };
    node(rest, kind, rest.since(input), body.height)
}

fn unknown_reduction(function: &Ident) -> Diagnostic {
    let names = ReduceOp::ALL.map(ReduceOp::text);
    let diagnostic = Diagnostic::error(Code::E0115, format!("`{function}` is no reduction"))
        .label(function.span, "it is given indices to reduce over")
        .help(format!("the reductions are `{}`", names.join("`, `")));
    match nearest(&function.name, names) {
        Some(name) => diagnostic.suggest(function.span, name, format!("did you mean `{name}`?")),
        None => diagnostic,
    }
}

fn binder(input: Tokens<'_>) -> Result<'_, Binder> {
    let (rest, index) = name(input)?;
    if rest.next().kind != TokenKind::Keyword(Keyword::In) {
        return Ok((rest, Binder { index, within: None }));
    }
    let (rest, within) = name(rest.advance(1))?;
    Ok((rest, Binder { index, within: Some(within) }))
}

/// Whether the parenthesis that comes next begins with indices and a colon, as a reduction's does.
fn names_indices(input: Tokens<'_>) -> bool {
    let mut at = 1;
    loop {
        if input.ahead(at).kind != TokenKind::Ident {
            return false;
        }
        match input.ahead(at + 1).kind {
            // Nothing but a reduction has `in` here, so that its own mistakes are found.
            TokenKind::Keyword(Keyword::In) | TokenKind::Punct(Punct::Colon) => return true,
            TokenKind::Punct(Punct::Comma) => at += 2,
            _ => return false,
        }
    }
}
