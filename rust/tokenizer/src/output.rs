//! Tokens as they are found, with or without their places in the text.

use std::ops::Range;

/// Id of a token.
pub type TokenId = i32;

/// Where the tokens go.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) tokens: Vec<TokenId>,
    /// Bytes of the text that each token stands for, if that is wanted.
    pub(crate) spans: Option<Vec<Range<usize>>>,
}

impl Output {
    /// One that keeps the places.
    pub(crate) fn with_spans() -> Self {
        Self { tokens: Vec::new(), spans: Some(Vec::new()) }
    }

    /// Adds a token that stands for `start..end`.
    #[inline]
    pub(crate) fn push(&mut self, token: TokenId, start: usize, end: usize) {
        self.tokens.push(token);
        if let Some(spans) = &mut self.spans {
            spans.push(start..end);
        }
    }

    /// Adds the tokens `known` of this output again, for text that lies `shift` bytes behind theirs.
    #[inline]
    pub(crate) fn repeat(&mut self, known: Range<usize>, shift: usize) {
        self.tokens.extend_from_within(known.clone());
        if let Some(spans) = &mut self.spans {
            for at in known {
                let span = &spans[at];
                spans.push(span.start + shift..span.end + shift);
            }
        }
    }

    /// Forgets all tokens from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        if let Some(spans) = &mut self.spans {
            spans.truncate(len);
        }
    }

    /// Moves the spans of all tokens from `from` on: `place` says where a byte comes from. It is asked for bytes in rising order, twice for most.
    pub(crate) fn place_from(&mut self, from: usize, mut place: impl FnMut(usize) -> usize) {
        if let Some(spans) = &mut self.spans {
            for span in &mut spans[from..] {
                let start = place(span.start);
                *span = start..place(span.end);
            }
        }
    }
}
