//! The constraint of one sequence.

use std::sync::Arc;

use llguidance::TokenParser;
use llguidance::toktrie::SimpleVob;

use super::engine::{Fault, guard, stopped};
use super::trigger::{Blocked, FreeText, Step, feed};
use super::{AfterConstruct, Grammar, GrammarError, Trigger, gaps};
use crate::TokenId;

/// Which tokens may come next in one sequence.
///
/// A call computes in the calling thread and never blocks on anything but other sequences of the same grammar. After an error other
/// than [`GrammarError::Token`] the sequence cannot go on. A clone goes its own way.
#[derive(Clone)]
pub struct Constraint {
    grammar: Arc<Grammar>,
    state: State,
    words: Words,
    history: Vec<Undo>,
}

#[derive(Clone)]
struct State {
    mode: Mode,
    /// Whether the end of generation may come now.
    can_end: bool,
    /// Whether an end-of-generation token came, or nothing else can.
    finished: bool,
}

#[derive(Clone)]
enum Mode {
    Free(FreeText),
    Construct(Box<TokenParser>),
    /// The construct is complete or the end has come.
    Done,
}

/// The last mask.
#[derive(Clone)]
enum Words {
    None,
    Parser(SimpleVob),
    Free(Arc<[u32]>),
}

/// How to take one accepted token back.
#[derive(Clone)]
enum Undo {
    /// The parser took it as one token.
    Token,
    /// The state before it.
    State(Box<State>),
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraint")
            .field("can_end", &self.state.can_end)
            .field("finished", &self.state.finished)
            .field("accepted", &self.history.len())
            .finish_non_exhaustive()
    }
}

impl Constraint {
    pub(crate) fn new(grammar: Arc<Grammar>) -> Result<Self, GrammarError> {
        let mut state = State { mode: Mode::Done, can_end: false, finished: false };
        match &grammar.options().trigger {
            Some(trigger) => {
                state.mode = Mode::Free(FreeText::default());
                state.can_end = !trigger.required;
            }
            None => state.enter(grammar.parser()?, &grammar)?,
        }
        Ok(Self { grammar, state, words: Words::None, history: Vec::new() })
    }

    /// The tokens that may come next, 32 a word, bit `i % 32` of word `i / 32`; `None` if every token may come. The end-of-generation
    /// tokens are among them where the text may end.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Dead`] or [`GrammarError::Unwritable`] if no token can follow, [`GrammarError::TooLarge`] if the grammar became too complex to follow here,
    /// [`GrammarError::Internal`] if the engine fails.
    pub fn mask(&mut self) -> Result<Option<&[u32]>, GrammarError> {
        let n_words = self.grammar.table().n_vocab().div_ceil(32);
        self.words = match &mut self.state.mode {
            Mode::Free(text) => match trigger(&self.grammar) {
                Some(trigger) => free(text.mask(&self.grammar, trigger, self.state.can_end)?),
                None => Words::None,
            },
            Mode::Construct(parser) if !self.state.finished => {
                if self.state.can_end && returns_to_free_text(&self.grammar) {
                    Words::None
                } else if let Some(text) = gaps::unspelled(self.grammar.table(), parser)? {
                    Words::Parser(gaps::mask(self.grammar.table(), parser, &text)?)
                } else {
                    let mut message = String::new();
                    let set = guard(|| {
                        Ok::<_, String>(
                            parser.compute_mask().map_err(|error| message = error.to_string()).ok(),
                        )
                    })?;
                    Words::Parser(set.ok_or_else(|| stopped(parser, &message))?)
                }
            }
            Mode::Construct(_) | Mode::Done => {
                let table = self.grammar.table();
                if table.eos().is_empty() {
                    return Err(GrammarError::Dead);
                }
                let mut words = vec![0; n_words];
                for &token in table.eos() {
                    words[token as usize / 32] |= 1 << (token % 32);
                }
                Words::Free(words.into())
            }
        };
        Ok(match &self.words {
            Words::None => None,
            Words::Parser(set) => Some(&set.as_slice()[..n_words]),
            Words::Free(words) => Some(words),
        })
    }

    /// Goes on by `token`.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Token`] if it may not come here, and then nothing has changed; otherwise as [`mask`](Self::mask).
    pub fn accept(&mut self, token: TokenId) -> Result<(), GrammarError> {
        let table = Arc::clone(self.grammar.table());
        if usize::try_from(token).map_or(true, |id| id >= table.n_vocab()) {
            return Err(table.outside(token));
        }
        if table.is_eos(token) {
            if !self.state.can_end {
                return Err(table.outside(token));
            }
            let before = self.state.clone();
            self.state.mode = Mode::Done;
            self.state.finished = true;
            self.history.push(Undo::State(Box::new(before)));
            return Ok(());
        }
        match &mut self.state.mode {
            Mode::Done => Err(table.outside(token)),
            Mode::Free(_) => self.accept_free(token),
            Mode::Construct(_) if self.state.finished => Err(table.outside(token)),
            Mode::Construct(parser) => {
                if guard(|| parser.validate_token(token as u32))? {
                    self.accept_construct(token)
                } else if self.state.can_end && returns_to_free_text(&self.grammar) {
                    let before = self.state.clone();
                    self.state.mode = Mode::Free(FreeText::default());
                    self.accept_free(token).inspect_err(|_| self.state = before)
                } else {
                    Err(table.outside(token))
                }
            }
        }
    }

    fn accept_free(&mut self, token: TokenId) -> Result<(), GrammarError> {
        let grammar = Arc::clone(&self.grammar);
        let (Mode::Free(text), Some(trigger)) = (&mut self.state.mode, trigger(&grammar)) else {
            return Err(grammar.table().outside(token));
        };
        let before = text.clone();
        match text.push(trigger, token, grammar.table().text(token)) {
            Step::Free => {
                let before = State { mode: Mode::Free(before), ..self.state.clone() };
                self.history.push(Undo::State(Box::new(before)));
            }
            Step::Start(rest) => {
                let mut parser = grammar.parser()?;
                if !rest.is_empty() && feed(&mut parser, &rest)?.is_none() {
                    *text = before;
                    return Err(grammar.table().outside(token));
                }
                let before = State { mode: Mode::Free(before), ..self.state.clone() };
                self.state.enter(parser, &grammar)?;
                self.state.after_construct(&grammar);
                self.history.push(Undo::State(Box::new(before)));
            }
        }
        Ok(())
    }

    fn accept_construct(&mut self, token: TokenId) -> Result<(), GrammarError> {
        let Mode::Construct(parser) = &mut self.state.mode else {
            return Err(self.grammar.table().outside(token));
        };
        let mut message = String::new();
        let done = guard(|| {
            let step = parser.consume_token(token as u32).and_then(|_| parser.check_stop());
            Ok::<_, String>(step.map_err(|error| message = error.to_string()).ok())
        })?;
        let done = done.ok_or_else(|| stopped(parser, &message))?;
        if done && returns_to_free_text(&self.grammar) {
            // The parser is replaced: to come back, its state before the token is needed.
            let mut before = parser.clone();
            guard(|| before.rollback(1))?;
            let before = State { mode: Mode::Construct(before), ..self.state.clone() };
            self.state.can_end = true;
            self.state.after_construct(&self.grammar);
            self.history.push(Undo::State(Box::new(before)));
            return Ok(());
        }
        self.state.can_end = done || guard(|| Ok::<_, String>(parser.is_accepting()))?;
        self.state.finished = done || self.state.can_end && ends_here(&self.grammar, parser)?;
        self.history.push(Undo::Token);
        Ok(())
    }

    /// The tokens that are certain to come now, in order: the text they spell is the only one the grammar allows. Empty without a
    /// tokenizer in the [`TokenTable`](super::TokenTable), in free text, and where there is a choice. [`accept`](Self::accept) each.
    pub fn forced(&mut self) -> Vec<TokenId> {
        if !self.grammar.table().is_canonical() || self.state.finished {
            return Vec::new();
        }
        match &mut self.state.mode {
            Mode::Construct(parser) if !self.state.can_end => {
                if !matches!(gaps::unspelled(self.grammar.table(), parser), Ok(None)) {
                    return Vec::new();
                }
                let tokens = guard(|| Ok::<_, String>(parser.compute_ff_tokens())).unwrap_or_default();
                tokens.into_iter().map(|token| token as TokenId).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the text may end here.
    pub fn can_end(&self) -> bool {
        self.state.can_end
    }

    /// Whether nothing but the end can follow, or the end has come.
    pub fn is_finished(&self) -> bool {
        self.state.finished
    }

    /// Whether the grammar applies now; before and between the constructs of a [`Trigger`] it does not.
    pub fn is_active(&self) -> bool {
        matches!(self.state.mode, Mode::Construct(_))
    }

    /// Takes the last `n` accepted tokens back.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Argument`] if fewer than `n` tokens were accepted, [`GrammarError::Internal`] if the engine fails.
    pub fn rollback(&mut self, n: usize) -> Result<(), GrammarError> {
        if n > self.history.len() {
            return Err(GrammarError::argument(format!(
                "cannot take back `{n}` tokens; `{}` were accepted",
                self.history.len()
            )));
        }
        for undo in self.history.split_off(self.history.len() - n).into_iter().rev() {
            match undo {
                Undo::State(state) => self.state = *state,
                Undo::Token => {
                    if let Mode::Construct(parser) = &mut self.state.mode {
                        guard(|| parser.rollback(1))?;
                        self.state.can_end = guard(|| Ok::<_, String>(parser.is_accepting()))?;
                        self.state.finished = false;
                    }
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Starts a construct.
    fn enter(&mut self, mut parser: TokenParser, grammar: &Grammar) -> Result<(), GrammarError> {
        let (done, accepting) = guard(|| {
            let done = parser.stopped() || parser.check_stop()?;
            Ok::<_, Fault>((done, done || parser.is_accepting()))
        })?;
        self.can_end = accepting;
        self.finished = done || accepting && ends_here(grammar, &parser)?;
        self.mode = Mode::Construct(Box::new(parser));
        Ok(())
    }

    /// If the construct is complete and free text follows it, goes back to that.
    fn after_construct(&mut self, grammar: &Grammar) {
        if self.can_end && returns_to_free_text(grammar) {
            let done = match &self.mode {
                Mode::Construct(parser) => parser.stopped(),
                _ => false,
            };
            if done {
                self.mode = Mode::Free(FreeText::default());
                self.finished = false;
            }
        }
    }
}

/// Whether no token can follow where the text may end, in a vocabulary without a token that says so.
fn ends_here(grammar: &Grammar, parser: &TokenParser) -> Result<bool, GrammarError> {
    if !grammar.table().eos().is_empty() || returns_to_free_text(grammar) {
        return Ok(false);
    }
    let mut ahead = parser.clone();
    guard(|| Ok::<_, String>(ahead.compute_mask().is_err()))
}

fn trigger(grammar: &Grammar) -> Option<&Trigger> {
    grammar.options().trigger.as_ref()
}

fn returns_to_free_text(grammar: &Grammar) -> bool {
    trigger(grammar).is_some_and(|trigger| trigger.then == AfterConstruct::FreeText)
}

fn free(blocked: Blocked) -> Words {
    blocked.map_or(Words::None, Words::Free)
}
