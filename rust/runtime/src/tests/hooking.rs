//! Logits that a hook changes.

use std::time::Duration;

use super::fake::{DEADLINE, FakeDecoder, continuation, drain, logits_after, prompt, request, run};
use crate::{
    EngineError, FinishReason, HookPoll, HookWorker, HookedRow, LogprobsMode, Request, TokenId, logits_hook,
    token_logprob,
};

fn hooked(prompt: &[TokenId], max_tokens: usize) -> (Request, HookWorker) {
    let (hook, worker) = logits_hook();
    let mut request = request(prompt, max_tokens);
    request.hook = Some(hook);
    (request, worker)
}

#[track_caller]
fn next_row(worker: &HookWorker) -> HookedRow {
    match worker.next_timeout(DEADLINE) {
        HookPoll::Row(row) => row,
        other => panic!("no row but {other:?}"),
    }
}

/// Changes rows with `change` until the request is over.
fn serve(worker: HookWorker, mut change: impl FnMut(&[TokenId], &mut Vec<f32>) + Send + 'static) {
    std::thread::spawn(move || {
        while let HookPoll::Row(HookedRow { tokens, mut logits }) = worker.next_timeout(DEADLINE) {
            change(&tokens, &mut logits);
            worker.give_back(Ok(logits));
        }
    });
}

#[test]
fn hook_sees_all_tokens_and_its_changes_decide() {
    let engine = FakeDecoder::new(100, 8, 2).spawn();
    let prompt = prompt(60, 9);
    let (request, worker) = hooked(&prompt, 30);
    serve(worker, |tokens, logits| {
        assert_eq!(*logits, logits_after(tokens));
        logits[tokens.len() % 5 + 1] = 9.0;
    });
    let expected: Vec<_> = (0..30).map(|i| ((prompt.len() + i) % 5 + 1) as TokenId).collect();
    assert_eq!(run(&engine, request).tokens(), expected);
}

#[test]
fn others_are_served_while_a_hook_thinks() {
    let engine = FakeDecoder::new(100, 8, 1).spawn();
    let (slow, other) = (prompt(61, 9), prompt(62, 9));
    let (request_slow, worker) = hooked(&slow, 5);
    let stream = engine.submit(request_slow).unwrap();
    for _ in 0..5 {
        let row = next_row(&worker);
        run(&engine, request(&other, 20)).assert_continues(&other, 20);
        worker.give_back(Ok(row.logits));
    }
    drain(&stream).assert_continues(&slow, 5);
    assert_eq!(worker.next_timeout(DEADLINE), HookPoll::Closed);
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn raw_logprobs_are_those_before_the_hook() {
    let engine = FakeDecoder::new(100, 8, 1).spawn();
    let prompt = prompt(63, 9);
    for mode in [LogprobsMode::Raw, LogprobsMode::Sampled] {
        let (mut request, worker) = hooked(&prompt, 4);
        (request.logprobs, request.logprobs_mode) = (Some(0), mode);
        serve(worker, |_, logits| logits[2] = 9.0);
        let outcome = run(&engine, request);
        let mut before = prompt.clone();
        for entry in outcome.events.iter().flat_map(|event| &event.logprobs) {
            let expected = match mode {
                LogprobsMode::Raw => token_logprob(&logits_after(&before), 2, 0, |_| Vec::new()).logprob,
                LogprobsMode::Sampled => libm::logf(0.75),
            };
            assert_eq!((entry.token, entry.logprob.to_bits()), (2, expected.to_bits()));
            before.push(2);
        }
        assert_eq!(before.len(), prompt.len() + 4);
    }
}

#[test]
fn hook_that_fails_ends_its_own_stream_only() {
    let engine = FakeDecoder::new(100, 8, 2).spawn();
    let prompt = prompt(64, 9);
    let gives: [fn(&HookWorker); 2] = [
        |worker| worker.give_back(Err("it fell over".to_owned())),
        |worker| worker.give_back(Ok(vec![0.0; 12])),
    ];
    let messages = ["it fell over", "it gave 12 logits back but the vocabulary has 13 tokens"];
    for (give, message) in gives.into_iter().zip(messages) {
        let (failing, worker) = hooked(&prompt, 50);
        let failing = engine.submit(failing).unwrap();
        let other = engine.submit(request(&prompt, 50)).unwrap();
        let row = next_row(&worker);
        worker.give_back(Ok(row.logits));
        next_row(&worker);
        give(&worker);
        let outcome = drain(&failing);
        assert_eq!(
            outcome.finish.reason,
            FinishReason::Error(EngineError::Hook { message: message.to_owned() })
        );
        assert_eq!(outcome.tokens(), continuation(&prompt, 1));
        drain(&other).assert_continues(&prompt, 50);
    }
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn hook_whose_worker_has_gone_ends_the_stream() {
    let engine = FakeDecoder::new(100, 8, 2).spawn();
    for gone_before in [true, false] {
        let (request, worker) = hooked(&[1, 2, 3], 50);
        let mut worker = Some(worker);
        if gone_before {
            worker = None;
        }
        let stream = engine.submit(request).unwrap();
        if let Some(worker) = worker {
            next_row(&worker);
            drop(worker);
        }
        let FinishReason::Error(error) = drain(&stream).finish.reason else { panic!("ended well") };
        assert_eq!(error.to_string(), "the logits hook failed: its thread has ended");
    }
}

#[test]
fn cancel_and_close_do_not_wait_for_a_hook() {
    let engine = FakeDecoder::new(100, 8, 2).spawn();
    let (request, worker) = hooked(&[1, 2, 3], 50);
    let stream = engine.submit(request).unwrap();
    let row = next_row(&worker);
    assert_eq!(worker.next_timeout(Duration::ZERO), HookPoll::Pending);
    stream.cancel();
    assert_eq!(drain(&stream).finish.reason, FinishReason::Cancelled);
    worker.give_back(Ok(row.logits));
    assert_eq!(worker.next_timeout(DEADLINE), HookPoll::Closed);
    assert_eq!(engine.stats().cells_used, 0);

    let (request, worker) = hooked(&[1, 2, 3], 50);
    let stream = engine.submit(request).unwrap();
    next_row(&worker);
    engine.close();
    assert_eq!(drain(&stream).finish.reason, FinishReason::Error(EngineError::Closed));
    assert_eq!(worker.next_timeout(DEADLINE), HookPoll::Closed);
}

#[test]
fn waiting_request_that_is_parked_goes_on_where_it_was() {
    let engine = FakeDecoder::new(40, 8, 1).spawn();
    let (of_hook, other) = (prompt(65, 12), prompt(66, 12));
    let (request_hook, worker) = hooked(&of_hook, 20);
    let stream = engine.submit(request_hook).unwrap();
    for i in 0..20 {
        let row = next_row(&worker);
        if i % 3 == 0 {
            run(&engine, request(&other, 25)).assert_continues(&other, 25);
        }
        worker.give_back(Ok(row.logits));
    }
    drain(&stream).assert_continues(&of_hook, 20);
}
