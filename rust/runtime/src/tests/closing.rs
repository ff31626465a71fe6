//! Ends of engines: closed, dropped, broken, forked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

use super::fake::{FakeDecoder, decode_until_aborted, drain, next, request};
use crate::{EngineError, FinishReason, Poll, SubmitError};

#[test]
fn close_aborts_the_decode_ends_all_streams_and_waits_for_the_decoder_to_go() {
    let (enter, entered) = channel();
    let decoder = FakeDecoder::new(100, 8, 2).with_hook(move |call| {
        enter.send(()).unwrap();
        Err(decode_until_aborted(call))
    });
    let dropped = Arc::clone(&decoder.dropped);
    let engine = decoder.spawn();
    let streams: Vec<_> = (0..5).map(|_| engine.submit(request(&[1, 2], 10)).unwrap()).collect();
    entered.recv().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                engine.close();
                assert!(dropped.load(Ordering::SeqCst));
            });
        }
    });
    for stream in &streams {
        assert_eq!(drain(stream).finish.reason, FinishReason::Error(EngineError::Closed));
    }
    engine.close();
    let error = engine.submit(request(&[1, 2], 10)).unwrap_err();
    assert_eq!(error, SubmitError::Engine(EngineError::Closed));
}

#[test]
fn close_wakes_an_engine_that_is_idle_or_whose_streams_are_all_paused() {
    FakeDecoder::new(100, 8, 2).spawn().close();
    let engine = FakeDecoder::new(1000, 8, 2).spawn();
    let stream = engine.submit(request(&[1, 2], 900)).unwrap();
    assert!(next(&stream).is_some());
    engine.close();
    let outcome = drain(&stream);
    assert_eq!(outcome.finish.reason, FinishReason::Error(EngineError::Closed));
    assert!(outcome.finish.usage.completion_tokens < 900);
}

#[test]
fn streams_cancelled_before_the_close_end_as_cancelled() {
    let (enter, entered) = channel();
    let decoder = FakeDecoder::new(100, 8, 2).with_hook(move |call| {
        enter.send(()).unwrap();
        Err(decode_until_aborted(call))
    });
    let engine = decoder.spawn();
    let streams: Vec<_> = (0..4).map(|_| engine.submit(request(&[1, 2], 10)).unwrap()).collect();
    entered.recv().unwrap();
    streams[1].cancel();
    streams[3].cancel();
    engine.close();
    for (i, stream) in streams.iter().enumerate() {
        let expected =
            if i % 2 == 1 { FinishReason::Cancelled } else { FinishReason::Error(EngineError::Closed) };
        assert_eq!(drain(stream).finish.reason, expected);
    }
}

#[test]
fn last_handle_that_goes_closes_the_engine() {
    let decoder = FakeDecoder::new(1000, 8, 2);
    let dropped = Arc::clone(&decoder.dropped);
    let engine = decoder.spawn();
    let stream = engine.submit(request(&[1, 2], 900)).unwrap();
    let clone = engine.clone();
    drop(engine);
    assert!(next(&stream).is_some());
    assert!(!dropped.load(Ordering::SeqCst));
    drop(clone);
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(drain(&stream).finish.reason, FinishReason::Error(EngineError::Closed));
}

#[test]
fn engine_may_be_closed_and_dropped_on_its_own_thread() {
    let decoder = FakeDecoder::new(100, 8, 2);
    let engine = decoder.spawn();
    let stream = engine.submit(request(&[1, 2], 10)).unwrap();
    stream.set_waker(Box::new(move || engine.close()));
    drain(&stream);
}

#[test]
fn decoder_that_panics_ends_all_streams_and_later_submissions() {
    let mut n_calls = 0;
    let decoder = FakeDecoder::new(100, 8, 2).with_hook(move |_| {
        n_calls += 1;
        assert!(n_calls < 5, "decoder fell over");
        Ok(())
    });
    let dropped = Arc::clone(&decoder.dropped);
    let engine = decoder.spawn();
    // A later request is refused if the thread has failed already.
    let streams: Vec<_> = (0..3).map_while(|_| engine.submit(request(&[1, 2], 50)).ok()).collect();
    let error = EngineError::Panicked { message: "decoder fell over".to_owned() };
    assert!(!streams.is_empty());
    for stream in &streams {
        assert_eq!(drain(stream).finish.reason, FinishReason::Error(error.clone()));
    }
    assert_eq!(engine.submit(request(&[1, 2], 10)).unwrap_err(), SubmitError::Engine(error));
    engine.close();
    assert!(dropped.load(Ordering::SeqCst));
}

#[test]
fn forked_child_is_told_at_once_and_never_waits() {
    let (enter, entered) = channel();
    let decoder = FakeDecoder::new(100, 8, 2).with_hook(move |call| {
        enter.send(()).unwrap();
        Err(decode_until_aborted(call))
    });
    let dropped = Arc::clone(&decoder.dropped);
    let engine = decoder.spawn();
    let stream = engine.submit(request(&[1, 2], 10)).unwrap();
    entered.recv().unwrap();
    let home = &engine.inner.inbox.bell.home;
    home.pretend_forked(true);
    assert_eq!(engine.submit(request(&[1, 2], 10)).unwrap_err(), SubmitError::Engine(EngineError::Forked));
    assert_eq!(stream.next_timeout(super::fake::DEADLINE), Poll::Finished);
    assert_eq!(stream.try_next(), Poll::Finished);
    assert_eq!(stream.finish().unwrap().reason, FinishReason::Error(EngineError::Forked));
    assert_eq!(engine.stats().active, 0);
    stream.cancel();
    engine.close();
    assert!(!dropped.load(Ordering::SeqCst));
    home.pretend_forked(false);
    engine.close();
    assert_eq!(drain(&stream).finish.reason, FinishReason::Error(EngineError::Closed));
}
