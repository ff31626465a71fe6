//! What runs next: a pure function from the state of all requests to the next step.
//!
//! Requests are served in the order of their [`Rank`]: by priority, then by age. The first ones that can run and fit the memory, at most `n_running`,
//! are decoded together, each step anew; see [`batch`](self) for how a step is shared. If a request lacks a sequence or cells, they are taken first from leftovers
//! (no request needs them), then from requests whose consumers do not keep up, then from those that come after it: these are parked, which
//! moves their state to host memory until their turn comes. A request never has more tokens than the context has cells, so alone in memory it always
//! fits, and [`Scheduler::plan`] always finds a step while any request can run.
//!
//! A request that allows it begins with what is decoded already: it shares the cells of the longest beginning that it has in common with another such request
//! or a leftover. Where another request is about to decode such a beginning, it waits for that.

mod batch;
mod cells;
mod job;
mod prefix;

use std::collections::HashMap;

use crate::TokenId;
use cells::Cells;
use job::{Job, Place, Rank};
use prefix::{Leftover, Prefix, Source, Stored, common};

pub(crate) use job::{Hold, JobId, NewJob};

/// Sizes that no step may exceed.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "llama.cpp's own names")]
pub(crate) struct Capacity {
    /// Cells for all sequences together; one that runs alone never needs more.
    pub(crate) n_ctx: usize,
    pub(crate) n_batch: usize,
    pub(crate) n_seq_max: usize,
    pub(crate) n_outputs: usize,
    /// Maximum number of requests that are decoded together.
    pub(crate) n_running: usize,
    /// Cells of leftovers that may lie beside running requests. Attention passes over all cells up to the last one in use, also for tokens that do not see
    /// them: for SmolLM2-135M, 3,800 foreign cells make a step of one token a fifth to a third longer.
    pub(crate) n_idle: usize,
    /// Maximum size of the leftovers in host memory, in bytes.
    pub(crate) n_stored_bytes: usize,
}

/// A part of a request that is decoded in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) job: JobId,
    pub(crate) seq: u32,
    /// The index of its first token in the request.
    pub(crate) pos: usize,
    pub(crate) len: usize,
    /// The logits of the last so many are wanted.
    pub(crate) rows: usize,
    /// They are the last tokens of the request.
    pub(crate) last: bool,
}

/// What to do next. Whoever does it reports it to the scheduler with the method named at each step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// No request can run.
    Idle,
    /// Clear the leftover in `seq`; then [`Scheduler::evicted`].
    Evict { seq: u32 },
    /// Save the leftover in `seq`, clear `seq`; then [`Scheduler::stowed`], or [`Scheduler::evicted`] if it could not be saved.
    Stow { seq: u32 },
    /// Save the state of `job`, clear `seq`; then [`Scheduler::parked`], or [`Scheduler::lost`] if it could not be saved.
    Park { job: JobId, seq: u32 },
    /// Give `job` the empty `seq`; then [`Scheduler::placed`].
    Place { job: JobId, seq: u32 },
    /// Copy the first `keep` positions of `from` to the empty `seq`; then [`Scheduler::copied`], or [`Scheduler::placed`] with nothing in it.
    Copy { job: JobId, from: u32, seq: u32, keep: usize },
    /// Cut the leftover in `seq` to its first `keep` positions and give it to `job`; then [`Scheduler::taken`].
    Take { job: JobId, seq: u32, keep: usize },
    /// Put the leftover `entry` into the empty `seq` and cut it to its first `keep` positions; then [`Scheduler::fetched`], or [`Scheduler::placed`]
    /// with nothing in it.
    Fetch { job: JobId, entry: u64, seq: u32, keep: usize },
    /// Put the state of `job` into the empty `seq`; then [`Scheduler::restored`] or [`Scheduler::lost`].
    Restore { job: JobId, seq: u32 },
    /// Decode these, at least one, of as many requests; then [`Scheduler::decoded`].
    Decode(Vec<Span>),
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

/// Whether a sequence can be cut to its first positions; see [`Decoder::can_cut`](crate::Decoder::can_cut).
pub(crate) type CanCut<'a> = &'a dyn Fn(u32, usize) -> bool;

/// How many tokens ahead a request is thought to need cells for before it starts.
const HORIZON: usize = 256;
/// The same for a request that runs, which would have to be parked otherwise.
const NEAR_HORIZON: usize = 32;
/// A waiting request keeps its place for so many steps.
const PATIENCE: u64 = 64;
/// A request waits for another one to decode their common beginning if that saves at least so many tokens.
const WORTH_WAITING: usize = 16;
/// After so many requests that do not fit, no more are looked at: with thousands in the queue, a step would take long to plan.
const LOOKAHEAD: usize = 32;
/// Leftovers of fewer tokens are not kept in host memory.
const WORTH_STOWING: usize = 32;

/// The state of all requests, sequences and cells.
#[derive(Debug)]
pub(crate) struct Scheduler {
    capacity: Capacity,
    /// By rank.
    jobs: Vec<Job>,
    ranks: HashMap<JobId, Rank>,
    slots: Vec<Slot>,
    cells: Cells,
    stored: Vec<Stored>,
    n_stored: u64,
    /// Whether a leftover from host memory can be cut, as far as is known.
    stored_can_cut: bool,
    /// Cells that there are, as far as is known.
    n_ctx: usize,
    /// Maximum number of tokens of prompts in a step that other requests share.
    chunk: usize,
    /// Counts the steps that decoded.
    clock: u64,
}

#[derive(Debug)]
enum Slot {
    Free,
    Taken(JobId),
    Cached(Leftover),
}

/// Which requests take part in the next step.
#[derive(Default)]
struct Choice {
    /// Indexes of jobs that have a sequence, by rank.
    jobs: Vec<usize>,
    /// Places where a request has to stop for another one to copy what it has.
    stops: Vec<(JobId, usize)>,
}

impl Scheduler {
    pub(crate) fn new(capacity: Capacity) -> Self {
        let n_seq_max = capacity.n_seq_max.max(1);
        let capacity = Capacity {
            n_batch: capacity.n_batch.max(1),
            n_seq_max,
            n_outputs: capacity.n_outputs.max(1),
            n_running: capacity.n_running.clamp(1, n_seq_max),
            ..capacity
        };
        Self {
            capacity,
            jobs: Vec::new(),
            ranks: HashMap::new(),
            slots: (0..n_seq_max).map(|_| Slot::Free).collect(),
            cells: Cells::new(n_seq_max),
            stored: Vec::new(),
            n_stored: 0,
            stored_can_cut: true,
            n_ctx: capacity.n_ctx,
            chunk: capacity.n_batch,
            clock: 0,
        }
    }

    /// Adds a request. Its number must be larger than all before.
    pub(crate) fn submit(&mut self, id: JobId, new: NewJob) {
        let job = Job::new(id, new);
        self.ranks.insert(id, job.rank);
        let at = self.jobs.partition_point(|other| other.rank < job.rank);
        self.jobs.insert(at, job);
    }

    /// Sets the maximum number of tokens of prompts in a step in which requests generate, which may be 0.
    pub(crate) fn set_chunk(&mut self, chunk: usize) {
        self.chunk = chunk;
    }

    /// The next step. Changes nothing.
    pub(crate) fn plan(&self, can_cut: CanCut<'_>) -> Step {
        match self.choose(can_cut) {
            Ok(choice) => self.batch(&choice),
            Err(step) => step,
        }
    }

    /// The requests of the next step, or what has to be done before.
    fn choose(&self, can_cut: CanCut<'_>) -> Result<Choice, Step> {
        let n_ctx = self.n_ctx;
        let mut choice = Choice::default();
        // The cells that the chosen ones have, and may come to need.
        let (mut covered, mut reserved) = (cells::Cover::default(), 0);
        let mut n_passed = 0;
        for (index, job) in self.jobs.iter().enumerate() {
            if choice.jobs.len() == self.capacity.n_running || n_passed == LOOKAHEAD {
                break;
            }
            let in_memory = matches!(job.place, Place::Slot(_));
            if job.hold == Hold::Stalled || (job.hold != Hold::Free && !in_memory) {
                continue;
            }
            let first = choice.jobs.is_empty();
            n_passed += usize::from(!in_memory);
            match job.place {
                Place::Slot(seq) => {
                    let needed = self.cells.beyond(&covered, seq) + job.growth(NEAR_HORIZON);
                    if first || reserved + needed <= n_ctx {
                        self.cells.cover(&mut covered, seq);
                        reserved += needed;
                        choice.jobs.push(index);
                    }
                }
                Place::Parked => {
                    if first || reserved + job.n_past + job.growth(HORIZON) <= n_ctx {
                        let n_cells = job.n_past + 1;
                        match self.free_seq() {
                            Some(seq) if self.n_free() >= n_cells => {
                                return Err(Step::Restore { job: job.rank.id, seq });
                            }
                            _ => self.victim(&choice).map_or(Ok(()), Err)?,
                        }
                    }
                }
                Place::Queued => {
                    if let Some(stop) = self.awaited(job, &choice) {
                        choice.stops.push(stop);
                        continue;
                    }
                    let prefix = self.prefix(job, can_cut);
                    let counted = |seq| choice.jobs.iter().any(|at| self.jobs[*at].place == Place::Slot(seq));
                    let shared = match prefix {
                        Some(Prefix { source: Source::Running(seq), keep }) if counted(seq) => keep,
                        _ => 0,
                    };
                    if first || reserved + job.growth(HORIZON) - shared <= n_ctx {
                        self.enter(index, prefix, &choice).map_or(Ok(()), Err)?;
                    }
                }
            }
        }
        Ok(choice)
    }

    /// The step that brings the queued request at `index` closer to memory; `None` when there is no room for it now.
    fn enter(&self, index: usize, prefix: Option<Prefix>, choice: &Choice) -> Option<Step> {
        let job = self.jobs[index].rank.id;
        let (donor, take) = match prefix {
            Some(Prefix { source: Source::Cached(seq), keep }) => {
                (Some(seq), Some(Step::Take { job, seq, keep }))
            }
            _ => (None, None),
        };
        let make_room = || {
            let leftover = self.oldest_leftover(donor).map(|seq| self.remove_leftover(seq));
            leftover.or(take.clone()).or_else(|| self.victim(choice))
        };
        let Some(seq) = self.free_seq() else { return make_room() };
        let n_cells = match prefix {
            Some(Prefix { source: Source::Stored(entry), .. }) => {
                self.entry(entry)?.leftover.tokens.len() + 1
            }
            _ => 1,
        };
        if self.n_free() < n_cells {
            let anew = (self.n_free() > 0).then_some(Step::Place { job, seq });
            return make_room().or(anew);
        }
        Some(match prefix {
            None => Step::Place { job, seq },
            Some(Prefix { source: Source::Cached(from) | Source::Running(from), keep }) => {
                Step::Copy { job, from, seq, keep }
            }
            Some(Prefix { source: Source::Stored(entry), keep }) => Step::Fetch { job, entry, seq, keep },
        })
    }

    /// The step that frees a sequence and its cells: the leftover used longest ago goes, else a request that stalls, else the last one that was not chosen.
    ///
    /// Without all of these, only the cells of the chosen ones are in use. A request fits beside these by what is reserved, so it never makes
    /// room in vain.
    fn victim(&self, choice: &Choice) -> Option<Step> {
        if let Some(seq) = self.oldest_leftover(None) {
            return Some(self.remove_leftover(seq));
        }
        let others = self.jobs.iter().enumerate().filter_map(|(at, other)| match other.place {
            Place::Slot(seq) if !choice.jobs.contains(&at) => Some((other, seq)),
            _ => None,
        });
        let (stalled, others): (Vec<_>, Vec<_>) = others.partition(|(other, _)| other.hold == Hold::Stalled);
        let stalled = stalled.into_iter().min_by_key(|(other, _)| (other.served, other.rank));
        let other = stalled.or(others.last().copied());
        other.map(|(other, seq)| Step::Park { job: other.rank.id, seq })
    }

    fn oldest_leftover(&self, spared: Option<u32>) -> Option<u32> {
        let leftovers = self.slots.iter().zip(0u32..).filter_map(|(slot, seq)| match slot {
            Slot::Cached(leftover) if Some(seq) != spared => Some((leftover.served, seq)),
            _ => None,
        });
        leftovers.min().map(|(_, seq)| seq)
    }

    fn remove_leftover(&self, seq: u32) -> Step {
        let n_tokens = match &self.slots[seq as usize] {
            Slot::Cached(leftover) => leftover.tokens.len(),
            _ => 0,
        };
        let worth = n_tokens >= WORTH_STOWING && self.capacity.n_stored_bytes > 0;
        if worth { Step::Stow { seq } } else { Step::Evict { seq } }
    }

    /// The longest beginning of a queued request's tokens that is decoded already.
    fn prefix(&self, job: &Job, can_cut: CanCut<'_>) -> Option<Prefix> {
        if !job.cache {
            return None;
        }
        let wanted = &job.tokens[..job.n_reusable()];
        let in_memory = self.slots.iter().zip(0u32..).filter_map(|(slot, seq)| {
            let (source, tokens, group) = match slot {
                Slot::Free => return None,
                Slot::Cached(leftover) => (Source::Cached(seq), &leftover.tokens[..], leftover.group),
                Slot::Taken(id) => {
                    let other = &self.jobs[self.index(*id)?];
                    if !other.cache {
                        return None;
                    }
                    (Source::Running(seq), &other.tokens[..other.n_past], other.group)
                }
            };
            let keep = common(tokens, wanted);
            let fits = group == job.group && keep > 0 && (keep == tokens.len() || can_cut(seq, keep));
            fits.then_some(Prefix { source, keep })
        });
        let stored = self.stored.iter().filter_map(|entry| {
            let tokens = &entry.leftover.tokens;
            let keep = common(tokens, wanted);
            let can_cut = self.stored_can_cut || keep == tokens.len();
            let fits = entry.leftover.group == job.group && keep >= WORTH_STOWING && can_cut;
            fits.then_some(Prefix { source: Source::Stored(entry.id), keep })
        });
        // Of equal ones the first, which is in memory.
        in_memory.chain(stored).reduce(|best, other| if other.keep > best.keep { other } else { best })
    }

    /// The chosen request that is about to decode what `job` begins with, and where it then has to stop.
    fn awaited(&self, job: &Job, choice: &Choice) -> Option<(JobId, usize)> {
        if !job.cache {
            return None;
        }
        let wanted = &job.tokens[..job.n_reusable()];
        let others = choice.jobs.iter().map(|index| &self.jobs[*index]);
        let shares = others.filter(|other| other.cache && other.group == job.group);
        let common: Vec<(usize, &Job)> = shares.map(|other| (common(&other.tokens, wanted), other)).collect();
        // Only what chosen ones hold counts: the rest may go when room is made for this very request.
        let keep = common.iter().map(|(n, other)| (*n).min(other.n_past)).max()?;
        let decodes = |(n, other): &&(usize, &Job)| other.hold == Hold::Free && *n > other.n_past;
        let best = common.iter().filter(decodes).max_by_key(|(n, _)| *n)?;
        (best.0 >= keep + WORTH_WAITING).then_some((best.1.rank.id, best.0))
    }

    pub(crate) fn evicted(&mut self, seq: u32) {
        self.free(seq);
    }

    /// The leftover in `seq` is in host memory now, in `n_bytes`. Returns its number there, and the numbers of those that must be dropped for it.
    pub(crate) fn stowed(&mut self, seq: u32, n_bytes: usize) -> (u64, Vec<u64>) {
        self.n_stored += 1;
        let id = self.n_stored;
        let slot = std::mem::replace(&mut self.slots[seq as usize], Slot::Free);
        self.cells.truncate(seq, 0);
        let Slot::Cached(leftover) = slot else { return (id, vec![id]) };
        // What it begins with need not be kept twice, where it can be cut.
        let (cuts, n_limit) = (self.stored_can_cut, self.capacity.n_stored_bytes);
        let mut dropped = Vec::new();
        self.stored.retain(|old| {
            let twice = cuts
                && old.leftover.group == leftover.group
                && leftover.tokens.starts_with(&old.leftover.tokens);
            if twice {
                dropped.push(old.id);
            }
            !twice
        });
        self.stored.push(Stored { id, leftover, n_bytes });
        while self.stored.iter().map(|entry| entry.n_bytes).sum::<usize>() > n_limit {
            let oldest = self.stored.iter().enumerate().min_by_key(|(_, entry)| entry.leftover.served);
            let Some((at, _)) = oldest else { break };
            dropped.push(self.stored.swap_remove(at).id);
        }
        (id, dropped)
    }

    pub(crate) fn parked(&mut self, id: JobId) {
        self.move_job(id, Place::Parked);
    }

    /// The state of `id` could not be saved or put back: all its tokens will be decoded again.
    pub(crate) fn lost(&mut self, id: JobId) {
        self.move_job(id, Place::Queued);
        if let Some(job) = self.job_mut(id) {
            job.n_past = 0;
        }
    }

    /// `id` has the empty `seq` now.
    pub(crate) fn placed(&mut self, id: JobId, seq: u32) {
        self.move_job(id, Place::Slot(seq));
        self.set_past(id, 0);
    }

    /// `id` has `seq` now, with the first `n_past` tokens of `from` in it.
    pub(crate) fn copied(&mut self, id: JobId, from: u32, seq: u32, n_past: usize) {
        self.move_job(id, Place::Slot(seq));
        self.cells.copy(from, seq, n_past);
        self.set_past(id, n_past);
        let clock = self.clock;
        if let Slot::Cached(leftover) = &mut self.slots[from as usize] {
            leftover.served = clock;
        }
    }

    /// `id` has the leftover in `seq` now, of which its first `n_past` tokens are left.
    pub(crate) fn taken(&mut self, id: JobId, seq: u32, n_past: usize) {
        self.move_job(id, Place::Slot(seq));
        self.cells.truncate(seq, n_past);
        self.set_past(id, n_past);
    }

    /// `id` has `seq` now, with its first `n_past` tokens, from the leftover `entry`.
    pub(crate) fn fetched(&mut self, id: JobId, entry: u64, seq: u32, n_past: usize) {
        self.move_job(id, Place::Slot(seq));
        self.cells.grow(seq, n_past);
        self.set_past(id, n_past);
        let clock = self.clock;
        if let Some(entry) = self.stored.iter_mut().find(|stored| stored.id == entry) {
            entry.leftover.served = clock;
        }
    }

    /// A leftover from host memory cannot be cut.
    pub(crate) fn stored_cannot_be_cut(&mut self) {
        self.stored_can_cut = false;
    }

    pub(crate) fn restored(&mut self, id: JobId, seq: u32) {
        self.move_job(id, Place::Slot(seq));
        if let Some(index) = self.index(id) {
            self.cells.grow(seq, self.jobs[index].n_past);
        }
    }

    /// These were decoded.
    pub(crate) fn decoded(&mut self, spans: &[Span]) {
        self.clock += 1;
        for span in spans {
            let clock = self.clock;
            self.cells.grow(span.seq, span.len);
            if let Some(job) = self.job_mut(span.job) {
                job.n_past += span.len;
                job.served = clock;
                job.alone = false;
            }
        }
    }

    /// The decoder found no room for `n_tokens` more, against its promise: it gets less to hold until the memory is empty again.
    pub(crate) fn refused(&mut self, n_tokens: usize) {
        self.n_ctx = self.n_ctx.min(self.n_cells() + n_tokens / 2);
    }

    /// A batch with `id` failed: it is decoded in one of its own next.
    pub(crate) fn suspect(&mut self, id: JobId) {
        if let Some(job) = self.job_mut(id) {
            job.alone = true;
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
            let (place, n_past) = (job.place, job.n_past);
            if let Place::Slot(seq) = place {
                self.cells.truncate(seq, n_past);
            }
        }
    }

    /// Where `id` is in memory: its sequence, and how many of its tokens are in it.
    pub(crate) fn seq(&self, id: JobId) -> Option<(u32, usize)> {
        let job = &self.jobs[self.index(id)?];
        match job.place {
            Place::Slot(seq) => Some((seq, job.n_past)),
            _ => None,
        }
    }

    pub(crate) fn set_stalled(&mut self, id: JobId, stalled: bool) {
        self.set_hold(id, if stalled { Hold::Stalled } else { Hold::Free });
    }

    /// The hook of `id` has its logits.
    pub(crate) fn set_waiting(&mut self, id: JobId) {
        let since = self.clock;
        self.set_hold(id, Hold::Waiting { since });
    }

    fn set_hold(&mut self, id: JobId, hold: Hold) {
        if let Some(job) = self.job_mut(id) {
            job.hold = hold;
        }
    }

    /// Whether a request waits for its hook and others could take its place.
    pub(crate) fn is_held_up(&self) -> bool {
        let waits = |job: &Job| matches!(job.hold, Hold::Waiting { .. });
        let wants_in = |job: &Job| job.hold == Hold::Free && !matches!(job.place, Place::Slot(_));
        self.jobs.iter().any(waits) && self.jobs.iter().any(wants_in)
    }

    /// Gives the places of waiting requests away: all of them, or with `late` those that have waited for long.
    pub(crate) fn lapse(&mut self, late: bool) {
        let clock = self.clock;
        for job in &mut self.jobs {
            if let Hold::Waiting { since } = job.hold
                && (!late || clock > since + PATIENCE)
            {
                job.hold = Hold::Stalled;
            }
        }
    }

    /// The prompt and all generated tokens of `id`.
    pub(crate) fn tokens(&self, id: JobId) -> &[TokenId] {
        self.index(id).map_or(&[], |index| &self.jobs[index].tokens)
    }

    /// Removes `id` and returns the sequence that must be cleared now. With `keep`, a request that allows it leaves what it decoded behind instead.
    pub(crate) fn remove(&mut self, id: JobId, keep: bool) -> Option<u32> {
        let mut job = self.jobs.remove(self.index(id)?);
        self.ranks.remove(&id);
        let Place::Slot(seq) = job.place else { return None };
        if keep && job.cache && job.n_past > 0 {
            job.tokens.truncate(job.n_past);
            let leftover = Leftover { tokens: job.tokens, group: job.group, served: job.served };
            self.slots[seq as usize] = Slot::Cached(leftover);
            return None;
        }
        self.free(seq);
        Some(seq)
    }

    /// Cells in use.
    pub(crate) fn n_cells(&self) -> usize {
        self.cells.used()
    }

    /// How many requests there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn census(&self) -> Census {
        let count = |test: fn(Place) -> bool| self.jobs.iter().filter(|job| test(job.place)).count();
        Census {
            active: count(|place| matches!(place, Place::Slot(_))),
            queued: count(|place| place == Place::Queued),
            parked: count(|place| place == Place::Parked),
            cells: self.n_cells(),
        }
    }

    fn n_free(&self) -> usize {
        self.n_ctx.saturating_sub(self.n_cells())
    }

    fn free_seq(&self) -> Option<u32> {
        self.slots.iter().position(|slot| matches!(slot, Slot::Free)).map(|seq| seq as u32)
    }

    fn entry(&self, id: u64) -> Option<&Stored> {
        self.stored.iter().find(|entry| entry.id == id)
    }

    fn index(&self, id: JobId) -> Option<usize> {
        let rank = self.ranks.get(&id)?;
        self.jobs.binary_search_by_key(rank, |job| job.rank).ok()
    }

    fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let index = self.index(id)?;
        self.jobs.get_mut(index)
    }

    fn set_past(&mut self, id: JobId, n_past: usize) {
        if let Some(job) = self.job_mut(id) {
            job.n_past = n_past;
        }
    }

    /// Moves a request, frees the slot that it leaves and takes the one that it goes to.
    fn move_job(&mut self, id: JobId, to: Place) {
        let Some(job) = self.job_mut(id) else { return };
        let from = std::mem::replace(&mut job.place, to);
        if let Place::Slot(seq) = from {
            self.free(seq);
        }
        if let Place::Slot(seq) = to {
            self.slots[seq as usize] = Slot::Taken(id);
        }
    }

    fn free(&mut self, seq: u32) {
        self.slots[seq as usize] = Slot::Free;
        self.cells.truncate(seq, 0);
        if self.n_cells() == 0 {
            self.n_ctx = self.capacity.n_ctx;
        }
    }
}
