//! A step: one decode for several requests, then what it means to each of them.

use std::time::Instant;

use super::{Driver, Run};
use crate::decoded::Decoded;
use crate::metrics::StepTime;
use crate::progress::{End, Progress};
use crate::scheduler::{JobId, Span};
use crate::{
    AbortFlag, BatchToken, Decoder, DecoderError, EngineError, FinishReason, Group, OnCrash, PromptProgress,
    TokenEvent,
};

/// What a step computed for one request, and what the request does then.
struct Work<'a, S> {
    job: JobId,
    run: Run<S>,
    in_prompt: bool,
    /// Tokens that it had generated before.
    n_tokens: usize,
    /// How many of its tokens are decoded now.
    done: usize,
    decoded: Decoded<'a>,
    progress: Option<Progress>,
}

impl<S> Work<'_, S> {
    fn advance(&mut self) {
        self.progress = if self.run.task.is_full() {
            self.decoded.last.then(|| Progress::Ended(End::new(FinishReason::Length)))
        } else {
            self.run.task.advance(&self.decoded, self.run.submitted)
        };
    }
}

impl<D: Decoder> Driver<D> {
    /// Decodes a batch, and passes the logits to the requests.
    pub(super) fn decode(&mut self, spans: &[Span]) {
        let started = Instant::now();
        self.fill(spans, started);
        if let Err(error) = self.run_decoder(spans) {
            return self.failed(spans, &error);
        }
        let decode = started.elapsed();
        self.scheduler.decoded(spans);
        let (mut generating, mut n_prompt, mut n_drafted, mut drafts) = (0, 0, 0, 0);
        let rows: Vec<&[f32]> = (0..self.batch.len())
            .filter(|index| self.batch[*index].logits)
            .map(|index| self.decoder.logits(index))
            .collect();
        let mut rest = &rows[..];
        let mut works = Vec::with_capacity(spans.len());
        for span in spans {
            let Some(mut run) = self.runs.remove(&span.job) else { continue };
            let n_tokens = run.n_tokens();
            let n_rows = if run.task.is_full() { 0 } else { span.rows };
            let (rows, others) = rest.split_at(n_rows);
            rest = others;
            let in_prompt = run.task.in_prompt();
            if in_prompt {
                n_prompt += span.len;
            } else {
                generating += 1;
                n_drafted += span.rows.saturating_sub(1);
                drafts += usize::from(span.rows > 1);
            }
            let end = span.pos + span.len;
            let tokens = self.scheduler.tokens(span.job);
            let decoded = Decoded { tokens, first: end - n_rows, rows, last: span.last };
            works.push(Work { job: span.job, run, in_prompt, n_tokens, done: end, decoded, progress: None });
        }
        self.pace.note(generating, n_prompt, n_drafted, decode.as_secs_f64());
        self.n_generating = generating;
        self.crew.each(&mut works, Work::advance);
        let took = started.elapsed();
        let n_works = works.len() as u32;
        let mut progress = Vec::with_capacity(works.len());
        for mut work in works {
            let run = &mut work.run;
            run.task.count_time(work.in_prompt, took);
            run.steps = (run.steps.0 + 1, run.steps.1.saturating_add(n_works));
            run.note_tokens(work.n_tokens, &self.inbox);
            if work.in_prompt && run.task.reports_prompt() {
                let cached = run.task.usage_mut().cached_tokens;
                let prompt = PromptProgress { done: work.done, total: work.decoded.tokens.len(), cached };
                run.out.offer(TokenEvent { prompt: Some(prompt), ..TokenEvent::default() });
            }
            self.runs.insert(work.job, work.run);
            progress.extend(work.progress.map(|progress| (work.job, progress)));
        }
        for (job, progress) in progress {
            self.go_on(job, progress);
        }
        let n_requests = spans.len();
        tracing::trace!(target: "tabagent::engine", n_requests, n_prompt, n_drafted, decode_s = decode.as_secs_f64(), "step");
        self.inbox.metrics().step(&StepTime {
            n_requests,
            n_prompt,
            drafts,
            decode,
            whole: started.elapsed(),
        });
        self.scheduler.lapse(true);
    }

    /// Puts the tokens of `spans` into the batch.
    fn fill(&mut self, spans: &[Span], now: Instant) {
        self.batch.clear();
        for span in spans {
            let mut n_rows = span.rows;
            if let Some(run) = self.runs.get_mut(&span.job) {
                if run.ticket.take().is_some() {
                    run.task.timings_mut().queued = now.duration_since(run.submitted);
                }
                if run.task.is_full() {
                    n_rows = 0;
                }
            }
            let tokens = &self.scheduler.tokens(span.job)[span.pos..span.pos + span.len];
            let first_row = span.len - n_rows;
            let rows = tokens.iter().enumerate().map(|(index, token)| BatchToken {
                seq: span.seq,
                pos: span.pos + index,
                token: *token,
                logits: index >= first_row,
            });
            self.batch.extend(rows);
        }
    }

    /// Decodes the batch, and stops early when nobody wants the result any more.
    fn run_decoder(&mut self, spans: &[Span]) -> Result<(), DecoderError> {
        let runs = spans.iter().filter_map(|span| self.runs.get(&span.job));
        let watched: Vec<(AbortFlag, Option<Instant>)> =
            runs.map(|run| (run.out.abort().clone(), run.deadline)).collect();
        let closing = &self.inbox.bell.closing;
        let stop = || {
            let unwanted = |(flag, deadline): &(AbortFlag, Option<Instant>)| {
                flag.is_raised() || deadline.is_some_and(|deadline| deadline <= Instant::now())
            };
            closing.is_raised() || watched.iter().all(unwanted)
        };
        let group = spans.first().and_then(|span| self.runs.get(&span.job)).map(|run| &run.group);
        self.decoder.enter(group.unwrap_or(&Group::default()))?;
        let (usual, batch, decoder) = (&mut self.usual, &self.batch, &mut self.decoder);
        self.inbox.watchdog.during(usual, batch.len(), || decoder.decode(batch, &stop))
    }

    /// Undoes what a failed decode left behind, and finds out whose fault it was.
    fn failed(&mut self, spans: &[Span], error: &DecoderError) {
        let is_cut =
            matches!(error, DecoderError::Aborted | DecoderError::Crashed { .. } | DecoderError::Broken(_));
        if is_cut && self.inbox.bell.closing.is_raised() {
            return;
        }
        match error {
            DecoderError::Crashed { words, before } => {
                let end = EngineError::Crashed { words: words.clone() };
                return self.crashed(spans, &end, self.on_crash, *before);
            }
            DecoderError::Broken(words) => {
                let end = EngineError::Decode { message: words.clone() };
                return self.crashed(spans, &end, OnCrash::Replay, false);
            }
            _ => {}
        }
        if *error == DecoderError::NoSpace {
            return self.scheduler.refused(self.batch.len());
        }
        for span in spans {
            self.undo(span);
        }
        if *error == DecoderError::Aborted && self.end_fated(Instant::now()) {
            return;
        }
        match spans {
            [span] => {
                let message = error.to_string();
                self.end(span.job, End::error(EngineError::Decode { message }));
            }
            // Each is tried alone.
            _ => spans.iter().for_each(|span| self.scheduler.suspect(span.job)),
        }
    }

    /// Brings the sequence of `span` back to where it was.
    fn undo(&mut self, span: &Span) {
        if span.pos == 0 || !self.decoder.truncate(span.seq, span.pos) {
            self.decoder.clear(span.seq);
            if span.pos > 0 {
                self.scheduler.lost(span.job);
            }
        }
    }
}
