//! Loading, facts, generating and sequences, with the real models.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{GEMMA, SMOLLM2, context, greedy, library, load};
use std::sync::{Arc, Mutex};
use tabagent_llama::*;

#[test]
fn facts_of_smollm2_are_right() {
    let Some(model) = load(SMOLLM2) else { return };
    let facts = model.facts();
    assert_eq!(facts.architecture, "llama");
    assert_eq!(facts.quantization, "Q4_1");
    assert_eq!((facts.layers, facts.heads, facts.kv_heads, facts.embedding_dim), (30, 9, 3, 576));
    assert_eq!((facts.context_train_size, facts.parameters), (8192, 134_515_008));
    assert!(facts.has_decoder && !facts.has_encoder && !facts.recurrent && !facts.hybrid);
    assert_eq!(facts.layers_on_gpu, 0);
    let vocab = model.vocab();
    assert_eq!((vocab.len(), vocab.kind()), (49_152, VocabKind::Bpe));
    assert_eq!(vocab.token_text(1).unwrap(), "<|im_start|>");
    assert!(vocab.is_control(1) && vocab.is_eog(2) && !vocab.is_eog(100));
    assert!(vocab.token_attributes(1).unwrap().is_control());
    assert_eq!(model.metadata()["general.architecture"], "llama");
    assert!(model.chat_template(None).unwrap().contains("im_start"));
    assert_eq!(model.chat_template(Some("no such template")), None);
}

#[test]
fn facts_of_gemma_are_right() {
    let Some(model) = load(GEMMA) else { return };
    let vocab = model.vocab();
    assert_eq!((vocab.len(), vocab.kind()), (262_144, VocabKind::SentencePiece));
    assert_eq!((vocab.token_bos(), vocab.adds_bos(), vocab.adds_eos()), (Some(2), true, false));
    assert_eq!((model.facts().sliding_window, model.facts().quantization.as_str()), (512, "Q4_K - Medium"));
    assert_eq!(model.tokenize_first("hi"), 2);
    assert_eq!(model.chat_template(None), None);
}

#[test]
fn vocabulary_only_model_has_the_facts_that_its_file_states() {
    let (Some(library), Some(path)) = (library(), tabagent_material::model(GEMMA)) else { return };
    let config = ModelConfig::new(path).unwrap().with_vocab_only(true);
    let model = Model::load(&library, config).unwrap();
    let facts = model.facts();
    assert_eq!((facts.layers, facts.embedding_dim, facts.context_train_size), (18, 640, 32_768));
    assert_eq!((facts.heads, facts.kv_heads, facts.sliding_window), (4, 1, 512));
}

#[test]
fn fewest_tokens_are_never_more_than_there_are() {
    let Some(model) = load(GEMMA) else { return };
    let vocab = model.vocab();
    for text in [
        "",
        "  \n ",
        "hello world, hello stars",
        "\u{1f98a}\u{13000}\u{13001}",
        &"ab ".repeat(500),
        &"\u{13000}".repeat(300),
    ] {
        let fewest = vocab.fewest_tokens(text);
        assert!(fewest <= vocab.tokenize(text, false, true).unwrap().len(), "{text:?}");
    }
    assert!(vocab.fewest_tokens(&"x".repeat(100_000)) > 100);
    let Some(model) = load(SMOLLM2) else { return };
    assert_eq!(model.vocab().fewest_tokens("this vocabulary may leave text out"), 0);
}

trait TokenizeFirst {
    fn tokenize_first(&self, text: &str) -> i32;
}

impl TokenizeFirst for Model {
    fn tokenize_first(&self, text: &str) -> i32 {
        self.vocab().tokenize(text, true, false).unwrap()[0]
    }
}

#[test]
fn greedy_generation_is_the_same_in_one_batch_and_token_by_token() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    assert!(context.has_threadpool());
    let prompt = context.tokenize("The capital of France is", true, false).unwrap();
    let tokens = context.generate(&prompt, 8, |logits| Some(greedy(logits))).unwrap();
    let text = context.detokenize(&tokens).unwrap();
    assert!(text.contains("Paris"), "{text}");
    let again = context.generate(&prompt, 8, |logits| Some(greedy(logits))).unwrap();
    assert_eq!(tokens, again);
}

#[test]
fn contexts_move_between_threads_and_outlive_their_model_handle() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    drop(model);
    let tokens = std::thread::spawn(move || context.generate(&[1, 2, 3], 4, |l| Some(greedy(l))).unwrap())
        .join()
        .unwrap();
    assert!(!tokens.is_empty());
}

#[test]
fn a_snapshot_brings_a_sequence_back_bit_for_bit() {
    for file in [SMOLLM2, GEMMA] {
        let Some(model) = load(file) else { return };
        let mut context = context(&model);
        context.decode(&Batch::prompt(0, 0, &[5, 6, 7, 8])).unwrap();
        let snapshot = context.snapshot_sequence(0).unwrap();
        context.decode(&Batch::prompt(0, 4, &[9])).unwrap();
        let expected = context.logits(0).unwrap().to_vec();
        context.remove_sequence(0).unwrap();
        context.decode(&Batch::prompt(1, 0, &[50, 51, 52])).unwrap();
        context.restore_sequence(2, &snapshot).unwrap();
        context.decode(&Batch::prompt(2, 4, &[9])).unwrap();
        let difference =
            expected.iter().zip(context.logits(0).unwrap()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-3, "{file}: {difference}");
        context.remove_sequence(1).unwrap();
        context.restore_sequence(0, &snapshot).unwrap();
        let other = model.create_context_with(&ContextConfig::new().with_threads(1)).unwrap();
        assert!(other.snapshot_sequence(0).is_ok());
        let mut other = other;
        assert!(other.restore_sequence(0, &snapshot).is_err(), "of another context");
    }
}

#[test]
fn saved_state_and_clones_go_on_where_the_context_was() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut first = context(&model);
    first.decode(&Batch::prompt(0, 0, &[5, 6, 7])).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    first.save_state_file(&file).unwrap();
    let mut clone = first.try_clone().unwrap();
    let mut loaded = context(&model);
    loaded.load_state_file(&file).unwrap();
    let mut results = Vec::new();
    for context in [&mut first, &mut clone, &mut loaded] {
        assert_eq!(context.next_position(0).unwrap(), 3);
        context.decode(&Batch::prompt(0, 3, &[8])).unwrap();
        results.push(context.logits(0).unwrap().to_vec());
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    assert!(
        first
            .save_state_file(&dir.path().join("no/such/dir"))
            .unwrap_err()
            .to_string()
            .contains("no/such/dir")
    );
    assert!(loaded.load_state_file(&dir.path().join("nothing")).is_err());
}

#[test]
fn truncating_forgets_the_end_and_windows_say_when_they_cannot() {
    let Some(model) = load(SMOLLM2) else { return };
    let mut context = context(&model);
    context.decode(&Batch::prompt(0, 0, &[5, 6, 7, 8])).unwrap();
    assert!(context.truncate_sequence(0, 2).unwrap());
    assert_eq!(context.next_position(0).unwrap(), 2);
    context.decode(&Batch::prompt(0, 2, &[7, 8])).unwrap();
    context.remove_range(0, 1..2).unwrap();
    assert_eq!((context.first_position(0).unwrap(), context.next_position(0).unwrap()), (Some(0), 4));
    assert!(context.remove_range(0, 3..3).is_err());
    context.remove_range(0, 0..100).unwrap();
    assert_eq!(context.first_position(0).unwrap(), None);
}

#[test]
fn progress_reaches_one_and_can_cancel() {
    let (Some(library), Some(path)) = (library(), tabagent_material::model(SMOLLM2)) else { return };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let config = ModelConfig::new(&path).unwrap().with_progress(move |part| {
        sink.lock().unwrap().push(part);
        true
    });
    Model::load(&library, config).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.windows(2).all(|w| w[0] <= w[1]) && seen.last() == Some(&1.0), "{seen:?}");
    let config = ModelConfig::new(&path).unwrap().with_progress(|part| part < 0.2);
    assert!(matches!(Model::load(&library, config), Err(ModelError::Cancelled(_))));
}

#[test]
fn bad_files_are_typed_errors() {
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(ModelConfig::new(dir.path()), Err(ModelError::IsDirectory(_))));
    assert!(matches!(ModelConfig::new(dir.path().join("x.gguf")), Err(ModelError::NotFound(_))));
    let path = dir.path().join("x.gguf");
    for bytes in [&b""[..], b"GGUF", b"not a model at all", b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        std::fs::write(&path, bytes).unwrap();
        let error = Model::load(&library, ModelConfig::new(&path).unwrap()).unwrap_err();
        assert!(matches!(error, ModelError::Gguf(_)), "{error}");
        assert!(error.to_string().contains("x.gguf"), "{error}");
    }
}

#[test]
fn metadata_overrides_take_effect() {
    let (Some(library), Some(path)) = (library(), tabagent_material::model(SMOLLM2)) else { return };
    let config = ModelConfig::new(&path)
        .unwrap()
        .with_override("llama.context_length", MetadataOverride::Int(1234))
        .with_override("general.name", MetadataOverride::Str("renamed".to_owned()));
    let model = Model::load(&library, config).unwrap();
    assert_eq!(model.facts().context_train_size, 1234);
}

#[test]
fn opening_the_same_library_again_gives_the_same_and_another_is_refused() {
    let Some(library) = library() else { return };
    let again = Library::open(&library.info().directory).unwrap();
    assert_eq!(again.info(), library.info());
    assert!(library.info().cpu_module.is_some());
    assert!(library.devices().iter().any(|d| d.kind == DeviceKind::Cpu && d.memory_total > 0));
    let loaded = library.info().cpu_module.clone().unwrap();
    assert!(Library::open_with(&library.info().directory, &ModuleChoice::Named(loaded.clone())).is_ok());
    let error =
        Library::open_with(&library.info().directory, &ModuleChoice::Named("x64".to_owned())).unwrap_err();
    assert!(matches!(error, LibraryError::ModuleAlreadyLoaded { .. }), "{error}");
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(&library.info().directory).unwrap().flatten() {
        let _ = std::fs::copy(file.path(), dir.path().join(file.file_name()));
    }
    let error = Library::open(dir.path()).unwrap_err();
    assert!(matches!(error, LibraryError::AlreadyLoaded { .. }), "{error}");
}
