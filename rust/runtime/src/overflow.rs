//! What becomes of a text that does not fit the context.

use crate::TokenId;

/// What to do with a text of more tokens than the context holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// A prompt that does not fit is an error. A text that fills the context ends with [`FinishReason::Length`](crate::FinishReason::Length).
    #[default]
    Error,
    /// A prompt that does not fit ends with [`FinishReason::Length`](crate::FinishReason::Length) and nothing generated, as a text that fills the context does.
    Stop,
    /// The text goes on without tokens of its middle.
    Shift(ContextShift),
}

/// Which tokens leave a context that is full.
///
/// As llama.cpp does it (`update_slots` in tools/server/server-context.cpp): the tokens that follow the first `keep` ones leave, and those after them move up: their positions are
/// changed in memory, while what they had seen of the tokens that left stays in them. Where other requests hold the same cells, the tokens that stay are decoded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextShift {
    /// How many of the first tokens stay; fewer than the context holds, by two at least.
    pub keep: usize,
    /// How many tokens leave at a time; `None` for half of those that may.
    pub discard: Option<usize>,
}

impl Default for ContextShift {
    /// Keeps four tokens: attention gathers at the first ones, and a text comes apart without them (Xiao et al., "Efficient Streaming Language Models with Attention Sinks",
    /// arXiv:2309.17453).
    fn default() -> Self {
        Self { keep: 4, discard: None }
    }
}

impl ContextShift {
    /// How many tokens after the first `keep` ones leave a text of `n_tokens`, so that it fits `n_ctx`. One token at least stays behind the kept ones.
    pub(crate) fn n_dropped(&self, n_tokens: usize, n_ctx: usize) -> usize {
        let n_free = n_tokens.saturating_sub(self.keep);
        let most = n_free.saturating_sub(1);
        let at_a_time = self.discard.unwrap_or(n_ctx.saturating_sub(self.keep) / 2).max(1);
        n_tokens.saturating_sub(n_ctx).next_multiple_of(at_a_time).min(most)
    }

    /// Takes tokens out of the middle of `tokens` where they do not fit `n_ctx`.
    pub(crate) fn shorten(&self, tokens: &mut Vec<TokenId>, n_ctx: usize) {
        let n = self.n_dropped(tokens.len(), n_ctx);
        if n > 0 {
            tokens.drain(self.keep..self.keep + n);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ContextShift;

    #[test]
    fn half_of_what_may_leave_does() {
        let shift = ContextShift { keep: 4, discard: None };
        assert_eq!(shift.n_dropped(20, 20), 0);
        assert_eq!(shift.n_dropped(21, 20), 8);
        assert_eq!(shift.n_dropped(29, 20), 16);
        assert_eq!(ContextShift { keep: 4, discard: Some(3) }.n_dropped(21, 20), 3);
        assert_eq!(ContextShift { keep: 4, discard: Some(99) }.n_dropped(21, 20), 16);
    }

    proptest! {
        #[test]
        fn what_stays_fits_and_is_the_beginning_and_the_end(
            n_ctx in 3usize..40, keep in 0usize..38, discard in proptest::option::of(1usize..50), n in 1usize..200,
        ) {
            prop_assume!(keep + 2 <= n_ctx);
            let tokens: Vec<i32> = (0..n as i32).collect();
            let mut rest = tokens.clone();
            ContextShift { keep, discard }.shorten(&mut rest, n_ctx);
            let n_dropped = n - rest.len();
            prop_assert!(rest.len() <= n_ctx);
            prop_assert_eq!(n_dropped == 0, n <= n_ctx);
            if n_dropped > 0 {
                prop_assert!(rest.len() > keep);
                prop_assert_eq!(&rest[..keep], &tokens[..keep]);
                prop_assert_eq!(&rest[keep..], &tokens[keep + n_dropped..]);
            }
        }
    }
}
