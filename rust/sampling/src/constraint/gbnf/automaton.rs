//! Expressions without recursion as position automata (Glushkov, 1961), to see how two of them compete.

use std::collections::HashSet;

use super::ast::{Grammar, Id, Node};
use super::charset::CharSet;

/// The most positions an automaton may have; larger expressions are cut.
const MAX_POSITIONS: usize = 2_000;
/// The most pairs of positions that are looked at for two expressions.
const MAX_PAIRS: usize = 200_000;

/// One state for each character of the expression.
pub(super) struct Automaton<'a> {
    chars: Vec<&'a CharSet>,
    next: Vec<Vec<usize>>,
    first: Vec<usize>,
    last: Vec<bool>,
}

/// A stretch of positions while it is being put together.
struct Fragment {
    first: Vec<usize>,
    last: Vec<usize>,
    nullable: bool,
}

impl<'a> Automaton<'a> {
    /// The automaton of the part `id`, or `None` if it is too large.
    pub(super) fn new(grammar: &'a Grammar, id: Id) -> Option<Self> {
        let mut automaton = Self { chars: Vec::new(), next: Vec::new(), first: Vec::new(), last: Vec::new() };
        let whole = automaton.build(grammar, id)?;
        automaton.first = whole.first;
        automaton.last = vec![false; automaton.chars.len()];
        whole.last.into_iter().for_each(|position| automaton.last[position] = true);
        Some(automaton)
    }

    fn build(&mut self, grammar: &'a Grammar, id: Id) -> Option<Fragment> {
        Some(match &grammar.nodes[id] {
            Node::Chars(set) => {
                let position = self.chars.len();
                if position >= MAX_POSITIONS {
                    return None;
                }
                self.chars.push(set);
                self.next.push(Vec::new());
                Fragment { first: vec![position], last: vec![position], nullable: false }
            }
            Node::Sequence(parts) => {
                let mut whole = empty();
                for &part in parts {
                    let part = self.build(grammar, part)?;
                    whole = self.concat(whole, part);
                }
                whole
            }
            Node::Choice(parts) => {
                let mut whole = Fragment { first: Vec::new(), last: Vec::new(), nullable: false };
                for &part in parts {
                    let part = self.build(grammar, part)?;
                    whole.first.extend(part.first);
                    whole.last.extend(part.last);
                    whole.nullable |= part.nullable;
                }
                whole
            }
            Node::Repeat(part, least, most) => {
                // The optional copies nest: x(x(x)?)?.
                let mut tail = empty();
                if most.is_none() {
                    tail = self.build(grammar, *part)?;
                    let (last, first) = (tail.last.clone(), tail.first.clone());
                    self.link(&last, &first);
                    tail.nullable = true;
                }
                for _ in *least..most.unwrap_or(*least) {
                    let copy = self.build(grammar, *part)?;
                    tail = self.concat(copy, tail);
                    tail.nullable = true;
                }
                for _ in 0..*least {
                    let copy = self.build(grammar, *part)?;
                    tail = self.concat(copy, tail);
                }
                tail
            }
            Node::Rule(rule) => self.build(grammar, grammar.rules[*rule])?,
            Node::Token(_) => return None,
        })
    }

    fn link(&mut self, from: &[usize], to: &[usize]) {
        for &position in from {
            self.next[position].extend(to);
        }
    }

    fn concat(&mut self, a: Fragment, b: Fragment) -> Fragment {
        self.link(&a.last, &b.first);
        let mut first = a.first;
        let mut last = b.last;
        if a.nullable {
            first.extend(b.first);
        }
        if b.nullable {
            last.extend(a.last);
        }
        Fragment { first, last, nullable: a.nullable && b.nullable }
    }

    /// Whether some text of `self`, followed by a character of `after`, is also the beginning of a text of `other`: reading on for
    /// the longest match would then lose the shorter one. Also true if that is too much to find out.
    pub(super) fn loses_to(&self, other: &Automaton<'_>, after: &CharSet) -> bool {
        if after.is_empty() {
            return false;
        }
        let mut seen = HashSet::new();
        let mut stack: Vec<(usize, usize)> = Vec::new();
        let push = |a: &[usize],
                    b: &[usize],
                    stack: &mut Vec<(usize, usize)>,
                    seen: &mut HashSet<(usize, usize)>| {
            for &one in a {
                for &two in b {
                    if self.chars[one].meets(other.chars[two]) && seen.insert((one, two)) {
                        stack.push((one, two));
                    }
                }
            }
        };
        push(&self.first, &other.first, &mut stack, &mut seen);
        while let Some((one, two)) = stack.pop() {
            if seen.len() > MAX_PAIRS {
                return true;
            }
            if self.last[one] && other.next[two].iter().any(|&next| other.chars[next].meets(after)) {
                return true;
            }
            push(&self.next[one], &other.next[two], &mut stack, &mut seen);
        }
        false
    }
}

fn empty() -> Fragment {
    Fragment { first: Vec::new(), last: Vec::new(), nullable: true }
}
