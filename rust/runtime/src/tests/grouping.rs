//! Requests that are decoded with other things than the model alone.

use std::collections::HashSet;
use std::sync::Arc;

use super::batching::gathering;
use super::fake::{FakeDecoder, continuation_in, drain, group, prompt, request, run};
use super::schedule::{ROOMY, decode, job};
use crate::scheduler::{Capacity, NewJob, Scheduler, TURN};
use crate::{EngineConfig, EngineError, FinishReason, Group, Request, ScoreRequest, TokenId};

fn grouped(number: u64, prompt: &[TokenId], max_tokens: usize) -> Request {
    Request { group: group(number), ..request(prompt, max_tokens) }
}

fn cached(number: u64, prompt: &[TokenId], max_tokens: usize) -> Request {
    Request { cache_prompt: true, ..grouped(number, prompt, max_tokens) }
}

#[test]
fn each_group_gets_its_own_results_whoever_else_runs() {
    for deterministic in [false, true] {
        let mut decoder = FakeDecoder::new(900, 16, 8);
        decoder.config = EngineConfig { deterministic, ..EngineConfig::default() };
        let engine = decoder.spawn();
        std::thread::scope(|scope| {
            for reader in 0..12 {
                let engine = &engine;
                scope.spawn(move || {
                    for turn in 0..12 {
                        let (number, prompt) =
                            ((reader + turn) as u64 % 4, prompt(90 + reader % 3, 20 + turn));
                        run(engine, cached(number, &prompt, 20)).assert_continues_in(number, &prompt, 20);
                    }
                });
            }
        });
    }
}

fn in_group(number: u64, tokens: Vec<TokenId>) -> NewJob {
    NewJob { group: number, ..job(tokens, 1400, false) }
}

#[test]
fn groups_take_turns_however_much_work_each_has() {
    let mut scheduler = Scheduler::new(Capacity { n_ctx: 9000, n_running: 8, ..ROOMY });
    // Prompts of which a step has room for two, and two requests that generate.
    for id in 1..=4 {
        scheduler.submit(id, in_group(1, vec![id as TokenId; 1200]));
    }
    scheduler.submit(5, in_group(2, vec![5; 3]));
    scheduler.submit(6, in_group(0, vec![6; 3]));
    for _ in 0..6 {
        for first in [1, 5, 6] {
            // A step of prompts alone is a whole turn.
            for _ in 0..if first == 1 { 1 } else { TURN } {
                assert_eq!(decode(&mut scheduler)[0].0, first);
            }
        }
    }
    // Nobody has to wait where nobody else is.
    scheduler.remove(5, false);
    scheduler.remove(6, false);
    for _ in 0..=2 * TURN {
        assert_eq!(decode(&mut scheduler)[0].0, 1);
    }
    scheduler.submit(7, in_group(2, vec![5; 3]));
    assert_eq!(decode(&mut scheduler)[0].0, 7);
}

#[test]
fn requests_that_come_one_after_another_do_not_keep_another_group_waiting() {
    let mut scheduler = Scheduler::new(ROOMY);
    scheduler.submit(1, in_group(1, vec![1; 5]));
    let mut turns = Vec::new();
    for id in 2..60 {
        scheduler.submit(id, in_group(2, vec![2; 4]));
        let ids: Vec<_> = decode(&mut scheduler).iter().map(|(id, _)| *id).collect();
        turns.push(ids[0] == 1);
        for id in ids.into_iter().filter(|id| *id > 1) {
            assert!(scheduler.remove(id, false).is_some());
        }
    }
    assert!(
        turns.windows(2 * TURN + 1).all(|steps| steps.contains(&true) && steps.contains(&false)),
        "{turns:?}"
    );
}

#[test]
fn a_prompt_goes_on_in_pieces_while_another_group_generates() {
    let mut scheduler = Scheduler::new(Capacity { n_ctx: 9000, ..ROOMY });
    scheduler.set_chunk(20, 0);
    scheduler.set_apart(60);
    scheduler.submit(1, in_group(1, vec![1; 5]));
    assert_eq!(decode(&mut scheduler), [(1, 5)]);
    for _ in 1..TURN {
        assert_eq!(decode(&mut scheduler), [(1, 1)]);
    }
    scheduler.submit(2, in_group(2, vec![2; 150]));
    for len in [60, 60, 30] {
        assert_eq!(decode(&mut scheduler), [(2, len)], "one step a turn");
        for _ in 0..TURN {
            assert_eq!(decode(&mut scheduler), [(1, 1)]);
        }
    }
    scheduler.submit(3, in_group(2, vec![3; 100]));
    // Beside a request of its own group it gets a chunk.
    for len in [20, 20] {
        assert_eq!(decode(&mut scheduler), [(2, 1), (3, len)]);
    }
    assert_eq!(decode(&mut scheduler), [(1, 1)]);
    // Alone it need not wait for anybody.
    assert!(scheduler.remove(1, false).is_some() && scheduler.remove(2, false).is_some());
    assert_eq!(decode(&mut scheduler), [(3, 60)]);
}

#[test]
fn a_group_with_a_request_of_higher_priority_goes_first() {
    let mut scheduler = Scheduler::new(ROOMY);
    scheduler.submit(1, in_group(1, vec![1; 5]));
    scheduler.submit(2, in_group(2, vec![2; 5]));
    assert_eq!(decode(&mut scheduler), [(1, 5)]);
    scheduler.submit(3, NewJob { priority: 1, ..in_group(2, vec![3; 5]) });
    scheduler.submit(4, NewJob { priority: 1, ..in_group(3, vec![4; 5]) });
    let mut groups = HashSet::new();
    for _ in 0..4 * TURN {
        groups.extend(decode(&mut scheduler).into_iter().map(|(id, _)| id));
    }
    // Who is in the group goes along.
    assert_eq!(groups, HashSet::from([2, 3, 4]));
    for id in [3, 4] {
        assert!(scheduler.remove(id, false).is_some());
    }
    groups.clear();
    for _ in 0..2 * TURN {
        groups.extend(decode(&mut scheduler).into_iter().map(|(id, _)| id));
    }
    assert_eq!(groups, HashSet::from([1, 2]));
}

#[test]
fn groups_in_use_are_those_of_requests_and_of_what_they_left() {
    let mut scheduler = Scheduler::new(Capacity { n_stored_bytes: 1000, n_idle: 0, ..ROOMY });
    for (id, number) in [(1, 3), (2, 5)] {
        scheduler.submit(id, NewJob { cache: true, ..in_group(number, vec![0; 40]) });
        assert_eq!(decode(&mut scheduler), [(id, 40)]);
        assert_eq!(scheduler.remove(id, true), None);
        assert_eq!(scheduler.stowed(0, 40), (id, vec![]));
    }
    scheduler.submit(3, NewJob { cache: true, ..in_group(7, vec![0; 40]) });
    decode(&mut scheduler);
    scheduler.remove(3, true);
    scheduler.submit(4, in_group(9, vec![0; 40]));
    assert_eq!(scheduler.groups(), HashSet::from([3, 5, 7, 9]));
}

#[test]
fn a_beginning_is_used_again_within_its_group_alone() {
    for cells in [300, 45] {
        // With 45 cells, leftovers go to host memory.
        let engine = FakeDecoder::new(cells, 8, 4).spawn();
        let prompt = prompt(120, 36);
        let mut seen = Vec::new();
        for number in [0, 1, 0, 2, 1, 1, 2, 0] {
            let outcome = run(&engine, cached(number, &prompt, 8));
            outcome.assert_continues_in(number, &prompt, 8);
            let expected = if seen.contains(&number) { 35 } else { 0 };
            assert_eq!(outcome.finish.usage.cached_tokens, expected, "group {number}, {cells} cells");
            seen.push(number);
        }
    }
}

#[test]
fn requests_that_are_parked_go_on_in_their_group() {
    let engine = FakeDecoder::new(720, 8, 2).spawn();
    let streams: Vec<_> = (0..6)
        .map(|at| (at as u64 % 3, prompt(130 + at, 10)))
        .map(|(number, prompt)| (engine.submit(grouped(number, &prompt, 700)).unwrap(), number, prompt))
        .collect();
    // Those that nobody reads make room for the last one.
    for (stream, number, prompt) in streams.iter().rev() {
        drain(stream).assert_continues_in(*number, prompt, 700);
    }
    assert!(engine.metrics().parked > 0);
}

#[test]
fn a_group_that_the_engine_cannot_enter_ends_its_own_requests_alone() {
    let (engine, gate, _) = gathering(FakeDecoder::new(1000, 64, 8), |_| ());
    let first = gate.occupy();
    let unknown = Group::new([7], "no number");
    let bad: Vec<_> = (0..3)
        .map(|at| Request { group: unknown.clone(), ..request(&prompt(140 + at, 5), 10) })
        .map(|request| engine.submit(request).unwrap())
        .collect();
    let prompt = prompt(150, 5);
    let good: Vec<_> = (0..2).map(|number| engine.submit(grouped(number, &prompt, 10)).unwrap()).collect();
    drop(gate);
    drain(&first);
    for stream in &bad {
        let FinishReason::Error(EngineError::Decode { message }) = drain(stream).finish.reason else {
            panic!("it should fail")
        };
        assert!(message.contains("told not to enter this group"), "{message}");
    }
    for (number, stream) in (0..).zip(&good) {
        drain(stream).assert_continues_in(number, &prompt, 10);
    }
}

#[test]
fn what_a_group_holds_is_let_go_when_its_last_request_ends() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let (prompt, content) = (prompt(160, 20), Arc::new(5_u64));
    for max_tokens in [5, 0] {
        let group = Group::new([5], Arc::clone(&content));
        let request = Request { group, ..cached(0, &prompt, max_tokens) };
        run(&engine, request).assert_continues_in(5, &prompt, max_tokens);
        assert_eq!(Arc::strong_count(&content), 1, "what it left behind holds nothing");
    }
    let outcome = run(&engine, cached(5, &prompt, 5));
    assert_eq!(outcome.finish.usage.cached_tokens, 19);
}

#[test]
fn scores_are_those_of_the_group() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let prompt = prompt(170, 12);
    for number in [0, 3, 0, 4, 3] {
        let likely = continuation_in(number, &prompt, 1);
        let request = ScoreRequest {
            prompt: prompt.clone(),
            continuations: (0..13).map(|token| vec![token]).collect(),
            cache_prompt: true,
            group: group(number),
            ..ScoreRequest::default()
        };
        let outcome = drain(&engine.score(request).unwrap());
        let best =
            outcome.events.iter().max_by(|a, b| a.logprobs[0].logprob.total_cmp(&b.logprobs[0].logprob));
        assert_eq!(best.unwrap().token_ids, likely);
    }
}
