//! Whether sequences share the cells, or have their own.
//!
//! Attention passes over all cells of a memory that sequences share, so each of eight texts costs as much as all of them: a step of eight streams of SmolLM2 takes a fifth less where each has
//! cells of its own. But then none can have more than its part. So the memory is split while several requests generate whose texts fit, and made one when a text does
//! not fit any more; both take a moment, in which the requests are parked.

use super::batch::FEW;
use super::job::{Job, Place};
use super::{Hold, Scheduler, Slot, Step};
use crate::Split;

/// How the memory is arranged.
#[derive(Debug)]
pub(super) struct Layout {
    possible: Option<Split>,
    is_split: bool,
    /// It cannot be made one again: what does not fit its part never will.
    is_stuck: bool,
}

impl Layout {
    pub(super) fn new(possible: Option<Split>) -> Self {
        Self { possible, is_split: false, is_stuck: false }
    }

    /// How the memory is split now.
    pub(super) fn current(&self) -> Option<Split> {
        self.possible.filter(|_| self.is_split)
    }

    /// Whether `job` fits a part of the split memory with up to `spare` tokens more.
    fn fits(job: &Job, split: Split, spare: usize) -> bool {
        let n_tokens = job.n_past + job.n_due();
        let n_soon = (n_tokens + spare).min(job.n_max).max(n_tokens);
        n_soon <= split.n_cells
    }
}

impl Scheduler {
    /// What has to be done to split the memory, if that pays.
    pub(super) fn split(&self) -> Option<Step> {
        let split = self.layout.possible.filter(|_| !self.layout.is_split)?;
        let next = self.jobs.iter().filter(|job| job.hold != Hold::Stalled).take(self.capacity.n_running);
        let (mut n_generating, mut longest) = (0, 0);
        for job in next {
            let generates = matches!(job.place, Place::Slot(_)) && job.n_due() <= FEW && job.n_past > 0;
            // With a fourth of the part left, the moment of splitting pays.
            if !generates || !Layout::fits(job, split, split.n_cells / 4) {
                return None;
            }
            n_generating += 1;
            longest = longest.max(job.n_past);
        }
        let n_cells = self.n_cells();
        let pays = n_generating >= 2 && n_cells >= split.n_worth && n_cells >= 2 * longest;
        pays.then(|| self.rearrange(true))
    }

    /// What has to be done before `job` can go on, if its text does not fit its part of the memory.
    pub(super) fn unsplit(&self, job: &Job) -> Option<Step> {
        let split = self.layout.current().filter(|split| !Layout::fits(job, *split, 0))?;
        debug_assert!(split.n_cells < self.capacity.n_ctx);
        Some(if self.layout.is_stuck { Step::Stuck { job: job.rank.id } } else { self.rearrange(false) })
    }

    fn rearrange(&self, split: bool) -> Step {
        let in_use = self.slots.iter().zip(0u32..).filter_map(|(slot, seq)| match slot {
            Slot::Free => None,
            Slot::Taken(job) => Some(Step::Park { job: *job, seq }),
            Slot::Cached(_) => Some(self.remove_leftover(seq)),
        });
        Step::Arrange { split, before: in_use.collect() }
    }

    /// Cells for all sequences together.
    pub(super) fn n_cells_in_all(&self) -> usize {
        self.layout.current().map_or(self.capacity.n_ctx, |split| split.n_seq * split.n_cells)
    }

    /// How many more tokens `job` can have where it is.
    pub(super) fn room(&self, job: &Job) -> usize {
        self.layout.current().map_or(usize::MAX, |split| split.n_cells.saturating_sub(job.n_past))
    }

    pub(crate) fn arranged(&mut self, split: bool) {
        self.layout.is_split = split;
        self.n_ctx = self.n_cells_in_all();
    }

    /// The memory stays as it is, for good.
    pub(crate) fn cannot_arrange(&mut self) {
        if self.layout.is_split {
            self.layout.is_stuck = true;
        } else {
            self.layout.possible = None;
        }
    }
}
