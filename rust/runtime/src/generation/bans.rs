//! Texts that must not come.
//!
//! The tokens at the end of the text whose text may still become a banned one are the tail: it is not shown yet. When a banned text is complete,
//! the generation goes back to before its first token (or the first of the tail, if that was shown already), excludes that token there,
//! and chooses again. Where no choice is left, the token before is excluded in turn; where that is shown already (or there is none), the first token stays
//! and the next one of the banned text is excluded.
//!
//! This ends: what goes back excludes a choice, and after [`MAX_TRIES`] exclusions without a token that leaves the tail for good, the request fails. So a text of
//! `n` tokens takes at most `n * (MAX_TRIES + 1)` attempts, each of at most `n` tokens.

use std::collections::VecDeque;

use super::chooser::{ChooserState, Excluded};
use super::text::{Mark, TextState};
use crate::patterns::{Patterns, ROOT};
use crate::{TokenEvent, TokenId, TokenLogprob, TokenMask, Vocabulary};

/// Choices that are excluded between two tokens that stay.
pub(super) const MAX_TRIES: usize = 256;
/// After so many exclusions at one place, all tokens are looked through for those that hold a banned text by themselves.
const FEW: usize = 4;

pub(super) struct Bans {
    patterns: Patterns,
    /// Where `patterns` is after the text so far.
    state: u32,
    /// Bytes of text so far.
    n_seen: usize,
    /// The text that is not shown yet.
    text: String,
    /// The places of the tail's tokens, and of the next one.
    tail: VecDeque<Place>,
    /// How many tokens came before the tail.
    n_settled: usize,
    /// The last token before the tail.
    last: TokenId,
    n_tries: usize,
    /// The tokens that hold no banned text by themselves, once they were looked for.
    harmless: Option<TokenMask>,
}

/// A place where a token was or will be chosen.
struct Place {
    /// The choice, once it was made.
    chosen: Option<Chosen>,
    /// Where the token begins.
    start: Mark,
    excluded: Vec<TokenId>,
    /// No choice was left here, nor before: a banned text that begins here must be ended at a later token.
    stuck: bool,
    before: Before,
}

/// A token of the tail.
pub(super) struct Chosen {
    pub(super) token: TokenId,
    pub(super) forced: bool,
    pub(super) logprob: Option<TokenLogprob>,
}

/// The state before a token was chosen.
#[derive(Clone)]
pub(super) struct Before {
    pub(super) chooser: ChooserState,
    pub(super) text: TextState,
    state: u32,
    n_seen: usize,
}

/// What a way back leads to.
pub(super) struct Return {
    pub(super) before: Before,
    /// The token before the place.
    pub(super) previous: TokenId,
    /// How many of the tokens that were dropped had been forced.
    pub(super) n_forced: usize,
}

impl Bans {
    /// `ban` is not empty, and none of its texts is; `last` is the last token of the prompt.
    pub(super) fn new(ban: &[String], last: TokenId) -> Self {
        Self {
            patterns: Patterns::new(ban),
            state: ROOT,
            n_seen: 0,
            text: String::new(),
            tail: VecDeque::new(),
            n_settled: 0,
            last,
            n_tries: 0,
            harmless: None,
        }
    }

    /// Whether the state before the next token is known.
    pub(super) fn is_open(&self) -> bool {
        self.tail.back().is_some_and(|place| place.chosen.is_none())
    }

    /// Notes the state before the next token.
    pub(super) fn open(&mut self, start: Mark, chooser: ChooserState, text: TextState) {
        let before = Before { chooser, text, state: self.state, n_seen: self.n_seen };
        self.tail.push_back(Place { chosen: None, start, excluded: Vec::new(), stuck: false, before });
    }

    /// What must not be chosen next.
    pub(super) fn excluded(&self) -> Excluded<'_> {
        match self.tail.back() {
            Some(Place { chosen: None, excluded, .. }) => {
                let others = self.harmless.as_ref().filter(|_| excluded.len() >= FEW);
                Excluded { tokens: excluded, others }
            }
            _ => Excluded::default(),
        }
    }

    pub(super) fn n_tries(&self) -> usize {
        self.n_tries
    }

    /// How many tokens came before the tail.
    pub(super) fn n_settled(&self) -> usize {
        self.n_settled
    }

    /// Notes the choice at the open place.
    pub(super) fn choose(&mut self, chosen: Chosen) {
        if let Some(place) = self.tail.back_mut() {
            place.chosen = Some(chosen);
        }
    }

    /// Takes the next piece of text. Returns the index of the token to exclude if a banned text is complete; the rest of the piece is then left out.
    pub(super) fn push(&mut self, piece: &str) -> Option<usize> {
        for (at, &byte) in piece.as_bytes().iter().enumerate() {
            self.state = self.patterns.next(self.state, byte);
            if let Some((_, len)) = self.patterns.ends(self.state) {
                let first = self.owner(self.n_seen + at + 1 - len).unwrap_or(0);
                let mut places = self.tail.iter().enumerate().skip(first);
                let free = places.find(|(_, place)| !place.stuck && place.chosen.is_some());
                return Some(self.n_settled + free.map_or(first, |(at, _)| at));
            }
        }
        self.n_seen += piece.len();
        self.text.push_str(piece);
        None
    }

    /// Moves what can not become part of a banned text any more to `out`. `end` is where the next token begins.
    pub(super) fn settle(&mut self, end: Mark, out: &mut TokenEvent) {
        let open = self.n_seen - self.patterns.depth(self.state);
        let n_tokens = if end <= Mark(open, 0) { self.tail.len() } else { self.owner(open).unwrap_or(0) };
        let n_shown = self.n_seen - self.text.len();
        // The text after it was let through because of the tail.
        let n_safe = self.tail.get(n_tokens).map_or(self.n_seen, |place| place.before.n_seen);
        out.text.extend(self.text.drain(..n_safe.saturating_sub(n_shown)));
        for place in self.tail.drain(..n_tokens) {
            self.last = push_token(place, out).unwrap_or(self.last);
            self.n_settled += 1;
            self.n_tries = 0;
        }
    }

    /// Moves all of the tail to `out`.
    pub(super) fn settle_all(&mut self, out: &mut TokenEvent) {
        out.text.push_str(&self.text);
        self.text.clear();
        for place in self.tail.drain(..) {
            push_token(place, out);
        }
    }

    /// Allows all choices at the open place again, if there is no other way at all places of the tail before it: it is a later token that must
    /// differ. False if that was tried already.
    pub(super) fn loosen(&mut self) -> bool {
        let n_before = self.tail.len().saturating_sub(1);
        let only_way = self.tail.iter().take(n_before).all(|place| place.stuck);
        match self.tail.back_mut() {
            Some(place) if only_way && place.chosen.is_none() && !place.stuck => {
                place.stuck = true;
                place.excluded.clear();
                true
            }
            _ => false,
        }
    }

    /// Goes back to before token `index`. `None` if that is settled.
    pub(super) fn go_back(&mut self, index: usize) -> Option<Return> {
        let at = index.checked_sub(self.n_settled)?;
        let dropped = self.tail.split_off((at + 1).min(self.tail.len()));
        let place = self.tail.back_mut()?;
        let chosen = place.chosen.take();
        let n_forced = dropped
            .iter()
            .filter_map(|place| place.chosen.as_ref())
            .chain(&chosen)
            .filter(|chosen| chosen.forced);
        let n_forced = n_forced.count();
        place.excluded.extend(chosen.map(|chosen| chosen.token));
        let before = place.before.clone();
        let n_shown = self.n_seen - self.text.len();
        (self.state, self.n_seen) = (before.state, before.n_seen);
        self.text.truncate(before.n_seen - n_shown);
        self.n_tries += 1;
        let previous = at.checked_sub(1).and_then(|at| self.tail[at].chosen.as_ref());
        Some(Return { before, previous: previous.map_or(self.last, |chosen| chosen.token), n_forced })
    }

    /// Looks all tokens through when single ones were excluded too often.
    pub(super) fn look_through(&mut self, vocabulary: &dyn Vocabulary) {
        let few = self.tail.back().is_none_or(|place| place.excluded.len() < FEW);
        if few || self.harmless.is_some() {
            return;
        }
        let n_vocab = vocabulary.n_tokens();
        let mut harmless = TokenMask::new(n_vocab);
        let mut bytes = Vec::new();
        for token in 0..n_vocab as TokenId {
            bytes.clear();
            vocabulary.push_token_bytes(token, false, &mut bytes);
            if !self.patterns.is_in(&bytes) {
                harmless.allow(token);
            }
        }
        self.harmless = Some(harmless);
    }

    /// The index in the tail of the token that byte `at` of the text begins in.
    fn owner(&self, at: usize) -> Option<usize> {
        self.tail.iter().rposition(|place| place.start <= Mark(at, 0))
    }
}

fn push_token(place: Place, out: &mut TokenEvent) -> Option<TokenId> {
    let chosen = place.chosen?;
    out.token_ids.push(chosen.token);
    out.logprobs.extend(chosen.logprob);
    Some(chosen.token)
}
