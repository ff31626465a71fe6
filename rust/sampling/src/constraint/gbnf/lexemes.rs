//! Which parts become lexemes of the engine.
//!
//! The engine's lexer runs all lexemes that are possible at a place together and takes the longest match. That is harmless for two
//! lexemes A and B if no text of A, followed by a character that may come after A, begins a text of B. Every pair is checked (also pairs
//! that never meet: that errs on the safe side), and where it fails B is cut into its parts. Single characters never fail.

use std::collections::HashSet;

use super::ast::{Facts, Grammar, Id, Node};
use super::automaton::Automaton;

/// Beyond so many lexemes the pairs are too many to check, and everything is cut into characters.
const MAX_LEXEMES: usize = 400;

/// The part that stands for `id`: a rule without recursion is its root.
pub(super) fn canonical(grammar: &Grammar, facts: &Facts, mut id: Id) -> Id {
    while let (Node::Rule(rule), true) = (&grammar.nodes[id], facts.regular[id]) {
        id = grammar.rules[*rule];
    }
    id
}

/// The parts that become lexemes.
pub(super) fn choose(grammar: &Grammar, facts: &Facts) -> HashSet<Id> {
    let mut cut: HashSet<Id> = HashSet::new();
    loop {
        let lexemes = current(grammar, facts, &cut);
        let cut_before = cut.len();
        if lexemes.len() > MAX_LEXEMES {
            cut.extend(lexemes.iter().filter(|&&id| !matches!(grammar.nodes[id], Node::Chars(_))));
        } else {
            conflicts(grammar, facts, &lexemes, &mut cut);
        }
        if cut.len() == cut_before {
            return lexemes.into_iter().collect();
        }
    }
}

/// The largest parts without recursion that are not cut, in the order of their ids.
fn current(grammar: &Grammar, facts: &Facts, cut: &HashSet<Id>) -> Vec<Id> {
    let mut lexemes = Vec::new();
    let mut seen = HashSet::new();
    let mut stack = vec![grammar.rules[grammar.start]];
    while let Some(id) = stack.pop() {
        let id = canonical(grammar, facts, id);
        if !seen.insert(id) {
            continue;
        }
        if facts.regular[id] && !cut.contains(&id) {
            if !facts.first[id].is_empty() || matches!(grammar.nodes[id], Node::Chars(_)) {
                lexemes.push(id);
            }
            continue;
        }
        match &grammar.nodes[id] {
            Node::Chars(_) | Node::Token(_) => {}
            Node::Sequence(parts) | Node::Choice(parts) => stack.extend(parts),
            Node::Repeat(part, ..) => stack.push(*part),
            Node::Rule(rule) => stack.push(grammar.rules[*rule]),
        }
    }
    lexemes.sort_unstable();
    lexemes
}

/// Adds to `cut` the lexemes that would win over others.
fn conflicts(grammar: &Grammar, facts: &Facts, lexemes: &[Id], cut: &mut HashSet<Id>) {
    let automata: Vec<Option<Automaton<'_>>> =
        lexemes.iter().map(|&id| Automaton::new(grammar, id)).collect();
    for (two, &id) in lexemes.iter().enumerate() {
        let Some(winner) = &automata[two] else {
            // Too large to look into; alone it needs no look.
            if lexemes.len() > 1 || !facts.follow[id].is_empty() {
                cut.insert(id);
            }
            continue;
        };
        if matches!(grammar.nodes[id], Node::Chars(_)) {
            continue;
        }
        for (one, &shorter) in lexemes.iter().enumerate() {
            let Some(loser) = &automata[one] else { continue };
            if facts.first[shorter].meets(&facts.first[id]) && loser.loses_to(winner, &facts.follow[shorter])
            {
                cut.insert(id);
                break;
            }
        }
    }
}
