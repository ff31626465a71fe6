//! Pools of models that are none.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tabagent_llama::MemoryNeed;

use super::Stay;
use super::{
    LoadFailure, ModelPool, PoolError, PoolLease, PoolOptions, PoolPhase, PoolSource, PoolTicket, Pooled,
};
use crate::error_kind::ErrorKind;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Fake(Arc<FakeState>);

struct FakeState {
    name: &'static str,
    bytes: u64,
    busy: AtomicBool,
    closed: AtomicBool,
    log: Log,
}

/// What happened, and what is held back.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Events>, Condvar)>);

#[derive(Default)]
struct Events {
    told: Vec<String>,
    held: bool,
}

impl Log {
    fn tell(&self, what: String) {
        self.0.0.lock().unwrap().told.push(what);
        self.0.1.notify_all();
    }

    fn hold(&self, held: bool) {
        self.0.0.lock().unwrap().held = held;
        self.0.1.notify_all();
    }

    /// Waits until loads may go on.
    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |events| events.held).unwrap());
    }

    fn until(&self, what: &str) {
        let waits = |events: &mut Events| !events.told.iter().any(|told| told == what);
        let (events, late) = self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), PATIENCE, waits).unwrap();
        assert!(!late.timed_out(), "`{what}` did not happen: {:?}", events.told);
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().told.clone()
    }
}

impl Pooled for Fake {
    fn need(&self) -> MemoryNeed {
        MemoryNeed { weights: self.0.bytes, ..MemoryNeed::default() }
    }

    fn is_busy(&self) -> bool {
        self.0.busy.load(Ordering::SeqCst)
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.log.tell(format!("close {}", self.0.name));
    }
}

fn source(log: &Log, name: &'static str, bytes: u64) -> PoolSource<Fake> {
    let log = log.clone();
    let load = move |watch: super::Watch| {
        log.tell(format!("load {name}"));
        log.pass();
        if !watch(0.5) {
            return Err(LoadFailure { kind: ErrorKind::ModelLoadCancelled, message: "cancelled".to_owned() });
        }
        Ok(Fake(Arc::new(FakeState {
            name,
            bytes,
            busy: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            log: log.clone(),
        })))
    };
    PoolSource::new(load).with_measure(move || Some(MemoryNeed { weights: bytes, ..MemoryNeed::default() }))
}

fn pool(log: &Log, options: PoolOptions) -> ModelPool<Fake> {
    let pool = ModelPool::new(options);
    for name in ["a", "b", "c"] {
        pool.set(name, source(log, name, 10));
    }
    pool
}

type Told = Receiver<Result<PoolLease<Fake>, PoolError>>;

fn ask(pool: &ModelPool<Fake>, name: &str) -> (PoolTicket<Fake>, Told) {
    let (tell, told) = channel();
    (pool.ask(name, None, move |answer| drop(tell.send(answer))), told)
}

fn get(pool: &ModelPool<Fake>, name: &str) -> Result<PoolLease<Fake>, PoolError> {
    let (_ticket, told) = ask(pool, name);
    told.recv_timeout(PATIENCE).unwrap()
}

const FOR_EVER: PoolOptions = PoolOptions { memory_limit: None, max_models: None, keep_alive: Stay::ForEver };

#[test]
fn a_model_is_loaded_once_for_all_who_ask() {
    let log = Log::default();
    let pool = pool(&log, FOR_EVER);
    log.hold(true);
    let (first, second) = (ask(&pool, "a"), ask(&pool, "a"));
    log.until("load a");
    log.hold(false);
    let leases = [first.1, second.1].map(|told| told.recv_timeout(PATIENCE).unwrap().unwrap());
    assert_eq!(leases[0].generation(), leases[1].generation());
    assert_eq!(log.all(), ["load a"]);
    assert_eq!(pool.look("a").unwrap().leases, 2);
    drop(leases);
    let now = pool.look("a").unwrap();
    assert_eq!((now.phase, now.leases, now.loads), (PoolPhase::Loaded, 0, 1));
}

#[test]
fn the_least_recently_used_idle_model_goes_first() {
    let log = Log::default();
    let pool = pool(&log, PoolOptions { max_models: Some(2), ..FOR_EVER });
    drop(get(&pool, "a").unwrap());
    drop(get(&pool, "b").unwrap());
    drop(get(&pool, "a").unwrap());
    drop(get(&pool, "c").unwrap());
    assert_eq!(log.all(), ["load a", "load b", "close b", "load c"]);
    assert_eq!(pool.used(), (20, 1));
}

#[test]
fn memory_is_the_limit() {
    let log = Log::default();
    let pool = pool(&log, PoolOptions { memory_limit: Some(25), ..FOR_EVER });
    pool.set("large", source(&log, "large", 26));
    for name in ["a", "b", "c"] {
        drop(get(&pool, name).unwrap());
    }
    assert_eq!(log.all(), ["load a", "load b", "close a", "load c"]);
    let error = get(&pool, "large").unwrap_err();
    assert_eq!(error, PoolError::TooLarge { name: "large".to_owned(), need: 26, limit: 25 });
    assert_eq!(pool.look("large").unwrap().failure.unwrap().kind, ErrorKind::OutOfMemory);
}

#[test]
fn a_model_in_use_is_waited_for() {
    let log = Log::default();
    let pool = pool(&log, PoolOptions { max_models: Some(1), ..FOR_EVER });
    let used = get(&pool, "a").unwrap();
    let (_ticket, told) = ask(&pool, "b");
    assert!(told.try_recv().is_err());
    assert_eq!(pool.look("b").unwrap().phase, PoolPhase::Queued);
    // Requests that outlive their lease keep it, too.
    used.model().0.busy.store(true, Ordering::SeqCst);
    let model = used.model().clone();
    drop(used);
    assert!(told.recv_timeout(Duration::from_millis(120)).is_err());
    model.0.busy.store(false, Ordering::SeqCst);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap().name(), "b");
    assert_eq!(log.all(), ["load a", "close a", "load b"]);
}

#[test]
fn who_gives_up_costs_no_model() {
    let log = Log::default();
    let pool = pool(&log, PoolOptions { max_models: Some(1), ..FOR_EVER });
    let used = get(&pool, "a").unwrap();
    let (ticket, told) = ask(&pool, "b");
    drop(ticket);
    assert!(told.recv().is_err());
    drop(used);
    drop(get(&pool, "a").unwrap());
    assert_eq!(log.all(), ["load a"]);
}

#[test]
fn a_load_that_nobody_waits_for_ends_and_one_who_comes_meanwhile_is_served() {
    let log = Log::default();
    let pool = pool(&log, FOR_EVER);
    log.hold(true);
    let (ticket, _) = ask(&pool, "a");
    log.until("load a");
    drop(ticket);
    let (_ticket, told) = ask(&pool, "a");
    log.hold(false);
    assert!(told.recv_timeout(PATIENCE).unwrap().is_ok());
}

#[test]
fn an_idle_model_is_closed_after_its_time() {
    let log = Log::default();
    let pool = pool(&log, PoolOptions { keep_alive: Stay::For(Duration::ZERO), ..FOR_EVER });
    drop(get(&pool, "a").unwrap());
    log.until("close a");
    let (tell, told) = channel();
    let _ticket = pool.ask("b", Some(Stay::ForEver), move |answer| drop(tell.send(answer)));
    drop(told.recv_timeout(PATIENCE).unwrap().unwrap());
    assert_eq!(pool.look("b").unwrap().stays, None);
    assert_eq!(get(&pool, "a").unwrap().generation(), 1);
}

#[test]
fn an_unloaded_model_goes_after_its_requests_and_comes_again() {
    let log = Log::default();
    let pool = pool(&log, FOR_EVER);
    let used = get(&pool, "a").unwrap();
    assert!(pool.unload("a") && !pool.unload("none"));
    assert_eq!(pool.look("a").unwrap().phase, PoolPhase::Closing);
    let (_ticket, told) = ask(&pool, "a");
    assert!(told.try_recv().is_err());
    drop(used);
    let again = told.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!((again.generation(), pool.look("a").unwrap().loads), (1, 2));
    assert_eq!(log.all(), ["load a", "close a", "load a"]);
}

#[test]
fn where_the_machine_has_no_memory_an_idle_model_makes_room() {
    let log = Log::default();
    let pool = pool(&log, FOR_EVER);
    let tries = Arc::new(AtomicUsize::new(0));
    let (counted, made) = (Arc::clone(&tries), source(&log, "tight", 1));
    let tight = move |watch: super::Watch| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Err(LoadFailure { kind: ErrorKind::OutOfMemory, message: "no memory".to_owned() }),
        _ => made.load(watch),
    };
    pool.set("tight", PoolSource::new(tight));
    drop(get(&pool, "a").unwrap());
    drop(get(&pool, "tight").unwrap());
    assert_eq!(log.all(), ["load a", "close a", "load tight"]);
    let none = PoolSource::new(|_| {
        Err(LoadFailure { kind: ErrorKind::OutOfMemory, message: "no memory".to_owned() })
    });
    pool.set("none", none);
    let text = get(&pool, "none").unwrap_err().to_string();
    assert_eq!(text, "model `none` cannot be loaded: no memory");
}

#[test]
fn room_is_there_only_once_the_other_model_is_closed() {
    let log = Log::default();
    let pool = pool(&log, FOR_EVER);
    let tries = Arc::new(AtomicUsize::new(0));
    let (tell, told) = channel();
    let (counted, made) = (Arc::clone(&tries), source(&log, "tight", 1));
    let tight = move |watch: super::Watch| {
        if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(LoadFailure { kind: ErrorKind::OutOfMemory, message: "no memory".to_owned() });
        }
        tell.send(()).ok();
        made.load(watch)
    };
    pool.set("tight", PoolSource::new(tight));
    let ((enter, entered), (leave, left)) = (channel(), channel::<()>());
    let left = Mutex::new(left);
    let slow = source(&log, "slow", 1).with_release(move |model| {
        enter.send(()).unwrap();
        left.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        model.close();
    });
    pool.set("slow", slow);
    drop(get(&pool, "slow").unwrap());
    let (_ticket, answer) = ask(&pool, "tight");
    entered.recv_timeout(PATIENCE).unwrap();
    // Whatever wakes the pool meanwhile, the load is not tried again.
    pool.remove("nobody");
    assert_eq!(told.recv_timeout(Duration::from_millis(200)), Err(RecvTimeoutError::Timeout));
    leave.send(()).unwrap();
    drop(answer.recv_timeout(PATIENCE).unwrap().unwrap());
    assert_eq!(log.all(), ["load slow", "close slow", "load tight"]);
}

#[test]
fn removed_and_changed_models_go() {
    let log = Log::default();
    let pool = pool(&log, FOR_EVER);
    drop(get(&pool, "a").unwrap());
    pool.remove("a");
    log.until("close a");
    assert_eq!(get(&pool, "a").unwrap_err(), PoolError::Unknown { name: "a".to_owned() });
    drop(get(&pool, "b").unwrap());
    pool.set("b", source(&log, "other", 1));
    log.until("close b");
    drop(get(&pool, "b").unwrap());
    assert_eq!(log.all().last().unwrap(), "load other");
}

#[test]
fn closing_ends_everything() {
    let log = Log::default();
    let pool = pool(&log, PoolOptions { max_models: Some(1), ..FOR_EVER });
    let used = get(&pool, "a").unwrap();
    let (_ticket, told) = ask(&pool, "b");
    pool.close();
    assert!(used.model().is_closed());
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap_err(), PoolError::Closed);
    assert_eq!(get(&pool, "a").unwrap_err(), PoolError::Closed);
}

#[test]
fn a_model_of_somebody_else_stays() {
    let log = Log::default();
    let pool = pool(
        &log,
        PoolOptions { max_models: Some(1), keep_alive: Stay::For(Duration::ZERO), memory_limit: None },
    );
    let model = get(&pool, "a").unwrap().model().clone();
    pool.set("fixed", PoolSource::fixed(model.clone()));
    drop(get(&pool, "fixed").unwrap());
    assert!(!pool.unload("fixed"));
    assert_eq!(pool.look("fixed").unwrap().stays, None);
    // It was idle as soon as it was there.
    log.until("close a");
    pool.close();
    assert_eq!(log.all().iter().filter(|told| *told == "close a").count(), 1);
}
