//! The constraint of one sequence.

use std::sync::Arc;

use llguidance::toktrie::SimpleVob;

use super::construct::Construct;
use super::trigger::{Blocked, FreeText, Step};
use super::{AfterConstruct, Grammar, GrammarError, Trigger};
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
    Construct(Construct),
    /// The construct is complete or the end has come.
    Done,
}

/// The last mask.
#[derive(Clone)]
enum Words {
    None,
    Construct(Arc<SimpleVob>),
    Free(Arc<[u32]>),
}

/// How to take one accepted token back.
#[derive(Clone)]
enum Undo {
    /// The construct took it as one token.
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
            None => state.enter(grammar.construct()?),
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
            Mode::Construct(construct) if !self.state.finished => {
                let mask = construct.mask(self.grammar.table())?;
                match trigger(&self.grammar) {
                    // The construct or free text after it.
                    Some(trigger) if self.state.can_end && returns_to_free_text(&self.grammar) => {
                        match FreeText::default().mask(&self.grammar, trigger, true)? {
                            None => Words::None,
                            Some(free) => {
                                let both = free.iter().zip(mask.as_slice()).map(|(free, mask)| free | mask);
                                Words::Free(both.collect())
                            }
                        }
                    }
                    _ => Words::Construct(mask),
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
            Words::Construct(set) => Some(&set.as_slice()[..n_words]),
            Words::Free(words) => Some(words),
        })
    }

    /// Goes on by `token`, which must be one that [`mask`](Self::mask) allows.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Token`] if it is none of those, and then nothing has changed; otherwise as [`mask`](Self::mask).
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
            Mode::Construct(construct) => {
                if construct.allows(token, &table)? {
                    self.accept_construct(token)
                } else if self.state.can_end && returns_to_free_text(&self.grammar) {
                    self.accept_free(token)
                } else {
                    Err(table.outside(token))
                }
            }
        }
    }

    /// Goes on by a token of free text: of the one that is here, or of one that begins with it.
    fn accept_free(&mut self, token: TokenId) -> Result<(), GrammarError> {
        let grammar = Arc::clone(&self.grammar);
        let table = grammar.table();
        let mut text = match &self.state.mode {
            Mode::Free(text) => text.clone(),
            _ => FreeText::default(),
        };
        let Some(trigger) = trigger(&grammar) else { return Err(table.outside(token)) };
        let State { can_end, finished, .. } = self.state;
        let mut state = State { mode: Mode::Done, can_end, finished };
        match text.push(trigger, token, table.text(token)) {
            Step::Free => state.mode = Mode::Free(text),
            Step::Start(rest) => {
                let mut construct = grammar.construct()?;
                if !construct.begin(&rest, table)? {
                    return Err(table.outside(token));
                }
                state.enter(construct);
                state.after_construct(&grammar);
            }
        }
        let before = std::mem::replace(&mut self.state, state);
        self.history.push(Undo::State(Box::new(before)));
        Ok(())
    }

    fn accept_construct(&mut self, token: TokenId) -> Result<(), GrammarError> {
        let Mode::Construct(construct) = &mut self.state.mode else {
            return Err(self.grammar.table().outside(token));
        };
        construct.accept(token, self.grammar.table())?;
        if construct.is_done() && returns_to_free_text(&self.grammar) {
            // The construct is replaced: to come back, its state before the token is needed.
            let mut before = construct.clone();
            before.take_back(&self.grammar)?;
            let before = State { mode: Mode::Construct(before), ..self.state.clone() };
            self.state.can_end = true;
            self.state.after_construct(&self.grammar);
            self.history.push(Undo::State(Box::new(before)));
            return Ok(());
        }
        (self.state.can_end, self.state.finished) = (construct.may_end(), construct.is_done());
        self.history.push(Undo::Token);
        Ok(())
    }

    /// The tokens that are certain to come now, in order: the text they spell is the only one the grammar allows. Empty without a
    /// tokenizer in the [`TokenTable`](super::TokenTable), in free text, and where there is a choice. [`accept`](Self::accept) each.
    pub fn forced(&mut self) -> Vec<TokenId> {
        match &mut self.state.mode {
            Mode::Construct(construct) if !self.state.can_end => construct.forced(self.grammar.table()),
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
                    if let Mode::Construct(construct) = &mut self.state.mode {
                        construct.take_back(&self.grammar)?;
                        (self.state.can_end, self.state.finished) =
                            (construct.may_end(), construct.is_done());
                    }
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Starts a construct.
    fn enter(&mut self, construct: Construct) {
        (self.can_end, self.finished) = (construct.may_end(), construct.is_done());
        self.mode = Mode::Construct(construct);
    }

    /// If the construct is complete and free text follows it, goes back to that.
    fn after_construct(&mut self, grammar: &Grammar) {
        let done = matches!(&self.mode, Mode::Construct(construct) if construct.is_done());
        if done && returns_to_free_text(grammar) {
            self.mode = Mode::Free(FreeText::default());
            self.finished = false;
        }
    }
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
