//! What runs next: a pure function from the state of all requests to the next step.
//!
//! Requests are served in the order of their [`Rank`]: by priority, then by age. The first ones that can run and fit the memory, at most `n_running`,
//! are decoded together, each step anew (`choice`); how they share a step is in `batch`. If a request lacks a sequence or cells, they are taken first from leftovers
//! (no request needs them), then from requests whose consumers do not keep up, then from those that come after it: these are parked, which
//! moves their state to host memory until their turn comes. A request never has more tokens than the context has cells, so alone in memory it always
//! fits, and [`Scheduler::plan`] always finds a step while any request can run.
//!
//! Where the memory can be split (`layout`), it is while several requests generate that fit their parts.
//!
//! Requests of one group only are decoded together; groups take turns (`turn`).
//!
//! A request that allows it begins with what is decoded already: it shares the cells of the longest beginning that it has in common with another such request
//! or a leftover. Where another request is about to decode such a beginning, it waits for that. Leftovers that somebody keeps are moved to host memory where others need their
//! cells, and never dropped.

mod batch;
mod cells;
mod choice;
mod done;
mod job;
mod layout;
mod prefix;
mod turn;

use std::collections::{HashMap, HashSet};

use crate::{Split, TokenId};
use cells::Cells;
use job::{Job, Place, Rank};
use layout::Layout;
use prefix::Leftover;
use turn::Turn;

pub(crate) use job::{Gap, Hold, JobId, NewJob, OwnerId};
pub(crate) use prefix::{LeftoverPlace, Stored, common};
pub(crate) use turn::TURN;

/// Sizes that no step may exceed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Cells for all sequences together; one that runs alone never needs more.
    pub(crate) n_ctx: usize,
    pub(crate) n_batch: usize,
    pub(crate) n_seq_max: usize,
    pub(crate) n_outputs: usize,
    /// Maximum number of requests that are decoded together.
    pub(crate) n_running: usize,
    /// How the memory can be split.
    pub(crate) split: Option<Split>,
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
    /// Do all of `before`, which leaves the memory empty, and split it, or make it one again; then [`Scheduler::arranged`] or [`Scheduler::cannot_arrange`].
    Arrange { split: bool, before: Vec<Step> },
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

/// A waiting request keeps its place for so many steps.
const PATIENCE: u64 = 64;

/// The state of all requests, sequences and cells.
#[derive(Debug)]
pub(crate) struct Scheduler {
    capacity: Capacity,
    /// By rank.
    jobs: Vec<Job>,
    ranks: HashMap<JobId, Rank>,
    slots: Vec<Slot>,
    cells: Cells,
    layout: Layout,
    stored: Vec<Stored>,
    n_stored: u64,
    /// How many bytes of host memory a leftover takes for each token, as far as is known.
    bytes_per_token: usize,
    /// Whether a leftover from host memory can be cut, as far as is known.
    stored_can_cut: bool,
    /// Cells that there are, as far as is known.
    n_ctx: usize,
    /// Maximum number of tokens of prompts in a step that other requests share.
    chunk: usize,
    /// The same where more requests wait for their first token than generate, and all their prompts fit.
    burst: usize,
    /// Maximum number of tokens of prompts in a step of their own while requests of other groups generate.
    apart: usize,
    turn: Turn,
    /// Counts the steps that decoded.
    clock: u64,
}

#[derive(Debug)]
enum Slot {
    Free,
    Taken(JobId),
    Cached(Leftover),
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
            layout: Layout::new(capacity.split.filter(|split| split.n_seq >= capacity.n_running)),
            stored: Vec::new(),
            n_stored: 0,
            bytes_per_token: 0,
            stored_can_cut: true,
            n_ctx: capacity.n_ctx,
            chunk: capacity.n_batch,
            burst: 0,
            apart: capacity.n_batch,
            turn: Turn::default(),
            clock: 0,
        }
    }

    /// Adds a request. No other has its number.
    pub(crate) fn submit(&mut self, id: JobId, new: NewJob) {
        // As if it had just been served: who comes newly waits for a turn like the others.
        let job = Job { served: self.clock, ..Job::new(id, new) };
        self.ranks.insert(id, job.rank);
        let at = self.jobs.partition_point(|other| other.rank < job.rank);
        self.jobs.insert(at, job);
    }

    /// Sets the maximum number of tokens of prompts in a step in which requests generate, which may be 0, and in one in which more requests wait for their first token.
    pub(crate) fn set_chunk(&mut self, chunk: usize, burst: usize) {
        (self.chunk, self.burst) = (chunk, burst);
    }

    /// Sets the maximum number of tokens of prompts in a step of their own while requests of other groups generate.
    pub(crate) fn set_apart(&mut self, apart: usize) {
        self.apart = apart.max(1);
    }

    /// The next step. Changes nothing.
    pub(crate) fn plan(&self, can_cut: CanCut<'_>) -> Step {
        if let Some(step) = self.split() {
            return step;
        }
        match self.choose(can_cut) {
            Ok(choice) => self.batch(&choice),
            Err(step) => step,
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

    /// The sequence of `id`, if `gap` can be taken out of it there: it is decoded, and no other sequence holds its cells.
    pub(crate) fn seq_to_shift(&self, id: JobId, gap: Gap) -> Option<u32> {
        let (seq, n_past) = self.seq(id)?;
        (gap.keep + gap.len <= n_past && !self.cells.is_shared(seq)).then_some(seq)
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

    /// The groups of all requests, and of all that they left behind.
    pub(crate) fn groups(&self) -> HashSet<u64> {
        let cached = self.slots.iter().filter_map(|slot| match slot {
            Slot::Cached(leftover) => Some(leftover.group),
            _ => None,
        });
        let stored = self.stored.iter().map(|entry| entry.leftover.group);
        self.jobs.iter().map(|job| job.group).chain(cached).chain(stored).collect()
    }

    /// Removes `id` and returns the sequence that must be cleared now. With `keep`, a request that allows it leaves what it decoded behind instead.
    pub(crate) fn remove(&mut self, id: JobId, keep: bool) -> Option<u32> {
        let mut job = self.jobs.remove(self.index(id)?);
        self.ranks.remove(&id);
        let Place::Slot(seq) = job.place else { return None };
        if keep && job.cache && job.n_past > 0 {
            job.tokens.truncate(job.n_past);
            if job.owner != 0 {
                self.disown(job.owner);
            }
            let leftover =
                Leftover { tokens: job.tokens, group: job.group, served: job.served, owner: job.owner };
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

    /// The tokens of the leftover in `seq`, if it is one of the default group that nobody keeps.
    pub(crate) fn loose_leftover(&self, seq: u32) -> Option<&[TokenId]> {
        match &self.slots[seq as usize] {
            Slot::Cached(leftover) if leftover.is_for_everybody() => Some(&leftover.tokens),
            _ => None,
        }
    }

    fn n_free(&self) -> usize {
        self.n_ctx.saturating_sub(self.n_cells())
    }

    fn free_seq(&self) -> Option<u32> {
        let n_seq = self.layout.current().map_or(usize::MAX, |split| split.n_seq);
        self.slots.iter().take(n_seq).position(|slot| matches!(slot, Slot::Free)).map(|seq| seq as u32)
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
            self.n_ctx = self.n_cells_in_all();
        }
    }
}
