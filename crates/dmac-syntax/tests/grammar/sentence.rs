//! Sentences of a grammar, made by following its rules and letting a list of numbers choose.

use std::collections::BTreeMap;

use crate::ebnf::{Grammar, Node, is_token};

/// The words of a sentence of `rule`. When the choices run out, every choice is the one that ends soonest, so the
/// sentence is finite; a shorter list of choices gives a smaller one.
pub fn make(grammar: &Grammar, rule: &str, choices: &[u16]) -> Vec<String> {
    let mut maker = Maker {
        grammar,
        heights: heights(grammar),
        choices: choices.iter().copied(),
        words: vec![],
        open: BTreeMap::new(),
    };
    if is_token(rule) {
        let word = maker.token(rule);
        maker.words.push(word);
    } else {
        maker.node(grammar.rule(rule));
    }
    maker.words
}

/// How many rules deep the shallowest derivation of each rule is.
fn heights(grammar: &Grammar) -> BTreeMap<&str, usize> {
    let mut heights = BTreeMap::new();
    loop {
        let before = heights.len();
        let found: Vec<(&str, usize)> = grammar
            .names()
            .filter(|name| !heights.contains_key(name))
            .filter_map(|name| Some((name, height(grammar.rule(name), &heights)? + 1)))
            .collect();
        heights.extend(found);
        if heights.len() == before {
            assert!(grammar.names().all(|name| heights.contains_key(name)), "a rule derives nothing finite");
            return heights;
        }
    }
}

fn height(node: &Node, heights: &BTreeMap<&str, usize>) -> Option<usize> {
    match node {
        Node::Text(_) | Node::Range(..) | Node::Maybe(_) | Node::Many(_) => Some(0),
        Node::Rule(name) if is_token(name) => Some(0),
        Node::Rule(name) => heights.get(name.as_str()).copied(),
        Node::Row(parts) => {
            parts.iter().map(|part| height(part, heights)).try_fold(0, |most, part| Some(most.max(part?)))
        }
        Node::Either(parts) => parts.iter().filter_map(|part| height(part, heights)).min(),
        Node::Except(part, _) => height(part, heights),
    }
}

struct Maker<'a, C> {
    grammar: &'a Grammar,
    heights: BTreeMap<&'a str, usize>,
    choices: C,
    words: Vec<String>,
    /// How often each rule is open.
    open: BTreeMap<&'a str, usize>,
}

/// How often one rule may be within itself before only the shallowest way on is taken. Three rules of expressions
/// and one of statements can be directly within themselves, so that the parser's limit, 32 in all, is not reached.
const DEEP: usize = 7;

impl<'a, C: Iterator<Item = u16>> Maker<'a, C> {
    /// A number below `count`, or nothing when it is time to come to an end.
    fn choose(&mut self, count: usize) -> Option<usize> {
        if self.open.values().any(|times| *times >= DEEP) {
            return None;
        }
        self.choices.next().map(|choice| choice as usize % count)
    }

    fn node(&mut self, node: &'a Node) {
        match node {
            Node::Text(text) => self.words.push(text.clone()),
            Node::Range(..) => unreachable!("a range outside of a token"),
            Node::Rule(name) if is_token(name) => {
                let word = self.token(name);
                self.words.push(word);
            }
            Node::Rule(name) => {
                *self.open.entry(name).or_default() += 1;
                self.node(self.grammar.rule(name));
                *self.open.entry(name).or_default() -= 1;
            }
            Node::Row(parts) => parts.iter().for_each(|part| self.node(part)),
            Node::Either(parts) => {
                let soonest = || {
                    let heights = |part: &&Node| height(part, &self.heights).unwrap_or(usize::MAX);
                    parts.iter().min_by_key(heights).expect("a choice among nothing")
                };
                let soonest = soonest();
                let chosen = self.choose(parts.len()).map_or(soonest, |choice| &parts[choice]);
                self.node(chosen);
            }
            Node::Maybe(part) => {
                if self.choose(2) == Some(1) {
                    self.node(part);
                }
            }
            Node::Many(part) => {
                // Operators repeat less often than statements, or sentences become one endless sum.
                let often = if matches!(**part, Node::Rule(_)) { 4 } else { 3 };
                while self.choose(often).is_some_and(|choice| choice > often / 3) {
                    self.node(part);
                }
            }
            Node::Except(part, excluded) => {
                let before = self.words.len();
                self.node(part);
                let mut forbidden = Maker {
                    grammar: self.grammar,
                    heights: self.heights.clone(),
                    choices: std::iter::empty(),
                    words: vec![],
                    open: BTreeMap::new(),
                };
                let Node::Either(excluded) = &**excluded else {
                    unreachable!("only lists of texts are excluded")
                };
                for text in excluded {
                    forbidden.node(text);
                }
                if forbidden.words.contains(&self.words[before]) {
                    self.words[before].push('_');
                }
            }
        }
    }

    /// One token, made of characters; a name that would be a reserved word is changed.
    fn token(&mut self, rule: &str) -> String {
        let mut out = String::new();
        self.characters(self.grammar.rule(rule), &mut out);
        // Numbers have their own limits, which the rules do not state.
        if rule == "INT" { out.chars().take(18).collect() } else { out }
    }

    fn characters(&mut self, node: &Node, out: &mut String) {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Range(first, last) => {
                let count = *last as usize - *first as usize + 1;
                let choice = self.choose(count).unwrap_or(0);
                out.push(char::from_u32(*first as u32 + choice as u32).expect("a range of ASCII"));
            }
            Node::Rule(name) => self.characters(self.grammar.rule(name), out),
            Node::Row(parts) => parts.iter().for_each(|part| self.characters(part, out)),
            Node::Either(parts) => {
                let choice = self.choose(parts.len()).unwrap_or(0);
                self.characters(&parts[choice], out);
            }
            Node::Maybe(part) => {
                if self.choose(2) == Some(1) {
                    self.characters(part, out);
                }
            }
            Node::Many(part) => {
                // At most one more digit, so that exponents stay in range.
                if self.choose(3) == Some(2) && !out.contains(['e', 'E']) {
                    self.characters(part, out);
                }
            }
            Node::Except(part, excluded) => {
                self.characters(part, out);
                let word = [out.clone()];
                if let Node::Rule(excluded) = &**excluded
                    && crate::recognise::accepts(self.grammar, excluded, &word)
                {
                    out.push('_');
                }
            }
        }
    }
}
