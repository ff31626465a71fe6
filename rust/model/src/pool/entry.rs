//! A model of a pool, loaded or not.

use std::time::{Duration, Instant};

use tabagent_llama::MemoryNeed;

use super::Stay;
use super::source::{LoadFailure, PoolSource, Pooled};
use super::state::Answer;

/// How far a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolPhase {
    /// It is not loaded.
    Unloaded,
    /// It waits for its turn, or for memory.
    Queued,
    /// It is being loaded.
    Loading,
    /// It is loaded.
    Loaded,
    /// It is being closed, or will be as soon as its requests have ended.
    Closing,
}

impl PoolPhase {
    /// Its name, such as `loading`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Queued => "queued",
            Self::Loading => "loading",
            Self::Loaded => "loaded",
            Self::Closing => "closing",
        }
    }
}

/// One model of a pool as others see it.
#[derive(Clone, Debug)]
pub struct PoolModel<M> {
    /// How far it is.
    pub phase: PoolPhase,
    /// The model, if it is loaded.
    pub model: Option<M>,
    /// What counts for the pool's limit.
    pub need: Option<MemoryNeed>,
    /// How many have it now.
    pub leases: usize,
    /// The part of it that is loaded, while it is being loaded.
    pub progress: f32,
    /// How often it was loaded.
    pub loads: u64,
    /// For how long it stays if nobody asks for it; `None` for ever, or if it is not loaded.
    pub stays: Option<Duration>,
    /// Why it could not be loaded the last time.
    pub failure: Option<LoadFailure>,
}

pub(super) enum Phase<M> {
    Unloaded,
    /// How much memory it takes is being found out.
    Measuring,
    Loading,
    Loaded(M),
    Closing,
}

pub(super) struct Waiter<M> {
    pub(super) id: u64,
    pub(super) keep_alive: Option<Stay>,
    pub(super) answer: Answer<M>,
}

/// Whether another model has to go before this one is loaded, because the machine had no memory for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It was not short of any.
    Unasked,
    /// Its load failed for want of memory.
    Needed,
    /// A model is being closed for it; its memory is there when that has ended.
    BeingMade,
}

pub(super) struct Entry<M> {
    pub(super) source: PoolSource<M>,
    pub(super) phase: Phase<M>,
    pub(super) waiting: Vec<Waiter<M>>,
    /// It is to be loaded though nobody waits for it.
    pub(super) wanted: bool,
    pub(super) leases: usize,
    pub(super) need: Option<MemoryNeed>,
    pub(super) used: Instant,
    pub(super) keep_alive: Stay,
    /// It is to be closed as soon as it is idle.
    pub(super) leaves: bool,
    /// It is no longer of the pool, and forgotten once it is closed.
    pub(super) gone: bool,
    pub(super) room: Room,
    pub(super) failure: Option<LoadFailure>,
    pub(super) progress: f32,
    pub(super) loads: u64,
    /// Tells leases of this model from those of one that went.
    pub(super) generation: u64,
    lent_before: bool,
}

impl<M: Pooled> Entry<M> {
    pub(super) fn new(source: PoolSource<M>, now: Instant) -> Self {
        let phase = source.fixed.clone().map_or(Phase::Unloaded, Phase::Loaded);
        let need = source.fixed.as_ref().map(Pooled::need);
        Self {
            source,
            phase,
            waiting: Vec::new(),
            wanted: false,
            leases: 0,
            need,
            used: now,
            keep_alive: Stay::ForEver,
            leaves: false,
            gone: false,
            room: Room::Unasked,
            failure: None,
            progress: 0.0,
            loads: 0,
            generation: 0,
            lent_before: false,
        }
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.source.fixed.is_some()
    }

    /// Whether it may be closed now.
    pub(super) fn is_idle(&self) -> bool {
        let Phase::Loaded(model) = &self.phase else { return false };
        !self.is_fixed() && self.leases == 0 && self.waiting.is_empty() && !model.is_busy()
    }

    /// Whether somebody waits for it.
    pub(super) fn is_asked_for(&self) -> bool {
        !self.gone && (self.wanted || !self.waiting.is_empty())
    }

    /// The model, if it can be lent; counts it as lent.
    pub(super) fn lend(&mut self, asked: Option<Stay>, default: Stay, now: Instant) -> Option<(M, u64)> {
        let Phase::Loaded(model) = &self.phase else { return None };
        // One that is not the pool's own says itself that it is closed.
        let is_closed = !self.is_fixed() && model.is_closed();
        if self.leaves || self.gone || is_closed {
            return None;
        }
        let model = model.clone();
        self.leases += 1;
        self.used = now;
        if let Some(keep_alive) = asked {
            self.keep_alive = keep_alive;
        } else if !self.lent_before {
            self.keep_alive = self.source.keep_alive.unwrap_or(default);
        }
        self.lent_before = true;
        Some((model, self.generation))
    }

    /// It has no model any more.
    pub(super) fn forget(&mut self) {
        self.phase = Phase::Unloaded;
        self.need = None;
        self.leases = 0;
        self.leaves = false;
        self.lent_before = false;
        self.progress = 0.0;
        self.generation += 1;
    }

    pub(super) fn look(&self, is_queued: bool, now: Instant) -> PoolModel<M> {
        let (phase, model) = match &self.phase {
            Phase::Unloaded | Phase::Measuring if is_queued => (PoolPhase::Queued, None),
            Phase::Unloaded => (PoolPhase::Unloaded, None),
            Phase::Measuring | Phase::Loading => (PoolPhase::Loading, None),
            Phase::Loaded(model) if model.is_closed() => (PoolPhase::Unloaded, None),
            Phase::Loaded(model) if self.leaves => (PoolPhase::Closing, Some(model.clone())),
            Phase::Loaded(model) => (PoolPhase::Loaded, Some(model.clone())),
            Phase::Closing => (PoolPhase::Closing, None),
        };
        let stays = model.is_some() && !self.is_fixed();
        let left = |after: Duration| (self.used + after).saturating_duration_since(now);
        PoolModel {
            phase,
            model,
            need: self.need,
            leases: self.leases,
            progress: self.progress,
            loads: self.loads,
            stays: if stays { self.keep_alive.time().map(left) } else { None },
            failure: self.failure.clone(),
        }
    }
}
