//! What the decoder computes with dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::fake::{DEADLINE, FakeDecoder, drain, next, prompt, request, run};
use crate::{DecoderError, EngineConfig, EngineError, FinishReason, OnCrash};

fn crash(before: bool) -> DecoderError {
    DecoderError::Crashed { words: "it died".to_owned(), before }
}

fn crashed() -> FinishReason {
    FinishReason::Error(EngineError::Crashed { words: "it died".to_owned() })
}

fn config(on_crash: OnCrash) -> EngineConfig {
    EngineConfig { on_crash, ..EngineConfig::default() }
}

#[test]
fn a_crash_ends_running_streams_and_the_next_request_is_served() {
    let mut calls = 0;
    let decoder = FakeDecoder::new(100, 8, 4).with_hook(move |_| {
        calls += 1;
        if calls == 4 { Err(crash(false)) } else { Ok(()) }
    });
    let engine = decoder.spawn();
    let first = prompt(1, 3);
    let outcome = run(&engine, request(&first, 20));
    assert_eq!(outcome.finish.reason, crashed());
    assert_eq!(outcome.tokens().len(), 3, "what was generated before is there");
    run(&engine, request(&first, 20)).assert_continues(&first, 20);
}

#[test]
fn a_decoder_that_died_idle_fails_nobody() {
    let mut calls = 0;
    let decoder = FakeDecoder::new(100, 8, 4).with_hook(move |_| {
        calls += 1;
        if calls == 6 { Err(crash(true)) } else { Ok(()) }
    });
    let engine = decoder.spawn();
    let text = prompt(1, 3);
    run(&engine, request(&text, 5)).assert_continues(&text, 5);
    run(&engine, request(&text, 5)).assert_continues(&text, 5);
}

#[test]
fn streams_are_replayed_in_steps_like_those_of_the_first_time() {
    let (tell, told) = channel();
    let mut calls = 0;
    let mut decoder = FakeDecoder::new(100, 8, 4).with_hook(move |call| {
        calls += 1;
        tell.send(call.tokens()).unwrap();
        if calls == 6 { Err(crash(false)) } else { Ok(()) }
    });
    decoder.config = config(OnCrash::Replay);
    let engine = decoder.spawn();
    let text = prompt(5, 10);
    run(&engine, request(&text, 12)).assert_continues(&text, 12);
    engine.close();
    let steps: Vec<_> = told.iter().collect();
    assert_eq!(steps[..6], steps[6..12]);
    assert_eq!(steps[0], text[..8], "the prompt in parts");
    assert!(steps[2..].iter().all(|step| step.len() == 1 || step == &text[..8] || step == &text[8..]));
}

#[test]
fn several_streams_go_on_after_crashes_at_any_moment() {
    for when in [1, 2, 3, 5, 8, 13, 21, 40, 41, 42, 43, 60] {
        let mut calls = 0;
        let mut decoder = FakeDecoder::new(60, 8, 3).with_hook(move |_| {
            calls += 1;
            if calls % when == 0 && calls < 6 * when { Err(crash(calls % 2 == 0)) } else { Ok(()) }
        });
        decoder.config = config(OnCrash::Replay);
        let engine = decoder.spawn();
        let prompts: Vec<_> = (0..5).map(|seed| prompt(seed * 7 + when, 4 + seed)).collect();
        let streams: Vec<_> =
            prompts.iter().map(|prompt| engine.submit(request(prompt, 9)).unwrap()).collect();
        for (prompt, stream) in prompts.iter().zip(&streams) {
            let outcome = drain(stream);
            // With fewer steps between crashes, none may get on.
            if when >= 40 {
                outcome.assert_continues(prompt, 9);
            } else {
                assert!([crashed(), FinishReason::Length].contains(&outcome.finish.reason));
            }
        }
    }
}

#[test]
fn a_request_that_always_crashes_ends_alone() {
    let poison = [11, 11, 11];
    let mut decoder = FakeDecoder::new(100, 8, 4).with_hook(move |call| {
        if call.tokens().windows(3).any(|window| window == poison) { Err(crash(false)) } else { Ok(()) }
    });
    decoder.config = config(OnCrash::Replay);
    let engine = decoder.spawn();
    let good = prompt(3, 4);
    let streams = [
        engine.submit(request(&good, 10)).unwrap(),
        engine.submit(request(&poison, 10)).unwrap(),
        engine.submit(request(&good, 10)).unwrap(),
    ];
    drain(&streams[0]).assert_continues(&good, 10);
    assert_eq!(drain(&streams[1]).finish.reason, crashed());
    drain(&streams[2]).assert_continues(&good, 10);
}

#[test]
fn requests_end_where_it_cannot_be_started_again() {
    let mut decoder = FakeDecoder::new(100, 8, 4).with_hook(move |_| Err(crash(false)));
    decoder.config = config(OnCrash::Replay);
    decoder.n_lives = 0;
    let engine = decoder.spawn();
    for _ in 0..2 {
        let reason = run(&engine, request(&[1, 2], 10)).finish.reason;
        let FinishReason::Error(EngineError::Crashed { words }) = reason else { panic!("{reason:?}") };
        assert!(words.contains("told not to live again"), "{words}");
    }
}

#[test]
fn a_decode_without_end_is_ended_and_the_thread_goes_on() {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let mut calls = 0;
    let mut decoder = FakeDecoder::new(100, 8, 2).with_hook(move |_| {
        calls += 1;
        if calls > 1 {
            return Ok(());
        }
        let began = std::time::Instant::now();
        while !seen.load(Ordering::SeqCst) {
            assert!(began.elapsed() < DEADLINE, "nobody ended the decode");
            std::thread::yield_now();
        }
        Err(crash(false))
    });
    decoder.config = EngineConfig { patience: Duration::from_millis(40), ..EngineConfig::default() };
    decoder.ender = Some(flag);
    let engine = decoder.spawn();
    let stream = engine.submit(request(&[1, 2], 5)).unwrap();
    assert!(next(&stream).is_none());
    assert_eq!(drain(&stream).finish.reason, crashed());
    assert!(!engine.is_lost());
    run(&engine, request(&[1, 2], 5)).assert_continues(&[1, 2], 5);
}

#[test]
fn streams_go_on_when_a_context_breaks() {
    let mut calls = 0;
    let decoder = FakeDecoder::new(100, 8, 4).with_hook(move |_| {
        calls += 1;
        if calls == 5 { Err(DecoderError::Broken("it broke".to_owned())) } else { Ok(()) }
    });
    let engine = decoder.spawn();
    let prompts = [prompt(3, 4), prompt(9, 6)];
    let streams = prompts.each_ref().map(|prompt| engine.submit(request(prompt, 15)).unwrap());
    for (prompt, stream) in prompts.iter().zip(&streams) {
        drain(stream).assert_continues(prompt, 15);
    }
}

#[test]
fn a_request_that_breaks_it_again_and_again_ends_with_the_reason() {
    let broken = || DecoderError::Broken("it broke".to_owned());
    let reason = FinishReason::Error(EngineError::Decode { message: "it broke".to_owned() });
    let decoder = FakeDecoder::new(100, 8, 4).with_hook(move |call| {
        if call.tokens().windows(3).any(|window| window == [11, 11, 11]) { Err(broken()) } else { Ok(()) }
    });
    let engine = decoder.spawn();
    let good = prompt(3, 4);
    let streams = [&good[..], &[11, 11, 11]].map(|prompt| engine.submit(request(prompt, 10)).unwrap());
    drain(&streams[0]).assert_continues(&good, 10);
    assert_eq!(drain(&streams[1]).finish.reason, reason);

    let mut dead = FakeDecoder::new(100, 8, 4).with_hook(move |_| Err(broken()));
    dead.n_lives = 0;
    let ended = run(&dead.spawn(), request(&good, 5)).finish.reason;
    let FinishReason::Error(EngineError::Decode { message }) = ended else { panic!("{ended:?}") };
    assert!(message.contains("told not to live again"), "{message}");
}
