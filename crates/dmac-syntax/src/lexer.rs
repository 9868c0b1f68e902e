//! Characters to tokens.
//!
//! Input: a text. Output: its tokens, ended by one [`TokenKind::End`]; its comments, apart, each with the token it
//! precedes; and a diagnostic for each character or number that is none of the language. Every byte of the text is
//! under a token, under a comment, blank, or reported, so nothing is skipped silently.
//!
//! Written with nom over `nom_locate`, whose offsets become the spans. Operators of other languages become tokens
//! too: only the parser knows where they stand, and so what should have been written.

use dmac_source::{Code, Diagnostic, SourceFile, Span};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_until, take_while};
use nom::character::complete::{anychar, char, digit1, one_of, satisfy};
use nom::combinator::{all_consuming, map, not, opt, peek, recognize, rest};
use nom::error::ErrorKind;
use nom::sequence::{pair, preceded, terminated};
use nom::{IResult, Input as _, Parser};
use nom_locate::LocatedSpan;

use crate::token::{Comment, Foreign, Keyword, Punct, Token, TokenKind};

type Text<'a> = LocatedSpan<&'a str>;

/// What the lexer makes of a text.
#[derive(Clone, Debug)]
pub struct Lexed {
    /// The tokens, in order; the last one is [`TokenKind::End`].
    pub tokens: Vec<Token>,
    /// The comments, in order.
    pub comments: Vec<Comment>,
    /// What is no token.
    pub diagnostics: Vec<Diagnostic>,
}

/// One step of the lexer.
enum Piece {
    Token(TokenKind),
    /// A token, and what is wrong with its spelling.
    Misspelt(TokenKind, Diagnostic),
    Comment,
    /// Text that is nothing, and what is wrong.
    Nothing(Diagnostic),
}

/// Cuts `file` into tokens.
pub fn lex(file: &SourceFile) -> Lexed {
    let mut lexed = Lexed { tokens: vec![], comments: vec![], diagnostics: vec![] };
    let mut rest = skip_blanks(Text::new(file.text()));
    while !rest.fragment().is_empty() {
        let Ok((after, piece)) = piece(rest) else {
            unreachable!("lexer: `strange` takes any character, but not {:?}", rest.fragment().chars().next())
        };
        let span = between(rest, after);
        match piece {
            Piece::Token(kind) => lexed.tokens.push(Token { kind, span }),
            Piece::Misspelt(kind, diagnostic) => {
                lexed.tokens.push(Token { kind, span });
                lexed.diagnostics.push(diagnostic);
            }
            Piece::Comment => {
                let text = file.slice(span).trim_end();
                let span = Span::new(span.start as usize, span.start as usize + text.len());
                let is_doc = text.starts_with("///") && !text.starts_with("////");
                lexed.comments.push(Comment { span, is_doc, before: lexed.tokens.len() });
            }
            Piece::Nothing(diagnostic) => lexed.diagnostics.push(diagnostic),
        }
        rest = skip_blanks(after);
    }
    let end = Span::at(file.text().len());
    lexed.tokens.push(Token { kind: TokenKind::End, span: end });
    lexed
}

fn between(from: Text<'_>, to: Text<'_>) -> Span {
    Span::new(from.location_offset(), to.location_offset())
}

/// Blanks are Unicode white space and a byte order mark.
fn skip_blanks(text: Text<'_>) -> Text<'_> {
    let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let skipped: IResult<_, _> = take_while(blank).parse(text);
    skipped.map_or(text, |(rest, _)| rest)
}

fn piece(text: Text<'_>) -> IResult<Text<'_>, Piece> {
    alt((comment, foreign_comment, number, word, operator, strange)).parse(text)
}

fn comment(text: Text<'_>) -> IResult<Text<'_>, Piece> {
    map(pair(tag("//"), take_till(|c| c == '\n')), |_| Piece::Comment).parse(text)
}

/// `# ...` to the end of the line and `/* ... */`, which other languages have for comments.
fn foreign_comment(text: Text<'_>) -> IResult<Text<'_>, Piece> {
    let block = (tag("/*"), alt((recognize((take_until("*/"), tag("*/"))), rest)));
    let line = (char('#'), take_till(|c| c == '\n'));
    let (rest, _) = alt((recognize(block), recognize(line))).parse(text)?;
    let marker = if text.fragment().starts_with('#') { "#" } else { "/*" };
    let span = Span::new(text.location_offset(), text.location_offset() + marker.len());
    let diagnostic = Diagnostic::error(Code::E0104, format!("`{marker}` begins no comment here"))
        .label(span, "not part of the language")
        .help("a comment begins with `//` and goes to the end of the line");
    Ok((rest, Piece::Nothing(diagnostic)))
}

/// `[A-Za-z_][A-Za-z0-9_]*'*`. Letters of other scripts are taken too, so that one message can name the whole word.
fn word(text: Text<'_>) -> IResult<Text<'_>, Piece> {
    let first = |c: char| c.is_alphabetic() || c == '_';
    let further = |c: char| c.is_alphanumeric() || c == '_';
    let mut spelling = recognize((satisfy(first), take_while(further), take_while(|c| c == '\'')));
    let (rest, spelling) = spelling.parse(text)?;
    let spelling: &str = spelling.fragment();
    let kind = Keyword::named(spelling).map_or(TokenKind::Ident, TokenKind::Keyword);
    let piece = if spelling.is_ascii() {
        Piece::Token(kind)
    } else {
        let diagnostic = Diagnostic::error(Code::E0104, format!("`{spelling}` has letters outside of ASCII"))
            .label(between(text, rest), "not a name")
            .help("names consist of `A` to `Z`, `a` to `z`, digits and `_`, and may end with primes: `d'`");
        Piece::Misspelt(kind, diagnostic)
    };
    Ok((rest, piece))
}

/// Everything that begins like a number, to the end of the word, so that `16k` is one mistake and not two tokens.
fn number(text: Text<'_>) -> IResult<Text<'_>, Piece> {
    let (rest, spelling) = preceded(peek((opt(char('.')), digit1)), numberish).parse(text)?;
    let spelling: &str = spelling.fragment();
    Ok((rest, number_piece(spelling, between(text, rest))))
}

/// `0 .. 8` may be written `0..8`: a point belongs to the number only if no second one follows. A sign does only
/// after the `e` of an exponent.
fn numberish(text: Text<'_>) -> IResult<Text<'_>, Text<'_>> {
    let word = |text| take_while(|c: char| c.is_alphanumeric() || c == '_').parse(text);
    let point = terminated(char('.'), not(char('.')));
    let (rest, body) = recognize((word, opt((point, word)))).parse(text)?;
    if body.fragment().ends_with(['e', 'E']) {
        let signed: IResult<_, _> = pair(one_of("+-"), digit1).parse(rest);
        if let Ok((rest, _)) = signed {
            return Ok(text.take_split(rest.location_offset() - text.location_offset()));
        }
    }
    Ok((rest, body))
}

fn number_piece(spelling: &str, span: Span) -> Piece {
    let exponent = || (one_of("eE"), opt(one_of("+-")), digit1);
    let float: IResult<&str, _> = all_consuming(alt((
        recognize((digit1, char('.'), digit1, opt(exponent()))),
        recognize((digit1, exponent())),
    )))
    .parse(spelling);
    if float.is_ok() {
        return match spelling.parse::<f64>() {
            // Every float of the language is an f32 in the end.
            Ok(value) if (value as f32).is_finite() => Piece::Token(TokenKind::Float(value)),
            _ => oversized(span, "floats go up to 3.4e38, the greatest that f32 holds"),
        };
    }
    if spelling.bytes().all(|byte| byte.is_ascii_digit()) {
        return match spelling.parse::<i64>() {
            Ok(value) => Piece::Token(TokenKind::Int(value)),
            Err(_) => {
                oversized(span, "integers go up to 9223372036854775807, the greatest that 64 bits hold")
            }
        };
    }
    let help = if let Some(fraction) = spelling.strip_prefix('.') {
        format!("digits are needed on both sides of the point: `0.{fraction}`")
    } else if spelling.ends_with('.') {
        format!("digits are needed on both sides of the point: `{spelling}0`")
    } else {
        "numbers are decimal: `16`, `0.5`, `1e-6`; no suffixes, no `_` between digits, no other bases"
            .to_owned()
    };
    let diagnostic = Diagnostic::error(Code::E0105, format!("`{}` is no number", shortened(spelling)));
    Piece::Misspelt(TokenKind::BadNumber, diagnostic.label(span, "malformed number").help(help))
}

fn oversized(span: Span, help: &str) -> Piece {
    let diagnostic =
        Diagnostic::error(Code::E0105, "the number is too large").label(span, "out of range").help(help);
    Piece::Misspelt(TokenKind::BadNumber, diagnostic)
}

/// A spelling for a message: the beginning of a long one.
fn shortened(spelling: &str) -> String {
    if spelling.chars().count() <= 40 {
        return spelling.to_owned();
    }
    spelling.chars().take(37).chain("...".chars()).collect()
}

/// The longest operator of the language or of another one.
fn operator(text: Text<'_>) -> IResult<Text<'_>, Piece> {
    let punct = Punct::ALL.iter().map(|punct| (punct.text(), TokenKind::Punct(*punct)));
    let foreign = Foreign::ALL.iter().map(|foreign| (foreign.text(), TokenKind::Foreign(*foreign)));
    let fits = punct.chain(foreign).filter(|(spelling, _)| text.fragment().starts_with(spelling));
    match fits.max_by_key(|(spelling, _)| spelling.len()) {
        Some((spelling, kind)) => map(tag(spelling), |_| Piece::Token(kind)).parse(text),
        None => Err(nom::Err::Error(nom::error::Error::new(text, ErrorKind::Tag))),
    }
}

/// Signs of mathematics that have a spelling here.
const SPELLED: [(char, &str, TokenKind); 9] = [
    ('≤', "<=", TokenKind::Punct(Punct::LessEq)),
    ('≥', ">=", TokenKind::Punct(Punct::GreaterEq)),
    ('≠', "!=", TokenKind::Punct(Punct::NotEq)),
    ('−', "-", TokenKind::Punct(Punct::Minus)),
    ('×', "*", TokenKind::Punct(Punct::Star)),
    ('·', "*", TokenKind::Punct(Punct::Star)),
    ('∧', "and", TokenKind::Keyword(Keyword::And)),
    ('∨', "or", TokenKind::Keyword(Keyword::Or)),
    ('¬', "not", TokenKind::Keyword(Keyword::Not)),
];

/// Whatever is left: a sign of mathematics that has a spelling, or a run of characters that mean nothing.
fn strange(text: Text<'_>) -> IResult<Text<'_>, Piece> {
    let first = text.fragment().chars().next().unwrap_or_default();
    if let Some((_, spelling, kind)) = SPELLED.iter().find(|(sign, ..)| *sign == first) {
        let (rest, _) = char(first).parse(text)?;
        let span = between(text, rest);
        let diagnostic = Diagnostic::error(Code::E0104, format!("`{first}` is not part of the language"))
            .label(span, format!("write `{spelling}`"))
            .suggest(span, *spelling, format!("write `{spelling}`"));
        return Ok((rest, Piece::Misspelt(*kind, diagnostic)));
    }
    if first == '"' || first == '\'' || first == '`' {
        let end_of_string = |c| c == '\n' || c == first;
        let (rest, _) = (char(first), take_till(end_of_string), opt(char(first))).parse(text)?;
        let diagnostic = Diagnostic::error(Code::E0104, format!("`{first}` is not part of the language"))
            .label(between(text, rest), "not a value")
            .help("there are no strings; a prime belongs to a name and follows it at once: `d'`");
        return Ok((rest, Piece::Nothing(diagnostic)));
    }
    let known = |c: char| c.is_alphanumeric() || c.is_whitespace() || c.is_ascii_punctuation();
    let strange = |c: char| !known(c) && !SPELLED.iter().any(|(sign, ..)| *sign == c);
    let (rest, _) = recognize(pair(anychar, take_while(strange))).parse(text)?;
    let span = between(text, rest);
    let sample: String = text.fragment().chars().take(1).flat_map(char::escape_default).collect();
    let sample = if first.is_control() || first.is_whitespace() { sample } else { first.to_string() };
    let count = text.fragment()[..span.len()].chars().count();
    let others = if count > 1 { format!(" and the {} after it are", count - 1) } else { " is".to_owned() };
    let diagnostic = Diagnostic::error(Code::E0104, format!("`{sample}`{others} not part of the language"))
        .label(span, "not part of the language");
    Ok((rest, Piece::Nothing(diagnostic)))
}
