//! Cells that leave the memory as bytes, and come back.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::progress::End;
use crate::request::check_tokens;
use crate::{Finish, FinishReason, Group, Owner, RequestError, Timings, TokenId, Usage};

/// Tokens whose cells leave the memory as bytes, or come back.
#[derive(Clone, Debug, Default)]
pub struct CellsRequest {
    /// The tokens; at least one.
    pub tokens: Vec<TokenId>,
    /// As [`Request::group`](crate::Request::group).
    pub group: Group,
    /// As [`Request::owner`](crate::Request::owner).
    pub owner: Option<Owner>,
}

impl CellsRequest {
    pub(crate) fn check(&self, n_ctx: usize, n_vocab: usize) -> Result<(), RequestError> {
        if self.tokens.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        if self.tokens.len() > n_ctx {
            return Err(RequestError::PromptTooLong { n_prompt: self.tokens.len(), n_ctx });
        }
        check_tokens("prompt", &self.tokens, n_vocab)
    }
}

/// The bytes of cells that [`Engine::export`](crate::Engine::export) brings. Cheap to clone.
#[derive(Clone, Default)]
pub struct ExportedCells(Arc<Mutex<Found>>);

/// How many tokens there are cells of, and their bytes.
type Found = Option<(usize, Vec<u8>)>;

impl ExportedCells {
    /// How many of the first tokens they are of, and the bytes, when the stream has ended. `None` if there are none of these tokens, or if the decoder has no form for them
    /// that it can check when they come back.
    pub fn take(&self) -> Option<(usize, Vec<u8>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, cells: Found) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cells;
    }
}

impl fmt::Debug for ExportedCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportedCells").finish_non_exhaustive()
    }
}

/// An export, or an import, at work.
pub(crate) struct Transfer {
    direction: Direction,
    pub(crate) usage: Usage,
    pub(crate) timings: Timings,
}

enum Direction {
    Out(ExportedCells),
    In(Vec<u8>),
}

impl Transfer {
    pub(crate) fn out(cells: ExportedCells, n_tokens: usize) -> Self {
        Self::new(Direction::Out(cells), n_tokens)
    }

    pub(crate) fn into_memory(bytes: Vec<u8>, n_tokens: usize) -> Self {
        Self::new(Direction::In(bytes), n_tokens)
    }

    fn new(direction: Direction, n_tokens: usize) -> Self {
        let usage = Usage { prompt_tokens: n_tokens, ..Usage::default() };
        Self { direction, usage, timings: Timings::default() }
    }

    /// The bytes that come back, if they do.
    pub(crate) fn take_bytes(&mut self) -> Option<Vec<u8>> {
        match &mut self.direction {
            Direction::Out(_) => None,
            Direction::In(bytes) => Some(std::mem::take(bytes)),
        }
    }

    /// Takes the number of tokens and the bytes of their cells.
    pub(crate) fn put(&self, found: Found) {
        if let Direction::Out(cells) = &self.direction {
            cells.set(found);
        }
    }

    pub(crate) fn end(self, end: End) -> Finish {
        let reason = if end.reason == FinishReason::Length { FinishReason::Stop } else { end.reason };
        let Self { usage, timings, .. } = self;
        Finish { reason, stop_match: None, usage, timings, constraint_complete: None }
    }
}
