//! Parts without a text: a rule that has none is refused, and an alternative that has none is taken away.

use std::collections::HashSet;

use super::ast::{Grammar, Id, Node};
use crate::constraint::language::Cause;
use crate::constraint::{GrammarError, TokenTable};

/// Takes away the alternatives that no text can follow.
pub(super) fn prune(grammar: &mut Grammar, table: &TokenTable) -> Result<(), GrammarError> {
    let fertile = fertile(grammar, table);
    if let Some(&rule) = reached(grammar).iter().find(|&&rule| !fertile[grammar.rules[rule]]) {
        let (rule, cause) = blame(grammar, rule, &fertile);
        let (line, column) = grammar.places[rule];
        return Err(GrammarError::syntax(line, column, cause.message(&grammar.names[rule])));
    }
    for node in &mut grammar.nodes {
        match node {
            Node::Choice(parts) => parts.retain(|&part| fertile[part]),
            Node::Repeat(part, 0, _) if !fertile[*part] => *node = Node::Sequence(Vec::new()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether each part has a finite text: the least fixed point.
fn fertile(grammar: &Grammar, table: &TokenTable) -> Vec<bool> {
    let mut fertile = vec![false; grammar.nodes.len()];
    let mut changed = true;
    while changed {
        changed = false;
        // Parts have lower ids than their wholes, so that only rules take further rounds.
        for (id, node) in grammar.nodes.iter().enumerate() {
            let has_text = match node {
                Node::Chars(set) => !set.is_empty(),
                Node::Token(token) => token.ids(table).next().is_some(),
                Node::Sequence(parts) => parts.iter().all(|&part| fertile[part]),
                Node::Choice(parts) => parts.iter().any(|&part| fertile[part]),
                Node::Repeat(part, least, _) => *least == 0 || fertile[*part],
                Node::Rule(rule) => fertile[grammar.rules[*rule]],
            };
            changed |= has_text && !fertile[id];
            fertile[id] = has_text;
        }
    }
    fertile
}

/// The rules that the start leads to, the nearest first.
fn reached(grammar: &Grammar) -> Vec<usize> {
    let mut order = vec![grammar.start];
    let mut seen = vec![false; grammar.rules.len()];
    seen[grammar.start] = true;
    let mut seen_nodes = HashSet::new();
    let mut at = 0;
    while let Some(&rule) = order.get(at) {
        at += 1;
        let mut stack = vec![grammar.rules[rule]];
        while let Some(id) = stack.pop() {
            if !seen_nodes.insert(id) {
                continue;
            }
            match &grammar.nodes[id] {
                Node::Chars(_) | Node::Token(_) => {}
                Node::Sequence(parts) | Node::Choice(parts) => stack.extend(parts.iter().rev()),
                Node::Repeat(part, ..) => stack.push(*part),
                Node::Rule(rule) => {
                    if !std::mem::replace(&mut seen[*rule], true) {
                        order.push(*rule);
                    }
                }
            }
        }
    }
    order
}

/// Follows parts without a text from a rule to the rule that is to blame.
fn blame(grammar: &Grammar, start: usize, fertile: &[bool]) -> (usize, Cause) {
    let mut rule = start;
    let mut seen = HashSet::from([start]);
    let mut here = grammar.rules[start];
    loop {
        let barren = |parts: &[Id]| parts.iter().copied().find(|&part| !fertile[part]);
        let next = match &grammar.nodes[here] {
            Node::Token(token) if !token.negated => return (rule, Cause::End(token.id as i32)),
            Node::Chars(_) | Node::Token(_) => None,
            Node::Sequence(parts) | Node::Choice(parts) => barren(parts),
            Node::Repeat(part, ..) => Some(*part),
            Node::Rule(index) => {
                rule = *index;
                if !seen.insert(rule) {
                    return (rule, Cause::Endless);
                }
                Some(grammar.rules[rule])
            }
        };
        let Some(next) = next else { return (rule, Cause::Empty) };
        here = next;
    }
}
