//! A llama.cpp context as a [`Decoder`].

use std::sync::Arc;

use tabagent_llama::{Batch, Context, ContextError, Model, SequenceSnapshot};
use tabagent_runtime::{BatchToken, Decoder, DecoderError, Stop, TokenId, Vocabulary};

/// The context that the decode thread owns.
#[derive(Debug)]
pub struct LlamaDecoder {
    context: Context,
    /// Reused between decodes.
    batch: Batch,
}

impl LlamaDecoder {
    /// Takes over a context. Its sequences should be empty.
    pub fn new(context: Context) -> Self {
        Self { context, batch: Batch::new() }
    }
}

impl Decoder for LlamaDecoder {
    type Saved = SequenceSnapshot;

    fn n_ctx(&self) -> usize {
        self.context.sequence_size() as usize
    }

    fn n_cells(&self) -> usize {
        self.context.cells() as usize
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

    fn decode(&mut self, batch: &[BatchToken], stop: Stop<'_>) -> Result<(), DecoderError> {
        self.batch.clear();
        for row in batch {
            let position = u32::try_from(row.pos).map_err(|_| DecoderError::NoSpace)?;
            self.batch.push(row.token, position, &[row.seq], row.logits);
        }
        self.context.decode_unless(&self.batch, stop).map_err(|error| match error {
            ContextError::Aborted => DecoderError::Aborted,
            ContextError::Full { .. } => DecoderError::NoSpace,
            other => DecoderError::Failed(other.to_string()),
        })
    }

    fn logits(&self, index: usize) -> &[f32] {
        // Without logits the sampler gets none and says so; rows are asked for only after a decode that wanted them.
        self.context.logits(index).unwrap_or_default()
    }

    fn can_cut(&self, seq: u32, n: usize) -> bool {
        u32::try_from(n).is_ok_and(|n| self.context.can_truncate(seq, n).unwrap_or(false))
    }

    fn copy(&mut self, from: u32, to: u32, n: usize) -> bool {
        u32::try_from(n).is_ok_and(|n| self.context.copy_beginning(from, to, n).unwrap_or(false))
    }

    fn truncate(&mut self, seq: u32, from_pos: usize) -> bool {
        u32::try_from(from_pos).is_ok_and(|from| self.context.truncate_sequence(seq, from).unwrap_or(false))
    }

    fn clear(&mut self, seq: u32) {
        // The only error is a sequence that does not exist, and that holds nothing.
        let _ = self.context.remove_sequence(seq);
        if self.context.is_empty() {
            // Attention passes over all cells up to the last one in use, so the next request gets the first ones, wherever the last one ended.
            self.context.reset();
        }
    }

    fn save(&mut self, seq: u32) -> Result<SequenceSnapshot, DecoderError> {
        self.context.snapshot_sequence(seq).map_err(|e| DecoderError::Failed(e.to_string()))
    }

    fn saved_bytes(state: &SequenceSnapshot) -> usize {
        state.len()
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
