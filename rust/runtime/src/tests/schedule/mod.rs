//! What the scheduler plans, without threads or decoder.

mod simulation;

use crate::TokenId;
use crate::scheduler::{Capacity, JobId, NewJob, Scheduler, Step};

pub(super) const ROOMY: Capacity = Capacity {
    n_ctx: 1000,
    n_batch: 100,
    n_seq_max: 8,
    n_outputs: 8,
    n_running: 4,
    split: None,
    n_idle: 1000,
    n_stored_bytes: 0,
};

pub(super) fn job(tokens: Vec<TokenId>, n_max: usize, cache: bool) -> NewJob {
    NewJob { tokens, n_max, cache, ..NewJob::default() }
}

/// Does all steps up to the next decode, and that one; returns its spans as (request, tokens).
pub(super) fn decode(scheduler: &mut Scheduler) -> Vec<(JobId, usize)> {
    loop {
        match scheduler.plan(&|_, _| true) {
            Step::Decode(spans) => {
                scheduler.decoded(&spans);
                for span in spans.iter().filter(|span| span.last) {
                    scheduler.generated(span.job, &[7]);
                }
                return spans.iter().map(|span| (span.job, span.len)).collect();
            }
            Step::Place { job, seq } => scheduler.placed(job, seq),
            Step::Copy { job, from, seq, keep } => scheduler.copied(job, from, seq, keep),
            Step::Evict { seq } => scheduler.evicted(seq),
            Step::Park { job, .. } => scheduler.parked(job),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_prompt_shares_its_steps_with_those_that_generate() {
    let mut scheduler = Scheduler::new(ROOMY);
    scheduler.set_chunk(20, 0);
    for id in [1, 2] {
        scheduler.submit(id, job(vec![0; 10], 100, false));
    }
    assert_eq!(decode(&mut scheduler), [(1, 10), (2, 10)]);
    scheduler.submit(3, job(vec![1; 50], 100, false));
    assert_eq!(decode(&mut scheduler), [(1, 1), (2, 1), (3, 20)]);
    assert_eq!(decode(&mut scheduler), [(1, 1), (2, 1), (3, 20)]);
    assert_eq!(decode(&mut scheduler), [(1, 1), (2, 1), (3, 10)]);
    assert_eq!(decode(&mut scheduler).len(), 3);
}

#[test]
fn many_prompts_outweigh_one_that_generates() {
    let mut scheduler = Scheduler::new(Capacity { n_batch: 500, n_ctx: 4000, ..ROOMY });
    scheduler.set_chunk(10, 0);
    scheduler.submit(1, job(vec![0; 10], 100, false));
    assert_eq!(decode(&mut scheduler), [(1, 10)]);
    for id in 2..4 {
        scheduler.submit(id, job(vec![1; 100], 200, false));
    }
    assert_eq!(decode(&mut scheduler), [(1, 1), (2, 40), (3, 40)]);
    scheduler.remove(3, false);
    // One alone leaves the others their pace.
    assert_eq!(decode(&mut scheduler), [(1, 1), (2, 10)]);
}

#[test]
fn requests_that_come_together_get_their_first_tokens_together() {
    let mut scheduler = Scheduler::new(Capacity { n_batch: 500, n_ctx: 4000, ..ROOMY });
    scheduler.set_chunk(10, 150);
    scheduler.submit(1, job(vec![0; 30], 60, false));
    assert_eq!(decode(&mut scheduler), [(1, 30)]);
    for id in 2..5 {
        scheduler.submit(id, job(vec![1; 50], 60, false));
    }
    assert_eq!(decode(&mut scheduler), [(1, 1), (2, 50), (3, 50), (4, 50)]);
    // Longer ones do not hold others up for so long, nor do few.
    for (n_prompt, n_prompts) in [(60, 3), (100, 1)] {
        let mut scheduler = Scheduler::new(Capacity { n_batch: 500, n_ctx: 4000, ..ROOMY });
        scheduler.set_chunk(10, 150);
        scheduler.submit(1, job(vec![0; 30], 60, false));
        assert_eq!(decode(&mut scheduler), [(1, 30)]);
        for id in 2..2 + n_prompts {
            scheduler.submit(id, job(vec![1; n_prompt], 120, false));
        }
        let n_tokens: usize = decode(&mut scheduler).iter().map(|(_, len)| len).sum();
        assert!(n_tokens <= 150, "{n_tokens}");
    }
}

#[test]
fn drafts_take_only_what_is_left() {
    let mut scheduler = Scheduler::new(Capacity { n_batch: 20, n_ctx: 100, n_outputs: 6, ..ROOMY });
    scheduler.set_chunk(10, 0);
    for id in [1, 2] {
        scheduler.submit(id, job(vec![0; 10], 25, false));
    }
    assert_eq!(decode(&mut scheduler), [(1, 10), (2, 10)]);
    // Two rows of logits are due, four are left.
    scheduler.drafted(1, &[3; 9]);
    let Step::Decode(spans) = scheduler.plan(&|_, _| true) else { panic!() };
    let shares: Vec<_> = spans.iter().map(|span| (span.job, span.len, span.rows, span.last)).collect();
    assert_eq!(shares, [(2, 1, 1, true), (1, 5, 5, false)]);
    // A prompt comes first, too.
    scheduler.submit(3, job(vec![1; 50], 50, false));
    scheduler.placed(3, 2);
    let Step::Decode(spans) = scheduler.plan(&|_, _| true) else { panic!() };
    let shares: Vec<_> = spans.iter().map(|span| (span.job, span.len)).collect();
    assert_eq!(shares, [(2, 1), (3, 10), (1, 5)]);
    scheduler.decoded(&spans);
    // The first draft does not come: all of it goes.
    scheduler.rewound(1, 11, 11, &[4]);
    assert_eq!(scheduler.seq(1), Some((0, 11)));
    assert_eq!(decode(&mut scheduler), [(1, 1), (3, 10)]);
}

#[test]
fn drafts_make_nobody_give_way() {
    let mut scheduler = Scheduler::new(Capacity { n_ctx: 40, ..ROOMY });
    for id in [1, 2] {
        scheduler.submit(id, job(vec![0; 10], 20, false));
    }
    assert_eq!(decode(&mut scheduler), [(1, 10), (2, 10)]);
    // The memory turns out to hold two more tokens only.
    scheduler.refused(4);
    scheduler.drafted(1, &[3; 9]);
    let Step::Decode(spans) = scheduler.plan(&|_, _| true) else { panic!("nobody is to be parked") };
    assert_eq!((spans.len(), spans[0].len, spans[0].rows, spans[0].last), (1, 1, 1, false));
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let mut scheduler = Scheduler::new(ROOMY);
    scheduler.submit(1, job(vec![0; 500], 510, false));
    scheduler.submit(2, job(vec![1; 400], 410, false));
    scheduler.submit(3, job(vec![2; 40], 50, false));
    assert_eq!(decode(&mut scheduler), [(1, 60), (3, 40)]);
    scheduler.set_chunk(30, 0);
    assert_eq!(decode(&mut scheduler), [(3, 1), (1, 50), (2, 49)]);
}

#[test]
fn higher_priority_goes_first() {
    let mut scheduler = Scheduler::new(Capacity { n_running: 1, ..ROOMY });
    scheduler.submit(1, job(vec![0; 10], 100, false));
    assert_eq!(decode(&mut scheduler), [(1, 10)]);
    scheduler.submit(2, NewJob { priority: 5, ..job(vec![1; 10], 100, false) });
    assert_eq!(decode(&mut scheduler), [(2, 10)]);
    assert_eq!(decode(&mut scheduler), [(2, 1)]);
    assert_eq!(scheduler.remove(2, true), Some(1));
    assert_eq!(decode(&mut scheduler), [(1, 1)]);
}

#[test]
fn only_the_request_that_does_not_fit_waits() {
    let mut scheduler = Scheduler::new(Capacity { n_ctx: 100, ..ROOMY });
    scheduler.submit(1, job(vec![0; 30], 60, false));
    scheduler.submit(2, job(vec![1; 50], 60, false));
    scheduler.submit(3, job(vec![2; 10], 20, false));
    assert_eq!(decode(&mut scheduler), [(3, 10), (1, 30)]);
    assert_eq!(scheduler.remove(1, true), Some(0));
    assert_eq!(decode(&mut scheduler), [(3, 1), (2, 50)]);
}

#[test]
fn requests_that_begin_alike_decode_the_beginning_once() {
    let mut scheduler = Scheduler::new(ROOMY);
    let prompts = [1, 2, 3].map(|last| [vec![0; 150], vec![last; 20]].concat());
    for (id, prompt) in (1..).zip(&prompts) {
        scheduler.submit(id, job(prompt.clone(), 200, true));
    }
    assert_eq!(decode(&mut scheduler), [(1, 100)]);
    // It stops where the others go another way.
    assert_eq!(decode(&mut scheduler), [(1, 50)]);
    assert_eq!(decode(&mut scheduler), [(1, 20), (2, 20), (3, 20)]);
    assert_eq!(scheduler.n_cells(), 210);
}

#[test]
fn longest_beginning_is_shared_and_stays() {
    let mut scheduler = Scheduler::new(ROOMY);
    for (id, prompt) in [(1, vec![1, 2, 3]), (2, vec![1, 2, 4, 5])] {
        scheduler.submit(id, job(prompt, 50, true));
        decode(&mut scheduler);
        assert_eq!(scheduler.remove(id, true), None);
    }
    scheduler.submit(3, job(vec![1, 2, 4, 9, 9], 50, true));
    assert_eq!(scheduler.plan(&|_, _| true), Step::Copy { job: 3, from: 1, seq: 2, keep: 3 });
    // What cannot be cut is of use only as a whole.
    assert_eq!(scheduler.plan(&|_, _| false), Step::Place { job: 3, seq: 2 });
    scheduler.submit(4, NewJob { priority: 1, group: 1, ..job(vec![1, 2, 4, 9, 9], 50, true) });
    assert_eq!(scheduler.plan(&|_, _| true), Step::Place { job: 4, seq: 2 });
}
