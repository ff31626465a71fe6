//! What a server counts of a model besides what its decode thread does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tabagent_model::Usage;

/// Counts of one load of a model.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    embedded_tokens: AtomicU64,
    embedding_steps: AtomicU64,
    embedding_micros: AtomicU64,
    most_tokens: AtomicU64,
}

/// Counts of a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    /// Tokens of texts that became vectors or were ranked.
    pub(crate) embedded_tokens: u64,
    /// Batches of such texts.
    pub(crate) embedding_steps: u64,
    /// Seconds that they took.
    pub(crate) embedding_seconds: f64,
    /// Tokens of the longest text that was generated, its prompt included.
    pub(crate) most_tokens: u64,
}

impl Counts {
    /// Texts became vectors, or were ranked.
    pub(crate) fn embedded(&self, tokens: usize, steps: u64, took: Duration) {
        self.embedded_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        self.embedding_steps.fetch_add(steps, Ordering::Relaxed);
        self.embedding_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// A text has ended.
    pub(crate) fn ended(&self, usage: &Usage) {
        let tokens = usage.prompt_tokens + usage.completion_tokens;
        self.most_tokens.fetch_max(tokens as u64, Ordering::Relaxed);
    }

    /// The counts now.
    pub(crate) fn now(&self) -> Counted {
        Counted {
            embedded_tokens: self.embedded_tokens.load(Ordering::Relaxed),
            embedding_steps: self.embedding_steps.load(Ordering::Relaxed),
            embedding_seconds: self.embedding_micros.load(Ordering::Relaxed) as f64 / 1e6,
            most_tokens: self.most_tokens.load(Ordering::Relaxed),
        }
    }
}
