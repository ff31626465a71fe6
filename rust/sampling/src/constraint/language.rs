//! Whether a compiled grammar has any text at all.
//!
//! A rule has a finite text if one of its alternatives consists of parts that have one. The rules that do are the least fixed point of that
//! (Hopcroft and Ullman, Introduction to Automata Theory, section 4.4).

use std::collections::HashSet;

use llguidance::TokenParser;
use llguidance::earley::{CGrammar, CSymIdx};

use super::engine::guard;
use super::{GrammarError, TokenTable};
use crate::TokenId;

/// Why a part of a grammar has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Each way through it comes back to it.
    Endless,
    /// No text matches it.
    Empty,
    /// It needs a token that ends the generation, and such a token never comes inside a grammar.
    End(TokenId),
}

/// A rule without a text.
#[derive(Clone, Debug)]
pub(crate) struct Barren {
    /// The names of the rules from the start to the one without a text, which is the last.
    pub(crate) path: Vec<String>,
    pub(crate) cause: Cause,
}

impl Cause {
    /// What is wrong with the rule `name`, and what to do.
    pub(crate) fn message(self, name: &str) -> String {
        match self {
            Self::Endless => {
                format!(
                    "the rule `{name}` never ends: each way through it comes back to it; give it a way to end"
                )
            }
            Self::Empty => format!("nothing matches the rule `{name}`; loosen it"),
            Self::End(token) => format!(
                "the rule `{name}` waits for the token `{token}`, which ends the generation and cannot come inside of a grammar; leave it out: where \
                 the grammar ends, it is allowed"
            ),
        }
    }
}

/// The first rule without a text, if any can be reached. `strict`: else only if the whole grammar has none.
pub(crate) fn barren(
    parser: &mut TokenParser,
    table: &TokenTable,
    strict: bool,
) -> Result<Option<Barren>, GrammarError> {
    let matchable = guard(|| {
        Ok::<_, String>(parser.parser.with_recognizer(|recognizer| {
            let all = recognizer.lexer().lexer_spec().all_lexemes();
            let state = recognizer.lexer_mut().start_state(&all);
            recognizer.lexer().possible_lexemes(state).clone()
        }))
    })?;
    let grammar = parser.parser.grammar();
    let terminal = |symbol: CSymIdx| -> Option<Cause> {
        let lexeme = grammar.sym_data(symbol).lexeme?;
        if !matchable.contains(lexeme) {
            return Some(Cause::Empty);
        }
        let spec = grammar.lexer_spec().lexeme_spec(lexeme);
        let end = table.eos().iter().copied().find(|&eos| spec.contains_token(eos as u32))?;
        let n_tokens = table.n_vocab() as TokenId;
        let others = (0..n_tokens).any(|token| spec.contains_token(token as u32) && !table.is_eos(token));
        (!others).then_some(Cause::End(end))
    };
    let reached = reached(grammar);
    let fertile = fertile(grammar, &reached, &terminal);
    let fault = if !strict && fertile.contains(grammar.start()) {
        None
    } else {
        // If the start itself has no text, the path from it shows how the fault is reached.
        reached.iter().copied().find(|symbol| !fertile.contains(*symbol))
    };
    Ok(fault.map(|from| {
        let start = if fertile.contains(grammar.start()) { from } else { grammar.start() };
        trace(grammar, start, &fertile, &terminal)
    }))
}

/// The symbols that the start leads to, the nearest first.
fn reached(grammar: &CGrammar) -> Vec<CSymIdx> {
    let mut order = vec![grammar.start()];
    let mut seen = Marks::default();
    seen.mark(grammar.start());
    let mut at = 0;
    while let Some(&symbol) = order.get(at) {
        at += 1;
        for &rule in grammar.rules_of(symbol) {
            let (parts, _, _) = grammar.rule_rhs(rule);
            order.extend(parts.iter().copied().filter(|&part| seen.mark(part)));
        }
    }
    order
}

/// The symbols that have a finite text.
fn fertile(grammar: &CGrammar, reached: &[CSymIdx], terminal: &impl Fn(CSymIdx) -> Option<Cause>) -> Marks {
    // Per rule its symbol and how many of its parts are not known to have a text; per part the last of the places where it stands, and per
    // place its rule and the place before.
    let mut rules: Vec<(CSymIdx, usize)> = Vec::new();
    let mut last: Vec<Option<usize>> =
        vec![None; reached.iter().map(|symbol| symbol.as_index() + 1).max().unwrap_or(0)];
    let mut places: Vec<(usize, Option<usize>)> = Vec::new();
    let mut fertile = Marks::default();
    let mut found = Vec::new();
    for &symbol in reached {
        let data = grammar.sym_data(symbol);
        let known = match data.lexeme {
            Some(_) => terminal(symbol).is_none(),
            None => data.is_nullable || !data.cond_nullable.is_empty(),
        };
        if known && fertile.mark(symbol) {
            found.push(symbol);
        }
        for &rule in grammar.rules_of(symbol) {
            let (parts, _, _) = grammar.rule_rhs(rule);
            for part in parts {
                let before = last[part.as_index()].replace(places.len());
                places.push((rules.len(), before));
            }
            rules.push((symbol, parts.len()));
        }
    }
    while let Some(symbol) = found.pop() {
        let mut at = last[symbol.as_index()];
        while let Some((rule, before)) = at.map(|at| places[at]) {
            let (whole, missing) = &mut rules[rule];
            *missing -= 1;
            if *missing == 0 && fertile.mark(*whole) {
                found.push(*whole);
            }
            at = before;
        }
    }
    fertile
}

/// A set of symbols.
#[derive(Default)]
struct Marks(Vec<bool>);

impl Marks {
    /// Adds a symbol; whether it is new.
    fn mark(&mut self, symbol: CSymIdx) -> bool {
        let at = symbol.as_index();
        if at >= self.0.len() {
            self.0.resize(at + 1, false);
        }
        !std::mem::replace(&mut self.0[at], true)
    }

    fn contains(&self, symbol: CSymIdx) -> bool {
        self.0.get(symbol.as_index()).is_some_and(|marked| *marked)
    }
}

/// Follows parts without a text from `start` to one that is to blame.
fn trace(
    grammar: &CGrammar,
    start: CSymIdx,
    fertile: &Marks,
    terminal: &impl Fn(CSymIdx) -> Option<Cause>,
) -> Barren {
    let mut path = vec![grammar.sym_data(start).name.clone()];
    let mut seen = HashSet::from([start]);
    let mut here = start;
    loop {
        if let Some(cause) = terminal(here) {
            return Barren { path, cause };
        }
        let blamed = grammar.rules_of(here).iter().find_map(|&rule| {
            let (parts, _, _) = grammar.rule_rhs(rule);
            parts.iter().copied().find(|&part| !fertile.contains(part))
        });
        let Some(next) = blamed else { return Barren { path, cause: Cause::Empty } };
        path.push(grammar.sym_data(next).name.clone());
        if !seen.insert(next) {
            return Barren { path, cause: Cause::Endless };
        }
        here = next;
    }
}
