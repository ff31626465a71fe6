//! Writing the grammar as Lark, one short rule for each part: the engine limits how deep groups nest.

use std::collections::HashSet;
use std::fmt::Write;

use super::ast::{Facts, Grammar, Id, Node};
use super::lexemes::canonical;
use crate::constraint::TokenTable;

/// The grammar as Lark, with `lexemes` as terminals.
pub(super) fn lark(grammar: &Grammar, facts: &Facts, lexemes: &HashSet<Id>, table: &TokenTable) -> String {
    let mut writer = Writer {
        table,
        grammar,
        facts,
        lexemes,
        out: String::new(),
        rules: HashSet::new(),
        terminals: HashSet::new(),
    };
    let root = grammar.rules[grammar.start];
    let start = writer.reference(root);
    let _ = writeln!(writer.out, "start: {start}");
    writer.write_all(root);
    writer.out
}

struct Writer<'a> {
    table: &'a TokenTable,
    grammar: &'a Grammar,
    facts: &'a Facts,
    lexemes: &'a HashSet<Id>,
    out: String,
    rules: HashSet<Id>,
    terminals: HashSet<Id>,
}

impl Writer<'_> {
    /// How a rule names the part `id`.
    fn reference(&self, id: Id) -> String {
        let id = canonical(self.grammar, self.facts, id);
        match &self.grammar.nodes[id] {
            _ if self.lexemes.contains(&id) && self.facts.nullable[id] => format!("S{id}?"),
            _ if self.lexemes.contains(&id) => format!("T{id}"),
            Node::Token(token) => format!("<[{}]>", ranges(token.ids(self.table))),
            Node::Rule(rule) => self.reference(self.grammar.rules[*rule]),
            _ => format!("n{id}"),
        }
    }

    fn write_all(&mut self, root: Id) {
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            let id = canonical(self.grammar, self.facts, id);
            if !self.rules.insert(id) {
                continue;
            }
            if self.lexemes.contains(&id) {
                self.write_lexeme(id);
                continue;
            }
            let body = match &self.grammar.nodes[id] {
                Node::Chars(_) | Node::Token(_) => continue,
                Node::Rule(rule) => {
                    stack.push(self.grammar.rules[*rule]);
                    continue;
                }
                Node::Sequence(parts) => {
                    stack.extend(parts);
                    join(parts.iter().map(|&part| self.reference(part)), " ")
                }
                Node::Choice(parts) => {
                    stack.extend(parts);
                    join(parts.iter().map(|&part| self.reference(part)), " | ")
                }
                Node::Repeat(part, least, most) => {
                    stack.push(*part);
                    let name = self.reference(*part);
                    // A lexeme that may be missing already has its own `?`.
                    let name = if name.ends_with('?') { format!("({name})") } else { name };
                    format!("{name}{}", times(*least, *most))
                }
            };
            let _ = writeln!(self.out, "n{id}: {body}");
        }
    }

    fn write_lexeme(&mut self, id: Id) {
        if self.facts.nullable[id] {
            let _ = writeln!(self.out, "S{id}: T{id} & /(?s:.+)/");
        }
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            let id = canonical(self.grammar, self.facts, id);
            if !self.terminals.insert(id) {
                continue;
            }
            let name = |part: &Id| format!("T{}", canonical(self.grammar, self.facts, *part));
            let body = match &self.grammar.nodes[id] {
                Node::Chars(set) => format!("/{}/", set.regex()),
                Node::Sequence(parts) => {
                    if let Some(regex) = self.classes(parts) {
                        format!("/{regex}/")
                    } else {
                        stack.extend(parts);
                        join(parts.iter().map(name), " ")
                    }
                }
                Node::Choice(parts) => {
                    stack.extend(parts);
                    join(parts.iter().map(name), " | ")
                }
                Node::Repeat(part, least, most) => {
                    stack.push(*part);
                    format!("{}{}", name(part), times(*least, *most))
                }
                Node::Rule(_) | Node::Token(_) => continue,
            };
            let _ = writeln!(self.out, "T{id}: {body}");
        }
    }

    /// A sequence of single characters as one expression.
    fn classes(&self, parts: &[Id]) -> Option<String> {
        let regex: Option<String> = parts
            .iter()
            .map(|&part| match &self.grammar.nodes[part] {
                Node::Chars(set) => Some(set.regex()),
                _ => None,
            })
            .collect();
        regex.filter(|regex| !regex.is_empty())
    }
}

/// Ascending numbers as ranges: `0-4,6`.
fn ranges(ids: impl Iterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for id in ids {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => ranges.push((id, id)),
        }
    }
    ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect::<Vec<_>>().join(",")
}

fn join(parts: impl Iterator<Item = String>, separator: &str) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "\"\"".to_owned() } else { parts.join(separator) }
}

fn times(least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}
