//! The decode thread's loop: does what the scheduler plans.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::channel::Producer;
use crate::decoded::Decoded;
use crate::inbox::{Inbox, Submission};
use crate::progress::{End, Progress};
use crate::scheduler::{Capacity, JobId, Scheduler, Step};
use crate::task::Task;
use crate::{Decoder, DecoderError, EngineError, FinishReason, TokenId};

/// Owns the decoder and all requests.
pub(crate) struct Driver<D: Decoder> {
    decoder: D,
    inbox: Arc<Inbox>,
    scheduler: Scheduler,
    runs: HashMap<JobId, Run<D::Saved>>,
    n_submitted: JobId,
}

/// A request that the thread serves.
struct Run<S> {
    task: Task,
    out: Producer,
    /// The saved state while the request is parked.
    parked: Option<S>,
    submitted: Instant,
    started: bool,
}

/// A micro-batch, as planned.
struct MicroBatch {
    job: JobId,
    seq: u32,
    pos: usize,
    len: usize,
    rows: usize,
    last: bool,
}

impl<D: Decoder> Driver<D> {
    pub(crate) fn new(decoder: D, capacity: Capacity, inbox: Arc<Inbox>) -> Self {
        Self { decoder, inbox, scheduler: Scheduler::new(capacity), runs: HashMap::new(), n_submitted: 0 }
    }

    /// Serves requests until the engine closes.
    pub(crate) fn run(&mut self) {
        while !self.inbox.bell.closing.is_raised() {
            self.look_around();
            match self.scheduler.plan() {
                Step::Idle => self.inbox.bell.wait(),
                step => self.execute(step),
            }
        }
    }

    /// Ends all streams with `error` (those that were already cancelled as cancelled), and refuses further requests with `error`.
    pub(crate) fn end_all(&mut self, error: &EngineError) {
        let end_of = |out: &Producer| {
            if out.is_cancelled() { End::new(FinishReason::Cancelled) } else { End::error(error.clone()) }
        };
        let waiting = self.inbox.end(error.clone());
        self.inbox.publish(crate::scheduler::Census::default());
        for (_, run) in self.runs.drain() {
            let (events, finish) = run.task.end(end_of(&run.out));
            run.out.finish(events, finish);
        }
        for submission in waiting {
            let (events, finish) = submission.task.end(end_of(&submission.out));
            submission.out.finish(events, finish);
        }
    }

    /// Takes in new requests, ends cancelled ones, and resumes those whose channel was drained or whose hook is done. Costs next to nothing when
    /// nothing changed.
    fn look_around(&mut self) {
        let Some(submissions) = self.inbox.collect() else { return };
        let known: Vec<JobId> = self.runs.keys().copied().collect();
        for submission in submissions {
            self.take_in(submission);
        }
        for job in known {
            let Some(run) = self.runs.get_mut(&job) else { continue };
            if run.out.is_cancelled() {
                self.end(job, End::new(FinishReason::Cancelled));
                continue;
            }
            let started = Instant::now();
            let in_prompt = run.task.in_prompt();
            match run.task.resume(run.submitted) {
                Some(progress) => {
                    run.task.count_time(in_prompt, started);
                    self.go_on(job, progress);
                }
                None => self.scheduler.set_paused(job, run.out.is_stalled() || run.task.is_waiting()),
            }
        }
        self.inbox.publish(self.scheduler.census());
    }

    fn take_in(&mut self, submission: Submission) {
        let Submission { tokens, cache_prompt, task, out, submitted } = submission;
        let nothing_to_do = task.is_full() && !cache_prompt;
        let cancelled = out.is_cancelled();
        self.n_submitted += 1;
        let job = self.n_submitted;
        self.scheduler.submit(job, tokens, cache_prompt, task.logits_from());
        self.runs.insert(job, Run { task, out, parked: None, submitted, started: false });
        if cancelled {
            self.end(job, End::new(FinishReason::Cancelled));
        } else if nothing_to_do {
            self.end(job, End::new(FinishReason::Length));
        }
    }

    fn execute(&mut self, step: Step) {
        match step {
            Step::Decode { job, seq, pos, len, rows, last } => {
                self.decode(&MicroBatch { job, seq, pos, len, rows, last });
                self.inbox.publish_cells(self.scheduler.cells());
                return;
            }
            Step::Idle => {}
            Step::Evict { seq } => {
                self.decoder.clear(seq);
                self.scheduler.evicted(seq);
            }
            Step::Park { job, seq } => self.park(job, seq),
            Step::Place { job, seq } => self.scheduler.placed(job, seq, 0),
            Step::Reuse { job, seq, keep, whole } => self.reuse(job, seq, keep, whole),
            Step::Restore { job, seq } => self.restore(job, seq),
            Step::Stuck { job } => {
                let n_tokens = self.scheduler.tokens(job).len();
                self.end(job, End::error(EngineError::NoSpace { n_tokens }));
            }
        }
        self.inbox.publish(self.scheduler.census());
    }

    fn park(&mut self, job: JobId, seq: u32) {
        let state = self.decoder.save(seq);
        self.decoder.clear(seq);
        match (state, self.runs.get_mut(&job)) {
            (Ok(state), Some(run)) => {
                run.parked = Some(state);
                self.scheduler.parked(job);
            }
            _ => self.scheduler.lost(job),
        }
    }

    fn restore(&mut self, job: JobId, seq: u32) {
        let state = self.runs.get_mut(&job).and_then(|run| run.parked.take());
        if state.is_some_and(|state| self.decoder.restore(seq, &state).is_ok()) {
            self.scheduler.restored(job, seq);
        } else {
            self.decoder.clear(seq);
            self.scheduler.lost(job);
        }
    }

    fn reuse(&mut self, job: JobId, seq: u32, keep: usize, whole: bool) {
        let kept = if whole || self.decoder.truncate(seq, keep) {
            keep
        } else {
            self.decoder.clear(seq);
            0
        };
        self.scheduler.placed(job, seq, kept);
        if let Some(run) = self.runs.get_mut(&job)
            && !run.started
        {
            run.task.usage_mut().cached_tokens = kept;
        }
    }

    /// Decodes one micro-batch and passes the logits to the request.
    fn decode(&mut self, batch: &MicroBatch) {
        let Some(run) = self.runs.get_mut(&batch.job) else {
            self.scheduler.remove(batch.job, false);
            return;
        };
        let started = Instant::now();
        if !run.started {
            run.started = true;
            run.task.timings_mut().queued = started.duration_since(run.submitted);
        }
        let in_prompt = run.task.in_prompt();
        let is_full = run.task.is_full();
        let n_logits = if is_full { 0 } else { batch.rows };
        let all_tokens = self.scheduler.tokens(batch.job);
        let end = batch.pos + batch.len;
        let result =
            self.decoder.decode(batch.seq, batch.pos, &all_tokens[batch.pos..end], n_logits, run.out.abort());
        if let Err(error) = result {
            return self.failed(batch.job, &error);
        }
        let decoded = Decoded {
            tokens: all_tokens,
            rows: end - n_logits..end,
            logits: &|row| self.decoder.logits(row),
            last: batch.last,
        };
        let progress = if is_full {
            batch.last.then(|| Progress::Ended(End::new(FinishReason::Length)))
        } else {
            run.task.advance(&decoded, run.submitted)
        };
        run.task.count_time(in_prompt, started);
        self.scheduler.decoded(batch.job, batch.len);
        if let Some(progress) = progress {
            self.go_on(batch.job, progress);
        }
    }

    /// Acts on what the logits of a request led to.
    fn go_on(&mut self, job: JobId, progress: Progress) {
        match progress {
            Progress::Ended(end) => return self.end(job, end),
            Progress::Waiting => self.scheduler.set_paused(job, true),
            Progress::Tokens => {
                let Some(run) = self.runs.get(&job) else { return };
                self.scheduler.generated(job, run.task.next_tokens());
            }
            Progress::Rewind { keep, tail } => self.rewind(job, keep, &tail),
        }
        self.deliver(job);
    }

    /// Cuts a request back to its first `keep` tokens; where the memory cannot do that, they are decoded again.
    fn rewind(&mut self, job: JobId, keep: usize, tail: &[TokenId]) {
        let Some((seq, n_past)) = self.scheduler.seq(job) else { return };
        let kept = if n_past <= keep || self.decoder.truncate(seq, keep) {
            keep
        } else {
            self.decoder.clear(seq);
            0
        };
        self.scheduler.rewound(job, keep, kept, tail);
    }

    /// Pushes the events that are ready, and pauses the request if the consumer must catch up or a hook has its logits.
    fn deliver(&mut self, job: JobId) {
        let Some(run) = self.runs.get_mut(&job) else { return };
        let mut has_room = true;
        while let Some(event) = run.task.take_event() {
            has_room = run.out.push(event);
        }
        // The consumer may have drained the channel since the push; it then rings the bell, and this is checked again.
        self.scheduler.set_paused(job, !has_room || run.task.is_waiting());
    }

    fn failed(&mut self, job: JobId, error: &DecoderError) {
        if *error == DecoderError::Aborted && self.inbox.bell.closing.is_raised() {
            return;
        }
        let cancelled = self.runs.get(&job).is_some_and(|run| run.out.is_cancelled());
        match error {
            DecoderError::NoSpace => self.execute(self.scheduler.make_room(job)),
            DecoderError::Aborted if cancelled => {
                self.end_dirty(job, End::new(FinishReason::Cancelled));
            }
            DecoderError::Aborted | DecoderError::Failed(_) => {
                self.end_dirty(job, End::error(EngineError::Decode { message: error.to_string() }));
            }
        }
    }

    /// Ends a request, which may leave its sequence as a cached prefix.
    fn end(&mut self, job: JobId, end: End) {
        self.end_with(job, end, true);
    }

    /// Ends a request whose sequence is in no defined state.
    fn end_dirty(&mut self, job: JobId, end: End) {
        self.end_with(job, end, false);
    }

    /// Frees the request's sequence, then tells its consumer.
    fn end_with(&mut self, job: JobId, end: End, keep: bool) {
        if let Some(seq) = self.scheduler.remove(job, keep) {
            self.decoder.clear(seq);
        }
        let Some(mut run) = self.runs.remove(&job) else { return };
        if !run.started {
            run.task.timings_mut().queued = run.submitted.elapsed();
        }
        self.inbox.publish(self.scheduler.census());
        let (events, finish) = run.task.end(end);
        run.out.finish(events, finish);
    }
}
