//! Decoded tokens that a new request can use.

use super::job::OwnerId;
use crate::TokenId;

/// Where the beginning of a new request's tokens is already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) source: Source,
    /// How many tokens it saves.
    pub(super) keep: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A sequence that no request has.
    Cached(u32),
    /// A request's sequence.
    Running(u32),
    /// A state in host memory.
    Stored(u64),
}

/// What a request left behind.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) tokens: Vec<TokenId>,
    pub(super) group: u64,
    /// When it was used last.
    pub(super) served: u64,
    /// Who keeps it: it is never dropped then; 0 for nobody.
    pub(super) owner: OwnerId,
}

impl Leftover {
    /// Whether a request of `owner` may have it for itself.
    pub(super) fn is_free_for(&self, owner: OwnerId) -> bool {
        self.owner == 0 || self.owner == owner
    }

    /// Whether requests of the default group may share it, whoever they are.
    pub(crate) fn is_for_everybody(&self) -> bool {
        self.owner == 0 && self.group == 0
    }

    /// Lets go of it, if `owner` keeps it.
    pub(super) fn release(&mut self, owner: OwnerId) {
        if self.owner == owner {
            self.owner = 0;
        }
    }
}

/// A leftover in host memory.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: u64,
    pub(crate) leftover: Leftover,
    pub(super) n_bytes: usize,
}

/// Where a leftover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftoverPlace {
    Sequence(u32),
    /// In host memory, by its number.
    Stored(u64),
}

/// How many tokens two lists begin with together.
pub(crate) fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
