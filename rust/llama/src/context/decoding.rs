//! How a context computes.

use super::{Compute, Context};
use crate::abort::{NEVER, Stop};
use crate::batch::{Batch, TokenId};
use crate::capture::TensorTap;
use crate::context_error::ContextError;
use crate::guard::guarded;
use crate::held::Held;
use crate::log;
use tabagent_sys::llama_pos;

impl Context {
    /// Decodes a batch: computes its tokens into the KV cache and keeps the logits that it asks for until the next call.
    ///
    /// Blocks until the model has computed it. After an error, [`Context::next_position`] says what each sequence holds.
    ///
    /// # Errors
    /// See [`ContextError`]. Nothing is computed when the batch is refused.
    pub fn decode(&mut self, batch: &Batch) -> Result<(), ContextError> {
        self.decode_unless(batch, NEVER)
    }

    /// [`Context::decode`] that stops soon after `stop` says so.
    ///
    /// # Errors
    /// See [`ContextError`]; [`ContextError::Aborted`] when it stopped early.
    pub fn decode_unless(&mut self, batch: &Batch, stop: Stop<'_>) -> Result<(), ContextError> {
        self.compute(batch, stop, self.model.api().llama_decode)
    }

    /// Computes a batch by `call`, which is `llama_decode`, or `llama_encode` for a model that has an encoder.
    pub(crate) fn compute(
        &mut self,
        batch: &Batch,
        stop: Stop<'_>,
        call: Compute,
    ) -> Result<(), ContextError> {
        self.outputs.clear();
        if let Some(tap) = &self.tap {
            tap.begin();
        }
        if let Some(thrown) = &self.broken {
            return Err(ContextError::Broken { thrown: thrown.clone() });
        }
        self.check(batch)?;
        let c_batch = self.arrays.fill(batch);
        let context = self.handle.ptr.as_ptr();
        let (code, lines) = self.with_reserve(|this| {
            let tap = this.tap.as_deref();
            let stop = || tap.is_some_and(TensorTap::wants_stop) || stop();
            // SAFETY: ids, sequences, positions and counts were checked; the arrays live in `self` and stay untouched during the
            // call; `&mut self` excludes another decode.
            let run = || unsafe { call(context, c_batch) };
            log::capture_warnings(|| this.abort.watch(&stop, || guarded(run)))
        });
        let code = code.map_err(|thrown| {
            self.broken = Some(thrown.clone());
            ContextError::Broken { thrown }
        })?;
        if let Some(tap) = &self.tap
            && let Err(error) = tap.finish(code == 0)
        {
            if code == 2 {
                log::retract(&lines);
            }
            return Err(error);
        }
        if code == 0 {
            if let Some(held) = &mut self.held {
                held.decoded(batch);
            }
        } else if self.held.is_some() {
            self.undo(batch)?;
        }
        match code {
            0 => {
                if let Some(pools) = &mut self.pools {
                    pools.computed();
                }
                self.is_moving = false;
                self.outputs.extend_from_slice(&batch.outputs);
                Ok(())
            }
            1 => Err(ContextError::Full { tokens: batch.len(), n_ctx: self.sequence_size() }),
            2 => {
                log::retract(&lines);
                Err(ContextError::Aborted)
            }
            code => Err(ContextError::Failed { code, log: log::errors(lines) }),
        }
    }

    /// Removes what a decode that failed has left of a batch, in builds that do not tell what that is.
    fn undo(&mut self, batch: &Batch) -> Result<(), ContextError> {
        for (sequence, start) in Held::starts(batch) {
            let from = i32::try_from(start).unwrap_or(i32::MAX);
            let removed = self.remove_positions(sequence.cast_signed(), from, -1)?;
            // A recurrent state loses all or nothing.
            if start == 0 || !removed {
                self.remove_sequence(sequence)?;
            }
        }
        Ok(())
    }

    /// The logits of token `index` of the last batch: one `f32` a token of the vocabulary. Valid until the next decode.
    ///
    /// # Errors
    /// [`ContextError::NoLogits`] when the last decode failed or did not compute them.
    pub fn logits(&self, index: usize) -> Result<&[f32], ContextError> {
        let missing = || ContextError::NoLogits { index, available: self.describe_outputs() };
        if !self.outputs.get(index).copied().unwrap_or(false) {
            return Err(missing());
        }
        let row = i32::try_from(index).map_err(|_| missing())?;
        // SAFETY: the context is live; llama.cpp answers null for rows it did not compute.
        let logits = unsafe { (self.model.api().llama_get_logits_ith)(self.handle.ptr.as_ptr(), row) };
        if logits.is_null() {
            return Err(missing());
        }
        // SAFETY: a row has one value a token; the next decode, which would overwrite it, needs `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(logits, self.model.vocab().len()) })
    }

    /// Generates tokens after `prompt` in sequence 0, which is emptied first. `select` picks each token from the logits, or ends
    /// the generation with `None`; it also ends with an end-of-generation token, which is not returned.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn generate(
        &mut self,
        prompt: &[TokenId],
        max_tokens: usize,
        mut select: impl FnMut(&[f32]) -> Option<TokenId>,
    ) -> Result<Vec<TokenId>, ContextError> {
        self.remove_sequence(0)?;
        let mut generated = Vec::new();
        for chunk in prompt.chunks(self.resolved.n_batch as usize) {
            let start = self.next_position(0)?;
            self.decode(&Batch::prompt(0, start, chunk))?;
        }
        while generated.len() < max_tokens {
            let row = self.outputs.len().saturating_sub(1);
            let Some(token) = select(self.logits(row)?) else { break };
            if self.model.vocab().is_eog(token) {
                break;
            }
            generated.push(token);
            let next = self.next_position(0)?;
            if generated.len() == max_tokens || next == self.sequence_size() {
                break;
            }
            self.decode(&Batch::prompt(0, next, &[token]))?;
        }
        Ok(generated)
    }

    fn check(&self, batch: &Batch) -> Result<(), ContextError> {
        if batch.is_empty() {
            return Err(ContextError::EmptyBatch);
        }
        if batch.len() > self.resolved.n_batch as usize {
            return Err(ContextError::BatchTooLarge { tokens: batch.len(), n_batch: self.resolved.n_batch });
        }
        let outputs = batch.outputs.iter().filter(|o| **o).count();
        if outputs > self.resolved.n_outputs_max as usize {
            return Err(ContextError::TooManyOutputs { outputs, max_outputs: self.resolved.n_outputs_max });
        }
        let vocab_size = self.model.vocab().len();
        let positions = self.model.embedding_facts().learned_positions.map_or(i64::MAX, i64::from);
        // The next position of each sequence that the batch touches.
        let mut next: Vec<Option<llama_pos>> = vec![None; self.resolved.n_seq_max as usize];
        for (index, token) in batch.tokens.iter().enumerate() {
            if usize::try_from(*token).map_or(true, |t| t >= vocab_size) {
                return Err(ContextError::TokenOutOfRange { index, token: *token, vocab_size });
            }
            let sequences = &batch.sequences[index];
            let repeated = sequences.iter().enumerate().any(|(i, s)| sequences[..i].contains(s));
            if sequences.is_empty() || repeated {
                return Err(ContextError::BadSequences { index });
            }
            if sequences.len() > 1 && !self.config.unified_cache {
                return Err(ContextError::SplitCells { index });
            }
            for sequence in sequences {
                let slot = self.check_sequence(i64::from(*sequence))?;
                let expected = match next[slot as usize] {
                    Some(expected) => expected,
                    None => self.next_position(slot)?.cast_signed(),
                };
                let position = batch.positions[index];
                if position != expected || position == llama_pos::MAX {
                    return Err(ContextError::WrongPosition { index, sequence: slot, position, expected });
                }
                // Beyond its positions a model reads past their table, and ggml aborts (`ggml_compute_forward_get_rows` in `ggml/src/ggml-cpu/ops.cpp`).
                if i64::from(position) >= positions {
                    return Err(ContextError::UnknownPosition { index, position, positions });
                }
                next[slot as usize] = Some(expected + 1);
            }
        }
        Ok(())
    }

    pub(crate) fn check_sequence(&self, sequence: i64) -> Result<u32, ContextError> {
        let n_seq_max = self.resolved.n_seq_max;
        match u32::try_from(sequence) {
            Ok(slot) if slot < n_seq_max => Ok(slot),
            _ => Err(ContextError::SequenceOutOfRange { sequence, n_seq_max }),
        }
    }

    fn describe_outputs(&self) -> String {
        let rows: Vec<_> =
            self.outputs.iter().enumerate().filter(|(_, o)| **o).map(|(i, _)| i.to_string()).collect();
        match rows.len() {
            0 => "none".to_owned(),
            1..=8 => rows.join(", "),
            n => format!("{n} tokens, {} to {}", rows[0], rows[n - 1]),
        }
    }
}
