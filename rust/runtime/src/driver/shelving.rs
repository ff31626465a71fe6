//! Cells that go to a shelf and come back from it.

use std::time::{Duration, Instant};

use super::Driver;
use crate::inbox::{Submission, Ticket};
use crate::scheduler::{JobId, LeftoverPlace as Place, Stored};
use crate::shelf::{Errand, Keeper};
use crate::task::Task;
use crate::{Decoder, Owner, TokenId};

/// How long copying what is left may take at the end; a copy that has begun is made whole.
const CLOSING: Duration = Duration::from_secs(3);

impl<D: Decoder> Driver<D> {
    /// Sends a new request to the shelf, if that has more of its beginning than memory; else gives it back.
    pub(super) fn send_for(
        &self,
        job: JobId,
        submission: Submission,
        ticket: Ticket,
    ) -> Option<(Submission, Ticket)> {
        let Some(keeper) = &self.keeper else { return Some((submission, ticket)) };
        let may_share = matches!(submission.errand, Errand::Ahead)
            && submission.cache_prompt
            && submission.group.is_default()
            && !matches!(submission.task, Task::Transfer(_));
        let cuts = self.cuts();
        let wanted = &submission.tokens[..submission.task.n_reusable(submission.tokens.len())];
        let Some(entry) =
            keeper.find(wanted, cuts).filter(|entry| may_share && entry.keep >= submission.least_reuse)
        else {
            return Some((submission, ticket));
        };
        let n_there = self.scheduler.n_common(wanted, &|seq, n| self.decoder.can_cut(seq, n));
        if !Keeper::is_worth(&entry, n_there) {
            return Some((submission, ticket));
        }
        keeper.fetch(entry, job, submission, ticket);
        None
    }

    /// Takes in what the shelf brought for a request, to be kept in host memory whatever the limit there is until the owner is dropped: when the request has it.
    pub(super) fn take_errand(&mut self, errand: Errand) -> Option<Owner> {
        let Errand::Brought(tokens, cells) = errand else { return None };
        let owner = Owner::new(self.inbox.new_owner(), &self.inbox);
        let id = owner.id_for(&self.inbox)?;
        // What cannot be used is decoded anew.
        let taken = self.import(tokens.to_vec(), &cells, 0, id).is_ok();
        tracing::debug!(target: "tabagent::engine", n_tokens = tokens.len(), taken, "read a beginning");
        taken.then_some(owner)
    }

    /// Drops leftovers in host memory, which the shelf gets if it wants them.
    pub(super) fn drop_stored(&mut self, dropped: Vec<Stored>) {
        for Stored { id, leftover, .. } in dropped {
            let Some(state) = self.stored.remove(&id) else { continue };
            if leftover.is_for_everybody() {
                self.shelve(leftover.tokens, &state);
            }
        }
    }

    /// Gives the leftover in a sequence, which is about to be cleared, to the shelf if that wants it.
    pub(super) fn shelve_leftover(&mut self, seq: u32) {
        let Some(keeper) = &self.keeper else { return };
        let Some(tokens) = self.scheduler.loose_leftover(seq) else { return };
        if keeper.wants(tokens, self.cuts())
            && let (tokens, Ok(state)) = (tokens.to_vec(), self.decoder.save(seq))
        {
            self.shelve(tokens, &state);
        }
    }

    /// Gives what is left in memory to the shelf, at the end: what was used last first, as far as the time goes that closing has for it.
    pub(crate) fn shelve_all(&mut self) {
        let Some(keeper) = self.keeper.clone().filter(|_| !self.is_down) else { return };
        let until = Instant::now() + CLOSING;
        for (place, tokens) in self.scheduler.loose_leftovers() {
            if !keeper.wants(&tokens, self.cuts()) {
                continue;
            }
            if !keeper.wait_for_room(until) {
                return;
            }
            match place {
                Place::Sequence(seq) => {
                    if let Ok(state) = self.decoder.save(seq) {
                        self.shelve(tokens, &state);
                    }
                }
                Place::Stored(id) => {
                    if let Some(state) = self.stored.remove(&id) {
                        self.shelve(tokens, &state);
                    }
                }
            }
        }
    }

    fn shelve(&self, tokens: Vec<TokenId>, state: &D::Saved) {
        let Some(keeper) = &self.keeper else { return };
        if keeper.wants(&tokens, self.cuts())
            && let Some(cells) = self.decoder.export(state, tokens.len())
        {
            keeper.put(tokens, cells, self.cuts());
        }
    }

    /// Whether the memory can cut what comes back, as far as is known.
    fn cuts(&self) -> bool {
        self.decoder.can_rewind() && self.scheduler.stored_can_cut()
    }
}
