//! The decode thread's loop: does what the scheduler plans.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::channel::Producer;
use crate::generation::{End, Generation, Progress};
use crate::inbox::{Inbox, Submission};
use crate::scheduler::{JobId, Limits, Scheduler, Step};
use crate::{Decoder, DecoderError, EngineError, FinishReason, TokenId};

/// Owns the decoder and all requests.
pub(crate) struct Driver<D: Decoder> {
    decoder: D,
    inbox: Arc<Inbox>,
    scheduler: Scheduler,
    runs: HashMap<JobId, Run<D::Saved>>,
    n_submitted: JobId,
}

/// A request that was taken in.
struct Run<S> {
    generation: Generation,
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
    last: bool,
}

impl<D: Decoder> Driver<D> {
    pub(crate) fn new(decoder: D, limits: Limits, inbox: Arc<Inbox>) -> Self {
        Self { decoder, inbox, scheduler: Scheduler::new(limits), runs: HashMap::new(), n_submitted: 0 }
    }

    /// Serves requests until the engine closes.
    pub(crate) fn run(&mut self) {
        while !self.inbox.closing.is_raised() {
            self.look_around();
            match self.scheduler.plan() {
                Step::Idle => self.inbox.wait(),
                step => self.execute(step),
            }
        }
    }

    /// Ends all streams with `error`, or as cancelled where that was asked for before, and refuses further requests with `error`.
    pub(crate) fn end_all(&mut self, error: &EngineError) {
        let end_of = |out: &Producer| {
            if out.is_cancelled() { End::new(FinishReason::Cancelled) } else { End::error(error.clone()) }
        };
        let waiting = self.inbox.end(error.clone());
        self.inbox.publish(crate::scheduler::Census::default());
        for (_, run) in self.runs.drain() {
            let (event, finish) = run.generation.end(end_of(&run.out));
            run.out.finish(event, finish);
        }
        for submission in waiting {
            let (event, finish) = submission.generation.end(end_of(&submission.out));
            submission.out.finish(event, finish);
        }
    }

    /// Takes in new requests, ends cancelled ones, lets drained ones go on. Next to free when nothing changed.
    fn look_around(&mut self) {
        let Some(submissions) = self.inbox.collect() else { return };
        let known: Vec<JobId> = self.runs.keys().copied().collect();
        for submission in submissions {
            self.take_in(submission);
        }
        for job in known {
            let Some(run) = self.runs.get(&job) else { continue };
            if run.out.is_cancelled() {
                self.end(job, End::new(FinishReason::Cancelled));
            } else {
                self.scheduler.set_paused(job, run.out.is_stalled());
            }
        }
        self.inbox.publish(self.scheduler.census());
    }

    fn take_in(&mut self, submission: Submission) {
        let Submission { prompt, cache_prompt, generation, out, submitted } = submission;
        let nothing_to_do = generation.is_full() && !cache_prompt;
        let cancelled = out.is_cancelled();
        self.n_submitted += 1;
        let job = self.n_submitted;
        self.scheduler.submit(job, prompt, cache_prompt);
        self.runs.insert(job, Run { generation, out, parked: None, submitted, started: false });
        if cancelled {
            self.end(job, End::new(FinishReason::Cancelled));
        } else if nothing_to_do {
            self.end(job, End::new(FinishReason::Length));
        }
    }

    fn execute(&mut self, step: Step) {
        match step {
            Step::Decode { job, seq, pos, len, last } => {
                self.decode(&MicroBatch { job, seq, pos, len, last });
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
            run.generation.usage.cached_tokens = kept;
        }
    }

    /// Decodes one micro-batch, and takes the next token from it if it was the last of what there is.
    fn decode(&mut self, batch: &MicroBatch) {
        let Some(run) = self.runs.get_mut(&batch.job) else {
            self.scheduler.remove(batch.job, false);
            return;
        };
        let started = Instant::now();
        if !run.started {
            run.started = true;
            run.generation.timings.queued = started.duration_since(run.submitted);
        }
        let in_prompt = run.generation.in_prompt();
        let want_logits = batch.last && !run.generation.is_full();
        let tokens = &self.scheduler.tokens(batch.job)[batch.pos..batch.pos + batch.len];
        let result = self.decoder.decode(batch.seq, batch.pos, tokens, want_logits, run.out.abort());
        let progress = match result {
            Ok(()) if want_logits => Some(run.generation.advance(&self.decoder, run.submitted)),
            Ok(()) if batch.last => Some(Progress::Ended(End::new(FinishReason::Length))),
            Ok(()) => None,
            Err(error) => return self.failed(batch.job, &error),
        };
        run.generation.count_time(in_prompt, started);
        self.scheduler.decoded(batch.job, batch.len);
        match progress {
            None => {}
            Some(Progress::Ended(end)) => self.end(batch.job, end),
            Some(Progress::Token(token)) => self.deliver(batch.job, token),
        }
    }

    /// Pushes what text there is and has the request go on with `token`.
    fn deliver(&mut self, job: JobId, token: TokenId) {
        self.scheduler.generated(job, token);
        let Some(run) = self.runs.get_mut(&job) else { return };
        if let Some(event) = run.generation.take_event()
            && !run.out.push(event)
        {
            // The consumer may have drained the channel since the push; its poke then has this looked at again.
            self.scheduler.set_paused(job, true);
        }
    }

    fn failed(&mut self, job: JobId, error: &DecoderError) {
        if *error == DecoderError::Aborted && self.inbox.closing.is_raised() {
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

    /// Frees what the request has, then tells its consumer.
    fn end_with(&mut self, job: JobId, end: End, keep: bool) {
        if let Some(seq) = self.scheduler.remove(job, keep) {
            self.decoder.clear(seq);
        }
        let Some(mut run) = self.runs.remove(&job) else { return };
        if !run.started {
            run.generation.timings.queued = run.submitted.elapsed();
        }
        self.inbox.publish(self.scheduler.census());
        let (event, finish) = run.generation.end(end);
        run.out.finish(event, finish);
    }
}
