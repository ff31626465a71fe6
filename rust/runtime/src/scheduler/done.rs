//! What was done: each step, once it is carried out, and what became of requests.

use super::batch::FEW;
use super::job::{Gap, OwnerId, Place};
use super::prefix::{Leftover, LeftoverPlace, Stored};
use super::{JobId, Scheduler, Slot, Span, TURN};
use crate::TokenId;

impl Scheduler {
    pub(crate) fn evicted(&mut self, seq: u32) {
        self.free(seq);
    }

    /// The leftover in `seq` is in host memory now, in `n_bytes`. Returns its number there, and the numbers of those that it replaces. Then [`trim`](Self::trim).
    pub(crate) fn stowed(&mut self, seq: u32, n_bytes: usize) -> (u64, Vec<u64>) {
        self.n_stored += 1;
        let id = self.n_stored;
        let slot = std::mem::replace(&mut self.slots[seq as usize], Slot::Free);
        self.cells.truncate(seq, 0);
        let Slot::Cached(leftover) = slot else { return (id, vec![id]) };
        self.bytes_per_token = n_bytes / leftover.tokens.len().max(1);
        // What it begins with need not be kept twice, where it can be cut.
        let cuts = self.stored_can_cut;
        let mut replaced = Vec::new();
        self.stored.retain(|old| {
            let twice = cuts
                && old.leftover.owner == 0
                && old.leftover.group == leftover.group
                && leftover.tokens.starts_with(&old.leftover.tokens);
            if twice {
                replaced.push(old.id);
            }
            !twice
        });
        self.stored.push(Stored { id, leftover, n_bytes });
        (id, replaced)
    }

    /// There is a state in host memory, of `tokens`, that `owner` keeps. Returns its number.
    pub(crate) fn adopted(
        &mut self,
        tokens: Vec<TokenId>,
        group: u64,
        owner: OwnerId,
        n_bytes: usize,
    ) -> u64 {
        self.disown(owner);
        self.n_stored += 1;
        let id = self.n_stored;
        let leftover = Leftover { tokens, group, served: self.clock, owner };
        self.stored.push(Stored { id, leftover, n_bytes });
        id
    }

    /// `owner` keeps nothing any more, and what its requests leave behind from now on is for everybody.
    pub(crate) fn release(&mut self, owner: OwnerId) {
        self.disown(owner);
        self.jobs.iter_mut().filter(|job| job.owner == owner).for_each(|job| job.owner = 0);
    }

    /// What `owner` keeps is as what others left behind.
    pub(super) fn disown(&mut self, owner: OwnerId) {
        for slot in &mut self.slots {
            if let Slot::Cached(leftover) = slot {
                leftover.release(owner);
            }
        }
        self.stored.iter_mut().for_each(|entry| entry.leftover.release(owner));
    }

    /// Takes out the leftovers in host memory that must be dropped, because there are too many that nobody keeps.
    pub(crate) fn trim(&mut self) -> Vec<Stored> {
        let mut dropped = Vec::new();
        loop {
            let loose = self.stored.iter().enumerate().filter(|(_, entry)| entry.leftover.owner == 0);
            let n_bytes: usize = loose.clone().map(|(_, entry)| entry.n_bytes).sum();
            if n_bytes <= self.capacity.n_stored_bytes {
                return dropped;
            }
            let Some((at, _)) = loose.min_by_key(|(_, entry)| entry.leftover.served) else { return dropped };
            dropped.push(self.stored.swap_remove(at));
        }
    }

    /// Whether `id` wants nothing decoded, and has a sequence with what there is of its tokens.
    pub(crate) fn has_its_cells(&self, id: JobId) -> bool {
        let job = self.index(id).map(|index| &self.jobs[index]);
        job.is_some_and(|job| job.only_cells && matches!(job.place, Place::Slot(_)))
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

    /// All leftovers that requests of the default group may share and nobody keeps, with their tokens: what was used last first.
    pub(crate) fn loose_leftovers(&self) -> Vec<(LeftoverPlace, Vec<TokenId>)> {
        let in_sequences = self.slots.iter().zip(0..).filter_map(|(slot, seq)| match slot {
            Slot::Cached(leftover) => Some((LeftoverPlace::Sequence(seq), leftover)),
            _ => None,
        });
        let in_host_memory =
            self.stored.iter().map(|entry| (LeftoverPlace::Stored(entry.id), &entry.leftover));
        let all = in_sequences.chain(in_host_memory);
        let mut loose: Vec<_> = all.filter(|(_, leftover)| leftover.is_for_everybody()).collect();
        loose.sort_by_key(|(_, leftover)| std::cmp::Reverse(leftover.served));
        loose.into_iter().map(|(place, leftover)| (place, leftover.tokens.clone())).collect()
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
        if let Some(index) = spans.first().and_then(|span| self.index(span.job)) {
            let n_prompts = spans.iter().filter(|span| span.len > FEW).count();
            let weight = match n_prompts {
                0 => 1,
                n if n < spans.len() => 2,
                _ => TURN,
            };
            self.turn.note(self.jobs[index].group, weight);
        }
        for span in spans {
            let clock = self.clock;
            self.cells.grow(span.seq, span.len);
            if let Some(job) = self.job_mut(span.job) {
                job.n_past += span.len;
                job.served = clock;
                job.alone = false;
                job.replays &= job.n_pending() > 0;
            }
        }
    }

    /// The decoder found no room for `n_tokens` more, against its promise: it gets less to hold until the memory is empty again.
    pub(crate) fn refused(&mut self, n_tokens: usize) {
        self.n_ctx = self.n_ctx.min(self.n_cells() + n_tokens / 2);
    }

    /// All cells and all states in host memory are gone, and the memory is undivided. What requests had will be decoded again.
    pub(crate) fn all_lost(&mut self) {
        let ids: Vec<JobId> = self.jobs.iter().map(|job| job.rank.id).collect();
        for id in ids {
            self.lost(id);
            if let Some(job) = self.job_mut(id) {
                job.replays = true;
            }
        }
        for seq in 0..self.slots.len() as u32 {
            self.free(seq);
        }
        self.stored.clear();
        self.arranged(false);
    }

    /// A batch with `id` failed: it is decoded in one of its own next.
    pub(crate) fn suspect(&mut self, id: JobId) {
        if let Some(job) = self.job_mut(id) {
            job.alone = true;
        }
    }

    /// Adds the tokens that were chosen for `id`. What was drafted before them stays.
    pub(crate) fn generated(&mut self, id: JobId, tokens: &[TokenId]) {
        if let Some(job) = self.job_mut(id) {
            job.tokens.extend_from_slice(tokens);
            job.n_drafted = 0;
        }
    }

    /// Adds tokens that may come next for `id`, which has none of them yet: they are decoded with it where there is room, and all their logits are wanted, and those of the
    /// token before. Then [`generated`](Self::generated) if all of them come, else [`rewound`](Self::rewound).
    pub(crate) fn drafted(&mut self, id: JobId, tokens: &[TokenId]) {
        if let Some(job) = self.job_mut(id) {
            job.tokens.extend_from_slice(tokens);
            job.n_drafted = tokens.len();
        }
    }

    /// The tokens of `gap` are gone from `id`; its sequence has lost them too, and those after them moved up. From now on it shares nothing: its cells know of what is gone.
    pub(crate) fn shifted(&mut self, id: JobId, gap: Gap) {
        if let Some(job) = self.job_mut(id) {
            job.tokens.drain(gap.keep..gap.keep + gap.len);
            job.n_past = job.n_past.saturating_sub(gap.len);
            job.cache = false;
            let (place, n_past) = (job.place, job.n_past);
            if let Place::Slot(seq) = place {
                self.cells.truncate(seq, n_past);
            }
        }
    }

    /// Replaces the tokens of `id` from index `keep` on by `tail`; of the tokens before, `n_past` are still in memory.
    pub(crate) fn rewound(&mut self, id: JobId, keep: usize, n_past: usize, tail: &[TokenId]) {
        if let Some(job) = self.job_mut(id) {
            job.tokens.truncate(keep);
            job.tokens.extend_from_slice(tail);
            job.n_drafted = 0;
            job.n_past = job.n_past.min(n_past);
            let (place, n_past) = (job.place, job.n_past);
            if let Place::Slot(seq) = place {
                self.cells.truncate(seq, n_past);
            }
        }
    }
}
