//! A grammar while it is written: rules over expressions, and which of them lead to a text at all.

use std::collections::HashMap;

use llguidance::api::{GrammarInit, SkipSpec};
use llguidance::derivre::{ExprRef, RegexAst, RegexBuilder};
use llguidance::earley::lexerspec::LexerSpec;
use llguidance::earley::{Grammar, SymIdx, SymbolProps};

use crate::constraint::engine::Fault;

/// A part of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Symbol {
    /// What one expression matches.
    Terminal(ExprRef),
    /// What the rule of this number leads to.
    Rule(u32),
    /// A token of the vocabulary.
    Token(u32),
}

/// The kinds of repetition, by how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Times {
    Exactly(u64),
    AtMost(u64),
    Any,
}

/// Rules, each the list of the ways to write it.
#[derive(Default)]
pub(super) struct Rules {
    ways: Vec<Vec<Vec<Symbol>>>,
    repeats: HashMap<(Symbol, Times), Symbol>,
}

impl Rules {
    pub(super) fn len(&self) -> usize {
        self.ways.len()
    }

    /// A rule without any way to write it yet.
    pub(super) fn rule(&mut self) -> Symbol {
        self.ways.push(Vec::new());
        Symbol::Rule(self.ways.len() as u32 - 1)
    }

    pub(super) fn add(&mut self, rule: Symbol, way: Vec<Symbol>) {
        if let Symbol::Rule(number) = rule {
            self.ways[number as usize].push(way);
        }
    }

    pub(super) fn choice(&mut self, ways: Vec<Vec<Symbol>>) -> Symbol {
        self.ways.push(ways);
        Symbol::Rule(self.ways.len() as u32 - 1)
    }

    pub(super) fn ways(&self, rule: u32) -> &[Vec<Symbol>] {
        &self.ways[rule as usize]
    }

    /// `symbol` at least `min` and at most `max` times.
    pub(super) fn repeat(&mut self, symbol: Symbol, min: u64, max: Option<u64>) -> Vec<Symbol> {
        let more = max.map_or(Times::Any, |max| Times::AtMost(max.saturating_sub(min)));
        let mut all = Vec::new();
        for times in [Times::Exactly(min), more] {
            if !matches!(times, Times::Exactly(0) | Times::AtMost(0)) {
                all.push(self.times(symbol, times));
            }
        }
        all
    }

    /// A rule of logarithmic size.
    fn times(&mut self, symbol: Symbol, times: Times) -> Symbol {
        if times == Times::Exactly(1) {
            return symbol;
        }
        if let Some(known) = self.repeats.get(&(symbol, times)) {
            return *known;
        }
        let repeated = match times {
            Times::Any => {
                let rule = self.rule();
                self.add(rule, Vec::new());
                self.add(rule, vec![rule, symbol]);
                rule
            }
            Times::Exactly(n) if n <= 4 => self.choice(vec![vec![symbol; n as usize]]),
            Times::Exactly(n) => {
                let half = self.times(symbol, Times::Exactly(n / 2));
                let mut way = vec![half, half];
                way.extend((n % 2 == 1).then_some(symbol));
                self.choice(vec![way])
            }
            Times::AtMost(0) => self.choice(vec![Vec::new()]),
            Times::AtMost(1) => self.choice(vec![Vec::new(), vec![symbol]]),
            Times::AtMost(n) => {
                // Each number of times is in one of the two ways only.
                let half = n / 2;
                let few = self.times(symbol, Times::AtMost(half));
                let first = self.times(symbol, Times::Exactly(half + 1));
                let rest = self.times(symbol, Times::AtMost(n - half - 1));
                self.choice(vec![vec![few], vec![first, rest]])
            }
        };
        self.repeats.insert((symbol, times), repeated);
        repeated
    }

    /// Which rules lead to some finite text: the least fixed point over their ways.
    pub(super) fn productive(&self) -> Vec<bool> {
        let mut productive = vec![false; self.ways.len()];
        let mut missing: Vec<Vec<usize>> = Vec::with_capacity(self.ways.len());
        let mut uses: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.ways.len()];
        let mut ready = Vec::new();
        for (rule, ways) in self.ways.iter().enumerate() {
            let mut counts = Vec::with_capacity(ways.len());
            for (number, way) in ways.iter().enumerate() {
                let mut count = 0;
                for symbol in way {
                    if let Symbol::Rule(used) = symbol {
                        uses[*used as usize].push((rule as u32, number as u32));
                        count += 1;
                    }
                }
                if count == 0 {
                    ready.push(rule);
                }
                counts.push(count);
            }
            missing.push(counts);
        }
        while let Some(rule) = ready.pop() {
            if std::mem::replace(&mut productive[rule], true) {
                continue;
            }
            for (user, way) in &uses[rule] {
                let count = &mut missing[*user as usize][*way as usize];
                *count -= 1;
                if *count == 0 {
                    ready.push(*user as usize);
                }
            }
        }
        productive
    }

    /// The engine's grammar of `root`, of the productive rules alone.
    pub(super) fn grammar(
        &self,
        root: Symbol,
        productive: &[bool],
        builder: RegexBuilder,
        skip: RegexAst,
    ) -> Result<GrammarInit, Fault> {
        let mut spec = LexerSpec::new()?;
        spec.regex_builder = builder;
        let class = spec.setup_lexeme_class_with_skip(SkipSpec::once(skip))?;
        let props = || SymbolProps { grammar_id: class, ..SymbolProps::default() };
        let mut grammar = Grammar::new(None);
        let start = grammar.fresh_symbol_ext("start", SymbolProps { is_start: true, ..props() });
        let mut known: HashMap<Symbol, SymIdx> = HashMap::new();
        let mut pending = vec![root];
        let mut lookup = |symbol: Symbol,
                          grammar: &mut Grammar,
                          pending: &mut Vec<Symbol>|
         -> Result<SymIdx, Fault> {
            if let Some(index) = known.get(&symbol) {
                return Ok(*index);
            }
            let index = grammar.fresh_symbol_ext("r", props());
            if let Symbol::Terminal(expr) = symbol {
                let lexeme =
                    spec.add_greedy_lexeme(String::new(), RegexAst::ExprRef(expr), false, None, usize::MAX)?;
                grammar.make_terminal(index, lexeme, &spec)?;
            } else if let Symbol::Token(token) = symbol {
                let lexeme = spec.add_special_token(format!("<[{token}]>"), vec![token..=token])?;
                grammar.make_terminal(index, lexeme, &spec)?;
            } else {
                pending.push(symbol);
            }
            known.insert(symbol, index);
            Ok(index)
        };
        let first = lookup(root, &mut grammar, &mut pending)?;
        grammar.add_rule(start, vec![first])?;
        pending.dedup();
        while let Some(symbol) = pending.pop() {
            let Symbol::Rule(rule) = symbol else { continue };
            let index = lookup(symbol, &mut grammar, &mut pending)?;
            for way in self.ways(rule) {
                let is_productive = |symbol: &Symbol| match symbol {
                    Symbol::Rule(rule) => productive[*rule as usize],
                    Symbol::Terminal(_) | Symbol::Token(_) => true,
                };
                if way.iter().all(is_productive) {
                    let symbols: Result<Vec<SymIdx>, Fault> =
                        way.iter().map(|symbol| lookup(*symbol, &mut grammar, &mut pending)).collect();
                    grammar.add_rule(index, symbols?)?;
                }
            }
        }
        Ok(GrammarInit::Internal(grammar, spec))
    }
}
