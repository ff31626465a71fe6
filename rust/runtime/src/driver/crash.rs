//! What happens when that which the decoder computes with dies.

use super::Driver;
use crate::progress::End;
use crate::scheduler::{Census, JobId, Span};
use crate::{Decoder, DecoderError, EngineError, OnCrash};

/// How often in a row a step with a request may bring a crash before the request ends.
const TRIES: u32 = 3;

impl<D: Decoder> Driver<D> {
    /// Forgets all that the decoder held, and ends the requests that do not go on with `end`. With `before`, the crash was not in the step of `spans`, so those that have not begun are
    /// decoded by what comes next.
    pub(super) fn crashed(&mut self, spans: &[Span], end: &EngineError, on_crash: OnCrash, before: bool) {
        self.is_down = true;
        self.broke = matches!(end, EngineError::Decode { .. });
        self.stored.clear();
        let mut ending: Vec<JobId> = Vec::new();
        for (job, run) in &mut self.runs {
            run.parked = None;
            let in_step = !before && spans.iter().any(|span| span.job == *job);
            let has_begun = run.steps.0 > 0;
            if on_crash == OnCrash::End {
                if in_step || has_begun {
                    ending.push(*job);
                }
                continue;
            }
            if in_step {
                let n_tokens = run.n_tokens();
                let (count, n_before) = run.crashes;
                let count = if n_tokens > n_before { 1 } else { count + 1 };
                run.crashes = (count, n_tokens);
                if count >= TRIES {
                    ending.push(*job);
                }
            }
        }
        let n_ended = ending.len();
        for job in ending {
            self.end(job, End::error(end.clone()));
        }
        tracing::warn!(target: "tabagent::engine", n_ended, n_going_on = self.runs.len(), "{end}");
        self.scheduler.all_lost();
        if spans.len() > 1 && !before {
            // Each is tried alone.
            for span in spans {
                self.scheduler.suspect(span.job);
            }
        }
        self.inbox.publish(self.scheduler.census());
    }

    /// Starts what the decoder computes with again. Requests end if that cannot be.
    pub(super) fn revive(&mut self) {
        match self.decoder.revive() {
            Ok(()) => {
                self.is_down = false;
                tracing::info!(target: "tabagent::engine", "started again");
            }
            Err(_) if self.inbox.bell.closing.is_raised() => {}
            Err(error) => {
                let words = match error {
                    DecoderError::Crashed { words, .. } => words,
                    other => other.to_string(),
                };
                let end = if self.broke {
                    EngineError::Decode { message: words }
                } else {
                    EngineError::Crashed { words }
                };
                let jobs: Vec<JobId> = self.runs.keys().copied().collect();
                for job in jobs {
                    self.end(job, End::error(end.clone()));
                }
                self.inbox.publish(Census::default());
            }
        }
    }
}
