//! One test for each row of the table of calls on which the pinned llama.cpp aborts, crashes or lies.
//!
//! Rows about functions that this project never calls (sampler chains, grammars, `llama_get_logits`, `seq_div`, adapters) are tests of
//! the function table in `tabagent-sys`.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{SMOLLM2, context, load, vocab_dir};
use tabagent_llama::*;

macro_rules! assert_error {
    ($result:expr, $pattern:pat) => {
        match $result {
            Err($pattern) => {}
            other => panic!("expected {}, got {other:?}", stringify!($pattern)),
        }
    };
}

#[test]
fn token_ids_out_of_range_are_refused() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    for token in [-1, i32::MIN, i32::MAX, model.vocab().len() as i32] {
        assert_error!(
            context.decode(&Batch::prompt(0, 0, &[1, token])),
            ContextError::TokenOutOfRange { index: 1, .. }
        );
    }
    context.decode(&Batch::prompt(0, 0, &[1])).unwrap();
}

#[test]
fn sequences_out_of_range_missing_or_repeated_are_refused() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    for sequence in [4, 256, u32::MAX] {
        assert_error!(
            context.decode(&Batch::prompt(sequence, 0, &[1])),
            ContextError::SequenceOutOfRange { .. }
        );
        assert_error!(context.remove_sequence(sequence), ContextError::SequenceOutOfRange { .. });
        assert_error!(context.copy_sequence(0, sequence), ContextError::SequenceOutOfRange { .. });
        assert_error!(context.next_position(sequence), ContextError::SequenceOutOfRange { .. });
        assert!(context.snapshot_sequence(sequence).is_err());
    }
    for sequences in [&[][..], &[1, 1][..]] {
        let mut batch = Batch::new();
        batch.push(1, 0, sequences, true);
        assert_error!(context.decode(&batch), ContextError::BadSequences { index: 0 });
    }
}

#[test]
fn positions_with_gaps_repeats_or_at_the_maximum_are_refused() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    for position in [1, 100, i32::MAX as u32, u32::MAX] {
        assert_error!(
            context.decode(&Batch::prompt(0, position, &[1])),
            ContextError::WrongPosition { index: 0, expected: 0, .. }
        );
    }
    context.decode(&Batch::prompt(0, 0, &[1, 2, 3])).unwrap();
    assert_error!(
        context.decode(&Batch::prompt(0, 2, &[1])),
        ContextError::WrongPosition { expected: 3, .. }
    );
    let mut batch = Batch::prompt(0, 3, &[1]);
    batch.push(2, 3, &[0], true);
    assert_error!(context.decode(&batch), ContextError::WrongPosition { index: 1, expected: 4, .. });
    context.decode(&Batch::prompt(0, 3, &[1])).unwrap();
}

#[test]
fn empty_and_too_large_batches_are_refused() {
    let Some(model) = load(SMOLLM2) else { return };
    let config = ContextConfig::new().with_context_size(256).with_batch_size(16).with_threads(1);
    let mut context = model.create_context_with(&config).unwrap();
    assert_error!(context.decode(&Batch::new()), ContextError::EmptyBatch);
    assert_eq!(context.batch_size(), 16);
    assert_error!(
        context.decode(&Batch::prompt(0, 0, &[1; 17])),
        ContextError::BatchTooLarge { tokens: 17, n_batch: 16 }
    );
    context.decode(&Batch::prompt(0, 0, &[1; 16])).unwrap();
}

/// `n_ctx = 1` is clamped by llama.cpp, batch and all: the limits are read back.
#[test]
fn the_smallest_context_knows_its_real_limits() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context =
        model.create_context_with(&ContextConfig::new().with_context_size(1).with_threads(1)).unwrap();
    let limit = context.batch_size() as usize;
    let tokens = vec![1; limit + 1];
    assert_error!(context.decode(&Batch::prompt(0, 0, &tokens)), ContextError::BatchTooLarge { .. });
    context.decode(&Batch::prompt(0, 0, &[1])).unwrap();
}

#[test]
fn logits_exist_only_where_the_last_decode_computed_them() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    assert_error!(context.logits(0), ContextError::NoLogits { index: 0, .. });
    context.decode(&Batch::prompt(0, 0, &[1, 2, 3])).unwrap();
    assert_eq!(context.logits(2).unwrap().len(), model.vocab().len());
    for index in [0, 1, 3, usize::MAX] {
        assert_error!(context.logits(index), ContextError::NoLogits { .. });
    }
    let text = context.logits(7).unwrap_err().to_string();
    assert_eq!(text, "no logits for token 7: the last decode computed them for 2");
    assert!(context.decode(&Batch::new()).is_err());
    assert_error!(context.logits(2), ContextError::NoLogits { .. });
    context.decode(&Batch::prompt(0, 3, &[1])).unwrap();
    context.clear();
    assert_error!(context.logits(0), ContextError::NoLogits { .. });
}

#[test]
fn more_outputs_than_the_context_keeps_are_refused() {
    let Some(model) = load(SMOLLM2) else { return };
    let config =
        ContextConfig { max_outputs: Some(2), ..ContextConfig::new().with_context_size(64).with_threads(1) };
    let mut context = model.create_context_with(&config).unwrap();
    let mut batch = Batch::new();
    for position in 0..3 {
        batch.push(1, position, &[0], true);
    }
    assert_error!(context.decode(&batch), ContextError::TooManyOutputs { outputs: 3, max_outputs: 2 });
}

#[test]
fn settings_that_abort_are_refused_and_odd_ones_work_or_are_typed_errors() {
    let Some(model) = load(SMOLLM2) else { return };
    let base = ContextConfig::new().with_context_size(64).with_threads(1);
    for config in [
        ContextConfig { batch_size: Some(0), ..base.clone() },
        ContextConfig { micro_batch_size: Some(0), ..base.clone() },
        ContextConfig { max_sequences: 65, ..base.clone() },
        ContextConfig { max_sequences: 300, ..base.clone() },
        ContextConfig { context_size: Some(0), ..base.clone() },
        ContextConfig { context_size: Some(u32::MAX), ..base.clone() },
    ] {
        assert_error!(model.create_context_with(&config), ContextError::Config(_));
    }
    for kv_type in ["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] {
        for flash_attention in [FlashAttention::Auto, FlashAttention::Off, FlashAttention::On] {
            let config = ContextConfig { kv_type: kv_type.parse().unwrap(), flash_attention, ..base.clone() };
            match model.create_context_with(&config) {
                Ok(mut context) => context.decode(&Batch::prompt(0, 0, &[1, 2, 3])).unwrap(),
                Err(error) => {
                    assert_eq!(flash_attention, FlashAttention::Off, "{kv_type}: {error}");
                    let text = error.to_string();
                    assert!(
                        text.starts_with(&format!("`kv_type` `{kv_type}` needs fused attention")),
                        "{text}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_context_larger_than_memory_is_refused_before_the_system_kills_the_process() {
    let Some(model) = load(SMOLLM2) else { return };
    let error = model.create_context_with(&ContextConfig::new().with_context_size(1 << 24)).unwrap_err();
    assert!(matches!(error, ContextError::OutOfMemory { .. }), "{error}");
    assert!(error.to_string().contains("lower `context_size`"), "{error}");
}

#[test]
fn a_vocabulary_cannot_decode() {
    let Some(dir) = vocab_dir() else { return };
    let Some(library) = common::library() else { return };
    let config = ModelConfig::new(dir.join("ggml-vocab-llama-bpe.gguf")).unwrap().with_vocab_only(true);
    let model = Model::load(&library, config).unwrap();
    assert_error!(model.create_context(), ContextError::VocabOnly);
}

#[test]
fn vocabulary_questions_out_of_range_are_refused() {
    let Some(model) = load(SMOLLM2) else { return };
    let vocab = model.vocab();
    for token in [-1, i32::MIN, i32::MAX, vocab.len() as i32] {
        assert_error!(vocab.token_bytes(token, true), VocabError::TokenOutOfRange { .. });
        assert_error!(vocab.token_text(token), VocabError::TokenOutOfRange { .. });
        assert_error!(vocab.token_score(token), VocabError::TokenOutOfRange { .. });
        assert_error!(vocab.token_attributes(token), VocabError::TokenOutOfRange { .. });
        assert_error!(
            vocab.detokenize(&[1, token], false, true),
            VocabError::TokenOutOfRange { index: 1, .. }
        );
        assert!(!vocab.is_eog(token) && !vocab.is_control(token));
    }
}

#[test]
fn copying_needs_an_empty_target() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    context.decode(&Batch::prompt(0, 0, &[1, 2, 3])).unwrap();
    assert_error!(context.copy_sequence(0, 0), ContextError::SequenceInUse { sequence: 0 });
    context.copy_sequence(0, 1).unwrap();
    assert_eq!(context.next_position(1).unwrap(), 3);
    assert_error!(context.copy_sequence(0, 1), ContextError::SequenceInUse { sequence: 1 });
}

#[test]
fn copies_in_memory_of_their_own_are_whole_at_once() {
    let Some(model) = load(SMOLLM2) else { return };
    let config = ContextConfig {
        unified_cache: false,
        ..ContextConfig::new().with_context_size(1024).with_max_sequences(4)
    };
    let mut context = model.create_context_with(&config).unwrap();
    context.decode(&Batch::prompt(0, 0, &[1, 2, 3])).unwrap();
    context.copy_sequence(0, 1).unwrap();
    // Logits stay where they are.
    assert!(context.logits(2).is_ok());
    // Before anything else was decoded.
    let snapshot = context.snapshot_sequence(1).unwrap();
    context.restore_sequence(2, &snapshot).unwrap();
    let mut after = |sequence| {
        context.decode(&Batch::prompt(sequence, 3, &[4])).unwrap();
        context.logits(0).unwrap().to_vec()
    };
    let expected = after(0);
    assert_eq!(after(1), expected);
    assert_eq!(after(2), expected);
    context.copy_sequence(3, 1).unwrap_err();
    context.remove_sequence(1).unwrap();
    context.copy_sequence(3, 1).unwrap();
    assert_eq!(context.next_position(1).unwrap(), 0);
}

#[test]
fn state_with_any_flipped_bit_is_refused() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    context.decode(&Batch::prompt(0, 0, &[1, 2, 3])).unwrap();
    let good = context.save_state().unwrap();
    let step = (good.len() / 97).max(1);
    for at in (0..good.len()).step_by(step).chain(0..100) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(context.load_state(&bad).is_err(), "byte {at}");
    }
    for length in [0, 7, 80, good.len() / 2, good.len() - 1] {
        assert!(context.load_state(&good[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(context.next_position(0).unwrap(), 3, "a refused state changes nothing");
    context.load_state(&good).unwrap();
    assert_eq!(context.next_position(0).unwrap(), 3);
}

#[test]
fn state_of_other_settings_or_another_model_is_refused() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut small = context(&model);
    small.decode(&Batch::prompt(0, 0, &[1, 2, 3])).unwrap();
    let state = small.save_state().unwrap();
    let config =
        ContextConfig { max_sequences: 4, ..ContextConfig::new().with_context_size(512).with_threads(1) };
    let mut large = model.create_context_with(&config).unwrap();
    let text = large.load_state(&state).unwrap_err().to_string();
    assert_eq!(
        text,
        "the saved state was made with context_size `256` and this context has `512`; create the context alike"
    );
    let gemma = load(common::GEMMA).unwrap();
    assert_error!(context(&gemma).load_state(&state), StateError::OtherModel);
}

/// A panic in a callback must not cross C: it comes out of `load` again, after llama.cpp has cleaned up.
#[test]
fn a_panicking_progress_callback_unwinds_through_rust_only() {
    let (Some(library), Some(path)) = (common::library(), tabagent_material::model(SMOLLM2)) else { return };
    let config = ModelConfig::new(path).unwrap().with_progress(|_| panic!("from the callback"));
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Model::load(&library, config).map(|_| ())));
    let payload = outcome.unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"from the callback"));
}

#[test]
fn an_aborted_decode_is_a_typed_error_and_the_context_goes_on() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    assert_error!(context.decode_unless(&Batch::prompt(0, 0, &[1; 100]), &|| true), ContextError::Aborted);
    context.remove_sequence(0).unwrap();
    context.decode(&Batch::prompt(0, 0, &[1, 2, 3])).unwrap();
}

#[test]
fn a_full_context_is_a_typed_error_and_frees_up() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    let size = context.context_size();
    context.decode(&Batch::prompt(0, 0, &vec![1; size as usize])).unwrap();
    assert_error!(context.decode(&Batch::prompt(1, 0, &[1])), ContextError::Full { tokens: 1, .. });
    assert_eq!(context.next_position(1).unwrap(), 0);
    context.remove_sequence(0).unwrap();
    context.decode(&Batch::prompt(1, 0, &[1])).unwrap();
}
