//! How large a decoder's memory and batches are.

use crate::blueprint::Blueprint;
use crate::error::LoadError;

/// The most tokens of a context, and of a batch.
const MOST: usize = 1 << 30;

/// How many tokens a decoder holds, and how many it computes together.
///
/// ```
/// let options = tabagent_engine::DecoderOptions { n_seq_max: 4, ..tabagent_engine::DecoderOptions::new(2048) };
/// assert_eq!((options.n_ctx, options.n_cells), (2048, 2048));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderOptions {
    /// The most tokens of a sequence.
    pub n_ctx: usize,
    /// The most tokens of all sequences together; those that sequences share count once.
    pub n_cells: usize,
    /// How many sequences there can be.
    pub n_seq_max: usize,
    /// The most tokens of a batch.
    pub n_batch: usize,
    /// The most rows of logits of a batch.
    pub n_outputs_max: usize,
}

impl DecoderOptions {
    /// `n_ctx` tokens for all of 8 sequences together, 512 tokens a batch, 64 rows of logits.
    pub fn new(n_ctx: usize) -> Self {
        Self { n_ctx, n_cells: n_ctx, n_seq_max: 8, n_batch: 512, n_outputs_max: 64 }
    }

    pub(crate) fn check(&self, blueprint: &Blueprint) -> Result<(), LoadError> {
        let most_ctx = blueprint.learned_positions.unwrap_or(MOST);
        for (option, found, most) in [
            ("n_ctx", self.n_ctx, most_ctx),
            ("n_cells", self.n_cells, MOST),
            ("n_seq_max", self.n_seq_max, 1 << 16),
            ("n_batch", self.n_batch, 1 << 20),
            ("n_outputs_max", self.n_outputs_max, 1 << 20),
        ] {
            if !(1..=most).contains(&found) {
                let expected = format!("from `1` to `{most}`");
                return Err(LoadError::Option { option, found, expected });
            }
        }
        Ok(())
    }
}
