//! Cells that somebody keeps, and cells that leave and come back.

use super::fake::{DEADLINE, FakeDecoder, continuation, drain, group, next, prompt, request, run};
use crate::{CellsRequest, Engine, EngineConfig, EngineError, FinishReason, Owner, Record, Request, TokenId};

fn kept(owner: &Owner, prompt: &[TokenId], max_tokens: usize) -> Request {
    let mut request = request(prompt, max_tokens);
    request.owner = Some(owner.clone());
    request
}

fn cells(tokens: &[TokenId], owner: &Owner) -> CellsRequest {
    CellsRequest { tokens: tokens.to_vec(), owner: Some(owner.clone()), ..CellsRequest::default() }
}

/// Requests that need all the memory, and leave a lot behind.
fn crowd(engine: &Engine) {
    for seed in 100..110 {
        let prompt = prompt(seed, 250);
        let mut request = request(&prompt, 20);
        request.cache_prompt = true;
        run(engine, request).assert_continues(&prompt, 20);
    }
}

/// A memory of 300 tokens, and no room for what others leave in host memory.
fn small() -> FakeDecoder {
    let mut decoder = FakeDecoder::new(300, 16, 2);
    decoder.config = EngineConfig { cache_bytes: 0, ..EngineConfig::default() };
    decoder
}

#[test]
fn what_somebody_keeps_is_there_whatever_else_ran() {
    let engine = small().spawn();
    let owner = engine.owner();
    // Shorter than what is worth stowing for nobody.
    let mut text = prompt(1, 12);
    for _ in 0..4 {
        let outcome = run(&engine, kept(&owner, &text, 8));
        outcome.assert_continues(&text, 8);
        let cached = if text.len() == 12 { 0 } else { text.len() - 4 };
        assert_eq!(outcome.finish.usage.cached_tokens, cached);
        text.extend(continuation(&text, 8));
        text.extend([1, 2, 3]);
        crowd(&engine);
    }
}

#[test]
fn nothing_is_kept_for_an_owner_who_is_gone() {
    let engine = small().spawn();
    let owner = engine.owner();
    let text = prompt(2, 60);
    run(&engine, kept(&owner, &text, 4)).assert_continues(&text, 4);
    drop(owner);
    crowd(&engine);
    let outcome = run(&engine, kept(&engine.owner(), &text, 4));
    outcome.assert_continues(&text, 4);
    assert_eq!(outcome.finish.usage.cached_tokens, 0);
}

#[test]
fn only_the_newest_of_an_owner_is_kept() {
    let engine = small().spawn();
    let owner = engine.owner();
    let (first, second) = (prompt(3, 60), prompt(4, 60));
    run(&engine, kept(&owner, &first, 4)).assert_continues(&first, 4);
    run(&engine, kept(&owner, &second, 4)).assert_continues(&second, 4);
    crowd(&engine);
    // A request that leaves nothing takes nothing away.
    assert_eq!(run(&engine, kept(&owner, &second, 4)).finish.usage.cached_tokens, 59);
    crowd(&engine);
    assert_eq!(run(&engine, kept(&owner, &first, 4)).finish.usage.cached_tokens, 0);
}

#[test]
fn others_get_a_copy_of_what_is_kept() {
    let engine = FakeDecoder::new(300, 16, 1).spawn();
    let owner = engine.owner();
    let text = prompt(5, 60);
    run(&engine, kept(&owner, &text, 4)).assert_continues(&text, 4);
    let other = [&text[..40], &[5, 5, 5]].concat();
    let mut request = request(&other, 4);
    request.cache_prompt = true;
    let outcome = run(&engine, request);
    outcome.assert_continues(&other, 4);
    assert_eq!(outcome.finish.usage.cached_tokens, 40);
    assert_eq!(run(&engine, kept(&owner, &text, 4)).finish.usage.cached_tokens, 59);
}

#[test]
fn deterministic_engines_keep_nothing() {
    let mut decoder = FakeDecoder::new(300, 16, 2);
    decoder.config.deterministic = true;
    let engine = decoder.spawn();
    let owner = engine.owner();
    let text = prompt(6, 60);
    for _ in 0..2 {
        let outcome = run(&engine, kept(&owner, &text, 4));
        outcome.assert_continues(&text, 4);
        assert_eq!(outcome.finish.usage.cached_tokens, 0);
    }
    let (stream, exported) = engine.export(cells(&text, &owner)).unwrap();
    assert_eq!(drain(&stream).finish.reason, FinishReason::Stop);
    assert_eq!(exported.take(), None);
    let stream = engine.import(cells(&text, &owner), vec![1]).unwrap();
    assert_eq!(drain(&stream).finish.reason, FinishReason::Stop);
}

#[test]
fn owners_of_another_engine_keep_nothing() {
    let engine = small().spawn();
    let stranger = small().spawn().owner();
    let text = prompt(7, 60);
    run(&engine, kept(&stranger, &text, 4)).assert_continues(&text, 4);
    crowd(&engine);
    assert_eq!(run(&engine, kept(&stranger, &text, 4)).finish.usage.cached_tokens, 0);
}

#[test]
fn cells_go_from_one_engine_to_another() {
    for number in [0, 3] {
        let engine = small().spawn();
        let owner = engine.owner();
        let text = prompt(8, 60);
        let of_group =
            |tokens: &[TokenId], owner: &Owner| CellsRequest { group: group(number), ..cells(tokens, owner) };
        let mut begin = kept(&owner, &text, 20);
        begin.group = group(number);
        let outcome = run(&engine, begin);
        outcome.assert_continues_in(number, &text, 20);
        let whole = [text, outcome.tokens()].concat();
        // Once from what is there, once after it was moved away.
        for _ in 0..2 {
            let (stream, exported) = engine.export(of_group(&whole[..79], &owner)).unwrap();
            let outcome = drain(&stream);
            assert_eq!((outcome.finish.reason, outcome.events.len()), (FinishReason::Stop, 0));
            assert_eq!(outcome.finish.usage.cached_tokens, 79);
            let (n_tokens, bytes) = exported.take().unwrap();
            assert_eq!(n_tokens, 79);

            let other = small().spawn();
            let owner = other.owner();
            let stream = other.import(of_group(&whole[..79], &owner), bytes).unwrap();
            assert_eq!(drain(&stream).finish.reason, FinishReason::Stop);
            crowd(&other);
            let mut go_on = kept(&owner, &whole, 20);
            go_on.group = group(number);
            let outcome = run(&other, go_on);
            outcome.assert_continues_in(number, &whole, 20);
            assert_eq!(outcome.finish.usage.cached_tokens, 79);
            crowd(&engine);
        }
    }
}

#[test]
fn nothing_is_decoded_for_cells() {
    let decoder = FakeDecoder::new(300, 16, 2);
    let n_decoded = decoder.n_decoded.clone();
    let engine = decoder.spawn();
    let owner = engine.owner();
    let text = prompt(9, 100);
    let export = |tokens: &[TokenId]| {
        let (stream, exported) = engine.export(cells(tokens, &owner)).unwrap();
        assert_eq!(drain(&stream).finish.reason, FinishReason::Stop);
        exported.take().map(|(n_tokens, bytes)| (n_tokens, bytes.len()))
    };
    assert_eq!(export(&text), None);
    run(&engine, kept(&owner, &text[..50], 1)).assert_continues(&text[..50], 1);
    // What is there of them, and of those that begin alike.
    assert_eq!(export(&text), Some((50, 100)));
    assert_eq!(export(&text[..30]), Some((30, 60)));
    assert_eq!(export(&[vec![9], text].concat()), None);
    assert_eq!(n_decoded.load(std::sync::atomic::Ordering::SeqCst), 50);
}

#[test]
fn bytes_that_are_no_cells_are_refused() {
    let engine = small().spawn();
    let owner = engine.owner();
    let text = prompt(10, 60);
    let stream = engine.import(cells(&text, &owner), vec![1; 60]).unwrap();
    let refused = EngineError::NoCells { n_tokens: 60 };
    assert_eq!(drain(&stream).finish.reason, FinishReason::Error(refused));
    run(&engine, kept(&owner, &text, 4)).assert_continues(&text, 4);
    assert!(engine.import(cells(&[], &owner), Vec::new()).is_err());
    assert!(engine.export(cells(&[99], &owner)).is_err());
    assert!(engine.export(cells(&[1; 301], &owner)).is_err());
}

#[test]
fn decoders_without_a_form_for_cells_give_none() {
    for change in [
        |decoder: &mut FakeDecoder| decoder.can_export = false,
        |decoder: &mut FakeDecoder| decoder.can_save = false,
    ] {
        let mut decoder = FakeDecoder::new(300, 16, 2);
        change(&mut decoder);
        let engine = decoder.spawn();
        let (owner, text) = (engine.owner(), prompt(11, 60));
        run(&engine, kept(&owner, &text, 1)).assert_continues(&text, 1);
        let (stream, exported) = engine.export(cells(&text, &owner)).unwrap();
        assert_eq!(drain(&stream).finish.reason, FinishReason::Stop);
        assert_eq!(exported.take(), None);
    }
}

#[test]
fn records_tell_how_far_a_request_came() {
    let engine = FakeDecoder::new(3000, 16, 2).spawn();
    let text = prompt(12, 60);
    let recorded = |mut request: Request| {
        let record = Record::default();
        request.record = Some(record.clone());
        (engine.submit(request), record)
    };
    let (stream, record) = recorded(request(&text, 9));
    drain(&stream.unwrap());
    let found = record.take().unwrap();
    assert_eq!(found.tokens, continuation(&text, 9));
    assert!(found.sampler.is_some());
    assert!(record.take().is_none());

    // What nobody took counts, too.
    let (stream, record) = recorded(request(&text, 2000));
    let stream = stream.unwrap();
    assert!(next(&stream).is_some());
    stream.cancel();
    let n_tokens = drain(&stream).finish.usage.completion_tokens;
    assert_eq!(record.take().unwrap().tokens, continuation(&text, n_tokens));

    let mut banned = request(&text, 30);
    banned.ban = vec!["a".to_owned()];
    let (stream, record) = recorded(banned);
    let outcome = drain(&stream.unwrap());
    assert_eq!(record.take().unwrap().tokens, outcome.tokens());

    // A request that is refused has ended.
    let (refused, record) = recorded(request(&[], 9));
    assert!(refused.is_err());
    assert!(record.take().is_none_or(|found| found.tokens.is_empty()));

    // So has one whose engine failed.
    let failing = FakeDecoder::new(300, 16, 2).with_hook(|_| panic!("broken")).spawn();
    let record = Record::default();
    let mut request = request(&text, 9);
    request.record = Some(record.clone());
    let stream = failing.submit(request).unwrap();
    assert!(matches!(stream.next_timeout(DEADLINE), crate::Poll::Finished));
    assert_eq!(record.take().map(|found| found.tokens), Some(Vec::new()));
}
