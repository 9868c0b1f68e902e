//! Whether a grammar derives a list of words, by trying everything and remembering what was tried.
//!
//! It shares nothing with the parser: words are matched with the token rules of the grammar, character by character.

use std::collections::{BTreeMap, BTreeSet};

use crate::ebnf::{Grammar, Node, is_token};

/// Whether `rule` derives exactly these words.
pub fn accepts(grammar: &Grammar, rule: &str, words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut search = Search { grammar, input: &words, of_rules: BTreeMap::new(), inside_token: None };
    search.rule(rule, 0).contains(&words.len())
}

struct Search<'a> {
    grammar: &'a Grammar,
    /// Words, or the characters of one word.
    input: &'a [&'a str],
    of_rules: BTreeMap<(&'a str, usize), BTreeSet<usize>>,
    /// The token rule whose characters the input is.
    inside_token: Option<&'a str>,
}

impl<'a> Search<'a> {
    /// All places where a derivation of the rule that begins at `at` can end.
    fn rule(&mut self, name: &str, at: usize) -> BTreeSet<usize> {
        let (name, node) = self
            .grammar
            .names()
            .find(|rule| *rule == name)
            .map(|name| (name, self.grammar.rule(name)))
            .expect("the reader checks that every rule exists");
        if is_token(name) && self.inside_token.is_none() {
            let fits = self.input.get(at).is_some_and(|word| self.is_token(name, word));
            return if fits { BTreeSet::from([at + 1]) } else { BTreeSet::new() };
        }
        if let Some(known) = self.of_rules.get(&(name, at)) {
            return known.clone();
        }
        let ends = self.node(node, at);
        self.of_rules.insert((name, at), ends.clone());
        ends
    }

    fn is_token(&self, rule: &'a str, word: &str) -> bool {
        let characters: Vec<String> = word.chars().map(String::from).collect();
        let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
        let mut search = Search {
            grammar: self.grammar,
            input: &characters,
            of_rules: BTreeMap::new(),
            inside_token: Some(rule),
        };
        search.rule(rule, 0).contains(&characters.len())
    }

    fn node(&mut self, node: &Node, at: usize) -> BTreeSet<usize> {
        match node {
            Node::Text(text) => self.text(text, at),
            Node::Range(first, last) => {
                let one = self.input.get(at).and_then(|word| word.chars().next());
                let fits = one.is_some_and(|one| (*first..=*last).contains(&one));
                if fits { BTreeSet::from([at + 1]) } else { BTreeSet::new() }
            }
            Node::Rule(name) => self.rule(name, at),
            Node::Row(parts) => parts.iter().fold(BTreeSet::from([at]), |starts, part| {
                starts.into_iter().flat_map(|start| self.node(part, start)).collect()
            }),
            Node::Either(parts) => parts.iter().flat_map(|part| self.node(part, at)).collect(),
            Node::Maybe(part) => {
                let mut ends = self.node(part, at);
                ends.insert(at);
                ends
            }
            Node::Many(part) => {
                let mut ends = BTreeSet::from([at]);
                let mut fresh = vec![at];
                while let Some(start) = fresh.pop() {
                    fresh.extend(self.node(part, start).into_iter().filter(|end| ends.insert(*end)));
                }
                ends
            }
            Node::Except(part, excluded) => {
                let without = self.node(excluded, at);
                self.node(part, at).difference(&without).copied().collect()
            }
        }
    }

    fn text(&self, text: &str, at: usize) -> BTreeSet<usize> {
        if self.inside_token.is_none() {
            let fits = self.input.get(at) == Some(&text);
            return if fits { BTreeSet::from([at + 1]) } else { BTreeSet::new() };
        }
        let len = text.chars().count();
        let fits = self.input.get(at..at + len).is_some_and(|part| part.concat() == text);
        if fits { BTreeSet::from([at + len]) } else { BTreeSet::new() }
    }
}
