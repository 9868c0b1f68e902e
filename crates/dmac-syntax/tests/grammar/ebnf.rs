//! The notation of the grammar file, read as data.

use std::collections::{BTreeMap, BTreeSet};

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Text(String),
    Range(char, char),
    Rule(String),
    Row(Vec<Node>),
    Either(Vec<Node>),
    Maybe(Box<Node>),
    Many(Box<Node>),
    Except(Box<Node>, Box<Node>),
}

/// Rules by name.
#[derive(Clone, Debug)]
pub struct Grammar {
    rules: BTreeMap<String, Node>,
}

/// Reads a grammar.
///
/// # Panics
/// With the place, if the text is not in the notation that the grammar file describes.
pub fn read(text: &str) -> Grammar {
    let mut reader = Reader { words: cut(text), at: 0 };
    let mut rules = BTreeMap::new();
    while reader.peek().is_some() {
        let name = reader.take();
        reader.expect("=");
        let node = reader.either();
        reader.expect(";");
        assert!(rules.insert(name.clone(), node).is_none(), "two rules are called `{name}`");
    }
    let grammar = Grammar { rules };
    for name in grammar.names() {
        grammar.rules[name].visit(&mut |node| {
            if let Node::Rule(used) = node {
                assert!(grammar.rules.contains_key(used), "`{name}` uses `{used}`, which is no rule");
            }
        });
    }
    grammar
}

/// Names, marks, and texts with their opening quote.
fn cut(text: &str) -> Vec<String> {
    let mut words = vec![];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(comment) = rest.strip_prefix("(*") {
            rest = comment.split_once("*)").expect("a comment is not closed").1.trim_start();
            continue;
        }
        let len = if let Some(quoted) = rest.strip_prefix('"') {
            let inner = quoted.find('"').expect("a text is not closed");
            words.push(rest[..=inner].to_owned());
            rest = rest[inner + 2..].trim_start();
            continue;
        } else if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("..") {
            2
        } else {
            1
        };
        words.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    words
}

struct Reader {
    words: Vec<String>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn take(&mut self) -> String {
        self.at += 1;
        self.words.get(self.at - 1).expect("the grammar ends within a rule").clone()
    }

    fn expect(&mut self, mark: &str) {
        let found = self.take();
        assert_eq!(
            found,
            mark,
            "in the grammar, after {:?}",
            &self.words[self.at.saturating_sub(6)..self.at]
        );
    }

    fn either(&mut self) -> Node {
        let mut all = vec![self.row()];
        while self.peek() == Some("|") {
            self.at += 1;
            all.push(self.row());
        }
        if all.len() == 1 { all.remove(0) } else { Node::Either(all) }
    }

    fn row(&mut self) -> Node {
        let mut all = vec![];
        while !matches!(self.peek(), None | Some("|" | ";" | ")" | "]" | "}")) {
            let part = self.part();
            if self.peek() == Some("-") {
                self.at += 1;
                let excluded = self.part();
                all.push(Node::Except(Box::new(part), Box::new(excluded)));
            } else {
                all.push(part);
            }
        }
        if all.len() == 1 { all.remove(0) } else { Node::Row(all) }
    }

    fn part(&mut self) -> Node {
        let word = self.take();
        let enclosed = |reader: &mut Self, close: &str| {
            let node = reader.either();
            reader.expect(close);
            Box::new(node)
        };
        match word.as_str() {
            "(" => *enclosed(self, ")"),
            "[" => Node::Maybe(enclosed(self, "]")),
            "{" => Node::Many(enclosed(self, "}")),
            text if text.starts_with('"') => {
                let text = text[1..].to_owned();
                if self.peek() != Some("..") {
                    return Node::Text(text);
                }
                self.at += 1;
                let last = self.take();
                let one = |text: &str| text.chars().next().expect("a range of nothing");
                Node::Range(one(&text), one(&last[1..]))
            }
            name => Node::Rule(name.to_owned()),
        }
    }
}

/// Whether a rule is a token, made of characters rather than of tokens.
pub fn is_token(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_uppercase())
}

impl Node {
    /// Shows `see` this node and all in it.
    fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Self)) {
        see(self);
        match self {
            Self::Text(_) | Self::Range(..) | Self::Rule(_) => {}
            Self::Row(parts) | Self::Either(parts) => parts.iter().for_each(|part| part.visit(see)),
            Self::Maybe(part) | Self::Many(part) => part.visit(see),
            Self::Except(part, excluded) => {
                part.visit(see);
                excluded.visit(see);
            }
        }
    }
}

impl Grammar {
    /// What a rule says.
    pub fn rule(&self, name: &str) -> &Node {
        self.rules.get(name).unwrap_or_else(|| panic!("`{name}` is no rule of the grammar"))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.keys().map(String::as_str)
    }

    /// The texts that stand in a rule itself.
    pub fn texts_of<'a>(&'a self, rule: &str, out: &mut BTreeSet<&'a str>) {
        self.rule(rule).visit(&mut |node| {
            if let Node::Text(text) = node {
                out.insert(text);
            }
        });
    }

    /// The rules that a rule leads to.
    pub fn rules_below<'a>(&'a self, rule: &str, out: &mut BTreeSet<&'a str>) {
        let mut next = vec![];
        self.rule(rule).visit(&mut |node| {
            if let Node::Rule(name) = node {
                next.push(name.as_str());
            }
        });
        for name in next {
            if out.insert(name) {
                self.rules_below(name, out);
            }
        }
    }

    /// The texts that can be tokens of a sentence of `rule`.
    pub fn texts_below<'a>(&'a self, rule: &'a str, out: &mut BTreeSet<&'a str>) {
        let mut rules = BTreeSet::from([rule]);
        self.rules_below(rule, &mut rules);
        let mut of_tokens = BTreeSet::new();
        rules.iter().filter(|name| is_token(name)).for_each(|name| self.rules_below(name, &mut of_tokens));
        rules
            .iter()
            .filter(|name| !is_token(name) && !of_tokens.contains(**name))
            .for_each(|name| self.texts_of(name, out));
    }
}
