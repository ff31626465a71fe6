//! What a pool holds, and what is to be done next.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use tabagent_llama::MemoryNeed;

use super::entry::{Entry, Phase, Room, Waiter};
use super::source::{LoadFailure, PoolSource, Pooled};
use super::{PoolError, PoolOptions, Stay};
use crate::error_kind::ErrorKind;

/// After which time a model that is busy without a lease is looked at again: the end of its requests tells nobody.
const RECHECK: Duration = Duration::from_millis(50);

/// A model that is lent, with its name and generation.
pub(super) type Lent<M> = (M, String, u64);
/// Is told once.
pub(super) type Answer<M> = Box<dyn FnOnce(Result<Lent<M>, PoolError>) + Send>;

/// What the pool has to do, without its lock.
pub(super) enum Action<M> {
    /// Find out how much memory a model takes.
    Measure(String, PoolSource<M>),
    /// Load it.
    Load(String, PoolSource<M>),
    /// Close it.
    Close(String, PoolSource<M>, M),
    /// Tell who asked.
    Tell(Answer<M>, Result<Lent<M>, PoolError>),
}

pub(super) struct State<M> {
    pub(super) options: PoolOptions,
    pub(super) entries: BTreeMap<String, Entry<M>>,
    /// Models to load, in the order in which they were asked for.
    queue: VecDeque<String>,
    pub(super) closed: bool,
    next_id: u64,
    pub(super) evictions: u64,
}

impl<M: Pooled> State<M> {
    pub(super) fn new(options: PoolOptions) -> Self {
        Self {
            options,
            entries: BTreeMap::new(),
            queue: VecDeque::new(),
            closed: false,
            next_id: 0,
            evictions: 0,
        }
    }

    pub(super) fn is_queued(&self, name: &str) -> bool {
        self.queue.iter().any(|queued| queued == name)
    }

    fn enqueue(&mut self, name: &str) {
        if !self.is_queued(name) {
            self.queue.push_back(name.to_owned());
        }
    }

    /// Somebody asks for a model: `Ok` with what to tell at once, or the number under which it waits.
    pub(super) fn ask(
        &mut self,
        name: &str,
        keep_alive: Option<Stay>,
        answer: Answer<M>,
        now: Instant,
    ) -> Result<Action<M>, u64> {
        if self.closed {
            return Ok(Action::Tell(answer, Err(PoolError::Closed)));
        }
        let default = self.options.keep_alive;
        let Some(entry) = self.entries.get_mut(name).filter(|entry| !entry.gone) else {
            return Ok(Action::Tell(answer, Err(PoolError::Unknown { name: name.to_owned() })));
        };
        if let Some((model, generation)) = entry.lend(keep_alive, default, now) {
            return Ok(Action::Tell(answer, Ok((model, name.to_owned(), generation))));
        }
        self.next_id += 1;
        let id = self.next_id;
        entry.waiting.push(Waiter { id, keep_alive, answer });
        self.enqueue(name);
        Err(id)
    }

    /// Loads a model though nobody waits for it.
    pub(super) fn want(&mut self, name: &str) -> Result<(), PoolError> {
        if self.closed {
            return Err(PoolError::Closed);
        }
        let Some(entry) = self.entries.get_mut(name).filter(|entry| !entry.gone) else {
            return Err(PoolError::Unknown { name: name.to_owned() });
        };
        if !matches!(&entry.phase, Phase::Loaded(model) if !entry.leaves && !model.is_closed()) {
            entry.wanted = true;
            entry.failure = None;
            self.enqueue(name);
        }
        Ok(())
    }

    /// What is to be done now, and when to look again though nothing changes.
    pub(super) fn step(&mut self, now: Instant) -> (Vec<Action<M>>, Option<Instant>) {
        let (mut actions, mut again) = (Vec::new(), None);
        self.close_idle(now, &mut actions, &mut again);
        while let Some(name) = self.queue.front().cloned() {
            if !self.serve(&name, now, &mut actions, &mut again) {
                break;
            }
            self.queue.pop_front();
        }
        (actions, again)
    }

    /// Closes models whose time is over, and idle ones as long as all together are over a limit.
    fn close_idle(&mut self, now: Instant, actions: &mut Vec<Action<M>>, again: &mut Option<Instant>) {
        let names: Vec<String> = self.entries.keys().cloned().collect();
        for name in names {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let Phase::Loaded(model) = &entry.phase else {
                if entry.gone && matches!(entry.phase, Phase::Unloaded) {
                    self.entries.remove(&name);
                }
                continue;
            };
            if entry.is_fixed() {
                continue;
            }
            if model.is_closed() {
                entry.forget();
                continue;
            }
            if entry.leases > 0 || !entry.waiting.is_empty() && !entry.leaves {
                continue;
            }
            let due = if entry.leaves || entry.gone {
                Some(now)
            } else {
                entry.keep_alive.time().map(|stay| entry.used + stay)
            };
            match due {
                Some(at) if at <= now && model.is_busy() => {
                    entry.used = now;
                    sooner(again, now + RECHECK);
                }
                Some(at) if at <= now => self.close(&name, actions),
                Some(at) => sooner(again, at),
                None => {}
            }
        }
        let limit = self.options.memory_limit.unwrap_or(u64::MAX);
        while self.used(None) > limit {
            let Some(victim) = self.victim() else { break };
            self.close(&victim, actions);
        }
    }

    /// Goes on with the first model of the queue; true when its place in the queue is free.
    fn serve(
        &mut self,
        name: &str,
        now: Instant,
        actions: &mut Vec<Action<M>>,
        again: &mut Option<Instant>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return true };
        if !entry.is_asked_for() {
            return true;
        }
        match &entry.phase {
            Phase::Loaded(model) if !entry.leaves && !model.is_closed() => {
                self.tell_all(name, now, actions);
                return true;
            }
            Phase::Loading => return true,
            Phase::Loaded(_) => {
                sooner(again, now + RECHECK);
                return false;
            }
            Phase::Measuring | Phase::Closing => return false,
            Phase::Unloaded => {}
        }
        let limit = self.options.memory_limit;
        if limit.is_some() && entry.need.is_none() && entry.source.measure.is_some() {
            entry.phase = Phase::Measuring;
            actions.push(Action::Measure(name.to_owned(), entry.source.clone()));
            return false;
        }
        if let (Some(limit), Some(need)) = (limit, entry.need)
            && need.total() > limit
        {
            let error = PoolError::TooLarge { name: name.to_owned(), need: need.total(), limit };
            entry.failure = Some(LoadFailure { kind: ErrorKind::OutOfMemory, message: error.to_string() });
            self.fail(name, &error, actions);
            return true;
        }
        let room = entry.room;
        let is_closing = self.entries.values().any(|entry| matches!(entry.phase, Phase::Closing));
        let may_load = match room {
            Room::Unasked => self.has_room(name),
            Room::Needed => false,
            Room::BeingMade => !is_closing && self.has_room(name),
        };
        if may_load {
            let Some(entry) = self.entries.get_mut(name) else { return true };
            entry.room = Room::Unasked;
            entry.phase = Phase::Loading;
            actions.push(Action::Load(name.to_owned(), entry.source.clone()));
            return true;
        }
        if is_closing {
            // Its end is told.
            return false;
        }
        let victim = self.victim();
        let Some(entry) = self.entries.get_mut(name) else { return true };
        match victim {
            Some(victim) => {
                if room == Room::Needed {
                    entry.room = Room::BeingMade;
                }
                self.close(&victim, actions);
                self.evictions += 1;
                false
            }
            None if room == Room::Needed => {
                entry.room = Room::Unasked;
                let failure = entry.failure.clone().unwrap_or(LoadFailure {
                    kind: ErrorKind::OutOfMemory,
                    message: "it does not fit into memory".to_owned(),
                });
                self.fail(name, &PoolError::Load { name: name.to_owned(), failure }, actions);
                true
            }
            None => {
                sooner(again, now + RECHECK);
                false
            }
        }
    }

    /// A model's need is known, or cannot be.
    pub(super) fn measured(&mut self, name: &str, need: Option<MemoryNeed>) {
        if let Some(entry) = self.entries.get_mut(name)
            && matches!(entry.phase, Phase::Measuring)
        {
            entry.phase = Phase::Unloaded;
            // One that cannot count is known after the load.
            entry.need = Some(need.unwrap_or_default());
        }
    }

    /// A load has ended.
    pub(super) fn loaded(
        &mut self,
        name: &str,
        result: Result<M, LoadFailure>,
        now: Instant,
    ) -> Vec<Action<M>> {
        let mut actions = Vec::new();
        let closed = self.closed;
        let may_evict = self.victim().is_some();
        let Some(entry) = self.entries.get_mut(name) else {
            if let Ok(model) = result {
                model.close();
            }
            return actions;
        };
        match result {
            Ok(model) => {
                entry.need = Some(model.need());
                entry.phase = Phase::Loaded(model);
                entry.loads += 1;
                entry.failure = None;
                entry.used = now;
                entry.progress = 1.0;
                entry.keep_alive = entry.source.keep_alive.unwrap_or(self.options.keep_alive);
                if closed || entry.gone {
                    self.close(name, &mut actions);
                } else {
                    self.tell_all(name, now, &mut actions);
                }
            }
            Err(failure) => {
                entry.forget();
                let cancelled = failure.kind == ErrorKind::ModelLoadCancelled;
                let out_of_memory = failure.kind == ErrorKind::OutOfMemory;
                if cancelled && entry.is_asked_for() && !closed {
                    // Somebody asked while it ended.
                    self.queue.push_front(name.to_owned());
                } else if out_of_memory && may_evict && entry.is_asked_for() && !closed {
                    entry.room = Room::Needed;
                    entry.failure = Some(failure);
                    self.queue.push_front(name.to_owned());
                } else {
                    if !cancelled {
                        entry.failure = Some(failure.clone());
                    }
                    self.fail(name, &PoolError::Load { name: name.to_owned(), failure }, &mut actions);
                }
            }
        }
        actions
    }

    /// A model was closed.
    pub(super) fn ended(&mut self, name: &str) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.forget();
            if entry.gone {
                self.entries.remove(name);
            }
        }
    }

    /// Ends everything; what to close and whom to tell.
    pub(super) fn shut(&mut self) -> Vec<Action<M>> {
        self.closed = true;
        let mut actions = Vec::new();
        let names: Vec<String> = self.entries.keys().cloned().collect();
        for name in names {
            self.fail(&name, &PoolError::Closed, &mut actions);
            self.close(&name, &mut actions);
        }
        actions
    }

    fn tell_all(&mut self, name: &str, now: Instant, actions: &mut Vec<Action<M>>) {
        let default = self.options.keep_alive;
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.wanted = false;
        for waiter in std::mem::take(&mut entry.waiting) {
            let Some((model, generation)) = entry.lend(waiter.keep_alive, default, now) else { continue };
            actions.push(Action::Tell(waiter.answer, Ok((model, name.to_owned(), generation))));
        }
    }

    fn fail(&mut self, name: &str, error: &PoolError, actions: &mut Vec<Action<M>>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.wanted = false;
        let waiting = std::mem::take(&mut entry.waiting);
        actions.extend(waiting.into_iter().map(|waiter| Action::Tell(waiter.answer, Err(error.clone()))));
    }

    fn close(&mut self, name: &str, actions: &mut Vec<Action<M>>) {
        let Some(entry) = self.entries.get_mut(name).filter(|entry| !entry.is_fixed()) else { return };
        match std::mem::replace(&mut entry.phase, Phase::Closing) {
            Phase::Loaded(model) => actions.push(Action::Close(name.to_owned(), entry.source.clone(), model)),
            other => entry.phase = other,
        }
    }

    /// The model that was used least recently of those that nobody uses.
    fn victim(&self) -> Option<String> {
        let idle = self.entries.iter().filter(|(_, entry)| entry.is_idle());
        idle.min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone())
    }

    /// Whether `name` may be loaded beside what is there.
    fn has_room(&self, name: &str) -> bool {
        let held = |entry: &&Entry<M>| {
            !entry.is_fixed() && !matches!(entry.phase, Phase::Unloaded | Phase::Measuring)
        };
        let count = self.entries.values().filter(held).count();
        self.options.max_models.is_none_or(|most| count < most)
            && self.options.memory_limit.is_none_or(|limit| self.used(Some(name)) <= limit)
    }

    /// Bytes of what is loaded or being loaded, and of `with`; each mapped file once.
    pub(super) fn used(&self, with: Option<&str>) -> u64 {
        let mut mapped: BTreeMap<&Path, u64> = BTreeMap::new();
        let mut own = 0_u64;
        for (name, entry) in &self.entries {
            let counts = !matches!(entry.phase, Phase::Unloaded | Phase::Measuring) || with == Some(name);
            let Some(need) = entry.need.filter(|_| counts) else { continue };
            own = own.saturating_add(need.allocated());
            match &entry.source.file {
                Some(file) => {
                    let most = mapped.entry(file).or_default();
                    *most = (*most).max(need.mapped);
                }
                None => own = own.saturating_add(need.mapped),
            }
        }
        mapped.values().fold(own, |sum, part| sum.saturating_add(*part))
    }
}

fn sooner(again: &mut Option<Instant>, at: Instant) {
    *again = Some(again.map_or(at, |other| other.min(at)));
}
