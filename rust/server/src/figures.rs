//! The figures of a model as Prometheus reads them.

use std::fmt::Write as _;

use tabagent_model::{EngineStats, Error, Metrics, Model, prometheus};

use crate::counts::Counted;

/// The figures of a model at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    metrics: Metrics,
    stats: EngineStats,
    moved_to_cpu: bool,
    counted: Counted,
}

/// Tokens and the seconds that they took, from which rates are made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    prompt_tokens: f64,
    prompt_seconds: f64,
    completion_tokens: f64,
    decode_seconds: f64,
}

impl Totals {
    /// What came since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens - before.prompt_tokens,
            prompt_seconds: self.prompt_seconds - before.prompt_seconds,
            completion_tokens: self.completion_tokens - before.completion_tokens,
            decode_seconds: self.decode_seconds - before.decode_seconds,
        }
    }
}

impl Figures {
    /// The figures of a loaded model, with what the server counted of it.
    ///
    /// # Errors
    /// The model was closed.
    pub(crate) fn of(model: &Model, counted: Counted) -> Result<Self, Error> {
        let moved_to_cpu = model.moved_to_cpu()?.is_some();
        Ok(Self { metrics: model.metrics()?, stats: model.stats()?, moved_to_cpu, counted })
    }

    /// What rates are made of.
    pub(crate) fn totals(&self) -> Totals {
        let Self { metrics, counted, .. } = self;
        Totals {
            prompt_tokens: metrics.prompt_tokens as f64 + counted.embedded_tokens as f64,
            prompt_seconds: metrics.prompt_seconds + counted.embedding_seconds,
            completion_tokens: metrics.completion_tokens as f64,
            decode_seconds: metrics.decode_seconds,
        }
    }

    /// llama-server's figures under its names, then those of the decode thread. Rates are those of what came `since` the last look (`metrics_bucket` of the pinned
    /// tree's tools/server/server-context.cpp).
    pub(crate) fn text(&self, since: Totals) -> String {
        let Self { metrics, stats, moved_to_cpu, counted } = self;
        let totals = self.totals();
        let each = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
        let steps = metrics.steps + counted.embedding_steps;
        let mut text = String::new();
        for (kind, name, help, value) in [
            (
                "counter",
                "prompt_tokens_total",
                "Number of prompt tokens processed, excluding cached tokens",
                totals.prompt_tokens,
            ),
            (
                "counter",
                "prompt_tokens_cached_total",
                "Number of prompt tokens reused from the cache",
                metrics.cached_tokens as f64,
            ),
            ("counter", "prompt_seconds_total", "Total time spent processing prompts", totals.prompt_seconds),
            (
                "counter",
                "tokens_predicted_total",
                "Number of generation tokens processed",
                totals.completion_tokens,
            ),
            (
                "counter",
                "tokens_predicted_seconds_total",
                "Total time spent generating tokens",
                totals.decode_seconds,
            ),
            ("counter", "n_decode_total", "Total number of llama_decode() calls", steps as f64),
            (
                "counter",
                "n_tokens_max",
                "Largest number of tokens that a request had",
                counted.most_tokens as f64,
            ),
            ("counter", "spec_decode_num_drafts_total", "Drafts generated", metrics.drafts as f64),
            (
                "counter",
                "spec_decode_num_draft_tokens_total",
                "Draft tokens generated",
                metrics.drafted_tokens as f64,
            ),
            (
                "counter",
                "spec_decode_num_accepted_tokens_total",
                "Draft tokens accepted",
                metrics.accepted_tokens as f64,
            ),
            (
                "gauge",
                "prompt_tokens_seconds",
                "Average prompt throughput in tokens/s since the last look",
                each(since.prompt_tokens, since.prompt_seconds),
            ),
            (
                "gauge",
                "predicted_tokens_seconds",
                "Average generation throughput in tokens/s since the last look",
                each(since.completion_tokens, since.decode_seconds),
            ),
            ("gauge", "requests_processing", "Number of requests processing", stats.active as f64),
            ("gauge", "requests_deferred", "Number of requests deferred", stats.queued as f64),
            (
                "gauge",
                "n_busy_slots_per_decode",
                "Average number of busy slots per llama_decode() call",
                each(metrics.step_requests as f64, metrics.steps as f64),
            ),
        ] {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "# HELP llamacpp:{name} {help}\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}\n"
            );
        }
        text.push_str(&prometheus(metrics, stats, *moved_to_cpu));
        text
    }
}
