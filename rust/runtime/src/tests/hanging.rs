//! Decodes that make no end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::fake::{DEADLINE, FakeDecoder, drain, request};
use crate::{EngineConfig, EngineError, FinishReason, SubmitError};

fn patient(patience: Duration) -> EngineConfig {
    EngineConfig { patience, ..EngineConfig::default() }
}

#[test]
fn a_decode_without_end_ends_its_streams_and_nobody_waits_for_it() {
    let (release, released) = channel::<()>();
    let mut decoder = FakeDecoder::new(100, 8, 2).with_hook(move |_| {
        // Ends when the sender is dropped.
        let _ = released.recv();
        Ok(())
    });
    decoder.config = patient(Duration::from_millis(40));
    let dropped = Arc::clone(&decoder.dropped);
    let engine = decoder.spawn();
    let streams: Vec<_> = (0..4).map(|_| engine.submit(request(&[1, 2], 10)).unwrap()).collect();
    let hung = EngineError::Hung { seconds: 0 };
    for stream in &streams {
        assert_eq!(drain(stream).finish.reason, FinishReason::Error(hung.clone()));
    }
    assert_eq!(engine.submit(request(&[1, 2], 10)).unwrap_err(), SubmitError::Engine(hung));
    engine.close();
    assert!(engine.is_lost());
    assert!(!dropped.load(Ordering::SeqCst), "the thread that is lost keeps its decoder");
    drop(release);
    let began = Instant::now();
    while !dropped.load(Ordering::SeqCst) {
        assert!(began.elapsed() < DEADLINE, "a decode that comes back ends the thread");
        std::thread::yield_now();
    }
    for stream in &streams {
        assert!(matches!(drain(stream).finish.reason, FinishReason::Error(EngineError::Hung { .. })));
    }
}

#[test]
fn the_first_decode_has_a_time_of_its_own() {
    let mut is_first = true;
    let mut decoder = FakeDecoder::new(100, 8, 2).with_hook(move |_| {
        if std::mem::take(&mut is_first) {
            // Longer than five times the patience.
            std::thread::sleep(Duration::from_millis(400));
        }
        Ok(())
    });
    decoder.config = EngineConfig { first_patience: Some(DEADLINE), ..patient(Duration::from_millis(20)) };
    let engine = decoder.spawn();
    let stream = engine.submit(request(&[1, 2], 10)).unwrap();
    assert_eq!(drain(&stream).finish.reason, FinishReason::Length);
    assert!(!engine.is_lost());
}

#[test]
fn closing_does_not_wait_for_a_decode_that_cannot_be_aborted() {
    let (enter, entered) = channel();
    let (release, released) = channel::<()>();
    let mut decoder = FakeDecoder::new(100, 8, 2).with_hook(move |_| {
        enter.send(()).unwrap();
        let _ = released.recv();
        Ok(())
    });
    // The first decode may take five times as long, so it is the closing that gives up.
    decoder.config = patient(Duration::from_secs(2));
    let engine = decoder.spawn();
    let _stream = engine.submit(request(&[1, 2], 10)).unwrap();
    entered.recv().unwrap();
    let began = Instant::now();
    engine.close();
    assert!(engine.is_lost());
    assert!(began.elapsed() < Duration::from_secs(8));
    drop(release);
}

#[test]
fn a_decode_that_takes_as_long_as_usual_is_no_hanging_one() {
    let mut decoder = FakeDecoder::new(100, 8, 2).with_hook(|_| {
        // Longer than the patience, which is for decodes that are usually quick.
        std::thread::sleep(Duration::from_millis(150));
        Ok(())
    });
    decoder.config = patient(Duration::from_millis(100));
    let engine = decoder.spawn();
    let stream = engine.submit(request(&[1, 2], 3)).unwrap();
    let reason = drain(&stream).finish.reason;
    assert!(!matches!(reason, FinishReason::Error(_)), "{reason:?}");
    engine.close();
    assert!(!engine.is_lost());
}
