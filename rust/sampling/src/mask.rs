//! Which tokens of a vocabulary may be chosen.

use crate::TokenId;

const WORD_LEN: usize = u32::BITS as usize;

/// A set of allowed tokens, one bit each: token `i` is bit `i % 32` of word `i / 32`, as in llguidance's masks.
///
/// ```
/// use tabagent_sampling::TokenMask;
///
/// let mut mask = TokenMask::new(100);
/// mask.allow(37);
/// assert!(mask.allows(37) && !mask.allows(36));
/// assert_eq!((mask.count(), mask.words()[1]), (1, 1 << 5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenMask {
    n_vocab: usize,
    words: Vec<u32>,
}

impl TokenMask {
    /// A mask for `n_vocab` tokens that allows none.
    pub fn new(n_vocab: usize) -> Self {
        Self { n_vocab, words: vec![0; n_vocab.div_ceil(WORD_LEN)] }
    }

    /// A mask for `n_vocab` tokens with these words. Missing words allow nothing; bits beyond the vocabulary are dropped.
    pub fn from_words(n_vocab: usize, words: Vec<u32>) -> Self {
        let mut mask = Self { n_vocab, words };
        mask.words.resize(n_vocab.div_ceil(WORD_LEN), 0);
        mask.trim();
        mask
    }

    /// Replaces the words, by the rules of [`from_words`](Self::from_words), without allocating.
    pub fn copy_from_words(&mut self, words: &[u32]) {
        let shared = words.len().min(self.words.len());
        let (copied, missing) = self.words.split_at_mut(shared);
        copied.copy_from_slice(&words[..shared]);
        missing.fill(0);
        self.trim();
    }

    /// Allows one token; false, with nothing changed, if the vocabulary does not have it.
    pub fn allow(&mut self, token: TokenId) -> bool {
        self.set(token, true)
    }

    /// Disallows one token; false, with nothing changed, if the vocabulary does not have it.
    pub fn disallow(&mut self, token: TokenId) -> bool {
        self.set(token, false)
    }

    /// Allows every token.
    pub fn allow_all(&mut self) {
        self.words.fill(u32::MAX);
        self.trim();
    }

    /// Allows no token.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Keeps what `other` allows too; words that it does not have allow nothing.
    pub fn intersect(&mut self, other: &Self) {
        for (at, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(at).copied().unwrap_or(0);
        }
    }

    /// Whether the token is allowed; false for one that the vocabulary does not have.
    pub fn allows(&self, token: TokenId) -> bool {
        self.place(token).is_some_and(|(word, bit)| self.words[word] & bit != 0)
    }

    /// The words: `n_vocab / 32` of them, rounded up, with no bit beyond the vocabulary.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// How many tokens are allowed.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no token is allowed.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The number of tokens in the vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    fn set(&mut self, token: TokenId, allowed: bool) -> bool {
        let Some((word, bit)) = self.place(token) else { return false };
        if allowed {
            self.words[word] |= bit;
        } else {
            self.words[word] &= !bit;
        }
        true
    }

    fn place(&self, token: TokenId) -> Option<(usize, u32)> {
        let token = usize::try_from(token).ok().filter(|&token| token < self.n_vocab)?;
        Some((token / WORD_LEN, 1 << (token % WORD_LEN)))
    }

    fn trim(&mut self) {
        let used = self.n_vocab % WORD_LEN;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }
}

/// A copy of a row in which the tokens outside a mask are at negative infinity.
///
/// Tokens that both the last mask and this one disallow are not written again, so a step with few allowed tokens writes little.
#[derive(Clone, Debug, Default)]
pub(crate) struct MaskedRow {
    logits: Vec<f32>,
    /// For each 32 tokens, whether any of `logits` may be above negative infinity.
    written: Vec<bool>,
}

impl MaskedRow {
    /// Copies the allowed logits of `row`, which is as long as the mask's vocabulary.
    pub(crate) fn fill(&mut self, row: &[f32], mask: &TokenMask) -> &[f32] {
        if self.logits.len() != row.len() {
            self.logits.clear();
            self.logits.resize(row.len(), f32::NEG_INFINITY);
            self.written.clear();
            self.written.resize(row.len().div_ceil(WORD_LEN), false);
        }
        let targets = self.logits.chunks_mut(WORD_LEN).zip(row.chunks(WORD_LEN));
        for (((target, source), &word), written) in targets.zip(&mask.words).zip(&mut self.written) {
            if word == u32::MAX {
                target.copy_from_slice(source);
            } else if word != 0 {
                for (at, (target, &logit)) in target.iter_mut().zip(source).enumerate() {
                    *target = if word >> at & 1 == 1 { logit } else { f32::NEG_INFINITY };
                }
            } else if *written {
                target.fill(f32::NEG_INFINITY);
            }
            *written = word != 0;
        }
        &self.logits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_beyond_the_vocabulary_are_dropped_and_missing_ones_allow_nothing() {
        let long = TokenMask::from_words(33, vec![u32::MAX; 5]);
        assert_eq!(long.words(), [u32::MAX, 1]);
        assert_eq!(long.count(), 33);
        let mut short = TokenMask::from_words(70, vec![1]);
        assert_eq!(short.words(), [1, 0, 0]);
        short.copy_from_words(&[0, u32::MAX, u32::MAX, u32::MAX]);
        assert_eq!(short.words(), [0, u32::MAX, 63]);
        short.copy_from_words(&[2]);
        assert_eq!(short.words(), [2, 0, 0]);
    }

    #[test]
    fn tokens_outside_the_vocabulary_change_nothing() {
        let mut mask = TokenMask::new(32);
        assert!(!mask.allow(32) && !mask.allow(-1) && !mask.allow(TokenId::MIN));
        assert!(mask.is_empty() && !mask.allows(32) && !mask.allows(-1));
        mask.allow_all();
        assert!(mask.disallow(31));
        assert_eq!((mask.count(), mask.allows(31)), (31, false));
    }

    #[test]
    fn masked_rows_hold_the_allowed_logits_and_nothing_of_the_mask_before() {
        let row: Vec<f32> = (0..150).map(|i| i as f32).collect();
        let mut masked = MaskedRow::default();
        for stride in [1, 7, 40, 149, 3, 64] {
            let mut mask = TokenMask::new(row.len());
            (0..150).step_by(stride).for_each(|token| assert!(mask.allow(token)));
            for (token, &logit) in masked.fill(&row, &mask).iter().enumerate() {
                let want = if token % stride == 0 { token as f32 } else { f32::NEG_INFINITY };
                assert_eq!(logit.to_bits(), want.to_bits(), "{token} with stride {stride}");
            }
        }
    }
}
