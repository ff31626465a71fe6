//! GBNF, llama.cpp's grammar notation (`grammars/README.md` of the pinned tree), translated to the engine's Lark.
//!
//! GBNF is about characters: `[0-9]+ "5"` matches `15`. The engine reads longest lexemes first, and would not. So an expression without
//! recursion becomes one lexeme only where reading the longest match cannot lose a text (see `lexemes.rs`); elsewhere it is
//! cut into smaller ones, down to single characters. What can match nothing is taken away or refused before (see `prune.rs`), so that the
//! engine never speaks of what was made here.

mod ast;
mod automaton;
mod charset;
mod emit;
mod lexemes;
mod parser;
mod prune;

use super::{GrammarError, TokenTable};

/// `source` as a Lark grammar. Token names are looked up in `table`.
pub(crate) fn to_lark(source: &str, table: &TokenTable) -> Result<String, GrammarError> {
    let mut grammar = parser::parse(source, table)?;
    prune::prune(&mut grammar, table)?;
    let facts = ast::Facts::new(&grammar);
    facts.check_left_recursion(&grammar)?;
    let lexemes = lexemes::choose(&grammar, &facts);
    Ok(emit::lark(&grammar, &facts, &lexemes, table))
}
