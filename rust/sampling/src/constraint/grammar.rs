//! A compiled grammar.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::TokenParser;

use super::construct::Construct;
use super::trigger::Blocked;
use super::{Constraint, GrammarError, GrammarOptions, TokenTable, limits};

/// Something about JSON that a grammar does not enforce: a demand of the schema that output may break, or names that may come twice in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limitation {
    /// The JSON pointer of the schema that holds the keyword; `/` is the whole schema.
    pub path: String,
    /// The keyword.
    pub keyword: String,
    /// What is not enforced.
    pub message: String,
}

impl std::fmt::Display for Limitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` at `{}`: {}", self.keyword, self.path, self.message)
    }
}

/// A grammar compiled for one vocabulary, from which any number of sequences start. Cheap to share.
pub struct Grammar {
    table: Arc<TokenTable>,
    options: GrammarOptions,
    limitations: Vec<Limitation>,
    /// Never advanced; its lexer is its own.
    pristine: Mutex<Construct>,
    /// Never advanced; its lexer is shared with the sequences, so that the states one has reached serve the others.
    shared: Mutex<Construct>,
    /// Per partial trigger at the end of free text, the tokens that would complete it and run into something forbidden.
    blocked: Mutex<HashMap<Vec<u8>, Blocked>>,
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Grammar {
    /// Also computes the first mask, which every sequence begins with: a grammar without one is an error.
    pub(crate) fn new(
        table: Arc<TokenTable>,
        options: GrammarOptions,
        limitations: Vec<Limitation>,
        parser: TokenParser,
    ) -> Result<Self, GrammarError> {
        let mut pristine = Construct::new(parser, &table)?;
        let mut shared = pristine.deep_clone()?;
        if !shared.is_done() {
            shared.mask(&table)?;
            pristine.learn(&shared);
        }
        Ok(Self {
            table,
            options,
            limitations,
            pristine: Mutex::new(pristine),
            shared: Mutex::new(shared),
            blocked: Mutex::default(),
        })
    }

    /// A constraint for one sequence, at the beginning.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Internal`] if the engine fails.
    pub fn start(self: &Arc<Self>) -> Result<Constraint, GrammarError> {
        Constraint::new(Arc::clone(self))
    }

    /// What the grammar does not enforce, in the order of the schema. Empty for all but JSON schemas and [`GrammarSource::JsonObject`](super::GrammarSource::JsonObject).
    pub fn limitations(&self) -> &[Limitation] {
        &self.limitations
    }

    /// The vocabulary.
    pub fn table(&self) -> &Arc<TokenTable> {
        &self.table
    }

    /// The options it was compiled with.
    pub fn options(&self) -> &GrammarOptions {
        &self.options
    }

    /// A construct at its beginning.
    pub(crate) fn construct(&self) -> Result<Construct, GrammarError> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.lexer_states().is_none_or(|states| states >= limits::MAX_LEXER_STATES / 4) {
            // It has failed or grown large: sequences that run keep the lexer, new ones share a new one.
            let pristine = self.pristine.lock().unwrap_or_else(PoisonError::into_inner);
            *shared = pristine.deep_clone()?;
        }
        Ok(shared.clone())
    }

    /// The tokens that free text ending in `tail` must not continue with, computed once by `compute`.
    pub(crate) fn blocked(
        &self,
        tail: &[u8],
        compute: impl FnOnce() -> Result<Blocked, GrammarError>,
    ) -> Result<Blocked, GrammarError> {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = blocked.get(tail) {
            return Ok(known.clone());
        }
        let computed = compute()?;
        blocked.insert(tail.to_vec(), computed.clone());
        Ok(computed)
    }
}
