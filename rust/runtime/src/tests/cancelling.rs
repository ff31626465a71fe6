//! Cancelled streams.

use std::sync::mpsc::channel;

use super::fake::{FakeDecoder, continuation, decode_until_aborted, drain, next, prompt, request, run};
use crate::{CHANNEL_CAPACITY, Engine, FinishReason, TokenId};

/// An engine on which the second batch of a prompt that begins with token 5 runs until it is aborted; the receiver hears when that batch begins.
fn engine_with_long_prefill() -> (Engine, std::sync::mpsc::Receiver<()>) {
    let (enter, entered) = channel();
    let engine = FakeDecoder::new(200, 4, 2)
        .with_hook(move |call| {
            if call.tokens().starts_with(&[6, 6]) {
                enter.send(()).unwrap();
                return Err(decode_until_aborted(call));
            }
            Ok(())
        })
        .spawn();
    (engine, entered)
}

const LONG: [TokenId; 12] = [5, 5, 5, 5, 6, 6, 6, 6, 5, 5, 5, 5];

#[test]
fn cancel_in_the_middle_of_a_prompt_aborts_the_running_decode() {
    let (engine, entered) = engine_with_long_prefill();
    let stream = engine.submit(request(&LONG, 10)).unwrap();
    entered.recv().unwrap();
    stream.cancel();
    let outcome = drain(&stream);
    assert_eq!(outcome.finish.reason, FinishReason::Cancelled);
    assert!(outcome.events.is_empty());
    assert_eq!((engine.stats().active, engine.stats().cells_used), (0, 0));
    stream.cancel();
    assert_eq!(stream.finish(), Some(outcome.finish));
}

#[test]
fn dropped_stream_makes_way_for_the_next() {
    let (engine, entered) = engine_with_long_prefill();
    let stream = engine.submit(request(&LONG, 10)).unwrap();
    let other = engine.submit(request(&[1, 2], 30)).unwrap();
    entered.recv().unwrap();
    drop(stream);
    drain(&other).assert_continues(&[1, 2], 30);
    assert_eq!((engine.stats().active, engine.stats().cells_used), (0, 0));
}

#[test]
fn queued_request_is_cancelled_while_another_runs_on() {
    let (engine, entered) = engine_with_long_prefill();
    let running = engine.submit(request(&LONG, 10)).unwrap();
    entered.recv().unwrap();
    let queued = engine.submit(request(&[1, 2], 30)).unwrap();
    queued.cancel();
    running.cancel();
    let outcome = drain(&queued);
    assert_eq!(outcome.finish.reason, FinishReason::Cancelled);
    assert!(outcome.tokens().is_empty());
    assert_eq!(drain(&running).finish.reason, FinishReason::Cancelled);
}

#[test]
fn cancelled_stream_keeps_the_events_that_were_there() {
    let engine = FakeDecoder::new(2000, 8, 1).spawn();
    let prompt = prompt(11, 9);
    let stream = engine.submit(request(&prompt, 1900)).unwrap();
    // This request is served only once the first one is paused, so the first one's channel is full then.
    run(&engine, request(&prompt, 5)).assert_continues(&prompt, 5);
    stream.cancel();
    let outcome = drain(&stream);
    assert_eq!(outcome.finish.reason, FinishReason::Cancelled);
    assert!(outcome.events.len() >= CHANNEL_CAPACITY);
    assert_eq!(outcome.tokens(), continuation(&prompt, outcome.finish.usage.completion_tokens));
}

#[test]
fn stream_dropped_while_paused_frees_its_cells() {
    let engine = FakeDecoder::new(1000, 8, 1).spawn();
    let prompt = prompt(12, 9);
    let paused = engine.submit(request(&prompt, 900)).unwrap();
    assert!(next(&paused).is_some());
    let other = engine.submit(request(&prompt, 900)).unwrap();
    drop(paused);
    drain(&other).assert_continues(&prompt, 900);
    assert_eq!((engine.stats().parked, engine.stats().cells_used), (0, 0));
}
