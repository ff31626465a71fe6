//! Cells that go to a shelf, and come back in another engine.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::fake::{FakeDecoder, continuation, drain, group, prompt, request, run};
use crate::{Engine, EngineConfig, Request, Shelf, TokenId};

/// What outlives an engine.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    entries: HashMap<u64, (Vec<TokenId>, Vec<u8>)>,
    n_got: usize,
    /// What is given back instead of the cells.
    lie: Option<Vec<u8>>,
    /// It panics.
    is_broken: bool,
    /// It keeps so many entries.
    limit: Option<usize>,
}

impl Memory {
    fn with<T>(&self, look: impl FnOnce(&mut Contents) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn tokens(&self) -> Vec<Vec<TokenId>> {
        let mut all: Vec<_> =
            self.with(|contents| contents.entries.values().map(|entry| entry.0.clone()).collect());
        all.sort();
        all
    }

    fn n_got(&self) -> usize {
        self.with(|contents| contents.n_got)
    }
}

impl Shelf for Memory {
    fn entries(&mut self) -> Vec<Vec<TokenId>> {
        self.tokens()
    }

    fn put(&mut self, id: u64, tokens: &[TokenId], cells: &[u8]) -> Option<Vec<u64>> {
        let is_broken = self.with(|contents| contents.is_broken);
        assert!(!is_broken, "broken");
        self.with(|contents| {
            let is_full = contents.limit.is_some_and(|limit| contents.entries.len() >= limit);
            let mut dropped = Vec::new();
            if is_full {
                dropped.extend(contents.entries.drain().map(|(id, _)| id));
            }
            contents.entries.insert(id, (tokens.to_vec(), cells.to_vec()));
            Some(dropped)
        })
    }

    fn get(&mut self, id: u64, tokens: &[TokenId]) -> Option<Vec<u8>> {
        let is_broken = self.with(|contents| contents.is_broken);
        assert!(!is_broken, "broken");
        self.with(|contents| {
            contents.n_got += 1;
            let (found, cells) = contents.entries.get(&id)?;
            assert_eq!(found, tokens);
            Some(contents.lie.clone().unwrap_or_else(|| cells.clone()))
        })
    }

    fn remove(&mut self, id: u64) {
        self.with(|contents| contents.entries.remove(&id));
    }
}

/// A memory of 300 tokens, with room for `n` tokens of others in host memory.
fn decoder(n: usize) -> FakeDecoder {
    let mut decoder = FakeDecoder::new(300, 16, 4);
    // The fake decoder has 16 bytes for each token.
    decoder.config = EngineConfig { cache_bytes: 16 * n, ..EngineConfig::default() };
    decoder
}

fn cached(prompt: &[TokenId]) -> Request {
    Request { cache_prompt: true, ..request(prompt, 8) }
}

/// Runs a request, checks its text, and returns how many tokens it found.
fn found(engine: &Engine, prompt: &[TokenId]) -> usize {
    let outcome = run(engine, cached(prompt));
    outcome.assert_continues(prompt, 8);
    outcome.finish.usage.cached_tokens
}

#[test]
fn what_is_left_at_the_end_is_there_for_the_next_engine() {
    let shelf = Memory::default();
    let first = decoder(100).spawn_with(shelf.clone());
    let shared = prompt(1, 120);
    assert_eq!(found(&first, &[&shared[..], &[1, 2, 3]].concat()), 0);
    assert_eq!(shelf.tokens().len(), 0, "nothing is written while there is room");
    first.close();
    assert_eq!(shelf.tokens().len(), 1);

    let second = decoder(100).spawn_with(shelf.clone());
    assert_eq!(found(&second, &[&shared[..], &[4, 5, 6]].concat()), 120);
    assert_eq!(shelf.n_got(), 1);
    assert_eq!(found(&second, &[&shared[..], &[7]].concat()), 120);
    assert_eq!(shelf.n_got(), 1, "it is in memory now");
    assert_eq!(found(&second, &prompt(9, 80)), 0, "others have nothing of it");
    assert_eq!(shelf.n_got(), 1);
}

#[test]
fn what_has_no_room_in_host_memory_goes_to_the_shelf_and_comes_back() {
    for n_tokens in [0, 150] {
        let shelf = Memory::default();
        let engine = decoder(n_tokens).spawn_with(shelf.clone());
        let prompts: Vec<_> = (0..8).map(|i| prompt(10 + i, 200)).collect();
        for prompt in &prompts {
            assert_eq!(found(&engine, prompt), 0);
        }
        assert_eq!(found(&engine, &prompts[0]), 199, "with {n_tokens} tokens in host memory");
        assert_eq!(found(&engine, &prompts[3]), 199);
    }
}

#[test]
fn short_ones_and_those_of_groups_and_of_requests_that_share_nothing_stay_away() {
    let shelf = Memory::default();
    let engine = decoder(0).spawn_with(shelf.clone());
    run(&engine, cached(&prompt(20, 50)));
    run(&engine, Request { group: group(1), ..cached(&prompt(21, 200)) });
    run(&engine, request(&prompt(22, 200), 8));
    let mut config = decoder(0);
    config.config.deterministic = true;
    let alone = config.spawn_with(shelf.clone());
    run(&alone, cached(&prompt(23, 200)));
    alone.close();
    engine.close();
    assert_eq!(shelf.tokens(), Vec::<Vec<TokenId>>::new());

    let kept = prompt(24, 200);
    let engine = decoder(0).spawn_with(shelf.clone());
    run(&engine, cached(&kept));
    engine.close();
    assert_eq!(shelf.tokens().len(), 1);
    let engine = decoder(0).spawn_with(shelf.clone());
    run(&engine, Request { group: group(1), ..cached(&kept) }).assert_continues_in(1, &kept, 8);
    run(&engine, request(&kept, 8)).assert_continues(&kept, 8);
    assert_eq!(shelf.n_got(), 0);
}

#[test]
fn a_longer_one_replaces_what_it_begins_with() {
    let shelf = Memory::default();
    let mut text = prompt(30, 100);
    for _ in 0..3 {
        let engine = decoder(100).spawn_with(shelf.clone());
        let outcome = run(&engine, cached(&text));
        outcome.assert_continues(&text, 8);
        text.extend(continuation(&text, 8));
        engine.close();
        assert_eq!(shelf.tokens().len(), 1);
    }
    assert!(shelf.tokens()[0].len() >= 100 + 3 * 8 - 1);
}

#[test]
fn many_that_need_the_same_entry_read_it_once() {
    let shelf = Memory::default();
    let shared = prompt(40, 150);
    let engine = decoder(200).spawn_with(shelf.clone());
    found(&engine, &shared);
    engine.close();
    let (gated, open) = decoder(200).gated();
    let engine = gated.spawn_with(shelf.clone());
    let busy = engine.submit(request(&[1], 2)).unwrap();
    let prompts: Vec<Vec<TokenId>> = (0..3).map(|i| [&shared[..], &prompt(41 + i, 9)[..]].concat()).collect();
    let streams: Vec<_> = prompts.iter().map(|prompt| engine.submit(cached(prompt)).unwrap()).collect();
    open.store(true, Ordering::SeqCst);
    drain(&busy);
    for (stream, prompt) in streams.iter().zip(&prompts) {
        let outcome = drain(stream);
        outcome.assert_continues(prompt, 8);
        assert_eq!(outcome.finish.usage.cached_tokens, 150);
    }
    assert!(shelf.n_got() <= 3);
}

#[test]
fn damaged_and_lost_entries_are_decoded_anew() {
    let shelf = Memory::default();
    let text = prompt(50, 100);
    let fill = |shelf: &Memory| {
        let engine = decoder(100).spawn_with(shelf.clone());
        run(&engine, cached(&text)).assert_continues(&text, 8);
        engine.close();
    };
    fill(&shelf);
    shelf.with(|contents| contents.lie = Some(vec![1, 2, 3]));
    fill(&shelf);
    assert_eq!(shelf.n_got(), 1);
    let engine = decoder(100).spawn_with(shelf.clone());
    shelf.with(|contents| contents.entries.clear());
    assert_eq!(found(&engine, &text), 0);
    assert_eq!(found(&engine, &text), 99, "from memory");
    assert_eq!(shelf.n_got(), 2);
    engine.close();
    let engine = decoder(100).spawn_with(shelf.clone());
    shelf.with(|contents| contents.is_broken = true);
    assert_eq!(found(&engine, &text), 0);
    engine.close();
}

#[test]
fn memories_that_cannot_be_cut_take_whole_entries_alone() {
    let stiff = || {
        let mut decoder = decoder(100);
        (decoder.can_cut, decoder.can_rewind) = (false, false);
        decoder
    };
    let shelf = Memory::default();
    let text = prompt(60, 100);
    let engine = stiff().spawn_with(shelf.clone());
    run(&engine, cached(&text)).assert_continues(&text, 8);
    engine.close();
    let kept = shelf.tokens().remove(0);
    let engine = stiff().spawn_with(shelf.clone());
    assert_eq!(found(&engine, &text), 0, "the entry goes on after the prompt");
    assert_eq!(shelf.n_got(), 0);
    let engine = stiff().spawn_with(shelf.clone());
    let longer = [&kept[..], &[1, 2]].concat();
    assert_eq!(found(&engine, &longer), kept.len());
    assert_eq!(shelf.n_got(), 1);
}

#[test]
fn requests_that_wait_for_the_shelf_end_with_the_engine_and_when_cancelled() {
    let shelf = Memory::default();
    let text = prompt(70, 100);
    let engine = decoder(100).spawn_with(shelf.clone());
    found(&engine, &text);
    engine.close();
    for _ in 0..50 {
        let engine = decoder(100).spawn_with(shelf.clone());
        let streams: Vec<_> = (0..4).map(|_| engine.submit(cached(&text)).unwrap()).collect();
        streams[1].cancel();
        engine.close();
        for stream in &streams {
            drain(stream);
        }
    }
}

#[test]
fn entries_that_had_to_go_are_forgotten() {
    let shelf = Memory::default();
    shelf.with(|contents| contents.limit = Some(1));
    let engine = decoder(0).spawn_with(shelf.clone());
    let prompts: Vec<_> = (0..6).map(|i| prompt(80 + i, 200)).collect();
    for prompt in &prompts {
        found(&engine, prompt);
    }
    // The entries come to the shelf when it has time for them.
    while shelf.tokens().iter().all(|tokens| !tokens.starts_with(&prompts[4])) {
        std::thread::yield_now();
    }
    let n_got = shelf.n_got();
    assert!(found(&engine, &prompts[0]) < 64);
    assert_eq!(shelf.n_got(), n_got, "what is gone is not asked for");
}
