//! A memory that is split while several requests generate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::fake::{DEADLINE, FakeDecoder, drain, next, prompt, request, run};
use crate::{EngineConfig, EngineError, FinishReason, Split};

const SPLIT: Split = Split { n_seq: 4, n_cells: 60, n_worth: 20 };

fn splitting(n_seq_max: usize) -> (FakeDecoder, Arc<AtomicUsize>) {
    let mut decoder = FakeDecoder::new(240, 64, n_seq_max);
    decoder.split = Some(SPLIT);
    decoder.config = EngineConfig { max_running: Some(4), ..EngineConfig::default() };
    let n_arranged = Arc::clone(&decoder.n_arranged);
    (decoder, n_arranged)
}

#[test]
fn requests_that_generate_together_get_cells_of_their_own() {
    let (decoder, n_arranged) = splitting(8);
    let (decoder, gate) = decoder.gated();
    let engine = decoder.spawn();
    let prompts: Vec<_> = (0..4).map(|i| prompt(20 + i, 10)).collect();
    let streams: Vec<_> = prompts.iter().map(|prompt| engine.submit(request(prompt, 50)).unwrap()).collect();
    gate.store(true, Ordering::SeqCst);
    for (stream, prompt) in streams.iter().zip(&prompts) {
        drain(stream).assert_continues(prompt, 50);
    }
    assert_eq!(n_arranged.load(Ordering::SeqCst), 1);
    // What begins alone stays where it is.
    run(&engine, request(&prompts[0], 50)).assert_continues(&prompts[0], 50);
    assert_eq!(n_arranged.load(Ordering::SeqCst), 1);
}

#[test]
fn a_text_that_outgrows_its_part_gets_all_of_the_memory() {
    let (decoder, n_arranged) = splitting(8);
    let (decoder, gate) = decoder.gated();
    let engine = decoder.spawn();
    // The length is not known: `max_tokens` reaches to the end of the context.
    let prompts: Vec<_> = (0..3).map(|i| prompt(30 + i, 10)).collect();
    let streams: Vec<_> = prompts.iter().map(|prompt| engine.submit(request(prompt, 70)).unwrap()).collect();
    gate.store(true, Ordering::SeqCst);
    for (stream, prompt) in streams.iter().zip(&prompts) {
        drain(stream).assert_continues(prompt, 70);
    }
    assert_eq!(n_arranged.load(Ordering::SeqCst), 2);
    // A prompt that no part holds.
    let long = prompt(33, 150);
    run(&engine, request(&long, 60)).assert_continues(&long, 60);
}

#[test]
fn one_request_alone_is_never_moved() {
    let (decoder, n_arranged) = splitting(4);
    let engine = decoder.spawn();
    let prompt = prompt(40, 30);
    run(&engine, request(&prompt, 200)).assert_continues(&prompt, 200);
    assert_eq!(n_arranged.load(Ordering::SeqCst), 0);
}

#[test]
fn requests_that_are_cancelled_around_the_moment_leave_the_others_alone() {
    let (decoder, n_arranged) = splitting(8);
    let (submitted, cancelled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (all_there, seen, mut n_decodes) = (Arc::clone(&submitted), Arc::clone(&cancelled), 0);
    let engine = decoder
        .with_hook(move |_| {
            n_decodes += 1;
            let started = Instant::now();
            let waits =
                || !all_there.load(Ordering::SeqCst) || (n_decodes > 20 && !seen.load(Ordering::SeqCst));
            while waits() && started.elapsed() < DEADLINE {
                std::thread::yield_now();
            }
            Ok(())
        })
        .spawn();
    let prompts: Vec<_> = (0..4).map(|i| prompt(50 + i, 12)).collect();
    let streams: Vec<_> = prompts.iter().map(|prompt| engine.submit(request(prompt, 40)).unwrap()).collect();
    submitted.store(true, Ordering::SeqCst);
    assert!(next(&streams[3]).is_some());
    streams[3].cancel();
    cancelled.store(true, Ordering::SeqCst);
    for (stream, prompt) in streams.iter().zip(&prompts).take(3) {
        drain(stream).assert_continues(prompt, 40);
    }
    assert_eq!(drain(&streams[3]).finish.reason, FinishReason::Cancelled);
    assert!(n_arranged.load(Ordering::SeqCst) >= 1);
}

#[test]
fn memory_that_cannot_be_split_after_all_stays_one() {
    let (mut decoder, _) = splitting(8);
    decoder.refuses_split = Some(true);
    let engine = decoder.spawn();
    let prompts: Vec<_> = (0..3).map(|i| prompt(60 + i, 10)).collect();
    let streams: Vec<_> = prompts.iter().map(|prompt| engine.submit(request(prompt, 65)).unwrap()).collect();
    for (stream, prompt) in streams.iter().zip(&prompts) {
        drain(stream).assert_continues(prompt, 65);
    }
}

#[test]
fn memory_that_cannot_be_made_one_again_ends_only_what_does_not_fit() {
    let (mut decoder, n_arranged) = splitting(8);
    decoder.refuses_split = Some(false);
    let engine = decoder.spawn();
    let prompts: Vec<_> = (0..3).map(|i| prompt(70 + i, 10)).collect();
    let lengths = [45, 45, 120];
    let streams: Vec<_> = prompts
        .iter()
        .zip(lengths)
        .map(|(prompt, length)| engine.submit(request(prompt, length)).unwrap())
        .collect();
    for ((stream, prompt), length) in streams.iter().zip(&prompts).zip(lengths) {
        let outcome = drain(stream);
        if length == 45 {
            outcome.assert_continues(prompt, length);
        } else {
            assert!(matches!(outcome.finish.reason, FinishReason::Error(EngineError::NoSpace { .. })));
            assert_eq!(outcome.tokens().len(), 60 - 10 + 1);
        }
    }
    assert_eq!(n_arranged.load(Ordering::SeqCst), 1);
}
