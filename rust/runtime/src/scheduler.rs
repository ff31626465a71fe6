//! Who runs next: a pure function from the state of all requests to the next step.
//!
//! The oldest request that is not paused gets every micro-batch until it is done. If it lacks a sequence or cells, they are taken first from cached
//! prefixes (no request needs them), then from other requests, which are parked: their state moves to host memory until their turn comes. A request never
//! has more tokens than the context has cells, so alone in memory it always fits, and [`Scheduler::plan`] always finds a step while any request can run.

use std::collections::VecDeque;

use crate::TokenId;

/// A request's number; older requests have smaller ones.
pub(crate) type JobId = u64;

/// Sizes that no step may exceed.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "llama.cpp's own names")]
pub(crate) struct Capacity {
    pub(crate) n_ctx: usize,
    pub(crate) n_batch: usize,
    pub(crate) n_seq_max: usize,
    pub(crate) n_outputs: usize,
}

/// What to do next. Whoever does it reports it to the scheduler with the method named at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// No request can run.
    Idle,
    /// Clear the cached prefix in `seq`; then [`Scheduler::evicted`].
    Evict { seq: u32 },
    /// Save the state of `job`, clear `seq`; then [`Scheduler::parked`], or [`Scheduler::lost`] if it could not be saved.
    Park { job: JobId, seq: u32 },
    /// Give `job` the empty `seq`; then [`Scheduler::placed`].
    Place { job: JobId, seq: u32 },
    /// Give `job` the cached prefix in `seq`, less all from position `keep` on; then [`Scheduler::placed`]. `whole`: the prefix ends at `keep`,
    /// so there is nothing to cut.
    Reuse { job: JobId, seq: u32, keep: usize, whole: bool },
    /// Put the state of `job` into the empty `seq`; then [`Scheduler::restored`] or [`Scheduler::lost`].
    Restore { job: JobId, seq: u32 },
    /// Decode the next `len` tokens of `job` from position `pos` on; then [`Scheduler::decoded`]. The logits of the last `rows` of them are
    /// wanted. `last`: these are the last tokens of `job`.
    Decode { job: JobId, seq: u32, pos: usize, len: usize, rows: usize, last: bool },
    /// There is no room for `job` though nothing else is in memory; end it.
    Stuck { job: JobId },
}

/// How many requests are queued, parked and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) active: usize,
    pub(crate) queued: usize,
    pub(crate) parked: usize,
    pub(crate) cells: usize,
}

/// The state of all requests, sequences and cells.
#[derive(Debug)]
pub(crate) struct Scheduler {
    capacity: Capacity,
    /// Oldest first, which is by ascending number.
    jobs: VecDeque<Job>,
    slots: Vec<Slot>,
    /// Counts the steps that served a request.
    clock: u64,
}

#[derive(Debug)]
struct Job {
    id: JobId,
    /// The prompt and all generated tokens.
    tokens: Vec<TokenId>,
    /// How many of them are decoded.
    n_past: usize,
    place: JobPlace,
    paused: bool,
    cache_prompt: bool,
    /// The logits of all tokens from this one on are wanted; `None`: of the last one.
    logits_from: Option<usize>,
    served: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobPlace {
    /// Nothing is decoded.
    Queued,
    Slot(u32),
    /// The decoded part is in host memory.
    Parked,
}

#[derive(Debug)]
enum Slot {
    Free,
    Taken(JobId),
    Cached { tokens: Vec<TokenId>, served: u64 },
}

impl Job {
    /// How many tokens to decode next.
    fn next_len(&self, capacity: &Capacity) -> usize {
        let len = (self.tokens.len() - self.n_past).min(capacity.n_batch);
        match self.logits_from {
            Some(from) => len.min(from.saturating_sub(self.n_past) + capacity.n_outputs),
            None => len,
        }
    }

    /// For how many of the next `len` tokens the logits are wanted.
    fn rows(&self, len: usize, last: bool) -> usize {
        match self.logits_from {
            Some(from) => (self.n_past + len).saturating_sub(from.max(self.n_past)),
            None => usize::from(last),
        }
    }
}

impl Scheduler {
    pub(crate) fn new(capacity: Capacity) -> Self {
        let capacity = Capacity {
            n_ctx: capacity.n_ctx,
            n_batch: capacity.n_batch.max(1),
            n_seq_max: capacity.n_seq_max.max(1),
            n_outputs: capacity.n_outputs.max(1),
        };
        let slots = (0..capacity.n_seq_max).map(|_| Slot::Free).collect();
        Self { capacity, jobs: VecDeque::new(), slots, clock: 0 }
    }

    /// Adds a request. Its number must be larger than all before. Logits are wanted of its tokens from index `logits_from` on, or, with `None`,
    /// of the last one alone.
    pub(crate) fn submit(
        &mut self,
        id: JobId,
        tokens: Vec<TokenId>,
        cache_prompt: bool,
        logits_from: Option<usize>,
    ) {
        self.jobs.push_back(Job {
            id,
            tokens,
            n_past: 0,
            place: JobPlace::Queued,
            paused: false,
            cache_prompt,
            logits_from,
            served: 0,
        });
    }

    /// The next step. Changes nothing.
    pub(crate) fn plan(&self) -> Step {
        let Some(job) = self.jobs.iter().find(|job| !job.paused) else { return Step::Idle };
        let len = job.next_len(&self.capacity);
        match job.place {
            JobPlace::Slot(seq) if self.cells() + len <= self.capacity.n_ctx => {
                let last = job.n_past + len == job.tokens.len();
                let rows = job.rows(len, last);
                Step::Decode { job: job.id, seq, pos: job.n_past, len, rows, last }
            }
            JobPlace::Slot(_) => self.make_room(job.id),
            JobPlace::Queued => match (self.cached_prefix(job), self.free_seq()) {
                (Some((seq, keep, whole)), _) => Step::Reuse { job: job.id, seq, keep, whole },
                (None, Some(seq)) => Step::Place { job: job.id, seq },
                (None, None) => self.make_room(job.id),
            },
            JobPlace::Parked => match self.free_seq() {
                Some(seq) if self.cells() + job.n_past + len <= self.capacity.n_ctx => {
                    Step::Restore { job: job.id, seq }
                }
                _ => self.make_room(job.id),
            },
        }
    }

    /// The step that frees a sequence and its cells for `job`: the least recently served cached prefix goes, else another request.
    pub(crate) fn make_room(&self, job: JobId) -> Step {
        let cached = self.slots.iter().zip(0u32..).filter_map(|(slot, seq)| match slot {
            Slot::Cached { served, .. } => Some((*served, seq)),
            _ => None,
        });
        if let Some((_, seq)) = cached.min() {
            return Step::Evict { seq };
        }
        let others = self.jobs.iter().filter(|other| other.id != job).filter_map(|other| match other.place {
            JobPlace::Slot(seq) => Some((other.served, other.id, seq)),
            _ => None,
        });
        others.min().map_or(Step::Stuck { job }, |(_, job, seq)| Step::Park { job, seq })
    }

    pub(crate) fn evicted(&mut self, seq: u32) {
        self.set_slot(seq, Slot::Free);
    }

    pub(crate) fn parked(&mut self, id: JobId) {
        self.move_job(id, JobPlace::Parked);
    }

    /// The state of `id` could not be saved or put back: all its tokens will be decoded again.
    pub(crate) fn lost(&mut self, id: JobId) {
        self.move_job(id, JobPlace::Queued);
        if let Some(job) = self.job_mut(id) {
            job.n_past = 0;
        }
    }

    /// `id` has `seq` now, with its first `n_past` tokens in it.
    pub(crate) fn placed(&mut self, id: JobId, seq: u32, n_past: usize) {
        self.move_job(id, JobPlace::Slot(seq));
        if let Some(job) = self.job_mut(id) {
            job.n_past = n_past;
        }
    }

    pub(crate) fn restored(&mut self, id: JobId, seq: u32) {
        self.move_job(id, JobPlace::Slot(seq));
    }

    pub(crate) fn decoded(&mut self, id: JobId, len: usize) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(job) = self.job_mut(id) {
            job.n_past += len;
            job.served = clock;
        }
    }

    /// Adds the tokens that were chosen for `id`.
    pub(crate) fn generated(&mut self, id: JobId, tokens: &[TokenId]) {
        if let Some(job) = self.job_mut(id) {
            job.tokens.extend_from_slice(tokens);
        }
    }

    /// Replaces the tokens of `id` from index `keep` on by `tail`; of the tokens before, `n_past` are still in memory.
    pub(crate) fn rewound(&mut self, id: JobId, keep: usize, n_past: usize, tail: &[TokenId]) {
        if let Some(job) = self.job_mut(id) {
            job.tokens.truncate(keep);
            job.tokens.extend_from_slice(tail);
            job.n_past = job.n_past.min(n_past);
        }
    }

    /// Where `id` is in memory: its sequence, and how many of its tokens are in it.
    pub(crate) fn seq(&self, id: JobId) -> Option<(u32, usize)> {
        let job = &self.jobs[self.index(id)?];
        match job.place {
            JobPlace::Slot(seq) => Some((seq, job.n_past)),
            _ => None,
        }
    }

    pub(crate) fn set_paused(&mut self, id: JobId, paused: bool) {
        if let Some(job) = self.job_mut(id) {
            job.paused = paused;
        }
    }

    /// The prompt and all generated tokens of `id`.
    pub(crate) fn tokens(&self, id: JobId) -> &[TokenId] {
        self.index(id).map_or(&[], |index| &self.jobs[index].tokens)
    }

    /// Removes `id` and returns the sequence that must be cleared now. With `keep`, a request with `cache_prompt` leaves what it decoded as a
    /// cached prefix instead.
    pub(crate) fn remove(&mut self, id: JobId, keep: bool) -> Option<u32> {
        let mut job = self.jobs.remove(self.index(id)?)?;
        let JobPlace::Slot(seq) = job.place else { return None };
        if keep && job.cache_prompt && job.n_past > 0 {
            job.tokens.truncate(job.n_past);
            self.set_slot(seq, Slot::Cached { tokens: job.tokens, served: job.served });
            return None;
        }
        self.set_slot(seq, Slot::Free);
        Some(seq)
    }

    /// Cells in use.
    pub(crate) fn cells(&self) -> usize {
        let cells = |slot: &Slot| match slot {
            Slot::Free => 0,
            Slot::Taken(id) => self.index(*id).map_or(0, |index| self.jobs[index].n_past),
            Slot::Cached { tokens, .. } => tokens.len(),
        };
        self.slots.iter().map(cells).sum()
    }

    pub(crate) fn census(&self) -> Census {
        let count = |test: fn(JobPlace) -> bool| self.jobs.iter().filter(|job| test(job.place)).count();
        Census {
            active: count(|place| matches!(place, JobPlace::Slot(_))),
            queued: count(|place| place == JobPlace::Queued),
            parked: count(|place| place == JobPlace::Parked),
            cells: self.cells(),
        }
    }

    /// The cached prefix that saves `job` the most tokens, how many it saves, and whether those are all of the prefix. Tokens whose logits are
    /// wanted are always decoded.
    fn cached_prefix(&self, job: &Job) -> Option<(u32, usize, bool)> {
        if !job.cache_prompt {
            return None;
        }
        let most = job.logits_from.unwrap_or(usize::MAX).min(job.tokens.len() - 1);
        let common = self.slots.iter().zip(0u32..).filter_map(|(slot, seq)| match slot {
            Slot::Cached { tokens, .. } => {
                let keep = tokens.iter().zip(&job.tokens[..most]).take_while(|(a, b)| a == b).count();
                Some((keep, std::cmp::Reverse(tokens.len()), seq))
            }
            _ => None,
        });
        common.max().filter(|best| best.0 > 0).map(|(keep, len, seq)| (seq, keep, len.0 == keep))
    }

    fn free_seq(&self) -> Option<u32> {
        self.slots.iter().position(|slot| matches!(slot, Slot::Free)).map(|seq| seq as u32)
    }

    fn index(&self, id: JobId) -> Option<usize> {
        self.jobs.binary_search_by_key(&id, |job| job.id).ok()
    }

    fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let index = self.index(id)?;
        self.jobs.get_mut(index)
    }

    /// Moves a request, frees the slot that it leaves and takes the one that it goes to.
    fn move_job(&mut self, id: JobId, to: JobPlace) {
        let Some(job) = self.job_mut(id) else { return };
        let from = std::mem::replace(&mut job.place, to);
        if let JobPlace::Slot(seq) = from {
            self.set_slot(seq, Slot::Free);
        }
        if let JobPlace::Slot(seq) = to {
            self.set_slot(seq, Slot::Taken(id));
        }
    }

    fn set_slot(&mut self, seq: u32, slot: Slot) {
        if let Some(place) = self.slots.get_mut(seq as usize) {
            *place = slot;
        }
    }
}
