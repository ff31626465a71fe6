//! How far prompts have come.

use super::fake::{FakeDecoder, drain, prompt, request, run};
use crate::{PromptProgress, Request};

#[test]
fn each_step_of_a_prompt_is_told() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let first = prompt(9, 30);
    let told = |request: Request| {
        let outcome = run(&engine, request);
        let told: Vec<PromptProgress> = outcome.events.iter().filter_map(|event| event.prompt).collect();
        assert!(outcome.events.iter().all(|event| event.prompt.is_none() || event.token_ids.is_empty()));
        assert_eq!(outcome.tokens().len(), 5);
        told
    };
    let at = |done, cached| PromptProgress { done, total: 30, cached };
    let wanted = || Request { progress: true, cache_prompt: true, ..request(&first, 5) };
    assert_eq!(told(wanted()), [at(8, 0), at(16, 0), at(24, 0), at(30, 0)]);
    assert_eq!(told(wanted()), [at(30, 29)]);
    assert_eq!(told(request(&first, 5)), []);
}

#[test]
fn who_does_not_read_holds_nothing_up() {
    // One sequence: the other request is served after this one, which nobody has read till then.
    let engine = FakeDecoder::new(6000, 8, 1).spawn();
    let long = prompt(9, 4000);
    let stream = engine.submit(Request { progress: true, ..request(&long, 3) }).unwrap();
    run(&engine, request(&prompt(1, 5), 3)).assert_continues(&prompt(1, 5), 3);
    let outcome = drain(&stream);
    assert_eq!(outcome.tokens().len(), 3);
    assert!(outcome.events.iter().filter(|event| event.prompt.is_some()).count() < 500);
}
