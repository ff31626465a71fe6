//! Names of properties that no list has: the sets that patterns cut out of all names.
//!
//! Schemas that are combined with their opposites ask for many sets over the same few patterns, such as the names that match `a` and not `b`, or neither.
//! The engine looks at each expression on its own, which takes as long as all of them together are large. Past a number of sets, each is therefore written as
//! a choice of cells: of `n` patterns there are at most 2ⁿ, and every set over them is some of these.

use std::collections::HashMap;

use super::cells::MAX_PATTERNS;
use super::rules::Symbol;
use super::text::{Style, Text};
use super::writer::{Writer, internal};
use crate::constraint::GrammarError;

/// Sets over several patterns that are written as they are.
const MAX_WHOLE: usize = 16;

/// The sets of names that were written.
#[derive(Default)]
pub(super) struct NameSets {
    written: HashMap<Text, Symbol>,
    /// How many of them combine patterns and were written as they are.
    n_whole: usize,
}

impl Writer<'_> {
    /// The text of one of `names`.
    pub(super) fn names(&mut self, names: &Text) -> Result<Symbol, GrammarError> {
        if let Some(symbol) = self.name_sets.written.get(names) {
            return Ok(*symbol);
        }
        let patterns = names.leaves();
        let symbol = if self.name_sets.n_whole >= MAX_WHOLE && (2..=MAX_PATTERNS).contains(&patterns.len()) {
            self.cells(names, &patterns)?
        } else {
            self.name_sets.n_whole += usize::from(patterns.len() > 1);
            self.whole(names)?
        };
        self.name_sets.written.insert(names.clone(), symbol);
        Ok(symbol)
    }

    fn whole(&mut self, names: &Text) -> Result<Symbol, GrammarError> {
        Ok(Symbol::Terminal(self.expressions.quoted(names, Style::Name).map_err(internal)?))
    }

    /// `names` as a choice of cells.
    fn cells(&mut self, names: &Text, patterns: &[Text]) -> Result<Symbol, GrammarError> {
        let mut ways = Vec::new();
        for cell in names.cells(patterns) {
            if !self.meaning.work.is_nonempty(&cell) {
                continue;
            }
            let symbol = match self.name_sets.written.get(&cell) {
                Some(symbol) => *symbol,
                None => self.whole(&cell)?,
            };
            self.name_sets.written.insert(cell, symbol);
            ways.push(vec![symbol]);
        }
        Ok(self.rules.choice(ways))
    }
}
