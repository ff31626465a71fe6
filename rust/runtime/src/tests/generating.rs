//! What comes out of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::fake::{
    DEADLINE, FakeDecoder, Greedy, PIECES, continuation, drain, next, prompt, request, run, text_of,
};
use crate::{
    DecoderError, EngineError, FinishReason, LogprobsMode, Poll, Request, RequestError, SamplerError,
    StopMatch, SubmitError, TokenId, TokenMask, TokenSampler,
};

/// A sampler that takes the largest logit `n` times, then does something else.
pub(super) struct Then<F>(pub(super) usize, pub(super) F);

impl<F: FnMut() -> Result<TokenId, SamplerError> + Send> TokenSampler for Then<F> {
    fn sample(&mut self, logits: &[f32], mask: Option<&TokenMask>) -> Result<TokenId, SamplerError> {
        if self.0 == 0 {
            return (self.1)();
        }
        self.0 -= 1;
        Greedy.sample(logits, mask)
    }

    fn kept(&self, _n: usize, _out: &mut Vec<(TokenId, f32)>) {}

    fn accept(&mut self, _token: TokenId) {}
}

#[test]
fn prompt_longer_than_a_batch_is_continued_as_if_decoded_at_once() {
    let engine = FakeDecoder::new(300, 7, 2).spawn();
    for n_prompt in [1, 6, 7, 8, 14, 50] {
        let prompt = prompt(n_prompt, n_prompt);
        run(&engine, request(&prompt, 40)).assert_continues(&prompt, 40);
    }
}

#[test]
fn threads_with_several_requests_each_get_what_they_get_alone() {
    let engine = FakeDecoder::new(120, 8, 3).spawn();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let engine = engine.clone();
            scope.spawn(move || {
                let prompts: Vec<_> = (0..4).map(|i| prompt(thread * 4 + i, 5 + thread + i)).collect();
                let streams: Vec<_> =
                    prompts.iter().map(|prompt| engine.submit(request(prompt, 60)).unwrap()).collect();
                for (stream, prompt) in streams.iter().zip(&prompts) {
                    drain(stream).assert_continues(prompt, 60);
                }
            });
        }
    });
    let stats = engine.stats();
    assert_eq!((stats.active, stats.queued, stats.parked, stats.cells_used, stats.cells), (0, 0, 0, 0, 120));
}

#[test]
fn end_of_generation_token_ends_the_text_and_is_not_in_it() {
    let engine = FakeDecoder::new(300, 8, 1).spawn();
    let prompt = prompt(3, 9);
    let expected: Vec<_> = continuation(&prompt, 250).into_iter().take_while(|&token| token != 0).collect();
    let mut request = request(&prompt, 250);
    request.ignore_eos = false;
    let outcome = run(&engine, request);
    assert_eq!((outcome.tokens(), outcome.text()), (expected.clone(), text_of(&expected)));
    assert_eq!(outcome.finish.reason, FinishReason::Stop);
    assert_eq!(outcome.finish.stop_match, Some(StopMatch::Eog(0)));
    assert_eq!(outcome.finish.usage.completion_tokens, expected.len());
}

#[test]
fn stop_token_ends_the_text_and_is_not_in_it() {
    let engine = FakeDecoder::new(300, 8, 1).spawn();
    let prompt = prompt(4, 9);
    let expected: Vec<_> = continuation(&prompt, 250).into_iter().take_while(|&token| token != 12).collect();
    let mut request = request(&prompt, 250);
    request.stop_tokens = vec![12];
    let outcome = run(&engine, request);
    assert_eq!((outcome.tokens(), outcome.text()), (expected.clone(), text_of(&expected)));
    assert_eq!(outcome.finish.stop_match, Some(StopMatch::Token(12)));
}

#[test]
fn stop_string_across_tokens_never_leaks() {
    let engine = FakeDecoder::new(2000, 8, 1).spawn();
    let prompt = prompt(5, 9);
    let all = text_of(&continuation(&prompt, 1500));
    for stop in ["<stop>", "éa", "b c", "\u{FFFD}b"] {
        let before = all.split_once(stop).expect("the fake says everything at some time").0;
        let mut request = request(&prompt, 1500);
        request.stop = vec!["never said".to_owned(), stop.to_owned()];
        let outcome = run(&engine, request);
        assert_eq!(outcome.text(), before);
        assert_eq!(outcome.finish.reason, FinishReason::Stop);
        assert_eq!(outcome.finish.stop_match, Some(StopMatch::String(stop.to_owned())));
    }
}

#[test]
fn text_held_for_a_stop_string_comes_at_the_end() {
    let engine = FakeDecoder::new(100, 8, 1).spawn();
    let prompt = prompt(6, 9);
    let expected = continuation(&prompt, 20);
    let mut request = request(&prompt, 20);
    request.stop = vec![text_of(&expected) + " and more"];
    let stream = engine.submit(request).unwrap();
    let outcome = drain(&stream);
    assert_eq!(outcome.events.len(), 1);
    outcome.assert_continues(&prompt, 20);
}

#[test]
fn full_context_ends_with_length() {
    let engine = FakeDecoder::new(30, 8, 2).spawn();
    for n_prompt in [1, 29, 30] {
        let prompt = prompt(7, n_prompt);
        let mut request = request(&prompt, 0);
        request.max_tokens = None;
        run(&engine, request).assert_continues(&prompt, 30 - n_prompt);
    }
}

#[test]
fn zero_tokens_asked_is_an_empty_completion() {
    let engine = FakeDecoder::new(30, 8, 2).spawn();
    let outcome = run(&engine, request(&[1, 2], 0));
    assert!(outcome.events.is_empty());
    assert_eq!(outcome.finish.reason, FinishReason::Length);
    assert_eq!(outcome.finish.timings.first_token, None);
}

#[test]
fn logprobs_come_one_a_token_with_as_many_alternatives_as_asked() {
    let engine = FakeDecoder::new(100, 8, 1).spawn();
    let prompt = prompt(8, 9);
    let mut request = request(&prompt, 30);
    request.logprobs = Some(2);
    let outcome = run(&engine, request);
    outcome.assert_continues(&prompt, 30);
    let expected = 5.0 - (5f32.exp() + 12.0).ln();
    for event in &outcome.events {
        assert_eq!(event.logprobs.iter().map(|entry| entry.token).collect::<Vec<_>>(), event.token_ids);
        for entry in &event.logprobs {
            assert!((entry.logprob - expected).abs() < 1e-5);
            assert_eq!(entry.top.len(), 2);
            let best = &entry.top[0];
            assert_eq!((best.token, best.logprob, &best.bytes), (entry.token, entry.logprob, &entry.bytes));
            let special: &[u8] = if entry.token == 0 { b"<end>" } else { PIECES[entry.token as usize] };
            assert_eq!(entry.bytes, special);
        }
    }
}

#[test]
fn logprobs_of_what_was_sampled_come_from_the_sampler() {
    let engine = FakeDecoder::new(100, 8, 1).spawn();
    let mut request = request(&prompt(8, 9), 3);
    (request.logprobs, request.logprobs_mode) = (Some(1), LogprobsMode::Sampled);
    for entry in run(&engine, request).events.iter().flat_map(|event| &event.logprobs) {
        assert_eq!((entry.top[0].token, entry.top[0].logprob), (2, libm::logf(0.75)));
        let expected = match entry.token {
            1 => libm::logf(0.25),
            2 => libm::logf(0.75),
            _ => f32::NEG_INFINITY,
        };
        assert_eq!(entry.logprob.to_bits(), expected.to_bits());
    }
}

#[test]
fn wrong_request_is_refused_before_it_runs() {
    let engine = FakeDecoder::new(30, 8, 1).spawn();
    let error = engine.submit(Request::new(vec![1; 31], Box::new(Greedy))).unwrap_err();
    assert_eq!(error, SubmitError::Request(RequestError::PromptTooLong { n_prompt: 31, n_ctx: 30 }));
    let error = engine.submit(Request::new(vec![13], Box::new(Greedy))).unwrap_err();
    assert_eq!(error.to_string(), "`prompt[0]` is token 13 but the vocabulary has tokens 0 to 12");
    assert_eq!(engine.stats().queued, 0);
}

#[test]
fn sampler_that_fails_ends_its_own_stream_only() {
    let engine = FakeDecoder::new(100, 8, 2).spawn();
    let prompt = prompt(9, 9);
    let fails: [(Box<dyn TokenSampler>, &str); 3] = [
        (Box::new(Then(10, || Err("no logit is finite".into()))), "no logit is finite"),
        (Box::new(Then(10, || panic!("sampler fell over"))), "sampler fell over"),
        (Box::new(Then(10, || Ok(13))), "the sampler chose token 13 but the vocabulary has 13 tokens"),
    ];
    for (sampler, message) in fails {
        let mut failing = request(&prompt, 50);
        failing.sampler = sampler;
        let failing = engine.submit(failing).unwrap();
        let other = engine.submit(request(&prompt, 50)).unwrap();
        let outcome = drain(&failing);
        let error = EngineError::Sampler { message: message.to_owned() };
        assert_eq!(outcome.finish.reason, FinishReason::Error(error));
        assert_eq!(outcome.tokens(), continuation(&prompt, 10));
        drain(&other).assert_continues(&prompt, 50);
    }
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn decode_that_fails_ends_its_own_stream_only() {
    let submitted = Arc::new(AtomicBool::new(false));
    let all_there = Arc::clone(&submitted);
    let engine = FakeDecoder::new(300, 8, 3)
        .with_hook(move |call| {
            let started = Instant::now();
            while !all_there.load(Ordering::SeqCst) && started.elapsed() < DEADLINE {
                std::thread::yield_now();
            }
            let broken = call.batch.iter().any(|row| row.seq == 0 && row.pos >= 11);
            if broken { Err(DecoderError::Failed("graph is broken".to_owned())) } else { Ok(()) }
        })
        .spawn();
    let prompt = prompt(10, 9);
    let failing = engine.submit(request(&prompt, 50)).unwrap();
    let other = engine.submit(request(&prompt, 50)).unwrap();
    let third = engine.submit(request(&prompt, 50)).unwrap();
    submitted.store(true, Ordering::SeqCst);
    let outcome = drain(&failing);
    let FinishReason::Error(error) = &outcome.finish.reason else { panic!("ended well") };
    assert_eq!(error.to_string(), "cannot decode this request: graph is broken");
    assert_eq!(outcome.tokens(), continuation(&prompt, 3));
    drain(&other).assert_continues(&prompt, 50);
    drain(&third).assert_continues(&prompt, 50);
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn waker_is_called_once_for_news_that_nobody_took_and_at_the_end() {
    let (enter, entered) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    let engine = FakeDecoder::new(100, 8, 1)
        .with_hook(move |call| {
            if call.tokens().len() > 1 {
                enter.send(()).unwrap();
                released.recv().unwrap();
            }
            Ok(())
        })
        .spawn();
    let stream = engine.submit(request(&[1, 2, 3], 40)).unwrap();
    entered.recv().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let (count, (wake, woken)) = (Arc::clone(&calls), std::sync::mpsc::channel());
    stream.set_waker(Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        wake.send(()).unwrap();
    }));
    assert_eq!(stream.try_next(), Poll::Pending);
    assert_eq!(stream.next_timeout(Duration::ZERO), Poll::Pending);
    release.send(()).unwrap();
    woken.recv().unwrap();
    woken.recv().unwrap();
    assert!(stream.finish().is_some());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert!(next(&stream).is_some());
    stream.set_waker(Box::new(|| ()));
    drain(&stream);
}

#[test]
fn collected_text_comes_in_one_event_and_waits_for_nobody() {
    let engine = FakeDecoder::new(4000, 8, 2).spawn();
    let prompt = prompt(8, 5);
    let mut request = request(&prompt, 3000);
    (request.collect, request.logprobs) = (true, Some(0));
    let stream = engine.submit(request).unwrap();
    while stream.finish().is_none() {
        std::thread::yield_now();
    }
    let outcome = drain(&stream);
    assert_eq!((outcome.events.len(), outcome.events[0].logprobs.len()), (1, 3000));
    outcome.assert_continues(&prompt, 3000);
}

#[test]
fn waker_that_panics_harms_nobody() {
    let engine = FakeDecoder::new(600, 8, 1).spawn();
    let stream = engine.submit(request(&[1, 2, 3], 500)).unwrap();
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        stream.set_waker(Box::new(|| panic!("waker fell over")));
    }));
    drain(&stream).assert_continues(&[1, 2, 3], 500);
}

#[test]
fn timings_cover_all_phases() {
    let engine = FakeDecoder::new(100, 8, 1).spawn();
    let started = std::time::Instant::now();
    let finish = run(&engine, request(&prompt(1, 20), 30)).finish;
    let timings = finish.timings;
    assert!(timings.prompt > Duration::ZERO && timings.decode > Duration::ZERO);
    let first_token = timings.first_token.unwrap();
    assert!(
        timings.queued <= first_token
            && timings.queued + timings.prompt + timings.decode <= started.elapsed()
    );
}
