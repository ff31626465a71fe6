//! Which requests take part in the next step, and what has to be done before.

use super::cells::Cover;
use super::job::{Job, OwnerId, Place};
use super::prefix::{Prefix, Source, common};
use super::{CanCut, Hold, JobId, NewJob, Scheduler, Slot, Step};
use crate::TokenId;

/// How many tokens ahead a request is thought to need cells for before it starts.
const HORIZON: usize = 256;
/// The same for a request that runs, which would have to be parked otherwise.
const NEAR_HORIZON: usize = 32;
/// A request waits for another one to decode their common beginning if that saves at least so many tokens.
const WORTH_WAITING: usize = 16;
/// After so many requests that do not fit, no more are looked at: with thousands in the queue, a step would take long to plan.
const LOOKAHEAD: usize = 32;
/// Leftovers of fewer tokens are not kept in host memory.
const WORTH_STOWING: usize = 32;

/// Which requests take part in the next step.
#[derive(Default)]
pub(super) struct Choice {
    /// Indexes of jobs that have a sequence, by rank.
    pub(super) jobs: Vec<usize>,
    /// Places where a request has to stop for another one to copy what it has.
    pub(super) stops: Vec<(JobId, usize)>,
}

impl Scheduler {
    /// The requests of the next step, or what has to be done before.
    pub(super) fn choose(&self, can_cut: CanCut<'_>) -> Result<Choice, Step> {
        // Where each sequence has its own cells, none has to be reserved.
        let n_ctx = if self.layout.current().is_some() { usize::MAX } else { self.n_ctx };
        let mut choice = Choice::default();
        // The cells that the chosen ones have, and may come to need.
        let (mut covered, mut reserved) = (Cover::default(), 0);
        let mut n_passed = 0;
        for (index, job) in self.jobs.iter().enumerate() {
            if choice.jobs.len() == self.capacity.n_running || n_passed == LOOKAHEAD {
                break;
            }
            let in_memory = matches!(job.place, Place::Slot(_));
            if job.hold == Hold::Stalled || (job.hold != Hold::Free && !in_memory) {
                continue;
            }
            if let Some(step) = self.unsplit(job) {
                return Err(step);
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
            Some(Prefix { source: Source::Cached(seq), keep })
                if self.is_free_for(seq, self.jobs[index].owner) =>
            {
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
    pub(super) fn victim(&self, choice: &Choice) -> Option<Step> {
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

    /// Whether a request of `owner` may take the leftover in `seq`, not only a copy of it.
    fn is_free_for(&self, seq: u32, owner: OwnerId) -> bool {
        matches!(&self.slots[seq as usize], Slot::Cached(leftover) if leftover.is_free_for(owner))
    }

    pub(super) fn remove_leftover(&self, seq: u32) -> Step {
        let n_tokens = match &self.slots[seq as usize] {
            Slot::Cached(leftover) if leftover.owner != 0 => return Step::Stow { seq },
            Slot::Cached(leftover) => leftover.tokens.len(),
            _ => 0,
        };
        let n_limit = self.capacity.n_stored_bytes;
        let fits = n_limit > 0 && n_tokens.saturating_mul(self.bytes_per_token) <= n_limit;
        let worth = n_tokens >= WORTH_STOWING && fits;
        if worth { Step::Stow { seq } } else { Step::Evict { seq } }
    }

    /// How many of the first tokens of `wanted` are decoded already, where a new request of the default group may take them.
    pub(crate) fn n_common(&self, wanted: &[TokenId], can_cut: CanCut<'_>) -> usize {
        let new = NewJob { tokens: wanted.to_vec(), cache: true, only_cells: true, ..NewJob::default() };
        self.prefix(&Job::new(0, new), can_cut).map_or(0, |prefix| prefix.keep)
    }

    /// Whether a leftover from host memory can be cut, as far as is known.
    pub(crate) fn stored_can_cut(&self) -> bool {
        self.stored_can_cut
    }

    /// The longest beginning of a queued request's tokens that is decoded already.
    fn prefix(&self, job: &Job, can_cut: CanCut<'_>) -> Option<Prefix> {
        if !job.cache && job.donor.is_none() {
            return None;
        }
        let wanted = &job.tokens[..job.n_reusable()];
        let in_memory = self.slots.iter().zip(0u32..).filter_map(|(slot, seq)| {
            let (source, tokens, group, least) = match slot {
                Slot::Free => return None,
                Slot::Cached(_) if !job.cache => return None,
                Slot::Cached(leftover) => {
                    let least = job.least_of(leftover.owner);
                    (Source::Cached(seq), &leftover.tokens[..], leftover.group, least)
                }
                Slot::Taken(id) => {
                    let other = &self.jobs[self.index(*id)?];
                    if !(job.cache && other.cache || job.donor == Some(*id)) {
                        return None;
                    }
                    let least = if job.donor == Some(*id) { 1 } else { job.least_of(other.owner) };
                    (Source::Running(seq), &other.tokens[..other.n_past], other.group, least)
                }
            };
            let keep = common(tokens, wanted);
            let fits = group == job.group && keep >= least && (keep == tokens.len() || can_cut(seq, keep));
            fits.then_some(Prefix { source, keep })
        });
        let stored = self.stored.iter().filter(|_| job.cache).filter_map(|entry| {
            let tokens = &entry.leftover.tokens;
            let keep = common(tokens, wanted);
            let can_cut = self.stored_can_cut || keep == tokens.len();
            let has_room = self.layout.current().is_none_or(|split| tokens.len() <= split.n_cells);
            let is_own = job.owner != 0 && entry.leftover.owner == job.owner;
            let worth = keep >= if is_own { 1 } else { WORTH_STOWING.max(job.least_reuse) };
            let fits = entry.leftover.group == job.group && worth && can_cut && has_room;
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
        let worth = best.0 >= (keep + WORTH_WAITING).max(job.least_reuse);
        worth.then_some((best.1.rank.id, best.0))
    }
}
