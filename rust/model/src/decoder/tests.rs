//! Decoding with changing numbers of threads, over real models.

use tabagent_llama::{ContextConfig, Library, ModelConfig};

use super::*;

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1.gguf";
const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";

/// A context with two threads, for two sequences.
fn context(file: &str) -> Option<Context> {
    let (library, path) = (tabagent_material::library()?, tabagent_material::model(file)?);
    let model = Model::load(&Library::open(library).unwrap(), ModelConfig::new(path).unwrap()).unwrap();
    let config = ContextConfig {
        max_sequences: 2,
        max_outputs: Some(8),
        micro_batch_size: Some(64),
        ..ContextConfig::new().with_context_size(1024).with_threads(2)
    };
    Some(model.create_context_with(&config).unwrap())
}

fn rows(seq: u32, first: usize, tokens: &[TokenId], n_logits: usize) -> Vec<BatchToken> {
    let row = |(index, token): (usize, &TokenId)| BatchToken {
        seq,
        pos: first + index,
        token: *token,
        logits: index + n_logits >= tokens.len(),
    };
    tokens.iter().enumerate().map(row).collect()
}

fn best(logits: &[f32]) -> TokenId {
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    TokenId::try_from(best.unwrap()).unwrap()
}

/// Decodes a prompt in sequence 0 and generates; `prepare` is called before each decode.
fn generate(
    decoder: &mut LlamaDecoder,
    n: usize,
    mut prepare: impl FnMut(&mut LlamaDecoder, usize),
) -> Vec<TokenId> {
    let text = "The history of the sea is long, and whoever tells it begins with the ships. ".repeat(10);
    let mut tokens = decoder.context.model().vocab().tokenize(&text, true, false).unwrap();
    let n_prompt = tokens.len();
    assert!(n_prompt > 128, "a prompt of several micro-batches");
    decoder.clear(0);
    let mut next = rows(0, 0, &tokens, 1);
    while tokens.len() < n_prompt + n {
        prepare(decoder, next.len());
        decoder.decode(&next, &|| false).unwrap();
        let token = best(decoder.logits(next.len() - 1));
        next = rows(0, tokens.len(), &[token], 1);
        tokens.push(token);
    }
    tokens.split_off(n_prompt)
}

/// A policy that tries two threads next for steps of `n_tokens` tokens, for less time than any step takes: it was told of very short ones.
fn hasty(n_tokens: usize) -> ThreadCount {
    let mut threads = ThreadCount::new(2, None, Guess { bytes: 1.0, weights: 1.0 });
    let step = Step { n_tokens, can_redo: true };
    for _ in 0..1000 {
        let choice = threads.choose(step);
        if choice.threads == 2 && choice.limit.is_some_and(|limit| limit < 1e-6) {
            return threads;
        }
        threads.note(step, [1e-9, 1e-8][choice.threads - 1]);
    }
    panic!("two threads are never tried");
}

#[test]
fn numbers_of_threads_that_change_between_steps_give_the_same_tokens() {
    for file in [SMOLLM2, GEMMA] {
        let Some(context) = context(file) else { return };
        let mut decoder = LlamaDecoder::new(context);
        let expected = generate(&mut decoder, 24, |decoder, _| decoder.context.set_threads(1));
        let mut count = 0;
        let found = generate(&mut decoder, 24, |decoder, _| {
            count += 1;
            decoder.context.set_threads([2, 1, 1, 2, 9][count % 5]);
        });
        assert_eq!(found, expected, "{file}");
    }
}

#[test]
fn adapting_gives_the_same_tokens_and_tells_the_numbers_in_use() {
    let Some(context) = context(SMOLLM2) else { return };
    let mut fixed = LlamaDecoder::new(context);
    assert_eq!(fixed.gauge().get(), ThreadsInUse { generation: 2, prompt: 2 });
    let expected = generate(&mut fixed, 48, |_, _| ());
    let mut decoder = LlamaDecoder::with_adapting_threads(fixed.context, None);
    assert_eq!(generate(&mut decoder, 48, |_, _| ()), expected);
    let ThreadsInUse { generation, prompt } = decoder.gauge().get();
    assert!((1..=2).contains(&generation) && (1..=2).contains(&prompt));
    let policy = decoder.threads.as_ref().unwrap().in_use();
    assert_eq!(policy, (generation, prompt));
}

#[test]
fn steps_that_are_cut_short_lose_nothing() {
    for file in [SMOLLM2, GEMMA] {
        let Some(context) = context(file) else { return };
        let mut decoder = LlamaDecoder::new(context);
        let expected = generate(&mut decoder, 12, |decoder, _| decoder.context.set_threads(1));
        let mut decoder = LlamaDecoder::with_adapting_threads(decoder.context, None);
        let mut n_cut = 0;
        let found = generate(&mut decoder, 12, |decoder, n_tokens| {
            n_cut += usize::from(decoder.threads.as_ref().unwrap().has_cut());
            decoder.threads = Some(hasty(n_tokens));
        });
        assert_eq!(found, expected, "{file}");
        // Gemma's prompt is longer than a micro-batch, and cannot be brought back from within its sliding window.
        assert!(n_cut >= 10, "{file}: {n_cut}");
        let lines = tabagent_llama::drain_log();
        let told: Vec<_> = lines.iter().filter(|line| line.level >= tabagent_llama::LogLevel::Warn).collect();
        assert!(told.iter().all(|line| !line.text.contains("removing memory")), "{told:?}");
    }
}

#[test]
fn several_sequences_in_a_step_that_is_cut_short_go_on_where_they_were() {
    let Some(context) = context(SMOLLM2) else { return };
    let mut decoder = LlamaDecoder::new(context);
    let step = |decoder: &mut LlamaDecoder| {
        let batch: Vec<_> = [rows(0, 2, &[30, 40], 1), rows(1, 3, &[50], 1)].concat();
        decoder.decode(&batch, &|| false).unwrap();
        (best(decoder.logits(1)), best(decoder.logits(2)), decoder.logits(1).to_vec())
    };
    let begin = |decoder: &mut LlamaDecoder| {
        decoder.clear(0);
        decoder.clear(1);
        let batch: Vec<_> = [rows(0, 0, &[1, 20], 1), rows(1, 0, &[1, 21, 22], 1)].concat();
        decoder.decode(&batch, &|| false).unwrap();
    };
    decoder.context.set_threads(1);
    begin(&mut decoder);
    let expected = step(&mut decoder);
    begin(&mut decoder);
    decoder.threads = Some(hasty(3));
    assert_eq!(step(&mut decoder), expected);
    assert_eq!(decoder.context.next_position(0).unwrap(), 4);
    assert_eq!(decoder.context.next_position(1).unwrap(), 4);
}

#[test]
fn finished_micro_batches_are_kept_unless_their_logits_are_wanted() {
    let Some(context) = context(SMOLLM2) else { return };
    let mut decoder = LlamaDecoder::new(context);
    let tokens: Vec<TokenId> = (100..250).collect();
    for (n_logits, kept) in [(1, 64), (90, 0)] {
        decoder.clear(0);
        let batch = rows(0, 0, &tokens, n_logits);
        decoder.fill(&batch[..64]).unwrap();
        decoder.context.decode(&decoder.batch).unwrap();
        assert_eq!(decoder.keep_or_undo(&batch).unwrap(), kept);
        assert_eq!(decoder.context.next_position(0).unwrap() as usize, kept);
    }
}

#[test]
fn a_step_that_is_no_longer_wanted_is_not_decoded_again() {
    let Some(context) = context(SMOLLM2) else { return };
    let mut decoder = LlamaDecoder::with_adapting_threads(context, None);
    decoder.threads = Some(hasty(2));
    let batch = rows(0, 0, &[1, 2], 1);
    assert_eq!(decoder.decode(&batch, &|| true), Err(DecoderError::Aborted));
    assert!(decoder.logits(1).is_empty());
}

#[test]
fn sequences_go_on_in_a_split_memory_and_back() {
    for file in [SMOLLM2, GEMMA] {
        let Some(context) = context(file) else { return };
        let mut decoder = LlamaDecoder::new(context);
        let split = decoder.split().unwrap();
        assert_eq!((split.n_seq, split.n_cells), (2, 512));
        let model = decoder.context.model().clone();
        let vocab = model.vocab();
        let texts = ["The sea is wide and the ships are", "One, two, three, four, five, six,"];
        let prompts = texts.map(|text| vocab.tokenize(text, true, false).unwrap());
        let mut last = Vec::new();
        for (seq, prompt) in (0..).zip(&prompts) {
            decoder.decode(&rows(seq, 0, prompt, 1), &|| false).unwrap();
            last.push(decoder.logits(prompt.len() - 1).to_vec());
        }
        let next = [best(&last[0]), best(&last[1])];
        let step = |decoder: &mut LlamaDecoder| {
            let batch: Vec<BatchToken> =
                (0..2).flat_map(|seq| rows(seq as u32, prompts[seq].len(), &[next[seq]], 1)).collect();
            decoder.decode(&batch, &|| false).unwrap();
            let logits = [0, 1].map(|row| decoder.logits(row).to_vec());
            for (seq, prompt) in (0..).zip(&prompts) {
                assert!(decoder.truncate(seq, prompt.len()));
            }
            logits
        };
        let expected = step(&mut decoder);
        for split in [true, false] {
            let saved = [0, 1].map(|seq| decoder.save(seq).unwrap());
            decoder.clear(0);
            decoder.clear(1);
            decoder.set_split(split).unwrap();
            assert_eq!((decoder.n_ctx(), decoder.n_seq_max()), (1024, 2), "as seen from outside");
            for (seq, saved) in (0..).zip(&saved) {
                decoder.restore(seq, saved).unwrap();
            }
            for (row, expected) in step(&mut decoder).iter().zip(&expected) {
                assert_eq!(best(row), best(expected));
                let far = row.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 0.7, "{file}: {far}");
            }
        }
        // A part holds no more than its own cells.
        decoder.clear(0);
        decoder.clear(1);
        decoder.set_split(true).unwrap();
        let long = vec![next[0]; 513];
        assert_eq!(decoder.decode(&rows(0, 0, &long, 1), &|| false), Err(DecoderError::NoSpace));
    }
}
