//! Text out of tokens, up to the first stop string.

use std::sync::Arc;

use crate::{RequestError, StopMatcher, TokenId, Utf8Decoder, Vocabulary};

/// Turns tokens into text that is free of stop strings.
pub(super) struct Text {
    vocabulary: Arc<dyn Vocabulary>,
    /// Control tokens have text.
    special: bool,
    stop: Vec<String>,
    state: TextState,
    /// Text on its way from the UTF-8 decoder to the stop matcher, kept to reuse its memory.
    chars: String,
    /// Bytes of one token, kept to reuse their memory.
    piece: Vec<u8>,
}

/// What was made of the tokens so far.
#[derive(Clone)]
pub(super) struct TextState {
    bytes: Utf8Decoder,
    stops: StopMatcher,
    /// Bytes of text that came out of the UTF-8 decoder.
    n_decoded: usize,
}

/// A place between two tokens: how many bytes of text are before it, and how many of a character that is not complete yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(pub(super) usize, pub(super) usize);

impl Text {
    /// `special`: control tokens have text.
    pub(super) fn new(
        vocabulary: Arc<dyn Vocabulary>,
        special: bool,
        stop: Vec<String>,
    ) -> Result<Self, RequestError> {
        let stops = StopMatcher::new(&stop)?;
        let state = TextState { bytes: Utf8Decoder::new(), stops, n_decoded: 0 };
        Ok(Self { vocabulary, special, stop, state, chars: String::new(), piece: Vec::new() })
    }

    /// Appends to `out` the text that a token completes; returns the index of the stop string that it completes.
    pub(super) fn push(&mut self, token: TokenId, out: &mut String) -> Option<usize> {
        self.chars.clear();
        self.piece.clear();
        self.vocabulary.push_token_bytes(token, self.special, &mut self.piece);
        self.state.bytes.push(&self.piece, &mut self.chars);
        self.state.n_decoded += self.chars.len();
        self.state.stops.push(&self.chars, out)
    }

    /// Appends to `out` what is held back when no more tokens come; a stop string in it still counts.
    pub(super) fn finish(&mut self, out: &mut String) -> Option<usize> {
        self.chars.clear();
        self.state.bytes.finish(&mut self.chars);
        self.state.n_decoded += self.chars.len();
        self.state.stops.push(&self.chars, out).or_else(|| self.state.stops.finish(out))
    }

    /// Where the next token begins.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.state.n_decoded, self.state.bytes.pending())
    }

    pub(super) fn state(&self) -> TextState {
        self.state.clone()
    }

    pub(super) fn set_state(&mut self, state: TextState) {
        self.state = state;
    }

    pub(super) fn stop_string(&self, index: usize) -> String {
        self.stop.get(index).cloned().unwrap_or_default()
    }
}
