//! A request, as the scheduler sees it.

use crate::TokenId;

/// A request's number; older requests have smaller ones.
pub(crate) type JobId = u64;

/// Who keeps what requests leave behind; 0 is nobody.
pub(crate) type OwnerId = u64;

/// Which requests come first: those of higher priority, among equals the older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// The priority, negated.
    pub(super) urgency: i64,
    pub(crate) id: JobId,
}

impl Rank {
    pub(crate) fn new(priority: i32, id: JobId) -> Self {
        Self { urgency: -i64::from(priority), id }
    }
}

/// What a request brings along.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewJob {
    /// The prompt.
    pub(crate) tokens: Vec<TokenId>,
    /// Maximum number of tokens that it will ever have.
    pub(crate) n_max: usize,
    pub(crate) priority: i32,
    /// It may share cells with requests that say so too, and leave its own behind.
    pub(crate) cache: bool,
    /// A beginning of fewer tokens than this one is not worth sharing, unless the owner keeps it.
    pub(crate) least_reuse: usize,
    /// The logits of all tokens from this one on are wanted; `None`: of the last one.
    pub(crate) logits_from: Option<usize>,
    /// Which adapters it is decoded with; only requests of one group go into one batch, or share cells.
    pub(crate) group: u64,
    /// Who keeps what it leaves behind, until they let go of it or a later request of theirs leaves something; 0 for nobody.
    pub(crate) owner: OwnerId,
    /// A request whose cells it may begin with, whatever both say about sharing.
    pub(crate) donor: Option<JobId>,
    /// It wants what is there of its tokens in a sequence, and nothing decoded. It has to be removed once it has one.
    pub(crate) only_cells: bool,
}

/// Tokens in the middle of a request that leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// How many tokens are before them.
    pub(crate) keep: usize,
    pub(crate) len: usize,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) rank: Rank,
    /// The prompt and all generated tokens.
    pub(super) tokens: Vec<TokenId>,
    /// How many of them are decoded.
    pub(super) n_past: usize,
    /// How many of the last ones are drafted: whether they stay shows when the logits before them are there.
    pub(super) n_drafted: usize,
    pub(super) n_max: usize,
    pub(super) place: Place,
    pub(super) hold: Hold,
    pub(super) cache: bool,
    pub(super) least_reuse: usize,
    pub(super) logits_from: Option<usize>,
    pub(super) group: u64,
    pub(super) owner: OwnerId,
    pub(super) donor: Option<JobId>,
    pub(super) only_cells: bool,
    /// It is decoded in a batch of its own next, because a batch with it failed.
    pub(super) alone: bool,
    /// Tokens of the prompt.
    pub(super) n_prompt: usize,
    /// What was decoded was lost in a crash: it is decoded in steps like those of the first time.
    pub(super) replays: bool,
    /// When it was served last.
    pub(super) served: u64,
}

/// Where a request's decoded tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is decoded.
    Queued,
    Slot(u32),
    /// In host memory.
    Parked,
}

/// Whether a request can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It can.
    Free,
    /// Its hook has the logits and will soon give them back: it keeps its place.
    Waiting { since: u64 },
    /// Its consumer does not keep up: others may take its place.
    Stalled,
}

impl Job {
    pub(super) fn new(id: JobId, new: NewJob) -> Self {
        Self {
            rank: Rank::new(new.priority, id),
            n_prompt: new.tokens.len(),
            replays: false,
            tokens: new.tokens,
            n_past: 0,
            n_drafted: 0,
            n_max: new.n_max,
            place: Place::Queued,
            hold: Hold::Free,
            cache: new.cache,
            least_reuse: new.least_reuse,
            logits_from: new.logits_from,
            group: new.group,
            owner: new.owner,
            donor: new.donor,
            only_cells: new.only_cells,
            alone: false,
            served: 0,
        }
    }

    /// How many tokens of what `owner` has or left are worth sharing at least.
    pub(super) fn least_of(&self, owner: OwnerId) -> usize {
        if self.owner != 0 && owner == self.owner { 1 } else { self.least_reuse.max(1) }
    }

    /// How many of its tokens are still to be decoded.
    pub(super) fn n_pending(&self) -> usize {
        self.tokens.len() - self.n_past
    }

    /// How many cells it may come to need beside those that it has, as far as one looks ahead.
    pub(super) fn growth(&self, horizon: usize) -> usize {
        let n_soon = self.tokens.len().saturating_add(horizon);
        n_soon.min(self.n_max).max(self.tokens.len()) - self.n_past
    }

    /// How many tokens a step may have of it at most. One that replays has its prompt in steps of their own, then a token that it had generated in each, so that
    /// sums are taken in the order in which they were taken before.
    pub(super) fn most_at_once(&self) -> usize {
        if !self.replays || self.n_past >= self.wanted_from() {
            return usize::MAX;
        }
        self.n_prompt.saturating_sub(self.n_past).max(1)
    }

    /// How many of these, at least one, are due whatever becomes of drafts.
    pub(super) fn n_due(&self) -> usize {
        self.n_pending().saturating_sub(self.n_drafted).max(1)
    }

    /// The index of the first token whose logits are wanted.
    fn wanted_from(&self) -> usize {
        self.logits_from.unwrap_or(self.tokens.len().saturating_sub(1 + self.n_drafted))
    }

    /// How many of its first tokens may come from elsewhere: at least one must be decoded for its logits, and all whose logits are wanted.
    pub(super) fn n_reusable(&self) -> usize {
        if self.only_cells {
            return self.tokens.len();
        }
        self.wanted_from().min(self.tokens.len() - 1)
    }

    /// The largest part of the next `len` tokens whose wanted logits are at most `n_outputs`.
    pub(super) fn within_outputs(&self, len: usize, n_outputs: usize) -> usize {
        len.min(self.wanted_from().saturating_sub(self.n_past) + n_outputs)
    }

    /// For how many of the next `len` tokens the logits are wanted.
    pub(super) fn rows(&self, len: usize) -> usize {
        (self.n_past + len).saturating_sub(self.wanted_from().max(self.n_past))
    }
}
