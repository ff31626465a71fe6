//! A llama.cpp context as a [`Decoder`].

use std::sync::Arc;

use tabagent_llama::{Batch, Context, ContextError, Model, SequenceSnapshot};
use tabagent_runtime::{AbortFlag, Decoder, DecoderError, TokenId, Vocabulary};

/// The context that the decode thread owns.
#[derive(Debug)]
pub struct LlamaDecoder {
    context: Context,
    /// Reused between decodes.
    batch: Batch,
    /// Where in the last decode the rows of logits begin.
    first_row: usize,
}

impl LlamaDecoder {
    /// Takes over a context. Its sequences should be empty.
    pub fn new(context: Context) -> Self {
        Self { context, batch: Batch::new(), first_row: 0 }
    }
}

impl Decoder for LlamaDecoder {
    type Saved = SequenceSnapshot;

    fn n_ctx(&self) -> usize {
        self.context.context_size() as usize
    }

    fn n_batch(&self) -> usize {
        self.context.batch_size() as usize
    }

    fn n_outputs_max(&self) -> usize {
        self.context.max_outputs() as usize
    }

    fn n_seq_max(&self) -> usize {
        self.context.max_sequences() as usize
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::new(LlamaVocabulary(self.context.model().clone()))
    }

    fn decode(
        &mut self,
        seq: u32,
        pos: usize,
        tokens: &[TokenId],
        n_logits: usize,
        abort: &AbortFlag,
    ) -> Result<(), DecoderError> {
        self.batch.clear();
        let first_row = tokens.len().saturating_sub(n_logits);
        for (i, token) in tokens.iter().enumerate() {
            let position = u32::try_from(pos + i).map_err(|_| DecoderError::NoSpace)?;
            self.batch.push(*token, position, &[seq], i >= first_row);
        }
        self.context.decode_unless(&self.batch, &|| abort.is_raised()).map_err(|error| match error {
            ContextError::Aborted => DecoderError::Aborted,
            ContextError::Full { .. } => DecoderError::NoSpace,
            other => DecoderError::Failed(other.to_string()),
        })?;
        self.first_row = first_row;
        Ok(())
    }

    fn logits(&self, row: usize) -> &[f32] {
        // Without logits the sampler gets none and says so; rows are asked for only after a decode that wanted them.
        self.context.logits(self.first_row + row).unwrap_or_default()
    }

    fn truncate(&mut self, seq: u32, from_pos: usize) -> bool {
        u32::try_from(from_pos).is_ok_and(|from| self.context.truncate_sequence(seq, from).unwrap_or(false))
    }

    fn clear(&mut self, seq: u32) {
        // The only error is a sequence that does not exist, and that holds nothing.
        let _ = self.context.remove_sequence(seq);
    }

    fn save(&mut self, seq: u32) -> Result<SequenceSnapshot, DecoderError> {
        self.context.snapshot_sequence(seq).map_err(|e| DecoderError::Failed(e.to_string()))
    }

    fn restore(&mut self, seq: u32, state: &SequenceSnapshot) -> Result<(), DecoderError> {
        self.context.restore_sequence(seq, state).map_err(|e| DecoderError::Failed(e.to_string()))
    }
}

/// The vocabulary of a llama.cpp model.
struct LlamaVocabulary(Model);

impl Vocabulary for LlamaVocabulary {
    fn n_tokens(&self) -> usize {
        self.0.vocab().len()
    }

    fn push_token_bytes(&self, token: TokenId, special: bool, out: &mut Vec<u8>) {
        // Ids come from logits of this vocabulary, so this does not fail; if it did, the token would have no text.
        let _ = self.0.vocab().push_token_bytes(token, special, out);
    }

    fn is_eog(&self, token: TokenId) -> bool {
        self.0.vocab().is_eog(token)
    }
}
