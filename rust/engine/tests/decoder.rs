//! What the decoder promises to the runtime, with tiny models.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::tiny::{Random, Tiny};
use common::{
    Tokens, batch, context, decoder, distance, library, our_logits, our_logits_singly, ours, their_logits,
    theirs,
};
use tabagent_engine::{Cpu, DecoderOptions, EngineDecoder, LoadedModel};
use tabagent_llama::Batch;
use tabagent_runtime::{
    BatchToken, Decoder, DecoderError, Engine, EngineConfig, Poll, Request, TokenId, TokenStream,
};
use tabagent_sampling::{Sampler, SamplerConfig};

const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

fn load(tiny: &Tiny) -> Arc<LoadedModel<Cpu>> {
    let folder = tempfile::tempdir().unwrap();
    ours(&tiny.write(folder.path(), 3))
}

fn gemma() -> Tiny {
    Tiny::new("gemma3")
        .head(32)
        .tied()
        .norms_after()
        .tensor("attn_q_norm.weight", &[32])
        .tensor("attn_k_norm.weight", &[32])
        .number("attention.sliding_window", 12)
        .key("attention.sliding_window_pattern", vec![true, false, true])
}

fn limited(model: &Arc<LoadedModel<Cpu>>, options: DecoderOptions) -> EngineDecoder<Cpu> {
    let vocabulary = Arc::new(Tokens(model.n_vocab()));
    EngineDecoder::new(Arc::clone(model), Cpu::new(1).unwrap(), vocabulary, options).unwrap()
}

/// Logits that come from the same numbers in other batches: sums in another order differ in the last bits of F32, and keys and values, which are kept in
/// F16, by one part in 2048 where that turns a rounding.
fn assert_same(found: &[f32], expected: &[f32]) {
    let error = distance(&[found.to_vec()], &[expected.to_vec()]);
    assert!(error.relative < 5e-4, "{error:?}");
}

#[test]
fn sequences_of_a_batch_do_not_see_each_other() {
    for tiny in [Tiny::new("llama"), gemma()] {
        let model = load(&tiny);
        let texts: Vec<Vec<TokenId>> =
            (0..3).map(|seed| Random(seed).tokens(20 + 11 * seed as usize)).collect();
        let alone: Vec<_> = texts.iter().map(|text| our_logits(&mut decoder(&model, 128), 0, text)).collect();
        let mut decoder = decoder(&model, 128);
        // The texts by turns, a few tokens each.
        let mut done = [0; 3];
        for step in 1..60 {
            let mut rows = Vec::new();
            for (seq, text) in texts.iter().enumerate() {
                let end = (done[seq] + (step + seq) % 3).min(text.len());
                rows.extend(batch(seq as u32, done[seq], &text[done[seq]..end]));
                done[seq] = end;
            }
            if rows.is_empty() {
                continue;
            }
            decoder.decode(&rows, NEVER).unwrap();
            for (index, row) in rows.iter().enumerate() {
                assert_same(decoder.logits(index), &alone[row.seq as usize][row.pos]);
            }
        }
        assert_eq!(done.to_vec(), texts.iter().map(Vec::len).collect::<Vec<_>>());
    }
}

#[test]
fn only_wanted_rows_have_logits() {
    let model = load(&Tiny::new("llama"));
    let tokens = Random(5).tokens(9);
    let all = our_logits(&mut decoder(&model, 64), 0, &tokens);
    let mut decoder = decoder(&model, 64);
    let mut rows = batch(0, 0, &tokens);
    for row in &mut rows {
        row.logits = row.pos % 4 == 3;
    }
    decoder.decode(&rows, NEVER).unwrap();
    for (index, row) in rows.iter().enumerate() {
        if row.logits {
            assert_same(decoder.logits(index), &all[index]);
        } else {
            assert!(decoder.logits(index).is_empty());
        }
    }
    assert!(decoder.logits(99).is_empty());
    decoder.decode(&[BatchToken { seq: 0, pos: 9, token: 3, logits: false }], NEVER).unwrap();
    assert!(decoder.logits(0).is_empty());
}

#[test]
fn a_sequence_goes_on_after_copy_cut_save_and_restore() {
    let model = load(&Tiny::new("llama"));
    let tokens = Random(7).tokens(90);
    let expected = our_logits(&mut decoder(&model, 256), 0, &tokens);
    let mut decoder = decoder(&model, 256);
    decoder.decode(&batch(0, 0, &tokens[..70]), NEVER).unwrap();
    assert!(decoder.can_cut(0, 40) && !decoder.can_cut(0, 71) && !decoder.can_cut(9, 0));
    assert!(decoder.copy(0, 1, 40) && !decoder.copy(0, 2, 71));
    let saved = decoder.save(0).unwrap();
    assert!(EngineDecoder::<Cpu>::saved_bytes(&saved) > 0);
    // Both go on with other tokens; what was saved stays.
    decoder.decode(&batch(0, 70, &Random(8).tokens(10)), NEVER).unwrap();
    let singly = our_logits_singly(&mut decoder, 1, 40, &tokens[40..]);
    singly.iter().zip(&expected[40..]).for_each(|(found, expected)| assert_same(found, expected));
    assert!(decoder.truncate(0, 66));
    let singly = our_logits_singly(&mut decoder, 0, 66, &tokens[66..]);
    singly.iter().zip(&expected[66..]).for_each(|(found, expected)| assert_same(found, expected));
    decoder.clear(0);
    decoder.restore(0, &saved).unwrap();
    decoder.restore(3, &saved).unwrap();
    for seq in [0, 3] {
        let singly = our_logits_singly(&mut decoder, seq, 70, &tokens[70..]);
        singly.iter().zip(&expected[70..]).for_each(|(found, expected)| assert_same(found, expected));
    }
    let other = load(&Tiny::new("llama"));
    assert!(matches!(common::decoder(&other, 256).restore(0, &saved), Err(DecoderError::Failed(_))));
}

#[test]
fn exported_cells_are_those_of_the_sequence_and_damaged_ones_are_refused() {
    let model = load(&gemma());
    let tokens = Random(9).tokens(50);
    let mut first = decoder(&model, 128);
    let expected = our_logits(&mut first, 0, &tokens);
    first.truncate(0, 45);
    let saved = first.save(0).unwrap();
    assert!(first.export(&saved, 44).is_none());
    let bytes = first.export(&saved, 45).unwrap();
    let mut second = decoder(&model, 128);
    let imported = second.import(&bytes, 45).unwrap();
    second.restore(2, &imported).unwrap();
    let singly = our_logits_singly(&mut second, 2, 45, &tokens[45..]);
    singly.iter().zip(&expected[45..]).for_each(|(found, expected)| assert_same(found, expected));
    assert!(second.import(&bytes, 46).is_none() && second.import(&bytes, 500).is_none());
    assert!(second.import(&bytes[..bytes.len() - 1], 45).is_none());
    assert!(second.import(&[], 0).is_none());
    let mut nan = bytes.clone();
    let last = nan.len() - 1;
    nan[last] = 0x7f;
    assert!(second.import(&nan, 45).is_none());
    let mut header = bytes;
    header[25] ^= 1;
    assert!(second.import(&header, 45).is_none());
}

/// As llama.cpp does it: keys are turned to their new positions, values stay.
#[test]
fn a_shifted_sequence_goes_on_as_in_llama_cpp() {
    let Some(library) = library() else { return };
    let scaled = Tiny::new("qwen2").qkv_biases().float("rope.scaling.factor", 8.0);
    for tiny in [Tiny::new("llama"), scaled] {
        let folder = tempfile::tempdir().unwrap();
        let path = tiny.write(folder.path(), 4);
        let model = theirs(&library, &path);
        let mut context = context(&model, 256);
        let tokens = Random(11).tokens(101);
        let (text, next) = tokens.split_at(100);
        their_logits(&mut context, text);
        assert!(context.shift_sequence(0, 7, 41).unwrap());
        context.decode(&Batch::prompt(0, 59, next)).unwrap();
        let mut decoder = decoder(&ours(&path), 256);
        assert!(decoder.can_shift());
        our_logits(&mut decoder, 0, text);
        assert!(!decoder.shift(0, 70, 41) && decoder.shift(0, 7, 41));
        let found = our_logits_singly(&mut decoder, 0, 59, next);
        let error = distance(&found, &[context.logits(0).unwrap().to_vec()]);
        assert!(error.relative < 2e-3, "{error:?}");
    }
}

/// With one layer, keys and values follow from a token and its position alone. (llama.cpp multiplies keys with the factor of YaRN once more for each
/// shift, and turns those of layers without positions.)
#[test]
fn a_shifted_sequence_of_one_layer_is_as_if_decoded_at_its_new_place() {
    let yarn = Tiny::new("llama")
        .key("rope.scaling.type", "yarn")
        .float("rope.scaling.factor", 8.0)
        .number("rope.scaling.original_context_length", 32);
    let without_positions =
        Tiny::new("granite").float("logit_scale", 1.0).key("rope.scaling.finetuned", false);
    for tiny in [Tiny::new("llama"), yarn, without_positions] {
        let model = load(&tiny.layers(1));
        let text = Random(14).tokens(120);
        for (keep, n) in [(0, 1), (5, 64), (32, 32), (90, 3)] {
            let mut shifted = decoder(&model, 256);
            our_logits(&mut shifted, 0, &text[..119]);
            assert!(shifted.shift(0, keep, n));
            let kept = [&text[..keep], &text[keep + n..]].concat();
            let expected = our_logits(&mut decoder(&model, 256), 0, &kept).pop().unwrap();
            let found = our_logits_singly(&mut shifted, 0, 119 - n, &text[119..]).pop().unwrap();
            let error = distance(&[found], &[expected]);
            assert!(error.relative < 2e-3, "{keep} {n} {error:?}");
        }
    }
    let learned = Tiny::new("gpt2").kv_heads(4).fused_qkv().norm_biases().without(&["ffn_gate.weight"]);
    let learned = learned.outer("position_embd.weight", &[64, 256]);
    let mut decoder = decoder(&load(&learned), 128);
    decoder.decode(&batch(0, 0, &[5, 6, 7]), NEVER).unwrap();
    assert!(!decoder.can_shift() && !decoder.shift(0, 0, 1));
}

#[test]
fn a_batch_without_room_changes_nothing() {
    let model = load(&Tiny::new("llama"));
    let options = DecoderOptions {
        n_cells: 64,
        n_seq_max: 2,
        n_batch: 512,
        n_outputs_max: 512,
        ..DecoderOptions::new(512)
    };
    let mut decoder = limited(&model, options);
    let tokens = Random(12).tokens(400);
    decoder.decode(&batch(0, 0, &tokens[..30]), NEVER).unwrap();
    decoder.decode(&batch(1, 0, &tokens[..30]), NEVER).unwrap();
    let mut both = batch(0, 30, &tokens[30..32]);
    both.extend(batch(1, 30, &tokens[30..]));
    assert_eq!(decoder.decode(&both, NEVER), Err(DecoderError::NoSpace));
    assert!(decoder.logits(0).is_empty());
    let expected = our_logits(&mut common::decoder(&model, 128), 0, &tokens[..34]);
    for seq in [0, 1] {
        let found = our_logits_singly(&mut decoder, seq, 30, &tokens[30..34]);
        found.iter().zip(&expected[30..]).for_each(|(found, expected)| assert_same(found, expected));
    }
}

#[test]
fn a_stopped_batch_is_forgotten() {
    let model = load(&gemma());
    let tokens = Random(13).tokens(60);
    let mut decoder = decoder(&model, 128);
    decoder.decode(&batch(0, 0, &tokens[..30]), NEVER).unwrap();
    let asked = AtomicUsize::new(0);
    let mut n_stops = 0;
    for after in 0.. {
        asked.store(0, Ordering::Relaxed);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= after;
        match decoder.decode(&batch(0, 30, &tokens[30..50]), &stop) {
            Ok(()) => break,
            Err(error) => assert_eq!(error, DecoderError::Aborted),
        }
        n_stops += 1;
        assert!(decoder.can_cut(0, 30) && !decoder.can_cut(0, 31));
    }
    assert!(n_stops > model.blueprint().layers.len(), "asked {n_stops} times");
    let found = our_logits_singly(&mut decoder, 0, 50, &tokens[50..]);
    let expected = our_logits(&mut common::decoder(&model, 128), 0, &tokens);
    found.iter().zip(&expected[50..]).for_each(|(found, expected)| assert_same(found, expected));
}

#[test]
fn wrong_batches_are_refused() {
    let model = load(&Tiny::new("llama"));
    let options = DecoderOptions { n_seq_max: 2, n_batch: 4, n_outputs_max: 2, ..DecoderOptions::new(8) };
    let mut decoder = limited(&model, options);
    let row = |seq, pos, token, logits| BatchToken { seq, pos, token, logits };
    let failing: &[&[BatchToken]] = &[
        &[],
        &[row(0, 0, 3, false); 5],
        &[row(0, 0, 3, true), row(0, 1, 3, true), row(0, 2, 3, true)],
        &[row(2, 0, 3, true)],
        &[row(0, 1, 3, true)],
        &[row(0, 0, -1, true)],
        &[row(0, 0, 263, true)],
        &[row(0, 0, 3, true), row(0, 0, 3, true)],
    ];
    for batch in failing {
        assert!(matches!(decoder.decode(batch, NEVER), Err(DecoderError::Failed(_))), "{batch:?}");
    }
    decoder.decode(&batch(0, 0, &[3, 4]), NEVER).unwrap();
    for start in [2, 4, 6] {
        decoder.decode(&batch(0, start, &[5, 6]), NEVER).unwrap();
    }
    assert_eq!(decoder.decode(&batch(0, 8, &[5]), NEVER), Err(DecoderError::NoSpace));
    for options in [
        DecoderOptions::new(0),
        DecoderOptions { n_seq_max: 0, ..DecoderOptions::new(8) },
        DecoderOptions { n_batch: 0, ..DecoderOptions::new(8) },
    ] {
        let made =
            EngineDecoder::new(Arc::clone(&model), Cpu::new(1).unwrap(), Arc::new(Tokens(263)), options);
        assert!(made.unwrap_err().to_string().contains("is `0`"));
    }
    let made = EngineDecoder::new(model, Cpu::new(1).unwrap(), Arc::new(Tokens(7)), DecoderOptions::new(8));
    assert!(made.unwrap_err().to_string().contains("7 tokens"));
}

fn request(prompt: &[TokenId], n: usize) -> Request {
    let sampler = Sampler::new(&SamplerConfig::greedy(), 263).unwrap();
    Request { max_tokens: Some(n), cache_prompt: true, ..Request::new(prompt.to_vec(), Box::new(sampler)) }
}

fn tokens_of(stream: &TokenStream) -> Vec<TokenId> {
    let mut tokens = Vec::new();
    loop {
        match stream.next_timeout(std::time::Duration::from_mins(1)) {
            Poll::Event(event) => tokens.extend(event.token_ids),
            Poll::Finished => return tokens,
            Poll::Pending => panic!("no progress"),
        }
    }
}

/// More streams than sequences, in a memory that holds a few of them: parked, restored, copied from each other's beginnings.
#[test]
fn streams_say_what_the_model_says_alone() {
    let model = load(&Tiny::new("llama"));
    let beginning = Random(20).tokens(40);
    let prompts: Vec<Vec<TokenId>> = (0..9)
        .map(|seed| {
            beginning[..10 * (seed as usize % 4)].iter().copied().chain(Random(seed).tokens(5)).collect()
        })
        .collect();
    let expected: Vec<Vec<TokenId>> = prompts
        .iter()
        .map(|prompt| {
            let mut decoder = decoder(&model, 256);
            let mut logits = our_logits(&mut decoder, 0, prompt).pop().unwrap();
            let mut tokens = Vec::new();
            for pos in prompt.len()..prompt.len() + 60 {
                let token = common::best(&logits) as TokenId;
                tokens.push(token);
                logits = our_logits_singly(&mut decoder, 0, pos, &[token]).pop().unwrap();
            }
            tokens
        })
        .collect();
    let options = DecoderOptions { n_seq_max: 3, n_batch: 32, n_outputs_max: 8, ..DecoderOptions::new(150) };
    let engine = Engine::spawn(limited(&model, options), "tiny", &EngineConfig::default()).unwrap();
    for _ in 0..2 {
        let streams: Vec<_> =
            prompts.iter().map(|prompt| engine.submit(request(prompt, 60)).unwrap()).collect();
        for (stream, expected) in streams.iter().zip(&expected) {
            assert_eq!(&tokens_of(stream), expected);
        }
    }
}
