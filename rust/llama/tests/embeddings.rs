//! Contexts that give vectors, and what llama.cpp would abort on in them.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{SMOLLM2, library, load};
use tabagent_gguf::{ConvertOptions, convert};
use tabagent_llama::*;

const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

/// `MiniLM`, a BERT, converted.
fn minilm() -> Option<Model> {
    let (library, folder) = (library()?, tabagent_material::model("all-MiniLM-L6-v2")?);
    let out = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    convert(&folder, &out, &ConvertOptions::default(), &|_, _| true).unwrap();
    Some(Model::load(&library, ModelConfig::new(&out).unwrap().with_mmap(false)).unwrap())
}

fn config(pooling: Pooling, tokens: u32) -> EmbeddingConfig {
    EmbeddingConfig { pooling, longest_text: tokens, batch_size: tokens, max_sequences: 4, threads: Some(1) }
}

/// The vectors of two texts' tokens in one batch, and their ranges of rows.
fn token_vectors(model: &Model, texts: [&[TokenId]; 2]) -> [Vec<Vec<f32>>; 2] {
    let mut context = model.create_embedding_context(&config(Pooling::None, 64)).unwrap();
    context.compute_unless(&both(texts), NEVER).unwrap();
    let rows = |start: usize, count: usize| {
        (start..start + count).map(|row| context.token_vector(row).unwrap().to_vec()).collect()
    };
    [rows(0, texts[0].len()), rows(texts[0].len(), texts[1].len())]
}

fn both(texts: [&[TokenId]; 2]) -> Batch {
    let mut batch = Batch::text(0, 0, texts[0]);
    batch.push_text(1, 0, texts[1]);
    batch
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i]).sum::<f32>() / rows.len() as f32).collect()
}

#[test]
fn llama_cpps_pooling_agrees_with_the_vectors_of_the_tokens() {
    for model in [load(SMOLLM2), minilm()] {
        let Some(model) = model else { return };
        let first = model.vocab().tokenize("Paris is the capital of France.", true, false).unwrap();
        let second = model.vocab().tokenize("A cat sleeps.", true, false).unwrap();
        let texts = [first.as_slice(), second.as_slice()];
        let rows = token_vectors(&model, texts);
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
            let mut context = model.create_embedding_context(&config(pooling, 64)).unwrap();
            context.compute_unless(&both(texts), NEVER).unwrap();
            for (sequence, rows) in (0..).zip(&rows) {
                let expected = match pooling {
                    Pooling::Mean => mean(rows),
                    Pooling::Cls => rows[0].clone(),
                    _ => rows[rows.len() - 1].clone(),
                };
                let found = context.sequence_vector(sequence).unwrap();
                assert_eq!(found.len(), model.embedding_facts().width as usize);
                let difference = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(difference < 1e-3, "{pooling:?}: {difference}");
            }
            assert!(matches!(context.token_vector(0), Err(ContextError::NoVector { what: "token", .. })));
            assert!(matches!(context.sequence_vector(2), Err(ContextError::NoVector { .. })));
            assert!(matches!(context.sequence_vector(99), Err(ContextError::SequenceOutOfRange { .. })));
        }
    }
}

#[test]
fn a_batch_that_attends_to_itself_must_fit_at_once() {
    let Some(model) = minilm() else { return };
    let facts = model.embedding_facts();
    assert_eq!((facts.width, facts.pooling, facts.classes), (384, Some(Pooling::Mean), None));
    assert_eq!((facts.learned_positions, facts.looks_forward), (Some(512), true));
    let mut context = model.create_embedding_context(&config(Pooling::None, 16)).unwrap();
    assert!(!context.continues_texts());
    assert_eq!((context.batch_size(), context.longest_text()), (16, 16));
    let long = context.compute_unless(&Batch::text(0, 0, &[101; 17]), NEVER);
    assert!(matches!(long, Err(ContextError::BatchTooLarge { tokens: 17, n_batch: 16 })), "{long:?}");
    assert!(matches!(context.token_vector(0), Err(ContextError::NoVector { .. })), "nothing was computed");
    for (batch, what) in [
        (Batch::new(), "no tokens"),
        (Batch::text(0, 1, &[101]), "a position that is not the first"),
        (Batch::text(4, 0, &[101]), "a sequence that does not exist"),
        (Batch::text(0, 0, &[-1]), "a token that does not exist"),
    ] {
        assert!(context.compute_unless(&batch, NEVER).is_err(), "{what}");
    }
    context.compute_unless(&Batch::text(0, 0, &[101; 16]), NEVER).unwrap();
    assert_eq!(context.token_vector(15).unwrap().len(), 384);
    assert!(context.token_vector(16).is_err());
    let mut large = model.create_embedding_context(&config(Pooling::None, 600)).unwrap();
    let beyond = large.compute_unless(&Batch::text(0, 0, &[101; 513]), NEVER);
    assert!(matches!(beyond, Err(ContextError::UnknownPosition { index: 512, .. })), "{beyond:?}");
}

#[test]
fn causal_models_go_on_with_a_text_and_forget_it() {
    let Some(model) = load(SMOLLM2) else { return };
    let tokens: Vec<TokenId> = (100..140).collect();
    let mut whole = model.create_embedding_context(&config(Pooling::None, 64)).unwrap();
    whole.compute_unless(&Batch::text(0, 0, &tokens), NEVER).unwrap();
    let expected = whole.token_vector(39).unwrap().to_vec();
    let settings = EmbeddingConfig { longest_text: 64, ..config(Pooling::None, 16) };
    let mut context = model.create_embedding_context(&settings).unwrap();
    assert!(context.continues_texts());
    for _ in 0..2 {
        for (part, chunk) in (0..).zip(tokens.chunks(16)) {
            context.compute_unless(&Batch::text(0, part * 16, chunk), NEVER).unwrap();
        }
        let found = context.token_vector(7).unwrap();
        let difference = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 0.05, "{difference}");
        assert!(context.compute_unless(&Batch::text(0, 0, &[1]), NEVER).is_err(), "the text is still there");
        context.clear();
    }
    let mean = model.create_embedding_context(&config(Pooling::Mean, 16)).unwrap();
    assert!(!mean.continues_texts(), "llama.cpp forgets the beginning of a text that it is to pool");
}

#[test]
fn what_a_model_cannot_do_is_refused_before_llama_cpp_hears_of_it() {
    let Some(model) = load(SMOLLM2) else { return };
    let ranking = model.create_embedding_context(&config(Pooling::Rank, 16));
    assert!(matches!(ranking, Err(ContextError::NotRanking { .. })));
    let none = EmbeddingConfig { max_sequences: 0, ..config(Pooling::None, 16) };
    assert!(matches!(model.create_embedding_context(&none), Err(ContextError::Config(_))));
    let (Some(library), Some(path)) = (library(), tabagent_material::model(SMOLLM2)) else { return };
    let vocabulary = ModelConfig::new(path).unwrap().with_vocab_only(true);
    let model = Model::load(&library, vocabulary).unwrap();
    let refused = model.create_embedding_context(&config(Pooling::None, 16));
    assert!(matches!(refused, Err(ContextError::VocabOnly)));
}

#[test]
fn computing_stops_when_it_is_told_to() {
    let Some(model) = minilm() else { return };
    let mut context = model.create_embedding_context(&config(Pooling::None, 64)).unwrap();
    let stopped = context.compute_unless(&Batch::text(0, 0, &[101; 64]), &|| true);
    assert!(matches!(stopped, Err(ContextError::Aborted)), "{stopped:?}");
    context.compute_unless(&Batch::text(0, 0, &[101; 64]), NEVER).unwrap();
}
