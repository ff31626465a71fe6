//! Several requests in one decode: who is in it, and on which terms.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fake::{
    Call, DEADLINE, FakeDecoder, continuation, decode_until_aborted, drain, next, prompt, request, run,
};
use crate::{DecoderError, Engine, EngineConfig, FinishReason, QueueFull, Request, SubmitError};

/// Keeps the first decode of an engine waiting, so that requests gather; dropping it lets the decode go on.
pub(super) struct Gate {
    engine: Engine,
    entered: std::sync::mpsc::Receiver<()>,
    _open: std::sync::mpsc::Sender<()>,
}

impl Gate {
    /// A request whose decode waits now.
    pub(super) fn occupy(&self) -> crate::TokenStream {
        let stream = self.engine.submit(request(&[1], 0).with_cache()).unwrap();
        self.entered.recv_timeout(DEADLINE).unwrap();
        stream
    }
}

/// An engine whose first decode waits at a gate, with what `seen` makes of each later decode.
pub(super) fn gathering<T: Send + 'static>(
    decoder: FakeDecoder,
    seen: impl Fn(&Call) -> T + Send + 'static,
) -> (Engine, Gate, Arc<Mutex<Vec<T>>>) {
    let ((enter, entered), (open, wait)) = (channel(), channel::<()>());
    let list = Arc::new(Mutex::new(Vec::new()));
    let out = Arc::clone(&list);
    let mut first = true;
    let engine = decoder
        .with_hook(move |call| {
            if std::mem::take(&mut first) {
                enter.send(()).unwrap();
                let _ = wait.recv_timeout(DEADLINE);
            } else {
                out.lock().unwrap().push(seen(call));
            }
            Ok(())
        })
        .spawn();
    let gate = Gate { engine: engine.clone(), entered, _open: open };
    (engine, gate, list)
}

fn n_sequences(call: &Call) -> usize {
    call.batch.iter().map(|row| row.seq).collect::<HashSet<_>>().len()
}

trait WithCache {
    fn with_cache(self) -> Self;
}

impl WithCache for Request {
    fn with_cache(mut self) -> Self {
        self.cache_prompt = true;
        self
    }
}

#[test]
fn eight_requests_take_as_many_decodes_as_one() {
    let (engine, gate, widths) = gathering(FakeDecoder::new(1000, 64, 8), n_sequences);
    let first = gate.occupy();
    let prompts: Vec<_> = (0..8).map(|i| prompt(70 + i, 5)).collect();
    let streams: Vec<_> = prompts.iter().map(|p| engine.submit(request(p, 40)).unwrap()).collect();
    drop(gate);
    drain(&first);
    for (stream, prompt) in streams.iter().zip(&prompts) {
        drain(stream).assert_continues(prompt, 40);
    }
    let widths = widths.lock().unwrap();
    assert!(widths.len() <= 42, "{} decodes", widths.len());
    assert!(widths.iter().filter(|width| **width == 8).count() >= 38);
}

#[test]
fn a_request_joins_and_leaves_while_others_run() {
    let engine = FakeDecoder::new(4000, 64, 4).spawn();
    let long = prompt(80, 5);
    let stream = engine.submit(request(&long, 900)).unwrap();
    let mut events = vec![next(&stream).unwrap()];
    for i in 0..20 {
        let short = prompt(81 + i, 9);
        run(&engine, request(&short, 7)).assert_continues(&short, 7);
        events.extend(next(&stream));
    }
    events.extend(std::iter::from_fn(|| next(&stream)));
    super::fake::Outcome { events, finish: stream.finish().unwrap() }.assert_continues(&long, 900);
}

#[test]
fn requests_of_higher_priority_begin_first() {
    let mut decoder = FakeDecoder::new(1000, 64, 4);
    decoder.config.max_running = Some(1);
    let (engine, gate, firsts) = gathering(decoder, |call| call.batch[0].token);
    let first = gate.occupy();
    let streams: Vec<_> = [(2, 0), (3, 5), (4, -1), (5, 5)]
        .map(|(token, priority)| Request { priority, ..request(&[token], 1) })
        .map(|request| engine.submit(request).unwrap())
        .into();
    drop(gate);
    drain(&first);
    for stream in &streams {
        drain(stream);
    }
    assert_eq!(*firsts.lock().unwrap(), [3, 5, 2, 4]);
}

#[test]
fn timeout_covers_the_queue_and_the_work() {
    let (enter, entered) = channel();
    let engine = FakeDecoder::new(200, 4, 1)
        .with_hook(move |call| {
            if call.tokens() == [6, 6, 6, 6] {
                enter.send(()).unwrap();
                return Err(decode_until_aborted(call));
            }
            Ok(())
        })
        .spawn();
    let timeout = Some(Duration::from_millis(30));
    let working = Request { timeout, ..request(&[5, 5, 5, 5, 6, 6, 6, 6], 10) };
    let working = engine.submit(working).unwrap();
    entered.recv_timeout(DEADLINE).unwrap();
    let queued = engine.submit(Request { timeout: Some(Duration::ZERO), ..request(&[1], 10) }).unwrap();
    assert_eq!(drain(&working).finish.reason, FinishReason::Timeout);
    let outcome = drain(&queued);
    assert_eq!(outcome.finish.reason, FinishReason::Timeout);
    assert!(outcome.events.is_empty());
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn timeout_leaves_what_came_so_far() {
    let engine = FakeDecoder::new(4000, 8, 2).spawn();
    let prompt = prompt(90, 5);
    // Nobody reads, so it is paused when its time is up.
    let request = Request { timeout: Some(Duration::from_millis(200)), ..request(&prompt, 3900) };
    let stream = engine.submit(request).unwrap();
    while stream.finish().is_none() {
        std::thread::yield_now();
    }
    let outcome = drain(&stream);
    assert_eq!(outcome.finish.reason, FinishReason::Timeout);
    let tokens = outcome.tokens();
    assert!(!tokens.is_empty());
    assert_eq!(tokens, continuation(&prompt, tokens.len()));
}

#[test]
fn full_queue_refuses_and_takes_again() {
    let mut decoder = FakeDecoder::new(1000, 64, 1);
    decoder.config.max_queue = Some(2);
    let (enter, entered) = channel();
    let (go, wait) = channel::<()>();
    let mut first = true;
    let engine = decoder
        .with_hook(move |_| {
            if std::mem::take(&mut first) {
                enter.send(()).unwrap();
                let _ = wait.recv_timeout(DEADLINE);
            }
            Ok(())
        })
        .spawn();
    let running = engine.submit(request(&[1], 3)).unwrap();
    entered.recv_timeout(DEADLINE).unwrap();
    let waiting = [engine.submit(request(&[2], 3)).unwrap(), engine.submit(request(&[3], 3)).unwrap()];
    let refused = engine.submit(request(&[4], 3)).unwrap_err();
    assert_eq!(refused, SubmitError::QueueFull(QueueFull { n_waiting: 2 }));
    assert!(refused.to_string().contains("raise `max_queue`"));
    drop(go);
    for stream in [&running, &waiting[0], &waiting[1]] {
        assert_eq!(drain(stream).finish.reason, FinishReason::Length);
    }
    run(&engine, request(&[4], 3)).assert_continues(&[4], 3);
}

#[test]
fn deterministic_engine_decodes_one_at_a_time_and_alone() {
    let mut decoder = FakeDecoder::new(1000, 8, 4);
    decoder.config = EngineConfig { deterministic: true, ..EngineConfig::default() };
    let solo = Arc::new(Mutex::new(Vec::new()));
    let shapes = Arc::clone(&solo);
    let engine = decoder
        .with_hook(move |call| {
            let shape = (n_sequences(call), call.batch[0].seq, call.batch[0].pos, call.batch.len());
            shapes.lock().unwrap().push(shape);
            Ok(())
        })
        .spawn();
    let prompts: Vec<_> = (0..4).map(|_| prompt(95, 20)).collect();
    run(&engine, request(&prompts[0], 30).with_cache()).assert_continues(&prompts[0], 30);
    let alone = std::mem::take(&mut *solo.lock().unwrap());
    let streams: Vec<_> =
        prompts.iter().map(|p| engine.submit(request(p, 30).with_cache()).unwrap()).collect();
    for (stream, prompt) in streams.iter().zip(&prompts) {
        let outcome = drain(stream);
        outcome.assert_continues(prompt, 30);
        assert_eq!(outcome.finish.usage.cached_tokens, 0);
    }
    assert_eq!(*solo.lock().unwrap(), alone.repeat(4), "every decode is one that the request has alone");
}

#[test]
fn one_bad_request_is_found_among_good_ones() {
    let n_failed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&n_failed);
    let engine = FakeDecoder::new(1000, 64, 8)
        .with_hook(move |call| {
            // A request that begins with token 9 breaks the decode as soon as it has six tokens.
            let breaks = |row: &crate::BatchToken| row.token == 9 && row.pos == 6;
            if call.batch.iter().any(breaks) {
                count.fetch_add(1, Ordering::SeqCst);
                return Err(DecoderError::Failed("token 9".to_owned()));
            }
            Ok(())
        })
        .spawn();
    let bad = engine.submit(request(&[1, 1, 1, 1, 1, 1, 9, 1], 30)).unwrap();
    let prompts: Vec<_> = (0..7).map(|i| prompt(100 + i, 5)).collect();
    let streams: Vec<_> = prompts.iter().map(|p| engine.submit(request(p, 50)).unwrap()).collect();
    assert!(matches!(drain(&bad).finish.reason, FinishReason::Error(_)));
    for (stream, prompt) in streams.iter().zip(&prompts) {
        drain(stream).assert_continues(prompt, 50);
    }
    assert!(n_failed.load(Ordering::SeqCst) <= 3, "in company, and alone");
}

#[test]
fn running_requests_share_the_beginning_that_one_of_them_decodes() {
    let decoder = FakeDecoder::new(4000, 64, 16);
    let n_decoded = Arc::clone(&decoder.n_decoded);
    let (engine, gate, _) = gathering(decoder, |_| ());
    let first = gate.occupy();
    let shared = prompt(110, 600);
    let prompts: Vec<_> = (0..8).map(|i| [shared.clone(), prompt(111 + i, 10)].concat()).collect();
    let streams: Vec<_> =
        prompts.iter().map(|p| engine.submit(request(p, 20).with_cache()).unwrap()).collect();
    drop(gate);
    drain(&first);
    let mut n_cached = 0;
    for (stream, prompt) in streams.iter().zip(&prompts) {
        let outcome = drain(stream);
        outcome.assert_continues(prompt, 20);
        n_cached += outcome.finish.usage.cached_tokens;
    }
    assert!(n_cached >= 7 * 600, "{n_cached}");
    assert!(n_decoded.load(Ordering::SeqCst) < 600 + 8 * 32 + 10);
}

#[test]
fn leftovers_go_to_host_memory_and_come_back() {
    let decoder = FakeDecoder::new(200, 64, 4);
    let n_decoded = Arc::clone(&decoder.n_decoded);
    let engine = decoder.spawn();
    let (first, other) = (prompt(120, 100), prompt(121, 100));
    run(&engine, request(&first, 20).with_cache()).assert_continues(&first, 20);
    run(&engine, request(&other, 60).with_cache()).assert_continues(&other, 60);
    let before = n_decoded.load(Ordering::SeqCst);
    let outcome = run(&engine, request(&first, 20).with_cache());
    outcome.assert_continues(&first, 20);
    assert_eq!(outcome.finish.usage.cached_tokens, 99);
    assert_eq!(n_decoded.load(Ordering::SeqCst) - before, 20);
}

#[test]
fn a_hook_that_hangs_does_not_hold_up_those_that_wait() {
    let mut decoder = FakeDecoder::new(1000, 64, 4);
    decoder.config.max_running = Some(1);
    let engine = decoder.spawn();
    let (hook, worker) = crate::logits_hook();
    let hooked = engine.submit(Request { hook: Some(hook), ..request(&[1, 2], 5) }).unwrap();
    let crate::HookPoll::Row(row) = worker.next_timeout(DEADLINE) else { panic!("no row") };
    run(&engine, request(&[3, 4], 40)).assert_continues(&[3, 4], 40);
    worker.give_back(Ok(row.logits));
    hooked.cancel();
    drain(&hooked);
}
