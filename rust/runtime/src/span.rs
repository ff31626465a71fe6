//! What `tracing` is told.

use tracing::field::Empty;

use crate::scheduler::JobId;
use crate::{Finish, FinishReason};

/// The time of one request from its submission to its end, as a `tracing` span named `request`. Costs nothing where nobody listens.
pub(crate) struct RequestSpan(tracing::Span);

impl RequestSpan {
    pub(crate) fn new(job: JobId, n_prompt: usize, priority: i32) -> Self {
        Self(tracing::debug_span!(
            target: "tabagent::engine",
            "request",
            id = job,
            priority,
            prompt_tokens = n_prompt,
            cached_tokens = Empty,
            completion_tokens = Empty,
            queued_s = Empty,
            first_token_s = Empty,
            finish = Empty,
        ))
    }

    /// Something became of it on its way.
    pub(crate) fn note(&self, what: &'static str) {
        tracing::debug!(target: "tabagent::engine", parent: &self.0, "{what}");
    }

    /// It is over.
    pub(crate) fn end(self, finish: &Finish) {
        if self.0.is_disabled() {
            return;
        }
        let (usage, timings) = (&finish.usage, &finish.timings);
        self.0.record("cached_tokens", usage.cached_tokens);
        self.0.record("completion_tokens", usage.completion_tokens);
        self.0.record("queued_s", timings.queued.as_secs_f64());
        if let Some(first) = timings.first_token {
            self.0.record("first_token_s", first.as_secs_f64());
        }
        match &finish.reason {
            FinishReason::Stop => self.0.record("finish", "stop"),
            FinishReason::Length => self.0.record("finish", "length"),
            FinishReason::Cancelled => self.0.record("finish", "cancelled"),
            FinishReason::Timeout => self.0.record("finish", "timeout"),
            FinishReason::Error(error) => self.0.record("finish", tracing::field::display(error)),
        };
    }
}
