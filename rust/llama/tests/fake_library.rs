//! What the safe types do with every answer of a library, seen with one made of Rust functions.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod fake;

use std::sync::atomic::{AtomicUsize, Ordering};

use fake::{Fake, SeenBatch, VOCAB_SIZE, int_field, layout, word_field};
use tabagent_llama::{Batch, ContextConfig, ContextError, DetokenizeOptions, Model, ModelError, VocabError};

fn small() -> ContextConfig {
    ContextConfig::new().with_context_size(64).with_threads(2).with_max_sequences(4)
}

#[test]
fn every_code_of_decode_is_the_right_error_with_the_lines_logged_meanwhile() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    let mut context = model.create_context_with(&small()).unwrap();
    for code in [1, 2, -1, -2, -3, 3, i32::MIN, i32::MAX] {
        fake.with(|state| (state.decode_code, state.says) = (code, vec!["first cause", "then that"]));
        let error = context.decode(&Batch::prompt(0, 0, &[1, 2])).unwrap_err();
        match (code, &error) {
            (1, ContextError::Full { tokens: 2, n_ctx: 64 }) | (2, ContextError::Aborted) => {}
            (_, ContextError::Failed { code: found, log }) => {
                assert_eq!(*found, code);
                assert_eq!(log, &["first cause", "then that"]);
                assert!(error.to_string().ends_with("first cause; then that"), "{error}");
            }
            _ => panic!("{code}: {error}"),
        }
        assert!(matches!(context.logits(1), Err(ContextError::NoLogits { .. })));
    }
    fake.with(|state| (state.decode_code, state.says) = (-1, Vec::new()));
    let error = context.decode(&Batch::prompt(0, 0, &[1])).unwrap_err();
    assert!(
        matches!(&error, ContextError::Failed { log, .. } if log.is_empty()),
        "lines of an earlier call: {error}"
    );
}

#[test]
fn a_null_model_is_refused_with_the_lines_logged() {
    let fake = Fake::begin();
    fake.with(|state| (state.no_model, state.says) = (true, vec!["tensor `x` is missing"]));
    let error = fake.load().unwrap_err();
    assert!(
        matches!(&error, ModelError::Refused { log, .. } if log == &["tensor `x` is missing"]),
        "{error}"
    );
    assert_eq!(fake.with(|state| state.calls.clone()), ["load"]);
}

#[test]
fn a_null_context_is_refused_with_the_lines_logged_and_not_freed() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    fake.with(|state| (state.no_context, state.says) = (true, vec!["no memory"]));
    let error = model.create_context_with(&small()).unwrap_err();
    assert!(matches!(&error, ContextError::Refused { log } if log == &["no memory"]), "{error}");
    drop(model);
    assert_eq!(fake.with(|state| state.calls.clone()), ["load", "init", "model_free"]);
}

#[test]
fn everything_is_freed_once_and_in_order_also_on_another_thread() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    let context = model.create_context_with(&small()).unwrap();
    let clone: Model = model.clone();
    drop(model);
    drop(clone);
    assert_eq!(fake.with(|state| state.calls.clone()), ["load", "init", "attach"]);
    std::thread::spawn(move || drop(context)).join().unwrap();
    let calls = fake.with(|state| state.calls.clone());
    assert_eq!(calls, ["load", "init", "attach", "free", "pool_free", "model_free"]);
}

#[test]
fn each_number_of_threads_has_a_pool_that_is_freed_after_a_graph_was_computed_with_another_one() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    let mut context = model.create_context_with(&small().with_threads(4)).unwrap();
    fake.with(|state| state.calls.clear());
    for count in [1, 1, 3, 1, 3, 4, 2, 0, 100] {
        context.set_threads(count);
    }
    let calls = fake.with(|state| state.calls.clone());
    assert_eq!(calls, ["attach"; 8]);
    let set = fake.with(|state| state.threads.clone());
    assert_eq!(set, [1, 3, 1, 3, 4, 2, 1, 4].map(|count| (count, count)));
    // Three threads' pool was replaced by that of two. ggml still knows it, until a graph is computed.
    fake.with(|state| (state.calls, state.decode_code) = (Vec::new(), 2));
    context.decode(&Batch::prompt(0, 0, &[1])).unwrap_err();
    fake.with(|state| state.decode_code = 0);
    context.decode(&Batch::prompt(0, 0, &[1])).unwrap();
    assert_eq!(fake.with(|state| std::mem::take(&mut state.calls)), ["decode", "decode", "pool_free"]);
    context.set_threads(3);
    fake.with(|state| state.calls.clear());
    drop(context);
    let calls = fake.with(|state| state.calls.clone());
    assert_eq!(calls, ["free", "pool_free", "pool_free", "pool_free", "pool_free"]);
}

#[test]
fn parameters_hold_what_was_set_and_the_defaults_elsewhere() {
    let fake = Fake::begin();
    let library = fake.library();
    let model = Model::load(&library, fake.config().with_gpu_layers(7).with_mmap(false)).unwrap();
    let _context = model.create_context_with(&small()).unwrap();
    let (fields, seen) = (&layout().model_params, fake.with(|state| state.model_params.unwrap()));
    for (name, value) in
        [("n_gpu_layers", 7), ("load_mode", 0), ("split_mode", 1), ("lazy_mode", 1), ("main_gpu", 0)]
    {
        assert_eq!(int_field(fields, &seen, name), value, "{name}");
    }
    for name in
        ["devices", "tensor_split", "progress_callback", "progress_callback_user_data", "kv_overrides"]
    {
        assert_eq!(word_field(fields, &seen, name), 0, "{name}");
    }
    let (fields, seen) = (&layout().context_params, fake.with(|state| state.context_params.unwrap()));
    for (name, value) in [
        ("n_ctx", 64),
        ("n_batch", 64),
        ("n_ubatch", 64),
        ("n_seq_max", 4),
        ("n_threads", 2),
        ("n_threads_batch", 2),
        ("type_k", 1),
        ("type_v", 1),
        ("flash_attn_type", -1),
        ("rope_scaling_type", -1),
        ("pooling_type", -1),
        ("ctx_type", 0),
    ] {
        assert_eq!(int_field(fields, &seen, name), value, "{name}");
    }
    assert_eq!(word_field(fields, &seen, "cb_eval"), 0);
}

#[test]
fn progress_reaches_the_callback_and_its_answer_the_library() {
    let fake = Fake::begin();
    fake.with(|state| state.progress = vec![0.0, 0.5, 0.75, 1.0]);
    let (sender, parts) = std::sync::mpsc::channel();
    let config = fake.config().with_progress(move |part| {
        sender.send(part).unwrap();
        part < 0.6
    });
    let error = Model::load(&fake.library(), config).unwrap_err();
    assert!(matches!(error, ModelError::Cancelled(_)), "{error}");
    assert_eq!(parts.iter().collect::<Vec<_>>(), [0.0, 0.5, 0.75]);
    assert_eq!(fake.with(|state| state.progress_said.clone()), [true, true, false]);
}

#[test]
fn batches_arrive_exactly_as_they_were_asked_for() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    let mut context = model.create_context_with(&small()).unwrap();
    let mut batch = Batch::prompt(0, 0, &[5, 6]);
    batch.push(7, 0, &[1, 3], true);
    batch.push(8, 0, &[2], false);
    context.decode(&batch).unwrap();
    let expected = SeenBatch {
        tokens: vec![5, 6, 7, 8],
        positions: vec![0, 1, 0, 0],
        sequences: vec![vec![0], vec![0], vec![1, 3], vec![2]],
        outputs: vec![false, true, true, false],
    };
    assert_eq!(fake.with(|state| state.batches.clone()), [expected]);
}

#[test]
fn refused_batches_do_not_reach_the_library() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    let mut context = model.create_context_with(&small()).unwrap();
    for batch in [
        Batch::new(),
        Batch::prompt(0, 0, &[VOCAB_SIZE]),
        Batch::prompt(0, 0, &[-1]),
        Batch::prompt(4, 0, &[1]),
        Batch::prompt(0, 1, &[1]),
        Batch::prompt(0, 0, &[1; 65]),
    ] {
        context.decode(&batch).unwrap_err();
    }
    assert!(fake.with(|state| state.batches.is_empty()));
}

#[test]
fn text_functions_are_given_the_room_that_they_ask_for() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    let vocab = model.vocab();
    fake.with(|state| state.text_answers = vec![-1000, 1000]);
    assert_eq!(vocab.token_bytes(3, true).unwrap(), vec![b'y'; 1000]);
    assert_eq!(fake.with(|state| std::mem::take(&mut state.rooms))[1..], [1000]);
    fake.with(|state| state.text_answers = vec![-5000, 5000]);
    let cleaned = DetokenizeOptions {
        clean_up_tokenization_spaces: true,
        continuation: true,
        ..DetokenizeOptions::default()
    };
    assert_eq!(vocab.detokenize_bytes_with(&[1, 2, 3], cleaned).unwrap(), vec![b'x'; 5000]);
    assert_eq!(fake.with(|state| std::mem::take(&mut state.rooms))[1..], [5000]);
    fake.with(|state| state.text_answers = vec![-300, 300]);
    assert_eq!(vocab.tokenize("short", false, false).unwrap(), vec![7; 300]);
    assert_eq!(fake.with(|state| std::mem::take(&mut state.rooms))[1..], [300]);
    fake.with(|state| state.text_answers = vec![0]);
    assert!(vocab.token_bytes(3, true).unwrap().is_empty());
    assert!(vocab.tokenize("", false, false).unwrap().is_empty());
}

#[test]
fn answers_that_make_no_sense_are_errors_and_end() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    let vocab = model.vocab();
    for code in [i32::MIN, -1] {
        fake.with(|state| state.text_answers = vec![code]);
        for error in [
            vocab.token_bytes(3, true).unwrap_err(),
            vocab.detokenize_bytes(&[1], false, true).unwrap_err(),
            vocab.tokenize("some text", false, false).unwrap_err(),
        ] {
            assert!(
                matches!(error, VocabError::Failed { code: found, .. } if found == code),
                "{code}: {error}"
            );
        }
    }
}

#[test]
fn writing_many_tokens_as_text_ends_soon_after_it_is_asked_to() {
    let fake = Fake::begin();
    let model = fake.load().unwrap();
    fake.with(|state| state.text_answers = vec![1]);
    let options = DetokenizeOptions { continuation: true, ..DetokenizeOptions::default() };
    let looks = AtomicUsize::new(0);
    let stop = || looks.fetch_add(1, Ordering::Relaxed) == 2;
    let error = model.vocab().detokenize_unless(&vec![3; 1_000_000], options, &stop).unwrap_err();
    assert_eq!(error, VocabError::Stopped);
    assert!(fake.with(|state| state.rooms.len()) < 20_000);
    assert_eq!(model.vocab().detokenize_unless(&[3; 2], options, &|| false).as_deref(), Ok("yy"));
}
