//! Models by name: loaded when they are asked for, shared by all who ask, and closed when others need their memory or nobody asks for them any more.
//!
//! [`ModelPool::ask`] never blocks: its answer, a [`PoolLease`] or a [`PoolError`], comes by a function that is called once, at once where the model is loaded. A
//! model is never closed while it is lent or has a running request. Models that have to be loaded wait in one queue, in the order in which they were asked for; all who ask for
//! the same one share its place. What happens next is decided by [`State::step`](state::State::step), which touches no model and no thread.

mod entry;
mod keeper;
mod source;
mod state;

#[cfg(test)]
mod tests;

pub use entry::{PoolModel, PoolPhase};
pub use keeper::{ModelPool, PoolLease, PoolTicket};
pub use source::{LoadFailure, PoolSource, Pooled, Watch};

use std::time::Duration;

/// How much a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Bytes of all loaded models together, weights that are mapped from files included; `None` for as many as there are, which each load finds out.
    pub memory_limit: Option<u64>,
    /// Models that are loaded at the same time; `None` for any number.
    pub max_models: Option<usize>,
    /// How long an idle model stays loaded.
    pub keep_alive: Stay,
}

/// How long an idle model stays loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// For this time.
    For(Duration),
    /// Until it is unloaded.
    ForEver,
}

impl Stay {
    /// For so many seconds; for ever where they are negative, or too many to count.
    #[must_use]
    pub fn seconds(seconds: f64) -> Self {
        Duration::try_from_secs_f64(seconds).map_or(Self::ForEver, Self::For)
    }

    /// The time; `None` for ever.
    fn time(self) -> Option<Duration> {
        match self {
            Self::For(time) => Some(time),
            Self::ForEver => None,
        }
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { memory_limit: None, max_models: None, keep_alive: Stay::For(Duration::from_mins(5)) }
    }
}

/// Why a model was not lent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// There is no such model.
    #[error("there is no model `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It does not fit, even alone.
    #[error(
        "model `{name}` needs about {} MiB, and all models together may take {} MiB; raise the limit, or take a smaller model or context",
        need.div_ceil(1 << 20), limit >> 20
    )]
    TooLarge {
        /// The model.
        name: String,
        /// Bytes that it needs.
        need: u64,
        /// Bytes that there may be.
        limit: u64,
    },
    /// It could not be loaded.
    #[error("model `{name}` cannot be loaded: {}", failure.message)]
    Load {
        /// The model.
        name: String,
        /// Why not.
        failure: LoadFailure,
    },
    /// The pool is closed.
    #[error("the models are closed")]
    Closed,
}
