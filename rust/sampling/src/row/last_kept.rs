//! The token at which a cut row ends.

use crate::row::rank_key::RankKey;

/// The last token that is kept, in the order of falling keys and rising ids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LastKept {
    pub(crate) key: RankKey,
    /// The token's key.
    pub(crate) line: f32,
    pub(crate) token: u32,
}

impl LastKept {
    /// Keeps every finite logit.
    pub(crate) const NONE: Self = Self { key: RankKey::Logit, line: f32::MIN, token: u32::MAX };

    #[allow(clippy::float_cmp, reason = "ties are exact")]
    #[allow(clippy::needless_bitwise_bool, reason = "a processor could not foresee a branch")]
    pub(crate) fn keeps(self, token: usize, logit: f32) -> bool {
        let key = self.key.of(logit);
        (key > self.line) | ((key == self.line) & (token <= self.token as usize))
    }

    /// Whether everything that it keeps is also kept by `other`, which has the same key.
    #[allow(clippy::float_cmp, reason = "ties are exact")]
    pub(crate) fn is_within(self, other: Self) -> bool {
        self.line > other.line || (self.line == other.line && self.token <= other.token)
    }

    /// A lower bound of the kept logits.
    pub(crate) fn lowest_logit(self) -> f32 {
        self.key.lowest_logit(self.line)
    }
}
