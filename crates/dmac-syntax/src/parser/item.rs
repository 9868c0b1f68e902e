//! Items: attentions and functions, with recovery at the next item.

use dmac_source::{Code, Diagnostic, Spanned, nearest};
use nom::Parser as _;

use super::delimited::{ListRules, after, list, name, punct};
use super::expected::{Result, describe, diagnose, expected, fail, unexpected};
use super::expr::expr;
use super::input::Tokens;
use super::stmt::{arguments, body, header};
use super::{begins_statement, skip_to};
use crate::ast::{Attention, FnItem, Item, Param, ParamType};
use crate::token::{Keyword, Punct, TokenKind};

/// All items to the end of the text.
pub(super) fn items(input: Tokens<'_>) -> Vec<Item> {
    let mut rest = input;
    let mut items = vec![];
    while !rest.at_end() {
        let parsed = match rest.next().kind {
            TokenKind::Keyword(Keyword::Attention) => attention(rest, rest.advance(1)),
            TokenKind::Keyword(Keyword::Fn) => function(rest, rest.advance(1)),
            _ => foreign(rest),
        };
        let (after, item) = parsed.unwrap_or_else(|error| {
            let failed_at = rest.failure(&error);
            rest.context.report(diagnose(rest, error));
            let from = if failed_at.index() > rest.index() { failed_at } else { rest.advance(1) };
            let after = skip_to(from, begins_misspelt_attention);
            (after, Item::Error(after.since(rest)))
        });
        items.push(item);
        rest = after;
    }
    items
}

/// Lines of the doc comment before `item`.
fn doc(item: Tokens<'_>) -> Vec<String> {
    let comments = item.context.lexed.comments.iter();
    let mine = comments.filter(|comment| comment.is_doc && comment.before == item.index());
    let text = mine.map(|comment| item.context.file.slice(comment.span).trim_start_matches('/'));
    text.map(|text| text.strip_prefix(' ').unwrap_or(text).to_owned()).collect()
}

/// `attention NAME(parameters) { ... }`; `rest` is what follows the keyword.
fn attention<'a>(item: Tokens<'a>, rest: Tokens<'a>) -> Result<'a, Item> {
    let (rest, header) = header(rest, |input| (name, params).parse(input))?;
    let (rest, body) = body(rest)?;
    let span = rest.since(item);
    let item = match header {
        Some((name, params)) => Item::Attention(Attention { doc: doc(item), name, params, body, span }),
        None => Item::Error(span),
    };
    Ok((rest, item))
}

fn params(input: Tokens<'_>) -> Result<'_, Vec<Param>> {
    if !input.at(Punct::LeftParen) {
        return Ok((input, vec![]));
    }
    let rules = ListRules { at_least_one: None, trailing_comma: true };
    list(input, (Punct::LeftParen, Punct::RightParen), rules, param)
}

/// `[const] NAME: type [= default]`
fn param(input: Tokens<'_>) -> Result<'_, Param> {
    let is_const = input.next().kind == TokenKind::Keyword(Keyword::Const);
    let rest = if is_const { input.advance(1) } else { input };
    let (rest, (name, _, ty, default)) =
        (name, punct(Punct::Colon), param_type, after(Punct::Eq, expr)).parse(rest)?;
    Ok((rest, Param { is_const, name, ty, default, span: rest.since(input) }))
}

fn param_type(input: Tokens<'_>) -> Result<'_, Spanned<ParamType>> {
    let token = input.next();
    if token.kind != TokenKind::Ident {
        return expected(input, "`int` or `float`");
    }
    let ty = ParamType::ALL.into_iter().find(|ty| ty.text() == input.text()).unwrap_or_else(|| {
        let meant = match input.text() {
            "i32" | "i64" | "u32" | "integer" | "usize" => Some(ParamType::Int),
            "f32" | "f64" | "real" | "double" => Some(ParamType::Float),
            text => nearest(text, ["int", "float"])
                .and_then(|near| ParamType::ALL.into_iter().find(|ty| ty.text() == near)),
        };
        let diagnostic =
            Diagnostic::error(Code::E0112, format!("{} is no type of a parameter", describe(input)))
                .label(token.span, "unknown type")
                .help("a parameter is an `int` or a `float`; tensors are declared with `input`");
        input.context.report(match meant {
            Some(meant) => {
                diagnostic.suggest(token.span, meant.text(), format!("did you mean `{}`?", meant.text()))
            }
            None => diagnostic,
        });
        meant.unwrap_or(ParamType::Int)
    });
    Ok((input.advance(1), Spanned::new(ty, token.span)))
}

/// `fn NAME(x, y) = expression`; `rest` is what follows the keyword.
fn function<'a>(item: Tokens<'a>, rest: Tokens<'a>) -> Result<'a, Item> {
    let (rest, (name, params)) = (name, arguments).parse(rest)?;
    if rest.at(Punct::LeftBrace) {
        let help = format!("the body of a function is one expression: `fn {name}(...) = ...`");
        return fail(rest, unexpected(rest, "`=`").help(help));
    }
    let (rest, (_, body)) = (punct(Punct::Eq), expr).parse(rest)?;
    Ok((rest, Item::Fn(FnItem { doc: doc(item), name, params, body, span: rest.since(item) })))
}

/// Anything else at the top level. Reported once for all of it, up to the next item.
fn foreign(input: Tokens<'_>) -> Result<'_, Item> {
    let token = input.next();
    let diagnostic =
        Diagnostic::error(Code::E0111, format!("expected `attention` or `fn`, found {}", describe(input)))
            .label(token.span, "a program consists of `attention NAME { ... }` and `fn NAME(x) = ...`");
    if begins_misspelt_attention(input) {
        input.context.report(diagnostic.suggest(token.span, "attention", "did you mean `attention`?"));
        return attention(input, input.advance(1));
    }
    let help = match input.text() {
        "def" | "import" | "from" | "class" | "@" | "lambda" | "return" | "async" => {
            "this looks like Python; `def mask_mod(b, h, q_idx, kv_idx): return q_idx >= kv_idx` is written \
             `attention causal { mask j <= i }`"
        }
        "}" => "there is one `}` too many before this",
        _ if begins_statement(input) => "statements belong between the braces of an `attention NAME { ... }`",
        _ => "the shortest program is `attention full { }`",
    };
    input.context.report(diagnostic.help(help));
    let rest = skip_to(input.advance(1), begins_misspelt_attention);
    Ok((rest, Item::Error(rest.since(input))))
}

/// Whether a slip of `attention` and a name come next.
fn begins_misspelt_attention(input: Tokens<'_>) -> bool {
    input.next().kind == TokenKind::Ident
        && input.ahead(1).kind == TokenKind::Ident
        && matches!(input.ahead(2).kind, TokenKind::Punct(Punct::LeftBrace | Punct::LeftParen))
        && nearest(input.text(), ["attention"]).is_some()
}
