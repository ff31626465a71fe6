//! The decode thread's loop: does what the scheduler plans.

mod crash;
mod moves;
mod shelving;
mod step;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::Producer;
use crate::crew::Crew;
use crate::group::GroupNumbers;
use crate::inbox::{Inbox, Submission, Ticket};
use crate::metrics::Gaps;
use crate::pace::Pace;
use crate::progress::{End, Progress};
use crate::scheduler::{Capacity, Census, JobId, NewJob, Scheduler, Step, TURN};
use crate::shelf::Keeper;
use crate::span::RequestSpan;
use crate::task::Task;
use crate::watchdog::Usual;
use crate::{BatchToken, Decoder, EngineError, FinishReason, Group, OnCrash, Owner, TokenId};

/// How long a request whose hook has the logits keeps its place when others could run in it.
const HOOK_PATIENCE: Duration = Duration::from_millis(20);

/// Owns the decoder and all requests.
pub(crate) struct Driver<D: Decoder> {
    decoder: D,
    inbox: Arc<Inbox>,
    scheduler: Scheduler,
    runs: HashMap<JobId, Run<D::Saved>>,
    /// Leftovers of requests in host memory, by their numbers.
    stored: HashMap<u64, D::Saved>,
    /// Where they go from there.
    keeper: Option<Arc<Keeper>>,
    groups: GroupNumbers,
    /// The earliest deadline of all requests, or an earlier moment.
    next_deadline: Option<Instant>,
    pace: Pace,
    usual: Usual,
    crew: Crew,
    on_crash: OnCrash,
    /// What the decoder computes with has died.
    is_down: bool,
    /// It is down because it broke, and not because what it computes with died.
    broke: bool,
    /// How many requests generated in the last step.
    n_generating: usize,
    /// Reused between steps.
    batch: Vec<BatchToken>,
    /// Reused between drafts.
    draft: Vec<TokenId>,
}

/// A request that the thread serves.
struct Run<S> {
    task: Task,
    group: Group,
    /// Lives as long as the request at least.
    _owner: Option<Owner>,
    /// Keeps what a shelf brought for it, until it has its place.
    brought: Option<Owner>,
    out: Producer,
    /// The saved state while the request is parked.
    parked: Option<S>,
    submitted: Instant,
    deadline: Option<Instant>,
    /// Its place in the queue, until its first step.
    ticket: Option<Ticket>,
    gaps: Gaps,
    /// How many steps it was in, and how many requests these had together.
    steps: (u32, u32),
    span: RequestSpan,
    /// How often a step with it brought a crash since it got on, and how many tokens it had then.
    crashes: (u32, usize),
}

impl<S> Run<S> {
    /// Whether nothing of it was decoded yet.
    fn is_waiting(&self) -> bool {
        self.ticket.is_some()
    }

    /// How many tokens it has generated.
    fn n_tokens(&mut self) -> usize {
        self.task.usage_mut().completion_tokens
    }

    /// Measures the time since the last token, if it has more than `n_before` now.
    fn note_tokens(&mut self, n_before: usize, inbox: &Inbox) {
        // A banned text may have taken tokens back.
        let n_new = self.n_tokens().saturating_sub(n_before);
        if let Some(gap) = self.gaps.note(Instant::now(), n_new) {
            inbox.metrics().token_gap(gap);
        }
    }

    /// How it ends from outside, if it does.
    fn fate(&self, now: Instant) -> Option<End> {
        if self.out.is_cancelled() {
            return Some(End::new(FinishReason::Cancelled));
        }
        self.deadline.is_some_and(|deadline| deadline <= now).then(|| End::new(FinishReason::Timeout))
    }
}

impl<D: Decoder> Driver<D> {
    pub(crate) fn new(
        decoder: D,
        capacity: Capacity,
        inbox: Arc<Inbox>,
        keeper: Option<Arc<Keeper>>,
        n_threads: usize,
        on_crash: OnCrash,
    ) -> Self {
        Self {
            pace: Pace::new(capacity.n_batch),
            usual: Usual::default(),
            decoder,
            inbox,
            scheduler: Scheduler::new(capacity),
            runs: HashMap::new(),
            stored: HashMap::new(),
            keeper,
            groups: GroupNumbers::default(),
            next_deadline: None,
            crew: Crew::new(n_threads),
            on_crash,
            is_down: false,
            broke: false,
            n_generating: 1,
            batch: Vec::new(),
            draft: Vec::new(),
        }
    }

    /// Serves requests until the engine closes.
    pub(crate) fn run(&mut self) {
        while !self.inbox.bell.closing.is_raised() {
            self.look_around();
            self.end_late();
            self.scheduler.set_chunk(self.pace.chunk(), self.pace.burst());
            self.scheduler.set_apart(self.pace.apart(TURN));
            match self.plan() {
                Step::Idle => self.idle(),
                _ if self.is_down => self.revive(),
                step => self.execute(step),
            }
        }
    }

    fn plan(&self) -> Step {
        self.scheduler.plan(&|seq, n| self.decoder.can_cut(seq, n))
    }

    /// Sleeps until there is something to do.
    fn idle(&mut self) {
        let lapse = self.scheduler.is_held_up().then(|| Instant::now() + HOOK_PATIENCE);
        let until = [lapse, self.next_deadline].into_iter().flatten().min();
        if !self.inbox.bell.wait_until(until) && lapse.is_some() {
            self.scheduler.lapse(false);
        }
    }

    /// Ends all streams with `error` (those that were already cancelled as cancelled), and refuses further requests with `error`.
    pub(crate) fn end_all(&mut self, error: &EngineError) {
        let waiting = self.inbox.end(error.clone());
        self.inbox.publish(Census::default());
        for (_, run) in self.runs.drain() {
            let is_cancelled = run.out.is_cancelled();
            let end =
                if is_cancelled { End::new(FinishReason::Cancelled) } else { End::error(error.clone()) };
            let (events, finish) = run.task.end(end);
            run.span.end(&finish);
            run.out.finish(events, finish);
        }
        for (_, submission, _) in waiting {
            submission.fail(error);
        }
    }

    /// Takes in new requests, ends cancelled ones, and resumes those whose channel was drained or whose hook is done. Costs next to nothing when
    /// nothing changed.
    fn look_around(&mut self) {
        let Some(submissions) = self.inbox.collect() else { return };
        for owner in self.inbox.released() {
            self.scheduler.release(owner);
            self.trim();
        }
        let known: Vec<JobId> = self.runs.keys().copied().collect();
        for (job, submission, ticket) in submissions {
            self.take_in(job, submission, ticket);
        }
        for job in known {
            let Some(run) = self.runs.get_mut(&job) else { continue };
            if run.out.is_cancelled() {
                self.end(job, End::new(FinishReason::Cancelled));
                continue;
            }
            let started = Instant::now();
            let (in_prompt, n_tokens) = (run.task.in_prompt(), run.n_tokens());
            match run.task.resume(run.submitted) {
                Some(progress) => {
                    run.task.count_time(in_prompt, started.elapsed());
                    run.note_tokens(n_tokens, &self.inbox);
                    self.go_on(job, progress);
                }
                None if run.task.is_waiting() => {}
                None => self.scheduler.set_stalled(job, run.out.is_stalled()),
            }
        }
        self.inbox.publish(self.scheduler.census());
    }

    /// Ends the requests whose time is up.
    fn end_late(&mut self) {
        let Some(next) = self.next_deadline else { return };
        let now = Instant::now();
        if next > now {
            return;
        }
        self.end_fated(now);
        self.next_deadline = self.runs.values().filter_map(|run| run.deadline).min();
    }

    /// Ends the requests that were cancelled or whose time is up; returns whether there were any.
    fn end_fated(&mut self, now: Instant) -> bool {
        let fated = self.runs.iter().filter_map(|(job, run)| Some((*job, run.fate(now)?)));
        let fated: Vec<(JobId, End)> = fated.collect();
        let any = !fated.is_empty();
        for (job, end) in fated {
            self.end(job, end);
        }
        any
    }

    fn take_in(&mut self, job: JobId, submission: Submission, ticket: Ticket) {
        let Some((submission, ticket)) = self.send_for(job, submission, ticket) else { return };
        let Submission {
            tokens,
            cache_prompt,
            least_reuse,
            fork_of,
            group,
            owner,
            priority,
            mut task,
            out,
            submitted,
            deadline,
            errand,
        } = submission;
        let brought = self.take_errand(errand);
        let nothing_to_do = task.is_full() && !cache_prompt;
        let owner_id = owner.as_ref().and_then(|owner| owner.id_for(&self.inbox)).unwrap_or(0);
        let number = self.groups.number(&group, || self.scheduler.groups());
        if let Task::Transfer(transfer) = &mut task
            && let Some(bytes) = transfer.take_bytes()
        {
            let end = if nothing_to_do { Ok(()) } else { self.import(tokens, &bytes, number, owner_id) };
            let end = end.map_or_else(End::error, |()| End::new(FinishReason::Stop));
            let (events, finish) = task.end(end);
            return out.finish(events, finish);
        }
        let new = NewJob {
            n_max: task.n_max(tokens.len()),
            tokens,
            priority,
            cache: cache_prompt,
            least_reuse,
            logits_from: task.logits_from(),
            group: number,
            owner: owner_id,
            donor: fork_of,
            only_cells: task.wants_cells(),
        };
        let span = RequestSpan::new(job, new.tokens.len(), priority);
        self.scheduler.submit(job, new);
        let mut run = Run {
            task,
            group,
            _owner: owner,
            brought,
            out,
            parked: None,
            submitted,
            deadline,
            ticket: Some(ticket),
            gaps: Gaps::default(),
            steps: (0, 0),
            span,
            crashes: (0, 0),
        };
        let fate = run.fate(Instant::now()).or_else(|| run.task.take_end());
        self.next_deadline = [self.next_deadline, deadline].into_iter().flatten().min();
        self.runs.insert(job, run);
        if let Some(end) = fate {
            self.end(job, end);
        } else if nothing_to_do {
            self.end(job, End::new(FinishReason::Length));
        }
    }

    fn execute(&mut self, step: Step) {
        match step {
            Step::Decode(spans) => {
                self.decode(&spans);
                self.inbox.publish_cells(self.scheduler.n_cells());
                return;
            }
            Step::Idle => {}
            Step::Evict { seq } => {
                self.shelve_leftover(seq);
                self.decoder.clear(seq);
                self.scheduler.evicted(seq);
            }
            Step::Stow { seq } => self.stow(seq),
            Step::Park { job, seq } => self.park(job, seq),
            Step::Place { job, seq } => self.place(job, seq),
            Step::Copy { job, from, seq, keep } => self.copy(job, from, seq, keep),
            Step::Take { job, seq, keep } => self.take(job, seq, keep),
            Step::Fetch { job, entry, seq, keep } => self.fetch(job, entry, seq, keep),
            Step::Restore { job, seq } => self.restore(job, seq),
            Step::Arrange { split, before } => self.arrange(split, before),
            Step::Stuck { job } => {
                let n_tokens = self.scheduler.tokens(job).len();
                self.end(job, End::error(EngineError::NoSpace { n_tokens }));
            }
        }
        self.inbox.publish(self.scheduler.census());
    }

    /// Acts on what the logits of a request led to.
    fn go_on(&mut self, job: JobId, progress: Progress) {
        match progress {
            Progress::Ended(end) => return self.end(job, end),
            Progress::Waiting => {}
            Progress::Tokens => {
                let Some(run) = self.runs.get(&job) else { return };
                self.scheduler.generated(job, run.task.next_tokens());
                self.make_room(job);
                self.draft(job);
            }
            Progress::Rewind { keep, tail } => {
                self.rewind(job, keep, &tail);
                self.make_room(job);
                self.draft(job);
            }
        }
        self.deliver(job);
    }

    /// Cuts a request back to its first `keep` tokens; where the memory cannot do that, they are decoded again.
    fn rewind(&mut self, job: JobId, keep: usize, tail: &[TokenId]) {
        let kept = match self.scheduler.seq(job) {
            Some((seq, n_past)) if n_past > keep && !self.decoder.truncate(seq, keep) => {
                self.decoder.clear(seq);
                0
            }
            Some(_) => keep,
            // It was parked while its hook had the logits, and a saved state cannot be cut.
            None => {
                if let Some(run) = self.runs.get_mut(&job) {
                    run.parked = None;
                }
                self.scheduler.lost(job);
                0
            }
        };
        self.scheduler.rewound(job, keep, kept, tail);
    }

    /// Takes tokens out of the middle of a request that has become too long for the context, if it wants that; where the memory cannot do that, the others are decoded again.
    fn make_room(&mut self, job: JobId) {
        let n_tokens = self.scheduler.tokens(job).len();
        let Some(gap) = self.runs.get_mut(&job).and_then(|run| run.task.shift(n_tokens)) else { return };
        let seq = self.scheduler.seq_to_shift(job, gap);
        if !seq.is_some_and(|seq| self.decoder.shift(seq, gap.keep, gap.len)) {
            if let Some((seq, _)) = self.scheduler.seq(job) {
                self.decoder.clear(seq);
            }
            if let Some(run) = self.runs.get_mut(&job) {
                run.parked = None;
            }
            self.scheduler.lost(job);
        }
        self.scheduler.shifted(job, gap);
    }

    /// Adds tokens to a request that may come next, where that makes it faster.
    fn draft(&mut self, job: JobId) {
        let Some(run) = self.runs.get_mut(&job).filter(|run| run.task.speculates()) else { return };
        let (Some(cost), Some(_)) = (self.pace.draft_cost(), self.scheduler.seq(job)) else { return };
        // Each drafted token takes a row of logits, of which others need theirs.
        let n_rows = self.decoder.n_outputs_max().min(self.decoder.n_batch()) / self.n_generating.max(1);
        self.draft.clear();
        let (tokens, started) = (self.scheduler.tokens(job), Instant::now());
        let most = n_rows.saturating_sub(1).min(self.pace.most_drafted());
        run.task.draft(tokens, most, cost, &mut self.draft);
        run.task.count_time(false, started.elapsed());
        self.scheduler.drafted(job, &self.draft);
    }

    /// Pushes the events that are ready, and holds the request if the consumer must catch up or a hook has its logits.
    fn deliver(&mut self, job: JobId) {
        let Some(run) = self.runs.get_mut(&job) else { return };
        let mut has_room = true;
        while let Some(event) = run.task.take_event() {
            has_room = run.out.push(event);
        }
        if run.task.is_waiting() {
            self.scheduler.set_waiting(job);
        } else {
            // The consumer may have drained the channel since the push; it then rings the bell, and this is checked again.
            self.scheduler.set_stalled(job, !has_room);
        }
    }

    /// Frees the request's sequence, which it may leave for others, then tells its consumer.
    fn end(&mut self, job: JobId, end: End) {
        // What led to an error may lie in its cells.
        let keep = !matches!(end.reason, FinishReason::Error(_));
        if end.reason == FinishReason::Length {
            self.export(job);
        }
        if let Some(seq) = self.scheduler.remove(job, keep) {
            self.decoder.clear(seq);
        }
        self.trim();
        let Some(mut run) = self.runs.remove(&job) else { return };
        if run.is_waiting() {
            run.task.timings_mut().queued = run.submitted.elapsed();
        }
        let (n_steps, n_shared) = run.steps;
        if n_steps > 0 {
            run.task.timings_mut().step_requests = n_shared as f32 / n_steps as f32;
        }
        run.task.timings_mut().token_gaps = run.gaps.quantiles();
        self.inbox.publish(self.scheduler.census());
        let Run { task, group, out, span, submitted, .. } = run;
        // Who learns of the end may rely on this.
        drop(group);
        let (events, finish) = task.end(end);
        self.inbox.metrics().ended(&finish, submitted.elapsed());
        // Whoever learns of the end may look at the log.
        span.end(&finish);
        out.finish(events, finish);
    }
}
