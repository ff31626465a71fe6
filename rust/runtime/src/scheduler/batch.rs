//! How a step is shared.
//!
//! Requests that generate come first: each gets its next token, the one served longest ago first. Prompts share what is left, or [`Scheduler::chunk`] tokens where a
//! request generates, so that its next token is not long in coming (more where several prompts wait, and all of them where they are the most and short enough): half of it goes to the first in order, which therefore always advances, the other
//! half to the one with the least left, which is done soonest. Drafts get what is left then: they never cost another request its turn.

use super::cells::Cover;
use super::choice::Choice;
use super::job::{Job, Place};
use super::{Hold, Scheduler, Slot, Span, Step};

/// A request with at most so many tokens to decode counts as one that generates.
pub(super) const FEW: usize = 16;
/// So many requests that generate weigh as much as one prompt of several.
const CROWD: usize = 4;

impl Scheduler {
    /// The step for the chosen requests.
    pub(super) fn batch(&self, choice: &Choice) -> Step {
        let runnable = self.runnable(choice);
        if runnable.is_empty() {
            return Step::Idle;
        }
        if let Some(seq) = self.idle_leftover().filter(|_| self.layout.current().is_none()) {
            return self.remove_leftover(seq);
        }
        let n_others = self.n_generating_apart(choice, runnable[0].group);
        let (mut few, many): (Vec<&Job>, Vec<&Job>) =
            runnable.into_iter().partition(|job| job.n_due() <= FEW);
        few.sort_by_key(|job| (job.served, job.rank));
        let mut spans =
            Spans { left: self.capacity.n_batch, n_outputs: self.capacity.n_outputs, list: Vec::new() };
        for job in &few {
            spans.add(job, job.n_due(), self.room(job), choice);
        }
        let mut n_spared = 0;
        if !few.is_empty() {
            let n_left = spans.left;
            spans.left = spans.left.min(self.room_for_prompts(&many, few.len()));
            n_spared = n_left - spans.left;
        } else if n_others > 0 {
            spans.left = spans.left.min(self.room_apart(&many, n_others));
        }
        for (job, len) in many.iter().zip(shares(&many, spans.left)) {
            spans.add(job, len, self.room(job), choice);
        }
        spans.left += n_spared;
        for job in few.iter().filter(|job| job.n_pending() > job.n_due()) {
            spans.add(job, job.n_pending(), self.room(job), choice);
        }
        self.fit(spans.list, choice)
    }

    /// How many tokens of prompts go into a step in which so many requests generate.
    fn room_for_prompts(&self, prompts: &[&Job], n_generating: usize) -> usize {
        let shared = self.chunk.saturating_mul(crowd(prompts.len(), n_generating));
        self.all_at_once(prompts, n_generating).unwrap_or(shared)
    }

    /// How many tokens of prompts go into a step of their own while so many requests of other groups generate.
    fn room_apart(&self, prompts: &[&Job], n_generating: usize) -> usize {
        self.all_at_once(prompts, n_generating).unwrap_or(self.apart)
    }

    /// The tokens of prompts that are the most and short enough.
    fn all_at_once(&self, prompts: &[&Job], n_generating: usize) -> Option<usize> {
        let n_pending: usize = prompts.iter().map(|job| job.n_pending()).sum();
        (prompts.len() > n_generating.max(1) && n_pending <= self.burst).then_some(n_pending)
    }

    /// How many requests of other groups generate.
    fn n_generating_apart(&self, choice: &Choice, group: u64) -> usize {
        let others = choice.jobs.iter().map(|index| &self.jobs[*index]).filter(|job| job.group != group);
        others.filter(|job| job.hold == Hold::Free && job.n_pending() > 0 && job.n_due() <= FEW).count()
    }

    /// The chosen requests that can be decoded together now.
    fn runnable(&self, choice: &Choice) -> Vec<&Job> {
        let jobs = choice.jobs.iter().map(|index| &self.jobs[*index]);
        let mut jobs: Vec<&Job> = jobs.filter(|job| job.hold == Hold::Free && job.n_pending() > 0).collect();
        if let Some(suspect) = jobs.iter().position(|job| job.alone) {
            return vec![jobs[suspect]];
        }
        if let Some(group) = self.turn.next(&jobs) {
            jobs.retain(|job| job.group == group);
        }
        jobs
    }

    /// Where the cells of leftovers slow the step down, the leftover with such cells that was used longest ago.
    fn idle_leftover(&self) -> Option<u32> {
        let running = self.slots.iter().zip(0u32..).filter(|(slot, _)| matches!(slot, Slot::Taken(_)));
        let mut covered = Cover::default();
        let n_running: usize = running.map(|(_, seq)| self.cells.cover(&mut covered, seq)).sum();
        if self.n_cells() - n_running <= self.capacity.n_idle {
            return None;
        }
        let leftovers = self.slots.iter().zip(0u32..).filter_map(|(slot, seq)| match slot {
            Slot::Cached(leftover) => Some((leftover.served, seq)),
            _ => None,
        });
        let idle = leftovers.filter(|(_, seq)| self.cells.beyond(&covered, *seq) > 0);
        idle.min().map(|(_, seq)| seq)
    }

    /// The step that decodes `spans`, as far as there are cells, or what has to be done before.
    fn fit(&self, mut spans: Vec<Span>, choice: &Choice) -> Step {
        let mut n_free = self.n_free();
        let n_tokens: usize = spans.iter().map(|span| span.len).sum();
        let chosen = choice.jobs.iter().rev().filter_map(|index| match self.jobs[*index].place {
            Place::Slot(seq) => Some((&self.jobs[*index], seq)),
            _ => None,
        });
        // One that waits for its hook, else the last one.
        let last = chosen.min_by_key(|(job, _)| job.hold == Hold::Free).map(|(job, seq)| (job.rank.id, seq));
        if n_tokens > n_free {
            // Drafts make nobody give way.
            for span in &mut spans {
                self.cut_draft(span);
            }
        }
        let n_tokens: usize = spans.iter().map(|span| span.len).sum();
        if n_tokens > n_free {
            if let Some(step) = self.victim(choice) {
                return step;
            }
            let mut short = false;
            for span in &mut spans {
                let len = span.len.min(n_free);
                n_free -= len;
                if len < span.len {
                    // A request that generates would stand still.
                    short |= span.len <= FEW;
                    (span.len, span.rows, span.last) = (len, self.rows(span, len), false);
                }
            }
            spans.retain(|span| span.len > 0);
            if short || spans.is_empty() {
                return match last {
                    Some((job, seq)) if choice.jobs.len() > 1 => Step::Park { job, seq },
                    Some((job, _)) => Step::Stuck { job },
                    None => Step::Idle,
                };
            }
        }
        if spans.is_empty() { Step::Idle } else { Step::Decode(spans) }
    }

    /// Leaves out what is not due of the span of a request that generates.
    fn cut_draft(&self, span: &mut Span) {
        let Some(index) = self.index(span.job) else { return };
        let n_due = self.jobs[index].n_due();
        if span.len > n_due {
            (span.len, span.rows, span.last) = (n_due, self.rows(span, n_due), false);
        }
    }

    fn rows(&self, span: &Span, len: usize) -> usize {
        self.index(span.job).map_or(0, |index| self.jobs[index].rows(len))
    }
}

/// The spans of a step, and what is left for more of them.
struct Spans {
    left: usize,
    n_outputs: usize,
    list: Vec<Span>,
}

impl Spans {
    /// Adds up to `len` tokens of `job`, those that it has here already counted; there is room for `room`.
    fn add(&mut self, job: &Job, len: usize, room: usize, choice: &Choice) {
        if let Some(at) = self.list.iter().position(|span| span.job == job.rank.id) {
            let span = self.list.remove(at);
            self.left += span.len;
            self.n_outputs += span.rows;
        }
        let stops = choice.stops.iter().filter(|(id, at)| *id == job.rank.id && *at > job.n_past);
        let stop = stops.map(|(_, at)| at - job.n_past).min().unwrap_or(usize::MAX);
        let len = len.min(job.most_at_once());
        let len = job.within_outputs(len.min(self.left).min(stop).min(room), self.n_outputs);
        let Place::Slot(seq) = job.place else { return };
        if len == 0 {
            return;
        }
        let rows = job.rows(len);
        self.left -= len;
        self.n_outputs -= rows;
        let last = len == job.n_pending();
        self.list.push(Span { job: job.rank.id, seq, pos: job.n_past, len, rows, last });
    }
}

/// By how much the chunk grows where several prompts wait beside so many requests that generate: the others' steps may take longer then, since those who wait
/// for their first token wait longest. One prompt alone never makes them longer.
fn crowd(n_prompts: usize, n_generating: usize) -> usize {
    if n_prompts > 1 { (CROWD * n_prompts / n_generating.max(1)).max(1) } else { 1 }
}

/// How many tokens each prompt gets of `n`.
fn shares(jobs: &[&Job], n: usize) -> Vec<usize> {
    let mut shares = vec![0; jobs.len()];
    let mut left = n;
    let shortest = (1..jobs.len()).min_by_key(|index| (jobs[*index].n_pending(), *index));
    let mut give = |index: usize, most: usize| {
        let job = jobs[index];
        let more = (job.n_pending() - shares[index]).min(most).min(left);
        shares[index] += more;
        left -= more;
        left
    };
    if jobs.is_empty() {
        return shares;
    }
    give(0, n.div_ceil(2));
    if let Some(shortest) = shortest {
        give(shortest, n);
    }
    for index in 0..jobs.len() {
        give(index, n);
    }
    shares
}
