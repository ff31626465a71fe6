//! More work than the memory holds at once.

use super::fake::{FakeDecoder, drain, next, prompt, request, run};
use crate::{EngineError, FinishReason, TokenStream};

/// Opens more streams than fit, reads one of them while the others are paused, then the rest.
#[track_caller]
fn open_many_and_read_the_last_first(decoder: FakeDecoder) {
    let engine = decoder.spawn();
    let prompts: Vec<_> = (0..6).map(|i| prompt(20 + i, 10 + i)).collect();
    let mut streams: Vec<TokenStream> =
        prompts.iter().map(|prompt| engine.submit(request(prompt, 700)).unwrap()).collect();
    let last = streams.pop().unwrap();
    drain(&last).assert_continues(&prompts[5], 700);
    let stats = engine.stats();
    assert_eq!((stats.active + stats.parked, stats.queued), (5, 0));
    assert!(stats.cells_used <= stats.cells);
    // All together from here on, so that each is parked and restored several times.
    std::thread::scope(|scope| {
        for (stream, prompt) in streams.iter().zip(&prompts).rev() {
            scope.spawn(move || drain(stream).assert_continues(prompt, 700));
        }
    });
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn paused_streams_hold_up_nobody_when_slots_are_short() {
    open_many_and_read_the_last_first(FakeDecoder::new(10_000, 8, 2));
}

#[test]
fn paused_streams_hold_up_nobody_when_cells_are_short() {
    open_many_and_read_the_last_first(FakeDecoder::new(720, 8, 6));
}

#[test]
fn single_slot_serves_many_open_streams() {
    open_many_and_read_the_last_first(FakeDecoder::new(720, 8, 1));
}

#[test]
fn state_that_cannot_be_saved_is_decoded_anew() {
    let mut decoder = FakeDecoder::new(720, 8, 2);
    decoder.can_save = false;
    open_many_and_read_the_last_first_with_lost_states(decoder);
}

/// As above, but a request whose state is lost counts as queued.
#[track_caller]
fn open_many_and_read_the_last_first_with_lost_states(decoder: FakeDecoder) {
    let engine = decoder.spawn();
    let (first, second) = (prompt(30, 10), prompt(31, 12));
    let paused = engine.submit(request(&first, 700)).unwrap();
    run(&engine, request(&second, 700)).assert_continues(&second, 700);
    assert_eq!(engine.stats().queued, 1);
    drain(&paused).assert_continues(&first, 700);
}

#[test]
fn consumer_that_takes_slowly_gets_everything() {
    let engine = FakeDecoder::new(2000, 8, 1).spawn();
    let prompts = [prompt(32, 10), prompt(33, 10)];
    let [a, b] = prompts.each_ref().map(|prompt| engine.submit(request(prompt, 900)).unwrap());
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    loop {
        let (from_a, from_b) = (next(&a), next(&b));
        if from_a.is_none() && from_b.is_none() {
            break;
        }
        of_a.extend(from_a);
        of_b.extend(from_b);
    }
    for (events, stream, prompt) in [(of_a, &a, &prompts[0]), (of_b, &b, &prompts[1])] {
        super::fake::Outcome { events, finish: stream.finish().unwrap() }.assert_continues(prompt, 900);
    }
}

#[test]
fn decoder_without_room_gets_it_from_paused_requests_or_ends_the_request() {
    let mut decoder = FakeDecoder::new(2000, 8, 2);
    decoder.n_cells = 600;
    let engine = decoder.spawn();
    let (first, second) = (prompt(34, 8), prompt(35, 8));
    let paused = engine.submit(request(&first, 1500)).unwrap();
    run(&engine, request(&second, 500)).assert_continues(&second, 500);
    assert_eq!(engine.stats().parked, 1);
    let outcome = drain(&paused);
    let FinishReason::Error(EngineError::NoSpace { n_tokens }) = outcome.finish.reason else {
        panic!("ended with {:?}", outcome.finish)
    };
    assert_eq!(n_tokens, 601);
}
