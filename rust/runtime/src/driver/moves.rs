//! What moves in memory: sequences, states in host memory, and cells of requests and their beginnings.

use super::{Driver, Run};
use crate::progress::End;
use crate::scheduler::{JobId, OwnerId, Step};
use crate::task::Task;
use crate::{Decoder, EngineError, FinishReason, TokenId};

impl<D: Decoder> Driver<D> {
    /// Splits the memory or makes it one, with all that is in it out of the way.
    pub(super) fn arrange(&mut self, split: bool, before: Vec<Step>) {
        for step in before {
            self.execute(step);
        }
        match self.decoder.set_split(split) {
            Ok(()) => self.scheduler.arranged(split),
            Err(_) => self.scheduler.cannot_arrange(),
        }
    }

    /// Drops leftovers of which there are too many.
    pub(super) fn trim(&mut self) {
        let dropped = self.scheduler.trim();
        self.drop_stored(dropped);
    }

    /// Takes a state in from outside, as a leftover of `owner`.
    pub(super) fn import(
        &mut self,
        tokens: Vec<TokenId>,
        bytes: &[u8],
        group: u64,
        owner: OwnerId,
    ) -> Result<(), EngineError> {
        let n_tokens = tokens.len();
        let state = self.decoder.import(bytes, n_tokens).ok_or(EngineError::NoCells { n_tokens })?;
        let id = self.scheduler.adopted(tokens, group, owner, D::saved_bytes(&state));
        self.stored.insert(id, state);
        self.trim();
        Ok(())
    }

    /// Gives the cells of a request that wants them to its consumer.
    pub(super) fn export(&mut self, job: JobId) {
        let Some(Run { task: Task::Transfer(transfer), .. }) = self.runs.get(&job) else { return };
        let Some((seq, n_tokens)) = self.scheduler.seq(job) else { return };
        let state = self.decoder.save(seq).ok().filter(|_| n_tokens > 0);
        let bytes = state.and_then(|state| self.decoder.export(&state, n_tokens));
        transfer.put(bytes.map(|bytes| (n_tokens, bytes)));
    }

    pub(super) fn stow(&mut self, seq: u32) {
        let state = self.decoder.save(seq);
        self.decoder.clear(seq);
        let Ok(state) = state else { return self.scheduler.evicted(seq) };
        let (id, replaced) = self.scheduler.stowed(seq, D::saved_bytes(&state));
        self.stored.insert(id, state);
        for id in replaced {
            self.stored.remove(&id);
        }
        self.trim();
        let n_bytes = self.stored.values().map(D::saved_bytes).sum();
        self.inbox.metrics().stowed(n_bytes);
    }

    pub(super) fn park(&mut self, job: JobId, seq: u32) {
        let state = self.decoder.save(seq);
        self.decoder.clear(seq);
        match (state, self.runs.get_mut(&job)) {
            (Ok(state), Some(run)) => {
                run.span.note("parked");
                run.parked = Some(state);
                self.scheduler.parked(job);
                self.inbox.metrics().parked();
            }
            _ => self.scheduler.lost(job),
        }
    }

    pub(super) fn restore(&mut self, job: JobId, seq: u32) {
        let state = self.runs.get_mut(&job).and_then(|run| run.parked.take());
        if state.is_some_and(|state| self.decoder.restore(seq, &state).is_ok()) {
            self.scheduler.restored(job, seq);
        } else {
            self.decoder.clear(seq);
            self.scheduler.lost(job);
        }
    }

    pub(super) fn copy(&mut self, job: JobId, from: u32, seq: u32, keep: usize) {
        if self.decoder.copy(from, seq, keep) {
            self.scheduler.copied(job, from, seq, keep);
            self.note_cached(job, keep);
        } else {
            self.decoder.clear(seq);
            self.place(job, seq);
        }
    }

    pub(super) fn take(&mut self, job: JobId, seq: u32, keep: usize) {
        if self.scheduler.loose_leftover(seq).is_some_and(|tokens| tokens.len() > keep) {
            self.shelve_leftover(seq);
        }
        let kept = if self.decoder.truncate(seq, keep) {
            keep
        } else {
            self.decoder.clear(seq);
            0
        };
        self.scheduler.taken(job, seq, kept);
        self.note_cached(job, kept);
    }

    pub(super) fn fetch(&mut self, job: JobId, entry: u64, seq: u32, keep: usize) {
        let state = self.stored.get(&entry);
        let restored = state.is_some_and(|state| self.decoder.restore(seq, state).is_ok());
        if restored && self.decoder.truncate(seq, keep) {
            self.scheduler.fetched(job, entry, seq, keep);
            self.note_cached(job, keep);
            return;
        }
        if restored {
            self.scheduler.stored_cannot_be_cut();
        }
        self.decoder.clear(seq);
        self.place(job, seq);
    }

    /// Counts the tokens of a prompt that need not be decoded.
    fn note_cached(&mut self, job: JobId, n_tokens: usize) {
        if let Some(run) = self.runs.get_mut(&job)
            && run.is_waiting()
        {
            run.task.usage_mut().cached_tokens = n_tokens;
        }
        self.note_placed(job);
    }

    /// Lets go of what was brought for a request, and ends one that wants nothing decoded.
    fn note_placed(&mut self, job: JobId) {
        if let Some(run) = self.runs.get_mut(&job) {
            run.brought = None;
        }
        if self.scheduler.has_its_cells(job) {
            self.end(job, End::new(FinishReason::Length));
        }
    }

    /// Gives a request an empty sequence.
    pub(super) fn place(&mut self, job: JobId, seq: u32) {
        self.scheduler.placed(job, seq);
        self.note_placed(job);
    }
}
