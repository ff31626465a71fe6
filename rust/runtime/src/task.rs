//! What a request wants: text, the probability of texts, or cells.

use std::time::{Duration, Instant};

use crate::decoded::Decoded;
use crate::generation::Generation;
use crate::progress::{End, Progress};
use crate::scheduler::Gap;
use crate::scoring::Scoring;
use crate::speculation::StepCost;
use crate::transfer::Transfer;
use crate::{Finish, Timings, TokenEvent, TokenId, Usage};

/// A request at work.
pub(crate) enum Task {
    Generate(Box<Generation>),
    Score(Box<Scoring>),
    Transfer(Box<Transfer>),
}

impl Task {
    /// The index of the first token whose logits are wanted, if it is not the last one.
    pub(crate) fn logits_from(&self) -> Option<usize> {
        match self {
            Self::Generate(_) | Self::Transfer(_) => None,
            Self::Score(scoring) => Some(scoring.logits_from()),
        }
    }

    /// Maximum number of tokens that it will have in memory at a time; it begins with `n_tokens`.
    pub(crate) fn n_max(&self, n_tokens: usize) -> usize {
        match self {
            Self::Generate(generation) => generation.n_max(n_tokens),
            Self::Score(scoring) => scoring.n_max(),
            Self::Transfer(_) => n_tokens,
        }
    }

    /// How many of its first `n_tokens` tokens need not be decoded if their cells are there.
    pub(crate) fn n_reusable(&self, n_tokens: usize) -> usize {
        if self.wants_cells() {
            return n_tokens;
        }
        let last = n_tokens.saturating_sub(1);
        self.logits_from().map_or(last, |from| from.min(last))
    }

    /// Whether it wants what is in memory of its tokens, and nothing decoded.
    pub(crate) fn wants_cells(&self) -> bool {
        matches!(self, Self::Transfer(_))
    }

    /// How it ends before its first step, if it does.
    pub(crate) fn take_end(&mut self) -> Option<End> {
        match self {
            Self::Generate(generation) => generation.take_end(),
            Self::Score(_) | Self::Transfer(_) => None,
        }
    }

    /// Whether no more logits are wanted.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Generate(generation) => generation.is_full(),
            Self::Score(_) => false,
            Self::Transfer(_) => true,
        }
    }

    /// Whether the first token is still to come.
    pub(crate) fn in_prompt(&self) -> bool {
        self.timings().first_token.is_none()
    }

    /// Counts the time of a step.
    pub(crate) fn count_time(&mut self, in_prompt: bool, took: Duration) {
        let timings = self.timings_mut();
        let total: &mut Duration = if in_prompt { &mut timings.prompt } else { &mut timings.decode };
        *total += took;
    }

    /// Takes the logits of a decode. `None`: there is more to decode first.
    pub(crate) fn advance(&mut self, decoded: &Decoded<'_>, submitted: Instant) -> Option<Progress> {
        match self {
            Self::Generate(generation) => generation.advance(decoded, submitted),
            Self::Score(scoring) => scoring.advance(decoded, submitted),
            Self::Transfer(_) => None,
        }
    }

    /// Whether it waits for a hook.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self, Self::Generate(generation) if generation.is_waiting())
    }

    /// Continues with the hook's logits, if they are back.
    pub(crate) fn resume(&mut self, submitted: Instant) -> Option<Progress> {
        match self {
            Self::Generate(generation) => generation.resume(submitted),
            Self::Score(_) | Self::Transfer(_) => None,
        }
    }

    /// The tokens to go on with after [`Progress::Tokens`].
    pub(crate) fn next_tokens(&self) -> &[TokenId] {
        match self {
            Self::Generate(generation) => generation.next_tokens(),
            Self::Score(_) | Self::Transfer(_) => &[],
        }
    }

    /// Which of its `n_tokens` tokens leave memory now; see [`Generation::shift`].
    pub(crate) fn shift(&mut self, n_tokens: usize) -> Option<Gap> {
        match self {
            Self::Generate(generation) => generation.shift(n_tokens),
            Self::Score(_) | Self::Transfer(_) => None,
        }
    }

    /// Whether its consumer wants to know how far the prompt is.
    pub(crate) fn reports_prompt(&self) -> bool {
        matches!(self, Self::Generate(generation) if generation.reports_prompt())
    }

    /// Whether it may draft tokens.
    pub(crate) fn speculates(&self) -> bool {
        matches!(self, Self::Generate(generation) if generation.speculates())
    }

    /// Puts at most `n` tokens that may come after `tokens` into `out`, if they are worth their `cost`.
    pub(crate) fn draft(&mut self, tokens: &[TokenId], n: usize, cost: StepCost, out: &mut Vec<TokenId>) {
        if let Self::Generate(generation) = self {
            generation.draft(tokens, n, cost, out);
        }
    }

    /// The next event that is ready to be pushed; call it until there is none.
    pub(crate) fn take_event(&mut self) -> Option<TokenEvent> {
        match self {
            Self::Generate(generation) => generation.take_event(),
            Self::Score(scoring) => scoring.take_event(),
            Self::Transfer(_) => None,
        }
    }

    /// Releases what was held back. Returns the last events and how the stream ended.
    pub(crate) fn end(self, end: End) -> (Vec<TokenEvent>, Finish) {
        match self {
            Self::Generate(generation) => generation.end(end),
            Self::Score(scoring) => scoring.end(end),
            Self::Transfer(transfer) => (Vec::new(), transfer.end(end)),
        }
    }

    pub(crate) fn usage_mut(&mut self) -> &mut Usage {
        match self {
            Self::Generate(generation) => &mut generation.usage,
            Self::Score(scoring) => &mut scoring.usage,
            Self::Transfer(transfer) => &mut transfer.usage,
        }
    }

    pub(crate) fn timings_mut(&mut self) -> &mut Timings {
        match self {
            Self::Generate(generation) => &mut generation.timings,
            Self::Score(scoring) => &mut scoring.timings,
            Self::Transfer(transfer) => &mut transfer.timings,
        }
    }

    fn timings(&self) -> &Timings {
        match self {
            Self::Generate(generation) => &generation.timings,
            Self::Score(scoring) => &scoring.timings,
            Self::Transfer(transfer) => &transfer.timings,
        }
    }
}
