//! A llama.cpp context as a [`Decoder`].

use std::sync::Arc;

use tabagent_llama::{Batch, Context, ContextError, Model, SequenceSnapshot, available_memory};
use tabagent_runtime::{BatchToken, Decoder, DecoderError, Group, Split, Stop, TokenId, Vocabulary};

use crate::changes::Changes;
use crate::stopwatch::Stopwatch;
use crate::thread_count::{Guess, Step, ThreadCount};
use crate::threads_in_use::{ThreadsGauge, ThreadsInUse};

/// The context that the decode thread owns.
#[derive(Debug)]
pub struct LlamaDecoder {
    context: Context,
    /// The memory that it began with.
    whole: Memory,
    split: Option<Split>,
    /// What the context computes with; `None` if that is not known.
    group: Option<Group>,
    /// Reused between decodes.
    batch: Batch,
    /// Tokens of the batch that the last decode had no part in, because an earlier one that was cut short had computed them.
    n_before: usize,
    /// Chooses the number of threads of each step; `None` where it is fixed.
    threads: Option<ThreadCount>,
    gauge: ThreadsGauge,
}

/// The size of a memory that sequences share.
#[derive(Clone, Copy, Debug)]
struct Memory {
    n_ctx: u32,
    n_cells: u32,
    n_seq: u32,
}

/// Parts of a split memory have a multiple of so many cells (`llama_context::llama_context` in src/llama-context.cpp).
const PART: u32 = 256;

impl LlamaDecoder {
    /// Takes over a context, and computes with its number of threads. Its sequences should be empty, and nothing should change its model.
    pub fn new(context: Context) -> Self {
        let gauge = ThreadsGauge::default();
        let threads = context.threads() as usize;
        gauge.set(ThreadsInUse { generation: threads, prompt: context.prompt_threads() as usize });
        let whole = Memory {
            n_ctx: context.sequence_size(),
            n_cells: context.cells(),
            n_seq: context.max_sequences(),
        };
        Self {
            split: split_of(&context),
            context,
            group: Some(Group::default()),
            whole,
            batch: Batch::new(),
            n_before: 0,
            threads: None,
            gauge,
        }
    }

    /// Takes over a context, and computes with as many threads as are fastest beside what else runs: at most its own number. Prompts are read by `prompt`
    /// threads where that is given.
    pub fn with_adapting_threads(context: Context, prompt: Option<u32>) -> Self {
        let facts = context.model().facts();
        let guess = Guess { bytes: facts.size as f64, weights: facts.parameters as f64 };
        let threads = ThreadCount::new(context.threads() as usize, prompt.map(|count| count as usize), guess);
        Self { threads: Some(threads), ..Self::new(context) }
    }

    /// Its context.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Tells the numbers of threads in use.
    pub(crate) fn gauge(&self) -> ThreadsGauge {
        self.gauge.clone()
    }

    /// Another context in the place of the empty one.
    fn rearrange(&mut self, split: bool) -> Result<(), ContextError> {
        let other = match self.split.filter(|_| split) {
            Some(Split { n_seq, n_cells, .. }) => {
                let (n_seq, n_cells) = (n_seq as u32, n_cells as u32);
                self.context.rearranged(n_seq * n_cells, n_seq, false)?
            }
            None => self.context.rearranged(self.whole.n_ctx, self.whole.n_seq, true)?,
        };
        self.context = other;
        Ok(())
    }

    fn fill(&mut self, rows: &[BatchToken]) -> Result<(), DecoderError> {
        self.batch.clear();
        for row in rows {
            let position = u32::try_from(row.pos).map_err(|_| DecoderError::NoSpace)?;
            self.batch.push(row.token, position, &[row.seq], row.logits);
        }
        Ok(())
    }

    /// Decodes with the number of threads that `threads` chooses. A step that it has cut short goes on with the next choice.
    fn decode_timed(
        &mut self,
        rows: &[BatchToken],
        stop: Stop<'_>,
        threads: &mut ThreadCount,
    ) -> Result<(), DecoderError> {
        loop {
            let rest = &rows[self.n_before..];
            self.fill(rest)?;
            let step = Step { n_tokens: rest.len(), can_redo: self.context.can_undo(&self.batch) };
            let choice = threads.choose(step);
            self.context.set_threads(u32::try_from(choice.threads).unwrap_or(u32::MAX));
            let watch = Stopwatch::start(choice.limit);
            let outcome = self.context.decode_unless(&self.batch, &|| watch.must_stop(stop));
            match outcome {
                Ok(()) => threads.note(step, watch.seconds()),
                Err(ContextError::Aborted) if !stop() => {
                    threads.note_cut(step, watch.seconds());
                    self.n_before += self.keep_or_undo(rest)?;
                    continue;
                }
                Err(_) => {}
            }
            let (generation, prompt) = threads.in_use();
            self.gauge.set(ThreadsInUse { generation, prompt });
            return outcome.map_err(|error| match error {
                // Tokens of an attempt that was cut short may be in their sequences.
                ContextError::Full { .. } if self.n_before > 0 => DecoderError::Failed(error.to_string()),
                error => decoder_error(error),
            });
        }
    }

    /// After a decode of `rows` that was cut short: returns how many of the first ones need not be decoded again, and removes what is in memory of the
    /// others.
    fn keep_or_undo(&mut self, rows: &[BatchToken]) -> Result<usize, DecoderError> {
        let failed = |error: ContextError| DecoderError::Failed(error.to_string());
        let is_there = |row: &BatchToken| {
            self.context.next_position(row.seq).map(|next| (row.pos as u64) < u64::from(next)).map_err(failed)
        };
        let there = rows.iter().map(is_there).collect::<Result<Vec<_>, _>>()?;
        let n_there = there.iter().take_while(|there| **there).count();
        if !there[n_there..].contains(&true) && rows[..n_there].iter().all(|row| !row.logits) {
            return Ok(n_there);
        }
        // The first row of each sequence is where it began.
        for (index, row) in rows.iter().enumerate() {
            if rows[..index].iter().all(|other| other.seq != row.seq) && !self.truncate(row.seq, row.pos) {
                let message = format!("sequence {} cannot be cut back to {} tokens", row.seq, row.pos);
                return Err(DecoderError::Failed(message));
            }
        }
        Ok(0)
    }
}

/// How the memory of `context` can be split: where its sequences share cells, and each can have a part.
fn split_of(context: &Context) -> Option<Split> {
    let facts = context.model().facts();
    let n_seq = context.asked_sequences();
    let n_cells = context.cells() / n_seq / PART * PART;
    let can = context.is_unified() && !facts.recurrent && !facts.hybrid && n_seq > 1 && n_cells > 0;
    can.then_some(Split { n_seq: n_seq as usize, n_cells: n_cells as usize, n_worth: PART as usize })
}

fn decoder_error(error: ContextError) -> DecoderError {
    match error {
        ContextError::Aborted => DecoderError::Aborted,
        ContextError::Full { .. } => DecoderError::NoSpace,
        error @ ContextError::Broken { .. } => DecoderError::Broken(error.to_string()),
        other => DecoderError::Failed(other.to_string()),
    }
}

impl Decoder for LlamaDecoder {
    type Saved = SequenceSnapshot;

    fn n_ctx(&self) -> usize {
        self.whole.n_ctx as usize
    }

    fn n_cells(&self) -> usize {
        self.whole.n_cells as usize
    }

    fn n_batch(&self) -> usize {
        self.context.batch_size() as usize
    }

    fn n_outputs_max(&self) -> usize {
        self.context.max_outputs() as usize
    }

    fn n_seq_max(&self) -> usize {
        self.whole.n_seq as usize
    }

    fn split(&self) -> Option<Split> {
        self.split
    }

    fn set_split(&mut self, split: bool) -> Result<(), DecoderError> {
        // The other context is made while this one is there, so that there is one whatever happens.
        let need = self.context.memory_need();
        let n_bytes = need.cache.saturating_add(need.compute);
        if available_memory(0).is_some_and(|available| available / 2 < n_bytes) {
            return Err(DecoderError::Failed("there is no memory for another context".to_owned()));
        }
        self.rearrange(split).map_err(|error| DecoderError::Failed(error.to_string()))
    }

    fn revive(&mut self) -> Result<(), DecoderError> {
        self.group = None;
        self.rearrange(false).map_err(|error| DecoderError::Failed(error.to_string()))
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::new(LlamaVocabulary(self.context.model().clone()))
    }

    fn enter(&mut self, group: &Group) -> Result<(), DecoderError> {
        if self.group.as_ref() == Some(group) {
            return Ok(());
        }
        self.group = None;
        Changes::enter(group, &mut self.context)?;
        self.group = Some(group.clone());
        Ok(())
    }

    fn decode(&mut self, batch: &[BatchToken], stop: Stop<'_>) -> Result<(), DecoderError> {
        self.n_before = 0;
        if let Some(mut threads) = self.threads.take() {
            let outcome = self.decode_timed(batch, stop, &mut threads);
            self.threads = Some(threads);
            return outcome;
        }
        self.fill(batch)?;
        self.context.decode_unless(&self.batch, stop).map_err(decoder_error)
    }

    fn logits(&self, index: usize) -> &[f32] {
        // Without logits the sampler gets none and says so; rows are asked for only after a decode that wanted them.
        let row = index.checked_sub(self.n_before);
        row.and_then(|row| self.context.logits(row).ok()).unwrap_or_default()
    }

    fn can_rewind(&self) -> bool {
        let facts = self.context.model().facts();
        !(facts.recurrent || facts.hybrid)
    }

    fn can_shift(&self) -> bool {
        self.context.can_shift()
    }

    fn shift(&mut self, seq: u32, keep: usize, n: usize) -> bool {
        let (Ok(keep), Ok(n)) = (u32::try_from(keep), u32::try_from(n)) else { return false };
        self.context.shift_sequence(seq, keep, n).unwrap_or(false)
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

    fn export(&self, state: &SequenceSnapshot, n_tokens: usize) -> Option<Vec<u8>> {
        self.context.export_sequence(state, u32::try_from(n_tokens).ok()?)
    }

    fn import(&self, bytes: &[u8], n_tokens: usize) -> Option<SequenceSnapshot> {
        self.context.import_sequence(bytes, u32::try_from(n_tokens).ok()?)
    }

    fn restore(&mut self, seq: u32, state: &SequenceSnapshot) -> Result<(), DecoderError> {
        self.context.restore_sequence(seq, state).map_err(|e| DecoderError::Failed(e.to_string()))
    }
}

/// The vocabulary of a llama.cpp model.
pub(crate) struct LlamaVocabulary(pub(crate) Model);

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

#[cfg(test)]
mod tests;
