//! Texts that must not come.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::fake::{
    DEADLINE, FakeDecoder, PIECES, continuation, drain, next_token, prompt, request, run, text_of,
};
use crate::{
    ConstraintError, EngineError, FinishReason, HookPoll, Request, RequestError, SamplerError,
    SamplerSnapshot, StopMatch, SubmitError, TokenConstraint, TokenId, TokenMask, TokenSampler, logits_hook,
};

/// As many exclusions as a request may take between two tokens that stay.
const MAX_TRIES: usize = 256;
/// From so many exclusions at a place on, what holds a banned text by itself is excluded at once.
const FEW: usize = 4;

/// How much a sampler likes `token` as the one with index `n_drawn`, after `history`.
fn liking(history: u64, n_drawn: u64, token: TokenId, is_next: bool) -> u64 {
    let mixed = (history ^ (n_drawn << 32) ^ (token as u64) << 3).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let noise = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 2;
    if is_next && history.is_multiple_of(2) { u64::MAX } else { noise }
}

fn remember(history: u64, token: TokenId) -> u64 {
    (history ^ (token as u64 + 1)).wrapping_mul(0x0100_0000_01B3).rotate_left(13)
}

/// Chooses by what was accepted, and by how often it was asked.
#[derive(Clone, Default)]
struct Moody {
    history: u64,
    n_drawn: u64,
}

impl TokenSampler for Moody {
    fn sample(&mut self, logits: &[f32], mask: Option<&TokenMask>) -> Result<TokenId, SamplerError> {
        let tokens = (0..logits.len() as TokenId).filter(|&token| mask.is_none_or(|mask| mask.allows(token)));
        let liking =
            |token: &TokenId| liking(self.history, self.n_drawn, *token, logits[*token as usize] > 0.0);
        let token = tokens.max_by_key(liking).ok_or("nothing may be chosen")?;
        self.n_drawn += 1;
        Ok(token)
    }

    fn kept(&self, _n: usize, out: &mut Vec<(TokenId, f32)>) {
        out.extend([(1, 0.25), (2, 0.75)]);
    }

    fn accept(&mut self, token: TokenId) {
        self.history = remember(self.history, token);
    }

    fn save(&self) -> Option<SamplerSnapshot> {
        Some(Arc::new(self.clone()))
    }

    fn restore(&mut self, snapshot: &SamplerSnapshot) {
        *self = snapshot.downcast_ref::<Self>().unwrap().clone();
    }
}

/// Allows the tokens of a set, and after token `t` not `t` again.
struct NoRepeats {
    allowed: Vec<TokenId>,
    accepted: Vec<TokenId>,
    mask: Vec<u32>,
    /// These are forced after token 1.
    forced: Vec<TokenId>,
}

impl NoRepeats {
    fn new(allowed: &[TokenId]) -> Self {
        Self { allowed: allowed.to_vec(), accepted: Vec::new(), mask: Vec::new(), forced: Vec::new() }
    }

    fn allows(&self, token: TokenId) -> bool {
        let forced = match self.accepted.iter().rposition(|accepted| *accepted == 1) {
            Some(at) => self.forced.get(self.accepted.len() - at - 1),
            None => None,
        };
        match forced {
            Some(forced) => token == *forced,
            None => self.allowed.contains(&token) && self.accepted.last() != Some(&token),
        }
    }
}

impl TokenConstraint for NoRepeats {
    fn mask(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        let bits = (0..PIECES.len() as TokenId).filter(|&token| self.allows(token));
        self.mask = vec![bits.fold(0, |bits, token| bits | 1 << token)];
        Ok(Some(&self.mask))
    }

    fn accept(&mut self, token: TokenId) -> Result<(), ConstraintError> {
        if !self.allows(token) {
            return Err("this may not come".into());
        }
        self.accepted.push(token);
        Ok(())
    }

    fn forced(&mut self) -> Vec<TokenId> {
        let at = self.accepted.iter().rposition(|accepted| *accepted == 1);
        at.and_then(|at| self.forced.get(self.accepted.len() - at - 1..)).unwrap_or_default().to_vec()
    }

    fn can_end(&mut self) -> bool {
        false
    }

    fn is_finished(&mut self) -> bool {
        false
    }

    fn rollback(&mut self, n: usize) -> Result<(), ConstraintError> {
        let n_left = self.accepted.len().checked_sub(n).ok_or("taken back too often")?;
        self.accepted.truncate(n_left);
        Ok(())
    }
}

fn bytes_of(tokens: &[TokenId]) -> Vec<u8> {
    tokens.iter().flat_map(|&token| PIECES[token as usize]).copied().collect()
}

/// The text of `tokens` without a character at the end that is not complete, and how many bytes that has.
fn complete_text(tokens: &[TokenId]) -> (String, usize) {
    let bytes = bytes_of(tokens);
    for n_open in 0..4.min(bytes.len() + 1) {
        let (whole, open) = bytes.split_at(bytes.len() - n_open);
        let begins = std::str::from_utf8(open)
            .is_err_and(|error| error.error_len().is_none() && error.valid_up_to() == 0);
        let cut_before = n_open > 0 && begins;
        let ends_open =
            std::str::from_utf8(&bytes[bytes.len().saturating_sub(3).min(bytes.len())..]).is_err();
        if cut_before || (n_open == 0 && !ends_open) {
            return (String::from_utf8_lossy(whole).into_owned(), n_open);
        }
    }
    (String::from_utf8_lossy(&bytes).into_owned(), 0)
}

/// What ought to come out, by a search that knows nothing of states and looks at the whole text every time.
struct Reference {
    tokens: Vec<TokenId>,
    n_decoded: usize,
    gave_up: bool,
}

fn reference(
    prompt: &[TokenId],
    bans: &[String],
    max_tokens: usize,
    allowed: Option<&[TokenId]>,
) -> Reference {
    let mut tokens: Vec<TokenId> = Vec::new();
    let mut excluded: Vec<Vec<TokenId>> = vec![Vec::new()];
    let mut stuck = vec![false];
    let (mut n_settled, mut n_tries, mut n_decoded, mut known) = (0, 0, prompt.len(), 0);
    let give_up = |tokens: &[TokenId], n_settled: usize, n_decoded| Reference {
        tokens: tokens[..n_settled].to_vec(),
        n_decoded,
        gave_up: true,
    };
    loop {
        let all = [prompt, &tokens].concat();
        let history = tokens.iter().fold(0, |history, &token| remember(history, token));
        let here = &excluded[tokens.len()];
        let allows = |token: TokenId| {
            let by_set = allowed.is_none_or(|set| set.contains(&token) && tokens.last() != Some(&token));
            let harmful = here.len() >= FEW
                && bans.iter().any(|ban| find(PIECES[token as usize], ban.as_bytes()).is_some());
            by_set && !here.contains(&token) && !harmful
        };
        let liking =
            |token: &TokenId| liking(history, tokens.len() as u64, *token, next_token(&all) == *token);
        let chosen = (0..PIECES.len() as TokenId).filter(|&token| allows(token)).max_by_key(liking);
        let wrong = match chosen {
            None if !stuck[tokens.len()] && stuck[n_settled..tokens.len()].iter().all(|stuck| *stuck) => {
                let here = tokens.len();
                (stuck[here], excluded[here]) = (true, Vec::new());
                continue;
            }
            None if tokens.len() > n_settled => Some(tokens.len() - 1),
            None => return give_up(&tokens, n_settled, n_decoded),
            Some(token) => {
                tokens.push(token);
                excluded.push(Vec::new());
                stuck.push(false);
                let (mut text, _) = complete_text(&tokens);
                if tokens.len() == max_tokens {
                    text = text_of(&tokens);
                }
                let ends = bans
                    .iter()
                    .filter_map(|ban| text.find(ban.as_str()).map(|start| (start + ban.len(), start)));
                ends.min().map(|(_, start)| {
                    let first = owner(&tokens, start).max(n_settled);
                    (first..tokens.len()).find(|at| !stuck[*at]).unwrap_or(first)
                })
            }
        };
        if let Some(at) = wrong {
            excluded[at].push(tokens[at]);
            tokens.truncate(at);
            excluded.truncate(at + 1);
            stuck.truncate(at + 1);
            n_tries += 1;
            if n_tries > MAX_TRIES {
                return give_up(&tokens, at, n_decoded);
            }
            if at < known {
                n_decoded += 1;
                known = at;
            }
            continue;
        }
        if tokens.len() == max_tokens {
            return Reference { tokens, n_decoded, gave_up: false };
        }
        known = tokens.len();
        n_decoded += 1;
        let (text, _) = complete_text(&tokens);
        let open = (0..=text.len()).find(|&at| {
            at == text.len() || bans.iter().any(|ban| ban.as_bytes().starts_with(&text.as_bytes()[at..]))
        });
        let settled = owner(&tokens, open.unwrap_or(0)).max(n_settled);
        if settled > n_settled {
            (n_settled, n_tries) = (settled, 0);
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// The index of the token in which the character at byte `at` of the text begins; their number if none does.
fn owner(tokens: &[TokenId], at: usize) -> usize {
    let starts: Vec<(usize, usize)> = (0..=tokens.len())
        .map(|n| {
            let (text, n_open) = complete_text(&tokens[..n]);
            (text.len(), n_open)
        })
        .collect();
    if starts[tokens.len()] <= (at, 0) {
        return tokens.len();
    }
    starts[..tokens.len()].iter().rposition(|start| *start <= (at, 0)).unwrap()
}

fn banning(prompt: &[TokenId], max_tokens: usize, bans: &[String]) -> Request {
    let mut request = request(prompt, max_tokens);
    request.sampler = Box::new(Moody::default());
    request.ban = bans.to_vec();
    request
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn ban_lists() -> impl Strategy<Value = Vec<String>> {
    let part =
        prop::sample::select(vec!["a", "b", " c", "é", "🦀", "<st", "op>", "d", "\u{FFFD}", "<", "t", ">"]);
    prop::collection::vec(prop::collection::vec(part, 1..4).prop_map(|parts| parts.concat()), 1..6)
}

const WITH_TEXT: [TokenId; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn text_is_what_a_search_of_the_whole_text_finds(
        seed in 0usize..1000,
        bans in ban_lists(),
        max_tokens in 1usize..40,
        allowed in prop::option::of(prop::sample::subsequence(&WITH_TEXT[..], 2..=11)),
        can_cut: bool,
    ) {
        let prompt = prompt(seed, 5);
        let mut decoder = FakeDecoder::new(300, 8, 1);
        decoder.can_cut = can_cut;
        let n_decoded = Arc::clone(&decoder.n_decoded);
        let engine = decoder.spawn();
        let mut request = banning(&prompt, max_tokens, &bans);
        request.logprobs = Some(0);
        if let Some(allowed) = &allowed {
            request.constraint = Some(Box::new(NoRepeats::new(allowed)));
        }
        let outcome = run(&engine, request);
        let expected = reference(&prompt, &bans, max_tokens, allowed.as_deref());
        if expected.gave_up {
            prop_assert!(matches!(outcome.finish.reason, FinishReason::Error(EngineError::Banned { .. })), "{:?}", outcome.finish.reason);
            prop_assert!(outcome.tokens().starts_with(&expected.tokens));
        } else {
            prop_assert_eq!(&outcome.finish.reason, &FinishReason::Length);
            prop_assert_eq!(&outcome.tokens(), &expected.tokens);
            prop_assert_eq!(outcome.text(), text_of(&expected.tokens));
            if can_cut {
                // The last token is not decoded.
                prop_assert_eq!(n_decoded.load(Ordering::SeqCst), expected.n_decoded);
            }
        }
        prop_assert_eq!(outcome.finish.usage.completion_tokens, outcome.tokens().len());
        let logprobs: Vec<TokenId> = outcome.events.iter().flat_map(|event| &event.logprobs).map(|entry| entry.token).collect();
        prop_assert_eq!(logprobs, outcome.tokens());
        let mut text = String::new();
        for event in &outcome.events {
            text.push_str(&event.text);
            prop_assert!(!bans.iter().any(|ban| text.contains(ban.as_str())), "{text} has one of {bans:?}");
        }
    }

    #[test]
    fn bans_that_never_match_change_nothing(seed in 0usize..1000, bans in ban_lists(), max_tokens in 1usize..60) {
        let engine = FakeDecoder::new(300, 8, 1).spawn();
        let prompt = prompt(seed, 5);
        let plain = run(&engine, banning(&prompt, max_tokens, &[]));
        prop_assume!(!bans.iter().any(|ban| plain.text().contains(ban.as_str())));
        let outcome = run(&engine, banning(&prompt, max_tokens, &bans));
        prop_assert_eq!(outcome.tokens(), plain.tokens());
        prop_assert_eq!(outcome.text(), plain.text());
    }

    #[test]
    fn stop_strings_and_bans_hold_together(
        seed in 0usize..1000,
        bans in ban_lists(),
        stops in ban_lists(),
        max_tokens in 1usize..60,
        ignore_eos: bool,
    ) {
        let engine = FakeDecoder::new(300, 8, 1).spawn();
        let prompt = prompt(seed, 5);
        let asked = |bans: &[String]| {
            let mut request = banning(&prompt, max_tokens, bans);
            (request.stop, request.ignore_eos) = (stops.clone(), ignore_eos);
            request
        };
        let outcome = run(&engine, asked(&bans));
        let mut text = String::new();
        for event in &outcome.events {
            text.push_str(&event.text);
            prop_assert!(!bans.iter().chain(&stops).any(|string| text.contains(string.as_str())), "{text}: {bans:?} {stops:?}");
        }
        let all = text_of(&outcome.tokens());
        prop_assert!(all.starts_with(&text));
        match (&outcome.finish.reason, &outcome.finish.stop_match) {
            (FinishReason::Stop, Some(StopMatch::String(stop))) => {
                prop_assert!(all[text.len()..].starts_with(stop.as_str()));
            }
            (FinishReason::Stop, Some(StopMatch::Eog(0))) => prop_assert!(!ignore_eos && all == text),
            (FinishReason::Length, None) => prop_assert!(all == text && outcome.tokens().len() == max_tokens),
            // A stop string that holds a banned text back is decided only when it ends: until then many ways are tried.
            (FinishReason::Error(EngineError::Banned { n_tries: MAX_TRIES }), None) => {
                prop_assert!(stops.iter().any(|stop| bans.iter().any(|ban| stop.contains(ban.as_str()))));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        let plain = run(&engine, asked(&[]));
        if !bans.iter().any(|ban| plain.text().contains(ban.as_str())) {
            prop_assert_eq!(outcome.text(), plain.text());
            prop_assert_eq!(outcome.tokens(), plain.tokens());
            prop_assert_eq!(outcome.finish.reason, plain.finish.reason);
        }
    }
}

#[test]
fn requests_in_one_batch_go_back_each_by_itself() {
    let engine = FakeDecoder::new(600, 16, 4).spawn();
    let bans = texts(&["ab", "<stop>", "é", "c", "d"]);
    let asked: Vec<_> = (0..6).map(|seed| (prompt(seed, 4 + seed), 20 + 3 * seed)).collect();
    let streams: Vec<_> =
        asked.iter().map(|(prompt, n)| engine.submit(banning(prompt, *n, &bans)).unwrap()).collect();
    for (stream, (prompt, n)) in streams.iter().zip(&asked) {
        assert_eq!(drain(stream).tokens(), reference(prompt, &bans, *n, None).tokens);
    }
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn upper_and_lower_case_differ() {
    let engine = FakeDecoder::new(300, 8, 1).spawn();
    let prompt = prompt(3, 9);
    let plain = run(&engine, banning(&prompt, 60, &[])).tokens();
    assert!(text_of(&plain).contains('a'));
    assert_eq!(run(&engine, banning(&prompt, 60, &texts(&["A", "B"]))).tokens(), plain);
}

#[test]
fn forced_tokens_go_back_to_the_choice_that_led_to_them() {
    let engine = FakeDecoder::new(300, 8, 1).spawn();
    let mut n_forced = 0;
    for seed in 0..40 {
        for ban in ["ab", "abd", "adb", "db", "bda", "d<st"] {
            let mut request = banning(&prompt(seed, 5), 30, &texts(&[ban]));
            let mut constraint = NoRepeats::new(&[1, 2, 8, 12]);
            constraint.forced = vec![2, 12];
            request.constraint = Some(Box::new(constraint));
            let outcome = run(&engine, request);
            assert_eq!(outcome.finish.reason, FinishReason::Length, "{ban}");
            let (text, tokens) = (outcome.text(), outcome.tokens());
            assert!(!text.contains(ban), "{text} has {ban}");
            assert_eq!((text, tokens.len()), (text_of(&tokens), 30));
            let after_a = tokens.iter().enumerate().filter(|(_, token)| **token == 1);
            let most: usize = after_a.map(|(at, _)| tokens[at + 1..].len().min(2)).sum();
            // Where a choice was excluded, the one that is left is chosen like any other.
            assert!(outcome.finish.usage.forced_tokens <= most, "{tokens:?}");
            n_forced += outcome.finish.usage.forced_tokens;
        }
    }
    assert!(n_forced > 100);
}

#[test]
fn without_another_way_the_request_ends_with_an_error() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let prompt = prompt(8, 6);
    let other = engine.submit(request(&prompt, 50)).unwrap();
    let mut hopeless = banning(&prompt, 50, &texts(&["ab", "ba"]));
    hopeless.constraint = Some(Box::new(NoRepeats::new(&[1, 2])));
    let outcome = run(&engine, hopeless);
    let FinishReason::Error(error) = &outcome.finish.reason else { panic!("ended well") };
    assert!(error.to_string().starts_with("found no text without a banned one in"), "{error}");
    assert!(outcome.text().len() <= 1);
    drain(&other).assert_continues(&prompt, 50);
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn sampler_that_cannot_come_back_is_refused() {
    let engine = FakeDecoder::new(300, 8, 1).spawn();
    let mut asked = request(&[1, 2], 5);
    asked.sampler = Box::new(super::generating::Then(9, || Ok(1)));
    asked.ban = texts(&["a"]);
    let refused = engine.submit(asked).err();
    assert_eq!(refused, Some(SubmitError::Request(RequestError::BanNeedsSnapshots)));
}

#[test]
fn hook_sees_the_text_that_was_gone_back_to() {
    let bans = texts(&["ab", "<stop>", "é", "c", "d"]);
    // Two of one sequence each take turns, so a request is parked while its hook has the logits.
    for n_sequences in [2, 1] {
        let engine = FakeDecoder::new(300, 8, n_sequences).spawn();
        let asked: Vec<_> = (0..3).map(|seed| prompt(40 + seed, 6)).collect();
        let streams: Vec<_> = asked
            .iter()
            .map(|prompt| {
                let (hook, worker) = logits_hook();
                let mut request = banning(prompt, 25, &bans);
                request.hook = Some(hook);
                let worker = std::thread::spawn(move || {
                    let mut seen = Vec::new();
                    loop {
                        match worker.next_timeout(DEADLINE) {
                            HookPoll::Row(row) => {
                                seen.push(row.tokens);
                                worker.give_back(Ok(row.logits));
                            }
                            HookPoll::Closed => return seen,
                            HookPoll::Pending => panic!("no row came"),
                        }
                    }
                });
                (engine.submit(request).unwrap(), worker)
            })
            .collect();
        for ((stream, worker), prompt) in streams.into_iter().zip(&asked) {
            let expected = reference(prompt, &bans, 25, None);
            assert_eq!(drain(&stream).tokens(), expected.tokens);
            let seen = worker.join().unwrap();
            assert_eq!(seen.len(), expected.n_decoded - prompt.len() + 1);
            assert!(seen.iter().all(|tokens| tokens.starts_with(prompt)));
        }
    }
}

#[test]
fn cancelled_stream_shows_no_banned_text() {
    for seed in 0..10 {
        let engine = FakeDecoder::new(3000, 8, 1).spawn();
        let stream =
            engine.submit(banning(&prompt(seed, 5), 2900, &texts(&["aa", "ab", "é", "d<st"]))).unwrap();
        let first = super::fake::next(&stream).unwrap();
        stream.cancel();
        let outcome = drain(&stream);
        let text = first.text + &outcome.text();
        assert!(!["aa", "ab", "é", "d<st"].iter().any(|ban| text.contains(ban)));
        assert_eq!(outcome.finish.usage.completion_tokens, first.token_ids.len() + outcome.tokens().len());
    }
}

#[test]
fn greedy_text_without_matches_is_the_plain_one() {
    let engine = FakeDecoder::new(300, 8, 1).spawn();
    let prompt = prompt(5, 9);
    let expected = continuation(&prompt, 50);
    let mut asked = request(&prompt, 50);
    asked.ban = texts(&["never in here"]);
    let outcome = run(&engine, asked);
    outcome.assert_continues(&prompt, 50);
    assert_eq!(outcome.tokens(), expected);
}
