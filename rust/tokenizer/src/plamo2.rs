//! PLaMo-2's tokenizer (`llm_tokenizer_plamo2` in `src/llama-vocab.cpp`): the cheapest sequence of tokens, found from the end of the text with an
//! automaton of Aho and Corasick (1975) whose states are the suffixes of tokens.

use std::collections::HashMap;
use std::ops::Range;

use crate::characters::decode;
use crate::error::TokenizerError;
use crate::output::TokenId;
use crate::token_attributes::Attributes;
use crate::vocabulary::{TOKENS, Vocabulary, written_byte};
use crate::work::Work;

/// What a state without a token costs; it is never taken.
const INVALID_SCORE: i32 = -20_000_000;
/// What a character without a token costs.
const UNKNOWN_SCORE: i32 = -10_000_000;
/// Bytes of the longest token; the states are all its suffixes.
const LONGEST_TOKEN: usize = 512;
const MOST_BYTES: usize = 1 << 23;
/// Characters between two checks of whether to stop.
const BETWEEN_LOOKS: usize = 1 << 14;
/// The state of the empty suffix.
const EMPTY: u32 = 0;

/// A tokenizer for PLaMo-2's vocabulary.
#[derive(Debug)]
pub(crate) struct Plamo2 {
    states: Vec<State>,
    /// The state of a suffix by its first character and the state of the others.
    by_first: HashMap<(u32, u32), u32>,
    bytes: Vec<TokenId>,
}

/// A suffix of a token.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Its characters.
    length: u32,
    /// The token that it is.
    token: TokenId,
    score: i32,
    /// The longest shorter beginning of it that is a state.
    shorter: u32,
}

/// The cheapest way from a character to the end.
#[derive(Clone, Copy, Debug)]
struct Step {
    cost: i64,
    length: u32,
    token: TokenId,
}

impl Plamo2 {
    /// For a vocabulary.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        if vocabulary.texts.longest() > LONGEST_TOKEN || vocabulary.texts.n_bytes() > MOST_BYTES {
            let problem = format!(
                "has a token of more than {LONGEST_TOKEN} bytes, or more than {MOST_BYTES} bytes in all, which no PLaMo-2 vocabulary has"
            );
            return Err(TokenizerError::invalid(TOKENS, problem));
        }
        let mut bytes = vec![0; 256];
        let mut texts = Vec::new();
        for id in vocabulary.ids() {
            let text = vocabulary.text(id);
            if vocabulary.attributes(id).has(Attributes::BYTE) {
                if let Some(byte) = written_byte(text) {
                    bytes[usize::from(byte)] = id;
                }
                continue;
            }
            let Ok(text) = std::str::from_utf8(text) else {
                return Err(TokenizerError::invalid(TOKENS, format!("has token `{id}` that is no UTF-8")));
            };
            texts.push((text, id));
        }
        if let Some(byte) = bytes.iter().position(|id| *id == 0) {
            let problem = format!("has no token `<0x{byte:02X}>`, which a PLaMo-2 vocabulary needs");
            return Err(TokenizerError::invalid(TOKENS, problem));
        }
        let mut suffixes: HashMap<&str, u32> = HashMap::from([("", EMPTY)]);
        let mut states = vec![State { length: 0, token: -1, score: UNKNOWN_SCORE, shorter: EMPTY }];
        for (text, _) in &texts {
            for (start, _) in text.char_indices() {
                let suffix = &text[start..];
                suffixes.entry(suffix).or_insert_with(|| {
                    let length = suffix.chars().count() as u32;
                    states.push(State { length, token: -1, score: INVALID_SCORE, shorter: EMPTY });
                    states.len() as u32 - 1
                });
            }
        }
        for (text, id) in texts {
            if let Some(state) = suffixes.get(text).filter(|state| **state != EMPTY) {
                let score = vocabulary.scores[id as usize];
                let state = &mut states[*state as usize];
                state.token = id;
                if score.is_finite() {
                    state.score = (f64::from(score) * 1e4).round() as i32;
                }
            }
        }
        let mut by_first = HashMap::with_capacity(states.len());
        for (suffix, state) in &suffixes {
            let mut characters = suffix.chars();
            let Some(first) = characters.next() else { continue };
            by_first.insert((u32::from(first), suffixes[characters.as_str()]), *state);
            let shorter = suffix.char_indices().rev().find_map(|(end, _)| suffixes.get(&suffix[..end]));
            states[*state as usize].shorter = shorter.copied().unwrap_or(EMPTY);
        }
        Ok(Self { states, by_first, bytes })
    }

    /// Adds the tokens of `span` of `text`.
    pub(crate) fn tokenize(
        &self,
        text: &[u8],
        span: Range<usize>,
        work: &mut Work<'_>,
    ) -> Result<(), TokenizerError> {
        // Where each character begins, and the end.
        let mut places = Vec::with_capacity(span.len() + 1);
        let mut at = span.start;
        // A byte order mark in front is left out.
        if text[span.clone()].starts_with("\u{feff}".as_bytes()) {
            at += 3;
        }
        while at < span.end {
            places.push(at);
            at = decode(text, at).1;
        }
        places.push(span.end);
        let n = places.len() - 1;
        let mut steps = vec![Step { cost: 1 << 60, length: 0, token: 0 }; n + 1];
        steps[n].cost = 0;
        let mut state = EMPTY;
        for at in (0..n).rev() {
            if at % BETWEEN_LOOKS == 0 && (work.stop)() {
                return Err(TokenizerError::Stopped);
            }
            state = self.before(state, decode(text, places[at]).0);
            steps[at] = self.cheapest(state, &steps, at);
        }
        let mut at = 0;
        while at < n {
            let step = steps[at];
            let next = at + step.length.max(1) as usize;
            if step.token >= 0 {
                work.out.push(step.token, places[at], places[next]);
            } else {
                let character = &text[places[at]..places[at + 1]];
                for (place, byte) in (places[at]..).zip(character) {
                    work.out.push(self.bytes[usize::from(*byte)], place, place + 1);
                }
            }
            at = next;
        }
        Ok(())
    }

    /// The state of the longest suffix that begins with `character` and goes on with a beginning of the one of `state`.
    fn before(&self, state: u32, character: u32) -> u32 {
        let mut shorter = state;
        loop {
            if let Some(found) = self.by_first.get(&(character, shorter)) {
                return *found;
            }
            // A token with the score of an unknown character ends the search, as the row of one does.
            if self.states[shorter as usize].score == UNKNOWN_SCORE {
                return EMPTY;
            }
            shorter = self.states[shorter as usize].shorter;
        }
    }

    fn cheapest(&self, state: u32, steps: &[Step], at: usize) -> Step {
        let (mut best, mut state) = (steps[at], state);
        loop {
            let State { length, token, score, shorter } = self.states[state as usize];
            // The empty suffix stands for one unknown character.
            let length = length.max(1);
            if score > INVALID_SCORE {
                let cost = steps[at + length as usize].cost - i64::from(score);
                if cost < best.cost {
                    best = Step { cost, length, token };
                }
            }
            if score == UNKNOWN_SCORE {
                return best;
            }
            state = shorter;
        }
    }
}
