//! A construct at work: the engine's parser in one sequence, and which tokens take it further.
//!
//! Where only one text can come, the tokens that the model's tokenizer makes of it are the only ones allowed: a *run*. A run is found when
//! it begins and kept to its end, so that masks do not depend on who asked for what in between.

use std::sync::Arc;

use llguidance::TokenParser;
use llguidance::toktrie::SimpleVob;

use super::engine::{Fault, check_limits, guard, stopped};
use super::spelling::longest_tokens;
use super::{Grammar, GrammarError, TokenTable, unspellable};
use crate::TokenId;

/// The parser of one sequence.
#[derive(Clone)]
pub(crate) struct Construct {
    parser: Box<TokenParser>,
    /// The bytes of the construct that the token which started it already wrote.
    begun: Arc<[u8]>,
    /// The tokens accepted since.
    tokens: Vec<TokenId>,
    runs: Vec<Run>,
    /// What may come now, and its mask, once they are known.
    next: Option<Next>,
    mask: Option<Arc<SimpleVob>>,
    /// Whether the text may end here.
    may_end: bool,
    /// Whether nothing can follow.
    done: bool,
}

/// Tokens that are certain to come.
#[derive(Clone)]
struct Run {
    /// How many tokens came before it.
    at: usize,
    tokens: Arc<[TokenId]>,
}

#[derive(Clone)]
enum Next {
    /// Whatever the engine allows.
    Any,
    /// The next one of a run.
    Token(TokenId),
    /// Tokens that begin this text or go beyond it: it is certain to come, and no tokens spell exactly that.
    Text(unspellable::Text),
}

impl Construct {
    /// A construct at its beginning.
    pub(crate) fn new(parser: TokenParser, table: &TokenTable) -> Result<Self, GrammarError> {
        let mut construct = Self {
            parser: Box::new(parser),
            begun: Arc::default(),
            tokens: Vec::new(),
            runs: Vec::new(),
            next: None,
            mask: None,
            may_end: false,
            done: false,
        };
        construct.settle(table)?;
        Ok(construct)
    }

    /// A copy with a lexer of its own, which other sequences do not extend.
    pub(crate) fn deep_clone(&self) -> Result<Self, GrammarError> {
        Ok(Self {
            parser: Box::new(guard(|| Ok::<_, String>(self.parser.deep_clone()))?),
            begun: Arc::clone(&self.begun),
            tokens: self.tokens.clone(),
            runs: self.runs.clone(),
            next: self.next.clone(),
            mask: self.mask.clone(),
            may_end: self.may_end,
            done: self.done,
        })
    }

    /// Copies from a construct at the same place which tokens may come next.
    pub(crate) fn learn(&mut self, other: &Self) {
        (self.runs, self.next, self.mask) = (other.runs.clone(), other.next.clone(), other.mask.clone());
    }

    /// Parses `bytes` as the beginning of the construct; `false` if it cannot begin with them.
    pub(crate) fn begin(&mut self, bytes: &[u8], table: &TokenTable) -> Result<bool, GrammarError> {
        if bytes.is_empty() {
            return Ok(true);
        }
        if !self.feed(bytes)? {
            return Ok(false);
        }
        (self.begun, self.next, self.mask) = (bytes.into(), None, None);
        self.runs.clear();
        self.settle(table)?;
        Ok(true)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<bool, GrammarError> {
        let parser = &mut self.parser;
        guard(|| {
            let env = Arc::clone(&parser.token_env);
            let tokens = longest_tokens(env.tok_trie(), bytes);
            if env.tok_trie().decode_raw(&tokens) != bytes {
                return Ok::<_, Fault>(false);
            }
            for &token in &tokens {
                if parser.stopped() || !parser.validate_token(token)? {
                    return Ok(false);
                }
                parser.consume_token(token)?;
                parser.check_stop()?;
            }
            Ok(true)
        })
    }

    /// Finds out whether it may end here, and whether it must.
    fn settle(&mut self, table: &TokenTable) -> Result<(), GrammarError> {
        let parser = &mut self.parser;
        self.done = guard(|| Ok::<_, Fault>(parser.stopped() || parser.check_stop()?))?;
        self.may_end = self.done
            || guard(|| Ok::<_, Fault>(parser.is_accepting()))?
            || self.lexeme_ends_with_text(table)?;
        if self.may_end && !self.done && table.eos().is_empty() {
            self.done = matches!(self.clone().mask(table), Err(GrammarError::Dead));
        }
        Ok(())
    }

    /// Whether ending here completes the text because the current lexeme ends with the text (`stop=""` in Lark).
    fn lexeme_ends_with_text(&self, table: &TokenTable) -> Result<bool, GrammarError> {
        let spec = self.parser.parser.grammar().lexer_spec();
        if table.eos().is_empty() || !spec.has_stop || spec.eos_ending_lexemes().is_empty() {
            return Ok(false);
        }
        let mut ahead = self.parser.clone();
        guard(|| Ok::<_, Fault>(ahead.parser.scan_eos() && ahead.is_accepting()))
    }

    pub(crate) fn may_end(&self) -> bool {
        self.may_end
    }

    /// How many states its lexer has reached; `None` if it has failed.
    pub(crate) fn lexer_states(&self) -> Option<usize> {
        let stats = guard(|| Ok::<_, String>(self.parser.parser.lexer_stats())).ok()?;
        (!stats.error).then_some(stats.num_states)
    }

    /// Whether nothing but the end can follow.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    fn next(&mut self, table: &TokenTable) -> Result<&Next, GrammarError> {
        let next = match self.next.take() {
            Some(next) => next,
            None => self.find_next(table)?,
        };
        Ok(self.next.insert(next))
    }

    fn find_next(&mut self, table: &TokenTable) -> Result<Next, GrammarError> {
        if let Some(&token) = self.rest_of_run().first() {
            return Ok(Next::Token(token));
        }
        if !table.is_canonical() || self.parser.parser.grammar().lexer_spec().no_forcing {
            return Ok(Next::Any);
        }
        if let Some(text) = unspellable::unspelled(table, &mut self.parser)? {
            check_limits(&self.parser)?;
            return Ok(Next::Text(text));
        }
        let parser = &mut self.parser;
        let tokens = guard(|| Ok::<_, String>(parser.compute_ff_tokens()))?;
        check_limits(parser)?;
        let Some(&first) = tokens.first() else { return Ok(Next::Any) };
        let tokens = tokens.into_iter().map(|token| token as TokenId).collect();
        self.runs.push(Run { at: self.tokens.len(), tokens });
        Ok(Next::Token(first as TokenId))
    }

    fn rest_of_run(&self) -> &[TokenId] {
        self.runs.last().and_then(|run| run.tokens.get(self.tokens.len() - run.at..)).unwrap_or_default()
    }

    /// The tokens that may come, the ends of generation among them if it may end here.
    pub(crate) fn mask(&mut self, table: &TokenTable) -> Result<Arc<SimpleVob>, GrammarError> {
        if let Some(mask) = &self.mask {
            return Ok(Arc::clone(mask));
        }
        let next = self.next(table)?.clone();
        let mut set = match next {
            Next::Token(token) => self.parser.token_env.tok_trie().singleton_token_set(token as u32),
            Next::Text(text) => unspellable::mask(table, &mut self.parser, &text)?,
            Next::Any => {
                let (parser, mut message) = (&mut self.parser, String::new());
                let set = guard(|| {
                    let set = parser.compute_mask();
                    Ok::<_, String>(set.map_err(|error| message = error.to_string()).ok())
                })?;
                set.ok_or_else(|| stopped(parser, &message))?
            }
        };
        // A token that ends the generation ends it wherever it comes, also where the grammar names it.
        for &eos in table.eos() {
            if self.may_end {
                set.allow_token(eos as u32);
            } else {
                set.disallow_token(eos as u32);
            }
        }
        if set.is_zero() {
            return Err(GrammarError::Dead);
        }
        Ok(Arc::clone(self.mask.insert(Arc::new(set))))
    }

    /// Whether `token`, which does not end the generation, may come.
    pub(crate) fn allows(&mut self, token: TokenId, table: &TokenTable) -> Result<bool, GrammarError> {
        match self.next(table)?.clone() {
            Next::Token(only) => Ok(only == token),
            Next::Text(text) if !text.admits(table, token) => Ok(false),
            Next::Text(_) | Next::Any => {
                let parser = &mut self.parser;
                guard(|| parser.validate_token(token as u32))
            }
        }
    }

    /// Parses a token that it [allows](Self::allows).
    pub(crate) fn accept(&mut self, token: TokenId, table: &TokenTable) -> Result<(), GrammarError> {
        let (parser, mut message) = (&mut self.parser, String::new());
        let step = guard(|| {
            let step = parser.consume_token(token as u32);
            Ok::<_, String>(step.map_err(|error| message = error.to_string()).ok())
        })?;
        step.ok_or_else(|| stopped(parser, &message))?;
        self.tokens.push(token);
        (self.next, self.mask) = (None, None);
        self.settle(table)
    }

    /// The tokens that are certain to come.
    pub(crate) fn forced(&mut self, table: &TokenTable) -> Vec<TokenId> {
        match self.next(table) {
            Ok(Next::Token(_)) => self.rest_of_run().to_vec(),
            _ => Vec::new(),
        }
    }

    /// Takes the last accepted token back.
    pub(crate) fn take_back(&mut self, grammar: &Grammar) -> Result<(), GrammarError> {
        self.tokens.pop();
        while self.runs.last().is_some_and(|run| run.at > self.tokens.len()) {
            self.runs.pop();
        }
        (self.next, self.mask) = (None, None);
        let spec = self.parser.parser.grammar().lexer_spec();
        if spec.special_token_rx.is_some() || !spec.can_rollback() {
            self.replay(grammar)?;
        } else {
            let parser = &mut self.parser;
            guard(|| parser.rollback(1))?;
            self.parser.invalidate_bias_cache();
        }
        self.settle(grammar.table())
    }

    /// Builds a new parser and feeds it the tokens again. Needed where the engine cannot roll back, and where it would miscount the bytes of
    /// tokens that a grammar names by number.
    fn replay(&mut self, grammar: &Grammar) -> Result<(), GrammarError> {
        self.parser = grammar.construct()?.parser;
        let begun = Arc::clone(&self.begun);
        if !begun.is_empty() && !self.feed(&begun)? {
            return Err(GrammarError::Internal { message: "the beginning cannot be repeated".to_owned() });
        }
        let forces = grammar.table().is_canonical();
        let (parser, tokens) = (&mut self.parser, &self.tokens);
        guard(|| {
            for &token in tokens {
                if forces && !parser.parser.grammar().lexer_spec().no_forcing {
                    parser.force_bytes();
                }
                parser.consume_token(token as u32)?;
            }
            Ok::<_, Fault>(())
        })
    }
}
