//! A parsed GBNF grammar and what is known of its parts.

use std::collections::HashMap;

use super::charset::CharSet;
use crate::TokenId;
use crate::constraint::{GrammarError, TokenTable};

pub(super) type Id = usize;

/// A part of a grammar. Equal parts are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// One character.
    Chars(CharSet),
    /// One after the other; empty for the empty text.
    Sequence(Vec<Id>),
    /// One of them.
    Choice(Vec<Id>),
    /// At least and at most so often.
    Repeat(Id, u32, Option<u32>),
    /// The rule with this index.
    Rule(usize),
    /// One token.
    Token(Token),
}

/// This token or, negated, any other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token {
    pub(super) id: u32,
    pub(super) negated: bool,
}

impl Token {
    /// The tokens it stands for. One that ends the generation is none of them, as in llama.cpp (`llama_grammar_apply_impl` in
    /// `src/llama-grammar.cpp` of the pinned tree): it comes where the grammar may end, and nowhere else.
    pub(super) fn ids(self, table: &TokenTable) -> impl Iterator<Item = u32> {
        let candidates = if self.negated { 0..table.n_vocab() as u32 } else { self.id..self.id + 1 };
        candidates.filter(move |&id| self.negated != (id == self.id) && !table.is_eos(id as TokenId))
    }
}

/// Rules over shared parts. A part's own parts have lower ids.
#[derive(Default)]
pub(super) struct Grammar {
    pub(super) nodes: Vec<Node>,
    ids: HashMap<Node, Id>,
    /// The root of each rule.
    pub(super) rules: Vec<Id>,
    pub(super) names: Vec<String>,
    /// The line and the column where each rule is defined.
    pub(super) places: Vec<(usize, usize)>,
    pub(super) start: usize,
}

impl Grammar {
    pub(super) fn add(&mut self, node: Node) -> Id {
        if let Some(&id) = self.ids.get(&node) {
            return id;
        }
        self.ids.insert(node.clone(), self.nodes.len());
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

/// What is known of each part.
pub(super) struct Facts {
    /// Whether it matches the empty text.
    pub(super) nullable: Vec<bool>,
    /// Whether it neither comes back to itself nor names tokens.
    pub(super) regular: Vec<bool>,
    /// The characters it may begin with.
    pub(super) first: Vec<CharSet>,
    /// The characters that may come after it.
    pub(super) follow: Vec<CharSet>,
}

impl Facts {
    pub(super) fn new(grammar: &Grammar) -> Self {
        let n = grammar.nodes.len();
        let mut facts = Self {
            nullable: vec![false; n],
            regular: vec![false; n],
            first: vec![CharSet::default(); n],
            follow: vec![CharSet::default(); n],
        };
        while facts.grow(grammar) {}
        while facts.grow_follow(grammar) {}
        facts
    }

    /// One pass from parts to wholes; whether it found anything new.
    fn grow(&mut self, grammar: &Grammar) -> bool {
        let mut changed = false;
        for (id, node) in grammar.nodes.iter().enumerate() {
            let (nullable, regular) = match node {
                Node::Chars(set) => {
                    changed |= self.first[id].add(set);
                    (false, true)
                }
                Node::Token(_) => {
                    changed |= self.first[id].add(&CharSet::all());
                    (false, false)
                }
                Node::Sequence(parts) => {
                    for &part in parts {
                        changed |= self.add_first(id, part);
                        if !self.nullable[part] {
                            break;
                        }
                    }
                    (
                        parts.iter().all(|&part| self.nullable[part]),
                        parts.iter().all(|&part| self.regular[part]),
                    )
                }
                Node::Choice(parts) => {
                    for &part in parts {
                        changed |= self.add_first(id, part);
                    }
                    (
                        parts.iter().any(|&part| self.nullable[part]),
                        parts.iter().all(|&part| self.regular[part]),
                    )
                }
                Node::Repeat(part, least, _) => {
                    changed |= self.add_first(id, *part);
                    (*least == 0 || self.nullable[*part], self.regular[*part])
                }
                Node::Rule(rule) => {
                    let root = grammar.rules[*rule];
                    changed |= self.add_first(id, root);
                    (self.nullable[root], self.regular[root])
                }
            };
            changed |= nullable != self.nullable[id] || regular != self.regular[id];
            self.nullable[id] = nullable;
            self.regular[id] = regular;
        }
        changed
    }

    fn add_first(&mut self, id: Id, part: Id) -> bool {
        if id == part {
            return false;
        }
        let mut whole = std::mem::take(&mut self.first[id]);
        let changed = whole.add(&self.first[part]);
        self.first[id] = whole;
        changed
    }

    /// One pass from wholes to parts; whether it found anything new.
    fn grow_follow(&mut self, grammar: &Grammar) -> bool {
        let mut changed = false;
        for (id, node) in grammar.nodes.iter().enumerate().rev() {
            let mut after = self.follow[id].clone();
            match node {
                Node::Chars(_) | Node::Token(_) => {}
                Node::Sequence(parts) => {
                    for &part in parts.iter().rev() {
                        changed |= self.follow[part].add(&after);
                        if self.nullable[part] {
                            after.add(&self.first[part]);
                        } else {
                            after = self.first[part].clone();
                        }
                    }
                }
                Node::Choice(parts) => {
                    for &part in parts {
                        changed |= self.follow[part].add(&after);
                    }
                }
                Node::Repeat(part, _, most) => {
                    if *most != Some(1) {
                        after.add(&self.first[*part]);
                    }
                    changed |= self.follow[*part].add(&after);
                }
                Node::Rule(rule) => changed |= self.follow[grammar.rules[*rule]].add(&after),
            }
        }
        changed
    }

    /// Refuses rules that lead back to themselves before any character, as llama.cpp does
    /// (`llama_grammar_detect_left_recursion` in `src/llama-grammar.cpp` of the pinned tree).
    pub(super) fn check_left_recursion(&self, grammar: &Grammar) -> Result<(), GrammarError> {
        let edges: Vec<Vec<usize>> = grammar.rules.iter().map(|&root| self.leftmost(grammar, root)).collect();
        // 0 not seen, 1 being followed, 2 done.
        let mut state = vec![0u8; edges.len()];
        for start in 0..edges.len() {
            let mut stack = vec![(start, 0)];
            while let Some((rule, next)) = stack.pop() {
                if next == 0 {
                    if state[rule] == 2 {
                        continue;
                    }
                    state[rule] = 1;
                }
                match edges[rule].get(next) {
                    None => state[rule] = 2,
                    Some(&to) => {
                        stack.push((rule, next + 1));
                        match state[to] {
                            0 => stack.push((to, 0)),
                            1 => {
                                let (name, (line, column)) = (&grammar.names[to], grammar.places[to]);
                                return Err(GrammarError::syntax(
                                    line,
                                    column,
                                    format!(
                                        "the rule `{name}` begins with itself; write the repetition with `*` or `+`"
                                    ),
                                ));
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The rules that `root` may begin with.
    fn leftmost(&self, grammar: &Grammar, root: Id) -> Vec<usize> {
        let mut rules = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            match &grammar.nodes[id] {
                Node::Chars(_) | Node::Token(_) => {}
                Node::Sequence(parts) => {
                    let known =
                        parts.iter().position(|&part| !self.nullable[part]).map_or(parts.len(), |at| at + 1);
                    stack.extend(&parts[..known]);
                }
                Node::Choice(parts) => stack.extend(parts),
                Node::Repeat(part, ..) => stack.push(*part),
                Node::Rule(rule) => rules.push(*rule),
            }
        }
        rules
    }
}
